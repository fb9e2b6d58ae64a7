// SPDX-License-Identifier: Apache-2.0
// Keeps damage to what it has hit: of a frame of many batches whose payload fails its checksum,
// those are found that are sound.
//
// 1. A batch is sound if all pages that it touches pass their checksums in the frame's table, which
//    passes the one in the frame's header. So rule 4 of the storage design holds for what is served
//    of such a frame, too: Kafka's own CRC is not asked, for it knows nothing of places and lives.
// 2. Behind a batch whose length cannot be read the next one is found where the table says that
//    one begins: in the first sound page behind the bad one in which one does.
// 3. Batches that go back, or beyond the frame's offsets, are not sound whatever checksums say.
// 4. Without a sound table everything is damaged, unless all of the payload is sound.
#include "storage/contain.h"

#include "protocol/record_batch.h"

void contain_begin(struct contain *contain, const uint8_t *payload,
                   const struct frame_header *frame, uint64_t salt)
{
    *contain = (struct contain){
        .payload = payload,
        .frame = frame,
        .salt = salt,
        .state = format_payload_check(payload, frame, salt),
        .expected = frame->base_offset,
    };
}

// Whether all pages that the bytes touch are sound. *bad: the first one that is not.
static bool pages_sound(const struct contain *contain, uint64_t at, uint64_t size, uint64_t *bad)
{
    for (uint64_t page = at / FRAME_PAGE; page <= (at + size - 1) / FRAME_PAGE; page++) {
        if (!format_page_sound(contain->payload, contain->frame, contain->salt, page)) {
            *bad = page;
            return false;
        }
    }
    return true;
}

// The size of the sound batch at `at`, or 0 and *bad: the page that it is not sound in.
static uint64_t batch_at(const struct contain *contain, uint64_t at, int64_t expected,
                         int64_t *next_offset, uint64_t *bad)
{
    uint64_t left = contain->frame->payload_size - at;
    uint64_t head = left < BATCH_HEADER_SIZE ? left : BATCH_HEADER_SIZE;
    struct batch_header header;
    *bad = at / FRAME_PAGE;
    if (!pages_sound(contain, at, head, bad) ||
        batch_header_read(span_of(contain->payload + at, left), &header) != BATCH_OK ||
        batch_total_size(&header) > left || header.base_offset < expected ||
        batch_last_offset(&header) >= contain->frame->next_offset ||
        !pages_sound(contain, at, batch_total_size(&header), bad))
        return 0;
    *next_offset = batch_last_offset(&header) + 1;
    return batch_total_size(&header);
}

// Where a sound batch begins in a page behind `page`; the payload's end when none does.
static uint64_t batch_behind(const struct contain *contain, uint64_t page, int64_t *base_offset)
{
    const struct frame_header *frame = contain->frame;
    uint64_t pages = format_table_size(frame->payload_size) / FRAME_ROW_SIZE;
    while (++page < pages) {
        int64_t at = format_page_batch(contain->payload, frame, page);
        int64_t next_offset;
        uint64_t bad;
        if (at < (int64_t)contain->at || at >= (int64_t)frame->payload_size)
            continue;
        if (batch_at(contain, (uint64_t)at, contain->expected, &next_offset, &bad) == 0)
            continue;
        struct batch_header header;
        struct span rest = span_of(contain->payload + at, frame->payload_size - (uint64_t)at);
        batch_header_read(rest, &header);
        *base_offset = header.base_offset;
        return (uint64_t)at;
    }
    *base_offset = frame->next_offset;
    return frame->payload_size;
}

static void part_set(struct contain *contain, struct contain_part *part, bool sound, uint64_t to,
                     int64_t next_offset)
{
    *part = (struct contain_part){
        .sound = sound,
        .at = (uint32_t)contain->at,
        .size = (uint32_t)(to - contain->at),
        .base_offset = contain->expected,
        .next_offset = next_offset,
    };
    contain->at = to;
    contain->expected = next_offset;
}

// All of the payload in one part.
static bool take_whole(struct contain *contain, struct contain_part *part)
{
    const struct frame_header *frame = contain->frame;
    if (contain->at == frame->payload_size)
        return false;
    bool sound = contain->state == PAYLOAD_SOUND || contain->state == PAYLOAD_TABLE_BAD;
    part_set(contain, part, sound, frame->payload_size, frame->next_offset);
    return true;
}

bool contain_next(struct contain *contain, struct contain_part *part)
{
    const struct frame_header *frame = contain->frame;
    if (contain->state != PAYLOAD_PAGES_BAD || frame->kind != FRAME_DATA)
        return take_whole(contain, part);
    uint64_t at = contain->at;
    uint64_t bad = 0;
    int64_t next_offset = contain->expected;
    while (at < frame->payload_size) {
        uint64_t size = batch_at(contain, at, next_offset, &next_offset, &bad);
        if (size == 0)
            break;
        at += size;
    }
    if (at > contain->at) {
        // Behind its last batch a frame may have offsets without one.
        part_set(contain, part, true, at,
                 at == frame->payload_size ? frame->next_offset : next_offset);
        return true;
    }
    if (at == frame->payload_size)
        return false;
    int64_t base_offset;
    uint64_t to = batch_behind(contain, bad, &base_offset);
    part_set(contain, part, false, to, base_offset);
    return true;
}
