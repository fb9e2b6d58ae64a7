// SPDX-License-Identifier: Apache-2.0
// What the files inspect_*.c share.
#pragma once

#include "storage/inspect.h"

// --- inspect_broken.c

// Takes a frame apart whose payload, with the table behind it, is damaged. *parts is from malloc,
// in order; bad parts and sound ones take turns. 0 or -ENOMEM.
int inspect_broken_take(uint64_t position, const struct frame_header *frame, const uint8_t *payload,
                        uint64_t salt, struct inspect_part **parts, size_t *count);

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

struct inspect_names {
    char **items;
    size_t count;
};

// The names in a directory below `root`, sorted; none when it is not there. 0 or a negative errno;
// to be freed in either case.
int inspect_names_read(struct inspect_names *names, const char *root, const char *below);
void inspect_names_free(struct inspect_names *names);

void inspect_stranger(struct inspect_findings *findings, const char *parent, const char *name);

// Whether `name` is 20 digits and `suffix`.
bool inspect_base_read(const char *name, const char *suffix, int64_t *base);
void inspect_log_free(struct inspect_log *log);

// --- inspect_journal.c

int inspect_journal_files(struct inspect_journal *journal, const char *root,
                          atomic_uint_fast64_t *progress);
