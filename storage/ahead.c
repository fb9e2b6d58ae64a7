// SPDX-License-Identifier: Apache-2.0
// The space ahead of an active segment's end. A write into allocated space stays on the thread that
// submits it, and a durable write into space that was written before needs no change of metadata.
// So the file is allocated ahead of its end, and while commits are small, a zone of it is also
// filled with zeros.
//
// 1. One operation at a time. It only touches bytes behind the end.
// 2. A commit whose range meets zeros that are on their way waits for them: they could otherwise
//    overwrite it.
// 3. No commit starts before its range is allocated, so a full disk is found out before the first
//    byte is written (rule 8 of the storage design: a full disk fails the append, nothing else).
// 4. A quiet log has 64 KiB. Growth follows what the log really takes. A log that must go on when
//    the disk is full (config.reserve_bytes) always has that much more (rule 8 again: space for
//    committing offsets is reserved).
//
// Failures here are not failures of data: without space the waiting commit fails, everything else
// is tried again later.
#include <errno.h>

#include "base/check.h"
#include "storage/store.h"

enum {
    ALLOCATE_STEP_MAX = 32 * 1024 * 1024,
    ALLOCATE_MARGIN_MAX = 1024 * 1024,
    SMALL_COMMIT = 64 * 1024, // larger ones gain less from zeros than these cost
    ZONE_MIN = 64 * 1024,
    ZONE_MAX = AHEAD_VECTORS * STORE_ZEROS,
};

static uint64_t at_least(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t at_most(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t block_up(uint64_t size)
{
    return (size + FORMAT_BLOCK - 1) & ~(uint64_t)(FORMAT_BLOCK - 1);
}

static void ahead_done(struct io_op *op);

static void ahead_start(struct segment *segment, uint64_t from, uint64_t to)
{
    segment_hold(segment);
    log_busy(segment->log);
    segment->ahead.from = from;
    segment->ahead.to = to;
    segment->ahead.op.done = ahead_done;
}

static void allocate_start(struct segment *segment, uint64_t to)
{
    struct ahead *ahead = &segment->ahead;
    ahead->state = AHEAD_ALLOCATING;
    ahead_start(segment, segment->file_size, to);
    io_allocate(segment->log->store->io, &ahead->op, segment->fd, ahead->from,
                ahead->to - ahead->from);
}

// How far the file should reach when the commits are of that size.
static uint64_t allocate_target(const struct segment *segment, uint64_t size)
{
    uint64_t wanted = at_least(segment->file_size * 2, segment->end + 8 * size);
    wanted = at_most(wanted, segment->file_size + ALLOCATE_STEP_MAX);
    wanted = at_most(wanted, block_up((uint64_t)segment->log->config.segment_bytes));
    wanted = at_least(wanted, segment->end + (uint64_t)segment->log->config.reserve_bytes);
    return block_up(at_least(wanted, segment->end + size));
}

static void zero_start(struct segment *segment, uint64_t from, uint64_t to)
{
    struct log_store *store = segment->log->store;
    struct ahead *ahead = &segment->ahead;
    ahead->state = AHEAD_ZEROING;
    ahead_start(segment, from, to);
    uint32_t count = 0;
    for (uint64_t at = from; at < to; at += STORE_ZEROS)
        ahead->vectors[count++] = (struct iovec){.iov_base = store->zeros->data,
                                                 .iov_len = at_most(STORE_ZEROS, to - at)};
    io_writev(store->io, &ahead->op, segment->fd, ahead->vectors, count, from, true);
}

// The allocation for a commit that waits has failed: it may still fit when nothing extra is asked.
static bool allocate_less(struct segment *segment)
{
    struct ahead *ahead = &segment->ahead;
    if (ahead->needed <= segment->file_size || ahead->needed >= ahead->to)
        return false;
    allocate_start(segment, ahead->needed);
    return true;
}

static void allocated(struct segment *segment, int64_t result)
{
    struct log *log = segment->log;
    bool waiting = log->commit == COMMIT_PARKED && !log->creating && log_active(log) == segment;
    if (result == -EOPNOTSUPP || result == -ENOSYS)
        log->store->can_allocate = false;
    else if (result >= 0)
        segment->file_size = segment->ahead.to;
    else if (waiting && allocate_less(segment))
        return;
    else if (waiting)
        commit_fail(log, (int)result, "allocating space for a segment");
}

static void ahead_done(struct io_op *op)
{
    struct segment *segment = list_entry(op, struct segment, ahead.op);
    struct ahead *ahead = &segment->ahead;
    struct log *log = segment->log;
    struct log_store *store = log->store;
    store_enter(store);
    bool zeroing = ahead->state == AHEAD_ZEROING;
    ahead->state = AHEAD_IDLE;
    if (zeroing && op->result >= 0) {
        segment->zeroed = ahead->to;
        segment->file_size = at_least(segment->file_size, ahead->to);
    } else if (!zeroing) {
        allocated(segment, op->result);
    }
    if (ahead->state == AHEAD_IDLE) {
        ahead->needed = 0;
        if (segment->sealed && !segment->removed && !log->deleting)
            segment_seal(segment);
        else if (log->commit == COMMIT_PARKED && !log->creating && log_active(log) == segment)
            commit_unpark(log);
    }
    segment_drop(segment);
    log_unbusy(log);
    store_leave(store);
}

bool ahead_ready(struct segment *segment, uint64_t size)
{
    struct ahead *ahead = &segment->ahead;
    uint64_t to = segment->end + size;
    if (ahead->state == AHEAD_ZEROING && ahead->from < to)
        return false;
    if (!segment->log->store->can_allocate || to <= segment->file_size)
        return true;
    ahead->needed = at_least(ahead->needed, to);
    if (ahead->state == AHEAD_IDLE)
        allocate_start(segment, allocate_target(segment, size));
    return false;
}

void ahead_keep(struct segment *segment, uint64_t size)
{
    struct log_store *store = segment->log->store;
    if (segment->ahead.state != AHEAD_IDLE || segment->sealed)
        return;
    uint64_t margin = at_most(segment->file_size / 2, ALLOCATE_MARGIN_MAX);
    margin = at_least(margin, 4 * size);
    margin = at_least(margin, (uint64_t)segment->log->config.reserve_bytes / 4 * 3);
    uint64_t target = allocate_target(segment, size);
    if (store->can_allocate && segment->end + margin > segment->file_size &&
        target > segment->file_size) {
        allocate_start(segment, target);
        return;
    }
    if (size > SMALL_COMMIT)
        return;
    uint64_t zone = at_most(at_least(block_up(segment->end / 2), ZONE_MIN), ZONE_MAX);
    uint64_t from = at_least(segment->zeroed, segment->end);
    uint64_t to = from + zone;
    if (store->can_allocate)
        to = at_most(to, segment->file_size);
    if (from - segment->end < zone / 2 && from < to)
        zero_start(segment, from, to);
}
