// SPDX-License-Identifier: Apache-2.0
// Writes protocol values into memory of an arena. The first fault (the arena's limit, a value that
// does not fit its field) sticks; check `failed` at the end.
//
// Records are not copied: the writer keeps a mark that says where they belong, and the sender puts
// the slices there (kp_writer_vectors). The slices must stay valid until they are sent.
#pragma once

#include "base/arena.h"
#include "protocol/types.h"

struct kp_splice {
    size_t at; // the slices go before this byte of `data`
    const struct iovec *slices;
    uint32_t slice_count;
};

struct kp_writer {
    struct arena *arena;
    uint8_t *data;
    size_t size;     // bytes in `data`
    size_t capacity;
    size_t spliced;  // bytes in all slices
    struct kp_splice *splices;
    uint32_t splice_count;
    uint32_t splice_capacity;
    bool failed;
};

void kp_writer_init(struct kp_writer *w, struct arena *arena);

void kp_write_i8(struct kp_writer *w, int8_t value);
void kp_write_i16(struct kp_writer *w, int16_t value);
void kp_write_u16(struct kp_writer *w, uint16_t value);
void kp_write_i32(struct kp_writer *w, int32_t value);
void kp_write_i64(struct kp_writer *w, int64_t value);
void kp_write_f64(struct kp_writer *w, double value);
void kp_write_bool(struct kp_writer *w, bool value);
void kp_write_uvarint(struct kp_writer *w, uint32_t value);
void kp_write_varint(struct kp_writer *w, int32_t value);
void kp_write_varlong(struct kp_writer *w, int64_t value);
void kp_write_uuid(struct kp_writer *w, struct kp_uuid value);
void kp_write_raw(struct kp_writer *w, const void *data, size_t size);

void kp_write_string(struct kp_writer *w, bool compact, bool nullable, struct span value);
void kp_write_bytes(struct kp_writer *w, bool compact, bool nullable, struct span value);
void kp_write_records(struct kp_writer *w, bool compact, const struct kp_records *value);
void kp_write_count(struct kp_writer *w, bool compact, bool nullable, int32_t count);

// Room for a value known only later; returns its position for kp_patch_i32.
size_t kp_reserve_i32(struct kp_writer *w);
void kp_patch_i32(struct kp_writer *w, size_t at, int32_t value);

// Total bytes, slices included.
static inline size_t kp_writer_total(const struct kp_writer *w)
{
    return w->size + w->spliced;
}

// The whole output as vectors, own bytes and slices in their order, allocated from the arena.
// Returns the number of vectors, or -1 when the arena is exhausted or the writer has failed.
int kp_writer_vectors(const struct kp_writer *w, struct iovec **out);
