// SPDX-License-Identifier: Apache-2.0
// A codec that interprets the descriptors, for tests and tools. It shares only the reader and the
// writer of single values with the generated one, so that a slip in the generator shows as a
// difference between the two.
#include "protocol/describe_field.h"

size_t kp_field_value_size(const struct kp_field *field)
{
    static const uint8_t sizes[] = {
        [KP_BOOL] = sizeof(bool),
        [KP_INT8] = 1,
        [KP_INT16] = 2,
        [KP_UINT16] = 2,
        [KP_INT32] = 4,
        [KP_INT64] = 8,
        [KP_FLOAT64] = sizeof(double),
        [KP_UUID] = sizeof(struct kp_uuid),
        [KP_STRING] = sizeof(struct span),
        [KP_BYTES] = sizeof(struct span),
        [KP_RECORDS] = sizeof(struct kp_records),
    };
    return field->type == KP_STRUCT ? field->element->size : sizes[field->type];
}

static void preset_value(const struct kp_field *field, void *at)
{
    switch ((enum kp_type)field->type) {
    case KP_BOOL:
        *(bool *)at = field->preset != 0;
        break;
    case KP_INT8:
        *(int8_t *)at = (int8_t)field->preset;
        break;
    case KP_INT16:
        *(int16_t *)at = (int16_t)field->preset;
        break;
    case KP_UINT16:
        *(uint16_t *)at = (uint16_t)field->preset;
        break;
    case KP_INT32:
        *(int32_t *)at = (int32_t)field->preset;
        break;
    case KP_INT64:
        *(int64_t *)at = field->preset;
        break;
    case KP_FLOAT64:
        *(double *)at = (double)field->preset;
        break;
    case KP_UUID:
        *(struct kp_uuid *)at = (struct kp_uuid){{0}};
        break;
    case KP_STRING:
    case KP_BYTES:
        *(struct span *)at = field->preset_null ? (struct span){0} : kp_empty();
        break;
    case KP_RECORDS:
        *(struct kp_records *)at = (struct kp_records){.size = -1};
        break;
    case KP_STRUCT:
        for (uint32_t i = 0; i < field->element->field_count; i++)
            kp_field_preset(&field->element->fields[i], at);
        break;
    }
}

void kp_field_preset(const struct kp_field *field, void *message)
{
    if (field->array) {
        kp_field_set_pointee(field, message, NULL);
        kp_field_set_count(field, message, field->preset_null ? -1 : 0);
    } else if (field->pointer) {
        kp_field_set_pointee(field, message, NULL);
    } else {
        preset_value(field, kp_field_at(field, message));
    }
}

// What one pass over a message carries along.
struct pass {
    int16_t version;
    bool flexible;
    struct arena *arena;
};

// ---- decoding ----

static void read_struct(const struct pass *pass, struct kp_reader *r, const struct kp_struct *desc,
                        void *message);

static void read_value(const struct pass *pass, struct kp_reader *r, const struct kp_field *field,
                       bool nullable, void *at)
{
    switch ((enum kp_type)field->type) {
    case KP_BOOL:
        *(bool *)at = kp_read_bool(r);
        break;
    case KP_INT8:
        *(int8_t *)at = kp_read_i8(r);
        break;
    case KP_INT16:
        *(int16_t *)at = kp_read_i16(r);
        break;
    case KP_UINT16:
        *(uint16_t *)at = kp_read_u16(r);
        break;
    case KP_INT32:
        *(int32_t *)at = kp_read_i32(r);
        break;
    case KP_INT64:
        *(int64_t *)at = kp_read_i64(r);
        break;
    case KP_FLOAT64:
        *(double *)at = kp_read_f64(r);
        break;
    case KP_UUID:
        *(struct kp_uuid *)at = kp_read_uuid(r);
        break;
    case KP_STRING:
        *(struct span *)at = kp_read_string(r, pass->flexible, nullable);
        break;
    case KP_BYTES:
        *(struct span *)at = kp_read_bytes(r, pass->flexible, nullable);
        break;
    case KP_RECORDS:
        kp_read_records(r, pass->flexible, at);
        break;
    case KP_STRUCT:
        read_struct(pass, r, field->element, at);
        break;
    }
}

static size_t element_wire_min(const struct kp_field *field)
{
    if (field->type == KP_STRUCT)
        return field->element->wire_min;
    return field->type < KP_STRING ? kp_field_value_size(field) : 1;
}

static void read_field(const struct pass *pass, struct kp_reader *r, const struct kp_field *field,
                       void *message)
{
    bool nullable = kp_field_nullable(field, pass->version);
    size_t size = kp_field_value_size(field);
    if (field->array) {
        int32_t count = kp_read_count(r, pass->flexible, nullable, element_wire_min(field));
        char *elements = kp_read_elements(r, pass->arena, count, size);
        kp_field_set_count(field, message, count);
        kp_field_set_pointee(field, message, elements);
        for (int32_t i = 0; i < count && !r->failed; i++)
            read_value(pass, r, field, false, elements + (size_t)i * size);
    } else if (field->pointer) {
        void *value = NULL;
        if (!nullable || kp_read_present(r))
            value = kp_read_elements(r, pass->arena, 1, size);
        kp_field_set_pointee(field, message, value);
        if (value)
            read_value(pass, r, field, false, value);
    } else {
        read_value(pass, r, field, nullable, kp_field_at(field, message));
    }
}

static const struct kp_field *find_tag(const struct kp_struct *desc, int16_t version, uint32_t tag)
{
    for (uint32_t i = 0; i < desc->field_count; i++) {
        const struct kp_field *field = &desc->fields[i];
        if (field->tag >= 0 && (uint32_t)field->tag == tag && kp_field_present(field, version))
            return field;
    }
    return NULL;
}

static void read_struct(const struct pass *pass, struct kp_reader *r, const struct kp_struct *desc,
                        void *message)
{
    for (uint32_t i = 0; i < desc->field_count; i++)
        kp_field_preset(&desc->fields[i], message);
    for (uint32_t i = 0; i < desc->field_count; i++) {
        const struct kp_field *field = &desc->fields[i];
        if (field->tag < 0 && kp_field_present(field, pass->version))
            read_field(pass, r, field, message);
    }
    uint32_t tags = pass->flexible ? kp_read_uvarint(r) : 0;
    for (uint32_t i = 0; i < tags && !r->failed; i++) {
        uint32_t tag;
        struct kp_reader value = kp_read_tag(r, &tag);
        const struct kp_field *field = find_tag(desc, pass->version, tag);
        if (field && !r->failed) {
            read_field(pass, &value, field, message);
            kp_read_tag_done(r, &value);
        }
    }
}

int kp_describe_decode(const struct kp_message *desc, struct kp_reader *r, int16_t version,
                       struct arena *arena, void *message)
{
    struct pass pass = {version, version >= desc->flexible_from, arena};
    read_struct(&pass, r, desc->body, message);
    return r->failed ? -1 : 0;
}

// ---- encoding ----

static void write_struct(const struct pass *pass, struct kp_writer *w, const struct kp_struct *desc,
                         const void *message);

static void write_value(const struct pass *pass, struct kp_writer *w, const struct kp_field *field,
                        bool nullable, const void *at)
{
    switch ((enum kp_type)field->type) {
    case KP_BOOL:
        kp_write_bool(w, *(const bool *)at);
        break;
    case KP_INT8:
        kp_write_i8(w, *(const int8_t *)at);
        break;
    case KP_INT16:
        kp_write_i16(w, *(const int16_t *)at);
        break;
    case KP_UINT16:
        kp_write_u16(w, *(const uint16_t *)at);
        break;
    case KP_INT32:
        kp_write_i32(w, *(const int32_t *)at);
        break;
    case KP_INT64:
        kp_write_i64(w, *(const int64_t *)at);
        break;
    case KP_FLOAT64:
        kp_write_f64(w, *(const double *)at);
        break;
    case KP_UUID:
        kp_write_uuid(w, *(const struct kp_uuid *)at);
        break;
    case KP_STRING:
        kp_write_string(w, pass->flexible, nullable, *(const struct span *)at);
        break;
    case KP_BYTES:
        kp_write_bytes(w, pass->flexible, nullable, *(const struct span *)at);
        break;
    case KP_RECORDS:
        kp_write_records(w, pass->flexible, at);
        break;
    case KP_STRUCT:
        write_struct(pass, w, field->element, at);
        break;
    }
}

static void write_field(const struct pass *pass, struct kp_writer *w, const struct kp_field *field,
                        const void *message)
{
    bool nullable = kp_field_nullable(field, pass->version);
    if (field->array) {
        int32_t count = kp_field_count(field, message);
        const char *elements = kp_field_pointee(field, message);
        size_t size = kp_field_value_size(field);
        kp_write_count(w, pass->flexible, nullable, count);
        for (int32_t i = 0; i < count && !w->failed; i++)
            write_value(pass, w, field, false, elements + (size_t)i * size);
    } else if (field->pointer) {
        const void *value = kp_field_pointee(field, message);
        if (nullable)
            kp_write_i8(w, value ? 1 : -1);
        else if (!value)
            kp_writer_fail(w);
        if (value)
            write_value(pass, w, field, false, value);
    } else {
        write_value(pass, w, field, nullable, kp_field_of(field, message));
    }
}

// Whether the value is what a decoder would assume if the field were not sent.
static bool is_preset(const struct kp_field *field, const void *message)
{
    const void *at = kp_field_of(field, message);
    if (field->array)
        return kp_field_count(field, message) == (field->preset_null ? -1 : 0);
    switch ((enum kp_type)field->type) {
    case KP_BOOL:
        return *(const bool *)at == (field->preset != 0);
    case KP_INT8:
        return *(const int8_t *)at == field->preset;
    case KP_INT16:
        return *(const int16_t *)at == field->preset;
    case KP_UINT16:
        return *(const uint16_t *)at == field->preset;
    case KP_INT32:
        return *(const int32_t *)at == field->preset;
    case KP_INT64:
        return *(const int64_t *)at == field->preset;
    case KP_UUID:
        return kp_uuid_is_zero(*(const struct kp_uuid *)at);
    case KP_STRING:
    case KP_BYTES: {
        struct span value = *(const struct span *)at;
        return field->preset_null ? !value.data : value.data && value.size == 0;
    }
    case KP_STRUCT:
        for (uint32_t i = 0; i < field->element->field_count; i++) {
            if (!is_preset(&field->element->fields[i], at))
                return false;
        }
        return true;
    case KP_FLOAT64:
    case KP_RECORDS:
        break;
    }
    return false;
}

// The field of `desc` with the lowest tag >= `from` that must be sent, or NULL.
static const struct kp_field *next_tag(const struct pass *pass, const struct kp_struct *desc,
                                       int from, const void *message)
{
    const struct kp_field *next = NULL;
    for (uint32_t i = 0; i < desc->field_count; i++) {
        const struct kp_field *field = &desc->fields[i];
        if (field->tag < from || (next && field->tag > next->tag) ||
            !kp_field_present(field, pass->version) || is_preset(field, message))
            continue;
        next = field;
    }
    return next;
}

static void write_tags(const struct pass *pass, struct kp_writer *w, const struct kp_struct *desc,
                       const void *message)
{
    uint32_t count = 0;
    const struct kp_field *field = next_tag(pass, desc, 0, message);
    for (; field; field = next_tag(pass, desc, field->tag + 1, message))
        count++;
    kp_write_uvarint(w, count);
    field = next_tag(pass, desc, 0, message);
    for (; field; field = next_tag(pass, desc, field->tag + 1, message)) {
        size_t mark = kp_write_tag(w, (uint32_t)field->tag);
        write_field(pass, w, field, message);
        kp_write_tag_done(w, mark);
    }
}

static void write_struct(const struct pass *pass, struct kp_writer *w, const struct kp_struct *desc,
                         const void *message)
{
    for (uint32_t i = 0; i < desc->field_count && !w->failed; i++) {
        const struct kp_field *field = &desc->fields[i];
        if (field->tag < 0 && kp_field_present(field, pass->version))
            write_field(pass, w, field, message);
    }
    if (pass->flexible)
        write_tags(pass, w, desc, message);
}

void kp_describe_encode(const struct kp_message *desc, struct kp_writer *w, int16_t version,
                        const void *message)
{
    struct pass pass = {version, version >= desc->flexible_from, NULL};
    write_struct(&pass, w, desc->body, message);
}
