// SPDX-License-Identifier: Apache-2.0
// Deleting a whole log. Keeps rule 6 of the storage design for it:
//
//   directory renamed to "<name>.deleted", parent synced -> files removed -> directory removed
//
// 1. The rename is the moment of deletion; a crash later leaves only a directory with that ending,
//    which the next start removes.
// 2. Nothing is renamed while an operation of the log is in flight.
// 3. A failure on the way is reported to the caller; what is left is removed at the next start.
// 4. At most STORE_DELETIONS are under way, so that deleting a topic of many partitions leaves
//    descriptors for others; the rest wait for their turn.
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "storage/listing.h"
#include "storage/store.h"

static const char deleted_suffix[] = ".deleted";

struct deletion {
    struct steps steps;
    struct log *log;
    char *topic_directory;
    char *target;
    char *path;
    char *index_path;
};

static void delete_begin(struct log *log);

// The next one's turn.
static void delete_next(struct log_store *store)
{
    struct list *node;
    while (store->deletes_active < STORE_DELETIONS && (node = list_pop(&store->deletes_waiting)))
        delete_begin(list_entry(node, struct log, delete_node));
}

static void deletion_end(struct deletion *deletion, int error)
{
    struct log *log = deletion->log;
    struct log_store *store = log->store;
    store_enter(store);
    store->deletes_active--;
    space_freed(store);
    log->delete_op->error = error;
    list_append(&store->ready.deletes, &log->delete_op->node);
    free(deletion->topic_directory);
    free(deletion->target);
    free(deletion->path);
    free(deletion->index_path);
    free(deletion);
    log_free(log);
    store->deletes_running--;
    delete_next(store);
    store_leave(store);
}

static void directory_removed(struct steps *steps)
{
    deletion_end(list_entry(steps, struct deletion, steps), steps->error);
}

static void remove_directory(struct deletion *deletion)
{
    struct log_store *store = deletion->log->store;
    steps_init(&deletion->steps, store->io, directory_removed);
    steps_add(&deletion->steps, STEP_REMOVE_DIRECTORY, deletion->target, NULL);
    steps_add(&deletion->steps, STEP_REMOVE_DIRECTORY, deletion->topic_directory, NULL);
    steps_add(&deletion->steps, STEP_SYNC_DIRECTORY, store->topics, NULL);
    steps_run(&deletion->steps);
}

static void segment_removed(struct steps *steps);

// One segment after the other, each with its index.
static void remove_next(struct deletion *deletion)
{
    struct log *log = deletion->log;
    free(deletion->path);
    free(deletion->index_path);
    deletion->path = NULL;
    deletion->index_path = NULL;
    if (log->segment_count == 0) {
        remove_directory(deletion);
        return;
    }
    struct segment *segment = log_active(log);
    int64_t base = segment->header.base_offset;
    log->segment_count--;
    segment_free(segment);
    if (asprintf(&deletion->path, "%s/%020" PRId64 ".log", deletion->target, base) < 0)
        deletion->path = NULL;
    if (asprintf(&deletion->index_path, "%s/%020" PRId64 ".index", deletion->target, base) < 0)
        deletion->index_path = NULL;
    if (!deletion->path || !deletion->index_path) {
        deletion_end(deletion, -ENOMEM);
        return;
    }
    steps_init(&deletion->steps, log->store->io, segment_removed);
    steps_add(&deletion->steps, STEP_REMOVE_FILE, deletion->index_path, NULL);
    steps_add(&deletion->steps, STEP_REMOVE_FILE, deletion->path, NULL);
    steps_run(&deletion->steps);
}

static void segment_removed(struct steps *steps)
{
    struct deletion *deletion = list_entry(steps, struct deletion, steps);
    if (steps->error)
        deletion_end(deletion, steps->error);
    else
        remove_next(deletion);
}

static void renamed(struct steps *steps)
{
    struct deletion *deletion = list_entry(steps, struct deletion, steps);
    if (steps->error)
        deletion_end(deletion, steps->error);
    else
        remove_next(deletion);
}

// The files stay, the log goes.
static void give_up(struct log *log)
{
    struct log_store *store = log->store;
    log->delete_op->error = -ENOMEM;
    list_append(&store->ready.deletes, &log->delete_op->node);
    log_free(log);
    store->deletes_running--;
    store_kick(store);
}

static void delete_begin(struct log *log)
{
    struct log_store *store = log->store;
    struct deletion *deletion = calloc(1, sizeof(*deletion));
    if (!deletion) {
        give_up(log);
        return;
    }
    deletion->log = log;
    if (asprintf(&deletion->topic_directory, "%s/%s", store->topics, log->topic) < 0)
        deletion->topic_directory = NULL;
    if (asprintf(&deletion->target, "%s%s", log->directory, deleted_suffix) < 0)
        deletion->target = NULL;
    if (!deletion->topic_directory || !deletion->target) {
        free(deletion->topic_directory);
        free(deletion->target);
        free(deletion);
        give_up(log);
        return;
    }
    store->deletes_active++;
    steps_init(&deletion->steps, store->io, renamed);
    steps_add(&deletion->steps, STEP_RENAME, log->directory, deletion->target);
    if (log->segment_count > 0)
        steps_add(&deletion->steps, STEP_SYNC_DIRECTORY, deletion->topic_directory, NULL);
    steps_run(&deletion->steps);
}

void delete_continue(struct log *log)
{
    list_append(&log->store->deletes_waiting, &log->delete_node);
    delete_next(log->store);
}

void log_delete(struct log *log, struct log_delete *op)
{
    op->error = 0;
    log->deleting = true;
    log->delete_op = op;
    log->store->deletes_running++;
    commit_abandon(log);
    compact_stop(log->store);
    log_fire(log);
    if (log->busy == 0)
        delete_continue(log);
}

// --- at start-up. The stores of all shards sweep the same directories at the same time: what is
// gone already was removed by another one.

static int remove_wait(struct io *io, const char *directory, const char *name, bool is_directory)
{
    char *path = NULL;
    if (asprintf(&path, "%s/%s", directory, name) < 0)
        return -ENOMEM;
    int error = io_remove_wait(io, path, is_directory);
    free(path);
    return error;
}

static int remove_deleted(struct io *io, const char *topic_directory, const char *name)
{
    char *path = NULL;
    if (asprintf(&path, "%s/%s", topic_directory, name) < 0)
        return -ENOMEM;
    struct listing files;
    int error = listing_read(&files, io, path);
    if (error == -ENOENT)
        error = 0;
    for (size_t i = 0; i < files.count && !error; i++)
        error = remove_wait(io, path, files.names[i], false);
    listing_free(&files);
    free(path);
    return error ? error : remove_wait(io, topic_directory, name, true);
}

static bool is_deleted(const char *name)
{
    size_t length = strlen(name);
    size_t suffix = sizeof(deleted_suffix) - 1;
    return length > suffix && strcmp(name + length - suffix, deleted_suffix) == 0;
}

static int sweep_topic(struct io *io, const char *topics, const char *topic)
{
    char *path = NULL;
    if (asprintf(&path, "%s/%s", topics, topic) < 0)
        return -ENOMEM;
    struct listing logs;
    int error = listing_read(&logs, io, path);
    if (error == -ENOTDIR || error == -ENOENT)
        error = 0;
    for (size_t i = 0; i < logs.count && !error; i++) {
        if (is_deleted(logs.names[i]))
            error = remove_deleted(io, path, logs.names[i]);
    }
    listing_free(&logs);
    free(path);
    return error;
}

int delete_sweep(struct log_store *store)
{
    struct listing topics;
    int error = listing_read(&topics, store->io, store->topics);
    for (size_t i = 0; i < topics.count && !error; i++)
        error = sweep_topic(store->io, store->topics, topics.names[i]);
    listing_free(&topics);
    return error;
}
