// SPDX-License-Identifier: Apache-2.0
// Goes through one segment file, from its header to the last byte that may mean something.
//
// 1. A frame counts when header and payload pass their checksums, it continues the offsets, carries
//    the next sequence number, and lies directly behind the one before or on the next block.
// 2. After anything else the next frame is the first sound header with a later sequence number and
//    later offsets. What lies between is a gap. Offsets are not guessed: they are those between the
//    sound frames on both sides.
//    Of a frame that is the next one by its header, and bad inside, what is sound counts
//    (inspect_broken.c); only the rest of it is a gap.
// 3. Where no frame follows, but the index says that there were more, the gap reaches to where the
//    index says.
// 4. What is behind the end is reported as it is (zeros, or something), not judged: only the log
//    as a whole tells whether it is the rest of a commit or damage (inspect_log.c).
// 5. Frames that begin at or behind the next segment's base offset are of a commit that failed. But
//    where the last segment has no frame, and the one before it goes beyond its base offset, it was
//    the creation of the last one that failed.
// 6. A frame with the next sequence number and offsets further on says that the offsets between
//    were lost before it was written (with a damaged journal).
#include "storage/inspect.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/endian.h"
#include "storage/inspect_parts.h"

enum { HOLE_STEP = 1024 * 1024 };

struct walk {
    struct inspect_segment *segment;
    const struct inspect_visitor *visitor;
    struct inspect_file file;
    uint32_t alignment;
    int64_t least; // the segment was durable up to here, wherever its frames end
};

// What is found where a frame should be.
struct look {
    bool continues;
    bool header_sound;
    uint64_t position;
    struct frame_header frame;
    struct span payload;
    bool whole; // payload and table are there, sound or not
    const char *why;
};

char *inspect_segment_path(const struct inspect_segment *segment, const char *suffix, bool rooted)
{
    const struct inspect_log *log = segment->log;
    char *path = NULL;
    if (log->single) {
        path = strdup(log->single);
    } else if (asprintf(&path, "%s%s%s/%020" PRId64 "%s", rooted ? log->root : "",
                        rooted ? "/" : "", log->name, segment->base, suffix) < 0) {
        path = NULL;
    }
    return path;
}

// --- header

static const struct inspect_segment *behind(const struct inspect_segment *segment,
                                            int64_t cleaned_to)
{
    const struct inspect_log *log = segment->log;
    for (size_t i = 0; i < log->segment_count; i++) {
        const struct inspect_segment *other = &log->segments[i];
        if (other->has_data && other->base > segment->base && other->base >= cleaned_to)
            return other;
    }
    return NULL;
}

static enum inspect_state header_judge(struct inspect_segment *segment, const uint8_t *block)
{
    const struct inspect_log *log = segment->log;
    int error = format_segment_read(block, &segment->header, &segment->version);
    if (error == -EPROTONOSUPPORT)
        return INSPECT_VERSION;
    if (error)
        return span_is_zero(span_of(block, FORMAT_BLOCK)) ? INSPECT_EMPTY : INSPECT_GARBLED;
    if (log->single)
        segment->base = segment->header.base_offset;
    else if (!kp_uuid_equal(segment->header.topic_id, log->topic_id) ||
             segment->header.partition != log->partition ||
             segment->header.base_offset != segment->base)
        return INSPECT_FOREIGN;
    return INSPECT_SOUND;
}

static void header_read(struct walk *walk)
{
    struct inspect_segment *segment = walk->segment;
    const uint8_t *block = inspect_file_at(&walk->file, 0, FORMAT_BLOCK);
    if (!block) {
        segment->state = segment->file_size == 0 ? INSPECT_EMPTY : INSPECT_GARBLED;
        return;
    }
    segment->state = header_judge(segment, block);
    if (segment->state != INSPECT_SOUND)
        return;
    walk->alignment = segment->header.alignment;
    segment->end = FORMAT_BLOCK;
    segment->next_offset = segment->base;
    segment->next_sequence = segment->header.first_sequence;
    segment->log_start = segment->header.log_start;
}

// Of a file whose header says nothing: whether there was ever more in it.
static void content_look(struct walk *walk)
{
    struct inspect_segment *segment = walk->segment;
    uint64_t at = FORMAT_BLOCK;
    while (at < walk->file.size && !segment->has_content) {
        uint64_t data = inspect_file_data(&walk->file, at) / FORMAT_BLOCK * FORMAT_BLOCK;
        at = data > at ? data : at;
        for (uint64_t stop = at + HOLE_STEP; at < walk->file.size && at < stop;
             at += FORMAT_BLOCK) {
            uint64_t left = walk->file.size - at;
            uint64_t size = left < FORMAT_BLOCK ? left : FORMAT_BLOCK;
            const uint8_t *bytes = inspect_file_at(&walk->file, at, size);
            segment->has_content =
                segment->has_content || (bytes && !span_is_zero(span_of(bytes, size)));
        }
    }
}

// --- frames

static bool unreadable(const struct walk *walk, uint64_t from, uint64_t to)
{
    return walk->file.unreadable_from < to && from < walk->file.unreadable_to;
}

static const char *header_fault(const struct walk *walk, uint64_t position, const uint8_t *bytes)
{
    if (unreadable(walk, position, position + walk->alignment))
        return "the device does not give these bytes";
    if (!bytes)
        return "the file ends before";
    return span_is_zero(span_of(bytes, FRAME_HEADER_SIZE)) ? "zeros where a frame was"
                                                           : "no frame header passes its checksum";
}

// The frame at `position`, whether it is the next one or not.
static struct look look_at(struct walk *walk, uint64_t position)
{
    const struct inspect_segment *segment = walk->segment;
    struct look look = {.position = position};
    struct frame_header *frame = &look.frame;
    uint64_t salt = segment->header.salt;
    const uint8_t *bytes = inspect_file_at(&walk->file, position, FRAME_HEADER_SIZE);
    if (!bytes || !format_frame_read(bytes, salt, position, walk->alignment, frame)) {
        look.why = header_fault(walk, position, bytes);
        return look;
    }
    bool control = frame->kind != FRAME_DATA;
    if (frame->base_offset > segment->limit || (frame->base_offset == segment->limit && !control)) {
        look.why = "a frame of a commit that failed";
        return look;
    }
    if (frame->sequence != segment->next_sequence || frame->base_offset < segment->next_offset) {
        look.why = "a frame out of order";
        return look;
    }
    look.header_sound = true;
    bytes = inspect_file_at(&walk->file, position, format_framed_size(frame->payload_size));
    look.whole = bytes != NULL;
    look.payload = span_of(bytes ? bytes + FRAME_HEADER_SIZE : NULL, frame->payload_size);
    if (!bytes)
        look.why = "the file ends inside a frame";
    else if (format_payload_check(look.payload.data, frame, salt) != PAYLOAD_SOUND)
        look.why = unreadable(walk, position, position + frame->stored_size)
                       ? "the device does not give these bytes"
                       : "a frame's payload fails its checksum";
    else
        look.continues = true;
    return look;
}

// Directly behind the last frame, or on the next block.
static struct look look_next(struct walk *walk)
{
    uint64_t end = walk->segment->end;
    uint64_t block = format_next_block(end);
    struct look look = look_at(walk, end);
    if (look.continues || block == end)
        return look;
    // What lies directly behind may be the rest of a write that failed.
    struct look other = look_at(walk, block);
    return other.continues || (other.header_sound && !look.header_sound) ? other : look;
}

static void frame_pass(struct walk *walk, const struct look *look)
{
    struct inspect_segment *segment = walk->segment;
    const struct frame_header *frame = &look->frame;
    segment->frames++;
    segment->last_frame = look->position;
    segment->end = look->position + frame->stored_size;
    segment->next_offset = frame->next_offset;
    segment->next_sequence = frame->sequence + 1;
    if (frame->max_timestamp > segment->max_timestamp)
        segment->max_timestamp = frame->max_timestamp;
    segment->content_end = segment->end;
}

static int frame_take(struct walk *walk, const struct look *look)
{
    struct inspect_segment *segment = walk->segment;
    const struct frame_header *frame = &look->frame;
    frame_pass(walk, look);
    if (frame->kind == FRAME_DATA) {
        segment->payload_bytes += frame->payload_size;
        segment->batches += frame->batch_count;
    } else {
        segment->control_frames++;
    }
    if (frame->kind == FRAME_LOG_START && frame->payload_size == 8) {
        int64_t start = (int64_t)load_le64(look->payload.data);
        if (segment->log_start < start)
            segment->log_start = start;
    }
    if (!walk->visitor || !walk->visitor->frame)
        return 0;
    return walk->visitor->frame(walk->visitor->context, look->position, frame, look->payload);
}

static int gap_keep(struct inspect_segment *segment, struct inspect_gap gap)
{
    struct inspect_gap *gaps =
        reallocarray(segment->gaps, segment->gap_count + 1, sizeof(*segment->gaps));
    if (!gaps)
        return -ENOMEM;
    segment->gaps = gaps;
    segment->gaps[segment->gap_count++] = gap;
    return 0;
}

static int gap_note(struct walk *walk, struct inspect_gap gap)
{
    int error = gap_keep(walk->segment, gap);
    if (error)
        return error;
    if (!walk->visitor || !walk->visitor->gap)
        return 0;
    return walk->visitor->gap(walk->visitor->context, &gap);
}

// The first frame header from `from` on that is later than `sequence`, or 0.
static uint64_t search(struct walk *walk, uint64_t from, uint64_t sequence,
                       struct frame_header *out)
{
    struct inspect_segment *segment = walk->segment;
    uint64_t step = walk->alignment;
    uint64_t hole_look = from;
    for (uint64_t at = from; at < walk->file.size; at += step) {
        if (at >= hole_look) {
            uint64_t data = inspect_file_data(&walk->file, at) / step * step;
            at = data > at ? data : at;
            hole_look = at + HOLE_STEP;
        }
        uint64_t left = walk->file.size > at ? walk->file.size - at : 0;
        uint64_t size = left < step ? left : step;
        const uint8_t *bytes = size > 0 ? inspect_file_at(&walk->file, at, size) : NULL;
        if (!bytes)
            return 0;
        if (span_is_zero(span_of(bytes, size)))
            continue;
        segment->content_end = at + size;
        if (size == step &&
            format_frame_read(bytes, segment->header.salt, at, walk->alignment, out) &&
            out->sequence > sequence && out->base_offset >= segment->next_offset &&
            out->base_offset < segment->limit)
            return at;
    }
    return 0;
}

// Rule 3. 1 when the walk goes on there.
static int skip_to_evidence(struct walk *walk, const char *why)
{
    struct inspect_segment *segment = walk->segment;
    const struct index_header *index = &segment->index;
    if (segment->index_state != INSPECT_SOUND || index->covered <= segment->end ||
        index->next_offset < segment->next_offset)
        return 0;
    int error = gap_note(walk, (struct inspect_gap){segment->end, index->covered,
                                                    segment->next_offset, index->next_offset, why});
    segment->end = index->covered;
    segment->next_offset = index->next_offset;
    segment->next_sequence = index->sequence;
    segment->last_frame = index->last_frame;
    if (segment->max_timestamp < index->max_timestamp)
        segment->max_timestamp = index->max_timestamp;
    return error ? error : 1;
}

// Whether the frame is the next one but for what is inside. Not behind other bytes than zeros: then
// it may be the rest of a write that failed.
static bool is_broken(struct walk *walk, const struct look *look)
{
    const struct inspect_segment *segment = walk->segment;
    uint64_t between = look->position - segment->end;
    if (!look->header_sound || !look->whole || look->frame.base_offset != segment->next_offset)
        return false;
    const uint8_t *bytes = between > 0 ? inspect_file_at(&walk->file, segment->end, between) : NULL;
    return between == 0 || (bytes && span_is_zero(span_of(bytes, between)));
}

static int parts_tell(struct walk *walk, const struct look *look, const struct inspect_part *parts,
                      size_t count)
{
    const struct inspect_visitor *visitor = walk->visitor;
    int error = 0;
    for (size_t i = 0; i < count && !error; i++) {
        const struct inspect_part *part = &parts[i];
        struct inspect_gap gap = {part->position, part->position + part->bytes.size, part->first,
                                  part->next, look->why};
        if (!part->sound)
            error = gap_keep(walk->segment, gap);
        if (!part->sound && !error && visitor && visitor->gap && !visitor->broken)
            error = visitor->gap(visitor->context, &gap);
    }
    if (!error && visitor && visitor->broken)
        error = visitor->broken(visitor->context, look->position, &look->frame, parts, count);
    return error;
}

// 1, or an error.
static int broken_take(struct walk *walk, const struct look *look)
{
    const struct frame_header *frame = &look->frame;
    const uint8_t *bytes =
        inspect_file_at(&walk->file, look->position, format_framed_size(frame->payload_size));
    if (!bytes)
        return walk->file.error ? walk->file.error : -EIO;
    struct inspect_part *parts = NULL;
    size_t count = 0;
    int error = inspect_broken_take(look->position, frame, bytes + FRAME_HEADER_SIZE,
                                    walk->segment->header.salt, &parts, &count);
    frame_pass(walk, look);
    if (!error)
        error = parts_tell(walk, look, parts, count);
    free(parts);
    return error ? error : 1;
}

// Where the frames do not go on. 1: they do further behind; 0: this is the end; or an error.
static int bad_frame(struct walk *walk, const struct look *look)
{
    struct inspect_segment *segment = walk->segment;
    uint64_t sequence = segment->next_sequence;
    uint64_t from = segment->end + walk->alignment;
    const uint8_t *bytes = inspect_file_at(&walk->file, segment->end, walk->alignment);
    if (bytes && !span_is_zero(span_of(bytes, walk->alignment)))
        segment->content_end = from;
    if (look->header_sound) {
        uint64_t end = look->position + look->frame.stored_size;
        segment->content_end = end < walk->file.size ? end : walk->file.size;
    }
    struct frame_header next;
    uint64_t position = search(walk, from, sequence, &next);
    if (walk->file.error)
        return walk->file.error;
    bool covered = segment->index_state == INSPECT_SOUND &&
                   look->position + look->frame.stored_size <= segment->index.covered;
    if ((position > 0 || covered || segment->next_offset < walk->least) && is_broken(walk, look))
        return broken_take(walk, look);
    if (position == 0) {
        int result = skip_to_evidence(walk, look->why);
        if (result == 0 && look->header_sound) {
            segment->torn_size = look->frame.stored_size;
            segment->torn_next = look->frame.next_offset;
        }
        segment->torn_why = look->why;
        return result;
    }
    int error = gap_note(walk, (struct inspect_gap){segment->end, position, segment->next_offset,
                                                    next.base_offset, look->why});
    segment->end = position;
    segment->next_offset = next.base_offset;
    segment->next_sequence = next.sequence;
    return error ? error : 1;
}

static int look_take(struct walk *walk, const struct look *look)
{
    const struct inspect_segment *segment = walk->segment;
    int error = 0;
    if (look->frame.base_offset > segment->next_offset)
        error = gap_note(walk, (struct inspect_gap){look->position, look->position,
                                                    segment->next_offset, look->frame.base_offset,
                                                    "offsets that were lost with a journal"});
    return error ? error : frame_take(walk, look);
}

static int frames_walk(struct walk *walk)
{
    for (;;) {
        struct look look = look_next(walk);
        if (walk->file.error)
            return walk->file.error;
        int result = look.continues ? look_take(walk, &look) : bad_frame(walk, &look);
        if (look.continues ? result != 0 : result <= 0)
            return result;
    }
}

// Whether no frame begins where the first one must. Reads another file than the walk's.
static int seems_empty(const struct inspect_segment *segment, bool *empty)
{
    struct inspect_segment copy = {
        .log = segment->log, .base = segment->base, .has_data = true, .limit = INT64_MAX};
    struct walk walk = {.segment = &copy};
    *empty = false;
    char *path = inspect_segment_path(segment, ".log", true);
    if (!path)
        return -ENOMEM;
    int error = inspect_file_open(&walk.file, path);
    free(path);
    if (error)
        return 0;
    header_read(&walk);
    *empty = copy.state == INSPECT_SOUND && !look_at(&walk, FORMAT_BLOCK).continues;
    error = walk.file.error;
    inspect_file_close(&walk.file);
    return error;
}

// Rule 5: how far the segment can reach. *least: how far it must at least, if it may go beyond.
static int limit_find(struct inspect_segment *segment, int64_t *least)
{
    bool sound = segment->state == INSPECT_SOUND;
    const struct inspect_segment *next = behind(segment, sound ? segment->header.cleaned_to : 0);
    bool empty = false;
    int error = 0;
    *least = -1;
    segment->limit = next ? next->base : INT64_MAX;
    if (next && sound && !behind(next, 0))
        error = seems_empty(next, &empty);
    if (empty) {
        *least = next->base;
        segment->limit = INT64_MAX;
    }
    return error;
}

static int sound_walk(struct walk *walk, int64_t least)
{
    struct inspect_segment *segment = walk->segment;
    walk->least = segment->limit != INT64_MAX ? segment->limit : least;
    int error = frames_walk(walk);
    segment->goes_beyond = least >= 0 && segment->next_offset > least;
    if (least >= 0 && !segment->goes_beyond)
        segment->limit = least;
    return error;
}

static void segment_reset(struct inspect_segment *segment)
{
    free(segment->gaps);
    segment->gaps = NULL;
    segment->gap_count = 0;
    segment->frames = segment->batches = segment->records = 0;
    segment->payload_bytes = segment->control_frames = 0;
    segment->end = segment->last_frame = segment->content_end = 0;
    segment->max_timestamp = -1;
    segment->limit = INT64_MAX;
    segment->goes_beyond = false;
    segment->has_content = false;
    segment->torn_size = 0;
    segment->torn_why = NULL;
    segment->log_start = 0;
}

int inspect_segment_walk(struct inspect_segment *segment, const struct inspect_visitor *visitor,
                         atomic_uint_fast64_t *progress)
{
    struct walk walk = {.segment = segment, .visitor = visitor};
    segment_reset(segment);
    if (!segment->has_data) {
        segment->state = INSPECT_ABSENT;
        return 0;
    }
    char *path = inspect_segment_path(segment, ".log", true);
    if (!path)
        return -ENOMEM;
    segment->refused = inspect_file_open(&walk.file, path);
    free(path);
    if (segment->refused) {
        segment->state = segment->refused == -ENOENT ? INSPECT_ABSENT : INSPECT_REFUSED;
        return 0;
    }
    walk.file.progress = progress;
    segment->file_size = walk.file.size;
    int64_t least;
    header_read(&walk);
    int error = walk.file.error ? walk.file.error : limit_find(segment, &least);
    if (!error && visitor && visitor->header)
        error = visitor->header(visitor->context, segment);
    if (!error && segment->state == INSPECT_SOUND)
        error = sound_walk(&walk, least);
    else if (!error)
        content_look(&walk);
    inspect_file_close(&walk.file);
    return error;
}
