// SPDX-License-Identifier: Apache-2.0
// What only the real implementation has: sockets, wakes between threads, a kernel that answers
// short, and kernels that refuse.
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/random.h"
#include "storage/io_uring.h"

enum { MIB = 1 << 20 };

static struct io *create(void)
{
    struct io *io = NULL;
    const char *why = "";
    int result = io_uring_create(16, &io, &why);
    cr_assert_eq(result, 0, "%s", why);
    return io;
}

static struct uring *inside(struct io *io)
{
    return list_entry(io, struct uring, io);
}

// Two ends of a connection over `host`; the accepted one came from io_accept.
struct pair {
    struct io *io;
    int listener;
    uint16_t port;
    int near;
    int far;
};

static int connect_to(const char *host, uint16_t port)
{
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
    bool is_v6 = inet_pton(AF_INET6, host, &v6.sin6_addr) == 1;
    if (!is_v6)
        cr_assert_eq(inet_pton(AF_INET, host, &v4.sin_addr), 1);
    int fd = socket(is_v6 ? AF_INET6 : AF_INET, SOCK_STREAM, 0);
    int result = is_v6 ? connect(fd, (struct sockaddr *)&v6, sizeof(v6))
                       : connect(fd, (struct sockaddr *)&v4, sizeof(v4));
    cr_assert_eq(result, 0, "%s: %s", host, strerror(errno));
    return fd;
}

static struct pair connected(const char *listen_host, const char *connect_host)
{
    struct pair pair = {.io = create()};
    pair.listener = io_listen(pair.io, listen_host, 0, &pair.port);
    cr_assert_geq(pair.listener, 0, "%s: %s", listen_host, strerror(-pair.listener));
    cr_assert_neq(pair.port, 0);
    struct io_op op = {0};
    io_accept(pair.io, &op, pair.listener);
    pair.far = connect_to(connect_host, pair.port);
    pair.near = (int)io_wait(pair.io, &op);
    cr_assert_geq(pair.near, 0);
    return pair;
}

static void disconnect(struct pair *pair)
{
    cr_assert_eq(io_close_wait(pair->io, pair->near), 0);
    cr_assert_eq(io_close_wait(pair->io, pair->listener), 0);
    close(pair->far);
    io_destroy(pair->io);
}

static int64_t receive(struct pair *pair, void *to, size_t size, bool whole)
{
    struct io_op op = {0};
    io_receive(pair->io, &op, pair->near, to, size, whole);
    return io_wait(pair->io, &op);
}

Test(storage, io_uring_accepts_over_both_families)
{
    struct pair v4 = connected("127.0.0.1", "127.0.0.1");
    int on = 0;
    socklen_t size = sizeof(on);
    cr_assert_eq(getsockopt(v4.near, IPPROTO_TCP, TCP_NODELAY, &on, &size), 0);
    cr_expect_neq(on, 0);
    cr_expect(fcntl(v4.near, F_GETFL) & O_NONBLOCK);
    cr_expect(fcntl(v4.near, F_GETFD) & FD_CLOEXEC);
    cr_expect(fcntl(v4.listener, F_GETFD) & FD_CLOEXEC);
    disconnect(&v4);
    struct pair name = connected("localhost", "127.0.0.1");
    disconnect(&name);
    int probe = socket(AF_INET6, SOCK_STREAM, 0);
    struct sockaddr_in6 loopback = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    bool has_v6 = probe >= 0 && bind(probe, (struct sockaddr *)&loopback, sizeof(loopback)) == 0;
    close(probe);
    if (!has_v6)
        return;
    struct pair v6 = connected("::", "::1");
    disconnect(&v6);
    struct pair mapped = connected("::", "127.0.0.1");
    disconnect(&mapped);
    struct pair all = connected(NULL, "::1");
    disconnect(&all);
}

Test(storage, io_uring_listen_errors)
{
    struct io *io = create();
    uint16_t port = 0;
    uint16_t again = 0;
    int first = io_listen(io, "127.0.0.1", 0, &port);
    cr_assert_geq(first, 0);
    cr_expect_eq(io_listen(io, "127.0.0.1", port, &again), -EADDRINUSE);
    cr_expect_eq(io_listen(io, "192.0.2.1", 0, &again), -EADDRNOTAVAIL, "not an address of ours");
    cr_expect_lt(io_listen(io, "no such host", 0, &again), 0);
    close(first);
    io_destroy(io);
}

Test(storage, io_uring_receives_what_is_there_or_all)
{
    struct pair pair = connected("127.0.0.1", "127.0.0.1");
    char data[16] = {0};
    cr_assert_eq(write(pair.far, "abc", 3), 3);
    cr_expect_eq(receive(&pair, data, sizeof(data), false), 3);
    struct io_op op = {0};
    io_receive(pair.io, &op, pair.near, data, 8, true);
    for (int i = 0; i < 8; i++) {
        cr_assert_eq(write(pair.far, &"12345678"[i], 1), 1);
        io_run(pair.io, 0);
        if (i < 7)
            cr_assert(op.pending);
    }
    cr_assert_eq(io_wait(pair.io, &op), 8);
    cr_expect_eq(memcmp(data, "12345678", 8), 0);
    cr_assert_eq(write(pair.far, "end", 3), 3);
    shutdown(pair.far, SHUT_WR);
    cr_expect_eq(receive(&pair, data, 16, true), 3, "the stream ends before all is there");
    cr_expect_eq(receive(&pair, data, 16, true), 0);
    cr_expect_eq(receive(&pair, data, 16, false), 0);
    cr_expect_eq(io_close_wait(pair.io, 1 << 20), -EBADF);
    disconnect(&pair);
}

struct reader {
    int fd;
    size_t size;
    uint8_t *data;
};

static void *read_slowly(void *context)
{
    struct reader *reader = context;
    size_t got = 0;
    while (got < reader->size) {
        size_t left = reader->size - got;
        ssize_t n = read(reader->fd, reader->data + got, left < 10000 ? left : 10000);
        if (n <= 0)
            break;
        got += (size_t)n;
    }
    reader->size = got;
    return NULL;
}

// More than the socket's buffers hold, in more pieces than a system call takes.
Test(storage, io_uring_sends_everything)
{
    enum { PIECES = 2500, SIZE = 12 * MIB };
    struct pair pair = connected("127.0.0.1", "127.0.0.1");
    uint8_t *data = malloc(SIZE);
    struct random random = {.state = 5};
    for (size_t i = 0; i < SIZE; i += 8) {
        uint64_t word = random_next(&random);
        memcpy(data + i, &word, 8);
    }
    struct iovec *vectors = calloc(PIECES, sizeof(*vectors));
    size_t at = 0;
    for (size_t i = 0; i < PIECES; i++) {
        size_t left = SIZE - at;
        size_t size = i == PIECES - 1 ? left : random_below(&random, 2 * SIZE / PIECES);
        size = size < left ? size : left;
        vectors[i] = (struct iovec){data + at, size};
        at += size;
    }
    struct reader reader = {.fd = pair.far, .size = SIZE, .data = malloc(SIZE)};
    pthread_t thread;
    pthread_create(&thread, NULL, read_slowly, &reader);
    struct io_op op = {0};
    io_send(pair.io, &op, pair.near, vectors, PIECES);
    cr_assert_eq(io_wait(pair.io, &op), SIZE);
    struct iovec none = {data, 0};
    io_send(pair.io, &op, pair.near, &none, 1);
    cr_expect_eq(io_wait(pair.io, &op), 0);
    pthread_join(thread, NULL);
    cr_assert_eq(reader.size, SIZE);
    cr_expect_eq(memcmp(reader.data, data, SIZE), 0);
    free(reader.data);
    free(vectors);
    free(data);
    disconnect(&pair);
}

static size_t readable(int fd)
{
    int size = 0;
    cr_assert_eq(ioctl(fd, FIONREAD, &size), 0);
    return (size_t)size;
}

// Somebody waits for a small write, whatever time it is.
static void hurry(struct io *io)
{
    inside(io)->small_write_ns = io->now_ns;
}

// The thread does nothing else while the kernel copies, so a large answer must not hold up what is
// started behind it.
Test(storage, io_uring_a_large_send_goes_in_pieces_behind_everything_else)
{
    enum { SIZE = 8 * MIB };
    struct pair large = connected("127.0.0.1", "127.0.0.1");
    struct pair small = {.io = large.io, .far = connect_to("127.0.0.1", large.port)};
    struct io_op accepting = {0};
    io_accept(large.io, &accepting, large.listener);
    small.near = (int)io_wait(large.io, &accepting);
    uint8_t *data = calloc(1, SIZE);
    struct iovec all = {data, SIZE};
    struct iovec one = {"x", 1};
    struct io_op bulk = {0}, answer = {0};
    hurry(large.io);
    io_send(large.io, &bulk, large.near, &all, 1);
    io_send(large.io, &answer, small.near, &one, 1);
    io_run(large.io, 0);
    cr_expect(list_empty(&inside(large.io)->sends), "what is small is not held up");
    cr_expect_leq(readable(large.far), URING_SEND_BYTES);
    cr_expect(bulk.pending);
    cr_expect_eq(io_wait(large.io, &answer), 1);
    io_cancel(large.io, &bulk);
    cr_expect_eq(io_wait(large.io, &bulk), -ECANCELED);
    free(data);
    close(small.near);
    close(small.far);
    disconnect(&large);
}

// Nobody who would have to wait for it: then it is handed over as a whole, which costs least.
Test(storage, io_uring_large_sends_are_whole_without_small_writes)
{
    enum { SIZE = 1 * MIB, COUNT = 2 };
    struct pair pair = connected("127.0.0.1", "127.0.0.1");
    uint8_t *data = calloc(1, SIZE);
    struct iovec vectors[COUNT] = {{data, SIZE}, {data, SIZE}};
    struct io_op op = {0};
    struct io_uring_sqe sqe;
    io_send(pair.io, &op, pair.near, vectors, COUNT);
    cr_expect_eq(io_uring_op_prepare(&op, &sqe, UINT64_MAX), COUNT * SIZE);
    cr_expect_eq(io_uring_op_prepare(&op, &sqe, URING_SEND_BYTES), URING_SEND_BYTES);
    io_run(pair.io, 0);
    cr_expect(list_empty(&inside(pair.io)->bulk));
    io_cancel(pair.io, &op);
    io_wait(pair.io, &op);
    free(data);
    disconnect(&pair);
}

static bool has_begun(const struct io_op *op)
{
    bool queued = op->node.next != &op->node;
    return op->progress > 0 || !queued;
}

Test(storage, io_uring_small_writes_are_noticed)
{
    struct io *io = create();
    struct io_op op = {0};
    char path[] = "/tmp/weir_io_XXXXXX";
    int fd = mkstemp(path);
    uint8_t *data = calloc(1, URING_WRITE_SMALL);
    io_write(io, &op, fd, data, URING_WRITE_SMALL, 0, false);
    cr_expect_eq(inside(io)->small_write_ns, 0);
    cr_expect_eq(io_wait(io, &op), URING_WRITE_SMALL);
    uint64_t now_ns = io->now_ns;
    io_write(io, &op, fd, data, URING_WRITE_SMALL - 1, 0, false);
    cr_expect_eq(inside(io)->small_write_ns, now_ns);
    cr_expect_eq(io_wait(io, &op), URING_WRITE_SMALL - 1);
    free(data);
    close(fd);
    unlink(path);
    io_destroy(io);
}

// Two who read a lot get their pieces in turns.
Test(storage, io_uring_an_entry_takes_one_large_piece)
{
    enum { SIZE = 1 * MIB };
    struct pair first = connected("127.0.0.1", "127.0.0.1");
    int far = connect_to("127.0.0.1", first.port);
    struct io_op accepting = {0};
    io_accept(first.io, &accepting, first.listener);
    int near = (int)io_wait(first.io, &accepting);
    uint8_t *data = calloc(1, SIZE);
    struct iovec one = {data, SIZE}, other = {data, SIZE};
    struct io_op ops[2] = {0};
    hurry(first.io);
    io_send(first.io, &ops[0], first.near, &one, 1);
    io_send(first.io, &ops[1], near, &other, 1);
    io_run(first.io, 0);
    cr_expect(has_begun(&ops[0]) && !has_begun(&ops[1]));
    cr_expect_leq(readable(first.far) + readable(far), URING_SEND_BYTES);
    hurry(first.io);
    io_run(first.io, 0);
    cr_expect(has_begun(&ops[1]), "the other one's turn");
    cr_expect_leq(readable(first.far) + readable(far), 2 * URING_SEND_BYTES);
    for (int i = 0; i < 2; i++) {
        io_cancel(first.io, &ops[i]);
        io_wait(first.io, &ops[i]);
    }
    free(data);
    close(near);
    close(far);
    disconnect(&first);
}

struct following {
    struct io_op nop;
    struct io_op write;
    struct io *io;
    int fd;
};

static void start_write(struct io_op *op)
{
    struct following *following = list_entry(op, struct following, nop);
    io_write(following->io, &following->write, following->fd, "x", 1, 0, false);
}

// A write that the end of a turn starts does not wait for the next turn's entry.
Test(storage, io_uring_a_deferred_call_is_in_time_for_the_entry)
{
    struct io *io = create();
    char path[] = "/tmp/weir_io_XXXXXX";
    struct following following = {.io = io, .fd = mkstemp(path)};
    io_run(io, 0);
    uint64_t before = io->stats.system_calls;
    struct io_op other = {0};
    io_write(io, &other, following.fd, "y", 1, 1, false);
    following.nop.done = start_write;
    io_nop(io, &following.nop);
    io_run(io, UINT64_MAX);
    cr_expect_eq(io->stats.system_calls, before + 1);
    cr_expect_eq(io_uring_sq_ready(&inside(io)->ring), 0, "both have gone");
    cr_expect_eq(io_wait(io, &following.write), 1);
    cr_expect_eq(io_wait(io, &other), 1);
    close(following.fd);
    unlink(path);
    io_destroy(io);
}

// The next receive goes with the write that a deferred call starts, in the entry that waits: it
// costs none of its own, but goes with the following one at the latest, whatever is called back.
Test(storage, io_uring_a_receive_does_not_press)
{
    struct pair pair = connected("127.0.0.1", "127.0.0.1");
    struct io *io = pair.io;
    char path[] = "/tmp/weir_io_XXXXXX";
    struct following following = {.io = io, .fd = mkstemp(path)};
    following.nop.done = start_write;
    io_run(io, 0);
    uint64_t before = io->stats.system_calls;
    struct io_op receive = {0};
    char byte;
    io_receive(io, &receive, pair.near, &byte, 1, false);
    io_nop(io, &following.nop);
    io_run(io, UINT64_MAX);
    cr_expect(following.write.pending);
    cr_expect_eq(io->stats.system_calls, before, "called back, and no more");
    struct io_op nop = {0};
    io_nop(io, &nop);
    io_run(io, UINT64_MAX);
    cr_expect(!nop.pending);
    cr_expect_eq(io->stats.system_calls, before + 1);
    cr_expect_eq(io_uring_sq_ready(&inside(io)->ring), 0, "both have gone");
    cr_expect_eq(io_wait(io, &following.write), 1);
    cr_assert_eq(write(pair.far, "z", 1), 1);
    cr_expect_eq(io_wait(io, &receive), 1);
    close(following.fd);
    unlink(path);
    disconnect(&pair);
}

// The signal would end the test.
Test(storage, io_uring_send_to_nobody_is_a_result)
{
    struct pair pair = connected("127.0.0.1", "127.0.0.1");
    struct io_op op = {0};
    io_shutdown(pair.io, &op, pair.near);
    cr_assert_eq(io_wait(pair.io, &op), 0);
    struct iovec one = {"x", 1};
    io_send(pair.io, &op, pair.near, &one, 1);
    cr_expect_eq(io_wait(pair.io, &op), -EPIPE);
    char byte;
    cr_expect_eq(read(pair.far, &byte, 1), 0);
    disconnect(&pair);
}

Test(storage, io_uring_cancels_what_would_wait_for_ever)
{
    struct pair pair = connected("127.0.0.1", "127.0.0.1");
    char data[4];
    struct io_op accept = {0};
    struct io_op receive = {0};
    io_accept(pair.io, &accept, pair.listener);
    io_receive(pair.io, &receive, pair.near, data, 4, true);
    io_run(pair.io, 0);
    cr_assert_eq(write(pair.far, "ab", 2), 2);
    io_run(pair.io, 0);
    io_cancel(pair.io, &accept);
    io_cancel(pair.io, &receive);
    cr_expect(accept.pending && receive.pending);
    cr_expect_eq(io_wait(pair.io, &accept), -ECANCELED);
    // The kernel may report the two bytes that were there; then there is nothing left to cancel
    // but the rest, which is not waited for.
    cr_expect_eq(io_wait(pair.io, &receive), -ECANCELED);
    // In the same breath, not yet submitted.
    io_accept(pair.io, &accept, pair.listener);
    io_cancel(pair.io, &accept);
    cr_expect_eq(io_wait(pair.io, &accept), -ECANCELED);
    disconnect(&pair);
}

// All in flight at once, on a queue of 16.
Test(storage, io_uring_many_receives_wait_and_cancel)
{
    enum { COUNT = 500 };
    struct pair pair = connected("127.0.0.1", "127.0.0.1");
    struct io_op *ops = calloc(COUNT, sizeof(*ops));
    char bytes[COUNT];
    for (size_t i = 0; i < COUNT; i++)
        io_receive(pair.io, &ops[i], pair.near, &bytes[i], 1, false);
    io_run(pair.io, 0);
    cr_assert_eq(write(pair.far, "0123456789", 10), 10);
    uint64_t answered = 0;
    while (answered < 10) {
        io_run(pair.io, UINT64_MAX);
        answered = 0;
        for (size_t i = 0; i < COUNT; i++)
            answered += !ops[i].pending;
    }
    for (size_t i = 0; i < COUNT; i++)
        io_cancel(pair.io, &ops[i]);
    uint64_t received = 0;
    for (size_t i = 0; i < COUNT; i++) {
        int64_t result = io_wait(pair.io, &ops[i]);
        cr_assert(result == 1 || result == -ECANCELED);
        received += result == 1;
    }
    cr_expect_eq(received, 10);
    free(ops);
    disconnect(&pair);
}

struct waker {
    struct io *target;
    bool with_io;
    bool message;
    unsigned rounds;
    atomic_uint *posted;
    atomic_uint *seen;
};

// Posts, wakes, and goes on only when the target has seen it: a lost wake stops the test.
static void *wake_again_and_again(void *context)
{
    struct waker *waker = context;
    struct io *io = waker->with_io ? create() : NULL;
    if (io && !waker->message)
        inside(io)->can_message = false;
    for (unsigned i = 1; i <= waker->rounds; i++) {
        atomic_fetch_add(waker->posted, 1);
        io_wake(io, waker->target);
        io_wake(io, waker->target);
        if (io)
            io_run(io, 0);
        while (atomic_load(waker->seen) < i)
            sched_yield();
    }
    if (io)
        io_destroy(io);
    return NULL;
}

static void check_wakes(bool with_io, bool message)
{
    enum { ROUNDS = 2000 };
    atomic_uint posted = 0;
    atomic_uint seen = 0;
    struct io *io = create();
    struct waker waker = {io, with_io, message, ROUNDS, &posted, &seen};
    pthread_t thread;
    pthread_create(&thread, NULL, wake_again_and_again, &waker);
    while (atomic_load(&seen) < ROUNDS) {
        io_run(io, UINT64_MAX);
        atomic_store(&seen, atomic_load(&posted));
    }
    pthread_join(thread, NULL);
    io_destroy(io);
}

Test(storage, io_uring_wakes_by_message)
{
    struct io *io = create();
    bool can_message = inside(io)->can_message;
    io_destroy(io);
    if (!can_message)
        cr_skip("this kernel has no MSG_RING");
    check_wakes(true, true);
}

Test(storage, io_uring_wakes_by_event)
{
    check_wakes(true, false);
    check_wakes(false, false);
}

Test(storage, io_uring_unnoticed_wakes_are_one)
{
    struct io *from = create();
    struct io *to = create();
    for (int i = 0; i < 1000; i++)
        io_wake(from, to);
    cr_expect_leq(io_uring_sq_ready(&inside(from)->ring), 2, "one message, one poll at most");
    io_run(from, 0);
    io_run(to, UINT64_MAX);
    uint64_t far = to->now_ns + 20000000;
    io_run(to, far);
    cr_expect_geq(to->now_ns, far, "nothing is left of them");
    io_destroy(from);
    io_destroy(to);
}

// A wake that comes before the target waits is not lost.
Test(storage, io_uring_wake_before_the_wait)
{
    struct io *to = create();
    io_wake(NULL, to);
    io_run(to, UINT64_MAX);
    io_destroy(to);
}

Test(storage, io_uring_truncates_without_the_kernel_operation)
{
    struct io *io = create();
    inside(io)->can_truncate = false;
    char path[] = "/tmp/weir_io_XXXXXX";
    int fd = mkstemp(path);
    struct io_op op = {0};
    io_truncate(io, &op, fd, 12345);
    cr_assert(op.pending);
    cr_expect_eq(io_wait(io, &op), 0);
    cr_expect_eq(io_file_size(io, fd), 12345);
    close(fd);
    unlink(path);
    io_truncate(io, &op, fd, 1);
    cr_expect_eq(io_wait(io, &op), -EBADF);
    io_destroy(io);
}

// The kernel's answers that real files hardly ever give.
Test(storage, io_uring_short_writes_are_continued)
{
    char data[100];
    struct iovec vectors[3] = {{data, 10}, {data + 10, 0}, {data + 10, 90}};
    struct io_op op = {
        .kind = IO_WRITE, .offset = 1000, .length = 100, .vectors = vectors, .vector_count = 3};
    cr_expect(!io_uring_op_settle(&op, -EINTR));
    cr_expect(!io_uring_op_settle(&op, -EAGAIN));
    cr_expect(!io_uring_op_settle(&op, 10));
    cr_expect(!io_uring_op_settle(&op, 25));
    struct io_uring_sqe sqe = {0};
    io_uring_op_prepare(&op, &sqe, UINT64_MAX);
    cr_expect_eq(sqe.opcode, IORING_OP_WRITE);
    cr_expect_eq(sqe.off, 1035);
    cr_expect_eq(sqe.len, 65);
    cr_expect_eq(sqe.addr, (uintptr_t)(data + 35));
    cr_expect(io_uring_op_settle(&op, 65));
    cr_expect_eq(op.result, 100);
}

// Seen by this process only, so it is gone with it.
static void mount_small(const char *directory)
{
    if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("none", directory, "tmpfs", 0, "size=64k") < 0) {
        rmdir(directory);
        cr_skip("only root may mount a small file system");
    }
}

Test(storage, io_uring_a_full_file_system_is_a_result)
{
    char directory[] = "/tmp/weir_io_XXXXXX";
    char path[64];
    cr_assert_not_null(mkdtemp(directory));
    mount_small(directory);
    snprintf(path, sizeof(path), "%s/file", directory);
    struct io *io = create();
    char *data = calloc(1, MIB);
    int fd = io_open_wait(io, path, O_RDWR | O_CREAT, 0644);
    cr_assert_geq(fd, 0);
    cr_expect_eq(io_write_wait(io, fd, data, MIB, 0, true), -ENOSPC, "after a short write");
    cr_expect_gt(io_file_size(io, fd), 0);
    struct io_op op = {0};
    io_allocate(io, &op, fd, 0, MIB);
    cr_expect_eq(io_wait(io, &op), -ENOSPC);
    io_truncate(io, &op, fd, 0);
    cr_assert_eq(io_wait(io, &op), 0);
    cr_expect_eq(io_write_wait(io, fd, data, 4096, 0, true), 4096, "there is space again");
    cr_expect_eq(io_close_wait(io, fd), 0);
    io_destroy(io);
    free(data);
    umount(directory);
    rmdir(directory);
}

// What an acknowledgement rests on.
Test(storage, io_uring_durable_writes_ask_for_it)
{
    char data[20];
    struct iovec vectors[2] = {{data, 10}, {data + 10, 10}};
    for (uint32_t count = 1; count <= 2; count++) {
        for (uint32_t durable = 0; durable <= 1; durable++) {
            struct io_op op = {
                .kind = IO_WRITE, .flags = durable, .vectors = vectors, .vector_count = count};
            struct io_uring_sqe sqe = {0};
            io_uring_op_prepare(&op, &sqe, UINT64_MAX);
            cr_expect_eq(sqe.opcode, count == 1 ? IORING_OP_WRITE : IORING_OP_WRITEV);
            cr_expect_eq(sqe.rw_flags, durable ? RWF_DSYNC : 0);
        }
    }
}

Test(storage, io_uring_data_only_syncs_ask_for_it)
{
    for (uint32_t data_only = 0; data_only <= 1; data_only++) {
        struct io_op op = {.kind = IO_SYNC, .flags = data_only};
        struct io_uring_sqe sqe = {0};
        io_uring_op_prepare(&op, &sqe, UINT64_MAX);
        cr_expect_eq(sqe.opcode, IORING_OP_FSYNC);
        cr_expect_eq(sqe.fsync_flags, data_only ? IORING_FSYNC_DATASYNC : 0);
    }
}

static void take_back(struct uring *uring, struct io_op *op)
{
    // As if the kernel had had no room for it.
    uring->in_kernel--;
    uring->ring.sq.sqe_tail--;
    op->place = 0;
    list_append(&uring->queued, &op->node);
}

Test(storage, io_uring_what_found_no_room_keeps_its_turn)
{
    struct io *io = create();
    char path[] = "/tmp/weir_io_XXXXXX";
    int fd = mkstemp(path);
    io_run(io, 0);
    struct io_op first = {0}, second = {0}, third = {0};
    io_write(io, &first, fd, "1", 1, 0, false);
    take_back(inside(io), &first);
    io_write(io, &second, fd, "2", 1, 1, false);
    io_write(io, &third, fd, "3", 1, 2, false);
    cr_expect_eq(io_uring_sq_ready(&inside(io)->ring), 0, "nobody overtakes the first");
    io_cancel(io, &second);
    cr_expect(second.pending);
    cr_expect_eq(io_wait(io, &first), 1);
    cr_expect_eq(io_wait(io, &second), -ECANCELED);
    cr_expect_eq(io_wait(io, &third), 1);
    char back[3];
    cr_expect_eq(io_read_wait(io, fd, back, 3, 0), 3);
    cr_expect_eq(memcmp(back,
                        "1\0"
                        "3",
                        3),
                 0);
    close(fd);
    unlink(path);
    io_destroy(io);
}

Test(storage, io_uring_a_write_that_gets_nowhere_fails)
{
    char data[10];
    struct iovec one = {data, 10};
    struct io_op op = {.kind = IO_WRITE, .length = 10, .vectors = &one, .vector_count = 1};
    cr_expect(!io_uring_op_settle(&op, 4));
    cr_expect(io_uring_op_settle(&op, 0));
    cr_expect_eq(op.result, -EIO);
    one = (struct iovec){data, 10};
    op = (struct io_op){.kind = IO_WRITE, .length = 10, .vectors = &one, .vector_count = 1};
    cr_expect(!io_uring_op_settle(&op, 4));
    cr_expect(io_uring_op_settle(&op, -ENOSPC));
    cr_expect_eq(op.result, -ENOSPC);
}

Test(storage, io_uring_short_reads_end_at_the_end)
{
    char data[100];
    struct iovec one = {data, 100};
    struct io_op op = {.kind = IO_READ, .length = 100, .vectors = &one, .vector_count = 1};
    cr_expect(!io_uring_op_settle(&op, 60));
    cr_expect(io_uring_op_settle(&op, 0));
    cr_expect_eq(op.result, 60);
    // O_DIRECT, asked for the rest of the last block.
    one = (struct iovec){data, 100};
    op = (struct io_op){.kind = IO_READ, .length = 100, .vectors = &one, .vector_count = 1};
    cr_expect(!io_uring_op_settle(&op, 60));
    cr_expect(io_uring_op_settle(&op, -EINVAL));
    cr_expect_eq(op.result, 60);
    one = (struct iovec){data, 100};
    op = (struct io_op){.kind = IO_READ, .length = 100, .vectors = &one, .vector_count = 1};
    cr_expect(!io_uring_op_settle(&op, 60));
    cr_expect(io_uring_op_settle(&op, -EIO));
    cr_expect_eq(op.result, -EIO);
    op = (struct io_op){.kind = IO_READ, .length = 100, .vectors = &one, .vector_count = 1};
    cr_expect(io_uring_op_settle(&op, -EINVAL));
    cr_expect_eq(op.result, -EINVAL, "nothing was read");
}

Test(storage, io_uring_closing_is_never_repeated)
{
    struct io_op op = {.kind = IO_CLOSE};
    cr_expect(io_uring_op_settle(&op, -EINTR));
    cr_expect_eq(op.result, 0);
}

Test(storage, io_uring_cancelled_transfers_are_not_continued)
{
    char data[10];
    struct iovec one = {data, 10};
    struct io_op op = {.kind = IO_SEND, .length = 10, .vectors = &one, .vector_count = 1};
    op.cancelled = true;
    cr_expect(io_uring_op_settle(&op, 4));
    cr_expect_eq(op.result, -ECANCELED);
}

// io_run costs one entry into the kernel, however much it submits.
Test(storage, io_uring_one_system_call_per_run)
{
    struct io *io = create();
    char path[] = "/tmp/weir_io_XXXXXX";
    int fd = mkstemp(path);
    io_run(io, 0);
    struct io_op ops[8] = {0};
    uint64_t before = io->stats.system_calls;
    for (size_t i = 0; i < 8; i++)
        io_write(io, &ops[i], fd, "x", 1, i, false);
    cr_expect_eq(io->stats.system_calls, before);
    io_run(io, UINT64_MAX);
    cr_expect_eq(io->stats.system_calls, before + 1);
    for (size_t i = 0; i < 8; i++)
        cr_expect_eq(io_wait(io, &ops[i]), 1);
    before = io->stats.system_calls;
    struct io_op nop = {0};
    io_nop(io, &nop);
    io_run(io, UINT64_MAX);
    cr_expect(!nop.pending);
    cr_expect_eq(io->stats.system_calls, before, "a deferred call costs none");
    close(fd);
    unlink(path);
    io_destroy(io);
}

// A sync always goes to a worker, on every kernel and file system.
Test(storage, io_uring_workers_are_seen_at_work)
{
    struct io *io = create();
    io_run(io, 0);
    cr_expect_eq(io_uring_workers().threads, 0);
    char path[] = "/tmp/weir_io_XXXXXX";
    int fd = mkstemp(path);
    struct io_op op = {0};
    uint64_t before = 0;
    for (int i = 0; i < 2; i++) {
        for (int j = 0; j < 20; j++) {
            io_sync(io, &op, fd, false);
            cr_assert_eq(io_wait(io, &op), 0);
        }
        struct io_uring_workers workers = io_uring_workers();
        cr_expect_geq(workers.threads, 1);
        cr_expect_gt(workers.runs, before);
        before = workers.runs;
    }
    close(fd);
    unlink(path);
    io_destroy(io);
}

// From here on this process's io_uring_setup fails with `error`.
static void forbid_io_uring(unsigned error)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof(filter) / sizeof(filter[0]), filter};
    cr_assert_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        cr_skip("seccomp filters are not available here");
}

struct refusal {
    int error;
    char hint[16];
};

ParameterizedTestParameters(storage, io_uring_says_why_not)
{
    static struct refusal refusals[] = {
        {EPERM, "seccomp"},    {ENOSYS, "kernel"},  {ENOMEM, "ulimit -l"},
        {EMFILE, "ulimit -n"}, {EINVAL, "too old"}, {ENODEV, "refused"},
    };
    return cr_make_param_array(struct refusal, refusals, sizeof(refusals) / sizeof(refusals[0]));
}

ParameterizedTest(const struct refusal *refusal, storage, io_uring_says_why_not)
{
    forbid_io_uring((unsigned)refusal->error);
    struct io *io = NULL;
    const char *why = NULL;
    cr_assert_eq(io_uring_create(16, &io, &why), -refusal->error);
    cr_expect_null(io);
    cr_assert_not_null(why);
    bool hinted = strstr(why, refusal->hint) || strstr(why, "io_uring_disabled");
    cr_expect(hinted, "%s: %s", refusal->hint, why);
}
