// SPDX-License-Identifier: Apache-2.0
// Stage 2. Checks every record of packages.raw: what is sound goes on in msgpack to packages.clean,
// keyed by its section; what is damaged goes unchanged to packages.rejected, with the reason.
//
// It works in small groups: read, send, wait until the broker has acknowledged the outputs. Once a
// second, and at the end, it commits the place reached. Killed in between it repeats what came
// after the last commit, and never skips anything. Every output says where it stems from (header
// `source`: partition and offset; header `input`: the paragraph's number, carried along), so that
// repetitions are recognised downstream.
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "tools/demo/demo.h"
#include "tools/demo/package.h"
#include "tools/demo/stage.h"

enum { GROUP = 20, WAIT_MS = 100, THINK_MS = 4 };

struct clean {
    struct stage stage;
    struct stage_input place;
    int64_t checked;
    int64_t good;
    int64_t bad;
};

static int send_output(struct clean *clean, const struct weir_record *record)
{
    char source[48];
    char number[24];
    char reason[256] = "";
    char encoded[PACKAGE_ENCODED_MAX];
    struct package package;
    bool good = package_parse(record->value.data, record->value.size, &package, reason,
                              sizeof(reason)) == 0;

    snprintf(source, sizeof(source), "%" PRId32 ":%" PRId64, record->partition, record->offset);
    snprintf(number, sizeof(number), "%" PRId64, stage_input_number(record));
    struct weir_header headers[] = {
        {weir_text("source"), weir_text(source)},
        {weir_text("input"), weir_text(number)},
        {weir_text("reason"), weir_text(reason)},
    };
    struct weir_message message = {.headers = headers, .header_count = good ? 2 : 3};
    clean->checked++;
    if (good) {
        size_t size = package_encode(&package, encoded);
        clean->good++;
        message.key = weir_bytes_of(package.section.data, package.section.size);
        message.value = weir_bytes_of(encoded, size);
        return stage_send(&clean->stage, stage_clean, WEIR_ANY_PARTITION, &message);
    }
    clean->bad++;
    message.key = record->key;
    message.value = record->value;
    stage_say(&clean->stage, "rejects package %s: %s", number, reason);
    return stage_send(&clean->stage, stage_rejected, WEIR_ANY_PARTITION, &message);
}

// Takes up to GROUP records that are here already. Returns how many, or -1.
static int take_group(struct clean *clean)
{
    const struct timespec think = {.tv_nsec = THINK_MS * 1000 * 1000};
    struct weir_record record;
    int taken = 0;

    while (taken < GROUP && weir_consumer_next(clean->stage.consumer, &record)) {
        size_t partition = (size_t)record.partition;
        if (clean->place.ended[partition])
            continue;
        if (stage_is_end(&record)) {
            clean->place.ended[partition] = true;
            continue;
        }
        if (send_output(clean, &record) != 0)
            return -1;
        clean->place.next[partition] = record.offset + 1;
        taken++;
        // This stage is slower than the one before it: nobody has to wait for it.
        nanosleep(&think, NULL);
    }
    return taken;
}

static int work(struct clean *clean)
{
    struct stage *stage = &clean->stage;

    while (!stage_input_ended(&clean->place)) {
        int error = weir_consumer_poll(stage->consumer, WAIT_MS);
        if (error != WEIR_OK)
            return stage_fail(stage, "read packages.raw", error);
        int taken;
        while ((taken = take_group(clean)) > 0) {
            if (stage_flush(stage) != 0)
                return -1;
            if (!stage_may_speak(stage))
                continue;
            if (stage_input_save(stage, &clean->place) != 0)
                return -1;
            stage_say(stage, "%" PRId64 " packages checked: %" PRId64 " good, %" PRId64 " rejected",
                      clean->checked, clean->good, clean->bad);
        }
        if (taken < 0)
            return -1;
    }
    return stage_input_save(stage, &clean->place);
}

static int run(struct clean *clean)
{
    struct stage *stage = &clean->stage;
    struct stage_input output;
    int64_t done = 0;

    if (stage_input_open(stage, &clean->place, stage_raw) != 0 ||
        stage_input_open(stage, &output, stage_clean) != 0)
        return -1;
    for (size_t i = 0; i < clean->place.partition_count; i++)
        done += clean->place.next[i];
    if (done > 0)
        stage_say(stage, "continues where it had committed its place: behind package %" PRId64,
                  done);
    else
        stage_say(stage, "checks the packages that stage 1 has stored");
    if (stage_input_start(stage, &clean->place, clean->place.next) != 0 || work(clean) != 0 ||
        stage_send_end(stage, stage_clean, output.partition_count) != 0)
        return -1;
    stage_say(stage, "done: %" PRId64 " packages checked since it was started", clean->checked);
    return 0;
}

int demo_clean(const struct demo *demo)
{
    struct clean clean = {0};
    int rc = stage_open(&clean.stage, "clean", demo->brokers, "demo-clean", demo->clock_start_ms);

    if (rc == 0)
        rc = run(&clean);
    stage_close(&clean.stage);
    return rc == 0 ? 0 : 1;
}
