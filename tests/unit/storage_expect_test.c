// SPDX-License-Identifier: Apache-2.0
// Logs that are said to be opened soon: the same logs, in less time.
#include "tests/unit/storage_fixture.h"

enum { LOGS = 40, LATENCY_NS = 1000000 };

static struct log_name name_of(int32_t number)
{
    struct log_name name = world_name();
    name.partition = number;
    return name;
}

// A disk with LOGS logs of a batch each, all of them closed in order.
static void logs_make(struct world *world, uint64_t seed)
{
    world_begin(world, seed);
    sim_set_device(world->sim, LATENCY_NS, 0, 0);
    cr_assert_eq(world_open_store(world), 0);
    for (int32_t i = 0; i < LOGS; i++) {
        struct log_name name = name_of(i);
        cr_assert_eq(log_open(world->store, name, &world->config, &world->log, NULL), 0);
        world_append(world, 1 + i, i % 5 == 0 ? 100 * KIB : 100);
        world_settle(world);
        model_free(&world->model); // it is one log's
    }
    cr_assert_eq(log_store_close(world->store), 0);
    sim_restart(world->sim);
    cr_assert_eq(io_remove_wait(world->io, "/data/rest-000-of-001", false), 0);
    cr_assert_eq(world_open_store(world), 0);
}

static void logs_open(struct world *world)
{
    for (int32_t i = 0; i < LOGS; i++) {
        struct log *log;
        cr_assert_eq(log_open(world->store, name_of(i), &world->config, &log, NULL), 0);
        cr_assert_eq(log_offsets(log).committed, 1 + i);
        cr_assert_eq(log_offsets(log).error, 0);
    }
}

static void logs_expect(struct world *world)
{
    for (int32_t i = 0; i < LOGS; i++)
        log_expect(world->store, name_of(i));
}

static void logs_close(struct world *world)
{
    cr_assert_eq(log_store_settle(world->store), 0);
    cr_assert_eq(log_store_close(world->store), 0);
    cr_assert_eq(sim_open_files(world->sim), 0);
    world_end(world);
}

// On ten devices: now and then an operation takes very long.
static uint64_t time_to_open(bool expect)
{
    uint64_t took = 0;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct world world;
        logs_make(&world, seed);
        uint64_t start = world.io->now_ns;
        if (expect)
            logs_expect(&world);
        logs_open(&world);
        took += world.io->now_ns - start;
        logs_close(&world);
    }
    return took;
}

Test(storage, logs_that_are_expected_are_read_together)
{
    uint64_t expected = time_to_open(true);
    uint64_t unexpected = time_to_open(false);
    cr_assert_lt(3 * expected, unexpected, "%" PRIu64 " and %" PRIu64 " us", expected / 1000,
                 unexpected / 1000);
}

Test(storage, reading_ahead_of_logs_may_fail_in_every_place)
{
    static const enum io_kind kinds[] = {IO_OPEN, IO_READ, IO_CLOSE};
    for (size_t kind = 0; kind < sizeof(kinds) / sizeof(kinds[0]); kind++) {
        for (uint64_t nth = 1; nth <= LOGS; nth++) {
            struct world world;
            logs_make(&world, nth);
            logs_expect(&world);
            sim_fail(world.sim, kinds[kind], nth, -EIO, false);
            struct io_op op = {0};
            io_nop(world.io, &op);
            io_wait(world.io, &op);
            while (!sim_has_failed(world.sim, kinds[kind]) && sim_pass(world.sim))
                ;
            sim_fail(world.sim, kinds[kind], 0, 0, false);
            logs_open(&world);
            logs_close(&world);
        }
    }
}

Test(storage, logs_that_are_expected_need_not_come)
{
    struct world world;
    logs_make(&world, 3);
    logs_expect(&world);
    logs_expect(&world);
    logs_close(&world);
    logs_make(&world, 4);
    logs_expect(&world);
    cr_assert_eq(log_store_close(world.store), 0);
    cr_assert_eq(sim_open_files(world.sim), 0);
    world_end(&world);
}
