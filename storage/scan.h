// SPDX-License-Identifier: Apache-2.0
// Goes through the frames of one segment at start-up and establishes how far it reaches. Waits for
// the device. The rules are in scan.c.
#pragma once

#include "storage/segment.h"

struct scan {
    struct segment *segment; // starts at its `end`, and moves it along
    int64_t limit;           // base offset of the next segment; INT64_MAX for the last one
    uint64_t limit_sequence; // of the next segment's first frame; 0 = not known
    int64_t least;           // the segment was durable at least up to this offset
    // What an index file proves to have been durable; all zero without one.
    struct index_header evidence;
    // out
    uint64_t read_bytes;
    int64_t torn_bytes;
    int64_t log_start; // the highest that a frame set, or as given
    uint32_t damaged_ranges;
    // The rest is the scan's.
    struct buffer *buffer;
    uint64_t start; // what the buffer holds
    uint64_t have;
    uint64_t window; // how much to read at a time
    // Of the frame that comes next by its header, and is bad in its payload; broken_at 0 = none.
    struct frame_header broken;
    uint64_t broken_at;
    int error;
};

// 0; -EIO: the device does not give the bytes at the segment's `end`; -ENOMEM.
int scan_run(struct scan *scan);

// Whether the frame at `position` is sound; *out is its header.
bool scan_frame(struct scan *scan, uint64_t position, struct frame_header *out);

// Writes the blocks of the segment's last frame again as they are; of its header if it has no
// frame; and where there is damage also the block behind, which may hold what proves it. 0; -EIO:
// the device does not give or take the bytes; or what else writing gives; -ENOMEM.
int scan_rewrite_last(struct scan *scan);

// Whether there is nothing but zeros from `position` on.
bool scan_is_zero(struct scan *scan, uint64_t position);

void scan_free(struct scan *scan);
