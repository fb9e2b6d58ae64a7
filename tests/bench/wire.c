// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/wire.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/check.h"

_Noreturn void wire_give_up(const char *what, const char *why)
{
    fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what, why);
    exit(1);
}

int wire_connect(const char *address)
{
    char host[256];
    const char *colon = strrchr(address, ':');
    struct addrinfo *found, hints = {.ai_socktype = SOCK_STREAM};
    if (!colon || (size_t)(colon - address) >= sizeof(host))
        wire_give_up(address, "this is no HOST:PORT");
    memcpy(host, address, (size_t)(colon - address));
    host[colon - address] = '\0';
    int error = getaddrinfo(host, colon + 1, &hints, &found);
    if (error != 0)
        wire_give_up(address, gai_strerror(error));
    int fd = socket(found->ai_family, found->ai_socktype | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, found->ai_addr, found->ai_addrlen) != 0)
        wire_give_up(address, strerror(errno));
    freeaddrinfo(found);
    return fd;
}

struct kp_writer wire_begin(struct arena *arena, const struct kp_request_header *header)
{
    struct kp_writer writer;
    kp_writer_init(&writer, arena);
    kp_frame_begin(&writer);
    kp_request_header_write(&writer, header);
    return writer;
}

void wire_send(int fd, struct kp_writer *writer)
{
    kp_frame_end(writer, 0);
    CHECK(!writer->failed);
    for (size_t at = 0; at < writer->size;) {
        ssize_t sent = send(fd, writer->data + at, writer->size - at, MSG_NOSIGNAL);
        if (sent < 0 && errno != EINTR)
            wire_give_up("sending", strerror(errno));
        if (sent > 0)
            at += (size_t)sent;
    }
}

void wire_receive(int fd, void *to, size_t size)
{
    for (size_t at = 0; at < size;) {
        ssize_t got = recv(fd, (char *)to + at, size - at, MSG_WAITALL);
        if (got == 0)
            wire_give_up("receiving", "the broker closed the connection");
        if (got < 0 && errno != EINTR)
            wire_give_up("receiving", strerror(errno));
        if (got > 0)
            at += (size_t)got;
    }
}
