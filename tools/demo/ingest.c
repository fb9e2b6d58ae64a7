// SPDX-License-Identifier: Apache-2.0
// Stage 1. Reads the package database and sends one record per paragraph, at its own pace.
//
// Its place: the number of the first paragraph that is not known to be stored, committed as the
// offset of partition 0 under its own name. Started anew it goes on from there.
//
// Invariant: every paragraph before the committed number has been acknowledged by the broker.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "tools/demo/demo.h"
#include "tools/demo/input.h"
#include "tools/demo/package.h"
#include "tools/demo/stage.h"

enum { DRIVE_MS = 20, SAVE_EVERY = 50 };

struct ingest {
    struct stage stage;
    struct input input;
    struct stage_input place; // only partition 0's next is used, as the paragraph's number
    bool *acknowledged;       // by paragraph
    size_t first;             // where this run began
    size_t sent;              // paragraphs before this one have been sent
};

// The value is a msgpack one, so that any program can take the records apart.
static int send_paragraph(struct ingest *ingest, size_t number)
{
    const struct paragraph *paragraph = &ingest->input.paragraphs[number];
    struct package_text name = package_name(paragraph->text, paragraph->size);
    char text[24];
    struct weir_header header = {.name = weir_text("input")};
    unsigned char *value = malloc(PACKAGE_HEAD_MAX + paragraph->size);

    if (value == NULL)
        return stage_fail(&ingest->stage, "send a record", WEIR_ERR_NO_MEMORY);
    size_t head = package_head_encode(paragraph->size, value);
    memcpy(value + head, paragraph->text, paragraph->size);
    snprintf(text, sizeof(text), "%zu", number);
    header.value = weir_text(text);
    struct weir_message message = {
        .key = weir_bytes_of(name.size > 0 ? name.data : NULL, name.size),
        .value = weir_bytes_of(value, head + paragraph->size),
        .headers = &header,
        .header_count = 1,
        .opaque = &ingest->acknowledged[number],
    };
    int rc = stage_send(&ingest->stage, stage_raw, WEIR_ANY_PARTITION, &message);
    free(value);
    return rc;
}

static int save_place(struct ingest *ingest)
{
    int64_t *next = &ingest->place.next[0];

    while ((size_t)*next < ingest->sent && ingest->acknowledged[*next])
        (*next)++;
    return stage_input_save(&ingest->stage, &ingest->place);
}

static void tell(struct ingest *ingest)
{
    size_t stored = ingest->first + (size_t)ingest->stage.delivered;

    if (!ingest->stage.waiting && stage_may_speak(&ingest->stage))
        stage_say(&ingest->stage, "%zu of %zu packages sent, %zu of them safely stored",
                  ingest->sent, ingest->input.count, stored);
}

static int send_all(struct ingest *ingest, int64_t pace_ms)
{
    uint64_t start_ns = clock_monotonic_ns();
    size_t count = ingest->input.count;

    for (size_t i = ingest->first; i < count; i++) {
        uint64_t due_ns = start_ns + (uint64_t)pace_ms * 1000 * 1000 * (i - ingest->first) / count;
        while (clock_monotonic_ns() < due_ns) {
            stage_drive(&ingest->stage, DRIVE_MS);
            tell(ingest);
        }
        if (send_paragraph(ingest, i) != 0)
            return -1;
        ingest->sent = i + 1;
        if (ingest->sent % SAVE_EVERY == 0 && save_place(ingest) != 0)
            return -1;
    }
    return stage_flush(&ingest->stage) != 0 ? -1 : save_place(ingest);
}

static int run(struct ingest *ingest, const struct demo *demo)
{
    struct stage *stage = &ingest->stage;

    if (stage_input_open(stage, &ingest->place, stage_raw) != 0)
        return -1;
    ingest->place.partition_count = 1;
    ingest->first = (size_t)ingest->place.next[0];
    if (ingest->first > ingest->input.count)
        ingest->first = ingest->input.count;
    ingest->sent = ingest->first;
    ingest->acknowledged = calloc(ingest->input.count + 1, sizeof(*ingest->acknowledged));
    if (ingest->acknowledged == NULL)
        return stage_fail(stage, "start", WEIR_ERR_NO_MEMORY);
    stage_say(stage, "reads %s: %zu packages, and %zu damaged ones made up for the demo",
              demo->path, ingest->input.count - ingest->input.damaged, ingest->input.damaged);
    if (ingest->first > 0)
        stage_say(stage, "continues behind package %zu", ingest->first);
    if (send_all(ingest, demo->pace_ms) != 0)
        return -1;
    stage_say(stage, "done: all %zu packages are stored", ingest->input.count);
    return 0;
}

int demo_ingest(const struct demo *demo)
{
    struct ingest ingest = {0};

    int error = input_load(&ingest.input, demo->path);
    if (error != 0) {
        fprintf(stderr, "cannot read %s: %s\n", demo->path, strerror(-error));
        return 2;
    }
    int rc =
        stage_open(&ingest.stage, "ingest", demo->brokers, "demo-ingest", demo->clock_start_ms);
    if (rc == 0)
        rc = run(&ingest, demo);
    stage_close(&ingest.stage);
    free(ingest.acknowledged);
    input_free(&ingest.input);
    return rc == 0 ? 0 : 1;
}
