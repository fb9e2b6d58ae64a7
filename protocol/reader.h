// SPDX-License-Identifier: Apache-2.0
// Reads protocol values from bytes a peer sent. The first fault sticks: every later read returns
// zero or an absent span, so callers check once per array element and once at the end.
#pragma once

#include "protocol/types.h"

struct kp_reader {
    const uint8_t *at;
    const uint8_t *end;
    bool failed;
};

struct kp_reader kp_reader_init(const void *data, size_t size);
static inline size_t kp_reader_left(const struct kp_reader *r)
{
    return (size_t)(r->end - r->at);
}

int8_t kp_read_i8(struct kp_reader *r);
int16_t kp_read_i16(struct kp_reader *r);
uint16_t kp_read_u16(struct kp_reader *r);
int32_t kp_read_i32(struct kp_reader *r);
int64_t kp_read_i64(struct kp_reader *r);
double kp_read_f64(struct kp_reader *r);
bool kp_read_bool(struct kp_reader *r);
uint32_t kp_read_uvarint(struct kp_reader *r); // unsigned, as flexible messages use
int32_t kp_read_varint(struct kp_reader *r);   // zig-zag, as records use
int64_t kp_read_varlong(struct kp_reader *r);
struct kp_uuid kp_read_uuid(struct kp_reader *r);

// `compact` chooses the flexible form. A null where `nullable` is false is a fault.
struct span kp_read_string(struct kp_reader *r, bool compact, bool nullable);
struct span kp_read_bytes(struct kp_reader *r, bool compact, bool nullable);
void kp_read_records(struct kp_reader *r, bool compact, struct kp_records *out);

// An array's length; -1 for null. More elements than could fit in the bytes that remain, at
// `element_min` bytes each, is a fault.
int32_t kp_read_count(struct kp_reader *r, bool compact, bool nullable, size_t element_min);

// Skips a whole tagged-field section (for messages that know no tags).
void kp_skip_tags(struct kp_reader *r);
// Skips `size` bytes.
void kp_skip(struct kp_reader *r, size_t size);
