// SPDX-License-Identifier: Apache-2.0
// One segment in full: its frames, the batches inside them, its index. Notes what is wrong inside
// of what the frames' checksums say is as it was written; the frames themselves are judged with
// the log as a whole.
//
// 1. Batches of a frame follow each other without a hole, unless the file was made by compaction:
//    then offsets may be missing, never go back, and timestamps of emptied batches do not count. In
//    other files a batch without records is what a repair left.
// 2. At most FINDINGS_MAX findings per segment, and one more that says so.
#include "storage/inspect_parts.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "protocol/record_batch.h"

enum {
    FINDINGS_MAX = 100,
    INFLATE_MAX = 256 * 1024 * 1024,
};

struct survey {
    struct inspect_segment *segment;
    const struct inspect_options *options;
    struct inspect_index_check check;
    struct arena arena;
    struct batch_contexts contexts;
    const struct inspect_journal_log *journalled; // NULL = nothing of this log
    int64_t max_timestamp;
    int64_t reached; // the offset behind the batches looked at last
    bool gaps;
};

struct place {
    uint64_t position; // of the batch in the file
    uint64_t size;
    int64_t offset;
};

static void finding_note(struct survey *survey, enum inspect_kind kind, struct place place,
                         const char *what)
{
    struct inspect_segment *segment = survey->segment;
    if (segment->findings.count > FINDINGS_MAX)
        return;
    if (segment->findings.count == FINDINGS_MAX)
        what = "more than can be listed";
    char *file = inspect_segment_path(segment, ".log", false);
    inspect_note(&segment->findings,
                 (struct inspect_finding){
                     .kind = kind,
                     .file = file,
                     .topic = segment->log->topic,
                     .partition = segment->log->partition,
                     .from = place.position,
                     .to = place.position + place.size,
                     .first = place.offset,
                     .next = place.offset + 1,
                 },
                 "%s", what);
    free(file);
}

static void batch_note(struct survey *survey, struct place place, const char *what)
{
    finding_note(survey, INSPECT_BAD_BATCH, place, what);
}

static void records_check(struct survey *survey, struct place place, struct span batch,
                          const struct batch_header *header, bool thinned)
{
    struct batch_facts facts;
    enum batch_error error =
        batch_validate_records(batch, &survey->arena, INFLATE_MAX, false, &facts);
    if (error)
        batch_note(survey, place, batch_error_text(error));
    else if (facts.record_count != header->record_count)
        batch_note(survey, place, "a batch holds another number of records than it says");
    else if (!thinned && header->record_count > 0 && !facts.dense)
        batch_note(survey, place, "records are missing inside a batch");
    arena_reset(&survey->arena);
}

// What is both in the segment and in the journal is the same.
static void journal_compare(struct survey *survey, struct place place, struct span batch)
{
    size_t low = 0;
    for (size_t high = survey->journalled->count; low < high;) {
        size_t middle = low + (high - low) / 2;
        if (survey->journalled->items[middle].base < place.offset)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < survey->journalled->count; low++) {
        const struct inspect_journalled *item = &survey->journalled->items[low];
        if (item->base != place.offset)
            return;
        if (item->kind == FRAME_DATA && !span_equal(item->bytes, batch))
            finding_note(survey, INSPECT_JOURNAL_CONFLICT, place,
                         "a batch differs from the one that was journalled");
    }
}

// Batches that compaction never touched continue each other's offsets.
static const char *order_fault(const struct survey *survey, const struct frame_header *frame,
                               const struct batch_header *header, int64_t expected)
{
    bool thinned = survey->segment->header.cleaned_to != 0;
    if (header->base_offset < expected || (header->base_offset > expected && !thinned))
        return "a batch does not continue the offsets";
    if (batch_last_offset(header) >= frame->next_offset)
        return "a batch reaches beyond its frame's offsets";
    if (!thinned && header->record_count > 0 &&
        header->record_count != header->last_offset_delta + 1)
        return "records are missing inside a batch";
    return NULL;
}

// Looks at batches that lie one behind the other, the first one at *place; what they are not to
// reach is frame->next_offset. Moves *place behind the last one. Their number, or -1 when one is
// not sound.
static int batches_check(struct survey *survey, const struct frame_header *frame,
                         struct span payload, struct place *place)
{
    bool thinned = survey->segment->header.cleaned_to != 0;
    int64_t expected = place->offset;
    uint64_t position = place->position;
    int count = 0;
    for (size_t at = 0; at < payload.size; count++) {
        struct batch_header header;
        struct span rest = span_of(payload.data + at, payload.size - at);
        *place = (struct place){position + at, rest.size, expected};
        enum batch_error error = batch_check_stored(rest, &header);
        if (error) {
            batch_note(survey, *place, batch_error_text(error));
            return -1;
        }
        size_t size = batch_total_size(&header);
        *place = (struct place){place->position, size, header.base_offset};
        const char *fault = order_fault(survey, frame, &header, expected);
        if (fault)
            batch_note(survey, *place, fault);
        struct span batch = span_of(rest.data, size);
        if (survey->journalled && !thinned)
            journal_compare(survey, *place, batch);
        if (survey->options->records)
            records_check(survey, *place, batch, &header, thinned);
        if (header.record_count > 0 && survey->max_timestamp < header.max_timestamp)
            survey->max_timestamp = header.max_timestamp;
        survey->segment->records += (uint64_t)header.record_count;
        expected = batch_last_offset(&header) + 1;
        at += size;
    }
    survey->reached = expected;
    return count;
}

static void frame_check(struct survey *survey, uint64_t position, const struct frame_header *frame,
                        struct span payload)
{
    bool thinned = survey->segment->header.cleaned_to != 0;
    struct place place = {.position = position + FRAME_HEADER_SIZE, .offset = frame->base_offset};
    survey->reached = frame->base_offset;
    int count = batches_check(survey, frame, payload, &place);
    if (count < 0)
        return;
    if ((uint32_t)count != frame->batch_count)
        batch_note(survey, place, "a frame holds another number of batches than it says");
    else if (survey->reached != frame->next_offset && !thinned)
        batch_note(survey, place, "a frame's batches end before its offsets do");
    else if (!survey->gaps && !thinned && frame->max_timestamp != survey->max_timestamp)
        batch_note(survey, place, "a frame names another largest timestamp than its batches");
}

static int frame_seen(void *context, uint64_t position, const struct frame_header *frame,
                      struct span payload)
{
    struct survey *survey = context;
    inspect_index_frame(&survey->check, position, frame);
    if (frame->kind == FRAME_DATA)
        frame_check(survey, position, frame, payload);
    return 0;
}

static int gap_seen(void *context, const struct inspect_gap *gap)
{
    struct survey *survey = context;
    survey->gaps = true;
    inspect_index_gap(&survey->check, gap);
    return 0;
}

static int broken_seen(void *context, uint64_t position, const struct frame_header *frame,
                       const struct inspect_part *parts, size_t count)
{
    struct survey *survey = context;
    survey->gaps = true;
    survey->check.gaps = true;
    inspect_index_frame(&survey->check, position, frame);
    for (size_t i = 0; i < count; i++) {
        struct place place = {.position = parts[i].position, .offset = parts[i].first};
        if (parts[i].sound && frame->kind == FRAME_DATA)
            batches_check(survey, frame, parts[i].bytes, &place);
    }
    return 0;
}

// Before the frames, because it is evidence about them.
static int index_read(void *context, const struct inspect_segment *unused)
{
    (void)unused;
    struct survey *survey = context;
    struct inspect_segment *segment = survey->segment;
    segment->index_state = INSPECT_ABSENT;
    if (!segment->has_index)
        return 0;
    char *path = inspect_segment_path(segment, ".index", true);
    if (!path)
        return -ENOMEM;
    struct inspect_index *index = &survey->check.index;
    uint64_t salt = segment->state == INSPECT_SOUND ? segment->header.salt : 0;
    segment->index_state =
        inspect_index_read(index, path, salt, segment->base, survey->options->progress);
    free(path);
    if (segment->index_state == INSPECT_SOUND)
        segment->index = index->header;
    return index->error == -ENOMEM ? -ENOMEM : 0;
}

int inspect_segment_survey(struct inspect_segment *segment, const struct inspect_options *options)
{
    struct survey survey = {.segment = segment, .options = options, .max_timestamp = -1};
    survey.journalled =
        inspect_journal_log(options->journal, segment->log->topic_id, segment->log->partition);
    struct inspect_visitor visitor = {&survey, index_read, frame_seen, gap_seen, broken_seen};
    arena_init(&survey.arena, INFLATE_MAX);
    inspect_findings_free(&segment->findings);
    survey.check = (struct inspect_index_check){
        .segment = segment, .next_offset = segment->base, .max_timestamp = -1};
    int error = inspect_segment_walk(segment, &visitor, options->progress);
    if (!error && !segment->has_data)
        error = index_read(&survey, segment);
    if (!error) {
        if (survey.check.next_sequence == 0)
            survey.check.next_sequence = segment->header.first_sequence;
        inspect_index_end(&survey.check);
    }
    inspect_index_free(&survey.check.index);
    arena_free(&survey.arena);
    batch_contexts_free(&survey.contexts);
    return error;
}
