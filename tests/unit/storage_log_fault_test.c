// SPDX-License-Identifier: Apache-2.0
// Devices that fail or are full, at every operation in turn.
#include "tests/unit/storage_fixture.h"

enum { APPENDS = 12 };

static void append_some(struct world *world)
{
    for (int i = 0; i < APPENDS; i++) {
        world_append(world, 1, i % 4 == 3 ? 90000 : 3000);
        if (i % 2)
            world_settle(world);
    }
    world_settle(world);
}

static void begin_small(struct world *world, uint64_t seed)
{
    world_begin(world, seed);
    world->config.segment_bytes = 150000;
    cr_assert_eq(world_open(world), 0);
}

// Every operation of a kind fails once, in turn, until a run has no such operation left. The log
// keeps what it acknowledged, before and after the next start.
static void fail_each(enum io_kind kind, int error, bool recovers)
{
    for (uint64_t nth = 1;; nth++) {
        struct world world;
        begin_small(&world, nth);
        sim_fail(world.sim, kind, nth, error, false);
        append_some(&world);
        bool failed =
            world.model.acked < model_end(&world.model) || log_offsets(world.log).error != 0;
        sim_fail(world.sim, kind, 0, 0, false);
        model_cut(&world.model, log_offsets(world.log).end);
        if (recovers) {
            cr_assert_eq(log_offsets(world.log).error, 0, "%d at %" PRIu64, kind, nth);
            append_some(&world);
            cr_assert_eq(world.model.acked, model_end(&world.model), "%d at %" PRIu64, kind, nth);
        }
        world_verify_range(&world, 0, world.model.acked, 50000);
        world_crash(&world);
        cr_assert_eq(world_open(&world), 0);
        world_verify_recovered(&world);
        world_verify_range(&world, 0, world.model.acked, 50000);
        append_some(&world);
        cr_assert_eq(world.model.acked, model_end(&world.model));
        cr_assert_eq(log_store_close(world.store), 0);
        world_end(&world);
        if (!failed && nth > 40)
            break;
    }
}

Test(storage, a_full_disk_fails_appends_and_nothing_else)
{
    fail_each(IO_WRITE, -ENOSPC, true);
    fail_each(IO_ALLOCATE, -ENOSPC, true);
    fail_each(IO_OPEN, -ENOSPC, true);
    fail_each(IO_MKDIR, -ENOSPC, true);
}

Test(storage, a_failing_device_loses_nothing_acknowledged)
{
    fail_each(IO_WRITE, -EIO, false);
    fail_each(IO_ALLOCATE, -EIO, false);
    fail_each(IO_OPEN, -EIO, false);
    fail_each(IO_SYNC, -EIO, false);
    fail_each(IO_MKDIR, -EIO, false);
    fail_each(IO_TRUNCATE, -EIO, true);
    fail_each(IO_CLOSE, -EIO, true);
}

Test(storage, a_file_system_without_allocation_will_do)
{
    struct world world;
    world_begin(&world, 1);
    world.config.segment_bytes = 150000;
    sim_fail(world.sim, IO_ALLOCATE, 1, -EOPNOTSUPP, true);
    cr_assert_eq(world_open(&world), 0);
    append_some(&world);
    cr_assert_eq(world.model.acked, model_end(&world.model));
    world_verify_range(&world, 0, world.model.acked, 50000);
    world_crash(&world);
    cr_assert_eq(world_open(&world), 0);
    world_verify_recovered(&world);
    cr_assert_eq(log_store_close(world.store), 0);
    world_end(&world);
}

Test(storage, after_a_failed_write_nothing_is_accepted_until_opened_again)
{
    struct world world;
    begin_small(&world, 3);
    world_append(&world, 1, 3000);
    world_settle(&world);
    sim_fail(world.sim, IO_WRITE, 1, -EIO, false);
    world_append(&world, 1, 3000);
    world_append(&world, 1, 3000);
    world_settle(&world);
    cr_assert_eq(world.model.acked, 1);
    cr_assert_eq(log_offsets(world.log).error, -EIO);
    cr_assert_eq(log_offsets(world.log).end, 1, "the offsets are free again");
    world_append(&world, 1, 3000); // the device would take it
    world_settle(&world);
    cr_assert_eq(world.model.acked, 1);
    cr_assert_eq(world_trim(&world, 1), -EIO);
    world_verify_range(&world, 0, 1, MIB);
    cr_assert_eq(log_store_stats(world.store).write_errors, 1);
    world_crash(&world);
    cr_assert_eq(world_open(&world), 0);
    world_verify_recovered(&world);
    append_some(&world);
    cr_assert_eq(world.model.acked, model_end(&world.model));
    log_store_close(world.store);
    world_end(&world);
}

Test(storage, a_disk_that_fills_up_is_used_again_when_there_is_space)
{
    struct world world;
    begin_small(&world, 4);
    sim_set_capacity(world.sim, 600000);
    for (int i = 0; i < 30; i++) {
        world_append(&world, 1, 40000);
        world_settle(&world);
    }
    int64_t full = world.model.acked;
    cr_assert_gt(full, 5);
    cr_assert_lt(full, 30);
    cr_assert_eq(log_offsets(world.log).error, 0);
    cr_assert_eq(log_offsets(world.log).end, full);
    model_cut(&world.model, full);
    world_verify_range(&world, 0, full, MIB);
    // Making room needs none.
    cr_assert_eq(world_trim(&world, full - 3), 0);
    while (world_has_file(&world, 0, ".log"))
        world_turn(&world);
    for (int i = 0; i < 3; i++) {
        world_append(&world, 1, 40000);
        world_settle(&world);
    }
    cr_assert_eq(world.model.acked, full + 3);
    world_verify_range(&world, full - 3, full + 3, MIB);
    world_crash(&world);
    cr_assert_eq(world_open(&world), 0);
    world_verify_recovered(&world);
    log_store_close(world.store);
    world_end(&world);
}

// A full disk stops ordinary logs; one with a reserve goes on, over the end of its segment too.
Test(storage, a_log_with_a_reserve_goes_on_when_the_disk_is_full)
{
    struct world world;
    begin_small(&world, 7);
    struct world important = world;
    important.model = (struct model){0};
    important.config.reserve_bytes = 256 * KIB;
    important.config.segment_bytes = 40 * KIB;
    struct log_name name = world_name();
    name.partition = 4;
    cr_assert_eq(log_create(world.store, name, &important.config, &important.log), 0);
    world_append(&important, 1, 100);
    world_settle(&important);
    sim_set_capacity(world.sim, sim_used_bytes(world.sim) + 200000);
    while (world.model.acked == model_end(&world.model)) {
        world_append(&world, 1, 3000);
        world_settle(&world);
    }
    for (int i = 0; i < 40; i++) {
        world_append(&important, 1, 100);
        world_settle(&important);
    }
    cr_assert_eq(important.model.acked, 41);
    world_verify_range(&important, 0, 41, MIB);
    sim_set_capacity(world.sim, 0);
    log_retain(important.log);
    world_append(&important, 1, 100);
    world_settle(&important);
    cr_assert_eq(important.model.acked, 42);
    model_free(&important.model);
    cr_assert_eq(log_store_close(world.store), 0);
    world_end(&world);
}

Test(storage, a_removal_that_fails_is_tried_again)
{
    for (uint64_t nth = 1; nth <= 4; nth++) {
        for (int kind = 0; kind < 2; kind++) {
            struct world world;
            begin_small(&world, nth);
            append_some(&world);
            append_some(&world);
            sim_fail(world.sim, kind ? IO_SYNC : IO_UNLINK, nth, -EIO, false);
            cr_assert_eq(world_trim(&world, -1), 0);
            for (int i = 0; i < 20; i++)
                world_turn(&world);
            while (world_has_file(&world, 0, ".log")) {
                log_retain(world.log);
                world_turn(&world);
            }
            sim_fail(world.sim, kind ? IO_SYNC : IO_UNLINK, 0, 0, false);
            append_some(&world);
            cr_assert_eq(world.model.acked, model_end(&world.model));
            world_crash(&world);
            cr_assert_eq(world_open(&world), 0);
            world_verify_recovered(&world);
            cr_assert_eq(log_store_close(world.store), 0);
            world_end(&world);
        }
    }
}

Test(storage, without_memory_appends_fail_and_the_log_goes_on)
{
    struct world world;
    world_init(&world, 6);
    pool_destroy(world.pool);
    world.pool = pool_create(400 * KIB);
    snprintf(world.directory, sizeof(world.directory), "/data");
    world.sim = sim_create(6);
    world.io = sim_io(world.sim);
    cr_assert_eq(world_open(&world), 0);
    for (int i = 0; i < 100; i++)
        world_append(&world, 1, 20000);
    cr_assert_lt(log_offsets(world.log).end, 100);
    cr_assert_gt(log_offsets(world.log).end, 5);
    world_settle(&world);
    cr_assert_eq(world.model.acked, model_end(&world.model));
    for (int i = 0; i < 20; i++) {
        world_append(&world, 1, 20000);
        world_settle(&world);
    }
    cr_assert_eq(world.model.acked, model_end(&world.model));
    world_verify_range(&world, 0, world.model.acked, 50000);
    cr_assert_eq(log_store_close(world.store), 0);
    world_end(&world);
}
