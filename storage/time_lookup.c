// SPDX-License-Identifier: Apache-2.0
// Finding records by timestamp. Timestamps are the producers' own and need not be in order, so the
// index keeps running maxima: before an entry whose maximum is below the wanted timestamp, no
// record can have it. From that entry on batches are read and their headers looked at; a batch
// whose largest timestamp is high enough is opened, and its records decide. Behind the segments
// come the frames that are in memory only.
//
// The largest timestamp: segments and frames say what it can be at most (BOUNDING reads batch
// headers where the log starts inside the segment that has it), then it is looked for. When nobody
// has it after all, because it lies in bytes that are damaged or gone, or was claimed by a batch
// and none of its records has it, every batch is looked at (MEASURING).
//
// 1. What is found is the first record, in the order of offsets, of those between the log's start
//    and what was committed when the question was asked.
// 2. Damage is passed over: what it held cannot be told. An error of the device is the answer.
// 3. A batch that cannot be opened counts as found at its first offset: a reader that begins there
//    misses nothing.
#include <errno.h>
#include <stdlib.h>

#include "base/check.h"
#include "storage/store.h"

enum {
    LOOKUP_READ = 1024 * 1024,
    INFLATE_MAX = 64 * 1024 * 1024, // of one batch
};

enum lookup_pass { LOOKUP_BOUNDING, LOOKUP_FINDING, LOOKUP_MEASURING };

struct lookup {
    struct log *log;
    struct log_time_lookup *user;
    struct log_read read;
    enum lookup_pass pass;
    int64_t start;     // of the log, when asked
    int64_t until;     // what was committed then; BOUNDING: the end of the first segment
    int64_t timestamp; // looked for
    int64_t largest;   // BOUNDING, MEASURING: so far
    int64_t largest_offset;
};

static int64_t later(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static void lookup_end(struct lookup *lookup, int error, int64_t offset, int64_t timestamp)
{
    struct log *log = lookup->log;
    struct log_time_lookup *user = lookup->user;
    user->error = error;
    user->offset = offset;
    user->found_timestamp = timestamp;
    list_append(&log->store->ready.lookups, &user->node);
    store_kick(log->store);
    free(lookup);
    log_unbusy(log);
}

// The first record of a batch that is not before `start` and late enough: 1 and its place, or 0.
static int batch_search(struct span batch, int64_t timestamp, int64_t start, int64_t *offset,
                        int64_t *found)
{
    struct arena arena;
    arena_init(&arena, 2 * (size_t)INFLATE_MAX);
    struct batch_reader reader;
    struct record record;
    int result = batch_reader_init(&reader, batch, &arena, INFLATE_MAX);
    if (result == BATCH_OK) {
        while ((result = batch_reader_next(&reader, &record)) == 1) {
            if (record.timestamp >= timestamp && record.offset >= start)
                break;
        }
        *offset = record.offset;
        *found = record.timestamp;
    }
    if (result < 0) {
        *offset = reader.header.base_offset > start ? reader.header.base_offset : start;
        *found = reader.header.max_timestamp;
        result = 1;
    }
    arena_free(&arena);
    return result;
}

// Raises lookup->largest to that of the batch's records from the start on.
static void batch_measure(struct lookup *lookup, const struct batch_header *header,
                          struct span batch)
{
    struct arena arena;
    arena_init(&arena, 2 * (size_t)INFLATE_MAX);
    struct batch_reader reader;
    struct record record;
    int result = batch_reader_init(&reader, batch, &arena, INFLATE_MAX);
    while (result == BATCH_OK && (result = batch_reader_next(&reader, &record)) == 1) {
        if (record.timestamp > lookup->largest && record.offset >= lookup->start) {
            lookup->largest = record.timestamp;
            lookup->largest_offset = record.offset;
        }
        result = BATCH_OK;
    }
    arena_free(&arena);
    if (result < 0 && header->max_timestamp > lookup->largest) {
        lookup->largest = header->max_timestamp;
        lookup->largest_offset = later(header->base_offset, lookup->start);
    }
}

// Looks at one batch: 1 when it holds the answer.
static int batch_look(struct lookup *lookup, const struct batch_header *header, struct span batch,
                      int64_t *offset, int64_t *found)
{
    bool higher = header->max_timestamp > lookup->largest;
    bool cut = header->base_offset < lookup->start;
    switch (lookup->pass) {
    case LOOKUP_BOUNDING:
        if (higher && cut)
            batch_measure(lookup, header, batch);
        else if (higher)
            lookup->largest = header->max_timestamp;
        return 0;
    case LOOKUP_FINDING:
        return header->max_timestamp >= lookup->timestamp &&
               batch_search(batch, lookup->timestamp, lookup->start, offset, found) == 1;
    case LOOKUP_MEASURING:
        if (higher)
            batch_measure(lookup, header, batch);
        return 0;
    }
    return 0;
}

// Looks through one slice of batches. Moves *next behind it; 1 when the answer was found.
static int slice_search(struct lookup *lookup, struct span slice, int64_t *next, int64_t *offset,
                        int64_t *found)
{
    while (slice.size > 0) {
        struct batch_header header;
        if (batch_header_read(slice, &header) != BATCH_OK || batch_total_size(&header) > slice.size)
            return -EIO;
        size_t size = batch_total_size(&header);
        *next = batch_last_offset(&header) + 1;
        if (batch_look(lookup, &header, span_of(slice.data, size), offset, found) == 1)
            return 1;
        slice = span_of(slice.data + size, slice.size - size);
    }
    return 0;
}

// The segment that contains `offset`, or the first one behind it; segment_count when there is none.
static uint32_t segment_at(const struct log *log, int64_t offset)
{
    uint32_t i = 0;
    while (i < log->segment_count && log->segments[i]->next_offset <= offset)
        i++;
    return i;
}

// The first frame in memory, from `offset` on, that may have the timestamp; NULL when none has.
static const struct tail_frame *frame_at(const struct log *log, int64_t offset, int64_t timestamp)
{
    struct chunk *chunk = NULL;
    const struct tail_frame *frame = tail_find(&log->tail, offset, &chunk);
    while (frame && frame->max_timestamp < timestamp)
        frame = tail_after(&log->tail, frame, &chunk);
    return frame;
}

// Where the segments end and only memory goes on.
static int64_t segments_end(const struct log *log, int64_t offset)
{
    const struct segment *active = log_active(log);
    return active && active->next_offset > offset ? active->next_offset : offset;
}

// Where something late enough may be, from `offset` on: past segments and frames that hold nothing.
// INT64_MAX when nothing is left.
static int64_t find_place(const struct lookup *lookup, int64_t offset)
{
    const struct log *log = lookup->log;
    for (uint32_t i = segment_at(log, offset); i < log->segment_count; i++) {
        const struct segment *segment = log->segments[i];
        if (segment->bad || segment->max_timestamp < lookup->timestamp)
            continue;
        const struct index_entry *entry = index_find_time(&segment->index, lookup->timestamp);
        return later(entry ? entry->offset : segment->header.base_offset, offset);
    }
    int64_t end = segments_end(log, offset);
    const struct tail_frame *frame = frame_at(log, end, lookup->timestamp);
    return frame ? later(frame->base_offset, end) : INT64_MAX;
}

// Where to read next; INT64_MAX at the end of the pass.
static int64_t lookup_place(const struct lookup *lookup, int64_t offset)
{
    offset = log_skip_damage(lookup->log, offset);
    int64_t place = lookup->pass == LOOKUP_FINDING ? find_place(lookup, offset) : offset;
    if (place < INT64_MAX)
        place = log_skip_damage(lookup->log, place);
    return place < lookup->until ? place : INT64_MAX;
}

static void lookup_next(struct lookup *lookup, int64_t offset);

static void read_done(struct log_read *read)
{
    struct lookup *lookup = list_entry(read, struct lookup, read);
    struct log *log = lookup->log;
    int64_t next = read->offset;
    int64_t offset = -1;
    int64_t found = -1;
    int result = read->error;
    for (uint32_t i = 0; i < read->slice_count && result == 0; i++)
        result = slice_search(lookup, span_of(read->slices[i].iov_base, read->slices[i].iov_len),
                              &next, &offset, &found);
    bool empty = read->error == 0 && read->size == 0;
    log_read_release(read);
    if (log->deleting)
        lookup_end(lookup, -ESHUTDOWN, -1, -1);
    else if (result == 1)
        lookup_end(lookup, 0, offset, found);
    else if (empty)
        lookup_next(lookup, INT64_MAX);
    else if (result == -ERANGE && log->start > read->offset)
        lookup_next(lookup, log->start); // retention was faster
    else if (result == -EIO && log_skip_damage(log, read->offset) > read->offset)
        lookup_next(lookup, read->offset); // it is noted by now
    else if (result < 0)
        lookup_end(lookup, result, -1, -1);
    else
        lookup_next(lookup, next);
}

static void pass_begin(struct lookup *lookup, enum lookup_pass pass)
{
    lookup->pass = pass;
    lookup->until = lookup->log->committed;
    lookup_next(lookup, lookup->start);
}

// Nothing is left to read in this pass.
static void pass_end(struct lookup *lookup)
{
    bool largest = lookup->user->timestamp == LOG_TIME_MAX;
    if (lookup->pass == LOOKUP_BOUNDING && lookup->largest >= 0) {
        lookup->timestamp = lookup->largest;
        pass_begin(lookup, LOOKUP_FINDING);
    } else if (lookup->pass == LOOKUP_FINDING && largest) {
        lookup->largest = -1;
        lookup->largest_offset = -1;
        pass_begin(lookup, LOOKUP_MEASURING);
    } else if (lookup->pass == LOOKUP_MEASURING) {
        lookup_end(lookup, 0, lookup->largest_offset, lookup->largest);
    } else {
        lookup_end(lookup, 0, -1, -1);
    }
}

static void lookup_next(struct lookup *lookup, int64_t offset)
{
    int64_t place = offset < INT64_MAX ? lookup_place(lookup, offset) : INT64_MAX;
    if (place == INT64_MAX) {
        pass_end(lookup);
        return;
    }
    lookup->read = (struct log_read){
        .done = read_done,
        .offset = place,
        .max_bytes = LOOKUP_READ,
        .at_least_one = true,
    };
    log_read(lookup->log, &lookup->read);
}

// The largest timestamp in what is committed of a frame in memory.
static int64_t frame_largest(const struct tail_frame *frame, const struct chunk *chunk)
{
    if (frame->committed_size == frame->payload_size)
        return frame->max_timestamp;
    int64_t largest = -1;
    struct batch_header header;
    struct span bytes =
        span_of(chunk->buffer->data + frame->at + FRAME_HEADER_SIZE, frame->committed_size);
    while (bytes.size > 0 && batch_header_read(bytes, &header) == BATCH_OK &&
           batch_total_size(&header) <= bytes.size) {
        largest = later(largest, header.max_timestamp);
        bytes =
            span_of(bytes.data + batch_total_size(&header), bytes.size - batch_total_size(&header));
    }
    return largest;
}

// What the largest timestamp is at most. The segment in which the log starts counts from the start
// on only: its batches are looked at when it may have it.
static void bound_begin(struct lookup *lookup)
{
    const struct log *log = lookup->log;
    uint32_t first = segment_at(log, lookup->start);
    struct chunk *chunk = NULL;
    const struct tail_frame *frame =
        tail_find(&log->tail, segments_end(log, lookup->start), &chunk);
    for (; frame && frame->committed_size > 0; frame = tail_after(&log->tail, frame, &chunk))
        lookup->largest = later(lookup->largest, frame_largest(frame, chunk));
    for (uint32_t i = first + 1; i < log->segment_count; i++)
        lookup->largest = later(lookup->largest, log->segments[i]->max_timestamp);
    lookup->pass = LOOKUP_BOUNDING;
    lookup->until = 0;
    if (first == log->segment_count)
        return;
    const struct segment *segment = log->segments[first];
    if (segment->header.base_offset >= lookup->start)
        lookup->largest = later(lookup->largest, segment->max_timestamp);
    else if (segment->max_timestamp > lookup->largest)
        lookup->until = segment->next_offset;
}

void log_find_time(struct log *log, struct log_time_lookup *op)
{
    op->error = 0;
    op->offset = -1;
    op->found_timestamp = -1;
    struct lookup *lookup = calloc(1, sizeof(*lookup));
    if (!lookup) {
        op->error = -ENOMEM;
        list_append(&log->store->ready.lookups, &op->node);
        store_kick(log->store);
        return;
    }
    log_busy(log);
    lookup->log = log;
    lookup->user = op;
    lookup->start = log->start;
    lookup->timestamp = op->timestamp;
    lookup->largest = -1;
    lookup->pass = LOOKUP_FINDING;
    lookup->until = log->committed;
    if (op->timestamp == LOG_TIME_MAX)
        bound_begin(lookup);
    lookup_next(lookup, lookup->start);
}
