// SPDX-License-Identifier: Apache-2.0
// What a journal has lost and how a start knows; starts that are interrupted on their way from one
// journal to the next.
#include "tests/unit/storage_journal.h"

Test(storage, a_bad_commit_before_the_torn_last_one_of_a_journal_is_damage)
{
    for (int header = 0; header < 2; header++) {
        struct desk desk;
        desk_begin(&desk, 23);
        cr_assert_eq(desk_start(&desk), 0);
        desk_some_commits(&desk, 5);
        // The header of the last one says that the one before was durable.
        desk_flip(&desk, desk_file_0, 4096 * 4 + (header ? 10 : JOURNAL_COMMIT_HEADER + 150));
        desk_flip(&desk, desk_file_0, 4096 * 5 + 200);
        cr_assert_eq(desk_open(&desk), 0);
        desk_replay_all(&desk);
        cr_assert_gt(desk.found.damages, 0);
        cr_assert(desk.logs[1].uncertain, "its offset may have been acknowledged");
        cr_assert_eq(desk.logs[0].uncertain, header == 1);
        cr_assert_eq(desk.logs[0].replayed, header ? 3 : 4);
        cr_assert_eq(journal_settled(desk.journal), 0);
        cr_assert_eq(journal_begin(desk.journal, true), 0);
        desk_crash(&desk);
        cr_assert_eq(desk_start(&desk), 0);
        cr_assert(desk.logs[1].uncertain);
        desk_crash(&desk);
        desk_end(&desk);
    }
}

Test(storage, commits_that_a_later_file_s_header_knows_of_are_missed)
{
    struct desk desk;
    desk_begin(&desk, 24);
    cr_assert_eq(desk_start(&desk), 0);
    // Until the next file is ready: its header says which number is the next.
    int count = 0;
    for (; !desk_has(&desk, desk_file_1); count++) {
        desk_commit(&desk, 1, 3000); // one block
        desk_turns(&desk, 10);
    }
    uint8_t block[JOURNAL_BLOCK];
    struct journal_header header;
    uint32_t version;
    desk_peek(&desk, desk_file_1, 0, block, sizeof(block));
    cr_assert_eq(journal_header_read(block, &header, &version), 0);
    cr_assert_eq(header.sequence, (uint64_t)count + 1);
    desk_crash(&desk);
    // The last two commits are gone.
    memset(block, 0, sizeof(block));
    for (uint64_t i = 1; i <= 2; i++)
        desk_overwrite(&desk, desk_file_0, 4096 * ((uint64_t)count + 1 - i), block, sizeof(block));
    cr_assert_eq(desk_start(&desk), 0);
    cr_assert_gt(desk.found.damages, 0);
    cr_assert_eq(desk.logs[0].replayed, count - 2);
    cr_assert(desk.logs[0].uncertain);
    desk_crash(&desk);
    desk_end(&desk);
}

Test(storage, a_journal_file_that_is_set_aside_does_not_replace_another)
{
    struct desk desk;
    desk_begin(&desk, 21);
    for (int time = 0; time < 2; time++) {
        cr_assert_eq(desk_start(&desk), 0);
        desk_some_commits(&desk, 5);
        desk_flip(&desk, desk_file_0, 4096 * 3 + JOURNAL_COMMIT_HEADER + 150);
        cr_assert_eq(desk_start(&desk), 0);
        journal_close(desk.journal);
        // Without a journal its files go, so that the next one begins with the first name again.
        uint64_t bytes = desk.bytes;
        desk.bytes = 0;
        cr_assert_eq(desk_start(&desk), 0);
        journal_close(desk.journal);
        desk.bytes = bytes;
    }
    cr_assert(desk_has(&desk, "/data/journal/000-000.journal.damaged"));
    cr_assert(desk_has(&desk, "/data/journal/000-000.journal.damaged.2"));
    cr_assert_eq(desk_start(&desk), 0);
    desk_crash(&desk);
    desk_end(&desk);
}

Test(storage, a_state_file_that_the_device_gives_at_the_second_time_is_read)
{
    struct desk desk;
    desk_begin(&desk, 22);
    cr_assert_eq(desk_start(&desk), 0);
    desk_some_commits(&desk, 2);
    sim_fail(desk.sim, IO_READ, 1, -EIO, false);
    cr_assert_eq(desk_start(&desk), 0);
    cr_assert_eq(desk.found.damages, 0);
    cr_assert_eq(desk.logs[3].replayed, 2);
    desk_crash(&desk);
    // It may name logs that must not accept anything, so there is no start without it.
    sim_fail(desk.sim, IO_READ, 1, -EIO, true);
    cr_assert_eq(desk_start(&desk), -EIO);
    sim_fail(desk.sim, IO_READ, 0, 0, false);
    cr_assert_eq(desk_start(&desk), 0);
    desk_crash(&desk);
    desk_end(&desk);
}

// Whether the start, stopped after `operations`, had come to its end.
static bool stop_a_start_with_damage(uint64_t operations)
{
    struct desk desk;
    desk_begin(&desk, operations);
    cr_assert_eq(desk_start(&desk), 0);
    desk_some_commits(&desk, 5);
    desk_flip(&desk, desk_file_0, 4096 * 3 + JOURNAL_COMMIT_HEADER + 150);
    sim_power_off(desk.sim, operations);
    desk.journal = NULL;
    bool through = desk_start(&desk) == 0 && !sim_power_is_off(desk.sim);
    if (desk.journal)
        desk_crash(&desk);
    else
        sim_restart(desk.sim);
    cr_assert_eq(desk_start(&desk), 0);
    for (int i = 0; i < DESK_LOGS; i++)
        cr_assert_not(desk.logs[i].uncertain, "log %d, after %" PRIu64 " operations", i,
                      operations);
    cr_assert(desk_has(&desk, "/data/journal/000-000.journal.damaged"));
    desk_crash(&desk);
    desk_end(&desk);
    return through;
}

Test(storage, a_start_that_sets_a_journal_file_aside_can_be_stopped_at_any_point)
{
    uint64_t operations = 1;
    while (!stop_a_start_with_damage(operations))
        operations++;
    cr_assert_gt(operations, 20);
}

// A journal without files, whose state file says so.
static void begin_settled(struct desk *desk, uint64_t seed)
{
    desk_begin(desk, seed);
    cr_assert_eq(desk_start(desk), 0);
    journal_close(desk->journal);
    uint64_t bytes = desk->bytes;
    desk->bytes = 0;
    cr_assert_eq(desk_start(desk), 0);
    journal_close(desk->journal);
    desk->bytes = bytes;
}

// The program stops after `operations` of a start, and the machine in the next run.
static bool stop_a_start_then_the_machine(uint64_t seed, uint64_t operations)
{
    struct desk desk;
    begin_settled(&desk, seed);
    sim_power_off(desk.sim, operations);
    desk.journal = NULL;
    bool through = desk_start(&desk) == 0 && !sim_power_is_off(desk.sim);
    sim_power_off(desk.sim, 0);
    if (desk.journal)
        journal_close(desk.journal);
    sim_restart_process(desk.sim);
    cr_assert_eq(desk_start(&desk), 0);
    desk_commit(&desk, 4, 100);
    desk_crash(&desk);
    cr_assert_eq(desk_start(&desk), 0);
    for (int i = 0; i < 4; i++) {
        cr_assert_eq(desk.logs[i].replayed, 1, "seed %" PRIu64 ", %" PRIu64 " operations", seed,
                     operations);
        cr_assert_not(desk.logs[i].uncertain);
    }
    desk_crash(&desk);
    desk_end(&desk);
    return through;
}

Test(storage, a_journal_file_that_a_stopped_start_has_made_is_there_after_a_crash)
{
    uint64_t operations = 1;
    for (; !stop_a_start_then_the_machine(1, operations); operations++) {
        for (uint64_t seed = 2; seed < 8; seed++)
            stop_a_start_then_the_machine(seed, operations);
    }
    cr_assert_gt(operations, 10);
}
