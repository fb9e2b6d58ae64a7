// SPDX-License-Identifier: Apache-2.0
// Reading one window of a segment file from the device.
//
//   QUEUED --turn--> OPENING --> READING --> CHECKING --> READY
//      the file is open: ------^   ^            |
//                                  +------------+  more is needed, or a second look
//
// 1. What comes out of a window is for window_take.c to say, in CHECKING: while commits go on it is
//    verified in several turns of the loop.
// 2. An error of the device is no damage. The read is tried in smaller pieces, so that what can be
//    read is; the rest is refused to those who wait for it now, and tried again for the next.
// 3. At most READS_MAX windows of a store are read at a time. While commits go on there are
//    READS_BUSY, none that nobody waits for, and they are read in pieces of PIECE_SIZE one after
//    the other: a write waits for what is on the device before it, and where two reads wait the
//    kernel's scheduler prefers them to writes, for seconds (measured).
// 4. While commits go on a window is small unless its frames are large, and each read of the device
//    is followed by a pause three times as long, of at most PAUSE_MOST_US: what is read has to be
//    verified, sent and taken in as well, by the very processors that producers need. Whoever reads
//    no more than twice of what is committed meanwhile does not wait, so a reader catches up with
//    any producer. A slow device is hardly paused: the reader would not get on.
//
// A window in work holds its segment and its log: both outlive it, also when they are removed.
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/log_line.h"
#include "storage/store.h"
#include "storage/window.h"

enum {
    READS_MAX = 4,
    READS_BUSY = 1, // the same, while commits go on
    PIECE_SIZE = 256 * 1024,
    PAUSE_TIMES = 3, // as long as the read took
    PAUSE_MOST_US = 1000,
    CREDIT_MOST = 4 * 1024 * 1024,
    READS_AHEAD = 2, // while so many are in flight, none begins that nobody waits for
    QUIET_MS = 20,   // without a commit, until the device counts as idle
    WINDOW_LARGEST = 4 * 1024 * 1024, // read on the word of the index alone
    NARROW_SIZE = 64 * 1024,
    TELL_EVERY_S = 60,
};

// What is read from the device at once.
static uint64_t blocks_of(const struct window *window)
{
    return format_next_block(window->to) - format_block_start(window->position);
}

// --- how far to read

static const struct index_entry *entry_behind(const struct index *index, uint64_t position)
{
    uint32_t low = 0;
    for (uint32_t high = index->count; low < high;) {
        uint32_t middle = low + (high - low) / 2;
        if (index->entries[middle].position <= position)
            low = middle + 1;
        else
            high = middle;
    }
    return low < index->count ? &index->entries[low] : NULL;
}

void window_end_at(struct window *window, uint64_t to, int64_t planned)
{
    window->to = to;
    window->planned = planned;
    window->next_offset = planned;
}

// Up to the last frame that the index knows within `size`. When there is none, a frame larger than
// that is likely there, unless the index is too coarse to tell.
static void plan_by_index(struct window *window, uint64_t size)
{
    const struct segment *segment = window->segment;
    const struct index *index = &segment->index;
    const struct index_entry *entry = entry_behind(index, window->position);
    const struct index_entry *end = index->entries + index->count;
    uint64_t limit = format_block_start(window->position) + size;
    uint64_t most = index->step <= size ? WINDOW_LARGEST : size;
    while (entry && entry + 1 < end && entry[1].position <= limit)
        entry++;
    uint64_t to = entry && entry->position < segment->end ? entry->position : segment->end;
    if (to - window->position <= most)
        window_end_at(window, to, to == segment->end ? segment->next_offset : entry->offset);
}

void window_plan(struct window *window, uint64_t size)
{
    const struct segment *segment = window->segment;
    uint64_t limit = format_block_start(window->position) + size;
    if (segment->end <= limit)
        window_end_at(window, segment->end, segment->next_offset);
    else
        window_end_at(window, limit, INT64_MAX);
    if (window->again || window->narrowed)
        return;
    if (segment->end > limit)
        plan_by_index(window, size);
    if (window->purpose == WINDOW_SCRUB)
        return;
    for (uint32_t i = 0; i < segment->window_count; i++) {
        const struct window *other = segment->windows[i];
        if (other->from > window->position && other->from < window->to)
            window_end_at(window, other->from, other->base_offset);
    }
}

// --- beside producers

bool window_is_beside(const struct log_store *store)
{
    uint64_t quiet_ns = store->committed_ns + QUIET_MS * UINT64_C(1000000);
    return store->committed_ns > 0 && store->io->now_ns < quiet_ns;
}

uint32_t window_size(const struct segment *segment)
{
    bool small = window_is_beside(segment->log->store) && !segment->large_frames;
    return small ? WINDOW_BESIDE : WINDOW_SIZE;
}

static bool has_credit(struct read_cache *cache, uint64_t bytes)
{
    uint64_t committed = cache->store->stats.committed_bytes;
    cache->credit_bytes += 2 * (committed - cache->committed_bytes);
    cache->committed_bytes = committed;
    if (cache->credit_bytes > CREDIT_MOST)
        cache->credit_bytes = CREDIT_MOST;
    if (cache->credit_bytes < bytes)
        return false;
    cache->credit_bytes -= bytes;
    return true;
}

// --- the end

static void finish(struct window *window, int error)
{
    struct segment *segment = window->segment;
    struct log *log = segment->log;
    struct read_cache *cache = &log->store->reads;
    CHECK(cache->active > 0);
    cache->active--;
    window->state = WINDOW_READY;
    window->error = error;
    window->next_offset = error ? window->base_offset : window->expected;
    if (error || window->transient)
        cache_unlist(window);
    for (struct list *node; (node = list_pop(&window->readers));)
        read_resume(list_entry(node, struct log_read, node), window);
    if (window->done)
        window->done(window);
    cache_add(cache, window);
    window_pump(cache);
    segment_drop(segment);
    log_unbusy(log);
}

// --- the device

static void read_next(struct window *window);

static void begin_again(struct window *window)
{
    uint64_t size = window->to - format_block_start(window->from);
    window->again = true;
    window->piece_count = 0;
    window->position = window->from;
    window->expected = window->base_offset;
    window->bad_from = 0;
    window_plan(window, size < WINDOW_SIZE ? WINDOW_SIZE : size);
}

static void tell_device_error(struct window *window, int error)
{
    struct segment *segment = window->segment;
    struct log_store *store = segment->log->store;
    uint64_t now_ns = store->io->now_ns;
    store->stats.read_errors++;
    if (store->told_read_ns > 0 &&
        now_ns - store->told_read_ns < TELL_EVERY_S * UINT64_C(1000000000))
        return;
    store->told_read_ns = now_ns;
    log_line(LOG_ERROR, "%s/%020" PRId64 ".log cannot be read near byte %" PRIu64 ": %s",
             segment->log->directory, segment->header.base_offset, window->position,
             strerror(-error));
}

// What cannot be read is left out, up to where the next frame is known to be.
static void leave_out(struct window *window, uint64_t to, int64_t next_offset)
{
    window->transient = true;
    window->to = to;
    finish(window, window_add_bad(window, next_offset) ? 0 : -ENOMEM);
}

static void device_failed(struct window *window, int error)
{
    const struct segment *segment = window->segment;
    if (error == -ENOMEM) {
        finish(window, error);
        return;
    }
    tell_device_error(window, error);
    uint64_t blocks = blocks_of(window);
    if (window->whole_end > 0 && window->whole_end == window->to) {
        leave_out(window, window->whole_end, window->whole_next);
    } else if (blocks > FORMAT_BLOCK) {
        window->narrowed = true;
        window_plan(window, blocks > NARROW_SIZE ? NARROW_SIZE : FORMAT_BLOCK);
        read_next(window);
    } else {
        const struct index_entry *entry = entry_behind(&segment->index, window->position);
        if (entry && entry->position < segment->end)
            leave_out(window, entry->position, entry->offset);
        else
            leave_out(window, segment->end, segment->next_offset);
    }
}

static void look_further(struct io_op *op);

static void look(struct window *window)
{
    window->state = WINDOW_CHECKING;
    switch (window_take(window)) {
    case LOOK_READY:
        finish(window, 0);
        break;
    case LOOK_NO_MEMORY:
        finish(window, -ENOMEM);
        break;
    case LOOK_AGAIN:
        begin_again(window);
        read_next(window);
        break;
    case LOOK_MORE:
        read_next(window);
        break;
    case LOOK_LATER:
        window->op.done = look_further;
        io_nop(window->segment->log->store->io, &window->op);
        break;
    }
}

static void look_further(struct io_op *op)
{
    struct window *window = list_entry(op, struct window, op);
    struct log_store *store = window->segment->log->store;
    store_enter(store);
    look(window);
    store_leave(store);
}

static void read_done(struct io_op *op);

// What is still missing of the window, or a part of it.
static void read_piece(struct window *window)
{
    struct log_store *store = window->segment->log->store;
    uint64_t size = blocks_of(window) - window->have;
    if (size > PIECE_SIZE && window_is_beside(store))
        size = PIECE_SIZE;
    store->stats.device_reads++;
    window->begun_ns = store->io->now_ns;
    window->op.done = read_done;
    io_read(store->io, &window->op, window->segment->fd, window->buffer->data + window->have, size,
            format_block_start(window->position) + window->have);
}

static void pause_done(struct io_op *op)
{
    struct read_cache *cache = list_entry(op, struct read_cache, pause);
    struct list paused;
    list_init(&paused);
    list_splice(&paused, &cache->paused);
    store_enter(cache->store);
    for (struct list *node; (node = list_pop(&paused));)
        read_piece(list_entry(node, struct window, node));
    window_pump(cache);
    store_leave(cache->store);
}

// After a read of so many bytes. True: there is a pause.
static bool pause_after(struct window *window, uint64_t bytes)
{
    struct log_store *store = window->segment->log->store;
    struct read_cache *cache = &store->reads;
    if (cache->pause.pending)
        return true;
    if (!window_is_beside(store) || store->closing || has_credit(cache, bytes))
        return false;
    uint64_t pause_ns = PAUSE_TIMES * (store->io->now_ns - window->begun_ns);
    uint64_t most_ns = PAUSE_MOST_US * UINT64_C(1000);
    cache->pause.done = pause_done;
    io_pause(store->io, &cache->pause, pause_ns < most_ns ? pause_ns : most_ns);
    return true;
}

static void read_done(struct io_op *op)
{
    struct window *window = list_entry(op, struct window, op);
    struct log_store *store = window->segment->log->store;
    store_enter(store);
    if (op->result < 0) {
        device_failed(window, (int)op->result);
    } else {
        uint64_t wanted = blocks_of(window);
        window->have += (uint64_t)op->result;
        store->stats.device_read_bytes += (uint64_t)op->result;
        bool whole_piece = (uint64_t)op->result == op->length;
        bool pauses = pause_after(window, (uint64_t)op->result);
        if (whole_piece && window->have < wanted) {
            if (pauses)
                list_append(&store->reads.paused, &window->node);
            else
                read_piece(window);
        } else {
            // A file that is shorter than it was: what is missing verifies as little as zeros do.
            memset(window->buffer->data + window->have, 0, wanted - window->have);
            look(window);
        }
    }
    store_leave(store);
}

static void no_memory(struct io_op *op)
{
    struct window *window = list_entry(op, struct window, op);
    struct log_store *store = window->segment->log->store;
    store_enter(store);
    finish(window, -ENOMEM);
    store_leave(store);
}

static struct buffer *buffer_for(struct window *window, uint64_t size)
{
    struct log_store *store = window->segment->log->store;
    if (window->buffer && window->buffer->capacity >= size)
        return window->buffer;
    if (window->buffer)
        buffer_unref(window->buffer);
    struct buffer *buffer = pool_get(store->pool, size);
    if (!buffer && window->purpose == WINDOW_FOR_READER) {
        tail_cache_evict(&store->cache, 0);
        buffer = pool_get(store->pool, size);
    }
    return buffer;
}

// Reads from window->position to window->to, or as much of it as there is memory for.
static void read_next(struct window *window)
{
    struct log_store *store = window->segment->log->store;
    window->state = WINDOW_READING;
    window->buffer = buffer_for(window, blocks_of(window));
    if (!window->buffer && !window->narrowed && blocks_of(window) > NARROW_SIZE) {
        window->narrowed = true;
        window_plan(window, NARROW_SIZE);
        window->buffer = buffer_for(window, blocks_of(window));
    }
    if (!window->buffer) {
        window->op.done = no_memory;
        io_nop(store->io, &window->op);
        return;
    }
    window->have = 0;
    window->taken = window->position;
    window->checked = 0;
    read_piece(window);
}

static void open_done(struct segment_open *opening)
{
    struct window *window = list_entry(opening, struct window, opening);
    struct log_store *store = window->segment->log->store;
    int error = opening->error;
    store_enter(store);
    if (error == -EMFILE || error == -ENFILE)
        error = -ENOMEM;
    if (error && error != -ENOMEM && error != -ENOENT)
        tell_device_error(window, error);
    if (error)
        finish(window, error == -ENOMEM || error == -ENOENT ? error : -EIO);
    else
        read_next(window);
    store_leave(store);
}

// --- whose turn it is

bool window_may_read_ahead(struct read_cache *cache)
{
    return cache->active < READS_AHEAD && !window_is_beside(cache->store);
}

static struct list *next_turn(struct read_cache *cache)
{
    struct list *node = NULL;
    if (cache->pause.pending && window_is_beside(cache->store))
        return NULL;
    if (cache->active < (window_is_beside(cache->store) ? READS_BUSY : READS_MAX))
        node = list_pop(&cache->queued[WINDOW_FOR_READER]);
    if (!node && cache->active < READS_AHEAD)
        node = list_pop(&cache->queued[WINDOW_AHEAD]);
    if (!node && cache->active == 0)
        node = list_pop(&cache->queued[WINDOW_SCRUB]);
    return node;
}

void window_pump(struct read_cache *cache)
{
    for (struct list *node; (node = next_turn(cache));) {
        struct window *window = list_entry(node, struct window, node);
        cache->active++;
        if (window->segment->fd >= 0) {
            read_next(window);
            continue;
        }
        window->state = WINDOW_OPENING;
        window->opening.done = open_done;
        segment_open(window->segment, &window->opening);
    }
}

struct window *window_start(struct segment *segment, int64_t offset, uint64_t position,
                            uint32_t size, enum window_purpose purpose)
{
    struct read_cache *cache = &segment->log->store->reads;
    struct window *window = calloc(1, sizeof(*window));
    if (!window)
        return NULL;
    window->segment = segment;
    window->purpose = purpose;
    window->from = position;
    window->position = position;
    window->base_offset = offset;
    window->expected = offset;
    list_init(&window->node);
    list_init(&window->readers);
    for (int i = 0; i < WINDOW_MARKS; i++)
        window->marks[i].offset = -1;
    window_plan(window, size);
    if (purpose != WINDOW_SCRUB && cache_list(window) != 0) {
        window_free(window);
        return NULL;
    }
    if (purpose == WINDOW_AHEAD) {
        window->ahead_bytes = window->to - format_block_start(window->from);
        cache->ahead_bytes += window->ahead_bytes;
        segment->log->store->stats.read_ahead++;
    }
    segment_hold(segment);
    log_busy(segment->log);
    list_append(&cache->queued[purpose], &window->node);
    window_pump(cache);
    return window;
}

void window_hurry(struct window *window)
{
    struct read_cache *cache = &window->segment->log->store->reads;
    cache_settle_ahead(cache, window);
    if (window->purpose != WINDOW_AHEAD)
        return;
    window->purpose = WINDOW_FOR_READER;
    if (window->state != WINDOW_QUEUED)
        return;
    list_remove(&window->node);
    list_append(&cache->queued[WINDOW_FOR_READER], &window->node);
    window_pump(cache);
}
