// SPDX-License-Identifier: Apache-2.0
// The records of groups of the consumer protocol; group_record.h says what is in them. A shortage
// of memory sticks in the step's records.
#include "broker/groups/group_internal.h"

void consumer_write_group(struct group_step *step, const struct group *group)
{
    msgpack_packer packer;
    if (!group_record_begin(step, &packer, "group", group, (struct span){0}))
        return;
    msgpack_pack_map(&packer, 4);
    group_pack_text(&packer, "type", span_text("consumer"));
    group_pack_number(&packer, "epoch", group->generation);
    group_pack_number(&packer, "since", group->empty_since_ms);
    group_pack_number(&packer, "hash", (int64_t)group->consumer.hash);
    group_record_end(step);
}

static void pack_names(msgpack_packer *packer, const struct consumer_subscription *subscription)
{
    pack_write_key(packer, "topics");
    msgpack_pack_array(packer, subscription->name_count);
    for (uint32_t i = 0; i < subscription->name_count; i++)
        pack_write_text(packer, subscription->names[i]);
}

static void pack_classic(msgpack_packer *packer, const struct group_member *member)
{
    pack_write_key(packer, "classic");
    msgpack_pack_map(packer, 2);
    group_pack_number(packer, "session_ms", member->session_ms);
    group_pack_offers(packer, member->offers);
}

void consumer_write_member(struct group_step *step, const struct group *group,
                           const struct group_member *member)
{
    const struct consumer_member *consumer = member->consumer;
    const struct consumer_subscription *subscription = consumer->subscription;
    msgpack_packer packer;
    if (!group_record_begin(step, &packer, "member", group, member->id))
        return;
    msgpack_pack_map(&packer, 6u + (member->instance_id.data != NULL) +
                                  (subscription->regex.data != NULL) +
                                  (consumer->rack.data != NULL) + (member->offers != NULL));
    group_pack_text(&packer, "client_id", member->client_id);
    group_pack_text(&packer, "client_host", member->client_host);
    if (member->instance_id.data)
        group_pack_text(&packer, "instance", member->instance_id);
    group_pack_number(&packer, "rebalance_ms", member->rebalance_ms);
    group_pack_number(&packer, "joined", (int64_t)member->joined);
    pack_names(&packer, subscription);
    if (subscription->regex.data)
        group_pack_text(&packer, "regex", subscription->regex);
    group_pack_text(&packer, "assignor", span_text(group_assignor_name(consumer->assignor)));
    if (consumer->rack.data)
        group_pack_text(&packer, "rack", consumer->rack);
    if (member->offers)
        pack_classic(&packer, member);
    group_record_end(step);
}

// How many parts from `at` on are of one topic.
static uint32_t run_length(const struct consumer_set *set, uint32_t at)
{
    uint32_t length = 1;
    while (at + length < set->count && set->parts[at + length].topic == set->parts[at].topic)
        length++;
    return length;
}

static void pack_set(msgpack_packer *packer, const char *name, const struct consumer_set *set)
{
    uint32_t topics = 0;
    for (uint32_t i = 0; i < set->count; i += run_length(set, i))
        topics++;
    pack_write_key(packer, name);
    msgpack_pack_array(packer, topics);
    for (uint32_t i = 0; i < set->count;) {
        uint32_t length = run_length(set, i);
        msgpack_pack_array(packer, length + 1u);
        pack_write_uuid(packer, set->parts[i].topic->id);
        for (; length > 0; length--)
            msgpack_pack_int32(packer, set->parts[i++].partition);
    }
}

void consumer_write_target(struct group_step *step, const struct group *group,
                           struct group_member *member)
{
    msgpack_packer packer;
    if (!group_record_begin(step, &packer, "target", group, member->id))
        return;
    msgpack_pack_map(&packer, 1);
    pack_set(&packer, "parts", &member->consumer->target);
    group_record_end(step);
    member->has_target = true;
}

void consumer_write_current(struct group_step *step, const struct group *group,
                            struct group_member *member)
{
    struct consumer_member *consumer = member->consumer;
    msgpack_packer packer;
    if (!group_record_begin(step, &packer, "current", group, member->id))
        return;
    msgpack_pack_map(&packer, 5);
    group_pack_number(&packer, "epoch", consumer->epoch);
    group_pack_number(&packer, "previous", consumer->previous_epoch);
    group_pack_number(&packer, "state", consumer->state);
    pack_set(&packer, "assigned", &consumer->assigned);
    pack_set(&packer, "revoking", &consumer->revoking);
    group_record_end(step);
    consumer->has_current = true;
}
