// SPDX-License-Identifier: Apache-2.0
// Dump, random fill and comparison of messages by their descriptors. Keeps no state.
//
// A random message holds only what its version can carry, so that it must survive a round trip:
// fields outside the version hold their defaults, null stands only where the version allows it.
#include "protocol/describe_field.h"

#include <inttypes.h>

// ---- dump ----

static void dump_struct(const struct kp_struct *desc, int16_t version, const void *message,
                        FILE *out);

static void dump_hex(const uint8_t *data, size_t size, FILE *out)
{
    for (size_t i = 0; i < size; i++)
        fprintf(out, "%02x", data[i]);
}

static bool printable(struct span text)
{
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] < 0x20 || text.data[i] > 0x7e)
            return false;
    }
    return true;
}

static void dump_text(struct span text, FILE *out)
{
    fputc('"', out);
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] == '"' || text.data[i] == '\\')
            fputc('\\', out);
        fputc(text.data[i], out);
    }
    fputc('"', out);
}

static void dump_bytes(struct span bytes, bool text, FILE *out)
{
    if (!bytes.data) {
        fputs("null", out);
    } else if (text && printable(bytes)) {
        dump_text(bytes, out);
    } else {
        fputs("{\"hex\":\"", out);
        dump_hex(bytes.data, bytes.size, out);
        fputs("\"}", out);
    }
}

static void dump_records(const struct kp_records *records, FILE *out)
{
    if (records->size < 0) {
        fputs("null", out);
        return;
    }
    size_t left = KP_DUMP_RECORDS;
    fputs("{\"hex\":\"", out);
    for (uint32_t i = 0; i < records->slice_count && left > 0; i++) {
        const struct iovec *slice = &records->slices[i];
        size_t part = slice->iov_len < left ? slice->iov_len : left;
        dump_hex(slice->iov_base, part, out);
        left -= part;
    }
    fputc('"', out);
    if (records->size > KP_DUMP_RECORDS)
        fprintf(out, ",\"size\":%" PRId64, records->size);
    fputc('}', out);
}

static void dump_value(const struct kp_field *field, int16_t version, const void *at, FILE *out)
{
    switch ((enum kp_type)field->type) {
    case KP_BOOL:
        fputs(*(const bool *)at ? "true" : "false", out);
        break;
    case KP_INT8:
        fprintf(out, "%d", *(const int8_t *)at);
        break;
    case KP_INT16:
        fprintf(out, "%d", *(const int16_t *)at);
        break;
    case KP_UINT16:
        fprintf(out, "%u", *(const uint16_t *)at);
        break;
    case KP_INT32:
        fprintf(out, "%" PRId32, *(const int32_t *)at);
        break;
    case KP_INT64:
        fprintf(out, "%" PRId64, *(const int64_t *)at);
        break;
    case KP_FLOAT64:
        fprintf(out, "%.17g", *(const double *)at);
        break;
    case KP_UUID:
        fputc('"', out);
        dump_hex(((const struct kp_uuid *)at)->bytes, sizeof(struct kp_uuid), out);
        fputc('"', out);
        break;
    case KP_STRING:
    case KP_BYTES:
        dump_bytes(*(const struct span *)at, field->type == KP_STRING, out);
        break;
    case KP_RECORDS:
        dump_records(at, out);
        break;
    case KP_STRUCT:
        dump_struct(field->element, version, at, out);
        break;
    }
}

static void dump_field(const struct kp_field *field, int16_t version, const void *message,
                       FILE *out)
{
    if (!field->array && !field->pointer) {
        dump_value(field, version, kp_field_of(field, message), out);
        return;
    }
    const char *values = kp_field_pointee(field, message);
    int32_t count = field->array ? kp_field_count(field, message) : values != NULL;
    if (field->array ? count < 0 : !values) {
        fputs("null", out);
        return;
    }
    if (field->array)
        fputc('[', out);
    for (int32_t i = 0; i < count; i++) {
        if (i > 0)
            fputc(',', out);
        dump_value(field, version, values + (size_t)i * kp_field_value_size(field), out);
    }
    if (field->array)
        fputc(']', out);
}

static void dump_struct(const struct kp_struct *desc, int16_t version, const void *message,
                        FILE *out)
{
    const char *separator = "";
    fputc('{', out);
    for (uint32_t i = 0; i < desc->field_count; i++) {
        const struct kp_field *field = &desc->fields[i];
        if (!kp_field_present(field, version))
            continue;
        fprintf(out, "%s\"%s\":", separator, field->name);
        dump_field(field, version, message, out);
        separator = ",";
    }
    fputc('}', out);
}

void kp_describe_dump(const struct kp_message *desc, int16_t version, const void *message,
                      FILE *out)
{
    dump_struct(desc->body, version, message, out);
}

// ---- random fill ----

enum {
    SMALL_SPAN = 16,  // most strings and bytes are shorter
    LARGE_SPAN = 300, // one in sixteen may reach this: a length of two varint bytes
    ELEMENTS = 4,     // arrays have fewer
};

static int fill_struct(const struct kp_struct *desc, int16_t version, struct random *random,
                       struct arena *arena, void *message);

static int fill_span(bool text, struct random *random, struct arena *arena, struct span *out)
{
    uint64_t bound = random_below(random, 16) == 0 ? LARGE_SPAN : SMALL_SPAN;
    size_t size = random_below(random, bound);
    uint8_t *data = arena_alloc(arena, size);
    if (!data)
        return -1;
    for (size_t i = 0; i < size; i++)
        data[i] = (uint8_t)(text ? 'a' + random_below(random, 26) : random_next(random));
    *out = span_of(data, size);
    return 0;
}

// Spreads the bytes over up to three slices, as a broker would.
static int fill_records(struct random *random, struct arena *arena, struct kp_records *out)
{
    uint32_t count = (uint32_t)random_below(random, 4);
    struct iovec *slices = arena_array(arena, count, sizeof(*slices));
    if (!slices)
        return -1;
    *out = (struct kp_records){.slices = slices, .slice_count = count};
    for (uint32_t i = 0; i < count; i++) {
        struct span bytes;
        if (fill_span(false, random, arena, &bytes) != 0)
            return -1;
        slices[i].iov_base = (void *)(uintptr_t)bytes.data;
        slices[i].iov_len = bytes.size;
        out->size += (int64_t)bytes.size;
    }
    return 0;
}

// Numbers of all magnitudes: sign and length are as random as the digits.
static int64_t random_number(struct random *random)
{
    return (int64_t)random_next(random) >> random_below(random, 64);
}

static int fill_value(const struct kp_field *field, int16_t version, struct random *random,
                      struct arena *arena, void *at)
{
    int64_t number = random_number(random);
    switch ((enum kp_type)field->type) {
    case KP_BOOL:
        *(bool *)at = number & 1;
        break;
    case KP_INT8:
        *(int8_t *)at = (int8_t)number;
        break;
    case KP_INT16:
        *(int16_t *)at = (int16_t)number;
        break;
    case KP_UINT16:
        *(uint16_t *)at = (uint16_t)number;
        break;
    case KP_INT32:
        *(int32_t *)at = (int32_t)number;
        break;
    case KP_INT64:
        *(int64_t *)at = number;
        break;
    case KP_FLOAT64:
        *(double *)at = (double)number / 1024;
        break;
    case KP_UUID:
        for (size_t i = 0; i < sizeof(struct kp_uuid); i++)
            ((struct kp_uuid *)at)->bytes[i] = (uint8_t)random_next(random);
        break;
    case KP_STRING:
    case KP_BYTES:
        return fill_span(field->type == KP_STRING, random, arena, at);
    case KP_RECORDS:
        return fill_records(random, arena, at);
    case KP_STRUCT:
        return fill_struct(field->element, version, random, arena, at);
    }
    return 0;
}

static void set_null(const struct kp_field *field, void *message)
{
    if (field->array)
        kp_field_set_count(field, message, -1);
    else if (field->type == KP_STRING || field->type == KP_BYTES)
        *(struct span *)kp_field_at(field, message) = (struct span){0};
    // A nullable struct and records are null by default.
}

static int fill_field(const struct kp_field *field, int16_t version, struct random *random,
                      struct arena *arena, void *message)
{
    if (kp_field_nullable(field, version) && random_below(random, 4) == 0) {
        set_null(field, message);
        return 0;
    }
    if (!field->array && !field->pointer)
        return fill_value(field, version, random, arena, kp_field_at(field, message));
    size_t size = kp_field_value_size(field);
    int32_t count = field->array ? (int32_t)random_below(random, ELEMENTS) : 1;
    char *values = arena_array(arena, (size_t)count, size);
    if (!values)
        return -1;
    kp_field_set_pointee(field, message, values);
    if (field->array)
        kp_field_set_count(field, message, count);
    for (int32_t i = 0; i < count; i++) {
        if (fill_value(field, version, random, arena, values + (size_t)i * size) != 0)
            return -1;
    }
    return 0;
}

static int fill_struct(const struct kp_struct *desc, int16_t version, struct random *random,
                       struct arena *arena, void *message)
{
    for (uint32_t i = 0; i < desc->field_count; i++) {
        const struct kp_field *field = &desc->fields[i];
        kp_field_preset(field, message);
        bool omit = field->tag >= 0 && random_below(random, 2) == 0;
        if (!omit && kp_field_present(field, version) &&
            fill_field(field, version, random, arena, message) != 0)
            return -1;
    }
    return 0;
}

int kp_describe_random(const struct kp_message *desc, int16_t version, struct random *random,
                       struct arena *arena, void *message)
{
    return fill_struct(desc->body, version, random, arena, message);
}

// ---- comparison ----

static bool equal_struct(const struct kp_struct *desc, int16_t version, const void *a,
                         const void *b);

static bool equal_span(struct span a, struct span b)
{
    return !a.data == !b.data && span_equal(a, b);
}

// The same bytes, however they are cut into slices.
static bool equal_records(const struct kp_records *a, const struct kp_records *b)
{
    if (a->size != b->size)
        return false;
    uint32_t j = 0;
    size_t b_done = 0;
    for (uint32_t i = 0; i < a->slice_count; i++) {
        size_t a_done = 0;
        while (a_done < a->slices[i].iov_len) {
            while (j < b->slice_count && b_done == b->slices[j].iov_len) {
                j++;
                b_done = 0;
            }
            if (j == b->slice_count)
                return false;
            size_t part = a->slices[i].iov_len - a_done;
            if (part > b->slices[j].iov_len - b_done)
                part = b->slices[j].iov_len - b_done;
            if (memcmp((const char *)a->slices[i].iov_base + a_done,
                       (const char *)b->slices[j].iov_base + b_done, part) != 0)
                return false;
            a_done += part;
            b_done += part;
        }
    }
    return true;
}

static bool equal_value(const struct kp_field *field, int16_t version, const void *a, const void *b)
{
    switch ((enum kp_type)field->type) {
    case KP_STRING:
    case KP_BYTES:
        return equal_span(*(const struct span *)a, *(const struct span *)b);
    case KP_RECORDS:
        return equal_records(a, b);
    case KP_STRUCT:
        return equal_struct(field->element, version, a, b);
    default:
        return memcmp(a, b, kp_field_value_size(field)) == 0;
    }
}

static bool equal_field(const struct kp_field *field, int16_t version, const void *a, const void *b)
{
    if (!field->array && !field->pointer)
        return equal_value(field, version, kp_field_of(field, a), kp_field_of(field, b));
    const char *a_values = kp_field_pointee(field, a);
    const char *b_values = kp_field_pointee(field, b);
    int32_t a_count = field->array ? kp_field_count(field, a) : a_values != NULL;
    int32_t b_count = field->array ? kp_field_count(field, b) : b_values != NULL;
    if (a_count != b_count)
        return false;
    size_t size = kp_field_value_size(field);
    for (int32_t i = 0; i < a_count; i++) {
        if (!equal_value(field, version, a_values + (size_t)i * size, b_values + (size_t)i * size))
            return false;
    }
    return true;
}

static bool equal_struct(const struct kp_struct *desc, int16_t version, const void *a,
                         const void *b)
{
    for (uint32_t i = 0; i < desc->field_count; i++) {
        const struct kp_field *field = &desc->fields[i];
        if (kp_field_present(field, version) && !equal_field(field, version, a, b))
            return false;
    }
    return true;
}

bool kp_describe_equal(const struct kp_message *desc, int16_t version, const void *a, const void *b)
{
    return equal_struct(desc->body, version, a, b);
}
