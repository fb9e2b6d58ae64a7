// SPDX-License-Identifier: Apache-2.0
// What recovery makes of files that were torn, damaged or tampered with.
#include "storage/format.h"
#include "tests/unit/storage_fixture.h"

enum {
    FRAMES = 3,
    FRAME_BYTES = 12000, // of value: three blocks with headers
    STORED = 3 * FORMAT_BLOCK,
};

// Frame `i` starts here and holds offsets 2i and 2i + 1.
static uint64_t frame_position(int i)
{
    return FORMAT_BLOCK + (uint64_t)i * STORED;
}

static void append_frames(struct world *world, int count)
{
    for (int i = 0; i < count; i++) {
        world_append(world, 2, FRAME_BYTES);
        world_settle(world);
    }
}

static void begin_with_frames(struct world *world, int count)
{
    world_begin(world, 42);
    cr_assert_eq(world_open(world), 0);
    append_frames(world, count);
    cr_assert_eq(log_offsets(world->log).size_bytes, FORMAT_BLOCK + count * STORED);
}

static void finish(struct world *world)
{
    cr_assert_eq(log_store_close(world->store), 0);
    world_end(world);
}

static void assert_damaged(struct world *world, int64_t from, int64_t to)
{
    for (int64_t offset = from; offset < to; offset++) {
        struct reading reading;
        world_read(world, &reading, offset, MIB);
        cr_assert_eq(reading.op.error, -EIO, "offset %" PRId64 ": %d", offset, reading.op.error);
        cr_assert_eq(reading.op.size, 0);
        log_read_release(&reading.op);
    }
}

// The log accepts records, and they are there after another restart.
static void assert_goes_on(struct world *world)
{
    int64_t end = log_offsets(world->log).end;
    append_frames(world, 2);
    cr_assert_eq(log_offsets(world->log).committed, end + 4);
    world_crash(world);
    cr_assert_eq(world_open(world), 0);
    cr_assert_eq(log_offsets(world->log).committed, end + 4);
    world_verify_range(world, end, end + 4, MIB);
}

// What was torn behind the log's back may be missing although it was acknowledged.
static void cut_model(struct world *world)
{
    world->model.acked = log_offsets(world->log).committed;
    model_cut(&world->model, world->model.acked);
}

Test(storage, torn_tails_of_every_length_are_cut)
{
    static const uint8_t zeros[STORED];
    for (uint64_t kept = 0; kept <= STORED; kept += 512) {
        struct world world;
        begin_with_frames(&world, FRAMES);
        world_crash(&world);
        uint8_t last[STORED];
        world_peek(&world, 0, frame_position(2), last, STORED);
        uint64_t payload = 0;
        for (uint64_t i = 0; i < STORED; i++)
            payload = last[i] ? i + 1 : payload;
        world_overwrite(&world, 0, ".log", frame_position(2) + kept, zeros, STORED - kept);
        cr_assert_eq(world_open(&world), 0);
        bool whole = kept >= payload;
        cr_assert_eq(log_offsets(world.log).committed, whole ? 6 : 4, "kept %" PRIu64, kept);
        cr_assert_eq(world.recovery.damaged_ranges, 0);
        cr_assert_eq(world.recovery.torn_bytes > 0, !whole && kept > 0, "kept %" PRIu64, kept);
        cut_model(&world);
        world_verify_range(&world, 0, log_offsets(world.log).committed, MIB);
        assert_goes_on(&world);
        finish(&world);
    }
}

Test(storage, a_tail_torn_at_its_start_is_cut)
{
    static const uint8_t zeros[STORED];
    for (uint64_t lost = 512; lost < FRAME_BYTES; lost += 512) {
        struct world world;
        begin_with_frames(&world, FRAMES);
        world_crash(&world);
        world_overwrite(&world, 0, ".log", frame_position(2), zeros, lost);
        cr_assert_eq(world_open(&world), 0);
        cr_assert_eq(log_offsets(world.log).committed, 4, "lost %" PRIu64, lost);
        cr_assert_eq(world.recovery.damaged_ranges, 0);
        cr_assert_gt(world.recovery.torn_bytes, 0);
        cut_model(&world);
        assert_goes_on(&world);
        finish(&world);
    }
}

static void flip_in_the_middle(uint64_t bit, bool clean)
{
    struct world world;
    begin_with_frames(&world, FRAMES);
    if (clean)
        cr_assert_eq(log_store_close(world.store), 0);
    else
        world_crash(&world);
    world_flip(&world, 0, ".log", frame_position(1) * 8 + bit);
    if (clean)
        world_remove_file(&world, 0, ".index");
    cr_assert_eq(world_open(&world), 0);
    cr_assert_eq(world.recovery.damaged_ranges, 1, "bit %" PRIu64, bit);
    cr_assert_eq(world.recovery.torn_bytes, 0);
    cr_assert_eq(log_offsets(world.log).committed, 6);
    cr_assert_eq(log_offsets(world.log).error, 0);
    assert_damaged(&world, 2, 4);
    world_verify_range(&world, 0, 2, MIB);
    world_verify_range(&world, 4, 6, MIB);
    assert_goes_on(&world);
    cr_assert_eq(world.recovery.damaged_ranges, 1, "said again at every start");
    finish(&world);
}

Test(storage, flips_in_the_middle_are_named_and_served_around)
{
    for (uint64_t byte = 0; byte < FRAME_HEADER_SIZE; byte++)
        flip_in_the_middle(byte * 8 + byte % 8, byte % 2 == 0);
    for (uint64_t byte = FRAME_HEADER_SIZE; byte < FRAME_BYTES; byte += 997)
        flip_in_the_middle(byte * 8 + byte % 8, byte % 2 == 0);
}

Test(storage, flips_in_the_last_frame_after_a_clean_close_are_damage)
{
    for (uint64_t byte = 0; byte < FRAME_BYTES; byte += byte < FRAME_HEADER_SIZE ? 5 : 811) {
        struct world world;
        begin_with_frames(&world, FRAMES);
        cr_assert_eq(log_store_close(world.store), 0);
        world_flip(&world, 0, ".log", (frame_position(2) + byte) * 8 + byte % 8);
        cr_assert_eq(world_open(&world), 0);
        cr_assert_eq(world.recovery.damaged_ranges, 1, "byte %" PRIu64, byte);
        cr_assert_eq(world.recovery.torn_bytes, 0);
        cr_assert_eq(log_offsets(world.log).committed, 6);
        world_verify_range(&world, 0, 4, MIB);
        assert_damaged(&world, 4, 6);
        assert_goes_on(&world);
        finish(&world);
    }
}

Test(storage, a_flip_while_running_is_not_served)
{
    struct world world;
    world_begin(&world, 42);
    world.tail_cache_bytes = 0;
    cr_assert_eq(world_open(&world), 0);
    append_frames(&world, FRAMES);
    world_flip(&world, 0, ".log", (frame_position(1) + 500) * 8);
    world_verify_range(&world, 0, 2, MIB);
    assert_damaged(&world, 2, 4);
    world_verify_range(&world, 4, 6, MIB);
    cr_assert_gt(log_store_stats(world.store).damaged_frames, 0);
    world_flip(&world, 0, ".log", frame_position(1) * 8 + 3); // now its header, too
    assert_damaged(&world, 2, 4);
    world_verify_range(&world, 4, 6, MIB);
    finish(&world);
}

// --- index files

static void assert_all_there(struct world *world, int64_t end)
{
    cr_assert_eq(world->recovery.damaged_ranges, 0);
    cr_assert_eq(world->recovery.torn_bytes, 0);
    cr_assert_eq(log_offsets(world->log).committed, end);
    world_verify_range(world, 0, end, MIB);
}

Test(storage, a_damaged_index_is_rebuilt)
{
    for (uint64_t byte = 0; byte < INDEX_HEADER_SIZE + INDEX_ENTRY_SIZE; byte++) {
        struct world world;
        begin_with_frames(&world, FRAMES);
        cr_assert_eq(log_store_close(world.store), 0);
        world_flip(&world, 0, ".index", byte * 8 + byte % 8);
        cr_assert_eq(world_open(&world), 0);
        assert_all_there(&world, 6);
        finish(&world);
    }
}

Test(storage, a_missing_index_is_rebuilt_and_a_sound_one_saves_the_scan)
{
    struct world world;
    begin_with_frames(&world, 100);
    cr_assert_eq(log_store_close(world.store), 0);
    cr_assert_eq(world_open(&world), 0);
    cr_assert_leq(world.recovery.scanned_bytes, 2 * STORED);
    assert_all_there(&world, 200);
    cr_assert_eq(log_store_close(world.store), 0);
    world_remove_file(&world, 0, ".index");
    cr_assert_eq(world_open(&world), 0);
    cr_assert_geq(world.recovery.scanned_bytes, 100 * STORED);
    assert_all_there(&world, 200);
    finish(&world);
}

Test(storage, what_lies_behind_a_stale_index_is_found)
{
    struct world world;
    begin_with_frames(&world, FRAMES);
    cr_assert_eq(log_store_close(world.store), 0);
    world_make_durable(&world, 0, ".index");
    cr_assert_eq(world_open(&world), 0);
    append_frames(&world, 4);
    world_crash(&world);
    cr_assert(world_has_file(&world, 0, ".index"));
    cr_assert_eq(world_open(&world), 0);
    assert_all_there(&world, 14);
    finish(&world);
}

// --- segments

static void begin_with_segments(struct world *world)
{
    world_begin(world, 42);
    world->config.segment_bytes = FORMAT_BLOCK + 2 * STORED;
    cr_assert_eq(world_open(world), 0);
    append_frames(world, 6);
    cr_assert_eq(log_store_close(world->store), 0);
    for (int64_t base = 0; base < 12; base += 4)
        cr_assert(world_has_file(world, base, ".log"));
}

Test(storage, a_missing_segment_is_named_and_served_around)
{
    struct world world;
    begin_with_segments(&world);
    world_remove_file(&world, 4, ".log");
    cr_assert_eq(world_open(&world), 0);
    cr_assert_eq(world.recovery.damaged_ranges, 1);
    cr_assert_eq(world.recovery.segments, 2);
    world_verify_range(&world, 0, 4, MIB);
    assert_damaged(&world, 4, 8);
    world_verify_range(&world, 8, 12, MIB);
    assert_goes_on(&world);
    finish(&world);
}

Test(storage, a_segment_with_a_damaged_header_is_served_around)
{
    struct world world;
    begin_with_segments(&world);
    world_flip(&world, 4, ".log", 8 * 50);
    cr_assert_eq(world_open(&world), 0);
    cr_assert_eq(world.recovery.damaged_ranges, 1);
    world_verify_range(&world, 0, 4, MIB);
    assert_damaged(&world, 4, 8);
    world_verify_range(&world, 8, 12, MIB);
    assert_goes_on(&world);
    finish(&world);
}

Test(storage, a_shortened_sealed_segment_is_damage)
{
    struct world world;
    begin_with_segments(&world);
    char path[256];
    world_segment_path(&world, 4, ".log", path);
    int fd = io_open_wait(world.io, path, O_RDWR, 0);
    struct io_op op = {0};
    io_truncate(world.io, &op, fd, FORMAT_BLOCK + STORED + 512);
    cr_assert_eq(io_wait(world.io, &op), 0);
    io_close_wait(world.io, fd);
    cr_assert_eq(world_open(&world), 0);
    cr_assert_eq(world.recovery.damaged_ranges, 1);
    world_verify_range(&world, 0, 6, MIB);
    assert_damaged(&world, 6, 8);
    world_verify_range(&world, 8, 12, MIB);
    finish(&world);
}

Test(storage, a_log_whose_end_cannot_be_known_accepts_nothing)
{
    struct world world;
    begin_with_segments(&world);
    world_flip(&world, 8, ".log", 8 * 20);
    cr_assert_eq(world_open(&world), 0);
    cr_assert_eq(log_offsets(world.log).error, -EIO);
    cr_assert_eq(world.recovery.damaged_ranges, 1);
    world_verify_range(&world, 0, 8, MIB);
    world_append(&world, 1, 10);
    world_settle(&world);
    cr_assert_eq(world.model.acked, 12);
    cr_assert_eq(log_offsets(world.log).end, 8);
    log_store_close(world.store);
    world_end(&world);
}

Test(storage, an_unknown_format_version_is_refused)
{
    struct world world;
    begin_with_segments(&world);
    uint8_t block[FORMAT_BLOCK];
    world_peek(&world, 8, 0, block, sizeof(block));
    block[8] = FORMAT_VERSION + 1;
    uint64_t checksum = format_checksum(block, FORMAT_BLOCK - 8, 0);
    for (int i = 0; i < 8; i++)
        block[FORMAT_BLOCK - 8 + i] = (uint8_t)(checksum >> (8 * i));
    world_overwrite(&world, 8, ".log", 0, block, sizeof(block));
    cr_assert_eq(world_open(&world), -EPROTONOSUPPORT);
    world_end(&world);
}

Test(storage, an_unfinished_new_segment_is_removed)
{
    static const uint8_t zeros[16 * KIB];
    for (size_t size = 0; size <= sizeof(zeros); size += FORMAT_BLOCK) {
        struct world world;
        begin_with_segments(&world);
        world_overwrite(&world, 12, ".log", 0, zeros, size);
        cr_assert_eq(world_open(&world), 0);
        assert_all_there(&world, 12);
        cr_assert_not(world_has_file(&world, 12, ".log"));
        assert_goes_on(&world);
        finish(&world);
    }
}

// --- frames that do not belong where they are

Test(storage, frames_of_another_place_or_another_life_are_not_taken)
{
    for (int variant = 0; variant < 2; variant++) {
        struct world world;
        begin_with_segments(&world);
        uint8_t stale[STORED];
        if (variant == 0) // from the same file
            world_peek(&world, 8, FORMAT_BLOCK, stale, STORED);
        else // the same position in a file with another salt
            world_peek(&world, 4, FORMAT_BLOCK + STORED, stale, STORED);
        world_remove_file(&world, 8, ".index");
        uint64_t end = FORMAT_BLOCK + 2 * STORED;
        world_overwrite(&world, 8, ".log", end, stale, STORED);
        world_overwrite(&world, 8, ".log", end + STORED, stale, STORED);
        cr_assert_eq(world_open(&world), 0);
        cr_assert_eq(log_offsets(world.log).committed, 12);
        cr_assert_eq(world.recovery.damaged_ranges, 0);
        cr_assert_eq(world.recovery.torn_bytes, 2 * STORED);
        world_verify_range(&world, 0, 12, MIB);
        assert_goes_on(&world);
        finish(&world);
    }
}

Test(storage, a_file_of_another_partition_is_not_taken)
{
    struct world world;
    begin_with_segments(&world);
    uint8_t block[FORMAT_BLOCK];
    world_peek(&world, 4, 0, block, sizeof(block));
    world_overwrite(&world, 0, ".log", 0, block, sizeof(block)); // says it starts at 4
    cr_assert_eq(world_open(&world), 0);
    cr_assert_eq(world.recovery.damaged_ranges, 1);
    assert_damaged(&world, 0, 4);
    world_verify_range(&world, 4, 12, MIB);
    finish(&world);
}

// A process that was killed leaves a commit that the system has taken and the device has not. Once
// it has been seen it must stay.
Test(storage, what_recovery_accepts_it_makes_durable)
{
    static const uint8_t zeros[STORED];
    struct world world;
    begin_with_frames(&world, FRAMES);
    world_crash(&world);
    uint8_t last[STORED];
    world_peek(&world, 0, frame_position(2), last, STORED);
    world_overwrite(&world, 0, ".log", frame_position(2), zeros, STORED);
    char path[256];
    world_segment_path(&world, 0, ".log", path);
    int fd = io_open_wait(world.io, path, O_RDWR, 0);
    cr_assert_eq(io_write_wait(world.io, fd, last, STORED, frame_position(2), false), STORED);
    io_close_wait(world.io, fd);
    cr_assert_eq(world_open(&world), 0);
    assert_all_there(&world, 6);
    world_crash(&world);
    cr_assert_eq(world_open(&world), 0);
    assert_all_there(&world, 6);
    finish(&world);
}

// --- whatever happens to the files

static void spoil(struct world *world, int64_t base, const char *suffix)
{
    char path[256];
    world_segment_path(world, base, suffix, path);
    int fd = io_open_wait(world->io, path, O_RDONLY, 0);
    if (fd < 0)
        return;
    uint64_t size = (uint64_t)io_file_size(world->io, fd);
    io_close_wait(world->io, fd);
    if (size == 0)
        return;
    uint8_t junk[2000];
    bool zeros = random_below(&world->random, 2);
    for (size_t i = 0; i < sizeof(junk); i++)
        junk[i] = zeros ? 0 : (uint8_t)random_next(&world->random);
    uint64_t at = random_below(&world->random, size);
    uint64_t length = 1 + random_below(&world->random, sizeof(junk));
    if (length > size - at)
        length = size - at;
    switch (random_below(&world->random, 3)) {
    case 0:
        world_flip(world, base, suffix, at * 8 + random_below(&world->random, 8));
        break;
    case 1:
        world_overwrite(world, base, suffix, at, junk, length);
        break;
    default:
        world_flip(world, base, suffix, random_below(&world->random, size < 64 ? size : 64) * 8);
    }
}

// Every read gives the right bytes or an error.
static void read_everything(struct world *world)
{
    struct log_offsets offsets = log_offsets(world->log);
    int64_t at = offsets.start;
    while (at < offsets.committed) {
        struct reading reading;
        world_read(world, &reading, at, 1 + (uint32_t)random_below(&world->random, 40000));
        if (reading.op.error) {
            cr_assert_eq(reading.op.error, -EIO, "seed %" PRIu64, world->seed);
            at++;
        } else {
            int64_t next = world_compare(world, &reading.op);
            cr_assert_gt(next, at, "seed %" PRIu64, world->seed);
            at = next;
        }
        log_read_release(&reading.op);
    }
}

static void one_spoilt_log(uint64_t seed)
{
    struct world world;
    world_begin(&world, seed);
    world.tail_cache_bytes = 0;
    world.config.segment_bytes = 100000;
    cr_assert_eq(world_open(&world), 0);
    for (int i = 0; i < 40; i++) {
        world_append(&world, 2, 1 + random_below(&world.random, 16000));
        if (random_below(&world.random, 2))
            world_settle(&world);
    }
    world_settle(&world);
    int64_t bases[16];
    int count = 0;
    for (int64_t base = 0; base <= 80; base++) {
        if (count < 16 && world_has_file(&world, base, ".log"))
            bases[count++] = base;
    }
    if (random_below(&world.random, 2))
        world_crash(&world);
    else
        cr_assert_eq(log_store_close(world.store), 0);
    for (uint64_t i = 0; i <= random_below(&world.random, 4); i++)
        spoil(&world, bases[random_below(&world.random, (uint64_t)count)],
              random_below(&world.random, 3) ? ".log" : ".index");
    cr_assert_eq(world_open(&world), 0, "seed %" PRIu64, seed);
    read_everything(&world);
    world_find_time(&world, LOG_TIME_MAX);
    model_cut(&world.model, log_offsets(world.log).committed);
    world.model.acked = log_offsets(world.log).committed;
    world_append(&world, 1, 5000);
    world_settle(&world);
    bool accepted = log_offsets(world.log).error == 0;
    log_store_close(world.store);
    cr_assert_eq(world_open(&world), 0, "seed %" PRIu64, seed);
    read_everything(&world);
    if (accepted)
        cr_assert_geq(log_offsets(world.log).committed, world.model.acked, "seed %" PRIu64, seed);
    log_store_close(world.store);
    world_end(&world);
}

Test(storage, spoilt_files_never_give_wrong_bytes)
{
    for (uint64_t seed = 1; seed <= 1000; seed++)
        one_spoilt_log(seed);
}
