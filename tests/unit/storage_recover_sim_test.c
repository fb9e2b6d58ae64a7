// SPDX-License-Identifier: Apache-2.0
// A log whose machine stops at any point, again and again: whatever was acknowledged is there.
#include "tests/unit/storage_fixture.h"

static size_t random_size(struct random *random)
{
    switch (random_below(random, 20)) {
    case 0:
        return 300 * KIB + random_below(random, 200 * KIB);
    case 1:
    case 2:
    case 3:
        return 8 * KIB + random_below(random, 60 * KIB);
    default:
        return 1 + random_below(random, 2 * KIB);
    }
}

static void random_append(struct world *world)
{
    uint64_t count = 1 + random_below(&world->random, 6);
    for (uint64_t i = 0; i < count; i++)
        world_append(world, 1 + (int)random_below(&world->random, 4), random_size(&world->random));
}

static void note_start(struct world *world)
{
    int64_t start = log_offsets(world->log).start;
    if (world->model.start < start)
        world->model.start = start;
}

// Reads a piece somewhere. The power may be off.
static void random_read(struct world *world)
{
    struct log_offsets offsets = log_offsets(world->log);
    if (offsets.committed == offsets.start)
        return;
    uint64_t range = (uint64_t)(offsets.committed - offsets.start);
    int64_t offset = offsets.start + (int64_t)random_below(&world->random, range);
    struct reading reading;
    world_read(world, &reading, offset, 1 + (uint32_t)random_below(&world->random, 100 * KIB));
    if (reading.op.error == 0)
        cr_assert_gt(world_compare(world, &reading.op), offset, "seed %" PRIu64, world->seed);
    else if (!sim_power_is_off(world->sim))
        cr_assert_eq(reading.op.error, -ERANGE, "seed %" PRIu64 ": %d", world->seed,
                     reading.op.error); // removed meanwhile
    log_read_release(&reading.op);
}

static void random_trim(struct world *world)
{
    struct log_offsets offsets = log_offsets(world->log);
    uint64_t range = (uint64_t)(offsets.committed - offsets.start) + 1;
    int64_t offset = offsets.start + (int64_t)random_below(&world->random, range);
    int error = world_trim(world, offset);
    if (!sim_power_is_off(world->sim))
        cr_assert_eq(error, 0, "seed %" PRIu64, world->seed);
}

static void random_step(struct world *world)
{
    uint64_t kind = random_below(&world->random, 40);
    if (kind < 20)
        random_append(world);
    else if (kind < 28)
        world_turn(world);
    else if (kind < 33)
        random_read(world);
    else if (kind < 35)
        world_settle(world);
    else if (kind < 37)
        sim_advance(world->sim, random_below(&world->random, 4000) * 1000000);
    else if (kind < 39)
        log_retain(world->log);
    else
        random_trim(world);
    note_start(world);
}

static void random_config(struct world *world)
{
    struct random *random = &world->random;
    world->config.segment_bytes = 50000 + (int64_t)random_below(random, 2 * MIB);
    world->config.segment_ms = random_below(random, 2) ? 3000 : -1;
    world->config.retention_bytes =
        random_below(random, 3) ? -1 : (int64_t)random_below(random, 4 * MIB);
    world->config.retention_ms = random_below(random, 3) ? -1 : 2000;
    world->tail_cache_bytes = random_below(random, 2) ? 0 : (size_t)random_below(random, 4 * MIB);
}

// One life of the process: from opening to a crash or a clean end.
static void one_life(struct world *world)
{
    random_config(world);
    int error = world_open(world);
    cr_assert_eq(error, 0, "seed %" PRIu64 ": %s", world->seed, strerror(-error));
    world_verify_recovered(world);
    world_verify_range(world, world->model.start, log_offsets(world->log).committed,
                       1 + (uint32_t)random_below(&world->random, 300 * KIB));
    bool clean = random_below(&world->random, 4) == 0;
    if (!clean)
        sim_power_off(world->sim, 1 + random_below(&world->random, 300));
    for (int i = 0; i < 60 && !sim_power_is_off(world->sim); i++)
        random_step(world);
    if (clean) {
        error = log_store_close(world->store);
        cr_assert_eq(error, 0, "seed %" PRIu64 ": %s", world->seed, strerror(-error));
        cr_assert_eq(world->model.acked, model_end(&world->model));
    } else {
        world_crash(world);
    }
}

static void one_history(uint64_t seed)
{
    struct world world;
    world_begin(&world, seed);
    for (int life = 0; life < 4; life++)
        one_life(&world);
    cr_assert_eq(world_open(&world), 0);
    world_verify_recovered(&world);
    world_verify_range(&world, world.model.start, world.model.acked, MIB);
    cr_assert_eq(log_store_close(world.store), 0);
    world_end(&world);
}

static uint64_t seed_count(void)
{
    const char *text = getenv("WEIR_TEST_SEEDS");
    return text ? strtoull(text, NULL, 10) : 500;
}

Test(storage, acknowledged_records_survive_a_stop_at_any_point)
{
    const char *first = getenv("WEIR_TEST_FIRST_SEED");
    uint64_t from = first ? strtoull(first, NULL, 10) : 1;
    for (uint64_t seed = from; seed < from + seed_count(); seed++)
        one_history(seed);
}

struct deleting {
    struct log_delete op;
    bool done;
};

static void delete_done(struct log_delete *op)
{
    list_entry(op, struct deleting, op)->done = true;
}

// Whether a deletion that was stopped after `operations` had gone through before.
static bool stop_a_deletion(uint64_t operations)
{
    struct world world;
    world_begin(&world, operations);
    world.config.segment_bytes = 50000;
    cr_assert_eq(world_open(&world), 0);
    for (int i = 0; i < 20; i++) {
        world_append(&world, 1, 10000);
        world_settle(&world);
    }
    sim_power_off(world.sim, operations);
    struct deleting deleting = {.op = {.done = delete_done}};
    log_delete(world.log, &deleting.op);
    while (!deleting.done)
        world_turn(&world);
    bool through = deleting.op.error == 0 && !sim_power_is_off(world.sim);
    world_crash(&world);
    cr_assert_eq(world_open(&world), 0);
    if (log_offsets(world.log).end == 0) {
        model_free(&world.model);
        world.config.segment_bytes = 1 << 20;
        log_configure(world.log, &world.config);
        world_append(&world, 1, 100);
        world_settle(&world);
        cr_assert_eq(world.model.acked, 1, "the name is free");
    } else {
        cr_assert_not(through);
        world_verify_recovered(&world);
        world_verify_range(&world, 0, 20, MIB);
    }
    cr_assert_eq(log_store_close(world.store), 0);
    world_end(&world);
    return through;
}

Test(storage, a_deletion_stopped_at_any_point_leaves_all_or_nothing)
{
    uint64_t operations = 1;
    while (!stop_a_deletion(operations))
        operations++;
    cr_assert_gt(operations, 10);
}

// The program stops after `operations` of removing segments; a start shows what the kernel's cache
// says of them; then the machine stops. Whether all were removed before.
static bool stop_a_removal(uint64_t seed, uint64_t operations)
{
    struct world world;
    world_begin(&world, seed);
    world.config.segment_bytes = 50000;
    cr_assert_eq(world_open(&world), 0);
    for (int i = 0; i < 20; i++) {
        world_append(&world, 1, 10000);
        world_settle(&world);
    }
    cr_assert_eq(log_store_close(world.store), 0);
    cr_assert_eq(world_open(&world), 0);
    world.config.retention_bytes = 1;
    log_configure(world.log, &world.config);
    sim_power_off(world.sim, operations);
    log_retain(world.log);
    for (int i = 0; i < 60 && !sim_power_is_off(world.sim); i++)
        world_turn(&world);
    bool through = !sim_power_is_off(world.sim);
    sim_power_off(world.sim, 0);
    log_store_close(world.store);
    sim_restart_process(world.sim);
    world.config.retention_bytes = -1;
    cr_assert_eq(world_open(&world), 0);
    world_verify_recovered(&world);
    world_crash(&world);
    cr_assert_eq(world_open(&world), 0);
    world_verify_recovered(&world);
    cr_assert_eq(log_store_close(world.store), 0);
    world_end(&world);
    return through;
}

Test(storage, a_start_that_was_shown_does_not_go_back)
{
    uint64_t operations = 1;
    for (; !stop_a_removal(1, operations); operations++) {
        for (uint64_t seed = 2; seed < 6; seed++)
            stop_a_removal(seed, operations);
    }
    cr_assert_gt(operations, 6);
}
