// SPDX-License-Identifier: Apache-2.0
// Record batches as a peer or a damaged disk may give them. The first byte of the input chooses:
// bit 0: length, magic and checksum are made right, so that the inside is reached; bit 1: a small
// limit for inflating. The rest is the batch. What can be read is built anew and must read the
// same.
#include <stdlib.h>

#include "base/check.h"
#include "base/crc32c.h"
#include "base/endian.h"
#include "protocol/record_batch.h"

enum { LIMIT_SMALL = 1000, LIMIT_LARGE = 1 << 20, HEADERS_MAX = 64 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void make_right(uint8_t *batch, size_t size)
{
    if (size < BATCH_HEADER_SIZE)
        return;
    store_be32(batch + 8, (uint32_t)(size - BATCH_LENGTH_OVERHEAD));
    batch[16] = 2;
    store_be32(batch + 17, crc32c(0, batch + 21, size - 21));
}

// Every byte that a record refers to is there.
static void touch(struct span span)
{
    static volatile uint8_t sink;
    for (size_t i = 0; i < span.size; i++)
        sink = span.data[i];
    (void)sink;
}

static int32_t read_headers(const struct record *record, struct record_header *headers)
{
    struct record_header header;
    size_t at = 0;
    int32_t count = 0;
    int got;
    while ((got = record_header_next(record, &at, &header)) == 1) {
        touch(header.key);
        touch(header.value);
        if (count < HEADERS_MAX)
            headers[count] = header;
        count++;
    }
    CHECK(got == 0 && count == record->header_count);
    return count;
}

// Reads everything and puts it into the builder. The number of records, or an error.
static int read_all(struct span batch, struct arena *arena, size_t limit,
                    struct batch_builder *builder)
{
    struct batch_reader reader;
    struct record record;
    struct record_header headers[HEADERS_MAX];
    int got = batch_reader_init(&reader, batch, arena, limit);
    if (got)
        return got;
    int count = 0;
    while ((got = batch_reader_next(&reader, &record)) == 1) {
        touch(record.key);
        touch(record.value);
        int32_t header_count = read_headers(&record, headers);
        CHECK(record.offset >= reader.header.base_offset);
        CHECK(record.offset <= batch_last_offset(&reader.header));
        CHECK(batch_builder_add(builder, record.timestamp, record.key, record.value, headers,
                                header_count < HEADERS_MAX ? header_count : 0) == BATCH_OK);
        count++;
    }
    CHECK(got != 0 || count == reader.header.record_count);
    return got ? got : count;
}

// What the builder wrote holds the same records as `batch`.
static void expect_same(struct span batch, struct span built, struct arena *arena, size_t limit)
{
    struct batch_header header;
    struct batch_reader a, b;
    struct record x, y;
    CHECK(batch_check(built, &header) == BATCH_OK);
    CHECK(batch_reader_init(&a, batch, arena, limit) == BATCH_OK);
    CHECK(batch_reader_init(&b, built, arena, 2 * LIMIT_LARGE) == BATCH_OK);
    while (batch_reader_next(&a, &x) == 1) {
        CHECK(batch_reader_next(&b, &y) == 1);
        CHECK(x.timestamp == y.timestamp);
        CHECK(span_equal(x.key, y.key) && !x.key.data == !y.key.data);
        CHECK(span_equal(x.value, y.value) && !x.value.data == !y.value.data);
        CHECK(x.header_count >= HEADERS_MAX || x.header_count == y.header_count);
    }
    CHECK(batch_reader_next(&b, &y) == 0);
}

static void check_inside(struct span batch, size_t limit, enum batch_codec codec)
{
    struct arena arena;
    struct batch_builder builder;
    struct batch_scratch scratch = {0};
    struct batch_facts facts;
    struct span built;
    arena_init(&arena, 4 * LIMIT_LARGE);
    batch_builder_init(&builder, 2 * LIMIT_LARGE);
    int count = read_all(batch, &arena, limit, &builder);
    CHECK(arena.used <= limit + 16);
    arena_reset(&arena);
    enum batch_error error = batch_validate_records(batch, &arena, limit, false, &facts);
    CHECK((error == BATCH_OK) == (count >= 0));
    CHECK(error || facts.record_count == count);
    if (count > 0) {
        const struct batch_producer none = {.id = -1, .epoch = -1, .base_sequence = -1};
        CHECK(batch_builder_finish(&builder, codec, 0, none, &scratch, &built) == BATCH_OK);
        arena_reset(&arena);
        expect_same(batch, built, &arena, limit);
    }
    free(scratch.data);
    batch_builder_free(&builder);
    arena_free(&arena);
}

// A batch in another compression has the same records, or there is an error in both.
static void check_recoded(struct span batch, size_t limit, enum batch_codec codec)
{
    struct arena arena, inflated;
    struct batch_facts facts;
    struct span recoded;
    arena_init(&arena, 4 * LIMIT_LARGE);
    arena_init(&inflated, 4 * LIMIT_LARGE);
    enum batch_error error = batch_recode(batch, codec, limit, &inflated, &arena, &recoded);
    arena_reset(&inflated);
    if (!error && batch_validate_records(batch, &inflated, limit, false, &facts) == BATCH_OK) {
        arena_reset(&inflated);
        expect_same(batch, recoded, &inflated, LIMIT_LARGE);
    }
    arena_free(&arena);
    arena_free(&inflated);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct batch_header header;
    if (size < 1)
        return 0;
    uint8_t choice = data[0];
    uint8_t *batch = malloc(size); // one byte more than the batch; malloc(0) is no help
    CHECK(batch);
    uint8_t *at = batch + 1; // ends where the allocation ends
    memcpy(at, data + 1, size - 1);
    if (choice & 1)
        make_right(at, size - 1);
    struct span span = span_of(at, size - 1);
    bool sound = batch_check(span, &header) == BATCH_OK;
    CHECK(!sound || batch_check_stored(span, &header) == BATCH_OK);
    check_inside(span, choice & 2 ? LIMIT_SMALL : LIMIT_LARGE,
                 (enum batch_codec)((choice >> 2) % 5));
    if (sound) {
        check_recoded(span_of(at, batch_total_size(&header)), LIMIT_SMALL,
                      (enum batch_codec)((choice >> 2) % 5));
        batch_set_append_time(at, batch_total_size(&header), 1);
        batch_assign(at, 7, 7);
        CHECK(batch_check(span, &header) == BATCH_OK);
    }
    free(batch);
    return 0;
}
