// SPDX-License-Identifier: Apache-2.0
// Writing one frame to its segment. Keeps rule 3 of the storage design: bytes of an acknowledged
// record are never rewritten in a way that a torn write could damage them.
//
//      file      |xxxxxxx|FFFFFF|FFFFFFFF|FFF....|       blocks of 4096
//      memory     chunk ................. block          F: the frame, from its header to its
//      padding
//
// 1. The write covers whole blocks. What is before the frame in its first block is written again
//    byte for byte as it is on disk (tail.c keeps it so); frames start and end on sector
//    boundaries, so a torn write leaves each sector of an earlier frame with the same bytes.
// 2. Memory that is being written does not change: the frame is sealed, and its last, partial block
//    is written from a copy, filled up with zeros, for the next frame may be growing there.
// 3. The memory is held by reference, so the tail may move to a larger buffer or be given up.
#include <errno.h>
#include <string.h>

#include "base/check.h"
#include "storage/plant.h"
#include "storage/store.h"

static void block_release(struct log_store *store, struct buffer *block)
{
    if (!store->spare_block)
        store->spare_block = block;
    else
        buffer_unref(block);
    for (struct list *node; (node = list_pop(&store->block_waiting));) {
        struct log *log = list_entry(node, struct log, queue_node);
        log->queue = QUEUE_NONE;
        commit_wake(log);
    }
}

// One is always there unless a write that uses it is under way, whose end wakes the log.
static struct buffer *block_get(struct log_store *store)
{
    struct buffer *block = pool_get(store->pool, FORMAT_BLOCK);
    if (!block) {
        block = store->spare_block;
        store->spare_block = NULL;
    }
    return block;
}

static void write_done(struct durable_op *op)
{
    struct log *log = list_entry(op, struct log, write.op);
    struct log_store *store = log->store;
    struct commit_write *write = &log->write;
    struct segment *segment = write->segment;
    store_enter(store);
    int error = op->result < 0 ? (int)op->result : 0;
    if (!error && op->result != (int64_t)write->size)
        error = -EIO;
    buffer_unref(write->buffer);
    if (write->block)
        block_release(store, write->block);
    commit_written(log, error);
    segment_drop(segment);
    log_unbusy(log);
    store_leave(store);
}

static void header_fill(struct log *log, const struct tail_frame *frame, uint8_t *bytes)
{
    struct segment *segment = log->write.segment;
    struct frame_header *header = &log->write.frame;
    int64_t max_timestamp = segment->max_timestamp;
    *header = (struct frame_header){
        .kind = frame->kind,
        .payload_size = frame->payload_size,
        .stored_size = (uint32_t)format_stored_size(frame->payload_size, FORMAT_ALIGNMENT),
        .batch_count = frame->batch_count,
        .base_offset = frame->base_offset,
        .next_offset = frame->next_offset,
        .max_timestamp =
            max_timestamp > frame->max_timestamp ? max_timestamp : frame->max_timestamp,
        .sequence = frame->sequence,
        .payload_checksum = format_payload_seal(bytes + FRAME_HEADER_SIZE, frame->payload_size,
                                                segment->header.salt),
    };
    format_frame_write(header, segment->header.salt, frame->position, bytes);
}

// The blocks of memory that go to the file from the one of `position` on.
static uint32_t vectors_fill(struct commit_write *write, uint8_t *bytes)
{
    uint64_t before = write->position % FORMAT_BLOCK;
    uint64_t length = before + write->frame.stored_size;
    uint64_t rest = length % FORMAT_BLOCK;
    uint8_t *start = bytes - before;
    uint32_t count = 0;
    if (length > rest)
        write->vectors[count++] = (struct iovec){.iov_base = start, .iov_len = length - rest};
    if (rest > 0) {
        memcpy(write->block->data, start + length - rest, rest);
        memset(write->block->data + rest, 0, FORMAT_BLOCK - rest);
        if (planted(PLANT_SKIP_PREFIX) && length == rest)
            memset(write->block->data, 0, before);
        write->vectors[count++] =
            (struct iovec){.iov_base = write->block->data, .iov_len = FORMAT_BLOCK};
    }
    write->size = length - rest + (rest > 0 ? FORMAT_BLOCK : 0);
    return count;
}

bool write_start(struct log *log)
{
    struct log_store *store = log->store;
    struct commit_write *write = &log->write;
    struct chunk *chunk = NULL;
    const struct tail_frame *frame = tail_first(&log->tail, &chunk);
    struct segment *segment = log_active(log);
    CHECK(log->way == WAY_IDLE && frame && !frame->begins_segment && segment->fd >= 0);
    uint64_t end = frame->position + format_stored_size(frame->payload_size, FORMAT_ALIGNMENT);
    write->block = NULL;
    if (end % FORMAT_BLOCK != 0) {
        write->block = block_get(store);
        if (!write->block)
            return false;
    }
    uint8_t *bytes = tail_seal(&log->tail);
    write->segment = segment;
    write->buffer = buffer_ref(chunk->buffer);
    write->position = frame->position;
    write->commits = frame->committed_size < frame->payload_size;
    header_fill(log, frame, bytes);
    uint32_t count = vectors_fill(write, bytes);
    if (planted(PLANT_FLUSH_EARLY) && !write->commits && store->journal)
        journal_flushed(store->journal, &log->journal, frame->sequence);
    log->way = WAY_WRITING;
    segment_hold(segment);
    log_busy(log);
    write->op.done = write_done;
    durable_writev(&write->op, store->io, store->way, segment->fd, write->vectors, count,
                   write->position - write->position % FORMAT_BLOCK);
    return true;
}
