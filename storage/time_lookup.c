// SPDX-License-Identifier: Apache-2.0
// Finding records by timestamp. Timestamps are the producers' own and need not be in order, so the
// index keeps running maxima: before an entry whose maximum is below the wanted timestamp, no
// record can have it. From that entry on batches are read and their headers looked at; a batch
// whose largest timestamp is high enough is opened, and its records decide.
//
// Looking for the largest timestamp takes two passes when the start of the log lies inside the
// segment that holds it: one over batch headers to learn what it is, one to find it.
//
// A batch that cannot be opened counts as found at its first offset: a reader that begins there
// misses nothing.
#include <errno.h>
#include <stdlib.h>

#include "base/check.h"
#include "storage/store.h"

enum {
    LOOKUP_READ = 1024 * 1024,
    INFLATE_MAX = 64 * 1024 * 1024, // of one batch
};

struct lookup {
    struct log *log;
    struct log_time_lookup *user;
    struct log_read read;
    int64_t start;     // of the log, when asked
    int64_t timestamp; // looked for
    int64_t largest;   // first pass: the largest found so far
    int64_t until;     // first pass: where it ends
    bool measuring;    // the first pass is under way
};

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

// Looks through one slice of batches. Moves *next behind it; 1 when the answer was found.
static int slice_search(struct lookup *lookup, struct span slice, int64_t *next, int64_t *offset,
                        int64_t *found)
{
    int64_t start = lookup->start;
    while (slice.size > 0) {
        struct batch_header header;
        if (batch_header_read(slice, &header) != BATCH_OK || batch_total_size(&header) > slice.size)
            return -EIO;
        size_t size = batch_total_size(&header);
        *next = batch_last_offset(&header) + 1;
        if (lookup->measuring) {
            if (lookup->largest < header.max_timestamp && batch_last_offset(&header) >= start)
                lookup->largest = header.max_timestamp;
        } else if (header.max_timestamp >= lookup->timestamp &&
                   batch_search(span_of(slice.data, size), lookup->timestamp, start, offset,
                                found) == 1) {
            return 1;
        }
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

// Where to read next, from `offset` on: past segments and frames that hold nothing late enough.
// INT64_MAX when nothing is left.
static int64_t lookup_place(const struct lookup *lookup, int64_t offset)
{
    const struct log *log = lookup->log;
    offset = log_skip_damage(log, offset);
    if (lookup->measuring)
        return offset < lookup->until ? offset : INT64_MAX;
    for (uint32_t i = segment_at(log, offset); i < log->segment_count; i++) {
        const struct segment *segment = log->segments[i];
        if (segment->bad || segment->max_timestamp < lookup->timestamp)
            continue;
        const struct index_entry *entry = index_find_time(&segment->index, lookup->timestamp);
        int64_t from = entry ? entry->offset : segment->header.base_offset;
        return log_skip_damage(log, from > offset ? from : offset);
    }
    return INT64_MAX;
}

static void lookup_next(struct lookup *lookup, int64_t offset);

static void read_done(struct log_read *read)
{
    struct lookup *lookup = list_entry(read, struct lookup, read);
    int64_t next = read->offset;
    int64_t offset = -1;
    int64_t found = -1;
    int result = read->error;
    for (uint32_t i = 0; i < read->slice_count && result == 0; i++)
        result = slice_search(lookup, span_of(read->slices[i].iov_base, read->slices[i].iov_len),
                              &next, &offset, &found);
    bool end = read->error == 0 && read->size == 0;
    log_read_release(read);
    if (lookup->log->deleting)
        lookup_end(lookup, -ESHUTDOWN, -1, -1);
    else if (result == 1 || end)
        lookup_end(lookup, 0, offset, found);
    else if (result == -ERANGE && lookup->log->start > read->offset)
        lookup_next(lookup, lookup->log->start); // retention was faster
    else if (result < 0)
        lookup_end(lookup, result, -1, -1);
    else
        lookup_next(lookup, next);
}

static void lookup_next(struct lookup *lookup, int64_t offset)
{
    int64_t place = lookup_place(lookup, offset);
    if (place == INT64_MAX && lookup->measuring) {
        lookup->measuring = false;
        lookup->timestamp = lookup->largest;
        if (lookup->largest >= 0)
            place = lookup_place(lookup, lookup->start);
    }
    if (place >= lookup->log->committed) {
        lookup_end(lookup, 0, -1, -1);
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

// The segment in which the log starts counts from the start on only.
static void measure_start(struct lookup *lookup)
{
    const struct log *log = lookup->log;
    uint32_t first = segment_at(log, lookup->start);
    lookup->largest = -1;
    for (uint32_t i = first + 1; i < log->segment_count; i++) {
        if (lookup->largest < log->segments[i]->max_timestamp)
            lookup->largest = log->segments[i]->max_timestamp;
    }
    lookup->measuring = true;
    lookup->until = 0;
    if (first == log->segment_count)
        return;
    const struct segment *segment = log->segments[first];
    if (segment->max_timestamp <= lookup->largest)
        return;
    if (segment->header.base_offset >= lookup->start)
        lookup->largest = segment->max_timestamp;
    else
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
    if (op->timestamp == LOG_TIME_MAX)
        measure_start(lookup);
    lookup_next(lookup, lookup->start);
}
