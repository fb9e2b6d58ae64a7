// SPDX-License-Identifier: Apache-2.0
// Making a segment file. Keeps rule 6 of the storage design: files are created with the directory
// synced, in an order that leaves every crash point recoverable.
//
//   directories made, their parents synced -> directory opened -> file made -> space allocated
//   -> header block durable -> directory synced -> the segment is the log's active one, the one
//   before is sealed
//
// 1. No frame is written before all of this is done. A crash on the way leaves at most an empty
//    file or one with a header and no frames: recovery removes the first and takes the second.
// 2. A file that could not be finished is removed, durably, before the log goes on in the segment
//    before: recovery takes nothing in that one that lies beyond the begin of this one. If that
//    cannot be done the log accepts nothing. The directory is open from before the file is made, so
//    that no lack of descriptors stands between.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/random.h"
#include "storage/plant.h"
#include "storage/store.h"

enum { ROLLED_BYTES_MAX = 16 * 1024 * 1024, DIRECTORY_ATTEMPTS = 4, CREATIONS_MAX = 32 };

struct creation {
    struct list node; // the store's, while it waits for its turn
    struct log *log;
    struct segment *segment;
    struct steps steps;
    struct io_op op;
    struct durable_op write;
    char *topic_directory;
    char *path;
    struct buffer *header;
    uint64_t allocate;  // size of the file
    uint64_t times_out; // the ballast's when this began
    int directory;      // -1 = not open
    int error;
    int attempts; // to make the directories
};

static void creation_free(struct creation *creation)
{
    if (creation->header)
        buffer_unref(creation->header);
    free(creation->topic_directory);
    free(creation->path);
    free(creation);
}

// There is no new segment.
static void creation_failed(struct creation *creation)
{
    struct log *log = creation->log;
    struct chunk *chunk = NULL;
    const struct tail_frame *first = tail_first(&log->tail, &chunk);
    segment_free(creation->segment);
    space_note(log, creation->error);
    if (log->deleting)
        return;
    bool full = creation->error == -ENOSPC && log_active(log);
    if (full && creation->times_out != log->store->ballast.times_out) {
        commit_unpark(log); // there is space since then
        return;
    }
    log->tail.roll_put_off = full;
    // What a torn write has left there must be overwritten from where it begins, which a frame that
    // was made for the begin of a segment cannot do: the next one will.
    bool torn_rest = first && log->tail.block;
    // Nothing but a snapshot of producers waits, for a segment that is not there.
    bool idle = first && first->held_size == 0 && log->end == log->committed &&
                list_empty(&log->trims) && list_empty(&log->trims_writing);
    if (!log->tail.roll_put_off || torn_rest || idle) {
        commit_fail(log, creation->error, "creating a segment file");
        return;
    }
    log->producers_at = -1; // the segment to come begins without them
    if (first)
        tail_join(&log->tail); // the segment goes on in the space that it has
    commit_unpark(log);
}

static void creations_next(struct log_store *store);

// The log goes on, with the segment or without.
static void creation_finish(struct creation *creation)
{
    struct log *log = creation->log;
    struct log_store *store = log->store;
    struct segment *previous = log_active(log);
    store_enter(store);
    log->creating = false;
    if (creation->error) {
        creation_failed(creation);
    } else {
        log_add_segment(log, creation->segment);
        segment_hold(creation->segment);
        segment_drop(creation->segment); // its descriptor counts as one that nobody uses
        if (!log->deleting) {
            tail_begin(&log->tail, creation->segment->header.base_offset);
            if (previous)
                segment_seal(previous);
            space_sealed(log);
            commit_unpark(log);
        }
    }
    creation_free(creation);
    log_unbusy(log);
    store->creations_running--;
    creations_next(store);
    store_leave(store);
}

static void directory_closed(struct io_op *op)
{
    creation_finish(list_entry(op, struct creation, op));
}

static void creation_end(struct creation *creation)
{
    if (creation->directory < 0) {
        creation_finish(creation);
        return;
    }
    creation->op.done = directory_closed;
    io_close(creation->log->store->io, &creation->op, creation->directory);
}

static void removed(struct steps *steps)
{
    struct creation *creation = list_entry(steps, struct creation, steps);
    // Should the file come back after a crash, what follows in the segment before would look like
    // the rest of a commit that failed.
    if (steps->error)
        creation->error = -EIO;
    creation_end(creation);
}

static void creation_undo(struct creation *creation, int64_t error)
{
    creation->error = (int)error;
    steps_init(&creation->steps, creation->log->store->io, removed);
    steps_add(&creation->steps, STEP_REMOVE_FILE, creation->path, NULL);
    steps_add_sync(&creation->steps, creation->directory);
    steps_run(&creation->steps);
}

static void directory_synced(struct steps *steps)
{
    struct creation *creation = list_entry(steps, struct creation, steps);
    if (steps->error)
        creation_undo(creation, steps->error);
    else
        creation_end(creation);
}

static void header_written(struct durable_op *op)
{
    struct creation *creation = list_entry(op, struct creation, write);
    if (op->result != FORMAT_BLOCK) {
        creation_undo(creation, op->result < 0 ? op->result : -EIO);
        return;
    }
    if (creation->segment->file_size < FORMAT_BLOCK)
        creation->segment->file_size = FORMAT_BLOCK;
    if (planted(PLANT_SKIP_DIRECTORY_SYNC)) {
        creation_end(creation);
        return;
    }
    steps_init(&creation->steps, creation->log->store->io, directory_synced);
    steps_add_sync(&creation->steps, creation->directory);
    steps_run(&creation->steps);
}

static void header_write(struct creation *creation)
{
    struct log_store *store = creation->log->store;
    struct segment *segment = creation->segment;
    format_segment_write(&segment->header, creation->header->data);
    creation->write.done = header_written;
    durable_write(&creation->write, store->io, store->way, segment->fd, creation->header->data,
                  FORMAT_BLOCK, 0);
}

static void space_allocated(struct io_op *op)
{
    struct creation *creation = list_entry(op, struct creation, op);
    if (op->result == -EOPNOTSUPP || op->result == -ENOSYS) {
        creation->log->store->can_allocate = false;
    } else if (op->result < 0) {
        creation_undo(creation, op->result);
        return;
    } else {
        creation->segment->file_size = creation->allocate;
    }
    header_write(creation);
}

static void file_opened(struct io_op *op)
{
    struct creation *creation = list_entry(op, struct creation, op);
    struct log_store *store = creation->log->store;
    if (op->result < 0) {
        creation->error = (int)op->result;
        creation_end(creation);
        return;
    }
    creation->segment->fd = (int)op->result;
    if (!store->can_allocate) {
        header_write(creation);
        return;
    }
    op->done = space_allocated;
    io_allocate(store->io, op, creation->segment->fd, 0, creation->allocate);
}

static void file_open(struct creation *creation)
{
    struct log_store *store = creation->log->store;
    creation->op.done = file_opened;
    io_open(store->io, &creation->op, creation->path,
            O_RDWR | O_CREAT | O_EXCL | (store->direct ? O_DIRECT : 0), 0640);
}

static void directory_opened(struct io_op *op)
{
    struct creation *creation = list_entry(op, struct creation, op);
    if (io_lacks_descriptors(op->result))
        segments_close_idle(creation->log->store, 0);
    if (op->result < 0) {
        creation->error = (int)op->result;
        creation_end(creation);
        return;
    }
    creation->directory = (int)op->result;
    file_open(creation);
}

static void directory_open(struct creation *creation)
{
    creation->op.done = directory_opened;
    io_open(creation->log->store->io, &creation->op, creation->log->directory,
            O_RDONLY | O_DIRECTORY, 0);
}

static void directories_make(struct creation *creation);

// Deleting the last log of a topic of the same name, by another store, may remove the topic's
// directory just before ours goes into it: then it is made again.
static void directories_made(struct steps *steps)
{
    struct creation *creation = list_entry(steps, struct creation, steps);
    creation->error = steps->error;
    if (steps->error == -ENOENT && ++creation->attempts < DIRECTORY_ATTEMPTS)
        directories_make(creation);
    else if (steps->error)
        creation_end(creation);
    else
        directory_open(creation);
}

// The first segment of a log: the directories above it may be new, and another log's creation may
// have made them and not synced them yet.
static void directories_make(struct creation *creation)
{
    struct log *log = creation->log;
    struct steps *steps = &creation->steps;
    steps_init(steps, log->store->io, directories_made);
    steps_add(steps, STEP_MAKE_DIRECTORY, creation->topic_directory, NULL);
    steps_add(steps, STEP_MAKE_DIRECTORY, log->directory, NULL);
    steps_add(steps, STEP_SYNC_DIRECTORY, log->store->topics, NULL);
    steps_add(steps, STEP_SYNC_DIRECTORY, creation->topic_directory, NULL);
    steps_run(steps);
}

// A log that fills its segments gets more space at once than one that begins.
static void creation_size(struct creation *creation, uint64_t frame_size)
{
    const struct segment *previous = log_active(creation->log);
    creation->allocate = SEGMENT_FIRST_BYTES;
    if (creation->allocate < FORMAT_BLOCK + frame_size)
        creation->allocate = format_next_block(FORMAT_BLOCK + frame_size);
    creation->allocate += (uint64_t)creation->log->config.reserve_bytes;
    if (previous) {
        uint64_t more = previous->end / 4 & ~(uint64_t)(FORMAT_BLOCK - 1);
        if (more > ROLLED_BYTES_MAX)
            more = ROLLED_BYTES_MAX;
        if (creation->allocate < more)
            creation->allocate = more;
    }
}

static struct creation *creation_new(struct log *log, int64_t base_offset, uint64_t sequence)
{
    struct creation *creation = calloc(1, sizeof(*creation));
    if (!creation)
        return NULL;
    struct segment_header header = {
        .topic_id = log->topic_id,
        .partition = log->partition,
        .base_offset = base_offset,
        .log_start = log->start,
        .created_ms = log->store->io->wall_ms,
        .alignment = FORMAT_ALIGNMENT,
        .first_sequence = sequence,
    };
    random_system(&header.salt, sizeof(header.salt));
    creation->log = log;
    creation->directory = -1;
    creation->path = segment_path(log, header.base_offset, ".log");
    if (asprintf(&creation->topic_directory, "%s/%s", log->store->topics, log->topic) < 0)
        creation->topic_directory = NULL;
    creation->header = pool_get(log->store->pool, FORMAT_BLOCK);
    creation->segment = segment_new(log, &header);
    if (creation->path && creation->topic_directory && creation->header && creation->segment &&
        log_reserve_segment(log) == 0)
        return creation;
    if (creation->segment)
        segment_free(creation->segment);
    creation_free(creation);
    return NULL;
}

// Each takes descriptors that no limit of open segments counts.
static void creations_next(struct log_store *store)
{
    while (store->creations_running < CREATIONS_MAX && !list_empty(&store->creations)) {
        struct creation *creation = list_entry(list_pop(&store->creations), struct creation, node);
        store->creations_running++;
        if (creation->log->segment_count == 0)
            directories_make(creation);
        else
            directory_open(creation);
    }
}

void create_start(struct log *log, int64_t base_offset, uint64_t sequence, uint64_t frame_size)
{
    CHECK(log->way == WAY_PARKED && !log->creating);
    struct creation *creation = creation_new(log, base_offset, sequence);
    if (!creation) {
        commit_fail(log, -ENOMEM, "creating a segment file");
        return;
    }
    creation_size(creation, frame_size);
    creation->times_out = log->store->ballast.times_out;
    log->creating = true;
    log_busy(log);
    list_append(&log->store->creations, &creation->node);
    creations_next(log->store);
}
