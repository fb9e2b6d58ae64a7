// SPDX-License-Identifier: Apache-2.0
// From one run's journal to the next one's. Everything that was found is durable in segments
// (journal_settled was called, by every store of the directory). The order keeps each crash point
// recoverable (rule 6 of the storage design):
//
//   damaged files renamed -> our state file says "settled" -> of another number of shards: its
//   state file says "settled", its files removed, its state file removed -> directories synced ->
//   our files are free to be written -> the first one has a new life -> our state file says "in
//   use"
//
// 1. A file is overwritten or removed only when a durable state file says that nothing in it is
//    needed; a start in between therefore does not miss it.
// 2. Files of another number of shards are handled by one store: that of number shard % ours.
// 3. A name is durable before anything that it holds is relied upon, also that of a file that a run
//    before made.
// 4. Files with damage keep their bytes, under another name ("...journal.damaged", or with a number
//    behind it when there is one of that name). Until the state file says "settled" a start reads
//    them there: what it has to say of the damage is the same.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log_line.h"
#include "storage/journal_internal.h"
#include "storage/plant.h"

enum { ASIDE_MAX = 1000 }; // of one name; the last is written over

static int commit_rewrite(struct journal *journal, const struct found_file *file)
{
    struct io *io = journal->options.io;
    struct buffer *buffer = pool_get(journal->options.pool, file->last_size);
    if (!buffer)
        return -ENOMEM;
    memcpy(buffer->data, file->image + file->last_at, file->last_size);
    int fd = io_open_wait(io, file->path, O_RDWR | (journal->options.direct ? O_DIRECT : 0), 0);
    int64_t result = fd;
    if (fd >= 0) {
        result = durable_write_wait(io, journal->options.way, fd, buffer->data, file->last_size,
                                    file->last_at);
        io_close_wait(io, fd);
    }
    buffer_unref(buffer);
    return result < 0 ? (int)result : 0;
}

int journal_secure(struct journal *journal)
{
    const struct journal_findings *findings = journal->findings;
    int error = 0;
    for (uint32_t i = 0; i < findings->file_count && !error; i++) {
        if (findings->files[i].last_size > 0)
            error = commit_rewrite(journal, &findings->files[i]);
    }
    return error;
}

static int rename_wait(struct io *io, const char *from, const char *to)
{
    struct io_op op = {0};
    io_rename(io, &op, from, to);
    int64_t result = io_wait(io, &op);
    return result < 0 && result != -ENOENT ? (int)result : 0;
}

static bool is_ours(const struct journal *journal, const struct found_file *file)
{
    const struct journal_options *options = &journal->options;
    if (file->sound)
        return file->header.shard == options->shard &&
               file->header.shard_count == options->shard_count;
    return file->shard == options->shard;
}

// Of a file without a sound header only the name says whose it is.
static bool is_handled_here(const struct journal *journal, const struct found_file *file)
{
    const struct journal_options *options = &journal->options;
    if (is_ours(journal, file))
        return true;
    if (file->sound && file->header.shard_count == options->shard_count)
        return false;
    uint32_t shard = file->sound ? file->header.shard : file->shard;
    return shard % options->shard_count == options->shard &&
           (file->sound || file->shard >= options->shard_count);
}

// A name for the file that nothing has yet, from malloc. 0 or a negative errno.
static int aside_name(struct io *io, const char *path, char **out)
{
    for (unsigned number = 1;; number++) {
        int length = number == 1 ? asprintf(out, "%s.damaged", path)
                                 : asprintf(out, "%s.damaged.%u", path, number);
        if (length < 0)
            return -ENOMEM;
        int fd = io_open_wait(io, *out, O_RDONLY, 0);
        if (fd >= 0)
            io_close_wait(io, fd);
        if (fd == -ENOENT || (fd >= 0 && number == ASIDE_MAX))
            return 0;
        free(*out);
        if (fd < 0)
            return fd;
    }
}

static int damaged_aside(struct journal *journal)
{
    struct journal_findings *findings = journal->findings;
    for (uint32_t i = 0; i < findings->file_count; i++) {
        struct found_file *file = &findings->files[i];
        if (file->aside) {
            free(file->path);
            file->path = NULL;
            continue;
        }
        bool suspect = !file->sound && file->size > 0 && findings->damaged;
        if ((!file->damaged && !suspect) || file->stray || !is_handled_here(journal, file))
            continue;
        char *path = NULL;
        int error = aside_name(journal->options.io, file->path, &path);
        if (error)
            return error;
        error = rename_wait(journal->options.io, file->path, path);
        if (!error)
            log_line(LOG_WARN, "%s is kept as %s", file->path, path);
        free(path);
        if (error)
            return error;
        free(file->path);
        file->path = NULL;
    }
    return 0;
}

// Logs that are gone need not be remembered.
static void uncertain_prune(struct journal *journal)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < journal->uncertain_count; i++) {
        const struct journal_uncertain *one = &journal->uncertain[i];
        const struct found_log *log =
            journal_found_log(journal->findings, one->topic_id, one->partition);
        if (!log || log->claimed || !log->listed)
            journal->uncertain[kept++] = *one;
    }
    journal->uncertain_count = kept;
}

static int settle_ours(struct journal *journal)
{
    journal->state.in_use = false;
    journal->state.life = journal->life;
    journal->state.sequence = journal->sequence;
    return journal_state_save(journal);
}

// --- journals of another number of shards

static int others_settle(struct journal *journal, const struct found_file *file)
{
    struct found_group group = {
        .shard = file->header.shard,
        .shard_count = file->header.shard_count,
        .identity = file->header.identity,
    };
    char *path = NULL;
    if (asprintf(&path, JOURNAL_STATE_NAME, journal->options.directory, group.shard,
                 group.shard_count) < 0)
        return -ENOMEM;
    int error = journal_state_settle(journal, &group, path);
    free(path);
    return error;
}

static int others_remove(struct journal *journal)
{
    struct journal_findings *findings = journal->findings;
    const struct journal_options *options = &journal->options;
    int error = 0;
    for (uint32_t i = 0; i < findings->file_count && !error; i++) {
        struct found_file *file = &findings->files[i];
        if (file->path && !file->stray && file->sound && !is_ours(journal, file) &&
            is_handled_here(journal, file))
            error = others_settle(journal, file);
    }
    for (uint32_t i = 0; i < findings->file_count && !error; i++) {
        struct found_file *file = &findings->files[i];
        if (file->path && !file->stray && !is_ours(journal, file) && is_handled_here(journal, file))
            error = io_remove_wait(options->io, file->path, false);
    }
    if (!error)
        error = io_sync_directory_wait(options->io, journal->directory);
    for (uint32_t i = 0; i < findings->file_count && !error; i++) {
        const struct found_file *file = &findings->files[i];
        char *path = NULL;
        if (!file->sound || file->stray || is_ours(journal, file) ||
            !is_handled_here(journal, file))
            continue;
        if (asprintf(&path, JOURNAL_STATE_NAME, options->directory, file->header.shard,
                     file->header.shard_count) < 0)
            return -ENOMEM;
        error = io_remove_wait(options->io, path, false);
        free(path);
    }
    for (uint32_t i = 0; i < findings->state_count && !error; i++) {
        const struct found_state *state = &findings->states[i];
        if (!state->ours && state->header.shard % options->shard_count == options->shard)
            error = io_remove_wait(options->io, state->path, false);
    }
    return error;
}

// --- ours

static int file_keep(struct journal *journal, const struct found_file *found)
{
    struct journal_file *file = journal_file_new(journal, found->slot);
    if (!file)
        return -ENOMEM;
    file->size = found->size < journal->file_bytes ? found->size : journal->file_bytes;
    file->named = true;
    list_append(&journal->free, &file->node);
    return 0;
}

// A file of ours under another shard's name stays where it is: nothing in it is needed any more.
static int ours_free(struct journal *journal)
{
    struct journal_findings *findings = journal->findings;
    int error = 0;
    for (uint32_t i = 0; i < findings->file_count && !error; i++) {
        const struct found_file *file = &findings->files[i];
        if (file->shard != journal->options.shard)
            continue;
        if (journal->next_slot <= file->slot)
            journal->next_slot = file->slot + 1;
        if (!file->path || file->stray || !is_ours(journal, file))
            continue;
        // One of an earlier identity would be taken for another journal's at the next start.
        bool keep = journal->file_count < journal->file_limit &&
                    (!file->sound || file->header.identity == journal->identity);
        error = keep ? file_keep(journal, file)
                     : io_remove_wait(journal->options.io, file->path, false);
    }
    return error;
}

// What was found is to be used: its names, and what the state file says, may be in the kernel's
// cache only, if the program alone had stopped.
static int names_sync(const struct journal *journal)
{
    struct io *io = journal->options.io;
    if (journal->findings->file_count == 0 && journal->findings->state_count == 0)
        return 0;
    int error = io_sync_directory_wait(io, journal->directory);
    return error ? error : io_sync_directory_wait(io, journal->options.directory);
}

// After an orderly end, or the first time, there is nothing to be said or removed.
static bool is_clear(const struct journal *journal)
{
    const struct journal_findings *findings = journal->findings;
    if (journal->state.in_use || findings->damaged ||
        journal->uncertain_count != journal->state.uncertain_count || findings->state_count > 1 ||
        (findings->state_count == 1 && !findings->states[0].ours))
        return false;
    for (uint32_t i = 0; i < findings->file_count; i++) {
        const struct found_file *file = &findings->files[i];
        if (file->damaged || !file->sound ||
            (is_handled_here(journal, file) &&
             (!is_ours(journal, file) || file->header.identity != journal->identity)))
            return false;
    }
    return true;
}

int journal_clear(struct journal *journal)
{
    struct io *io = journal->options.io;
    uint32_t known = journal->uncertain_count;
    uncertain_prune(journal);
    if (journal->uncertain_count == known && is_clear(journal)) {
        int failed = names_sync(journal);
        return failed ? failed : ours_free(journal);
    }
    int error = damaged_aside(journal);
    if (!error)
        error = io_sync_directory_wait(io, journal->directory);
    if (!error)
        error = settle_ours(journal);
    if (!error)
        error = others_remove(journal);
    if (!error)
        error = ours_free(journal);
    if (!error)
        error = io_sync_directory_wait(io, journal->directory);
    return error ? error : io_sync_directory_wait(io, journal->options.directory);
}
