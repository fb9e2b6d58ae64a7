// SPDX-License-Identifier: Apache-2.0
// The background verification of segments; see scrub.c and log_store_scrub.
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct log;
struct window;

struct scrub {
    struct log *log;        // under way; NULL = between two rounds
    uint64_t next_round_ns; // not before
    int64_t base_offset;    // of the segment under way, or of the last one looked at
    uint64_t salt;          // of its file
    uint64_t position;      // there; 0 = at its beginning
    int64_t offset;         // of the frame at `position`
    uint64_t budget;        // bytes that may be read now
    struct window *window;  // being read
};

// The log is about to be freed.
void scrub_forget(struct log *log);
