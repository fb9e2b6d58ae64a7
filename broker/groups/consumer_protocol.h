// SPDX-License-Identifier: Apache-2.0
// What the classic members of groups of type "consumer" say to each other, and the broker reads:
// Kafka's ConsumerProtocolSubscription and ConsumerProtocolAssignment. Nothing is allocated; the
// bytes are a peer's, and what is read points into them.
#pragma once

#include "base/span.h"
#include "protocol/reader.h"

// The names of topics that one member is subscribed to, one after the other.
struct consumer_topics {
    struct kp_reader reader;
    int32_t left;
};

// Topics with numbers of partitions, one partition after the other.
struct consumer_parts {
    struct kp_reader reader;
    int32_t topics_left;
    int32_t left; // of `topic`
    struct span topic;
};

// A subscription, all of which has been checked.
struct consumer_said {
    int16_t version;
    struct consumer_topics topics;
    struct span names;           // the bytes of `topics`: equal if the lists are
    struct consumer_parts owned; // what the member has; none before version 1
    struct span rack;            // absent: none
};

// False when the bytes are no subscription. Every name is checked on the way.
bool consumer_topics_begin(struct span metadata, struct consumer_topics *out);
// False at the end, or when the bytes are not sound (topics->reader.failed).
bool consumer_topics_next(struct consumer_topics *topics, struct span *name);

// False when the bytes are no subscription.
bool consumer_said_read(struct span metadata, struct consumer_said *out);
// False when the bytes are no assignment. No bytes at all assign nothing.
bool consumer_assignment_read(struct span assignment, struct consumer_parts *out);
// False at the end; the bytes are sound.
bool consumer_parts_next(struct consumer_parts *parts, struct span *topic, int32_t *partition);
