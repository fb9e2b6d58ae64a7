// SPDX-License-Identifier: Apache-2.0
// The sparse index of one segment: where to begin reading for an offset or a timestamp. It only
// ever shortens a search; the frames themselves decide.
#pragma once

#include <stdint.h>

#include "base/span.h"
#include "storage/format.h"

struct index {
    struct index_entry *entries; // ascending in offset, position and max_before
    uint32_t count;
    uint32_t capacity;
    uint64_t step; // least distance of entries; grows with the segment, so memory is bounded
};

void index_free(struct index *index);

// Notes a frame, if it lies far enough behind the last one noted. `always`: however near it is, as
// the first frame after damage must be. Without memory nothing is noted.
void index_add(struct index *index, const struct index_entry *entry, bool always);

// The last entry at or before the offset; NULL when there is none.
const struct index_entry *index_find_offset(const struct index *index, int64_t offset);

// The last entry before which no record has at least that timestamp; NULL when there is none.
const struct index_entry *index_find_time(const struct index *index, int64_t timestamp);

// The image of an index file: `header` with counts and checksum filled in, the entries, and a
// snapshot of the producers' state (may be empty). From malloc; NULL without memory.
uint8_t *index_image(const struct index *index, struct index_header *header, struct span producers,
                     size_t *size);

// Takes an image apart; *producers lies in it. 0, or nothing changed: -EBADMSG when it is damaged,
// of another format version, or not of that salt; -ENOMEM.
int index_load(struct index *index, const uint8_t *image, size_t size, uint64_t salt,
               struct index_header *header, struct span *producers);
