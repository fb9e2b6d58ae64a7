// SPDX-License-Identifier: Apache-2.0
// Snapshots of producer state. Reading validates everything: the bytes come from a disk.
//
// 1. Producers are written least recently active first, so reading them in order restores their
//    order too.
// 2. A part is applied as a whole or not at all, and a snapshot only when its last part is there.
#include "storage/producers_snapshot.h"

#include <errno.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/endian.h"

enum { VERSION = 1, PART_FIRST = 1, PART_LAST = 2 };

// --- writing

static size_t entry_size(const struct producer *producer)
{
    return PRODUCERS_ENTRY_SIZE + (size_t)producer->count * PRODUCERS_BATCH_SIZE;
}

static uint8_t *entry_write(const struct producer *producer, uint8_t *to)
{
    store_le64(to, (uint64_t)producer->id);
    store_le64(to + 8, (uint64_t)producer->active_ms);
    store_le32(to + 16, (uint32_t)producer->next_sequence);
    store_le16(to + 20, (uint16_t)producer->epoch);
    to[22] = producer->count;
    to[23] = 0;
    to += PRODUCERS_ENTRY_SIZE;
    for (uint32_t i = 0; i < producer->count; i++, to += PRODUCERS_BATCH_SIZE) {
        uint32_t at = producer->newest + PRODUCERS_BATCHES + 1U + i - producer->count;
        const struct producer_batch *batch = &producer->batches[at % PRODUCERS_BATCHES];
        store_le32(to, (uint32_t)batch->first_sequence);
        store_le32(to + 4, (uint32_t)batch->last_sequence);
        store_le64(to + 8, (uint64_t)batch->last_offset);
        store_le64(to + 16, (uint64_t)batch->max_timestamp);
    }
    return to;
}

static void part_header_write(uint8_t *to, uint32_t flags, uint32_t count)
{
    to[0] = VERSION;
    to[1] = (uint8_t)flags;
    store_le16(to + 2, 0);
    store_le32(to + 4, count);
}

// The next producer at or behind `node` that is known; NULL at the end.
static const struct producer *known_from(const struct producers *producers, struct list *node)
{
    for (; node != &producers->active; node = node->next) {
        const struct producer *producer = list_entry(node, struct producer, node);
        if (producer->known)
            return producer;
    }
    return NULL;
}

static const struct producer *known_first(const struct producers *producers)
{
    return producers->map.count > 0 ? known_from(producers, producers->active.next) : NULL;
}

static int write_parts(const struct producers *producers, uint8_t *buffer, size_t part_max,
                       int (*each)(void *context, struct span part), void *context)
{
    const struct producer *producer = known_first(producers);
    for (uint32_t flags = PART_FIRST; producer; flags = 0) {
        uint8_t *to = buffer + PRODUCERS_PART_HEADER_SIZE;
        uint32_t count = 0;
        for (; producer && (size_t)(to - buffer) + entry_size(producer) <= part_max; count++) {
            to = entry_write(producer, to);
            producer = known_from(producers, producer->node.next);
        }
        CHECK(count > 0);
        part_header_write(buffer, flags | (producer ? 0 : PART_LAST), count);
        int result = each(context, span_of(buffer, (size_t)(to - buffer)));
        if (result)
            return result;
    }
    return 0;
}

static size_t total_size(const struct producers *producers)
{
    size_t size = PRODUCERS_PART_HEADER_SIZE;
    const struct producer *producer = known_first(producers);
    for (; producer; producer = known_from(producers, producer->node.next))
        size += entry_size(producer);
    return size;
}

static int write_all(const struct producers *producers, size_t part_max,
                     int (*each)(void *context, struct span part), void *context)
{
    if (!known_first(producers))
        return 0;
    size_t size = total_size(producers);
    size = size < part_max ? size : part_max;
    uint8_t *buffer = malloc(size);
    if (!buffer)
        return -ENOMEM;
    int result = write_parts(producers, buffer, size, each, context);
    free(buffer);
    return result;
}

int producers_snapshot_write(struct producers *producers, enum producers_view view, size_t part_max,
                             int (*each)(void *context, struct span part), void *context)
{
    CHECK(part_max >= PRODUCERS_PART_HEADER_SIZE + PRODUCERS_ENTRY_MAX);
    if (view == PRODUCERS_COMMITTED)
        producers_rewind(producers);
    int result = write_all(producers, part_max, each, context);
    if (view == PRODUCERS_COMMITTED)
        producers_replay(producers);
    return result;
}

struct image {
    uint8_t *bytes;
    size_t size;
};

static int image_keep(void *context, struct span part)
{
    struct image *image = context;
    image->bytes = malloc(part.size);
    if (!image->bytes)
        return -ENOMEM;
    memcpy(image->bytes, part.data, part.size);
    image->size = part.size;
    return 0;
}

int producers_snapshot_image(struct producers *producers, enum producers_view view, uint8_t **out,
                             size_t *size)
{
    struct image image = {0};
    int error = producers_snapshot_write(producers, view, SIZE_MAX, image_keep, &image);
    *out = image.bytes;
    *size = image.size;
    return error;
}

// --- reading

static bool batch_read(struct producer_batch *batch, const uint8_t *from, int64_t above)
{
    *batch = (struct producer_batch){
        .first_sequence = (int32_t)load_le32(from),
        .last_sequence = (int32_t)load_le32(from + 4),
        .last_offset = (int64_t)load_le64(from + 8),
        .max_timestamp = (int64_t)load_le64(from + 16),
    };
    int64_t delta = ((int64_t)batch->last_sequence - batch->first_sequence) & INT32_MAX;
    return batch->first_sequence >= 0 && batch->last_sequence >= 0 && batch->last_offset >= 0 &&
           batch->last_offset < INT64_MAX && batch->last_offset - delta > above;
}

// The bytes that the entry takes, or 0 when it is not one.
static size_t entry_read(struct producer *producer, const uint8_t *from, size_t left,
                         int64_t now_ms)
{
    producer->active_ms = (int64_t)load_le64(from + 8);
    if (producer->active_ms > now_ms)
        producer->active_ms = now_ms;
    if (producer->active_ms < 0)
        producer->active_ms = 0;
    producer->next_sequence = (int32_t)load_le32(from + 16);
    producer->epoch = (int16_t)load_le16(from + 20);
    producer->count = from[22];
    producer->newest = (uint8_t)((producer->count + PRODUCERS_BATCHES - 1U) % PRODUCERS_BATCHES);
    producer->known = true;
    if (producer->epoch < 0 || producer->next_sequence < 0 || producer->count > PRODUCERS_BATCHES ||
        from[23] != 0 || left < entry_size(producer))
        return 0;
    int64_t above = -1;
    for (uint32_t i = 0; i < producer->count; i++) {
        const uint8_t *at = from + PRODUCERS_ENTRY_SIZE + (size_t)i * PRODUCERS_BATCH_SIZE;
        if (!batch_read(&producer->batches[i], at, above))
            return 0;
        above = producer->batches[i].last_offset;
    }
    return entry_size(producer);
}

static int part_read(struct producers *producers, struct span part, int64_t now_ms)
{
    const uint8_t *at = part.data + PRODUCERS_PART_HEADER_SIZE;
    size_t left = part.size - PRODUCERS_PART_HEADER_SIZE;
    for (uint32_t count = load_le32(part.data + 4); count > 0; count--) {
        if (left < PRODUCERS_ENTRY_SIZE || producers_count(producers) == PRODUCERS_MAX)
            return -EBADMSG;
        int64_t id = (int64_t)load_le64(at);
        if (id < 0 || map_get(&producers->map, span_of(&id, sizeof(id))))
            return -EBADMSG;
        struct producer *producer = producers_add(producers, id);
        if (!producer)
            return -ENOMEM;
        size_t size = entry_read(producer, at, left, now_ms);
        if (size == 0)
            return -EBADMSG;
        at += size;
        left -= size;
    }
    return left == 0 ? 0 : -EBADMSG;
}

void producers_snapshot_give_up(struct producers *producers)
{
    if (!producers->incoming)
        return;
    producers_free(producers->incoming);
    free(producers->incoming);
    producers->incoming = NULL;
}

static int part_begin(struct producers *producers, struct span part)
{
    if (part.size < PRODUCERS_PART_HEADER_SIZE || part.data[0] != VERSION ||
        (part.data[1] & ~(PART_FIRST | PART_LAST)) != 0 || load_le16(part.data + 2) != 0)
        return -EBADMSG;
    if (!(part.data[1] & PART_FIRST))
        return producers->incoming ? 0 : -EBADMSG;
    producers_snapshot_give_up(producers);
    producers->incoming = calloc(1, sizeof(*producers->incoming));
    return producers->incoming ? 0 : -ENOMEM;
}

// The list's head moves along, so its neighbours have to learn the new address.
static void take_incoming(struct producers *producers)
{
    struct producers *incoming = producers->incoming;
    producers->incoming = NULL;
    producers_free(producers);
    producers->map = incoming->map;
    if (producers->map.count > 0) {
        list_init(&producers->active);
        list_splice(&producers->active, &incoming->active);
    }
    free(incoming);
}

int producers_snapshot_load(struct producers *producers, struct span part, int64_t now_ms)
{
    CHECK(producers->undo_count == 0);
    int error = part_begin(producers, part);
    if (!error)
        error = part_read(producers->incoming, part, now_ms);
    if (error)
        producers_snapshot_give_up(producers);
    else if (part.data[1] & PART_LAST)
        take_incoming(producers);
    return error;
}
