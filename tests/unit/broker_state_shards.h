// SPDX-License-Identifier: Apache-2.0
// Two shards with a controller and coordinators, on a directory that can be closed and opened
// again.
#pragma once

#include "broker/controller.h"
#include "broker/groups/coordinator.h"
#include "broker/topics.h"
#include "tests/unit/broker_shards.h"

static inline void state_begin(struct shards *shards)
{
    char why[256] = "";
    struct topics_summary summary;
    struct shard *first = &shards->shard[0];
    for (uint32_t i = 0; i < shards->server.shard_count; i++)
        shards->shard[i].stopping = false;
    cr_assert_eq(controller_open(first, why, sizeof(why)), 0, "%s", why);
    for (uint32_t i = 0; i < shards->server.shard_count; i++) {
        struct shard *shard = &shards->shard[i];
        shard->catalog = controller_catalog(first->controller);
        cr_assert_eq(topics_open(shard, shard->catalog, &summary), 0);
        cr_assert_eq(summary.failed, 0);
        cr_assert_eq(coordinator_open(shard, why, sizeof(why)), 0, "%s", why);
    }
    controller_start(first->controller);
    shards_settle(shards);
}

// Stopping shards post no more messages about files; what they had posted arrives.
static inline void state_end(struct shards *shards)
{
    shards_settle(shards);
    for (uint32_t i = 0; i < shards->server.shard_count; i++)
        shards->shard[i].stopping = true;
    shards_settle(shards);
    for (uint32_t i = 0; i < shards->server.shard_count; i++)
        coordinator_close(&shards->shard[i]);
}

static inline struct shards *state_open(void)
{
    struct shards *shards = shards_open(2);
    state_begin(shards);
    return shards;
}

static inline void state_reopen_stores(struct shards *shards)
{
    for (uint32_t i = 0; i < shards->server.shard_count; i++) {
        struct shard *shard = &shards->shard[i];
        struct log_store_options options = {.io = shard->io,
                                            .pool = shard->pool,
                                            .directory = shards->directory,
                                            .tail_cache_bytes = 32 << 20};
        cr_assert_eq(log_store_close(shard->store), 0);
        partition_forget_all(shard);
        map_init(&shard->partitions);
        cr_assert_eq(log_store_open(&options, &shard->store), 0);
    }
}

// In the order of a broker that stops: what is in flight ends with the stores, the controller
// after.
static inline void state_close(struct shards *shards)
{
    state_end(shards);
    state_reopen_stores(shards);
    controller_close(&shards->shard[0]);
    shards_close(shards);
}

// A stop and a start.
static inline void state_reopen(struct shards *shards)
{
    state_end(shards);
    state_reopen_stores(shards);
    controller_close(&shards->shard[0]);
    state_begin(shards);
}

// --- changes of topics ------------------------------------------------------------------------

struct change {
    struct controller_op op;
    struct controller_change change;
    struct arena arena;
    struct shard *home;
    bool done;
};

static inline void change_done(struct controller_op *op)
{
    struct change *change = list_entry(op, struct change, op);
    cr_assert_eq(op->home, change->home);
    change->done = true;
}

// Starts it; the caller waits for `done` and calls change_free.
static inline struct change *change_start(struct shard *home, enum controller_kind kind,
                                          const char *name, int32_t partitions)
{
    struct change *change = calloc(1, sizeof(*change));
    arena_init(&change->arena, 1 << 20);
    change->home = home;
    change->change = (struct controller_change){
        .name = span_text(name), .partition_count = partitions, .assignment_count = -1};
    change->op = (struct controller_op){.kind = kind,
                                        .changes = &change->change,
                                        .change_count = 1,
                                        .arena = &change->arena,
                                        .done = change_done};
    controller_submit(home, &change->op);
    cr_assert_not(change->done, "never from inside");
    return change;
}

// Ends it; its error.
static inline int16_t change_free(struct change *change)
{
    int16_t error = change->change.error;
    arena_free(&change->arena);
    free(change);
    return error;
}

static inline int16_t change_run(struct shards *shards, uint32_t home, enum controller_kind kind,
                                 const char *name, int32_t partitions)
{
    struct change *change = change_start(&shards->shard[home], kind, name, partitions);
    shards_until(shards, &change->done);
    return change_free(change);
}
