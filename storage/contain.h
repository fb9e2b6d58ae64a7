// SPDX-License-Identifier: Apache-2.0
// What is sound in a frame whose header is and whose payload is not. See contain.c.
#pragma once

#include "storage/format.h"

// Batches that lie one behind the other, all sound; or bytes that are not, with the offsets from
// the end of the sound part before them to the beginning of the next one.
struct contain_part {
    bool sound;
    uint32_t at; // in the payload
    uint32_t size;
    int64_t base_offset;
    int64_t next_offset; // base_offset when no offsets are concerned
};

struct contain {
    const uint8_t *payload;
    const struct frame_header *frame;
    uint64_t salt;
    enum format_payload state;
    uint64_t at;
    int64_t expected; // offset
};

// `payload` has its table behind it and stays as it is until the last part was taken.
void contain_begin(struct contain *contain, const uint8_t *payload,
                   const struct frame_header *frame, uint64_t salt);

// The next part, in order; together they are the whole frame. False at the end.
bool contain_next(struct contain *contain, struct contain_part *part);
