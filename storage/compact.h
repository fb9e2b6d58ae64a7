// SPDX-License-Identifier: Apache-2.0
// Compaction as the rest of storage/ sees it. See compact.c.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct compaction;
struct listing;
struct log;
struct log_compaction;
struct log_store;

// A store compacts one log at a time.
struct compactor {
    bool enabled;
    bool wanted; // at the next turn of the store, without waiting for the next look
    size_t map_bytes;
    uint64_t bytes_per_second;  // 0 = without limit
    uint64_t backoff_ns;        // between two looks for something to do
    uint64_t idle_until_ns;     // when to look next
    uint64_t paid_ns;           // by when what was read and written is allowed for
    uint64_t told_ns;           // when the last failure was told, 0 = never
    struct compaction *running; // NULL = none
};

void compact_init(struct compactor *compactor, const struct log_compaction *options);

// A turn of the store: looks for something to do if that is wanted now.
void compact_run(struct log_store *store);

// The store closes, or a log is deleted: a compaction that waits goes on, and so finds out.
void compact_stop(struct log_store *store);

// --- compact_recover.c: what a start finds. Waits.

// Removes files that a compaction was writing. 0 or a negative errno.
int compact_sweep(struct log *log, const struct listing *files);

// Removes the segments that another one, made of them, has replaced already. After all headers are
// read, before anything else is made of the segments. 0 or a negative errno.
int compact_remove_replaced(struct log *log);
