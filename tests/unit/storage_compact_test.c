// SPDX-License-Identifier: Apache-2.0
// Compaction of a whole log: what is left, what happens beside it, and stops at any point.
#include "tests/unit/storage_compact_fixture.h"

Test(compact, leaves_the_last_record_of_each_key)
{
    struct keyed keyed;
    keyed_begin(&keyed, 1);
    keyed_open(&keyed);
    for (int round = 0; round < 5; round++) {
        keyed_fill(&keyed, 60, 5);
        cr_assert(keyed_compact(&keyed));
        keyed_expect_last(&keyed, false);
        keyed_expect_compacted(&keyed);
    }
    keyed_fill(&keyed, 10, 5);
    cr_assert(keyed_compact(&keyed));
    cr_assert_leq(keyed.world.log->segment_count, 6, "small neighbours become one");
    cr_assert_gt(log_store_stats(keyed.world.store).compactions, 4);
    cr_assert_eq(log_store_close(keyed.world.store), 0);
    keyed_open(&keyed);
    keyed_expect_last(&keyed, false);
    keyed_expect_compacted(&keyed);
    uint64_t before = log_store_stats(keyed.world.store).compactions;
    cr_assert(keyed_compact(&keyed));
    cr_assert_eq(log_store_stats(keyed.world.store).compactions, before,
                 "what is clean is known after a restart");
    cr_assert_eq(log_store_close(keyed.world.store), 0);
    keyed_end(&keyed);
}

Test(compact, goes_in_several_passes_when_the_keys_do_not_fit)
{
    struct keyed keyed;
    keyed_begin(&keyed, 2);
    keyed.keys = 1500; // the map holds 64
    keyed.world.config.segment_bytes = 200 * KIB;
    keyed_open(&keyed);
    keyed_fill(&keyed, 600, 0);
    cr_assert(keyed_compact(&keyed));
    cr_assert_gt(log_store_stats(keyed.world.store).compactions, 5);
    keyed_expect_last(&keyed, false);
    keyed_expect_compacted(&keyed);
    cr_assert_eq(log_store_close(keyed.world.store), 0);
    keyed_end(&keyed);
}

Test(compact, tombstones_go_when_their_time_has_passed)
{
    struct keyed keyed;
    keyed_begin(&keyed, 3);
    keyed_open(&keyed);
    keyed_fill(&keyed, 100, 2);
    cr_assert(keyed_compact(&keyed));
    keyed_expect_last(&keyed, false);
    int64_t clean = log_active(keyed.world.log)->header.base_offset;
    sim_advance(keyed.world.sim, (DELETE_RETENTION_MS + 1000) * UINT64_C(1000000));
    keyed_fill(&keyed, 100, 0);
    cr_assert(keyed_compact(&keyed));
    keyed_expect_last(&keyed, true);
    for (int64_t i = 0; i < clean; i++)
        cr_assert_not(keyed.records[i].tombstone && keyed.records[i].present);
    cr_assert_eq(log_store_close(keyed.world.store), 0);
    keyed_end(&keyed);
}

Test(compact, a_clock_that_jumps_ahead_takes_no_tombstone)
{
    struct keyed keyed;
    keyed_begin(&keyed, 4);
    keyed_open(&keyed);
    keyed_fill(&keyed, 100, 2);
    cr_assert(keyed_compact(&keyed));
    sim_jump(keyed.world.sim, 3600000);
    keyed_fill(&keyed, 100, 0);
    cr_assert(keyed_compact(&keyed));
    keyed_expect_last(&keyed, false);
    cr_assert_eq(log_store_close(keyed.world.store), 0);
    keyed_end(&keyed);
}

// Everything that can be seen is as before or as after, whenever the power goes.
Test(compact, survives_a_stop_at_any_point)
{
    uint64_t points = 1;
    for (uint64_t point = 1; point <= points; point++) {
        struct keyed keyed;
        keyed_begin(&keyed, 5);
        keyed_open(&keyed);
        keyed_fill(&keyed, 60, 5);
        cr_assert(keyed_compact(&keyed)); // so that there are clean segments, too
        keyed_fill(&keyed, 60, 5);
        uint64_t before = sim_completed(keyed.world.sim);
        if (point > 1)
            sim_power_off(keyed.world.sim, point - 2);
        bool whole = keyed_compact(&keyed);
        if (point == 1) {
            cr_assert(whole);
            points = sim_completed(keyed.world.sim) - before + 2;
            cr_assert_gt(points, 40);
        }
        world_crash(&keyed.world);
        keyed_open(&keyed);
        keyed_expect_last(&keyed, false);
        cr_assert(keyed_compact(&keyed));
        keyed_expect_last(&keyed, false);
        keyed_expect_compacted(&keyed);
        cr_assert_eq(log_store_close(keyed.world.store), 0);
        keyed_end(&keyed);
    }
}

static void random_life(struct keyed *keyed)
{
    struct random *random = &keyed->world.random;
    keyed_open(keyed);
    keyed_expect_last(keyed, true);
    bool clean = random_below(random, 4) == 0;
    if (!clean)
        sim_power_off(keyed->world.sim, 1 + random_below(random, 400));
    for (int i = 0; i < 40 && !sim_power_is_off(keyed->world.sim); i++) {
        switch (random_below(random, 6)) {
        case 0:
        case 1:
            keyed_append(keyed, 1 + (int)random_below(random, 12), 4);
            break;
        case 2:
            sim_advance(keyed->world.sim, random_below(random, 40000) * UINT64_C(1000000));
            log_retain(keyed->world.log);
            break;
        case 3:
            if (random_below(random, 10) == 0) {
                world_trim(&keyed->world, log_offsets(keyed->world.log).committed / 2);
                break;
            }
            // fall through
        default:
            for (int turn = 0; turn < 10; turn++) {
                log_store_compact(keyed->world.store);
                world_turn(&keyed->world);
            }
        }
        if (keyed->start < log_offsets(keyed->world.log).start)
            keyed->start = log_offsets(keyed->world.log).start;
    }
    if (clean)
        cr_assert_eq(log_store_close(keyed->world.store), 0);
    else
        world_crash(&keyed->world);
}

Test(compact, random_histories)
{
    const char *text = getenv("WEIR_TEST_SEEDS");
    uint64_t seeds = text ? strtoull(text, NULL, 10) : 150;
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        struct keyed keyed;
        keyed_begin(&keyed, seed);
        keyed.world.config.segment_bytes =
            8 * KIB + (int64_t)random_below(&keyed.world.random, 60 * KIB);
        keyed.keys = 1 + (int)random_below(&keyed.world.random, 300);
        for (int life = 0; life < 4; life++)
            random_life(&keyed);
        keyed_open(&keyed);
        cr_assert(keyed_compact(&keyed), "seed %" PRIu64, seed);
        keyed_expect_last(&keyed, true);
        keyed_expect_compacted(&keyed);
        cr_assert_eq(log_store_close(keyed.world.store), 0);
        keyed_end(&keyed);
    }
}
