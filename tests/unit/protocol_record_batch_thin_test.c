// SPDX-License-Identifier: Apache-2.0
// Taking records out of batches: what stays is exactly what was there, at its offset.
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/random.h"
#include "protocol/record_batch.h"

enum { CODECS = 5, RECORDS = 100, BASE_OFFSET = 5000, EPOCH = 7 };

static const struct batch_producer producer = {.id = 17, .epoch = 3, .base_sequence = 40};
static const int64_t first_ms = 1700000000000;

struct choice {
    uint64_t modulo; // records whose number is a multiple of it stay; 0: none
    int calls;
};

static bool keeps(void *context, const struct batch_header *header, const struct record *record)
{
    struct choice *choice = context;
    int64_t number = record->offset - header->base_offset;
    cr_assert_eq(number, choice->calls++);
    return choice->modulo && (uint64_t)number % choice->modulo == 0;
}

static int64_t timestamp_of(int number)
{
    return first_ms + (number * 7919) % 1000;
}

// Every fifth record is a tombstone, every third has a header.
static void add_record(struct batch_builder *builder, int number)
{
    char key[32], value[200];
    snprintf(key, sizeof(key), "key-%d", number);
    memset(value, 'a' + number % 26, sizeof(value));
    struct record_header header = {.key = span_text("h"), .value = span_text(key)};
    struct span content = number % 5 ? span_of(value, (size_t)number + 1) : (struct span){0};
    cr_assert_eq(batch_builder_add(builder, timestamp_of(number), span_text(key), content, &header,
                                   number % 3 == 0),
                 BATCH_OK);
}

struct made {
    struct batch_builder builder;
    struct batch_scratch scratch;
    struct span batch;
};

static void make(struct made *made, enum batch_codec codec)
{
    *made = (struct made){0};
    batch_builder_init(&made->builder, 1 << 20);
    for (int i = 0; i < RECORDS; i++)
        add_record(&made->builder, i);
    cr_assert_eq(
        batch_builder_finish(&made->builder, codec, 0, producer, &made->scratch, &made->batch),
        BATCH_OK);
    union {
        const uint8_t *shared;
        uint8_t *own;
    } bytes = {made->batch.data};
    batch_assign(bytes.own, BASE_OFFSET, EPOCH);
}

static void made_free(struct made *made)
{
    batch_builder_free(&made->builder);
    free(made->scratch.data);
}

struct thinning {
    struct batch_thinner thinner;
    struct choice choice;
    struct arena arena;
    struct batch_contexts contexts;
    struct span out;
    enum batch_thinned how;
};

static void thinning_begin(struct thinning *thinning, uint64_t modulo, int64_t horizon)
{
    *thinning = (struct thinning){.choice = {.modulo = modulo}};
    arena_init(&thinning->arena, 4 << 20);
    thinning->thinner = (struct batch_thinner){.keeps = keeps,
                                               .context = &thinning->choice,
                                               .delete_horizon_ms = horizon,
                                               .arena = &thinning->arena,
                                               .inflate_limit = 1 << 20,
                                               .contexts = &thinning->contexts};
}

static void thin(struct thinning *thinning, struct span batch)
{
    thinning->choice.calls = 0;
    cr_assert_eq(batch_thin(&thinning->thinner, batch, &thinning->out, &thinning->how), BATCH_OK);
    cr_assert_eq(thinning->choice.calls, RECORDS);
}

static void thinning_end(struct thinning *thinning)
{
    batch_thinner_free(&thinning->thinner);
    batch_contexts_free(&thinning->contexts);
    arena_free(&thinning->arena);
}

// Compares the records of `thin` with those of `whole` at the same offsets.
static void expect_subset(struct span thin, struct span whole, int every)
{
    struct arena arenas[2];
    struct batch_reader readers[2];
    struct record left, right;
    for (int i = 0; i < 2; i++) {
        arena_init(&arenas[i], 4 << 20);
        cr_assert_eq(batch_reader_init(&readers[i], i ? whole : thin, &arenas[i], 1 << 20),
                     BATCH_OK);
    }
    for (int number = 0; batch_reader_next(&readers[1], &right) == 1; number++) {
        if (number % every)
            continue;
        cr_assert_eq(batch_reader_next(&readers[0], &left), 1);
        cr_assert_eq(left.offset, right.offset);
        cr_assert_eq(left.timestamp, right.timestamp, "record %d", number);
        cr_assert(span_equal(left.key, right.key));
        cr_assert(span_equal(left.value, right.value) && !left.value.data == !right.value.data);
        cr_assert(span_equal(left.headers, right.headers));
        cr_assert_eq(left.header_count, right.header_count);
    }
    cr_assert_eq(batch_reader_next(&readers[0], &left), 0);
    arena_free(&arenas[0]);
    arena_free(&arenas[1]);
}

static void expect_same_place(struct span thin, struct span whole)
{
    struct batch_header a, b;
    cr_assert_eq(batch_check_stored(thin, &a), BATCH_OK);
    cr_assert_eq(batch_check_stored(whole, &b), BATCH_OK);
    cr_assert_eq(batch_total_size(&a), thin.size);
    cr_assert_eq(a.base_offset, b.base_offset);
    cr_assert_eq(a.last_offset_delta, b.last_offset_delta);
    cr_assert_eq(a.leader_epoch, b.leader_epoch);
    cr_assert_eq(a.producer_id, producer.id);
    cr_assert_eq(a.producer_epoch, producer.epoch);
    cr_assert_eq(a.base_sequence, producer.base_sequence);
}

static int64_t max_timestamp_of(int every)
{
    int64_t max = -1;
    for (int i = 0; i < RECORDS; i += every)
        max = timestamp_of(i) > max ? timestamp_of(i) : max;
    return max;
}

Test(record_batch_thin, keeps_what_is_to_stay_with_every_codec)
{
    for (int codec = 0; codec < CODECS; codec++) {
        struct made made;
        struct thinning thinning;
        struct batch_header header;
        make(&made, (enum batch_codec)codec);
        thinning_begin(&thinning, 3, -1);
        thin(&thinning, made.batch);
        cr_assert_eq(thinning.how, BATCH_REWRITTEN);
        cr_assert_lt(thinning.out.size, made.batch.size);
        expect_same_place(thinning.out, made.batch);
        expect_subset(thinning.out, made.batch, 3);
        cr_assert_eq(batch_header_read(thinning.out, &header), BATCH_OK);
        cr_assert_eq(header.attributes, codec);
        cr_assert_eq(header.record_count, 34);
        cr_assert_eq(header.base_timestamp, first_ms);
        cr_assert_eq(header.max_timestamp, max_timestamp_of(3));
        thinning_end(&thinning);
        made_free(&made);
    }
}

Test(record_batch_thin, leaves_a_batch_alone_when_everything_stays)
{
    struct made made;
    struct thinning thinning;
    make(&made, CODEC_LZ4);
    thinning_begin(&thinning, 1, -1);
    thin(&thinning, made.batch);
    cr_assert_eq(thinning.how, BATCH_UNCHANGED);
    cr_assert_eq(thinning.out.data, made.batch.data);
    cr_assert_eq(thinning.out.size, made.batch.size);
    thinning_end(&thinning);
    made_free(&made);
}

Test(record_batch_thin, dates_tombstones_once)
{
    const int64_t horizon = first_ms + 86400000;
    for (int codec = 0; codec < CODECS; codec++) {
        struct made made;
        struct thinning first, second;
        struct batch_header header;
        make(&made, (enum batch_codec)codec);
        thinning_begin(&first, 1, horizon);
        thin(&first, made.batch);
        cr_assert_eq(first.how, BATCH_REWRITTEN, "the date is set although everything stays");
        cr_assert_eq(batch_header_read(first.out, &header), BATCH_OK);
        cr_assert_eq(header.attributes, codec | BATCH_DELETE_HORIZON);
        cr_assert_eq(header.base_timestamp, horizon);
        expect_same_place(first.out, made.batch);
        expect_subset(first.out, made.batch, 1);
        thinning_begin(&second, 1, horizon + 5);
        thin(&second, first.out);
        cr_assert_eq(second.how, BATCH_UNCHANGED, "a date that is there stays");
        second.choice = (struct choice){.modulo = 3};
        thin(&second, first.out);
        cr_assert_eq(batch_header_read(second.out, &header), BATCH_OK);
        cr_assert_eq(header.base_timestamp, horizon);
        cr_assert_eq(header.attributes, codec | BATCH_DELETE_HORIZON);
        expect_subset(second.out, made.batch, 3);
        thinning_end(&first);
        thinning_end(&second);
        made_free(&made);
    }
}

Test(record_batch_thin, append_time_is_the_batch_s_own)
{
    struct made made;
    struct thinning thinning;
    struct batch_header header;
    make(&made, CODEC_NONE);
    union {
        const uint8_t *shared;
        uint8_t *own;
    } bytes = {made.batch.data};
    batch_set_append_time(bytes.own, made.batch.size, first_ms + 123456);
    thinning_begin(&thinning, 4, first_ms + 9999999);
    thin(&thinning, made.batch);
    cr_assert_eq(batch_header_read(thinning.out, &header), BATCH_OK);
    cr_assert_eq(header.max_timestamp, first_ms + 123456);
    cr_assert_eq(header.attributes, BATCH_LOG_APPEND_TIME | BATCH_DELETE_HORIZON);
    expect_subset(thinning.out, made.batch, 4);
    thinning_end(&thinning);
    made_free(&made);
}

Test(record_batch_thin, an_emptied_batch_keeps_its_place_and_its_producer)
{
    for (int codec = 0; codec < CODECS; codec++) {
        struct made made;
        struct thinning thinning;
        struct batch_header header;
        uint8_t bytes[BATCH_HEADER_SIZE];
        make(&made, (enum batch_codec)codec);
        thinning_begin(&thinning, 0, -1);
        thin(&thinning, made.batch);
        cr_assert_eq(thinning.how, BATCH_EMPTIED);
        batch_write_emptied(made.batch, bytes);
        struct span emptied = span_of(bytes, sizeof(bytes));
        expect_same_place(emptied, made.batch);
        cr_assert_eq(batch_header_read(emptied, &header), BATCH_OK);
        cr_assert_eq(header.record_count, 0);
        cr_assert_eq(header.attributes, 0);
        cr_assert_eq(header.max_timestamp, max_timestamp_of(1));
        thinning.choice.calls = 0;
        cr_assert_eq(batch_thin(&thinning.thinner, emptied, &thinning.out, &thinning.how),
                     BATCH_OK);
        cr_assert_eq(thinning.how, BATCH_EMPTIED);
        cr_assert_eq(thinning.choice.calls, 0);
        thinning_end(&thinning);
        made_free(&made);
    }
}

static bool keeps_some(void *context, const struct batch_header *header,
                       const struct record *record)
{
    struct random *random = context;
    (void)header;
    (void)record;
    return random_below(random, 2) == 0;
}

// Whatever the bytes are: an error, or a batch that passes the check.
Test(record_batch_thin, damaged_bytes_do_no_harm)
{
    struct random random = {.state = 11};
    for (int round = 0; round < 4000; round++) {
        struct made made;
        struct thinning thinning;
        make(&made, (enum batch_codec)(round % CODECS));
        thinning_begin(&thinning, 1, round % 2 ? first_ms : -1);
        thinning.thinner.keeps = keeps_some;
        thinning.thinner.context = &random;
        uint8_t *bytes = malloc(made.batch.size); // its end is watched
        memcpy(bytes, made.batch.data, made.batch.size);
        for (uint64_t n = random_below(&random, 4); n > 0; n--)
            bytes[21 + random_below(&random, made.batch.size - 21)] ^=
                (uint8_t)(1u << random_below(&random, 8));
        struct batch_header header;
        if (batch_thin(&thinning.thinner, span_of(bytes, made.batch.size), &thinning.out,
                       &thinning.how) == BATCH_OK &&
            thinning.how == BATCH_REWRITTEN)
            cr_assert_eq(batch_check_stored(thinning.out, &header), BATCH_OK);
        free(bytes);
        thinning_end(&thinning);
        made_free(&made);
    }
}
