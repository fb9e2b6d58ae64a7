// SPDX-License-Identifier: Apache-2.0
// Writes the file that takes the place of one or more sealed segments: "<base>.log.cleaning", until
// it is complete and durable.
#pragma once

#include "base/span.h"
#include "protocol/record_batch.h"
#include "storage/segment.h"

#define COMPACT_SUFFIX ".log.cleaning"

struct compact_writer {
    void (*resume)(struct compact_writer *writer); // set by the owner: call again what waited
    struct segment *segment; // the new one; the owner takes it when the file is finished
    char *path;
    struct buffer *buffer; // the file from `start` on
    uint64_t start;        // a multiple of FORMAT_BLOCK
    uint64_t frame_at;     // in the buffer: the open frame's header slot
    uint64_t fill;         // in the buffer: the end of its payload
    uint32_t batch_count;  // in it
    int64_t base_offset;   // of it
    int64_t next_offset;
    int64_t max_timestamp; // of the file so far
    uint64_t sequence;     // of it
    uint64_t written_bytes;
    enum {
        COMPACT_WRITER_CLOSED,
        COMPACT_WRITER_OPENING,
        COMPACT_WRITER_OPEN,
        COMPACT_WRITER_CUTTING,
        COMPACT_WRITER_SYNCING,
        COMPACT_WRITER_FINISHED,
    } state;
    int error;
    bool waiting;
    struct io_op op;
};

// Each of these returns 1 when it is done, 0 when it waits (`resume` follows from io_run: call it
// again with the same arguments), or a negative errno, after which only compact_writer_drop.

// `header` says what the file is to be; its salt is set here.
int compact_writer_open(struct compact_writer *writer, struct log *log,
                        const struct segment_header *header);

// Adds a batch; with each, offsets up to its last one are behind it.
int compact_writer_add(struct compact_writer *writer, struct span batch,
                       const struct batch_header *header);

// Ends the file at `next_offset`, and makes it durable.
int compact_writer_finish(struct compact_writer *writer, int64_t next_offset);

// Forgets the file, which then may be in any state; frees everything that the owner has not taken.
// Not while it is waiting.
void compact_writer_drop(struct compact_writer *writer);
