// SPDX-License-Identifier: Apache-2.0
// Durable writes. Keeps rule 5 of the storage design: a failing write or sync is never retried as
// if nothing had happened. Whatever fails first is the result, and the caller's affair.
//
// Which way is better depends on the device: on one with power-loss protection RWF_DSYNC (FUA) wins
// clearly, on a cheap SSD write + fdatasync can be twice as fast. Fdatasync always runs on one of
// the kernel's worker threads.
#include "storage/durable.h"

#include <stdlib.h>
#include <string.h>

#include "storage/plant.h"

enum { MEASURES = 16, MEASURES_MIN = 3, MEASURE_BLOCK = 4096 };

static void finish(struct durable_op *durable, int64_t result)
{
    durable->result = result;
    durable->pending = false;
    if (durable->done)
        durable->done(durable);
}

static void synced_again(struct io_op *op)
{
    struct durable_op *durable = list_entry(op, struct durable_op, op);
    finish(durable, op->result < 0 ? op->result : durable->result);
}

static void synced(struct io_op *op)
{
    struct durable_op *durable = list_entry(op, struct durable_op, op);
    if (op->result < 0 && planted(PLANT_RETRY_FAILED_SYNC)) {
        op->done = synced_again;
        io_sync(durable->io, op, durable->fd, true);
        return;
    }
    finish(durable, op->result < 0 ? op->result : durable->result);
}

static void written(struct io_op *op)
{
    struct durable_op *durable = list_entry(op, struct durable_op, op);
    if (op->result < 0 || durable->way == DURABLE_DSYNC) {
        finish(durable, op->result);
        return;
    }
    durable->result = op->result;
    op->done = synced;
    io_sync(durable->io, op, durable->fd, true);
}

static void prepare(struct durable_op *op, struct io *io, enum durable_way way, int fd)
{
    op->io = io;
    op->fd = fd;
    op->way = way;
    op->pending = true;
    op->op.done = written;
}

void durable_write(struct durable_op *op, struct io *io, enum durable_way way, int fd,
                   const void *from, size_t size, uint64_t offset)
{
    prepare(op, io, way, fd);
    io_write(io, &op->op, fd, from, size, offset, way == DURABLE_DSYNC);
}

void durable_writev(struct durable_op *op, struct io *io, enum durable_way way, int fd,
                    struct iovec *vectors, uint32_t count, uint64_t offset)
{
    prepare(op, io, way, fd);
    io_writev(io, &op->op, fd, vectors, count, offset, way == DURABLE_DSYNC);
}

int64_t durable_write_wait(struct io *io, enum durable_way way, int fd, const void *from,
                           size_t size, uint64_t offset)
{
    struct durable_op op = {0};
    durable_write(&op, io, way, fd, from, size, offset);
    while (op.pending)
        io_run(io, io->now_ns + UINT64_C(1000000000));
    return op.result;
}

static int by_size(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a;
    uint64_t right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

static uint64_t median(const uint64_t *times, uint32_t count)
{
    uint64_t sorted[MEASURES];
    memcpy(sorted, times, count * sizeof(sorted[0]));
    qsort(sorted, count, sizeof(sorted[0]), by_size);
    return sorted[count / 2];
}

// One way takes half as long again as the other at least: no need to go on.
static bool is_clear(const uint64_t medians[2])
{
    uint64_t less = medians[0] < medians[1] ? medians[0] : medians[1];
    uint64_t more = medians[0] < medians[1] ? medians[1] : medians[0];
    return more >= less + less / 2;
}

int durable_measure(struct io *io, int fd, const void *from, uint64_t offset,
                    struct durable_measured *out)
{
    uint64_t times[2][MEASURES];
    uint64_t hops = io_uring_workers().runs;
    struct io_op op = {0};
    io_nop(io, &op);
    io_wait(io, &op); // the clock as of now
    uint32_t rounds = 0;
    do {
        for (int way = 0; way < 2; way++) {
            uint64_t start = io->now_ns;
            int64_t result =
                durable_write_wait(io, (enum durable_way)way, fd, from, MEASURE_BLOCK, offset);
            if (result < 0)
                return (int)result;
            times[way][rounds] = io->now_ns - start;
        }
        rounds++;
        out->median_ns[DURABLE_DSYNC] = median(times[DURABLE_DSYNC], rounds);
        out->median_ns[DURABLE_FSYNC] = median(times[DURABLE_FSYNC], rounds);
    } while (rounds < MEASURES && (rounds < MEASURES_MIN || !is_clear(out->median_ns)));
    out->operations = 2 * rounds;
    out->hops = io_uring_workers().runs - hops;
    bool fsync = out->median_ns[DURABLE_FSYNC] < out->median_ns[DURABLE_DSYNC];
    out->better = fsync ? DURABLE_FSYNC : DURABLE_DSYNC;
    return 0;
}
