// SPDX-License-Identifier: Apache-2.0
// What a start makes of a log's files: checkpoints, leftovers, the edges between segments.
#include "storage/format.h"
#include "tests/unit/storage_fixture.h"

static void append_many(struct world *world, int count, size_t size)
{
    for (int i = 0; i < count; i++) {
        world_append(world, 1, size);
        world_settle(world);
    }
}

static void reopen(struct world *world)
{
    world_crash(world);
    cr_assert_eq(world_open(world), 0);
    world_verify_recovered(world);
    world_verify_range(world, world->model.start, world->model.acked, MIB);
}

Test(storage, a_trim_at_the_very_end_of_a_segment_belongs_to_it)
{
    struct world world;
    world_begin(&world, 1);
    world.config.segment_bytes = 24 * KIB;
    cr_assert_eq(world_open(&world), 0);
    append_many(&world, 2, 8000);
    cr_assert_eq(world_trim(&world, 1), 0);
    append_many(&world, 1, 8000);
    cr_assert_eq(log_store_close(world.store), 0);
    sim_restart(world.sim);
    cr_assert(world_has_file(&world, 2, ".log"), "the third batch begins a segment");
    cr_assert_eq(world_open(&world), 0);
    int64_t size = log_offsets(world.log).size_bytes;
    cr_assert_eq(log_store_close(world.store), 0);
    if (world_has_file(&world, 0, ".index"))
        world_remove_file(&world, 0, ".index"); // indexes are not synced: it may be gone anyhow
    cr_assert_eq(world_open(&world), 0);
    cr_assert_eq(log_offsets(world.log).size_bytes, size);
    world_verify_recovered(&world);
    cr_assert_eq(log_store_close(world.store), 0);
    world_end(&world);
}

Test(storage, the_size_of_a_log_follows_its_segments)
{
    struct world world;
    world_begin(&world, 3);
    world.config.segment_bytes = 24 * KIB;
    cr_assert_eq(world_open(&world), 0);
    append_many(&world, 20, 8000);
    int64_t whole = log_offsets(world.log).size_bytes;
    cr_assert_eq(world_trim(&world, 11), 0);
    while (world_has_file(&world, 8, ".log"))
        world_turn(&world);
    append_many(&world, 1, 8000);
    int64_t size = log_offsets(world.log).size_bytes;
    cr_assert_lt(size, whole);
    cr_assert_eq(log_store_close(world.store), 0);
    sim_restart(world.sim);
    cr_assert_eq(world_open(&world), 0);
    cr_assert_eq(log_offsets(world.log).size_bytes, size);
    cr_assert_eq(log_store_close(world.store), 0);
    world_end(&world);
}

Test(storage, a_start_scans_only_what_lies_behind_a_checkpoint)
{
    struct world world;
    world_begin(&world, 2);
    cr_assert_eq(world_open(&world), 0);
    append_many(&world, 40, 100 * KIB);
    for (int i = 0; i < 100; i++)
        world_turn(&world);
    cr_assert(world_has_file(&world, 0, ".index"));
    world_make_durable(&world, 0, ".index");
    world_crash(&world);
    cr_assert_eq(world_open(&world), 0);
    world_verify_recovered(&world);
    cr_assert_lt(world.recovery.scanned_bytes, 2 * MIB);
    cr_assert_eq(log_store_close(world.store), 0);
    world_end(&world);
}

Test(storage, a_quiet_log_gets_a_checkpoint)
{
    struct world world;
    world_begin(&world, 3);
    cr_assert_eq(world_open(&world), 0);
    append_many(&world, 3, 10 * KIB);
    log_retain(world.log);
    for (int i = 0; i < 10; i++)
        world_turn(&world);
    cr_assert_not(world_has_file(&world, 0, ".index"), "it was written a moment ago");
    log_retain(world.log);
    for (int i = 0; i < 20; i++)
        world_turn(&world);
    cr_assert(world_has_file(&world, 0, ".index"));
    cr_assert_not(world_has_file(&world, 0, ".index.new"));
    reopen(&world);
    cr_assert_eq(log_store_close(world.store), 0);
    world_end(&world);
}

// A creation that failed, and whose removal did not last, leaves an empty file below what the log
// went on to store.
Test(storage, an_empty_last_file_below_stored_offsets_is_a_leftover)
{
    struct world world;
    world_begin(&world, 4);
    cr_assert_eq(world_open(&world), 0);
    append_many(&world, 6, 4 * KIB);
    world_crash(&world);
    uint8_t block[FORMAT_BLOCK];
    struct segment_header header;
    uint32_t version = 0;
    world_peek(&world, 0, 0, block, sizeof(block));
    cr_assert_eq(format_segment_read(block, &header, &version), 0);
    header.base_offset = 4;
    header.first_sequence += 4;
    header.salt++;
    format_segment_write(&header, block);
    world_overwrite(&world, 4, ".log", 0, block, sizeof(block));
    world_make_durable(&world, 4, ".log");
    cr_assert_eq(world_open(&world), 0);
    world_verify_recovered(&world);
    world_verify_range(&world, 0, 6, MIB);
    cr_assert_not(world_has_file(&world, 4, ".log"));
    append_many(&world, 2, 100);
    reopen(&world);
    cr_assert_eq(log_store_close(world.store), 0);
    world_end(&world);
}

Test(storage, an_empty_last_file_beyond_what_is_stored_shows_a_loss)
{
    struct world world;
    world_begin(&world, 5);
    cr_assert_eq(world_open(&world), 0);
    append_many(&world, 6, 4 * KIB);
    world_crash(&world);
    uint8_t block[FORMAT_BLOCK];
    struct segment_header header;
    uint32_t version = 0;
    world_peek(&world, 0, 0, block, sizeof(block));
    cr_assert_eq(format_segment_read(block, &header, &version), 0);
    header.base_offset = 9;
    header.first_sequence += 9;
    format_segment_write(&header, block);
    world_overwrite(&world, 9, ".log", 0, block, sizeof(block));
    cr_assert_eq(world_open(&world), 0);
    cr_assert_eq(world.recovery.damaged_ranges, 1);
    struct reading reading;
    world_read(&world, &reading, 7, MIB);
    cr_assert_eq(reading.op.error, -EIO);
    log_read_release(&reading.op);
    world_verify_range(&world, 0, 6, MIB);
    cr_assert_eq(log_offsets(world.log).end, 9);
    cr_assert_eq(log_store_close(world.store), 0);
    world_end(&world);
}
