// SPDX-License-Identifier: Apache-2.0
// Writes protocol values into memory of an arena. The first fault (the arena's limit, a value that
// does not fit its field) sticks; check `failed` at the end.
//
// Records are not copied: the writer keeps a mark that says where they belong, and the sender puts
// the slices there (kp_writer_vectors). The slices must stay valid until they are sent.
#pragma once

#include "base/arena.h"
#include "base/endian.h"
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
    size_t capacity; // equal to `size` once the writer has failed
    size_t spliced;  // bytes in all slices
    struct kp_splice *splices;
    uint32_t splice_count;
    uint32_t splice_capacity;
    bool failed;
};

// Takes no memory before the first byte. The arena must outlive what was written.
void kp_writer_init(struct kp_writer *w, struct arena *arena);

// Marks the writer as failed; nothing more is written.
void kp_writer_fail(struct kp_writer *w);

// The slow part of kp_writer_take: grows first.
uint8_t *kp_writer_grow(struct kp_writer *w, size_t size);

// Room for `size` more bytes, counted as written; NULL when the writer has failed.
static inline uint8_t *kp_writer_take(struct kp_writer *w, size_t size)
{
    if (__builtin_expect(w->capacity - w->size < size || !w->data, 0))
        return kp_writer_grow(w, size);
    uint8_t *at = w->data + w->size;
    w->size += size;
    return at;
}

static inline void kp_write_i8(struct kp_writer *w, int8_t value)
{
    uint8_t *at = kp_writer_take(w, 1);
    if (at)
        *at = (uint8_t)value;
}

static inline void kp_write_u16(struct kp_writer *w, uint16_t value)
{
    uint8_t *at = kp_writer_take(w, 2);
    if (at)
        store_be16(at, value);
}

static inline void kp_write_i16(struct kp_writer *w, int16_t value)
{
    kp_write_u16(w, (uint16_t)value);
}

static inline void kp_write_i32(struct kp_writer *w, int32_t value)
{
    uint8_t *at = kp_writer_take(w, 4);
    if (at)
        store_be32(at, (uint32_t)value);
}

static inline void kp_write_i64(struct kp_writer *w, int64_t value)
{
    uint8_t *at = kp_writer_take(w, 8);
    if (at)
        store_be64(at, (uint64_t)value);
}

static inline void kp_write_bool(struct kp_writer *w, bool value)
{
    kp_write_i8(w, value ? 1 : 0);
}

void kp_write_f64(struct kp_writer *w, double value);
void kp_write_uvarint(struct kp_writer *w, uint32_t value);
void kp_write_varint(struct kp_writer *w, int32_t value);
void kp_write_varlong(struct kp_writer *w, int64_t value);
void kp_write_uuid(struct kp_writer *w, struct kp_uuid value);
void kp_write_raw(struct kp_writer *w, const void *data, size_t size);

// A null where `nullable` is false is a fault, and so is a string of more than 32767 bytes.
void kp_write_string(struct kp_writer *w, bool compact, bool nullable, struct span value);
void kp_write_bytes(struct kp_writer *w, bool compact, bool nullable, struct span value);
// A size other than the sum of the slices is a fault.
void kp_write_records(struct kp_writer *w, bool compact, const struct kp_records *value);
// A null or any other negative count is a fault unless it is -1 and `nullable`.
void kp_write_count(struct kp_writer *w, bool compact, bool nullable, int32_t count);

// Starts a tagged field; returns the mark that kp_write_tag_done needs. No records in between.
size_t kp_write_tag(struct kp_writer *w, uint32_t tag);
// Puts the size of all that was written since before it.
void kp_write_tag_done(struct kp_writer *w, size_t mark);

// Room for a value known only later; returns its position for kp_patch_i32.
size_t kp_reserve_i32(struct kp_writer *w);
void kp_patch_i32(struct kp_writer *w, size_t at, int32_t value);

// Total bytes, slices included.
static inline size_t kp_writer_total(const struct kp_writer *w)
{
    return w->size + w->spliced;
}

// The whole output as vectors, own bytes and slices in their order, allocated from the arena.
// Empty pieces are left out. Returns the number of vectors, or -1 when the arena is exhausted or
// the writer has failed. The vectors point into the writer's memory: write nothing more.
int kp_writer_vectors(const struct kp_writer *w, struct iovec **out);

// The whole output in one piece: the writer's own memory when nothing was spliced, otherwise a copy
// in the arena. Absent when the arena is exhausted or the writer has failed.
struct span kp_writer_flat(const struct kp_writer *w);
