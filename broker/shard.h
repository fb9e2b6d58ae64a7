// SPDX-License-Identifier: Apache-2.0
// A shard: one thread with its own io_uring, connections, partitions, coordinators, timers and
// memory. Nothing is shared between shards and nothing is locked on the data path: work for
// another shard travels as a message and comes back the same way.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/map.h"
#include "base/pool.h"
#include "base/timer.h"
#include "storage/io.h"
#include "storage/log.h"

struct catalog;
struct config;
struct server;
struct shard;
struct offsets;

// A message is part of a larger structure, owned by whoever the protocol between the two sides
// says; it must stay in place until `deliver` is called on the receiving shard's thread.
struct message {
    struct message *next;
    void (*deliver)(struct shard *here, struct message *message);
};

struct shard {
    uint32_t index;
    struct server *server;       // read-only for shards, except through messages
    const struct config *config; // immutable while the broker runs
    struct io *io;
    struct pool *pool;
    struct timers timers;
    struct log_store *store;
    struct map partitions;       // struct partition by struct partition_key; owned here
    const struct catalog *catalog; // the newest snapshot this shard has been told of
    struct timer retention;        // see topics_start_retention
    struct offsets *offsets;     // committed offsets of the groups that live on this shard
    struct list connections;
    struct mailbox *mailbox;
    struct controller *controller; // shard 0 only
    bool stopping;
    // Reading from sockets pauses while this many bytes of requests are being worked on.
    size_t request_bytes;
    size_t request_bytes_limit;
};

// Hands `message` to shard `to`; called on the thread of `from`. Also right when both are the same:
// it is then delivered later in the same loop, never from inside this call. Messages between one
// pair of shards keep their order.
void shard_post(struct shard *from, struct shard *to, struct message *message);

// The shard that owns a partition, or a group: a hash, the same on every shard.
struct shard *shard_of_partition(struct shard *any, struct kp_uuid topic_id, int32_t partition);
struct shard *shard_by_index(struct shard *any, uint32_t index);
uint32_t shard_count(const struct shard *any);
