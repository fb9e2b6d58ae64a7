// SPDX-License-Identifier: Apache-2.0
// What the journal's files mean together: which commits are needed, which of them are missing, and
// what is journalled of each log. A second reading of the journal's rules (docs/disk-format.md):
//
// 1. A journal whose state file says that everything has reached the segments is done with: nothing
//    in its files matters, whatever they hold.
// 2. Otherwise every commit from the first needed one to the newest sound one must be there. The
//    first needed one is the highest that the state file, a file's header or a commit names.
// 3. Where a commit is missing, or its table is bad, any log of that shard may have lost something;
//    where only entries are bad, the logs named with them have. A log with a later entry is judged
//    by its offsets; of one without nobody knows the end.
// 4. The file that the newest commit announces, or the state file names, must be there: else
//    commits behind the newest may be missing.
// 5. What lies behind the newest commit was not acknowledged, if nothing proves that it was
//    durable: a commit with a higher number was begun, or a file with such a number in its header.
// 6. A needed entry whose number is not defined in its file may be of any log of that shard that
//    has no entry in the file.
#include "storage/inspect_parts.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/record_batch.h"

enum { NUMBER_MAX = 1 << 24 };

// One group while it is judged.
struct judging {
    struct inspect_journal *journal;
    struct inspect_journal_group *group;
    struct inspect_commit *commits;
    size_t count;
    uint64_t needed;
    const struct inspect_commit *newest;
    uint64_t last; // the highest number that must have been durable
};

// Log numbers of one file.
struct numbers {
    const struct inspect_journal_file *file;
    struct inspect_journal_log **logs;
    uint32_t count;
    uint64_t first; // sequence of the first commit read of this file
    bool undefined; // said already
};

// --- logs

static void key_write(uint8_t key[20], struct kp_uuid topic_id, int32_t partition)
{
    memcpy(key, topic_id.bytes, sizeof(topic_id.bytes));
    memcpy(key + 16, &partition, sizeof(partition));
}

const struct inspect_journal_log *inspect_journal_log(const struct inspect_journal *journal,
                                                      struct kp_uuid topic_id, int32_t partition)
{
    uint8_t key[20];
    key_write(key, topic_id, partition);
    return journal ? map_get(&journal->logs, span_of(key, sizeof(key))) : NULL;
}

static struct inspect_journal_log *log_at(struct inspect_journal *journal, struct kp_uuid topic_id,
                                          int32_t partition)
{
    uint8_t key[20];
    key_write(key, topic_id, partition);
    struct inspect_journal_log *log = map_get(&journal->logs, span_of(key, sizeof(key)));
    if (log)
        return log;
    log = calloc(1, sizeof(*log));
    if (!log)
        return NULL;
    log->topic_id = topic_id;
    log->partition = partition;
    memcpy(log->key, key, sizeof(key));
    if (map_put(&journal->logs, span_of(log->key, sizeof(log->key)), log) == 0)
        return log;
    free(log);
    return NULL;
}

// Where the broker puts a partition among so many shards.
static bool is_of_shard(struct kp_uuid topic_id, int32_t partition, uint32_t shard, uint32_t count)
{
    uint64_t hash = format_checksum(topic_id.bytes, sizeof(topic_id.bytes), 0);
    return (hash + (uint32_t)partition) % count == shard;
}

bool inspect_journal_doubts(const struct inspect_journal *journal, struct kp_uuid topic_id,
                            int32_t partition)
{
    const struct inspect_journal_log *log = inspect_journal_log(journal, topic_id, partition);
    if (log)
        return log->uncertain;
    for (size_t i = 0; i < journal->group_count; i++) {
        const struct inspect_journal_group *group = &journal->groups[i];
        if (group->lost > 0 && is_of_shard(topic_id, partition, group->shard, group->shard_count))
            return true;
    }
    return false;
}

static int item_add(struct inspect_journal_log *log, struct inspect_journalled item)
{
    if (log->count == log->capacity) {
        size_t capacity = log->capacity ? log->capacity * 2 : 8;
        struct inspect_journalled *items = reallocarray(log->items, capacity, sizeof(*items));
        if (!items)
            return -ENOMEM;
        log->items = items;
        log->capacity = capacity;
    }
    log->items[log->count++] = item;
    return 0;
}

// --- findings

static void note(struct inspect_journal *journal, enum inspect_kind kind, const char *file,
                 uint64_t from, uint64_t to, const char *what)
{
    if (journal->in_doubt)
        return;
    inspect_note(&journal->findings,
                 (struct inspect_finding){
                     .kind = kind, .file = (char *)(uintptr_t)file, .from = from, .to = to},
                 "%s", what);
}

static void damage_note(struct judging *judging, enum inspect_kind kind, const char *file,
                        uint64_t from, uint64_t to, const char *what)
{
    judging->group->damaged = true;
    note(judging->journal, kind, file, from, to, what);
}

static void missing_note(struct judging *judging, const struct inspect_commit *before,
                         const struct inspect_commit *behind, uint64_t expected)
{
    char what[128];
    uint64_t from = JOURNAL_BLOCK;
    if (before && before->file == behind->file)
        from = before->position + before->header.stored_size;
    snprintf(what, sizeof(what), "commits %" PRIu64 " up to %" PRIu64 " cannot be read", expected,
             behind->header.sequence - 1);
    damage_note(judging, INSPECT_JOURNAL_DAMAGED, behind->file->name, from, behind->position, what);
}

static void end_missing_note(struct judging *judging, const struct inspect_commit *before,
                             uint64_t expected)
{
    char what[128];
    uint64_t from = before ? before->position + before->header.stored_size : 0;
    snprintf(what, sizeof(what), "commits %" PRIu64 " up to %" PRIu64 ", the last, cannot be read",
             expected, judging->last);
    damage_note(judging, INSPECT_JOURNAL_DAMAGED, before ? before->file->name : "journal", from,
                from, what);
    judging->group->lost = judging->last;
}

// --- entries

static int number_define(struct inspect_journal *journal, struct numbers *numbers, uint32_t number,
                         struct journal_define define)
{
    if (number >= NUMBER_MAX)
        return 0;
    if (number >= numbers->count) {
        uint32_t count = (number + 1) * 2;
        struct inspect_journal_log **logs =
            reallocarray(numbers->logs, count, sizeof(struct inspect_journal_log *));
        if (!logs)
            return -ENOMEM;
        memset(logs + numbers->count, 0, (count - numbers->count) * sizeof(*logs));
        numbers->logs = logs;
        numbers->count = count;
    }
    numbers->logs[number] = log_at(journal, define.topic_id, define.partition);
    return numbers->logs[number] ? 0 : -ENOMEM;
}

static int batches_add(struct judging *judging, struct inspect_journal_log *log,
                       const struct inspect_commit *commit, struct span payload)
{
    for (size_t at = 0; at < payload.size;) {
        struct batch_header header;
        struct span rest = span_of(payload.data + at, payload.size - at);
        if (batch_check_stored(rest, &header) != BATCH_OK) {
            note(judging->journal, INSPECT_BAD_BATCH, commit->file->name, commit->position,
                 commit->position + commit->header.stored_size,
                 "a journalled entry holds a batch that is not sound");
            return 0;
        }
        size_t size = batch_total_size(&header);
        int error = item_add(log, (struct inspect_journalled){
                                      .kind = FRAME_DATA,
                                      .base = header.base_offset,
                                      .next = batch_last_offset(&header) + 1,
                                      .bytes = span_of(rest.data, size),
                                      .sequence = commit->header.sequence,
                                      .file = commit->file,
                                      .position = commit->position,
                                  });
        if (error)
            return error;
        at += size;
    }
    return 0;
}

// Rule 6.
static void undefined_note(struct judging *judging, struct numbers *numbers,
                           const struct inspect_commit *commit)
{
    uint64_t before = numbers->first > 1 ? numbers->first - 1 : 1;
    if (judging->group->lost < before)
        judging->group->lost = before;
    if (!numbers->undefined)
        damage_note(judging, INSPECT_JOURNAL_DAMAGED, commit->file->name, commit->position,
                    commit->position + commit->header.stored_size,
                    "an entry's log is not defined: the commit that said so cannot be read");
    numbers->undefined = true;
}

static int entry_take(struct judging *judging, struct numbers *numbers,
                      const struct inspect_commit *commit, const struct journal_entry *entry,
                      struct span payload, bool sound)
{
    if (entry->kind == JOURNAL_KIND_DEFINE) {
        if (sound && payload.size == JOURNAL_DEFINE_SIZE)
            return number_define(judging->journal, numbers, entry->log,
                                 journal_define_read(payload.data));
        if (commit->header.sequence >= judging->needed)
            judging->group->lost = commit->header.sequence;
        return 0;
    }
    struct inspect_journal_log *log =
        entry->log < numbers->count ? numbers->logs[entry->log] : NULL;
    if (!log && commit->header.sequence >= judging->needed)
        undefined_note(judging, numbers, commit);
    if (!log || (!commit->payload_sound && commit->header.sequence < judging->needed))
        return 0;
    if (!sound) {
        log->lost_sequence = commit->header.sequence;
        return 0;
    }
    log->last_sequence = commit->header.sequence;
    if (entry->kind == FRAME_DATA)
        return batches_add(judging, log, commit, payload);
    return item_add(log, (struct inspect_journalled){.kind = entry->kind,
                                                     .base = entry->base_offset,
                                                     .next = entry->base_offset,
                                                     .bytes = payload,
                                                     .sequence = commit->header.sequence,
                                                     .file = commit->file,
                                                     .position = commit->position});
}

static int commit_take(struct judging *judging, struct numbers *numbers,
                       const struct inspect_commit *commit)
{
    struct journal_entry entry;
    struct span payload;
    bool sound;
    uint32_t number = 0;
    uint64_t at = 0;
    int error = 0;
    if (numbers->file != commit->file) {
        if (numbers->count > 0)
            memset(numbers->logs, 0, numbers->count * sizeof(struct inspect_journal_log *));
        numbers->file = commit->file;
        numbers->first = commit->header.sequence;
        numbers->undefined = false;
    }
    while (!error && inspect_entry_next(commit, &number, &at, &entry, &payload, &sound))
        error = entry_take(judging, numbers, commit, &entry, payload, sound);
    return error;
}

// --- one journal

bool inspect_journal_has(const struct inspect_journal_group *group,
                         const struct inspect_journal_file *file)
{
    return file->state == INSPECT_SOUND && (!file->set_aside || file->unsettled) &&
           file->header.shard == group->shard && file->header.shard_count == group->shard_count &&
           file->header.identity == group->identity;
}

static int sequence_compare(const void *a, const void *b)
{
    uint64_t one = ((const struct inspect_commit *)a)->header.sequence;
    uint64_t other = ((const struct inspect_commit *)b)->header.sequence;
    return (one > other) - (one < other);
}

static int commit_add(struct judging *judging, size_t *capacity,
                      const struct inspect_commit *commit)
{
    if (judging->count == *capacity) {
        *capacity = *capacity ? *capacity * 2 : 256;
        struct inspect_commit *commits =
            reallocarray(judging->commits, *capacity, sizeof(*commits));
        if (!commits)
            return -ENOMEM;
        judging->commits = commits;
    }
    judging->commits[judging->count++] = *commit;
    if (judging->needed < commit->header.needed)
        judging->needed = commit->header.needed;
    if (judging->group->sequence < commit->header.sequence)
        judging->group->sequence = commit->header.sequence;
    return 0;
}

static int commits_gather(struct judging *judging)
{
    const struct inspect_journal *journal = judging->journal;
    struct inspect_journal_group *group = judging->group;
    size_t capacity = 0;
    int error = 0;
    judging->needed = group->state ? group->state->header.sequence : 0;
    for (size_t i = 0; i < journal->file_count && !error; i++) {
        struct inspect_commit commit;
        uint64_t at = 0;
        const struct inspect_journal_file *file = &journal->files[i];
        if (!inspect_journal_has(group, file))
            continue;
        if (judging->needed < file->header.needed)
            judging->needed = file->header.needed;
        // The next number when this life began, so those below were given before.
        if (file->header.sequence > 0 && judging->last < file->header.sequence - 1)
            judging->last = file->header.sequence - 1;
        if (group->sequence < judging->last)
            group->sequence = judging->last;
        while (!error && inspect_commit_next(file, &at, &commit))
            error = commit_add(judging, &capacity, &commit);
    }
    if (judging->count > 0)
        qsort(judging->commits, judging->count, sizeof(*judging->commits), sequence_compare);
    for (size_t i = 0; i < judging->count; i++) {
        if (judging->commits[i].table_sound && judging->commits[i].payload_sound)
            judging->newest = &judging->commits[i];
    }
    // One is begun when the one before is durable; the very last may be torn.
    uint64_t begun = judging->count > 0 ? judging->commits[judging->count - 1].header.sequence : 0;
    if (begun > 0 && judging->last < begun - 1)
        judging->last = begun - 1;
    if (judging->newest && judging->last < judging->newest->header.sequence)
        judging->last = judging->newest->header.sequence;
    return error;
}

// Rules 2 and 3.
static int commits_judge(struct judging *judging)
{
    struct numbers numbers = {0};
    const struct inspect_commit *before = NULL;
    uint64_t expected = judging->needed;
    int error = 0;
    for (size_t i = 0; i < judging->count && !error; i++) {
        const struct inspect_commit *commit = &judging->commits[i];
        uint64_t sequence = commit->header.sequence;
        uint64_t end = commit->position + commit->header.stored_size;
        if (sequence > judging->last) {
            note(judging->journal, INSPECT_JOURNAL_TORN, commit->file->name, commit->position, end,
                 "the rest of a commit that nobody was told of");
            break;
        }
        if (!commit->table_sound)
            continue;
        if (sequence > expected && sequence > judging->needed) {
            missing_note(judging, before, commit, expected);
            judging->group->lost = sequence - 1;
        }
        if (!commit->payload_sound && sequence >= judging->needed)
            damage_note(judging, INSPECT_JOURNAL_DAMAGED, commit->file->name, commit->position, end,
                        "a commit's payload fails its checksum");
        error = commit_take(judging, &numbers, commit);
        if (sequence >= expected)
            expected = sequence + 1;
        before = commit;
    }
    if (!error && judging->needed > 0 && expected <= judging->last)
        end_missing_note(judging, before, expected);
    free(numbers.logs);
    return error;
}

// Rule 4.
static void end_judge(struct judging *judging)
{
    char what[160];
    const struct inspect_journal *journal = judging->journal;
    struct inspect_journal_group *group = judging->group;
    uint64_t life = group->state ? group->state->header.life : 0;
    bool there = false;
    if (judging->newest && judging->newest->header.next_slot != JOURNAL_NO_SLOT)
        life = judging->newest->file->header.life + 1;
    for (size_t i = 0; i < journal->file_count; i++) {
        if (inspect_journal_has(group, &journal->files[i]) && journal->files[i].header.life >= life)
            there = true;
    }
    if (there || life == 0)
        return;
    group->lost = UINT64_MAX;
    snprintf(what, sizeof(what),
             "the file that shard %" PRIu32 " of %" PRIu32
             " was using last is missing, or its header is damaged",
             group->shard, group->shard_count);
    damage_note(judging, INSPECT_JOURNAL_MISSING, "journal", 0, 0, what);
}

static void logs_judge(struct inspect_journal *journal, const struct inspect_journal_group *group)
{
    size_t at = 0;
    struct inspect_journal_log *log;
    while ((log = map_next(&journal->logs, &at)) != NULL) {
        if (!is_of_shard(log->topic_id, log->partition, group->shard, group->shard_count))
            continue;
        uint64_t worst = log->lost_sequence > group->lost ? log->lost_sequence : group->lost;
        if (worst > 0 && log->last_sequence <= worst)
            log->uncertain = true;
        log->last_sequence = 0;
        log->lost_sequence = 0;
    }
}

static int group_judge(struct inspect_journal *journal, struct inspect_journal_group *group)
{
    struct judging judging = {.journal = journal, .group = group};
    group->in_use = !group->state || group->state->header.in_use;
    if (!group->in_use)
        return 0;
    int error = commits_gather(&judging);
    if (!error && !group->state && judging.count > 0)
        damage_note(&judging, INSPECT_JOURNAL_MISSING, "journal", 0, 0,
                    "there are commits, and no state file that says so");
    if (!error)
        error = commits_judge(&judging);
    if (!error) {
        end_judge(&judging);
        logs_judge(journal, group);
    }
    free(judging.commits);
    return error;
}

// --- all of them

static const struct inspect_journal_state *state_of(const struct inspect_journal *journal,
                                                    uint32_t shard, uint32_t shard_count)
{
    for (size_t i = 0; i < journal->state_count; i++) {
        const struct inspect_journal_state *state = &journal->states[i];
        if (state->state == INSPECT_SOUND && state->header.shard == shard &&
            state->header.shard_count == shard_count)
            return state;
    }
    return NULL;
}

static struct inspect_journal_group *group_at(struct inspect_journal_group *groups, size_t *count,
                                              struct inspect_journal_group wanted)
{
    for (size_t i = 0; i < *count; i++) {
        if (groups[i].shard == wanted.shard && groups[i].shard_count == wanted.shard_count &&
            groups[i].identity == wanted.identity)
            return &groups[i];
    }
    groups[*count] = wanted;
    return &groups[(*count)++];
}

static int age_compare(const void *a, const void *b)
{
    int64_t one = ((const struct inspect_journal_group *)a)->created_ms;
    int64_t other = ((const struct inspect_journal_group *)b)->created_ms;
    return (one > other) - (one < other);
}

static void file_judge(struct inspect_journal *journal, const struct inspect_journal_file *file)
{
    if (file->set_aside)
        note(journal, INSPECT_JOURNAL_DAMAGED, file->name, 0, 0,
             "a start found this file damaged, and set it aside");
    else if (file->state == INSPECT_VERSION)
        note(journal, INSPECT_OTHER_VERSION, file->name, 0, 0,
             "the file is of another format version");
    else if (file->state == INSPECT_REFUSED)
        note(journal, INSPECT_JOURNAL_DAMAGED, file->name, 0, 0, "the file cannot be read");
}

static size_t groups_find(struct inspect_journal *journal, struct inspect_journal_group *groups)
{
    size_t count = 0;
    for (size_t i = 0; i < journal->state_count; i++) {
        const struct inspect_journal_state *state = &journal->states[i];
        if (state->state != INSPECT_SOUND) {
            note(journal,
                 state->state == INSPECT_VERSION ? INSPECT_OTHER_VERSION : INSPECT_JOURNAL_DAMAGED,
                 state->name, 0, 0, "the journal's state cannot be read");
            continue;
        }
        group_at(groups, &count,
                 (struct inspect_journal_group){.shard = state->header.shard,
                                                .shard_count = state->header.shard_count,
                                                .identity = state->header.identity,
                                                .state = state});
    }
    for (size_t i = 0; i < journal->file_count; i++) {
        struct inspect_journal_file *file = &journal->files[i];
        const struct journal_header *header = &file->header;
        file_judge(journal, file);
        if (file->state != INSPECT_SOUND)
            continue;
        const struct inspect_journal_state *state =
            state_of(journal, header->shard, header->shard_count);
        file->unsettled = file->set_aside && state && state->header.in_use &&
                          state->header.identity == header->identity &&
                          state->header.life <= header->life;
        if (file->set_aside && !file->unsettled)
            continue;
        if (state && state->header.identity != header->identity) {
            note(journal, INSPECT_STRANGER, file->name, 0, 0, "a file of another journal");
            continue;
        }
        struct inspect_journal_group *group =
            group_at(groups, &count,
                     (struct inspect_journal_group){.shard = header->shard,
                                                    .shard_count = header->shard_count,
                                                    .identity = header->identity});
        if (group->created_ms < header->created_ms)
            group->created_ms = header->created_ms;
        if (group->life < header->life)
            group->life = header->life;
    }
    return count;
}

static int uncertain_take(struct inspect_journal *journal)
{
    for (size_t i = 0; i < journal->state_count; i++) {
        const struct inspect_journal_state *state = &journal->states[i];
        for (uint32_t j = 0; state->uncertain && j < state->header.uncertain_count; j++) {
            struct inspect_journal_log *log =
                log_at(journal, state->uncertain[j].topic_id, state->uncertain[j].partition);
            if (!log)
                return -ENOMEM;
            log->uncertain = true;
        }
    }
    return 0;
}

int inspect_journal_open(struct inspect_journal *journal, const struct inspect_directory *directory,
                         atomic_uint_fast64_t *progress)
{
    *journal = (struct inspect_journal){.in_doubt = directory->in_use};
    map_init(&journal->logs);
    int error = inspect_journal_files(journal, directory->path, progress);
    struct inspect_journal_group *groups = NULL;
    if (!error) {
        groups = calloc(journal->state_count + journal->file_count + 1, sizeof(*groups));
        error = groups ? 0 : -ENOMEM;
    }
    journal->groups = groups;
    journal->group_count = error ? 0 : groups_find(journal, groups);
    if (journal->group_count > 0)
        qsort(groups, journal->group_count, sizeof(*groups), age_compare);
    for (size_t i = 0; i < journal->group_count && !error; i++)
        error = group_judge(journal, &groups[i]);
    if (!error)
        error = uncertain_take(journal);
    if (error)
        inspect_journal_close(journal);
    return error;
}
