// SPDX-License-Identifier: Apache-2.0
// Durable writes. Keeps rule 5 of the storage design: a failing write or sync is never retried as
// if nothing had happened. Whatever fails first is the result, and the caller's affair.
//
// Which way is better depends on the device: on one with power-loss protection RWF_DSYNC (FUA) wins
// clearly, on a cheap SSD write + fdatasync can be twice as fast. Fdatasync always runs on one of
// the kernel's worker threads, and a short measurement is easily disturbed by what else is under
// way: so RWF_DSYNC is used unless fdatasync is clearly better.
#include "storage/durable.h"

#include <stdlib.h>
#include <string.h>

#include "storage/plant.h"

enum {
    MEASURES = 16,      // rounds, each one write of either way
    MEASURES_MIN = 3,   // enough to stay with RWF_DSYNC
    MEASURES_SLOW = 5,  // enough on a device that takes more time than measure_ns
    MARGIN_TENTHS = 13, // how much better fdatasync must be: 1.3 times
    MEASURE_BLOCK = 4096,
};

static const uint64_t measure_ns = 8000000;

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

struct sample {
    uint64_t best;
    uint64_t median;
};

static struct sample sample_of(const uint64_t *times, uint32_t count)
{
    uint64_t sorted[MEASURES];
    memcpy(sorted, times, count * sizeof(sorted[0]));
    qsort(sorted, count, sizeof(sorted[0]), by_size);
    return (struct sample){.best = sorted[0], .median = sorted[count / 2]};
}

// Fdatasync is on trial. What else the machine does makes a median of few samples worth little, but
// hardly makes every single write slow, and does not choose one way eight times in turn: so the
// median, the best, and how often it lost count. Without a sign that it might be better, a few
// rounds do. True when enough is known.
static bool judge(uint64_t times[2][MEASURES], uint32_t rounds, uint64_t spent_ns,
                  struct durable_measured *out)
{
    struct sample dsync = sample_of(times[DURABLE_DSYNC], rounds);
    struct sample fsync = sample_of(times[DURABLE_FSYNC], rounds);
    uint32_t lost = 0;
    for (uint32_t i = 0; i < rounds; i++)
        lost += times[DURABLE_DSYNC][i] <= times[DURABLE_FSYNC][i];
    bool clear = dsync.best * 10 >= fsync.best * MARGIN_TENTHS &&
                 dsync.median * 10 >= fsync.median * MARGIN_TENTHS && lost <= rounds / 8;
    out->median_ns[DURABLE_DSYNC] = dsync.median;
    out->median_ns[DURABLE_FSYNC] = fsync.median;
    out->better = clear ? DURABLE_FSYNC : DURABLE_DSYNC;
    if (rounds < MEASURES_MIN)
        return false;
    return (dsync.best <= fsync.best && dsync.median <= fsync.median) || lost > MEASURES / 8 ||
           rounds == MEASURES || (rounds >= MEASURES_SLOW && spent_ns > measure_ns);
}

int durable_measure(struct io *io, int fd, const void *from, uint64_t offset,
                    struct durable_measured *out)
{
    uint64_t times[2][MEASURES];
    struct io_op op = {0};
    io_nop(io, &op);
    io_wait(io, &op); // the clock as of now
    uint64_t begin = io->now_ns;
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
    } while (!judge(times, rounds, io->now_ns - begin, out));
    out->operations = 2 * rounds;
    return 0;
}
