// SPDX-License-Identifier: Apache-2.0
// Logs that nobody has touched since a clean end are opened without looking at their files; all
// others are looked at.
#include "tests/unit/storage_fixture.h"

enum { LOGS = 12 };

static const char rest_path[] = "/data/rest-000-of-001";

static struct log_name name_of(int32_t number)
{
    struct log_name name = world_name();
    name.partition = number;
    return name;
}

static void segment_path_of(int32_t number, char to[128])
{
    snprintf(to, 128, "/data/topics/orders/%d-AQIDBP_-AAAAAAAAAAAAAA/%020d.log", number, 0);
}

static bool is_there(struct world *world, const char *path)
{
    struct io_stamp stamp;
    return io_stamp_of(world->io, path, &stamp) == 0;
}

static void logs_fill(struct world *world)
{
    for (int32_t i = 0; i < LOGS; i++) {
        cr_assert_eq(log_open(world->store, name_of(i), &world->config, &world->log, NULL), 0);
        world_append(world, 1 + i, i % 5 == 0 ? 100 * KIB : 100);
        world_settle(world);
        model_free(&world->model); // it is one log's
    }
}

// A disk with LOGS logs of a batch each, closed in order, and its store opened again.
static void world_make(struct world *world, uint64_t seed)
{
    world_begin(world, seed);
    world->journal_bytes = seed % 2 * MIB;
    cr_assert_eq(world_open_store(world), 0);
    cr_assert_eq(log_store_begin(world->store, true), 0);
    logs_fill(world);
    cr_assert_eq(log_store_close(world->store), 0);
    sim_restart_process(world->sim);
}

static struct log_recovery log_reopen(struct world *world, int32_t number)
{
    struct log_recovery recovery;
    cr_assert_eq(log_open(world->store, name_of(number), &world->config, &world->log, &recovery),
                 0);
    cr_assert_eq(log_offsets(world->log).committed, 1 + number);
    return recovery;
}

// How many operations opening the log takes.
static uint64_t work_to_reopen(struct world *world, int32_t number)
{
    uint64_t before = world->io->stats.operations;
    cr_assert_eq(log_reopen(world, number).damaged_ranges, 0);
    return world->io->stats.operations - before;
}

static void world_close(struct world *world)
{
    cr_assert_eq(log_store_close(world->store), 0);
    cr_assert_eq(sim_open_files(world->sim), 0);
    world_end(world);
}

Test(storage, logs_at_rest_are_opened_without_their_files)
{
    struct world world;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        world_make(&world, seed);
        // Also after an end without any use of them.
        for (int lives = 0; lives < 3; lives++) {
            cr_assert(is_there(&world, rest_path));
            cr_assert_eq(world_open_store(&world), 0);
            cr_assert_not(is_there(&world, rest_path));
            for (int32_t i = 0; i < LOGS; i++)
                cr_assert_eq(work_to_reopen(&world, i), 0, "log %d", i);
            cr_assert_eq(log_store_begin(world.store, true), 0);
            cr_assert_eq(log_store_close(world.store), 0);
            sim_restart_process(world.sim);
        }
        cr_assert_eq(world_open_store(&world), 0);
        world_close(&world);
    }
}

Test(storage, what_was_at_rest_is_read_and_appended_to)
{
    struct world world;
    world_make(&world, 3);
    cr_assert_eq(world_open_store(&world), 0);
    logs_fill(&world);
    for (int32_t i = 0; i < LOGS; i++)
        cr_assert_eq(log_offsets(world.log).error, 0);
    // Nothing of the rest is left: the power goes off, and all of it is found in the files.
    sim_power_off(world.sim, 0);
    log_store_close(world.store);
    sim_restart(world.sim);
    cr_assert_eq(world_open_store(&world), 0);
    for (int32_t i = 0; i < LOGS; i++) {
        cr_assert_eq(log_open(world.store, name_of(i), &world.config, &world.log, NULL), 0);
        cr_assert_eq(log_offsets(world.log).committed, 2 * (1 + i));
    }
    world_close(&world);
}

Test(storage, a_log_that_was_touched_is_looked_at)
{
    struct world world;
    char path[128];
    world_make(&world, 2);
    segment_path_of(1, path);
    cr_assert_eq(sim_flip(world.sim, path, 4096 * 8), 0); // in its only frame
    segment_path_of(2, path);
    cr_assert_eq(sim_flip(world.sim, path, 4000 * 8), 0); // in its header, where zeros are
    char beside[160];
    segment_path_of(3, path);
    snprintf(beside, sizeof(beside), "%s.note", path);
    int fd = io_open_wait(world.io, beside, O_WRONLY | O_CREAT, 0600);
    cr_assert_geq(fd, 0);
    io_close_wait(world.io, fd);
    cr_assert_eq(world_open_store(&world), 0);
    cr_assert_eq(work_to_reopen(&world, 0), 0);
    struct log_recovery recovery;
    for (int32_t i = 1; i <= 2; i++) {
        cr_assert_eq(log_open(world.store, name_of(i), &world.config, &world.log, &recovery), 0);
        cr_expect_gt(recovery.damaged_ranges, 0, "log %d", i);
    }
    cr_expect_gt(work_to_reopen(&world, 3), 0, "there is another file");
    world_close(&world);
}

Test(storage, a_log_whose_file_is_gone_is_looked_at)
{
    struct world world;
    char path[128];
    world_make(&world, 2);
    segment_path_of(0, path);
    cr_assert_eq(io_remove_wait(world.io, path, false), 0);
    cr_assert_eq(world_open_store(&world), 0);
    struct log_recovery recovery;
    cr_assert_eq(log_open(world.store, name_of(0), &world.config, &world.log, &recovery), 0);
    cr_expect_gt(recovery.damaged_ranges, 0);
    cr_expect_eq(log_offsets(world.log).error, -EIO);
    world_close(&world);
}

Test(storage, a_rest_that_is_damaged_is_not_believed)
{
    struct io_stamp stamp = {0};
    for (uint64_t byte = 0; byte == 0 || byte < stamp.size; byte += 53) {
        struct world world;
        world_make(&world, 2);
        cr_assert_eq(io_stamp_of(world.io, rest_path, &stamp), 0);
        cr_assert_eq(sim_flip(world.sim, rest_path, byte * 8 + byte % 8), 0);
        cr_assert_eq(world_open_store(&world), 0);
        cr_assert_gt(work_to_reopen(&world, 1), 0, "byte %" PRIu64, byte);
        cr_assert_not(is_there(&world, rest_path));
        world_close(&world);
    }
}

Test(storage, a_rest_of_another_number_of_shards_goes)
{
    struct world world;
    world_make(&world, 2);
    struct io_op op = {0};
    io_rename(world.io, &op, rest_path, "/data/rest-001-of-002");
    cr_assert_eq(io_wait(world.io, &op), 0);
    cr_assert_eq(world_open_store(&world), 0);
    cr_assert_not(is_there(&world, "/data/rest-001-of-002"));
    cr_assert_gt(work_to_reopen(&world, 1), 0);
    world_close(&world);
}

// Whatever the device refuses: what was stored is there, and no rest outlives a start that went on.
Test(storage, a_rest_that_cannot_be_written_read_or_removed_does_no_harm)
{
    static const enum io_kind kinds[] = {IO_OPEN,  IO_READ,   IO_WRITE, IO_SYNC,
                                         IO_CLOSE, IO_RENAME, IO_UNLINK};
    for (size_t kind = 0; kind < sizeof(kinds) / sizeof(kinds[0]); kind++) {
        for (uint64_t nth = 1; nth <= 24; nth++) {
            struct world world;
            world_make(&world, 2);
            cr_assert_eq(world_open_store(&world), 0);
            for (int32_t i = 0; i < LOGS; i++)
                log_reopen(&world, i);
            sim_fail(world.sim, kinds[kind], nth, -EIO, false);
            log_store_close(world.store);
            sim_restart_process(world.sim);
            int error = world_open_store(&world);
            sim_fail(world.sim, kinds[kind], 0, 0, false);
            if (error)
                cr_assert_eq(world_open_store(&world), 0);
            cr_assert_not(is_there(&world, rest_path));
            for (int32_t i = 0; i < LOGS; i++)
                cr_assert_eq(log_reopen(&world, i).damaged_ranges, 0);
            world_close(&world);
        }
    }
}
