// SPDX-License-Identifier: Apache-2.0
// What a log makes of a journal that has lost something.
#include "base/endian.h"
#include "storage/journal_format.h"
#include "tests/unit/storage_fixture.h"

static const char *const journal_file = "/data/journal/000-000.journal";

static void begin(struct world *world, uint64_t seed)
{
    world_begin(world, seed);
    world->journal_bytes = MIB;
    cr_assert_eq(world_open(world), 0);
}

static void append_and_settle(struct world *world)
{
    world_append(world, 1, 1000);
    world_settle(world);
}

// A bit of the first payload of commit number `number`, counted from 0.
static void commit_spoil(struct world *world, int number)
{
    int fd = io_open_wait(world->io, journal_file, O_RDONLY, 0);
    cr_assert_geq(fd, 0);
    uint8_t header[JOURNAL_COMMIT_HEADER];
    uint64_t at = JOURNAL_BLOCK;
    for (int i = 0; i < number; i++, at += load_le32(header + 12))
        cr_assert_eq(io_read_wait(world->io, fd, header, sizeof(header), at), sizeof(header));
    io_close_wait(world->io, fd);
    cr_assert_eq(sim_flip(world->sim, journal_file, (at + JOURNAL_COMMIT_HEADER + 200) * 8), 0);
}

static int read_error(struct world *world, int64_t offset)
{
    struct reading reading;
    world_read(world, &reading, offset, 1000);
    int error = reading.op.error;
    log_read_release(&reading.op);
    return error;
}

Test(storage, what_a_journal_lost_before_a_trim_is_damage)
{
    struct world world;
    begin(&world, 1);
    for (int i = 0; i < 3; i++)
        append_and_settle(&world);
    cr_assert_eq(world_trim(&world, 1), 0);
    world_crash(&world);
    commit_spoil(&world, 2);
    for (int start = 0; start < 2; start++) {
        cr_assert_eq(world_open(&world), 0);
        cr_assert_eq(world.recovery.damaged_ranges, 1, "start %d", start);
        cr_assert_eq(log_offsets(world.log).error, 0);
        cr_assert_eq(log_offsets(world.log).start, 1);
        cr_assert_eq(log_offsets(world.log).end, 3, "the offset is not given again");
        world_verify_range(&world, 1, 2, 1000);
        cr_assert_eq(read_error(&world, 2), -EIO);
        world_crash(&world);
    }
    cr_assert_eq(world_open(&world), 0);
    append_and_settle(&world);
    world_verify_range(&world, 3, 4, 1000);
    cr_assert_eq(log_store_close(world.store), 0);
    world_end(&world);
}

Test(storage, a_trim_behind_everything_that_a_journal_lost_takes_it_away)
{
    struct world world;
    begin(&world, 2);
    for (int i = 0; i < 3; i++)
        append_and_settle(&world);
    cr_assert_eq(world_trim(&world, 3), 0);
    world_crash(&world);
    commit_spoil(&world, 2);
    cr_assert_eq(world_open(&world), 0);
    cr_assert_eq(log_offsets(world.log).start, 3);
    append_and_settle(&world);
    world_verify_range(&world, 3, 4, 1000);
    world_crash(&world);
    cr_assert_eq(world_open(&world), 0);
    cr_assert_eq(log_offsets(world.log).start, 3);
    world_verify_range(&world, 3, 4, 1000);
    cr_assert_eq(log_store_close(world.store), 0);
    world_end(&world);
}

Test(storage, what_a_journal_lost_of_a_log_without_segments_stays_damage)
{
    struct world world;
    begin(&world, 3);
    for (int i = 0; i < 3; i++)
        append_and_settle(&world);
    world_crash(&world);
    world_remove_file(&world, 0, ".log");
    commit_spoil(&world, 0);
    for (int start = 0; start < 3; start++) {
        cr_assert_eq(world_open(&world), 0);
        cr_assert_eq(world.recovery.damaged_ranges, 1, "start %d", start);
        cr_assert_eq(log_offsets(world.log).error, 0);
        cr_assert_eq(log_offsets(world.log).start, 0);
        cr_assert_eq(read_error(&world, 0), -EIO);
        world_verify_range(&world, 1, 3, 1000);
        world_crash(&world);
    }
    world_end(&world);
}
