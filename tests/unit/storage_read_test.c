// SPDX-License-Identifier: Apache-2.0
// Reading from disk: the cache, shared reads, read-ahead, holes, damage, failing devices, removal.
#include "storage/format.h"
#include "storage/store.h"
#include "tests/unit/storage_compact_fixture.h"
#include "tests/unit/storage_read_fixture.h"

static uint64_t payload_of(const struct world *world)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < world->model.count; i++)
        bytes += world->model.batches[i].size;
    return bytes;
}

// --- the cache

Test(storage, pieces_of_a_large_frame_are_read_and_verified_once)
{
    struct world world;
    begin(&world, 21, 16 * MIB);
    fill_frame(&world, 100, 18000);
    world_verify_range(&world, 0, world.model.acked, 40000);
    struct log_store_stats stats = stats_of(&world);
    cr_assert_leq(stats.device_read_bytes, payload_of(&world) + 8 * 4096);
    cr_assert_gt(stats.cache_reads, 20);
    uint64_t reads = stats.device_reads;
    world_verify_range(&world, 0, world.model.acked, 500000);
    cr_assert_eq(stats_of(&world).device_reads, reads, "the second time it comes from memory");
    finish(&world);
}

Test(storage, the_read_cache_keeps_to_its_limit)
{
    struct world world;
    begin(&world, 22, 8 * MIB);
    fill(&world, 40, 600000);
    for (int64_t at = 0; at < world.model.acked;) {
        struct reading reading;
        world_read(&world, &reading, at, MIB);
        at = world_compare(&world, &reading.op);
        log_read_release(&reading.op);
        cr_assert_leq(world.store->reads.bytes, 8 * MIB);
    }
    cr_assert_gt(world.store->reads.bytes, 4 * MIB, "and makes use of it");
    finish(&world);
}

Test(storage, a_replay_leaves_what_others_come_back_for)
{
    struct world world;
    begin(&world, 23, 8 * MIB);
    fill(&world, 60, 600000);
    for (int i = 0; i < 3; i++)
        world_verify_range(&world, 0, 2, MIB);
    uint64_t reads = stats_of(&world).device_reads;
    world_verify_range(&world, 2, world.model.acked, MIB);
    uint64_t after = stats_of(&world).device_reads;
    cr_assert_gt(after, reads);
    world_verify_range(&world, 0, 1, MIB);
    cr_assert_eq(stats_of(&world).device_reads, after, "the first window is still there");
    finish(&world);
}

Test(storage, a_short_pool_takes_memory_from_the_read_cache)
{
    struct world world;
    begin(&world, 24, 64 * MIB);
    fill(&world, 20, 600000);
    world_verify_range(&world, 0, world.model.acked, MIB);
    size_t cached = world.store->reads.bytes;
    cr_assert_gt(cached, 8 * MIB);
    struct buffer *large[80];
    size_t count = 0;
    while (count < 80 && (large[count] = pool_get(world.pool, 4 * MIB)))
        count++;
    cr_assert_lt(world.store->reads.bytes, cached);
    cr_assert_eq(world.store->reads.bytes, 0, "all of it, before anybody is refused");
    while (count > 0)
        buffer_unref(large[--count]);
    world_verify_range(&world, 0, world.model.acked, MIB);
    finish(&world);
}

// --- sharing

static void several_readers(struct world *world, const int64_t *offsets, int count)
{
    struct reading *readings = calloc((size_t)count, sizeof(*readings));
    for (int i = 0; i < count; i++) {
        readings[i].op = (struct log_read){
            .done = read_finished, .offset = offsets[i], .max_bytes = MIB, .at_least_one = true};
        log_read(world->log, &readings[i].op);
    }
    for (int i = 0; i < count; i++) {
        while (!readings[i].done)
            world_turn(world);
        cr_assert_eq(readings[i].op.error, 0);
        cr_assert_gt(world_compare(world, &readings[i].op), offsets[i]);
        log_read_release(&readings[i].op);
    }
    free(readings);
}

Test(storage, readers_of_one_region_share_one_device_read)
{
    struct world world;
    begin(&world, 25, 16 * MIB);
    fill_frame(&world, 40, 20000);
    be_quiet(&world);
    int64_t offsets[] = {0, 0, 13, 39, 7};
    several_readers(&world, offsets, 5);
    cr_assert_eq(stats_of(&world).device_reads, 1);
    cr_assert_eq(stats_of(&world).disk_reads, 5, "all have waited for it");
    finish(&world);
}

Test(storage, readers_share_without_a_cache_too)
{
    struct world world;
    begin(&world, 26, 0);
    fill_frame(&world, 40, 20000);
    be_quiet(&world);
    int64_t offsets[] = {3, 20, 3};
    several_readers(&world, offsets, 3);
    cr_assert_eq(stats_of(&world).device_reads, 1);
    cr_assert_eq(world.store->reads.bytes, 0);
    finish(&world);
}

Test(storage, device_reads_in_flight_are_bounded)
{
    struct world world;
    begin(&world, 27, 16 * MIB);
    fill(&world, 40, 300000);
    int64_t offsets[40];
    for (int i = 0; i < 40; i++)
        offsets[i] = 39 - i;
    struct reading readings[40];
    for (int i = 0; i < 40; i++) {
        readings[i] = (struct reading){
            .op = {.done = read_finished, .offset = offsets[i], .at_least_one = true}};
        log_read(world.log, &readings[i].op);
        cr_assert_leq(world.store->reads.active, 4);
    }
    for (int i = 0; i < 40; i++) {
        while (!readings[i].done) {
            world_turn(&world);
            cr_assert_leq(world.store->reads.active, 4);
        }
        cr_assert_eq(world_compare(&world, &readings[i].op), offsets[i] + 1);
        log_read_release(&readings[i].op);
    }
    finish(&world);
}

// --- reading ahead

Test(storage, what_a_sequential_reader_wants_next_is_there)
{
    struct world world;
    begin(&world, 28, 32 * MIB);
    world.config.segment_bytes = 5 * MIB;
    log_configure(world.log, &world.config);
    fill(&world, 40, 400000);
    int64_t at = 0;
    for (int i = 0; at < world.model.acked; i++) {
        struct reading reading;
        world_read(&world, &reading, at, MIB);
        at = world_compare(&world, &reading.op);
        log_read_release(&reading.op);
        if (i == 0)
            sim_advance(world.sim, 100 * 1000000); // the producers are quiet
        for (int turns = 0; turns < 20; turns++)
            world_turn(&world);
    }
    struct log_store_stats stats = stats_of(&world);
    cr_assert_leq(stats.disk_reads, 4, "waited %" PRIu64 " times", stats.disk_reads);
    cr_assert_gt(stats.read_ahead, 10);
    cr_assert_leq(stats.device_read_bytes, payload_of(&world) + 60 * 4096, "nothing is read twice");
    cr_assert_eq(world.store->reads.ahead_bytes, 0);
    finish(&world);
}

Test(storage, a_reader_here_and_there_reads_nothing_ahead)
{
    struct world world;
    begin(&world, 29, 32 * MIB);
    fill(&world, 40, 400000);
    static const int64_t offsets[] = {30, 7, 22, 3, 15};
    for (size_t i = 0; i < 5; i++)
        world_verify_range(&world, offsets[i], offsets[i] + 1, 100);
    cr_assert_eq(stats_of(&world).read_ahead, 0);
    finish(&world);
}

// --- holes

struct extent {
    int64_t base_offset;
    int64_t last_offset;
};

static int list_batches(struct keyed *keyed, struct extent *extents)
{
    int count = 0;
    for (int64_t at = log_offsets(keyed->world.log).start; at < keyed->acked;) {
        struct reading reading;
        world_read(&keyed->world, &reading, at, 1);
        struct batch_header header;
        cr_assert_eq(reading.op.slice_count, 1);
        cr_assert_eq(
            batch_header_read(span_of(reading.op.slices[0].iov_base, reading.op.size), &header),
            BATCH_OK);
        extents[count++] = (struct extent){header.base_offset, batch_last_offset(&header)};
        at = batch_last_offset(&header) + 1;
        log_read_release(&reading.op);
    }
    return count;
}

Test(storage, a_read_in_a_hole_gives_the_next_batch)
{
    for (int cache = 0; cache < 2; cache++) {
        struct keyed keyed;
        keyed_begin(&keyed, 90);
        keyed.world.read_cache_bytes = cache ? 8 * MIB : 0;
        keyed_open(&keyed);
        keyed_fill(&keyed, 200, 5);
        cr_assert(keyed_compact(&keyed));
        struct extent extents[200];
        int count = list_batches(&keyed, extents);
        cr_assert_lt(count, 150);
        int holes = 0;
        int at = 0;
        for (int64_t offset = 0; offset < keyed.acked; offset++) {
            at += extents[at].last_offset < offset;
            holes += extents[at].base_offset > offset;
            struct reading reading;
            world_read(&keyed.world, &reading, offset, 1);
            cr_assert_eq(reading.op.error, 0, "offset %" PRId64, offset);
            struct batch_header header;
            cr_assert_eq(
                batch_header_read(span_of(reading.op.slices[0].iov_base, reading.op.size), &header),
                BATCH_OK);
            cr_assert_eq(header.base_offset, extents[at].base_offset, "offset %" PRId64, offset);
            log_read_release(&reading.op);
        }
        cr_assert_gt(holes, 100);
        cr_assert_eq(log_store_stats(keyed.world.store).damaged_frames, 0);
        cr_assert_eq(log_store_close(keyed.world.store), 0);
        keyed_end(&keyed);
    }
}

// --- failing devices

Test(storage, a_read_that_fails_once_is_tried_again)
{
    struct world world;
    begin(&world, 30, 0);
    fill(&world, 10, 5000);
    sim_fail(world.sim, IO_READ, 1, -EIO, false);
    world_verify_range(&world, 0, world.model.acked, MIB);
    cr_assert_eq(stats_of(&world).read_errors, 1);
    cr_assert_eq(stats_of(&world).damaged_frames, 0);
    finish(&world);
}

Test(storage, a_device_that_does_not_read_stops_nothing_else)
{
    struct world world;
    begin(&world, 31, 16 * MIB);
    fill(&world, 10, 5000);
    sim_fail(world.sim, IO_READ, 1, -EIO, true);
    expect_read(&world, 3, -EIO);
    expect_read(&world, 3, -EIO);
    int64_t end = world.model.acked;
    world_append(&world, 1, 100);
    world_settle(&world);
    cr_assert_eq(world.model.acked, end + 1, "the log accepts");
    sim_fail(world.sim, IO_READ, 0, 0, false);
    forget_tail(&world);
    world_verify_range(&world, 0, world.model.acked, MIB);
    cr_assert_eq(stats_of(&world).damaged_frames, 0, "it was not damage");
    finish(&world);
}

Test(storage, what_lies_around_an_unreadable_place_is_served)
{
    for (uint64_t block = 1; block < 24; block += 3) {
        struct world world;
        begin(&world, 32 + block, 16 * MIB);
        fill(&world, 12, 9000);
        uint64_t from = block * 4096;
        uint64_t to = from + 4096;
        char path[256];
        world_segment_path(&world, 0, ".log", path);
        cr_assert_eq(sim_make_unreadable(world.sim, path, from, to), 0);
        int refused = 0;
        for (int64_t i = 0; i < 12; i++) {
            struct reading reading;
            world_read(&world, &reading, i, 1);
            cr_assert(reading.op.error == 0 || reading.op.error == -EIO);
            if (reading.op.error == 0)
                cr_assert_eq(world_compare(&world, &reading.op), i + 1);
            refused += reading.op.error != 0;
            log_read_release(&reading.op);
        }
        // Where it is a frame's header, the next entry of the index is where reading goes on.
        cr_assert(refused >= 1 && refused <= 6, "%d refused with block %d", refused, (int)block);
        sim_make_unreadable(world.sim, path, 0, 0);
        world_verify_range(&world, 0, world.model.acked, MIB);
        cr_assert_eq(stats_of(&world).damaged_frames, 0);
        finish(&world);
    }
}

// --- damage

Test(storage, a_read_gets_what_is_sound_in_front_of_damage)
{
    for (int cache = 0; cache < 2; cache++) {
        struct world world;
        begin(&world, 60, cache ? 16 * MIB : 0);
        fill(&world, 10, 5000);
        char path[256];
        world_segment_path(&world, 0, ".log", path);
        uint8_t bytes[64 * KIB];
        world_peek(&world, 0, 0, bytes, sizeof(bytes));
        const struct expected *batch = &world.model.batches[5];
        const uint8_t *at = memmem(bytes, sizeof(bytes), batch->data, batch->size);
        cr_assert_not_null(at);
        sim_flip(world.sim, path, ((uint64_t)(at - bytes) + 3000) * 8);
        struct reading reading;
        world_read(&world, &reading, 2, MIB);
        cr_assert_eq(reading.op.error, 0);
        cr_assert_eq(world_compare(&world, &reading.op), 5);
        log_read_release(&reading.op);
        for (int i = 0; i < 3; i++)
            expect_read(&world, 5, -EIO);
        world_verify_range(&world, 6, 10, MIB);
        world_verify_range(&world, 0, 5, 1);
        cr_assert_eq(stats_of(&world).damaged_frames, 1, "it is named once");
        finish(&world);
    }
}

Test(storage, bytes_that_were_garbled_on_the_way_are_no_damage)
{
    struct world world;
    begin(&world, 61, 0);
    fill(&world, 10, 5000);
    char path[256];
    world_segment_path(&world, 0, ".log", path);
    cr_assert_eq(sim_flip(world.sim, path, 4096 * 8 * 2 + 800), 0);
    struct reading reading = {.op = {.done = read_finished, .max_bytes = MIB}};
    log_read(world.log, &reading.op);
    // Once the bytes are there they are sound again on the device.
    while (stats_of(&world).device_read_bytes == 0)
        world_turn(&world);
    sim_flip(world.sim, path, 4096 * 8 * 2 + 800);
    while (!reading.done)
        world_turn(&world);
    cr_assert_eq(reading.op.error, 0);
    cr_assert_eq(world_compare(&world, &reading.op), 10);
    cr_assert_eq(stats_of(&world).damaged_frames, 0);
    log_read_release(&reading.op);
    finish(&world);
}

Test(storage, a_file_that_became_shorter_is_damage_at_its_end_only)
{
    struct world world;
    begin(&world, 62, 16 * MIB);
    fill(&world, 20, 5000);
    char path[256];
    world_segment_path(&world, 0, ".log", path);
    int fd = io_open_wait(world.io, path, O_RDWR, 0);
    struct io_op op = {0};
    io_truncate(world.io, &op, fd, 40000);
    cr_assert_eq(io_wait(world.io, &op), 0);
    io_close_wait(world.io, fd);
    struct reading reading;
    world_read(&world, &reading, 0, MIB);
    int64_t sound = world_compare(&world, &reading.op);
    cr_assert(sound >= 3 && sound < 10, "%" PRId64, sound);
    log_read_release(&reading.op);
    expect_read(&world, sound, -EIO);
    expect_read(&world, 19, -EIO);
    world_append(&world, 1, 100);
    world_settle(&world);
    cr_assert_eq(stats_of(&world).damaged_frames, 2, "the frame that is cut, and the rest");
    finish(&world);
}

// The second look at the bytes goes further than the first was to.
Test(storage, readers_behind_a_window_that_is_read_again_find_their_place)
{
    for (int turns = 0; turns < 12; turns++) {
        struct world world;
        begin(&world, 63, 16 * MIB);
        fill(&world, 20, 40000);
        be_quiet(&world);
        world_flip(&world, 0, ".log", 20000 * 8);
        struct reading first = {.op = {.done = read_finished, .max_bytes = 1}};
        log_read(world.log, &first.op);
        int64_t behind = world.log->segments[0]->windows[0]->next_offset;
        cr_assert(behind > 0 && behind < 19, "%" PRId64, behind);
        for (int i = 0; i < turns; i++)
            world_turn(&world);
        world_verify_range(&world, behind, behind + 1, 1);
        while (!first.done)
            world_turn(&world);
        cr_assert_eq(first.op.error, -EIO);
        log_read_release(&first.op);
        world_verify_range(&world, 1, 20, 1);
        cr_assert_eq(stats_of(&world).damaged_frames, 1, "after %d turns", turns);
        finish(&world);
    }
}

// --- removal

Test(storage, a_reader_of_a_segment_that_is_removed_gets_data_or_is_told_of_the_start)
{
    for (int turns = 0; turns < 60; turns++) {
        struct world world;
        begin(&world, 70, 16 * MIB);
        world.config.segment_bytes = 100000;
        log_configure(world.log, &world.config);
        fill(&world, 40, 20000);
        cr_assert_eq(log_store_close(world.store), 0);
        cr_assert_eq(world_open(&world), 0);
        world.config.retention_bytes = 1;
        log_configure(world.log, &world.config);
        while (world.log->segments[0]->fd >= 0) // as after a long time without readers
            io_close_wait(world.io, world.log->segments[0]->fd), world.log->segments[0]->fd = -1;
        log_retain(world.log);
        for (int i = 0; i < turns; i++)
            io_run(world.io, 0);
        struct reading reading;
        world_read(&world, &reading, 2, 1);
        cr_assert(reading.op.error == 0 || reading.op.error == -ERANGE, "after %d turns: %s", turns,
                  strerror(-reading.op.error));
        if (reading.op.error == 0)
            world_compare(&world, &reading.op);
        else
            cr_assert_gt(log_offsets(world.log).start, 2);
        log_read_release(&reading.op);
        finish(&world);
    }
}

static void deleted(struct log_delete *op)
{
    op->error = 1;
}

Test(storage, readers_of_a_log_that_is_deleted_end)
{
    struct world world;
    begin(&world, 71, 16 * MIB);
    fill(&world, 20, 300000);
    struct reading readings[10];
    for (int i = 0; i < 10; i++) {
        readings[i] = (struct reading){
            .op = {.done = read_finished, .offset = i * 2, .max_bytes = 1, .at_least_one = true}};
        log_read(world.log, &readings[i].op);
    }
    struct log_delete delete = {.done = deleted};
    log_delete(world.log, &delete);
    while (delete.error != 1)
        world_turn(&world);
    for (int i = 0; i < 10; i++) {
        cr_assert(readings[i].done);
        cr_assert(readings[i].op.error == 0 || readings[i].op.error == -ESHUTDOWN);
        log_read_release(&readings[i].op);
    }
    cr_assert_eq(world.store->reads.bytes, 0);
    finish(&world);
}
