// SPDX-License-Identifier: Apache-2.0
// The socket as it is: no handshake, no state.
#include "clients/c/transport.h"

#include <errno.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/check.h"

static int plain_handshake(struct transport *transport)
{
    (void)transport;
    return 1;
}

static long plain_read(struct transport *transport, void *to, size_t room, bool *more)
{
    ssize_t got;
    do
        got = recv(transport->fd, to, room, MSG_DONTWAIT);
    while (got < 0 && errno == EINTR);
    *more = got > 0 && (size_t)got == room;
    if (got > 0)
        return got;
    if (got == 0)
        return -EPIPE;
    return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : -errno;
}

// A wake-up for each segment of a large answer costs the sender as much as sending it, on a machine
// that both share. A part at a time, so that it is copied out while the next is on its way.
static void plain_await(struct transport *transport, size_t bytes)
{
    enum { MOST = 256 << 10 };
    int wanted = bytes < MOST ? (int)bytes : MOST;
    if (wanted == transport->awaited || (wanted == 1 && transport->awaited == 0))
        return;
    if (setsockopt(transport->fd, SOL_SOCKET, SO_RCVLOWAT, &wanted, sizeof(wanted)) == 0)
        transport->awaited = wanted;
}

static long plain_write(struct transport *transport, const struct iovec *vectors, size_t count)
{
    struct msghdr message = {.msg_iovlen = count};
    message.msg_iov = (struct iovec *)(uintptr_t)vectors; // sendmsg does not write there
    ssize_t sent;
    do
        sent = sendmsg(transport->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (sent < 0 && errno == EINTR);
    if (sent >= 0)
        return sent;
    return errno == EWOULDBLOCK ? -EAGAIN : -errno;
}

static void plain_close(struct transport *transport)
{
    (void)transport;
}

const struct transport_kind transport_plain = {
    .handshake = plain_handshake,
    .read = plain_read,
    .await = plain_await,
    .write = plain_write,
    .close = plain_close,
};

void transport_open(struct transport *transport, const struct transport_kind *kind, int fd)
{
    CHECK(!transport->kind);
    *transport = (struct transport){.kind = kind, .fd = fd};
}

void transport_close(struct transport *transport)
{
    if (transport->kind)
        transport->kind->close(transport);
    *transport = (struct transport){.fd = -1};
}
