// SPDX-License-Identifier: Apache-2.0
// The journal's files as they are: names, headers, state files, commits and their entries. What
// they mean together is in inspect_journal_judge.c.
#include "storage/inspect_parts.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_MAX = 1 << 30, STATE_MAX = 64 * 1024 * 1024 };

// --- one file

static void image_read(struct inspect_journal_file *file, struct inspect_file *source)
{
    file->size = source->size / JOURNAL_BLOCK * JOURNAL_BLOCK;
    file->state = source->size == 0 ? INSPECT_EMPTY : INSPECT_GARBLED;
    if (file->size == 0 || file->size > FILE_MAX)
        return;
    const uint8_t *bytes = inspect_file_at(source, 0, file->size);
    file->image = malloc(file->size);
    if (!bytes || !file->image) {
        source->error = bytes ? -ENOMEM : source->error;
        file->size = 0;
        return;
    }
    memcpy(file->image, bytes, file->size);
    int error = journal_header_read(file->image, &file->header, &file->version);
    if (error == -EPROTONOSUPPORT)
        file->state = INSPECT_VERSION;
    else if (error)
        file->state =
            span_is_zero(span_of(file->image, JOURNAL_BLOCK)) ? INSPECT_EMPTY : INSPECT_GARBLED;
    else
        file->state = INSPECT_SOUND;
}

int inspect_journal_file_open(struct inspect_journal_file *file, const char *path,
                              atomic_uint_fast64_t *progress)
{
    struct inspect_file source;
    int error = inspect_file_open(&source, path);
    if (error)
        return error;
    source.progress = progress;
    image_read(file, &source);
    error = source.error;
    inspect_file_close(&source);
    return error;
}

void inspect_journal_file_close(struct inspect_journal_file *file)
{
    free(file->name);
    free(file->image);
    *file = (struct inspect_journal_file){0};
}

bool inspect_commit_next(const struct inspect_journal_file *file, uint64_t *at,
                         struct inspect_commit *out)
{
    uint64_t position = *at < JOURNAL_BLOCK ? JOURNAL_BLOCK : *at;
    uint64_t salt = file->header.salt;
    if (file->state != INSPECT_SOUND)
        return false;
    for (; position + JOURNAL_BLOCK <= file->size; position += JOURNAL_BLOCK) {
        const uint8_t *bytes = file->image + position;
        struct journal_commit *header = &out->header;
        if (!journal_commit_read(bytes, salt, position, header) ||
            header->sequence < file->header.sequence || header->stored_size > file->size - position)
            continue;
        out->file = file;
        out->position = position;
        uint64_t table = (uint64_t)header->entry_count * JOURNAL_TABLE_ENTRY;
        out->table_sound = format_checksum(bytes + journal_table_at(header), table, salt) ==
                           header->table_checksum;
        out->payload_sound = format_checksum(bytes + JOURNAL_COMMIT_HEADER, header->payload_size,
                                             salt) == header->payload_checksum;
        *at = position + header->stored_size;
        return true;
    }
    return false;
}

bool inspect_entry_next(const struct inspect_commit *commit, uint32_t *number, uint64_t *at,
                        struct journal_entry *out, struct span *payload, bool *sound)
{
    const struct journal_commit *header = &commit->header;
    const uint8_t *bytes = commit->file->image + commit->position;
    if (*number == header->entry_count)
        return false;
    if (*number == 0)
        *at = JOURNAL_COMMIT_HEADER;
    *out = journal_entry_read(bytes + journal_table_at(header) +
                              (uint64_t)*number * JOURNAL_TABLE_ENTRY);
    bool inside = *at <= journal_table_at(header) && out->size <= journal_table_at(header) - *at;
    *payload = inside ? span_of(bytes + *at, out->size) : span_of(bytes, 0);
    *sound = inside && (commit->payload_sound ||
                        journal_entry_checksum(payload->data, payload->size,
                                               commit->file->header.salt) == out->checksum);
    *at += out->size;
    ++*number;
    return true;
}

// --- all files

static bool file_name_read(const char *name, struct inspect_journal_file *file)
{
    int length = 0;
    if (sscanf(name, "%" SCNu32 "-%" SCNu32 ".journal%n", &file->shard, &file->slot, &length) !=
            2 ||
        length == 0)
        return false;
    file->set_aside = strncmp(name + length, ".damaged", strlen(".damaged")) == 0;
    return name[length] == '\0' || file->set_aside;
}

static int file_add(struct inspect_journal *journal, const char *root, const char *name,
                    atomic_uint_fast64_t *progress)
{
    struct inspect_journal_file file = {0};
    if (!file_name_read(name, &file)) {
        inspect_stranger(&journal->findings, "journal", name);
        return 0;
    }
    struct inspect_journal_file *files =
        reallocarray(journal->files, journal->file_count + 1, sizeof(*files));
    char *path = NULL;
    if (!files || asprintf(&path, "%s/journal/%s", root, name) < 0)
        return -ENOMEM;
    journal->files = files;
    int error = 0;
    if (asprintf(&file.name, "journal/%s", name) < 0)
        file.name = NULL;
    else
        error = inspect_journal_file_open(&file, path, progress);
    free(path);
    if (error && error != -ENOMEM) {
        file.state = INSPECT_REFUSED;
        error = 0;
    }
    files[journal->file_count++] = file;
    return file.name ? error : -ENOMEM;
}

static void state_take(struct inspect_journal_state *state, const uint8_t *bytes, size_t size)
{
    uint32_t version = 0;
    int error = journal_state_read(bytes, size, &state->header, &version);
    state->state = error == -EPROTONOSUPPORT ? INSPECT_VERSION
                   : error                   ? INSPECT_GARBLED
                                             : INSPECT_SOUND;
    if (error)
        return;
    state->uncertain = calloc((size_t)state->header.uncertain_count + 1, sizeof(*state->uncertain));
    for (uint32_t i = 0; state->uncertain && i < state->header.uncertain_count; i++)
        state->uncertain[i] = journal_state_uncertain(bytes, i);
}

static int state_add(struct inspect_journal *journal, const char *root, const char *name)
{
    struct inspect_journal_state state = {.state = INSPECT_GARBLED};
    int length = 0;
    if (sscanf(name, "journal-%" SCNu32 "-of-%" SCNu32 ".state%n", &state.shard, &state.shard_count,
               &length) != 2 ||
        length == 0 || name[length] != '\0')
        return 0;
    struct inspect_journal_state *states =
        reallocarray(journal->states, journal->state_count + 1, sizeof(*states));
    char *path = NULL;
    struct inspect_file file;
    if (!states || asprintf(&path, "%s/%s", root, name) < 0)
        return -ENOMEM;
    journal->states = states;
    int error = inspect_file_open(&file, path);
    free(path);
    if (!error) {
        const uint8_t *bytes = NULL;
        if (file.size > 0 && file.size <= STATE_MAX)
            bytes = inspect_file_at(&file, 0, file.size);
        if (bytes)
            state_take(&state, bytes, file.size);
        error = file.error;
        inspect_file_close(&file);
    } else {
        state.state = INSPECT_REFUSED;
        error = 0;
    }
    state.name = strdup(name);
    states[journal->state_count++] = state;
    bool complete = state.name && (state.state != INSPECT_SOUND || state.uncertain);
    return complete ? error : -ENOMEM;
}

int inspect_journal_files(struct inspect_journal *journal, const char *root,
                          atomic_uint_fast64_t *progress)
{
    struct inspect_names names;
    int error = inspect_names_read(&names, root, ".");
    for (size_t i = 0; !error && i < names.count; i++)
        error = state_add(journal, root, names.items[i]);
    inspect_names_free(&names);
    if (!error)
        error = inspect_names_read(&names, root, "journal");
    for (size_t i = 0; !error && i < names.count; i++)
        error = file_add(journal, root, names.items[i], progress);
    inspect_names_free(&names);
    return error;
}

void inspect_journal_close(struct inspect_journal *journal)
{
    size_t at = 0;
    struct inspect_journal_log *log;
    while ((log = map_next(&journal->logs, &at)) != NULL) {
        free(log->items);
        free(log);
    }
    map_free(&journal->logs);
    for (size_t i = 0; i < journal->file_count; i++)
        inspect_journal_file_close(&journal->files[i]);
    for (size_t i = 0; i < journal->state_count; i++) {
        free(journal->states[i].name);
        free(journal->states[i].uncertain);
    }
    free(journal->files);
    free(journal->states);
    free(journal->groups);
    inspect_findings_free(&journal->findings);
    *journal = (struct inspect_journal){0};
}
