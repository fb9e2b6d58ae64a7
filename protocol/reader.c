// SPDX-License-Identifier: Apache-2.0
// Decoding of single protocol values. Owns nothing: spans point into the caller's bytes.
//
// Invariants:
// 1. at <= end, and nothing before the first `at` or from `end` on is ever read.
// 2. Once failed, at == end: no later read can succeed, so a caller may check late.
// 3. No length or count is believed before it was compared with the bytes that remain.
#include "protocol/reader.h"

enum { STRING_MAX = INT16_MAX };

void kp_reader_fail(struct kp_reader *r)
{
    r->failed = true;
    r->at = r->end;
}

double kp_read_f64(struct kp_reader *r)
{
    int64_t bits = kp_read_i64(r);
    double value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

struct kp_uuid kp_read_uuid(struct kp_reader *r)
{
    struct kp_uuid id = {{0}};
    const uint8_t *at = kp_reader_take(r, sizeof(id.bytes));
    if (at)
        memcpy(id.bytes, at, sizeof(id.bytes));
    return id;
}

// Reads 7 bits per byte, lowest first, for a type of `bits` bits.
static uint64_t read_uvar(struct kp_reader *r, unsigned bits)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < bits; shift += 7) {
        const uint8_t *at = kp_reader_take(r, 1);
        if (!at)
            return 0;
        uint64_t part = *at & 0x7fu;
        if (shift + 7 > bits && (part >> (bits - shift)) != 0)
            break;
        value |= part << shift;
        if (!(*at & 0x80u))
            return value;
    }
    kp_reader_fail(r);
    return 0;
}

uint32_t kp_read_uvarint(struct kp_reader *r)
{
    if (r->at < r->end && *r->at < 0x80u)
        return *r->at++;
    return (uint32_t)read_uvar(r, 32);
}

int32_t kp_read_varint(struct kp_reader *r)
{
    uint32_t value = kp_read_uvarint(r);
    return (int32_t)((value >> 1) ^ (0u - (value & 1u)));
}

int64_t kp_read_varlong(struct kp_reader *r)
{
    uint64_t value = read_uvar(r, 64);
    return (int64_t)((value >> 1) ^ (0u - (value & 1u)));
}

// The two forms of a length differ only in their width and in what stands for null. Returns -1 for
// a null that is allowed; a fault gives 0 and a failed reader.
static int64_t check_length(struct kp_reader *r, int64_t length, bool nullable)
{
    if (length >= 0 && (uint64_t)length <= kp_reader_left(r))
        return length;
    if (length == -1 && nullable && !r->failed)
        return -1;
    kp_reader_fail(r);
    return 0;
}

static struct span take_span(struct kp_reader *r, int64_t length)
{
    if (length < 0 || r->failed)
        return (struct span){0};
    return span_of(kp_reader_take(r, (size_t)length), (size_t)length);
}

struct span kp_read_string(struct kp_reader *r, bool compact, bool nullable)
{
    int64_t length = compact ? (int64_t)kp_read_uvarint(r) - 1 : kp_read_i16(r);
    if (length > STRING_MAX)
        kp_reader_fail(r);
    return take_span(r, check_length(r, length, nullable));
}

struct span kp_read_bytes(struct kp_reader *r, bool compact, bool nullable)
{
    int64_t length = compact ? (int64_t)kp_read_uvarint(r) - 1 : kp_read_i32(r);
    return take_span(r, check_length(r, length, nullable));
}

void kp_read_records(struct kp_reader *r, bool compact, struct kp_records *out)
{
    struct span bytes = kp_read_bytes(r, compact, true);
    *out = (struct kp_records){.size = -1};
    if (!bytes.data)
        return;
    // An iovec serves reading and writing alike and has no const; these bytes are only read.
    out->one.iov_base = (void *)(uintptr_t)bytes.data;
    out->one.iov_len = bytes.size;
    out->slices = &out->one;
    out->slice_count = 1;
    out->size = (int64_t)bytes.size;
}

int32_t kp_read_count(struct kp_reader *r, bool compact, bool nullable, size_t element_min)
{
    int64_t count = compact ? (int64_t)kp_read_uvarint(r) - 1 : kp_read_i32(r);
    if (count == -1 && nullable && !r->failed)
        return -1;
    if (count >= 0 && (uint64_t)count <= kp_reader_left(r) / element_min && count <= INT32_MAX)
        return (int32_t)count;
    kp_reader_fail(r);
    return 0;
}

void *kp_read_elements(struct kp_reader *r, struct arena *arena, int32_t count, size_t size)
{
    if (count <= 0 || r->failed)
        return NULL;
    void *memory = arena_array(arena, (size_t)count, size);
    if (!memory)
        kp_reader_fail(r);
    return memory;
}

bool kp_read_present(struct kp_reader *r)
{
    int8_t mark = kp_read_i8(r);
    if (r->failed || mark == -1)
        return false;
    if (mark == 1)
        return true;
    kp_reader_fail(r);
    return false;
}

struct kp_reader kp_read_tag(struct kp_reader *r, uint32_t *tag)
{
    *tag = kp_read_uvarint(r);
    size_t size = kp_read_uvarint(r);
    const uint8_t *at = kp_reader_take(r, size);
    if (!at)
        return (struct kp_reader){.at = r->end, .end = r->end, .failed = true};
    return kp_reader_init(at, size);
}

void kp_read_tag_done(struct kp_reader *r, const struct kp_reader *field)
{
    if (field->failed || field->at != field->end)
        kp_reader_fail(r);
}

void kp_skip_tags(struct kp_reader *r)
{
    uint32_t count = kp_read_uvarint(r);
    for (uint32_t i = 0; i < count && !r->failed; i++) {
        uint32_t tag;
        kp_read_tag(r, &tag);
    }
}

void kp_skip(struct kp_reader *r, size_t size)
{
    kp_reader_take(r, size);
}
