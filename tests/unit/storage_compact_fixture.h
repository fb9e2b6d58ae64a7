// SPDX-License-Identifier: Apache-2.0
// A compacted log on a simulated disk, and a naive model of it: every record that was appended.
#pragma once

#include "storage/store.h"
#include "tests/unit/storage_fixture.h"

enum { KEYED_KEYS_MAX = 2000, KEYED_VALUE = 200, DELETE_RETENTION_MS = 60000 };

struct keyed_record {
    int key;
    bool tombstone;
    bool present; // found by the last look
};

struct keyed {
    struct world world;
    struct keyed_record *records; // by offset
    int64_t count;
    int64_t capacity;
    int64_t acked;
    int64_t start;
    int keys;
};

struct keyed_append {
    struct log_append op;
    struct keyed *keyed;
};

static inline void keyed_begin(struct keyed *keyed, uint64_t seed)
{
    *keyed = (struct keyed){.keys = 30};
    world_begin(&keyed->world, seed);
    keyed->world.config.segment_bytes = 24 * KIB;
    keyed->world.config.compact = true;
    keyed->world.config.min_dirty_ratio = 0;
    keyed->world.config.delete_retention_ms = DELETE_RETENTION_MS;
    keyed->world.compaction =
        (struct log_compaction){.enabled = true, .map_bytes = 1, .backoff_ms = 1};
    keyed->world.tail_cache_bytes = 0;
}

static inline void keyed_end(struct keyed *keyed)
{
    free(keyed->records);
    world_end(&keyed->world);
}

static inline void keyed_open(struct keyed *keyed)
{
    int error = world_open(&keyed->world);
    cr_assert_eq(error, 0, "seed %" PRIu64 ": %s", keyed->world.seed, strerror(-error));
    struct log_offsets offsets = log_offsets(keyed->world.log);
    cr_assert_eq(offsets.error, 0);
    cr_assert_eq(keyed->world.recovery.damaged_ranges, 0, "seed %" PRIu64, keyed->world.seed);
    cr_assert_geq(offsets.committed, keyed->acked);
    cr_assert_leq(offsets.committed, keyed->count);
    cr_assert_geq(offsets.start, keyed->start);
    keyed->count = keyed->acked = offsets.committed;
}

static inline void keyed_text(char to[KEYED_VALUE], int64_t offset)
{
    memset(to, 'a' + (int)(offset % 26), KEYED_VALUE);
    snprintf(to, KEYED_VALUE, "value %lld", (long long)offset);
}

static inline void keyed_done(struct log_append *op)
{
    struct keyed_append *append = list_entry(op, struct keyed_append, op);
    append->keyed->world.in_flight--;
    if (op->error == 0)
        append->keyed->acked = op->last_offset + 1;
    free(append);
}

static inline void keyed_note(struct keyed *keyed, int64_t offset, int key, bool tombstone)
{
    if (offset >= keyed->capacity) {
        keyed->capacity = offset * 2 + 64;
        keyed->records = realloc(keyed->records, (size_t)keyed->capacity * sizeof(*keyed->records));
    }
    keyed->records[offset] = (struct keyed_record){.key = key, .tombstone = tombstone};
    keyed->count = offset + 1;
}

// One batch of records with random keys; one of `tombstones` is a tombstone (0 = none).
static inline void keyed_append(struct keyed *keyed, int records, uint64_t tombstones)
{
    struct world *world = &keyed->world;
    struct batch_builder builder;
    struct batch_scratch scratch = {0};
    struct batch_header header;
    struct span batch;
    char key[16], value[KEYED_VALUE];
    int64_t base = log_offsets(world->log).end;
    batch_builder_init(&builder, MIB);
    for (int i = 0; i < records; i++) {
        int number = (int)random_below(&world->random, (uint64_t)keyed->keys);
        bool tombstone = tombstones && random_below(&world->random, tombstones) == 0;
        snprintf(key, sizeof(key), "%d", number);
        keyed_text(value, base + i);
        cr_assert_eq(batch_builder_add(&builder, world->io->wall_ms, span_text(key),
                                       tombstone ? (struct span){0} : span_of(value, KEYED_VALUE),
                                       NULL, 0),
                     BATCH_OK);
        keyed_note(keyed, base + i, number, tombstone);
    }
    enum batch_codec codec = random_below(&world->random, 4) ? CODEC_NONE : CODEC_ZSTD;
    cr_assert_eq(batch_builder_finish(&builder, codec, 0, (struct batch_producer){.id = -1},
                                      &scratch, &batch),
                 BATCH_OK);
    cr_assert_eq(batch_check(batch, &header), BATCH_OK);
    struct keyed_append *append = calloc(1, sizeof(*append));
    *append = (struct keyed_append){.op = {.done = keyed_done}, .keyed = keyed};
    world->in_flight++;
    log_append(world->log, batch, &header, EPOCH, &append->op);
    free(scratch.data);
    batch_builder_free(&builder);
}

static inline void keyed_fill(struct keyed *keyed, int batches, uint64_t tombstones)
{
    for (int i = 0; i < batches; i++) {
        keyed_append(keyed, 1 + (int)random_below(&keyed->world.random, 8), tombstones);
        if (random_below(&keyed->world.random, 4) == 0)
            world_settle(&keyed->world);
    }
    world_settle(&keyed->world);
}

// Until there is nothing more to compact. False when it does not come to that.
static inline bool keyed_compact(struct keyed *keyed)
{
    struct world *world = &keyed->world;
    sim_advance(world->sim, 2 * 1000000); // longer than the backoff
    for (int i = 0; i < 20000; i++) {
        uint64_t next = log_store_compact(world->store);
        if (sim_power_is_off(world->sim))
            return false;
        if (!world->store->compactor.running && next > world->io->now_ns)
            return true;
        world_turn(world);
    }
    return false;
}

static inline void keyed_look_at(struct keyed *keyed, const struct record *record)
{
    char text[KEYED_VALUE];
    cr_assert_lt(record->offset, keyed->count);
    struct keyed_record *known = &keyed->records[record->offset];
    snprintf(text, sizeof(text), "%d", known->key);
    cr_assert(span_equal(record->key, span_text(text)), "seed %" PRIu64 ": offset %" PRId64,
              keyed->world.seed, record->offset);
    cr_assert_eq(!record->value.data, known->tombstone);
    keyed_text(text, record->offset);
    cr_assert(known->tombstone || span_equal(record->value, span_of(text, KEYED_VALUE)));
    known->present = true;
}

// Returns the offset behind the batch.
static inline int64_t keyed_look_in(struct keyed *keyed, struct span batch, int64_t after)
{
    struct batch_reader reader;
    struct batch_header header;
    struct record record;
    struct arena arena;
    arena_init(&arena, MIB);
    cr_assert_eq(batch_check_stored(batch, &header), BATCH_OK);
    cr_assert_geq(header.base_offset, after, "offsets go back");
    cr_assert_eq(batch_reader_init(&reader, batch, &arena, MIB), BATCH_OK);
    while (batch_reader_next(&reader, &record) == 1)
        keyed_look_at(keyed, &record);
    arena_free(&arena);
    return batch_last_offset(&header) + 1;
}

// Reads everything and notes what is there.
static inline void keyed_look(struct keyed *keyed)
{
    struct world *world = &keyed->world;
    struct log_offsets offsets = log_offsets(world->log);
    for (int64_t i = 0; i < keyed->count; i++)
        keyed->records[i].present = false;
    int64_t passed = 0;
    for (int64_t from = offsets.start; from < offsets.committed;) {
        struct reading reading;
        world_read(world, &reading, from, 1 + (uint32_t)random_below(&world->random, 40 * KIB));
        cr_assert_eq(reading.op.error, 0, "seed %" PRIu64 ": offset %" PRId64 ": %s", world->seed,
                     from, strerror(-reading.op.error));
        cr_assert_gt(reading.op.size, 0, "seed %" PRIu64 ": nothing at offset %" PRId64,
                     world->seed, from);
        for (uint32_t i = 0; i < reading.op.slice_count; i++) {
            const uint8_t *at = reading.op.slices[i].iov_base;
            size_t left = reading.op.slices[i].iov_len;
            while (left > 0) {
                struct batch_header header;
                cr_assert_eq(batch_header_read(span_of(at, left), &header), BATCH_OK);
                size_t size = batch_total_size(&header);
                from = keyed_look_in(keyed, span_of(at, size), passed);
                passed = from;
                at += size;
                left -= size;
            }
        }
        log_read_release(&reading.op);
    }
}

// The last record of each key is there; tombstones may be gone if `tombstones_may_go`.
static inline void keyed_expect_last(struct keyed *keyed, bool tombstones_may_go)
{
    int64_t start = log_offsets(keyed->world.log).start;
    bool seen[KEYED_KEYS_MAX] = {false};
    keyed_look(keyed);
    for (int64_t i = keyed->count - 1; i >= start; i--) {
        const struct keyed_record *record = &keyed->records[i];
        bool last = !seen[record->key];
        seen[record->key] = true;
        if (last && !(record->tombstone && tombstones_may_go))
            cr_assert(record->present, "seed %" PRIu64 ": the last of key %d, %" PRId64 ", is gone",
                      keyed->world.seed, record->key, i);
    }
}

// Nothing is left of what is superseded in the sealed segments.
static inline void keyed_expect_compacted(struct keyed *keyed)
{
    const struct segment *active = log_active(keyed->world.log);
    int64_t end = active ? active->header.base_offset : 0;
    bool seen[KEYED_KEYS_MAX] = {false};
    for (int64_t i = end - 1; i >= 0; i--) {
        const struct keyed_record *record = &keyed->records[i];
        cr_assert(!seen[record->key] || !record->present,
                  "seed %" PRIu64 ": %" PRId64 " of key %d is still there", keyed->world.seed, i,
                  record->key);
        seen[record->key] = true;
    }
}
