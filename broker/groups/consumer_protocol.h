// SPDX-License-Identifier: Apache-2.0
// What the members of a classic group of type "consumer" put into their metadata: Kafka's
// ConsumerProtocolSubscription, of which only the part that all versions share is read.
#pragma once

#include "base/span.h"
#include "protocol/reader.h"

// The names of topics that one member is subscribed to, one after the other.
struct consumer_topics {
    struct kp_reader reader;
    int32_t left;
};

// False when the bytes are no subscription; nothing is allocated. Every name is checked on the way.
bool consumer_topics_begin(struct span metadata, struct consumer_topics *out);
// False at the end, or when the bytes are not sound (topics->reader.failed).
bool consumer_topics_next(struct consumer_topics *topics, struct span *name);
