// SPDX-License-Identifier: Apache-2.0
// Reads one sealed segment from its beginning to its end, batch by batch, every frame checked.
#pragma once

#include "base/span.h"
#include "storage/segment.h"

struct compact_reader {
    void (*resume)(
        struct compact_reader *reader); // set by the owner: call compact_reader_next again
    struct segment *segment;            // held from open to close, with its file open
    struct buffer *buffer;
    uint64_t start; // position in the file of what the buffer holds
    uint64_t have;
    uint64_t position;   // of the next frame
    int64_t next_offset; // of the last frame
    struct span left;    // what is left of the present frame's payload
    uint64_t read_bytes; // from the device, since open
    int error;
    bool waiting;
    struct io_op op;
    struct segment_open opening;
};

enum compact_read {
    COMPACT_READ_BATCH,   // *batch is the next one; valid until the next call
    COMPACT_READ_WAIT,    // `resume` follows, from io_run
    COMPACT_READ_END,     // everything was given out
    COMPACT_READ_DAMAGED, // the bytes at reader->position are not what was written
    COMPACT_READ_FAILED,  // reader->error
};

// `resume` is set. The reader may be used for one segment after the other.
void compact_reader_open(struct compact_reader *reader, struct segment *segment);
void compact_reader_close(struct compact_reader *reader); // not while it is waiting
enum compact_read compact_reader_next(struct compact_reader *reader, struct span *batch);
