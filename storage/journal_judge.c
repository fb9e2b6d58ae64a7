// SPDX-License-Identifier: Apache-2.0
// What the commits of a journal say, and what is missing. Keeps rule 7 of the storage design for
// the journal: what could have been acknowledged and cannot be read is damage, named and contained.
//
// Commits go one at a time and carry consecutive numbers, each says from which number on commits
// may still be needed, and a file that is ready to be the next one is announced by a commit of the
// one before, before it is used. So:
//
// 1. Bytes that are no sound commit, with no commit behind them in the order of the journal, are
//    the torn rest of the one commit that was under way. Nobody was told of it. But a sound header
//    of a commit, and one of a file that says with which number its life began, prove that the
//    commits with lower numbers were durable.
// 2. A number between the first that is needed and the last that is there, or is proven, without a
//    sound commit, is damage. If the table of that commit is sound, it concerns the logs named
//    there whose entries are bad; else it may concern every log.
// 3. So is an announced file without a sound header, and a journal in use without any file: then
//    nobody knows what was behind.
// 4. A log that damage may concern and that has a later entry is judged by its offsets (replay.c).
//    One without is uncertain: what was behind its last entry, nobody knows.
// 5. A needed entry whose number has no sound definition in its file is damage, also where the
//    definition was in a commit that is not needed itself. It may be any log's that has no entry
//    in that file.
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/log_line.h"
#include "storage/journal_internal.h"
#include "storage/plant.h"

enum { LOG_NUMBER_MAX = 1 << 24 };

// --- the commits of one file

static int commit_add(struct found_group *group, const struct found_commit *commit)
{
    if (group->commit_count == group->commit_capacity) {
        uint32_t capacity = group->commit_capacity ? group->commit_capacity * 2 : 256;
        struct found_commit *grown = realloc(group->commits, capacity * sizeof(*grown));
        if (!grown)
            return -ENOMEM;
        group->commits = grown;
        group->commit_capacity = capacity;
    }
    group->commits[group->commit_count++] = *commit;
    return 0;
}

static void commit_check(struct found_commit *commit)
{
    const struct journal_commit *header = &commit->header;
    const uint8_t *bytes = commit->file->image + commit->position;
    uint64_t salt = commit->file->header.salt;
    const uint8_t *table = bytes + journal_table_at(header);
    size_t table_size = (size_t)header->entry_count * JOURNAL_TABLE_ENTRY;
    commit->table_sound = format_checksum(table, table_size, salt) == header->table_checksum;
    commit->payload_sound = format_checksum(bytes + JOURNAL_COMMIT_HEADER, header->payload_size,
                                            salt) == header->payload_checksum;
}

static int file_parse(struct found_group *group, struct found_file *file)
{
    int error = 0;
    bool any = planted(PLANT_STALE_LIFE) || planted(PLANT_NO_SALT);
    uint64_t least = any ? 0 : file->header.sequence;
    for (uint64_t at = JOURNAL_BLOCK; at + JOURNAL_BLOCK <= file->size && !error;) {
        struct found_commit commit = {.file = file, .position = at};
        if (!journal_commit_read(file->image + at, file->header.salt, at, &commit.header) ||
            commit.header.sequence < least || at + commit.header.stored_size > file->size) {
            at += JOURNAL_BLOCK;
            continue;
        }
        commit_check(&commit);
        error = commit_add(group, &commit);
        least = commit.header.sequence + 1;
        at += commit.header.stored_size;
    }
    return error;
}

static int by_sequence(const void *a, const void *b)
{
    uint64_t left = ((const struct found_commit *)a)->header.sequence;
    uint64_t right = ((const struct found_commit *)b)->header.sequence;
    return (left > right) - (left < right);
}

// --- entries

struct number {
    struct found_log *log; // NULL when it is another store's
    bool defined;
};

// Log numbers of one file, as its DEFINE entries say.
struct numbers {
    const struct found_file *file;
    struct number *numbers;
    uint32_t count;
    uint64_t first;  // sequence of the first commit read of this file
    uint64_t needed; // bad entries of commits below do not matter
};

// What an entry or a commit leaves open.
struct doubt {
    bool lost;      // it is bad, and nobody knows whose it was
    bool undefined; // it is sound, and its number has no definition
};

static int numbers_set(struct journal *journal, struct numbers *numbers, uint32_t number,
                       struct journal_define define)
{
    const struct journal_options *options = &journal->options;
    if (number >= LOG_NUMBER_MAX)
        return 0;
    if (number >= numbers->count) {
        uint32_t count = (number + 1) * 2;
        struct number *grown = realloc(numbers->numbers, count * sizeof(*grown));
        if (!grown)
            return -ENOMEM;
        memset(grown + numbers->count, 0, (count - numbers->count) * sizeof(*grown));
        numbers->numbers = grown;
        numbers->count = count;
    }
    struct number *one = &numbers->numbers[number];
    *one = (struct number){.defined = true};
    if (options->owns && !options->owns(options->owns_context, define.topic_id, define.partition))
        return 0;
    one->log = journal_find_log(journal->findings, define.topic_id, define.partition);
    return one->log ? 0 : -ENOMEM;
}

static int entry_take(struct journal_findings *findings, struct found_log *log,
                      const struct found_commit *commit, const struct journal_entry *entry,
                      struct span payload)
{
    if (findings->entry_count == findings->entry_capacity) {
        uint32_t capacity = findings->entry_capacity ? findings->entry_capacity * 2 : 1024;
        struct found_entry *grown = realloc(findings->entries, capacity * sizeof(*grown));
        if (!grown)
            return -ENOMEM;
        findings->entries = grown;
        findings->entry_capacity = capacity;
    }
    findings->entries[findings->entry_count++] = (struct found_entry){
        .payload = payload,
        .base_offset = entry->base_offset,
        .kind = entry->kind,
        .file = commit->file,
    };
    if (log->last > 0)
        findings->entries[log->last - 1].next = findings->entry_count;
    else
        log->first = findings->entry_count;
    log->last = findings->entry_count;
    log->last_sequence = commit->header.sequence;
    findings->found->entries++;
    findings->found->bytes += payload.size;
    return 0;
}

static bool kind_is_known(uint32_t kind)
{
    return kind == FRAME_DATA || kind == FRAME_LOG_START || kind == FRAME_PRODUCERS;
}

// One entry of a commit whose table is sound.
static int entry_judge(struct journal *journal, struct numbers *numbers,
                       const struct found_commit *commit, const struct journal_entry *entry,
                       struct span payload, struct doubt *doubt)
{
    bool sound = commit->payload_sound ||
                 journal_entry_checksum(payload.data, payload.size, commit->file->header.salt) ==
                     entry->checksum;
    if (entry->kind == JOURNAL_KIND_DEFINE) {
        if (!sound || payload.size != JOURNAL_DEFINE_SIZE) {
            doubt->lost = true;
            return 0;
        }
        return numbers_set(journal, numbers, entry->log, journal_define_read(payload.data));
    }
    if (entry->log >= numbers->count || !numbers->numbers[entry->log].defined) {
        doubt->undefined = true;
        return 0;
    }
    struct found_log *log = numbers->numbers[entry->log].log;
    if (!log || (!commit->payload_sound && commit->header.sequence < numbers->needed))
        return 0;
    if (sound && kind_is_known(entry->kind))
        return entry_take(journal->findings, log, commit, entry, payload);
    log->lost_sequence = commit->header.sequence;
    log_line(LOG_ERROR,
             "%s is damaged at byte %" PRIu64 " (commit %" PRIu64 "): offsets from %" PRId64
             " on of one log are lost in it",
             commit->file->path, commit->position, commit->header.sequence, entry->base_offset);
    return 0;
}

static int commit_take(struct journal *journal, struct numbers *numbers,
                       const struct found_commit *commit, struct doubt *doubt)
{
    const uint8_t *bytes = commit->file->image + commit->position;
    const uint8_t *table = bytes + journal_table_at(&commit->header);
    uint64_t at = JOURNAL_COMMIT_HEADER;
    if (numbers->file != commit->file) {
        numbers->file = commit->file;
        numbers->first = commit->header.sequence;
        for (uint32_t i = 0; i < numbers->count; i++)
            numbers->numbers[i] = (struct number){0};
    }
    int error = 0;
    for (uint32_t i = 0; i < commit->header.entry_count && !error; i++) {
        struct journal_entry entry = journal_entry_read(table + (size_t)i * JOURNAL_TABLE_ENTRY);
        if (at + entry.size > journal_table_at(&commit->header)) {
            doubt->lost = true; // a table that is sound and says what cannot be
            break;
        }
        error =
            entry_judge(journal, numbers, commit, &entry, span_of(bytes + at, entry.size), doubt);
        at += entry.size;
    }
    return error;
}

// --- the journal as a whole

// The first number that may be needed.
static uint64_t first_needed(const struct found_group *group)
{
    uint64_t needed = group->state ? group->state->header.sequence : 0;
    for (uint32_t i = 0; i < group->file_count; i++) {
        if (needed < group->files[i]->header.needed)
            needed = group->files[i]->header.needed;
    }
    for (uint32_t i = 0; i < group->commit_count; i++) {
        if (needed < group->commits[i].header.needed)
            needed = group->commits[i].header.needed;
    }
    return needed;
}

static const struct found_commit *newest_sound(const struct found_group *group)
{
    for (uint32_t i = group->commit_count; i > 0; i--) {
        const struct found_commit *commit = &group->commits[i - 1];
        if (commit->table_sound && commit->payload_sound)
            return commit;
    }
    return NULL;
}

// The last number that was durable; 0 = none is known. Rule 1.
static uint64_t last_durable(const struct found_group *group, const struct found_commit *newest)
{
    uint64_t behind = newest ? newest->header.sequence + 1 : 1;
    if (group->commit_count > 0) {
        uint64_t last = group->commits[group->commit_count - 1].header.sequence;
        behind = behind < last ? last : behind;
    }
    for (uint32_t i = 0; i < group->file_count; i++) {
        if (behind < group->files[i]->header.sequence)
            behind = group->files[i]->header.sequence;
    }
    return behind - 1;
}

// Commits behind the last one that is there.
static void end_missing_tell(struct journal *journal, const struct found_commit *before,
                             uint64_t from, uint64_t last)
{
    journal->findings->found->damages++;
    if (before)
        before->file->damaged = true;
    log_line(LOG_ERROR,
             "%s is damaged or not complete from byte %" PRIu64 " on: commits %" PRIu64
             " up to %" PRIu64 ", the last ones, cannot be read; a log that may have been in them "
             "accepts nothing",
             before ? before->file->path : journal->directory,
             before ? before->position + before->header.stored_size : 0, from, last);
}

static void missing_tell(struct journal *journal, const struct found_commit *before,
                         const struct found_commit *behind, uint64_t from)
{
    journal->findings->found->damages++;
    uint64_t at = JOURNAL_BLOCK;
    struct found_file *file = behind->file;
    if (before && before->file == file)
        at = before->position + before->header.stored_size;
    file->damaged = file->damaged || at < behind->position;
    log_line(LOG_ERROR,
             "%s is damaged or not complete before byte %" PRIu64 " (from %" PRIu64
             "): commits %" PRIu64 " up to %" PRIu64 " cannot be read; a log that may have been in "
             "them and is in none behind accepts nothing",
             file->path, behind->position, at, from, behind->header.sequence - 1);
}

// Rule 5. Logs with an entry in the file have a number there, and it is another one.
static void undefined_take(struct journal *journal, const struct numbers *numbers,
                           const struct found_commit *commit, uint64_t *lost)
{
    uint64_t before = numbers->first > 1 ? numbers->first - 1 : 1;
    if (*lost < before)
        *lost = before;
    if (commit->file->damaged)
        return;
    commit->file->damaged = true;
    journal->findings->found->damages++;
    log_line(LOG_ERROR,
             "%s is damaged before byte %" PRIu64 " (commit %" PRIu64
             "): it is lost which log an entry there belongs to; a log that has none in this file "
             "or behind accepts nothing",
             commit->file->path, commit->position, commit->header.sequence);
}

// Rule 3: the end itself is missing.
static bool end_is_lost(struct journal *journal, const struct found_group *group,
                        const struct found_commit *newest)
{
    struct journal_findings *findings = journal->findings;
    uint64_t life = group->state ? group->state->header.life : 0;
    if (newest && newest->header.next_slot != JOURNAL_NO_SLOT)
        life = newest->file->header.life + 1;
    bool there = life == 0;
    for (uint32_t i = 0; i < group->file_count; i++)
        there = there || group->files[i]->header.life >= life;
    if (there && !group->unreadable)
        return false;
    findings->found->damages++;
    if (!there)
        log_line(LOG_ERROR,
                 "%s: the journal file %03u-%03u of shard %u (of %u) is missing or its header is "
                 "damaged; a log that may have had records in it accepts nothing",
                 journal->directory, group->shard,
                 newest && newest->header.next_slot != JOURNAL_NO_SLOT ? newest->header.next_slot
                                                                       : 0,
                 group->shard, group->shard_count);
    return true;
}

// Everything that may be needed, in order. *lost: the last number that every log may have lost.
static int commits_take(struct journal *journal, const struct found_group *group,
                        const struct found_commit *newest, uint64_t *lost)
{
    uint64_t needed = first_needed(group);
    struct numbers numbers = {.needed = needed};
    uint64_t expected = needed;
    uint64_t last = last_durable(group, newest);
    const struct found_commit *before = NULL;
    int error = 0;
    for (uint32_t i = 0; i < group->commit_count && !error; i++) {
        const struct found_commit *commit = &group->commits[i];
        uint64_t sequence = commit->header.sequence;
        if (sequence > last)
            break; // rule 1
        if (!commit->table_sound)
            continue;
        if (sequence > expected && sequence > needed) {
            missing_tell(journal, before, commit, expected);
            *lost = sequence - 1;
        }
        if (!commit->payload_sound && sequence >= needed) {
            journal->findings->found->damages++;
            commit->file->damaged = true;
        }
        struct doubt doubt = {0};
        error = commit_take(journal, &numbers, commit, &doubt);
        if (doubt.lost && sequence >= needed)
            *lost = sequence;
        if (doubt.undefined && sequence >= needed)
            undefined_take(journal, &numbers, commit, lost);
        if (sequence >= expected)
            expected = sequence + 1;
        before = commit;
        journal->findings->found->commits++;
    }
    if (needed > 0 && expected <= last && !error) {
        end_missing_tell(journal, before, expected, last);
        *lost = last;
    }
    free(numbers.numbers);
    return error;
}

static void logs_judge(struct journal_findings *findings, uint64_t lost)
{
    size_t at = 0;
    struct found_log *log;
    while ((log = map_next(&findings->logs, &at)) != NULL) {
        uint64_t worst = log->lost_sequence > lost ? log->lost_sequence : lost;
        if (worst > 0 && log->last_sequence <= worst)
            log->uncertain = true;
        log->last_sequence = 0;
        log->lost_sequence = 0;
    }
    if (lost > 0)
        findings->all_uncertain = true;
}

// No number is given twice, nor one that a header calls not needed: the state file, which knows the
// next one, may be lost.
static void sequences_pass(struct journal_findings *findings, const struct found_group *group)
{
    uint64_t next = findings->next_sequence;
    if (group->commit_count > 0) {
        uint64_t last = group->commits[group->commit_count - 1].header.sequence;
        next = next <= last ? last + 1 : next;
    }
    for (uint32_t i = 0; i < group->file_count; i++) {
        const struct journal_header *header = &group->files[i]->header;
        next = next < header->sequence ? header->sequence : next;
        next = next < header->needed ? header->needed : next;
    }
    findings->next_sequence = next;
}

int journal_judge(struct journal *journal, struct found_group *group)
{
    int error = 0;
    for (uint32_t i = 0; i < group->file_count && !error; i++) {
        if (group->files[i]->image)
            error = file_parse(group, group->files[i]);
    }
    if (error)
        return error;
    if (group->commit_count > 0)
        qsort(group->commits, group->commit_count, sizeof(*group->commits), by_sequence);
    const struct found_commit *newest = newest_sound(group);
    if (newest) {
        newest->file->last_at = newest->position;
        newest->file->last_size = newest->header.stored_size;
    }
    uint64_t lost = 0;
    error = commits_take(journal, group, newest, &lost);
    if (error)
        return error;
    if (end_is_lost(journal, group, newest))
        lost = UINT64_MAX;
    logs_judge(journal->findings, lost);
    bool ours = group->shard == journal->options.shard &&
                group->shard_count == journal->options.shard_count;
    journal->findings->damaged = journal->findings->damaged || lost > 0;
    if (ours)
        sequences_pass(journal->findings, group);
    return 0;
}
