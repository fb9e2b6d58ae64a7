// SPDX-License-Identifier: Apache-2.0
// The journal: its bytes, its ring of files, reading back, and what is wrong with it.
#include "tests/unit/storage_journal.h"

static const char state[] = "/data/journal-000-of-001.state";

// --- bytes

Test(storage, a_journal_header_comes_back_unless_damaged)
{
    struct journal_header header = {.shard = 2,
                                    .shard_count = 4,
                                    .slot = 7,
                                    .identity = 11,
                                    .salt = 12,
                                    .life = 13,
                                    .sequence = 14,
                                    .needed = 10,
                                    .created_ms = 15};
    struct journal_header read;
    uint32_t version = 0;
    uint8_t block[JOURNAL_BLOCK];
    journal_header_write(&header, block);
    cr_assert_eq(journal_header_read(block, &read, &version), 0);
    cr_assert_eq(read.shard, 2);
    cr_assert_eq(read.shard_count, 4);
    cr_assert_eq(read.slot, 7);
    cr_assert_eq(read.identity, 11);
    cr_assert_eq(read.salt, 12);
    cr_assert_eq(read.life, 13);
    cr_assert_eq(read.sequence, 14);
    cr_assert_eq(read.needed, 10);
    cr_assert_eq(read.created_ms, 15);
    for (size_t bit = 0; bit < JOURNAL_HEADER_SIZE * 8; bit++) {
        block[bit / 8] ^= (uint8_t)(1 << bit % 8);
        cr_assert_eq(journal_header_read(block, &read, &version), -EBADMSG, "bit %zu", bit);
        block[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    header.shard = 4;
    journal_header_write(&header, block);
    cr_assert_eq(journal_header_read(block, &read, &version), -EBADMSG, "no such shard");
}

Test(storage, a_journal_commit_is_valid_in_its_place_and_life_only)
{
    struct journal_commit commit = {
        .entry_count = 3,
        .payload_size = 5000,
        .stored_size = 8192,
        .next_slot = 5,
        .sequence = 20,
        .needed = 9,
        .table_checksum = 1,
        .payload_checksum = 2,
    };
    struct journal_commit read;
    uint8_t bytes[JOURNAL_COMMIT_HEADER];
    journal_commit_write(&commit, 77, 4096, bytes);
    cr_assert(journal_commit_read(bytes, 77, 4096, &read));
    cr_assert_eq(memcmp(&read, &commit, sizeof(read)), 0);
    cr_assert_not(journal_commit_read(bytes, 78, 4096, &read));
    cr_assert_not(journal_commit_read(bytes, 77, 8192, &read));
    for (size_t bit = 0; bit < JOURNAL_COMMIT_HEADER * 8; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        cr_assert_not(journal_commit_read(bytes, 77, 4096, &read), "bit %zu", bit);
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    commit.stored_size = 4096; // less than what it holds
    journal_commit_write(&commit, 77, 4096, bytes);
    cr_assert_not(journal_commit_read(bytes, 77, 4096, &read));
}

Test(storage, a_journal_state_comes_back_unless_damaged)
{
    struct journal_uncertain lost[2] = {{.topic_id = {{1}}, .partition = 3, .next_offset = 4},
                                        {.topic_id = {{2}}, .partition = 5, .next_offset = 6}};
    struct journal_state_header header = {.shard = 1,
                                          .shard_count = 2,
                                          .in_use = true,
                                          .identity = 9,
                                          .life = 8,
                                          .sequence = 7,
                                          .uncertain_count = 2};
    struct journal_state_header read;
    uint32_t version = 0;
    size_t size = journal_state_size(2);
    uint8_t bytes[256];
    journal_state_write(&header, lost, bytes);
    cr_assert_eq(journal_state_read(bytes, size, &read, &version), 0);
    cr_assert_eq(read.sequence, 7);
    cr_assert(read.in_use);
    cr_assert_eq(journal_state_uncertain(bytes, 1).next_offset, 6);
    cr_assert_eq(journal_state_read(bytes, size - 1, &read, &version), -EBADMSG);
    for (size_t bit = 0; bit < size * 8; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        cr_assert_eq(journal_state_read(bytes, size, &read, &version), -EBADMSG, "bit %zu", bit);
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
}

// --- writing and reading back

static void check_all_back(struct desk *desk)
{
    for (int i = 0; i < DESK_LOGS; i++) {
        cr_assert_geq(desk->logs[i].replayed, desk->logs[i].acked, "log %d", i);
        cr_assert_eq(desk->logs[i].gap, -1, "log %d", i);
        cr_assert_not(desk->logs[i].uncertain, "log %d", i);
    }
    cr_assert_eq(desk->found.damages, 0);
}

Test(storage, journalled_entries_come_back_after_a_crash)
{
    struct desk desk;
    desk_begin(&desk, 1);
    cr_assert_eq(desk_start(&desk), 0);
    for (int i = 0; i < 5; i++)
        desk_commit(&desk, DESK_LOGS, 100);
    desk_commit(&desk, 2, 5000);
    desk_crash(&desk);
    cr_assert_eq(desk_start(&desk), 0);
    cr_assert(desk.found.unclean);
    check_all_back(&desk);
    cr_assert_eq(desk.logs[0].replayed, 6);
    cr_assert_eq(desk.logs[7].replayed, 5);
    desk_commit(&desk, 3, 200);
    desk_crash(&desk);
    cr_assert_eq(desk_open(&desk), 0);
    desk_replay_all(&desk);
    check_all_back(&desk);
    cr_assert_eq(desk.found.entries, 3, "what was settled is not read again");
    journal_close(desk.journal);
    desk_end(&desk);
}

Test(storage, a_journal_that_was_flushed_and_closed_need_not_be_read)
{
    struct desk desk;
    desk_begin(&desk, 2);
    cr_assert_eq(desk_start(&desk), 0);
    desk_commit(&desk, DESK_LOGS, 100);
    for (int i = 0; i < DESK_LOGS; i++)
        desk_flush(&desk, i);
    cr_assert_eq(journal_close(desk.journal), 0);
    sim_restart(desk.sim);
    desk_overwrite(&desk, desk_file_0, 4096, "damage", 6);
    cr_assert_eq(desk_start(&desk), 0);
    cr_assert_not(desk.found.unclean);
    cr_assert_eq(desk.found.commits, 0);
    check_all_back(&desk);
    desk_forget(&desk);
    journal_close(desk.journal);
    desk_end(&desk);
}

Test(storage, a_journal_with_unflushed_entries_is_read_also_after_an_orderly_end)
{
    struct desk desk;
    desk_begin(&desk, 3);
    cr_assert_eq(desk_start(&desk), 0);
    desk_commit(&desk, 2, 100);
    desk_flush(&desk, 0);
    // The failed log goes without telling that it was flushed.
    struct journal_hold *left = desk.logs[1].log.oldest;
    cr_assert(left != NULL);
    sim_power_off(desk.sim, 0);
    desk_forget(&desk);
    journal_close(desk.journal);
    sim_restart(desk.sim);
    cr_assert_eq(desk_open(&desk), 0);
    desk_replay_all(&desk);
    check_all_back(&desk);
    journal_close(desk.journal);
    desk_end(&desk);
}

Test(storage, the_ring_of_journal_files_goes_round_and_frees_what_is_flushed)
{
    struct desk desk;
    desk_begin(&desk, 4);
    cr_assert_eq(desk_start(&desk), 0);
    for (int i = 0; i < 400; i++) {
        cr_assert_eq(journal_state(desk.journal), JOURNAL_READY, "round %d", i);
        desk_commit(&desk, DESK_LOGS, 500);
        desk_turns(&desk, 5);
        desk_flush(&desk, i % DESK_LOGS);
    }
    cr_assert_geq(journal_stats(desk.journal).commits, 400);
    cr_assert_not(desk_has(&desk, "/data/journal/000-008.journal"), "eight files at most");
    desk_crash(&desk);
    cr_assert_eq(desk_open(&desk), 0);
    desk_replay_all(&desk);
    check_all_back(&desk);
    journal_close(desk.journal);
    desk_end(&desk);
}

Test(storage, a_full_journal_says_so_and_names_the_oldest_logs)
{
    struct desk desk;
    desk_begin(&desk, 5);
    desk.bytes = 128 * 1024;
    cr_assert_eq(desk_start(&desk), 0);
    desk_commit(&desk, 1, 3000);
    int rounds = 0;
    for (; desk_add(&desk, 1 + rounds % 2, 10000); rounds++) {
        cr_assert_eq(desk_write(&desk), 0);
        desk_turns(&desk, 10);
        if (rounds == 2)
            cr_assert_not(journal_is_short(desk.journal));
        cr_assert_lt(rounds, 100);
    }
    cr_assert_geq(rounds, 8);
    cr_assert(journal_is_short(desk.journal));
    struct journal_log *oldest = journal_oldest(desk.journal, NULL);
    cr_assert_eq(oldest, &desk.logs[0].log);
    oldest = journal_oldest(desk.journal, oldest);
    cr_assert_eq(oldest, &desk.logs[1].log);
    oldest = journal_oldest(desk.journal, oldest);
    cr_assert_eq(oldest, &desk.logs[2].log);
    cr_assert_eq(journal_oldest(desk.journal, oldest), NULL);
    for (int i = 0; i < 3; i++)
        desk_flush(&desk, i);
    desk_turns(&desk, 20);
    cr_assert_eq(journal_state(desk.journal), JOURNAL_READY);
    desk_crash(&desk);
    desk_end(&desk);
}

Test(storage, a_failed_journal_write_ends_the_journal)
{
    struct desk desk;
    desk_begin(&desk, 6);
    cr_assert_eq(desk_start(&desk), 0);
    desk_commit(&desk, 2, 100);
    sim_fail(desk.sim, IO_WRITE, 1, -EIO, false);
    cr_assert(desk_add(&desk, 0, 100));
    cr_assert_eq(desk_write(&desk), -EIO);
    cr_assert_eq(journal_state(desk.journal), JOURNAL_OFF);
    desk_crash(&desk);
    cr_assert_eq(desk_start(&desk), 0);
    check_all_back(&desk);
    desk_crash(&desk);
    desk_end(&desk);
}

Test(storage, without_space_there_is_no_journal_and_with_space_there_is)
{
    struct desk desk;
    desk_begin(&desk, 7);
    sim_set_capacity(desk.sim, 32 * 1024);
    cr_assert_eq(desk_start(&desk), -ENOSPC);
    cr_assert_eq(journal_state(desk.journal), JOURNAL_OFF);
    journal_close(desk.journal);
    sim_set_capacity(desk.sim, 0);
    cr_assert_eq(desk_start(&desk), 0);
    desk_commit(&desk, 2, 100);
    desk_crash(&desk);
    desk_end(&desk);
}

// --- what is wrong

// Commits of one block each in file 0: the i-th lies at 4096 * (1 + i).
Test(storage, the_torn_last_commit_of_a_journal_is_no_damage)
{
    struct desk desk;
    desk_begin(&desk, 8);
    cr_assert_eq(desk_start(&desk), 0);
    desk_some_commits(&desk, 5);
    desk_flip(&desk, desk_file_0, 4096 * 5 + 200);
    cr_assert_eq(desk_start(&desk), 0);
    cr_assert_eq(desk.found.damages, 0);
    cr_assert_eq(desk.logs[0].replayed, 4);
    cr_assert_not(desk.logs[0].uncertain);
    desk_crash(&desk);
    desk_end(&desk);
}

Test(storage, a_bad_payload_in_the_middle_of_a_journal_concerns_its_log_only)
{
    struct desk desk;
    desk_begin(&desk, 9);
    cr_assert_eq(desk_start(&desk), 0);
    desk_some_commits(&desk, 5);
    // The third commit: header, entries of 100 bytes of logs 0, 1, 2, 3.
    desk_flip(&desk, desk_file_0, 4096 * 3 + JOURNAL_COMMIT_HEADER + 150);
    cr_assert_eq(desk_open(&desk), 0);
    desk_replay_all(&desk);
    cr_assert_gt(desk.found.damages, 0);
    cr_assert_eq(desk.logs[1].gap, 2, "the offset that is lost");
    for (int i = 0; i < 4; i++) {
        cr_assert_eq(desk.logs[i].replayed, 5);
        cr_assert_not(desk.logs[i].uncertain);
        if (i != 1)
            cr_assert_eq(desk.logs[i].gap, -1);
    }
    cr_assert_not(desk.logs[5].uncertain, "it was not in there");
    cr_assert_eq(journal_settled(desk.journal), 0);
    cr_assert_eq(journal_begin(desk.journal, true), 0);
    cr_assert(desk_has(&desk, "/data/journal/000-000.journal.damaged"));
    desk_crash(&desk);
    desk_end(&desk);
}

Test(storage, a_lost_commit_in_the_middle_leaves_logs_uncertain_that_are_in_none_behind)
{
    struct desk desk;
    desk_begin(&desk, 10);
    cr_assert_eq(desk_start(&desk), 0);
    desk_commit(&desk, 5, 100); // log 4 is in this one only
    desk_some_commits(&desk, 4);
    desk_flip(&desk, desk_file_0, 4096 * 3 + 8); // the header of the third
    for (int start = 0; start < 3; start++) {
        cr_assert_eq(desk_start(&desk), 0);
        for (int i = 0; i < 4; i++)
            cr_assert_not(desk.logs[i].uncertain, "log %d, start %d", i, start);
        cr_assert_eq(desk.logs[0].gap, start ? -1 : 2);
        for (int i = 4; i < DESK_LOGS; i++)
            cr_assert(desk.logs[i].uncertain, "log %d, start %d", i, start);
        cr_assert_eq(desk.logs[4].replayed, 1);
        if (start == 1)
            desk_crash(&desk);
        else
            cr_assert_eq(journal_close(desk.journal), 0);
    }
    desk_end(&desk);
}

// All that was journalled is flushed when the next file is made ready, whose header says so: the
// commits before are not needed for their records any more. But one of them says whose the entries
// behind are.
Test(storage, a_lost_definition_in_a_commit_that_is_not_needed_is_damage)
{
    struct desk desk;
    desk_begin(&desk, 23);
    cr_assert_eq(desk_start(&desk), 0);
    desk_commit(&desk, 2, 100); // logs 0 and 1
    cr_assert(desk_add(&desk, 2, 100));
    cr_assert_eq(desk_write(&desk), 0);
    for (int i = 0; i < 5; i++)
        desk_commit(&desk, 1, 100);
    for (int i = 0; i < 3; i++)
        desk_flush(&desk, i);
    desk_turns(&desk, 10);
    cr_assert(desk_has(&desk, desk_file_1));
    desk_some_commits(&desk, 1);                 // logs 0 to 3
    desk_flip(&desk, desk_file_0, 4096 * 2 + 8); // the header of the second: what defines log 2
    for (int start = 0; start < 2; start++) {
        cr_assert_eq(desk_start(&desk), 0);
        cr_assert_eq(desk.found.damages, start == 0);
        for (int i = 0; i < DESK_LOGS; i++)
            cr_assert_eq(desk.logs[i].uncertain, i == 2 || i > 3, "log %d, start %d", i, start);
        cr_assert_eq(desk.logs[0].replayed, 7);
        cr_assert_eq(desk.logs[2].replayed, 1);
        cr_assert(desk_has(&desk, "/data/journal/000-000.journal.damaged"));
        desk_crash(&desk);
    }
    desk_end(&desk);
}

Test(storage, a_log_made_after_a_loss_is_not_uncertain)
{
    struct desk desk;
    desk_begin(&desk, 11);
    cr_assert_eq(desk_start(&desk), 0);
    desk_some_commits(&desk, 4);
    desk_remove(&desk, desk_file_0);
    cr_assert_eq(desk_start(&desk), 0);
    cr_assert(desk.logs[0].uncertain);
    desk_crash(&desk);
    desk.logs[0].log.topic_id = (struct kp_uuid){{99}};
    cr_assert_eq(desk_start(&desk), 0);
    cr_assert_not(desk.logs[0].uncertain);
    cr_assert(desk.logs[1].uncertain);
    desk_crash(&desk);
    desk_end(&desk);
}

Test(storage, a_lost_journal_is_noticed_unless_nothing_in_it_was_needed)
{
    for (int flushed = 0; flushed < 2; flushed++) {
        struct desk desk;
        desk_begin(&desk, 12);
        cr_assert_eq(desk_start(&desk), 0);
        desk_commit(&desk, 4, 100);
        for (int i = 0; i < 4 && flushed; i++)
            desk_flush(&desk, i);
        if (flushed)
            journal_close(desk.journal);
        else
            desk_crash(&desk);
        desk_remove(&desk, desk_file_0);
        cr_assert_eq(desk_start(&desk), 0);
        cr_assert_eq(desk.found.damages, flushed ? 0 : 1);
        for (int i = 0; i < DESK_LOGS; i++)
            cr_assert_eq(desk.logs[i].uncertain, !flushed);
        desk_crash(&desk);
        desk_end(&desk);
    }
}

Test(storage, a_lost_journal_file_is_noticed_first_or_last)
{
    for (int last = 0; last < 2; last++) {
        struct desk desk;
        desk_begin(&desk, 13);
        desk_into_the_second(&desk);
        desk_remove(&desk, last ? desk_file_1 : desk_file_0);
        cr_assert_eq(desk_start(&desk), 0);
        cr_assert_gt(desk.found.damages, 0);
        cr_assert_eq(desk.logs[0].uncertain, last == 1);
        cr_assert_eq(desk.logs[0].gap, last ? -1 : 0);
        cr_assert(desk.logs[7].uncertain);
        desk_crash(&desk);
        desk_end(&desk);
    }
}

Test(storage, a_damaged_journal_header_is_as_good_as_a_lost_file)
{
    struct desk desk;
    desk_begin(&desk, 14);
    desk_into_the_second(&desk);
    desk_flip(&desk, desk_file_1, 100);
    cr_assert_eq(desk_start(&desk), 0);
    cr_assert_gt(desk.found.damages, 0);
    cr_assert(desk.logs[0].uncertain);
    cr_assert(desk_has(&desk, "/data/journal/000-001.journal.damaged"));
    desk_crash(&desk);
    desk_end(&desk);
}

Test(storage, swapped_journal_files_are_read_as_what_they_are)
{
    struct desk desk;
    desk_begin(&desk, 15);
    desk_into_the_second(&desk);
    desk_rename(&desk, desk_file_0, "/data/journal/aside");
    desk_rename(&desk, desk_file_1, desk_file_0);
    desk_rename(&desk, "/data/journal/aside", desk_file_1);
    cr_assert_eq(desk_start(&desk), 0);
    check_all_back(&desk);
    desk_crash(&desk);
    desk_end(&desk);
}

Test(storage, a_journal_file_of_another_directory_is_not_read)
{
    struct desk other;
    desk_begin(&other, 16);
    cr_assert_eq(desk_start(&other), 0);
    desk_commit(&other, 4, 100);
    static uint8_t file[2 * 4096]; // header and commit
    desk_crash(&other);
    desk_peek(&other, desk_file_0, 0, file, sizeof(file));
    desk_end(&other);
    struct desk desk;
    desk_begin(&desk, 17);
    desk_into_the_second(&desk);
    int fd = io_open_wait(desk.io, "/data/journal/000-009.journal", O_RDWR | O_CREAT, 0640);
    io_close_wait(desk.io, fd);
    desk_overwrite(&desk, "/data/journal/000-009.journal", 0, file, sizeof(file));
    cr_assert_eq(desk_start(&desk), 0);
    cr_assert_eq(desk.found.damages, 1, "named");
    for (int i = 0; i < DESK_LOGS; i++)
        cr_assert_not(desk.logs[i].uncertain);
    cr_assert_eq(desk.logs[0].replayed, 10);
    desk_crash(&desk);
    desk_end(&desk);
}

Test(storage, a_journal_of_another_format_version_is_refused)
{
    for (int which = 0; which < 2; which++) {
        struct desk desk;
        desk_begin(&desk, 18);
        cr_assert_eq(desk_start(&desk), 0);
        desk_some_commits(&desk, 2);
        static uint8_t block[JOURNAL_BLOCK];
        const char *path = which ? state : desk_file_0;
        size_t size = which ? JOURNAL_STATE_HEADER : JOURNAL_HEADER_SIZE;
        desk_peek(&desk, path, 0, block, size);
        block[8]++;
        uint64_t sum = format_checksum(block, size - 8, 0);
        if (which)
            sum = format_checksum(NULL, 0, sum);
        for (int i = 0; i < 8; i++)
            block[size - 8 + (size_t)i] = (uint8_t)(sum >> 8 * i);
        desk_overwrite(&desk, path, 0, block, size);
        cr_assert_eq(desk_open(&desk), -EPROTONOSUPPORT, "%s", path);
        desk_end(&desk);
    }
}

Test(storage, a_lost_state_file_is_no_loss)
{
    struct desk desk;
    desk_begin(&desk, 19);
    desk_into_the_second(&desk);
    desk_remove(&desk, state);
    cr_assert_eq(desk_start(&desk), 0);
    check_all_back(&desk);
    desk_commit(&desk, 3, 100);
    desk_crash(&desk);
    cr_assert_eq(desk_start(&desk), 0);
    check_all_back(&desk);
    desk_crash(&desk);
    desk_end(&desk);
}

Test(storage, logs_that_could_not_be_opened_find_their_entries_at_the_next_start)
{
    struct desk desk;
    desk_begin(&desk, 20);
    desk_into_the_second(&desk);
    cr_assert_eq(desk_open(&desk), 0);
    cr_assert_eq(journal_settled(desk.journal), 0);
    cr_assert_eq(journal_begin(desk.journal, false), 0);
    cr_assert_eq(journal_state(desk.journal), JOURNAL_OFF);
    cr_assert_eq(journal_close(desk.journal), 0);
    cr_assert_eq(desk_start(&desk), 0);
    check_all_back(&desk);
    desk_crash(&desk);
    desk_end(&desk);
}

// --- another number of shards

// A start with another number of shards has settled the journal and was stopped before it removed
// the files; then the old number is back.
Test(storage, a_journal_that_others_have_settled_begins_anew)
{
    struct desk desk;
    desk_begin(&desk, 22);
    desk_into_the_second(&desk);
    for (int i = 0; i < DESK_LOGS; i++)
        desk.logs[i].flushed = desk.logs[i].acked;
    struct journal_state_header header = {.shard_count = 1};
    uint8_t bytes[JOURNAL_STATE_HEADER];
    journal_state_write(&header, NULL, bytes);
    desk_overwrite(&desk, state, 0, bytes, sizeof(bytes));
    for (int start = 0; start < 3; start++) {
        cr_assert_eq(desk_start(&desk), 0);
        check_all_back(&desk);
        desk_commit(&desk, 4, 100);
        desk_crash(&desk);
    }
    cr_assert_eq(desk_start(&desk), 0);
    check_all_back(&desk);
    cr_assert_eq(desk.found.entries, 4);
    desk_crash(&desk);
    desk_end(&desk);
}

Test(storage, a_journal_of_another_number_of_shards_is_read_and_then_removed)
{
    struct desk desk;
    desk_begin(&desk, 21);
    desk.shard_count = 3;
    desk.shard = 2;
    cr_assert_eq(desk_start(&desk), 0);
    desk_commit(&desk, 4, 100);
    desk_crash(&desk);
    cr_assert(desk_has(&desk, "/data/journal/002-000.journal"));
    desk.shard_count = 2;
    desk.shard = 1;
    cr_assert_eq(desk_start(&desk), 0);
    check_all_back(&desk);
    cr_assert(desk_has(&desk, "/data/journal/002-000.journal"), "shard 0 removes it");
    desk_commit(&desk, 4, 100);
    desk_crash(&desk);
    desk.shard = 0;
    int64_t before = desk.logs[0].acked;
    desk.logs[0].flushed = 0;
    cr_assert_eq(desk_open(&desk), 0);
    desk_replay_all(&desk);
    cr_assert_eq(desk.logs[0].replayed, 1, "not what shard 1 has of its own");
    cr_assert_eq(journal_settled(desk.journal), 0);
    cr_assert_eq(journal_begin(desk.journal, true), 0);
    cr_assert_not(desk_has(&desk, "/data/journal/002-000.journal"));
    cr_assert_not(desk_has(&desk, "/data/journal-002-of-003.state"));
    desk_crash(&desk);
    desk.shard = 1;
    desk.logs[0].acked = before;
    desk.logs[0].flushed = 1;
    cr_assert_eq(desk_start(&desk), 0);
    check_all_back(&desk);
    desk_crash(&desk);
    desk_end(&desk);
}
