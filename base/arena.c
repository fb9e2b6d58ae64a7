// SPDX-License-Identifier: Apache-2.0
#include "base/arena.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { ARENA_ALIGN = 16, ARENA_BLOCK_MIN = 4096 - 64 };

struct arena_block {
    struct arena_block *next;
    size_t size;
    _Alignas(ARENA_ALIGN) char data[];
};

void arena_init(struct arena *arena, size_t limit)
{
    *arena = (struct arena){.limit = limit};
}

static int arena_grow(struct arena *arena, size_t size)
{
    size_t want = size < ARENA_BLOCK_MIN ? ARENA_BLOCK_MIN : size;
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

void *arena_alloc(struct arena *arena, size_t size)
{
    if (size > arena->limit - arena->used)
        return NULL;
    size_t rounded = (size + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
    if (rounded == 0)
        rounded = ARENA_ALIGN;
    if ((size_t)(arena->end - arena->at) < rounded && arena_grow(arena, rounded) != 0)
        return NULL;
    void *memory = arena->at;
    arena->at += rounded;
    arena->used += rounded > arena->limit - arena->used ? arena->limit - arena->used : rounded;
    return memset(memory, 0, size);
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
    if (!keep)
        return;
    struct arena_block *block = keep->next;
    while (block) {
        struct arena_block *next = block->next;
        free(block);
        block = next;
    }
    keep->next = NULL;
    arena->at = keep->data;
    arena->end = keep->data + keep->size;
    arena->used = 0;
}

void arena_free(struct arena *arena)
{
    arena_reset(arena);
    free(arena->blocks);
    arena_init(arena, arena->limit);
}
