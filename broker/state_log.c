// SPDX-License-Identifier: Apache-2.0
// Internal partitions whose records are state. Owns nothing between calls.
//
// 1. Records reach the caller in offset order, each once, and only committed ones.
// 2. A record that does not parse ends the load with an error: state with a hole in it would be
//    wrong without a sign of it.
#include "broker/state_log.h"

#include <errno.h>

enum {
    LOAD_BYTES = 1 << 20,         // per read
    STATE_BATCH_LIMIT = 16 << 20, // a change of many topics is one batch
    INFLATE_LIMIT = 64 << 20,     // our own batches are not compressed
};

typedef int each_record(void *context, struct span key, struct span value);

static int visit_batch(struct span batch, int64_t from, each_record *each, void *context,
                       int64_t *next)
{
    struct batch_reader reader;
    struct record record;
    struct batch_header header;
    int more;
    if (batch_check_stored(batch, &header) != BATCH_OK ||
        batch_reader_init(&reader, batch, NULL, INFLATE_LIMIT) != BATCH_OK)
        return -EBADMSG;
    while ((more = batch_reader_next(&reader, &record)) == 1) {
        if (record.offset < from)
            continue;
        *next = record.offset;
        int error = record.key.data ? each(context, record.key, record.value) : -EBADMSG;
        if (error)
            return error;
    }
    *next = batch_last_offset(&header) + 1;
    return more < 0 ? -EBADMSG : 0;
}

// Slices are whole batches or several of them.
static int visit_slice(struct iovec slice, int64_t from, each_record *each, void *context,
                       int64_t *next)
{
    struct span left = span_of(slice.iov_base, slice.iov_len);
    while (left.size) {
        struct batch_header header;
        if (batch_header_read(left, &header) != BATCH_OK || batch_total_size(&header) > left.size)
            return -EBADMSG;
        size_t size = batch_total_size(&header);
        int error = visit_batch(span_of(left.data, size), from, each, context, next);
        if (error)
            return error;
        left = span_of(left.data + size, left.size - size);
    }
    return 0;
}

struct load {
    struct log_read read;
    bool done;
};

static void read_done(struct log_read *read)
{
    list_entry(read, struct load, read)->done = true;
}

// One read, waited for. 0 with *next moved on, or a negative errno.
static int load_some(struct io *io, struct log *log, struct load *load, each_record *each,
                     void *context, int64_t *next)
{
    int64_t from = *next;
    load->done = false;
    load->read = (struct log_read){
        .done = read_done, .offset = from, .max_bytes = LOAD_BYTES, .at_least_one = true};
    log_read(log, &load->read);
    while (!load->done)
        io_run(io, UINT64_MAX);
    int error = load->read.error;
    for (uint32_t i = 0; !error && i < load->read.slice_count; i++)
        error = visit_slice(load->read.slices[i], from, each, context, next);
    log_read_release(&load->read);
    if (!error && *next == from)
        error = -EIO; // below the high watermark there is always something
    return error;
}

int state_log_load(struct io *io, struct log *log, each_record *each, void *context,
                   int64_t *offset)
{
    struct load load;
    int error = 0;
    struct log_offsets offsets = log_offsets(log);
    *offset = offsets.start;
    while (!error && *offset < offsets.committed)
        error = load_some(io, log, &load, each, context, offset);
    return error;
}

// --- changes --------------------------------------------------------------------------------

void state_batch_init(struct state_batch *batch)
{
    batch_builder_init(&batch->builder, STATE_BATCH_LIMIT);
    batch->failed = false;
}

void state_batch_free(struct state_batch *batch)
{
    batch_builder_free(&batch->builder);
}

void state_batch_reset(struct state_batch *batch)
{
    batch_builder_reset(&batch->builder);
    batch->failed = false;
}

void state_batch_add(struct state_batch *batch, int64_t now_ms, struct span key, struct span value)
{
    if (batch_builder_add(&batch->builder, now_ms, key, value, NULL, 0) != BATCH_OK)
        batch->failed = true;
}

bool state_batch_empty(const struct state_batch *batch)
{
    return batch->builder.count == 0;
}

static int finish(struct state_batch *batch, struct span *out)
{
    struct batch_scratch none = {0};
    if (batch->failed ||
        batch_builder_finish(&batch->builder, CODEC_NONE, 0, (struct batch_producer){-1, -1, -1},
                             &none, out) != BATCH_OK)
        return -EMSGSIZE;
    return 0;
}

int state_batch_each(struct state_batch *batch, each_record *each, void *context)
{
    struct span bytes;
    int64_t next;
    int error = finish(batch, &bytes);
    return error ? error : visit_batch(bytes, 0, each, context, &next);
}

int state_log_append(struct log *log, struct state_batch *batch, struct log_append *op)
{
    struct span bytes;
    struct batch_header header;
    int error = finish(batch, &bytes);
    if (error)
        return error;
    if (batch_header_read(bytes, &header) != BATCH_OK)
        return -EMSGSIZE;
    log_append(log, bytes, &header, 0, op);
    return 0;
}
