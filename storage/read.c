// SPDX-License-Identifier: Apache-2.0
// Reading committed batches: from the tail where they still are in memory, then from the read
// cache, then from disk (cache.c, window.c).
//
// 1. Nothing at or beyond `committed` is ever handed out (rule 1 of the storage design).
// 2. No copy: slices point into the chunks that were written, or into windows as they were read and
//    verified. Slices hold the buffer, so neither eviction nor removal waits for readers.
// 3. A read gives at least one batch below the high watermark, or an error: where there is no batch
//    at an offset (compaction leaves holes) it goes on to the next frame, the next segment, the
//    tail. Damage ends it: with -EIO when it is at the very offset, else behind what is sound.
// 4. A read whose segment is removed meanwhile gets its data, for the file is held, or starts over
//    and finds what has become of the offset.
// 5. Of one region there is one read on the device at a time; whoever comes meanwhile waits for it.
//
// A reader that goes on where one has stopped is sequential: the window behind the one it looks
// into is read ahead, one at a time, while the device is not the producers' and half of the cache
// is enough for what nobody has asked for yet.
#include <errno.h>
#include <string.h>

#include "base/check.h"
#include "storage/store.h"

// --- picking batches out of a piece

static bool is_full(const struct log_read *op)
{
    return op->slice_count == LOG_READ_SLICES;
}

static void slice_add(struct log_read *op, const uint8_t *data, size_t size, struct buffer *buffer)
{
    op->size += size;
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

// The first batch at or behind `at` that does not end before the offset.
static size_t skip_batches(struct span payload, size_t at, int64_t offset)
{
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

// Adds the batches from payload.data + from on, as far as the limits allow. Returns where the first
// one that is left begins: payload.size unless the limits are reached. op->next moves along, but
// for a payload that is taken to its end: the caller knows what comes behind it.
static size_t collect(struct log_read *op, struct span payload, size_t from, struct buffer *buffer)
{
    size_t to = from;
    if (op->size + (payload.size - from) <= op->max_bytes)
        to = payload.size;
    else if (op->size >= op->max_bytes / 2 && op->size > 0)
        return from; // enough to save the look at every batch for the place to cut
    while (to < payload.size) {
        int64_t last_offset = 0;
        size_t size = batch_at(span_of(payload.data + to, payload.size - to), &last_offset);
        bool first = op->at_least_one && op->size == 0 && to == from;
        if (size == 0 || (op->size + (to - from) + size > op->max_bytes && !first))
            break;
        to += size;
        op->next = last_offset + 1;
    }
    if (to > from)
        slice_add(op, payload.data + from, to - from, buffer);
    return to;
}

// --- the end of a read

static void read_count(struct log *log, const struct log_read *op, bool from_disk)
{
    struct log_store_stats *stats = &log->store->stats;
    if (op->size == 0)
        return;
    if (!from_disk) {
        stats->memory_reads++;
        stats->memory_read_bytes += op->size;
    } else if (op->waited) {
        stats->disk_reads++;
        stats->disk_read_bytes += op->size;
    } else {
        stats->cache_reads++;
        stats->cache_read_bytes += op->size;
    }
}

static void read_finish(struct log_read *op, int error, bool from_disk)
{
    struct log *log = op->log;
    op->error = op->size > 0 ? 0 : error;
    op->offsets = log_offsets(log);
    read_count(log, op, from_disk);
    list_append(&log->store->ready.reads, &op->node);
    store_kick(log->store);
}

// --- from memory

// The last frame may be committed in part.
static void read_memory(struct log_read *op, const struct tail_frame *frame, struct chunk *chunk)
{
    struct log *log = op->log;
    bool from_disk = op->size > 0;
    while (frame && frame->committed_size > 0 && !is_full(op)) {
        if (frame->kind != FRAME_DATA) {
            frame = tail_after(&log->tail, frame, &chunk);
            continue;
        }
        if (frame->base_offset > op->next && log_skip_damage(log, op->next) != op->next)
            break; // what the journal lost lies between
        struct span payload =
            span_of(chunk->buffer->data + frame->at + FRAME_HEADER_SIZE, frame->committed_size);
        size_t from = frame->base_offset >= op->next ? 0 : skip_batches(payload, 0, op->next);
        if (collect(op, payload, from, chunk->buffer) < payload.size)
            break;
        if (frame->committed_size < frame->payload_size) {
            op->next = log->committed;
            break;
        }
        op->next = frame->next_offset;
        frame = tail_after(&log->tail, frame, &chunk);
    }
    read_finish(op, 0, from_disk);
}

// --- from a window

static uint32_t piece_of(const struct window *window, int64_t offset)
{
    uint32_t i = 0;
    while (i + 1 < window->piece_count && window->pieces[i + 1].base_offset <= offset)
        i++;
    return i;
}

// The nearest mark before the offset in that piece, or NULL.
static struct window_mark *mark_of(struct window *window, uint32_t piece, int64_t offset)
{
    struct window_mark *best = NULL;
    for (int i = 0; i < WINDOW_MARKS; i++) {
        struct window_mark *mark = &window->marks[i];
        if (mark->offset < 0 || mark->piece != piece || mark->offset > offset)
            continue;
        if (!best || best->at < mark->at)
            best = mark;
    }
    return best;
}

static struct span piece_bytes(const struct window *window, uint32_t piece)
{
    const struct window_piece *it = &window->pieces[piece];
    return span_of(window->buffer->data + it->at, it->size);
}

static size_t find_batch(struct window *window, uint32_t piece, int64_t offset,
                         struct window_mark **mark)
{
    *mark = NULL;
    if (window->pieces[piece].base_offset >= offset)
        return 0;
    *mark = mark_of(window, piece, offset);
    return skip_batches(piece_bytes(window, piece), *mark ? (*mark)->at : 0, offset);
}

// `mark`: the one this reader came by, or NULL.
static void mark_set(struct window *window, struct window_mark *mark, uint32_t piece, size_t at,
                     int64_t offset)
{
    if (!mark) {
        mark = &window->marks[window->next_mark];
        window->next_mark = (window->next_mark + 1) % WINDOW_MARKS;
    }
    *mark = (struct window_mark){.offset = offset, .piece = piece, .at = (uint32_t)at};
}

// Takes what the window has from op->next on. True when it is used up and the read may go on behind
// it; otherwise the read is over, with op->error.
static bool window_collect(struct log_read *op, struct window *window)
{
    struct read_cache *cache = &op->log->store->reads;
    for (uint32_t i = piece_of(window, op->next); i < window->piece_count; i++) {
        if (window->pieces[i].bad) {
            op->error = -EIO;
            cache_touch(cache, window, false);
            return false;
        }
        struct window_mark *mark = NULL;
        size_t from = find_batch(window, i, op->next, &mark);
        struct span payload = piece_bytes(window, i);
        size_t to = collect(op, payload, from, window->buffer);
        if (to < payload.size) {
            mark_set(window, mark, i, to, op->next);
            cache_touch(cache, window, false);
            return false;
        }
        op->next =
            i + 1 < window->piece_count ? window->pieces[i + 1].base_offset : window->next_offset;
        if (is_full(op) && i + 1 < window->piece_count) {
            cache_touch(cache, window, false);
            return false;
        }
    }
    op->next = window->next_offset;
    cache_touch(cache, window, true);
    return true;
}

// --- where to read

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

// A place in a segment file: the next frame from `position` on is of `offset`.
struct place {
    int64_t offset;
    uint64_t position;
};

static void place_after(struct place *place, const struct window *window, int64_t offset)
{
    if (window->next_offset <= offset && window->to > place->position)
        *place = (struct place){.offset = window->next_offset, .position = window->to};
}

// The last place known before the offset. `near`: the last window that begins before it, or NULL;
// `behind`: one that was just looked into, or NULL.
static struct place place_of(const struct segment *segment, int64_t offset,
                             const struct window *near, const struct window *behind)
{
    struct place place = {.offset = segment->header.base_offset, .position = FORMAT_BLOCK};
    const struct index_entry *entry = index_find_offset(&segment->index, offset);
    if (entry)
        place = (struct place){.offset = entry->offset, .position = entry->position};
    if (near)
        place_after(&place, near, offset);
    if (behind && behind->segment == segment)
        place_after(&place, behind, offset);
    return place;
}

// --- sequential readers

static bool is_sequential(const struct log *log, int64_t offset)
{
    for (int i = 0; i < LOG_READ_ENDS; i++) {
        if (log->read_ends[i] == offset)
            return true;
    }
    return false;
}

static void read_end_note(struct log_read *op)
{
    struct log *log = op->log;
    for (int i = 0; i < LOG_READ_ENDS; i++) {
        if (log->read_ends[i] == op->offset) {
            log->read_ends[i] = op->next;
            return;
        }
    }
    log->read_ends[log->next_read_end] = op->next;
    log->next_read_end = (log->next_read_end + 1) % LOG_READ_ENDS;
}

static void read_ahead(struct log *log, const struct window *window)
{
    struct log_store *store = log->store;
    struct read_cache *cache = &store->reads;
    int64_t offset = window->next_offset;
    bool room = cache->ahead_bytes + WINDOW_SIZE <= cache->limit_bytes / 2;
    if (!room || store->closing || !window_may_read_ahead(cache))
        return;
    if (offset >= log->committed || offset >= tail_start(&log->tail))
        return;
    struct segment *segment = segment_of(log, offset);
    if (!segment || segment->bad || offset >= segment->next_offset ||
        log_skip_damage(log, offset) != offset)
        return;
    const struct window *near = cache_find(segment, offset);
    if (near && offset < near->next_offset)
        return;
    struct place place = place_of(segment, offset, near, window);
    window_start(segment, place.offset, place.position, WINDOW_SIZE, WINDOW_AHEAD);
}

// --- step by step

static void read_from_disk_end(struct log_read *op, int error, const struct window *window)
{
    struct log *log = op->log;
    if (op->size > 0) {
        bool sequential = op->sequential;
        read_end_note(op);
        if (window && sequential)
            read_ahead(log, window);
    }
    read_finish(op, error, true);
}

static uint32_t read_size(const struct log_read *op, const struct segment *segment)
{
    uint32_t most = window_size(segment);
    if (op->sequential || op->max_bytes >= most / 2)
        return most;
    uint32_t size = WINDOW_MIN;
    while (size < op->max_bytes + WINDOW_MIN)
        size *= 2;
    return size;
}

// Waits for a window: one that is being read, or a new one.
static void read_wait(struct log_read *op, struct segment *segment, struct window *near,
                      const struct window *behind)
{
    struct window *window = near;
    op->waited = true;
    if (!near || near->state == WINDOW_READY || op->next >= near->next_offset) {
        struct place place = place_of(segment, op->next, near, behind);
        window = window_start(segment, place.offset, place.position, read_size(op, segment),
                              WINDOW_FOR_READER);
    }
    if (!window) {
        read_finish(op, -ENOMEM, true);
        return;
    }
    list_append(&window->readers, &op->node);
    window_hurry(window);
}

// What compaction has gone over is read from disk: in memory there may still be what it took out.
static const struct tail_frame *find_in_tail(const struct log *log, int64_t offset,
                                             struct chunk **chunk)
{
    return offset < log->compacted ? NULL : tail_find(&log->tail, offset, chunk);
}

// `window`: what has just been read for it, or NULL; it need not be in the cache.
static void read_go_on(struct log_read *op, struct window *window)
{
    struct log *log = op->log;
    struct window *behind = window;
    for (;;) {
        struct chunk *chunk = NULL;
        if (op->next >= log->committed || is_full(op)) {
            read_from_disk_end(op, 0, behind);
            return;
        }
        const struct tail_frame *frame = find_in_tail(log, op->next, &chunk);
        if (frame) {
            read_memory(op, frame, chunk);
            return;
        }
        struct segment *segment = segment_of(log, op->next);
        bool lost = !segment || segment->bad || op->next >= segment->next_offset ||
                    log_skip_damage(log, op->next) != op->next;
        if (lost) {
            read_from_disk_end(op, -EIO, behind);
            return;
        }
        window = cache_find(segment, op->next);
        if (!window || window->state != WINDOW_READY || op->next >= window->next_offset) {
            if (op->size > 0)
                read_from_disk_end(op, 0, behind);
            else
                read_wait(op, segment, window, behind);
            return;
        }
        if (!window_collect(op, window)) {
            read_from_disk_end(op, op->error, window);
            return;
        }
        behind = window;
    }
}

// The window's error, or none: the read starts over where the file is not the log's any more.
static void read_failed(struct log_read *op, struct window *window)
{
    struct log *log = op->log;
    if (window->segment->removed)
        read_go_on(op, NULL);
    else if (window->error == -ENOENT && log->removing)
        list_append(&log->reads_parked, &op->node);
    else
        read_finish(op, window->error == -ENOENT ? -EIO : window->error, true);
}

void read_resume(struct log_read *op, struct window *window)
{
    struct log *log = op->log;
    bool inside =
        !window->error && op->next >= window->base_offset && op->next < window->next_offset;
    if (log->deleting)
        read_finish(op, -ESHUTDOWN, true);
    else if (inside && !window_collect(op, window))
        read_from_disk_end(op, op->error, window);
    else if (op->size == 0 && op->next < log->start)
        read_finish(op, -ERANGE, true);
    else if (window->error)
        read_failed(op, window);
    else
        read_go_on(op, window);
}

void read_unpark(struct log *log)
{
    struct list parked;
    list_init(&parked);
    list_splice(&parked, &log->reads_parked);
    for (struct list *node; (node = list_pop(&parked));) {
        struct log_read *op = list_entry(node, struct log_read, node);
        if (log->deleting)
            read_finish(op, -ESHUTDOWN, true);
        else if (op->next < log->start)
            read_finish(op, -ERANGE, true);
        else
            read_go_on(op, NULL);
    }
}

void log_read(struct log *log, struct log_read *op)
{
    op->error = 0;
    op->size = 0;
    op->slice_count = 0;
    op->pin_count = 0;
    op->log = log;
    op->next = op->offset;
    op->waited = false;
    if (log->store->closing) {
        read_finish(op, -ESHUTDOWN, false);
        return;
    }
    if (op->offset < log->start || op->offset > log->end) {
        read_finish(op, -ERANGE, false);
        return;
    }
    struct chunk *chunk = NULL;
    const struct tail_frame *frame = find_in_tail(log, op->offset, &chunk);
    if (frame || op->offset >= log->committed) {
        read_memory(op, op->offset < log->committed ? frame : NULL, chunk);
        return;
    }
    op->sequential = is_sequential(log, op->offset);
    read_go_on(op, NULL);
}

void log_read_release(struct log_read *op)
{
    for (uint32_t i = 0; i < op->pin_count; i++)
        buffer_unref(op->pins[i]);
    op->pin_count = 0;
    op->slice_count = 0;
    op->size = 0;
}
