// SPDX-License-Identifier: Apache-2.0
// Runs a list of file-system changes. Syncing a directory is three operations (open, sync, close),
// every other step is one.
#include "storage/steps.h"

#include <errno.h>

#include "base/check.h"

static void step_start(struct steps *steps);

void steps_init(struct steps *steps, struct io *io, void (*done)(struct steps *steps))
{
    steps->done = done;
    steps->error = 0;
    steps->io = io;
    steps->count = 0;
    steps->at = 0;
    steps->fd = -1;
}

void steps_add(struct steps *steps, enum step_kind kind, const char *path, const char *target)
{
    CHECK(steps->count < STEPS_MAX);
    steps->list[steps->count++] = (struct step){.kind = kind, .path = path, .target = target};
}

void steps_add_sync(struct steps *steps, int fd)
{
    CHECK(steps->count < STEPS_MAX);
    steps->list[steps->count++] = (struct step){.kind = STEP_SYNC_OPEN, .fd = fd};
}

static int step_error(enum step_kind kind, int64_t result)
{
    if (result >= 0)
        return 0;
    bool fine = (kind == STEP_MAKE_DIRECTORY && result == -EEXIST) ||
                (kind == STEP_REMOVE_DIRECTORY &&
                 (result == -ENOENT || result == -ENOTEMPTY || result == -EEXIST)) ||
                ((kind == STEP_REMOVE_FILE || kind == STEP_RENAME) && result == -ENOENT);
    return fine ? 0 : (int)result;
}

static void step_next(struct steps *steps, int error)
{
    steps->at++;
    if (error)
        steps->error = error;
    if (error || steps->at == steps->count)
        steps->done(steps);
    else
        step_start(steps);
}

static void step_done(struct io_op *op)
{
    struct steps *steps = list_entry(op, struct steps, op);
    step_next(steps, step_error(steps->list[steps->at].kind, op->result));
}

static void directory_closed(struct io_op *op)
{
    struct steps *steps = list_entry(op, struct steps, op);
    step_next(steps, steps->error);
}

static void directory_synced(struct io_op *op)
{
    struct steps *steps = list_entry(op, struct steps, op);
    steps->error = op->result < 0 ? (int)op->result : 0;
    op->done = directory_closed;
    io_close(steps->io, op, steps->fd);
}

static void directory_opened(struct io_op *op)
{
    struct steps *steps = list_entry(op, struct steps, op);
    if (op->result < 0) {
        step_next(steps, (int)op->result);
        return;
    }
    steps->fd = (int)op->result;
    op->done = directory_synced;
    io_sync(steps->io, op, steps->fd, false);
}

static void step_start(struct steps *steps)
{
    const struct step *step = &steps->list[steps->at];
    steps->op.done = step_done;
    switch (step->kind) {
    case STEP_MAKE_DIRECTORY:
        io_mkdir(steps->io, &steps->op, step->path, 0750);
        break;
    case STEP_REMOVE_DIRECTORY:
        io_unlink(steps->io, &steps->op, step->path, true);
        break;
    case STEP_REMOVE_FILE:
        io_unlink(steps->io, &steps->op, step->path, false);
        break;
    case STEP_RENAME:
        io_rename(steps->io, &steps->op, step->path, step->target);
        break;
    case STEP_SYNC_DIRECTORY:
        steps->op.done = directory_opened;
        io_open(steps->io, &steps->op, step->path, O_RDONLY | O_DIRECTORY, 0);
        break;
    case STEP_SYNC_OPEN:
        io_sync(steps->io, &steps->op, step->fd, false);
        break;
    }
}

void steps_run(struct steps *steps)
{
    CHECK(steps->count > 0);
    step_start(steps);
}
