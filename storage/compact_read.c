// SPDX-License-Identifier: Apache-2.0
// Sequential reading of a sealed segment, for compaction.
//
// 1. No batch is given out before the checksums of its frame have been verified, the frame's
//    offsets have been found to continue those before, and the batch to lie within the frame.
// 2. One read at a time, into one buffer of the pool: a window, or a single frame that is larger.
#include "storage/compact_read.h"

#include <errno.h>

#include "base/check.h"
#include "protocol/record_batch.h"
#include "storage/store.h"

enum { WINDOW_BYTES = 512 * 1024 };

static struct log_store *store_of(const struct compact_reader *reader)
{
    return reader->segment->log->store;
}

void compact_reader_open(struct compact_reader *reader, struct segment *segment)
{
    CHECK(!reader->segment);
    segment_hold(segment);
    reader->segment = segment;
    reader->start = reader->have = 0;
    reader->position = FORMAT_BLOCK;
    reader->next_offset = segment->header.base_offset;
    reader->left = span_of(NULL, 0);
    reader->read_bytes = 0;
    reader->error = 0;
}

void compact_reader_close(struct compact_reader *reader)
{
    CHECK(!reader->waiting);
    if (reader->segment)
        segment_drop(reader->segment);
    reader->segment = NULL;
    if (reader->buffer)
        buffer_unref(reader->buffer);
    reader->buffer = NULL;
}

static void opened(struct segment_open *opening)
{
    struct compact_reader *reader = list_entry(opening, struct compact_reader, opening);
    reader->waiting = false;
    reader->error = opening->error;
    reader->resume(reader);
}

static void read_done(struct io_op *op)
{
    struct compact_reader *reader = list_entry(op, struct compact_reader, op);
    reader->waiting = false;
    if (op->result < 0) {
        reader->error = op->result == -ENOMEM ? -ENOMEM : -EIO;
    } else {
        reader->have = (uint64_t)op->result;
        reader->read_bytes += reader->have;
    }
    reader->resume(reader);
}

// Reads from the block of reader->position on, `size` bytes behind it at least.
static enum compact_read window_read(struct compact_reader *reader, uint64_t size)
{
    struct log_store *store = store_of(reader);
    uint64_t start = format_block_start(reader->position);
    uint64_t length = format_next_block(reader->position + size) - start;
    if (length < WINDOW_BYTES)
        length = WINDOW_BYTES;
    if (length > format_next_block(reader->segment->end) - start)
        length = format_next_block(reader->segment->end) - start;
    if (reader->buffer && reader->buffer->capacity < length) {
        buffer_unref(reader->buffer);
        reader->buffer = NULL;
    }
    if (!reader->buffer)
        reader->buffer = pool_get(store->pool, length);
    if (!reader->buffer) {
        reader->error = -ENOMEM;
        return COMPACT_READ_FAILED;
    }
    reader->start = start;
    reader->have = 0;
    reader->waiting = true;
    reader->op.done = read_done;
    io_read(store->io, &reader->op, reader->segment->fd, reader->buffer->data, length, start);
    return COMPACT_READ_WAIT;
}

// Whether that many bytes at `position` are in the buffer.
static bool holds(const struct compact_reader *reader, uint64_t position, uint64_t size)
{
    return reader->have > 0 && position >= reader->start &&
           position + size <= reader->start + reader->have;
}

// Whether there is the header of the frame that comes next at `position`.
static bool is_next_frame(const struct compact_reader *reader, uint64_t position,
                          struct frame_header *frame)
{
    const struct segment_header *header = &reader->segment->header;
    return position + FRAME_HEADER_SIZE <= reader->segment->end &&
           format_frame_read(reader->buffer->data + (position - reader->start), header->salt,
                             position, header->alignment, frame) &&
           frame->base_offset == reader->next_offset &&
           position + frame->stored_size <= reader->segment->end;
}

// The next frame starts where the last one ended, or with the next block.
static bool find_frame(struct compact_reader *reader, struct frame_header *frame)
{
    if (is_next_frame(reader, reader->position, frame))
        return true;
    uint64_t position = format_next_block(reader->position);
    if (position == reader->position || !holds(reader, position, FRAME_HEADER_SIZE) ||
        !is_next_frame(reader, position, frame))
        return false;
    reader->position = position;
    return true;
}

// Goes to the next frame. COMPACT_READ_BATCH: reader->left is its payload.
static enum compact_read frame_next(struct compact_reader *reader)
{
    const struct segment *segment = reader->segment;
    struct frame_header frame;
    if (reader->position >= segment->end)
        return reader->next_offset == segment->next_offset ? COMPACT_READ_END
                                                           : COMPACT_READ_DAMAGED;
    uint64_t needed = segment->end - reader->position;
    if (needed > FORMAT_BLOCK + FRAME_HEADER_SIZE)
        needed = FORMAT_BLOCK + FRAME_HEADER_SIZE;
    if (!holds(reader, reader->position, needed)) {
        // A window that was read for this and is too short is the end of a file that was cut.
        if (reader->have > 0 && reader->start == format_block_start(reader->position))
            return COMPACT_READ_DAMAGED;
        return window_read(reader, needed);
    }
    if (!find_frame(reader, &frame))
        return COMPACT_READ_DAMAGED;
    if (!holds(reader, reader->position, frame.stored_size)) {
        if (reader->start == format_block_start(reader->position) &&
            reader->buffer->capacity >= reader->position - reader->start + frame.stored_size)
            return COMPACT_READ_DAMAGED;
        return window_read(reader, frame.stored_size);
    }
    const uint8_t *payload =
        reader->buffer->data + (reader->position - reader->start) + FRAME_HEADER_SIZE;
    if (format_payload_check(payload, &frame, segment->header.salt) != PAYLOAD_SOUND)
        return COMPACT_READ_DAMAGED;
    reader->position += frame.stored_size;
    reader->next_offset = frame.next_offset;
    if (frame.kind == FRAME_DATA)
        reader->left = span_of(payload, frame.payload_size);
    return COMPACT_READ_BATCH;
}

enum compact_read compact_reader_next(struct compact_reader *reader, struct span *batch)
{
    CHECK(!reader->waiting);
    if (reader->error)
        return COMPACT_READ_FAILED;
    if (reader->segment->fd < 0) {
        reader->waiting = true;
        reader->opening.done = opened;
        segment_open(reader->segment, &reader->opening);
        return COMPACT_READ_WAIT;
    }
    while (reader->left.size == 0) {
        enum compact_read got = frame_next(reader);
        if (got != COMPACT_READ_BATCH)
            return got;
    }
    struct batch_header header;
    if (batch_header_read(reader->left, &header) != BATCH_OK ||
        batch_total_size(&header) > reader->left.size)
        return COMPACT_READ_DAMAGED;
    size_t size = batch_total_size(&header);
    *batch = span_of(reader->left.data, size);
    reader->left = span_of(reader->left.data + size, reader->left.size - size);
    return COMPACT_READ_BATCH;
}
