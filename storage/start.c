// SPDX-License-Identifier: Apache-2.0
// The beginning of a start, before the first log_open, and its end, between the last log_open and
// the first request.
//
// 1. What recovery found behind the index files may be in the page cache only, if the crash was the
//    process's alone. It is made durable, with one sync of the file system for all logs, before
//    anything is served and before anything is written behind it. Recovery has written again what
//    a failed sync may have lost; if this one fails, nothing is served and no index written.
// 2. What only the journal had is written into segments, durably, before the journal begins anew;
//    and it begins only when every store of the directory has got so far (log_store_begin).
// 3. Without a journal everything works: a journal that cannot begin costs speed, not the start.
//    So does one with entries that cannot be written to a segment at present, on a full disk: it
//    stays as it is, the entries are served from memory, and the next start finds them again.
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log_line.h"
#include "storage/expect.h"
#include "storage/plant.h"
#include "storage/recover.h"
#include "storage/rest.h"
#include "storage/store.h"

enum { MEASURE_BLOCKS = 2 };

// --- the device

static int measure_file(struct log_store *store, const char *path, struct durable_measured *out)
{
    struct io *io = store->io;
    int flags = O_RDWR | O_CREAT | O_TRUNC | (store->direct ? O_DIRECT : 0);
    int fd = io_open_wait(io, path, flags, 0640);
    if (fd < 0)
        return fd;
    int error = -ENOMEM;
    struct buffer *buffer = pool_get(store->pool, MEASURE_BLOCKS * FORMAT_BLOCK);
    if (buffer) {
        memset(buffer->data, 0, MEASURE_BLOCKS * FORMAT_BLOCK);
        // Prewritten, as the journal is.
        int64_t written =
            io_write_wait(io, fd, buffer->data, MEASURE_BLOCKS * FORMAT_BLOCK, 0, true);
        error =
            written < 0 ? (int)written : durable_measure(io, fd, buffer->data, FORMAT_BLOCK, out);
        buffer_unref(buffer);
    }
    io_close_wait(io, fd);
    (void)io_remove_wait(io, path, false);
    return error;
}

static void measure(struct log_store *store, const struct log_store_options *options)
{
    static const char *const names[] = {"RWF_DSYNC", "write and fdatasync"};
    struct durable_measured measured = {0};
    char *path = NULL;
    if (asprintf(&path, "%s/.measure-%03u", store->topics, options->shard) < 0)
        return;
    int error = measure_file(store, path, &measured);
    free(path);
    if (error)
        return; // whoever writes next finds out
    store->way = measured.better;
    log_line(LOG_INFO,
             "shard %u: a durable write of 4 KiB takes %" PRIu64 " us with %s, %" PRIu64
             " us with %s; using %s",
             options->shard, measured.median_ns[DURABLE_DSYNC] / 1000, names[DURABLE_DSYNC],
             measured.median_ns[DURABLE_FSYNC] / 1000, names[DURABLE_FSYNC], names[store->way]);
}

int start_open(struct log_store *store, const struct log_store_options *options)
{
    if (options->sync == LOG_SYNC_AUTO && options->journal_bytes > 0)
        measure(store, options);
    struct journal_options journal = {
        .io = store->io,
        .pool = store->pool,
        .directory = options->directory,
        .shard = options->shard,
        .shard_count = options->shard_count,
        .owns = options->owns,
        .owns_context = options->owns_context,
        .bytes = options->journal_bytes,
        .file_bytes = options->journal_file_bytes,
        .direct = store->direct,
        .way = store->way,
    };
    struct journal_found found;
    int error = journal_open(&journal, &store->journal, &found);
    if (!error && found.entries > 0)
        log_line(LOG_INFO,
                 "shard %u: the journal has %" PRIu64 " entries (%" PRIu64 " bytes) in %" PRIu64
                 " commits that may not be in segments",
                 options->shard, found.entries, found.bytes, found.commits);
    store->stats.damaged_frames += found.damages;
    return error;
}

// --- all logs are open

void start_found(struct log_store *store)
{
    store->unsynced = true;
    store->settled = false;
}

int start_sync(struct log_store *store)
{
    if (!store->unsynced || store->sync_error)
        return store->sync_error;
    int error = io_sync_filesystem_wait(store->io, store->topics);
    if (error) {
        store->sync_error = error;
        log_line(LOG_ERROR, "syncing the file system of %s failed: %s", store->topics,
                 strerror(-error));
        return error;
    }
    store->unsynced = false;
    return 0;
}

int log_store_settle(struct log_store *store)
{
    expect_drop_all(store);
    rest_forget(store);
    if (store->settled)
        return store->unflushed;
    int error = start_sync(store);
    if (error)
        return error;
    error = planted(PLANT_BEGIN_UNSETTLED) ? 0 : flush_all_wait(store);
    int secured = 0;
    if (error) {
        log_line(LOG_WARN, "%s: not all that the journal had could be written to segments: %s",
                 store->topics, strerror(-error));
        secured = store->journal ? journal_secure(store->journal) : 0;
    }
    if (secured)
        return secured;
    store->unflushed =
        store->unflushed || error != 0 || (store->journal && journal_is_unreadable(store->journal));
    error = store->journal ? journal_settled(store->journal) : 0;
    store->settled = error == 0;
    return error ? error : store->unflushed;
}

int log_store_begin(struct log_store *store, bool all_opened)
{
    int error = log_store_settle(store);
    if (error < 0 || !store->journal)
        return error < 0 ? error : 0;
    error = journal_begin(store->journal, all_opened && !store->unflushed);
    if (error)
        log_line(LOG_WARN, "%s: there is no journal in this run, commits go to the segments: %s",
                 store->topics, strerror(-error));
    return 0;
}
