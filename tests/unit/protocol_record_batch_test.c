// SPDX-License-Identifier: Apache-2.0
#include "protocol/record_batch.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/crc32c.h"
#include "base/endian.h"
#include "base/random.h"

enum { MIB = 1 << 20, CODECS = 5, SAMPLE_HEADERS_MAX = 3 };

static const char *const codec_names[CODECS] = {"none", "gzip", "snappy", "lz4", "zstd"};
static const struct batch_producer no_producer = {.id = -1, .epoch = -1, .base_sequence = -1};
static const struct span absent = {0};

// ---- Sample records: the builder and the check make the same ones from their number ----------

struct sample {
    int64_t timestamp;
    struct span key;
    struct span value;
    struct record_header headers[SAMPLE_HEADERS_MAX];
    int32_t header_count;
    char text[3][64];
    uint8_t filler[700];
};

static void make_sample(struct sample *sample, int number)
{
    struct random random = {.state = (uint64_t)number};
    *sample =
        (struct sample){.timestamp = 1700000000000 + (int64_t)random_below(&random, 2000) - 1000};
    for (int i = 0; i < 3; i++)
        snprintf(sample->text[i], sizeof(sample->text[i]), "text %d of %d", i, number);
    memset(sample->filler, 'a' + number % 26, sizeof(sample->filler));
    switch (random_below(&random, 4)) {
    case 0:
        sample->key = absent;
        break;
    case 1:
        sample->key = span_of("", 0);
        break;
    default:
        sample->key = span_text(sample->text[0]);
    }
    if (random_below(&random, 5) > 0)
        sample->value = span_of(sample->filler, random_below(&random, sizeof(sample->filler)));
    sample->header_count = (int32_t)random_below(&random, SAMPLE_HEADERS_MAX + 1);
    for (int32_t i = 0; i < sample->header_count; i++) {
        sample->headers[i].key = span_text(sample->text[i]);
        if (random_below(&random, 2))
            sample->headers[i].value = span_of(sample->filler, (size_t)i * 50);
    }
}

static void expect_same_span(struct span got, struct span want, const char *what, int number)
{
    cr_assert(span_equal(got, want) && !got.data == !want.data, "%s of record %d", what, number);
}

static void expect_sample(const struct record *record, int number)
{
    struct sample sample;
    make_sample(&sample, number);
    cr_assert_eq(record->timestamp, sample.timestamp);
    expect_same_span(record->key, sample.key, "key", number);
    expect_same_span(record->value, sample.value, "value", number);
    cr_assert_eq(record->header_count, sample.header_count);
    struct record_header header;
    size_t at = 0;
    for (int32_t i = 0; i < sample.header_count; i++) {
        cr_assert_eq(record_header_next(record, &at, &header), 1);
        expect_same_span(header.key, sample.headers[i].key, "header key", number);
        expect_same_span(header.value, sample.headers[i].value, "header value", number);
    }
    cr_assert_eq(record_header_next(record, &at, &header), 0);
}

static void add_samples(struct batch_builder *builder, int count)
{
    struct sample sample;
    for (int i = 0; i < count; i++) {
        make_sample(&sample, i);
        cr_assert_eq(batch_builder_add(builder, sample.timestamp, sample.key, sample.value,
                                       sample.headers, sample.header_count),
                     BATCH_OK);
    }
}

// A batch in memory of its own, exactly as large, so that the sanitizers see a step beyond it.
struct bytes {
    uint8_t *data;
    size_t size;
};

static struct bytes bytes_copy(struct span span)
{
    struct bytes bytes = {malloc(span.size ? span.size : 1), span.size};
    cr_assert(bytes.data);
    memcpy(bytes.data, span.data, span.size);
    return bytes;
}

static struct span bytes_span(struct bytes bytes)
{
    return span_of(bytes.data, bytes.size);
}

static struct bytes make_batch(int count, enum batch_codec codec)
{
    struct batch_builder builder;
    struct batch_scratch scratch = {0};
    struct span out;
    batch_builder_init(&builder, 64 * MIB);
    add_samples(&builder, count);
    cr_assert_eq(batch_builder_finish(&builder, codec, 0, no_producer, &scratch, &out), BATCH_OK);
    struct bytes bytes = bytes_copy(out);
    batch_builder_free(&builder);
    free(scratch.data);
    return bytes;
}

static void fix_crc(struct bytes batch)
{
    store_be32(batch.data + 17, crc32c(0, batch.data + 21, batch.size - 21));
}

// A batch around hand-made records.
static struct bytes wrap(const char *records, size_t size, int32_t count, int32_t last_delta)
{
    struct bytes batch = {calloc(1, BATCH_HEADER_SIZE + size), BATCH_HEADER_SIZE + size};
    cr_assert(batch.data);
    store_be32(batch.data + 8, (uint32_t)(batch.size - 12));
    batch.data[16] = 2;
    store_be32(batch.data + 23, (uint32_t)last_delta);
    store_be32(batch.data + 57, (uint32_t)count);
    memcpy(batch.data + BATCH_HEADER_SIZE, records, size);
    fix_crc(batch);
    return batch;
}

// Walks everything; the error, or 0.
static enum batch_error walk(struct span batch, size_t limit)
{
    struct arena arena;
    struct batch_reader reader;
    struct record record;
    arena_init(&arena, limit + MIB);
    int got = batch_reader_init(&reader, batch, &arena, limit);
    if (!got) {
        while ((got = batch_reader_next(&reader, &record)) == 1)
            ;
        cr_assert_eq(batch_reader_next(&reader, &record), got, "the end stays, as errors do");
    }
    cr_assert_leq(arena.used, limit + 16);
    arena_free(&arena);
    return (enum batch_error)got;
}

// ---- Round trips -----------------------------------------------------------------------------

static void expect_samples(struct span batch, int count, const char *name)
{
    struct batch_header header;
    struct batch_reader reader;
    struct record record;
    struct arena arena;
    arena_init(&arena, 64 * MIB);
    cr_assert_eq(batch_check(batch, &header), BATCH_OK, "%s", name);
    cr_assert_eq(batch_reader_init(&reader, batch, &arena, 64 * MIB), BATCH_OK, "%s", name);
    for (int i = 0; i < count; i++) {
        cr_assert_eq(batch_reader_next(&reader, &record), 1);
        cr_assert_eq(record.offset, header.base_offset + i);
        expect_sample(&record, i);
    }
    cr_assert_eq(batch_reader_next(&reader, &record), 0);
    arena_free(&arena);
}

Test(protocol, record_batch_round_trip)
{
    static const int counts[] = {1, 2, 3, 100, 5000};
    for (int codec = 0; codec < CODECS; codec++) {
        for (size_t i = 0; i < sizeof(counts) / sizeof(*counts); i++) {
            struct bytes batch = make_batch(counts[i], (enum batch_codec)codec);
            batch_assign(batch.data, 1234567890123, 42);
            expect_samples(bytes_span(batch), counts[i], codec_names[codec]);
            if (counts[i] >= 100)
                cr_assert_eq(batch.data[22], codec, "the codec was used");
            free(batch.data);
        }
    }
}

Test(protocol, record_batch_header_fields)
{
    struct batch_builder builder;
    struct batch_scratch scratch = {0};
    struct batch_header header;
    struct span out;
    const struct batch_producer producer = {.id = 77, .epoch = 3, .base_sequence = 500};
    batch_builder_init(&builder, MIB);
    batch_builder_add(&builder, 1000, absent, span_text("a"), NULL, 0);
    batch_builder_add(&builder, 3000, absent, span_text("b"), NULL, 0);
    batch_builder_add(&builder, 500, absent, span_text("c"), NULL, 0);
    cr_assert_eq(batch_builder_finish(&builder, CODEC_NONE, 0, producer, &scratch, &out), BATCH_OK);
    cr_assert_eq(batch_check(out, &header), BATCH_OK);
    cr_expect_eq(batch_total_size(&header), out.size);
    cr_expect_eq(header.base_offset, 0);
    cr_expect_eq(header.leader_epoch, -1);
    cr_expect_eq(header.magic, 2);
    cr_expect_eq(header.attributes, 0);
    cr_expect_eq(header.last_offset_delta, 2);
    cr_expect_eq(header.base_timestamp, 1000);
    cr_expect_eq(header.max_timestamp, 3000);
    cr_expect_eq(header.producer_id, 77);
    cr_expect_eq(header.producer_epoch, 3);
    cr_expect_eq(header.base_sequence, 500);
    cr_expect_eq(header.record_count, 3);
    batch_assign(builder.data, 900, 8);
    cr_assert_eq(batch_check(out, &header), BATCH_OK, "the checksum leaves these out");
    cr_expect_eq(header.base_offset, 900);
    cr_expect_eq(header.leader_epoch, 8);
    cr_expect_eq(batch_last_offset(&header), 902);
    batch_builder_free(&builder);
}

Test(protocol, record_batch_append_time)
{
    for (int codec = 0; codec < CODECS; codec++) {
        struct bytes batch = make_batch(50, (enum batch_codec)codec);
        struct batch_header header;
        struct batch_reader reader;
        struct record record;
        struct arena arena;
        arena_init(&arena, MIB);
        batch_set_append_time(batch.data, batch.size, 4711);
        cr_assert_eq(batch_check(bytes_span(batch), &header), BATCH_OK);
        cr_assert_eq(header.attributes, BATCH_LOG_APPEND_TIME | codec);
        cr_assert_eq(header.max_timestamp, 4711);
        cr_assert_eq(batch_reader_init(&reader, bytes_span(batch), &arena, MIB), BATCH_OK);
        while (batch_reader_next(&reader, &record) == 1)
            cr_assert_eq(record.timestamp, 4711);
        cr_assert_eq(reader.left, 0);
        arena_free(&arena);
        free(batch.data);
    }
}

Test(protocol, record_batch_another_producer)
{
    struct bytes batch = make_batch(50, CODEC_LZ4);
    struct batch_header before, after;
    cr_assert_eq(batch_check(bytes_span(batch), &before), BATCH_OK);
    struct batch_producer producer = {.id = INT64_MAX, .epoch = 3, .base_sequence = 1 << 30};
    batch_set_producer(batch.data, batch.size, producer);
    cr_assert_eq(batch_check(bytes_span(batch), &after), BATCH_OK);
    cr_assert_eq(after.producer_id, INT64_MAX);
    cr_assert_eq(after.producer_epoch, 3);
    cr_assert_eq(after.base_sequence, 1 << 30);
    cr_assert_eq(after.record_count, before.record_count);
    cr_assert_eq(after.max_timestamp, before.max_timestamp);
    free(batch.data);
}

Test(protocol, record_batch_extreme_timestamps)
{
    static const int64_t times[] = {INT64_MAX, INT64_MIN, 0, -1, INT64_MAX, 1};
    struct batch_builder builder;
    struct batch_reader reader;
    struct batch_scratch scratch = {0};
    struct record record;
    struct span out;
    batch_builder_init(&builder, MIB);
    for (size_t i = 0; i < 6; i++)
        batch_builder_add(&builder, times[i], absent, absent, NULL, 0);
    batch_builder_finish(&builder, CODEC_NONE, 0, no_producer, &scratch, &out);
    cr_assert_eq(batch_reader_init(&reader, out, NULL, 0), BATCH_OK);
    cr_assert_eq(reader.header.max_timestamp, INT64_MAX);
    for (size_t i = 0; i < 6; i++) {
        cr_assert_eq(batch_reader_next(&reader, &record), 1);
        cr_assert_eq(record.timestamp, times[i]);
    }
    batch_builder_free(&builder);
}

// ---- Builder ---------------------------------------------------------------------------------

Test(protocol, record_batch_builder_limit)
{
    struct batch_builder builder;
    struct batch_scratch scratch = {0};
    struct span out, value = span_of("0123456789", 10);
    // length, attributes, two deltas, key length, value length, header count: 7 bytes.
    batch_builder_init(&builder, 34);
    cr_assert_eq(batch_builder_finish(&builder, CODEC_NONE, 0, no_producer, &scratch, &out),
                 BATCH_BAD_COUNT, "there is no empty batch");
    cr_assert_eq(batch_builder_add(&builder, 5, absent, value, NULL, 0), BATCH_OK);
    cr_assert_eq(builder.size, BATCH_HEADER_SIZE + 17);
    cr_assert_eq(batch_builder_add(&builder, 9, value, span_of("01", 2), NULL, 0), BATCH_TOO_LARGE);
    cr_assert_eq(builder.count, 1);
    cr_assert_eq(builder.max_timestamp, 5, "a refused record leaves no trace");
    cr_assert_eq(batch_builder_add(&builder, 5, absent, value, NULL, 0), BATCH_OK);
    cr_assert_eq(builder.capacity, BATCH_HEADER_SIZE + 34, "no more memory than the limit");
    cr_assert_eq(batch_builder_add(&builder, 5, absent, absent, NULL, 0), BATCH_TOO_LARGE);
    cr_assert_eq(batch_builder_add(&builder, 5, absent, span_of(value.data, SIZE_MAX), NULL, 0),
                 BATCH_TOO_LARGE);
    cr_assert_eq(batch_builder_finish(&builder, CODEC_NONE, 0, no_producer, &scratch, &out),
                 BATCH_OK);
    cr_assert_eq(walk(out, 0), BATCH_OK);
    batch_builder_reset(&builder);
    cr_assert_eq(batch_builder_add(&builder, -7, absent, value, NULL, 0), BATCH_OK);
    cr_assert_eq(builder.base_timestamp, -7);
    cr_assert_eq(builder.max_timestamp, -7);
    batch_builder_free(&builder);
    batch_builder_init(&builder, 33);
    cr_assert_eq(batch_builder_add(&builder, 5, absent, value, NULL, 0), BATCH_OK);
    cr_assert_eq(batch_builder_add(&builder, 5, absent, value, NULL, 0), BATCH_TOO_LARGE);
    batch_builder_free(&builder);
}

Test(protocol, record_batch_bound_holds)
{
    struct sample sample;
    struct batch_builder builder;
    batch_builder_init(&builder, 64 * MIB);
    for (int i = 0; i < 2000; i++) {
        make_sample(&sample, i);
        size_t before = builder.size;
        size_t bound =
            batch_record_bound(sample.key, sample.value, sample.headers, sample.header_count);
        batch_builder_add(&builder, i % 2 ? INT64_MAX : INT64_MIN, sample.key, sample.value,
                          sample.headers, sample.header_count);
        cr_assert_leq(builder.size - before, bound);
        cr_assert_geq(builder.size - before + 40 + 10 * (size_t)sample.header_count, bound);
    }
    batch_builder_free(&builder);
}

Test(protocol, record_batch_stays_plain_when_compression_saves_nothing)
{
    uint8_t noise[200];
    struct random random = {.state = 3};
    for (size_t i = 0; i < sizeof(noise); i++)
        noise[i] = (uint8_t)random_next(&random);
    for (int codec = 1; codec < CODECS; codec++) {
        struct batch_builder builder;
        struct batch_scratch scratch = {0};
        struct span out;
        batch_builder_init(&builder, MIB);
        batch_builder_add(&builder, 1, absent, span_of(noise, sizeof(noise)), NULL, 0);
        cr_assert_eq(
            batch_builder_finish(&builder, (enum batch_codec)codec, 0, no_producer, &scratch, &out),
            BATCH_OK);
        cr_assert_eq(out.data[22], CODEC_NONE);
        cr_assert_eq(out.data, builder.data);
        cr_assert_eq(walk(out, 0), BATCH_OK);
        free(scratch.data);
        batch_builder_free(&builder);
    }
}

Test(protocol, record_batch_may_be_finished_again)
{
    struct batch_contexts contexts = {0};
    struct batch_builder builder;
    struct batch_scratch scratch = {0};
    struct span out;
    batch_builder_init(&builder, 64 * MIB);
    add_samples(&builder, 300);
    for (int round = 0; round < 4; round++) {
        builder.contexts = round < 2 ? NULL : &contexts;
        for (int codec = 0; codec < CODECS; codec++) {
            cr_assert_eq(batch_builder_finish(&builder, (enum batch_codec)codec, 0, no_producer,
                                              &scratch, &out),
                         BATCH_OK);
            expect_samples(out, 300, codec_names[codec]);
        }
    }
    cr_expect_eq(
        batch_builder_finish(&builder, (enum batch_codec)5, 0, no_producer, &scratch, &out),
        BATCH_BAD_CODEC);
    free(scratch.data);
    batch_builder_free(&builder);
    batch_contexts_free(&contexts);
}

// ---- Damage ----------------------------------------------------------------------------------

Test(protocol, record_batch_cut_anywhere)
{
    for (int codec = 0; codec < CODECS; codec++) {
        struct bytes whole = make_batch(4, (enum batch_codec)codec);
        for (size_t cut = 0; cut < whole.size; cut++) {
            struct batch_header header;
            struct bytes part = bytes_copy(span_of(whole.data, cut));
            cr_assert_eq(batch_check(bytes_span(part), &header), BATCH_TRUNCATED);
            cr_assert_eq(walk(bytes_span(part), MIB), BATCH_TRUNCATED);
            if (cut >= BATCH_HEADER_SIZE) {
                // The same with a header that agrees: the inside must notice.
                store_be32(part.data + 8, (uint32_t)(cut - 12));
                fix_crc(part);
                enum batch_error error = walk(bytes_span(part), MIB);
                cr_assert(error == BATCH_BAD_RECORD || error == BATCH_BAD_COUNT ||
                              error == BATCH_BAD_COMPRESSION,
                          "%s cut at %zu: %d", codec_names[codec], cut, error);
            }
            free(part.data);
        }
        free(whole.data);
    }
}

Test(protocol, record_batch_every_flipped_bit_is_found)
{
    struct bytes batch = make_batch(3, CODEC_NONE);
    struct batch_header header;
    for (size_t bit = 0; bit < batch.size * 8; bit++) {
        // Base offset and leader epoch are the broker's to write; the checksum leaves them out.
        if (bit / 8 < 8 || (bit / 8 >= 12 && bit / 8 < 16))
            continue;
        batch.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        enum batch_error error = batch_check(bytes_span(batch), &header);
        cr_assert_neq(error, BATCH_OK, "bit %zu", bit);
        if (bit / 8 >= 17)
            cr_assert_eq(error, BATCH_BAD_CRC, "bit %zu", bit);
        batch.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    cr_assert_eq(batch_check(bytes_span(batch), &header), BATCH_OK);
    free(batch.data);
}

Test(protocol, record_batch_random_damage_inside_is_survived)
{
    struct random random = {.state = 11};
    for (int codec = 0; codec < CODECS; codec++) {
        struct bytes whole = make_batch(6, (enum batch_codec)codec);
        for (int i = 0; i < 20000; i++) {
            struct bytes bad = bytes_copy(bytes_span(whole));
            for (uint64_t hits = 1 + random_below(&random, 3); hits > 0; hits--)
                bad.data[21 + random_below(&random, bad.size - 21)] = (uint8_t)random_next(&random);
            walk(bytes_span(bad), 10000); // asserts the memory it took
            free(bad.data);
        }
        free(whole.data);
    }
}

Test(protocol, record_batch_bombs_stop_at_the_limit)
{
    enum { BOMB = 40 * MIB, LIMIT = 100000 };
    uint8_t *zeros = calloc(1, BOMB);
    for (int codec = 1; codec < CODECS; codec++) {
        struct batch_builder builder;
        struct batch_scratch scratch = {0};
        struct span out;
        batch_builder_init(&builder, 2 * BOMB);
        batch_builder_add(&builder, 1, absent, span_of(zeros, BOMB), NULL, 0);
        cr_assert_eq(
            batch_builder_finish(&builder, (enum batch_codec)codec, 0, no_producer, &scratch, &out),
            BATCH_OK);
        cr_expect_eq(walk(out, LIMIT), BATCH_TOO_LARGE, "%s", codec_names[codec]);
        cr_expect_eq(walk(out, BOMB + 100), BATCH_OK, "%s", codec_names[codec]);
        free(scratch.data);
        batch_builder_free(&builder);
    }
    free(zeros);
}

// ---- Headers that lie ------------------------------------------------------------------------

static void expect_check(struct bytes batch, enum batch_error producer, enum batch_error stored)
{
    struct batch_header header;
    cr_expect_eq(batch_check(bytes_span(batch), &header), producer);
    cr_expect_eq(batch_check_stored(bytes_span(batch), &header), stored);
    free(batch.data);
}

// length 6, attributes, timestamp delta 0, offset delta 0, null key, null value, no headers
#define RECORD_0 "\x0c\0\0\0\1\1\0"
#define RECORD_2 "\x0c\0\0\4\1\1\0"

Test(protocol, record_batch_counts)
{
    expect_check(wrap(RECORD_0, 7, 1, 0), BATCH_OK, BATCH_OK);
    expect_check(wrap(RECORD_0, 7, 0, 0), BATCH_BAD_COUNT, BATCH_OK);
    expect_check(wrap("", 0, 0, 0), BATCH_BAD_COUNT, BATCH_OK);
    expect_check(wrap("", 0, 0, -1), BATCH_BAD_COUNT, BATCH_BAD_COUNT);
    expect_check(wrap(RECORD_0, 7, 1, 5), BATCH_BAD_COUNT, BATCH_OK);
    expect_check(wrap(RECORD_0, 7, 2, 0), BATCH_BAD_COUNT, BATCH_BAD_COUNT);
    expect_check(wrap(RECORD_0, 7, 2, 1), BATCH_BAD_COUNT, BATCH_BAD_COUNT);
    expect_check(wrap(RECORD_0, 7, -1, -2), BATCH_BAD_COUNT, BATCH_BAD_COUNT);
    expect_check(wrap(RECORD_0, 7, INT32_MIN, INT32_MAX), BATCH_BAD_COUNT, BATCH_BAD_COUNT);
    expect_check(wrap(RECORD_0, 7, INT32_MAX, INT32_MAX - 1), BATCH_BAD_COUNT, BATCH_BAD_COUNT);
}

Test(protocol, record_batch_header_lies)
{
    static const struct {
        size_t at;
        uint8_t value;
        enum batch_error error;
    } lies[] = {
        {16, 0, BATCH_BAD_MAGIC},    {16, 1, BATCH_BAD_MAGIC},    {16, 3, BATCH_BAD_MAGIC},
        {16, 0xff, BATCH_BAD_MAGIC}, {11, 48, BATCH_BAD_LENGTH},  {11, 0, BATCH_BAD_LENGTH},
        {8, 0x80, BATCH_BAD_LENGTH}, {8, 0x7f, BATCH_TRUNCATED},  {11, 57, BATCH_TRUNCATED},
        {11, 55, BATCH_BAD_CRC},     {22, 5, BATCH_BAD_CODEC},    {22, 6, BATCH_BAD_CODEC},
        {22, 7, BATCH_BAD_CODEC},    {0, 0x80, BATCH_BAD_OFFSET},
    };
    for (size_t i = 0; i < sizeof(lies) / sizeof(*lies); i++) {
        struct bytes batch = wrap(RECORD_0, 7, 1, 0);
        batch.data[lies[i].at] = lies[i].value;
        if (lies[i].at > 20)
            fix_crc(batch);
        expect_check(batch, lies[i].error, lies[i].error);
    }
    struct bytes batch = wrap(RECORD_0, 7, 1, 0);
    batch_assign(batch.data, INT64_MAX, 0);
    expect_check(batch, BATCH_BAD_OFFSET, BATCH_BAD_OFFSET);
    struct batch_header header;
    cr_expect_eq(batch_header_read(absent, &header), BATCH_TRUNCATED);
}

Test(protocol, record_batch_malformed_records)
{
    static const struct {
        const char *what;
        const char *bytes;
        size_t size;
        enum batch_error error;
    } records[] = {
        {"sound", "\x0c\0\0\0\1\1\0", 7, BATCH_OK},
        {"sound, in long varints", "\x94\x80\0\0\x80\0\x80\x80\0\x81\0\1\0", 13, BATCH_OK},
        {"rubbish behind", "\x0c\0\0\0\1\1\0\0", 8, BATCH_BAD_RECORD},
        {"longer than its fields", "\x0e\0\0\0\1\1\0\0", 8, BATCH_BAD_RECORD},
        {"shorter than its fields", "\x0a\0\0\0\1\1\0", 7, BATCH_BAD_RECORD},
        {"length 0", "\0\0\0\0\1\1\0", 7, BATCH_BAD_RECORD},
        {"negative length", "\1\0\0\0\1\1\0", 7, BATCH_BAD_RECORD},
        {"most negative length", "\xff\xff\xff\xff\x0f\0\0\0\1\1\0", 11, BATCH_BAD_RECORD},
        {"length beyond the batch", "\x0e\0\0\0\1\1\0", 7, BATCH_BAD_RECORD},
        {"length of 2 GiB", "\xfe\xff\xff\xff\x0f\0\0\0\1\1\0", 11, BATCH_BAD_RECORD},
        {"length of 6 bytes", "\x8c\x80\x80\x80\x80\0\0\0\0\1\1\0", 12, BATCH_BAD_RECORD},
        {"length above 32 bits", "\x8c\x80\x80\x80\x20\0\0\0\1\1\0", 11, BATCH_BAD_RECORD},
        {"negative length at the end", "\xff\xff\xff\xff\x0f\0\0", 7, BATCH_BAD_RECORD},
        {"negative offset delta", "\x0c\0\0\1\1\1\0", 7, BATCH_BAD_RECORD},
        {"offset delta beyond the last", "\x0c\0\0\2\1\1\0", 7, BATCH_BAD_RECORD},
        {"key length -2", "\x0c\0\0\0\3\1\0", 7, BATCH_BAD_RECORD},
        {"key beyond the record", "\x0c\0\0\0\6\1\0", 7, BATCH_BAD_RECORD},
        {"key of 2 GiB", "\x14\0\0\0\xfe\xff\xff\xff\x0f\1\0", 11, BATCH_BAD_RECORD},
        {"value beyond the record", "\x0c\0\0\0\1\4\0", 7, BATCH_BAD_RECORD},
        {"a header that is not there", "\x0c\0\0\0\1\1\2", 7, BATCH_BAD_RECORD},
        {"2^31 - 1 headers", "\x14\0\0\0\1\1\xfe\xff\xff\xff\x0f", 11, BATCH_BAD_RECORD},
        {"-1 headers", "\x0c\0\0\0\1\1\1", 7, BATCH_BAD_RECORD},
        {"a header, empty", "\x10\0\0\0\1\1\2\0\0", 9, BATCH_OK},
        {"a header with null value", "\x10\0\0\0\1\1\2\0\1", 9, BATCH_OK},
        {"a header with null key", "\x10\0\0\0\1\1\2\1\0", 9, BATCH_BAD_RECORD},
        {"a header's value beyond", "\x10\0\0\0\1\1\2\0\2", 9, BATCH_BAD_RECORD},
        {"rubbish after the headers", "\x12\0\0\0\1\1\2\0\0\0", 10, BATCH_BAD_RECORD},
        {"timestamp delta of 10 bytes", "\x1e\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\0\1\1\0",
         16, BATCH_OK},
        {"timestamp delta above 64 bits", "\x1e\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02\0\1\1\0",
         16, BATCH_BAD_RECORD},
        {"timestamp delta of 11 bytes", "\x20\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\x81\0\0\1\1\0",
         17, BATCH_BAD_RECORD},
    };
    for (size_t i = 0; i < sizeof(records) / sizeof(*records); i++) {
        struct bytes batch = wrap(records[i].bytes, records[i].size, 1, 0);
        struct batch_header header;
        struct batch_facts facts;
        cr_expect_eq(batch_check(bytes_span(batch), &header), BATCH_OK);
        cr_expect_eq(walk(bytes_span(batch), 0), records[i].error, "%s", records[i].what);
        cr_expect_eq(batch_validate_records(bytes_span(batch), NULL, 0, false, &facts),
                     records[i].error, "%s", records[i].what);
        free(batch.data);
    }
}

Test(protocol, record_batch_headers_of_foreign_records)
{
    struct record record = {.headers = span_of("\2ab\x06z", 5), .header_count = 1};
    struct record_header header;
    size_t at = 0;
    cr_expect_eq(record_header_next(&record, &at, &header), BATCH_BAD_RECORD);
    cr_expect_eq(at, 0);
}

// ---- Facts -----------------------------------------------------------------------------------

Test(protocol, record_batch_facts)
{
    struct batch_builder builder;
    struct batch_scratch scratch = {0};
    struct batch_facts facts;
    struct arena arena;
    struct span out, key = span_text("k");
    arena_init(&arena, MIB);
    batch_builder_init(&builder, MIB);
    batch_builder_add(&builder, 50, key, key, NULL, 0);
    batch_builder_add(&builder, 90, key, key, NULL, 0);
    batch_builder_add(&builder, 90, absent, key, NULL, 0);
    batch_builder_add(&builder, -3, key, absent, NULL, 0);
    batch_builder_add(&builder, 7, absent, absent, NULL, 0);
    for (int codec = 0; codec < CODECS; codec++) {
        batch_builder_finish(&builder, (enum batch_codec)codec, 0, no_producer, &scratch, &out);
        // The real values count, not the header's.
        uint8_t *bytes = (uint8_t *)(uintptr_t)out.data;
        store_be64(bytes + 35, 12345);
        cr_assert_eq(batch_validate_records(out, &arena, MIB, false, &facts), BATCH_OK);
        cr_expect_eq(facts.record_count, 5);
        cr_expect_eq(facts.max_timestamp, 90);
        cr_expect_eq(facts.max_timestamp_delta, 1);
        cr_expect_eq(facts.min_timestamp, -3);
        cr_expect_eq(facts.first_null_key, 2);
        cr_expect(facts.dense);
        cr_assert_eq(batch_validate_records(out, &arena, MIB, true, &facts), BATCH_NO_KEY);
        cr_expect_eq(facts.first_null_key, 2);
    }
    batch_builder_reset(&builder);
    batch_builder_add(&builder, 1, span_of("", 0), absent, NULL, 0);
    batch_builder_finish(&builder, CODEC_NONE, 0, no_producer, &scratch, &out);
    cr_expect_eq(batch_validate_records(out, &arena, MIB, true, &facts), BATCH_OK,
                 "an empty key is a key");
    cr_expect_eq(facts.first_null_key, -1);
    free(scratch.data);
    batch_builder_free(&builder);
    arena_free(&arena);
}

static void expect_dense(struct bytes batch, int32_t count, bool dense)
{
    struct batch_facts facts;
    cr_assert_eq(batch_validate_records(bytes_span(batch), NULL, 0, false, &facts), BATCH_OK);
    cr_expect_eq(facts.record_count, count);
    cr_expect_eq(facts.dense, dense);
    if (count == 0) {
        cr_expect_eq(facts.min_timestamp, -1);
        cr_expect_eq(facts.max_timestamp, -1);
        cr_expect_eq(facts.max_timestamp_delta, -1);
    }
    free(batch.data);
}

Test(protocol, record_batch_facts_tell_what_is_missing)
{
    expect_dense(wrap(RECORD_0, 7, 1, 0), 1, true);
    expect_dense(wrap(RECORD_0, 7, 1, 4), 1, false);
    expect_dense(wrap(RECORD_2, 7, 1, 2), 1, false);
    expect_dense(wrap(RECORD_0 RECORD_2, 14, 2, 2), 2, false);
    expect_dense(wrap(RECORD_0 RECORD_0, 14, 2, 1), 2, false);
    expect_dense(wrap("", 0, 0, 3), 0, false);
}

Test(protocol, record_batch_errors_have_sentences)
{
    for (int error = 0; error >= BATCH_NO_KEY; error--) {
        for (int other = error + 1; other <= 0; other++)
            cr_expect_str_neq(batch_error_text((enum batch_error)error),
                              batch_error_text((enum batch_error)other));
        cr_expect_str_neq(batch_error_text((enum batch_error)error), "unknown error");
    }
    cr_expect_str_eq(batch_error_text((enum batch_error) - 1000), "unknown error");
}
