// SPDX-License-Identifier: Apache-2.0
// Index files. One is written when a segment is sealed, and one now and then for the active
// segment: then it is a checkpoint, and a start scans only what lies behind it.
//
// 1. It covers frames that are durable in the segment (`end`), nothing else; a segment with damaged
//    frames gets none, so that each start finds and names them again.
// 2. It is written beside and renamed, so there always is a whole one if there ever was. It is not
//    synced: one that is lost, torn or old costs only the time to scan.
// 3. It is never written for a log that holds what recovery has found and nobody has synced
//    (start.c).
// 4. One at a time for a segment; a segment that is sealed meanwhile gets another one after it.
//
//   sealing:    open it, truncate ->
//   checkpoint:             open beside -> write -> close -> rename
#include <errno.h>
#include <stdlib.h>

#include "storage/plant.h"
#include "storage/producers_snapshot.h"
#include "storage/store.h"

enum {
    CHECKPOINT_MIN = 1024 * 1024,
    CHECKPOINT_MAX = 32 * 1024 * 1024,
    CHECKPOINT_SHARE = 16, // of the segment
    CHECKPOINTS = 8,       // of active segments, at a time
};

struct checkpoint {
    struct io_op op;
    struct segment_open open; // of the segment
    struct segment *segment;
    char *path;
    char *beside;
    uint8_t *image;
    size_t size;
    uint64_t covered;
    int64_t log_start;
    int fd;
    bool active;
    bool failed;
};

static void checkpoint_free(struct checkpoint *checkpoint)
{
    free(checkpoint->path);
    free(checkpoint->beside);
    free(checkpoint->image);
    free(checkpoint);
}

static void checkpoint_end(struct checkpoint *checkpoint)
{
    struct segment *segment = checkpoint->segment;
    struct log *log = segment->log;
    struct log_store *store = log->store;
    bool active = checkpoint->active;
    store_enter(store);
    if (!checkpoint->failed) {
        segment->covered = checkpoint->covered;
        segment->log_start = checkpoint->log_start;
        segment->image_size = (uint32_t)checkpoint->size;
    }
    checkpoint_free(checkpoint);
    segment->sealing = false;
    if (active)
        store->checkpoints_running--;
    if (active && segment->sealed && !segment->removed && !log->deleting)
        segment_seal(segment);
    segment_drop(segment);
    log_unbusy(log);
    store_leave(store);
}

static void ended(struct io_op *op)
{
    struct checkpoint *checkpoint = list_entry(op, struct checkpoint, op);
    checkpoint->failed = checkpoint->failed || op->result < 0;
    checkpoint_end(checkpoint);
}

static void closed(struct io_op *op)
{
    struct checkpoint *checkpoint = list_entry(op, struct checkpoint, op);
    struct io *io = checkpoint->segment->log->store->io;
    op->done = ended;
    if (checkpoint->failed)
        io_unlink(io, op, checkpoint->beside, false);
    else
        io_rename(io, op, checkpoint->beside, checkpoint->path);
}

static void written(struct io_op *op)
{
    struct checkpoint *checkpoint = list_entry(op, struct checkpoint, op);
    checkpoint->failed = op->result != (int64_t)checkpoint->size;
    op->done = closed;
    io_close(checkpoint->segment->log->store->io, op, checkpoint->fd);
}

static void opened(struct io_op *op)
{
    struct checkpoint *checkpoint = list_entry(op, struct checkpoint, op);
    if (op->result < 0) {
        checkpoint->failed = true;
        checkpoint_end(checkpoint);
        return;
    }
    checkpoint->fd = (int)op->result;
    op->done = written;
    io_write(checkpoint->segment->log->store->io, op, checkpoint->fd, checkpoint->image,
             checkpoint->size, 0, false);
}

static void open_beside(struct checkpoint *checkpoint)
{
    if (!checkpoint->image) {
        checkpoint->failed = true;
        checkpoint_end(checkpoint);
        return;
    }
    checkpoint->op.done = opened;
    io_open(checkpoint->segment->log->store->io, &checkpoint->op, checkpoint->beside,
            O_WRONLY | O_CREAT | O_TRUNC, 0640);
}

static void truncated(struct io_op *op)
{
    struct checkpoint *checkpoint = list_entry(op, struct checkpoint, op);
    struct segment *segment = checkpoint->segment;
    if (op->result >= 0)
        segment->file_size = segment->end;
    open_beside(checkpoint);
}

static void truncate_start(struct checkpoint *checkpoint)
{
    struct segment *segment = checkpoint->segment;
    checkpoint->op.done = truncated;
    io_truncate(segment->log->store->io, &checkpoint->op, segment->fd, segment->end);
}

static void segment_opened(struct segment_open *open)
{
    struct checkpoint *checkpoint = list_entry(open, struct checkpoint, open);
    if (open->error)
        open_beside(checkpoint);
    else
        truncate_start(checkpoint);
}

// The snapshot with which it begins may not be whole: a start has to look.
static bool is_begun_only(const struct segment *segment)
{
    return !segment_has_records(segment) && !retain_has_producers(segment->log);
}

// An index without the producers would say that there are none.
uint8_t *segment_index_image(const struct segment *segment, size_t *size)
{
    struct index_header header = {
        .salt = segment->header.salt,
        .base_offset = segment->header.base_offset,
        .covered = segment->end,
        .next_offset = segment->next_offset,
        .last_frame = segment->last_frame,
        .sequence = segment->next_sequence,
        .max_timestamp = segment->max_timestamp,
        .log_start = segment->log->start,
    };
    uint8_t *producers;
    size_t producers_size;
    if (segment->log->producers_gap || is_begun_only(segment))
        return NULL;
    if (producers_snapshot_image(&segment->log->producers, PRODUCERS_COMMITTED, &producers,
                                 &producers_size) != 0)
        return NULL;
    if (planted(PLANT_CHECKPOINT_EARLY) && !segment->sealed)
        header.covered += FORMAT_BLOCK;
    uint8_t *image =
        index_image(&segment->index, &header, span_of(producers, producers_size), size);
    free(producers);
    return image;
}

// NULL without memory. The image is left out for a segment with damage.
static struct checkpoint *checkpoint_new(struct segment *segment)
{
    struct checkpoint *checkpoint = calloc(1, sizeof(*checkpoint));
    if (!checkpoint)
        return NULL;
    checkpoint->segment = segment;
    checkpoint->covered = segment->end;
    checkpoint->log_start = segment->log->start;
    checkpoint->path = segment_path(segment->log, segment->header.base_offset, ".index");
    checkpoint->beside = segment_path(segment->log, segment->header.base_offset, ".index.new");
    if (!segment->damaged)
        checkpoint->image = segment_index_image(segment, &checkpoint->size);
    if (checkpoint->path && checkpoint->beside && (checkpoint->image || segment->damaged))
        return checkpoint;
    checkpoint_free(checkpoint);
    return NULL;
}

void segment_seal(struct segment *segment)
{
    struct log *log = segment->log;
    segment->sealed = true;
    if (segment->ahead.running || segment->sealing)
        return; // who is at it calls again; ahead.c must not write behind the cut
    struct checkpoint *checkpoint = checkpoint_new(segment);
    if (!checkpoint)
        return;
    segment->sealing = true;
    segment_hold(segment);
    log_busy(log);
    checkpoint->open.done = segment_opened;
    if (segment->fd >= 0)
        truncate_start(checkpoint);
    else
        segment_open(segment, &checkpoint->open);
}

static bool is_due(struct segment *segment, bool quiet)
{
    uint64_t covered = segment->covered > 0 ? segment->covered : FORMAT_BLOCK;
    if (segment->end <= covered)
        return false;
    if (quiet && segment->quiet_end == segment->end)
        return true;
    if (quiet)
        segment->quiet_end = segment->end;
    uint64_t least = segment->end / CHECKPOINT_SHARE;
    least = least > CHECKPOINT_MIN ? least : CHECKPOINT_MIN;
    least = least < CHECKPOINT_MAX ? least : CHECKPOINT_MAX;
    if (least < 4 * (uint64_t)segment->image_size)
        least = 4 * (uint64_t)segment->image_size; // many producers make it large
    return segment->end - covered >= least;
}

void checkpoint_look(struct log *log, bool quiet)
{
    struct log_store *store = log->store;
    struct segment *segment = log_active(log);
    if (!segment || segment->sealed || segment->sealing || segment->damaged || segment->bad ||
        log->deleting || store->closing || store->unsynced ||
        store->checkpoints_running >= CHECKPOINTS || !is_due(segment, quiet))
        return;
    struct checkpoint *checkpoint = checkpoint_new(segment);
    if (!checkpoint)
        return;
    checkpoint->active = true;
    store->checkpoints_running++;
    segment->sealing = true;
    segment_hold(segment);
    log_busy(log);
    open_beside(checkpoint);
}
