// SPDX-License-Identifier: Apache-2.0
// Requests and replies of a connection that has a socket.
//
//     queue --encoded--> outgoing --sent--> (flights --reply-->) done
//
// Invariants
//  1. A request with `connection` set is on exactly one of: the queue (not `sent`), or, when
//     `sent`, the flights, or (no_reply) an outgoing. It leaves by request_finish or by
//     request_cancel, once.
//  2. Replies come in the order of the requests; one whose correlation id is not that of the first
//     flight means that the peer and we disagree on everything after it: the connection is closed.
//  3. The vectors of an outgoing stay valid until it is sent: its own bytes are in its arena, and
//     spliced ones belong to the request; so cancelling such a request dooms the connection.
//  4. Nothing that the peer sends is believed before it is decoded; what cannot be decoded closes
//     the connection.
#include "clients/c/connection_exchange.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/check.h"
#include "clients/c/error.h"
#include "gen/kp_apis.h"
#include "protocol/frame.h"

enum {
    FLIGHTS_MAX = 1024,
    VECTORS_PER_SEND = 512, // a request for many partitions has two for each
    SPARE_MAX = 8,
    ENCODED_LIMIT = 64 << 20, // own bytes of one request, without records
};

struct outgoing {
    struct list node;
    struct arena arena;
    struct iovec *vectors; // the first one is cut as its bytes are sent
    int vector_count;
    bool spliced;
    struct request *request; // NULL when cancelled or already answered
};

void exchange_schedule(struct connection *connection)
{
    if (list_empty(&connection->sending))
        list_append(&connection->client->sending, &connection->sending);
}

void request_finish(struct request *request, int error)
{
    timer_cancel(&request->client->timers, &request->timer);
    list_remove(&request->node);
    request->connection = NULL;
    request->done(request, error, NULL);
}

static void request_expired(struct timer *timer)
{
    struct request *request = list_entry(timer, struct request, timer);
    struct connection *connection = request->connection;
    if (!request->sent) {
        request_finish(request, WEIR_ERR_TIMED_OUT);
        return;
    }
    const char *api = kp_api_find(request->api_key)->name;
    if (request->cut)
        connection_close(connection, WEIR_ERR_TIMED_OUT, "%s did not answer %s in time",
                         connection->node->name, api);
    else
        connection_close(connection, WEIR_ERR_TIMED_OUT, "%s did not answer %s within %llu ms",
                         connection->node->name, api,
                         (unsigned long long)(request->timeout_ns / MS));
}

void connection_submit(struct connection *connection, struct request *request)
{
    struct weir_client *client = connection->client;
    CHECK(!request->connection);
    request->connection = request->last = connection;
    request->client = client;
    request->sent = false;
    request->timer = (struct timer){.expired = request_expired};
    list_append(&connection->queue, &request->node);
    exchange_schedule(connection);
    // Without memory for the timer the request has no time limit; the connection's end ends it.
    timer_set(&client->timers, &request->timer, client->now_ns + request->timeout_ns);
}

// ----------------------------------------------------------------------------------- cancelling

static void outgoing_recycle(struct connection *connection, struct outgoing *outgoing)
{
    size_t spares = 0;
    list_remove(&outgoing->node);
    for (struct list *node = connection->spare.next; node != &connection->spare; node = node->next)
        spares++;
    if (spares < SPARE_MAX) {
        arena_reset(&outgoing->arena);
        list_append(&connection->spare, &outgoing->node);
    } else {
        arena_free(&outgoing->arena);
        free(outgoing);
    }
}

static void outgoing_clear(struct connection *connection)
{
    list_each(node, &connection->outgoing)
        outgoing_recycle(connection, list_entry(node, struct outgoing, node));
}

static struct flight *flight_at(struct connection *connection, uint32_t i)
{
    uint32_t slot = (connection->flight_start + i) & (connection->flight_capacity - 1);
    return &connection->flights[slot];
}

void request_cancel(struct request *request)
{
    struct connection *connection = request->connection;
    if (!connection)
        return;
    timer_cancel(&connection->client->timers, &request->timer);
    list_remove(&request->node);
    request->connection = NULL;
    for (uint32_t i = 0; request->sent && i < connection->flight_count; i++) {
        if (flight_at(connection, i)->request == request)
            flight_at(connection, i)->request = NULL;
    }
    bool unsent_splices = false;
    list_each(node, &connection->outgoing) {
        struct outgoing *outgoing = list_entry(node, struct outgoing, node);
        if (outgoing->request != request)
            continue;
        outgoing->request = NULL;
        unsent_splices = outgoing->spliced;
    }
    if (unsent_splices) {
        shutdown(connection->fd, SHUT_RDWR);
        connection->doomed = true;
        for (struct list *node = connection->outgoing.next; node != &connection->outgoing;
             node = node->next)
            list_entry(node, struct outgoing, node)->vector_count = 0;
        exchange_schedule(connection);
    }
}

void exchange_take_all(struct connection *connection, struct list *to)
{
    for (; connection->flight_count > 0; connection->flight_count--, connection->flight_start++) {
        struct flight *flight = flight_at(connection, 0);
        if (flight->request)
            list_append(to, &flight->request->node);
    }
    list_each(node, &connection->outgoing) {
        struct outgoing *outgoing = list_entry(node, struct outgoing, node);
        if (outgoing->request && outgoing->request->no_reply)
            list_append(to, &outgoing->request->node);
        outgoing_recycle(connection, outgoing);
    }
    list_splice(to, &connection->queue);
}

void exchange_free(struct connection *connection)
{
    outgoing_clear(connection);
    list_each(node, &connection->spare) {
        struct outgoing *outgoing = list_entry(node, struct outgoing, node);
        list_remove(&outgoing->node);
        arena_free(&outgoing->arena);
        free(outgoing);
    }
    free(connection->flights);
}

// -------------------------------------------------------------------------------------- sending

// Room for one more flight. False when memory is short or too many are under way.
static bool flight_reserve(struct connection *connection)
{
    if (connection->flight_count < connection->flight_capacity)
        return true;
    uint32_t capacity = connection->flight_capacity ? connection->flight_capacity * 2 : 16;
    if (capacity > FLIGHTS_MAX)
        return false;
    struct flight *flights = calloc(capacity, sizeof(*flights));
    if (!flights)
        return false;
    for (uint32_t i = 0; i < connection->flight_count; i++)
        flights[i] = *flight_at(connection, i);
    free(connection->flights);
    connection->flights = flights;
    connection->flight_start = 0;
    connection->flight_capacity = capacity;
    return true;
}

static struct outgoing *outgoing_new(struct connection *connection)
{
    struct list *spare = list_pop(&connection->spare);
    if (spare)
        return list_entry(spare, struct outgoing, node);
    struct outgoing *outgoing = calloc(1, sizeof(*outgoing));
    if (!outgoing)
        return NULL;
    arena_init(&outgoing->arena, ENCODED_LIMIT);
    list_init(&outgoing->node);
    return outgoing;
}

// The highest version that the broker, the schema and the sender all know; -1 for none.
static int16_t version_choose(const struct connection *connection, const struct request *request,
                              const struct kp_api *api)
{
    struct api_range range = connection->apis[request->api_key];
    int16_t version = range.max < api->max ? range.max : api->max;
    if (request->version_max < version)
        version = request->version_max;
    bool common = version >= range.min && version >= api->min && version >= request->version_min;
    return common ? version : -1;
}

// Writes the frame. Returns 0, or the error the request ends with.
static int request_encode(struct connection *connection, struct request *request,
                          struct outgoing *outgoing)
{
    const struct kp_api *api = kp_api_find(request->api_key);
    CHECK(api && request->api_key < CONNECTION_APIS);
    if (request != &connection->negotiation)
        request->version = version_choose(connection, request, api);
    if (request->version < 0)
        return WEIR_ERR_UNSUPPORTED;
    struct kp_writer writer;
    kp_writer_init(&writer, &outgoing->arena);
    size_t mark = kp_frame_begin(&writer);
    struct kp_request_header header = {
        .api_key = request->api_key,
        .api_version = request->version,
        .correlation_id = connection->correlation_id,
        .client_id = span_text(connection->client->config.client_id),
    };
    kp_request_header_write(&writer, &header);
    request->encode(request, &writer);
    kp_frame_end(&writer, mark);
    outgoing->vector_count = kp_writer_vectors(&writer, &outgoing->vectors);
    outgoing->spliced = writer.splice_count > 0;
    return outgoing->vector_count < 0 ? WEIR_ERR_NO_MEMORY : 0;
}

// Encodes the request, which is off the queue, and makes it a flight.
static void request_launch(struct connection *connection, struct request *request)
{
    struct outgoing *outgoing = outgoing_new(connection);
    int error = outgoing ? request_encode(connection, request, outgoing) : WEIR_ERR_NO_MEMORY;
    if (error) {
        if (outgoing)
            outgoing_recycle(connection, outgoing);
        request_finish(request, error);
        return;
    }
    outgoing->request = request;
    list_append(&connection->outgoing, &outgoing->node);
    request->sent = true;
    connection->client->stats.requests++;
    int32_t correlation_id = connection->correlation_id++;
    if (connection->correlation_id < 0)
        connection->correlation_id = 0;
    if (request->no_reply)
        return;
    *flight_at(connection, connection->flight_count++) = (struct flight){
        .request = request,
        .correlation_id = correlation_id,
        .api_key = request->api_key,
        .version = request->version,
    };
}

static void queue_encode(struct connection *connection)
{
    while (!list_empty(&connection->queue)) {
        struct request *request = list_entry(connection->queue.next, struct request, node);
        bool negotiation = request == &connection->negotiation;
        if (connection->state != CONNECTION_READY && !negotiation)
            return;
        if (!flight_reserve(connection))
            return;
        list_remove(&request->node);
        request_launch(connection, request);
    }
}

// Fills `vectors` with what is to be sent next.
static size_t gather(struct connection *connection, struct iovec *vectors)
{
    size_t count = 0;
    for (struct list *node = connection->outgoing.next; node != &connection->outgoing;
         node = node->next) {
        struct outgoing *outgoing = list_entry(node, struct outgoing, node);
        for (int i = 0; i < outgoing->vector_count && count < VECTORS_PER_SEND; i++)
            vectors[count++] = outgoing->vectors[i];
    }
    return count;
}

// `sent` bytes have left: drops the outgoings that are complete.
static void outgoing_advance(struct connection *connection, size_t sent)
{
    list_each(node, &connection->outgoing) {
        struct outgoing *outgoing = list_entry(node, struct outgoing, node);
        while (outgoing->vector_count > 0 && sent >= outgoing->vectors->iov_len) {
            sent -= outgoing->vectors->iov_len;
            outgoing->vectors++;
            outgoing->vector_count--;
        }
        if (outgoing->vector_count > 0) {
            outgoing->vectors->iov_base = (char *)outgoing->vectors->iov_base + sent;
            outgoing->vectors->iov_len -= sent;
            return;
        }
        struct request *request = outgoing->request;
        outgoing_recycle(connection, outgoing);
        if (request && request->no_reply)
            request_finish(request, WEIR_OK);
    }
}

int exchange_send(struct connection *connection)
{
    queue_encode(connection);
    while (connection->writable && !list_empty(&connection->outgoing)) {
        struct iovec vectors[VECTORS_PER_SEND];
        struct transport *transport = &connection->transport;
        long sent = transport->kind->write(transport, vectors, gather(connection, vectors));
        if (sent == -EAGAIN) {
            connection->writable = false;
            return 0;
        }
        if (sent < 0)
            return (int)sent;
        connection->client->stats.bytes_sent += (uint64_t)sent;
        outgoing_advance(connection, (size_t)sent);
    }
    return 0;
}

// ------------------------------------------------------------------------------------- receiving

// Whatever was under way may succeed on another connection, so this is a failure of the transport.
static void protocol_violation(struct connection *connection, const char *what)
{
    connection_close(connection, WEIR_ERR_TRANSPORT, "%s sent %s; the connection was closed",
                     connection->node->name, what);
}

// Matches a frame with the first flight, and completes it.
static void reply_handle(struct connection *connection, struct frame *frame)
{
    struct weir_client *client = connection->client;
    if (connection->flight_count == 0) {
        protocol_violation(connection, "a reply that nobody asked for");
        return;
    }
    struct flight flight = *flight_at(connection, 0);
    struct reply reply = {
        .reader = kp_reader_init(frame->data, frame->size),
        .version = flight.version,
        .arena = &client->decoded,
        .frame = frame,
    };
    int32_t correlation_id = 0;
    const struct kp_api *api = kp_api_find(flight.api_key);
    if (kp_response_header_read(&reply.reader, api, flight.version, &correlation_id) != 0 ||
        correlation_id != flight.correlation_id) {
        protocol_violation(connection, "a reply to something else");
        return;
    }
    connection->flight_start++;
    connection->flight_count--;
    // What had no room among the flights has it now.
    if (!list_empty(&connection->queue))
        exchange_schedule(connection);
    client->stats.responses++;
    struct request *request = flight.request;
    if (!request)
        return;
    timer_cancel(&client->timers, &request->timer);
    request->connection = NULL;
    // A broker may answer before it has read all of a request that it refuses.
    list_each(node, &connection->outgoing) {
        struct outgoing *outgoing = list_entry(node, struct outgoing, node);
        if (outgoing->request == request && outgoing->spliced) {
            protocol_violation(connection, "a reply before it had the whole request");
            request->done(request, WEIR_ERR_TRANSPORT, NULL);
            return;
        }
        if (outgoing->request == request)
            outgoing->request = NULL;
    }
    bool decoded = request->done(request, WEIR_OK, &reply);
    arena_reset(&client->decoded);
    if (!decoded && connection->state >= CONNECTION_NEGOTIATING)
        protocol_violation(connection, "a reply that cannot be decoded");
}

static void frames_handle(struct connection *connection)
{
    struct frame frame;
    int result = 0;
    while (connection->state >= CONNECTION_NEGOTIATING && !connection->doomed &&
           (result = receive_next(&connection->receive, &frame)) > 0) {
        reply_handle(connection, &frame);
        if (frame.buffer)
            buffer_unref(frame.buffer);
    }
    if (connection->state < CONNECTION_NEGOTIATING || connection->doomed || result == 0)
        return;
    if (result == -ENOMEM)
        connection_close(connection, WEIR_ERR_NO_MEMORY, "no memory for an answer of %s",
                         connection->node->name);
    else
        protocol_violation(connection, "a frame longer than receive.message.max.bytes");
}

void exchange_receive(struct connection *connection)
{
    for (;;) {
        bool full;
        long got = receive_fill(&connection->receive, &connection->transport, &full);
        if (got == -EPIPE) {
            connection_close(connection, WEIR_ERR_TRANSPORT, "%s closed the connection",
                             connection->node->name);
            return;
        }
        if (got < 0) {
            connection_close(connection, error_from_errno((int)-got),
                             "the connection to %s was lost: %s", connection->node->name,
                             strerror((int)-got));
            return;
        }
        if (got == 0)
            return;
        connection->client->stats.bytes_received += (uint64_t)got;
        frames_handle(connection);
        if (connection->state < CONNECTION_NEGOTIATING || connection->doomed)
            return;
        if (!full && !connection->hung_up)
            return;
    }
}
