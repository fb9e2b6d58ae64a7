// SPDX-License-Identifier: Apache-2.0
// The part of a connection that moves requests and replies; used by connection.c only.
#pragma once

#include "clients/c/connection.h"

// Sent, and to be answered.
struct flight {
    struct request *request; // NULL: nobody waits for the reply any more
    int32_t correlation_id;
    int16_t api_key;
    int16_t version;
};

// Has connection_send called in this turn of the loop, or in the next.
void exchange_schedule(struct connection *connection);

// Takes all requests off the connection, in the order of their submission, and appends them to
// `to`; they are then to be passed to request_finish.
void exchange_take_all(struct connection *connection, struct list *to);

// Calls `done` with the error.
void request_finish(struct request *request, int error);

// Drops what was encoded and frees what is kept for reuse.
void exchange_free(struct connection *connection);

// Encodes queued requests, and sends until the socket takes no more. Returns 0 or -errno.
int exchange_send(struct connection *connection);

// Receives and handles replies until there is nothing more to read. May close the connection.
void exchange_receive(struct connection *connection);
