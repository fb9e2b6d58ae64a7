// SPDX-License-Identifier: Apache-2.0
// One TCP connection to one broker: connecting, agreeing on versions, pipelined requests, replies.
// Nothing here waits, and no request completes from inside connection_submit.
#pragma once

#include <netdb.h>

#include "base/arena.h"
#include "base/list.h"
#include "base/timer.h"
#include "clients/c/client.h"
#include "clients/c/receive.h"
#include "clients/c/transport.h"
#include "protocol/reader.h"
#include "protocol/writer.h"

enum connection_state {
    CONNECTION_IDLE,        // not connected, and nobody asked for it
    CONNECTION_PAUSED,      // failed; waits for its back-off to end
    CONNECTION_CONNECTING,  // the TCP handshake is under way
    CONNECTION_SECURING,    // the transport's handshake is
    CONNECTION_NEGOTIATING, // ApiVersions was sent
    CONNECTION_READY,
};

enum { CONNECTION_APIS = 128 };

struct reply {
    struct kp_reader reader; // at the body
    int16_t version;
    struct arena *arena; // for decoding; reset after the reply was handled
    struct frame *frame; // a receiver that takes frame->buffer sets it to NULL
};

// A request, embedded in whatever its sender needs to know when the reply comes.
//
// `encode` writes the body for request->version, when the connection is ready to send it. What it
// gives the writer to splice must stay valid until the request is done.
// `done` is called exactly once, from the loop. With error WEIR_OK there is a reply (none when
// no_reply is set: then the request was handed to the system); otherwise `reply` is NULL. It
// returns false when the reply cannot be decoded: the connection is then closed. The request
// belongs to its sender again when `done` is called, which may free it, or submit anything.
struct request {
    int16_t api_key;
    int16_t version_min; // the lowest version that serves its sender; 0: any
    int16_t version_max; // the highest version its sender can fill in
    bool no_reply;
    uint64_t timeout_ns; // from submission to reply
    bool cut;            // timeout_ns is only what is left of the time its sender was given
    void (*encode)(struct request *request, struct kp_writer *writer);
    bool (*done)(struct request *request, int error, struct reply *reply);

    // The connection's own business from submission to `done`.
    int16_t version;
    bool sent;                     // encoded; waits for a reply or for its last byte to be sent
    struct connection *connection; // NULL when not submitted
    struct connection *last;       // where it was submitted last, for sentences
    struct list node;
    struct timer timer;
    struct weir_client *client;
};

struct api_range {
    int16_t min;
    int16_t max; // -1: not offered
};

struct connection {
    struct list link; // in its node
    struct node *node;
    struct weir_client *client;
    const void *channel;
    enum connection_state state;
    bool wanted; // somebody waits for it to be ready
    bool writable;
    bool hung_up; // the peer will send no more than what is there
    bool doomed;  // to be closed at the next occasion
    int fd;
    struct transport transport; // open from CONNECTION_SECURING on
    uint32_t failures;          // in a row
    int error;                  // of the last failure
    char error_text[256];
    struct addrinfo *addresses; // while connecting
    struct addrinfo *address;   // the one being tried
    struct timer timer;         // connecting takes too long, or the pause is over
    struct list sending;        // in client->sending
    struct list queue;          // requests not encoded yet
    struct list outgoing;       // struct outgoing, encoded, not fully sent
    struct list spare;          // struct outgoing for reuse
    struct flight *flights;     // sent and to be answered, in order: a ring
    uint32_t flight_start;
    uint32_t flight_count;
    uint32_t flight_capacity;
    int32_t correlation_id; // of the next request
    struct request negotiation;
    struct api_range apis[CONNECTION_APIS];
    struct receive receive;
};

// NULL when memory is short. Does not connect.
struct connection *connection_new(struct weir_client *client, struct node *node,
                                  const void *channel);

// Closes; requests still with it are done with WEIR_ERR_ABANDONED.
void connection_free(struct connection *connection);

// Queues a request. Connects if necessary; while a pause lasts, requests queue. If connecting
// fails, all that are queued are done with the error.
void connection_submit(struct connection *connection, struct request *request);

// Takes a request back; its `done` is not called. A reply that still comes is dropped. If it is
// half sent, the connection is closed. Harmless when the request is not submitted.
void request_cancel(struct request *request);

// Whether a request would be sent at once. If not, sees to it that the connection gets ready:
// client_rouse is called then, and also when it fails.
bool connection_ready(struct connection *connection);

// The loop found events on the socket.
void connection_event(struct connection *connection, uint32_t events);

// Encodes what is queued, and sends what the socket takes.
void connection_send(struct connection *connection);

// Closes now: everything with it is done with `error`; `format` tells why, for sentences. The next
// attempt follows after a pause if somebody needs it.
void connection_close(struct connection *connection, int error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
