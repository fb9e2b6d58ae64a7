// SPDX-License-Identifier: Apache-2.0
// Building record batches.
//
// Invariants:
// 1. The first 61 bytes of the builder's memory are room for the header, so that finishing a plain
//    batch copies nothing.
// 2. size - 61 <= limit, and capacity <= limit + 61.
// 3. A call that fails leaves the records as they were.
#include <stdlib.h>

#include "protocol/compress.h"
#include "protocol/record_batch.h"
#include "protocol/record_batch_layout.h"

enum {
    RECORDS_MAX = INT32_MAX - BATCH_HEADER_SIZE, // so that the length field holds the batch
    CAPACITY_FIRST = 1024,
    CACHE_LINE = 64,
};

void batch_builder_init(struct batch_builder *builder, size_t limit)
{
    *builder = (struct batch_builder){.limit = limit < RECORDS_MAX ? limit : RECORDS_MAX};
    batch_builder_reset(builder);
}

void batch_builder_free(struct batch_builder *builder)
{
    free(builder->data);
    builder->data = NULL;
    builder->capacity = 0;
    batch_builder_reset(builder);
}

void batch_builder_reset(struct batch_builder *builder)
{
    builder->size = BATCH_HEADER_SIZE;
    builder->count = 0;
    builder->base_timestamp = builder->max_timestamp = -1;
}

// Sums stay far from overflow: spans of 2^31 bytes are cut down to that, which is beyond any limit.
static size_t bounded(struct span span)
{
    return span.size < INT32_MAX ? span.size : INT32_MAX;
}

size_t batch_record_bound(struct span key, struct span value, const struct record_header *headers,
                          int32_t header_count)
{
    size_t bound = VARINT_MAX + 1 + VARLONG_MAX + 4 * VARINT_MAX + bounded(key) + bounded(value);
    for (int32_t i = 0; i < header_count; i++)
        bound += 2 * VARINT_MAX + bounded(headers[i].key) + bounded(headers[i].value);
    return bound;
}

static size_t bytes_size(struct span span)
{
    return span.data ? batch_varint_size((int64_t)span.size) + bounded(span) : 1;
}

// The exact size of a record without its length field.
static size_t record_size(int64_t timestamp_delta, int32_t offset_delta,
                          const struct record *record, const struct record_header *headers)
{
    size_t size = 1 + batch_varint_size(timestamp_delta) + batch_varint_size(offset_delta) +
                  bytes_size(record->key) + bytes_size(record->value) +
                  batch_varint_size(record->header_count);
    for (int32_t i = 0; i < record->header_count; i++)
        size += batch_varint_size((int64_t)headers[i].key.size) + bounded(headers[i].key) +
                bytes_size(headers[i].value);
    return size;
}

static enum batch_error builder_reserve(struct batch_builder *builder, size_t size)
{
    size_t records = builder->size - BATCH_HEADER_SIZE;
    if (size > builder->limit || records > builder->limit - size)
        return BATCH_TOO_LARGE;
    size_t need = builder->size + size;
    if (need <= builder->capacity)
        return BATCH_OK;
    size_t capacity = builder->capacity ? builder->capacity : CAPACITY_FIRST;
    while (capacity < need)
        capacity *= 2;
    if (capacity > builder->limit + BATCH_HEADER_SIZE)
        capacity = builder->limit + BATCH_HEADER_SIZE;
    uint8_t *data = realloc(builder->data, capacity);
    if (!data)
        return BATCH_NO_MEMORY;
    builder->data = data;
    builder->capacity = capacity;
    return BATCH_OK;
}

static inline uint8_t *write_bytes(uint8_t *to, struct span span)
{
    to = batch_write_varint(to, span.data ? (int64_t)span.size : -1);
    if (span.size > 0)
        memcpy(to, span.data, span.size);
    return to + span.size;
}

static inline uint8_t *write_headers(uint8_t *to, const struct record_header *headers,
                                     int32_t count)
{
    to = batch_write_varint(to, count);
    for (int32_t i = 0; i < count; i++) {
        to = write_bytes(to, headers[i].key.data ? headers[i].key : span_of("", 0));
        to = write_bytes(to, headers[i].value);
    }
    return to;
}

// Sees to it that there is room for a record, and sets *length_size to the size of its length
// field. Both follow from what the record takes at least and at most, unless the batch is about to
// be full or a length lies near the border between two sizes: only then is it measured.
static enum batch_error record_reserve(struct batch_builder *builder, int64_t timestamp_delta,
                                       const struct record *record,
                                       const struct record_header *headers, size_t *length_size)
{
    size_t bound = batch_record_bound(record->key, record->value, headers, record->header_count);
    size_t least = record->key.size + record->value.size;
    size_t records = builder->size - BATCH_HEADER_SIZE;
    *length_size = batch_varint_size((int64_t)bound);
    if (bound <= builder->limit - records && builder->size + bound <= builder->capacity &&
        *length_size == batch_varint_size((int64_t)least))
        return BATCH_OK;
    size_t size = record_size(timestamp_delta, builder->count, record, headers);
    *length_size = batch_varint_size((int64_t)size);
    return builder_reserve(builder, size + *length_size);
}

enum batch_error batch_builder_add(struct batch_builder *builder, int64_t timestamp,
                                   struct span key, struct span value,
                                   const struct record_header *headers, int32_t header_count)
{
    if (builder->count == INT32_MAX)
        return BATCH_TOO_LARGE;
    bool first = builder->count == 0;
    int64_t base = first ? timestamp : builder->base_timestamp;
    int64_t timestamp_delta = (int64_t)((uint64_t)timestamp - (uint64_t)base);
    const struct record record = {.key = key, .value = value, .header_count = header_count};
    size_t length_size;
    enum batch_error error =
        record_reserve(builder, timestamp_delta, &record, headers, &length_size);
    if (error)
        return error;
    uint8_t *start = builder->data + builder->size + length_size;
    uint8_t *to = start;
    *to++ = 0; // attributes
    to = batch_write_varint(to, timestamp_delta);
    to = batch_write_varint(to, builder->count);
    to = write_bytes(to, key);
    to = write_bytes(to, value);
    to = write_headers(to, headers, header_count);
    batch_write_varint(builder->data + builder->size, to - start);
    builder->size = (size_t)(to - builder->data);
    // Where the next record goes is in no cache yet, and who fills many batches in turns would wait
    // for it: the processor foresees only one that is filled at a stretch.
    __builtin_prefetch(to + CACHE_LINE, 1);
    __builtin_prefetch(to + 2 * CACHE_LINE, 1);
    builder->count++;
    builder->base_timestamp = base;
    if (first || timestamp > builder->max_timestamp)
        builder->max_timestamp = timestamp;
    return BATCH_OK;
}

// Compresses the builder's records behind room for a header. *size is 0 when that saves nothing.
static enum batch_error compress_into(struct batch_scratch *scratch,
                                      const struct batch_builder *builder, enum batch_codec codec,
                                      int level, size_t *size)
{
    struct span records =
        span_of(builder->data + BATCH_HEADER_SIZE, builder->size - BATCH_HEADER_SIZE);
    size_t need = compress_bound(codec, records.size) + BATCH_HEADER_SIZE;
    if (scratch->capacity < need) {
        uint8_t *data = realloc(scratch->data, need);
        if (!data)
            return BATCH_NO_MEMORY;
        scratch->data = data;
        scratch->capacity = need;
    }
    size_t compressed;
    enum batch_error error = compress_deflate(codec, level, records, builder->contexts,
                                              scratch->data + BATCH_HEADER_SIZE, &compressed);
    *size = !error && compressed < records.size ? compressed + BATCH_HEADER_SIZE : 0;
    return error;
}

static void write_header(uint8_t *to, size_t size, const struct batch_builder *builder,
                         enum batch_codec codec, struct batch_producer producer)
{
    batch_assign(to, 0, -1);
    store_be32(to + AT_LENGTH, (uint32_t)(size - BATCH_LENGTH_OVERHEAD));
    to[AT_MAGIC] = BATCH_MAGIC;
    store_be16(to + AT_ATTRIBUTES, (uint16_t)codec);
    store_be32(to + AT_LAST_OFFSET_DELTA, (uint32_t)(builder->count - 1));
    store_be64(to + AT_BASE_TIMESTAMP, (uint64_t)builder->base_timestamp);
    store_be64(to + AT_MAX_TIMESTAMP, (uint64_t)builder->max_timestamp);
    store_be64(to + AT_PRODUCER_ID, (uint64_t)producer.id);
    store_be16(to + AT_PRODUCER_EPOCH, (uint16_t)producer.epoch);
    store_be32(to + AT_BASE_SEQUENCE, (uint32_t)producer.base_sequence);
    store_be32(to + AT_RECORD_COUNT, (uint32_t)builder->count);
    batch_write_crc(to, size);
}

enum batch_error batch_builder_finish(struct batch_builder *builder, enum batch_codec codec,
                                      int level, struct batch_producer producer,
                                      struct batch_scratch *scratch, struct span *out)
{
    if (builder->count == 0)
        return BATCH_BAD_COUNT;
    uint8_t *data = builder->data;
    size_t size = builder->size;
    if (codec != CODEC_NONE) {
        size_t compressed;
        enum batch_error error = compress_into(scratch, builder, codec, level, &compressed);
        if (error)
            return error;
        if (compressed > 0) {
            data = scratch->data;
            size = compressed;
        } else {
            codec = CODEC_NONE;
        }
    }
    write_header(data, size, builder, codec, producer);
    *out = span_of(data, size);
    return BATCH_OK;
}
