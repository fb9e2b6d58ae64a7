// SPDX-License-Identifier: Apache-2.0
// The insides of a connection, for the files that share the work: connection.c (life and death),
// receive.c (bytes to requests), send.c (replies to bytes), request.c (a request's memory),
// listener.c (all connections of a shard).
#pragma once

#include "broker/connection.h"
#include "broker/listener.h"
#include "broker/request.h"
#include "storage/io.h"

enum {
    CONNECTION_IDLE_BYTES = 4096,          // buffer of a connection that waits for a request
    CONNECTION_BURST_BYTES = 64 * 1024,    // and of one that sends many small ones
    CONNECTION_UNPROVEN_BYTES = 64 * 1024, // largest request before the first valid one
    CONNECTION_STEP_BYTES = 2 << 20,       // larger requests get memory as their bytes arrive
    CONNECTION_PIECE_BYTES = 1 << 20,      // one receive asks for no more, so progress is visible
    CONNECTION_IN_FLIGHT = 100,            // requests without a reply sent
    CONNECTION_IN_FLIGHT_BYTES = 16 << 20, // in them: a device is busy with less
    CONNECTION_VECTORS = 24,               // replies sent together
    CONNECTION_SEND_BYTES = 4 << 20,       // likewise
};

enum connection_state {
    CONNECTION_OPEN,     // requests are read and answered
    CONNECTION_DRAINING, // nothing is read any more; closed when the last reply has left
    CONNECTION_BROKEN,   // replies are thrown away; closed when the last request is finished
    CONNECTION_CLOSING,  // the descriptor is being closed
};

struct connection {
    struct shard *shard;
    struct listener *listener;
    int fd;
    enum connection_state state;
    bool proven;        // has sent a valid request
    uint64_t active_ns; // of the last bytes received or sent
    struct list node;   // listener->connections, the longest inactive first
    struct list dirty;  // listener->dirty: something to send, receive or close
    struct list paused; // listener->paused: waits for memory before it receives
    // receive.c
    struct io_op receive_op;
    bool receiving;
    bool receiving_whole; // until receiving_size bytes are there
    size_t receiving_size;
    struct buffer *in; // NULL only while there is no memory for one
    size_t start;      // first byte not yet part of a request
    size_t end;        // behind the last byte received
    size_t want;       // size of the next buffer when nothing is known of the next request
    size_t charge;     // counted for `in`
    // send.c
    struct io_op send_op;
    bool sending;
    uint32_t sending_vectors; // of the first request when it is sent in parts; else 0
    struct list requests;     // in order of arrival, those being sent first
    uint32_t in_flight;       // length of that list
    size_t in_flight_bytes;   // of those requests
    uint32_t sending_count;   // how many of them are in the send
    uint32_t large_replies;   // requests in flight that block the next one
    struct iovec vectors[CONNECTION_VECTORS];
};

// --- connection.c -----------------------------------------------------------------------------

// Takes over the descriptor. NULL when memory is short: the descriptor is then still the caller's.
struct connection *connection_create(struct listener *listener, int fd);

// Something changed: the listener will look at the connection before the loop waits.
void connection_touch(struct connection *connection);

// Bytes moved: not idle.
void connection_active(struct connection *connection);

// No more requests; those in work are finished and answered, waiting ones at once.
void connection_drain(struct connection *connection);

// No more requests and no more replies.
void connection_break(struct connection *connection);

// Sends, receives, closes: whatever can be done now.
void connection_advance(struct connection *connection);

// --- receive.c --------------------------------------------------------------------------------

// Turns what has arrived into requests and asks for more, as far as the bounds allow.
void receive_advance(struct connection *connection);

// --- send.c -----------------------------------------------------------------------------------

// Sends the finished replies at the head of the queue, unless a send is in flight.
void send_advance(struct connection *connection);

// --- request.c --------------------------------------------------------------------------------

// A request at the end of the connection's queue; NULL when memory is short.
struct request *request_create(struct connection *connection);

// Reads the header of `frame`, which lies in connection->in, and calls the handler.
void request_dispatch(struct request *request, struct span frame);

// Takes the request out of the queue, cleans up after it and recycles it.
void request_destroy(struct request *request);
