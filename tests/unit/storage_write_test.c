// SPDX-License-Identifier: Apache-2.0
// The two ways to durability: what they leave in the files, and after a stop or a failure at any
// point.
#include "storage/store.h"
#include "tests/unit/storage_fixture.h"

enum { JOURNAL = 128 * KIB };

static void begin(struct world *world, uint64_t seed, uint64_t journal_bytes)
{
    world_begin(world, seed);
    world->journal_bytes = journal_bytes;
    cr_assert_eq(world_open(world), 0);
}

static void finish(struct world *world)
{
    cr_assert_eq(log_store_close(world->store), 0);
    world_end(world);
}

static void append_and_settle(struct world *world, int count, size_t size)
{
    for (int i = 0; i < count; i++) {
        world_append(world, 1, size);
        world_settle(world);
    }
}

static void crash_and_verify(struct world *world)
{
    world_crash(world);
    cr_assert_eq(world_open(world), 0);
    world_verify_recovered(world);
    world_verify_range(world, world->model.start, world->model.acked, 100000);
}

Test(storage, frames_lie_back_to_back)
{
    struct world world;
    begin(&world, 1, 0);
    append_and_settle(&world, 40, 100);
    cr_assert_eq(log_offsets(world.log).size_bytes, FORMAT_BLOCK + 40 * FORMAT_ALIGNMENT);
    crash_and_verify(&world);
    cr_assert_eq(world.model.acked, 40);
    finish(&world);
}

Test(storage, a_frame_goes_on_growing_while_it_is_in_the_journal)
{
    struct world world;
    begin(&world, 2, 16 * MIB);
    append_and_settle(&world, 1, 100);
    append_and_settle(&world, 200, 100);
    cr_assert_eq(world.model.acked, 201);
    cr_assert_eq(world.log->segments[0]->end, FORMAT_BLOCK, "nothing is in the segment");
    world_verify_range(&world, 0, 201, 1000);
    cr_assert_eq(log_store_close(world.store), 0);
    cr_assert_eq(world_open(&world), 0);
    world_verify_recovered(&world);
    int64_t batches = 0;
    for (size_t i = 0; i < world.model.count; i++)
        batches += (int64_t)world.model.batches[i].size;
    cr_assert_leq(log_offsets(world.log).size_bytes, FORMAT_BLOCK + batches * 103 / 100);
    finish(&world);
}

// Small and large appends in turns, with rolls in the middle; whether it went through.
static bool stopped_after(uint64_t operations)
{
    struct world world;
    world_begin(&world, operations);
    world.journal_bytes = JOURNAL;
    world.config.segment_bytes = 60000;
    cr_assert_eq(world_open(&world), 0);
    sim_power_off(world.sim, operations);
    for (int i = 0; i < 8 && !sim_power_is_off(world.sim); i++) {
        append_and_settle(&world, 3, 3000);
        world_append(&world, 1, i % 3 == 2 ? 70000 : 500);
        world_append(&world, 2, 9000);
        world_settle(&world);
        if (i == 4 && !sim_power_is_off(world.sim))
            cr_assert(world_trim(&world, 7) == 0 || sim_power_is_off(world.sim));
    }
    bool through = !sim_power_is_off(world.sim);
    crash_and_verify(&world);
    append_and_settle(&world, 2, 2000);
    crash_and_verify(&world);
    finish(&world);
    return through;
}

Test(storage, both_ways_stopped_at_any_point_keep_what_was_acknowledged)
{
    uint64_t operations = 1;
    while (!stopped_after(operations))
        operations++;
    cr_assert_gt(operations, 40);
}

Test(storage, a_full_journal_holds_nothing_up)
{
    struct world world;
    begin(&world, 3, JOURNAL);
    for (int i = 0; i < 100; i++) {
        for (int k = 0; k < 5; k++)
            world_append(&world, 1, 2000);
        world_settle(&world);
    }
    cr_assert_eq(world.model.acked, 500);
    cr_assert_eq(log_offsets(world.log).error, 0);
    crash_and_verify(&world);
    finish(&world);
}

Test(storage, a_failed_journal_write_fails_nobody)
{
    for (int late = 0; late < 2; late++) {
        struct world world;
        begin(&world, 4, MIB);
        append_and_settle(&world, 5, 1000);
        sim_fail(world.sim, IO_WRITE, 1, -EIO, false);
        world_append(&world, 1, 1000);
        if (late)
            world_turn(&world);
        world_append(&world, 1, 1500);
        world_settle(&world);
        cr_assert_eq(world.model.acked, 7, "the same bytes go to the segment");
        cr_assert_eq(log_offsets(world.log).error, 0);
        append_and_settle(&world, 3, 500);
        cr_assert_eq(world.model.acked, 10);
        crash_and_verify(&world);
        append_and_settle(&world, 3, 500);
        crash_and_verify(&world);
        finish(&world);
    }
}

Test(storage, what_the_journal_and_the_segment_refuse_keeps_its_offsets)
{
    for (int error = 0; error < 2; error++) {
        struct world world;
        begin(&world, 5, MIB);
        append_and_settle(&world, 5, 1000);
        sim_fail(world.sim, IO_WRITE, 1, error ? -EIO : -ENOSPC, true);
        world_append(&world, 1, 1000);
        world_settle(&world);
        cr_assert_eq(world.model.acked, 5);
        cr_assert_eq(log_offsets(world.log).end, 6, "the offset is not given again");
        cr_assert_eq(log_offsets(world.log).error, error ? -EIO : 0);
        sim_fail(world.sim, IO_WRITE, 0, 0, false);
        append_and_settle(&world, 2, 700);
        cr_assert_eq(world.model.acked, error ? 5 : 8);
        if (error)
            model_cut(&world.model, 6);
        crash_and_verify(&world);
        cr_assert_geq(world.model.acked, error ? 5 : 8);
        finish(&world);
    }
}

Test(storage, a_failed_flush_leaves_the_journal_in_charge)
{
    struct world world;
    begin(&world, 6, MIB);
    append_and_settle(&world, 20, 1000);
    cr_assert_eq(world.log->segments[0]->end, FORMAT_BLOCK, "nothing is in the segment");
    sim_fail(world.sim, IO_WRITE, 1, -EIO, false);
    world_append(&world, 1, 100000);
    world_settle(&world);
    cr_assert_eq(world.model.acked, 20);
    cr_assert_eq(log_offsets(world.log).error, -EIO);
    cr_assert_eq(log_offsets(world.log).committed, 20);
    world_verify_range(&world, 0, 20, MIB);
    crash_and_verify(&world);
    cr_assert_geq(world.model.acked, 20);
    append_and_settle(&world, 2, 1000);
    crash_and_verify(&world);
    finish(&world);
}
