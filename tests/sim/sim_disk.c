// SPDX-License-Identifier: Apache-2.0
// What each operation does to the simulated disk. When it does so is decided in sim_io.c; what the
// disk holds, and what a crash leaves of it, is in sim_node.c.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "tests/sim/sim_internal.h"

enum { BLOCK = 4096 };

struct sim_file *sim_file_of(const struct sim *sim, int fd)
{
    size_t index = (size_t)fd - SIM_FIRST_FD;
    if (fd < SIM_FIRST_FD || index >= sim->file_count || !sim->files[index].node)
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

struct sim_node *sim_node_at(const struct sim *sim, const char *path)
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

int sim_new_fd(struct sim *sim, struct sim_node *node, struct sim_socket *socket, int flags)
{
    size_t i = 0;
    while (i < sim->file_count && (sim->files[i].node || sim->files[i].socket))
        i++;
    if (i == sim->file_count) {
        sim->files = realloc(sim->files, ++sim->file_count * sizeof(sim->files[0]));
        CHECK(sim->files);
    }
    sim->files[i] = (struct sim_file){sim_node_ref(node), socket, flags};
    return (int)i + SIM_FIRST_FD;
}

static int64_t do_create(struct sim *sim, const char *path, int flags)
{
    const char *name;
    struct sim_node *parent = parent_of(sim, path, &name);
    if (!parent)
        return -ENOENT;
    struct sim_node *node = sim_node_create(&sim->pool, false);
    sim_node_name(parent, name, node);
    int fd = sim_new_fd(sim, node, NULL, flags);
    sim_node_unref(node);
    return fd;
}

static int64_t do_open(struct sim *sim, const struct io_op *op)
{
    int flags = (int)op->flags;
    bool writes = (flags & O_ACCMODE) != O_RDONLY;
    struct sim_node *node = sim_node_at(sim, op->path);
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
    return sim_new_fd(sim, node, NULL, flags);
}

int64_t sim_do_close(struct sim *sim, const struct io_op *op)
{
    size_t index = (size_t)op->fd - SIM_FIRST_FD;
    if (op->fd >= SIM_FIRST_FD && index < sim->file_count && sim->files[index].socket) {
        sim_socket_dropped(sim->files[index].socket);
        sim->files[index].socket = NULL;
        return 0;
    }
    struct sim_file *file = sim_file_of(sim, op->fd);
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
    const struct sim_file *file = sim_file_of(sim, op->fd);
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
    if (op->offset < file->node->unreadable_to && op->offset + size > file->node->unreadable_from)
        return -EIO;
    sim_node_read(file->node, op->one.iov_base, size, op->offset, file->flags & O_DIRECT);
    return (int64_t)size;
}

static void write_vectors(struct sim_node *node, const struct io_op *op, bool direct)
{
    uint64_t offset = op->offset;
    for (uint32_t i = 0; i < op->vector_count; i++) {
        const struct iovec *vector = &op->vectors[i];
        if (op->flags)
            sim_node_write_durable(node, vector->iov_base, vector->iov_len, offset);
        else
            sim_node_write(node, vector->iov_base, vector->iov_len, offset, direct);
        offset += vector->iov_len;
    }
}

// Each sector of the bytes reaches the cache or does not.
static void write_torn(struct sim *sim, struct sim_node *node, const struct io_op *op, bool direct)
{
    uint64_t offset = op->offset;
    for (uint32_t i = 0; i < op->vector_count; i++) {
        const uint8_t *from = op->vectors[i].iov_base;
        size_t left = op->vectors[i].iov_len;
        while (left > 0) {
            size_t room = SIM_SECTOR - offset % SIM_SECTOR;
            size_t piece = left < room ? left : room;
            if (random_below(&sim->random, 2))
                sim_node_write(node, from, piece, offset, direct);
            from += piece;
            offset += piece;
            left -= piece;
        }
    }
}

static struct sim_file *writable(const struct sim *sim, int fd)
{
    struct sim_file *file = sim_file_of(sim, fd);
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
    write_vectors(file->node, op, file->flags & O_DIRECT);
    return (int64_t)op->length;
}

void sim_tear_write(struct sim *sim, const struct io_op *op)
{
    const struct sim_file *file = writable(sim, op->fd);
    if (file && !misaligned(file, op) && fits(sim, file->node, op->offset, op->length))
        write_torn(sim, file->node, op, file->flags & O_DIRECT);
}

bool sim_lose_write(struct sim *sim, const struct io_op *op)
{
    const struct sim_file *file = writable(sim, op->fd);
    if (!file || file->flags & O_DIRECT || !op->flags ||
        !fits(sim, file->node, op->offset, op->length))
        return false;
    uint64_t offset = op->offset;
    for (uint32_t i = 0; i < op->vector_count; i++) {
        sim_node_write(file->node, op->vectors[i].iov_base, op->vectors[i].iov_len, offset, false);
        offset += op->vectors[i].iov_len;
    }
    sim_node_lose(file->node, op->offset, op->length, &sim->random);
    return true;
}

static int64_t do_sync(struct sim *sim, const struct io_op *op)
{
    const struct sim_file *file = sim_file_of(sim, op->fd);
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
        return sim_file_of(sim, op->fd) ? -EINVAL : -EBADF;
    sim_node_truncate(file->node, op->length);
    return 0;
}

static int64_t do_rename(struct sim *sim, const struct io_op *op)
{
    const char *from;
    const char *to;
    struct sim_node *parent = parent_of(sim, op->path, &from);
    struct sim_node *target_parent = parent_of(sim, op->path2, &to);
    struct sim_node *node = sim_node_at(sim, op->path);
    struct sim_node *target = sim_node_at(sim, op->path2);
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
    struct sim_node *node = sim_node_at(sim, op->path);
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
    if (sim_node_at(sim, op->path))
        return -EEXIST;
    struct sim_node *node = sim_node_create(&sim->pool, true);
    sim_node_name(parent, name, node);
    sim_node_unref(node);
    return 0;
}

int64_t sim_perform(struct sim *sim, const struct io_op *op)
{
    switch (op->kind) {
    case IO_NOP:
    case IO_PAUSE:
        return 0;
    case IO_OPEN:
        return do_open(sim, op);
    case IO_CLOSE:
        return sim_do_close(sim, op);
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
        return sim_socket_perform(sim, op);
    }
    return -ENOTSUP;
}
