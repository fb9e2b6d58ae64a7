// SPDX-License-Identifier: Apache-2.0
// Tails: chunks of memory that hold the newest frames of a log exactly as they lie in its files.
//
// A batch is copied once, into its place behind the batches that will be in one frame with it. The
// writer fills in the frame's header and writes straight from the chunk. Frames stay readable where
// they are, before and after.
//
//      file      | frame 7 .... |fr. 8|frame 9 .......        (frames start on FORMAT_ALIGNMENT)
//      chunk     | frame 7 .... |fr. 8|frame 9 .......
//                ^ block                    open: grows until it is sealed
//
// 1. Frames of a tail are contiguous in offsets and sequence numbers. Those in their segment file
//    come first, then those all durable, then one that may be partly durable or held, then those
//    not written anywhere.
// 2. A chunk is an image of the file in this sense: a frame's place in the chunk and its position
//    in the file are equal modulo FORMAT_BLOCK, and what is before the frame in its first block is,
//    when the frame is written, what the file has there. So frames can be packed densely and be
//    written in whole blocks: rule 3 of the storage design is kept because the bytes before the
//    frame are written again only as they are, and sectors are never divided between frames.
//    A frame in a new chunk gets these bytes when the frame before it has its last form, that is
//    when it is flushed (prefix_copy). Where they are no longer in memory, the next frame starts
//    with a new block; the file has zeros in between.
// 3. Only the last frame of the last chunk can be open, and only while it is not being written.
// 4. Where a segment ends is decided when a frame is opened. A frame that begins one starts on a
//    block, so that it can still be put behind the one before (tail_join).
// 5. A chunk is evictable exactly when all its frames are in segment files. Chunks of one tail
//    become evictable in order, so what a tail still holds is always its newest part, and
//    everything that is not in a segment file.
// 6. Readers and writes keep a reference to the buffer, not to the chunk: eviction does not wait
//    for them. The bytes of a payload are never changed once they are there. A small chunk grows by
//    moving to a larger buffer; who holds the smaller one goes on with that.
//
// Chunks begin small, so that ten thousand quiet logs fit into memory, and double while a log
// keeps filling them, up to an equal share for each chunk that is needed: a thousand busy logs
// would otherwise use up the memory with chunks that are hardly filled, and every flush would have
// to come early. A log that lost all its chunks begins with the size that it had filled last.
#include "storage/tail.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "protocol/record_batch.h"

enum {
    CHUNK_MIN = 4 * 1024,
    // Up to here a chunk grows by moving, so that the first frames of a log are not many small
    // ones: each costs up to two partial blocks when it is written.
    CHUNK_GROW_MAX = 64 * 1024,
    CHUNK_MAX = 4 * 1024 * 1024,
    CHUNKS_SHARE = 4, // of the pool: what the chunks that are needed share
    // A reader from disk must read and check a whole frame, so frames must not grow without limit;
    // beyond a megabyte or two the device gains nothing from larger writes.
    FRAME_PAYLOAD_MAX = 2 * 1024 * 1024,
    // A write that begins in a block that was written before and goes on in space that is only
    // allocated is moved to a worker thread by the kernel. Large frames therefore start with a new
    // block: 2 KiB lost on average, 1.6 % of the smallest of them.
    FRAME_ALIGN_BYTES = 128 * 1024,
    FRAMES_MIN = 4,
};

// --- cache

void tail_cache_init(struct tail_cache *cache, struct pool *pool, size_t limit_bytes)
{
    cache->pool = pool;
    cache->limit_bytes = limit_bytes;
    cache->bytes = 0;
    cache->needed_bytes = 0;
    cache->needed_chunks = 0;
    list_init(&cache->evictable);
}

static void cache_remove(struct tail_cache *cache, struct chunk *chunk)
{
    if (list_empty(&chunk->cache_node))
        return;
    list_remove(&chunk->cache_node);
    cache->bytes -= chunk->buffer->capacity;
    cache->needed_bytes += chunk->buffer->capacity;
    cache->needed_chunks++;
}

static void cache_add(struct tail_cache *cache, struct chunk *chunk)
{
    if (!list_empty(&chunk->cache_node))
        return;
    list_append(&cache->evictable, &chunk->cache_node);
    cache->bytes += chunk->buffer->capacity;
    cache->needed_bytes -= chunk->buffer->capacity;
    cache->needed_chunks--;
}

// --- places

static uint64_t stored_size(const struct tail_frame *frame)
{
    return format_stored_size(frame->payload_size, FORMAT_ALIGNMENT);
}

static struct chunk *last_chunk(const struct tail *tail)
{
    if (list_empty(&tail->chunks))
        return NULL;
    return list_entry(tail->chunks.prev, struct chunk, node);
}

static struct tail_frame *last_frame(const struct chunk *chunk)
{
    return &chunk->frames[chunk->frame_count - 1];
}

static uint64_t chunk_end(const struct chunk *chunk)
{
    return last_frame(chunk)->at + stored_size(last_frame(chunk));
}

static void chunk_free(struct chunk *chunk)
{
    struct tail_cache *cache = chunk->tail->cache;
    cache_remove(cache, chunk);
    cache->needed_bytes -= chunk->buffer->capacity;
    cache->needed_chunks--;
    list_remove(&chunk->node);
    if (list_empty(&chunk->tail->chunks))
        chunk->tail->next_size = chunk->frame_count > 0 ? chunk_end(chunk) : CHUNK_MIN;
    buffer_unref(chunk->buffer);
    free(chunk->frames);
    free(chunk);
}

void tail_cache_evict(struct tail_cache *cache, size_t keep_bytes)
{
    while (cache->bytes > keep_bytes)
        chunk_free(list_entry(cache->evictable.next, struct chunk, cache_node));
}

static void drop_block(struct tail *tail)
{
    if (tail->block)
        buffer_unref(tail->block);
    tail->block = NULL;
}

static int keep_block(struct tail *tail, const uint8_t *bytes)
{
    struct buffer *block = pool_get(tail->cache->pool, FORMAT_BLOCK);
    if (!block)
        return -ENOMEM;
    memcpy(block->data, bytes, FORMAT_BLOCK);
    drop_block(tail);
    tail->block = block;
    return 0;
}

// Where the next frame goes after frames were taken away or moved.
static void next_place(struct tail *tail)
{
    struct chunk *chunk = NULL;
    tail->next = tail->flushed;
    for (const struct tail_frame *frame = tail_first(tail, &chunk); frame;
         frame = tail_after(tail, frame, &chunk)) {
        if (frame->begins_segment)
            tail->next.segment_base = frame->base_offset;
        tail->next.position = frame->position + stored_size(frame);
    }
}

void tail_init(struct tail *tail, struct tail_cache *cache)
{
    *tail = (struct tail){.cache = cache, .next_size = CHUNK_MIN, .sequence = 1};
    list_init(&tail->chunks);
}

void tail_free(struct tail *tail)
{
    list_each(node, &tail->chunks)
        chunk_free(list_entry(node, struct chunk, node));
    drop_block(tail);
    tail->open = false;
}

int tail_start_at(struct tail *tail, struct tail_place place, const uint8_t *block)
{
    CHECK(list_empty(&tail->chunks));
    tail->flushed = place;
    tail->next = place;
    return block ? keep_block(tail, block) : 0;
}

// --- chunks

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

// The size for one more chunk: a power of two, as the pool gives no other.
static size_t chunk_share(const struct tail_cache *cache)
{
    size_t share = pool_stats(cache->pool).limit_bytes / CHUNKS_SHARE / (cache->needed_chunks + 1);
    size_t size = CHUNK_MIN;
    while (size <= share / 2 && size < CHUNK_MAX)
        size *= 2;
    return size;
}

static struct chunk *chunk_add(struct tail *tail, size_t needed)
{
    size_t share = chunk_share(tail->cache);
    size_t wanted = tail->next_size < share ? tail->next_size : share;
    if (wanted < needed)
        wanted = needed;
    struct buffer *buffer = chunk_buffer(tail->cache, wanted, needed);
    if (!buffer)
        return NULL;
    struct chunk *chunk = calloc(1, sizeof(*chunk));
    struct tail_frame *frames = malloc(FRAMES_MIN * sizeof(*frames));
    if (!chunk || !frames) {
        free(chunk);
        free(frames);
        buffer_unref(buffer);
        return NULL;
    }
    chunk->tail = tail;
    chunk->buffer = buffer;
    chunk->frames = frames;
    chunk->frame_capacity = FRAMES_MIN;
    list_init(&chunk->cache_node);
    list_append(&tail->chunks, &chunk->node);
    tail->cache->needed_bytes += buffer->capacity;
    tail->cache->needed_chunks++;
    tail->next_size = buffer->capacity < CHUNK_MAX / 2 ? buffer->capacity * 2 : CHUNK_MAX;
    return chunk;
}

// The last chunk has room for `needed` bytes in all.
static bool chunk_fits(struct tail *tail, struct chunk *chunk, uint64_t needed)
{
    if (needed <= chunk->buffer->capacity)
        return true;
    if (needed > CHUNK_GROW_MAX)
        return false;
    struct buffer *buffer = pool_get(tail->cache->pool, needed);
    if (!buffer)
        return false;
    memcpy(buffer->data, chunk->buffer->data, chunk->buffer->capacity);
    tail->cache->needed_bytes += buffer->capacity - chunk->buffer->capacity;
    buffer_unref(chunk->buffer);
    chunk->buffer = buffer;
    tail->next_size = buffer->capacity * 2;
    return true;
}

static bool frames_fit(struct chunk *chunk)
{
    if (chunk->frame_count < chunk->frame_capacity)
        return true;
    uint32_t capacity = chunk->frame_capacity * 2;
    struct tail_frame *frames = realloc(chunk->frames, capacity * sizeof(*frames));
    if (!frames)
        return false;
    chunk->frames = frames;
    chunk->frame_capacity = capacity;
    return true;
}

// --- opening a frame

static bool ends_behind(const struct tail *tail, uint64_t position, uint64_t payload_size)
{
    return position + format_stored_size(payload_size, FORMAT_ALIGNMENT) > tail->segment_bytes;
}

// Whether a frame opened now begins a segment. Without records in the last one it cannot: the next
// would have the same name.
static bool must_roll(const struct tail *tail, size_t size, int64_t base_offset)
{
    if (tail->next.position == 0)
        return true;
    if (base_offset <= tail->next.segment_base || tail->roll_put_off)
        return false;
    return tail->roll || ends_behind(tail, tail->next.position, size);
}

static bool open_frame_takes(const struct tail *tail, size_t size)
{
    if (!tail->open)
        return false;
    const struct tail_frame *frame = last_frame(last_chunk(tail));
    uint64_t payload_size = (uint64_t)frame->payload_size + size;
    if (payload_size > FRAME_PAYLOAD_MAX)
        return false;
    if (tail->roll_put_off)
        return true;
    return !tail->roll && !ends_behind(tail, frame->position, payload_size);
}

// The open frame, if it takes so many bytes more and its chunk has room for them.
static struct tail_frame *open_frame(struct tail *tail, size_t size)
{
    if (!open_frame_takes(tail, size))
        return NULL;
    struct chunk *chunk = last_chunk(tail);
    struct tail_frame *frame = last_frame(chunk);
    uint64_t needed = frame->at + format_framed_size((uint64_t)frame->payload_size + size);
    return chunk_fits(tail, chunk, needed) ? frame : NULL;
}

bool tail_would_roll(struct tail *tail, size_t size, int64_t base_offset)
{
    return must_roll(tail, size, base_offset) && !open_frame(tail, size);
}

// What the file has in the block of a frame before it, copied to where the frame is in a new chunk.
static void prefix_copy(struct chunk *to, const struct tail_frame *frame, const uint8_t *block)
{
    memcpy(to->buffer->data, block, frame->at);
}

// The chunk and the place in it for a frame at `position`; the last chunk, if there is room. For
// the padding there always is: the size of a chunk is a multiple of its alignment.
static struct chunk *place_find(struct tail *tail, uint64_t position, size_t size, uint64_t *at)
{
    struct chunk *chunk = last_chunk(tail);
    if (chunk) {
        *at = position % FORMAT_BLOCK == 0 ? format_next_block(chunk_end(chunk)) : chunk_end(chunk);
        if (chunk_fits(tail, chunk, *at + format_framed_size(size)) && frames_fit(chunk))
            return chunk;
    }
    *at = position % FORMAT_BLOCK;
    return chunk_add(tail, *at + format_framed_size(size));
}

static struct tail_frame *frame_open(struct tail *tail, size_t size, int64_t base_offset)
{
    bool begins = must_roll(tail, size, base_offset);
    struct chunk *last = last_chunk(tail);
    uint64_t position = begins ? FORMAT_BLOCK : tail->next.position;
    if ((!last || size >= FRAME_ALIGN_BYTES) && !tail->block)
        position = format_next_block(position);
    if (last)
        cache_remove(tail->cache, last); // it must not go while it is looked at
    uint64_t at = 0;
    struct chunk *chunk = place_find(tail, position, size, &at);
    if (last && last != chunk && last->flushed_count == last->frame_count)
        cache_add(tail->cache, last);
    if (!chunk)
        return NULL;
    struct tail_frame *frame = &chunk->frames[chunk->frame_count++];
    *frame = (struct tail_frame){
        .begins_segment = begins,
        .at = (uint32_t)at,
        .base_offset = base_offset,
        .next_offset = base_offset,
        .max_timestamp = -1,
        .position = position,
        .sequence = tail->sequence++,
    };
    if (chunk != last && last && last->flushed_count == last->frame_count)
        prefix_copy(chunk, frame, last->buffer->data + format_block_start(chunk_end(last)));
    else if (chunk != last && !last && tail->block && !begins)
        prefix_copy(chunk, frame, tail->block->data);
    if (begins)
        tail->next.segment_base = base_offset;
    if (begins)
        tail->roll = false;
    return frame;
}

static struct tail_frame *frame_with_room(struct tail *tail, size_t size, int64_t base_offset)
{
    struct tail_frame *frame = open_frame(tail, size);
    if (frame)
        return frame;
    tail->open = false;
    frame = frame_open(tail, size, base_offset);
    if (frame)
        frame->kind = FRAME_DATA;
    tail->open = frame != NULL;
    return frame;
}

static uint8_t *payload_add(struct tail *tail, struct tail_frame *frame, struct span bytes)
{
    uint8_t *copy =
        last_chunk(tail)->buffer->data + frame->at + FRAME_HEADER_SIZE + frame->payload_size;
    memcpy(copy, bytes.data, bytes.size);
    frame->payload_size += (uint32_t)bytes.size;
    tail->uncommitted_bytes += bytes.size;
    tail->waiting_bytes += bytes.size;
    tail->unflushed_bytes += bytes.size;
    tail->next.position = frame->position + stored_size(frame);
    return copy;
}

uint8_t *tail_append(struct tail *tail, struct span batch, int64_t base_offset, int64_t next_offset,
                     int64_t max_timestamp)
{
    struct tail_frame *frame = frame_with_room(tail, batch.size, base_offset);
    if (!frame)
        return NULL;
    frame->batch_count++;
    frame->next_offset = next_offset;
    if (frame->max_timestamp < max_timestamp)
        frame->max_timestamp = max_timestamp;
    return payload_add(tail, frame, batch);
}

uint64_t tail_control(struct tail *tail, enum frame_kind kind, struct span payload,
                      int64_t base_offset)
{
    tail->open = false;
    struct tail_frame *frame = frame_open(tail, payload.size, base_offset);
    if (!frame)
        return 0;
    frame->kind = kind;
    payload_add(tail, frame, payload);
    return frame->sequence;
}

void tail_close(struct tail *tail)
{
    tail->open = false;
}

// --- looking

struct tail_frame *tail_first(const struct tail *tail, struct chunk **chunk)
{
    // Few chunks are unflushed at any time, so the search runs from the newest backwards.
    struct tail_frame *first = NULL;
    for (struct list *node = tail->chunks.prev; node != &tail->chunks; node = node->prev) {
        struct chunk *candidate = list_entry(node, struct chunk, node);
        if (candidate->flushed_count == candidate->frame_count)
            break;
        first = &candidate->frames[candidate->flushed_count];
        *chunk = candidate;
        if (candidate->flushed_count > 0)
            break;
    }
    return first;
}

struct tail_frame *tail_waiting(const struct tail *tail, struct chunk **chunk)
{
    struct tail_frame *first = NULL;
    for (struct list *node = tail->chunks.prev; node != &tail->chunks; node = node->prev) {
        struct chunk *candidate = list_entry(node, struct chunk, node);
        for (uint32_t i = candidate->frame_count; i > candidate->flushed_count; i--) {
            struct tail_frame *frame = &candidate->frames[i - 1];
            if (frame->held_size == frame->payload_size)
                return first;
            first = frame;
            *chunk = candidate;
        }
        if (candidate->flushed_count > 0)
            break;
    }
    return first;
}

struct tail_frame *tail_after(const struct tail *tail, const struct tail_frame *frame,
                              struct chunk **chunk)
{
    uint32_t index = (uint32_t)(frame - (*chunk)->frames);
    if (index + 1 < (*chunk)->frame_count)
        return &(*chunk)->frames[index + 1];
    if ((*chunk)->node.next == &tail->chunks)
        return NULL;
    *chunk = list_entry((*chunk)->node.next, struct chunk, node);
    return &(*chunk)->frames[0];
}

int64_t tail_start(const struct tail *tail)
{
    if (list_empty(&tail->chunks))
        return INT64_MAX;
    return list_entry(tail->chunks.next, struct chunk, node)->frames[0].base_offset;
}

static struct tail_frame *chunk_find(const struct chunk *chunk, int64_t offset)
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

struct tail_frame *tail_find(const struct tail *tail, int64_t offset, struct chunk **chunk)
{
    for (struct list *node = tail->chunks.prev; node != &tail->chunks; node = node->prev) {
        *chunk = list_entry(node, struct chunk, node);
        if ((*chunk)->frames[0].base_offset <= offset)
            return chunk_find(*chunk, offset);
    }
    return NULL;
}

// --- becoming durable

void tail_hold(struct tail *tail, struct tail_frame *frame)
{
    tail->waiting_bytes -= frame->payload_size - frame->held_size;
    frame->held_size = frame->payload_size;
}

void tail_commit(struct tail *tail)
{
    for (struct list *node = tail->chunks.prev; node != &tail->chunks; node = node->prev) {
        struct chunk *chunk = list_entry(node, struct chunk, node);
        for (uint32_t i = chunk->frame_count; i > chunk->flushed_count; i--) {
            struct tail_frame *frame = &chunk->frames[i - 1];
            if (frame->committed_size == frame->payload_size)
                return;
            tail->uncommitted_bytes -= frame->held_size - frame->committed_size;
            frame->committed_size = frame->held_size;
        }
        if (chunk->flushed_count > 0)
            return;
    }
}

uint8_t *tail_seal(struct tail *tail)
{
    struct chunk *chunk = NULL;
    struct tail_frame *frame = tail_first(tail, &chunk);
    CHECK(frame && chunk);
    if (chunk == last_chunk(tail) && frame == last_frame(chunk))
        tail->open = false;
    uint8_t *start = chunk->buffer->data + frame->at;
    size_t size = FRAME_HEADER_SIZE + frame->payload_size;
    memset(start + size, 0, stored_size(frame) - size);
    return start;
}

void tail_flush(struct tail *tail)
{
    struct chunk *chunk = NULL;
    struct tail_frame *frame = tail_first(tail, &chunk);
    CHECK(frame && chunk && !frame->begins_segment);
    tail->uncommitted_bytes -= frame->payload_size - frame->committed_size;
    tail->waiting_bytes -= frame->payload_size - frame->held_size;
    tail->unflushed_bytes -= frame->payload_size;
    frame->committed_size = frame->payload_size;
    frame->held_size = frame->payload_size;
    tail->flushed.position = frame->position + stored_size(frame);
    chunk->flushed_count++;
    drop_block(tail);
    struct chunk *other = chunk;
    const struct tail_frame *after = tail_after(tail, frame, &other);
    if (after && other != chunk && !after->begins_segment)
        prefix_copy(other, after, chunk->buffer->data + format_block_start(chunk_end(chunk)));
    if (chunk->flushed_count == chunk->frame_count)
        cache_add(tail->cache, chunk);
}

void tail_begin(struct tail *tail, int64_t segment_base)
{
    struct chunk *chunk = NULL;
    struct tail_frame *first = tail_first(tail, &chunk);
    tail->flushed = (struct tail_place){.position = FORMAT_BLOCK, .segment_base = segment_base};
    drop_block(tail);
    if (first) {
        CHECK(first->begins_segment && first->base_offset == segment_base);
        first->begins_segment = false;
        return;
    }
    tail->next = tail->flushed;
    tail->roll = false;
}

void tail_join(struct tail *tail)
{
    struct chunk *chunk = NULL;
    struct tail_frame *frame = tail_first(tail, &chunk);
    CHECK(frame && frame->begins_segment && tail->flushed.position > 0);
    uint64_t moved = format_next_block(tail->flushed.position) - FORMAT_BLOCK;
    frame->begins_segment = false;
    for (; frame && !frame->begins_segment; frame = tail_after(tail, frame, &chunk))
        frame->position += moved;
    next_place(tail);
}

// --- failing

// The frame ends after what is held.
static void frame_cut(struct tail *tail, const struct chunk *chunk, struct tail_frame *frame)
{
    const uint8_t *payload = chunk->buffer->data + frame->at + FRAME_HEADER_SIZE;
    uint32_t cut = frame->payload_size - frame->held_size;
    tail->uncommitted_bytes -= cut;
    tail->waiting_bytes -= cut;
    tail->unflushed_bytes -= cut;
    frame->payload_size = frame->held_size;
    frame->batch_count = 0;
    frame->max_timestamp = -1;
    struct batch_header header;
    for (size_t at = 0; at < frame->payload_size; at += batch_total_size(&header)) {
        CHECK(batch_header_read(span_of(payload + at, frame->payload_size - at), &header) ==
              BATCH_OK);
        frame->batch_count++;
        frame->next_offset = batch_last_offset(&header) + 1;
        if (frame->max_timestamp < header.max_timestamp)
            frame->max_timestamp = header.max_timestamp;
    }
}

static void frame_drop(struct tail *tail, struct chunk *chunk)
{
    const struct tail_frame *frame = last_frame(chunk);
    tail->uncommitted_bytes -= frame->payload_size;
    tail->waiting_bytes -= frame->payload_size;
    tail->unflushed_bytes -= frame->payload_size;
    tail->sequence = frame->sequence;
    chunk->frame_count--;
}

// Whether a frame is left in the chunk that holds something.
static bool chunk_drop(struct tail *tail, struct chunk *chunk)
{
    while (chunk->frame_count > chunk->flushed_count) {
        struct tail_frame *frame = last_frame(chunk);
        if (frame->held_size > 0) {
            if (frame->held_size < frame->payload_size)
                frame_cut(tail, chunk, frame);
            return true;
        }
        frame_drop(tail, chunk);
    }
    if (chunk->frame_count > 0) {
        cache_add(tail->cache, chunk);
        return true;
    }
    chunk_free(chunk);
    return false;
}

int64_t tail_drop(struct tail *tail, int64_t committed)
{
    tail->open = false;
    while (!list_empty(&tail->chunks) && !chunk_drop(tail, last_chunk(tail)))
        ;
    next_place(tail);
    if (list_empty(&tail->chunks))
        return committed;
    int64_t end = last_frame(last_chunk(tail))->next_offset;
    return end > committed ? end : committed;
}

int tail_keep_block(struct tail *tail)
{
    struct chunk *chunk = NULL;
    const struct tail_frame *frame = tail_first(tail, &chunk);
    if (!frame || frame->position % FORMAT_BLOCK == 0)
        return 0;
    return keep_block(tail, chunk->buffer->data + format_block_start(frame->at));
}
