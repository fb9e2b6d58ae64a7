// SPDX-License-Identifier: Apache-2.0
// A client of shard 0 at the other end of a socket pair.
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>

#include "tests/unit/broker_shards.h"

enum { PEER_BYTES_MAX = 1 << 20 };

struct peer {
    struct shards *shards;
    struct connection *connection;
    int fd; // the client's end, non-blocking
    uint8_t *received;
    size_t size;
    bool closed;
};

static inline struct peer *peer_open(struct shards *shards)
{
    int ends[2];
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    int bytes = 4096;
    setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
    cr_assert_eq(fcntl(ends[1], F_SETFL, O_NONBLOCK), 0);
    struct peer *peer = calloc(1, sizeof(*peer));
    *peer = (struct peer){.shards = shards, .fd = ends[1], .received = malloc(PEER_BYTES_MAX)};
    atomic_fetch_add(&shards->server.connections, 1);
    peer->connection = connection_create(shards->shard[0].listener, ends[0]);
    cr_assert_not_null(peer->connection);
    return peer;
}

static inline void peer_read(struct peer *peer)
{
    ssize_t size;
    while ((size = read(peer->fd, peer->received + peer->size, PEER_BYTES_MAX - peer->size)) > 0)
        peer->size += (size_t)size;
    peer->closed = size == 0 || (size < 0 && errno == ECONNRESET);
}

// Both sides until neither has anything to do.
static inline void peer_settle(struct peer *peer)
{
    size_t before;
    do {
        before = peer->size;
        shards_settle(peer->shards);
        peer_read(peer);
    } while (peer->size > before);
}

static inline void peer_write(struct peer *peer, const void *data, size_t size)
{
    const uint8_t *at = data;
    while (size > 0) {
        ssize_t written = write(peer->fd, at, size);
        if (written > 0) {
            at += written;
            size -= (size_t)written;
        } else {
            peer_settle(peer);
            if (peer->closed)
                return;
        }
    }
    peer_settle(peer);
}

static inline void peer_close(struct peer *peer)
{
    close(peer->fd);
    shards_settle(peer->shards);
    cr_assert(list_empty(&peer->shards->shard[0].listener->connections));
    cr_assert_eq(atomic_load(&peer->shards->server.connections), 0);
    cr_assert_eq(peer->shards->shard[0].listener->request_bytes, 0);
    cr_assert_eq(peer->shards->shard[0].listener->reply_bytes, 0);
    free(peer->received);
    free(peer);
}
