// SPDX-License-Identifier: Apache-2.0
// The parts of io.h that are done at once by plain system calls.
#pragma once

#include <stdint.h>

struct io;
struct io_stamp;

// As in io.h; `io` is not used.
int io_system_listen(struct io *io, const char *host, uint16_t port, uint16_t *bound_port);
int io_system_list_directory(struct io *io, const char *path,
                             int (*each)(void *context, const char *name), void *context);
int64_t io_system_file_size(struct io *io, int fd);
int io_system_stamp_of(struct io *io, const char *path, struct io_stamp *out);
int64_t io_system_next_data(struct io *io, int fd, uint64_t offset);
int io_system_sync_filesystem(struct io *io, const char *path);
