// SPDX-License-Identifier: Apache-2.0
// What reading and building record batches share: where the header's fields are.
// For record_batch.c and record_batch_builder.c only.
#pragma once

#include "base/crc32c.h"
#include "base/endian.h"
#include "protocol/record_batch.h"

enum {
    // Places in the header.
    AT_BASE_OFFSET = 0,
    AT_LENGTH = 8,
    AT_LEADER_EPOCH = 12,
    AT_MAGIC = 16,
    AT_CRC = 17,
    AT_ATTRIBUTES = 21, // the CRC covers everything from here
    AT_LAST_OFFSET_DELTA = 23,
    AT_BASE_TIMESTAMP = 27,
    AT_MAX_TIMESTAMP = 35,
    AT_PRODUCER_ID = 43,
    AT_PRODUCER_EPOCH = 51,
    AT_BASE_SEQUENCE = 53,
    AT_RECORD_COUNT = 57,

    BATCH_MAGIC = 2,
    VARINT_MAX = 5, // bytes
    VARLONG_MAX = 10,
};

static inline void batch_write_crc(uint8_t *batch, size_t size)
{
    store_be32(batch + AT_CRC, crc32c(0, batch + AT_ATTRIBUTES, size - AT_ATTRIBUTES));
}

// Zig-zag: small numbers of either sign have few bits.
static inline uint64_t batch_zigzag(int64_t value)
{
    return (uint64_t)value << 1 ^ (uint64_t)(value >> 63);
}

static inline uint8_t *batch_write_varint(uint8_t *to, int64_t value)
{
    uint64_t raw = batch_zigzag(value);
    while (raw >= 0x80) {
        *to++ = (uint8_t)(raw | 0x80);
        raw >>= 7;
    }
    *to++ = (uint8_t)raw;
    return to;
}

static inline size_t batch_varint_size(int64_t value)
{
    unsigned bits = 64 - (unsigned)__builtin_clzll(batch_zigzag(value) | 1);
    return (bits + 6) / 7;
}
