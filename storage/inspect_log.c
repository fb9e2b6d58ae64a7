// SPDX-License-Identifier: Apache-2.0
// Judges a log: what its segments hold one by one, put together, and what a broker would make of
// it. Rule 7 of the storage design, read a second time:
//
// 1. What lies behind the last sound frame of the last segment, with no index and no journal that
//    knows more, is the rest of a commit that nobody was told of. Anywhere else it is damage.
// 2. A last file without a sound header and without content is a creation that a crash ended, if it
//    continues the log; with content, or when offsets are missing before it, nobody can know where
//    the log ended. Likewise when there is an index at or behind it: those are made of frames.
// 3. A file whose offsets are in the file before it is what a compaction, or a creation that
//    failed, has left.
// 4. Offsets below the log's start concern nobody any more.
#include "storage/inspect_parts.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/endian.h"

struct judging {
    struct inspect_log *log;
    const struct inspect_segment *last; // with a file, not superseded
    int64_t expected;                   // offset that the next segment should begin with; -1 = any
};

static void note(struct judging *judging, const struct inspect_segment *segment,
                 struct inspect_finding finding, const char *what)
{
    struct inspect_log *log = judging->log;
    bool is_index = finding.kind == INSPECT_NO_INDEX || finding.kind == INSPECT_BAD_INDEX ||
                    (segment && !segment->has_data);
    char *file = segment ? inspect_segment_path(segment, is_index ? ".index" : ".log", false)
                         : strdup(log->name);
    finding.topic = log->topic;
    finding.partition = log->partition;
    finding.file = file;
    inspect_note(&log->findings, finding, "%s", what);
    free(file);
}

static bool concerns(const struct judging *judging, int64_t next)
{
    return next > judging->log->start;
}

// --- which files count

static void superseded_mark(struct inspect_log *log)
{
    int64_t cleaned_to = 0;
    bool beyond = false;
    for (size_t i = 0; i < log->segment_count; i++) {
        struct inspect_segment *segment = &log->segments[i];
        segment->superseded = segment->base < cleaned_to || (beyond && segment->has_data);
        if (segment->superseded || segment->state != INSPECT_SOUND)
            continue;
        beyond = segment->goes_beyond;
        if (segment->header.cleaned_to > cleaned_to)
            cleaned_to = segment->header.cleaned_to;
    }
}

static const struct inspect_segment *last_of(const struct inspect_log *log)
{
    const struct inspect_segment *last = NULL;
    for (size_t i = 0; i < log->segment_count; i++) {
        if (log->segments[i].has_data && !log->segments[i].superseded)
            last = &log->segments[i];
    }
    return last;
}

static void start_find(struct inspect_log *log, const struct inspect_journal_log *journalled)
{
    int64_t start = -1;
    for (size_t i = 0; i < log->segment_count; i++) {
        const struct inspect_segment *segment = &log->segments[i];
        if (!segment->has_data || segment->superseded)
            continue;
        if (start < 0)
            start = segment->base;
        if (segment->state != INSPECT_SOUND)
            continue;
        if (segment->log_start > start)
            start = segment->log_start;
        if (segment->index_state == INSPECT_SOUND && segment->index.log_start > start)
            start = segment->index.log_start;
    }
    for (size_t i = 0; journalled && i < journalled->count; i++) {
        const struct inspect_journalled *item = &journalled->items[i];
        int64_t moved = item->kind == FRAME_LOG_START && item->bytes.size == 8
                            ? (int64_t)load_le64(item->bytes.data)
                            : 0;
        start = start < moved ? moved : start;
    }
    log->start = start < 0 ? 0 : start;
}

// --- a segment that cannot be read

static void end_lose(struct judging *judging, const struct inspect_segment *segment,
                     const char *what)
{
    judging->log->end_is_lost = true;
    note(judging, segment,
         (struct inspect_finding){.kind = INSPECT_LOST_END,
                                  .to = segment->file_size,
                                  .first = judging->log->end,
                                  .next = INT64_MAX},
         what);
}

static const char *state_text(const struct inspect_segment *segment)
{
    switch (segment->state) {
    case INSPECT_EMPTY:
        return "the file's header is zeros, or missing";
    case INSPECT_FOREIGN:
        return "the file is a segment of another place";
    case INSPECT_VERSION:
        return "the file is of another format version";
    case INSPECT_REFUSED:
        return strerror(-segment->refused);
    default:
        return "the file's header fails its checksum";
    }
}

static void bad_last(struct judging *judging, const struct inspect_segment *segment)
{
    bool alone = judging->expected < 0;
    bool continues = alone ? segment->base == 0 : judging->log->end >= segment->base;
    if (segment->has_content || segment->has_index || !continues) {
        end_lose(judging, segment, state_text(segment));
        return;
    }
    note(judging, segment,
         (struct inspect_finding){.kind = INSPECT_UNFINISHED, .to = segment->file_size},
         "a segment that was being made when the end came");
}

static void bad_segment(struct judging *judging, const struct inspect_segment *segment)
{
    struct inspect_finding finding = {
        .to = segment->file_size, .first = segment->base, .next = segment->limit};
    if (judging->expected >= 0 && judging->expected < segment->base)
        finding.first = judging->expected;
    if (segment->state == INSPECT_VERSION || segment->state == INSPECT_REFUSED) {
        finding.kind =
            segment->state == INSPECT_VERSION ? INSPECT_OTHER_VERSION : INSPECT_UNREADABLE;
        note(judging, segment, finding, state_text(segment));
    } else if (segment == judging->last) {
        bad_last(judging, segment);
    } else if (concerns(judging, segment->limit)) {
        finding.kind =
            segment->state == INSPECT_FOREIGN ? INSPECT_WRONG_FILE : INSPECT_DAMAGED_FILE;
        note(judging, segment, finding, state_text(segment));
    }
    if (segment != judging->last)
        judging->expected = segment->limit;
}

// --- a sound one

static void index_judge(struct judging *judging, const struct inspect_segment *segment)
{
    const char *what = NULL;
    enum inspect_kind kind = INSPECT_BAD_INDEX;
    switch (segment->index_state) {
    case INSPECT_ABSENT:
        kind = INSPECT_NO_INDEX;
        what = segment->frames > 0 && segment->limit != INT64_MAX ? "a sealed segment has no index"
                                                                  : NULL;
        break;
    case INSPECT_EMPTY:
    case INSPECT_GARBLED:
        what = "the index fails its checksum";
        break;
    case INSPECT_FOREIGN:
        what = "the index is of another file, or of an earlier life of this one";
        break;
    case INSPECT_REFUSED:
        what = "the index cannot be read";
        break;
    default:
        break;
    }
    if (what)
        note(judging, segment, (struct inspect_finding){.kind = kind}, what);
}

static void gaps_judge(struct judging *judging, const struct inspect_segment *segment)
{
    for (size_t i = 0; i < segment->gap_count; i++) {
        const struct inspect_gap *gap = &segment->gaps[i];
        if (!concerns(judging, gap->next))
            continue;
        note(judging, segment,
             (struct inspect_finding){.kind = INSPECT_DAMAGED_RANGE,
                                      .from = gap->from,
                                      .to = gap->to,
                                      .first = gap->first,
                                      .next = gap->next},
             gap->why);
    }
}

static void tail_judge(struct judging *judging, const struct inspect_segment *segment)
{
    struct inspect_finding finding = {.from = segment->end,
                                      .to = segment->content_end,
                                      .first = segment->next_offset,
                                      .next = segment->limit};
    bool something = segment->content_end > segment->end;
    if (segment == judging->last) {
        finding.kind = INSPECT_TORN_END;
        finding.next = segment->torn_size > 0 ? segment->torn_next : segment->next_offset;
        if (something)
            note(judging, segment, finding, "the rest of a commit that nobody was told of");
        return;
    }
    if (segment->next_offset >= segment->limit || !concerns(judging, segment->limit))
        return;
    finding.kind = something ? INSPECT_DAMAGED_RANGE : INSPECT_MISSING_FILE;
    if (!something)
        finding.to = finding.from = segment->end;
    note(judging, segment, finding,
         something ? segment->torn_why
                   : "the offsets behind this file's end are in no other: a file is missing, or "
                     "this one was cut");
}

static void sound_segment(struct judging *judging, struct inspect_segment *segment)
{
    if (judging->expected > segment->base)
        note(judging, segment,
             (struct inspect_finding){
                 .kind = INSPECT_WRONG_FILE, .first = segment->base, .next = judging->expected},
             "the file begins before the end of the one before it");
    index_judge(judging, segment);
    gaps_judge(judging, segment);
    inspect_move(&judging->log->findings, &segment->findings);
    tail_judge(judging, segment);
    judging->log->end = segment->next_offset;
    judging->expected = segment->limit != INT64_MAX ? segment->limit : segment->next_offset;
}

// --- files that do not count

static void index_alone(struct judging *judging, const struct inspect_segment *segment)
{
    if (!judging->last || segment->base > judging->last->base) {
        end_lose(judging, segment, "the segment of this index is missing, at the end of the log");
        return;
    }
    note(judging, segment, (struct inspect_finding){.kind = INSPECT_LEFTOVER},
         "an index without its segment");
}

// --- what only the journal holds

static void journal_gap(struct judging *judging, const struct inspect_journalled *item)
{
    struct inspect_log *log = judging->log;
    inspect_note(&log->findings,
                 (struct inspect_finding){
                     .kind = INSPECT_JOURNAL_GAP,
                     .file = item->file->name,
                     .topic = log->topic,
                     .partition = log->partition,
                     .from = item->position,
                     .to = item->position + JOURNAL_BLOCK,
                     .first = log->journal_next,
                     .next = item->base,
                 },
                 "the journal goes on behind the end of the segments");
}

static void journalled_judge(struct judging *judging, const struct inspect_journal_log *journalled,
                             bool in_doubt)
{
    struct inspect_log *log = judging->log;
    for (size_t i = 0; i < journalled->count; i++) {
        const struct inspect_journalled *item = &journalled->items[i];
        if (item->next <= log->journal_next)
            continue;
        if (item->base > log->journal_next && !log->end_is_lost && !in_doubt)
            journal_gap(judging, item);
        if (log->journal_first < 0 && item->kind == FRAME_DATA)
            log->journal_first = item->base > log->end ? item->base : log->end;
        log->journal_next = item->next;
    }
}

static void journal_judge(struct judging *judging, const struct inspect_journal *journal)
{
    struct inspect_log *log = judging->log;
    const struct inspect_journal_log *journalled =
        inspect_journal_log(journal, log->topic_id, log->partition);
    log->journal_first = -1;
    log->journal_next = log->end < log->start ? log->start : log->end;
    if (journalled)
        journalled_judge(judging, journalled, journal->in_doubt);
    if (!journal || journal->in_doubt ||
        !inspect_journal_doubts(journal, log->topic_id, log->partition))
        return;
    note(judging, NULL,
         (struct inspect_finding){
             .kind = INSPECT_UNCERTAIN_END, .first = log->journal_next, .next = INT64_MAX},
         "the journal lost something that may have been of this log");
}

void inspect_log_judge(struct inspect_log *log, const struct inspect_journal *journal)
{
    struct judging judging = {.log = log, .expected = -1};
    inspect_findings_free(&log->findings);
    superseded_mark(log);
    judging.last = last_of(log);
    start_find(log, inspect_journal_log(journal, log->topic_id, log->partition));
    log->end = log->start;
    log->end_is_lost = false;
    for (size_t i = 0; i < log->segment_count; i++) {
        struct inspect_segment *segment = &log->segments[i];
        if (!segment->has_data)
            index_alone(&judging, segment);
        else if (segment->superseded)
            note(&judging, segment, (struct inspect_finding){.kind = INSPECT_LEFTOVER},
                 "a segment whose content is in the one before it");
        else if (segment->state == INSPECT_SOUND)
            sound_segment(&judging, segment);
        else
            bad_segment(&judging, segment);
    }
    journal_judge(&judging, journal);
}
