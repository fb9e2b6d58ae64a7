// SPDX-License-Identifier: Apache-2.0
// One request of a client, from its decoded header to its reply. Lives on the shard of its
// connection. Replies leave a connection in the order of its requests, whatever order they are
// finished in.
//
// A handler decodes the body, starts operations, and returns; when the last operation is done it
// encodes the reply and calls exactly one of request_reply, request_no_reply, request_abort. It may
// do so before it returns. The request, its arena and its body stay valid until then, also when
// the connection breaks meanwhile (the reply is then thrown away).
#pragma once

#include "base/arena.h"
#include "base/list.h"
#include "base/pool.h"
#include "protocol/frame.h"
#include "protocol/reader.h"
#include "protocol/writer.h"

struct connection;
struct shard;
struct request;

// One row per API: drives dispatch, the version check, the ApiVersions answer, metrics and the
// table in docs/protocol.md.
struct api {
    int16_t key;
    int16_t min_version; // that is served
    int16_t max_version;
    int16_t advertised_min;   // Produce says 0 though 0 to 2 are refused: see registry.c
    int16_t flexible_version; // first version with tagged fields
    bool large_replies;       // a connection's next request waits until such a reply has left
    const char *name;
    void (*handle)(struct request *request);
};

// NULL when it is not served.
const struct api *registry_find(int16_t key);
// All of them, in the order of their keys.
const struct api *registry_all(size_t *count);

struct request {
    struct shard *shard;
    struct connection *connection;
    const struct api *api; // NULL: ApiVersions in a version that is not known
    const struct kp_api *schema;
    int16_t version;
    int32_t correlation_id;
    struct span client_id;
    struct kp_reader body;  // not yet decoded; inside the receive buffer, which may be written to
    struct arena arena;     // for decoding, the handler's state and the reply
    struct kp_writer reply; // the handler encodes the body here, after request_begin_reply
    void *state;            // the handler's, from the arena
    uint64_t received_ns;
    // Called once the reply has left or was thrown away: the place to release log slices. May be
    // NULL. What is still in use after it returns is covered by request_hold.
    void (*cleanup)(struct request *request);
    // Called while the request waits for something that may take long, when the client has gone or
    // the broker stops: finish now, or soon. May be NULL, may be called again.
    void (*interrupt)(struct request *request);
    // Private to the connection from here on.
    struct list node;
    uint32_t holds;
    bool detached; // out of the connection's queue, waits for the holds
    bool finished;
    bool silent;        // no reply is sent
    bool aborted;       // instead of a reply the connection breaks
    struct buffer *pin; // holds the bytes of `body`; NULL when those are not needed any more
    size_t body_charge; // part of `charge`
    size_t charge;      // bytes counted against the shard's bounds
    size_t reply_charge;
    size_t frame_mark; // where the reply begins
    struct iovec *vectors;
    uint32_t vector_count;
};

// After decoding the body with `decoded` as the result: true when it was malformed. The request is
// then aborted already and the handler returns. More bytes behind the message are no error.
bool request_is_malformed(struct request *request, int decoded);

// Writes the response header for the request's version; then encode the body into ->reply.
void request_begin_reply(struct request *request);

// The reply is complete in ->reply. Slices spliced into it must stay valid until `cleanup`.
void request_reply(struct request *request);

// The client expects none (Produce with acks=0).
void request_no_reply(struct request *request);

// Nothing needs the body any more, nor client_id: gives its memory back before the reply, so that a
// request that waits for long does not keep the shard from reading the ones it waits for.
void request_drop_body(struct request *request);

// As above, for a body whose contents have gone to the memory of a log: it still counts against the
// shard's bound until the reply, so that no more is read than can be stored.
void request_unpin_body(struct request *request);

// The connection is closed after the replies before this one; `why` is a constant sentence for the
// log. For malformed bodies and for what the protocol has no answer to.
void request_abort(struct request *request, const char *why);

// Called by `cleanup`: the request's memory stays until request_let_go was called as often.
void request_hold(struct request *request);
void request_let_go(struct request *request);
