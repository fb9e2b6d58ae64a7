// SPDX-License-Identifier: Apache-2.0
// The ring of journal files: which one takes commits, which one is ready to be the next, making a
// file ready, and prewriting.
//
//   free --new life--> next --switch--> current --switch--> held --all flushed--> free
//
// 1. A file's new life begins with its header block, durable, and its name, durable, before it is
//    `next`, and is announced by a commit of the file before it (journal_write.c): so a start knows
//    that it must be there.
// 2. A file gets a new life only when nothing in it is needed, nor in any file before it: a start
//    expects every commit from the first needed one on.
// 3. Commits go only where the file was written before, with zeros at least: there a durable write
//    changes no metadata. Zeros are written behind that, never into it.
// 4. Until the header of the new life is durable the old one is there, whole, and with it commits
//    that a start may look for: the block's first sector is written all or nothing.
// 5. A file whose header could not be written is not touched again in this run (rule 5 of the
//    storage design).
//
// A journal begins with one file of 1 MiB, which doubles while it is used. One operation of making
// ready is under way at a time; when it fails for want of space, or space is to be spared, the
// journal is FULL for a while, and commits go to segments.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/log_line.h"
#include "base/random.h"
#include "storage/journal_internal.h"
#include "storage/plant.h"

enum { RETRY_S = 1 };

static const uint8_t zeros[JOURNAL_PIECE] __attribute__((aligned(BUFFER_ALIGN)));

static uint64_t at_most(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

struct journal_file *journal_file_new(struct journal *journal, uint32_t slot)
{
    struct journal_file *file = calloc(1, sizeof(*file));
    if (!file)
        return NULL;
    file->slot = slot;
    file->fd = -1;
    list_init(&file->node);
    list_init(&file->holds);
    if (asprintf(&file->path, "%s/%03u-%03u.journal", journal->directory, journal->options.shard,
                 slot) < 0) {
        free(file);
        return NULL;
    }
    journal->file_count++;
    return file;
}

void journal_file_free(struct journal *journal, struct journal_file *file)
{
    if (!file)
        return;
    CHECK(list_empty(&file->holds));
    list_remove(&file->node);
    if (file->fd >= 0)
        io_close_wait(journal->options.io, file->fd);
    free(file->path);
    free(file);
}

void journal_free_flushed(struct journal *journal)
{
    while (!list_empty(&journal->held)) {
        struct journal_file *oldest = list_entry(journal->held.next, struct journal_file, node);
        if (!list_empty(&oldest->holds) && !planted(PLANT_REUSE_JOURNAL_EARLY))
            return;
        list_remove(&oldest->node);
        list_append(&journal->free, &oldest->node);
    }
}

static uint64_t first_needed(const struct journal *journal)
{
    if (!list_empty(&journal->held))
        return list_entry(journal->held.next, struct journal_file, node)->first_sequence;
    if (journal->current && !list_empty(&journal->current->holds))
        return journal->current->first_sequence;
    return journal->sequence;
}

static void header_make(struct journal *journal, struct journal_file *file)
{
    struct journal_header header = {
        .shard = journal->options.shard,
        .shard_count = journal->options.shard_count,
        .slot = file->slot,
        .identity = journal->identity,
        .life = journal->life++,
        .sequence = journal->sequence,
        .needed = first_needed(journal),
        .created_ms = journal->options.io->wall_ms,
    };
    if (!planted(PLANT_STALE_LIFE))
        random_system(&file->salt, sizeof(file->salt));
    header.salt = file->salt;
    file->life = header.life;
    file->first_sequence = header.sequence;
    file->position = JOURNAL_BLOCK;
    file->announced = false;
    journal_header_write(&header, journal->block->data);
}

void journal_switch(struct journal *journal)
{
    struct journal_file *old = journal->current;
    CHECK(journal->next);
    journal->current = journal->next;
    journal->next = NULL;
    journal->current->first_sequence = journal->sequence;
    list_append(&journal->held, &old->node);
    journal_free_flushed(journal);
}

// --- making ready

static void step_next(struct journal *journal);

static void prepare_end(struct journal *journal)
{
    journal->preparing.step = PREPARE_IDLE;
    journal->preparing.file = NULL;
}

static void prepare_failed(struct journal *journal, int64_t error, bool bad)
{
    struct journal_preparing *preparing = &journal->preparing;
    struct journal_file *file = preparing->file;
    preparing->retry_ns = journal->options.io->now_ns + RETRY_S * UINT64_C(1000000000);
    preparing->error = (int)error;
    if (bad && !preparing->growing)
        log_line(LOG_ERROR, "%s is not used any more: %s", file->path, strerror((int)-error));
    if (!preparing->growing)
        list_append(bad ? &journal->bad : &journal->free, &file->node);
    prepare_end(journal);
}

static void directory_closed(struct io_op *op)
{
    struct journal *journal = list_entry(op, struct journal, preparing.op);
    struct journal_preparing *preparing = &journal->preparing;
    if (preparing->error) {
        prepare_failed(journal, preparing->error, true);
        return;
    }
    preparing->file->named = true;
    journal->next = preparing->file;
    prepare_end(journal);
    journal_prepare(journal);
}

static void directory_synced(struct io_op *op)
{
    struct journal *journal = list_entry(op, struct journal, preparing.op);
    journal->preparing.error = op->result < 0 ? (int)op->result : 0;
    op->done = directory_closed;
    io_close(journal->options.io, op, journal->preparing.directory);
}

static void directory_opened(struct io_op *op)
{
    struct journal *journal = list_entry(op, struct journal, preparing.op);
    if (op->result < 0) {
        prepare_failed(journal, op->result, false); // nothing is wrong with the file
        return;
    }
    journal->preparing.directory = (int)op->result;
    op->done = directory_synced;
    io_sync(journal->options.io, op, journal->preparing.directory, false);
}

static void header_written(struct durable_op *durable)
{
    struct journal *journal = list_entry(durable, struct journal, preparing.durable);
    struct journal_preparing *preparing = &journal->preparing;
    if (durable->result != JOURNAL_BLOCK) {
        prepare_failed(journal, durable->result < 0 ? durable->result : -EIO, true);
        return;
    }
    if (!preparing->file->named) {
        preparing->step = PREPARE_NAMING;
        preparing->op.done = directory_opened;
        io_open(journal->options.io, &preparing->op, journal->directory, O_RDONLY | O_DIRECTORY, 0);
        return;
    }
    journal->next = preparing->file;
    prepare_end(journal);
    journal_prepare(journal);
}

static void header_start(struct journal *journal)
{
    struct journal_preparing *preparing = &journal->preparing;
    preparing->step = PREPARE_HEADER;
    preparing->durable.done = header_written;
    header_make(journal, preparing->file);
    durable_write(&preparing->durable, journal->options.io, journal->options.way,
                  preparing->file->fd, journal->block->data, JOURNAL_BLOCK, 0);
}

static void zeroed(struct io_op *op)
{
    struct journal *journal = list_entry(op, struct journal, preparing.op);
    struct journal_preparing *preparing = &journal->preparing;
    if (op->result < 0) {
        prepare_failed(journal, op->result, op->result != -ENOSPC);
        return;
    }
    preparing->file->size = preparing->at;
    step_next(journal);
}

static void zero_start(struct journal *journal)
{
    struct journal_preparing *preparing = &journal->preparing;
    uint64_t from = preparing->file->size;
    // A commit waits for what is on the device before it.
    uint64_t step = journal->current ? JOURNAL_STEP_BESIDE : JOURNAL_STEP;
    uint64_t to = at_most(from + step, preparing->target);
    uint32_t count = 0;
    for (uint64_t at = from; at < to; at += JOURNAL_PIECE)
        preparing->vectors[count++] = (struct iovec){.iov_base = (void *)(uintptr_t)zeros,
                                                     .iov_len = at_most(JOURNAL_PIECE, to - at)};
    preparing->step = PREPARE_ZEROING;
    preparing->at = to;
    preparing->op.done = zeroed;
    io_writev(journal->options.io, &preparing->op, preparing->file->fd, preparing->vectors, count,
              from, false);
}

static void allocated(struct io_op *op)
{
    struct journal *journal = list_entry(op, struct journal, preparing.op);
    bool unable = op->result == -EOPNOTSUPP || op->result == -ENOSYS;
    if (op->result < 0 && !unable) {
        prepare_failed(journal, op->result, false);
        return;
    }
    journal->preparing.file->allocated = true;
    step_next(journal);
}

static void opened(struct io_op *op)
{
    struct journal *journal = list_entry(op, struct journal, preparing.op);
    if (op->result < 0) {
        prepare_failed(journal, op->result, false);
        return;
    }
    journal->preparing.file->fd = (int)op->result;
    step_next(journal);
}

// The next thing to be done for the file that is being made ready.
static void step_next(struct journal *journal)
{
    struct io *io = journal->options.io;
    struct journal_preparing *preparing = &journal->preparing;
    struct journal_file *file = preparing->file;
    if (file->fd < 0) {
        preparing->step = PREPARE_OPENING;
        preparing->op.done = opened;
        io_open(io, &preparing->op, file->path,
                O_RDWR | O_CREAT | (journal->options.direct ? O_DIRECT : 0), 0640);
    } else if (!file->allocated) {
        preparing->step = PREPARE_ALLOCATING;
        preparing->op.done = allocated;
        io_allocate(io, &preparing->op, file->fd, 0, preparing->target);
    } else if (file->size < preparing->target) {
        zero_start(journal);
    } else if (preparing->growing) {
        prepare_end(journal);
        journal_prepare(journal);
    } else {
        header_start(journal);
    }
}

static uint64_t first_size(const struct journal *journal)
{
    return at_most(JOURNAL_STEP, journal->file_bytes);
}

// A free file, or a new one while there may be more; NULL when there is neither.
static struct journal_file *file_take(struct journal *journal)
{
    struct list *node = list_pop(&journal->free);
    if (node)
        return list_entry(node, struct journal_file, node);
    if (journal->spare || journal->file_count >= journal->file_limit)
        return NULL;
    return journal_file_new(journal, journal->next_slot++);
}

void journal_spare(struct journal *journal, bool spare)
{
    if (journal)
        journal->spare = spare;
}

void journal_prepare(struct journal *journal)
{
    struct journal_preparing *preparing = &journal->preparing;
    struct journal_file *current = journal->current;
    if (preparing->step != PREPARE_IDLE || journal->error || journal->closing || !current ||
        journal->options.io->now_ns < preparing->retry_ns)
        return;
    if (current->position < current->size / 2)
        return;
    if (current->size < journal->file_bytes) {
        if (journal->spare)
            return;
        preparing->file = current;
        preparing->growing = true;
        current->allocated = false;
        preparing->target = at_most(current->size * 2, journal->file_bytes);
    } else if (!journal->next) {
        preparing->file = file_take(journal);
        preparing->growing = false;
        if (!preparing->file)
            return;
        uint64_t size = preparing->file->size;
        preparing->target = size > first_size(journal) ? size : current->size;
        if (preparing->file->fd < 0 || size < preparing->target)
            preparing->file->allocated = false;
    } else {
        return;
    }
    preparing->step = PREPARE_OPENING;
    step_next(journal);
}

int journal_files_begin(struct journal *journal)
{
    struct journal_preparing *preparing = &journal->preparing;
    preparing->file = file_take(journal);
    if (!preparing->file)
        return -ENOMEM;
    preparing->growing = false;
    preparing->target =
        preparing->file->size > first_size(journal) ? preparing->file->size : first_size(journal);
    preparing->step = PREPARE_OPENING;
    preparing->retry_ns = 0;
    step_next(journal);
    while (preparing->step != PREPARE_IDLE)
        io_run(journal->options.io, journal->options.io->now_ns + UINT64_C(1000000000));
    preparing->retry_ns = 0;
    if (!journal->next)
        return preparing->error;
    journal->current = journal->next;
    journal->next = NULL;
    return 0;
}
