// SPDX-License-Identifier: Apache-2.0
// Stage 3. Adds up the packages of packages.clean per section, prints the table and stores it in
// packages.sections (key: the section, value: packages and kilobytes as text).
//
// Its totals live in memory. Started anew it rebuilds them from the records up to its committed
// place, which are still in the topic, and goes on. Repeated records (see stage 2) count once: the
// number of the paragraph they stem from, in header `input`, tells.
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tools/demo/demo.h"
#include "tools/demo/sections.h"
#include "tools/demo/stage.h"

enum { WAIT_MS = 200, ROWS = 15 };

struct report {
    struct stage stage;
    struct stage_input place;
    struct sections sections;
};

static int count_record(struct report *report, const struct weir_record *record)
{
    struct package package;

    if (package_decode(record->value.data, record->value.size, &package) != 0 ||
        sections_add(&report->sections, stage_input_number(record), &package) != 0) {
        stage_say(&report->stage,
                  "FAILED: record %" PRId64 " of partition %" PRId32 " is not from stage 2",
                  record->offset, record->partition);
        return -1;
    }
    return 0;
}

static int take_records(struct report *report)
{
    struct stage_input *place = &report->place;
    struct weir_record record;

    while (weir_consumer_next(report->stage.consumer, &record)) {
        size_t partition = (size_t)record.partition;
        if (place->ended[partition])
            continue;
        if (stage_is_end(&record)) {
            place->ended[partition] = true;
            continue;
        }
        if (count_record(report, &record) != 0)
            return -1;
        if (record.offset >= place->next[partition])
            place->next[partition] = record.offset + 1;
    }
    return 0;
}

static int work(struct report *report)
{
    struct stage *stage = &report->stage;
    const struct sections *sections = &report->sections;

    while (!stage_input_ended(&report->place)) {
        int error = weir_consumer_poll(stage->consumer, WAIT_MS);
        if (error != WEIR_OK)
            return stage_fail(stage, "read packages.clean", error);
        if (take_records(report) != 0)
            return -1;
        if (!stage_may_speak(stage))
            continue;
        stage_say(stage, "%" PRId64 " packages in %zu sections added up", sections->packages,
                  sections->count);
        if (stage_input_save(stage, &report->place) != 0)
            return -1;
    }
    return stage_input_save(stage, &report->place);
}

static int store_table(struct report *report)
{
    for (size_t i = 0; i < report->sections.count; i++) {
        const struct section *section = &report->sections.items[i];
        char value[64];
        snprintf(value, sizeof(value), "%" PRId64 " %" PRIu64, section->packages,
                 section->installed_kb);
        struct weir_message message = {
            .key = weir_text(section->name),
            .value = weir_text(value),
        };
        if (stage_send(&report->stage, stage_sections, WEIR_ANY_PARTITION, &message) != 0)
            return -1;
    }
    return stage_flush(&report->stage);
}

static int run(struct report *report)
{
    static const int64_t beginning[STAGE_PARTITIONS_MAX] = {0};
    struct stage *stage = &report->stage;
    int64_t before = 0;

    if (stage_input_open(stage, &report->place, stage_clean) != 0)
        return -1;
    for (size_t i = 0; i < report->place.partition_count; i++)
        before += report->place.saved[i];
    if (before > 0)
        stage_say(stage, "rebuilds its totals from the %" PRId64 " records it had seen, continues",
                  before);
    else
        stage_say(stage, "adds up the checked packages per section");
    if (stage_input_start(stage, &report->place, beginning) != 0 || work(report) != 0)
        return -1;
    sections_sort(&report->sections);
    if (store_table(report) != 0)
        return -1;
    stage_say(stage,
              "done: every package is added up; %" PRId64
              " records came twice and were counted once",
              report->sections.repeated);
    printf("\n");
    sections_print(&report->sections, ROWS, stdout);
    printf("\n");
    return 0;
}

int demo_report(const struct demo *demo)
{
    struct report report = {0};
    int rc =
        stage_open(&report.stage, "report", demo->brokers, "demo-report", demo->clock_start_ms);

    if (rc == 0)
        rc = run(&report);
    stage_close(&report.stage);
    sections_free(&report.sections);
    return rc == 0 ? 0 : 1;
}
