// SPDX-License-Identifier: Apache-2.0
// The simulated disk keeps what it must, and over many seeds loses everything else at least once.
#include "tests/sim/sim_io.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { SEEDS = 200, SECTOR = 512, SIZE = 8 * SECTOR };

static int open_file(struct sim *sim, const char *path)
{
    int fd = io_open_wait(sim_io(sim), path, O_RDWR | O_CREAT, 0644);
    cr_assert_geq(fd, 0, "%s: %s", path, strerror(-fd));
    return fd;
}

static void write_mark(struct sim *sim, int fd, char mark, uint64_t offset, size_t size,
                       bool durable)
{
    char data[SIZE];
    memset(data, mark, size);
    cr_assert_eq(io_write_wait(sim_io(sim), fd, data, size, offset, durable), (int64_t)size);
}

static int sync_file(struct sim *sim, int fd)
{
    struct io_op op = {0};
    io_sync(sim_io(sim), &op, fd, true);
    return (int)io_wait(sim_io(sim), &op);
}

static void sync_names(struct sim *sim)
{
    cr_assert_eq(io_sync_directory_wait(sim_io(sim), "/"), 0);
}

// A disk with one file "f", its name and SIZE bytes of 'a' safe.
static struct sim *prepared(uint64_t seed, int *fd)
{
    struct sim *sim = sim_create(seed);
    *fd = open_file(sim, "/f");
    sync_names(sim);
    write_mark(sim, *fd, 'a', 0, SIZE, true);
    return sim;
}

// One letter per sector of "f" after a restart; '?' when a sector is not all of one letter.
static size_t survivors(struct sim *sim, char letters[])
{
    static char data[2 * SIZE];
    sim_restart(sim);
    int fd = io_open_wait(sim_io(sim), "/f", O_RDONLY, 0);
    cr_assert_geq(fd, 0);
    int64_t size = io_read_wait(sim_io(sim), fd, data, sizeof(data), 0);
    cr_assert_geq(size, 0);
    size_t count = (size_t)size / SECTOR;
    for (size_t i = 0; i < count; i++) {
        const char *sector = data + i * SECTOR;
        letters[i] = memcmp(sector, sector + 1, SECTOR - 1) == 0 ? sector[0] : '?';
    }
    letters[count] = '\0';
    return count;
}

static bool exists(struct sim *sim, const char *path)
{
    int fd = io_open_wait(sim_io(sim), path, O_RDONLY, 0);
    cr_assert(fd >= 0 || fd == -ENOENT);
    if (fd >= 0)
        io_close_wait(sim_io(sim), fd);
    return fd >= 0;
}

Test(storage, io_sim_unsynced_writes_survive_in_part)
{
    int whole = 0, nothing = 0, torn = 0;
    for (uint64_t seed = 0; seed < 20 * SEEDS; seed++) {
        int fd;
        char letters[32];
        struct sim *sim = prepared(seed, &fd);
        write_mark(sim, fd, 'b', 0, 4 * SECTOR, false);
        survivors(sim, letters);
        cr_assert_eq(strlen(letters), 8);
        cr_assert_eq(strspn(letters, "ab"), 8, "%s", letters);
        cr_assert_str_eq(letters + 4, "aaaa", "bytes that nobody wrote");
        whole += memcmp(letters, "bbbb", 4) == 0;
        nothing += memcmp(letters, "aaaa", 4) == 0;
        torn += memcmp(letters, "abab", 4) == 0;
        sim_destroy(sim);
    }
    cr_expect(whole > 0 && nothing > 0 && torn > 0, "%d %d %d", whole, nothing, torn);
}

Test(storage, io_sim_any_of_several_versions_survives)
{
    int seen['e'] = {0};
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        int fd;
        char letters[32];
        struct sim *sim = prepared(seed, &fd);
        for (char mark = 'b'; mark < 'e'; mark++)
            write_mark(sim, fd, mark, 0, SECTOR, false);
        survivors(sim, letters);
        cr_assert(letters[0] >= 'a' && letters[0] < 'e');
        seen[(int)letters[0]]++;
        sim_destroy(sim);
    }
    cr_expect(seen['a'] && seen['b'] && seen['c'] && seen['d']);
}

Test(storage, io_sim_durable_and_synced_writes_survive)
{
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        int fd;
        char letters[32];
        struct sim *sim = prepared(seed, &fd);
        write_mark(sim, fd, 'b', SECTOR, SECTOR, false);
        write_mark(sim, fd, 'c', 0, SECTOR, true);
        write_mark(sim, fd, 'd', 8 * SECTOR, SECTOR, true);
        survivors(sim, letters);
        cr_assert_eq(letters[0], 'c');
        cr_assert_eq(letters[8], 'd', "the size goes along");
        fd = open_file(sim, "/f");
        write_mark(sim, fd, 'e', 0, SIZE, false);
        cr_assert_eq(sync_file(sim, fd), 0);
        survivors(sim, letters);
        cr_assert_str_eq(letters, "eeeeeeeed");
        sim_destroy(sim);
    }
}

Test(storage, io_sim_sizes_survive_as_promised)
{
    int longer = 0, shorter = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        int fd;
        char letters[32];
        struct sim *sim = prepared(seed, &fd);
        write_mark(sim, fd, 'b', SIZE, SIZE, false);
        size_t count = survivors(sim, letters);
        cr_assert(count == 8 || count == 16);
        longer += count == 16;
        fd = open_file(sim, "/f");
        struct io_op op = {0};
        io_truncate(sim_io(sim), &op, fd, SECTOR);
        cr_assert_eq(io_wait(sim_io(sim), &op), 0);
        count = survivors(sim, letters);
        cr_assert(count == 1 || count == 8 || count == 16);
        shorter += count == 1;
        fd = open_file(sim, "/f");
        io_truncate(sim_io(sim), &op, fd, SECTOR);
        cr_assert_eq(io_wait(sim_io(sim), &op), 0);
        cr_assert_eq(sync_file(sim, fd), 0);
        cr_assert_eq(survivors(sim, letters), 1);
        sim_destroy(sim);
    }
    cr_expect(longer > 0 && longer < SEEDS && shorter > 0 && shorter < SEEDS);
}

Test(storage, io_sim_a_failed_sync_saves_nothing_later)
{
    int lost = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        int fd;
        char letters[32];
        char byte = 0;
        struct sim *sim = prepared(seed, &fd);
        write_mark(sim, fd, 'b', 0, SECTOR, false);
        sim_fail(sim, IO_SYNC, 1, -EIO, false);
        cr_assert_eq(sync_file(sim, fd), -EIO);
        cr_assert_eq(sync_file(sim, fd), 0, "as real kernels do");
        cr_assert_eq(io_read_wait(sim_io(sim), fd, &byte, 1, 0), 1);
        cr_assert_eq(byte, 'b', "it is still in the cache");
        survivors(sim, letters);
        lost += letters[0] == 'a';
        sim_destroy(sim);
    }
    cr_expect_gt(lost, 0);
}

static char letter_at(struct sim *sim, int fd, uint64_t offset)
{
    uint8_t *page = aligned_alloc(4096, 4096);
    cr_assert_eq(io_read_wait(sim_io(sim), fd, page, 4096, 0), 4096);
    char letter = (char)page[offset];
    free(page);
    return letter;
}

// What the device has is settled when the sync has failed, not only by a crash.
Test(storage, io_sim_past_the_cache_nobody_reads_what_a_failed_sync_has_lost)
{
    int lost = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        int fd;
        char letters[32];
        struct sim *sim = prepared(seed, &fd);
        write_mark(sim, fd, 'b', 0, SECTOR, false);
        sim_fail(sim, IO_SYNC, 1, -EIO, false);
        cr_assert_eq(sync_file(sim, fd), -EIO);
        int direct = io_open_wait(sim_io(sim), "/f", O_RDONLY | O_DIRECT, 0);
        char there = letter_at(sim, direct, 0);
        cr_assert_eq(letter_at(sim, fd, 0), 'b');
        cr_assert(there == 'a' || there == 'b');
        lost += there == 'a';
        survivors(sim, letters);
        cr_assert(there == 'b' || letters[0] == 'a', "seed %d", (int)seed);
        sim_destroy(sim);
    }
    cr_expect(lost > 0 && lost < SEEDS);
}

Test(storage, io_sim_a_durable_write_may_fail_behind_the_cache)
{
    int whole = 0, lost = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        int fd;
        char letters[32];
        char data[SIZE], read[SIZE];
        struct sim *sim = prepared(seed, &fd);
        memset(data, 'b', SIZE);
        sim_fail(sim, IO_WRITE, 1, -EIO, false);
        cr_assert_eq(io_write_wait(sim_io(sim), fd, data, SIZE, 0, true), -EIO);
        cr_assert_eq(sync_file(sim, fd), 0);
        cr_assert_eq(io_read_wait(sim_io(sim), fd, read, SIZE, 0), SIZE);
        bool all = memcmp(read, data, SIZE) == 0;
        survivors(sim, letters);
        whole += all;
        lost += all && strcmp(letters, "bbbbbbbb") != 0;
        sim_destroy(sim);
    }
    cr_expect(whole > SEEDS / 4 && whole < SEEDS);
    cr_expect_gt(lost, SEEDS / 4);
}

Test(storage, io_sim_names_survive_after_a_sync_of_their_directory)
{
    int kept = 0, lost = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct sim *sim = sim_create(seed);
        int fd = open_file(sim, "/f");
        write_mark(sim, fd, 'a', 0, SECTOR, true);
        sim_restart(sim);
        kept += exists(sim, "/f");
        lost += !exists(sim, "/f");
        open_file(sim, "/f");
        sync_names(sim);
        sim_restart(sim);
        cr_assert(exists(sim, "/f"));
        struct io_op op = {0};
        io_unlink(sim_io(sim), &op, "/f", false);
        cr_assert_eq(io_wait(sim_io(sim), &op), 0);
        sync_names(sim);
        sim_restart(sim);
        cr_assert(!exists(sim, "/f"));
        sim_destroy(sim);
    }
    cr_expect(kept > 0 && lost > 0);
}

Test(storage, io_sim_a_rename_survives_as_a_whole_or_not)
{
    int renamed = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct sim *sim = sim_create(seed);
        open_file(sim, "/new");
        open_file(sim, "/old");
        sync_names(sim);
        struct io_op op = {0};
        io_rename(sim_io(sim), &op, "/new", "/old");
        cr_assert_eq(io_wait(sim_io(sim), &op), 0);
        sim_restart(sim);
        cr_assert(exists(sim, "/old"), "the target is never missing");
        renamed += !exists(sim, "/new");
        sim_destroy(sim);
    }
    cr_expect(renamed > 0 && renamed < SEEDS);
}

Test(storage, io_sim_a_directory_is_lost_with_all_it_holds)
{
    int lost = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct sim *sim = sim_create(seed);
        struct io_op op = {0};
        io_mkdir(sim_io(sim), &op, "/d", 0755);
        cr_assert_eq(io_wait(sim_io(sim), &op), 0);
        open_file(sim, "/d/f");
        cr_assert_eq(io_sync_directory_wait(sim_io(sim), "/d"), 0);
        sim_restart(sim);
        cr_assert_eq(exists(sim, "/d"), exists(sim, "/d/f"));
        lost += !exists(sim, "/d");
        sim_destroy(sim);
    }
    cr_expect(lost > 0 && lost < SEEDS);
}

Test(storage, io_sim_the_chosen_operation_fails)
{
    int fd;
    char byte;
    struct sim *sim = prepared(1, &fd);
    struct io *io = sim_io(sim);
    sim_fail(sim, IO_READ, 2, -EIO, false);
    cr_expect_eq(io_read_wait(io, fd, &byte, 1, 0), 1);
    cr_expect_eq(io_read_wait(io, fd, &byte, 1, 0), -EIO);
    cr_expect_eq(io_read_wait(io, fd, &byte, 1, 0), 1);
    sim_fail(sim, IO_WRITE, 2, -ENOSPC, true);
    cr_expect_eq(io_write_wait(io, fd, "x", 1, 0, true), 1);
    for (int i = 0; i < 5; i++)
        cr_expect_eq(io_write_wait(io, fd, "y", 1, 0, true), -ENOSPC);
    sim_fail(sim, IO_WRITE, 0, 0, false);
    cr_expect_eq(io_write_wait(io, fd, "z", 1, 0, true), 1);
    sim_fail(sim, IO_OPEN, 1, -EMFILE, true);
    cr_expect_eq(io_open_wait(io, "/f", O_RDONLY, 0), -EMFILE);
    sim_destroy(sim);
}

Test(storage, a_start_waits_for_descriptors)
{
    struct sim *sim = sim_create(1);
    struct io *io = sim_io(sim);
    cr_expect_geq(open_file(sim, "/f"), 0);
    for (uint64_t nth = 1; nth < 3; nth++) {
        uint64_t before_ns = io->now_ns;
        sim_fail(sim, IO_OPEN, 1, nth == 1 ? -EMFILE : -ENFILE, false);
        cr_expect_geq(io_open_wait(io, "/f", O_RDONLY, 0), 0);
        cr_expect_gt(io->now_ns, before_ns + 50000000, "not at once");
    }
    sim_destroy(sim);
}

Test(storage, io_sim_a_full_disk_says_so)
{
    struct sim *sim = sim_create(3);
    struct io *io = sim_io(sim);
    int fd = open_file(sim, "/a");
    sim_set_capacity(sim, 2 * SIZE);
    write_mark(sim, fd, 'a', 0, SIZE, true);
    cr_expect_eq(sim_used_bytes(sim), SIZE);
    struct io_op op = {0};
    io_allocate(io, &op, fd, 0, 2 * SIZE + 1);
    cr_expect_eq(io_wait(io, &op), -ENOSPC);
    io_allocate(io, &op, fd, 0, 2 * SIZE);
    cr_expect_eq(io_wait(io, &op), 0);
    int other = open_file(sim, "/b");
    cr_expect_eq(io_write_wait(io, other, "x", 1, 0, true), -ENOSPC);
    cr_expect_eq(io_file_size(io, other), 0);
    write_mark(sim, fd, 'b', SIZE, SIZE, true);
    io_unlink(io, &op, "/a", false);
    cr_assert_eq(io_wait(io, &op), 0);
    cr_expect_eq(io_write_wait(io, other, "x", 1, 0, true), 1, "there is space again");
    cr_expect_eq(sim_used_bytes(sim), SECTOR);
    sim_destroy(sim);
}

Test(storage, io_sim_bits_flip)
{
    int fd;
    char data[4];
    struct sim *sim = prepared(4, &fd);
    cr_assert_eq(sim_flip(sim, "/f", 8 * 1000 + 1), 0);
    cr_assert_eq(io_read_wait(sim_io(sim), fd, data, 3, 999), 3);
    cr_expect_eq(memcmp(data, "aca", 3), 0);
    cr_expect_eq(sim_flip(sim, "/f", 8 * SIZE), -EINVAL);
    cr_expect_eq(sim_flip(sim, "/g", 0), -ENOENT);
    sim_destroy(sim);
}

Test(storage, io_sim_direct_files_want_aligned_blocks)
{
    struct sim *sim = sim_create(5);
    struct io *io = sim_io(sim);
    int fd = io_open_wait(io, "/f", O_RDWR | O_CREAT | O_DIRECT, 0644);
    uint8_t *page = aligned_alloc(4096, 8192);
    memset(page, 1, 8192);
    cr_expect_eq(io_write_wait(io, fd, page, 4096, 0, true), 4096);
    cr_expect_eq(io_write_wait(io, fd, page, 512, 0, true), -EINVAL);
    cr_expect_eq(io_write_wait(io, fd, page, 4096, 512, true), -EINVAL);
    cr_expect_eq(io_write_wait(io, fd, page + 512, 4096, 0, true), -EINVAL);
    cr_expect_eq(io_read_wait(io, fd, page, 100, 0), -EINVAL);
    free(page);
    sim_destroy(sim);
}

static void must_not_be_called(struct io_op *op)
{
    (void)op;
    cr_assert_fail("a forgotten operation was called back");
}

Test(storage, io_sim_the_power_fails)
{
    int happened = 0, torn = 0;
    for (uint64_t seed = 0; seed < 20 * SEEDS; seed++) {
        int fd;
        char letters[32];
        char data[SIZE];
        struct sim *sim = prepared(seed, &fd);
        struct io *io = sim_io(sim);
        struct io_op op = {.done = must_not_be_called};
        memset(data, 'b', SIZE);
        io_write(io, &op, fd, data, 3 * SECTOR, 0, true);
        sim_restart(sim);
        cr_assert_eq(io_read_wait(io, fd, data, 1, 0), -EBADF, "descriptors do not survive");
        survivors(sim, letters);
        cr_assert(!op.pending);
        cr_assert_eq(strspn(letters, "ab"), 8);
        cr_assert_str_eq(letters + 3, "aaaaa");
        happened += memcmp(letters, "bbb", 3) == 0;
        torn += memcmp(letters, "bab", 3) == 0;
        sim_destroy(sim);
    }
    cr_expect(happened > 0 && torn > 0);
}

Test(storage, io_sim_without_power_everything_fails)
{
    int fd;
    struct sim *sim = prepared(6, &fd);
    struct io *io = sim_io(sim);
    uint64_t before = sim_completed(sim);
    sim_power_off(sim, 3);
    int done = 0;
    for (int i = 0; i < 10; i++)
        done += io_write_wait(io, fd, "x", 1, 0, true) == 1;
    cr_expect_eq(done, 3);
    cr_expect_eq(sim_completed(sim), before + 10);
    cr_expect(sim_power_is_off(sim));
    cr_expect_eq(io_open_wait(io, "/f", O_RDONLY, 0), -EIO);
    cr_expect_eq(io_file_size(io, fd), -EIO);
    cr_expect_eq(io_close_wait(io, fd), 0);
    struct io_op op = {0};
    io_nop(io, &op);
    cr_expect_eq(io_wait(io, &op), 0);
    sim_restart(sim);
    cr_expect(!sim_power_is_off(sim));
    cr_expect(exists(sim, "/f"));
    sim_destroy(sim);
}

struct trace {
    struct io_op ops[20];
    int order[20];
    int count;
};

static struct trace *traced;

static void note(struct io_op *op)
{
    traced->order[traced->count++] = (int)(op - traced->ops);
}

// The order in which twenty reads that are pending together complete, and the time it took.
static uint64_t run_trace(uint64_t seed, struct trace *trace)
{
    int fd;
    static char bytes[20];
    struct sim *sim = prepared(seed, &fd);
    *trace = (struct trace){0};
    traced = trace;
    for (int i = 0; i < 20; i++) {
        trace->ops[i].done = note;
        io_read(sim_io(sim), &trace->ops[i], fd, &bytes[i], 1, (uint64_t)i);
    }
    while (trace->count < 20)
        io_run(sim_io(sim), UINT64_MAX);
    uint64_t now = sim_io(sim)->now_ns;
    sim_destroy(sim);
    return now;
}

Test(storage, io_sim_a_seed_repeats_and_another_differs)
{
    struct trace first, again, other;
    uint64_t first_ns = run_trace(42, &first);
    cr_expect_eq(run_trace(42, &again), first_ns);
    cr_expect_eq(memcmp(first.order, again.order, sizeof(first.order)), 0);
    cr_expect_neq(run_trace(43, &other), first_ns);
    cr_expect_neq(memcmp(first.order, other.order, sizeof(first.order)), 0);
}

Test(storage, io_sim_time_moves_only_when_told)
{
    struct sim *sim = sim_create(9);
    struct io *io = sim_io(sim);
    uint64_t ns = io->now_ns;
    int64_t ms = io->wall_ms;
    sim_advance(sim, 1500000);
    sim_advance(sim, 1500000);
    cr_expect_eq(io->now_ns, ns + 3000000);
    cr_expect_eq(io->wall_ms, ms + 3);
    io_run(io, ns + 3600000000000);
    cr_expect_eq(io->now_ns, ns + 3600000000000, "an hour is waited in no time");
    io_destroy(io);
    sim_destroy(sim);
}

static void note_over(void *context)
{
    ++*(int *)context;
}

Test(storage, io_sim_what_never_ends_is_noticed)
{
    int over = 0;
    struct sim *sim = sim_create(1);
    sim_set_bound(sim, 1000, note_over, &over);
    for (int i = 0; i < 999; i++)
        io_run(sim_io(sim), 0);
    cr_assert_eq(over, 0);
    for (int i = 0; i < 1000; i++)
        io_run(sim_io(sim), 0);
    cr_assert_eq(over, 1, "also without any operation");
    sim_destroy(sim);
}

Test(storage, io_sim_connections)
{
    struct sim *sim = sim_create(10);
    struct io *io = sim_io(sim);
    int listening = io_listen(io, "127.0.0.1", 1, NULL);
    struct io_op accepting = {0};
    io_accept(io, &accepting, listening);
    io_run(io, io->now_ns + 1000000000);
    cr_assert(accepting.pending, "nobody has come");
    struct sim_socket *client = sim_connect(sim, listening);
    int fd = (int)io_wait(io, &accepting);
    cr_assert_geq(fd, 0);
    char bytes[8] = "";
    struct io_op receiving = {0};
    io_receive(io, &receiving, fd, bytes, 4, true);
    sim_socket_send(sim, client, "ab", 2);
    io_run(io, io->now_ns + 1000000000);
    cr_assert(receiving.pending, "not whole");
    sim_socket_send(sim, client, "cdef", 4);
    cr_assert_eq(io_wait(io, &receiving), 4);
    cr_assert_eq(memcmp(bytes, "abcd", 4), 0);
    struct io_op sending = {0};
    struct iovec vector = {.iov_base = bytes, .iov_len = 4};
    io_send(io, &sending, fd, &vector, 1);
    cr_assert_eq(io_wait(io, &sending), 4);
    const uint8_t *received;
    cr_assert_eq(sim_socket_received(client, &received), 4);
    cr_assert_eq(memcmp(received, "abcd", 4), 0);
    sim_socket_take(client, 4);
    io_receive(io, &receiving, fd, bytes, 2, false);
    cr_assert_eq(io_wait(io, &receiving), 2);
    io_receive(io, &receiving, fd, bytes, 2, false);
    io_cancel(io, &receiving);
    cr_assert_eq(io_wait(io, &receiving), -ECANCELED);
    io_receive(io, &receiving, fd, bytes, 2, false);
    cr_assert_eq(io_close_wait(io, listening), 0);
    cr_assert(!sim_socket_is_closed(client));
    sim_power_off(sim, 0);
    cr_assert_eq(io_wait(io, &receiving), -EIO);
    sim_restart(sim);
    cr_assert(sim_socket_is_closed(client));
    sim_socket_close(sim, client);
    sim_destroy(sim);
}
