// SPDX-License-Identifier: Apache-2.0
// A sync has failed and the program was started again, the machine was not: what the failed sync
// lost is still read from the kernel's cache, and no later sync would save it.
#include "storage/format.h"
#include "tests/unit/storage_fixture.h"

static void begin_buffered(struct world *world, uint64_t seed, uint64_t journal_bytes)
{
    world_begin(world, seed);
    world->buffered = true;
    world->sync = LOG_SYNC_FSYNC;
    world->journal_bytes = journal_bytes;
    cr_assert_eq(world_open(world), 0);
}

// The `nth` sync fails, once or from then on, while records are appended. The next start may show
// what was not acknowledged; what it shows stays. Whether the fault has struck.
static bool fail_and_start_again(uint64_t nth, bool for_ever, uint64_t journal_bytes, size_t size)
{
    struct world world;
    begin_buffered(&world, nth, journal_bytes);
    world_append(&world, 1, size);
    world_settle(&world);
    sim_fail(world.sim, IO_SYNC, nth, -EIO, for_ever);
    for (int i = 0; i < 4; i++) {
        world_append(&world, 1, size);
        world_settle(&world);
    }
    bool struck = sim_has_failed(world.sim, IO_SYNC);
    world_kill(&world);
    sim_fail(world.sim, IO_SYNC, 0, 0, false);
    cr_assert_eq(world_open(&world), 0);
    world_verify_recovered(&world);
    world_verify_range(&world, 0, world.model.acked, MIB);
    world_crash(&world);
    cr_assert_eq(world_open(&world), 0);
    world_verify_recovered(&world);
    world_verify_range(&world, 0, world.model.acked, MIB);
    cr_assert_eq(log_store_close(world.store), 0);
    world_end(&world);
    return struck;
}

Test(storage, what_a_start_shows_is_durable_although_a_sync_has_failed)
{
    for (int way = 0; way < 8; way++) {
        uint64_t nth = 1;
        while (fail_and_start_again(nth, way & 1, way & 2 ? MIB : 0, way & 4 ? 90000 : 3000))
            nth++;
        cr_assert_gt(nth, 4);
    }
}

Test(storage, nothing_is_written_behind_what_is_not_durable)
{
    struct world world;
    begin_buffered(&world, 1, 0);
    world_append(&world, 1, 3000);
    world_settle(&world);
    sim_fail(world.sim, IO_SYNC, 1, -EIO, false);
    world_append(&world, 1, 3000);
    world_settle(&world);
    cr_assert_eq(world.model.acked, 1);
    world_kill(&world);
    world.sync = LOG_SYNC_DSYNC;
    cr_assert_eq(world_open_store(&world), 0);
    cr_assert_eq(log_open(world.store, world_name(), &world.config, &world.log, &world.recovery),
                 0);
    cr_assert_eq(log_offsets(world.log).committed, 2);
    world_append(&world, 1, 3000); // before the store has settled
    world_settle(&world);
    cr_assert_eq(world.model.acked, 3);
    world_crash(&world);
    cr_assert_eq(world_open(&world), 0);
    world_verify_recovered(&world);
    cr_assert_eq(log_store_close(world.store), 0);
    world_end(&world);
}

// The journal's sync fails, the program ends before the segment has the record, and after the start
// there is no space to bring it there: it is served from the journal, so that must be durable.
Test(storage, what_stays_in_the_journal_is_durable_although_a_sync_has_failed)
{
    int unflushed = 0;
    for (uint64_t seed = 1; seed <= 30; seed++) {
        struct world world;
        begin_buffered(&world, seed, MIB);
        world_append(&world, 1, 3000);
        world_settle(&world);
        sim_fail(world.sim, IO_SYNC, 1, -EIO, false);
        world_append(&world, 1, 3000);
        while (!sim_has_failed(world.sim, IO_SYNC))
            world_turn(&world);
        world_kill(&world);
        cr_assert_eq(world_open_store(&world), 0);
        cr_assert_eq(
            log_open(world.store, world_name(), &world.config, &world.log, &world.recovery), 0);
        sim_fail(world.sim, IO_WRITE, 1, -ENOSPC, false);
        int settled = log_store_settle(world.store);
        sim_fail(world.sim, IO_WRITE, 0, 0, false);
        cr_assert_geq(settled, 0);
        unflushed += settled;
        cr_assert_eq(log_store_begin(world.store, settled == 0), 0);
        world_verify_recovered(&world);
        world_verify_range(&world, 0, world.model.acked, MIB);
        world_crash(&world);
        cr_assert_eq(world_open(&world), 0);
        world_verify_recovered(&world);
        world_verify_range(&world, 0, world.model.acked, MIB);
        cr_assert_eq(log_store_close(world.store), 0);
        world_end(&world);
    }
    cr_assert_gt(unflushed, 5);
}

enum {
    FRAME_VALUE = 12000,
    FRAME_STORED = 3 * FORMAT_BLOCK,
};

// The last frame becomes the rest of a write whose sync failed: its first block, which the kernel's
// cache has, and of which the device has some sectors.
static void tear_last_frame(struct world *world, uint64_t position)
{
    static const uint8_t zeros[FRAME_STORED];
    uint8_t first[FORMAT_BLOCK];
    char path[256];
    world_peek(world, 0, position, first, sizeof(first));
    world_overwrite(world, 0, ".log", position, zeros, sizeof(zeros));
    world_segment_path(world, 0, ".log", path);
    int fd = io_open_wait(world->io, path, O_RDWR, 0);
    cr_assert_geq(fd, 0);
    cr_assert_eq(io_write_wait(world->io, fd, first, sizeof(first), position, false),
                 (int64_t)sizeof(first));
    sim_fail(world->sim, IO_SYNC, 1, -EIO, false);
    struct io_op op = {0};
    io_sync(world->io, &op, fd, false);
    cr_assert_eq(io_wait(world->io, &op), -EIO);
    io_close_wait(world->io, fd);
}

// Starts: of two records the second is damaged, and the log ends behind it.
static void start_with_second_damaged(struct world *world)
{
    cr_assert_eq(world_open(world), 0);
    cr_assert_eq(world->recovery.damaged_ranges, 1, "seed %" PRIu64, world->seed);
    cr_assert_eq(log_offsets(world->log).committed, 2, "seed %" PRIu64, world->seed);
    cr_assert_eq(log_offsets(world->log).error, 0);
    world_verify_range(world, 0, 1, MIB);
    struct reading reading;
    world_read(world, &reading, 1, MIB);
    cr_assert_eq(reading.op.error, -EIO);
    log_read_release(&reading.op);
}

// Of three frames the second is damaged, and the torn third is all that proves that it was durable.
// What a start has said of that stays.
Test(storage, what_proves_damage_is_durable_although_a_sync_has_failed)
{
    static const uint64_t damaged_bytes[] = {8, FRAME_HEADER_SIZE + 100};
    for (uint64_t seed = 1; seed <= 24; seed++) {
        struct world world;
        uint64_t second = FORMAT_BLOCK + FRAME_STORED;
        begin_buffered(&world, seed, 0);
        for (int i = 0; i < 3; i++) {
            world_append(&world, 1, FRAME_VALUE);
            world_settle(&world);
        }
        cr_assert_eq(log_offsets(world.log).size_bytes, FORMAT_BLOCK + 3 * FRAME_STORED);
        world_kill(&world);
        tear_last_frame(&world, second + FRAME_STORED);
        world_flip(&world, 0, ".log", (second + damaged_bytes[seed / 2 % 2]) * 8);
        world.model.acked = 2;
        model_cut(&world.model, 2);
        start_with_second_damaged(&world);
        world_crash(&world);
        start_with_second_damaged(&world);
        world_append(&world, 1, FRAME_VALUE);
        world_settle(&world);
        cr_assert_eq(world.model.acked, 3);
        world_crash(&world);
        cr_assert_eq(world_open(&world), 0);
        world_verify_range(&world, 2, 3, MIB);
        cr_assert_eq(log_store_close(world.store), 0);
        world_end(&world);
    }
}
