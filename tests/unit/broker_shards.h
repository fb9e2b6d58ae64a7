// SPDX-License-Identifier: Apache-2.0
// Shards without threads: the test turns their loops itself, one after the other, so that every
// interleaving it needs is the one it gets.
#pragma once

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "broker/config.h"
#include "broker/fetch_session.h"
#include "broker/connection_internal.h"
#include "broker/partition.h"
#include "broker/server.h"
#include "broker/shard.h"
#include "storage/store.h"

enum {
    SHARDS_MAX = 2,
    SHARDS_TURNS = 300000, // of 200 us: a minute
    SHARDS_SETTLES = 10000,
    SHARDS_QUIET = 20, // turns
};

struct shards {
    struct server server;
    struct shard shard[SHARDS_MAX];
    struct shard *list[SHARDS_MAX];
    struct config *config;
    char directory[64];
};

static inline struct shards *shards_open(uint32_t count)
{
    struct shards *shards = aligned_alloc(CACHE_LINE, (sizeof(*shards) + 63) / 64 * 64);
    memset(shards, 0, sizeof(*shards));
    char why[CONFIG_WHY_SIZE];
    shards->config = config_create();
    cr_assert_eq(config_finish(shards->config, why), 0, "%s", why);
    const char *place = getenv("TMPDIR");
    snprintf(shards->directory, sizeof(shards->directory), "%s/weir-unit-XXXXXX",
             place && strlen(place) < 40 ? place : "/tmp");
    cr_assert_not_null(mkdtemp(shards->directory));
    shards->server.config = shards->config;
    shards->server.shards = shards->list;
    shards->server.shard_count = count;
    for (uint32_t i = 0; i < count; i++) {
        struct shard *shard = &shards->shard[i];
        *shard = (struct shard){.index = i, .server = &shards->server, .config = shards->config};
        shards->list[i] = shard;
        mailbox_init(&shard->mailbox);
        timers_init(&shard->timers);
        map_init(&shard->partitions);
        const char *reason = "";
        cr_assert_eq(io_uring_create(128, &shard->io, &reason), 0, "%s", reason);
        shard->pool = pool_create(256 << 20);
        struct log_store_options options = {.io = shard->io,
                                            .pool = shard->pool,
                                            .directory = shards->directory,
                                            .tail_cache_bytes = 32 << 20};
        cr_assert_eq(log_store_open(&options, &shard->store), 0);
        cr_assert_eq(listener_create(shard, &shard->listener), 0);
    }
    return shards;
}

// Timers, messages, connections, then what the kernel has completed; never waits.
static inline void shards_turn_one(struct shard *shard)
{
    timers_run(&shard->timers, shard->io->now_ns);
    struct message *message = mailbox_take(&shard->mailbox);
    while (message) {
        struct message *next = message->next;
        message->deliver(shard, message);
        message = next;
    }
    listener_advance(shard->listener);
    io_run(shard->io, 0);
}

static inline void shards_turn(struct shards *shards)
{
    for (uint32_t i = 0; i < shards->server.shard_count; i++)
        shards_turn_one(&shards->shard[i]);
}

// Turns until `*flag`; the test fails when that does not come.
static inline void shards_until(struct shards *shards, const bool *flag)
{
    for (int i = 0; i < SHARDS_TURNS && !*flag; i++) {
        shards_turn(shards);
        if (!*flag)
            io_run(shards->shard[0].io, shards->shard[0].io->now_ns + 200000);
    }
    cr_assert(*flag, "it does not happen");
}

// Whether a device has to answer something.
static inline bool shards_are_busy(const struct shards *shards)
{
    for (uint32_t i = 0; i < shards->server.shard_count; i++) {
        const struct log_store *store = shards->shard[i].store;
        if (store->deletes_running > 0 || store->creations_running > 0)
            return true;
        for (struct list *at = store->logs.next; at != &store->logs; at = at->next) {
            if (list_entry(at, struct log, node)->busy > 0)
                return true;
        }
    }
    return false;
}

// Turns until whatever is under way has come to rest.
static inline void shards_settle(struct shards *shards)
{
    int quiet = 0;
    for (int i = 0; i < SHARDS_TURNS && quiet < SHARDS_QUIET; i++) {
        shards_turn(shards);
        io_run(shards->shard[0].io, shards->shard[0].io->now_ns + 200000);
        quiet = shards_are_busy(shards) ? 0 : quiet + 1;
    }
}

// Every timer that is due within so many milliseconds from now, as if it were that late.
static inline void shards_pass_time(struct shards *shards, uint64_t ms)
{
    for (uint32_t i = 0; i < shards->server.shard_count; i++) {
        struct shard *shard = &shards->shard[i];
        // Until the ring looks at the clock again, so that timers set anew come after that.
        shard->io->now_ns += ms * 1000000;
        timers_run(&shard->timers, shard->io->now_ns);
    }
    shards_settle(shards);
}

static inline void shards_close(struct shards *shards)
{
    for (uint32_t i = 0; i < shards->server.shard_count; i++) {
        struct shard *shard = &shards->shard[i];
        cr_assert_eq(log_store_close(shard->store), 0);
        partition_forget_all(shard);
        listener_destroy(shard->listener);
        fetch_sessions_destroy(shard->fetch_sessions);
        timers_free(&shard->timers);
        io_destroy(shard->io);
        pool_destroy(shard->pool);
    }
    config_free(shards->config);
    char command[128];
    snprintf(command, sizeof(command), "rm -rf '%s'", shards->directory);
    cr_assert_eq(system(command), 0);
    free(shards);
}

// A new partition of topic `number`, on whatever shard it belongs to.
static inline struct partition_key shards_add_partition(struct shards *shards, uint8_t number,
                                                        int32_t partition)
{
    struct partition_key key = {.topic_id = {{[0] = 1, [15] = number}}, .partition = partition};
    char topic[16];
    int size = snprintf(topic, sizeof(topic), "topic-%u", number);
    struct log_name name = {
        .topic = span_of(topic, (size_t)size), .topic_id = key.topic_id, .partition = partition};
    struct log_config config = {
        .segment_bytes = 64 << 20, .segment_ms = -1, .retention_bytes = -1, .retention_ms = -1};
    struct partition *opened;
    struct shard *owner = shard_of_partition(&shards->shard[0], key.topic_id, partition);
    cr_assert_eq(partition_open(owner, name, &config, false, NULL, &opened), 0);
    return key;
}

// One batch with one record of `size` bytes. The memory is the caller's to free.
static inline struct span shards_batch(size_t size, struct batch_header *header)
{
    struct batch_builder builder;
    batch_builder_init(&builder, 64 << 20);
    char *value = malloc(size);
    memset(value, 'v', size);
    cr_assert_eq(batch_builder_add(&builder, 1000, (struct span){0}, span_of(value, size), NULL, 0),
                 BATCH_OK);
    struct span out;
    struct batch_scratch scratch = {0};
    struct batch_producer nobody = {.id = -1, .epoch = -1, .base_sequence = -1};
    cr_assert_eq(batch_builder_finish(&builder, CODEC_NONE, 0, nobody, &scratch, &out), BATCH_OK);
    uint8_t *copy = malloc(out.size);
    memcpy(copy, out.data, out.size);
    batch_builder_free(&builder);
    free(value);
    struct span batch = span_of(copy, out.size);
    cr_assert_eq(batch_check(batch, header), BATCH_OK);
    return batch;
}

static inline void shards_free_batch(struct span batch)
{
    union {
        const uint8_t *from;
        void *memory;
    } bytes = {.from = batch.data};
    free(bytes.memory);
}
