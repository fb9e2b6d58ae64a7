// SPDX-License-Identifier: Apache-2.0
// The store: the logs of one shard, and the two things they share, commit rounds and the telling
// of users.
//
// 1. A user's `done` is called from store_turn only, when no function of ours is half way through
//    changing a log. So it may call anything of storage/log.h.
// 2. Whoever makes something ready or dirty outside of a callback asks for a turn (store_kick),
//    which comes with the next io_run: appends that arrive in one batch of callbacks thus share
//    a commit.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/log_line.h"
#include "storage/expect.h"
#include "storage/rest.h"
#include "storage/store.h"

static void store_turn(struct log_store *store);

static void kick_done(struct io_op *op)
{
    struct log_store *store = list_entry(op, struct log_store, kick);
    store->kicked = false;
    store_enter(store);
    store_leave(store);
}

void store_kick(struct log_store *store)
{
    if (store->kicked || store->depth > 0)
        return;
    store->kicked = true;
    store->kick.done = kick_done;
    io_nop(store->io, &store->kick);
}

static bool ready_is_empty(const struct store_ready *ready)
{
    return list_empty(&ready->appends) && list_empty(&ready->reads) &&
           list_empty(&ready->lookups) && list_empty(&ready->trims) &&
           list_empty(&ready->watches) && list_empty(&ready->deletes);
}

void store_enter(struct log_store *store)
{
    store->depth++;
}

void store_leave(struct log_store *store)
{
    if (store->depth == 1)
        store_turn(store);
    store->depth--;
    // What ended in this turn, without an operation that is still to come, was not looked at.
    bool more = !list_empty(&store->dirty) || !ready_is_empty(&store->ready) || flush_is_due(store);
    if (store->depth == 0 && more)
        store_kick(store);
}

static void ready_init(struct store_ready *ready)
{
    list_init(&ready->appends);
    list_init(&ready->reads);
    list_init(&ready->lookups);
    list_init(&ready->trims);
    list_init(&ready->watches);
    list_init(&ready->deletes);
}

static void tell_appends(struct list *list)
{
    for (struct list *node; (node = list_pop(list));) {
        struct log_append *op = list_entry(node, struct log_append, node);
        op->done(op);
    }
}

static void tell_reads(struct list *list)
{
    for (struct list *node; (node = list_pop(list));) {
        struct log_read *op = list_entry(node, struct log_read, node);
        op->done(op);
    }
}

static void tell_lookups(struct list *list)
{
    for (struct list *node; (node = list_pop(list));) {
        struct log_time_lookup *op = list_entry(node, struct log_time_lookup, node);
        op->done(op);
    }
}

static void tell_trims(struct list *list)
{
    for (struct list *node; (node = list_pop(list));) {
        struct log_trim *op = list_entry(node, struct log_trim, node);
        op->done(op);
    }
}

static void tell_watches(struct list *list)
{
    for (struct list *node; (node = list_pop(list));) {
        struct log_watch *watch = list_entry(node, struct log_watch, node);
        watch->set = false;
        watch->fired(watch);
    }
}

static void tell_deletes(struct list *list)
{
    for (struct list *node; (node = list_pop(list));) {
        struct log_delete *op = list_entry(node, struct log_delete, node);
        op->done(op);
    }
}

// What becomes ready while the users are told waits for the next turn, so that a user who always
// asks again cannot hold up the loop.
static void store_turn(struct log_store *store)
{
    struct store_ready now;
    ready_init(&now);
    list_splice(&now.appends, &store->ready.appends);
    list_splice(&now.reads, &store->ready.reads);
    list_splice(&now.lookups, &store->ready.lookups);
    list_splice(&now.trims, &store->ready.trims);
    list_splice(&now.watches, &store->ready.watches);
    list_splice(&now.deletes, &store->ready.deletes);
    tell_appends(&now.appends);
    tell_reads(&now.reads);
    tell_lookups(&now.lookups);
    tell_trims(&now.trims);
    tell_watches(&now.watches);
    tell_deletes(&now.deletes);
    commit_run(store);
}

// --- opening

// Whether the file system takes O_DIRECT, and whether the directory can be written at all. Stores
// of several shards do this at the same time, each with a file of its own.
static int probe(struct log_store *store)
{
    char *path = NULL;
    if (asprintf(&path, "%s/.probe-%d", store->topics, (int)gettid()) < 0)
        return -ENOMEM;
    int flags = O_RDWR | O_CREAT | O_TRUNC;
    int fd = -EINVAL;
    if (store->direct)
        fd = io_open_wait(store->io, path, flags | O_DIRECT, 0640);
    if (fd == -EINVAL) {
        store->direct = false;
        fd = io_open_wait(store->io, path, flags, 0640);
    }
    int error = fd < 0 ? fd : io_close_wait(store->io, fd);
    if (fd >= 0)
        (void)io_remove_wait(store->io, path, false);
    free(path);
    return error;
}

static int make_directory(struct io *io, const char *path)
{
    struct io_op op = {0};
    io_mkdir(io, &op, path, 0750);
    int64_t result = io_wait(io, &op);
    return result < 0 && result != -EEXIST ? (int)result : 0;
}

// The data directory may be new, and its name must last as long as what is put into it. Where the
// parent may not be opened, it is not ours to care for.
static int sync_parent(struct io *io, const char *directory)
{
    char *parent = strdup(directory);
    if (!parent)
        return -ENOMEM;
    size_t end = strlen(parent);
    while (end > 1 && parent[end - 1] == '/')
        end--;
    while (end > 0 && parent[end - 1] != '/')
        end--;
    parent[end] = 0;
    int error = io_sync_directory_wait(io, end > 0 ? parent : ".");
    free(parent);
    return error == -EACCES || error == -EPERM ? 0 : error;
}

static int make_directories(struct log_store *store, const char *directory)
{
    int error = make_directory(store->io, directory);
    if (!error)
        error = sync_parent(store->io, directory);
    if (!error)
        error = make_directory(store->io, store->topics);
    if (!error)
        error = io_sync_directory_wait(store->io, directory);
    return error ? error : probe(store);
}

static void store_free(struct log_store *store)
{
    rest_free(store);
    cache_free(&store->reads);
    if (store->spare_block)
        buffer_unref(store->spare_block);
    free(store->topics);
    free(store);
}

int log_store_open(const struct log_store_options *options, struct log_store **out)
{
    struct log_store *store = calloc(1, sizeof(*store));
    if (!store)
        return -ENOMEM;
    store->io = options->io;
    store->pool = options->pool;
    store->direct = options->direct;
    store->producer_expiry_ms = options->producer_expiry_ms > 0 ? options->producer_expiry_ms : -1;
    store->opened_ms = options->io->wall_ms;
    store->opened_ns = options->io->now_ns;
    store->can_allocate = true;
    compact_init(&store->compactor, &options->compaction);
    list_init(&store->logs);
    list_init(&store->expectations);
    list_init(&store->deletes_waiting);
    list_init(&store->dirty);
    list_init(&store->journal_waiting);
    list_init(&store->journal_running);
    list_init(&store->block_waiting);
    list_init(&store->flushes);
    list_init(&store->open_waiting);
    list_init(&store->idle_files);
    list_init(&store->creations);
    store->idle_file_limit = options->open_files ? options->open_files : STORE_OPEN_FILES;
    store->way = options->sync == LOG_SYNC_FSYNC ? DURABLE_FSYNC : DURABLE_DSYNC;
    ready_init(&store->ready);
    tail_cache_init(&store->cache, options->pool, options->tail_cache_bytes);
    cache_init(&store->reads, store, options->read_cache_bytes);
    store->spare_block = pool_get(options->pool, FORMAT_BLOCK);
    if (asprintf(&store->topics, "%s/topics", options->directory) < 0)
        store->topics = NULL;
    int error = store->spare_block && store->topics ? 0 : -ENOMEM;
    if (!error)
        error = make_directories(store, options->directory);
    if (!error)
        error = rest_open(store, options);
    if (!error)
        error = delete_sweep(store);
    if (!error)
        error = space_open(store, options);
    if (!error)
        error = start_open(store, options);
    if (error) {
        space_close(store);
        store_free(store);
        return error;
    }
    *out = store;
    return 0;
}

struct log_store_stats log_store_stats(const struct log_store *store)
{
    struct log_store_stats stats = store->stats;
    if (store->journal) {
        struct journal_stats journal = journal_stats(store->journal);
        stats.journal_commits = journal.commits;
        stats.journal_bytes = journal.written_bytes;
    }
    return stats;
}

bool log_store_is_journalling(const struct log_store *store)
{
    return store->journal && journal_state(store->journal) == JOURNAL_BUSY;
}

// --- closing

static bool is_busy(const struct log_store *store)
{
    if (store->kicked || store->closes_running > 0 || store->deletes_running > 0 ||
        !list_empty(&store->dirty) || !list_empty(&store->open_waiting) ||
        !list_empty(&store->journal_waiting) || !list_empty(&store->flushes) ||
        !ready_is_empty(&store->ready) || store->ballast.op.pending || store->reads.pause.pending)
        return true;
    list_each(node, &store->logs) {
        if (list_entry(node, struct log, node)->busy > 0)
            return true;
    }
    return false;
}

static void run_until_quiet(struct log_store *store)
{
    while (is_busy(store))
        io_run(store->io, store->io->now_ns + 1000000000);
}

// Gives back the space allocated ahead and leaves an index that says how far the segment reaches.
// A log that has failed was told of then: it stays as it is, and the end is orderly all the same.
static int close_log(struct log *log)
{
    struct io *io = log->store->io;
    struct segment *active = log_active(log);
    if (!active || log->error || log->store->unsynced ||
        (active->covered == active->end && active->file_size == active->end &&
         active->log_start >= log->start))
        return 0;
    if (active->fd < 0) {
        if (active->last_frame > 0)
            segment_seal(active);
        return 0;
    }
    segment_hold(active); // others must not close the file meanwhile
    struct io_op op = {0};
    io_truncate(io, &op, active->fd, active->end);
    int64_t result = io_wait(io, &op);
    if (result >= 0 && active->last_frame > 0)
        segment_seal(active);
    segment_drop(active);
    return result < 0 ? (int)result : 0;
}

// A few at a time: each has files open.
static int close_logs(struct log_store *store)
{
    enum { AT_A_TIME = 64 };
    int error = 0;
    uint32_t count = 0;
    list_each(node, &store->logs) {
        int one = close_log(list_entry(node, struct log, node));
        error = error ? error : one;
        if (++count % AT_A_TIME == 0)
            run_until_quiet(store);
    }
    run_until_quiet(store);
    return error;
}

int log_store_close(struct log_store *store)
{
    store->closing = true;
    expect_drop_all(store);
    int error = start_sync(store);
    compact_stop(store);
    list_each(node, &store->logs)
        log_fire(list_entry(node, struct log, node));
    run_until_quiet(store);
    int flushed = flush_all_wait(store); // what cannot be has said so; the journal keeps it
    run_until_quiet(store);
    int closed = close_logs(store);
    error = error ? error : closed;
    if (store->journal) {
        int one = journal_close(store->journal);
        error = error ? error : one;
        store->journal = NULL;
    }
    if (!error && !flushed && !store->unflushed)
        rest_write(store);
    list_each(node, &store->logs)
        log_free(list_entry(node, struct log, node));
    run_until_quiet(store);
    space_close(store);
    store_free(store);
    return error;
}
