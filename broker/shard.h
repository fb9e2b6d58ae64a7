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
#include "broker/mailbox.h"
#include "storage/io.h"
#include "storage/log.h"

struct background;
struct catalog;
struct config;
struct controller;
struct coordinator;
struct fetch_sessions;
struct listener;
struct server;
struct shard;
struct shard_life;
struct topics_retention;

struct shard {
    uint32_t index;
    struct server *server;       // read-only for shards, except through messages
    const struct config *config; // immutable while the broker runs
    struct io *io;               // io->now_ns and io->wall_ms are the time for everything here
    struct pool *pool;
    struct timers timers;
    struct log_store *store;
    struct map partitions; // struct partition by struct partition_key; owned here
    struct list stalled;   // partitions whose appends wait for memory; set up when needed
    struct timer stalled_timer;
    const struct catalog *catalog;   // the newest snapshot this shard has been told of
    struct coordinator *coordinator; // groups that live on this shard, and their offsets
    struct topics_retention *retention;
    bool deleted_files_stay;   // topics_open could not remove all that is left of deleted topics
    struct listener *listener; // connections and their requests
    struct fetch_sessions *fetch_sessions; // NULL until a client wants one
    struct mailbox mailbox;
    struct timer left_timer; // to remind other shards of what was left there
    struct shard_life *life;
    struct background *background;
    struct controller *controller; // shard 0 only
    bool stopping;                 // no new work from clients
    bool ended;                    // the loop returns
};

// The caller's thread becomes the shard's: opens what it needs, together with the other shards of
// the server (server_meet), serves until the server stops, and closes again.
void shard_run(struct shard *shard);

// Hands `message` to shard `to`; called on the thread of `from`. Also right when both are the same:
// it is then delivered later in the same loop, never from inside this call. Messages between one
// pair of shards keep their order.
void shard_post(struct shard *from, struct shard *to, struct message *message);

// The same for a message that does nothing but append a few bytes, and need not wake a shard whose
// journal is being written: that will look when the write is done, and could not begin another one
// before. A number of them wakes it all the same, since taking them takes time, too.
void shard_post_patiently(struct shard *from, struct shard *to, struct message *message);

// The same for a message that nobody waits for, such as memory that is given back: it is delivered
// when the shard is awake for another reason, or after a while.
void shard_leave(struct shard *from, struct shard *to, struct message *message);

// Called on the shard's own thread when its turn is over: true when it may wait, after which it
// must be told of messages that come, until mailbox_wake_up; false when some have come already.
bool shard_may_sleep(struct shard *shard);

// The shard that owns a partition, or a group: a hash, the same on every shard and in every run
// with the same number of shards. The metadata partition is not placed by this: it is on shard 0.
struct shard *shard_of_partition(const struct shard *any, struct kp_uuid topic_id,
                                 int32_t partition);
struct shard *shard_by_index(const struct shard *any, uint32_t index);
uint32_t shard_count(const struct shard *any);
