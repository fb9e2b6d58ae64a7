// SPDX-License-Identifier: Apache-2.0
// Reading from disk while somebody produces: who has the device, and for how long at a time.
#include "tests/unit/storage_read_fixture.h"

enum { USUAL_NS = 100000 };

// Who has had the device.
struct shares {
    uint64_t reading_ns;
    uint64_t other_ns;
};

// Reads while somebody produces all the time. Returns the offset behind what was read.
static int64_t read_beside(struct world *world, int64_t offset, uint32_t max_bytes,
                           size_t produced_size, struct shares *shares)
{
    struct reading reading = {
        .op = {
            .done = read_finished, .offset = offset, .max_bytes = max_bytes, .at_least_one = true}};
    log_read(world->log, &reading.op);
    while (!reading.done) {
        if (log_offsets(world->log).committed == log_offsets(world->log).end)
            world_append(world, 1, produced_size);
        uint64_t before_ns = world->io->now_ns;
        bool reads = world->store->reads.active > 0;
        world_turn(world);
        uint64_t passed_ns = world->io->now_ns - before_ns;
        if (!reads)
            shares->other_ns += passed_ns;
        else if (passed_ns <= USUAL_NS) // a pause is not as long as three times the longest read
            shares->reading_ns += passed_ns;
    }
    int64_t next = world_compare(world, &reading.op);
    log_read_release(&reading.op);
    return next;
}

static int64_t read_beside_producer(struct world *world, int64_t offset, uint32_t max_bytes)
{
    struct shares shares = {0};
    return read_beside(world, offset, max_bytes, 100, &shares);
}

static void set_even_device(struct world *world)
{
    sim_set_device(world->sim, USUAL_NS, USUAL_NS, USUAL_NS);
}

Test(storage, a_replay_leaves_most_of_the_time_to_producers)
{
    struct world world;
    struct shares shares = {0};
    begin(&world, 31, 32 * MIB);
    set_even_device(&world);
    fill(&world, 400, 20000);
    world.store->reads.committed_bytes = stats_of(&world).committed_bytes;
    for (int64_t at = 0; at < 400;)
        at = read_beside(&world, at, MIB, 100, &shares);
    cr_expect_geq(shares.other_ns, 2 * shares.reading_ns, "%" PRIu64 " and %" PRIu64 " us",
                  shares.other_ns / 1000, shares.reading_ns / 1000);
    world_settle(&world);
    finish(&world);
}

// Else who lags behind would never catch up.
Test(storage, a_reader_of_twice_what_is_produced_does_not_wait)
{
    struct world world;
    struct shares shares = {0};
    begin(&world, 32, 32 * MIB);
    set_even_device(&world);
    fill(&world, 400, 20000);
    for (int64_t at = 0; at < 400;) {
        world_append(&world, 1, 200000);
        world_settle(&world);
        at = read_beside(&world, at, 200000, 100, &shares);
        cr_assert(!world.store->reads.pause.pending, "at %" PRId64, at);
    }
    world_settle(&world);
    finish(&world);
}

Test(storage, windows_are_small_beside_producers)
{
    struct world world;
    begin(&world, 33, 32 * MIB);
    fill(&world, 40, 20000);
    read_beside_producer(&world, 0, MIB);
    cr_expect_leq(stats_of(&world).device_read_bytes, 256 * KIB);
    world_settle(&world);
    be_quiet(&world);
    world_verify_range(&world, 20, 21, MIB);
    cr_expect_gt(stats_of(&world).device_read_bytes, 512 * KIB);
    world_settle(&world);
    finish(&world);
}

Test(storage, a_store_closes_in_a_pause)
{
    struct world world;
    begin(&world, 34, 32 * MIB);
    fill(&world, 40, 20000);
    world.store->reads.committed_bytes = stats_of(&world).committed_bytes;
    read_beside_producer(&world, 0, MIB);
    cr_assert(world.store->reads.pause.pending);
    finish(&world);
}

Test(storage, nothing_is_read_ahead_beside_producers)
{
    struct world world;
    begin(&world, 28, 32 * MIB);
    fill(&world, 40, 400000);
    for (int64_t at = 0; at < 40;) {
        at = read_beside_producer(&world, at, MIB);
        cr_assert_leq(world.store->reads.active, 1);
    }
    cr_assert_eq(stats_of(&world).read_ahead, 0);
    world_settle(&world);
    finish(&world);
}

Test(storage, the_device_is_read_in_one_go_without_producers)
{
    struct world world;
    begin(&world, 28, 32 * MIB);
    fill(&world, 1, 2000000);
    be_quiet(&world);
    world_verify_range(&world, 0, 1, 100);
    cr_assert_eq(stats_of(&world).device_reads, 1);
    finish(&world);
}

Test(storage, the_device_is_read_in_pieces_beside_producers)
{
    struct world world;
    begin(&world, 28, 32 * MIB);
    fill(&world, 1, 2000000);
    cr_assert_eq(read_beside_producer(&world, 0, 100), 1);
    cr_assert_geq(stats_of(&world).device_reads, 2000000 / (256 * 1024));
    world_settle(&world);
    finish(&world);
}

// Turns of the loop in which a window was being verified, while somebody produces or not.
static int turns_checking(struct world *world, bool beside)
{
    int turns = 0;
    struct reading reading = {
        .op = {.done = read_finished, .max_bytes = MIB, .at_least_one = true}};
    log_read(world->log, &reading.op);
    while (!reading.done) {
        if (beside && log_offsets(world->log).committed == log_offsets(world->log).end)
            world_append(world, 1, 100);
        world_turn(world);
        const struct segment *segment = world->log->segments[0];
        turns += segment->window_count > 0 && segment->windows[0]->state == WINDOW_CHECKING;
    }
    cr_assert_gt(world_compare(world, &reading.op), 0);
    log_read_release(&reading.op);
    return turns;
}

Test(storage, a_large_frame_is_verified_in_several_turns_beside_producers)
{
    for (int beside = 0; beside < 2; beside++) {
        struct world world;
        begin(&world, 35, 32 * MIB);
        fill(&world, 1, 2000000);
        if (!beside)
            be_quiet(&world);
        int turns = turns_checking(&world, beside);
        cr_expect(beside ? turns >= 8 : turns == 0, "%d turns", turns);
        world_settle(&world);
        finish(&world);
    }
}

Test(storage, damage_in_a_large_frame_is_found_beside_producers)
{
    enum { BATCHES = 100, BAD = 70, SIZE = 18000 };
    struct world world;
    begin(&world, 36, 32 * MIB);
    fill_frame(&world, BATCHES, SIZE);
    fill(&world, 1, 100);
    char path[256];
    static uint8_t bytes[2 * MIB];
    world_segment_path(&world, 0, ".log", path);
    world_peek(&world, 0, 0, bytes, sizeof(bytes));
    const struct expected *batch = &world.model.batches[BAD];
    const uint8_t *in_file = memmem(bytes, sizeof(bytes), batch->data, batch->size);
    cr_assert_not_null(in_file);
    sim_flip(world.sim, path, ((uint64_t)(in_file - bytes) + SIZE / 2) * 8);
    for (int64_t at = 0; at < BAD;)
        at = read_beside_producer(&world, at, 200000);
    expect_read(&world, BAD, -EIO);
    cr_expect_eq(read_beside_producer(&world, BAD + 1, 1), BAD + 2);
    cr_expect_eq(stats_of(&world).damaged_frames, 1);
    world_settle(&world);
    finish(&world);
}
