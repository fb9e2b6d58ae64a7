// SPDX-License-Identifier: Apache-2.0
// Batches that another implementation built, against what it says it put into them.
// The format is described in tests/foreign/golden/make_record_batches.py.
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "protocol/record_batch.h"

enum { LIMIT = 1 << 24 };

struct buffer {
    uint8_t *data;
    size_t size;
};

static FILE *open_golden(void)
{
    // The compiler is given this file's whole path.
    char path[4096];
    const char *here = __FILE__;
    const char *slash = strrchr(here, '/');
    cr_assert(slash);
    snprintf(path, sizeof(path), "%.*s/../foreign/golden/record_batches.txt", (int)(slash - here),
             here);
    FILE *file = fopen(path, "r");
    cr_assert(file, "cannot open %s", path);
    return file;
}

static unsigned digit(char c)
{
    const char *digits = "0123456789abcdef";
    const char *at = c ? strchr(digits, c) : NULL;
    cr_assert(at, "not a digit: %c", c);
    return (unsigned)(at - digits);
}

// "-", ".", digits, or digits*times. Absent data for "-". The caller frees.
static struct buffer parse_value(const char *text)
{
    if (strcmp(text, "-") == 0)
        return (struct buffer){0};
    const char *star = strchr(text, '*');
    size_t once = strcmp(text, ".") == 0 ? 0 : (star ? (size_t)(star - text) : strlen(text)) / 2;
    size_t times = star ? strtoul(star + 1, NULL, 10) : 1;
    struct buffer value = {malloc(once * times + 1), once * times};
    for (size_t i = 0; i < once; i++)
        value.data[i] = (uint8_t)(digit(text[2 * i]) << 4 | digit(text[2 * i + 1]));
    for (size_t i = once; i < value.size; i++)
        value.data[i] = value.data[i - once];
    return value;
}

static void expect_value(struct span got, const char *text)
{
    cr_assert(text);
    struct buffer want = parse_value(text);
    cr_assert(span_equal(got, span_of(want.data, want.size)) && !got.data == !want.data);
    free(want.data);
}

// `rest` is what follows "record ".
static void expect_record(const struct record *record, char *rest)
{
    char *save;
    char *field = strtok_r(rest, " ", &save);
    cr_assert_eq(record->timestamp, strtoll(field, NULL, 10));
    expect_value(record->key, strtok_r(NULL, " ", &save));
    expect_value(record->value, strtok_r(NULL, " ", &save));
    struct record_header header;
    size_t at = 0;
    int32_t headers = 0;
    while ((field = strtok_r(NULL, " ", &save)) != NULL) {
        cr_assert_eq(record_header_next(record, &at, &header), 1);
        expect_value(header.key, field);
        expect_value(header.value, strtok_r(NULL, " ", &save));
        headers++;
    }
    cr_assert_eq(record_header_next(record, &at, &header), 0);
    cr_assert_eq(record->header_count, headers);
}

struct golden {
    char name[64];
    struct buffer batch;
    struct arena arena;
    struct batch_reader reader;
    int64_t next_offset;
    int batches;
};

static void expect_end(struct golden *golden)
{
    struct record record;
    if (golden->batch.data) {
        cr_assert_eq(batch_reader_next(&golden->reader, &record), 0, "%s", golden->name);
        cr_assert_eq(golden->next_offset - 1, batch_last_offset(&golden->reader.header));
    }
    free(golden->batch.data);
    arena_reset(&golden->arena);
}

static void expect_batch(struct golden *golden, const char *hex)
{
    struct batch_header header;
    struct batch_facts facts;
    golden->batch = parse_value(hex);
    golden->next_offset = 0;
    golden->batches++;
    struct span batch = span_of(golden->batch.data, golden->batch.size);
    cr_assert_eq(batch_check(batch, &header), BATCH_OK, "%s", golden->name);
    cr_assert_eq(batch_total_size(&header), batch.size);
    cr_assert_eq(header.producer_id, 4000);
    cr_assert_eq(header.producer_epoch, 7);
    cr_assert_eq(header.base_sequence, 100);
    enum batch_error error = batch_validate_records(batch, &golden->arena, LIMIT, false, &facts);
    cr_assert_eq(error, BATCH_OK, "%s: %s", golden->name, batch_error_text(error));
    cr_assert(facts.dense);
    cr_assert_eq(facts.max_timestamp, header.max_timestamp);
    arena_reset(&golden->arena);
    cr_assert_eq(batch_reader_init(&golden->reader, batch, &golden->arena, LIMIT), BATCH_OK);
}

static void read_line(struct golden *golden, char *line)
{
    struct record record;
    if (strncmp(line, "batch ", 6) == 0) {
        expect_end(golden);
        snprintf(golden->name, sizeof(golden->name), "%s", line + 6);
    } else if (strncmp(line, "hex ", 4) == 0) {
        expect_batch(golden, line + 4);
    } else if (strncmp(line, "record ", 7) == 0) {
        cr_assert_eq(batch_reader_next(&golden->reader, &record), 1, "%s", golden->name);
        cr_assert_eq(record.offset, golden->next_offset++);
        expect_record(&record, line + 7);
    } else {
        cr_assert_eq(line[0], '#', "%s", line);
    }
}

Test(protocol, batch_golden_from_kafka_python)
{
    struct golden golden = {0};
    char *line = NULL;
    size_t capacity = 0;
    FILE *file = open_golden();
    arena_init(&golden.arena, 2 * LIMIT);
    while (getline(&line, &capacity, file) > 0) {
        line[strcspn(line, "\n")] = 0;
        read_line(&golden, line);
    }
    expect_end(&golden);
    cr_assert_eq(golden.batches, 35);
    arena_free(&golden.arena);
    free(line);
    fclose(file);
}
