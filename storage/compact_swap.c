// SPDX-License-Identifier: Apache-2.0
// The moment of a compaction: a new file takes the place of a group of segments. Keeps rule 6 of
// the storage design for it:
//
//   "<base>.log.cleaning" complete and durable -> directory synced -> renamed to "<base>.log"
//   -> directory synced -> in memory the new segment replaces the group -> the other files of the
//   group removed, each index before its log -> directory synced
//
// 1. After a crash at any point the log has the old segments or the new one: before the rename
//    nothing has changed; after it the new file's header says which files it has replaced, and the
//    next start removes those that are left (compact_recover.c).
// 2. The old first segment's file is open from before the rename: its name means the new one then.
// 3. If the rename is done and cannot be made durable, nothing else is removed, and the log stops
//    accepting (rule 5): only a new start can find out which of the two it has.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/log_line.h"
#include "storage/compact_engine.h"

void compact_release_group(struct compaction *compaction)
{
    for (uint32_t i = 0; i < compaction->group_count; i++) {
        compaction->group[i]->compacting = false;
        segment_drop(compaction->group[i]);
    }
    compaction->group_count = 0;
}

static void paths_free(struct compaction *compaction)
{
    free(compaction->path);
    compaction->path = NULL;
    for (size_t i = 0; i < sizeof(compaction->paths) / sizeof(compaction->paths[0]); i++) {
        free(compaction->paths[i]);
        compaction->paths[i] = NULL;
    }
}

// In memory: the group's segments leave the log's list, the new one comes in their place.
static void replace(struct compaction *compaction)
{
    struct log *log = compaction->log;
    struct segment *made = compaction->writer.segment;
    uint32_t count = compaction->group_count;
    uint32_t at = 0;
    while (log->segments[at] != compaction->group[0])
        at++;
    CHECK(at + count < log->segment_count);
    CHECK(log->segments[at + count - 1] == compaction->group[count - 1]);
    log->segments[at] = made;
    memmove(log->segments + at + 1, log->segments + at + count,
            (log->segment_count - at - count) * sizeof(log->segments[0]));
    log->segment_count -= count - 1;
    log_segments_changed(log);
    for (uint32_t i = 0; i < count; i++)
        compaction->group[i]->removed = true;
    made->compacting = true; // until the other files are gone
    if (log->compacted < made->next_offset)
        log->compacted = made->next_offset;
    compaction->writer.segment = NULL;
    compact_writer_drop(&compaction->writer);
    segment_hold(made);
    segment_seal(made);
}

static void swap_end(struct compaction *compaction)
{
    struct log *log = compaction->log;
    struct segment *made = compaction->made;
    paths_free(compaction);
    made->compacting = false;
    segment_drop(made);
    compact_release_group(compaction);
    compaction->phase = COMPACT_COPYING;
    retain_wake(log);
    compact_go_on(compaction);
}

// --- the directory is open from before the rename until all is done, so that nothing but a failing
// sync stands between the changes and their durability

static void directory_closed(struct io_op *op)
{
    struct compaction *compaction = list_entry(op, struct compaction, op);
    struct log_store *store = compaction->store;
    store_enter(store);
    if (!compaction->made) {
        paths_free(compaction);
        compaction->phase = COMPACT_COPYING;
        compact_fail(compaction, compaction->swap_error);
    } else {
        swap_end(compaction);
    }
    store_leave(store);
}

static void directory_close(struct compaction *compaction, int error)
{
    compaction->swap_error = error;
    compaction->op.done = directory_closed;
    io_close(compaction->store->io, &compaction->op, compaction->directory_fd);
}

static void remove_some(struct compaction *compaction);

static void some_removed(struct steps *steps)
{
    struct compaction *compaction = list_entry(steps, struct compaction, steps);
    struct log_store *store = compaction->store;
    store_enter(store);
    // They would come back with the next start if the one that replaces them were gone by then.
    compaction->log->replaced_stay |= steps->error != 0;
    if (steps->error)
        log_line(LOG_ERROR, "%s: files that compaction has replaced stay until the next start: %s",
                 compaction->log->directory, strerror(-steps->error));
    if (steps->error || compaction->group_at == compaction->group_count)
        directory_close(compaction, 0);
    else
        remove_some(compaction);
    store_leave(store);
}

// Removes the files of a few of the group's other segments.
static void remove_some(struct compaction *compaction)
{
    const struct log *log = compaction->log;
    uint32_t count = 0;
    paths_free(compaction);
    steps_init(&compaction->steps, compaction->store->io, some_removed);
    while (compaction->group_at < compaction->group_count && count < 6) {
        int64_t base = compaction->group[compaction->group_at]->header.base_offset;
        char *index = compaction->paths[count] = segment_path(log, base, ".index");
        char *file = compaction->paths[count + 1] = segment_path(log, base, ".log");
        if (!index || !file)
            break;
        steps_add(&compaction->steps, STEP_REMOVE_FILE, index, NULL);
        steps_add(&compaction->steps, STEP_REMOVE_FILE, file, NULL);
        compaction->group_at++;
        count += 2;
    }
    steps_add_sync(&compaction->steps, compaction->directory_fd);
    if (count == 0)
        compaction->group_at = compaction->group_count; // without memory they stay
    steps_run(&compaction->steps);
}

static void stop_log(struct log *log, int error)
{
    log_line(LOG_ERROR, "%s-%d accepts nothing any more: syncing %s after compaction: %s",
             log->topic, (int)log->partition, log->directory, strerror(-error));
    log->error = -EIO;
    log_changed(log);
}

// --- the rename

static void rename_synced(struct io_op *op)
{
    struct compaction *compaction = list_entry(op, struct compaction, op);
    struct log_store *store = compaction->store;
    int error = op->result < 0 ? (int)op->result : 0;
    store_enter(store);
    compaction->made = compaction->writer.segment;
    replace(compaction);
    compaction->group_at = 1;
    if (error)
        stop_log(compaction->log, error);
    if (error || compaction->group_count == 1)
        directory_close(compaction, error);
    else
        remove_some(compaction);
    store_leave(store);
}

static void renamed(struct io_op *op)
{
    struct compaction *compaction = list_entry(op, struct compaction, op);
    if (op->result < 0) {
        directory_close(compaction, (int)op->result);
        return;
    }
    op->done = rename_synced;
    io_sync(compaction->store->io, op, compaction->directory_fd, false);
}

static void directory_synced(struct io_op *op)
{
    struct compaction *compaction = list_entry(op, struct compaction, op);
    if (op->result < 0) {
        directory_close(compaction, (int)op->result);
    } else if (compaction->log->deleting || compaction->store->closing) {
        directory_close(compaction, -ESHUTDOWN);
    } else {
        op->done = renamed;
        io_rename(compaction->store->io, op, compaction->writer.path, compaction->path);
    }
}

static void directory_opened(struct io_op *op)
{
    struct compaction *compaction = list_entry(op, struct compaction, op);
    struct log_store *store = compaction->store;
    if (op->result >= 0) {
        compaction->directory_fd = (int)op->result;
        op->done = directory_synced;
        io_sync(store->io, op, compaction->directory_fd, false);
        return;
    }
    store_enter(store);
    paths_free(compaction);
    compaction->phase = COMPACT_COPYING;
    compact_fail(compaction, (int)op->result);
    store_leave(store);
}

enum compact_progress compact_swap(struct compaction *compaction)
{
    const struct log *log = compaction->log;
    CHECK(compaction->group[0]->fd >= 0);
    compaction->made = NULL;
    compaction->path = segment_path(log, compaction->header.base_offset, ".log");
    if (!compaction->path) {
        compaction->phase = COMPACT_COPYING;
        return compact_fail(compaction, -ENOMEM);
    }
    compaction->op.done = directory_opened;
    io_open(compaction->store->io, &compaction->op, log->directory, O_RDONLY | O_DIRECTORY, 0);
    return COMPACT_WAITS;
}
