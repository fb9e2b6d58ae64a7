// SPDX-License-Identifier: Apache-2.0
// What carries a connection's bytes over its socket: the socket as it is, or a kind that protects
// them. A connection asks for the handshake once the socket is connected, and reads and writes only
// after that. Nothing here waits.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/uio.h>

struct transport;

struct transport_kind {
    // Goes on with the handshake: 1 when it is done, 0 when it goes on with the next event of the
    // socket, -EPROTO when the peer is refused, or another -errno. Called once at the start, and
    // with each event until it is done.
    int (*handshake)(struct transport *transport);
    // Reads once. Bytes; 0 when there are none at the moment; -EPIPE at the end of the stream, or
    // another -errno. *more tells whether there may be more without a further event.
    long (*read)(struct transport *transport, void *to, size_t room, bool *more);
    // So many more bytes are wanted, at least 1: the event of the socket need not come before they
    // are there, or as many of them as the kernel is willing to hold.
    void (*await)(struct transport *transport, size_t bytes);
    // Bytes taken, at least 1; -EAGAIN until the next event, or another -errno. A call after that
    // may bring the same bytes from another place.
    long (*write)(struct transport *transport, const struct iovec *vectors, size_t count);
    // Frees `state`. The socket stays open: it is the connection's.
    void (*close)(struct transport *transport);
};

struct transport {
    const struct transport_kind *kind; // NULL: not open
    int fd;
    int awaited; // bytes that the kernel was told to wait for; 0: none
    void *state; // the kind's own
};

// The socket as it is.
extern const struct transport_kind transport_plain;

// Takes a socket. `transport` is not open.
void transport_open(struct transport *transport, const struct transport_kind *kind, int fd);

// Harmless when it is not open.
void transport_close(struct transport *transport);
