// SPDX-License-Identifier: Apache-2.0
// Looking for timestamps, compared with a list of all records: out of order inside batches and
// between them, in memory and on disk, behind a moved start, around damage.
#include "storage/store.h"
#include "tests/unit/storage_fixture.h"

enum { RECORDS_MAX = 4000 };

struct times {
    struct world world;
    int64_t *of; // by offset
    int64_t count;
};

static void begin(struct times *times, uint64_t seed, size_t tail_cache_bytes)
{
    world_begin(&times->world, seed);
    times->world.tail_cache_bytes = tail_cache_bytes;
    times->world.read_cache_bytes = seed % 2 ? 4 * MIB : 0;
    times->world.config.segment_bytes = 40 * KIB;
    times->of = calloc(RECORDS_MAX, sizeof(int64_t));
    times->count = 0;
    cr_assert_eq(world_open(&times->world), 0);
}

static void finish(struct times *times)
{
    cr_assert_eq(log_store_close(times->world.store), 0);
    world_end(&times->world);
    free(times->of);
}

static void append(struct times *times, int records, enum batch_codec codec, int64_t first,
                   int64_t step)
{
    int64_t base = log_offsets(times->world.log).end;
    world_append_at(&times->world, records, 2000, codec, first, step);
    for (int i = 0; i < records; i++)
        times->of[base + i] = first + i * step;
    times->count = base + records;
}

static void append_some(struct times *times, int batches)
{
    struct random *random = &times->world.random;
    for (int i = 0; i < batches; i++) {
        int records = 1 + (int)random_below(random, 12);
        int64_t first = 1000000 + (int64_t)random_below(random, 200000);
        int64_t step = (int64_t)random_below(random, 2000) - 1000;
        append(times, records, (enum batch_codec)random_below(random, 5), first, step);
        if (random_below(random, 3) == 0)
            world_settle(&times->world);
    }
}

// The first of [from, to) that is late enough; -1 = none.
static int64_t expected_at(const struct times *times, int64_t timestamp, int64_t from, int64_t to)
{
    for (int64_t i = from; i < to; i++) {
        if (times->of[i] >= timestamp)
            return i;
    }
    return -1;
}

static int64_t largest_of(const struct times *times, int64_t from, int64_t to)
{
    int64_t largest = -1;
    for (int64_t i = from; i < to; i++) {
        if (times->of[i] > largest)
            largest = times->of[i];
    }
    return largest;
}

static void look(struct times *times, int64_t timestamp)
{
    struct world *world = &times->world;
    struct log_offsets offsets = log_offsets(world->log);
    struct looking looking = world_find_time(world, timestamp);
    bool largest = timestamp == LOG_TIME_MAX;
    int64_t wanted = largest ? largest_of(times, offsets.start, offsets.committed) : timestamp;
    int64_t expected = expected_at(times, wanted, offsets.start, offsets.committed);
    cr_assert_eq(looking.op.error, 0);
    // What became durable meanwhile may be found too, but nothing earlier be missed.
    if (expected < 0 && looking.op.offset >= offsets.committed)
        return;
    cr_assert_eq(looking.op.offset, expected,
                 "seed %" PRIu64 ": %" PRId64 " is at %" PRId64 ", not %" PRId64, world->seed,
                 timestamp, expected, looking.op.offset);
    if (expected >= 0)
        cr_assert_eq(looking.op.found_timestamp, times->of[expected]);
}

static void look_around(struct times *times)
{
    for (int i = 0; i < 25; i++)
        look(times, 985000 + (int64_t)random_below(&times->world.random, 240000));
    look(times, 0);
    look(times, INT64_MAX);
    look(times, LOG_TIME_MAX);
}

Test(storage, any_time_is_found_where_a_list_of_all_records_has_it)
{
    for (uint64_t seed = 1; seed <= 24; seed++) {
        struct times times;
        begin(&times, seed, seed % 3 ? 64 * MIB : 0);
        for (int round = 0; round < 4; round++) {
            append_some(&times, 30);
            look_around(&times); // with appends on their way
            world_settle(&times.world);
            look_around(&times);
            int64_t start = log_offsets(times.world.log).start;
            int64_t room = log_offsets(times.world.log).committed - start;
            int64_t to = start + (int64_t)random_below(&times.world.random, (uint64_t)room);
            cr_assert_eq(world_trim(&times.world, to), 0);
            look_around(&times);
            if (round % 2)
                continue;
            cr_assert_eq(log_store_close(times.world.store), 0);
            cr_assert_eq(world_open(&times.world), 0);
            look_around(&times);
        }
        finish(&times);
    }
}

Test(storage, the_first_of_equal_largest_times_is_found)
{
    for (int cached = 0; cached < 2; cached++) {
        struct times times;
        begin(&times, 7, cached ? 64 * MIB : 0);
        append(&times, 3, CODEC_NONE, 5000, 0);
        append(&times, 4, CODEC_ZSTD, 6001, 333); // ... 7000
        append(&times, 3, CODEC_LZ4, 7000, 0);
        world_settle(&times.world);
        append(&times, 1, CODEC_NONE, 7000, 0);
        world_settle(&times.world);
        struct looking looking = world_find_time(&times.world, LOG_TIME_MAX);
        cr_assert_eq(looking.op.offset, 6);
        cr_assert_eq(looking.op.found_timestamp, 7000);
        finish(&times);
    }
}

// DeleteRecords has moved the start into a batch whose largest timestamp lies before it.
Test(storage, a_largest_time_before_the_start_does_not_count)
{
    struct times times;
    begin(&times, 8, 64 * MIB);
    append(&times, 4, CODEC_GZIP, 9000, -1000);
    append(&times, 1, CODEC_NONE, 6500, 0);
    world_settle(&times.world);
    cr_assert_eq(world_trim(&times.world, 1), 0);
    struct looking looking = world_find_time(&times.world, LOG_TIME_MAX);
    cr_assert_eq(looking.op.offset, 1);
    cr_assert_eq(looking.op.found_timestamp, 8000);
    cr_assert_eq(world_trim(&times.world, 3), 0);
    looking = world_find_time(&times.world, LOG_TIME_MAX);
    cr_assert_eq(looking.op.offset, 4);
    cr_assert_eq(looking.op.found_timestamp, 6500);
    cr_assert_eq(world_find_time(&times.world, 7000).op.offset, -1);
    finish(&times);
}

Test(storage, the_largest_time_of_what_is_sound_is_found_around_damage)
{
    for (int known = 0; known < 2; known++) {
        struct times times;
        begin(&times, 9, 0);
        static const int64_t first[] = {3000, 8000, 5000, 7000, 4000};
        for (int i = 0; i < 5; i++) {
            append(&times, 2, CODEC_NONE, first[i], 1);
            world_settle(&times.world);
        }
        char path[256];
        world_segment_path(&times.world, 0, ".log", path);
        const struct index_entry *entries = times.world.log->segments[0]->index.entries;
        cr_assert_eq(entries[0].position, 4096);
        uint8_t bytes[20 * KIB];
        world_peek(&times.world, 0, 0, bytes, sizeof(bytes));
        const struct expected *batch = &times.world.model.batches[1];
        const uint8_t *at = memmem(bytes, sizeof(bytes), batch->data, batch->size);
        cr_assert_not_null(at);
        sim_flip(times.world.sim, path, (uint64_t)(at - bytes + 1000) * 8);
        if (known) {
            struct reading reading;
            world_read(&times.world, &reading, 2, 1);
            cr_assert_eq(reading.op.error, -EIO);
            log_read_release(&reading.op);
        }
        struct looking looking = world_find_time(&times.world, LOG_TIME_MAX);
        cr_assert_eq(looking.op.error, 0);
        cr_assert_eq(looking.op.offset, 7);
        cr_assert_eq(looking.op.found_timestamp, 7001);
        cr_assert_eq(world_find_time(&times.world, 6000).op.offset, 6);
        cr_assert_eq(world_find_time(&times.world, 7500).op.offset, -1);
        finish(&times);
    }
}

Test(storage, a_device_that_does_not_read_is_the_answer)
{
    struct times times;
    begin(&times, 10, 0);
    append(&times, 2, CODEC_NONE, 5000, 1);
    world_settle(&times.world);
    sim_fail(times.world.sim, IO_READ, 1, -EIO, true);
    cr_assert_eq(world_find_time(&times.world, 1).op.error, -EIO);
    sim_fail(times.world.sim, IO_READ, 0, 0, false);
    cr_assert_eq(world_find_time(&times.world, 1).op.offset, 0);
    finish(&times);
}
