// SPDX-License-Identifier: Apache-2.0
// Encoding of single protocol values. The memory is the arena's; a writer owns nothing.
//
// Invariants:
// 1. size <= capacity; after a failure they are equal, so that the inline fast path cannot write.
// 2. Splice marks are in ascending order of `at`, and each `at` <= size.
// 3. No length is written that does not fit its field: the writer fails instead.
#include "protocol/writer.h"

enum { WRITER_FIRST = 512, SPLICE_FIRST = 8, STRING_MAX = INT16_MAX, UVARINT_MAX = 5 };

void kp_writer_init(struct kp_writer *w, struct arena *arena)
{
    *w = (struct kp_writer){.arena = arena};
}

void kp_writer_fail(struct kp_writer *w)
{
    w->failed = true;
    w->capacity = w->size;
}

uint8_t *kp_writer_grow(struct kp_writer *w, size_t size)
{
    if (w->failed)
        return NULL;
    size_t capacity = w->capacity ? w->capacity * 2 : WRITER_FIRST;
    if (capacity - w->size < size)
        capacity = w->size + size;
    uint8_t *data =
        size > INT32_MAX || capacity > INT32_MAX ? NULL : arena_alloc(w->arena, capacity);
    if (!data) {
        kp_writer_fail(w);
        return NULL;
    }
    if (w->size)
        memcpy(data, w->data, w->size);
    w->data = data;
    w->capacity = capacity;
    w->size += size;
    return data + w->size - size;
}

void kp_write_f64(struct kp_writer *w, double value)
{
    int64_t bits;
    memcpy(&bits, &value, sizeof(bits));
    kp_write_i64(w, bits);
}

static size_t put_uvar(uint8_t *to, uint64_t value)
{
    size_t size = 0;
    while (value >= 0x80u) {
        to[size++] = (uint8_t)(value | 0x80u);
        value >>= 7;
    }
    to[size++] = (uint8_t)value;
    return size;
}

void kp_write_uvarint(struct kp_writer *w, uint32_t value)
{
    if (value < 0x80u) {
        kp_write_i8(w, (int8_t)value);
        return;
    }
    uint8_t bytes[UVARINT_MAX];
    kp_write_raw(w, bytes, put_uvar(bytes, value));
}

void kp_write_varint(struct kp_writer *w, int32_t value)
{
    kp_write_uvarint(w, ((uint32_t)value << 1) ^ (uint32_t)(value >> 31));
}

void kp_write_varlong(struct kp_writer *w, int64_t value)
{
    uint8_t bytes[10];
    uint64_t zigzag = ((uint64_t)value << 1) ^ (uint64_t)(value >> 63);
    kp_write_raw(w, bytes, put_uvar(bytes, zigzag));
}

void kp_write_uuid(struct kp_writer *w, struct kp_uuid value)
{
    kp_write_raw(w, value.bytes, sizeof(value.bytes));
}

void kp_write_raw(struct kp_writer *w, const void *data, size_t size)
{
    uint8_t *at = kp_writer_take(w, size);
    if (at && size)
        memcpy(at, data, size);
}

void kp_write_string(struct kp_writer *w, bool compact, bool nullable, struct span value)
{
    if ((!value.data && !nullable) || value.size > STRING_MAX) {
        kp_writer_fail(w);
        return;
    }
    if (compact)
        kp_write_uvarint(w, value.data ? (uint32_t)value.size + 1 : 0);
    else
        kp_write_i16(w, value.data ? (int16_t)value.size : -1);
    if (value.data)
        kp_write_raw(w, value.data, value.size);
}

static void write_length(struct kp_writer *w, bool compact, int64_t length)
{
    if (length >= INT32_MAX)
        kp_writer_fail(w);
    else if (compact)
        kp_write_uvarint(w, (uint32_t)(length + 1));
    else
        kp_write_i32(w, (int32_t)length);
}

void kp_write_bytes(struct kp_writer *w, bool compact, bool nullable, struct span value)
{
    if ((!value.data && !nullable) || value.size >= INT32_MAX) {
        kp_writer_fail(w);
        return;
    }
    write_length(w, compact, value.data ? (int64_t)value.size : -1);
    if (value.data)
        kp_write_raw(w, value.data, value.size);
}

static void add_splice(struct kp_writer *w, const struct kp_records *value)
{
    if (w->splice_count == w->splice_capacity) {
        uint32_t capacity = w->splice_capacity ? w->splice_capacity * 2 : SPLICE_FIRST;
        struct kp_splice *splices = arena_array(w->arena, capacity, sizeof(*splices));
        if (!splices) {
            kp_writer_fail(w);
            return;
        }
        if (w->splice_count)
            memcpy(splices, w->splices, w->splice_count * sizeof(*splices));
        w->splices = splices;
        w->splice_capacity = capacity;
    }
    w->splices[w->splice_count++] = (struct kp_splice){
        .at = w->size, .slices = value->slices, .slice_count = value->slice_count};
    w->spliced += (size_t)value->size;
}

void kp_write_records(struct kp_writer *w, bool compact, const struct kp_records *value)
{
    if (value->size < 0) {
        write_length(w, compact, -1);
        return;
    }
    uint64_t sum = 0;
    for (uint32_t i = 0; i < value->slice_count; i++)
        sum += value->slices[i].iov_len;
    if (sum != (uint64_t)value->size || sum >= INT32_MAX) {
        kp_writer_fail(w);
        return;
    }
    write_length(w, compact, value->size);
    if (value->size > 0 && !w->failed)
        add_splice(w, value);
}

void kp_write_count(struct kp_writer *w, bool compact, bool nullable, int32_t count)
{
    if (count < -1 || (count == -1 && !nullable))
        kp_writer_fail(w);
    else
        write_length(w, compact, count);
}

size_t kp_write_tag(struct kp_writer *w, uint32_t tag)
{
    kp_write_uvarint(w, tag);
    return w->size;
}

void kp_write_tag_done(struct kp_writer *w, size_t mark)
{
    if (w->failed)
        return;
    uint8_t bytes[UVARINT_MAX];
    size_t size = w->size - mark;
    size_t prefix = put_uvar(bytes, size);
    if (!kp_writer_take(w, prefix))
        return;
    memmove(w->data + mark + prefix, w->data + mark, size);
    memcpy(w->data + mark, bytes, prefix);
}

size_t kp_reserve_i32(struct kp_writer *w)
{
    size_t at = w->size;
    kp_write_i32(w, 0);
    return at;
}

void kp_patch_i32(struct kp_writer *w, size_t at, int32_t value)
{
    if (!w->failed)
        store_be32(w->data + at, (uint32_t)value);
}

int kp_writer_vectors(const struct kp_writer *w, struct iovec **out)
{
    if (w->failed)
        return -1;
    size_t bound = 1;
    for (uint32_t i = 0; i < w->splice_count; i++)
        bound += 1u + w->splices[i].slice_count;
    struct iovec *vectors = arena_array(w->arena, bound, sizeof(*vectors));
    if (!vectors || bound > INT32_MAX)
        return -1;
    int count = 0;
    size_t done = 0;
    for (uint32_t i = 0; i < w->splice_count; i++) {
        const struct kp_splice *splice = &w->splices[i];
        if (splice->at > done)
            vectors[count++] = (struct iovec){w->data + done, splice->at - done};
        done = splice->at;
        for (uint32_t j = 0; j < splice->slice_count; j++) {
            if (splice->slices[j].iov_len)
                vectors[count++] = splice->slices[j];
        }
    }
    if (w->size > done)
        vectors[count++] = (struct iovec){w->data + done, w->size - done};
    *out = vectors;
    return count;
}

struct span kp_writer_flat(const struct kp_writer *w)
{
    if (w->failed)
        return (struct span){0};
    if (w->splice_count == 0)
        return span_of(w->data ? w->data : (const uint8_t *)"", w->size);
    struct iovec *vectors;
    int count = kp_writer_vectors(w, &vectors);
    uint8_t *flat = count < 0 ? NULL : arena_alloc(w->arena, kp_writer_total(w));
    if (!flat)
        return (struct span){0};
    size_t size = 0;
    for (int i = 0; i < count; i++) {
        memcpy(flat + size, vectors[i].iov_base, vectors[i].iov_len);
        size += vectors[i].iov_len;
    }
    return span_of(flat, size);
}
