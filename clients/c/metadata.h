// SPDX-License-Identifier: Apache-2.0
// What the client knows of the cluster: who leads which partition of the topics it works with.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/map.h"
#include "base/timer.h"
#include "protocol/types.h"

struct weir_client;
struct metadata_request;

struct metadata_partition {
    int32_t leader; // broker id, -1 for none
    int32_t leader_epoch;
};

struct metadata_topic {
    char *name;
    struct kp_uuid id; // zero when the brokers have no topic ids
    int error;         // WEIR_OK, or why there are no partitions
    bool create;       // the broker may create it
    bool seen;         // the cluster has shown it once
    bool due;          // to be asked for
    bool asked;        // is part of the request under way
    struct metadata_partition *partitions;
    int32_t partition_count;   // 0 until known
    uint64_t missing_since_ns; // when the cluster first denied knowing it; 0 = it did not
};

// Told after every answer. The node is removed before `updated` is called.
struct metadata_waiter {
    struct list node;
    void (*updated)(struct metadata_waiter *waiter);
};

struct metadata {
    struct weir_client *client;
    struct map topics; // struct metadata_topic by name
    struct list waiters;
    struct metadata_request *request; // under way, or NULL
    struct timer timer;               // the next attempt, or the next regular refresh
    bool brokers_due;                 // ask even if no topic is due
    uint32_t attempts;                // in a row that left something open
    uint64_t sent_ns;                 // when the last request was made; 0 for never
    int32_t controller;               // broker id, -1 if unknown
};

void metadata_init(struct metadata *metadata, struct weir_client *client);

// The client's connections must have been freed.
void metadata_free(struct metadata *metadata);

// The topic's entry, which stays at its address for the client's life. A new one is asked for at
// once. NULL when memory is short.
struct metadata_topic *metadata_topic(struct metadata *metadata, const char *name, bool create);

// Has everything asked for anew, soon: not more often than retry.backoff.ms.
void metadata_refresh(struct metadata *metadata);

// Has the waiter told after the next answer (or failure), and sees to it that one will come.
void metadata_wait(struct metadata *metadata, struct metadata_waiter *waiter);

// The leader of a partition, or -1: unknown or none at present; then a refresh is under way.
int32_t metadata_leader(struct metadata *metadata, const struct metadata_topic *topic,
                        int32_t partition);

// Why the topic cannot be used, once waiting longer makes no sense: it is unknown for longer than
// topic.metadata.propagation.max.ms (a thirtieth of that when we may not create it), or it was
// refused for good. WEIR_OK while there is hope.
int metadata_topic_error(const struct metadata *metadata, const struct metadata_topic *topic);

// The same for who has messages for the topic, which have a time limit of their own: while they
// last, there is hope for a topic that was there once. Brokers that lag behind deny what they have
// just made.
int metadata_produce_error(const struct metadata *metadata, const struct metadata_topic *topic);
