// SPDX-License-Identifier: Apache-2.0
// The newest part of a log, in memory: what is appended and not yet durable, and as much of what
// is durable as the store's budget allows. See tail.c.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/pool.h"
#include "base/span.h"

// Committed chunks of all tails of a store, least recently committed first.
struct tail_cache {
    struct pool *pool;
    size_t limit_bytes; // for committed chunks
    size_t bytes;       // in the list below
    struct list evictable;
};

// One frame inside a chunk. `at` is where its header slot begins; the payload follows the slot.
struct tail_frame {
    int64_t base_offset;
    int64_t next_offset;
    int64_t max_timestamp; // of this frame alone
    uint32_t at;
    uint32_t payload_size;
    uint32_t batch_count;
};

struct chunk {
    struct list node;       // the tail's
    struct list cache_node; // the cache's while evictable, else unlinked
    struct tail *tail;
    struct buffer *buffer;
    uint32_t used; // end of the last frame's payload
    uint32_t frame_count;
    uint32_t committed_count;   // frames before this one are committed
    struct tail_frame frames[]; // buffer->capacity / FORMAT_BLOCK of them
};

struct tail {
    struct tail_cache *cache;
    struct list chunks; // oldest first
    size_t next_size;   // capacity the next chunk should have
    bool open;          // the last frame of the last chunk takes further batches
};

void tail_cache_init(struct tail_cache *cache, struct pool *pool, size_t limit_bytes);

// Gives up committed chunks until at most `keep_bytes` of them are left.
void tail_cache_evict(struct tail_cache *cache, size_t keep_bytes);

void tail_init(struct tail *tail, struct tail_cache *cache);
void tail_free(struct tail *tail); // also what is uncommitted

// Copies a batch behind the last one. Returns the copy, which the caller may still change, or NULL
// when memory is short.
uint8_t *tail_append(struct tail *tail, struct span batch, int64_t base_offset, int64_t next_offset,
                     int64_t max_timestamp);

// The oldest uncommitted frame and its chunk; NULL when everything is committed.
struct tail_frame *tail_first(struct tail *tail, struct chunk **chunk);

// The oldest uncommitted frame takes no further batch; its padding is filled with zeros. Returns
// its bytes, from the header slot to the next frame, for the caller to write the header into.
uint8_t *tail_seal(struct tail *tail);

// The oldest uncommitted frame, sealed before, is durable.
void tail_commit(struct tail *tail);

// Forgets everything that is not committed.
void tail_drop(struct tail *tail);

// The smallest offset in memory, or INT64_MAX.
int64_t tail_start(const struct tail *tail);

// The frame that contains `offset` and its chunk, or NULL.
const struct tail_frame *tail_find(const struct tail *tail, int64_t offset,
                                   const struct chunk **chunk);

// The frame after `frame`, moving *chunk along, or NULL.
const struct tail_frame *tail_after(const struct tail *tail, const struct tail_frame *frame,
                                    const struct chunk **chunk);
