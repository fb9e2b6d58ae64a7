// SPDX-License-Identifier: Apache-2.0
// What earlier runs left in the journal: which files there are, which of them matter, and giving
// what they hold to the logs. What is damage and what is the end is decided in journal_judge.c.
//
// 1. Files with our shard and our number of shards are ours alone. Files of another number of
//    shards are read by every store, which takes the entries of its own logs.
// 2. Nothing is changed here; that begins when every store has settled (journal_settled and
//    journal_begin). So a crash anywhere in between finds everything as it was.
// 3. A state file that says "settled" ends the matter: nothing in that journal's files is needed.
// 4. A file that was set aside as damaged counts as long as the state file says that its life, or
//    an earlier one, is in use: the start that renamed it did not come to its end.
// 5. What the device does not give now it may give next time: logs that it may concern accept
//    nothing in this run, nothing is remembered of that, and the files stay as they are.
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/log_line.h"
#include "storage/journal_internal.h"
#include "storage/listing.h"
#include "storage/plant.h"

enum { READ_PIECE = 1024 * 1024 };

// --- logs

static void key_make(uint8_t key[20], struct kp_uuid topic_id, int32_t partition)
{
    memcpy(key, topic_id.bytes, 16);
    memcpy(key + 16, &partition, 4);
}

struct found_log *journal_found_log(const struct journal_findings *findings,
                                    struct kp_uuid topic_id, int32_t partition)
{
    uint8_t key[20];
    key_make(key, topic_id, partition);
    return map_get(&findings->logs, span_of(key, sizeof(key)));
}

struct found_log *journal_find_log(struct journal_findings *findings, struct kp_uuid topic_id,
                                   int32_t partition)
{
    struct found_log *log = journal_found_log(findings, topic_id, partition);
    if (log)
        return log;
    log = calloc(1, sizeof(*log));
    if (!log)
        return NULL;
    key_make(log->key, topic_id, partition);
    log->uncertain = findings->all_uncertain;
    if (map_put(&findings->logs, span_of(log->key, sizeof(log->key)), log) == 0)
        return log;
    free(log);
    return NULL;
}

// --- state files

static bool state_name(const char *name, uint32_t *shard, uint32_t *count)
{
    int length = 0;
    return sscanf(name, "journal-%" SCNu32 "-of-%" SCNu32 ".state%n", shard, count, &length) == 2 &&
           length > 0 && name[length] == 0;
}

static int state_read(struct journal *journal, const char *name)
{
    struct journal_findings *findings = journal->findings;
    uint32_t shard = 0;
    uint32_t count = 0;
    bool ours = false;
    if (!state_name(name, &shard, &count))
        return 0;
    ours = shard == journal->options.shard && count == journal->options.shard_count;
    if (!ours && count == journal->options.shard_count)
        return 0;
    struct found_state *grown =
        realloc(findings->states, (findings->state_count + 1) * sizeof(*findings->states));
    if (!grown)
        return -ENOMEM;
    findings->states = grown;
    struct found_state *state = &findings->states[findings->state_count];
    *state = (struct found_state){.ours = ours};
    if (asprintf(&state->path, "%s/%s", journal->options.directory, name) < 0)
        return -ENOMEM;
    findings->state_count++;
    int error =
        journal_state_load(journal->options.io, state->path, &state->header, &state->uncertain);
    if (error != -EBADMSG && error != -ENOENT)
        return error;
    // Damaged, so it may have been in use, and what it remembered is not known.
    findings->found->damages++;
    findings->state_count--;
    free(state->path);
    return 0;
}

static int states_read(struct journal *journal)
{
    struct listing names;
    int error = listing_read(&names, journal->options.io, journal->options.directory);
    for (size_t i = 0; i < names.count && !error; i++)
        error = state_read(journal, names.names[i]);
    listing_free(&names);
    return error;
}

// --- files

static bool file_name(const char *name, struct found_file *file)
{
    int length = 0;
    if (sscanf(name, "%" SCNu32 "-%" SCNu32 ".journal%n", &file->shard, &file->slot, &length) !=
            2 ||
        length == 0)
        return false;
    file->aside = strncmp(name + length, ".damaged", strlen(".damaged")) == 0;
    return file->aside || name[length] == 0;
}

// Its size, and its first block; *got: what the device gave of that. 0 or a negative errno.
static int first_block_read(struct journal *journal, struct found_file *file, int64_t *got)
{
    struct io *io = journal->options.io;
    int fd = io_open_wait(io, file->path, O_RDONLY | (journal->options.direct ? O_DIRECT : 0), 0);
    if (fd < 0)
        return fd;
    int64_t size = io_file_size(io, fd);
    *got = -EIO;
    for (int attempt = 0; attempt < 2 && *got < 0; attempt++)
        *got = io_read_wait(io, fd, journal->block->data, JOURNAL_BLOCK, 0);
    io_close_wait(io, fd);
    file->size = size < 0 ? 0 : (uint64_t)size & ~(uint64_t)(JOURNAL_BLOCK - 1);
    return size < 0 ? (int)size : 0;
}

static int file_header_read(struct journal *journal, struct found_file *file)
{
    int64_t got = 0;
    int error = first_block_read(journal, file, &got);
    if (error)
        return error;
    if (got < 0) {
        log_line(LOG_ERROR, "%s cannot be read: %s", file->path, strerror((int)-got));
        journal->findings->unreadable = true;
    }
    uint32_t version = 0;
    error = -EBADMSG;
    if (got == JOURNAL_BLOCK)
        error = journal_header_read(journal->block->data, &file->header, &version);
    if (error == -EPROTONOSUPPORT) {
        log_line(LOG_ERROR, "%s is of format version %u; this program reads version %d only",
                 file->path, version, FORMAT_VERSION);
        return error;
    }
    file->sound = error == 0;
    if (file->sound && (file->header.shard != file->shard || file->header.slot != file->slot))
        log_line(LOG_WARN, "%s says that it is file %03u-%03u: read as that", file->path,
                 file->header.shard, file->header.slot);
    return 0;
}

static const struct found_state *state_of(const struct journal_findings *findings, uint32_t shard,
                                          uint32_t shard_count)
{
    for (uint32_t i = 0; i < findings->state_count; i++) {
        const struct journal_state_header *header = &findings->states[i].header;
        if (header->shard == shard && header->shard_count == shard_count)
            return &findings->states[i];
    }
    return NULL;
}

// Rule 4. Of a file whose header is bad too there is nothing to be read.
static bool aside_counts(struct journal *journal, struct found_file *file)
{
    int64_t got = 0;
    uint32_t version = 0;
    if (first_block_read(journal, file, &got) != 0 || got != JOURNAL_BLOCK ||
        journal_header_read(journal->block->data, &file->header, &version) != 0)
        return false;
    const struct journal_header *header = &file->header;
    const struct found_state *state =
        state_of(journal->findings, header->shard, header->shard_count);
    file->sound = true;
    return state && state->header.in_use && state->header.identity == header->identity &&
           state->header.life <= header->life;
}

static int file_found(struct journal *journal, const char *name)
{
    struct journal_findings *findings = journal->findings;
    struct found_file *file = &findings->files[findings->file_count];
    *file = (struct found_file){0};
    if (!file_name(name, file))
        return 0;
    if (asprintf(&file->path, "%s/%s", journal->directory, name) < 0) {
        file->path = NULL;
        return -ENOMEM;
    }
    if (file->aside && !aside_counts(journal, file)) {
        free(file->path);
        return 0;
    }
    findings->file_count++;
    return file->aside ? 0 : file_header_read(journal, file);
}

static int files_find(struct journal *journal)
{
    struct listing names;
    int error = listing_read(&names, journal->options.io, journal->directory);
    if (error == -ENOENT && journal->options.bytes == 0)
        error = 0; // there never was one
    if (!error) {
        journal->findings->files = calloc(names.count + 1, sizeof(*journal->findings->files));
        error = journal->findings->files ? 0 : -ENOMEM;
    }
    for (size_t i = 0; i < names.count && !error; i++)
        error = file_found(journal, names.names[i]);
    listing_free(&names);
    return error;
}

// A block that the device does not give is tried twice, then left zero and noted.
static void piece_read(struct journal *journal, struct found_group *group, struct found_file *file,
                       int fd, struct buffer *buffer, uint64_t at, uint64_t size)
{
    struct io *io = journal->options.io;
    if (io_read_wait(io, fd, buffer->data, size, at) == (int64_t)size) {
        memcpy(file->image + at, buffer->data, size);
        return;
    }
    uint64_t bad = 0;
    uint64_t first = 0;
    int error = 0;
    for (uint64_t block = 0; block < size; block += JOURNAL_BLOCK) {
        int64_t got = 0;
        for (int attempt = 0; attempt < 2 && got != JOURNAL_BLOCK; attempt++)
            got = io_read_wait(io, fd, buffer->data, JOURNAL_BLOCK, at + block);
        if (got == JOURNAL_BLOCK) {
            memcpy(file->image + at + block, buffer->data, JOURNAL_BLOCK);
            continue;
        }
        first = bad++ ? first : at + block;
        error = got < 0 ? (int)got : -EIO;
    }
    if (bad == 0)
        return;
    log_line(LOG_ERROR, "%s cannot be read at %" PRIu64 " places from byte %" PRIu64 " on: %s",
             file->path, bad, first, strerror(-error));
    group->unreadable = true;
    journal->findings->unreadable = true;
}

static int file_read(struct journal *journal, struct found_group *group, struct found_file *file)
{
    struct io *io = journal->options.io;
    if (file->size < JOURNAL_BLOCK)
        return 0;
    int fd = io_open_wait(io, file->path, O_RDONLY | (journal->options.direct ? O_DIRECT : 0), 0);
    if (fd < 0)
        return fd;
    struct buffer *buffer = pool_get(journal->options.pool, READ_PIECE);
    file->image = calloc(1, file->size);
    if (buffer && file->image) {
        for (uint64_t at = 0; at < file->size; at += READ_PIECE) {
            uint64_t left = file->size - at;
            piece_read(journal, group, file, fd, buffer, at, left < READ_PIECE ? left : READ_PIECE);
        }
    }
    int error = buffer && file->image ? 0 : -ENOMEM;
    if (buffer)
        buffer_unref(buffer);
    io_close_wait(io, fd);
    return error;
}

// --- groups: what belongs to one journal

static int by_life(const void *a, const void *b)
{
    const struct found_file *left = *(struct found_file *const *)a;
    const struct found_file *right = *(struct found_file *const *)b;
    return (left->header.life > right->header.life) - (left->header.life < right->header.life);
}

static bool is_in(const struct found_file *file, const struct found_group *group)
{
    return file->sound && file->header.shard == group->shard &&
           file->header.shard_count == group->shard_count &&
           file->header.identity == group->identity;
}

static int group_read(struct journal *journal, struct found_group *group)
{
    struct journal_findings *findings = journal->findings;
    group->files = calloc(findings->file_count + 1, sizeof(struct found_file *));
    if (!group->files)
        return -ENOMEM;
    for (uint32_t i = 0; i < findings->file_count; i++) {
        if (is_in(&findings->files[i], group))
            group->files[group->file_count++] = &findings->files[i];
    }
    qsort(group->files, group->file_count, sizeof(struct found_file *), by_life);
    bool ours = group->shard == journal->options.shard &&
                group->shard_count == journal->options.shard_count;
    if (ours && !group->state) {
        // The state file is lost: the files know the name, and are needed as far as they say.
        journal->identity = group->identity;
        journal->state.in_use = true;
    }
    for (uint32_t i = 0; i < group->file_count && ours; i++) {
        if (findings->next_life <= group->files[i]->header.life)
            findings->next_life = group->files[i]->header.life + 1;
    }
    if (group->state && !group->state->header.in_use && !planted(PLANT_STALE_LIFE))
        return 0;
    int error = 0;
    findings->found->unclean = findings->found->unclean || ours;
    for (uint32_t i = 0; i < group->file_count && !error; i++)
        error = file_read(journal, group, group->files[i]);
    return error ? error : journal_judge(journal, group);
}

static int group_take(struct journal *journal, uint32_t shard, uint32_t shard_count,
                      uint64_t identity)
{
    struct found_group group = {
        .shard = shard,
        .shard_count = shard_count,
        .identity = identity,
        .state = state_of(journal->findings, shard, shard_count),
    };
    int error = group_read(journal, &group);
    free(group.files);
    free(group.commits);
    return error;
}

static bool is_relevant(const struct journal *journal, const struct journal_header *header)
{
    return header->shard_count != journal->options.shard_count ||
           header->shard == journal->options.shard;
}

// Whether a file before this one, or a state file, stands for the same group.
static bool is_known(const struct journal_findings *findings, uint32_t index)
{
    const struct journal_header *header = &findings->files[index].header;
    if (state_of(findings, header->shard, header->shard_count))
        return true;
    for (uint32_t i = 0; i < index; i++) {
        const struct found_file *file = &findings->files[i];
        if (file->sound && file->header.shard == header->shard &&
            file->header.shard_count == header->shard_count &&
            file->header.identity == header->identity)
            return true;
    }
    return false;
}

static void stray_note(struct journal_findings *findings, struct found_file *file)
{
    const struct found_state *state =
        state_of(findings, file->header.shard, file->header.shard_count);
    if (!state || state->header.identity == file->header.identity ||
        (state->header.identity == 0 && !state->header.in_use))
        return;
    file->stray = true;
    findings->found->damages++;
    log_line(LOG_ERROR, "%s belongs to another journal than %s: it is not read and not touched",
             file->path, state->path);
}

static int groups_read(struct journal *journal)
{
    struct journal_findings *findings = journal->findings;
    int error = 0;
    // Those of other numbers of shards come first: what they hold is older.
    for (int ours = 0; ours < 2 && !error; ours++) {
        for (uint32_t i = 0; i < findings->state_count && !error; i++) {
            const struct journal_state_header *header = &findings->states[i].header;
            if (findings->states[i].ours == (ours == 1))
                error = group_take(journal, header->shard, header->shard_count, header->identity);
        }
        for (uint32_t i = 0; i < findings->file_count && !error; i++) {
            const struct journal_header *header = &findings->files[i].header;
            bool same = header->shard_count == journal->options.shard_count;
            if (!findings->files[i].sound || !is_relevant(journal, header) || same != (ours == 1))
                continue;
            stray_note(findings, &findings->files[i]);
            if (!is_known(findings, i))
                error = group_take(journal, header->shard, header->shard_count, header->identity);
        }
    }
    return error;
}

// What the state files remember of earlier losses.
static int uncertain_take(struct journal *journal, const struct found_state *state)
{
    for (uint32_t i = 0; i < state->header.uncertain_count; i++) {
        const struct journal_uncertain *one = &state->uncertain[i];
        if (journal->options.owns &&
            !journal->options.owns(journal->options.owns_context, one->topic_id, one->partition))
            continue;
        struct found_log *log = journal_find_log(journal->findings, one->topic_id, one->partition);
        if (!log || journal_note_uncertain(journal, one) != 0)
            return -ENOMEM;
        log->uncertain = true;
        log->listed = true;
    }
    return 0;
}

int journal_read(struct journal *journal, struct journal_found *found)
{
    struct journal_findings *findings = calloc(1, sizeof(*findings));
    if (!findings)
        return -ENOMEM;
    journal->findings = findings;
    findings->found = found;
    findings->next_life = 1;
    findings->next_sequence = 1;
    map_init(&findings->logs);
    int error = states_read(journal);
    if (!error)
        error = files_find(journal);
    for (uint32_t i = 0; i < findings->state_count && !error; i++) {
        const struct journal_state_header *header = &findings->states[i].header;
        if (findings->states[i].ours) {
            journal->state = *header;
            journal->identity = header->identity;
            findings->next_life = header->life;
            findings->next_sequence = header->sequence;
        }
    }
    if (!error)
        error = groups_read(journal);
    for (uint32_t i = 0; i < findings->state_count && !error; i++)
        error = uncertain_take(journal, &findings->states[i]);
    findings->found = NULL;
    return error;
}

void journal_findings_free(struct journal *journal)
{
    struct journal_findings *findings = journal->findings;
    if (!findings)
        return;
    for (uint32_t i = 0; i < findings->file_count; i++) {
        free(findings->files[i].path);
        free(findings->files[i].image);
    }
    for (uint32_t i = 0; i < findings->state_count; i++) {
        free(findings->states[i].path);
        free(findings->states[i].uncertain);
    }
    size_t at = 0;
    struct found_log *log;
    while ((log = map_next(&findings->logs, &at)) != NULL)
        free(log);
    map_free(&findings->logs);
    free(findings->files);
    free(findings->states);
    free(findings->entries);
    free(findings);
    journal->findings = NULL;
}

// --- giving it to the logs

int journal_replay(struct journal *journal, struct journal_log *log, journal_each each,
                   void *context, bool *uncertain)
{
    const struct journal_findings *findings = journal->findings;
    *uncertain = false;
    if (!findings || journal->settled)
        return 0;
    struct found_log *found = journal_found_log(findings, log->topic_id, log->partition);
    *uncertain = found ? found->uncertain : findings->all_uncertain;
    if (!found)
        return 0;
    found->claimed = true;
    int error = 0;
    for (uint32_t at = found->first; at > 0 && !error; at = findings->entries[at - 1].next) {
        const struct found_entry *entry = &findings->entries[at - 1];
        error = each(context, (enum frame_kind)entry->kind, entry->base_offset, entry->payload);
    }
    return error;
}

void journal_uncertain(struct journal *journal, const struct journal_log *log, int64_t next_offset)
{
    if (journal->findings->unreadable)
        return; // not for ever: the device may give it next time
    struct journal_uncertain uncertain = {
        .topic_id = log->topic_id,
        .partition = log->partition,
        .next_offset = next_offset,
    };
    // Without memory it is found again as long as the files are there.
    if (journal_note_uncertain(journal, &uncertain) != 0)
        journal->error = -ENOMEM;
}
