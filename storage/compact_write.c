// SPDX-License-Identifier: Apache-2.0
// The file that compaction makes: a segment like any other, of dense frames, under a name that
// counts for nothing.
//
// 1. Frames follow one another without a gap in their offsets: each begins with the offset at which
//    the one before has ended, whatever is missing in between.
// 2. When compact_writer_finish has returned 1, all bytes and the size are durable.
// 3. Written in large pieces: the buffer is an image of the file; what is complete goes out in
//    whole blocks, the rest moves to the buffer's beginning.
#include "storage/compact_write.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/random.h"
#include "storage/store.h"

enum {
    FRAME_BYTES = 256 * 1024, // of payload, unless a single batch is larger
    WRITE_BYTES = 512 * 1024, // what is worth a write
    BUFFER_BYTES = 1024 * 1024,
};

static void finish_wait(struct compact_writer *writer, int error)
{
    writer->waiting = false;
    if (error)
        writer->error = error;
    writer->resume(writer);
}

static int wait_for(struct compact_writer *writer, void (*done)(struct io_op *op))
{
    writer->waiting = true;
    writer->op.done = done;
    return 0;
}

// --- opening

static void opened(struct io_op *op)
{
    struct compact_writer *writer = list_entry(op, struct compact_writer, op);
    if (op->result >= 0) {
        writer->segment->fd = (int)op->result;
        writer->state = COMPACT_WRITER_OPEN;
    }
    finish_wait(writer, op->result < 0 ? (int)op->result : 0);
}

static int writer_begin(struct compact_writer *writer, struct log *log,
                        const struct segment_header *header)
{
    struct segment_header own = *header;
    random_system(&own.salt, sizeof(own.salt));
    writer->path = segment_path(log, header->base_offset, COMPACT_SUFFIX);
    writer->buffer = pool_get(log->store->pool, BUFFER_BYTES);
    writer->segment = segment_new(log, &own);
    if (!writer->path || !writer->buffer || !writer->segment)
        return -ENOMEM;
    format_segment_write(&own, writer->buffer->data);
    writer->start = 0;
    writer->frame_at = FORMAT_BLOCK;
    writer->fill = FORMAT_BLOCK + FRAME_HEADER_SIZE;
    writer->batch_count = 0;
    writer->base_offset = writer->next_offset = own.base_offset;
    writer->max_timestamp = -1;
    writer->sequence = own.first_sequence;
    writer->written_bytes = 0;
    writer->state = COMPACT_WRITER_OPENING;
    return 0;
}

int compact_writer_open(struct compact_writer *writer, struct log *log,
                        const struct segment_header *header)
{
    if (writer->error)
        return writer->error;
    if (writer->state == COMPACT_WRITER_OPEN)
        return 1;
    CHECK(writer->state == COMPACT_WRITER_CLOSED);
    writer->error = writer_begin(writer, log, header);
    if (writer->error)
        return writer->error;
    wait_for(writer, opened);
    io_open(log->store->io, &writer->op, writer->path,
            O_RDWR | O_CREAT | O_TRUNC | (log->store->direct ? O_DIRECT : 0), 0640);
    return 0;
}

// --- writing

static void written(struct io_op *op)
{
    struct compact_writer *writer = list_entry(op, struct compact_writer, op);
    uint64_t size = op->length;
    if (op->result != (int64_t)size) {
        finish_wait(writer, op->result < 0 ? (int)op->result : -EIO);
        return;
    }
    memmove(writer->buffer->data, writer->buffer->data + size, writer->fill - size);
    writer->start += size;
    writer->frame_at -= size;
    writer->fill -= size;
    writer->written_bytes += size;
    finish_wait(writer, 0);
}

// Writes the first `size` bytes of the buffer, where `size` <= frame_at.
static int write_out(struct compact_writer *writer, uint64_t size)
{
    wait_for(writer, written);
    io_write(writer->segment->log->store->io, &writer->op, writer->segment->fd,
             writer->buffer->data, size, writer->start, false);
    return 0;
}

static uint64_t payload_size(const struct compact_writer *writer)
{
    return writer->fill - writer->frame_at - FRAME_HEADER_SIZE;
}

static void frame_seal(struct compact_writer *writer, int64_t next_offset)
{
    struct segment *segment = writer->segment;
    uint8_t *bytes = writer->buffer->data + writer->frame_at;
    uint32_t payload = (uint32_t)payload_size(writer);
    struct frame_header frame = {
        .kind = FRAME_DATA,
        .payload_size = payload,
        .stored_size = (uint32_t)format_stored_size(payload, segment->header.alignment),
        .batch_count = writer->batch_count,
        .base_offset = writer->base_offset,
        .next_offset = next_offset,
        .max_timestamp = writer->max_timestamp,
        .sequence = writer->sequence++,
        .payload_checksum =
            format_payload_seal(bytes + FRAME_HEADER_SIZE, payload, segment->header.salt),
    };
    CHECK(writer->start + writer->frame_at == segment->end);
    format_frame_write(&frame, segment->header.salt, segment->end, bytes);
    uint64_t size = format_framed_size(payload);
    memset(bytes + size, 0, frame.stored_size - size);
    segment_extend(segment, &frame, false);
    writer->frame_at += frame.stored_size;
    writer->fill = writer->frame_at + FRAME_HEADER_SIZE;
    writer->batch_count = 0;
    writer->base_offset = next_offset;
    writer->next_offset = next_offset;
}

// Room for a batch in the open frame, with its table and padding to the next block behind it.
static int reserve(struct compact_writer *writer, uint64_t size)
{
    uint64_t needed = writer->fill + size + format_table_size(payload_size(writer) + size) +
                      FORMAT_BLOCK + FRAME_HEADER_SIZE;
    if (needed <= writer->buffer->capacity)
        return 0;
    struct buffer *larger = pool_get(writer->segment->log->store->pool, needed);
    if (!larger)
        return writer->error = -ENOMEM;
    memcpy(larger->data, writer->buffer->data, writer->fill);
    buffer_unref(writer->buffer);
    writer->buffer = larger;
    return 0;
}

int compact_writer_add(struct compact_writer *writer, struct span batch,
                       const struct batch_header *header)
{
    CHECK(!writer->waiting);
    if (writer->error)
        return writer->error;
    if (writer->batch_count > 0 && payload_size(writer) + batch.size > FRAME_BYTES)
        frame_seal(writer, writer->next_offset);
    if (writer->batch_count == 0 && writer->frame_at >= WRITE_BYTES)
        return write_out(writer, format_block_start(writer->frame_at));
    int error = reserve(writer, batch.size);
    if (error)
        return error;
    memcpy(writer->buffer->data + writer->fill, batch.data, batch.size);
    writer->fill += batch.size;
    writer->batch_count++;
    writer->next_offset = batch_last_offset(header) + 1;
    if (header->record_count > 0 && writer->max_timestamp < header->max_timestamp)
        writer->max_timestamp = header->max_timestamp;
    return 1;
}

// --- finishing

static void synced(struct io_op *op)
{
    struct compact_writer *writer = list_entry(op, struct compact_writer, op);
    writer->state = COMPACT_WRITER_FINISHED;
    finish_wait(writer, op->result < 0 ? (int)op->result : 0);
}

static void cut(struct io_op *op)
{
    struct compact_writer *writer = list_entry(op, struct compact_writer, op);
    writer->state = COMPACT_WRITER_SYNCING;
    finish_wait(writer, op->result < 0 ? (int)op->result : 0);
}

int compact_writer_finish(struct compact_writer *writer, int64_t next_offset)
{
    CHECK(!writer->waiting);
    struct segment *segment = writer->segment;
    if (writer->error)
        return writer->error;
    struct io *io = segment->log->store->io;
    if (segment->next_offset < next_offset)
        frame_seal(writer, next_offset);
    if (writer->frame_at > 0) {
        uint64_t size = format_next_block(writer->frame_at);
        memset(writer->buffer->data + writer->frame_at, 0, size - writer->frame_at);
        writer->fill = writer->frame_at = size;
        return write_out(writer, size);
    }
    switch (writer->state) {
    case COMPACT_WRITER_OPEN:
        writer->state = COMPACT_WRITER_CUTTING;
        wait_for(writer, cut);
        io_truncate(io, &writer->op, segment->fd, segment->end);
        return 0;
    case COMPACT_WRITER_SYNCING:
        wait_for(writer, synced);
        io_sync(io, &writer->op, segment->fd, false);
        return 0;
    default:
        CHECK(writer->state == COMPACT_WRITER_FINISHED);
        segment->file_size = segment->end;
        segment->sealed = true;
        return 1;
    }
}

void compact_writer_drop(struct compact_writer *writer)
{
    CHECK(!writer->waiting);
    if (writer->segment)
        segment_free(writer->segment);
    if (writer->buffer)
        buffer_unref(writer->buffer);
    free(writer->path);
    writer->segment = NULL;
    writer->buffer = NULL;
    writer->path = NULL;
    writer->state = COMPACT_WRITER_CLOSED;
    writer->error = 0;
}
