// SPDX-License-Identifier: Apache-2.0
// Keeps rule 7 of the storage design: on start, a bad frame is cut only if nothing acknowledged can
// lie at or after it. Damage in the middle is an error that names file, position, offsets; the log
// serves what is sound, refuses what is not, and is never truncated by itself.
//
// A frame is bad when its header or its payload fails the checksum. Whether something acknowledged
// can lie at or behind a bad frame is decided by this evidence:
//
// 1. A later segment exists: it was begun after everything in this one was durable.
// 2. The index file covers the position: it is written after what it covers was durable.
// 3. A sound frame header with a later sequence number is found anywhere behind: frames of a log
//    are written one at a time, so the bad frame was durable before that one was started.
//
// With any of these the bad bytes are damage: the range is reported, and the scan goes on behind
// it. Of a frame that is the next one by its header, and bad in its payload only, the batches that
// are sound count (contain.c). Without, they are the torn rest of the one write that was under way,
// which nobody was told of, unless the journal holds it as well (replay.c), and the end of the log
// is put before them.
//
// A frame with the right sequence number whose offsets leave something out says that these offsets
// were lost before it was written, with a damaged journal: they are reported at every start.
//
// Nothing needs to be erased behind a cut. The look-ahead has found no frame there up to the end of
// the file; the next commit overwrites the torn frame at its own position; and a frame header is
// only valid at the position it was written for, so old bytes cannot turn into a frame later.
#include "storage/scan.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/endian.h"
#include "base/log_line.h"
#include "storage/contain.h"
#include "storage/expect.h"
#include "storage/plant.h"
#include "storage/producers_recover.h"
#include "storage/store.h"

enum { SCAN_WINDOW_MIN = 64 * 1024, SCAN_WINDOW_MAX = 2 * 1024 * 1024 };

enum found {
    FOUND_SOUND,
    FOUND_BAD_HEADER,
    FOUND_BAD_PAYLOAD,
    FOUND_END,
};

void scan_free(struct scan *scan)
{
    if (scan->buffer)
        buffer_unref(scan->buffer);
    scan->buffer = NULL;
    scan->have = 0;
}

static int window_read(struct scan *scan, uint64_t position, uint64_t size)
{
    const struct log_store *store = scan->segment->log->store;
    scan->have = 0;
    scan->start = position & ~(uint64_t)(BUFFER_ALIGN - 1);
    uint64_t length = position - scan->start + size;
    length = length < scan->window ? scan->window : length;
    length = (length + BUFFER_ALIGN - 1) & ~(uint64_t)(BUFFER_ALIGN - 1);
    if (scan->window > 0 && scan->window < SCAN_WINDOW_MAX)
        scan->window *= 2; // a scan that goes on reads more at a time
    if (!scan->buffer || scan->buffer->capacity < length) {
        scan_free(scan);
        scan->buffer = pool_get(store->pool, length);
        if (!scan->buffer)
            return -ENOMEM;
    }
    const struct segment *segment = scan->segment;
    int64_t result =
        (int64_t)expect_read(segment->log, segment->header.base_offset, scan->buffer->data,
                             position - scan->start + size, length, scan->start);
    if (result == 0)
        result = io_read_wait(store->io, segment->fd, scan->buffer->data, length, scan->start);
    if (result < 0)
        return result == -ENOMEM ? -ENOMEM : -EIO;
    scan->have = (uint64_t)result;
    scan->read_bytes += (uint64_t)result;
    return 0;
}

// `size` bytes of the file; NULL when they are not there, or not readable (scan->error).
static const uint8_t *bytes_at(struct scan *scan, uint64_t position, uint64_t size)
{
    uint64_t file_size = scan->segment->file_size;
    if (scan->error || size > file_size || position > file_size - size)
        return NULL;
    if (position < scan->start || position + size > scan->start + scan->have)
        scan->error = window_read(scan, position, size);
    if (scan->error || position + size > scan->start + scan->have)
        return NULL;
    return scan->buffer->data + (position - scan->start);
}

static enum found look_at(struct scan *scan, uint64_t position, struct frame_header *frame)
{
    const struct segment *segment = scan->segment;
    const struct segment_header *header = &segment->header;
    const uint8_t *bytes = bytes_at(scan, position, FRAME_HEADER_SIZE);
    if (!bytes)
        return FOUND_END;
    if (!format_frame_read(bytes, header->salt, position, header->alignment, frame))
        return FOUND_BAD_HEADER;
    bytes = bytes_at(scan, position, format_framed_size(frame->payload_size));
    if (!bytes ||
        format_payload_check(bytes + FRAME_HEADER_SIZE, frame, header->salt) != PAYLOAD_SOUND)
        return FOUND_BAD_PAYLOAD;
    return FOUND_SOUND;
}

bool scan_frame(struct scan *scan, uint64_t position, struct frame_header *out)
{
    return look_at(scan, position, out) == FOUND_SOUND;
}

// What was only allocated reads as zeros, so it need not be read.
static uint64_t skip_unwritten(struct scan *scan, uint64_t position, uint64_t step)
{
    const struct segment *segment = scan->segment;
    int64_t data = io_next_data(segment->log->store->io, segment->fd, position);
    if (data <= (int64_t)position)
        return position;
    return position + ((uint64_t)data - position) / step * step;
}

bool scan_is_zero(struct scan *scan, uint64_t position)
{
    for (; position < scan->segment->file_size; position += FORMAT_BLOCK) {
        position = skip_unwritten(scan, position, FORMAT_BLOCK);
        if (position >= scan->segment->file_size)
            break;
        uint64_t size = scan->segment->file_size - position;
        size = size < FORMAT_BLOCK ? size : FORMAT_BLOCK;
        const uint8_t *bytes = bytes_at(scan, position, size);
        if (!bytes || !span_is_zero(span_of(bytes, size)))
            return false;
    }
    return true;
}

// Writes the blocks that hold the bytes from `from` to `to` again as they are.
static int blocks_rewrite(struct scan *scan, uint64_t from, uint64_t to)
{
    const struct segment *segment = scan->segment;
    from -= from % FORMAT_BLOCK;
    to = format_next_block(to);
    if (to > segment->file_size)
        return 0; // cut when it was closed, with everything durable
    const uint8_t *bytes = bytes_at(scan, from, to - from);
    if (!bytes)
        return scan->error ? scan->error : -EIO;
    int64_t written =
        io_write_wait(segment->log->store->io, segment->fd, bytes, to - from, from, false);
    return written < 0 ? (int)written : 0;
}

int scan_rewrite_last(struct scan *scan)
{
    const struct segment *segment = scan->segment;
    uint64_t last = segment->last_frame;
    struct frame_header frame;
    int error = 0;
    if (last == 0)
        error = blocks_rewrite(scan, 0, FORMAT_BLOCK);
    else if (scan_frame(scan, last, &frame))
        error = blocks_rewrite(scan, last, last + frame.stored_size);
    else
        error = scan->error; // it is damaged: something proves that it was durable
    if (error || !segment->damaged)
        return error;
    // Where the log ends may be the header of a torn frame, all that proves the damage: evidence 3.
    return blocks_rewrite(scan, segment->end, segment->end + 1);
}

static int frame_accept(struct scan *scan, const struct frame_header *frame, bool note)
{
    struct segment *segment = scan->segment;
    const uint8_t *payload = bytes_at(scan, segment->end + FRAME_HEADER_SIZE, frame->payload_size);
    if (!payload)
        return scan->error ? scan->error : -EIO;
    int64_t start = frame->kind == FRAME_LOG_START ? (int64_t)load_le64(payload) : 0;
    if (scan->log_start < start)
        scan->log_start = start;
    segment_extend(segment, frame, note);
    struct log *log = segment->log;
    int error = producers_recover_frame(log, frame->kind, span_of(payload, frame->payload_size));
    if (frame->kind == FRAME_PRODUCERS && !log->producers.incoming &&
        frame->base_offset == segment->header.base_offset)
        log->producers_at = frame->base_offset;
    return error;
}

static int range_note(struct scan *scan, uint64_t from, uint64_t to, int64_t first, int64_t next)
{
    scan->damaged_ranges++;
    producers_recover_gap(scan->segment->log);
    return segment_note_damage(scan->segment, from, to, first, next);
}

// Records the bytes from the segment's end up to `position`, where the offset is `offset`.
static int damage_note(struct scan *scan, uint64_t position, int64_t offset)
{
    const struct segment *segment = scan->segment;
    return range_note(scan, segment->end, position, segment->next_offset, offset);
}

// Whether the frame was written into the segment before the next one was begun. A frame that moves
// the start may be the last one, at the very offset where the next segment begins.
static bool is_within(const struct scan *scan, const struct frame_header *frame)
{
    if (frame->base_offset != scan->limit)
        return frame->base_offset < scan->limit;
    return frame->next_offset == scan->limit && frame->sequence < scan->limit_sequence;
}

// The first frame header behind `from` with a sequence number above `sequence`, or 0. *nonzero
// becomes the end of the last block that holds anything.
static uint64_t look_ahead(struct scan *scan, uint64_t from, uint64_t sequence, uint64_t *nonzero,
                           struct frame_header *frame)
{
    const struct segment *segment = scan->segment;
    const struct segment_header *header = &segment->header;
    for (uint64_t at = from; at + header->alignment <= segment->file_size;
         at += header->alignment) {
        const uint8_t *bytes = bytes_at(scan, at, header->alignment);
        if (!bytes)
            return 0;
        if (span_is_zero(span_of(bytes, header->alignment))) {
            if ((at + header->alignment) % FORMAT_BLOCK == 0)
                at = skip_unwritten(scan, at + header->alignment, header->alignment) -
                     header->alignment;
            continue;
        }
        *nonzero = at + header->alignment;
        if (format_frame_read(bytes, header->salt, at, header->alignment, frame) &&
            frame->sequence > sequence && frame->base_offset >= segment->next_offset &&
            is_within(scan, frame))
            return at;
    }
    return 0;
}

// The index proves that the segment went on to where it covers.
static int skip_to_evidence(struct scan *scan)
{
    struct segment *segment = scan->segment;
    const struct index_header *evidence = &scan->evidence;
    int error = damage_note(scan, evidence->covered, evidence->next_offset);
    segment->end = evidence->covered;
    segment->next_offset = evidence->next_offset;
    segment->last_frame = evidence->last_frame;
    segment->next_sequence = evidence->sequence;
    if (segment->max_timestamp < evidence->max_timestamp)
        segment->max_timestamp = evidence->max_timestamp;
    return error;
}

// The frame at scan->broken_at was durable: what is sound in it counts.
static int broken_accept(struct scan *scan)
{
    struct segment *segment = scan->segment;
    struct frame_header frame = scan->broken;
    uint64_t payload_at = scan->broken_at + FRAME_HEADER_SIZE;
    const uint8_t *payload =
        bytes_at(scan, payload_at, format_framed_size(frame.payload_size) - FRAME_HEADER_SIZE);
    if (!payload)
        return scan->error ? scan->error : -EIO;
    int error = 0;
    struct contain contain;
    struct contain_part part;
    contain_begin(&contain, payload, &frame, segment->header.salt);
    if (!error && contain.state == PAYLOAD_TABLE_BAD)
        error =
            range_note(scan, payload_at + frame.payload_size, scan->broken_at + frame.stored_size,
                       frame.next_offset, frame.next_offset);
    while (!error && contain_next(&contain, &part)) {
        if (!part.sound)
            error = range_note(scan, payload_at + part.at, payload_at + part.at + part.size,
                               part.base_offset, part.next_offset);
    }
    segment->end = scan->broken_at;
    segment_extend(segment, &frame, true);
    return error;
}

static void cut_note(struct scan *scan, uint64_t nonzero)
{
    const struct segment *segment = scan->segment;
    if (nonzero <= segment->end)
        return;
    scan->torn_bytes = (int64_t)(nonzero - segment->end);
    log_line(LOG_WARN,
             "%s/%020lld.log: cut %lld bytes of a commit that was never acknowledged, at byte %llu "
             "(offset %lld)",
             segment->log->directory, (long long)segment->header.base_offset,
             (long long)scan->torn_bytes, (unsigned long long)segment->end,
             (long long)segment->next_offset);
}

// Decides what the bad frame at the segment's end is. 1: damage, scan on; 0: the end; or an error.
static int judge(struct scan *scan, enum found found, const struct frame_header *bad)
{
    struct segment *segment = scan->segment;
    uint64_t step = segment->header.alignment;
    uint64_t sequence = segment->next_sequence;
    uint64_t nonzero = segment->end;
    if (found == FOUND_BAD_PAYLOAD) {
        step = bad->stored_size;
        sequence = bad->sequence > sequence ? bad->sequence : sequence;
        nonzero += step < segment->file_size - nonzero ? step : segment->file_size - nonzero;
    } else if (found == FOUND_BAD_HEADER) {
        uint64_t left = segment->file_size - segment->end;
        const uint8_t *bytes = bytes_at(scan, segment->end, left < step ? left : step);
        if (bytes && !span_is_zero(span_of(bytes, left < step ? left : step)))
            nonzero += left < step ? left : step;
    }
    struct frame_header next;
    uint64_t position = look_ahead(scan, segment->end + step, sequence, &nonzero, &next);
    if (scan->error)
        return scan->error;
    int64_t least = scan->limit < INT64_MAX ? scan->limit : scan->least;
    bool proven =
        position > 0 || segment->end < scan->evidence.covered || segment->next_offset < least;
    if (proven && scan->broken_at > 0 && !planted(PLANT_CUT_MIDDLE)) {
        int error = broken_accept(scan);
        return error ? error : 1;
    }
    if (position > 0 && !planted(PLANT_CUT_MIDDLE)) {
        int error = damage_note(scan, position, next.base_offset);
        segment->end = position;
        segment->next_offset = next.base_offset;
        segment->next_sequence = next.sequence;
        return error ? error : 1;
    }
    if (segment->end < scan->evidence.covered) {
        int error = skip_to_evidence(scan);
        return error ? error : 1;
    }
    if (segment->next_offset < least)
        return damage_note(scan, segment->file_size, least);
    if (scan->limit == INT64_MAX)
        cut_note(scan, nonzero);
    return 0;
}

// Whether the frame is the next one. If offsets are missing before it, they were lost before it
// was written: the journal had them.
static bool follows(const struct segment *segment, const struct frame_header *frame)
{
    return frame->sequence == segment->next_sequence && frame->base_offset >= segment->next_offset;
}

// Keeps a frame that is the next one by its header, and bad in its payload. Not one that begins a
// block behind other bytes: it may be the rest of a write that failed, and they what took its
// place.
static void broken_note(struct scan *scan, uint64_t position, const struct frame_header *frame)
{
    const struct segment *segment = scan->segment;
    uint64_t between = position - segment->end;
    if (position + format_framed_size(frame->payload_size) > segment->file_size)
        return;
    if (frame->sequence != segment->next_sequence || frame->base_offset != segment->next_offset ||
        !is_within(scan, frame))
        return;
    const uint8_t *bytes = between > 0 ? bytes_at(scan, segment->end, between) : NULL;
    if (between > 0 && (!bytes || !span_is_zero(span_of(bytes, between))))
        return;
    scan->broken_at = position;
    scan->broken = *frame;
}

// The frame behind the last one: directly there, or, when the writer no longer had the bytes of the
// block in memory, at the beginning of the next block. Moves the segment's end there.
static enum found find_next(struct scan *scan, struct frame_header *frame)
{
    struct segment *segment = scan->segment;
    scan->broken_at = 0;
    enum found found = look_at(scan, segment->end, frame);
    if (found == FOUND_SOUND && follows(segment, frame))
        return FOUND_SOUND;
    if (found == FOUND_BAD_PAYLOAD)
        broken_note(scan, segment->end, frame);
    uint64_t next = format_next_block(segment->end);
    struct frame_header behind;
    enum found other = next > segment->end ? look_at(scan, next, &behind) : FOUND_END;
    if (other == FOUND_SOUND && follows(segment, &behind)) {
        segment->end = next;
        *frame = behind;
        return FOUND_SOUND;
    }
    if (other == FOUND_BAD_PAYLOAD && found != FOUND_BAD_PAYLOAD)
        broken_note(scan, next, &behind);
    return found == FOUND_SOUND ? FOUND_BAD_HEADER : found;
}

int scan_run(struct scan *scan)
{
    struct segment *segment = scan->segment;
    bool note = false;
    scan->window = SCAN_WINDOW_MIN;
    for (;;) {
        struct frame_header frame = {0};
        enum found found = find_next(scan, &frame);
        if (scan->error)
            return scan->error;
        if (found == FOUND_SOUND && !is_within(scan, &frame))
            found = FOUND_END; // a commit that failed before the next segment was begun
        if (found == FOUND_SOUND) {
            int error = 0;
            if (frame.base_offset > segment->next_offset)
                error = damage_note(scan, segment->end, frame.base_offset);
            if (!error)
                error = frame_accept(scan, &frame, note);
            if (error)
                return error;
            note = false;
            continue;
        }
        int go_on = judge(scan, found, &frame);
        if (go_on <= 0)
            return go_on;
        note = true;
    }
}
