// SPDX-License-Identifier: Apache-2.0
// Turns a socket's bytes into frames. Small frames are read many at a time into one chunk; the rest
// of a large frame goes straight into a buffer of its own, which a consumer can keep.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/pool.h"
#include "clients/c/transport.h"

enum { RECEIVE_CHUNK = 16 << 10 };

struct receive {
    struct pool *pool;
    size_t frame_limit;
    size_t start; // unparsed bytes of the chunk: [start, end)
    size_t end;
    struct buffer *large; // a frame in the making, NULL for none
    size_t large_size;    // its size when complete
    size_t large_filled;
    uint8_t chunk[RECEIVE_CHUNK];
};

struct frame {
    const uint8_t *data; // without the length field
    size_t size;
    struct buffer
        *buffer; // holds `data` and belongs to the receiver, or NULL: data is in the chunk
};

void receive_init(struct receive *receive, struct pool *pool, size_t frame_limit);

// Drops what was received; ready for a new connection.
void receive_reset(struct receive *receive);

// Reads once. Returns the number of bytes; 0 when there are none at the moment; -EPIPE at the end
// of the stream, or another -errno. *full tells whether there may be more to read.
// To be called only when receive_next has returned 0.
long receive_fill(struct receive *receive, struct transport *transport, bool *full);

// The next complete frame: 1 (valid until the next receive_fill; a buffer until it is released),
// 0 when bytes are missing, -EMSGSIZE for a length that is negative or beyond the limit, -ENOMEM.
int receive_next(struct receive *receive, struct frame *frame);
