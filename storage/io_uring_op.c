// SPDX-License-Identifier: Apache-2.0
// One operation and the kernel. All that a system call may do short of what was asked is dealt with
// here and nowhere else: interruption, short transfers, and their ends.
//
// Invariant: for transfers, `vectors[0..vector_count)` is always exactly what is left to do, and
// `offset` + `progress` the place in the file where it goes.
#include <errno.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/check.h"
#include "storage/io_uring.h"

enum {
    VECTORS_MAX = 1024,  // more than that, a system call refuses (UIO_MAXIOV)
    PIECE_MAX = 1 << 30, // an entry's length has 32 bits, and the kernel's limit is below 2^31
    SEND_FLAGS = MSG_NOSIGNAL | MSG_WAITALL, // MSG_WAITALL: the kernel continues short sends itself
};

static uint32_t least(uint64_t a, uint64_t b)
{
    return (uint32_t)(a < b ? a : b);
}

static void advance(struct io_op *op, uint64_t size)
{
    op->progress += size;
    while (op->vector_count > 0 && size >= op->vectors->iov_len) {
        size -= op->vectors->iov_len;
        op->vectors++;
        op->vector_count--;
    }
    if (size > 0) {
        CHECK(op->vector_count > 0);
        op->vectors->iov_base = (char *)op->vectors->iov_base + size;
        op->vectors->iov_len -= size;
    }
}

bool io_uring_op_at_once(const struct uring *uring, struct io_op *op)
{
    switch (op->kind) {
    case IO_NOP:
        return true;
    case IO_READ:
    case IO_WRITE:
    case IO_SEND:
        return op->length == 0;
    case IO_TRUNCATE:
        if (uring->can_truncate)
            return false;
        op->result = ftruncate(op->fd, (off_t)op->length) < 0 ? -errno : 0;
        return true;
    default:
        return false;
    }
}

static void prepare_write(struct io_op *op, struct io_uring_sqe *sqe)
{
    const struct iovec *first = op->vectors;
    uint64_t offset = op->offset + op->progress;
    if (op->vector_count == 1)
        io_uring_prep_write(sqe, op->fd, first->iov_base, least(first->iov_len, PIECE_MAX), offset);
    else
        io_uring_prep_writev(sqe, op->fd, first, least(op->vector_count, VECTORS_MAX), offset);
    if (op->flags)
        sqe->rw_flags = RWF_DSYNC;
}

// Whole vectors of together at most `most`, or a part of the first one.
static uint64_t prepare_send(struct io_op *op, struct io_uring_sqe *sqe, uint64_t most)
{
    struct iovec *first = op->vectors;
    uint64_t size = 0;
    uint32_t count = 0;
    while (count < op->vector_count && count < VECTORS_MAX && size + first[count].iov_len <= most)
        size += first[count++].iov_len;
    if (count <= 1) {
        size = least(first->iov_len, most);
        io_uring_prep_send(sqe, op->fd, first->iov_base, size, SEND_FLAGS);
        return size;
    }
    op->message = (struct msghdr){.msg_iov = first, .msg_iovlen = count};
    io_uring_prep_sendmsg(sqe, op->fd, &op->message, SEND_FLAGS);
    return size;
}

_Static_assert(sizeof(struct timespec) == sizeof(struct __kernel_timespec), "another layout");

static void prepare_pause(struct io_op *op, struct io_uring_sqe *sqe)
{
    io_uring_prep_timeout(sqe, (struct __kernel_timespec *)(void *)&op->pause, 0, 0);
}

static void prepare_truncate(struct io_op *op, struct io_uring_sqe *sqe)
{
    io_uring_prep_nop(sqe);
    sqe->opcode = IO_URING_OP_FTRUNCATE;
    sqe->fd = op->fd;
    sqe->off = op->length;
}

uint64_t io_uring_op_prepare(struct io_op *op, struct io_uring_sqe *sqe, uint64_t send_most)
{
    const struct iovec *first = op->vectors;
    uint64_t sent = 0;
    switch (op->kind) {
    case IO_NOP:
        io_uring_prep_nop(sqe);
        break;
    case IO_PAUSE:
        prepare_pause(op, sqe);
        break;
    case IO_OPEN:
        io_uring_prep_openat(sqe, AT_FDCWD, op->path, (int)op->flags, op->mode);
        break;
    case IO_CLOSE:
        io_uring_prep_close(sqe, op->fd);
        break;
    case IO_READ:
        io_uring_prep_read(sqe, op->fd, first->iov_base, least(first->iov_len, PIECE_MAX),
                           op->offset + op->progress);
        break;
    case IO_WRITE:
        prepare_write(op, sqe);
        break;
    case IO_SYNC:
        io_uring_prep_fsync(sqe, op->fd, op->flags ? IORING_FSYNC_DATASYNC : 0);
        break;
    case IO_ALLOCATE:
        io_uring_prep_fallocate(sqe, op->fd, 0, (off_t)op->offset, (off_t)op->length);
        break;
    case IO_TRUNCATE:
        prepare_truncate(op, sqe);
        break;
    case IO_RENAME:
        io_uring_prep_renameat(sqe, AT_FDCWD, op->path, AT_FDCWD, op->path2, 0);
        break;
    case IO_UNLINK:
        io_uring_prep_unlinkat(sqe, AT_FDCWD, op->path, op->flags ? AT_REMOVEDIR : 0);
        break;
    case IO_MKDIR:
        io_uring_prep_mkdirat(sqe, AT_FDCWD, op->path, op->mode);
        break;
    case IO_ACCEPT:
        io_uring_prep_accept(sqe, op->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        break;
    case IO_RECEIVE:
        io_uring_prep_recv(sqe, op->fd, first->iov_base, least(first->iov_len, PIECE_MAX),
                           op->flags ? MSG_WAITALL : 0);
        break;
    case IO_SEND:
        sent = prepare_send(op, sqe, least(send_most, PIECE_MAX));
        break;
    case IO_SHUTDOWN:
        io_uring_prep_shutdown(sqe, op->fd, SHUT_RDWR);
        break;
    }
    return sent;
}

// The transfer is over with `result` when the answer says so or nothing is left to do.
static bool settle_transfer(struct io_op *op, int32_t answer)
{
    if (answer > 0) {
        advance(op, (uint64_t)answer);
        op->result = (int64_t)op->progress;
        bool enough = op->kind == IO_RECEIVE && !op->flags;
        return enough || op->progress == op->length;
    }
    bool reads = op->kind == IO_READ || op->kind == IO_RECEIVE;
    // A read that ended inside a block ended at the end of the file; asking O_DIRECT for the rest
    // at that unaligned place is what some file systems call invalid.
    bool end = answer == 0 || (op->kind == IO_READ && answer == -EINVAL && op->progress > 0);
    if (end)
        op->result = reads ? (int64_t)op->progress : -EIO;
    else
        op->result = answer;
    return true;
}

bool io_uring_op_settle(struct io_op *op, int32_t answer)
{
    bool over = true;
    bool repeat = answer == -EINTR || answer == -EAGAIN;
    if (op->kind == IO_PAUSE)
        op->result = answer == -ETIME ? 0 : answer;
    else if (op->kind == IO_CLOSE && repeat)
        op->result = 0; // the descriptor is gone all the same, and may be somebody else's by now
    else if (repeat)
        over = false;
    else if (op->kind == IO_READ || op->kind == IO_WRITE || op->kind == IO_RECEIVE ||
             op->kind == IO_SEND)
        over = settle_transfer(op, answer);
    else
        op->result = answer;
    if (!over && op->cancelled) {
        op->result = -ECANCELED;
        over = true;
    }
    return over;
}
