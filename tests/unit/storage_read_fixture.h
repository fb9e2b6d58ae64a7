// SPDX-License-Identifier: Apache-2.0
// Logs whose tail keeps nothing in memory, for tests of reads from disk.
#pragma once

#include "storage/format.h"
#include "storage/store.h"
#include "tests/unit/storage_fixture.h"

static inline struct log_store_stats stats_of(const struct world *world)
{
    return log_store_stats(world->store);
}

// Nothing in the tail, so that all reads go to the disk.
static inline void begin(struct world *world, uint64_t seed, size_t read_cache_bytes)
{
    world_begin(world, seed);
    world->tail_cache_bytes = 0;
    world->read_cache_bytes = read_cache_bytes;
    cr_assert_eq(world_open(world), 0);
}

static inline void finish(struct world *world)
{
    cr_assert_eq(log_store_close(world->store), 0);
    world_end(world);
}

static inline void forget_tail(struct world *world)
{
    world_settle(world);
    tail_cache_evict(&world->store->cache, 0);
}

static inline void fill(struct world *world, int count, size_t size)
{
    for (int i = 0; i < count; i++) {
        world_append(world, 1, size);
        world_settle(world);
    }
    forget_tail(world);
}

// One frame with that many batches.
static inline void fill_frame(struct world *world, int count, size_t size)
{
    for (int i = 0; i < count; i++)
        world_append(world, 1, size);
    forget_tail(world);
}

// Until producers count as gone.
static inline void be_quiet(struct world *world)
{
    sim_advance(world->sim, 100 * 1000000);
    world_turn(world);
}

static inline void expect_read(struct world *world, int64_t offset, int error)
{
    struct reading reading;
    world_read(world, &reading, offset, 1);
    cr_assert_eq(reading.op.error, error, "offset %" PRId64 ": %s", offset,
                 strerror(-reading.op.error));
    if (!error)
        cr_assert_eq(world_compare(world, &reading.op), offset + 1);
    log_read_release(&reading.op);
}
