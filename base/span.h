// SPDX-License-Identifier: Apache-2.0
// A view of bytes that somebody else owns. The view is valid as long as its owner says so.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct span {
    const uint8_t *data; // NULL means "absent", which is not the same as empty
    size_t size;
};

static inline struct span span_of(const void *data, size_t size)
{
    return (struct span){.data = data, .size = size};
}

// The text without its terminator; an absent span for NULL.
static inline struct span span_text(const char *text)
{
    return text ? span_of(text, strlen(text)) : (struct span){0};
}

static inline bool span_is_zero(struct span span)
{
    return span.size == 0 ||
           (span.data[0] == 0 && memcmp(span.data, span.data + 1, span.size - 1) == 0);
}

// Equal bytes. Absent and empty compare equal.
static inline bool span_equal(struct span a, struct span b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}
