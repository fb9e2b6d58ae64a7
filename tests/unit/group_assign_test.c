// SPDX-License-Identifier: Apache-2.0
// The assignors, against what they promise, with inputs at random.
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "broker/groups/assign.h"

enum { T = 40, S = 8, M = 50, P = 2000 };

struct world {
    struct assign assign;
    uint32_t first[T + 1];
    struct assign_subscription subscriptions[S];
    uint32_t topics[S][T];
    uint32_t members[M];
    uint32_t owner[P];
    uint32_t before[P];
    uint32_t load[M];
};

static void world_make(struct world *w, struct random *random, uint32_t subscriptions)
{
    uint32_t topics = 1 + (uint32_t)random_below(random, T);
    uint32_t members = 1 + (uint32_t)random_below(random, M);
    *w = (struct world){0};
    for (uint32_t t = 0; t < topics; t++)
        w->first[t + 1] = w->first[t] + (uint32_t)random_below(random, 12);
    for (uint32_t s = 0; s < subscriptions; s++) {
        w->subscriptions[s].topics = w->topics[s];
        for (uint32_t t = 0; t < topics; t++)
            if (subscriptions == 1 || random_below(random, 2))
                w->topics[s][w->subscriptions[s].topic_count++] = t;
    }
    for (uint32_t m = 0; m < members; m++)
        w->members[m] = m < subscriptions ? m : (uint32_t)random_below(random, subscriptions);
    if (members < subscriptions)
        members = subscriptions;
    for (uint32_t i = 0; i < w->first[topics]; i++)
        w->owner[i] =
            random_below(random, 3) ? (uint32_t)random_below(random, members + 2) : ASSIGN_NOBODY;
    w->assign = (struct assign){.first = w->first,
                                .topic_count = topics,
                                .subscriptions = w->subscriptions,
                                .subscription_count = subscriptions,
                                .member_subscription = w->members,
                                .member_count = members,
                                .owner = w->owner};
    memcpy(w->before, w->owner, sizeof(w->owner));
}

static bool has(const struct world *w, uint32_t member, uint32_t topic)
{
    const struct assign_subscription *subscription = &w->subscriptions[w->members[member]];
    for (uint32_t i = 0; i < subscription->topic_count; i++)
        if (subscription->topics[i] == topic)
            return true;
    return false;
}

// Every partition is with a subscriber, if there is one.
static void check_owners(struct world *w)
{
    memset(w->load, 0, sizeof(w->load));
    for (uint32_t t = 0; t < w->assign.topic_count; t++) {
        bool any = false;
        for (uint32_t m = 0; m < w->assign.member_count; m++)
            any |= has(w, m, t);
        for (uint32_t i = w->first[t]; i < w->first[t + 1]; i++) {
            cr_assert_eq(w->owner[i] != ASSIGN_NOBODY, any);
            if (any) {
                cr_assert(has(w, w->owner[i], t));
                w->load[w->owner[i]]++;
            }
        }
    }
}

static uint32_t moved(const struct world *w)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < assign_partition_count(&w->assign); i++)
        count += w->before[i] < w->assign.member_count && w->before[i] != w->owner[i];
    return count;
}

// How many have to move when all want the same: what members have above their shares.
static uint32_t least_moves(const struct world *w)
{
    uint32_t members = w->assign.member_count;
    uint32_t partitions = assign_partition_count(&w->assign);
    uint32_t more = partitions % members;
    uint32_t loads[M] = {0};
    uint32_t moves = 0;
    for (uint32_t i = 0; i < partitions; i++)
        if (w->before[i] < members)
            loads[w->before[i]]++;
    for (uint32_t m = 0; m < members; m++) {
        uint32_t share = partitions / members;
        if (loads[m] > share && more > 0) {
            share++;
            more--;
        }
        moves += loads[m] > share ? loads[m] - share : 0;
    }
    return moves;
}

Test(group_assign, uniform_is_even_and_moves_the_least)
{
    struct random random = {1};
    static struct world w;
    for (int run = 0; run < 2000; run++) {
        world_make(&w, &random, 1);
        cr_assert_eq(assign_uniform(&w.assign), 0);
        check_owners(&w);
        uint32_t least = assign_partition_count(&w.assign) / w.assign.member_count;
        for (uint32_t m = 0; m < w.assign.member_count; m++)
            cr_assert(w.load[m] == least || w.load[m] == least + 1);
        cr_assert_eq(moved(&w), least_moves(&w));
        memcpy(w.before, w.owner, sizeof(w.owner));
        cr_assert_eq(assign_uniform(&w.assign), 0);
        cr_assert_eq(moved(&w), 0u, "again, with nothing new");
    }
}

Test(group_assign, uniform_evens_out_what_can_be)
{
    struct random random = {2};
    static struct world w;
    for (int run = 0; run < 2000; run++) {
        world_make(&w, &random, 2 + (uint32_t)random_below(&random, S - 1));
        cr_assert_eq(assign_uniform(&w.assign), 0);
        check_owners(&w);
        for (uint32_t t = 0; t < w.assign.topic_count; t++)
            for (uint32_t i = w.first[t]; i < w.first[t + 1]; i++)
                for (uint32_t m = 0; m < w.assign.member_count && w.owner[i] != ASSIGN_NOBODY; m++)
                    cr_assert(!has(&w, m, t) || w.load[m] + 1 >= w.load[w.owner[i]],
                              "run %d: %u has %u and %u has %u", run, m, w.load[m], w.owner[i],
                              w.load[w.owner[i]]);
        memcpy(w.before, w.owner, sizeof(w.owner));
        cr_assert_eq(assign_uniform(&w.assign), 0);
        cr_assert_eq(moved(&w), 0u);
    }
}

Test(group_assign, uneven_takes_from_those_with_the_most)
{
    // 10, 9 and none: of nineteen, six are to move.
    static struct world w;
    w = (struct world){.first = {0, 19, 20}, .topics = {{0}, {0, 1}}, .members = {0, 0, 1}};
    for (uint32_t i = 0; i < 20; i++)
        w.owner[i] = w.before[i] = i < 10 ? 0 : i < 19 ? 1 : ASSIGN_NOBODY;
    w.subscriptions[0] = (struct assign_subscription){w.topics[0], 1};
    w.subscriptions[1] = (struct assign_subscription){w.topics[1], 2};
    w.assign = (struct assign){.first = w.first,
                               .topic_count = 2,
                               .subscriptions = w.subscriptions,
                               .subscription_count = 2,
                               .member_subscription = w.members,
                               .member_count = 3,
                               .owner = w.owner};
    cr_assert_eq(assign_uniform(&w.assign), 0);
    check_owners(&w);
    cr_assert_eq(moved(&w), 5u, "%u", moved(&w));
}

Test(group_assign, range_cuts_every_topic)
{
    struct random random = {3};
    static struct world w;
    for (int run = 0; run < 2000; run++) {
        world_make(&w, &random, 1 + (uint32_t)random_below(&random, S));
        cr_assert_eq(assign_range(&w.assign), 0);
        check_owners(&w);
        for (uint32_t t = 0; t < w.assign.topic_count; t++) {
            uint32_t subscribers = 0;
            for (uint32_t m = 0; m < w.assign.member_count; m++)
                subscribers += has(&w, m, t);
            if (subscribers == 0)
                continue;
            uint32_t partitions = w.first[t + 1] - w.first[t];
            uint32_t loads[M] = {0};
            for (uint32_t i = w.first[t]; i < w.first[t + 1]; i++) {
                loads[w.owner[i]]++;
                cr_assert(i == w.first[t] || w.owner[i] >= w.owner[i - 1], "in a row");
            }
            uint32_t number = 0;
            for (uint32_t m = 0; m < w.assign.member_count; m++)
                if (has(&w, m, t))
                    cr_assert_eq(loads[m],
                                 partitions / subscribers + (number++ < partitions % subscribers));
        }
    }
}

Test(group_assign, nobody_and_nothing)
{
    static struct world w;
    w = (struct world){.first = {0, 3}};
    w.assign = (struct assign){.first = w.first,
                               .topic_count = 1,
                               .subscriptions = w.subscriptions,
                               .member_subscription = w.members,
                               .owner = w.owner};
    cr_assert_eq(assign_uniform(&w.assign), 0);
    for (int i = 0; i < 3; i++)
        cr_assert_eq(w.owner[i], ASSIGN_NOBODY);
    w.owner[0] = 7;
    cr_assert_eq(assign_range(&w.assign), 0);
    cr_assert_eq(w.owner[0], ASSIGN_NOBODY);
}
