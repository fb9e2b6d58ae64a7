// SPDX-License-Identifier: Apache-2.0
// The rules of compaction on single batches, against a naive model: the last record of each key.
#include "storage/compact_batch.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/random.h"

enum { KEYS = 40, BATCHES = 60, RECORDS_MAX = 12, RETENTION_MS = 1000 };

static const int64_t first_ms = 1700000000000;

struct stored {
    uint8_t *bytes;
    size_t size;
};

struct known {
    int64_t offset; // of the last record; -1 = none
    bool tombstone;
    int64_t seen_ms; // when a pass has first seen it; -1 = not yet
};

struct history {
    struct random random;
    struct stored batches[BATCHES];
    size_t count;
    int64_t end;
    struct known keys[KEYS];
    int64_t now_ms;
    struct compact_batch work;
};

static void store(struct stored *stored, struct span bytes)
{
    uint8_t *copy = malloc(bytes.size + 1);
    memcpy(copy, bytes.data, bytes.size);
    free(stored->bytes);
    *stored = (struct stored){copy, bytes.size};
}

static void append(struct history *history)
{
    struct batch_builder builder;
    struct batch_scratch scratch = {0};
    struct span out;
    char key[32], value[64];
    batch_builder_init(&builder, 1 << 20);
    int64_t records = 1 + (int64_t)random_below(&history->random, RECORDS_MAX);
    for (int64_t i = 0; i < records; i++) {
        uint64_t number = random_below(&history->random, KEYS);
        bool tombstone = random_below(&history->random, 4) == 0;
        bool keyless = random_below(&history->random, 20) == 0;
        int64_t offset = history->end + i;
        snprintf(key, sizeof(key), "key %d", (int)number);
        snprintf(value, sizeof(value), "value at %lld", (long long)offset);
        cr_assert_eq(batch_builder_add(&builder, first_ms + offset,
                                       keyless ? (struct span){0} : span_text(key),
                                       tombstone ? (struct span){0} : span_text(value), NULL, 0),
                     BATCH_OK);
        if (!keyless)
            history->keys[number] =
                (struct known){.offset = offset, .tombstone = tombstone, .seen_ms = -1};
    }
    enum batch_codec codec = (enum batch_codec)random_below(&history->random, 5);
    cr_assert_eq(
        batch_builder_finish(&builder, codec, 0, (struct batch_producer){.id = -1}, &scratch, &out),
        BATCH_OK);
    struct stored *stored = &history->batches[history->count++];
    stored->bytes = NULL;
    store(stored, out);
    batch_assign(stored->bytes, history->end, 3);
    history->end += records;
    batch_builder_free(&builder);
    free(scratch.data);
}

static struct span bytes_of(const struct stored *stored)
{
    return span_of(stored->bytes, stored->size);
}

// Notes what the map holds, from `from` on. Returns the map's end.
static int64_t note(struct history *history, struct compact_map *map, int64_t from)
{
    struct batch_header header;
    for (size_t i = 0; i < history->count; i++) {
        cr_assert_eq(batch_check_stored(bytes_of(&history->batches[i]), &header), BATCH_OK);
        if (batch_last_offset(&header) < from)
            continue;
        int error = compact_batch_note(&history->work, bytes_of(&history->batches[i]), map);
        if (error == -ENOSPC)
            return header.base_offset;
        cr_assert_eq(error, 0);
    }
    return history->end;
}

static void thin_all(struct history *history, const struct compact_rules *rules)
{
    size_t kept = 0;
    for (size_t i = 0; i < history->count; i++) {
        struct stored batch = history->batches[i];
        struct span out;
        cr_assert_eq(compact_batch_thin(&history->work, rules, bytes_of(&batch),
                                        random_below(&history->random, 3) == 0, &out),
                     0);
        if (out.size > 0 && out.data != batch.bytes)
            store(&batch, out);
        if (out.size == 0)
            free(batch.bytes);
        else
            history->batches[kept++] = batch;
    }
    history->count = kept;
}

static void see_tombstones(struct history *history, int64_t end)
{
    for (int i = 0; i < KEYS; i++)
        if (history->keys[i].offset < end && history->keys[i].seen_ms < 0)
            history->keys[i].seen_ms = history->now_ms;
}

// As many passes as the size of the map asks for.
static void compact(struct history *history, int64_t from, size_t map_keys)
{
    struct compact_map map;
    cr_assert_eq(compact_map_init(&map, map_keys * sizeof(struct compact_map_slot) * 8 / 7 + 48,
                                  map_keys, random_next(&history->random)),
                 0);
    map.limit = map_keys; // smaller than a real one ever is
    while (from < history->end) {
        compact_map_clear(&map);
        int64_t to = note(history, &map, from);
        cr_assert_gt(to, from, "a batch has more keys than the map");
        struct compact_rules rules = {.map = &map,
                                      .map_end = to,
                                      .now_ms = history->now_ms,
                                      .delete_horizon_ms = history->now_ms + RETENTION_MS};
        thin_all(history, &rules);
        see_tombstones(history, to);
        from = to;
    }
    compact_map_free(&map);
}

static void expect_record(const struct history *history, const struct record *record,
                          bool found[KEYS])
{
    char text[64];
    int key = 0;
    cr_assert_not_null(record->key.data, "a record without key");
    snprintf(text, sizeof(text), "%.*s", (int)record->key.size, (const char *)record->key.data);
    cr_assert_eq(sscanf(text, "key %d", &key), 1);
    const struct known *known = &history->keys[key];
    cr_assert_eq(record->offset, known->offset, "not the last of its key");
    cr_assert_eq(record->timestamp, first_ms + record->offset);
    cr_assert_eq(!record->value.data, known->tombstone);
    snprintf(text, sizeof(text), "value at %lld", (long long)record->offset);
    cr_assert(known->tombstone || span_equal(record->value, span_text(text)));
    found[key] = true;
}

// Exactly the last record of each key, but tombstones may be gone when their time has come.
static void expect_compacted(const struct history *history)
{
    bool found[KEYS] = {false};
    for (size_t i = 0; i < history->count; i++) {
        struct batch_reader reader;
        struct batch_header header;
        struct record record;
        struct arena arena;
        arena_init(&arena, 1 << 20);
        cr_assert_eq(batch_check_stored(bytes_of(&history->batches[i]), &header), BATCH_OK);
        cr_assert_eq(header.leader_epoch, 3);
        cr_assert_eq(batch_reader_init(&reader, bytes_of(&history->batches[i]), &arena, 1 << 20),
                     BATCH_OK);
        int64_t max = -1;
        while (batch_reader_next(&reader, &record) == 1) {
            expect_record(history, &record, found);
            max = record.timestamp > max ? record.timestamp : max;
        }
        cr_assert(header.record_count == 0 || header.max_timestamp == max);
        arena_free(&arena);
    }
    for (int i = 0; i < KEYS; i++) {
        const struct known *known = &history->keys[i];
        bool may_be_gone = known->tombstone && known->seen_ms >= 0 &&
                           history->now_ms >= known->seen_ms + RETENTION_MS;
        cr_assert(found[i] || known->offset < 0 || may_be_gone, "key %d at %lld is gone", i,
                  (long long)known->offset);
    }
}

static size_t tombstones(const struct history *history)
{
    size_t count = 0;
    for (size_t i = 0; i < history->count; i++) {
        struct batch_reader reader;
        struct record record;
        struct arena arena;
        arena_init(&arena, 1 << 20);
        cr_assert_eq(batch_reader_init(&reader, bytes_of(&history->batches[i]), &arena, 1 << 20),
                     BATCH_OK);
        while (batch_reader_next(&reader, &record) == 1)
            count += !record.value.data;
        arena_free(&arena);
    }
    return count;
}

static void one_history(uint64_t seed)
{
    struct history history = {.random = {.state = seed * 7919}, .now_ms = first_ms};
    compact_batch_init(&history.work);
    for (int i = 0; i < KEYS; i++)
        history.keys[i].offset = -1;
    int64_t clean = 0;
    for (int pass = 0; pass < 6; pass++) {
        uint64_t more = random_below(&history.random, 9);
        for (uint64_t i = 0; i < more && history.count < BATCHES; i++)
            append(&history);
        history.now_ms += (int64_t)random_below(&history.random, 2 * RETENTION_MS);
        compact(&history, clean, RECORDS_MAX + random_below(&history.random, KEYS));
        clean = history.end;
        expect_compacted(&history);
    }
    // Their dates are set; one more pass when these have passed takes them all.
    append(&history);
    compact(&history, clean, KEYS);
    history.now_ms += RETENTION_MS;
    clean = history.end;
    if (history.count < BATCHES)
        append(&history);
    size_t young = 0;
    for (int i = 0; i < KEYS; i++)
        young += history.keys[i].tombstone && history.keys[i].offset >= clean;
    compact(&history, clean, KEYS);
    cr_assert_eq(tombstones(&history), young, "seed %llu", (unsigned long long)seed);
    expect_compacted(&history);
    for (size_t i = 0; i < history.count; i++)
        free(history.batches[i].bytes);
    compact_batch_free(&history.work);
}

Test(compact_batch, many_passes_leave_the_last_record_of_each_key)
{
    for (uint64_t seed = 1; seed <= 400; seed++)
        one_history(seed);
}
