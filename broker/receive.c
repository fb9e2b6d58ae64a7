// SPDX-License-Identifier: Apache-2.0
// From bytes to requests. Requests are not copied: they keep a reference to the buffer that they
// arrived in.
//
// The buffer `in` holds, from `start` to `end`, bytes that are not part of a request yet.
//   - A connection that waits holds CONNECTION_IDLE_BYTES.
//   - The rest of a request that does not fit is received straight into a buffer of its size; only
//     the part that had arrived is copied, which is at most one idle buffer for bulk data.
//   - Above CONNECTION_STEP_BYTES memory doubles as bytes arrive: a length field alone is free.
//   - A client that sends many small requests at once gets a larger next buffer, and a small one
//     again when it has calmed down or sends a large request.
//
// Invariants
//  1. At most one receive is in flight, and none while a bound is reached: what the client then
//     sends stays in its socket and in the kernel's, which is the back-pressure.
//  2. A buffer that a request refers to is never moved within, and never written to before `end`.
//  3. A request that was begun may always go on in the buffer it has, whatever the shard's bound
//     says; so those that hold memory finish and give it back.
#include "broker/connection_internal.h"

#include <errno.h>
#include <string.h>

#include "base/endian.h"
#include "broker/shard.h"

enum {
    ROOM_MIN = 1024,      // a smaller rest of a buffer is not worth a receive of unknown length
    WHOLE_MIN = 8 * 1024, // waits for all of a request's rest from this size on
};

static size_t have(const struct connection *connection)
{
    return connection->end - connection->start;
}

// --- requests ---------------------------------------------------------------------------------

// What those say first who take this port for another kind: their bytes are no length.
static const char *recognize(const uint8_t first[KP_FRAME_LENGTH_SIZE])
{
    static const char *const methods[] = {"GET ", "HEAD", "POST", "PUT ", "OPTI", "PRI "};
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++)
        if (memcmp(first, methods[i], KP_FRAME_LENGTH_SIZE) == 0)
            return "it speaks HTTP, and this port serves Kafka's protocol";
    if (first[0] == 0x16 && first[1] == 0x03)
        return "it speaks TLS, which is not served: clients need security.protocol=PLAINTEXT";
    return NULL;
}

static void refuse_length(struct connection *connection, const uint8_t *at, int32_t size)
{
    const char *foreign = connection->proven ? NULL : recognize(at);
    if (foreign)
        listener_complain(connection, "%s", foreign);
    else
        listener_complain(connection, "a request of %d bytes%s", size,
                          connection->proven ? "" : " as the first one");
    connection_drain(connection);
}

// Hands complete requests to their handlers. Returns how many bytes the next request needs in all,
// as far as that is known; 0 when nothing should be received at present.
static size_t dispatch_complete(struct connection *connection)
{
    while (connection->state == CONNECTION_OPEN) {
        if (have(connection) < KP_FRAME_LENGTH_SIZE)
            return KP_FRAME_LENGTH_SIZE;
        const uint8_t *at = connection->in->data + connection->start;
        int32_t size = (int32_t)load_be32(at);
        size_t limit = connection->proven ? connection->listener->request_bytes_max
                                          : CONNECTION_UNPROVEN_BYTES;
        if (size < KP_REQUEST_HEADER_MIN || (size_t)size > limit) {
            refuse_length(connection, at, size);
            break;
        }
        size_t total = (size_t)size + KP_FRAME_LENGTH_SIZE;
        if (have(connection) < total)
            return total;
        if (connection->in_flight >= CONNECTION_IN_FLIGHT ||
            connection->in_flight_bytes >= CONNECTION_IN_FLIGHT_BYTES ||
            connection->large_replies > 0)
            break;
        struct request *request = request_create(connection);
        if (!request) {
            connection_break(connection);
            break;
        }
        connection->start += total;
        request_dispatch(request, span_of(at + KP_FRAME_LENGTH_SIZE, (size_t)size));
    }
    return 0;
}

// --- buffers ----------------------------------------------------------------------------------

static size_t next_capacity(const struct connection *connection, size_t need)
{
    size_t size = need;
    if (need > CONNECTION_STEP_BYTES) {
        size = have(connection) * 2;
        size = size < CONNECTION_STEP_BYTES ? CONNECTION_STEP_BYTES : size;
        size = size > need ? need : size;
    }
    return size < connection->want ? connection->want : size;
}

// Whether the present buffer will do for what comes next, perhaps after moving what it holds.
static bool present_buffer_serves(struct connection *connection, size_t need)
{
    struct buffer *in = connection->in;
    if (!in)
        return false;
    bool shared = in->refs > 1;
    if (have(connection) == 0) {
        if (!shared)
            connection->start = connection->end = 0;
        if (in->capacity > connection->want)
            return false;
    }
    size_t room = in->capacity - connection->end;
    bool known = need > KP_FRAME_LENGTH_SIZE;
    if (known && need > CONNECTION_STEP_BYTES && connection->start == 0 && room > 0)
        return true;
    if (connection->start + need <= in->capacity && (known || room >= ROOM_MIN))
        return true;
    if (shared || need > in->capacity)
        return false;
    memmove(in->data, in->data + connection->start, have(connection));
    connection->end -= connection->start;
    connection->start = 0;
    return true;
}

static bool replace_buffer(struct connection *connection, size_t need)
{
    struct buffer *next = pool_get(connection->shard->pool, next_capacity(connection, need));
    if (!next)
        return false;
    size_t held = have(connection);
    if (connection->in) {
        memcpy(next->data, connection->in->data + connection->start, held);
        buffer_unref(connection->in);
    }
    connection->in = next;
    connection->start = 0;
    connection->end = held;
    connection->listener->request_bytes -= connection->charge;
    connection->charge = next->capacity > CONNECTION_IDLE_BYTES ? next->capacity : 0;
    connection->listener->request_bytes += connection->charge;
    return true;
}

// What others wait for may be held by a buffer in which nothing lies any more.
static void let_go_empty_buffer(struct connection *connection)
{
    if (have(connection) > 0 || connection->charge == 0)
        return;
    buffer_unref(connection->in);
    connection->in = NULL;
    connection->start = connection->end = 0;
    connection->listener->request_bytes -= connection->charge;
    connection->charge = 0;
}

// --- receiving --------------------------------------------------------------------------------

static void adapt_want(struct connection *connection, size_t asked, size_t received)
{
    if (received == asked && connection->want < CONNECTION_BURST_BYTES)
        connection->want *= 4;
    else if (received < CONNECTION_IDLE_BYTES)
        connection->want = CONNECTION_IDLE_BYTES;
}

static void receive_done(struct io_op *op)
{
    struct connection *connection = list_entry(op, struct connection, receive_op);
    connection->receiving = false;
    connection_touch(connection);
    if (connection->state != CONNECTION_OPEN)
        return;
    if (op->result > 0) {
        connection->end += (size_t)op->result;
        if (!connection->receiving_whole)
            adapt_want(connection, connection->receiving_size, (size_t)op->result);
        connection_active(connection);
    } else if (op->result == 0) {
        connection_drain(connection);
    } else {
        connection_break(connection);
    }
}

static void start_receive(struct connection *connection, size_t need)
{
    size_t size = connection->in->capacity - connection->end;
    size_t rest = connection->start + need - connection->end;
    connection->receiving_whole = rest >= WHOLE_MIN;
    if (connection->receiving_whole) {
        size = rest < size ? rest : size;
        size = size < CONNECTION_PIECE_BYTES ? size : CONNECTION_PIECE_BYTES;
    }
    connection->receiving = true;
    connection->receiving_size = size;
    connection->receive_op.done = receive_done;
    io_receive(connection->shard->io, &connection->receive_op, connection->fd,
               connection->in->data + connection->end, size, connection->receiving_whole);
}

void receive_advance(struct connection *connection)
{
    if (connection->state != CONNECTION_OPEN || connection->receiving)
        return;
    size_t need = dispatch_complete(connection);
    if (need == 0)
        return;
    // What arrives of a large request before its size is known is copied: as little as can be.
    if (need > CONNECTION_BURST_BYTES)
        connection->want = CONNECTION_IDLE_BYTES;
    struct listener *listener = connection->listener;
    bool begun = have(connection) > 0;
    bool memory = present_buffer_serves(connection, need);
    if (listener_is_full(listener) && !(begun && memory)) {
        let_go_empty_buffer(connection);
        listener_pause(listener, connection);
        return;
    }
    if (!memory && !replace_buffer(connection, need)) {
        listener_pause(listener, connection);
        return;
    }
    start_receive(connection, need);
}
