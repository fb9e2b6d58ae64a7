// SPDX-License-Identifier: Apache-2.0
// Page-aligned, reference-counted buffers of one thread, recycled by size class, within a budget.
// The same kind of buffer receives from a socket, is written to disk (O_DIRECT) and is sent.
// A buffer is only ever touched by reference count on the thread that owns its pool.
#pragma once

#include <stddef.h>
#include <stdint.h>

enum { BUFFER_ALIGN = 4096 };

struct pool;

struct buffer {
    uint8_t *data;   // aligned to BUFFER_ALIGN
    size_t capacity; // multiple of BUFFER_ALIGN
    uint32_t refs;
    struct pool *pool;
    struct buffer *next_free;
};

struct pool_stats {
    size_t used_bytes; // in buffers that are referenced
    size_t idle_bytes; // kept for reuse
    size_t limit_bytes;
};

// Somebody who holds buffers of a pool that can be had again, and gives them up when the budget is
// needed. `give` lets go of about `bytes` (or all it can); it is called from inside pool_get.
struct pool_cache {
    void (*give)(struct pool_cache *cache, size_t bytes);
    struct pool_cache *next; // the pool's
};

// NULL when memory is short. `limit_bytes` bounds used + idle.
struct pool *pool_create(size_t limit_bytes);

// The cache stays in place until it is removed.
void pool_add_cache(struct pool *pool, struct pool_cache *cache);
void pool_remove_cache(struct pool *pool, struct pool_cache *cache);

// All buffers must have been returned.
void pool_destroy(struct pool *pool);

// A buffer of at least `size` bytes with one reference, contents undefined; NULL when the budget
// (caches asked) or the system's memory is exhausted. Sizes round up to a power of two up to 8 MiB
// and to BUFFER_ALIGN above.
struct buffer *pool_get(struct pool *pool, size_t size);

struct pool_stats pool_stats(const struct pool *pool);

// Gives idle memory above `keep_bytes` back to the system.
void pool_trim(struct pool *pool, size_t keep_bytes);

static inline struct buffer *buffer_ref(struct buffer *buffer)
{
    buffer->refs++;
    return buffer;
}

// The last reference returns the buffer to its pool.
void buffer_unref(struct buffer *buffer);
