// SPDX-License-Identifier: Apache-2.0
// What the files inspect_*.c share.
#pragma once

#include "storage/inspect.h"

// --- inspect_index.c

// Compares an index with the frames as they come. Notes the first difference.
struct inspect_index_check {
    struct inspect_segment *segment;
    struct inspect_index index;
    uint32_t next; // entry
    bool gaps;     // so what the index says of the whole cannot be compared
    bool covered_seen;
    bool told;
    int64_t next_offset;
    uint64_t next_sequence;
    uint64_t last_frame;
    int64_t max_timestamp;
};
void inspect_index_frame(struct inspect_index_check *check, uint64_t position,
                         const struct frame_header *frame);
void inspect_index_gap(struct inspect_index_check *check, const struct inspect_gap *gap);
void inspect_index_end(struct inspect_index_check *check);

// --- inspect_directory.c

// Whether `name` is 20 digits and `suffix`.
bool inspect_base_read(const char *name, const char *suffix, int64_t *base);
void inspect_log_free(struct inspect_log *log);
