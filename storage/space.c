// SPDX-License-Identifier: Apache-2.0
// A full device. Keeps rule 8 of the storage design: disk full means that producing gets a
// retriable error, while reading, committing offsets and deleting still work.
//
// The logs that are state have some space allocated ahead (config.reserve_bytes). Beyond that they
// need space now and then: a new segment, and the file that compaction writes before it removes the
// old ones. For this each store holds a file that is allocated and empty, the ballast.
//
//   HELD -- such a log meets a full device --> WANTED -- the others have stopped --> OUT
//     ^                                                                               |
//     +---------------------- there is space for it again ----------------------------+
//
// 1. From WANTED until HELD again, in any store of the data directory, other logs take no records
//    and are not compacted: whatever space there is belongs to the logs that are state. They have
//    their time to finish what they had begun (GRACE_MS) before the ballast goes.
// 2. Meanwhile the logs that are state use small segments and are compacted whenever there is
//    something to gain, so what they take together stays about what it was. Each segment that is
//    sealed asks for it at once: when nothing is left there is no space to compact to, either. The
//    journal takes no more space.
// 3. A log that is state and meets a full device while a ballast is being taken tries again: that
//    may have held all the space for a moment.
// 4. The ballast carries nothing: losing it loses no data, and no sync is needed.
#include "storage/space.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log_line.h"
#include "storage/store.h"

enum { GRACE_MS = 300, RETRY_MS = 5000, SHARDS_MAX = 1024 };

static const uint64_t ns_per_ms = 1000000;

static bool is_state(const struct log *log)
{
    return log->config.reserve_bytes > 0;
}

// Deleting records must go on, too, in any log: it writes a few bytes.
static bool may_ask(const struct log *log)
{
    return is_state(log) || !list_empty(&log->trims);
}

bool space_is_tight(const struct log_store *store)
{
    return atomic_load_explicit(&store->ballast.space->tight, memory_order_relaxed) > 0;
}

static void count(struct ballast *ballast, bool counted)
{
    if (ballast->counted == counted)
        return;
    ballast->counted = counted;
    if (counted)
        atomic_fetch_add(&ballast->space->tight, 1);
    else
        atomic_fetch_sub(&ballast->space->tight, 1);
}

// --- life

static int remove_others(struct io *io, const char *directory, uint32_t shards)
{
    for (uint32_t i = shards; i < SHARDS_MAX; i++) {
        char *path = NULL;
        if (asprintf(&path, "%s/reserve-%u", directory, i) < 0)
            return -ENOMEM;
        struct io_op op = {0};
        io_unlink(io, &op, path, false);
        int64_t result = io_wait(io, &op);
        free(path);
        if (result < 0)
            break; // the first that is not there is the end of them
    }
    return 0;
}

int space_open(struct log_store *store, const struct log_store_options *options)
{
    struct ballast *ballast = &store->ballast;
    uint32_t shards = options->shard_count > 0 ? options->shard_count : 1;
    ballast->fd = -1;
    ballast->bytes = options->ballast_bytes;
    ballast->own = calloc(1, sizeof(*ballast->own));
    ballast->space = options->space ? options->space : ballast->own;
    if (!ballast->own)
        return -ENOMEM;
    int error = 0;
    if (options->shard == 0)
        error = remove_others(store->io, options->directory, ballast->bytes > 0 ? shards : 0);
    if (error || ballast->bytes == 0)
        return error;
    if (asprintf(&ballast->path, "%s/reserve-%u", options->directory, options->shard) < 0) {
        ballast->path = NULL;
        return -ENOMEM;
    }
    ballast->fd = io_open_wait(store->io, ballast->path, O_RDWR | O_CREAT, 0640);
    if (ballast->fd < 0 && ballast->fd != -ENOSPC)
        return ballast->fd;
    ballast->state = ballast->fd < 0 ? BALLAST_NONE : BALLAST_OUT;
    return 0;
}

void space_close(struct log_store *store)
{
    struct ballast *ballast = &store->ballast;
    if (ballast->space)
        count(ballast, false);
    if (ballast->path && ballast->fd >= 0)
        io_close_wait(store->io, ballast->fd);
    ballast->fd = -1;
    free(ballast->path);
    free(ballast->own);
    ballast->path = NULL;
    ballast->own = ballast->space = NULL;
}

// --- giving it up

void space_note(struct log *log, int64_t result)
{
    struct ballast *ballast = &log->store->ballast;
    if ((result != -ENOSPC && result != -EDQUOT) || !may_ask(log) || ballast->state != BALLAST_HELD)
        return;
    log_line(LOG_WARN, "the disk is full: what is held in reserve goes to the broker's own topics; "
                       "records are refused until there is space again");
    ballast->state = BALLAST_WANTED;
    ballast->since_ns = log->store->io->now_ns;
    count(ballast, true);
}

bool space_is_coming(const struct log *log)
{
    const struct log_store *store = log->store;
    if (!may_ask(log) || store->closing || log->deleting)
        return false;
    // Whoever takes space holds all that there is, perhaps, before it is known to be too little.
    if (atomic_load_explicit(&store->ballast.space->taking, memory_order_relaxed) > 0)
        return true;
    return store->ballast.state == BALLAST_WANTED || store->ballast.state == BALLAST_GOING ||
           (store->ballast.state == BALLAST_OUT &&
            (store->compactor.running || store->compactor.wanted));
}

void space_sealed(struct log *log)
{
    if (is_state(log) && log->store->ballast.state == BALLAST_OUT && space_is_tight(log->store))
        log->store->compactor.wanted = true;
    log->store->ballast.sealed_bytes += (uint64_t)log->config.reserve_bytes;
}

bool space_must_wait(struct log *log)
{
    const struct log_store *store = log->store;
    bool behind = store->ballast.sealed_bytes >= store->ballast.bytes / 4;
    log->waits_for_space = behind && is_state(log) && store->ballast.state == BALLAST_OUT &&
                           store->compactor.running && !store->closing && !log->deleting;
    return log->waits_for_space;
}

void space_compacted(struct log_store *store)
{
    store->ballast.sealed_bytes = 0;
    list_each(node, &store->logs) {
        struct log *log = list_entry(node, struct log, node);
        if (!log->waits_for_space)
            continue;
        log->waits_for_space = false;
        if (!log->deleting)
            commit_unpark(log);
    }
}

// What was put off for lack of space is tried again: there may be some now.
static void try_again(struct log_store *store)
{
    list_each(node, &store->logs) {
        struct log *log = list_entry(node, struct log, node);
        if (!is_state(log))
            continue;
        log->tail.roll_put_off = false;
        flush_retry(log);
    }
}

static void gone(struct io_op *op)
{
    struct log_store *store = list_entry(op, struct log_store, ballast.op);
    store_enter(store);
    store->ballast.state = BALLAST_OUT;
    store->ballast.times_out++;
    store->ballast.since_ns = store->io->now_ns;
    store->compactor.wanted = true;
    try_again(store); // at once: a log that grows where it is uses up what compaction needs
    store_leave(store);
}

static void let_go(struct log_store *store)
{
    store->ballast.state = BALLAST_GOING;
    store->ballast.op.done = gone;
    io_truncate(store->io, &store->ballast.op, store->ballast.fd, 0);
}

// --- taking it

static void taken(struct io_op *op)
{
    struct log_store *store = list_entry(op, struct log_store, ballast.op);
    struct ballast *ballast = &store->ballast;
    store_enter(store);
    atomic_fetch_sub(&ballast->space->taking, 1);
    if (op->result >= 0) {
        ballast->state = BALLAST_HELD;
        count(ballast, false);
    } else if (op->result == -EOPNOTSUPP || op->result == -ENOSYS) {
        ballast->state = BALLAST_NONE; // the file system cannot hold space
        count(ballast, false);
    } else {
        count(ballast, true);
        let_go(store); // part of it may have been allocated
    }
    store_leave(store);
}

static void take(struct log_store *store)
{
    struct ballast *ballast = &store->ballast;
    ballast->state = BALLAST_TAKING;
    atomic_fetch_add(&ballast->space->taking, 1);
    ballast->op.done = taken;
    io_allocate(store->io, &ballast->op, ballast->fd, 0, ballast->bytes);
}

// --- the logs that are state

// Small segments while space is tight: growing takes more of it than beginning a new one and
// compacting the old.
void space_limit_segments(struct log *log)
{
    int64_t limit = log->config.segment_bytes;
    if (log->store->ballast.seen && is_state(log) && log->config.reserve_bytes < limit)
        limit = log->config.reserve_bytes;
    log->tail.segment_bytes = (uint64_t)limit;
}

static void set_up_logs(struct log_store *store, bool tight)
{
    store->ballast.seen = tight;
    list_each(node, &store->logs) {
        struct log *log = list_entry(node, struct log, node);
        if (is_state(log))
            space_limit_segments(log);
    }
    store->compactor.idle_until_ns = 0;
}

void space_freed(struct log_store *store)
{
    if (store->ballast.state == BALLAST_OUT)
        store->ballast.since_ns = 0;
}

void space_tick(struct log_store *store)
{
    struct ballast *ballast = &store->ballast;
    uint64_t waited_ms = (store->io->now_ns - ballast->since_ns) / ns_per_ms;
    bool tight = space_is_tight(store);
    if (tight != ballast->seen)
        set_up_logs(store, tight);
    if (ballast->state == BALLAST_OUT && tight)
        try_again(store);
    if (ballast->state == BALLAST_WANTED && waited_ms >= GRACE_MS)
        let_go(store);
    else if (ballast->state == BALLAST_OUT && (ballast->since_ns == 0 || waited_ms >= RETRY_MS))
        take(store);
}
