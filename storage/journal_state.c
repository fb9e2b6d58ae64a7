// SPDX-License-Identifier: Apache-2.0
// The journal's state file, <data>/journal-<shard>-of-<count>.state. It lies outside of the
// journal's directory, because it is what proves that a journal is missing, and it remembers of
// which logs the journal has lost something.
//
// It is replaced as a whole (rule 6 of the storage design): written beside, synced, renamed, the
// directory synced. `in_use` is written before the first commit and taken away when everything that
// was journalled is durable in segments: at settling and at an orderly end.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log_line.h"
#include "storage/journal_internal.h"

enum { STATE_FILE_MAX = 64 * 1024 * 1024 };

static int state_parse(const char *path, const uint8_t *bytes, size_t size,
                       struct journal_state_header *out, struct journal_uncertain **uncertain)
{
    uint32_t version = 0;
    int error = journal_state_read(bytes, size, out, &version);
    if (error == -EPROTONOSUPPORT)
        log_line(LOG_ERROR, "%s is of format version %u; this program reads version %d only", path,
                 version, FORMAT_VERSION);
    else if (error)
        log_line(LOG_ERROR, "%s is damaged", path);
    if (error)
        return error;
    *uncertain = calloc((size_t)out->uncertain_count + 1, sizeof(**uncertain));
    if (!*uncertain)
        return -ENOMEM;
    for (uint32_t i = 0; i < out->uncertain_count; i++)
        (*uncertain)[i] = journal_state_uncertain(bytes, i);
    return 0;
}

// The whole file, from malloc. Its size, or a negative errno.
static int64_t file_load(struct io *io, const char *path, uint8_t **out)
{
    int fd = io_open_wait(io, path, O_RDONLY, 0);
    if (fd < 0)
        return fd;
    int64_t size = io_file_size(io, fd);
    if (size >= 0 && size <= STATE_FILE_MAX)
        *out = malloc((size_t)size + 1);
    int64_t got = size < 0 ? size : -ENOMEM;
    for (int attempt = 0; attempt < 2 && *out && got < 0; attempt++)
        got = io_read_wait(io, fd, *out, (size_t)size, 0);
    io_close_wait(io, fd);
    return got;
}

int journal_state_load(struct io *io, const char *path, struct journal_state_header *out,
                       struct journal_uncertain **uncertain)
{
    uint8_t *bytes = NULL;
    int64_t got = file_load(io, path, &bytes);
    int error = got < 0 ? (int)got : state_parse(path, bytes, (size_t)got, out, uncertain);
    free(bytes);
    if (got < 0 && got != -ENOENT)
        log_line(LOG_ERROR,
                 "%s cannot be read: %s: without it nobody knows what the journal must have", path,
                 strerror(-error));
    return error;
}

static int replace(const struct journal *journal, const char *path, const uint8_t *bytes,
                   size_t size)
{
    return io_replace_wait(journal->options.io, journal->options.directory, path, bytes, size);
}

int journal_state_save(struct journal *journal)
{
    journal->state.shard = journal->options.shard;
    journal->state.shard_count = journal->options.shard_count;
    journal->state.identity = journal->identity;
    journal->state.uncertain_count = journal->uncertain_count;
    size_t size = journal_state_size(journal->uncertain_count);
    uint8_t *bytes = malloc(size);
    if (!bytes)
        return -ENOMEM;
    journal_state_write(&journal->state, journal->uncertain, bytes);
    int error = replace(journal, journal->state_path, bytes, size);
    free(bytes);
    return error;
}

int journal_state_settle(struct journal *journal, const struct found_group *group, const char *path)
{
    struct journal_state_header header = {
        .shard = group->shard,
        .shard_count = group->shard_count,
    };
    uint8_t bytes[JOURNAL_STATE_HEADER];
    journal_state_write(&header, NULL, bytes);
    return replace(journal, path, bytes, sizeof(bytes));
}

int journal_note_uncertain(struct journal *journal, const struct journal_uncertain *uncertain)
{
    for (uint32_t i = 0; i < journal->uncertain_count; i++) {
        const struct journal_uncertain *known = &journal->uncertain[i];
        if (kp_uuid_equal(known->topic_id, uncertain->topic_id) &&
            known->partition == uncertain->partition)
            return 0;
    }
    if (journal->uncertain_count == journal->uncertain_capacity) {
        uint32_t capacity = journal->uncertain_capacity ? journal->uncertain_capacity * 2 : 16;
        struct journal_uncertain *grown =
            realloc(journal->uncertain, capacity * sizeof(*journal->uncertain));
        if (!grown)
            return -ENOMEM;
        journal->uncertain = grown;
        journal->uncertain_capacity = capacity;
    }
    journal->uncertain[journal->uncertain_count++] = *uncertain;
    return 0;
}
