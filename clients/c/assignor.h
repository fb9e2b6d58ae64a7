// SPDX-License-Identifier: Apache-2.0
// Which member of a group gets which partitions: what the leader of a classic group decides. Pure:
// the same problem gives the same answer, whatever the order of its members.
//
// In every answer each partition that somebody subscribes to has exactly one owner, who subscribes
// to its topic (cooperative-sticky: at most one, see below).
#pragma once

#include "base/arena.h"
#include "base/span.h"

struct assignor_topic {
    struct span name;
    int32_t partition_count; // 0 while it does not exist
};

struct assignor_partition {
    uint32_t topic; // index of assignor.topics
    int32_t partition;
};

struct assignor_member {
    struct span id;
    struct span instance_id; // absent for a dynamic member
    uint32_t *topics;        // what it subscribes to: indexes, in any order, each once
    size_t topic_count;
    struct assignor_partition
        *owned; // what it says it has; need not exist, others may say the same
    size_t owned_count;
    int32_t generation; // since when it says so; -1: it does not know

    struct assignor_partition *assigned; // the answer, by topic and number
    size_t assigned_count;
};

struct assignor {
    struct arena *arena;           // for the answer, and what is needed on the way
    struct assignor_topic *topics; // by name
    size_t topic_count;
    struct assignor_member *members;
    size_t member_count;
};

// All of them return false when memory is short.

// Topic by topic, neighbouring partitions go to one member, the first members get one more.
bool assignor_range(struct assignor *assignor);

// Partition by partition, the members take turns.
bool assignor_roundrobin(struct assignor *assignor);

// As balanced as the subscriptions allow: no partition can be moved, nor a chain of them, so that
// somebody with at least two more than another gets one less. Starting from what members own, of
// which no more moves than that takes. Where two say they own the same, the younger generation is
// believed.
// Cost: members * partitions at worst, usually members + partitions.
bool assignor_sticky(struct assignor *assignor);

// The same; then those partitions go to nobody yet that another member than their new owner says
// it has: that member gives them up first, and a second rebalance gives them away.
bool assignor_cooperative_sticky(struct assignor *assignor);

// By the name that members give in JoinGroup; NULL when there is none of that name.
typedef bool assignor_function(struct assignor *assignor);
assignor_function *assignor_find(struct span name);
