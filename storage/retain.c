// SPDX-License-Identifier: Apache-2.0
// The other end of a log: trims, retention by time and size, rolling by age, removing segments.
// Keeps rule 6 of the storage design for removals.
//
// 1. Segments go one at a time, oldest first, and the directory is synced in between: after a
//    crash at any point what is left is contiguous.
// 2. `start` moves only when that is durable: with the control frame of a trim, or when the
//    directory is synced after a removal. So it never goes back over a restart. Until then, and
//    for reads already running also after, the bytes are still there.
// 3. Only sealed segments are removed, so retention never passes `committed`. An active segment
//    whose records are all expired is rolled first; the end offset stays.
//
// 4. Age is counted by store_time_ms: a wall clock that jumps ahead makes nothing old before its
//    time, one that jumps back even less. Restarting the broker is what accepts a jump ahead.
// 5. A segment that is being compacted waits until that is done.
//
// A removal that fails is tried again with the next log_retain.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/log_line.h"
#include "storage/plant.h"
#include "storage/store.h"

int64_t store_time_ms(const struct log_store *store)
{
    const struct io *io = store->io;
    int64_t passed_ms = (int64_t)((io->now_ns - store->opened_ns) / 1000000);
    int64_t most = store->opened_ms + passed_ms;
    return io->wall_ms < most ? io->wall_ms : most;
}

// Segments without timestamps age from when they were made.
static bool is_expired(const struct log *log, const struct segment *segment)
{
    int64_t newest =
        segment->max_timestamp >= 0 ? segment->max_timestamp : segment->header.created_ms;
    return log->config.retention_ms >= 0 &&
           store_time_ms(log->store) - newest > log->config.retention_ms;
}

static bool is_surplus(const struct log *log, const struct segment *segment)
{
    return log->config.retention_bytes >= 0 &&
           log_segments_size(log) - (int64_t)segment->end >= log->config.retention_bytes;
}

bool retain_has_producers(const struct log *log)
{
    const struct segment *active = log_active(log);
    if (producers_count(&log->producers) == 0 || segment_has_records(active))
        return true;
    return log->producers_at >= active->header.base_offset &&
           (log->committed > log->producers_at || log->tail.uncommitted_bytes == 0);
}

// Whether the oldest segment should go. The active one never does.
static bool oldest_is_due(const struct log *log)
{
    if (log->segment_count < 2 || log->replaced_stay ||
        (log->segment_count == 2 && !retain_has_producers(log)))
        return false;
    const struct segment *oldest = log->segments[0];
    if (!oldest->sealed || oldest->sealing || oldest->compacting || oldest->ahead.running)
        return false;
    return log->segments[1]->header.base_offset <= log->start || is_expired(log, oldest) ||
           is_surplus(log, oldest);
}

struct removal {
    struct steps steps;
    struct log *log;
    char *path;
    char *index_path;
};

static void removal_free(struct removal *removal)
{
    free(removal->path);
    free(removal->index_path);
    free(removal);
}

static void drop_oldest(struct log *log)
{
    struct segment *oldest = log->segments[0];
    space_freed(log->store);
    log->segment_count--;
    memmove(log->segments, log->segments + 1, log->segment_count * sizeof(log->segments[0]));
    log_segments_changed(log);
    if (log->start < log->segments[0]->header.base_offset)
        log->start = log->segments[0]->header.base_offset;
    oldest->removed = true;
    segment_hold(oldest);
    segment_drop(oldest);
    log_changed(log);
}

static void removal_done(struct steps *steps)
{
    struct removal *removal = list_entry(steps, struct removal, steps);
    struct log *log = removal->log;
    struct log_store *store = log->store;
    store_enter(store);
    log->removing = false;
    if (!log->deleting && steps->error)
        log_line(LOG_ERROR, "cannot remove %s: %s", removal->path, strerror(-steps->error));
    else if (!log->deleting)
        drop_oldest(log);
    bool more = !steps->error && !log->deleting;
    removal_free(removal);
    read_unpark(log);
    if (more)
        retain_wake(log);
    log_unbusy(log);
    store_leave(store);
}

void retain_wake(struct log *log)
{
    if (log->removing || log->deleting || log->store->closing || !oldest_is_due(log))
        return;
    struct removal *removal = calloc(1, sizeof(*removal));
    if (!removal)
        return;
    int64_t base_offset = log->segments[0]->header.base_offset;
    removal->log = log;
    removal->path = segment_path(log, base_offset, ".log");
    removal->index_path = segment_path(log, base_offset, ".index");
    if (!removal->path || !removal->index_path) {
        removal_free(removal);
        return;
    }
    log->removing = true;
    log_busy(log);
    steps_init(&removal->steps, log->store->io, removal_done);
    steps_add(&removal->steps, STEP_REMOVE_FILE, removal->index_path, NULL);
    steps_add(&removal->steps, STEP_REMOVE_FILE, removal->path, NULL);
    steps_add(&removal->steps, STEP_SYNC_DIRECTORY, log->directory, NULL);
    steps_run(&removal->steps);
}

// A segment that begins without data begins with the producers all the same. Without memory the
// next call tries again.
static void keep_producers(struct log *log)
{
    bool idle = list_empty(&log->appends) && log->tail.unflushed_bytes == 0;
    if (idle && log_put_producers(log, FORMAT_BLOCK))
        commit_wake(log);
}

void log_retain(struct log *log)
{
    const struct segment *active = log_active(log);
    log->tail.roll_put_off = false;
    flush_retry(log);
    if (!active || log->error || log->store->closing)
        return;
    producers_expire(&log->producers, log_producers_ms(log), log->store->producer_expiry_ms);
    if (segment_has_records(active)) {
        int64_t age = store_time_ms(log->store) - active->header.created_ms;
        if (log->config.segment_ms >= 0 && age >= log->config.segment_ms)
            log->tail.roll = true; // with the next append
        bool idle = list_empty(&log->appends) && log->segment_count == 1;
        if (idle && is_expired(log, active)) {
            log->tail.roll = log->tail.unflushed_bytes == 0;
            flush_want(log); // what is only in the journal may be younger
            if (log->tail.roll)
                keep_producers(log);
            commit_wake(log);
        }
    } else if (log->segment_count > 1 && !retain_has_producers(log)) {
        keep_producers(log);
    }
    checkpoint_look(log, true);
    retain_wake(log);
}

static void trim_finish(struct log *log, struct log_trim *op, int error)
{
    op->error = error;
    op->start = log->start;
    list_append(&log->store->ready.trims, &op->node);
    store_kick(log->store);
}

void log_trim(struct log *log, struct log_trim *op)
{
    if (op->offset == -1)
        op->offset = log->committed;
    if (planted(PLANT_TRIM_EARLY) && op->offset > log->start && op->offset <= log->committed)
        log->start = op->offset;
    if (log->store->closing)
        trim_finish(log, op, -ESHUTDOWN);
    else if (op->offset < 0 || op->offset > log->committed)
        trim_finish(log, op, -ERANGE);
    else if (op->offset <= log->start)
        trim_finish(log, op, 0);
    else if (log->error)
        trim_finish(log, op, log->error);
    else {
        list_append(&log->trims, &op->node);
        commit_wake(log);
    }
}
