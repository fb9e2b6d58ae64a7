// SPDX-License-Identifier: Apache-2.0
// Three small files stand for the directory as a whole:
//   lock    locked (flock) by the broker that uses it, and holds its process id for the curious
//   format  "weir data format 1": what an earlier or later version needs to know before it touches
//           anything else. Written once, when the directory is empty.
//   clean   there only between an orderly end and the next start
//
// Invariants
//  1. Nothing but `lock` is written before the lock is held and the format is known to be ours.
//  2. `clean` is gone, durably, before the first byte of any log changes, and is written only after
//     the last.
//  3. A directory with other things in it and no `format` is somebody else's, and is refused.
#include "broker/directory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FORMAT_VERSION = 1 };

static const char lock_name[] = "lock";
static const char format_name[] = "format";
static const char format_new_name[] = "format.new";
static const char clean_name[] = "clean";
static const char format_prefix[] = "weir data format ";

static int say(int error, char *why, size_t why_size, const char *what, const char *path)
{
    snprintf(why, why_size, "%s %s: %s", what, path, strerror(-error));
    return error;
}

static int open_directory(struct directory *directory, const char *path, char *why, size_t why_size)
{
    if (mkdir(path, 0750) != 0 && errno != EEXIST)
        return say(-errno, why, why_size, "cannot make the data directory", path);
    directory->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory->fd < 0)
        return say(-errno, why, why_size, "cannot open the data directory", path);
    return 0;
}

static int take_lock(struct directory *directory, const char *path, char *why, size_t why_size)
{
    directory->lock_fd = openat(directory->fd, lock_name, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    if (directory->lock_fd < 0)
        return say(-errno, why, why_size, "cannot write in the data directory", path);
    if (flock(directory->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        int error = -errno;
        if (error != -EWOULDBLOCK)
            return say(error, why, why_size, "cannot lock the data directory", path);
        char owner[32] = "";
        ssize_t size = pread(directory->lock_fd, owner, sizeof(owner) - 1, 0);
        long pid = size > 0 ? strtol(owner, NULL, 10) : 0;
        snprintf(why, why_size, "the data directory %s is in use by another broker (process %ld)",
                 path, pid);
        return -EBUSY;
    }
    char text[32];
    int size = snprintf(text, sizeof(text), "%ld\n", (long)getpid());
    // Only for the message above: a full disk is no reason not to start.
    if (ftruncate(directory->lock_fd, 0) == 0 &&
        pwrite(directory->lock_fd, text, (size_t)size, 0) != size)
        return 0;
    return 0;
}

// Whether anything is in there that a broker of an earlier moment of the first start did not write.
static int has_strangers(struct directory *directory, bool *out)
{
    int copy = openat(directory->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *entries = copy < 0 ? NULL : fdopendir(copy);
    if (!entries) {
        int error = -errno;
        if (copy >= 0)
            close(copy);
        return error;
    }
    static const char *const ours[] = {".", "..", lock_name, format_new_name, "lost+found"};
    *out = false;
    struct dirent *entry;
    while ((entry = readdir(entries)) != NULL) {
        bool known = false;
        for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
            known = known || strcmp(entry->d_name, ours[i]) == 0;
        *out = *out || !known;
    }
    closedir(entries);
    return 0;
}

static int write_file(struct directory *directory, const char *name, const char *text)
{
    int fd = openat(directory->fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    if (fd < 0)
        return -errno;
    size_t size = strlen(text);
    ssize_t written = write(fd, text, size);
    int error = written < 0 ? -errno : 0;
    if (written >= 0 && (size_t)written < size)
        error = -ENOSPC;
    if (!error && fsync(fd) != 0)
        error = -errno;
    close(fd);
    return error;
}

static int write_format(struct directory *directory, const char *path, char *why, size_t why_size)
{
    bool strangers = false;
    int error = has_strangers(directory, &strangers);
    if (error)
        return say(error, why, why_size, "cannot read the data directory", path);
    if (strangers) {
        snprintf(why, why_size,
                 "%s is not empty and not a data directory of weir-broker; name another one", path);
        return -ENOTEMPTY;
    }
    char text[64];
    snprintf(text, sizeof(text), "%s%d\n", format_prefix, FORMAT_VERSION);
    error = write_file(directory, format_new_name, text);
    if (!error && renameat(directory->fd, format_new_name, directory->fd, format_name) != 0)
        error = -errno;
    if (!error && fsync(directory->fd) != 0)
        error = -errno;
    if (error)
        return say(error, why, why_size, "cannot write in the data directory", path);
    directory->first_use = true;
    return 0;
}

static int check_format(struct directory *directory, const char *path, char *why, size_t why_size)
{
    int fd = openat(directory->fd, format_name, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return write_format(directory, path, why, why_size);
    char text[64] = "";
    ssize_t size = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    int error = size < 0 ? -errno : 0;
    if (fd >= 0)
        close(fd);
    if (error)
        return say(error, why, why_size, "cannot read the format of the data directory", path);
    size_t prefix = sizeof(format_prefix) - 1;
    char *end = text + prefix;
    long version = strncmp(text, format_prefix, prefix) == 0 ? strtol(end, &end, 10) : 0;
    if (version < 1 || *end != '\n') {
        snprintf(why, why_size, "%s/%s is damaged; it should say \"%s%d\"", path, format_name,
                 format_prefix, FORMAT_VERSION);
        return -EINVAL;
    }
    if (version > FORMAT_VERSION) {
        snprintf(why, why_size,
                 "the data directory %s has format %ld, this weir-broker (%s) knows formats up to "
                 "%d; use a newer one",
                 path, version, WEIR_VERSION, FORMAT_VERSION);
        return -EINVAL;
    }
    return 0;
}

static int take_clean_mark(struct directory *directory, const char *path, char *why,
                           size_t why_size)
{
    if (unlinkat(directory->fd, clean_name, 0) != 0) {
        if (errno == ENOENT)
            return 0;
        return say(-errno, why, why_size, "cannot write in the data directory", path);
    }
    directory->found_clean = true;
    if (fsync(directory->fd) != 0)
        return say(-errno, why, why_size, "cannot write in the data directory", path);
    return 0;
}

int directory_open(struct directory *directory, const char *path, char *why, size_t why_size)
{
    *directory = (struct directory){.fd = -1, .lock_fd = -1};
    static int (*const steps[])(struct directory * directory, const char *path, char *why,
                                size_t why_size) = {open_directory, take_lock, check_format,
                                                    take_clean_mark};
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        int error = steps[i](directory, path, why, why_size);
        if (error) {
            directory_close(directory);
            return error;
        }
    }
    return 0;
}

int directory_mark_clean(struct directory *directory)
{
    int error = write_file(directory, clean_name, "clean\n");
    if (!error && fsync(directory->fd) != 0)
        error = -errno;
    return error;
}

void directory_close(struct directory *directory)
{
    if (directory->lock_fd >= 0)
        close(directory->lock_fd);
    if (directory->fd >= 0)
        close(directory->fd);
    directory->fd = directory->lock_fd = -1;
}
