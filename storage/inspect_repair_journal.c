// SPDX-License-Identifier: Apache-2.0
// What `weir log repair` does to the journal: says in a state file that nothing in its files is
// needed, or that a log's end is taken as it is. The state file is replaced as a whole, durably,
// before any file goes (rule 6 of the storage design).
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "storage/inspect_repair.h"

static int write_all(int fd, const uint8_t *bytes, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t wrote = write(fd, bytes + done, size - done);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote <= 0)
            return wrote < 0 ? -errno : -ENOSPC;
        done += (size_t)wrote;
    }
    return fsync(fd) != 0 ? -errno : 0;
}

static int replace(int directory, const char *name, const char *beside, const uint8_t *bytes,
                   size_t size)
{
    int fd = openat(directory, beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    if (fd < 0)
        return -errno;
    int error = write_all(fd, bytes, size);
    close(fd);
    if (!error && renameat(directory, beside, directory, name) != 0)
        error = -errno;
    if (!error && fsync(directory) != 0)
        error = -errno;
    return error;
}

int inspect_state_write(const char *root, const char *name, struct journal_state_header header,
                        const struct journal_uncertain *uncertain)
{
    size_t size = journal_state_size(header.uncertain_count);
    uint8_t *bytes = malloc(size);
    char *beside = NULL;
    if (!bytes || asprintf(&beside, "%s.new", name) < 0) {
        free(bytes);
        return -ENOMEM;
    }
    journal_state_write(&header, uncertain, bytes);
    int directory = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int error = directory < 0 ? -errno : replace(directory, name, beside, bytes, size);
    if (directory >= 0)
        close(directory);
    free(beside);
    free(bytes);
    return error;
}
