// SPDX-License-Identifier: Apache-2.0
// Simulated connections: two streams of bytes, with the test at the other end. Nothing is lost on
// the way, but everything takes its time; when the machine stops, connections are gone.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "tests/sim/sim_internal.h"

struct sim_stream {
    uint8_t *bytes;
    size_t size; // put in
    size_t read; // of that, taken out
    size_t room;
    bool ended;
};

struct sim_socket {
    uint32_t refs;
    bool listening;
    struct sim_stream in;                    // to the program
    struct sim_stream out;                   // from it
    struct sim_socket *waiting[SIM_BACKLOG]; // listening: connections that were not accepted yet
    uint32_t waiting_count;
};

static struct sim_socket *socket_new(void)
{
    struct sim_socket *socket = calloc(1, sizeof(*socket));
    CHECK(socket);
    socket->refs = 1;
    return socket;
}

void sim_socket_unref(struct sim_socket *socket)
{
    if (!socket || --socket->refs > 0)
        return;
    for (uint32_t i = 0; i < socket->waiting_count; i++)
        sim_socket_unref(socket->waiting[i]);
    free(socket->in.bytes);
    free(socket->out.bytes);
    free(socket);
}

static void stream_put(struct sim_stream *stream, const void *bytes, size_t size)
{
    if (stream->read == stream->size)
        stream->read = stream->size = 0;
    if (stream->size + size > stream->room) {
        stream->room = (stream->size + size) * 2;
        stream->bytes = realloc(stream->bytes, stream->room);
        CHECK(stream->bytes);
    }
    memcpy(stream->bytes + stream->size, bytes, size);
    stream->size += size;
}

static struct sim_socket *socket_of(const struct sim *sim, int fd)
{
    size_t index = (size_t)fd - SIM_FIRST_FD;
    return fd < SIM_FIRST_FD || index >= sim->file_count ? NULL : sim->files[index].socket;
}

// The program no longer holds the descriptor.
void sim_socket_dropped(struct sim_socket *socket)
{
    socket->out.ended = true;
    sim_socket_unref(socket);
}

// --- operations

bool sim_socket_ready(const struct sim *sim, const struct io_op *op)
{
    const struct sim_socket *socket = socket_of(sim, op->fd);
    if (!socket || sim->off)
        return true;
    if (op->kind == IO_ACCEPT)
        return socket->waiting_count > 0;
    if (op->kind != IO_RECEIVE || socket->in.ended)
        return true;
    size_t there = socket->in.size - socket->in.read;
    return there >= (op->flags ? op->length : 1);
}

static int64_t do_accept(struct sim *sim, struct sim_socket *socket)
{
    if (socket->waiting_count == 0)
        return -ECANCELED;
    struct sim_socket *first = socket->waiting[0];
    socket->waiting_count--;
    memmove(socket->waiting, socket->waiting + 1, socket->waiting_count * sizeof(first)); // NOLINT
    return sim_new_fd(sim, NULL, first, 0);
}

static int64_t do_receive(struct sim_socket *socket, const struct io_op *op)
{
    struct sim_stream *in = &socket->in;
    size_t there = in->size - in->read;
    size_t size = op->length < there ? op->length : there;
    if (size > 0)
        memcpy(op->one.iov_base, in->bytes + in->read, size);
    in->read += size;
    if (size == 0 && !in->ended)
        return -ECANCELED;
    return (int64_t)size;
}

static int64_t do_send(struct sim_socket *socket, const struct io_op *op)
{
    if (socket->in.ended)
        return -EPIPE;
    for (uint32_t i = 0; i < op->vector_count; i++)
        stream_put(&socket->out, op->vectors[i].iov_base, op->vectors[i].iov_len);
    return (int64_t)op->length;
}

int64_t sim_socket_perform(struct sim *sim, const struct io_op *op)
{
    struct sim_socket *socket = socket_of(sim, op->fd);
    if (!socket)
        return -EBADF;
    if (socket->listening != (op->kind == IO_ACCEPT))
        return -EINVAL;
    if (op->kind == IO_ACCEPT)
        return do_accept(sim, socket);
    if (op->kind == IO_RECEIVE)
        return do_receive(socket, op);
    if (op->kind == IO_SEND)
        return do_send(socket, op);
    socket->in.ended = true;
    socket->out.ended = true;
    sim_socket_wake(sim);
    return 0;
}

// --- the other end

int sim_listen(struct sim *sim)
{
    struct sim_socket *socket = socket_new();
    socket->listening = true;
    return sim_new_fd(sim, NULL, socket, 0);
}

struct sim_socket *sim_connect(struct sim *sim, int listen_fd)
{
    struct sim_socket *listening = socket_of(sim, listen_fd);
    if (!listening || listening->waiting_count == SIM_BACKLOG)
        return NULL;
    struct sim_socket *socket = socket_new();
    socket->refs++; // the program's
    listening->waiting[listening->waiting_count++] = socket;
    sim_socket_wake(sim);
    return socket;
}

void sim_socket_send(struct sim *sim, struct sim_socket *socket, const void *bytes, size_t size)
{
    stream_put(&socket->in, bytes, size);
    sim_socket_wake(sim);
}

size_t sim_socket_received(const struct sim_socket *socket, const uint8_t **bytes)
{
    *bytes = socket->out.bytes + socket->out.read;
    return socket->out.size - socket->out.read;
}

void sim_socket_take(struct sim_socket *socket, size_t size)
{
    CHECK(size <= socket->out.size - socket->out.read);
    socket->out.read += size;
}

bool sim_socket_is_closed(const struct sim_socket *socket)
{
    return socket->out.ended;
}

void sim_socket_close(struct sim *sim, struct sim_socket *socket)
{
    socket->in.ended = true;
    sim_socket_wake(sim);
    sim_socket_unref(socket);
}
