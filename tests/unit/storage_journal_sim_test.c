// SPDX-License-Identifier: Apache-2.0
// A journal whose machine stops at any point, also while it starts, again and again: what was
// acknowledged comes back, and nothing is called damaged.
#include "tests/unit/storage_journal.h"

struct history {
    struct desk desk;
    struct random random;
    uint64_t seed;
};

static void one_commit(struct history *history)
{
    struct desk *desk = &history->desk;
    uint64_t count = 1 + random_below(&history->random, DESK_LOGS);
    uint64_t first = random_below(&history->random, DESK_LOGS);
    int added = 0;
    int64_t before[DESK_LOGS];
    for (int i = 0; i < DESK_LOGS; i++)
        before[i] = desk->logs[i].end;
    for (uint64_t i = 0; i < count; i++) {
        size_t size =
            1 + random_below(&history->random, random_below(&history->random, 8) ? 600 : 9000);
        added += desk_add(desk, (int)((first + i) % DESK_LOGS), size);
    }
    if (added > 0 && desk_write(desk) != 0) {
        // The bytes go to the segments, so the offsets are not given to others.
        for (int i = 0; i < DESK_LOGS; i++)
            desk->logs[i].end = before[i];
    }
}

static void one_step(struct history *history)
{
    struct desk *desk = &history->desk;
    uint64_t kind = random_below(&history->random, 10);
    if (kind < 6 && journal_state(desk->journal) == JOURNAL_READY)
        one_commit(history);
    else if (kind < 8)
        desk_turns(desk, 1 + (int)random_below(&history->random, 6));
    else
        desk_flush(desk, (int)random_below(&history->random, DESK_LOGS));
}

static void check(struct history *history)
{
    const struct desk *desk = &history->desk;
    cr_assert_eq(desk->found.damages, 0, "seed %" PRIu64, history->seed);
    for (int i = 0; i < DESK_LOGS; i++) {
        const struct desk_log *log = &desk->logs[i];
        cr_assert_geq(log->replayed, log->acked, "seed %" PRIu64 ": log %d", history->seed, i);
        cr_assert_eq(log->gap, -1, "seed %" PRIu64 ": log %d", history->seed, i);
        cr_assert_not(log->uncertain, "seed %" PRIu64 ": log %d", history->seed, i);
    }
}

// False when the power went off.
static bool start(struct history *history)
{
    struct desk *desk = &history->desk;
    desk->journal = NULL;
    if (desk_open(desk) != 0)
        return false;
    desk_replay_all(desk);
    if (!sim_power_is_off(desk->sim))
        check(history);
    for (int i = 0; i < DESK_LOGS; i++) {
        struct desk_log *log = &desk->logs[i];
        if (!sim_power_is_off(desk->sim) && log->flushed < log->replayed)
            log->flushed = log->replayed;
        log->end = log->flushed;
        log->acked = log->flushed;
    }
    return journal_settled(desk->journal) == 0 && journal_begin(desk->journal, true) == 0 &&
           !sim_power_is_off(desk->sim);
}

static void one_life(struct history *history)
{
    struct desk *desk = &history->desk;
    int64_t acked[DESK_LOGS];
    for (int i = 0; i < DESK_LOGS; i++)
        acked[i] = desk->logs[i].acked;
    bool early = random_below(&history->random, 3) == 0;
    if (early)
        sim_power_off(desk->sim, 1 + random_below(&history->random, 60));
    bool started = start(history);
    cr_assert(started || early, "seed %" PRIu64, history->seed);
    if (!started) {
        // Nothing acknowledged may be forgotten by a start that did not end.
        for (int i = 0; i < DESK_LOGS; i++)
            desk->logs[i].acked = acked[i];
    } else if (!early) {
        sim_power_off(desk->sim, 1 + random_below(&history->random, 400));
    }
    for (int i = 0; started && i < 150 && !sim_power_is_off(desk->sim); i++)
        one_step(history);
    if (!desk->journal)
        sim_restart(desk->sim);
    else
        desk_crash(desk);
}

static void one_history(uint64_t seed)
{
    struct history history = {.seed = seed, .random = {.state = seed * 7919}};
    desk_begin(&history.desk, seed);
    history.desk.bytes = UINT64_C(128) * 1024 << random_below(&history.random, 3);
    history.desk.file_bytes = UINT64_C(32) * 1024 << random_below(&history.random, 2);
    for (int life = 0; life < 8; life++)
        one_life(&history);
    cr_assert(start(&history), "seed %" PRIu64, seed);
    desk_crash(&history.desk);
    desk_end(&history.desk);
}

Test(storage, a_journal_survives_a_stop_at_any_point_also_of_its_start)
{
    const char *text = getenv("WEIR_TEST_SEEDS");
    uint64_t count = text ? strtoull(text, NULL, 10) : 500;
    const char *first = getenv("WEIR_TEST_FIRST_SEED");
    uint64_t from = first ? strtoull(first, NULL, 10) : 1;
    for (uint64_t seed = from; seed < from + count; seed++)
        one_history(seed);
}
