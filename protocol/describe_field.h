// SPDX-License-Identifier: Apache-2.0
// What describe*.c share: how to get at a field of a message through its descriptor. Not for
// others.
#pragma once

#include "protocol/describe.h"

// Bytes of one value: of the field itself, or of each element when it is an array.
size_t kp_field_value_size(const struct kp_field *field);

// Stores the field's default.
void kp_field_preset(const struct kp_field *field, void *message);

static inline bool kp_field_present(const struct kp_field *field, int16_t version)
{
    return version == KP_EVERY_VERSION || (version >= field->first && version <= field->last);
}

static inline bool kp_field_nullable(const struct kp_field *field, int16_t version)
{
    return version >= field->null_first && version <= field->null_last;
}

static inline void *kp_field_at(const struct kp_field *field, void *message)
{
    return (char *)message + field->offset;
}

static inline const void *kp_field_of(const struct kp_field *field, const void *message)
{
    return (const char *)message + field->offset;
}

static inline int32_t kp_field_count(const struct kp_field *field, const void *message)
{
    int32_t count;
    memcpy(&count, (const char *)message + field->count_offset, sizeof(count));
    return count;
}

static inline void kp_field_set_count(const struct kp_field *field, void *message, int32_t count)
{
    memcpy((char *)message + field->count_offset, &count, sizeof(count));
}

// What the pointer of an array or of a nullable struct points at.
static inline const void *kp_field_pointee(const struct kp_field *field, const void *message)
{
    const void *pointee;
    memcpy(&pointee, kp_field_of(field, message), sizeof(pointee));
    return pointee;
}

static inline void kp_field_set_pointee(const struct kp_field *field, void *message, void *pointee)
{
    memcpy(kp_field_at(field, message), &pointee, sizeof(pointee));
}
