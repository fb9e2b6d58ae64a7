// SPDX-License-Identifier: Apache-2.0
// The space ahead of an active segment's end, allocated with the file's size set: a write into it
// stays on the thread that submits it.
//
// 1. One operation at a time. It only touches bytes behind the end.
// 2. No commit starts before its frame has its space, so a full disk is found out before the first
//    byte is written (rule 8 of the storage design: a full disk fails the append, nothing else).
// 3. A quiet log has little. Growth follows what the log really takes. A log that must go on when
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
    ALLOCATE_MARGIN_MAX = 4 * 1024 * 1024,
};

static uint64_t at_least(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t at_most(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static void allocated(struct io_op *op);

static void allocate_start(struct segment *segment, uint64_t to)
{
    struct ahead *ahead = &segment->ahead;
    uint64_t from = segment->file_size;
    CHECK(segment->fd >= 0 && to > from);
    segment_hold(segment);
    log_busy(segment->log);
    ahead->running = true;
    ahead->to = to;
    ahead->op.done = allocated;
    io_allocate(segment->log->store->io, &ahead->op, segment->fd, from, to - from);
}

// How far the file should reach when writes end at `to`.
static uint64_t allocate_target(const struct segment *segment, uint64_t to)
{
    const struct log_config *config = &segment->log->config;
    uint64_t wanted = segment->file_size + at_most(segment->file_size, ALLOCATE_STEP_MAX);
    wanted = at_most(wanted, (uint64_t)config->segment_bytes);
    return format_next_block(at_least(wanted, to + (uint64_t)config->reserve_bytes));
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

static bool somebody_waits(const struct segment *segment)
{
    const struct log *log = segment->log;
    return log->way == WAY_PARKED && !log->creating && log_active(log) == segment &&
           segment->ahead.needed > 0;
}

static void allocation_judge(struct segment *segment, int64_t result)
{
    struct log *log = segment->log;
    space_note(log, result);
    if (result == -EOPNOTSUPP || result == -ENOSYS)
        log->store->can_allocate = false;
    else if (result >= 0)
        segment->file_size = segment->ahead.to;
    else if (somebody_waits(segment) && allocate_less(segment))
        return;
    else if (somebody_waits(segment) && !space_is_coming(log))
        commit_fail(log, (int)result, "allocating space for a segment");
}

static void allocated(struct io_op *op)
{
    struct segment *segment = list_entry(op, struct segment, ahead.op);
    struct ahead *ahead = &segment->ahead;
    struct log *log = segment->log;
    struct log_store *store = log->store;
    store_enter(store);
    ahead->running = false;
    allocation_judge(segment, op->result);
    if (!ahead->running) {
        bool wake = somebody_waits(segment);
        ahead->needed = 0;
        if (segment->sealed && !segment->removed && !log->deleting)
            segment_seal(segment);
        else if (wake)
            commit_unpark(log);
    }
    segment_drop(segment);
    log_unbusy(log);
    store_leave(store);
}

bool ahead_ready(struct segment *segment, uint64_t to)
{
    struct ahead *ahead = &segment->ahead;
    if (!segment->log->store->can_allocate || to <= segment->file_size)
        return true;
    ahead->needed = at_least(ahead->needed, to);
    if (!ahead->running)
        allocate_start(segment, allocate_target(segment, to));
    return false;
}

void ahead_keep(struct segment *segment, uint64_t to)
{
    const struct log *log = segment->log;
    if (segment->ahead.running || segment->sealed || segment->fd < 0 || !log->store->can_allocate)
        return;
    uint64_t margin = at_most(segment->file_size / 4, ALLOCATE_MARGIN_MAX);
    margin = at_least(margin, (uint64_t)log->config.reserve_bytes / 4 * 3);
    uint64_t target = allocate_target(segment, to);
    if (to + margin > segment->file_size && target > segment->file_size)
        allocate_start(segment, target);
}
