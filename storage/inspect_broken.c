// SPDX-License-Identifier: Apache-2.0
// A frame whose header is sound and whose payload is not: which of its batches can be trusted. A
// second reading of what docs/disk-format.md says of the table behind a payload.
//
// 1. First all pages are judged. A batch is sound if all pages that it lies in are.
// 2. Where the length of a batch lies in a bad page, the next batch is the first one that begins in
//    a later, sound page.
// 3. Bytes that hold no sound batch are one bad part with the offsets up to the next sound batch.
// 4. Where the table itself is damaged, the payload is sound as a whole or not at all.
#include <errno.h>
#include <stdlib.h>

#include "protocol/record_batch.h"
#include "storage/inspect_parts.h"

struct taking {
    const uint8_t *payload;
    const struct frame_header *frame;
    uint64_t position; // of the payload
    bool *pages;       // which are sound
    uint64_t page_count;
    struct inspect_part *parts;
    size_t count;
};

static int part_add(struct taking *taking, bool sound, uint64_t from, uint64_t to, int64_t next)
{
    struct inspect_part *last = taking->count > 0 ? &taking->parts[taking->count - 1] : NULL;
    if (last && last->sound == sound) {
        last->bytes.size += to - from;
        last->next = next;
        return 0;
    }
    int64_t first = last ? last->next : taking->frame->base_offset;
    struct inspect_part *parts =
        reallocarray(taking->parts, taking->count + 1, sizeof(*taking->parts));
    if (!parts)
        return -ENOMEM;
    taking->parts = parts;
    parts[taking->count++] = (struct inspect_part){
        .sound = sound,
        .position = taking->position + from,
        .bytes = span_of(taking->payload + from, to - from),
        .first = first,
        .next = next,
    };
    return 0;
}

static bool pages_sound(const struct taking *taking, uint64_t from, uint64_t to)
{
    for (uint64_t page = from / FRAME_PAGE; page * FRAME_PAGE < to; page++) {
        if (!taking->pages[page])
            return false;
    }
    return true;
}

// The header of the batch at `at`, if it can be trusted and makes sense there.
static bool header_at(const struct taking *taking, uint64_t at, int64_t expected,
                      struct batch_header *header)
{
    uint64_t left = taking->frame->payload_size - at;
    return left >= BATCH_HEADER_SIZE && pages_sound(taking, at, at + BATCH_HEADER_SIZE) &&
           batch_header_read(span_of(taking->payload + at, left), header) == BATCH_OK &&
           batch_total_size(header) <= left && header->base_offset >= expected &&
           batch_last_offset(header) < taking->frame->next_offset;
}

static uint64_t begin_behind(const struct taking *taking, uint64_t at)
{
    uint64_t size = taking->frame->payload_size;
    for (uint64_t page = at / FRAME_PAGE + 1; page < taking->page_count; page++) {
        int64_t begin = format_page_batch(taking->payload, taking->frame, page);
        if (taking->pages[page] && begin > (int64_t)at && begin < (int64_t)size)
            return (uint64_t)begin;
    }
    return size;
}

static int batches_take(struct taking *taking)
{
    const struct frame_header *frame = taking->frame;
    int64_t expected = frame->base_offset;
    uint64_t bad_from = 0; // what lies before `at` and behind the last sound batch
    int error = 0;
    for (uint64_t at = 0; at < frame->payload_size && !error;) {
        struct batch_header header;
        if (!header_at(taking, at, expected, &header)) {
            at = begin_behind(taking, at);
            continue;
        }
        uint64_t end = at + batch_total_size(&header);
        if (pages_sound(taking, at, end)) {
            if (bad_from < at)
                error = part_add(taking, false, bad_from, at, header.base_offset);
            expected = batch_last_offset(&header) + 1;
            if (!error)
                error = part_add(taking, true, at, end, expected);
            bad_from = end;
        }
        at = end;
    }
    if (!error && bad_from < frame->payload_size)
        error = part_add(taking, false, bad_from, frame->payload_size, frame->next_offset);
    else if (taking->count > 0)
        taking->parts[taking->count - 1].next = frame->next_offset;
    return error;
}

int inspect_broken_take(uint64_t position, const struct frame_header *frame, const uint8_t *payload,
                        uint64_t salt, struct inspect_part **parts, size_t *count)
{
    struct taking taking = {
        .payload = payload,
        .frame = frame,
        .position = position + FRAME_HEADER_SIZE,
        .page_count = format_table_size(frame->payload_size) / FRAME_ROW_SIZE,
    };
    enum format_payload state = format_payload_check(payload, frame, salt);
    int error = 0;
    if (state == PAYLOAD_PAGES_BAD && frame->kind == FRAME_DATA) {
        taking.pages = calloc(taking.page_count + 1, sizeof(*taking.pages));
        for (uint64_t page = 0; taking.pages && page < taking.page_count; page++)
            taking.pages[page] = format_page_sound(payload, frame, salt, page);
        error = taking.pages ? batches_take(&taking) : -ENOMEM;
    } else {
        bool sound = state == PAYLOAD_SOUND || state == PAYLOAD_TABLE_BAD;
        error = part_add(&taking, sound, 0, frame->payload_size, frame->next_offset);
    }
    if (!error && state == PAYLOAD_TABLE_BAD)
        error = part_add(&taking, false, frame->payload_size,
                         frame->stored_size - FRAME_HEADER_SIZE, frame->next_offset);
    free(taking.pages);
    *parts = taking.parts;
    *count = taking.count;
    return error;
}
