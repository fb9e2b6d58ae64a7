// SPDX-License-Identifier: Apache-2.0
// A bump allocator with a hard cap, for memory that lives as long as one request.
// Single-threaded. Nothing is freed one by one.
#pragma once

#include <stddef.h>

struct arena_block;

struct arena {
    struct arena_block *blocks; // newest first
    size_t used;                // bytes handed out since the last reset
    size_t limit;               // arena_alloc fails beyond this
    char *at;                   // free space in the newest block
    char *end;
};

// No memory is taken until the first allocation.
void arena_init(struct arena *arena, size_t limit);

// Zeroed memory, aligned for any type; NULL when the limit or the system's memory is exhausted.
// `size` 0 gives a valid pointer. The memory lives until arena_reset or arena_free.
void *arena_alloc(struct arena *arena, size_t size);

// As arena_alloc, but the memory's content is undefined: for buffers that are filled at once.
void *arena_raw(struct arena *arena, size_t size);

// Changes the size of the newest allocation, `memory` of `old_size` bytes (NULL and 0: none yet),
// which keeps its bytes and may move; more bytes have undefined content. Given any other
// allocation it makes a larger copy. NULL when it cannot grow; the old memory is then unchanged.
// A buffer that grows this way never counts more than its present size against the limit.
void *arena_resize(struct arena *arena, void *memory, size_t old_size, size_t size);

// As arena_alloc, for count * size bytes; NULL when the product overflows.
void *arena_array(struct arena *arena, size_t count, size_t size);

// A NUL-terminated copy of `size` bytes, or NULL.
char *arena_text(struct arena *arena, const void *data, size_t size);

// Everything allocated becomes invalid; one block, of a megabyte at most, is kept for reuse.
void arena_reset(struct arena *arena);

// Everything allocated becomes invalid and all memory is returned.
void arena_free(struct arena *arena);
