// SPDX-License-Identifier: Apache-2.0
// The account at the end: reads every topic of the demo from its beginning and compares it with the
// package database, which it reads itself. Takes no stage's word for anything.
//
// A paragraph is lost when it is missing in packages.raw, or missing in both packages.clean and
// packages.rejected. A record is wrong when it does not say what its paragraph says, or stands on
// the wrong side. Repetitions are allowed, and counted.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "tools/demo/demo.h"
#include "tools/demo/input.h"
#include "tools/demo/package.h"
#include "tools/demo/stage.h"

enum { WAIT_MS = 1000, PATIENCE_MS = 30 * 1000 };

struct tally {
    int raw;
    int clean;
    int rejected;
};

struct verify {
    struct stage stage;
    struct input input;
    struct tally *tallies; // by paragraph
    int64_t wrong;
    int64_t in_table;
};

typedef void record_function(struct verify *verify, const struct weir_record *record);

static bool same(struct weir_bytes bytes, const void *data, size_t size)
{
    return bytes.size == size && (size == 0 || memcmp(bytes.data, data, size) == 0);
}

// The paragraph that a record stems from, or NULL after having counted it as wrong.
static const struct paragraph *origin(struct verify *verify, const struct weir_record *record,
                                      struct tally **tally)
{
    int64_t number = stage_input_number(record);

    if (number < 0 || (size_t)number >= verify->input.count) {
        verify->wrong++;
        return NULL;
    }
    *tally = &verify->tallies[number];
    return &verify->input.paragraphs[number];
}

static bool same_paragraph(struct weir_bytes value, const struct paragraph *paragraph)
{
    unsigned char head[PACKAGE_HEAD_MAX];
    size_t size = package_head_encode(paragraph->size, head);

    return value.size == size + paragraph->size && memcmp(value.data, head, size) == 0 &&
           memcmp((const char *)value.data + size, paragraph->text, paragraph->size) == 0;
}

static void check_raw(struct verify *verify, const struct weir_record *record)
{
    struct tally *tally;
    const struct paragraph *paragraph = origin(verify, record, &tally);

    if (paragraph == NULL)
        return;
    struct package_text name = package_name(paragraph->text, paragraph->size);
    tally->raw++;
    if (!same_paragraph(record->value, paragraph) || !same(record->key, name.data, name.size))
        verify->wrong++;
}

static bool equal(struct package_text a, struct package_text b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

static void check_clean(struct verify *verify, const struct weir_record *record)
{
    struct tally *tally;
    const struct paragraph *paragraph = origin(verify, record, &tally);
    struct package expected;
    struct package stored;
    char reason[256];

    if (paragraph == NULL)
        return;
    tally->clean++;
    bool right =
        package_parse(paragraph->text, paragraph->size, &expected, reason, sizeof(reason)) == 0 &&
        package_decode(record->value.data, record->value.size, &stored) == 0 &&
        equal(expected.name, stored.name) && equal(expected.version, stored.version) &&
        equal(expected.section, stored.section) &&
        equal(expected.architecture, stored.architecture) &&
        expected.installed_kb == stored.installed_kb &&
        same(record->key, expected.name.data, expected.name.size);
    verify->wrong += !right;
}

// `weir pipe` says how the command ended, and then what it said.
static bool ends_with(const char *text, const char *end)
{
    size_t size = strlen(text);
    size_t end_size = strlen(end);

    return size >= end_size && strcmp(text + size - end_size, end) == 0;
}

static void check_rejected(struct verify *verify, const struct weir_record *record)
{
    struct tally *tally;
    const struct paragraph *paragraph = origin(verify, record, &tally);
    struct package package;
    char expected[256];
    char stored[512];

    if (paragraph == NULL)
        return;
    tally->rejected++;
    bool right = package_parse(paragraph->text, paragraph->size, &package, expected,
                               sizeof(expected)) != 0 &&
                 stage_header(record, "weir.reason", stored, sizeof(stored)) &&
                 ends_with(stored, expected) && same_paragraph(record->value, paragraph);
    verify->wrong += !right;
}

static void check_section(struct verify *verify, const struct weir_record *record)
{
    char text[64] = "";

    if (record->value.size < sizeof(text) && record->value.size > 0)
        memcpy(text, record->value.data, record->value.size);
    verify->in_table += strtoll(text, NULL, 10);
}

// How far each partition reaches. Returns their number, or -1.
static int find_ends(struct verify *verify, const char *topic, int64_t *ends)
{
    struct weir_offset_query queries[STAGE_PARTITIONS_MAX];
    struct stage_input place;

    if (stage_input_open(&verify->stage, &place, topic) != 0)
        return -1;
    for (size_t i = 0; i < place.partition_count; i++)
        queries[i] = (struct weir_offset_query){
            .topic = topic,
            .partition = (int32_t)i,
            .at = WEIR_END,
        };
    int error =
        weir_list_offsets(verify->stage.client, queries, place.partition_count, PATIENCE_MS);
    if (error != WEIR_OK)
        return stage_fail(&verify->stage, "ask for the end of a topic", error);
    for (size_t i = 0; i < place.partition_count; i++)
        ends[i] = queries[i].offset;
    return (int)place.partition_count;
}

static int read_partition(struct verify *verify, const char *topic, int32_t partition, int64_t end,
                          record_function *check)
{
    struct weir_consumer *consumer = verify->stage.consumer;
    struct weir_record record;
    int64_t position = 0;
    uint64_t give_up_ns = clock_monotonic_ns() + (uint64_t)PATIENCE_MS * 1000 * 1000;

    int error = weir_consumer_assign(consumer, topic, partition, 0);
    while (error == WEIR_OK && position < end && clock_monotonic_ns() < give_up_ns) {
        error = weir_consumer_poll(consumer, WAIT_MS);
        while (weir_consumer_next(consumer, &record)) {
            if (record.offset < end && !stage_is_end(&record))
                check(verify, &record);
        }
        if (error == WEIR_OK)
            error = weir_consumer_position(consumer, topic, partition, &position);
    }
    if (error == WEIR_OK && position < end)
        error = WEIR_ERR_TIMED_OUT;
    weir_consumer_unassign(consumer, topic, partition);
    return error == WEIR_OK ? 0 : stage_fail(&verify->stage, "read a topic", error);
}

static int read_topic(struct verify *verify, const char *topic, record_function *check)
{
    int64_t ends[STAGE_PARTITIONS_MAX] = {0};
    int count = find_ends(verify, topic, ends);

    for (int i = 0; i < count; i++) {
        if (read_partition(verify, topic, i, ends[i], check) != 0)
            return -1;
    }
    return count < 0 ? -1 : 0;
}

static void line(const char *what, int64_t value, const char *remark)
{
    printf("  %-38s %7" PRId64 "   %s\n", what, value, remark);
}

static int account(const struct verify *verify, const struct demo *demo)
{
    struct tally sum = {0};
    int64_t lost = 0;
    int64_t both = 0;
    int64_t twice = 0;
    int64_t repeated = 0;

    for (size_t i = 0; i < verify->input.count; i++) {
        const struct tally *tally = &verify->tallies[i];
        sum.raw += tally->raw > 0;
        sum.clean += tally->clean > 0;
        sum.rejected += tally->rejected > 0;
        lost += tally->raw == 0 || (tally->clean == 0 && tally->rejected == 0);
        both += tally->clean > 0 && tally->rejected > 0;
        twice += tally->raw > 1 ? tally->raw - 1 : 0;
        int outputs = tally->clean + tally->rejected;
        repeated += outputs > 1 ? outputs - 1 : 0;
    }
    int64_t wrong = verify->wrong + both + (verify->in_table != sum.clean);

    printf("What the topics hold, compared with %s:\n", demo->path);
    line("packages in the file", (int64_t)(verify->input.count - verify->input.damaged), "");
    line("damaged ones made up for the demo", (int64_t)verify->input.damaged, "");
    line("in, stored in packages.raw", sum.raw, "compared byte for byte");
    line("good, in packages.clean", sum.clean, "compared field by field");
    line("rejected, in packages.rejected", sum.rejected, "each with its reason");
    line("added up in the table", verify->in_table, "from packages.sections");
    line("stored twice by stage 1", twice,
         twice == 0 ? "" : "an answer was lost with the broker, so it sent again");
    line("stored twice by stage 2", repeated,
         repeated == 0 ? "" : "it was killed before it could note its place; recognised");
    line("lost", lost, lost == 0 ? "nothing" : "THIS MUST NOT HAPPEN");
    line("wrong", wrong, wrong == 0 ? "nothing" : "THIS MUST NOT HAPPEN");
    printf("  %-38s %7.1f   seconds\n", "time taken",
           (double)(clock_wall_ms() - demo->clock_start_ms) / 1000);
    return lost == 0 && wrong == 0 ? 0 : -1;
}

static int run(struct verify *verify, const struct demo *demo)
{
    verify->tallies = calloc(verify->input.count, sizeof(*verify->tallies));
    if (verify->tallies == NULL)
        return stage_fail(&verify->stage, "start", WEIR_ERR_NO_MEMORY);
    if (read_topic(verify, stage_raw, check_raw) != 0 ||
        read_topic(verify, stage_clean, check_clean) != 0 ||
        read_topic(verify, stage_rejected, check_rejected) != 0 ||
        read_topic(verify, stage_sections, check_section) != 0)
        return -1;
    return account(verify, demo);
}

int demo_verify(const struct demo *demo)
{
    struct verify verify = {0};

    int error = input_load(&verify.input, demo->path);
    if (error != 0) {
        fprintf(stderr, "cannot read %s: %s\n", demo->path, strerror(-error));
        return 2;
    }
    int rc =
        stage_open(&verify.stage, "verify", demo->brokers, "demo-verify", demo->clock_start_ms);
    if (rc == 0)
        rc = run(&verify, demo);
    stage_close(&verify.stage);
    free(verify.tallies);
    input_free(&verify.input);
    return rc == 0 ? 0 : 1;
}
