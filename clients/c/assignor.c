// SPDX-License-Identifier: Apache-2.0
// The simple assignors, and what all of them begin and end with. Owns nothing; memory is the
// arena's.
//
// Members are ranked as Java's clients rank them (static members first, by instance id, then the
// others by member id), so that range and roundrobin come out the same whoever leads the group.
#include "clients/c/assignor.h"

#include <stdlib.h>
#include <string.h>

#include "clients/c/assignor_plan.h"

static int span_order(struct span a, struct span b)
{
    size_t shorter = a.size < b.size ? a.size : b.size;
    int order = shorter ? memcmp(a.data, b.data, shorter) : 0;
    return order ? order : (a.size > b.size) - (a.size < b.size);
}

static int rank_order(const void *a, const void *b, void *context)
{
    const struct assignor *assignor = context;
    const struct assignor_member *left = &assignor->members[*(const uint32_t *)a];
    const struct assignor_member *right = &assignor->members[*(const uint32_t *)b];
    bool left_static = left->instance_id.data, right_static = right->instance_id.data;
    if (left_static != right_static)
        return left_static ? -1 : 1;
    int order = left_static ? span_order(left->instance_id, right->instance_id) : 0;
    return order ? order : span_order(left->id, right->id);
}

// Lists every topic's subscribers, in two passes: how many, then who.
static bool subscribers_list(struct plan *plan)
{
    struct assignor *assignor = plan->assignor;
    size_t topics = assignor->topic_count;
    plan->listed = arena_array(assignor->arena, topics + 1, sizeof(uint32_t));
    uint32_t *at = arena_array(assignor->arena, topics + 1, sizeof(uint32_t));
    if (!plan->listed || !at)
        return false;
    for (uint32_t m = 0; m < plan->member_count; m++) {
        const struct assignor_member *member = &assignor->members[m];
        for (size_t i = 0; i < member->topic_count; i++)
            plan->listed[member->topics[i] + 1]++;
    }
    for (size_t t = 0; t < topics; t++) {
        plan->listed[t + 1] += plan->listed[t];
        at[t] = plan->listed[t];
    }
    plan->subscribers = arena_array(assignor->arena, plan->listed[topics] + 1, sizeof(uint32_t));
    if (!plan->subscribers)
        return false;
    for (uint32_t rank = 0; rank < plan->member_count; rank++) {
        const struct assignor_member *member = &assignor->members[plan->members[rank]];
        for (size_t i = 0; i < member->topic_count; i++)
            plan->subscribers[at[member->topics[i]]++] = rank;
    }
    return true;
}

bool assignor_plan_make(struct plan *plan, struct assignor *assignor)
{
    size_t topics = assignor->topic_count;
    *plan = (struct plan){.assignor = assignor, .member_count = (uint32_t)assignor->member_count};
    plan->members = arena_array(assignor->arena, assignor->member_count + 1, sizeof(uint32_t));
    plan->first = arena_array(assignor->arena, topics + 1, sizeof(uint32_t));
    if (!plan->members || !plan->first)
        return false;
    for (uint32_t m = 0; m < plan->member_count; m++)
        plan->members[m] = m;
    qsort_r(plan->members, plan->member_count, sizeof(uint32_t), rank_order, assignor);
    if (!subscribers_list(plan))
        return false;
    for (size_t t = 0; t < topics; t++)
        plan->first[t + 1] = plan->first[t] + (uint32_t)assignor->topics[t].partition_count;
    plan->owner = arena_array(assignor->arena, plan->first[topics] + 1, sizeof(uint32_t));
    if (!plan->owner)
        return false;
    for (uint32_t p = 0; p < plan->first[topics]; p++)
        plan->owner[p] = PLAN_NOBODY;
    return true;
}

uint32_t assignor_plan_number(const struct plan *plan, struct assignor_partition partition)
{
    const struct assignor *assignor = plan->assignor;
    bool exists = partition.topic < assignor->topic_count && partition.partition >= 0 &&
                  partition.partition < assignor->topics[partition.topic].partition_count;
    return exists ? plan->first[partition.topic] + (uint32_t)partition.partition : PLAN_NOBODY;
}

// Where in the topic's list the first subscriber of at least that rank stands.
static uint32_t subscriber_from(const struct plan *plan, uint32_t topic, uint32_t rank)
{
    uint32_t low = plan->listed[topic], high = plan->listed[topic + 1];
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (plan->subscribers[middle] < rank)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

bool assignor_plan_subscribes(const struct plan *plan, uint32_t rank, uint32_t topic)
{
    uint32_t at = subscriber_from(plan, topic, rank);
    return at < plan->listed[topic + 1] && plan->subscribers[at] == rank;
}

bool assignor_plan_deal(struct plan *plan)
{
    struct assignor *assignor = plan->assignor;
    size_t total = plan->first[assignor->topic_count];
    for (uint32_t m = 0; m < plan->member_count; m++)
        assignor->members[m].assigned_count = 0;
    for (uint32_t p = 0; p < total; p++) {
        if (plan->owner[p] != PLAN_NOBODY)
            assignor->members[plan->members[plan->owner[p]]].assigned_count++;
    }
    for (uint32_t m = 0; m < plan->member_count; m++) {
        struct assignor_member *member = &assignor->members[m];
        member->assigned =
            arena_array(assignor->arena, member->assigned_count + 1, sizeof(*member->assigned));
        if (!member->assigned)
            return false;
        member->assigned_count = 0;
    }
    for (uint32_t t = 0; t < assignor->topic_count; t++) {
        for (uint32_t p = plan->first[t]; p < plan->first[t + 1]; p++) {
            if (plan->owner[p] == PLAN_NOBODY)
                continue;
            struct assignor_member *member = &assignor->members[plan->members[plan->owner[p]]];
            member->assigned[member->assigned_count++] =
                (struct assignor_partition){.topic = t, .partition = (int32_t)(p - plan->first[t])};
        }
    }
    return true;
}

bool assignor_range(struct assignor *assignor)
{
    struct plan plan;
    if (!assignor_plan_make(&plan, assignor))
        return false;
    for (uint32_t t = 0; t < assignor->topic_count; t++) {
        const uint32_t *who = plan.subscribers + plan.listed[t];
        uint32_t count = plan.listed[t + 1] - plan.listed[t];
        uint32_t left = plan.first[t + 1] - plan.first[t];
        uint32_t p = plan.first[t];
        for (uint32_t i = 0; i < count; i++) {
            // What is left, shared among who is left, rounded up.
            uint32_t share = (left + count - i - 1) / (count - i);
            for (uint32_t end = p + share; p < end; p++)
                plan.owner[p] = who[i];
            left -= share;
        }
    }
    return assignor_plan_deal(&plan);
}

bool assignor_roundrobin(struct assignor *assignor)
{
    struct plan plan;
    if (!assignor_plan_make(&plan, assignor))
        return false;
    uint32_t turn = 0; // the rank whose turn it is, if it subscribes
    for (uint32_t t = 0; t < assignor->topic_count; t++) {
        if (plan.listed[t] == plan.listed[t + 1])
            continue;
        for (uint32_t p = plan.first[t]; p < plan.first[t + 1]; p++) {
            uint32_t at = subscriber_from(&plan, t, turn);
            if (at == plan.listed[t + 1])
                at = plan.listed[t];
            plan.owner[p] = plan.subscribers[at];
            turn = plan.owner[p] + 1;
        }
    }
    return assignor_plan_deal(&plan);
}

assignor_function *assignor_find(struct span name)
{
    static const struct {
        const char *name;
        assignor_function *function;
    } known[] = {
        {"range", assignor_range},
        {"roundrobin", assignor_roundrobin},
        {"sticky", assignor_sticky},
        {"cooperative-sticky", assignor_cooperative_sticky},
    };
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (span_equal(name, span_text(known[i].name)))
            return known[i].function;
    }
    return NULL;
}
