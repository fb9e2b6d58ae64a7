// SPDX-License-Identifier: Apache-2.0
// The value types of generated messages that C does not have by itself.
//
// Strings and bytes are `struct span`: data NULL is the protocol's null. After decoding they point
// into the receive buffer, so the buffer must outlive the message. Arrays are a pointer and a
// count; a count of -1 is the protocol's null array.
#pragma once

#include <stdint.h>
#include <string.h>
#include <sys/uio.h>

#include "base/span.h"

struct kp_uuid {
    uint8_t bytes[16];
};

static inline bool kp_uuid_equal(struct kp_uuid a, struct kp_uuid b)
{
    return memcmp(a.bytes, b.bytes, sizeof(a.bytes)) == 0;
}

static inline bool kp_uuid_is_zero(struct kp_uuid id)
{
    return kp_uuid_equal(id, (struct kp_uuid){{0}});
}

// A string or bytes of no length, which is not null: what fields without another default hold.
static inline struct span kp_empty(void)
{
    return span_of("", 0);
}

// The "records" field. Decoded: one slice, inside the receive buffer. To encode: any number of
// slices, which the writer does not copy but leaves for the sender to put in their place.
// A struct copy still points at the original's `one`.
struct kp_records {
    const struct iovec *slices;
    uint32_t slice_count;
    int64_t size;     // sum of the slices; -1 = null
    struct iovec one; // where `slices` points when there is just one
};
