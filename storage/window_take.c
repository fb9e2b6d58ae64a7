// SPDX-License-Identifier: Apache-2.0
// What comes out of the bytes of a window.
//
// 1. Frames are taken whole, and of one that fails a checksum only what is sound by another one
//    (contain.c; rule 7 of the storage design: the log serves what is sound and refuses what is
//    not). Batches of small frames are moved together, so that a reader gets them in one piece.
// 2. The index and other windows say where frames are to be found; the frames decide. Bytes that do
//    not fit what the index says, or do not verify, are read a second time without it, and only
//    then called damage: named in one line, counted, noted in the log, and stepped over.
// 3. While commits go on, CHECK_PAGES are verified at a time: a frame of 2 MiB takes 0.4 ms, and
//    who waits for a commit would wait for it, too. The bytes from `taken` on stay as they were
//    read meanwhile: what is moved together lies before them.
#include <stdlib.h>
#include <string.h>

#include "storage/contain.h"
#include "storage/store.h"
#include "storage/window.h"

// The loop comes by up to four times between two entries into the kernel.
enum { CHECK_PAGES = 16 };

static bool piece_add(struct window *window, struct window_piece piece)
{
    if (window->piece_count == window->piece_capacity) {
        uint32_t capacity = window->piece_capacity ? window->piece_capacity * 2 : 4;
        struct window_piece *pieces = realloc(window->pieces, capacity * sizeof(*pieces));
        if (!pieces)
            return false;
        window->pieces = pieces;
        window->piece_capacity = capacity;
    }
    window->pieces[window->piece_count++] = piece;
    return true;
}

bool window_add_bad(struct window *window, int64_t next_offset)
{
    struct window_piece piece = {.base_offset = window->expected, .bad = true};
    if (window->expected >= next_offset)
        return true;
    window->expected = next_offset;
    return piece_add(window, piece);
}

static bool piece_add_batches(struct window *window, uint32_t at, const struct frame_header *frame)
{
    enum { MOVE_MAX = 32 * 1024 }; // larger payloads stay where they are
    uint8_t *data = window->buffer->data;
    window->expected = frame->next_offset;
    if (window->piece_count > 0 && frame->payload_size <= MOVE_MAX) {
        struct window_piece *last = &window->pieces[window->piece_count - 1];
        if (!last->bad) {
            memmove(data + last->at + last->size, data + at, frame->payload_size);
            last->size += frame->payload_size;
            return true;
        }
    }
    return piece_add(window, (struct window_piece){.base_offset = frame->base_offset,
                                                   .at = at,
                                                   .size = frame->payload_size});
}

// Names the bytes [from, to), in which the offsets up to `next_offset` would be, once.
static void damage_note(const struct window *window, uint64_t from, uint64_t to,
                        int64_t next_offset)
{
    struct segment *segment = window->segment;
    struct log *log = segment->log;
    int64_t first = window->expected;
    bool known =
        first < next_offset ? log_damage_is_known(log, first, next_offset) : segment->damaged;
    if (known)
        return;
    // Without memory for the note the next reader finds it again.
    segment_note_damage(segment, from, to, first, next_offset);
}

static const uint8_t *bytes_at(const struct window *window, uint64_t start, uint64_t position)
{
    return window->buffer->data + (position - start);
}

// The first sound header in [at, window->to) that can follow what was taken, or 0.
static uint64_t next_header(const struct window *window, uint64_t start, uint64_t at,
                            struct frame_header *frame)
{
    const struct segment_header *header = &window->segment->header;
    for (; at + FRAME_HEADER_SIZE <= window->to; at += header->alignment) {
        if (format_frame_read(bytes_at(window, start, at), header->salt, at, header->alignment,
                              frame) &&
            frame->base_offset >= window->expected &&
            at + frame->stored_size <= window->segment->end)
            return at;
    }
    return 0;
}

// Of a frame whose payload is damaged: what is sound in it, and where the rest would be.
static bool take_parts(struct window *window, uint64_t position, const uint8_t *payload,
                       const struct frame_header *frame)
{
    uint64_t salt = window->segment->header.salt;
    uint64_t payload_at = position + FRAME_HEADER_SIZE;
    struct contain contain;
    struct contain_part part;
    bool added = true;
    contain_begin(&contain, payload, frame, salt);
    if (contain.state == PAYLOAD_TABLE_BAD)
        damage_note(window, payload_at + frame->payload_size, position + frame->stored_size,
                    window->expected);
    while (added && contain_next(&contain, &part)) {
        uint64_t at = payload_at + part.at;
        if (!part.sound) {
            damage_note(window, at, at + part.size, part.next_offset);
            added = window_add_bad(window, part.next_offset);
        } else if (frame->kind == FRAME_DATA) {
            struct window_piece piece = {.base_offset = part.base_offset, .size = part.size};
            piece.at = (uint32_t)(payload - window->buffer->data) + part.at;
            window->expected = part.next_offset;
            added = piece_add(window, piece);
        }
    }
    return added;
}

// A whole frame at `found`, the first one behind `at`, of which so many pages may be checked now.
static enum look take_frame(struct window *window, uint64_t start, uint64_t at, uint64_t found,
                            const struct frame_header *frame, uint64_t *pages)
{
    const uint8_t *payload = bytes_at(window, start, found) + FRAME_HEADER_SIZE;
    enum format_payload state = format_payload_check_some(
        payload, frame, window->segment->header.salt, &window->checked, pages);
    if (state == PAYLOAD_UNKNOWN)
        return LOOK_LATER;
    bool sound = state == PAYLOAD_SOUND;
    bool gap = (found != at && found != format_next_block(at)) || window->bad_from > 0 ||
               frame->base_offset != window->expected;
    // Behind other bytes than zeros it may be the rest of a write that failed.
    bool in_place =
        !gap && span_is_zero(span_of(bytes_at(window, start, at), (size_t)(found - at)));
    if ((gap || !sound) && !window->again)
        return LOOK_AGAIN;
    if (gap) {
        damage_note(window, window->bad_from > 0 ? window->bad_from : at, found,
                    frame->base_offset);
        if (!window_add_bad(window, frame->base_offset))
            return LOOK_NO_MEMORY;
        window->bad_from = 0;
    }
    bool added = true;
    if (!sound && in_place) {
        added = take_parts(window, found, payload, frame);
    } else if (!sound) {
        damage_note(window, found, found + frame->stored_size, frame->next_offset);
        added = window_add_bad(window, frame->next_offset);
    } else if (frame->kind == FRAME_DATA) {
        added = piece_add_batches(window, (uint32_t)(payload - window->buffer->data), frame);
    }
    return added ? LOOK_READY : LOOK_NO_MEMORY;
}

// The frame at `found` goes on behind what was read.
static enum look take_cut(struct window *window, uint64_t at, uint64_t found,
                          const struct frame_header *frame)
{
    // Small windows that the index does not fit would read too much of it twice.
    if (frame->stored_size > WINDOW_BESIDE / 4)
        window->segment->large_frames = true;
    if (at > window->position) {
        window->to = at; // the next window begins here
        return LOOK_READY;
    }
    if (window->bad_from == 0 && found != at && found != format_next_block(at))
        window->bad_from = at;
    window->position = found;
    window_end_at(window, found + frame->stored_size, frame->next_offset);
    if (window->narrowed) {
        window->whole_end = window->to;
        window->whole_next = frame->next_offset;
    }
    return LOOK_MORE;
}

// There is no further frame in what was read.
static enum look take_end(struct window *window, uint64_t at)
{
    if (window->planned != INT64_MAX) {
        if (window->expected >= window->planned && format_next_block(at) >= window->to)
            return LOOK_READY;
        if (!window->again)
            return LOOK_AGAIN;
        damage_note(window, window->bad_from > 0 ? window->bad_from : at, window->to,
                    window->planned);
        return window_add_bad(window, window->planned) ? LOOK_READY : LOOK_NO_MEMORY;
    }
    if (at > window->position) {
        window->to = at;
        return LOOK_READY;
    }
    // Nothing yet: the bad bytes go on, unless this was the end of a block that was left free.
    if (window->bad_from == 0 && format_next_block(at) < window->to)
        window->bad_from = at;
    window->position = window->to;
    window_plan(window, WINDOW_SIZE);
    return LOOK_MORE;
}

enum look window_take(struct window *window)
{
    uint64_t start = format_block_start(window->position);
    uint64_t pages = window_is_beside(window->segment->log->store) ? CHECK_PAGES : UINT64_MAX;
    for (;;) {
        struct frame_header frame;
        uint64_t at = window->taken;
        uint64_t found = next_header(window, start, at, &frame);
        if (found == 0)
            return take_end(window, at);
        if (found + frame.stored_size > window->to)
            return take_cut(window, at, found, &frame);
        enum look look = take_frame(window, start, at, found, &frame, &pages);
        if (look != LOOK_READY)
            return look;
        window->taken = found + frame.stored_size;
        window->checked = 0;
    }
}
