// SPDX-License-Identifier: Apache-2.0
// Positioned reads of whole files, a window at a time.
//
// 1. Windows are large and aligned, so that O_DIRECT works and the device streams; where the file
//    system takes no O_DIRECT, reads are ordinary ones.
// 2. What one call returned is valid until the next: the window moves only forward over a file
//    that is read in order, and keeps the bytes that the next frame may still need.
// 3. A piece that the device refuses reads as zeros, which no checksum accepts, and is remembered;
//    the rest of the window is still read.
#include "storage/inspect.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    ALIGN = 4096,
    WINDOW = 8 * 1024 * 1024,
    FIRST_READ = 64 * 1024, // most logs are small
};

int inspect_file_open(struct inspect_file *file, const char *path)
{
    *file = (struct inspect_file){.fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC)};
    if (file->fd < 0 && errno == EINVAL)
        file->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (file->fd < 0)
        return -errno;
    struct stat stat;
    int error = fstat(file->fd, &stat) != 0 ? -errno : 0;
    if (!error && !S_ISREG(stat.st_mode))
        error = -EISDIR;
    if (error) {
        inspect_file_close(file);
        return error;
    }
    file->size = (uint64_t)stat.st_size;
    return 0;
}

void inspect_file_close(struct inspect_file *file)
{
    if (file->fd >= 0)
        close(file->fd);
    free(file->window);
    *file = (struct inspect_file){.fd = -1};
}

static void unreadable_note(struct inspect_file *file, uint64_t from, uint64_t to)
{
    if (file->unreadable_from == file->unreadable_to)
        file->unreadable_from = from;
    file->unreadable_to = to;
}

// Some file systems take O_DIRECT when a file is opened and refuse it later.
static bool direct_leave(struct inspect_file *file)
{
    int flags = fcntl(file->fd, F_GETFL);
    return flags >= 0 && (flags & O_DIRECT) && fcntl(file->fd, F_SETFL, flags & ~O_DIRECT) == 0;
}

// As much of `size` bytes as there are, from `position`, to `to`. Bytes that cannot be read become
// zeros, found by ever smaller pieces.
static size_t piece_read(struct inspect_file *file, uint8_t *to, uint64_t position, size_t size)
{
    size_t done = 0;
    while (done < size) {
        ssize_t got = pread(file->fd, to + done, size - done, (off_t)(position + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && errno == EINVAL && direct_leave(file))
            continue;
        if (got <= 0)
            break;
        done += (size_t)got;
        if ((size_t)got % ALIGN != 0)
            return done; // the end of the file
    }
    if (done == size || position + done >= file->size)
        return done;
    size_t left = size - done;
    if (left <= ALIGN) {
        memset(to + done, 0, left);
        unreadable_note(file, position + done, position + size);
        return size;
    }
    size_t step = left / 16 > ALIGN ? left / 16 / ALIGN * ALIGN : ALIGN;
    while (done < size) {
        size_t part = size - done < step ? size - done : step;
        size_t got = piece_read(file, to + done, position + done, part);
        done += got;
        if (got < part)
            break;
    }
    return done;
}

static bool window_grow(struct inspect_file *file, size_t capacity)
{
    uint8_t *window = NULL;
    if (posix_memalign((void **)&window, ALIGN, capacity) != 0) {
        file->error = -ENOMEM;
        return false;
    }
    if (file->have > 0)
        memcpy(window, file->window, file->have);
    free(file->window);
    file->window = window;
    file->capacity = capacity;
    return true;
}

static size_t round_up(uint64_t size)
{
    return (size_t)((size + ALIGN - 1) & ~(uint64_t)(ALIGN - 1));
}

// Keeps what the window has from `position` on.
static void window_move(struct inspect_file *file, uint64_t position)
{
    uint64_t start = position & ~(uint64_t)(ALIGN - 1);
    bool inside =
        start >= file->start && start < file->start + file->have && file->have % ALIGN == 0;
    size_t keep = inside ? (size_t)(file->start + file->have - start) : 0;
    if (keep > 0 && start > file->start)
        memmove(file->window, file->window + (start - file->start), keep);
    file->start = start;
    file->have = keep;
}

const uint8_t *inspect_file_at(struct inspect_file *file, uint64_t position, uint64_t size)
{
    if (file->error || size > file->size || position > file->size - size)
        return NULL;
    if (position >= file->start && position + size <= file->start + file->have)
        return file->window + (position - file->start);
    bool in_order = file->have > 0 && position >= file->start;
    window_move(file, position);
    size_t wanted = round_up(position - file->start + size);
    size_t most = in_order ? WINDOW : FIRST_READ;
    wanted = wanted > most ? wanted : most;
    if (wanted > round_up(file->size - file->start))
        wanted = round_up(file->size - file->start);
    if (wanted > file->capacity && !window_grow(file, wanted))
        return NULL;
    if (wanted > file->have) {
        size_t got = piece_read(file, file->window + file->have, file->start + file->have,
                                wanted - file->have);
        file->have += got;
        if (file->progress)
            atomic_fetch_add_explicit(file->progress, got, memory_order_relaxed);
    }
    if (position + size > file->start + file->have)
        return NULL; // it became shorter meanwhile
    return file->window + (position - file->start);
}

uint64_t inspect_file_data(const struct inspect_file *file, uint64_t position)
{
    off_t data = lseek(file->fd, (off_t)position, SEEK_DATA);
    if (data >= 0)
        return (uint64_t)data;
    return errno == ENXIO ? file->size : position;
}
