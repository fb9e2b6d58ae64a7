// SPDX-License-Identifier: Apache-2.0
// The read cache of a store: windows of segment files, verified, as readers from disk need them.
// See cache.c (what is kept) and window.c (how one is read). Readers of the log use read.c.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/pool.h"
#include "storage/io.h"
#include "storage/segment.h"

struct log_store;

enum {
    WINDOW_SIZE = 1024 * 1024,  // of one device read, unless a single frame is larger
    WINDOW_BESIDE = 256 * 1024, // likewise, beside producers
    WINDOW_MIN = 64 * 1024,
    WINDOW_MARKS = 4,
};

// Batches that lie one behind the other, of one or several frames. They cover the offsets from
// `base_offset` on up to where the next piece begins; not every one of them needs to have a batch.
struct window_piece {
    int64_t base_offset;
    uint32_t at; // in the window's buffer
    uint32_t size;
    bool bad; // stored there, and not readable
};

// Where a reader stopped inside a piece: it will come back for what follows.
struct window_mark {
    int64_t offset; // of the batch at `at`, or the first one behind it; -1 = unused
    uint32_t piece;
    uint32_t at; // in the piece
};

// Who wants it, most urgent first.
enum window_purpose { WINDOW_FOR_READER, WINDOW_AHEAD, WINDOW_SCRUB };

enum window_state {
    WINDOW_QUEUED,
    WINDOW_OPENING,
    WINDOW_READING,
    WINDOW_CHECKING,
    WINDOW_READY,
};

// Frames that lie in [from, to) of a segment file; they hold [base_offset, next_offset).
struct window {
    struct segment *segment;
    struct list node;    // the cache's: in `queued`, `fresh` or `kept`
    struct list readers; // struct log_read that wait for it
    enum window_purpose purpose;
    enum window_state state;
    uint64_t from;
    uint64_t to;
    int64_t base_offset;
    int64_t next_offset; // until WINDOW_READY: as far as known, else INT64_MAX
    int error;           // WINDOW_READY: 0; -ENOMEM, -ENOENT or -EIO and no pieces
    bool listed;         // in segment->windows
    bool transient;      // the device failed: the next reader tries again
    size_t ahead_bytes;  // read ahead, and nobody has come yet: its share of cache->ahead_bytes
    bool passed;         // a reader has gone through to the end
    bool kept;           // and another one has come after that
    struct buffer *buffer;
    struct window_piece *pieces;
    uint32_t piece_count;
    uint32_t piece_capacity;
    struct window_mark marks[WINDOW_MARKS];
    uint32_t next_mark;
    // While it is being read; see window.c.
    struct io_op op;
    struct segment_open opening;
    uint64_t position;  // where the next frame is looked for
    uint64_t begun_ns;  // the device was asked
    uint64_t have;      // bytes read from its block on
    uint64_t taken;     // position up to which frames were taken out of it
    uint64_t checked;   // pages of the frame there
    uint64_t bad_from;  // position of bytes that belong to no sound frame; 0 = none
    int64_t planned;    // next_offset if everything up to `to` is there; INT64_MAX = not known
    int64_t expected;   // offset of the next frame
    uint64_t whole_end; // of a frame that is read alone after the device failed; 0 = none
    int64_t whole_next; // its next_offset
    bool again;         // bytes did not verify and have been read a second time
    bool narrowed;      // a larger read has failed
    void (*done)(struct window *window); // SCRUB
};

struct read_cache {
    struct log_store *store;
    struct pool_cache pool_cache; // gives memory back when the pool is short
    size_t limit_bytes;
    size_t bytes;                         // of the buffers in the two lists below
    size_t kept_bytes;                    // of those in `kept`
    size_t ahead_bytes;                   // read ahead and not used yet, those being read included
    struct list fresh;                    // used by one reader so far; least recently used first
    struct list kept;                     // used again after a reader had gone through
    struct list queued[WINDOW_SCRUB + 1]; // by purpose
    uint32_t active;                      // device reads in flight
    struct io_op pause;                   // pending: producers have the device to themselves
    struct list paused;                   // windows in work that go on after it
    uint64_t committed_bytes;             // of the store, when `credit_bytes` was counted
    uint64_t credit_bytes;                // may be read without a pause
};

void cache_init(struct read_cache *cache, struct log_store *store, size_t limit_bytes);
void cache_free(struct read_cache *cache); // no window is being read any more

// The last window that begins at or before the offset, ready or not; NULL when there is none.
struct window *cache_find(const struct segment *segment, int64_t offset);

// Adds a window to its segment. 0 or -ENOMEM.
int cache_list(struct window *window);

// Nobody finds it from now on.
void cache_unlist(struct window *window);

// The window is ready and nobody waits for it: kept while there is room, else freed.
void cache_add(struct read_cache *cache, struct window *window);

// A reader has used a ready window. `through`: to its end.
void cache_touch(struct read_cache *cache, struct window *window, bool through);

// The window does not count as read ahead any more.
void cache_settle_ahead(struct read_cache *cache, struct window *window);

// Gives up what lies above the limit.
void cache_trim(struct read_cache *cache);

// The segment is about to be freed, or its file to be another.
void cache_forget(struct segment *segment);

// --- window.c

// Begins to read a window of `segment`: frames from `position` on, where the next one is of
// `offset`. `size` is how much to read about. For AHEAD and SCRUB only what is not in memory is
// worth it; that is for the caller to know. NULL without memory.
struct window *window_start(struct segment *segment, int64_t offset, uint64_t position,
                            uint32_t size, enum window_purpose purpose);

// How much to read at once for somebody who goes through a segment.
uint32_t window_size(const struct segment *segment);

// Whether a read that nobody waits for may begin.
bool window_may_read_ahead(struct read_cache *cache);

// A reader waits for what was merely read ahead.
void window_hurry(struct window *window);

void window_free(struct window *window);

// Starts reads that were queued, as many as may run.
void window_pump(struct read_cache *cache);
