// SPDX-License-Identifier: Apache-2.0
// Tails: chunks of memory that hold the newest frames of a log exactly as they go to disk.
//
// A batch is copied once, into its place behind the batches that will be committed with it. The
// commit fills in the frame's header and writes straight from the chunk; later batches meanwhile
// go to the next frame. Committed frames stay readable where they are.
//
// 1. Frames of a tail are contiguous in offsets; committed ones come first.
// 2. A frame starts on a multiple of FORMAT_BLOCK in its chunk and never moves.
// 3. Only the last frame of the last chunk can be open, and only while it is not being written.
// 4. A chunk is evictable exactly when all its frames are committed and none is open. Chunks of
//    one tail become evictable in order, so what a tail still holds is always its newest part.
// 5. Readers keep a reference to the buffer, not to the chunk: eviction does not wait for them,
//    and the bytes of a committed frame are never written again.
//
// Chunks begin small, so that ten thousand quiet logs fit into memory, and double while a log
// keeps filling them; a log that lost all its chunks begins small again.
#include "storage/tail.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "storage/format.h"

enum {
    CHUNK_MIN = 16 * 1024,
    CHUNK_MAX = 4 * 1024 * 1024,
    // A reader from disk must read and check a whole frame, so frames must not grow without limit;
    // beyond a megabyte or two the device gains nothing from larger writes.
    FRAME_PAYLOAD_MAX = 2 * 1024 * 1024,
};

void tail_cache_init(struct tail_cache *cache, struct pool *pool, size_t limit_bytes)
{
    cache->pool = pool;
    cache->limit_bytes = limit_bytes;
    cache->bytes = 0;
    list_init(&cache->evictable);
}

static void cache_remove(struct tail_cache *cache, struct chunk *chunk)
{
    if (list_empty(&chunk->cache_node))
        return;
    list_remove(&chunk->cache_node);
    cache->bytes -= chunk->buffer->capacity;
}

static void cache_add(struct tail_cache *cache, struct chunk *chunk)
{
    list_append(&cache->evictable, &chunk->cache_node);
    cache->bytes += chunk->buffer->capacity;
}

static void chunk_free(struct chunk *chunk)
{
    cache_remove(chunk->tail->cache, chunk);
    list_remove(&chunk->node);
    buffer_unref(chunk->buffer);
    free(chunk);
}

void tail_cache_evict(struct tail_cache *cache, size_t keep_bytes)
{
    while (cache->bytes > keep_bytes)
        chunk_free(list_entry(cache->evictable.next, struct chunk, cache_node));
}

void tail_init(struct tail *tail, struct tail_cache *cache)
{
    tail->cache = cache;
    list_init(&tail->chunks);
    tail->next_size = CHUNK_MIN;
    tail->open = false;
}

void tail_free(struct tail *tail)
{
    list_each(node, &tail->chunks)
        chunk_free(list_entry(node, struct chunk, node));
    tail->open = false;
}

static struct chunk *last_chunk(const struct tail *tail)
{
    if (list_empty(&tail->chunks))
        return NULL;
    return list_entry(tail->chunks.prev, struct chunk, node);
}

// What is merely cached gives way to what must be stored.
static struct buffer *chunk_buffer(struct tail_cache *cache, size_t wanted, size_t needed)
{
    struct buffer *buffer = pool_get(cache->pool, wanted);
    if (!buffer) {
        tail_cache_evict(cache, 0);
        buffer = pool_get(cache->pool, needed);
    }
    return buffer;
}

static struct chunk *chunk_add(struct tail *tail, size_t needed)
{
    if (list_empty(&tail->chunks))
        tail->next_size = CHUNK_MIN;
    size_t wanted = needed > tail->next_size ? needed : tail->next_size;
    struct buffer *buffer = chunk_buffer(tail->cache, wanted, needed);
    if (!buffer)
        return NULL;
    size_t frames = buffer->capacity / FORMAT_BLOCK;
    struct chunk *chunk = malloc(sizeof(*chunk) + frames * sizeof(chunk->frames[0]));
    if (!chunk) {
        buffer_unref(buffer);
        return NULL;
    }
    chunk->tail = tail;
    chunk->buffer = buffer;
    chunk->used = 0;
    chunk->frame_count = 0;
    chunk->committed_count = 0;
    list_init(&chunk->cache_node);
    list_append(&tail->chunks, &chunk->node);
    tail->next_size = buffer->capacity < CHUNK_MAX / 2 ? buffer->capacity * 2 : CHUNK_MAX;
    return chunk;
}

static size_t block_up(size_t size)
{
    return (size + FORMAT_BLOCK - 1) & ~(size_t)(FORMAT_BLOCK - 1);
}

// Begins a frame that has room for `size` bytes of payload.
static struct tail_frame *frame_open(struct tail *tail, size_t size)
{
    size_t needed = block_up(FRAME_HEADER_SIZE + size);
    struct chunk *chunk = last_chunk(tail);
    if (!chunk || block_up(chunk->used) + needed > chunk->buffer->capacity) {
        chunk = chunk_add(tail, needed);
        if (!chunk)
            return NULL;
    }
    cache_remove(tail->cache, chunk);
    struct tail_frame *frame = &chunk->frames[chunk->frame_count++];
    *frame = (struct tail_frame){.at = (uint32_t)block_up(chunk->used), .max_timestamp = -1};
    chunk->used = frame->at + FRAME_HEADER_SIZE;
    tail->open = true;
    return frame;
}

static struct tail_frame *frame_with_room(struct tail *tail, size_t size)
{
    if (tail->open) {
        struct chunk *chunk = last_chunk(tail);
        struct tail_frame *frame = &chunk->frames[chunk->frame_count - 1];
        if (frame->payload_size + size <= FRAME_PAYLOAD_MAX &&
            block_up(chunk->used + size) <= chunk->buffer->capacity)
            return frame;
        tail->open = false;
    }
    return frame_open(tail, size);
}

uint8_t *tail_append(struct tail *tail, struct span batch, int64_t base_offset, int64_t next_offset,
                     int64_t max_timestamp)
{
    struct tail_frame *frame = frame_with_room(tail, batch.size);
    if (!frame)
        return NULL;
    struct chunk *chunk = last_chunk(tail);
    uint8_t *copy = chunk->buffer->data + chunk->used;
    memcpy(copy, batch.data, batch.size);
    chunk->used += (uint32_t)batch.size;
    if (frame->batch_count++ == 0)
        frame->base_offset = base_offset;
    frame->payload_size += (uint32_t)batch.size;
    frame->next_offset = next_offset;
    if (frame->max_timestamp < max_timestamp)
        frame->max_timestamp = max_timestamp;
    return copy;
}

struct tail_frame *tail_first(struct tail *tail, struct chunk **chunk)
{
    // Few chunks are uncommitted at any time, so the search runs from the newest backwards.
    struct tail_frame *first = NULL;
    for (struct list *node = tail->chunks.prev; node != &tail->chunks; node = node->prev) {
        struct chunk *candidate = list_entry(node, struct chunk, node);
        if (candidate->committed_count == candidate->frame_count)
            break;
        first = &candidate->frames[candidate->committed_count];
        *chunk = candidate;
        if (candidate->committed_count > 0)
            break;
    }
    return first;
}

uint8_t *tail_seal(struct tail *tail)
{
    struct chunk *chunk = NULL;
    struct tail_frame *frame = tail_first(tail, &chunk);
    CHECK(frame && chunk);
    if (chunk == last_chunk(tail) && frame == &chunk->frames[chunk->frame_count - 1])
        tail->open = false;
    uint8_t *start = chunk->buffer->data + frame->at;
    size_t size = FRAME_HEADER_SIZE + frame->payload_size;
    memset(start + size, 0, block_up(size) - size);
    return start;
}

void tail_commit(struct tail *tail)
{
    struct chunk *chunk = NULL;
    CHECK(tail_first(tail, &chunk));
    if (++chunk->committed_count == chunk->frame_count)
        cache_add(tail->cache, chunk);
}

void tail_drop(struct tail *tail)
{
    tail->open = false;
    for (struct list *node = tail->chunks.prev, *prev; node != &tail->chunks; node = prev) {
        prev = node->prev;
        struct chunk *chunk = list_entry(node, struct chunk, node);
        if (chunk->committed_count == chunk->frame_count)
            break;
        if (chunk->committed_count == 0) {
            chunk_free(chunk);
            continue;
        }
        chunk->frame_count = chunk->committed_count;
        const struct tail_frame *last = &chunk->frames[chunk->frame_count - 1];
        chunk->used = last->at + FRAME_HEADER_SIZE + last->payload_size;
        cache_add(tail->cache, chunk);
    }
}

int64_t tail_start(const struct tail *tail)
{
    if (list_empty(&tail->chunks))
        return INT64_MAX;
    return list_entry(tail->chunks.next, struct chunk, node)->frames[0].base_offset;
}

static const struct tail_frame *chunk_find(const struct chunk *chunk, int64_t offset)
{
    uint32_t low = 0;
    uint32_t high = chunk->frame_count;
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (chunk->frames[middle].base_offset <= offset)
            low = middle;
        else
            high = middle;
    }
    return offset < chunk->frames[low].next_offset ? &chunk->frames[low] : NULL;
}

const struct tail_frame *tail_find(const struct tail *tail, int64_t offset,
                                   const struct chunk **chunk)
{
    for (struct list *node = tail->chunks.prev; node != &tail->chunks; node = node->prev) {
        *chunk = list_entry(node, struct chunk, node);
        if ((*chunk)->frames[0].base_offset <= offset)
            return chunk_find(*chunk, offset);
    }
    return NULL;
}

const struct tail_frame *tail_after(const struct tail *tail, const struct tail_frame *frame,
                                    const struct chunk **chunk)
{
    uint32_t index = (uint32_t)(frame - (*chunk)->frames);
    if (index + 1 < (*chunk)->frame_count)
        return frame + 1;
    if ((*chunk)->node.next == &tail->chunks)
        return NULL;
    *chunk = list_entry((*chunk)->node.next, struct chunk, node);
    return &(*chunk)->frames[0];
}
