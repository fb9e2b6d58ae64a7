// SPDX-License-Identifier: Apache-2.0
// A request's memory, its header, and the ways in which it ends. Requests are recycled, each with
// the first block of its arena, so that a request in the steady state allocates nothing.
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "broker/connection_internal.h"
#include "broker/handlers/handlers.h"
#include "broker/shard.h"

enum {
    IDLE_REQUESTS_MAX = 512,      // kept by a shard for reuse
    IDLE_ARENA_BYTES = 16 * 1024, // a larger block is not kept with them
    ARENA_LIMIT = 64 << 20,       // for decoding, a handler's state and the reply
    ARENA_UNPROVEN_LIMIT = 1 << 20,
};

struct request *request_create(struct connection *connection)
{
    struct listener *listener = connection->listener;
    struct list *node = list_pop(&listener->idle_requests);
    struct request *request;
    struct arena arena;
    if (node) {
        request = list_entry(node, struct request, node);
        listener->idle_request_count--;
        arena = request->arena;
    } else {
        request = malloc(sizeof(*request));
        if (!request)
            return NULL;
        arena_init(&arena, 0);
    }
    *request = (struct request){
        .shard = connection->shard,
        .connection = connection,
        .arena = arena,
        .received_ns = connection->shard->io->now_ns,
        .pin = buffer_ref(connection->in),
    };
    request->arena.limit = connection->proven ? ARENA_LIMIT : ARENA_UNPROVEN_LIMIT;
    list_append(&connection->requests, &request->node);
    connection->in_flight++;
    return request;
}

static void recycle(struct listener *listener, struct request *request)
{
    arena_reset(&request->arena);
    size_t kept = (size_t)(request->arena.end - request->arena.at);
    if (kept > IDLE_ARENA_BYTES || listener->idle_request_count >= IDLE_REQUESTS_MAX) {
        arena_free(&request->arena);
        free(request);
        return;
    }
    list_append(&listener->idle_requests, &request->node);
    listener->idle_request_count++;
}

void request_hold(struct request *request)
{
    request->holds++;
}

void request_let_go(struct request *request)
{
    CHECK(request->holds > 0);
    request->holds--;
    if (request->holds > 0 || !request->detached)
        return;
    struct listener *listener = request->shard->listener;
    recycle(listener, request);
    listener_let_go(listener);
}

void request_destroy(struct request *request)
{
    struct connection *connection = request->connection;
    struct listener *listener = connection->listener;
    CHECK(request->finished);
    if (request->cleanup)
        request->cleanup(request);
    listener->reply_bytes -= request->reply_charge;
    listener->request_bytes -= request->charge;
    if (request->api && request->api->large_replies)
        connection->large_replies--;
    connection->in_flight--;
    connection->in_flight_bytes -= request->body_charge;
    list_remove(&request->node);
    if (request->pin)
        buffer_unref(request->pin);
    if (request->holds == 0) {
        recycle(listener, request);
        return;
    }
    request->detached = true;
    listener_hold(listener);
}

static void refuse_kind(struct request *request, const struct kp_request_header *header)
{
    char why[64];
    snprintf(why, sizeof(why), "API key %d in version %d is not served", header->api_key,
             header->api_version);
    request_abort(request, why);
}

static void dispatch_known(struct request *request, struct kp_request_header *header)
{
    const struct api *api = registry_find(header->api_key);
    if (!api || header->api_version < api->min_version || header->api_version > api->max_version) {
        refuse_kind(request, header);
        return;
    }
    request->api = api;
    if (api->large_replies)
        request->connection->large_replies++;
    api->handle(request);
}

static void charge(struct request *request, size_t bytes)
{
    request->charge += bytes;
    request->connection->listener->request_bytes += bytes;
}

void request_dispatch(struct request *request, struct span frame)
{
    charge(request, frame.size);
    request->body_charge = frame.size;
    request->connection->in_flight_bytes += frame.size;
    request->body = kp_reader_init(frame.data, frame.size);
    struct kp_request_header header;
    enum kp_frame_status status = kp_request_header_read(&request->body, &header, &request->schema);
    request->version = header.api_version;
    request->correlation_id = header.correlation_id;
    request->client_id = header.client_id;
    switch (status) {
    case KP_FRAME_OK:
        dispatch_known(request, &header);
        break;
    case KP_FRAME_UNKNOWN_API_VERSIONS:
        request->version = 0;
        handle_unknown_api_versions(request);
        break;
    case KP_FRAME_MALFORMED:
        request_abort(request, "bytes that are no request");
        break;
    case KP_FRAME_UNKNOWN_API:
    case KP_FRAME_UNKNOWN_VERSION:
        refuse_kind(request, &header);
        break;
    }
}

bool request_is_malformed(struct request *request, int decoded)
{
    // Later the handler may have lent the arena to another shard.
    charge(request, request->arena.used);
    // What follows a complete message is ignored, as Kafka ignores it: librdkafka 2.16 puts three
    // bytes too many behind Metadata for all topics.
    if (decoded == 0 && !request->body.failed) {
        // A first request that makes sense may have a large answer: all topics, for instance.
        request->arena.limit = ARENA_LIMIT;
        return false;
    }
    request_abort(request, "a request that does not parse");
    return true;
}

void request_unpin_body(struct request *request)
{
    if (request->pin)
        buffer_unref(request->pin);
    request->pin = NULL;
    request->client_id = (struct span){0};
}

void request_drop_body(struct request *request)
{
    if (!request->pin)
        return;
    request_unpin_body(request);
    request->charge -= request->body_charge;
    request->connection->listener->request_bytes -= request->body_charge;
}

void request_begin_reply(struct request *request)
{
    kp_writer_init(&request->reply, &request->arena);
    request->frame_mark = kp_frame_begin(&request->reply);
    kp_response_header_write(&request->reply, request->schema, request->version,
                             request->correlation_id);
}

static void finish(struct request *request)
{
    CHECK(!request->finished);
    request->finished = true;
    connection_touch(request->connection);
}

void request_reply(struct request *request)
{
    kp_frame_end(&request->reply, request->frame_mark);
    int count = kp_writer_vectors(&request->reply, &request->vectors);
    if (count < 0) {
        request_abort(request, "a request whose answer exceeds the memory for one");
        return;
    }
    request->vector_count = (uint32_t)count;
    request->reply_charge = kp_writer_total(&request->reply);
    request->connection->listener->reply_bytes += request->reply_charge;
    request->connection->proven = true;
    finish(request);
}

void request_no_reply(struct request *request)
{
    request->silent = true;
    request->connection->proven = true;
    finish(request);
}

void request_abort(struct request *request, const char *why)
{
    listener_complain(request->connection, "%s%s%s", why, request->api ? " to " : "",
                      request->api ? request->api->name : "");
    request->aborted = true;
    finish(request);
    connection_drain(request->connection);
}
