// SPDX-License-Identifier: Apache-2.0
// The same records in another compression, for topics that want one.
//
// 1. Everything in the header stays, but the codec, the length and the CRC.
// 2. The records' bytes are not looked into.
// 3. Any bytes are safe; a batch that does not inflate gives an error.
#include <string.h>

#include "protocol/compress.h"
#include "protocol/record_batch_layout.h"

static enum batch_error write_records(enum batch_codec codec, struct span records, uint8_t *to,
                                      size_t *size)
{
    if (codec != CODEC_NONE)
        return compress_deflate(codec, 0, records, NULL, to, size);
    memcpy(to, records.data, records.size);
    *size = records.size;
    return BATCH_OK;
}

enum batch_error batch_recode(struct span batch, enum batch_codec codec, size_t limit,
                              struct arena *inflated, struct arena *arena, struct span *out)
{
    struct batch_reader reader;
    enum batch_error error = batch_reader_init(&reader, batch, inflated, limit);
    if (error)
        return error;
    struct span records = span_of(reader.at, (size_t)(reader.end - reader.at));
    size_t bound = codec == CODEC_NONE ? records.size : compress_bound(codec, records.size);
    if (bound == 0)
        return BATCH_TOO_LARGE;
    uint8_t *bytes = arena_raw(arena, BATCH_HEADER_SIZE + bound);
    if (!bytes)
        return BATCH_NO_MEMORY;
    size_t size;
    error = write_records(codec, records, bytes + BATCH_HEADER_SIZE, &size);
    if (error)
        return error;
    size += BATCH_HEADER_SIZE;
    bytes = arena_resize(arena, bytes, BATCH_HEADER_SIZE + bound, size);
    if (!bytes)
        return BATCH_NO_MEMORY;
    memcpy(bytes, batch.data, BATCH_HEADER_SIZE);
    uint16_t attributes = load_be16(batch.data + AT_ATTRIBUTES);
    store_be16(bytes + AT_ATTRIBUTES,
               (uint16_t)((attributes & ~(unsigned)BATCH_CODEC_MASK) | codec));
    store_be32(bytes + AT_LENGTH, (uint32_t)(size - BATCH_LENGTH_OVERHEAD));
    batch_write_crc(bytes, size);
    *out = span_of(bytes, size);
    return BATCH_OK;
}
