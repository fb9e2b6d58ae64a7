// SPDX-License-Identifier: Apache-2.0
// Retention by time, and clocks that jump.
#include "tests/unit/storage_fixture.h"

enum { HOUR_MS = 3600000, DAY_MS = 24 * HOUR_MS };

static void begin(struct world *world, uint64_t seed)
{
    world_begin(world, seed);
    world->config.segment_bytes = 64 * KIB;
    world->config.retention_ms = HOUR_MS;
    cr_assert_eq(world_open(world), 0);
}

static void fill(struct world *world, int64_t timestamp)
{
    for (int i = 0; i < 12; i++) {
        world_append_at(world, 1, 20 * KIB, CODEC_NONE, timestamp, 0);
        world_settle(world);
    }
}

// As many segments as retention takes.
static int64_t retained_start(struct world *world)
{
    for (int i = 0; i < 40; i++) {
        log_retain(world->log);
        io_run(world->io, world->io->now_ns + 1000000);
    }
    return log_offsets(world->log).start;
}

static void advance(struct world *world, int64_t ms)
{
    sim_advance(world->sim, (uint64_t)ms * 1000000);
}

static void end(struct world *world)
{
    cr_assert_eq(log_store_close(world->store), 0);
    world_end(world);
}

Test(storage_retain, a_jump_ahead_makes_nothing_old)
{
    struct world world;
    begin(&world, 1);
    fill(&world, world.io->wall_ms);
    sim_jump(world.sim, DAY_MS);
    cr_assert_eq(retained_start(&world), 0);
    fill(&world, world.io->wall_ms); // with timestamps of the wrong clock
    advance(&world, HOUR_MS / 2);
    cr_assert_eq(retained_start(&world), 0);
    advance(&world, HOUR_MS);
    int64_t start = retained_start(&world);
    cr_assert(start > 0 && start <= 12, "what was written before the jump goes in its time");
    end(&world);
}

Test(storage_retain, a_jump_back_makes_nothing_old_either)
{
    struct world world;
    begin(&world, 2);
    fill(&world, world.io->wall_ms);
    sim_jump(world.sim, -DAY_MS);
    advance(&world, 2 * HOUR_MS);
    cr_assert_eq(retained_start(&world), 0);
    sim_jump(world.sim, DAY_MS);
    cr_assert_gt(retained_start(&world), 0, "when the clock is right again, so is retention");
    end(&world);
}

Test(storage_retain, what_has_no_timestamps_ages_from_its_file_s_making)
{
    struct world world;
    begin(&world, 3);
    fill(&world, -1);
    advance(&world, HOUR_MS / 2);
    cr_assert_eq(retained_start(&world), 0);
    advance(&world, HOUR_MS);
    cr_assert_gt(retained_start(&world), 0);
    end(&world);
}

Test(storage_retain, compaction_alone_is_no_reason_to_go)
{
    struct world world;
    begin(&world, 4);
    world.config.retention_ms = -1;
    world.config.compact = true;
    log_configure(world.log, &world.config);
    fill(&world, world.io->wall_ms - DAY_MS);
    advance(&world, DAY_MS);
    cr_assert_eq(retained_start(&world), 0);
    end(&world);
}
