// SPDX-License-Identifier: Apache-2.0
#include "base/arena.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum {
    ARENA_ALIGN = 16,
    ARENA_BLOCK_MIN = 4096 - 64,
    ARENA_BLOCK_USUAL = 65536 - 64, // blocks double up to here; larger ones hold one allocation
    ARENA_KEEP_MAX = 1 << 20,       // a reset gives larger blocks back
};

// So that rounding up and a block's head cannot overflow.
#define ARENA_SIZE_MAX (SIZE_MAX / 2)

struct arena_block {
    struct arena_block *next;
    size_t size;
    _Alignas(ARENA_ALIGN) char data[];
};

void arena_init(struct arena *arena, size_t limit)
{
    *arena = (struct arena){.limit = limit};
}

static size_t round_up(size_t size)
{
    return size == 0 ? ARENA_ALIGN : (size + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
}

// Doubling makes the newest block at least half of all, so that after a reset, which keeps it, most
// requests need no further one.
static int arena_grow(struct arena *arena, size_t size)
{
    size_t want = arena->blocks ? arena->blocks->size * 2 : ARENA_BLOCK_MIN;
    if (want > ARENA_BLOCK_USUAL)
        want = ARENA_BLOCK_USUAL;
    if (want < size)
        want = size;
    struct arena_block *block = malloc(sizeof(*block) + want);
    if (!block)
        return -1;
    block->size = want;
    block->next = arena->blocks;
    arena->blocks = block;
    arena->at = block->data;
    arena->end = block->data + want;
    return 0;
}

void *arena_raw(struct arena *arena, size_t size)
{
    if (size > arena->limit - arena->used || size > ARENA_SIZE_MAX)
        return NULL;
    size_t rounded = round_up(size);
    if ((size_t)(arena->end - arena->at) < rounded && arena_grow(arena, rounded) != 0)
        return NULL;
    void *memory = arena->at;
    arena->at += rounded;
    // Rounding is not held against the last allocation that fits.
    arena->used += rounded > arena->limit - arena->used ? arena->limit - arena->used : rounded;
    return memory;
}

void *arena_alloc(struct arena *arena, size_t size)
{
    void *memory = arena_raw(arena, size);
    return memory ? memset(memory, 0, size) : NULL;
}

// The block that holds nothing but the newest allocation becomes larger.
static void *block_resize(struct arena *arena, size_t rounded)
{
    struct arena_block *moved = realloc(arena->blocks, sizeof(*moved) + rounded);
    if (!moved)
        return NULL;
    moved->size = rounded;
    arena->blocks = moved;
    arena->at = arena->end = moved->data + rounded;
    return moved->data;
}

void *arena_resize(struct arena *arena, void *memory, size_t old_size, size_t size)
{
    if (!memory)
        return arena_raw(arena, size);
    size_t old_rounded = round_up(old_size), rounded = round_up(size);
    size_t without = arena->used < old_rounded ? 0 : arena->used - old_rounded;
    bool newest = (char *)memory + old_rounded == arena->at;
    if (!newest) {
        void *copy = arena_raw(arena, size);
        return copy ? memcpy(copy, memory, old_size < size ? old_size : size) : NULL;
    }
    if (size > arena->limit - without || size > ARENA_SIZE_MAX)
        return NULL;
    if (rounded <= (size_t)(arena->end - (char *)memory)) {
        arena->at = (char *)memory + rounded;
    } else if (memory == arena->blocks->data) {
        memory = block_resize(arena, rounded);
    } else {
        void *old = memory;
        memory = arena_grow(arena, rounded) == 0 ? arena->at : NULL;
        if (memory) {
            memcpy(memory, old, old_size);
            arena->at += rounded;
        }
    }
    if (memory)
        arena->used = rounded > arena->limit - without ? arena->limit : without + rounded;
    return memory;
}

void *arena_array(struct arena *arena, size_t count, size_t size)
{
    size_t total;
    if (__builtin_mul_overflow(count, size, &total))
        return NULL;
    return arena_alloc(arena, total);
}

char *arena_text(struct arena *arena, const void *data, size_t size)
{
    if (size == SIZE_MAX)
        return NULL;
    char *text = arena_alloc(arena, size + 1);
    if (text && size > 0)
        memcpy(text, data, size);
    return text;
}

void arena_reset(struct arena *arena)
{
    struct arena_block *keep = arena->blocks;
    if (keep && keep->size > ARENA_KEEP_MAX)
        keep = NULL;
    for (struct arena_block *block = arena->blocks, *next; block; block = next) {
        next = block->next;
        if (block != keep)
            free(block);
    }
    arena_init(arena, arena->limit);
    if (keep) {
        keep->next = NULL;
        arena->blocks = keep;
        arena->at = keep->data;
        arena->end = keep->data + keep->size;
    }
}

void arena_free(struct arena *arena)
{
    arena_reset(arena);
    free(arena->blocks);
    arena_init(arena, arena->limit);
}
