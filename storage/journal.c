// SPDX-License-Identifier: Apache-2.0
// The life of a journal as a whole: opening, settling, beginning, closing. The parts are
// journal_format.c (bytes), journal_state.c (the state file), journal_read.c and journal_judge.c
// (what earlier runs left), journal_begin.c (from one run to the next), journal_files.c (the ring
// of files), journal_write.c (commits).
#include "storage/journal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/log_line.h"
#include "base/random.h"
#include "storage/journal_internal.h"
#include "storage/plant.h"

// At least two files, so that one can be written while the other is flushed.
static void sizes_set(struct journal *journal)
{
    uint64_t bytes = journal->options.bytes;
    uint64_t file = journal->options.file_bytes;
    if (file == 0) {
        file = bytes / 8 < JOURNAL_FILE_DEFAULT ? bytes / 8 : JOURNAL_FILE_DEFAULT;
        file = file > JOURNAL_FILE_MIN ? file : JOURNAL_FILE_MIN;
    }
    journal->file_bytes = file & ~(uint64_t)(JOURNAL_BLOCK - 1);
    if (journal->file_bytes < 4 * JOURNAL_BLOCK)
        journal->file_bytes = 4 * JOURNAL_BLOCK;
    uint64_t count = bytes / journal->file_bytes;
    journal->file_limit = bytes == 0 ? 0 : count < 2 ? 2 : count > 4096 ? 4096 : (uint32_t)count;
}

static int make_directory(struct journal *journal)
{
    struct io *io = journal->options.io;
    struct io_op op = {0};
    io_mkdir(io, &op, journal->directory, 0750);
    int64_t result = io_wait(io, &op);
    if (result < 0 && result != -EEXIST)
        return (int)result;
    return result == -EEXIST ? 0 : io_sync_directory_wait(io, journal->options.directory);
}

static void holds_free(struct journal_file *file)
{
    while (file && !list_empty(&file->holds))
        free(list_entry(list_pop(&file->holds), struct journal_hold, node));
}

static void journal_free(struct journal *journal)
{
    struct list *lists[] = {&journal->held, &journal->free, &journal->bad};
    journal_findings_free(journal);
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        for (struct list *node; (node = list_pop(lists[i]));) {
            holds_free(list_entry(node, struct journal_file, node));
            journal_file_free(journal, list_entry(node, struct journal_file, node));
        }
    }
    holds_free(journal->current);
    holds_free(journal->next);
    journal_file_free(journal, journal->current);
    journal_file_free(journal, journal->next);
    if (journal->forming.buffer)
        buffer_unref(journal->forming.buffer);
    if (journal->block)
        buffer_unref(journal->block);
    free(journal->forming.table);
    free(journal->uncertain);
    free(journal->directory);
    free(journal->state_path);
    free((char *)(uintptr_t)journal->options.directory);
    free(journal);
}

static struct journal *journal_new(const struct journal_options *options)
{
    struct journal *journal = calloc(1, sizeof(*journal));
    if (!journal)
        return NULL;
    journal->options = *options;
    if (journal->options.shard_count == 0)
        journal->options.shard_count = 1;
    list_init(&journal->held);
    list_init(&journal->free);
    list_init(&journal->bad);
    journal->next_number = 1;
    sizes_set(journal);
    journal->options.directory = strdup(options->directory);
    journal->block = pool_get(options->pool, JOURNAL_BLOCK);
    if (asprintf(&journal->directory, "%s/journal", options->directory) < 0)
        journal->directory = NULL;
    if (asprintf(&journal->state_path, JOURNAL_STATE_NAME, options->directory,
                 journal->options.shard, journal->options.shard_count) < 0)
        journal->state_path = NULL;
    if (journal->options.directory && journal->block && journal->directory && journal->state_path)
        return journal;
    journal_free(journal);
    return NULL;
}

int journal_open(const struct journal_options *options, struct journal **out,
                 struct journal_found *found)
{
    struct journal *journal = journal_new(options);
    *found = (struct journal_found){0};
    if (!journal)
        return -ENOMEM;
    int error = options->bytes > 0 ? make_directory(journal) : 0;
    if (!error)
        error = journal_read(journal, found);
    if (error) {
        journal_free(journal);
        return error;
    }
    journal->life = journal->findings->next_life > 0 ? journal->findings->next_life : 1;
    journal->sequence = journal->findings->next_sequence > 0 ? journal->findings->next_sequence : 1;
    *out = journal;
    return 0;
}

int journal_settled(struct journal *journal)
{
    CHECK(!journal->begun);
    if (journal->settled)
        return 0;
    if (journal->error)
        return journal->error;
    struct journal_findings *findings = journal->findings;
    if (journal->uncertain_count > journal->state.uncertain_count) {
        int error = journal_state_save(journal);
        if (error)
            return error;
    }
    for (uint32_t i = 0; i < findings->file_count; i++) {
        free(findings->files[i].image);
        findings->files[i].image = NULL;
    }
    journal->settled = true;
    return 0;
}

bool journal_is_unreadable(const struct journal *journal)
{
    return journal->findings && journal->findings->unreadable;
}

static bool nothing_to_do(const struct journal *journal)
{
    return journal->options.bytes == 0 && journal->findings->file_count == 0 &&
           journal->findings->state_count == 0;
}

int journal_begin(struct journal *journal, bool all_opened)
{
    CHECK((journal->settled || planted(PLANT_BEGIN_UNSETTLED)) && !journal->begun);
    if (!all_opened) {
        log_line(LOG_WARN,
                 "%s: not all of it could be read or given to its logs: what it holds is kept, and "
                 "nothing is added until the next start",
                 journal->directory);
        return 0;
    }
    if (nothing_to_do(journal))
        return 0;
    if (journal->identity == 0)
        random_system(&journal->identity, sizeof(journal->identity));
    int error = journal_clear(journal);
    journal_findings_free(journal);
    if (error || journal->options.bytes == 0)
        return error;
    error = journal_files_begin(journal);
    if (error)
        return error;
    journal->state.in_use = true;
    journal->state.life = journal->current->life;
    journal->state.sequence = journal->sequence;
    error = journal_state_save(journal);
    journal->begun = error == 0;
    return error;
}

static bool is_empty(const struct journal *journal)
{
    return list_empty(&journal->held) && list_empty(&journal->current->holds) &&
           (!journal->next || list_empty(&journal->next->holds));
}

int journal_close(struct journal *journal)
{
    CHECK(!journal->writing);
    int error = 0;
    journal->closing = true;
    while (journal->preparing.step != PREPARE_IDLE)
        io_run(journal->options.io, journal->options.io->now_ns + UINT64_C(1000000000));
    if (journal->begun && is_empty(journal)) {
        journal->state.in_use = false;
        journal->state.life = journal->life;
        journal->state.sequence = journal->sequence + 1;
        error = journal_state_save(journal);
    }
    journal_free(journal);
    return error;
}
