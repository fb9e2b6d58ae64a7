// SPDX-License-Identifier: Apache-2.0
// What io.h promises of files, checked on every implementation by the same code.
#include "storage/io.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/sim/sim_io.h"

enum { KIB = 1024, PATH_ROOM = 128 };

// An implementation with an empty directory to work in.
struct place {
    struct io *io;
    char directory[64];
    struct sim *sim;
};

// Paths stay valid until the operation is done, so each has its own room.
static const char *in(const struct place *place, char path[PATH_ROOM], const char *name)
{
    snprintf(path, PATH_ROOM, "%s/%s", place->directory, name);
    return path;
}

static int open_new(struct place *place, const char *name, int flags)
{
    char path[PATH_ROOM];
    int fd =
        io_open_wait(place->io, in(place, path, name), O_RDWR | O_CREAT | O_EXCL | flags, 0644);
    cr_assert_geq(fd, 0, "%s: %s", path, strerror(-fd));
    return fd;
}

static void close_file(struct place *place, int fd)
{
    cr_assert_eq(io_close_wait(place->io, fd), 0);
}

struct counted {
    struct io_op op;
    int *count;
};

static void count_done(struct io_op *op)
{
    ++*list_entry(op, struct counted, op)->count;
}

static void done_is_called_later(struct place *place)
{
    int count = 0;
    struct counted nop = {.op.done = count_done, .count = &count};
    io_nop(place->io, &nop.op);
    cr_assert_eq(count, 0);
    cr_assert(nop.op.pending);
    cr_assert_eq(io_wait(place->io, &nop.op), 0);
    cr_assert_eq(count, 1);
    struct counted sync = {.op.done = count_done, .count = &count};
    io_sync(place->io, &sync.op, -1, false);
    cr_assert_eq(count, 1, "not even for an error");
    cr_assert_eq(io_wait(place->io, &sync.op), -EBADF);
    cr_assert_eq(count, 2);
}

struct chain {
    struct io_op op;
    struct io *io;
    int left;
    bool inside;
};

static void next_link(struct io_op *op)
{
    struct chain *chain = list_entry(op, struct chain, op);
    cr_assert(!chain->inside);
    if (--chain->left == 0)
        return;
    chain->inside = true;
    io_nop(chain->io, op);
    chain->inside = false;
}

static void done_may_start_the_same_operation(struct place *place)
{
    struct chain chain = {.op.done = next_link, .io = place->io, .left = 100};
    io_nop(place->io, &chain.op);
    while (chain.left > 0)
        io_run(place->io, UINT64_MAX);
    cr_assert(!chain.op.pending);
}

static void open_reports_what_is_wrong(struct place *place)
{
    struct io *io = place->io;
    char path[PATH_ROOM];
    cr_expect_eq(io_open_wait(io, in(place, path, "absent"), O_RDONLY, 0), -ENOENT);
    cr_expect_eq(io_open_wait(io, in(place, path, "a/b/c"), O_RDWR | O_CREAT, 0644), -ENOENT);
    close_file(place, open_new(place, "file", 0));
    cr_expect_eq(io_open_wait(io, in(place, path, "file"), O_RDWR | O_CREAT | O_EXCL, 0644),
                 -EEXIST);
    cr_expect_eq(io_open_wait(io, in(place, path, "file"), O_RDONLY | O_DIRECTORY, 0), -ENOTDIR);
    cr_expect_eq(io_open_wait(io, place->directory, O_RDWR, 0), -EISDIR);
}

static void bad_descriptors_are_results(struct place *place)
{
    struct io *io = place->io;
    uint8_t byte = 0;
    struct io_op op = {0};
    cr_expect_eq(io_read_wait(io, -1, &byte, 1, 0), -EBADF);
    cr_expect_eq(io_write_wait(io, -1, &byte, 1, 0, true), -EBADF);
    cr_expect_eq(io_close_wait(io, -1), -EBADF);
    cr_expect_eq(io_file_size(io, -1), -EBADF);
    io_sync(io, &op, -1, true);
    cr_expect_eq(io_wait(io, &op), -EBADF);
    io_allocate(io, &op, -1, 0, 4096);
    cr_expect_eq(io_wait(io, &op), -EBADF);
    io_truncate(io, &op, -1, 4096);
    cr_expect_eq(io_wait(io, &op), -EBADF);
    char path[PATH_ROOM];
    close_file(place, open_new(place, "file", 0));
    int fd = io_open_wait(io, in(place, path, "file"), O_RDONLY, 0);
    cr_expect_eq(io_write_wait(io, fd, &byte, 1, 0, false), -EBADF, "opened for reading");
    close_file(place, fd);
}

static void bytes_come_back(struct place *place)
{
    struct io *io = place->io;
    uint8_t out[3000];
    uint8_t back[5000];
    for (size_t i = 0; i < sizeof(out); i++)
        out[i] = (uint8_t)(i * 7 + 1);
    int fd = open_new(place, "file", 0);
    cr_assert_eq(io_write_wait(io, fd, out, sizeof(out), 1000, false), sizeof(out));
    cr_expect_eq(io_file_size(io, fd), 4000);
    memset(back, 0xee, sizeof(back));
    cr_assert_eq(io_read_wait(io, fd, back, sizeof(back), 0), 4000, "short at the end of the file");
    for (size_t i = 0; i < 1000; i++)
        cr_assert_eq(back[i], 0, "a hole reads as zeros");
    cr_expect_arr_eq(back + 1000, out, sizeof(out));
    cr_expect_eq(back[4000], 0xee);
    cr_expect_eq(io_read_wait(io, fd, back, 10, 4000), 0);
    cr_expect_eq(io_read_wait(io, fd, back, 10, 1 << 20), 0);
    cr_expect_eq(io_read_wait(io, fd, back, 100, 3990), 10);
    cr_assert_eq(io_write_wait(io, fd, "xyz", 3, 1500, true), 3);
    cr_assert_eq(io_read_wait(io, fd, back, 5, 1499), 5);
    cr_expect_eq(back[0], out[499]);
    cr_expect_eq(memcmp(back + 1, "xyz", 3), 0);
    cr_expect_eq(back[4], out[503]);
    cr_expect_eq(io_read_wait(io, fd, back, 0, 0), 0);
    cr_expect_eq(io_write_wait(io, fd, back, 0, 0, false), 0);
    close_file(place, fd);
}

static void vectors_are_written_in_order(struct place *place)
{
    enum { COUNT = 3000 }; // more than a system call takes at once
    struct iovec *vectors = calloc(COUNT, sizeof(*vectors));
    uint8_t *data = malloc(COUNT * 4);
    uint8_t *expected = malloc(COUNT * 4);
    uint8_t *back = malloc(COUNT * 4);
    size_t total = 0;
    for (size_t i = 0; i < COUNT; i++) {
        size_t size = i % 4; // some are empty, also the first
        memset(data + i * 4, (int)(i % 251), 4);
        memset(expected + total, (int)(i % 251), size);
        vectors[i] = (struct iovec){.iov_base = data + i * 4, .iov_len = size};
        total += size;
    }
    int fd = open_new(place, "file", 0);
    struct io_op op = {0};
    io_writev(place->io, &op, fd, vectors, COUNT, 0, true);
    cr_assert_eq(io_wait(place->io, &op), (int64_t)total);
    cr_assert_eq(io_read_wait(place->io, fd, back, COUNT * 4, 0), (int64_t)total);
    cr_expect_arr_eq(back, expected, total);
    close_file(place, fd);
    free(vectors);
    free(data);
    free(expected);
    free(back);
}

static void files_are_allocated_and_cut(struct place *place)
{
    struct io *io = place->io;
    uint8_t back[16];
    int fd = open_new(place, "file", 0);
    struct io_op op = {0};
    io_allocate(io, &op, fd, 0, 64 * KIB);
    cr_assert_eq(io_wait(io, &op), 0);
    cr_expect_eq(io_file_size(io, fd), 64 * KIB);
    cr_assert_eq(io_read_wait(io, fd, back, 16, 64 * KIB - 16), 16);
    cr_expect_arr_eq(back, ((uint8_t[16]){0}), 16);
    cr_assert_eq(io_write_wait(io, fd, "0123456789", 10, 0, false), 10);
    io_truncate(io, &op, fd, 5);
    cr_assert_eq(io_wait(io, &op), 0);
    cr_expect_eq(io_file_size(io, fd), 5);
    io_truncate(io, &op, fd, 10);
    cr_assert_eq(io_wait(io, &op), 0);
    cr_assert_eq(io_read_wait(io, fd, back, 16, 0), 10);
    cr_expect_arr_eq(back, "01234\0\0\0\0\0", 10, "what was cut off is zeros");
    io_allocate(io, &op, fd, 0, 0);
    cr_expect_eq(io_wait(io, &op), -EINVAL);
    close_file(place, fd);
}

struct names {
    char text[16][32];
    int count;
    int stop_after;
};

static int collect(void *context, const char *name)
{
    struct names *names = context;
    cr_assert_lt(names->count, 16);
    snprintf(names->text[names->count++], 32, "%s", name);
    return names->count == names->stop_after ? 77 : 0;
}

static bool listed(const struct names *names, const char *name)
{
    for (int i = 0; i < names->count; i++) {
        if (strcmp(names->text[i], name) == 0)
            return true;
    }
    return false;
}

static void names_change(struct place *place)
{
    struct io *io = place->io;
    struct io_op op = {0};
    char a[PATH_ROOM], b[PATH_ROOM], directory[PATH_ROOM];
    in(place, a, "a");
    in(place, b, "b");
    in(place, directory, "directory");
    int fd = open_new(place, "a", 0);
    cr_assert_eq(io_write_wait(io, fd, "A", 1, 0, false), 1);
    close_file(place, fd);
    close_file(place, open_new(place, "b", 0));
    io_mkdir(io, &op, directory, 0755);
    cr_assert_eq(io_wait(io, &op), 0);
    io_mkdir(io, &op, directory, 0755);
    cr_expect_eq(io_wait(io, &op), -EEXIST);

    struct names names = {0};
    cr_assert_eq(io_list_directory(io, place->directory, collect, &names), 0);
    cr_expect_eq(names.count, 3);
    cr_expect(listed(&names, "a") && listed(&names, "b") && listed(&names, "directory"));
    names = (struct names){.stop_after = 2};
    cr_expect_eq(io_list_directory(io, place->directory, collect, &names), 77);
    cr_expect_eq(names.count, 2);

    io_rename(io, &op, a, b);
    cr_assert_eq(io_wait(io, &op), 0);
    io_rename(io, &op, a, b);
    cr_expect_eq(io_wait(io, &op), -ENOENT);
    fd = io_open_wait(io, b, O_RDONLY, 0);
    cr_expect_eq(io_file_size(io, fd), 1, "the new one has replaced the old");

    io_unlink(io, &op, b, false);
    cr_assert_eq(io_wait(io, &op), 0);
    io_unlink(io, &op, b, false);
    cr_expect_eq(io_wait(io, &op), -ENOENT);
    char byte = 0;
    cr_expect_eq(io_read_wait(io, fd, &byte, 1, 0), 1, "an open file outlives its name");
    cr_expect_eq(byte, 'A');
    close_file(place, fd);

    close_file(place, open_new(place, "directory/inner", 0));
    io_unlink(io, &op, directory, true);
    cr_expect_eq(io_wait(io, &op), -ENOTEMPTY);
    io_unlink(io, &op, directory, false);
    cr_expect_eq(io_wait(io, &op), -EISDIR);
    char inner[PATH_ROOM];
    io_unlink(io, &op, in(place, inner, "directory/inner"), true);
    cr_expect_eq(io_wait(io, &op), -ENOTDIR);
    io_unlink(io, &op, inner, false);
    cr_assert_eq(io_wait(io, &op), 0);
    io_unlink(io, &op, directory, true);
    cr_assert_eq(io_wait(io, &op), 0);
    cr_expect_eq(io_list_directory(io, directory, collect, &names), -ENOENT);
    cr_expect_eq(io_sync_directory_wait(io, place->directory), 0);
    cr_expect_eq(io_sync_directory_wait(io, directory), -ENOENT);
}

static void more_operations_than_the_queue_holds(struct place *place)
{
    enum { COUNT = 1000 };
    struct {
        struct counted counted;
        uint64_t value;
    } *writes = calloc(COUNT, sizeof(*writes));
    int count = 0;
    int fd = open_new(place, "file", 0);
    uint64_t before = place->io->stats.operations;
    for (uint64_t i = 0; i < COUNT; i++) {
        writes[i].counted = (struct counted){.op.done = count_done, .count = &count};
        writes[i].value = i * 0x0101010101010101u;
        io_write(place->io, &writes[i].counted.op, fd, &writes[i].value, 8, i * 8, false);
    }
    cr_assert_eq(count, 0);
    cr_assert_eq(place->io->stats.operations - before, COUNT);
    while (count < COUNT)
        io_run(place->io, UINT64_MAX);
    uint64_t back[COUNT];
    cr_assert_eq(io_read_wait(place->io, fd, back, sizeof(back), 0), sizeof(back));
    for (uint64_t i = 0; i < COUNT; i++) {
        cr_assert_eq(writes[i].counted.op.result, 8);
        cr_assert_eq(back[i], i * 0x0101010101010101u);
    }
    close_file(place, fd);
    free(writes);
}

static void direct_files_may_end_anywhere(struct place *place)
{
    struct io *io = place->io;
    int fd = open_new(place, "file", O_DIRECT);
    uint8_t *page = aligned_alloc(4096, 16 * KIB);
    memset(page, 0x5a, 16 * KIB);
    cr_assert_eq(io_write_wait(io, fd, page, 16 * KIB, 0, true), 16 * KIB);
    struct io_op op = {0};
    io_truncate(io, &op, fd, 5000);
    cr_assert_eq(io_wait(io, &op), 0);
    memset(page, 0, 16 * KIB);
    cr_assert_eq(io_read_wait(io, fd, page, 16 * KIB, 0), 5000);
    cr_expect_eq(page[4999], 0x5a);
    cr_assert_eq(io_read_wait(io, fd, page, 4096, 4096), 5000 - 4096);
    cr_expect_eq(io_read_wait(io, fd, page, 4096, 8192), 0);
    free(page);
    close_file(place, fd);
}

static void cancelling_ends_with_done(struct place *place)
{
    int count = 0;
    int fd = open_new(place, "file", 0);
    struct counted writes[100];
    for (size_t i = 0; i < 100; i++) {
        writes[i] = (struct counted){.op.done = count_done, .count = &count};
        io_write(place->io, &writes[i].op, fd, "x", 1, i, false);
        io_cancel(place->io, &writes[i].op);
        io_cancel(place->io, &writes[i].op);
    }
    cr_assert_eq(count, 0);
    while (count < 100)
        io_run(place->io, UINT64_MAX);
    for (size_t i = 0; i < 100; i++) {
        cr_expect(writes[i].op.result == 1 || writes[i].op.result == -ECANCELED, "%ld",
                  (long)writes[i].op.result);
        io_cancel(place->io, &writes[i].op);
    }
    close_file(place, fd);
}

static void waiting_ends_at_the_deadline(struct place *place)
{
    struct io *io = place->io;
    uint64_t before = io->now_ns;
    io_run(io, 0);
    cr_expect_geq(io->now_ns, before);
    uint64_t deadline = io->now_ns + 3000000;
    io_run(io, deadline);
    cr_expect_geq(io->now_ns, deadline);
    cr_expect_gt(io->wall_ms, 1600000000000);
    before = io->now_ns;
    io_run(io, 1);
    cr_expect_geq(io->now_ns, before, "a deadline that has passed");
}

static void a_pause_takes_its_time(struct place *place)
{
    struct io *io = place->io;
    struct io_op op = {0};
    io_run(io, 0);
    uint64_t due = io->now_ns + 3000000;
    io_pause(io, &op, 3000000);
    cr_expect_eq(io_wait(io, &op), 0);
    cr_expect_geq(io->now_ns, due);
}

static void waking_oneself_ends_the_wait(struct place *place)
{
    uint64_t far = place->io->now_ns + 3600ull * 1000000000;
    io_wake(place->io, place->io);
    io_run(place->io, far);
    cr_expect_lt(place->io->now_ns, far);
}

static const struct {
    const char *name;
    void (*run)(struct place *place);
} promises[] = {
    {"done is called later", done_is_called_later},
    {"done may start the same operation", done_may_start_the_same_operation},
    {"open reports what is wrong", open_reports_what_is_wrong},
    {"bad descriptors are results", bad_descriptors_are_results},
    {"bytes come back", bytes_come_back},
    {"vectors are written in order", vectors_are_written_in_order},
    {"files are allocated and cut", files_are_allocated_and_cut},
    {"names change", names_change},
    {"more operations than the queue holds", more_operations_than_the_queue_holds},
    {"direct files may end anywhere", direct_files_may_end_anywhere},
    {"cancelling ends with done", cancelling_ends_with_done},
    {"waiting ends at the deadline", waiting_ends_at_the_deadline},
    {"a pause takes its time", a_pause_takes_its_time},
    {"waking oneself ends the wait", waking_oneself_ends_the_wait},
};

enum { PROMISE_COUNT = sizeof(promises) / sizeof(promises[0]) };

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *at)
{
    (void)status;
    (void)type;
    (void)at;
    return remove(path);
}

ParameterizedTestParameters(storage, io_promises_on_io_uring)
{
    static int index[PROMISE_COUNT];
    for (int i = 0; i < PROMISE_COUNT; i++)
        index[i] = i;
    return cr_make_param_array(int, index, PROMISE_COUNT);
}

ParameterizedTest(const int *index, storage, io_promises_on_io_uring)
{
    struct place place = {.directory = "/tmp/weir_io_XXXXXX"};
    const char *why = "";
    int created = io_uring_create(8, &place.io, &why);
    cr_assert_eq(created, 0, "%s", why);
    cr_assert_not_null(mkdtemp(place.directory));
    cr_log_info("%s", promises[*index].name);
    promises[*index].run(&place);
    io_destroy(place.io);
    nftw(place.directory, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

ParameterizedTestParameters(storage, io_promises_on_the_simulated_disk)
{
    static int index[PROMISE_COUNT];
    for (int i = 0; i < PROMISE_COUNT; i++)
        index[i] = i;
    return cr_make_param_array(int, index, PROMISE_COUNT);
}

ParameterizedTest(const int *index, storage, io_promises_on_the_simulated_disk)
{
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct place place = {.directory = "/work", .sim = sim_create(seed)};
        place.io = sim_io(place.sim);
        struct io_op op = {0};
        io_mkdir(place.io, &op, place.directory, 0755);
        cr_assert_eq(io_wait(place.io, &op), 0);
        cr_log_info("%s, seed %d", promises[*index].name, (int)seed);
        promises[*index].run(&place);
        io_destroy(place.io);
        sim_destroy(place.sim);
    }
}
