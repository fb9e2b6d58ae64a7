// SPDX-License-Identifier: Apache-2.0
// Owns the bytes between a socket and the first complete frame.
//
// Invariants
//  1. While a large frame is in the making the chunk is empty, and every byte read belongs to that
//     frame; so a frame never has to be put together from more than one chunk and one buffer.
//  2. A length field is checked against the limit before memory is taken for it.
#include "clients/c/receive.h"

#include <errno.h>
#include <string.h>

#include "base/check.h"
#include "base/endian.h"

enum { LENGTH_SIZE = 4 };

void receive_init(struct receive *receive, struct pool *pool, size_t frame_limit)
{
    receive->pool = pool;
    receive->frame_limit = frame_limit;
    receive->start = receive->end = 0;
    receive->large = NULL;
}

void receive_reset(struct receive *receive)
{
    receive->start = receive->end = 0;
    if (receive->large)
        buffer_unref(receive->large);
    receive->large = NULL;
}

long receive_fill(struct receive *receive, struct transport *transport, bool *full)
{
    if (receive->large) {
        long got = transport->kind->read(transport, receive->large->data + receive->large_filled,
                                         receive->large_size - receive->large_filled, full);
        if (got > 0)
            receive->large_filled += (size_t)got;
        size_t missing = receive->large_size - receive->large_filled;
        if (got >= 0)
            transport->kind->await(transport, missing > 0 ? missing : 1);
        return got;
    }
    size_t kept = receive->end - receive->start;
    memmove(receive->chunk, receive->chunk + receive->start, kept);
    receive->start = 0;
    receive->end = kept;
    long got = transport->kind->read(transport, receive->chunk + kept,
                                     sizeof(receive->chunk) - kept, full);
    if (got > 0)
        receive->end += (size_t)got;
    return got;
}

// Moves what the chunk has of a large frame into a buffer for all of it.
static int large_start(struct receive *receive, size_t size)
{
    receive->large = pool_get(receive->pool, size);
    if (!receive->large)
        return -ENOMEM;
    size_t present = receive->end - receive->start;
    memcpy(receive->large->data, receive->chunk + receive->start, present);
    receive->large_size = size;
    receive->large_filled = present;
    receive->start = receive->end = 0;
    return 0;
}

static int large_next(struct receive *receive, struct frame *frame)
{
    CHECK(receive->large_filled <= receive->large_size);
    if (receive->large_filled < receive->large_size)
        return 0;
    frame->data = receive->large->data;
    frame->size = receive->large_size;
    frame->buffer = receive->large;
    receive->large = NULL;
    return 1;
}

int receive_next(struct receive *receive, struct frame *frame)
{
    if (receive->large)
        return large_next(receive, frame);
    size_t present = receive->end - receive->start;
    if (present < LENGTH_SIZE)
        return 0;
    const uint8_t *at = receive->chunk + receive->start;
    uint32_t size = load_be32(at);
    if (size > INT32_MAX || size > receive->frame_limit)
        return -EMSGSIZE;
    if (size <= present - LENGTH_SIZE) {
        *frame = (struct frame){.data = at + LENGTH_SIZE, .size = size};
        receive->start += LENGTH_SIZE + size;
        return 1;
    }
    if (size <= sizeof(receive->chunk) - LENGTH_SIZE)
        return 0;
    receive->start += LENGTH_SIZE;
    int error = large_start(receive, size);
    return error ? error : large_next(receive, frame);
}
