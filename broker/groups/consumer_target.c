// SPDX-License-Identifier: Apache-2.0
// The targets: what each member shall have, computed for the whole group whenever members, what
// they want, or the topics of that have changed.
//
// 1. A change of targets is a new epoch, and the epoch of the targets is that of the group: both
//    change in the same step.
// 2. A partition is in the target of one member at most, and of one that is subscribed to its
// topic.
// 3. As long as it is not known what all patterns match, targets stay as they are (`dirty`).
// 4. Costs members, their subscriptions' topics and all partitions, a few nanoseconds each; see
//    assign.h.
#include <errno.h>
#include <stdlib.h>

#include <xxhash.h>

#include "broker/groups/assign.h"
#include "broker/groups/group_internal.h"
#include "broker/groups/plant.h"

static const char *const assignor_names[] = {
    [GROUP_NO_ASSIGNOR] = "",
    [GROUP_UNIFORM] = "uniform",
    [GROUP_RANGE] = "range",
};

const char *group_assignor_name(enum group_assignor assignor)
{
    return assignor_names[assignor];
}

enum group_assignor group_assignor_find(struct span name)
{
    for (int i = GROUP_UNIFORM; i <= GROUP_RANGE; i++)
        if (span_equal(name, span_text(assignor_names[i])))
            return (enum group_assignor)i;
    return GROUP_NO_ASSIGNOR;
}

enum group_assignor consumer_group_assignor(const struct group *group,
                                            const struct group_step *step)
{
    uint32_t votes[GROUP_RANGE + 1] = {0};
    list_each(node, &group->members)
        votes[list_entry(node, struct group_member, node)->consumer->assignor]++;
    if (votes[GROUP_UNIFORM] == votes[GROUP_RANGE])
        return step->limits->assignors[0];
    return votes[GROUP_UNIFORM] > votes[GROUP_RANGE] ? GROUP_UNIFORM : GROUP_RANGE;
}

// --- the topics ----------------------------------------------------------------------------------

struct plan {
    struct consumer_topic **topics; // that somebody is subscribed to, sorted by id
    uint32_t *first;                // see assign.h
    struct assign_subscription *subscriptions;
    uint32_t *indexes; // of topics, of all subscriptions
    uint32_t *member_subscription;
    struct group_member **members;
    struct consumer_part *parts; // of the member that is looked at
    uint32_t *starts;            // of each member's partitions, in `mine`
    uint32_t *mine;              // partitions, by member
    struct assign assign;
};

static int by_id(const void *a, const void *b)
{
    const struct consumer_topic *const *left = a;
    const struct consumer_topic *const *right = b;
    return memcmp((*left)->id.bytes, (*right)->id.bytes, sizeof((*left)->id.bytes));
}

// False without memory.
static bool list_topics(struct group *group, struct plan *plan)
{
    const struct consumer_subscription *subscription;
    uint32_t mark = ++group->consumer.mark;
    uint32_t count = 0;
    plan->topics = malloc((group->consumer.topics.count + 1) * sizeof(struct consumer_topic *));
    plan->first = malloc((group->consumer.topics.count + 1) * sizeof(*plan->first));
    if (!plan->topics || !plan->first)
        return false;
    for (size_t at = 0; (subscription = map_next(&group->consumer.subscriptions, &at));) {
        for (uint32_t i = 0; i < subscription->topics.count; i++) {
            struct consumer_topic *topic = subscription->topics.items[i];
            if (topic->mark == mark)
                continue;
            topic->mark = mark;
            plan->topics[count++] = topic;
        }
    }
    if (count)
        qsort(plan->topics, count, sizeof(struct consumer_topic *), by_id);
    uint32_t partitions = 0;
    for (uint32_t i = 0; i < count; i++) {
        plan->topics[i]->index = i;
        plan->first[i] = partitions;
        partitions += (uint32_t)plan->topics[i]->partition_count;
    }
    plan->first[count] = partitions;
    plan->assign.topic_count = count;
    plan->assign.first = plan->first;
    return true;
}

static uint64_t hash_of(const struct plan *plan)
{
    uint64_t hash = 0;
    for (uint32_t i = 0; i < plan->assign.topic_count; i++) {
        uint8_t bytes[24] = {0};
        memcpy(bytes, plan->topics[i]->id.bytes, 16);
        memcpy(bytes + 16, &plan->topics[i]->partition_count, sizeof(int32_t));
        hash = XXH3_64bits_withSeed(bytes, sizeof(bytes), hash);
    }
    return hash;
}

// --- what the assignor is told -------------------------------------------------------------------

static bool list_subscriptions(struct group *group, struct plan *plan)
{
    const struct consumer_subscription *subscription;
    size_t count = group->consumer.subscriptions.count;
    size_t topics = 0;
    uint32_t number = 0;
    for (size_t at = 0; (subscription = map_next(&group->consumer.subscriptions, &at));)
        topics += subscription->topics.count;
    plan->subscriptions = malloc((count + 1) * sizeof(*plan->subscriptions));
    plan->indexes = malloc((topics + 1) * sizeof(*plan->indexes));
    if (!plan->subscriptions || !plan->indexes)
        return false;
    uint32_t *at = plan->indexes;
    // By their first members: the order in a table is no order.
    list_each(node, &group->members) {
        struct consumer_subscription *each =
            list_entry(node, struct group_member, node)->consumer->subscription;
        if (each->mark == group->consumer.mark)
            continue;
        each->mark = group->consumer.mark;
        each->number = number;
        plan->subscriptions[number++] =
            (struct assign_subscription){.topics = at, .topic_count = each->topics.count};
        for (uint32_t i = 0; i < each->topics.count; i++)
            *at++ = each->topics.items[i]->index;
    }
    plan->assign.subscriptions = plan->subscriptions;
    plan->assign.subscription_count = number;
    return true;
}

static void note_owner(struct plan *plan, const struct group *group,
                       const struct consumer_part *part, uint32_t member)
{
    const struct consumer_topic *topic = part->topic;
    if (topic->mark == group->consumer.mark && part->partition < topic->partition_count)
        plan->assign.owner[plan->first[topic->index] + (uint32_t)part->partition] = member;
}

static bool list_members(struct group *group, struct plan *plan)
{
    uint32_t partitions = plan->first[plan->assign.topic_count];
    uint32_t number = 0;
    plan->members = malloc((group->member_count + 1u) * sizeof(struct group_member *));
    plan->member_subscription =
        malloc((group->member_count + 1u) * sizeof(*plan->member_subscription));
    plan->assign.owner = malloc((partitions + 1u) * sizeof(*plan->assign.owner));
    if (!plan->members || !plan->member_subscription || !plan->assign.owner)
        return false;
    for (uint32_t i = 0; i < partitions; i++)
        plan->assign.owner[i] = ASSIGN_NOBODY;
    list_each(node, &group->members) {
        struct group_member *member = list_entry(node, struct group_member, node);
        const struct consumer_set *target = &member->consumer->target;
        plan->members[number] = member;
        plan->member_subscription[number] = member->consumer->subscription->number;
        for (uint32_t i = 0; i < target->count; i++)
            note_owner(plan, group, &target->parts[i], number);
        number++;
    }
    plan->assign.member_subscription = plan->member_subscription;
    plan->assign.member_count = number;
    return true;
}

// --- what it says --------------------------------------------------------------------------------

// Each member's partitions, in order.
static bool sort_by_member(struct plan *plan)
{
    const struct assign *assign = &plan->assign;
    uint32_t partitions = assign_partition_count(assign);
    uint32_t *starts = calloc(assign->member_count + 1u, sizeof(*starts));
    plan->starts = starts;
    plan->mine = malloc((partitions + 1u) * sizeof(*plan->mine));
    plan->parts = malloc((partitions + 1u) * sizeof(*plan->parts));
    if (!starts || !plan->mine || !plan->parts)
        return false;
    uint32_t sum = 0;
    for (uint32_t i = 0; i < partitions; i++)
        if (assign->owner[i] != ASSIGN_NOBODY)
            starts[assign->owner[i]]++;
    for (uint32_t i = 0; i <= assign->member_count; i++)
        starts[i] = sum += starts[i];
    for (uint32_t i = partitions; i-- > 0;)
        if (assign->owner[i] != ASSIGN_NOBODY)
            plan->mine[--starts[assign->owner[i]]] = i;
    return true;
}

static uint32_t topic_of(const struct plan *plan, uint32_t partition)
{
    uint32_t low = 0;
    uint32_t high = plan->assign.topic_count;
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (plan->first[middle] <= partition)
            low = middle;
        else
            high = middle;
    }
    return low;
}

static uint32_t list_parts(struct plan *plan, uint32_t member)
{
    uint32_t topic = 0;
    uint32_t count = 0;
    for (uint32_t i = plan->starts[member]; i < plan->starts[member + 1]; i++) {
        uint32_t partition = plan->mine[i];
        if (count == 0 || partition >= plan->first[topic + 1])
            topic = topic_of(plan, partition);
        plan->parts[count++] = (struct consumer_part){
            .topic = plan->topics[topic], .partition = (int32_t)(partition - plan->first[topic])};
    }
    return count;
}

static bool set_targets(struct group *group, struct group_step *step, struct plan *plan)
{
    if (!sort_by_member(plan))
        return false;
    for (uint32_t i = 0; i < plan->assign.member_count; i++) {
        struct group_member *member = plan->members[i];
        uint32_t count = list_parts(plan, i);
        if (consumer_set_equal(&member->consumer->target, plan->parts, count))
            continue;
        if (!consumer_set_replace(group, &member->consumer->target, plan->parts, count))
            return false;
        consumer_write_target(step, group, member);
    }
    return true;
}

// --- all of it -----------------------------------------------------------------------------------

static void plan_free(struct plan *plan)
{
    free(plan->topics);
    free(plan->first);
    free(plan->subscriptions);
    free(plan->indexes);
    free(plan->member_subscription);
    free(plan->members);
    free(plan->parts);
    free(plan->starts);
    free(plan->mine);
    free(plan->assign.owner);
}

static bool carry_out(struct group *group, struct group_step *step, struct plan *plan)
{
    if (!list_subscriptions(group, plan) || !list_members(group, plan))
        return false;
    bool ranges = consumer_group_assignor(group, step) == GROUP_RANGE;
    int error = ranges ? assign_range(&plan->assign) : assign_uniform(&plan->assign);
    // About a microsecond for so many; assign_uneven looks at more than that for each.
    uint32_t unit = plan->assign.subscription_count > 1 ? 8 : 32;
    step->cost += (plan->assign.member_count + assign_partition_count(&plan->assign)) / unit;
    return !error && set_targets(group, step, plan);
}

static void begin_epoch(struct group *group)
{
    group->consumer.turned = false;
    group->generation = group->generation == INT32_MAX ? 1 : group->generation + 1;
    if (!group_planted(GROUP_PLANT_FORGET_EPOCH))
        group_write(group);
}

static void compute(struct group *group, struct group_step *step)
{
    struct plan plan = {0};
    bool done = list_topics(group, &plan);
    if (done) {
        uint64_t hash = hash_of(&plan);
        bool others = hash != group->consumer.hash && !group_planted(GROUP_PLANT_IGNORE_TOPICS);
        if (group->consumer.dirty || others) {
            group->consumer.dirty = false;
            group->consumer.hash = hash;
            begin_epoch(group);
            done = carry_out(group, step, &plan);
        }
    }
    if (!done)
        step->failed = true;
    plan_free(&plan);
}

void consumer_target_settle(struct group *group, struct group_step *step)
{
    if (group->consumer.unknown == 0)
        compute(group, step);
    else if (group->generation == 0 || group->consumer.turned)
        begin_epoch(group); // who joins needs one; classic members have more than their targets
}

void consumer_rebalance(struct group *group, struct group_step *step)
{
    group->consumer.dirty = true;
    consumer_target_settle(group, step);
}
