// SPDX-License-Identifier: Apache-2.0
// The operations of the simulated disk, their order and their faults. What the disk holds, and what
// a crash leaves of it, is in sim_node.c.
//
// Invariant: an operation has its effect at the moment when it completes, as a whole; only a power
// failure tears. All choices come from one generator, in the order of the calls.
#include "tests/sim/sim_io.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "tests/sim/sim_node.h"

enum {
    FIRST_FD = 1 << 20, // beyond any real one, so that mixing them up is an error
    BLOCK = 4096,
    STEP_NS = 100000, // at most, per io_run
    KIND_COUNT = IO_SHUTDOWN + 1,
};

struct sim_file {
    struct sim_node *node; // NULL = closed
    int flags;
};

struct fault {
    uint64_t nth; // 0 = none
    int error;
    bool for_ever;
};

struct sim {
    struct io io;
    struct random random;
    struct sim_node *root;
    struct sim_file *files;
    size_t file_count;
    struct io_op **pending; // in no order
    size_t pending_count;
    size_t pending_room;
    struct fault faults[KIND_COUNT];
    uint64_t capacity;
    uint64_t completed;
    uint64_t until_off; // operations; UINT64_MAX = never
    bool off;
    bool woken;
    bool running;
};

static struct sim *sim_of(struct io *io)
{
    return (struct sim *)(void *)((char *)io - offsetof(struct sim, io));
}

static struct sim_file *file_of(const struct sim *sim, int fd)
{
    size_t index = (size_t)fd - FIRST_FD;
    if (fd < FIRST_FD || index >= sim->file_count || !sim->files[index].node)
        return NULL;
    return &sim->files[index];
}

// The directory that holds the last part of `path`, and that part. NULL when there is none.
static struct sim_node *parent_of(const struct sim *sim, const char *path, const char **name)
{
    struct sim_node *at = sim->root;
    while (at && at->directory) {
        path += strspn(path, "/");
        size_t size = strcspn(path, "/");
        const char *rest = path + size + strspn(path + size, "/");
        if (*rest == '\0') {
            *name = path;
            return at;
        }
        if (!(size == 1 && path[0] == '.'))
            at = sim_node_find(at, path, size);
        path = rest;
    }
    return NULL;
}

static struct sim_node *node_at(const struct sim *sim, const char *path)
{
    const char *name;
    struct sim_node *parent = parent_of(sim, path, &name);
    if (!parent)
        return NULL;
    size_t size = strcspn(name, "/");
    if (size == 0 || (size == 1 && name[0] == '.'))
        return parent;
    return sim_node_find(parent, name, size);
}

static uint64_t sectors_below(const struct sim_node *node)
{
    if (!node->directory)
        return node->allocated;
    uint64_t sum = 0;
    for (size_t i = 0; i < node->now.count; i++)
        sum += sectors_below(node->now.entries[i].node);
    return sum;
}

uint64_t sim_used_bytes(const struct sim *sim)
{
    return sectors_below(sim->root) * SIM_SECTOR;
}

static bool fits(const struct sim *sim, const struct sim_node *node, uint64_t offset, uint64_t size)
{
    if (sim->capacity == 0)
        return true;
    uint64_t more = sim_node_missing(node, offset, size) * SIM_SECTOR;
    return more == 0 || sim_used_bytes(sim) + more <= sim->capacity;
}

static int new_fd(struct sim *sim, struct sim_node *node, int flags)
{
    size_t i = 0;
    while (i < sim->file_count && sim->files[i].node)
        i++;
    if (i == sim->file_count) {
        sim->files = realloc(sim->files, ++sim->file_count * sizeof(sim->files[0]));
        CHECK(sim->files);
    }
    sim->files[i] = (struct sim_file){sim_node_ref(node), flags};
    return (int)i + FIRST_FD;
}

static int64_t do_create(struct sim *sim, const char *path, int flags)
{
    const char *name;
    struct sim_node *parent = parent_of(sim, path, &name);
    if (!parent)
        return -ENOENT;
    struct sim_node *node = sim_node_create(false);
    sim_node_name(parent, name, node);
    int fd = new_fd(sim, node, flags);
    sim_node_unref(node);
    return fd;
}

static int64_t do_open(struct sim *sim, const struct io_op *op)
{
    int flags = (int)op->flags;
    bool writes = (flags & O_ACCMODE) != O_RDONLY;
    struct sim_node *node = node_at(sim, op->path);
    if (!node)
        return flags & O_CREAT ? do_create(sim, op->path, flags) : -ENOENT;
    if ((flags & O_CREAT) && (flags & O_EXCL))
        return -EEXIST;
    if (node->directory && (writes || (flags & O_CREAT)))
        return -EISDIR;
    if (!node->directory && (flags & O_DIRECTORY))
        return -ENOTDIR;
    if (writes && (flags & O_TRUNC))
        sim_node_truncate(node, 0);
    return new_fd(sim, node, flags);
}

static int64_t do_close(struct sim *sim, const struct io_op *op)
{
    struct sim_file *file = file_of(sim, op->fd);
    if (!file)
        return -EBADF;
    sim_node_unref(file->node);
    file->node = NULL;
    return 0;
}

static bool misaligned(const struct sim_file *file, const struct io_op *op)
{
    uint64_t bits = op->offset;
    for (uint32_t i = 0; i < op->vector_count; i++)
        bits |= (uintptr_t)op->vectors[i].iov_base | op->vectors[i].iov_len;
    return (file->flags & O_DIRECT) && bits % BLOCK != 0;
}

static int64_t do_read(struct sim *sim, const struct io_op *op)
{
    const struct sim_file *file = file_of(sim, op->fd);
    if (!file || (file->flags & O_ACCMODE) == O_WRONLY)
        return -EBADF;
    if (file->node->directory)
        return -EISDIR;
    if (misaligned(file, op))
        return -EINVAL;
    if (op->offset >= file->node->size)
        return 0;
    uint64_t left = file->node->size - op->offset;
    size_t size = op->length < left ? op->length : left;
    sim_node_read(file->node, op->one.iov_base, size, op->offset);
    return (int64_t)size;
}

// The bytes reach the cache; with `torn`, each sector of them or not.
static void write_vectors(struct sim *sim, struct sim_node *node, const struct io_op *op, bool torn)
{
    uint64_t offset = op->offset;
    for (uint32_t i = 0; i < op->vector_count; i++) {
        const uint8_t *from = op->vectors[i].iov_base;
        size_t left = op->vectors[i].iov_len;
        while (left > 0) {
            size_t room = SIM_SECTOR - offset % SIM_SECTOR;
            size_t piece = left < room ? left : room;
            if (!torn || random_below(&sim->random, 2))
                sim_node_write(node, from, piece, offset);
            from += piece;
            offset += piece;
            left -= piece;
        }
    }
}

static struct sim_file *writable(const struct sim *sim, int fd)
{
    struct sim_file *file = file_of(sim, fd);
    return file && (file->flags & O_ACCMODE) != O_RDONLY ? file : NULL;
}

static int64_t do_write(struct sim *sim, const struct io_op *op)
{
    const struct sim_file *file = writable(sim, op->fd);
    if (!file)
        return -EBADF;
    if (misaligned(file, op))
        return -EINVAL;
    if (!fits(sim, file->node, op->offset, op->length))
        return -ENOSPC;
    write_vectors(sim, file->node, op, false);
    if (op->flags)
        sim_node_save(file->node, op->offset, op->length);
    return (int64_t)op->length;
}

static void tear_write(struct sim *sim, const struct io_op *op)
{
    const struct sim_file *file = writable(sim, op->fd);
    if (file && !misaligned(file, op) && fits(sim, file->node, op->offset, op->length))
        write_vectors(sim, file->node, op, true);
}

static int64_t do_sync(struct sim *sim, const struct io_op *op)
{
    const struct sim_file *file = file_of(sim, op->fd);
    if (!file)
        return -EBADF;
    if (file->node->directory)
        sim_node_save_names(file->node);
    else
        sim_node_save_all(file->node);
    return 0;
}

static int64_t do_allocate(struct sim *sim, const struct io_op *op)
{
    const struct sim_file *file = writable(sim, op->fd);
    if (!file)
        return -EBADF;
    if (op->length == 0)
        return -EINVAL;
    if (!fits(sim, file->node, op->offset, op->length))
        return -ENOSPC;
    sim_node_allocate(file->node, op->offset, op->length);
    return 0;
}

static int64_t do_truncate(struct sim *sim, const struct io_op *op)
{
    const struct sim_file *file = writable(sim, op->fd);
    if (!file)
        return file_of(sim, op->fd) ? -EINVAL : -EBADF;
    sim_node_truncate(file->node, op->length);
    return 0;
}

static int64_t do_rename(struct sim *sim, const struct io_op *op)
{
    const char *from;
    const char *to;
    struct sim_node *parent = parent_of(sim, op->path, &from);
    struct sim_node *target_parent = parent_of(sim, op->path2, &to);
    struct sim_node *node = node_at(sim, op->path);
    struct sim_node *target = node_at(sim, op->path2);
    if (!node || !target_parent)
        return -ENOENT;
    if (parent != target_parent)
        return -EXDEV;
    if (node == target)
        return 0;
    if (target && target->directory != node->directory)
        return target->directory ? -EISDIR : -ENOTDIR;
    if (target && target->now.count > 0)
        return -ENOTEMPTY;
    sim_node_rename(parent, from, to);
    return 0;
}

static int64_t do_unlink(struct sim *sim, const struct io_op *op)
{
    const char *name;
    struct sim_node *parent = parent_of(sim, op->path, &name);
    struct sim_node *node = node_at(sim, op->path);
    if (!node)
        return -ENOENT;
    if (node->directory != (op->flags != 0))
        return node->directory ? -EISDIR : -ENOTDIR;
    if (node->now.count > 0)
        return -ENOTEMPTY;
    sim_node_name(parent, name, NULL);
    return 0;
}

static int64_t do_mkdir(struct sim *sim, const struct io_op *op)
{
    const char *name;
    struct sim_node *parent = parent_of(sim, op->path, &name);
    if (!parent)
        return -ENOENT;
    if (node_at(sim, op->path))
        return -EEXIST;
    struct sim_node *node = sim_node_create(true);
    sim_node_name(parent, name, node);
    sim_node_unref(node);
    return 0;
}

static int64_t perform(struct sim *sim, const struct io_op *op)
{
    switch (op->kind) {
    case IO_NOP:
        return 0;
    case IO_OPEN:
        return do_open(sim, op);
    case IO_CLOSE:
        return do_close(sim, op);
    case IO_READ:
        return do_read(sim, op);
    case IO_WRITE:
        return do_write(sim, op);
    case IO_SYNC:
        return do_sync(sim, op);
    case IO_ALLOCATE:
        return do_allocate(sim, op);
    case IO_TRUNCATE:
        return do_truncate(sim, op);
    case IO_RENAME:
        return do_rename(sim, op);
    case IO_UNLINK:
        return do_unlink(sim, op);
    case IO_MKDIR:
        return do_mkdir(sim, op);
    case IO_ACCEPT:
    case IO_RECEIVE:
    case IO_SEND:
    case IO_SHUTDOWN:
        break;
    }
    return -ENOTSUP;
}

static bool fails(struct sim *sim, enum io_kind kind)
{
    struct fault *fault = &sim->faults[kind];
    if (fault->nth == 0 || --fault->nth > 0)
        return false;
    fault->nth = fault->for_ever;
    return true;
}

// What a failing device does instead of the operation.
static int64_t fail(struct sim *sim, const struct io_op *op)
{
    int error = sim->faults[op->kind].error;
    const struct sim_file *file = file_of(sim, op->fd);
    if (op->kind == IO_WRITE && error == -EIO)
        tear_write(sim, op);
    else if (op->kind == IO_SYNC && file && !file->node->directory)
        sim_node_lose(file->node);
    else if (op->kind == IO_CLOSE)
        do_close(sim, op); // the descriptor is gone all the same
    return error;
}

// Of what is pending anything may have happened, in any order, but nobody will be told.
static void cut_power(struct sim *sim)
{
    sim->off = true;
    for (size_t i = 0; i < sim->pending_count; i++) {
        size_t other = i + random_below(&sim->random, sim->pending_count - i);
        struct io_op *op = sim->pending[other];
        sim->pending[other] = sim->pending[i];
        sim->pending[i] = op;
        bool happens = random_below(&sim->random, 2);
        if (happens && op->kind != IO_READ && op->kind != IO_CLOSE)
            perform(sim, op);
        else if (op->kind == IO_WRITE)
            tear_write(sim, op);
    }
}

static int64_t outcome(struct sim *sim, const struct io_op *op)
{
    if (sim->off)
        return op->kind == IO_NOP || op->kind == IO_CLOSE ? 0 : -EIO;
    if (op->cancelled && random_below(&sim->random, 2))
        return -ECANCELED;
    if (fails(sim, op->kind))
        return fail(sim, op);
    return perform(sim, op);
}

static void sim_start(struct io *io, struct io_op *op)
{
    struct sim *sim = sim_of(io);
    if (sim->pending_count == sim->pending_room) {
        sim->pending_room = sim->pending_room ? sim->pending_room * 2 : 64;
        sim->pending = realloc(sim->pending, sim->pending_room * sizeof(struct io_op *));
        CHECK(sim->pending);
    }
    sim->pending[sim->pending_count++] = op;
}

static void sim_cancel(struct io *io, struct io_op *op)
{
    (void)io;
    op->cancelled = true;
}

static void complete_one(struct sim *sim, struct list *batch)
{
    if (!sim->off && sim->until_off == 0)
        cut_power(sim);
    size_t at = random_below(&sim->random, sim->pending_count);
    struct io_op *op = sim->pending[at];
    op->result = outcome(sim, op);
    sim->pending[at] = sim->pending[--sim->pending_count];
    sim->completed++;
    if (sim->until_off != UINT64_MAX && sim->until_off > 0)
        sim->until_off--;
    list_append(batch, &op->node);
}

static size_t choose_count(struct sim *sim, uint64_t deadline_ns)
{
    if (sim->pending_count == 0)
        return 0;
    // Without waiting it may be that nothing is there yet.
    if (deadline_ns == 0 || sim->woken)
        return random_below(&sim->random, sim->pending_count + 1);
    return 1 + random_below(&sim->random, sim->pending_count);
}

static void sim_run(struct io *io, uint64_t deadline_ns)
{
    struct sim *sim = sim_of(io);
    CHECK(!sim->running);
    sim->running = true;
    struct list batch;
    list_init(&batch);
    if (sim->pending_count > 0 || sim->woken || deadline_ns == 0) {
        sim_advance(sim, 1 + random_below(&sim->random, STEP_NS));
        for (size_t count = choose_count(sim, deadline_ns); count > 0; count--)
            complete_one(sim, &batch);
    } else {
        CHECK(deadline_ns != UINT64_MAX); // would wait for ever
        if (deadline_ns > io->now_ns)
            sim_advance(sim, deadline_ns - io->now_ns);
    }
    sim->woken = false;
    for (struct list *node = list_pop(&batch); node; node = list_pop(&batch)) {
        struct io_op *op = list_entry(node, struct io_op, node);
        op->pending = false;
        if (op->done)
            op->done(op);
    }
    sim->running = false;
}

static void sim_wake(struct io *from, struct io *to)
{
    (void)from;
    sim_of(to)->woken = true;
}

static int sim_listen(struct io *io, const char *host, uint16_t port, uint16_t *bound_port)
{
    (void)io;
    (void)host;
    (void)port;
    (void)bound_port;
    return -ENOTSUP;
}

static int sim_list_directory(struct io *io, const char *path,
                              int (*each)(void *context, const char *name), void *context)
{
    struct sim *sim = sim_of(io);
    const struct sim_node *node = node_at(sim, path);
    if (sim->off)
        return -EIO;
    if (!node || !node->directory)
        return node ? -ENOTDIR : -ENOENT;
    // Nobody may rely on an order.
    size_t count = node->now.count;
    size_t first = count ? random_below(&sim->random, count) : 0;
    int result = 0;
    for (size_t i = 0; i < count && result == 0; i++)
        result = each(context, node->now.entries[(first + i) % count].name);
    return result;
}

static int64_t sim_file_size(struct io *io, int fd)
{
    struct sim *sim = sim_of(io);
    if (sim->off)
        return -EIO;
    const struct sim_file *file = file_of(sim, fd);
    return file ? (int64_t)file->node->size : -EBADF;
}

static void node_sync(struct sim_node *node)
{
    if (!node->directory) {
        sim_node_save_all(node);
        return;
    }
    sim_node_save_names(node);
    for (size_t i = 0; i < node->now.count; i++)
        node_sync(node->now.entries[i].node);
}

static void node_lose(struct sim_node *node)
{
    if (!node->directory)
        sim_node_lose(node);
    for (size_t i = 0; i < node->now.count; i++)
        node_lose(node->now.entries[i].node);
}

// Counts as an operation and as one sync: a fault planned for IO_SYNC may be its.
static int sim_sync_filesystem(struct io *io, const char *path)
{
    struct sim *sim = sim_of(io);
    if (!sim->off && sim->until_off == 0)
        cut_power(sim);
    if (sim->off)
        return -EIO;
    sim->completed++;
    if (sim->until_off != UINT64_MAX)
        sim->until_off--;
    if (!node_at(sim, path))
        return -ENOENT;
    if (fails(sim, IO_SYNC)) {
        node_lose(sim->root);
        return sim->faults[IO_SYNC].error;
    }
    node_sync(sim->root);
    return 0;
}

static void sim_io_destroy(struct io *io)
{
    // The io is a part of the disk, which sim_destroy frees.
    CHECK(sim_of(io)->pending_count == 0);
}

static const struct io_ops sim_ops = {
    .start = sim_start,
    .cancel = sim_cancel,
    .run = sim_run,
    .wake = sim_wake,
    .listen = sim_listen,
    .list_directory = sim_list_directory,
    .file_size = sim_file_size,
    .sync_filesystem = sim_sync_filesystem,
    .destroy = sim_io_destroy,
};

struct sim *sim_create(uint64_t seed)
{
    struct sim *sim = calloc(1, sizeof(*sim));
    CHECK(sim);
    sim->io.ops = &sim_ops;
    sim->io.now_ns = 1000000000;
    sim->io.wall_ms = 1700000000000;
    sim->random.state = seed;
    sim->root = sim_node_create(true);
    sim->until_off = UINT64_MAX;
    return sim;
}

static void close_all(struct sim *sim)
{
    for (size_t i = 0; i < sim->file_count; i++)
        sim_node_unref(sim->files[i].node);
    free(sim->files);
    sim->files = NULL;
    sim->file_count = 0;
}

void sim_destroy(struct sim *sim)
{
    close_all(sim);
    sim_node_unref(sim->root);
    free(sim->pending);
    free(sim);
}

struct io *sim_io(struct sim *sim)
{
    return &sim->io;
}

void sim_advance(struct sim *sim, uint64_t ns)
{
    uint64_t before_ms = sim->io.now_ns / 1000000;
    sim->io.now_ns += ns;
    sim->io.wall_ms += (int64_t)(sim->io.now_ns / 1000000 - before_ms);
}

void sim_set_capacity(struct sim *sim, uint64_t bytes)
{
    sim->capacity = bytes;
}

void sim_fail(struct sim *sim, enum io_kind kind, uint64_t nth, int error, bool for_ever)
{
    sim->faults[kind] = (struct fault){nth, error, for_ever};
}

int sim_flip(struct sim *sim, const char *path, uint64_t bit)
{
    struct sim_node *node = node_at(sim, path);
    if (!node || node->directory)
        return -ENOENT;
    if (bit / 8 >= node->size)
        return -EINVAL;
    sim_node_flip(node, bit);
    return 0;
}

void sim_power_off(struct sim *sim, uint64_t after)
{
    sim->until_off = after;
    if (after == 0 && !sim->off)
        cut_power(sim);
}

bool sim_power_is_off(const struct sim *sim)
{
    return sim->off;
}

uint64_t sim_completed(const struct sim *sim)
{
    return sim->completed;
}

void sim_restart(struct sim *sim)
{
    CHECK(!sim->running);
    if (!sim->off)
        cut_power(sim);
    for (size_t i = 0; i < sim->pending_count; i++)
        sim->pending[i]->pending = false;
    sim->pending_count = 0;
    close_all(sim);
    sim_node_crash(sim->root, &sim->random);
    sim->off = false;
    sim->until_off = UINT64_MAX;
    sim->woken = false;
}
