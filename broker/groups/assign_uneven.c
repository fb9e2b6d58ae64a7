// SPDX-License-Identifier: Apache-2.0
// The uniform assignor, for members whose subscriptions differ.
//
// Every partition stays where it was if that member may still have it, and goes to the subscriber
// with the least otherwise. Then those with the most give partitions away, one at a time, to
// subscribers that have less by two or more, until nobody can; what evens out most moves first, so
// that little moves. Members with the same subscription are kept in one heap, so that looking for
// the least costs a step per subscription and not per member.
#include <errno.h>
#include <stdlib.h>

#include "broker/groups/assign.h"

// Members by load: on top the least, or the most; among equals the first.
struct heap {
    uint32_t *members;
    uint32_t count;
    bool most;
};

struct uneven {
    struct assign *assign;
    uint32_t *load;       // partitions, by member
    uint32_t *place;      // in the heap of its subscription, by member
    uint32_t *most_place; // in `most`
    struct heap *least;   // by subscription
    uint64_t *top;        // of each of them: see top_of; what is looked at most is in a row
    uint32_t *least_room; // the members of all these heaps
    struct heap most;
    // The subscriptions that have a topic: interested[first_interested[t]] and on.
    uint32_t *first_interested;
    uint32_t *interested;
    uint32_t *topic; // by partition
    uint32_t *head;  // of a member's partitions
    uint32_t *next;  // by partition
};

// --- heaps ---------------------------------------------------------------------------------------

static bool is_above(const struct uneven *uneven, const struct heap *heap, uint32_t a, uint32_t b)
{
    uint32_t first = uneven->load[a];
    uint32_t second = uneven->load[b];
    if (first != second)
        return (first > second) == heap->most;
    return a < b;
}

static uint32_t *places(const struct uneven *uneven, const struct heap *heap)
{
    return heap->most ? uneven->most_place : uneven->place;
}

static void put(const struct uneven *uneven, struct heap *heap, uint32_t at, uint32_t member)
{
    heap->members[at] = member;
    places(uneven, heap)[member] = at;
}

static void sift(const struct uneven *uneven, struct heap *heap, uint32_t at)
{
    uint32_t member = heap->members[at];
    while (at > 0 && is_above(uneven, heap, member, heap->members[(at - 1) / 2])) {
        put(uneven, heap, at, heap->members[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child + 1 < heap->count &&
            is_above(uneven, heap, heap->members[child + 1], heap->members[child]))
            child++;
        if (child >= heap->count || !is_above(uneven, heap, heap->members[child], member))
            break;
        put(uneven, heap, at, heap->members[child]);
        at = child;
    }
    put(uneven, heap, at, member);
}

static void insert(const struct uneven *uneven, struct heap *heap, uint32_t member)
{
    put(uneven, heap, heap->count++, member);
    sift(uneven, heap, heap->count - 1);
}

static void remove_top(const struct uneven *uneven, struct heap *heap)
{
    uint32_t top = heap->members[0];
    uint32_t last = heap->members[--heap->count];
    places(uneven, heap)[top] = ASSIGN_NOBODY;
    if (heap->count == 0)
        return;
    put(uneven, heap, 0, last);
    sift(uneven, heap, 0);
}

// The load of the member on top, and the member: less is less loaded, or the first of equals.
static uint64_t top_of(const struct uneven *uneven, const struct heap *heap)
{
    return (uint64_t)uneven->load[heap->members[0]] << 32 | heap->members[0];
}

static void add_load(struct uneven *uneven, uint32_t member, int32_t more)
{
    uint32_t subscription = uneven->assign->member_subscription[member];
    struct heap *heap = &uneven->least[subscription];
    uneven->load[member] += (uint32_t)more;
    sift(uneven, heap, uneven->place[member]);
    uneven->top[subscription] = top_of(uneven, heap);
    if (uneven->most_place[member] != ASSIGN_NOBODY)
        sift(uneven, &uneven->most, uneven->most_place[member]);
}

// The subscriber of a topic that has the least; NOBODY: it has none.
static uint32_t least_loaded(const struct uneven *uneven, uint32_t topic)
{
    uint64_t best = UINT64_MAX;
    for (uint32_t i = uneven->first_interested[topic]; i < uneven->first_interested[topic + 1];
         i++) {
        uint64_t top = uneven->top[uneven->interested[i]];
        best = top < best ? top : best;
    }
    return (uint32_t)best;
}

// --- setting out ---------------------------------------------------------------------------------

static void note_interest(struct uneven *uneven)
{
    const struct assign *assign = uneven->assign;
    uint32_t *first = uneven->first_interested;
    for (uint32_t i = 0; i < assign->subscription_count; i++)
        for (uint32_t k = 0; k < assign->subscriptions[i].topic_count; k++)
            first[assign->subscriptions[i].topics[k] + 1]++;
    for (uint32_t t = 0; t < assign->topic_count; t++)
        first[t + 1] += first[t];
    // Filled from the end of each topic's part, so that first[t + 1] becomes where t begins.
    for (uint32_t i = assign->subscription_count; i-- > 0;)
        for (uint32_t k = 0; k < assign->subscriptions[i].topic_count; k++)
            uneven->interested[--first[assign->subscriptions[i].topics[k] + 1]] = i;
    for (uint32_t t = 0; t < assign->topic_count; t++)
        first[t] = first[t + 1];
    uint32_t all = 0;
    for (uint32_t i = 0; i < assign->subscription_count; i++)
        all += assign->subscriptions[i].topic_count;
    first[assign->topic_count] = all;
}

static bool may_have(const struct uneven *uneven, uint32_t member, uint32_t topic)
{
    uint32_t subscription = uneven->assign->member_subscription[member];
    uint32_t low = uneven->first_interested[topic];
    uint32_t high = uneven->first_interested[topic + 1];
    uint32_t end = high;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (uneven->interested[middle] < subscription)
            low = middle + 1;
        else
            high = middle;
    }
    return low < end && uneven->interested[low] == subscription;
}

static void keep_owners(struct uneven *uneven)
{
    struct assign *assign = uneven->assign;
    for (uint32_t t = 0; t < assign->topic_count; t++) {
        for (uint32_t i = assign->first[t]; i < assign->first[t + 1]; i++) {
            uint32_t owner = assign->owner[i];
            uneven->topic[i] = t;
            if (owner < assign->member_count && may_have(uneven, owner, t))
                uneven->load[owner]++;
            else
                assign->owner[i] = ASSIGN_NOBODY;
        }
    }
}

static void fill_heaps(struct uneven *uneven)
{
    const struct assign *assign = uneven->assign;
    uint32_t *room = uneven->least_room;
    for (uint32_t i = 0; i < assign->member_count; i++)
        uneven->least[assign->member_subscription[i]].count++;
    for (uint32_t i = 0; i < assign->subscription_count; i++) {
        uneven->least[i].members = room;
        room += uneven->least[i].count;
        uneven->least[i].count = 0;
    }
    for (uint32_t i = 0; i < assign->member_count; i++) {
        uneven->most_place[i] = ASSIGN_NOBODY;
        insert(uneven, &uneven->least[assign->member_subscription[i]], i);
    }
    for (uint32_t i = 0; i < assign->subscription_count; i++)
        uneven->top[i] = uneven->least[i].count ? top_of(uneven, &uneven->least[i]) : UINT64_MAX;
}

static void give_to(struct uneven *uneven, uint32_t partition, uint32_t member)
{
    uneven->assign->owner[partition] = member;
    uneven->next[partition] = uneven->head[member];
    uneven->head[member] = partition;
}

static void place_rest(struct uneven *uneven)
{
    const struct assign *assign = uneven->assign;
    uint32_t partitions = assign_partition_count(assign);
    for (uint32_t i = 0; i < partitions; i++) {
        if (assign->owner[i] != ASSIGN_NOBODY)
            continue;
        uint32_t member = least_loaded(uneven, uneven->topic[i]);
        if (member == ASSIGN_NOBODY)
            continue;
        assign->owner[i] = member;
        add_load(uneven, member, 1);
    }
    for (uint32_t i = 0; i < assign->member_count; i++)
        uneven->head[i] = ASSIGN_NOBODY;
    for (uint32_t i = partitions; i-- > 0;)
        if (assign->owner[i] != ASSIGN_NOBODY)
            give_to(uneven, i, assign->owner[i]);
}

// --- evening out ---------------------------------------------------------------------------------

static uint32_t least_of_all(const struct uneven *uneven)
{
    uint64_t least = UINT64_MAX;
    for (uint32_t i = 0; i < uneven->assign->subscription_count; i++)
        least = uneven->top[i] < least ? uneven->top[i] : least;
    return (uint32_t)(least >> 32);
}

// Moves one partition of a member to where it evens out most. False: none can move. Nobody has less
// than `least`.
static bool give_away(struct uneven *uneven, uint32_t member, uint32_t least)
{
    uint32_t *best = NULL;
    uint32_t best_to = ASSIGN_NOBODY;
    uint32_t best_load = uneven->load[member] - 1;
    uint32_t seen = ASSIGN_NOBODY;
    for (uint32_t *link = &uneven->head[member]; *link != ASSIGN_NOBODY && best_load > least;
         link = &uneven->next[*link]) {
        uint32_t topic = uneven->topic[*link];
        if (topic == seen)
            continue;
        seen = topic;
        uint32_t to = least_loaded(uneven, topic);
        if (uneven->load[to] < best_load) {
            best = link;
            best_to = to;
            best_load = uneven->load[to];
        }
    }
    if (!best)
        return false;
    uint32_t partition = *best;
    *best = uneven->next[partition];
    give_to(uneven, partition, best_to);
    add_load(uneven, member, -1);
    add_load(uneven, best_to, 1);
    return true;
}

static bool even_out(struct uneven *uneven)
{
    bool moved = false;
    uint32_t least = least_of_all(uneven); // moving makes it more, if anything
    uneven->most.count = 0;
    for (uint32_t i = 0; i < uneven->assign->member_count; i++)
        if (uneven->load[i] > 1)
            insert(uneven, &uneven->most, i);
    while (uneven->most.count > 0) {
        if (give_away(uneven, uneven->most.members[0], least))
            moved = true;
        else
            remove_top(uneven, &uneven->most);
    }
    return moved;
}

// --- memory --------------------------------------------------------------------------------------

static bool set_up(struct uneven *uneven, struct assign *assign)
{
    size_t partitions = assign_partition_count(assign);
    size_t members = assign->member_count;
    size_t interests = 0;
    for (uint32_t i = 0; i < assign->subscription_count; i++)
        interests += assign->subscriptions[i].topic_count;
    *uneven = (struct uneven){.assign = assign, .most = {.most = true}};
    uneven->least = calloc(assign->subscription_count + 1u, sizeof(*uneven->least));
    uneven->top = calloc(assign->subscription_count + 1u, sizeof(*uneven->top));
    size_t numbers = 6 * members + assign->topic_count + 2 + interests + 2 * partitions;
    uint32_t *room = calloc(numbers, sizeof(*room));
    if (!uneven->least || !uneven->top || !room) {
        free(uneven->least);
        free(uneven->top);
        free(room);
        return false;
    }
    uneven->load = room;
    uneven->place = uneven->load + members;
    uneven->most_place = uneven->place + members;
    uneven->least_room = uneven->most_place + members;
    uneven->most.members = uneven->least_room + members;
    uneven->head = uneven->most.members + members;
    uneven->first_interested = uneven->head + members;
    uneven->interested = uneven->first_interested + assign->topic_count + 2;
    uneven->topic = uneven->interested + interests;
    uneven->next = uneven->topic + partitions;
    return true;
}

int assign_uneven(struct assign *assign)
{
    struct uneven uneven;
    if (!set_up(&uneven, assign))
        return -ENOMEM;
    note_interest(&uneven);
    keep_owners(&uneven);
    fill_heaps(&uneven);
    place_rest(&uneven);
    for (uint32_t i = 0; i < ASSIGN_ROUNDS; i++)
        if (!even_out(&uneven))
            break;
    free(uneven.load);
    free(uneven.least);
    free(uneven.top);
    return 0;
}
