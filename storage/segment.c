// SPDX-License-Identifier: Apache-2.0
// Segment files: their life in memory, opening for readers. Sealing is in checkpoint.c.
//
// A segment is active (the last of its log, written by commits) and then sealed for ever. Both are
// opened when somebody needs them and stay open for a while after: nobody but the store's limit of
// open files ends that.
//
// 1. `fd` is not closed and the structure not freed while `users` is not 0: a reader may go on
//    with a file whose name is already gone.
// 2. `end` counts durable frames only.
#include "storage/segment.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/log_line.h"
#include "storage/producers_snapshot.h"
#include "storage/store.h"

char *segment_path(const struct log *log, int64_t base_offset, const char *suffix)
{
    char *path = NULL;
    if (asprintf(&path, "%s/%020" PRId64 "%s", log->directory, base_offset, suffix) < 0)
        return NULL;
    return path;
}

int64_t segment_base_of(const char *name, const char *suffix)
{
    int64_t base = 0;
    int length = 0;
    if (sscanf(name, "%20" SCNd64 "%n", &base, &length) != 1 || length != 20 || base < 0)
        return -1;
    return strcmp(name + length, suffix) == 0 ? base : -1;
}

struct segment *segment_new(struct log *log, const struct segment_header *header)
{
    struct segment *segment = calloc(1, sizeof(*segment));
    if (!segment)
        return NULL;
    segment->log = log;
    segment->header = *header;
    segment->fd = -1;
    segment->next_offset = header->base_offset;
    segment->next_sequence = header->first_sequence;
    segment->max_timestamp = -1;
    segment->log_start = header->log_start;
    segment->end = FORMAT_BLOCK;
    list_init(&segment->idle_node);
    return segment;
}

struct closing {
    struct io_op op;
    struct log_store *store;
};

static void close_done(struct io_op *op)
{
    struct closing *closing = list_entry(op, struct closing, op);
    closing->store->closes_running--;
    free(closing);
}

// Only the end of the store waits for a close.
static void close_later(struct log_store *store, int fd, struct closing *closing)
{
    *closing = (struct closing){.op.done = close_done, .store = store};
    store->closes_running++;
    io_close(store->io, &closing->op, fd);
}

static void leave_idle(struct segment *segment)
{
    if (list_empty(&segment->idle_node))
        return;
    list_remove(&segment->idle_node);
    segment->log->store->idle_file_count--;
}

// Without memory it stays open, and idle.
static bool close_idle(struct segment *segment)
{
    struct closing *closing = malloc(sizeof(*closing));
    if (!closing)
        return false;
    leave_idle(segment);
    close_later(segment->log->store, segment->fd, closing);
    segment->fd = -1;
    return true;
}

void segments_close_idle(struct log_store *store, uint32_t keep)
{
    while (store->idle_file_count > keep &&
           close_idle(list_entry(store->idle_files.next, struct segment, idle_node))) {
    }
}

void segment_free(struct segment *segment)
{
    _Static_assert(sizeof(struct closing) <= sizeof(struct segment), "its memory serves for that");
    struct log_store *store = segment->log->store;
    int fd = segment->fd;
    CHECK(segment->users == 0);
    cache_forget(segment);
    leave_idle(segment);
    index_free(&segment->index);
    if (fd >= 0)
        close_later(store, fd, (struct closing *)(void *)segment);
    else
        free(segment);
}

void segment_hold(struct segment *segment)
{
    leave_idle(segment);
    segment->users++;
}

static void enter_idle(struct segment *segment)
{
    struct log_store *store = segment->log->store;
    list_append(&store->idle_files, &segment->idle_node);
    store->idle_file_count++;
    segments_close_idle(store, store->idle_file_limit);
}

void segment_drop(struct segment *segment)
{
    CHECK(segment->users > 0);
    if (--segment->users > 0)
        return;
    if (segment->removed)
        segment_free(segment);
    else if (segment->fd >= 0)
        enter_idle(segment);
}

int segment_note_damage(struct segment *segment, uint64_t from, uint64_t to, int64_t first,
                        int64_t next)
{
    const struct log *log = segment->log;
    segment->damaged = true;
    if (first < next)
        log_line(LOG_ERROR,
                 "%s/%020" PRId64 ".log is damaged from byte %" PRIu64 " to %" PRIu64
                 ": offsets %" PRId64 " up to %" PRId64 " cannot be read",
                 log->directory, segment->header.base_offset, from, to, first, next - 1);
    else
        log_line(LOG_ERROR,
                 "%s/%020" PRId64 ".log is damaged from byte %" PRIu64 " to %" PRIu64
                 ": no records are lost",
                 log->directory, segment->header.base_offset, from, to);
    return log_note_damage(segment->log, first, next);
}

bool segment_has_records(const struct segment *segment)
{
    return segment->next_offset > segment->header.base_offset;
}

void segment_extend(struct segment *segment, const struct frame_header *frame, bool note)
{
    struct index_entry entry = {
        .offset = frame->base_offset,
        .position = segment->end,
        .max_before = segment->max_timestamp,
    };
    if (frame->kind == FRAME_DATA)
        index_add(&segment->index, &entry, note);
    segment->last_frame = segment->end;
    segment->end += frame->stored_size;
    segment->next_offset = frame->next_offset;
    segment->next_sequence = frame->sequence + 1;
    segment->max_timestamp = frame->max_timestamp;
}

static void other_closed(struct io_op *op)
{
    struct segment_open *opening = list_entry(op, struct segment_open, op);
    opening->done(opening);
}

static void open_finish(struct segment_open *opening, int64_t result)
{
    struct segment *segment = opening->segment;
    struct log_store *store = segment->log->store;
    free(opening->path);
    opening->error = result < 0 ? (int)result : 0;
    if (io_lacks_descriptors(result))
        segments_close_idle(store, 0);     // the next one may find some
    if (result >= 0 && segment->fd >= 0) { // another reader was faster
        opening->op.done = other_closed;
        io_close(store->io, &opening->op, (int)result);
        return;
    }
    if (result >= 0)
        segment->fd = (int)result;
    opening->done(opening);
}

static void open_done(struct io_op *op)
{
    struct segment_open *opening = list_entry(op, struct segment_open, op);
    open_finish(opening, op->result);
}

static void open_no_memory(struct io_op *op)
{
    struct segment_open *opening = list_entry(op, struct segment_open, op);
    open_finish(opening, -ENOMEM);
}

void segment_open(struct segment *segment, struct segment_open *opening)
{
    struct log_store *store = segment->log->store;
    opening->segment = segment;
    opening->path = segment_path(segment->log, segment->header.base_offset, ".log");
    opening->op.done = opening->path ? open_done : open_no_memory;
    bool written = !segment->sealed || segment->sealing;
    int flags = (written ? O_RDWR : O_RDONLY) | (store->direct ? O_DIRECT : 0);
    if (opening->path)
        io_open(store->io, &opening->op, opening->path, flags, 0);
    else
        io_nop(store->io, &opening->op);
}
