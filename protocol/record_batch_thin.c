// SPDX-License-Identifier: Apache-2.0
// Taking records out of batches that are stored.
//
// 1. Offsets never change: base offset, last offset delta and every record's own delta stay, and so
//    do leader epoch, producer fields, timestamp type and codec.
// 2. The bytes of a record that stays are copied as they are, unless the base timestamp changes:
//    then its timestamp delta does, too, so that its timestamp stays.
// 3. The maximum timestamp becomes that of the records that stay; under LogAppendTime it is the
//    batch's own.
// 4. Any bytes are safe; a batch that does not parse gives an error and is left alone.
#include <stdlib.h>

#include "protocol/compress.h"
#include "protocol/record_batch.h"
#include "protocol/record_batch_layout.h"

// What a first walk over the records has found out.
struct verdict {
    uint8_t *stays; // a bit per record
    int32_t kept;
    bool tombstones; // among them
    int64_t max_timestamp;
    int64_t base_timestamp; // as it will be
    bool rebased;
};

void batch_thinner_free(struct batch_thinner *thinner)
{
    free(thinner->records.data);
    free(thinner->deflated.data);
    thinner->records = thinner->deflated = (struct batch_scratch){0};
}

static enum batch_error scratch_reserve(struct batch_scratch *scratch, size_t size)
{
    if (scratch->capacity >= size)
        return BATCH_OK;
    uint8_t *data = realloc(scratch->data, size);
    if (!data)
        return BATCH_NO_MEMORY;
    scratch->data = data;
    scratch->capacity = size;
    return BATCH_OK;
}

static enum batch_error judge(struct batch_thinner *thinner, struct batch_reader reader,
                              struct verdict *verdict)
{
    const struct batch_header *header = &reader.header;
    struct record record;
    int got;
    for (size_t i = 0; (got = batch_reader_next(&reader, &record)) == 1; i++) {
        if (!thinner->keeps(thinner->context, &reader.header, &record))
            continue;
        verdict->stays[i / 8] |= (uint8_t)(1u << i % 8);
        if (verdict->kept++ == 0 || verdict->max_timestamp < record.timestamp)
            verdict->max_timestamp = record.timestamp;
        if (!record.value.data)
            verdict->tombstones = true;
    }
    verdict->base_timestamp = header->base_timestamp;
    verdict->rebased = verdict->tombstones && thinner->delete_horizon_ms >= 0 &&
                       !(header->attributes & BATCH_DELETE_HORIZON);
    if (verdict->rebased)
        verdict->base_timestamp = thinner->delete_horizon_ms;
    return (enum batch_error)got;
}

// Copies a record whose bytes are from `at` to `end`, with another timestamp delta.
static uint8_t *write_rebased(uint8_t *to, const uint8_t *at, const uint8_t *end, int64_t old_base,
                              int64_t new_base)
{
    while (*at++ & 0x80) // its length
        continue;
    uint8_t attributes = *at++;
    uint64_t raw = 0;
    for (unsigned shift = 0;; shift += 7) {
        raw |= (uint64_t)(*at & 0x7f) << shift;
        if (!(*at++ & 0x80))
            break;
    }
    uint64_t delta = (raw >> 1 ^ -(raw & 1)) + (uint64_t)old_base - (uint64_t)new_base;
    size_t rest = (size_t)(end - at);
    to = batch_write_varint(to, (int64_t)(1 + batch_varint_size((int64_t)delta) + rest));
    *to++ = attributes;
    to = batch_write_varint(to, (int64_t)delta);
    memcpy(to, at, rest);
    return to + rest;
}

// Writes the records that stay behind room for a header. Returns their end.
static uint8_t *write_records(uint8_t *to, struct batch_reader reader,
                              const struct verdict *verdict)
{
    struct record record;
    for (size_t i = 0;; i++) {
        const uint8_t *at = reader.at;
        if (batch_reader_next(&reader, &record) != 1)
            return to;
        if (!(verdict->stays[i / 8] >> i % 8 & 1))
            continue;
        if (verdict->rebased) {
            to = write_rebased(to, at, reader.at, reader.header.base_timestamp,
                               verdict->base_timestamp);
        } else {
            memcpy(to, at, (size_t)(reader.at - at));
            to += reader.at - at;
        }
    }
}

// Compresses `records`, which are behind room for a header.
static enum batch_error deflate(struct batch_thinner *thinner, enum batch_codec codec,
                                struct span records, struct span *out)
{
    size_t bound = compress_bound(codec, records.size);
    if (bound == 0)
        return BATCH_TOO_LARGE;
    enum batch_error error = scratch_reserve(&thinner->deflated, BATCH_HEADER_SIZE + bound);
    size_t size = 0;
    if (!error)
        error = compress_deflate(codec, 0, records, thinner->contexts,
                                 thinner->deflated.data + BATCH_HEADER_SIZE, &size);
    *out = span_of(thinner->deflated.data, BATCH_HEADER_SIZE + size);
    return error;
}

static void write_header(uint8_t *to, size_t size, struct span batch, const struct verdict *verdict)
{
    uint16_t attributes = load_be16(batch.data + AT_ATTRIBUTES);
    memcpy(to, batch.data, BATCH_HEADER_SIZE);
    store_be32(to + AT_LENGTH, (uint32_t)(size - BATCH_LENGTH_OVERHEAD));
    if (verdict->rebased)
        attributes |= BATCH_DELETE_HORIZON;
    store_be16(to + AT_ATTRIBUTES, attributes);
    store_be64(to + AT_BASE_TIMESTAMP, (uint64_t)verdict->base_timestamp);
    if (!(attributes & BATCH_LOG_APPEND_TIME))
        store_be64(to + AT_MAX_TIMESTAMP, (uint64_t)verdict->max_timestamp);
    store_be32(to + AT_RECORD_COUNT, (uint32_t)verdict->kept);
    batch_write_crc(to, size);
}

static enum batch_error rewrite(struct batch_thinner *thinner, struct span batch,
                                const struct batch_reader *reader, const struct verdict *verdict,
                                struct span *out)
{
    enum batch_codec codec = (enum batch_codec)(reader->header.attributes & BATCH_CODEC_MASK);
    // A rebased record may need a longer delta, and for it a longer length.
    size_t each = verdict->rebased ? VARLONG_MAX + VARINT_MAX : 0;
    size_t bound =
        BATCH_HEADER_SIZE + (size_t)(reader->end - reader->at) + each * (size_t)verdict->kept;
    enum batch_error error = scratch_reserve(&thinner->records, bound);
    if (error)
        return error;
    uint8_t *records = thinner->records.data + BATCH_HEADER_SIZE;
    uint8_t *end = write_records(records, *reader, verdict);
    *out = span_of(thinner->records.data, (size_t)(end - thinner->records.data));
    if (codec != CODEC_NONE)
        error = deflate(thinner, codec, span_of(records, (size_t)(end - records)), out);
    if (!error && out->size > INT32_MAX)
        error = BATCH_TOO_LARGE;
    if (!error)
        write_header(codec == CODEC_NONE ? thinner->records.data : thinner->deflated.data,
                     out->size, batch, verdict);
    return error;
}

enum batch_error batch_thin(struct batch_thinner *thinner, struct span batch, struct span *out,
                            enum batch_thinned *how)
{
    struct batch_reader reader;
    struct verdict verdict = {0};
    arena_reset(thinner->arena);
    enum batch_error error = batch_reader_init_with(&reader, batch, thinner->arena,
                                                    thinner->inflate_limit, thinner->contexts);
    if (error)
        return error;
    verdict.stays = arena_alloc(thinner->arena, (size_t)reader.header.record_count / 8 + 1);
    if (!verdict.stays)
        return BATCH_NO_MEMORY;
    error = judge(thinner, reader, &verdict);
    if (error)
        return error;
    *how = verdict.kept == 0 ? BATCH_EMPTIED : BATCH_REWRITTEN;
    if (verdict.kept == reader.header.record_count && !verdict.rebased && verdict.kept > 0)
        *how = BATCH_UNCHANGED;
    *out = batch;
    return *how == BATCH_REWRITTEN ? rewrite(thinner, batch, &reader, &verdict, out) : BATCH_OK;
}

void batch_write_emptied(struct span batch, uint8_t to[BATCH_HEADER_SIZE])
{
    uint16_t attributes = load_be16(batch.data + AT_ATTRIBUTES);
    memcpy(to, batch.data, BATCH_HEADER_SIZE);
    store_be32(to + AT_LENGTH, BATCH_HEADER_SIZE - BATCH_LENGTH_OVERHEAD);
    store_be16(to + AT_ATTRIBUTES,
               (uint16_t)(attributes & ~(unsigned)(BATCH_CODEC_MASK | BATCH_DELETE_HORIZON)));
    store_be64(to + AT_BASE_TIMESTAMP, UINT64_MAX);
    store_be32(to + AT_RECORD_COUNT, 0);
    batch_write_crc(to, BATCH_HEADER_SIZE);
}
