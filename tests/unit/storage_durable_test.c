// SPDX-License-Identifier: Apache-2.0
// Which way to durability is taken on which device.
#include "storage/durable.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#include "tests/sim/sim_io.h"

enum { SEEDS = 1000, BLOCK = 4096, SYNC_NS = 100000 };

static struct durable_measured measure(uint64_t seed, uint64_t usual_ns, uint64_t durable_ns)
{
    static _Alignas(BLOCK) const char block[BLOCK];
    struct sim *sim = sim_create(seed);
    struct io *io = sim_io(sim);
    sim_set_device(sim, usual_ns, durable_ns, SYNC_NS);
    int fd = io_open_wait(io, "/f", O_RDWR | O_CREAT, 0644);
    struct durable_measured measured = {0};
    cr_assert_eq(durable_measure(io, fd, block, 0, &measured), 0);
    sim_destroy(sim);
    return measured;
}

Test(storage, durable_measure_takes_fdatasync_only_when_it_is_clearly_better)
{
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        cr_assert_eq(measure(seed, 20000, SYNC_NS / 2).better, DURABLE_DSYNC, "%lu", seed);
        cr_assert_eq(measure(seed, 20000, SYNC_NS).better, DURABLE_DSYNC, "%lu", seed);
        cr_assert_eq(measure(seed, 20000, SYNC_NS * 6 / 5).better, DURABLE_DSYNC, "%lu", seed);
        cr_assert_eq(measure(seed, 1000, SYNC_NS * 2).better, DURABLE_FSYNC, "%lu", seed);
    }
}

// On a busy device, where anything may take anything, a flip needs more than bad luck.
Test(storage, durable_measure_is_not_misled_by_a_busy_device)
{
    uint32_t flips = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++)
        flips += measure(seed, 20 * SYNC_NS, SYNC_NS).better == DURABLE_FSYNC;
    cr_assert_leq(flips, SEEDS / 100, "%u", flips);
}

Test(storage, durable_measure_is_short_without_a_sign_for_fdatasync)
{
    uint32_t operations = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++)
        operations += measure(seed, 1000, SYNC_NS / 2).operations;
    cr_assert_leq(operations, SEEDS * 7);
}
