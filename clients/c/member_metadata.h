// SPDX-License-Identifier: Apache-2.0
// The bytes that members of classic groups of type "consumer" hand each other through the broker:
// what each subscribes to and has (for the leader), and what it is assigned. As Java's clients
// write them, versions 0 to 3; what a later version would add is skipped.
#pragma once

#include "base/arena.h"
#include "protocol/reader.h"
#include "protocol/writer.h"

// Partitions of one topic.
struct topic_share {
    struct span topic;
    int32_t *partitions;
    int32_t partition_count;
};

struct topic_shares {
    struct topic_share *topics;
    int32_t count;
};

struct member_subscription {
    struct span *topics;
    int32_t topic_count;
    struct topic_shares owned;
    int32_t generation; // in which it got them; -1: it does not say
};

// What the sticky assignors say in the field for the assignor's own data.
enum user_data { USER_DATA_NONE, USER_DATA_STICKY, USER_DATA_COOPERATIVE_STICKY };

// Encodes; the writer fails when memory is short.
void member_subscription_write(struct kp_writer *writer,
                               const struct member_subscription *subscription,
                               enum user_data user_data);
void member_assignment_write(struct kp_writer *writer, const struct topic_shares *assignment);

// Decodes a peer's bytes; names point into them. False when they are not sound, or memory is short.
// `sticky`: what it owned is in the assignor's data.
bool member_subscription_read(struct span bytes, bool sticky, struct arena *arena,
                              struct member_subscription *out);
bool member_assignment_read(struct span bytes, struct arena *arena, struct topic_shares *out);
