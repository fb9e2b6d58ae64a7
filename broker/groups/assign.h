// SPDX-License-Identifier: Apache-2.0
// Who of a group gets which partition. Pure and deterministic: the same input gives the same
// result. Topics, subscriptions and members are numbers, in the order in which they are given.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define ASSIGN_NOBODY UINT32_MAX

// What one or more members are subscribed to.
struct assign_subscription {
    const uint32_t *topics; // ascending
    uint32_t topic_count;
};

struct assign {
    // The partitions of all topics are numbered in a row: those of topic t are first[t] up to, and
    // without, first[t + 1].
    const uint32_t *first;
    uint32_t topic_count;
    const struct assign_subscription *subscriptions;
    uint32_t subscription_count;
    const uint32_t *member_subscription; // by member
    uint32_t member_count;
    // By partition. In: who has had it, NOBODY, or a member that may not have it any more.
    // Out: who gets it; NOBODY when no member is subscribed to the topic.
    uint32_t *owner;
};

static inline uint32_t assign_partition_count(const struct assign *assign)
{
    return assign->first[assign->topic_count];
}

// Each topic by itself: its subscribers, in order, get as many partitions in a row each, the first
// ones one more. Topics with as many partitions and the same subscribers are cut alike. Costs
// members times topics. 0 or -ENOMEM.
int assign_range(struct assign *assign);

// As evenly as can be, and as few partitions as can be change their owner. With one subscription
// for all: the numbers of partitions of any two members differ by one at most, and exactly the
// partitions move that have to. With several: no partition could move to a subscriber that has less
// by two or more, unless ASSIGN_ROUNDS were not enough to get there. 0 or -ENOMEM.
int assign_uniform(struct assign *assign);

// assign_uniform for several subscriptions (assign_uneven.c).
int assign_uneven(struct assign *assign);

enum { ASSIGN_ROUNDS = 8 };
