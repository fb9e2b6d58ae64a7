// SPDX-License-Identifier: Apache-2.0
// Reads protocol values from bytes a peer sent. The first fault sticks: every later read returns
// zero or an absent span, so callers check once per array element and once at the end.
#pragma once

#include "base/arena.h"
#include "base/endian.h"
#include "protocol/types.h"

struct kp_reader {
    const uint8_t *at; // equal to `end` once the reader has failed
    const uint8_t *end;
    bool failed;
};

static inline struct kp_reader kp_reader_init(const void *data, size_t size)
{
    const uint8_t *at = data;
    return (struct kp_reader){.at = at, .end = size ? at + size : at};
}

static inline size_t kp_reader_left(const struct kp_reader *r)
{
    return (size_t)(r->end - r->at);
}

// Marks the reader as failed and leaves it without bytes.
void kp_reader_fail(struct kp_reader *r);

// The next `size` bytes, or NULL and a failed reader when fewer remain.
static inline const uint8_t *kp_reader_take(struct kp_reader *r, size_t size)
{
    if (__builtin_expect(kp_reader_left(r) < size, 0)) {
        kp_reader_fail(r);
        return NULL;
    }
    const uint8_t *at = r->at;
    r->at += size;
    return at;
}

static inline int8_t kp_read_i8(struct kp_reader *r)
{
    const uint8_t *at = kp_reader_take(r, 1);
    return at ? (int8_t)*at : 0;
}

static inline uint16_t kp_read_u16(struct kp_reader *r)
{
    const uint8_t *at = kp_reader_take(r, 2);
    return at ? load_be16(at) : 0;
}

static inline int16_t kp_read_i16(struct kp_reader *r)
{
    return (int16_t)kp_read_u16(r);
}

static inline int32_t kp_read_i32(struct kp_reader *r)
{
    const uint8_t *at = kp_reader_take(r, 4);
    return at ? (int32_t)load_be32(at) : 0;
}

static inline int64_t kp_read_i64(struct kp_reader *r)
{
    const uint8_t *at = kp_reader_take(r, 8);
    return at ? (int64_t)load_be64(at) : 0;
}

static inline bool kp_read_bool(struct kp_reader *r)
{
    return kp_read_i8(r) != 0;
}

double kp_read_f64(struct kp_reader *r);
struct kp_uuid kp_read_uuid(struct kp_reader *r);

// Varints of more bytes than the type needs (5, 5, 10) or with bits beyond it are faults.
uint32_t kp_read_uvarint(struct kp_reader *r); // unsigned, as flexible messages use
int32_t kp_read_varint(struct kp_reader *r);   // zig-zag, as records use
int64_t kp_read_varlong(struct kp_reader *r);

// `compact` chooses the flexible form. A null where `nullable` is false is a fault, and so is a
// string of more than 32767 bytes.
struct span kp_read_string(struct kp_reader *r, bool compact, bool nullable);
struct span kp_read_bytes(struct kp_reader *r, bool compact, bool nullable);
// Null is always possible here: out->size is -1 then.
void kp_read_records(struct kp_reader *r, bool compact, struct kp_records *out);

// An array's length; -1 for null. More elements than could fit in the bytes that remain, at
// `element_min` (at least 1) bytes each, is a fault.
int32_t kp_read_count(struct kp_reader *r, bool compact, bool nullable, size_t element_min);

// Zeroed memory for an array of `count` elements of `size` bytes, as kp_read_count returned it.
// NULL when there are none, or when the arena is exhausted: the reader has failed then.
void *kp_read_elements(struct kp_reader *r, struct arena *arena, int32_t count, size_t size);

// Whether a nullable struct follows. Anything but its two marks (-1 and 1) is a fault.
bool kp_read_present(struct kp_reader *r);

// The next tagged field: sets *tag and returns a reader for its bytes alone, which `r` has passed.
struct kp_reader kp_read_tag(struct kp_reader *r, uint32_t *tag);
// Ends a tagged field: bytes left over or a failed `field` fail `r`.
void kp_read_tag_done(struct kp_reader *r, const struct kp_reader *field);

// Skips a whole tagged-field section (for messages that know no tags).
void kp_skip_tags(struct kp_reader *r);
// Skips `size` bytes.
void kp_skip(struct kp_reader *r, size_t size);
