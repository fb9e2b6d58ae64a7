// SPDX-License-Identifier: Apache-2.0
// Compaction of batches as producers, damage and tricks may leave them in a log, against a naive
// model of its rules: every record that can be read.
//
// The input: a byte of options (below), one that bounds the keys of the map (0: all), then batches,
// each behind its size in two bytes. They stand one behind the other in a log, in which the broker
// gives the offsets.
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/crc32c.h"
#include "base/endian.h"
#include "storage/compact_batch.h"

enum {
    MAKE_RIGHT = 1, // length, magic and checksum: so that the inside is reached
    KEEP_PLACE = 2,
    NO_HORIZON = 4, // tombstones are not given a date
    MUCH_LATER = 8, // dates of tombstones have passed
    BATCHES_MAX = 32,
    RECORDS_MAX = 1500, // the model compares each with each
    INFLATE_MAX = 1 << 20,
    EPOCH = 3,
    RETENTION_MS = 1000,
};

static const int64_t now_ms = 1700000000000;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct batch {
    struct span bytes;
    struct batch_header header;
    bool sound;   // as a producer's is
    bool parses;  // to its end
    size_t first; // of its records
    size_t count;
};

struct scene {
    uint8_t options;
    struct batch batches[BATCHES_MAX];
    size_t batch_count;
    struct record records[RECORDS_MAX];
    bool control[RECORDS_MAX];
    size_t record_count;
    int64_t end;
    struct arena arena;
    struct compact_map map;
    struct compact_rules rules;
};

static void make_right(uint8_t *bytes, size_t size)
{
    store_be32(bytes + 8, (uint32_t)(size - BATCH_LENGTH_OVERHEAD));
    bytes[16] = 2;
    store_be32(bytes + 17, crc32c(0, bytes + 21, size - 21));
}

// Reads the records of a batch into `out`. False: more than there is room for, or than the model
// inflates.
static bool records_read(struct span bytes, struct arena *arena, struct record *out, size_t room,
                         size_t *count, bool *parses)
{
    struct batch_reader reader;
    struct record record;
    *count = 0;
    enum batch_error error = batch_reader_init(&reader, bytes, arena, INFLATE_MAX);
    *parses = error == BATCH_OK;
    if (error == BATCH_TOO_LARGE || error == BATCH_NO_MEMORY)
        return false;
    int got = 0;
    while (*parses && (got = batch_reader_next(&reader, &record)) == 1) {
        if (*count == room)
            return false;
        out[(*count)++] = record;
    }
    *parses &= got == 0;
    return true;
}

// The next batch of the input goes to the end of the log. False: the model cannot have it.
static bool batch_add(struct scene *scene, const uint8_t *data, size_t size)
{
    struct batch *batch = &scene->batches[scene->batch_count];
    uint8_t *bytes = malloc(size + 1);
    CHECK(bytes);
    memcpy(bytes, data, size);
    batch_assign(bytes, scene->end, EPOCH);
    if (scene->options & MAKE_RIGHT)
        make_right(bytes, size);
    *batch = (struct batch){.bytes = span_of(bytes, size), .first = scene->record_count};
    scene->batch_count++;
    struct span rest = batch->bytes;
    // Storage hands out what has a header, and is as long as that says.
    if (batch_header_read(rest, &batch->header) != BATCH_OK ||
        batch_total_size(&batch->header) > size || batch->header.last_offset_delta < 0) {
        scene->batch_count--;
        free(bytes);
        return true;
    }
    batch->bytes.size = batch_total_size(&batch->header);
    struct batch_header checked;
    batch->sound = batch_check_stored(batch->bytes, &checked) == BATCH_OK;
    bool read = records_read(batch->bytes, &scene->arena, scene->records + batch->first,
                             RECORDS_MAX - batch->first, &batch->count, &batch->parses);
    for (size_t i = 0; i < batch->count; i++)
        scene->control[batch->first + i] = batch->header.attributes & BATCH_CONTROL;
    scene->record_count += batch->count;
    scene->end = batch_last_offset(&batch->header) + 1;
    return read;
}

// --- the model

static bool spans_equal(struct span a, struct span b)
{
    return a.size == b.size && !a.data == !b.data &&
           (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

static bool records_equal(const struct record *a, const struct record *b)
{
    return a->offset == b->offset && a->timestamp == b->timestamp && spans_equal(a->key, b->key) &&
           spans_equal(a->value, b->value) && spans_equal(a->headers, b->headers) &&
           a->header_count == b->header_count;
}

// Whether a later record below `end` has the key.
static bool superseded(const struct scene *scene, const struct record *record, int64_t end)
{
    for (size_t i = 0; i < scene->record_count; i++) {
        const struct record *other = &scene->records[i];
        if (!scene->control[i] && other->key.data && other->offset > record->offset &&
            other->offset < end && spans_equal(other->key, record->key))
            return true;
    }
    return false;
}

static bool outlived(const struct scene *scene, const struct batch *batch,
                     const struct record *record)
{
    return !record->value.data && (batch->header.attributes & BATCH_DELETE_HORIZON) &&
           batch->header.base_timestamp <= scene->rules.now_ms;
}

static void check_header(const struct batch *batch, struct span out, int64_t max_timestamp)
{
    struct batch_header header;
    enum { CHANGES = BATCH_DELETE_HORIZON | BATCH_CODEC_MASK };
    CHECK(batch_header_read(out, &header) == BATCH_OK && batch_total_size(&header) == out.size);
    CHECK(!batch->sound || batch_check_stored(out, &header) == BATCH_OK);
    CHECK(header.base_offset == batch->header.base_offset);
    CHECK(header.last_offset_delta == batch->header.last_offset_delta);
    CHECK(header.leader_epoch == batch->header.leader_epoch);
    CHECK(header.producer_id == batch->header.producer_id);
    CHECK(header.producer_epoch == batch->header.producer_epoch);
    CHECK(header.base_sequence == batch->header.base_sequence);
    CHECK((header.attributes & ~CHANGES) == (batch->header.attributes & ~CHANGES));
    if (header.record_count > 0 && !(header.attributes & BATCH_LOG_APPEND_TIME))
        CHECK(header.max_timestamp == max_timestamp);
}

// What is left of a batch has exactly the records that have to be left, as they were.
static void check_thinned(const struct scene *scene, const struct batch *batch, struct span out)
{
    static struct record left[RECORDS_MAX];
    struct arena arena;
    size_t count = 0, at = 0;
    bool parses = true;
    int64_t max_timestamp = INT64_MIN;
    arena_init(&arena, 4 * INFLATE_MAX);
    if (out.size > 0) {
        CHECK(records_read(out, &arena, left, RECORDS_MAX, &count, &parses));
        CHECK(parses);
    }
    for (size_t i = 0; i < batch->count; i++) {
        const struct record *record = &scene->records[batch->first + i];
        bool stays = at < count && records_equal(record, &left[at]);
        at += stays;
        if (stays && record->timestamp > max_timestamp)
            max_timestamp = record->timestamp;
        bool gone = !record->key.data || superseded(scene, record, scene->rules.map_end) ||
                    outlived(scene, batch, record);
        CHECK(!stays || !gone);
        CHECK(stays || gone || superseded(scene, record, INT64_MAX));
    }
    CHECK(at == count);
    CHECK(out.size > 0 || !(scene->options & KEEP_PLACE));
    if (out.size > 0)
        check_header(batch, out, max_timestamp);
    arena_free(&arena);
}

// --- compaction

static void map_fill(struct scene *scene, struct compact_batch *work, uint8_t keys_max)
{
    CHECK(compact_map_init(&scene->map, SIZE_MAX / 16, RECORDS_MAX, keys_max) == 0);
    if (keys_max > 0)
        scene->map.limit = keys_max; // fewer than a real one ever has
    scene->rules = (struct compact_rules){
        .map = &scene->map,
        .map_end = scene->end,
        .now_ms = now_ms + (scene->options & MUCH_LATER ? 1000 * RETENTION_MS : 0),
        .delete_horizon_ms = -1,
    };
    if (!(scene->options & NO_HORIZON))
        scene->rules.delete_horizon_ms = scene->rules.now_ms + RETENTION_MS;
    for (size_t i = 0; i < scene->batch_count; i++) {
        const struct batch *batch = &scene->batches[i];
        int error = compact_batch_note(work, batch->bytes, &scene->map);
        if (error) {
            scene->rules.map_end = batch->header.base_offset;
            return;
        }
    }
}

static void thin(const struct scene *scene, const struct batch *batch, struct compact_batch *work,
                 struct compact_batch *again)
{
    struct span out, twice;
    bool keep_place = scene->options & KEEP_PLACE;
    CHECK(compact_batch_thin(work, &scene->rules, batch->bytes, keep_place, &out) == 0);
    bool left_alone = !batch->parses || (batch->header.attributes & BATCH_CONTROL) ||
                      batch_last_offset(&batch->header) >= scene->rules.map_end;
    bool same = out.data == batch->bytes.data && out.size == batch->bytes.size;
    CHECK(same || !left_alone);
    if (left_alone)
        return;
    if (!same)
        check_thinned(scene, batch, out);
    else
        CHECK(batch->count == 0 ||
              !superseded(scene, &scene->records[batch->first], scene->rules.map_end));
    // A second pass finds nothing more to do.
    if (out.size > 0) {
        CHECK(compact_batch_thin(again, &scene->rules, out, keep_place, &twice) == 0);
        CHECK(twice.data == out.data && twice.size == out.size);
    }
}

static void compact(struct scene *scene, uint8_t keys_max)
{
    struct compact_batch work, again;
    compact_batch_init(&work);
    compact_batch_init(&again);
    map_fill(scene, &work, keys_max);
    for (size_t i = 0; i < scene->batch_count; i++)
        thin(scene, &scene->batches[i], &work, &again);
    compact_map_free(&scene->map);
    compact_batch_free(&work);
    compact_batch_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct scene scene;
    if (size < 2)
        return 0;
    scene = (struct scene){.options = data[0]};
    arena_init(&scene.arena, (size_t)BATCHES_MAX * 2 * INFLATE_MAX);
    bool known = true;
    for (size_t at = 2; known && at + 2 < size && scene.batch_count < BATCHES_MAX;) {
        size_t length = load_le16(data + at);
        at += 2;
        length = length < size - at ? length : size - at;
        if (length >= BATCH_HEADER_SIZE)
            known = batch_add(&scene, data + at, length);
        at += length;
    }
    if (known)
        compact(&scene, data[1]);
    for (size_t i = 0; i < scene.batch_count; i++)
        free((uint8_t *)(uintptr_t)scene.batches[i].bytes.data);
    arena_free(&scene.arena);
    return 0;
}
