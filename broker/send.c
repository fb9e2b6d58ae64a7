// SPDX-License-Identifier: Apache-2.0
// From finished requests to bytes on the wire, in the order in which the requests came.
//
// Invariants
//  1. At most one send is in flight. It covers the first `sending_count` requests of the queue, or
//     the first `sending_vectors` vectors of the first one when it has very many.
//  2. A request leaves the queue only after its bytes were taken by the kernel, or when the
//     connection is broken; only then are its slices given back.
//  3. A request that was aborted breaks the connection when it becomes the first: the replies
//     before it have left, none behind it will.
#include "broker/connection_internal.h"

#include "broker/shard.h"

enum { SEND_VECTORS_MAX = 1024 }; // what sendmsg takes

static struct request *first_request(struct connection *connection)
{
    return list_entry(connection->requests.next, struct request, node);
}

static void destroy_sent(struct connection *connection)
{
    struct request *first = first_request(connection);
    if (connection->sending_vectors > 0) {
        first->vectors += connection->sending_vectors;
        first->vector_count -= connection->sending_vectors;
        connection->sending_vectors = 0;
        if (first->vector_count > 0)
            return;
        connection->sending_count = 1;
    }
    while (connection->sending_count > 0) {
        connection->sending_count--;
        request_destroy(first_request(connection));
    }
}

static void send_done(struct io_op *op)
{
    struct connection *connection = list_entry(op, struct connection, send_op);
    connection->sending = false;
    connection_touch(connection);
    if (op->result < 0) {
        connection->sending_count = 0;
        connection->sending_vectors = 0;
        connection_break(connection);
        return;
    }
    connection_active(connection);
    destroy_sent(connection);
}

static void start_send(struct connection *connection, struct iovec *vectors, uint32_t count)
{
    connection->sending = true;
    connection->send_op.done = send_done;
    io_send(connection->shard->io, &connection->send_op, connection->fd, vectors, count);
}

// Requests without a reply go at once, wherever they are at the head.
static void skip_silent(struct connection *connection)
{
    while (!list_empty(&connection->requests)) {
        struct request *first = first_request(connection);
        if (!first->finished || !first->silent)
            return;
        request_destroy(first);
    }
}

// Collects the replies at the head of the queue that are ready into connection->vectors.
static uint32_t collect(struct connection *connection)
{
    uint32_t vectors = 0;
    size_t bytes = 0;
    list_each(node, &connection->requests) {
        struct request *request = list_entry(node, struct request, node);
        bool fits =
            vectors + request->vector_count <= CONNECTION_VECTORS && bytes < CONNECTION_SEND_BYTES;
        if (!request->finished || request->aborted || request->silent || !fits)
            break;
        for (uint32_t i = 0; i < request->vector_count; i++)
            connection->vectors[vectors++] = request->vectors[i];
        bytes += kp_writer_total(&request->reply);
        connection->sending_count++;
    }
    return vectors;
}

static void throw_away(struct connection *connection)
{
    list_each(node, &connection->requests) {
        struct request *request = list_entry(node, struct request, node);
        if (request->finished)
            request_destroy(request);
    }
}

void send_advance(struct connection *connection)
{
    if (connection->sending)
        return;
    if (connection->state == CONNECTION_BROKEN) {
        throw_away(connection);
        return;
    }
    skip_silent(connection);
    if (list_empty(&connection->requests))
        return;
    struct request *first = first_request(connection);
    if (!first->finished)
        return;
    if (first->aborted) {
        connection_break(connection);
        throw_away(connection);
        return;
    }
    if (first->vector_count > CONNECTION_VECTORS) {
        connection->sending_vectors =
            first->vector_count < SEND_VECTORS_MAX ? first->vector_count : SEND_VECTORS_MAX;
        start_send(connection, first->vectors, connection->sending_vectors);
        return;
    }
    uint32_t count = collect(connection);
    start_send(connection, connection->vectors, count);
}
