// SPDX-License-Identifier: Apache-2.0
// The sticky assignors.
//
// Three steps: everybody keeps what he may keep; what is left goes to whoever of its subscribers
// has least; then partitions move from those with most, along the shortest chain of members that
// ends at one with at least two fewer, until there is no such chain.
//
// Invariants
//  1. After the second step every partition with a subscriber has an owner, and the third only
//     changes owners.
//  2. A chain takes one partition from its start, gives one to its end, and leaves the loads in
//     between as they are: the sum of the loads' squares falls with each, so there is an end.
#include <string.h>

#include "clients/c/assignor_plan.h"

struct sticky {
    struct plan plan;
    uint32_t *before; // partition -> rank of who had it, or PLAN_NOBODY
    uint32_t *load;   // rank -> partitions
    uint32_t *topic;  // partition -> topic
    // Every rank's partitions as a list.
    uint32_t *head;
    uint32_t *next;
    uint32_t *prev;
    // The search for a chain.
    uint32_t *queue; // ranks
    uint32_t *from;  // rank -> the one before it in the chain; PLAN_NOBODY: not reached
    uint32_t *via;   // rank -> the topic whose partition it would get
    uint32_t *seen;  // topic -> the search in which it was seen last
    uint32_t search; // number of the present search
};

static bool sticky_make(struct sticky *sticky, struct assignor *assignor)
{
    *sticky = (struct sticky){0};
    if (!assignor_plan_make(&sticky->plan, assignor))
        return false;
    size_t partitions = sticky->plan.first[assignor->topic_count] + 1;
    size_t members = assignor->member_count + 1;
    uint32_t **by_partition[] = {&sticky->before, &sticky->topic, &sticky->next, &sticky->prev};
    uint32_t **by_member[] = {&sticky->load, &sticky->head, &sticky->queue, &sticky->from,
                              &sticky->via};
    bool sound = true;
    for (size_t i = 0; i < sizeof(by_partition) / sizeof(by_partition[0]) && sound; i++) {
        *by_partition[i] = arena_array(assignor->arena, partitions, sizeof(uint32_t));
        sound = *by_partition[i] != NULL;
    }
    for (size_t i = 0; i < sizeof(by_member) / sizeof(by_member[0]) && sound; i++) {
        *by_member[i] = arena_array(assignor->arena, members, sizeof(uint32_t));
        sound = *by_member[i] != NULL;
    }
    sticky->seen = arena_array(assignor->arena, assignor->topic_count + 1, sizeof(uint32_t));
    if (!sound || !sticky->seen)
        return false;
    for (uint32_t t = 0; t < assignor->topic_count; t++) {
        for (uint32_t p = sticky->plan.first[t]; p < sticky->plan.first[t + 1]; p++)
            sticky->topic[p] = t;
    }
    memset(sticky->before, 0xff, partitions * sizeof(uint32_t));
    memset(sticky->head, 0xff, members * sizeof(uint32_t));
    return true;
}

static void give(struct sticky *sticky, uint32_t p, uint32_t rank)
{
    sticky->plan.owner[p] = rank;
    sticky->load[rank]++;
    sticky->prev[p] = PLAN_NOBODY;
    sticky->next[p] = sticky->head[rank];
    if (sticky->head[rank] != PLAN_NOBODY)
        sticky->prev[sticky->head[rank]] = p;
    sticky->head[rank] = p;
}

static void take(struct sticky *sticky, uint32_t p)
{
    uint32_t rank = sticky->plan.owner[p];
    sticky->load[rank]--;
    if (sticky->prev[p] == PLAN_NOBODY)
        sticky->head[rank] = sticky->next[p];
    else
        sticky->next[sticky->prev[p]] = sticky->next[p];
    if (sticky->next[p] != PLAN_NOBODY)
        sticky->prev[sticky->next[p]] = sticky->prev[p];
}

// Everybody keeps what only he says he has, or he since a younger generation than others. What two
// say they have since the same one is nobody's.
static bool claims_keep(struct sticky *sticky)
{
    struct plan *plan = &sticky->plan;
    struct assignor *assignor = plan->assignor;
    uint32_t total = plan->first[assignor->topic_count];
    int64_t *since = arena_array(assignor->arena, total + 1, sizeof(*since));
    if (!since)
        return false;
    for (uint32_t p = 0; p < total; p++)
        since[p] = INT64_MIN;
    for (uint32_t rank = 0; rank < plan->member_count; rank++) {
        const struct assignor_member *member = &assignor->members[plan->members[rank]];
        for (size_t i = 0; i < member->owned_count; i++) {
            uint32_t p = assignor_plan_number(plan, member->owned[i]);
            if (p == PLAN_NOBODY || !assignor_plan_subscribes(plan, rank, member->owned[i].topic) ||
                member->generation < since[p] ||
                (member->generation == since[p] && sticky->before[p] == rank))
                continue;
            sticky->before[p] = member->generation > since[p] ? rank : PLAN_NOBODY;
            since[p] = member->generation;
        }
    }
    for (uint32_t p = 0; p < total; p++) {
        if (sticky->before[p] != PLAN_NOBODY)
            give(sticky, p, sticky->before[p]);
    }
    return true;
}

// Who of a topic's subscribers has least.
static uint32_t least_loaded(const struct sticky *sticky, uint32_t topic)
{
    const struct plan *plan = &sticky->plan;
    uint32_t best = plan->subscribers[plan->listed[topic]];
    for (uint32_t i = plan->listed[topic] + 1; i < plan->listed[topic + 1]; i++) {
        if (sticky->load[plan->subscribers[i]] < sticky->load[best])
            best = plan->subscribers[i];
    }
    return best;
}

static void rest_give(struct sticky *sticky)
{
    const struct plan *plan = &sticky->plan;
    for (uint32_t t = 0; t < plan->assignor->topic_count; t++) {
        if (plan->listed[t] == plan->listed[t + 1])
            continue;
        for (uint32_t p = plan->first[t]; p < plan->first[t + 1]; p++) {
            if (plan->owner[p] == PLAN_NOBODY)
                give(sticky, p, least_loaded(sticky, t));
        }
    }
}

// Adds to the queue everybody who could get a partition of the topic from `rank`.
static uint32_t topic_reach(struct sticky *sticky, uint32_t rank, uint32_t topic, uint32_t end)
{
    const struct plan *plan = &sticky->plan;
    sticky->seen[topic] = sticky->search;
    for (uint32_t i = plan->listed[topic]; i < plan->listed[topic + 1]; i++) {
        uint32_t to = plan->subscribers[i];
        if (sticky->from[to] != PLAN_NOBODY)
            continue;
        sticky->from[to] = rank;
        sticky->via[to] = topic;
        sticky->queue[end++] = to;
    }
    return end;
}

// The end of the best chain from `start`: who has least, and of those the nearest. PLAN_NOBODY when
// nobody in reach has at least two fewer.
static uint32_t chain_find(struct sticky *sticky, uint32_t start)
{
    uint32_t begin = 0, end = 1, best = start;
    memset(sticky->from, 0xff, sticky->plan.member_count * sizeof(uint32_t));
    sticky->search++;
    sticky->queue[0] = sticky->from[start] = start;
    while (begin < end) {
        uint32_t rank = sticky->queue[begin++];
        if (sticky->load[rank] < sticky->load[best])
            best = rank;
        for (uint32_t p = sticky->head[rank]; p != PLAN_NOBODY; p = sticky->next[p]) {
            if (sticky->seen[sticky->topic[p]] != sticky->search)
                end = topic_reach(sticky, rank, sticky->topic[p], end);
        }
    }
    return sticky->load[best] + 2 <= sticky->load[start] ? best : PLAN_NOBODY;
}

// Which of its partitions of a topic `rank` gives to `to`: best one that was there before, then one
// that it has not had before itself.
static uint32_t partition_choose(const struct sticky *sticky, uint32_t rank, uint32_t topic,
                                 uint32_t to)
{
    uint32_t best = PLAN_NOBODY;
    int best_worth = -1;
    for (uint32_t p = sticky->head[rank]; p != PLAN_NOBODY; p = sticky->next[p]) {
        if (sticky->topic[p] != topic)
            continue;
        int worth = sticky->before[p] == to ? 2 : sticky->before[p] != rank;
        if (worth > best_worth) {
            best = p;
            best_worth = worth;
        }
    }
    return best;
}

static void chain_move(struct sticky *sticky, uint32_t start, uint32_t end)
{
    for (uint32_t to = end; to != start;) {
        uint32_t from = sticky->from[to];
        uint32_t p = partition_choose(sticky, from, sticky->via[to], to);
        take(sticky, p);
        give(sticky, p, to);
        to = from;
    }
}

// Who has most of those that are not settled; PLAN_NOBODY when all are. Only from the top down does
// nobody lose what he would get back as somebody else's.
static uint32_t most_loaded(const struct sticky *sticky, const bool *settled)
{
    uint32_t best = PLAN_NOBODY;
    for (uint32_t rank = 0; rank < sticky->plan.member_count; rank++) {
        if (!settled[rank] && (best == PLAN_NOBODY || sticky->load[rank] > sticky->load[best]))
            best = rank;
    }
    return best;
}

// False when memory is short.
static bool loads_level(struct sticky *sticky)
{
    uint32_t count = sticky->plan.member_count;
    bool *settled = arena_array(sticky->plan.assignor->arena, count + 1, sizeof(bool));
    for (bool moved = settled != NULL; moved;) {
        uint32_t rank;
        moved = false;
        memset(settled, 0, count * sizeof(bool));
        while ((rank = most_loaded(sticky, settled)) != PLAN_NOBODY) {
            uint32_t end = chain_find(sticky, rank);
            settled[rank] = end == PLAN_NOBODY;
            if (end == PLAN_NOBODY)
                continue;
            chain_move(sticky, rank, end);
            moved = true;
        }
    }
    return settled != NULL;
}

static bool sticky_solve(struct sticky *sticky, struct assignor *assignor)
{
    if (!sticky_make(sticky, assignor) || !claims_keep(sticky))
        return false;
    rest_give(sticky);
    return loads_level(sticky);
}

bool assignor_sticky(struct assignor *assignor)
{
    struct sticky sticky;
    return sticky_solve(&sticky, assignor) && assignor_plan_deal(&sticky.plan);
}

bool assignor_cooperative_sticky(struct assignor *assignor)
{
    struct sticky sticky;
    if (!sticky_solve(&sticky, assignor))
        return false;
    struct plan *plan = &sticky.plan;
    for (uint32_t rank = 0; rank < plan->member_count; rank++) {
        const struct assignor_member *member = &assignor->members[plan->members[rank]];
        for (size_t i = 0; i < member->owned_count; i++) {
            uint32_t p = assignor_plan_number(plan, member->owned[i]);
            if (p != PLAN_NOBODY && plan->owner[p] != rank)
                plan->owner[p] = PLAN_NOBODY;
        }
    }
    return assignor_plan_deal(plan);
}
