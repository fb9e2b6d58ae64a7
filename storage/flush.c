// SPDX-License-Identifier: Apache-2.0
// Flushes: writing to segments, in the background, what is durable in the journal only. The write
// itself is the one of the segment way (commit.c); here is decided when.
//
//   - a log has much that is not flushed (commit.c asks);
//   - the journal is more than half full, or half of the memory is in frames that are not flushed:
//     logs with the oldest entries first, so that whole files of the journal become free;
//   - the store closes, or settles after a start.
//
// 1. At most FLUSH_DEPTH logs have their turn at a time: flushes share the device with commits that
//    somebody waits for, and more in flight gains little. When a store settles or closes nobody
//    commits, and the logs may be many and small: then FLUSH_DEPTH_ALONE.
// 2. A turn ends with the frame that was the last when it was wanted, or with a failure.
//
//    flush_want                  free turn                      nothing left, or failed
//   -----------> store->flushes ----------> flush_turn, writes ------------------------> out
#include <errno.h>

#include "storage/store.h"

enum { FLUSH_DEPTH = 8, FLUSH_DEPTH_ALONE = 32 };

void flush_want(struct log *log)
{
    bool nothing = log->tail.unflushed_bytes == log->tail.waiting_bytes; // commits write these
    if (nothing || log->write_failed || log->deleting)
        return;
    bool wanted = log->flush_to > 0;
    tail_close(&log->tail); // else it might never be without bytes on their way to the journal
    log->flush_to = log->tail.sequence - 1;
    if (wanted)
        return;
    list_append(&log->store->flushes, &log->flush_node);
    store_kick(log->store);
}

bool flush_has_turn(const struct log *log, const struct tail_frame *first)
{
    return log->flush_turn && first->sequence <= log->flush_to;
}

void flush_check(struct log *log)
{
    if (log->flush_to == 0)
        return;
    struct chunk *chunk = NULL;
    const struct tail_frame *first = tail_first(&log->tail, &chunk);
    bool over = !first || first->sequence > log->flush_to || log->write_failed ||
                log->flush_error != 0 || log->deleting;
    if (!over)
        return;
    list_remove(&log->flush_node);
    log->flush_to = 0;
    if (!log->flush_turn)
        return;
    log->flush_turn = false;
    log->store->flushes_running--;
    flush_relieve(log->store);
}

bool flush_is_due(const struct log_store *store)
{
    uint32_t depth = store->flushes_alone ? FLUSH_DEPTH_ALONE : FLUSH_DEPTH;
    return store->flushes_running < depth && !list_empty(&store->flushes);
}

void flush_run(struct log_store *store)
{
    while (flush_is_due(store)) {
        struct log *log = list_entry(list_pop(&store->flushes), struct log, flush_node);
        store->flushes_running++;
        log->flush_turn = true;
        commit_wake(log);
    }
}

void flush_relieve(struct log_store *store)
{
    if (!store->journal)
        return;
    bool memory_is_short = store->cache.needed_bytes > pool_stats(store->pool).limit_bytes / 2;
    if (!memory_is_short && !journal_is_short(store->journal))
        return;
    uint32_t free_turns =
        store->flushes_running < FLUSH_DEPTH ? FLUSH_DEPTH - store->flushes_running : 0;
    struct journal_log *entry = NULL;
    while (free_turns > 0 && (entry = journal_oldest(store->journal, entry))) {
        struct log *log = list_entry(entry, struct log, journal);
        if (log->flush_to > 0 || log->flush_error || log->write_failed || log->deleting)
            continue;
        flush_want(log);
        free_turns--;
    }
}

void flush_retry(struct log *log)
{
    const struct log_store *store = log->store;
    bool tried = log->flush_error != 0;
    log->flush_error = 0;
    // Without a journal that takes commits nothing else would make it happen.
    if (tried || !store->journal || journal_state(store->journal) == JOURNAL_OFF)
        flush_want(log);
}

static bool is_flushed(const struct log *log)
{
    return log->tail.unflushed_bytes == 0;
}

int flush_all_wait(struct log_store *store)
{
    store->flushes_alone = true;
    store_enter(store);
    list_each(node, &store->logs) {
        struct log *log = list_entry(node, struct log, node);
        log->flush_error = 0;
        flush_want(log);
    }
    store_leave(store);
    int error = 0;
    list_each(node, &store->logs) {
        struct log *log = list_entry(node, struct log, node);
        while (log->flush_to > 0)
            io_run(store->io, store->io->now_ns + 1000000000);
        if (!is_flushed(log) && !error)
            error = log->flush_error ? log->flush_error : -EIO;
    }
    store->flushes_alone = false;
    return error;
}
