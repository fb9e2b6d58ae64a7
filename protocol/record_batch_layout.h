// SPDX-License-Identifier: Apache-2.0
// What reading and building record batches share: where the header's fields are, and varints.
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
    VARINT_MAX = 5,
    VARLONG_MAX = 10,
};

static inline void batch_write_crc(uint8_t *batch, size_t size)
{
    store_be32(batch + AT_CRC, crc32c(0, batch + AT_ATTRIBUTES, size - AT_ATTRIBUTES));
}

// ---- Varints -------------------------------------------------------------------------------

// Zig-zag: small numbers of either sign have few bits.
static inline uint64_t zigzag(int64_t value)
{
    return (uint64_t)value << 1 ^ (uint64_t)(value >> 63);
}

static inline int64_t unzigzag(uint64_t value)
{
    return (int64_t)(value >> 1 ^ (0 - (value & 1)));
}

// Near the end of the bytes, where eight cannot be loaded at once, and for the longest numbers.
static inline bool varint_read_bytewise(const uint8_t **at, const uint8_t *end, size_t longest,
                                        uint64_t *out)
{
    const uint8_t *from = *at;
    size_t left = (size_t)(end - from);
    if (longest > left)
        longest = left;
    uint64_t value = 0;
    for (size_t i = 0; i < longest; i++) {
        uint64_t byte = from[i];
        if (i == VARLONG_MAX - 1 && byte > 1)
            return false; // bit 64 and beyond
        value |= (byte & 0x7f) << (7 * i);
        if (byte < 0x80) {
            *at = from + i + 1;
            *out = value;
            return true;
        }
    }
    return false;
}

// Reads an unsigned varint of at most `longest` bytes and moves *at behind it; false when it does
// not end in time. One byte is the usual case. Up to eight are taken at once, without a branch on
// their number, which in real data changes from field to field.
static inline bool varint_read(const uint8_t **at, const uint8_t *end, size_t longest,
                               uint64_t *out)
{
    const uint8_t *from = *at;
    if (__builtin_expect(from < end && *from < 0x80, 1)) {
        *out = *from;
        *at = from + 1;
        return true;
    }
    if (end - from < 8)
        return varint_read_bytewise(at, end, longest, out);
    uint64_t value = load_le64(from);
    uint64_t last = ~value & 0x8080808080808080u; // the lowest bit marks the last byte
    if (last == 0)
        return varint_read_bytewise(at, end, longest, out);
    size_t size = (size_t)__builtin_ctzll(last) / 8 + 1;
    value &= last ^ (last - 1);
    // Closes the gaps of one bit between bytes, then of two between pairs, then of four.
    value = (value & 0x007f007f007f007fu) | (value & 0x7f007f007f007f00u) >> 1;
    value = (value & 0x00003fff00003fffu) | (value & 0x3fff00003fff0000u) >> 2;
    value = (value & 0x000000000fffffffu) | (value & 0x0fffffff00000000u) >> 4;
    *out = value;
    *at = from + size;
    return size <= longest;
}

static inline bool read_i32(const uint8_t **at, const uint8_t *end, int32_t *out)
{
    uint64_t raw;
    if (!varint_read(at, end, VARINT_MAX, &raw) || raw > UINT32_MAX)
        return false;
    *out = (int32_t)unzigzag(raw);
    return true;
}

static inline bool read_i64(const uint8_t **at, const uint8_t *end, int64_t *out)
{
    uint64_t raw;
    if (!varint_read(at, end, VARLONG_MAX, &raw))
        return false;
    *out = unzigzag(raw);
    return true;
}

// A length and so many bytes; -1 is null, which `nullable` may forbid.
static inline bool read_bytes(const uint8_t **at, const uint8_t *end, bool nullable,
                              struct span *out)
{
    int32_t size;
    if (!read_i32(at, end, &size))
        return false;
    *out = (struct span){0};
    if (size < 0)
        return nullable && size == -1;
    if (size > end - *at)
        return false;
    *out = span_of(*at, (size_t)size);
    *at += size;
    return true;
}

static inline uint8_t *write_varint(uint8_t *to, int64_t value)
{
    uint64_t raw = zigzag(value);
    while (raw >= 0x80) {
        *to++ = (uint8_t)(raw | 0x80);
        raw >>= 7;
    }
    *to++ = (uint8_t)raw;
    return to;
}

static inline size_t varint_size(int64_t value)
{
    unsigned bits = 64 - (unsigned)__builtin_clzll(zigzag(value) | 1);
    return (bits + 6) / 7;
}
