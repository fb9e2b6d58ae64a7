// SPDX-License-Identifier: Apache-2.0
// From one group protocol to the other while the group runs (KIP-848). A classic group of type
// "consumer" is turned when a member of the consumer protocol joins it, and back when only classic
// members are left, as far as group.consumer.migration.policy lets it.
//
// 1. Turning is one step, and its records are written together: members keep their ids, and the
//    generation, which is the epoch, goes on from where it was. What was told before stays true.
// 2. Upwards, a member has what it was last told in the classic group: what its assignment says, or
//    what it says that it has while the group has none. What it says beyond its assignment it has
//    yet to give up. So nobody else gets it before.
// 3. A partition that two members claim belongs to the first. The other is put out of the
//    generation: it may not commit until it has joined again. In a STABLE group only assignments
//    are claims: what a member said before it got its own may be over.
// 4. Downwards, the group rebalances as a classic one, and what each has goes with it as its
//    assignment, so that it is known if the group is turned again before that ends.
// 5. Asks that wait in the classic group are answered with REBALANCE_IN_PROGRESS. Who joins and
//    could not be known again, without an id of any kind, is removed.
#include <stdlib.h>

#include "base/endian.h"
#include "broker/groups/consumer_protocol.h"
#include "broker/groups/group_internal.h"
#include "broker/groups/plant.h"
#include "gen/kp_join_group.h"

enum { NAMES_MAX = 100000 }; // in the subscriptions of a group that is turned, equal ones once

bool migrate_is_open(const struct group *group, const struct group_step *step)
{
    return step->limits->may_upgrade && span_equal(group->protocol_type, span_text("consumer"));
}

// --- assignments as classic members read them ----------------------------------------------------

static struct span name_of(const struct group_step *step, const struct consumer_topic *topic)
{
    const struct catalog_topic *now =
        step->catalog ? catalog_find_id(step->catalog, topic->id) : NULL;
    return now ? span_text(now->name) : (struct span){0};
}

// How many parts from `at` on are of one topic.
static uint32_t run_length(const struct consumer_set *set, uint32_t at)
{
    uint32_t length = 1;
    while (at + length < set->count && set->parts[at + length].topic == set->parts[at].topic)
        length++;
    return length;
}

static size_t set_size(const struct group_step *step, const struct consumer_set *set)
{
    size_t size = 0;
    for (uint32_t i = 0, length; i < set->count; i += length) {
        struct span name = name_of(step, set->parts[i].topic);
        length = run_length(set, i);
        if (name.data)
            size += sizeof(int16_t) + name.size + sizeof(int32_t) * (1 + (size_t)length);
    }
    return size;
}

size_t migrate_assignment_size(const struct group_step *step,
                               const struct consumer_member *consumer, bool with_revoking)
{
    return sizeof(int16_t) + sizeof(int32_t) + set_size(step, &consumer->assigned) +
           (with_revoking ? set_size(step, &consumer->revoking) : 0) + sizeof(int32_t);
}

static uint8_t *put_i32(uint8_t *to, uint32_t number)
{
    store_be32(to, number);
    return to + sizeof(number);
}

static uint8_t *put_set(const struct group_step *step, const struct consumer_set *set, uint8_t *to,
                        uint32_t *topics)
{
    for (uint32_t i = 0, length; i < set->count; i += length) {
        struct span name = name_of(step, set->parts[i].topic);
        length = run_length(set, i);
        if (!name.data)
            continue;
        ++*topics;
        store_be16(to, (uint16_t)name.size);
        memcpy(to + sizeof(uint16_t), name.data, name.size);
        to = put_i32(to + sizeof(uint16_t) + name.size, length);
        for (uint32_t k = 0; k < length; k++)
            to = put_i32(to, (uint32_t)set->parts[i + k].partition);
    }
    return to;
}

struct span migrate_assignment_write(const struct group_step *step,
                                     const struct group_member *member, bool with_revoking,
                                     uint8_t *to)
{
    const struct span metadata = member->offers->items[0].metadata;
    uint8_t *at = to + sizeof(int16_t);
    uint8_t *count_at = at;
    uint32_t topics = 0;
    store_be16(to, metadata.size >= 2 ? load_be16(metadata.data) : 0);
    at = put_set(step, &member->consumer->assigned, at + sizeof(int32_t), &topics);
    if (with_revoking)
        at = put_set(step, &member->consumer->revoking, at, &topics);
    put_i32(count_at, topics);
    at = put_i32(at, UINT32_MAX); // nothing that assignors say to each other
    return span_of(to, (size_t)(at - to));
}

// --- upwards: whether it can be ------------------------------------------------------------------

static struct span metadata_of(const struct group *group, const struct group_member *member)
{
    struct span metadata = {0};
    if (group->protocol)
        metadata = group_offers_metadata(member, group->protocol);
    return metadata.data ? metadata : member->offers->items[0].metadata;
}

bool migrate_may_upgrade(const struct group *group, struct group_step *step)
{
    struct span last = {0};
    size_t bytes = group->bytes;
    size_t names = 0;
    if (!migrate_is_open(group, step) || group->member_count > step->limits->consumer_max_members)
        return false;
    step->cost += group->member_count + (uint32_t)(bytes / 4096);
    list_each(node, &group->members) {
        const struct group_member *member = list_entry(node, struct group_member, node);
        struct consumer_said said;
        struct consumer_parts parts;
        if (!consumer_said_read(metadata_of(group, member), &said) ||
            !consumer_assignment_read(member->assignment, &parts) ||
            said.topics.left > CONSUMER_TOPICS_MAX || said.rack.size > CONSUMER_TEXT_MAX)
            return false;
        if (!span_equal(said.names, last))
            names += (size_t)said.topics.left;
        last = said.names;
        bytes += said.names.size + 26 * (size_t)said.topics.left + 3 * member->assignment.size;
    }
    return bytes <= GROUP_BYTES_MAX && names <= NAMES_MAX;
}

// --- upwards: what members have ------------------------------------------------------------------

// The partitions that there are, each once, in order. False without memory.
static bool collect(struct group *group, const struct group_step *step, struct consumer_parts from,
                    struct consumer_part_list *out)
{
    const uint8_t *last = NULL;
    const struct catalog_topic *found = NULL;
    struct span name;
    int32_t partition;
    while (consumer_parts_next(&from, &name, &partition)) {
        if (name.data != last)
            found = step->catalog ? catalog_find(step->catalog, name) : NULL;
        last = name.data;
        if (!found || partition < 0 || partition >= found->partition_count)
            continue;
        struct consumer_topic *topic = consumer_topic_get(group, found->id, found);
        if (!topic)
            return false;
        if (!consumer_part_list_add(out, topic, partition)) {
            if (topic->holds == 0)
                consumer_topic_let_go(group, topic);
            return false;
        }
    }
    if (out->count)
        qsort(out->parts, out->count, sizeof(*out->parts), consumer_part_compare);
    return true;
}

// Leaves what comes twice, and what somebody has; whether that is somebody else than `consumer`.
static bool keep_free(struct group *group, struct consumer_part_list *list,
                      const struct consumer_member *consumer)
{
    uint32_t kept = 0;
    bool others = false;
    for (uint32_t i = 0; i < list->count; i++) {
        struct consumer_part part = list->parts[i];
        const struct consumer_member *holder = consumer_holder(&part);
        bool again = kept > 0 && consumer_part_compare(&list->parts[kept - 1], &part) == 0;
        others = others || (holder && holder != consumer);
        if (holder || again)
            consumer_topic_let_go(group, part.topic);
        else
            list->parts[kept++] = part;
    }
    list->count = kept;
    return others;
}

// A group on its way.
struct turning {
    struct group *group;
    struct group_step *step;
    bool stable;                    // it was
    struct consumer_part_list list; // of the member that is looked at
    // The member before has the same names, more often than not.
    struct span names;
    struct consumer_subscription *subscription;
};

// Takes what `from` names and nobody has into the set. False without memory.
static bool take(struct turning *turning, struct consumer_member *consumer,
                 struct consumer_parts from, bool fences, struct consumer_set *set)
{
    struct group *group = turning->group;
    struct consumer_part_list *list = &turning->list;
    bool done = collect(group, turning->step, from, list);
    if (done && keep_free(group, list, consumer) && fences)
        consumer->epoch = consumer->previous_epoch = 0;
    if (done)
        done = consumer_set_replace(group, set, list->parts, list->count);
    if (done && !consumer_hold(list->parts, list->count, consumer)) {
        consumer_set_free(group, set);
        done = false;
    }
    consumer_part_list_empty(group, list);
    return done;
}

// --- upwards: members ----------------------------------------------------------------------------

// Whether it can be known again: it has been told its id, or says one.
static bool comes_back(const struct group_member *member, const struct group_ask *ask)
{
    const struct kp_join_group_request *in = ask->in;
    return !member->is_new || in->member_id.size || member->instance_id.data;
}

static void send_off(struct group *group, struct group_step *step)
{
    list_each(node, &group->members) {
        struct group_member *member = list_entry(node, struct group_member, node);
        struct group_ask *ask = group_member_unpark(group, member);
        if (!ask)
            continue;
        bool stays = comes_back(member, ask);
        group_answer_error(step, ask, KP_ERROR_REBALANCE_IN_PROGRESS);
        if (!stays)
            group_member_remove(group, step, member);
    }
}

static bool subscribe(struct turning *turning, struct group_member *member,
                      const struct consumer_said *said)
{
    struct group *group = turning->group;
    struct consumer_subscription *wanted = turning->subscription;
    if (wanted && span_equal(said->names, turning->names)) {
        wanted->members++;
        consumer_member_subscribe(group, member, wanted);
        return true;
    }
    struct consumer_topics topics = said->topics;
    uint32_t count = 0;
    struct span *names = malloc(((size_t)topics.left + 1) * sizeof(*names));
    if (!names)
        return false;
    while (consumer_topics_next(&topics, &names[count]))
        count++;
    int error =
        consumer_subscription_hold(group, turning->step, names, count, (struct span){0}, &wanted);
    free(names);
    CHECK(error <= 0); // it was looked at before
    if (error)
        return false;
    consumer_member_subscribe(group, member, wanted);
    turning->names = said->names;
    turning->subscription = wanted;
    return true;
}

// What it was assigned counts, if it was assigned anything: nothing, in a STABLE group, is that
// too.
static bool turn_member(struct turning *turning, struct group_member *member)
{
    struct group *group = turning->group;
    struct consumer_said said;
    struct consumer_parts parts;
    bool changed;
    struct consumer_member *consumer = consumer_member_new();
    CHECK(consumer_said_read(metadata_of(group, member), &said) &&
          consumer_assignment_read(member->assignment, &parts));
    if (!consumer)
        return false;
    member->consumer = consumer;
    member->is_new = false;
    member->changed = true;
    consumer->epoch = consumer->previous_epoch = group->generation;
    if (!turning->stable && !member->assignment.data)
        parts = said.owned;
    if (group_planted(GROUP_PLANT_UPGRADE_EMPTY))
        parts = (struct consumer_parts){0};
    return subscribe(turning, member, &said) &&
           (!said.rack.size || consumer_member_set_rack(consumer, said.rack, &changed)) &&
           take(turning, consumer, parts, true, &consumer->assigned) &&
           consumer_set_replace(group, &consumer->target, consumer->assigned.parts,
                                consumer->assigned.count);
}

// When it is known what everybody was assigned: what a member has besides.
static bool add_revoking(struct turning *turning, struct group_member *member)
{
    struct consumer_said said;
    struct consumer_member *consumer = member->consumer;
    CHECK(consumer_said_read(metadata_of(turning->group, member), &said));
    if (!take(turning, consumer, said.owned, !turning->stable, &consumer->revoking))
        return false;
    if (consumer->revoking.count)
        consumer_let_revoke(turning->group, turning->step, member);
    return true;
}

static void write_turned(struct group *group, struct group_step *step, struct group_member *member)
{
    if (!group_planted(GROUP_PLANT_UPGRADE_UNSTORED))
        consumer_write_member(step, group, member);
    consumer_write_target(step, group, member);
    consumer_write_current(step, group, member);
    member->durable = true;
    member->changed = false;
    group_span_free(&member->assignment);
    group_member_touch(group, step, member);
}

static bool turn_all(struct turning *turning)
{
    list_each(node, &turning->group->members) {
        if (!turn_member(turning, list_entry(node, struct group_member, node)))
            return false;
    }
    list_each(node, &turning->group->members) {
        if (group_planted(GROUP_PLANT_UPGRADE_RELEASED))
            break;
        if (!add_revoking(turning, list_entry(node, struct group_member, node)))
            return false;
    }
    return true;
}

bool migrate_upgrade(struct group *group, struct group_step *step)
{
    struct turning turning = {
        .group = group, .step = step, .stable = group->phase == CLASSIC_STABLE};
    send_off(group, step);
    group->type = GROUP_CONSUMER;
    group->consumer.dirty = true;
    group->consumer.turned = true;
    group->consumer.hash = 0;
    bool done = turn_all(&turning);
    free(turning.list.parts);
    classic_end(group);
    group_write(group);
    if (!done) {
        step->failed = true;
        return false;
    }
    list_each(node, &group->members)
        write_turned(group, step, list_entry(node, struct group_member, node));
    return true;
}

// --- downwards -----------------------------------------------------------------------------------

static bool may_downgrade(const struct group *group, const struct group_step *step)
{
    size_t bytes = group->bytes;
    if (!step->limits->may_downgrade || group->offering == 0 ||
        group->offering < group->member_count || group->member_count > step->limits->max_members)
        return false;
    list_each(node, &group->members)
        bytes += migrate_assignment_size(
            step, list_entry(node, struct group_member, node)->consumer, true);
    return bytes <= 2 * GROUP_BYTES_MAX - (1 << 20); // of one write
}

static bool turn_back(struct group *group, struct group_step *step, struct group_member *member)
{
    struct consumer_member *consumer = member->consumer;
    uint8_t *bytes = malloc(migrate_assignment_size(step, consumer, true));
    if (!bytes)
        return false;
    member->assignment = migrate_assignment_write(step, member, true, bytes);
    if (group_planted(GROUP_PLANT_DOWNGRADE_EMPTY))
        group_span_free(&member->assignment);
    if (consumer->has_current && !group_planted(GROUP_PLANT_DOWNGRADE_CURRENT))
        group_erase_current(step, group, member->id);
    consumer_member_free(group, member);
    group_write_member(step, group, member);
    group_write_target(step, group, member);
    member->has_target = true;
    member->durable = true;
    member->changed = false;
    return true;
}

bool migrate_downgrade(struct group *group, struct group_step *step)
{
    if (!may_downgrade(group, step))
        return false;
    group->type = GROUP_CLASSIC;
    list_each(node, &group->members) {
        if (!turn_back(group, step, list_entry(node, struct group_member, node))) {
            step->failed = true;
            return true;
        }
    }
    step->cost += group->member_count;
    group->consumer.dirty = false;
    group->phase = CLASSIC_STABLE;
    classic_prepare(group, step);
    return true;
}
