// SPDX-License-Identifier: Apache-2.0
// Reading committed batches: from the tail where they still are in memory, else from disk.
//
// 1. Nothing at or beyond `committed` is ever handed out (rule 1 of the storage design).
// 2. From memory: no copy, no allocation; the slices point into the chunks that were written.
// 3. From disk: frames are read whole, and their checksums verified, before a byte is handed out.
//    A frame that fails gives -EIO to readers of its offsets and is stepped over by others
//    (rule 7: the log serves what is sound and refuses what is not). It is named in one log line
//    and noted: it is not read again.
// 4. A read from disk holds its segment: it ends well also when the segment is removed meanwhile.
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/endian.h"
#include "base/log_line.h"
#include "storage/store.h"

enum {
    READ_MIN = 64 * 1024,
    READ_MAX = 1024 * 1024, // of one device read, unless a single frame is larger
    READ_EXTRA = 64 * 1024, // what may lie between an index entry and the offset
    MOVE_MAX = 32 * 1024,   // larger pieces stay where they were read
};

// --- picking batches out of a frame

static bool is_full(const struct log_read *op)
{
    return op->slice_count == LOG_READ_SLICES;
}

// `movable`: nobody else looks into the buffer, so small pieces move together into one slice.
static void slice_add(struct log_read *op, const uint8_t *data, size_t size, struct buffer *buffer,
                      bool movable)
{
    op->size += size;
    if (movable && op->slice_count > 0 && size <= MOVE_MAX) {
        struct iovec *last = &op->slices[op->slice_count - 1];
        memmove((uint8_t *)last->iov_base + last->iov_len, data, size);
        last->iov_len += size;
        return;
    }
    op->slices[op->slice_count++] =
        (struct iovec){.iov_base = (void *)(uintptr_t)data, .iov_len = size};
    if (op->pin_count == 0 || op->pins[op->pin_count - 1] != buffer)
        op->pins[op->pin_count++] = buffer_ref(buffer);
}

// The size of the batch at the start of `bytes`, 0 when there is none.
static size_t batch_at(struct span bytes, int64_t *last_offset)
{
    struct batch_header header;
    if (batch_header_read(bytes, &header) != BATCH_OK)
        return 0;
    size_t size = batch_total_size(&header);
    *last_offset = batch_last_offset(&header);
    return size <= bytes.size ? size : 0;
}

static size_t skip_batches(struct span payload, int64_t offset)
{
    size_t at = 0;
    while (at < payload.size) {
        int64_t last_offset = 0;
        size_t size = batch_at(span_of(payload.data + at, payload.size - at), &last_offset);
        if (size == 0)
            return payload.size;
        if (last_offset >= offset)
            break;
        at += size;
    }
    return at;
}

// Adds the batches of one frame from op->offset on, as far as the limits allow. Returns how much of
// the payload is passed: all of it unless the limits are reached.
static size_t frame_collect(struct log_read *op, struct span payload, int64_t base_offset,
                            struct buffer *buffer, bool movable)
{
    size_t from = base_offset >= op->offset ? 0 : skip_batches(payload, op->offset);
    size_t to = from;
    if (op->size + (payload.size - from) <= op->max_bytes)
        to = payload.size;
    while (to < payload.size) {
        int64_t last_offset = 0;
        size_t size = batch_at(span_of(payload.data + to, payload.size - to), &last_offset);
        bool first = op->at_least_one && op->size == 0 && to == from;
        if (size == 0 || (op->size + (to - from) + size > op->max_bytes && !first))
            break;
        to += size;
    }
    if (to > from)
        slice_add(op, payload.data + from, to - from, buffer, movable);
    return to;
}

static void read_finish(struct log *log, struct log_read *op, int error)
{
    op->error = error;
    op->offsets = log_offsets(log);
    op->private = NULL;
    list_append(&log->store->ready.reads, &op->node);
    store_kick(log->store);
}

// --- from memory

static void read_memory(struct log *log, struct log_read *op, const struct tail_frame *frame,
                        const struct chunk *chunk)
{
    while (frame && frame->next_offset <= log->committed && !is_full(op)) {
        struct span payload =
            span_of(chunk->buffer->data + frame->at + FRAME_HEADER_SIZE, frame->payload_size);
        if (frame_collect(op, payload, frame->base_offset, chunk->buffer, false) < payload.size)
            break;
        frame = tail_after(&log->tail, frame, &chunk);
    }
    read_finish(log, op, 0);
}

// --- from disk

struct disk_read {
    struct io_op op;
    struct segment_open opening;
    struct log_read *user;
    struct log *log;
    struct segment *segment;
    struct buffer *buffer;
    uint64_t position;    // of the next frame to look at
    uint64_t length;      // how much to read at once
    struct damage damage; // the offsets that DISK_DAMAGED is about
    struct segment_resume resume;
};

static void disk_next(struct disk_read *read);

// Remembers where this reader stopped; it will come back for what follows.
static void resume_note(struct segment *segment, const struct segment_resume *resume)
{
    if (resume->position == 0)
        return;
    segment->resumes[segment->next_resume] = *resume;
    segment->next_resume = (segment->next_resume + 1) % SEGMENT_RESUMES;
}

static void disk_end(struct disk_read *read, int error)
{
    struct log *log = read->log;
    if (read->buffer)
        buffer_unref(read->buffer);
    if (log->deleting)
        error = -ESHUTDOWN;
    read_finish(log, read->user, error);
    resume_note(read->segment, &read->resume);
    segment_drop(read->segment);
    free(read);
    log_unbusy(log);
}

// The frame header at `at`, or the next sound one behind it: *at moves along.
static bool next_header(const struct disk_read *read, uint64_t start, uint64_t have, uint64_t *at,
                        struct frame_header *frame)
{
    const struct segment_header *header = &read->segment->header;
    for (; *at + FRAME_HEADER_SIZE <= have; *at += header->alignment) {
        if (format_frame_read(read->buffer->data + *at, header->salt, start + *at,
                              header->alignment, frame))
            return true;
    }
    return false;
}

static bool payload_is_sound(const struct disk_read *read, const uint8_t *payload,
                             const struct frame_header *frame)
{
    return format_checksum(payload, frame->payload_size, read->segment->header.salt) ==
           frame->payload_checksum;
}

enum disk_step { DISK_MORE, DISK_END, DISK_DAMAGED };

// Looks at the frame at *at in the buffer, which holds `have` bytes from `start` on. Moves *at
// behind it, or read->position to it when it must be read again in whole.
static enum disk_step disk_frame(struct disk_read *read, uint64_t start, uint64_t have,
                                 uint64_t *at, int64_t *wanted)
{
    struct log_read *user = read->user;
    struct frame_header frame;
    bool found = next_header(read, start, have, at, &frame);
    read->position = start + *at;
    if (!found)
        return DISK_END;
    bool skip = frame.next_offset <= *wanted;
    if (!skip && frame.base_offset > *wanted) {
        read->damage = (struct damage){.from = *wanted, .to = frame.base_offset};
        return DISK_DAMAGED;
    }
    if (!skip && frame.stored_size > have - *at) {
        if (read->length < frame.stored_size)
            read->length = frame.stored_size;
        return DISK_END;
    }
    const uint8_t *payload = read->buffer->data + *at + FRAME_HEADER_SIZE;
    struct segment_resume resume = {
        .offset = frame.base_offset,
        .position = read->position,
        .frame_size = frame.stored_size,
    };
    *at += frame.stored_size;
    read->position = start + *at;
    if (skip)
        return DISK_MORE;
    if (!payload_is_sound(read, payload, &frame)) {
        read->damage = (struct damage){.from = frame.base_offset, .to = frame.next_offset};
        return DISK_DAMAGED;
    }
    *wanted = frame.next_offset;
    size_t passed = frame_collect(user, span_of(payload, frame.payload_size), frame.base_offset,
                                  read->buffer, true);
    if (passed == frame.payload_size) {
        resume.offset = frame.next_offset;
        resume.position = read->position;
    }
    read->resume = resume;
    return passed == frame.payload_size && !is_full(user) ? DISK_MORE : DISK_END;
}

// Ends the read; read->position is the end of the bad bytes.
static void disk_damaged(struct disk_read *read)
{
    const struct segment *segment = read->segment;
    struct log *log = read->log;
    log_line(LOG_ERROR,
             "%s/%020" PRId64 ".log is damaged before byte %" PRIu64 ": offsets %" PRId64
             " up to %" PRId64 " cannot be read",
             log->directory, segment->header.base_offset, read->position, read->damage.from,
             read->damage.to - 1);
    // Without memory for the note the next reader finds it again.
    log_note_damage(log, read->damage.from, read->damage.to);
    disk_end(read, -EIO);
}

static void disk_look(struct disk_read *read, uint64_t start, uint64_t have)
{
    struct log_read *user = read->user;
    uint64_t at = read->position - start;
    int64_t wanted = user->offset;
    uint64_t before = read->position;
    uint64_t length = read->length;
    enum disk_step step = DISK_MORE;
    while (step == DISK_MORE && at < have && start + at < read->segment->end)
        step = disk_frame(read, start, have, &at, &wanted);
    if (user->slice_count > 0) {
        disk_end(read, 0);
    } else if (wanted > user->offset) {
        disk_end(read, 0); // the first batch does not fit into max_bytes
    } else if (step == DISK_DAMAGED) {
        disk_damaged(read);
    } else if (read->position >= read->segment->end) {
        // Nothing sound is left in the segment.
        read->damage = (struct damage){.from = wanted, .to = read->segment->next_offset};
        disk_damaged(read);
    } else if (read->position == before && read->length == length) {
        // The file is shorter than it was.
        read->damage = (struct damage){.from = wanted, .to = wanted + 1};
        disk_damaged(read);
    } else {
        disk_next(read);
    }
}

static void disk_done(struct io_op *op)
{
    struct disk_read *read = list_entry(op, struct disk_read, op);
    struct log_store *store = read->log->store;
    store_enter(store);
    if (op->result < 0) {
        disk_end(read, op->result == -ENOMEM ? -ENOMEM : -EIO);
    } else {
        uint64_t start = read->position & ~(uint64_t)(BUFFER_ALIGN - 1);
        uint64_t have = (uint64_t)op->result;
        if (start + have > read->segment->end)
            have = read->segment->end - start;
        disk_look(read, start, have);
    }
    store_leave(store);
}

// Reads from read->position on, into a buffer that nobody looks into yet.
static void disk_next(struct disk_read *read)
{
    struct log_store *store = read->log->store;
    uint64_t start = read->position & ~(uint64_t)(BUFFER_ALIGN - 1);
    uint64_t length = read->position - start + read->length;
    if (length > read->segment->end - start)
        length = read->segment->end - start;
    length = (length + BUFFER_ALIGN - 1) & ~(uint64_t)(BUFFER_ALIGN - 1);
    if (read->buffer && read->buffer->capacity < length) {
        buffer_unref(read->buffer);
        read->buffer = NULL;
    }
    if (!read->buffer)
        read->buffer = pool_get(store->pool, length);
    if (!read->buffer) {
        tail_cache_evict(&store->cache, 0);
        read->buffer = pool_get(store->pool, length);
    }
    if (!read->buffer) {
        disk_end(read, -ENOMEM);
        return;
    }
    read->op.done = disk_done;
    io_read(store->io, &read->op, read->segment->fd, read->buffer->data, length, start);
}

static void disk_opened(struct segment_open *opening)
{
    struct disk_read *read = list_entry(opening, struct disk_read, opening);
    struct log_store *store = read->log->store;
    store_enter(store);
    if (opening->error)
        disk_end(read, opening->error == -ENOENT ? -EIO : opening->error);
    else
        disk_next(read);
    store_leave(store);
}

// Where to begin, and how much to read: a whole frame where it can be known how large that is.
static void disk_place(struct disk_read *read)
{
    const struct segment *segment = read->segment;
    const struct index *index = &segment->index;
    uint64_t length = (uint64_t)read->user->max_bytes + READ_EXTRA;
    length = length < READ_MIN ? READ_MIN : length > READ_MAX ? READ_MAX : length;
    read->position = FORMAT_BLOCK;
    const struct index_entry *entry = index_find_offset(index, read->user->offset);
    if (entry) {
        uint32_t next = (uint32_t)(entry - index->entries) + 1;
        uint64_t frame =
            (next < index->count ? index->entries[next].position : segment->end) - entry->position;
        read->position = entry->position;
        if (length < frame && frame <= 4 * READ_MAX && index->step <= READ_EXTRA)
            length = frame;
    }
    for (uint32_t i = 0; i < SEGMENT_RESUMES; i++) {
        const struct segment_resume *resume = &segment->resumes[i];
        if (resume->offset > read->user->offset || resume->position <= read->position)
            continue;
        read->position = resume->position;
        if (length < resume->frame_size && resume->frame_size <= 4 * READ_MAX)
            length = resume->frame_size;
    }
    read->length = length;
}

static struct segment *segment_of(const struct log *log, int64_t offset)
{
    uint32_t low = 0;
    for (uint32_t high = log->segment_count; low < high;) {
        uint32_t middle = low + (high - low) / 2;
        if (log->segments[middle]->header.base_offset <= offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 ? log->segments[low - 1] : NULL;
}

static void disk_start(struct log *log, struct log_read *op)
{
    struct segment *segment = segment_of(log, op->offset);
    struct disk_read *read = NULL;
    if (!segment || segment->bad || log_skip_damage(log, op->offset) != op->offset) {
        read_finish(log, op, -EIO);
        return;
    }
    read = calloc(1, sizeof(*read));
    if (!read) {
        read_finish(log, op, -ENOMEM);
        return;
    }
    op->private = read;
    read->user = op;
    read->log = log;
    read->segment = segment;
    disk_place(read);
    log_busy(log);
    segment_hold(segment);
    if (segment->fd >= 0) {
        disk_next(read);
    } else {
        read->opening.done = disk_opened;
        segment_open(segment, &read->opening);
    }
}

void log_read(struct log *log, struct log_read *op)
{
    op->error = 0;
    op->size = 0;
    op->slice_count = 0;
    op->pin_count = 0;
    op->private = NULL;
    if (log->store->closing) {
        read_finish(log, op, -ESHUTDOWN);
        return;
    }
    if (op->offset < log->start || op->offset > log->end) {
        read_finish(log, op, -ERANGE);
        return;
    }
    if (op->offset >= log->committed) {
        read_finish(log, op, 0);
        return;
    }
    const struct chunk *chunk = NULL;
    const struct tail_frame *frame = tail_find(&log->tail, op->offset, &chunk);
    if (frame)
        read_memory(log, op, frame, chunk);
    else
        disk_start(log, op);
}

void log_read_release(struct log_read *op)
{
    for (uint32_t i = 0; i < op->pin_count; i++)
        buffer_unref(op->pins[i]);
    op->pin_count = 0;
    op->slice_count = 0;
    op->size = 0;
}
