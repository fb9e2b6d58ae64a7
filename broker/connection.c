// SPDX-License-Identifier: Apache-2.0
// The life of one connection, from the accepted descriptor to its closing.
//
// States: OPEN -> DRAINING (the client ended its side, a request was malformed, the broker stops)
// -> CLOSING; OPEN or DRAINING -> BROKEN (an error on the socket, a breach of the protocol, a
// client that does not move) -> CLOSING; CLOSING -> freed.
//
// Invariants
//  1. Requests stay in the queue, in order of arrival, from request_create to request_destroy.
//  2. The connection outlives its requests: it closes only with an empty queue and with no send and
//     no receive in flight, so request->connection is always good.
//  3. Nothing is sent, received or closed from inside a handler: handlers finish requests, that
//     touches the connection, and the listener advances it before the loop waits. So the replies
//     that become ready in one turn leave in one system call.
#include "broker/connection_internal.h"

#include <errno.h>
#include <stdlib.h>

#include "base/check.h"
#include "broker/shard.h"

struct connection *connection_create(struct listener *listener, int fd)
{
    struct connection *connection = calloc(1, sizeof(*connection));
    if (!connection)
        return NULL;
    connection->shard = listener->shard;
    connection->listener = listener;
    connection->fd = fd;
    connection->want = CONNECTION_IDLE_BYTES;
    connection->active_ns = listener->shard->io->now_ns;
    list_append(&listener->connections, &connection->node);
    list_init(&connection->dirty);
    list_init(&connection->paused);
    list_init(&connection->requests);
    connection_touch(connection);
    return connection;
}

void connection_touch(struct connection *connection)
{
    if (list_empty(&connection->dirty))
        list_append(&connection->listener->dirty, &connection->dirty);
}

void connection_active(struct connection *connection)
{
    connection->active_ns = connection->shard->io->now_ns;
    list_remove(&connection->node);
    list_append(&connection->listener->connections, &connection->node);
}

static void interrupt_requests(struct connection *connection)
{
    list_each(node, &connection->requests) {
        struct request *request = list_entry(node, struct request, node);
        if (!request->finished && request->interrupt)
            request->interrupt(request);
    }
}

static void stop_receiving(struct connection *connection)
{
    list_remove(&connection->paused);
    if (connection->receiving)
        io_cancel(connection->shard->io, &connection->receive_op);
}

void connection_drain(struct connection *connection)
{
    if (connection->state != CONNECTION_OPEN)
        return;
    connection->state = CONNECTION_DRAINING;
    stop_receiving(connection);
    interrupt_requests(connection);
    connection_touch(connection);
}

void connection_break(struct connection *connection)
{
    if (connection->state == CONNECTION_BROKEN || connection->state == CONNECTION_CLOSING)
        return;
    connection->state = CONNECTION_BROKEN;
    stop_receiving(connection);
    if (connection->sending)
        io_cancel(connection->shard->io, &connection->send_op);
    interrupt_requests(connection);
    connection_touch(connection);
}

static void close_done(struct io_op *op)
{
    struct connection *connection = list_entry(op, struct connection, receive_op);
    struct listener *listener = connection->listener;
    list_remove(&connection->node);
    list_remove(&connection->dirty);
    free(connection);
    listener_forget(listener);
}

static void close_connection(struct connection *connection)
{
    connection->state = CONNECTION_CLOSING;
    if (connection->in)
        buffer_unref(connection->in);
    connection->in = NULL;
    connection->listener->request_bytes -= connection->charge;
    connection->charge = 0;
    connection->receive_op.done = close_done;
    io_close(connection->shard->io, &connection->receive_op, connection->fd);
}

void connection_advance(struct connection *connection)
{
    if (connection->state == CONNECTION_CLOSING)
        return;
    send_advance(connection);
    receive_advance(connection);
    bool ending = connection->state != CONNECTION_OPEN;
    if (ending && !connection->sending && !connection->receiving &&
        list_empty(&connection->requests))
        close_connection(connection);
}

int connection_local_address(const struct connection *connection, struct sockaddr_storage *out)
{
    socklen_t size = sizeof(*out);
    return getsockname(connection->fd, (struct sockaddr *)out, &size) == 0 ? 0 : -errno;
}

int connection_remote_address(const struct connection *connection, struct sockaddr_storage *out)
{
    socklen_t size = sizeof(*out);
    return getpeername(connection->fd, (struct sockaddr *)out, &size) == 0 ? 0 : -errno;
}
