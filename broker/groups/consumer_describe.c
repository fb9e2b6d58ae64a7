// SPDX-License-Identifier: Apache-2.0
// ConsumerGroupDescribe: what a group of the consumer protocol looks like.
#include "broker/groups/group_internal.h"
#include "gen/kp_consumer_group_describe.h"

enum { MEMBER_TYPE_CLASSIC = 0, MEMBER_TYPE_CONSUMER = 1 };

static bool describe_set(struct group_step *step, struct group_ask *ask,
                         const struct consumer_set *set,
                         struct kp_consumer_group_describe_response_assignment *out)
{
    struct kp_consumer_group_describe_response_topic_partition *topic = NULL;
    int32_t *numbers = arena_array(ask->arena, set->count, sizeof(*numbers));
    uint32_t topics = 0;
    for (uint32_t i = 0; i < set->count; i++)
        topics += i == 0 || set->parts[i].topic != set->parts[i - 1].topic;
    kp_consumer_group_describe_response_assignment_init(out);
    out->topic_partitions = arena_array(ask->arena, topics, sizeof(*topic));
    if (!numbers || !out->topic_partitions)
        return false;
    for (uint32_t i = 0; i < set->count; i++) {
        const struct consumer_part *part = &set->parts[i];
        if (i == 0 || part->topic != set->parts[i - 1].topic) {
            topic = &out->topic_partitions[out->topic_partitions_count++];
            kp_consumer_group_describe_response_topic_partition_init(topic);
            topic->topic_id = part->topic->id;
            topic->partitions = &numbers[i];
            if (!group_arena_copy(step, ask, part->topic->name, &topic->topic_name))
                return false;
        }
        numbers[i] = part->partition;
        topic->partitions_count++;
    }
    return true;
}

static bool describe_wants(struct group_step *step, struct group_ask *ask,
                           const struct consumer_subscription *subscription,
                           struct kp_consumer_group_describe_response_member *out)
{
    out->subscribed_topic_names =
        arena_array(ask->arena, subscription->name_count, sizeof(*out->subscribed_topic_names));
    if (!out->subscribed_topic_names)
        return false;
    for (uint32_t i = 0; i < subscription->name_count; i++) {
        if (!group_arena_copy(step, ask, subscription->names[i], &out->subscribed_topic_names[i]))
            return false;
        out->subscribed_topic_names_count++;
    }
    return group_arena_copy(step, ask, subscription->regex, &out->subscribed_topic_regex);
}

static bool describe_member(struct group_step *step, struct group_ask *ask,
                            const struct group_member *member,
                            struct kp_consumer_group_describe_response_member *out)
{
    const struct consumer_member *consumer = member->consumer;
    kp_consumer_group_describe_response_member_init(out);
    out->member_epoch = consumer->epoch;
    out->member_type = member->offers ? MEMBER_TYPE_CLASSIC : MEMBER_TYPE_CONSUMER;
    return group_arena_copy(step, ask, member->id, &out->member_id) &&
           group_arena_copy(step, ask, member->instance_id, &out->instance_id) &&
           group_arena_copy(step, ask, consumer->rack, &out->rack_id) &&
           group_arena_copy(step, ask, member->client_id, &out->client_id) &&
           group_arena_copy(step, ask, member->client_host, &out->client_host) &&
           describe_wants(step, ask, consumer->subscription, out) &&
           describe_set(step, ask, &consumer->assigned, &out->assignment) &&
           describe_set(step, ask, &consumer->target, &out->target_assignment);
}

static bool describe(const struct group *group, struct group_step *step, struct group_ask *ask)
{
    struct kp_consumer_group_describe_response_group *out = ask->out;
    out->group_state = span_text(group_state_name(group));
    out->group_epoch = group->generation;
    out->assignment_epoch = group->generation;
    out->assignor_name = span_text(group_assignor_name(consumer_group_assignor(group, step)));
    out->members = arena_array(ask->arena, group->member_count, sizeof(*out->members));
    if (!out->members)
        return false;
    list_each(node, &group->members) {
        const struct group_member *member = list_entry(node, struct group_member, node);
        if (!describe_member(step, ask, member, &out->members[out->members_count]))
            return false;
        out->members_count++;
    }
    step->cost += (uint32_t)(group->consumer.parts / 64) + group->member_count;
    return true;
}

void consumer_describe(struct group *group, struct group_step *step, struct group_ask *ask)
{
    bool failed = step->failed;
    if (group->type != GROUP_CONSUMER) {
        group_answer_error(step, ask, KP_ERROR_GROUP_ID_NOT_FOUND);
        return;
    }
    if (!describe(group, step, ask)) {
        step->failed = failed; // nothing has changed: only this answer lacks memory
        group_ask_fail(ask, KP_ERROR_COORDINATOR_NOT_AVAILABLE);
    }
    group_answer(step, ask);
}
