// SPDX-License-Identifier: Apache-2.0
// One write that is durable when it is done: with RWF_DSYNC, or followed by fdatasync, whichever
// the device does better. See durable.c.
#pragma once

#include "storage/io.h"

enum durable_way {
    DURABLE_DSYNC,
    DURABLE_FSYNC, // write, then fdatasync
};

// Owned by the caller, as an io_op is; all zero before its first use.
struct durable_op {
    void (*done)(struct durable_op *op); // from io_run
    int64_t result;                      // bytes written (all of them) or a negative errno
    bool pending;
    // The rest is used between the start and done.
    struct io_op op;
    struct io *io;
    int fd;
    enum durable_way way;
};

// Never fail to start. Buffers and vectors stay valid and unchanged until done.
void durable_write(struct durable_op *op, struct io *io, enum durable_way way, int fd,
                   const void *from, size_t size, uint64_t offset);
void durable_writev(struct durable_op *op, struct io *io, enum durable_way way, int fd,
                    struct iovec *vectors, uint32_t count, uint64_t offset);

// For start-up. Bytes written or a negative errno.
int64_t durable_write_wait(struct io *io, enum durable_way way, int fd, const void *from,
                           size_t size, uint64_t offset);

struct durable_measured {
    uint64_t median_ns[2]; // of each way
    uint32_t operations;   // how many were tried
    enum durable_way better;
};

// Writes 4 KiB blocks from `from` to `offset`, again and again, both ways in turns. Fdatasync is
// better when it is so by 1.3 times, in the median, in the best case and nearly every time; while
// it looks like that, more samples are taken. Start-up only. 0 or a negative errno.
int durable_measure(struct io *io, int fd, const void *from, uint64_t offset,
                    struct durable_measured *out);
