// SPDX-License-Identifier: Apache-2.0
// Invariant: between them the two halves have every message once, in order, with the numbers that
// the broker was offered them under; so to a broker that waits for these numbers nothing is
// missing.
#include "clients/c/batch_split.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

// A record's headers, in `arena`. NULL when memory is short.
static struct record_header *headers_read(const struct record *record, struct arena *arena)
{
    struct record_header *headers =
        arena_array(arena, (size_t)record->header_count + 1, sizeof(*headers));
    size_t at = 0;
    for (int32_t i = 0; headers && i < record->header_count; i++) {
        if (record_header_next(record, &at, &headers[i]) != 1)
            return NULL;
    }
    return headers;
}

// Deals the records of `batch` out: the first `count` go to `first`, the others to `second`.
static bool records_deal(struct batch *batch, int32_t count, struct batch_builder *first,
                         struct batch_builder *second)
{
    struct batch_scratch unused = {0};
    struct batch_reader reader;
    struct record record;
    struct arena arena;
    struct span bytes;
    if (batch_builder_finish(&batch->builder, CODEC_NONE, 0, batch->producer, &unused, &bytes) ||
        batch_reader_init(&reader, bytes, NULL, 0))
        return false;
    arena_init(&arena, SIZE_MAX / 2);
    bool sound = true;
    for (int32_t i = 0; sound && batch_reader_next(&reader, &record) == 1; i++) {
        struct record_header *headers = headers_read(&record, &arena);
        sound =
            headers && batch_builder_add(i < count ? first : second, record.timestamp, record.key,
                                         record.value, headers, record.header_count) == BATCH_OK;
        arena_reset(&arena);
    }
    arena_free(&arena);
    return sound && first->count == count && first->count + second->count == batch->count;
}

// The messages behind the first `count` have come into `second`; everything else goes along.
static bool tail_move(struct batch *batch, int32_t count, struct batch *second)
{
    int32_t rest = batch->count - count;
    if (batch->opaque_capacity >= (uint32_t)batch->count) {
        second->opaques = calloc((size_t)rest, sizeof(*second->opaques));
        if (!second->opaques)
            return false;
        second->opaque_capacity = (uint32_t)rest;
        memcpy(second->opaques, batch->opaques + count, (size_t)rest * sizeof(*batch->opaques));
    }
    second->queue = batch->queue;
    second->count = rest;
    second->charge = batch->charge / (size_t)batch->count * (size_t)rest;
    second->created_ns = batch->created_ns;
    second->attempts = batch->attempts;
    second->producer = batch->producer;
    if (second->producer.id >= 0)
        second->producer.base_sequence =
            (int32_t)(((int64_t)batch->producer.base_sequence + count) & INT32_MAX);
    second->base_offset = second->append_time = -1;
    second->places = batch->places / 2;
    second->sequence = batch->sequence + second->places;
    return true;
}

struct batch *batch_split(struct batch *batch)
{
    int32_t count = batch->count / 2;
    struct batch *second = count > 0 && batch->places > 1 ? batch_new() : NULL;
    if (!second)
        return NULL;
    struct batch_builder first;
    batch_builder_init(&first, batch->builder.limit);
    second->builder.limit = batch->builder.limit;
    first.contexts = second->builder.contexts = batch->builder.contexts;
    if (!records_deal(batch, count, &first, &second->builder) || !tail_move(batch, count, second)) {
        batch_builder_free(&first);
        batch_free(second);
        return NULL;
    }
    batch_builder_free(&batch->builder);
    batch->builder = first;
    batch->slice.iov_base = NULL;
    batch->count = count;
    batch->charge -= second->charge;
    batch->places /= 2;
    return second;
}
