// SPDX-License-Identifier: Apache-2.0
// io.h on io_uring: one ring, one thread.
//
// Invariants
//  1. A pending operation is in exactly one place: on `queued`, `sends` or `bulk`, in the kernel
//     (submission queue included), or on `ready` or the batch that io_run is calling back.
//  2. An operation leaves the kernel by exactly one completion entry, which has its address.
//  3. `done` is called only from io_run, after every completion entry present has been reaped.
//  4. Entries reach the kernel in the order of the calls, a cancellation after its operation; sends
//     behind everything else.
//  5. While small writes go on, one io_run hands the kernel URING_SEND_BYTES of large sends, in
//     turns between them.
//
// The kernel copies what is sent before it looks at the next entry. So what the device is to do,
// and small answers, do not wait for the answer to somebody who reads a lot: those go last, and a
// piece at a time. And what is over without the kernel is called back before the entry into it: the
// write that such a callback starts goes with this entry, in front of its sends.
//
// Normally one io_run costs one entry into the kernel, which submits everything and waits; none
// when there is something to call back and nothing but receives to submit, which go with the next.
// A submission queue that fills up is submitted in between; if the kernel is short of memory or has
// completions to get rid of first, operations wait on `queued` until the next io_run.
//
// Waking: MSG_RING puts an entry into the target's completion queue, submitted together with the
// waker's other work. Where there is no MSG_RING, or it failed, an eventfd does it, which every
// ring polls. `wake_pending` merges wakes: it is set by the first waker and cleared by the target
// before it calls back, so whatever a waker did before io_wake is seen by the target after that.
#include "storage/io_uring.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "storage/io_system.h"

// Low bits of user_data, which are 0 in the address of an operation.
enum tag {
    TAG_OPERATION = 0,
    TAG_IGNORED,   // the answer to a cancellation: the operation itself answers
    TAG_WAKE_SENT, // with the target's address; comes only when sending failed
    TAG_WOKEN,     // sent by another ring
    TAG_EVENT,     // event_fd is readable
    TAG_MASK = 7,
};

enum place { PLACE_QUEUED, PLACE_KERNEL, PLACE_READY };

enum { RETRY_NS = 1000000 }; // when the kernel could not take entries for lack of memory

static struct uring *uring_of(struct io *io)
{
    return (struct uring *)(void *)((char *)io - offsetof(struct uring, io));
}

static bool tolerable(int result)
{
    return result >= 0 || result == -ETIME || result == -EINTR || result == -EAGAIN ||
           result == -EBUSY;
}

// NULL when the kernel takes nothing more for now.
static struct io_uring_sqe *next_entry(struct uring *uring)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&uring->ring);
    if (!sqe) {
        uring->io.stats.system_calls++;
        CHECK(tolerable(io_uring_submit(&uring->ring)));
        sqe = io_uring_get_sqe(&uring->ring);
    }
    return sqe;
}

// Until there is room for it, or its turn.
static void queue(struct uring *uring, struct io_op *op)
{
    struct list *list = &uring->queued;
    if (op->kind == IO_SEND)
        list = op->length - op->progress <= URING_SEND_SMALL ? &uring->sends : &uring->bulk;
    op->place = PLACE_QUEUED;
    list_append(list, &op->node);
}

static void finish(struct uring *uring, struct io_op *op)
{
    op->place = PLACE_READY;
    list_remove(&op->node); // it may be on `cancels`
    list_append(&uring->ready, &op->node);
}

// Of large sends, with one entry into the kernel.
static uint64_t send_most(const struct uring *uring)
{
    uint64_t patient_ns = uring->small_write_ns + URING_PATIENT_MS * UINT64_C(1000000);
    bool hurried = uring->small_write_ns > 0 && uring->io.now_ns < patient_ns;
    return hurried ? URING_SEND_BYTES : UINT64_MAX;
}

// `sent` may be NULL.
static bool submit(struct uring *uring, struct io_op *op, uint64_t *sent)
{
    struct io_uring_sqe *sqe = next_entry(uring);
    if (!sqe)
        return false;
    uint64_t bytes = io_uring_op_prepare(op, sqe, send_most(uring));
    io_uring_sqe_set_data(sqe, op);
    op->place = PLACE_KERNEL;
    uring->pressing = uring->pressing || op->kind != IO_RECEIVE;
    uring->in_kernel++;
    if (sent)
        *sent += bytes;
    return true;
}

static void uring_start(struct io *io, struct io_op *op)
{
    struct uring *uring = uring_of(io);
    if (op->kind == IO_WRITE && op->length < URING_WRITE_SMALL)
        uring->small_write_ns = io->now_ns;
    if (io_uring_op_at_once(uring, op))
        finish(uring, op);
    else if (op->kind == IO_SEND || !list_empty(&uring->queued) || !submit(uring, op, NULL))
        queue(uring, op);
}

static bool submit_cancel(struct uring *uring, struct io_op *op)
{
    struct io_uring_sqe *sqe = next_entry(uring);
    if (!sqe)
        return false;
    io_uring_prep_cancel(sqe, op, 0);
    io_uring_sqe_set_data64(sqe, TAG_IGNORED);
    uring->pressing = true;
    return true;
}

static void uring_cancel(struct io *io, struct io_op *op)
{
    struct uring *uring = uring_of(io);
    if (op->cancelled)
        return;
    op->cancelled = true;
    if (op->place == PLACE_QUEUED) {
        op->result = -ECANCELED;
        finish(uring, op);
    } else if (op->place == PLACE_KERNEL && !submit_cancel(uring, op)) {
        list_append(&uring->cancels, &op->node);
    }
}

static void wake_by_event(struct uring *to)
{
    uint64_t one = 1;
    ssize_t written;
    do
        written = write(to->event_fd, &one, sizeof(one));
    while (written < 0 && errno == EINTR);
}

static void uring_wake(struct io *from, struct io *to)
{
    struct uring *target = uring_of(to);
    if (from == to) {
        target->woken = true;
        return;
    }
    if (atomic_exchange(&target->wake_pending, true))
        return;
    struct uring *sender = from ? uring_of(from) : NULL;
    struct io_uring_sqe *sqe = sender && sender->can_message ? next_entry(sender) : NULL;
    if (!sqe) {
        wake_by_event(target);
        return;
    }
    io_uring_prep_msg_ring(sqe, target->ring.ring_fd, 0, TAG_WOKEN, 0);
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
    io_uring_sqe_set_data64(sqe, (uint64_t)(uintptr_t)target | TAG_WAKE_SENT);
    sender->pressing = true;
}

static void arm_event(struct uring *uring)
{
    struct io_uring_sqe *sqe = next_entry(uring);
    if (!sqe)
        return;
    io_uring_prep_poll_add(sqe, uring->event_fd, POLLIN);
    io_uring_sqe_set_data64(sqe, TAG_EVENT);
    uring->event_armed = true;
}

static void event_seen(struct uring *uring)
{
    uint64_t count;
    // Nothing to read is fine: the next poll tells when there is.
    if (read(uring->event_fd, &count, sizeof(count)) < 0)
        CHECK(errno == EAGAIN || errno == EINTR);
    uring->event_armed = false;
    atomic_store(&uring->wake_pending, false);
}

static void take_answer(struct uring *uring, struct io_op *op, int32_t answer)
{
    uring->in_kernel--;
    if (io_uring_op_settle(op, answer)) {
        finish(uring, op);
    } else {
        list_remove(&op->node); // it may be on `cancels`
        queue(uring, op);
    }
}

static void take(struct uring *uring, const struct io_uring_cqe *cqe)
{
    void *address = (void *)(uintptr_t)(cqe->user_data & ~(uint64_t)TAG_MASK);
    switch ((enum tag)(cqe->user_data & TAG_MASK)) {
    case TAG_OPERATION:
        take_answer(uring, address, cqe->res);
        break;
    case TAG_WAKE_SENT:
        // A closed descriptor means that the target is gone, its memory too.
        if (cqe->res != -EBADF && cqe->res != -EBADFD)
            wake_by_event(address);
        break;
    case TAG_WOKEN:
        atomic_store(&uring->wake_pending, false);
        break;
    case TAG_EVENT:
        event_seen(uring);
        break;
    case TAG_IGNORED:
    case TAG_MASK:
        break;
    }
}

static bool kernel_flag(const struct uring *uring, unsigned flags)
{
    return IO_URING_READ_ONCE(*uring->ring.sq.kflags) & flags;
}

static void reap(struct uring *uring)
{
    bool more = true;
    while (more) {
        unsigned head;
        unsigned count = 0;
        struct io_uring_cqe *cqe;
        io_uring_for_each_cqe(&uring->ring, head, cqe) {
            take(uring, cqe);
            count++;
        }
        io_uring_cq_advance(&uring->ring, count);
        more = kernel_flag(uring, IORING_SQ_CQ_OVERFLOW);
        if (more) {
            uring->io.stats.system_calls++;
            CHECK(tolerable(io_uring_get_events(&uring->ring)));
        }
    }
}

// Submits what had found no room, in order.
static void submit_queued(struct uring *uring)
{
    if (!uring->event_armed)
        arm_event(uring);
    list_each(node, &uring->cancels) {
        if (!submit_cancel(uring, list_entry(node, struct io_op, node)))
            return;
        list_remove(node);
    }
    list_each(node, &uring->queued) {
        if (!submit(uring, list_entry(node, struct io_op, node), NULL))
            return;
        list_remove(node);
    }
}

// True when more could be sent at once.
static bool submit_sends(struct uring *uring)
{
    uint64_t sent = 0;
    uint64_t most = send_most(uring);
    list_each(node, &uring->sends) {
        if (!submit(uring, list_entry(node, struct io_op, node), NULL))
            return false;
        list_remove(node);
    }
    while (sent < most && !list_empty(&uring->bulk)) {
        struct io_op *op = list_entry(uring->bulk.next, struct io_op, node);
        if (!submit(uring, op, &sent))
            return false;
        list_remove(&op->node);
    }
    return !list_empty(&uring->bulk);
}

// Operations that have not reached the submission queue.
static bool is_held(const struct uring *uring)
{
    return !list_empty(&uring->queued) || !list_empty(&uring->sends) || !list_empty(&uring->bulk);
}

static bool has_business(const struct uring *uring)
{
    return io_uring_sq_ready(&uring->ring) > 0 || is_held(uring) ||
           kernel_flag(uring, IORING_SQ_CQ_OVERFLOW | IORING_SQ_TASKRUN);
}

// How long io_run may wait; 0 = not at all.
static uint64_t time_to_wait(const struct uring *uring, uint64_t deadline_ns)
{
    if (deadline_ns == 0 || uring->woken || !list_empty(&uring->ready))
        return 0;
    bool stuck = is_held(uring) || !list_empty(&uring->cancels) || !uring->event_armed;
    if (deadline_ns == UINT64_MAX)
        return stuck ? RETRY_NS : UINT64_MAX;
    uint64_t now = clock_monotonic_ns();
    uint64_t wait = deadline_ns > now ? deadline_ns - now : 0;
    return stuck && wait > RETRY_NS ? RETRY_NS : wait;
}

static void enter(struct uring *uring, uint64_t wait_ns)
{
    struct io_uring *ring = &uring->ring;
    struct io_uring_cqe *unused;
    int result = 0;
    if (wait_ns > 0) {
        struct __kernel_timespec time = {.tv_sec = (int64_t)(wait_ns / 1000000000),
                                         .tv_nsec = (long long)(wait_ns % 1000000000)};
        uring->io.stats.system_calls++;
        result = io_uring_submit_and_wait_timeout(ring, &unused, 1,
                                                  wait_ns == UINT64_MAX ? NULL : &time, NULL);
    } else if (io_uring_sq_ready(ring) > 0 ||
               kernel_flag(uring, IORING_SQ_CQ_OVERFLOW | IORING_SQ_TASKRUN)) {
        uring->io.stats.system_calls++;
        result = io_uring_submit_and_get_events(ring);
    }
    CHECK(tolerable(result));
}

static void read_clocks(struct uring *uring)
{
    uring->io.now_ns = clock_monotonic_ns();
    uring->io.wall_ms = clock_wall_ms();
}

static void call_back(struct uring *uring)
{
    struct list batch;
    list_init(&batch);
    list_splice(&batch, &uring->ready);
    for (struct list *node = list_pop(&batch); node; node = list_pop(&batch)) {
        struct io_op *op = list_entry(node, struct io_op, node);
        op->pending = false;
        if (op->done)
            op->done(op);
    }
}

static void uring_run(struct io *io, uint64_t deadline_ns)
{
    struct uring *uring = uring_of(io);
    CHECK(!uring->running);
    uring->running = true;
    // What is called back may give the caller something to do: then there is no waiting, and what
    // it starts goes with the next entry when nothing presses for one now. Receives do not: until
    // that entry the bytes lie in the socket.
    bool called = !list_empty(&uring->ready);
    uring->put_off = called && !uring->put_off && !uring->pressing && !is_held(uring);
    call_back(uring);
    if (!uring->put_off && (!called || has_business(uring))) {
        uring->pressing = false;
        submit_queued(uring);
        bool more = submit_sends(uring);
        enter(uring, called || more ? 0 : time_to_wait(uring, deadline_ns));
    }
    uring->woken = false;
    read_clocks(uring);
    reap(uring);
    call_back(uring);
    uring->running = false;
}

static void uring_destroy(struct io *io)
{
    struct uring *uring = uring_of(io);
    CHECK(!uring->running && uring->in_kernel == 0);
    CHECK(list_empty(&uring->ready) && list_empty(&uring->queued));
    CHECK(list_empty(&uring->sends) && list_empty(&uring->bulk));
    // Wakes of others that have not been submitted yet.
    if (io_uring_sq_ready(&uring->ring) > 0)
        io_uring_submit(&uring->ring);
    io_uring_queue_exit(&uring->ring);
    close(uring->event_fd);
    free(uring);
}

static const struct io_ops uring_ops = {
    .start = uring_start,
    .cancel = uring_cancel,
    .run = uring_run,
    .wake = uring_wake,
    .listen = io_system_listen,
    .list_directory = io_system_list_directory,
    .file_size = io_system_file_size,
    .stamp_of = io_system_stamp_of,
    .next_data = io_system_next_data,
    .sync_filesystem = io_system_sync_filesystem,
    .destroy = uring_destroy,
};

int io_uring_create(unsigned entries, struct io **out, const char **why)
{
    struct uring *uring = calloc(1, sizeof(*uring));
    if (!uring) {
        *why = "out of memory";
        return -ENOMEM;
    }
    int result = io_uring_setup_ring(uring, entries, why);
    if (result < 0) {
        free(uring);
        return result;
    }
    uring->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (uring->event_fd < 0) {
        result = -errno;
        *why = "no more files can be opened; raise the limit (ulimit -n)";
        io_uring_queue_exit(&uring->ring);
        free(uring);
        return result;
    }
    uring->io.ops = &uring_ops;
    list_init(&uring->ready);
    list_init(&uring->queued);
    list_init(&uring->sends);
    list_init(&uring->bulk);
    list_init(&uring->cancels);
    read_clocks(uring);
    *out = &uring->io;
    return 0;
}
