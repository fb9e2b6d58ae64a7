// SPDX-License-Identifier: Apache-2.0
// The newest part of a log, in memory: what is appended and not yet durable, what is durable in the
// journal only, and as much of what is in segment files as the store's budget allows. See tail.c.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/pool.h"
#include "base/span.h"
#include "storage/format.h"

// Chunks whose frames are all in segment files, of all tails of a store, in the order in which they
// became that.
struct tail_cache {
    struct pool *pool;
    size_t limit_bytes;  // for the chunks in the list
    size_t bytes;        // in the list
    size_t needed_bytes; // in chunks that are not in the list: they cannot be given up
    uint32_t needed_chunks;
    struct list evictable;
};

// One frame inside a chunk. committed_size <= held_size <= payload_size.
struct tail_frame {
    enum frame_kind kind;
    bool begins_segment;     // its segment file does not exist yet
    uint32_t at;             // in the chunk, of its header slot; the payload follows the slot
    uint32_t payload_size;   // appended so far
    uint32_t committed_size; // of the payload, durable: readers use no more than this
    uint32_t held_size; // of the payload, handed to the journal: may be on disk, so never forgotten
    uint32_t batch_count;
    int64_t base_offset;
    int64_t next_offset;
    int64_t max_timestamp; // of this frame alone
    uint64_t position;     // in its segment file
    uint64_t sequence;     // of the frame in its log
};

struct chunk {
    struct list node;       // the tail's
    struct list cache_node; // the cache's while evictable, else unlinked
    struct tail *tail;
    struct buffer *buffer;
    struct tail_frame *frames;
    uint32_t frame_count;
    uint32_t frame_capacity;
    uint32_t flushed_count; // frames before this one are in their segment file
};

// A place in the log's files.
struct tail_place {
    uint64_t position;    // in the segment file, behind the last frame; 0 = there is no segment
    int64_t segment_base; // first offset of that segment
};

struct tail {
    struct tail_cache *cache;
    struct list chunks;        // oldest first
    size_t next_size;          // capacity the next chunk should have
    struct tail_place flushed; // behind the last frame that is in its segment file
    struct tail_place next;    // behind the last frame there is
    uint64_t sequence;         // of the next frame to be opened
    uint64_t segment_bytes;    // a segment with records takes no frame that ends behind this
    uint64_t uncommitted_bytes;
    uint64_t waiting_bytes; // of those, not held
    uint64_t unflushed_bytes;
    struct buffer *block; // NULL, or what the block of flushed.position holds before it
    bool open;            // the last frame of the last chunk takes further batches
    bool roll;            // the next frame begins a segment, if there are records in the last one
    bool roll_put_off;    // no frame does
};

void tail_cache_init(struct tail_cache *cache, struct pool *pool, size_t limit_bytes);

// Gives up evictable chunks until at most `keep_bytes` of them are left.
void tail_cache_evict(struct tail_cache *cache, size_t keep_bytes);

void tail_init(struct tail *tail, struct tail_cache *cache);
void tail_free(struct tail *tail); // also what is not durable

// The tail is empty: the next frame goes behind that place, or begins a segment when
// place.position is 0. `block`: NULL, or the FORMAT_BLOCK bytes of the file that contain the place,
// where what follows it must be overwritten from the place on. -ENOMEM when that cannot be kept.
int tail_start_at(struct tail *tail, struct tail_place place, const uint8_t *block);

// Copies a batch behind the last one. Returns the copy, which the caller may still change, or NULL
// when memory is short.
uint8_t *tail_append(struct tail *tail, struct span batch, int64_t base_offset, int64_t next_offset,
                     int64_t max_timestamp);

// A frame of its own that holds no records. Returns its sequence number, 0 when memory is short.
uint64_t tail_control(struct tail *tail, enum frame_kind kind, struct span payload,
                      int64_t base_offset);

// Whether a batch of that size, appended now, would begin a segment. If it goes into the open
// frame, there is room for it in memory afterwards.
bool tail_would_roll(struct tail *tail, size_t size, int64_t base_offset);

// The oldest frame that is not in its segment file, and its chunk; NULL when all are.
struct tail_frame *tail_first(const struct tail *tail, struct chunk **chunk);

// The oldest frame with bytes that are neither durable nor held, and its chunk; NULL without one.
struct tail_frame *tail_waiting(const struct tail *tail, struct chunk **chunk);

// The frame after `frame`, moving *chunk along, or NULL.
struct tail_frame *tail_after(const struct tail *tail, const struct tail_frame *frame,
                              struct chunk **chunk);

// The last frame takes no further batch.
void tail_close(struct tail *tail);

// What the frame has is held from now on.
void tail_hold(struct tail *tail, struct tail_frame *frame);

// Everything that is held is durable.
void tail_commit(struct tail *tail);

// tail_first takes no further batch, and what follows its payload is zeros. Returns its bytes, from
// the header slot on, for the caller to write header and table into.
uint8_t *tail_seal(struct tail *tail);

// tail_first, sealed before, is durable in its segment file.
void tail_flush(struct tail *tail);

// The segment that tail_first, or the next frame, is to begin exists.
void tail_begin(struct tail *tail, int64_t segment_base);

// tail_first was to begin a segment; it goes on in the one before.
void tail_join(struct tail *tail);

// Forgets everything that is not held. tail_first is not being written unless it is all held.
// Returns the offset behind what is left, or `committed` when nothing is.
int64_t tail_drop(struct tail *tail, int64_t committed);

// A write at flushed.position has failed: whatever it left there will be overwritten, from the same
// position on. -ENOMEM when the bytes before cannot be kept.
int tail_keep_block(struct tail *tail);

// The smallest offset in memory, or INT64_MAX.
int64_t tail_start(const struct tail *tail);

// The frame that contains `offset` and its chunk, or NULL.
struct tail_frame *tail_find(const struct tail *tail, int64_t offset, struct chunk **chunk);
