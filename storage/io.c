// SPDX-License-Identifier: Apache-2.0
// The calls of io.h, the same for every implementation: they fill in the operation and hand it to
// the implementation's `start`. Nothing here depends on how operations are carried out.
#include "storage/io.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

static void start(struct io *io, struct io_op *op, enum io_kind kind, int fd)
{
    CHECK(!op->pending);
    op->kind = kind;
    op->fd = fd;
    op->result = 0;
    op->pending = true;
    op->cancelled = false;
    op->progress = 0;
    list_init(&op->node);
    io->stats.operations++;
    io->ops->start(io, op);
}

// Transfers have vectors, also when there is only one piece: one way to continue them all.
static void start_transfer(struct io *io, struct io_op *op, enum io_kind kind, int fd,
                           struct iovec *vectors, uint32_t count)
{
    op->vectors = vectors;
    op->vector_count = count;
    op->length = 0;
    for (uint32_t i = 0; i < count; i++)
        op->length += vectors[i].iov_len;
    start(io, op, kind, fd);
}

static struct iovec *single(struct io_op *op, const void *data, size_t size)
{
    // iovec has one type for both directions; nothing writes through a vector that is sent.
    union {
        const void *from;
        void *to;
    } pointer = {.from = data};
    op->one = (struct iovec){.iov_base = pointer.to, .iov_len = size};
    return &op->one;
}

void io_destroy(struct io *io)
{
    io->ops->destroy(io);
}

void io_run(struct io *io, uint64_t deadline_ns)
{
    io->ops->run(io, deadline_ns);
}

int64_t io_wait(struct io *io, struct io_op *op)
{
    while (op->pending)
        io_run(io, UINT64_MAX);
    return op->result;
}

void io_wake(struct io *from, struct io *to)
{
    CHECK(!from || from->ops == to->ops);
    to->ops->wake(from, to);
}

void io_nop(struct io *io, struct io_op *op)
{
    start(io, op, IO_NOP, -1);
}

void io_pause(struct io *io, struct io_op *op, uint64_t ns)
{
    op->pause =
        (struct timespec){.tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000)};
    start(io, op, IO_PAUSE, -1);
}

void io_open(struct io *io, struct io_op *op, const char *path, int flags, mode_t mode)
{
    op->path = path;
    op->flags = (uint32_t)(flags | O_CLOEXEC);
    op->mode = mode;
    start(io, op, IO_OPEN, -1);
}

void io_close(struct io *io, struct io_op *op, int fd)
{
    start(io, op, IO_CLOSE, fd);
}

void io_read(struct io *io, struct io_op *op, int fd, void *to, size_t size, uint64_t offset)
{
    op->offset = offset;
    start_transfer(io, op, IO_READ, fd, single(op, to, size), 1);
}

void io_write(struct io *io, struct io_op *op, int fd, const void *from, size_t size,
              uint64_t offset, bool durable)
{
    io_writev(io, op, fd, single(op, from, size), 1, offset, durable);
}

void io_writev(struct io *io, struct io_op *op, int fd, struct iovec *vectors, uint32_t count,
               uint64_t offset, bool durable)
{
    op->offset = offset;
    op->flags = durable;
    start_transfer(io, op, IO_WRITE, fd, vectors, count);
}

void io_sync(struct io *io, struct io_op *op, int fd, bool data_only)
{
    op->flags = data_only;
    start(io, op, IO_SYNC, fd);
}

void io_allocate(struct io *io, struct io_op *op, int fd, uint64_t offset, uint64_t size)
{
    op->offset = offset;
    op->length = size;
    start(io, op, IO_ALLOCATE, fd);
}

void io_truncate(struct io *io, struct io_op *op, int fd, uint64_t size)
{
    op->length = size;
    start(io, op, IO_TRUNCATE, fd);
}

void io_rename(struct io *io, struct io_op *op, const char *from, const char *to)
{
    op->path = from;
    op->path2 = to;
    start(io, op, IO_RENAME, -1);
}

void io_unlink(struct io *io, struct io_op *op, const char *path, bool directory)
{
    op->path = path;
    op->flags = directory;
    start(io, op, IO_UNLINK, -1);
}

void io_mkdir(struct io *io, struct io_op *op, const char *path, mode_t mode)
{
    op->path = path;
    op->mode = mode;
    start(io, op, IO_MKDIR, -1);
}

int io_listen(struct io *io, const char *host, uint16_t port, uint16_t *bound_port)
{
    return io->ops->listen(io, host, port, bound_port);
}

void io_accept(struct io *io, struct io_op *op, int fd)
{
    start(io, op, IO_ACCEPT, fd);
}

void io_receive(struct io *io, struct io_op *op, int fd, void *to, size_t size, bool whole)
{
    op->flags = whole;
    start_transfer(io, op, IO_RECEIVE, fd, single(op, to, size), 1);
}

void io_send(struct io *io, struct io_op *op, int fd, struct iovec *vectors, uint32_t count)
{
    start_transfer(io, op, IO_SEND, fd, vectors, count);
}

void io_shutdown(struct io *io, struct io_op *op, int fd)
{
    start(io, op, IO_SHUTDOWN, fd);
}

void io_cancel(struct io *io, struct io_op *op)
{
    if (op->pending)
        io->ops->cancel(io, op);
}

bool io_lacks_descriptors(int64_t result)
{
    return result == -EMFILE || result == -ENFILE;
}

// Whether it is to be tried again: some time has passed then.
static bool may_try_again(struct io *io, int64_t result, int *tries)
{
    enum { TRIES = 50 };
    static const uint64_t pause_ns = 100 * UINT64_C(1000000);
    if (!io_lacks_descriptors(result) || ++*tries == TRIES)
        return false;
    for (uint64_t until = io->now_ns + pause_ns; io->now_ns < until;)
        io_run(io, until);
    return true;
}

int io_list_directory(struct io *io, const char *path, int (*each)(void *context, const char *name),
                      void *context)
{
    int tries = 0;
    int error = 0;
    do {
        error = io->ops->list_directory(io, path, each, context);
    } while (may_try_again(io, error, &tries));
    return error;
}

int64_t io_file_size(struct io *io, int fd)
{
    return io->ops->file_size(io, fd);
}

int io_stamp_of(struct io *io, const char *path, struct io_stamp *out)
{
    return io->ops->stamp_of(io, path, out);
}

int64_t io_next_data(struct io *io, int fd, uint64_t offset)
{
    return io->ops->next_data(io, fd, offset);
}

int io_open_wait(struct io *io, const char *path, int flags, mode_t mode)
{
    int tries = 0;
    int result = 0;
    do {
        struct io_op op = {0};
        io_open(io, &op, path, flags, mode);
        result = (int)io_wait(io, &op);
    } while (may_try_again(io, result, &tries));
    return result;
}

int64_t io_read_wait(struct io *io, int fd, void *to, size_t size, uint64_t offset)
{
    struct io_op op = {0};
    io_read(io, &op, fd, to, size, offset);
    return io_wait(io, &op);
}

int64_t io_write_wait(struct io *io, int fd, const void *from, size_t size, uint64_t offset,
                      bool durable)
{
    struct io_op op = {0};
    io_write(io, &op, fd, from, size, offset, durable);
    return io_wait(io, &op);
}

int io_close_wait(struct io *io, int fd)
{
    struct io_op op = {0};
    io_close(io, &op, fd);
    return (int)io_wait(io, &op);
}

int io_remove_wait(struct io *io, const char *path, bool directory)
{
    struct io_op op = {0};
    io_unlink(io, &op, path, directory);
    int64_t result = io_wait(io, &op);
    return result < 0 && result != -ENOENT ? (int)result : 0;
}

int io_sync_directory_wait(struct io *io, const char *path)
{
    int fd = io_open_wait(io, path, O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0)
        return fd;
    struct io_op op = {0};
    io_sync(io, &op, fd, false);
    int result = (int)io_wait(io, &op);
    int closed = io_close_wait(io, fd);
    return result < 0 ? result : closed;
}

static int write_whole(struct io *io, const char *path, const void *bytes, size_t size)
{
    int fd = io_open_wait(io, path, O_WRONLY | O_CREAT | O_TRUNC, 0640);
    if (fd < 0)
        return fd;
    int64_t result = io_write_wait(io, fd, bytes, size, 0, false);
    if (result >= 0 && result != (int64_t)size)
        result = -ENOSPC;
    struct io_op op = {0};
    if (result >= 0) {
        io_sync(io, &op, fd, false);
        result = io_wait(io, &op);
    }
    int closed = io_close_wait(io, fd);
    return result < 0 ? (int)result : closed;
}

int io_replace_wait(struct io *io, const char *directory, const char *path, const void *bytes,
                    size_t size)
{
    char *beside = NULL;
    if (asprintf(&beside, "%s.new", path) < 0)
        return -ENOMEM;
    int error = write_whole(io, beside, bytes, size);
    struct io_op op = {0};
    if (!error) {
        io_rename(io, &op, beside, path);
        error = (int)io_wait(io, &op);
    }
    if (error)
        (void)io_remove_wait(io, beside, false);
    free(beside);
    return error ? error : io_sync_directory_wait(io, directory);
}

int io_sync_filesystem_wait(struct io *io, const char *path)
{
    int tries = 0;
    int error = 0;
    do {
        error = io->ops->sync_filesystem(io, path);
    } while (may_try_again(io, error, &tries));
    return error;
}
