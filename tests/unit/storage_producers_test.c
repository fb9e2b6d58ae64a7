// SPDX-License-Identifier: Apache-2.0
#include "storage/producers.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>

#include "storage/producers_snapshot.h"

enum { DAY_MS = 86400000, NOW_MS = 1000 };

static struct batch_header batch_of(int64_t id, int16_t epoch, int32_t sequence, int32_t count)
{
    return (struct batch_header){
        .producer_id = id,
        .producer_epoch = epoch,
        .base_sequence = sequence,
        .last_offset_delta = count - 1,
        .record_count = count,
        .max_timestamp = 7,
    };
}

static struct producers_original original;

static int check(struct producers *producers, struct batch_header header)
{
    original = (struct producers_original){-1, -1, -1};
    return producers_check(producers, &header, NOW_MS, DAY_MS, &original);
}

static int append(struct producers *producers, struct batch_header header, int64_t base_offset)
{
    int verdict = check(producers, header);
    if (verdict == PRODUCERS_APPEND)
        producers_note(producers, &header, base_offset, NOW_MS);
    return verdict;
}

Test(storage_producers, batches_without_a_producer_are_not_looked_at)
{
    struct producers producers = {0};
    cr_assert_eq(append(&producers, batch_of(-1, -1, -1, 3), 0), PRODUCERS_APPEND);
    cr_assert_eq(append(&producers, batch_of(-1, -1, -1, 3), 3), PRODUCERS_APPEND);
    cr_assert_eq(producers_count(&producers), 0);
    cr_assert_null(producers.undo);
}

Test(storage_producers, an_exact_repetition_gets_the_original_offset)
{
    struct producers producers = {0};
    for (int32_t i = 0; i < 7; i++)
        cr_assert_eq(append(&producers, batch_of(5, 0, i * 10, 10), 100 + i * 10), 0);
    for (int32_t i = 2; i < 7; i++) {
        cr_assert_eq(append(&producers, batch_of(5, 0, i * 10, 10), 999), PRODUCERS_DUPLICATE);
        cr_assert_eq(original.base_offset, 100 + i * 10);
        cr_assert_eq(original.last_offset, 109 + i * 10);
        cr_assert_eq(original.max_timestamp, 7);
    }
    cr_assert_eq(check(&producers, batch_of(5, 0, 10, 10)), -EILSEQ, "the sixth last");
    cr_assert_eq(check(&producers, batch_of(5, 0, 60, 9)), -EILSEQ, "only a part of the last one");
    cr_assert_eq(check(&producers, batch_of(6, 0, 60, 10)), PRODUCERS_APPEND, "another producer");
    producers_free(&producers);
}

Test(storage_producers, a_gap_is_refused_and_the_missing_batch_taken)
{
    struct producers producers = {0};
    cr_assert_eq(append(&producers, batch_of(5, 0, 0, 10), 0), 0);
    cr_assert_eq(append(&producers, batch_of(5, 0, 11, 1), 10), -EILSEQ);
    cr_assert_eq(append(&producers, batch_of(5, 0, 9, 1), 10), -EILSEQ);
    cr_assert_eq(append(&producers, batch_of(5, 0, -1, 1), 10), -EILSEQ);
    cr_assert_eq(append(&producers, batch_of(5, 0, 10, 1), 10), 0);
    cr_assert_eq(append(&producers, batch_of(5, 0, 11, 1), 11), 0);
    producers_free(&producers);
}

Test(storage_producers, sequences_go_on_at_0_behind_the_largest)
{
    struct producers producers = {0};
    cr_assert_eq(append(&producers, batch_of(5, 0, INT32_MAX - 1, 2), 0), 0);
    cr_assert_eq(append(&producers, batch_of(5, 0, 1, 1), 2), -EILSEQ);
    cr_assert_eq(append(&producers, batch_of(5, 0, 0, 1), 2), 0);
    cr_assert_eq(append(&producers, batch_of(6, 0, INT32_MAX - 1, 5), 3), 0, "across the border");
    cr_assert_eq(append(&producers, batch_of(6, 0, INT32_MAX - 1, 5), 9), PRODUCERS_DUPLICATE);
    cr_assert_eq(original.base_offset, 3);
    cr_assert_eq(append(&producers, batch_of(6, 0, 3, 1), 8), 0);
    producers_free(&producers);
}

Test(storage_producers, a_new_epoch_begins_at_0_and_ends_the_old_one)
{
    struct producers producers = {0};
    cr_assert_eq(append(&producers, batch_of(5, 3, 40, 10), 0), 0);
    cr_assert_eq(append(&producers, batch_of(5, 4, 50, 10), 10), -EILSEQ);
    cr_assert_eq(append(&producers, batch_of(5, 2, 50, 10), 10), -ESTALE);
    cr_assert_eq(append(&producers, batch_of(5, 4, 0, 10), 10), 0);
    cr_assert_eq(append(&producers, batch_of(5, 3, 50, 10), 20), -ESTALE);
    cr_assert_eq(append(&producers, batch_of(5, 3, 40, 10), 20), -ESTALE, "even what it had sent");
    cr_assert_eq(append(&producers, batch_of(5, 4, 0, 10), 20), PRODUCERS_DUPLICATE);
    cr_assert_eq(append(&producers, batch_of(5, 4, 10, 10), 20), 0);
    producers_free(&producers);
}

Test(storage_producers, a_rollback_brings_back_what_was_pushed_out)
{
    struct producers producers = {0};
    for (int32_t i = 0; i < 5; i++)
        append(&producers, batch_of(5, 0, i, 1), i);
    producers_commit(&producers, 5);
    for (int32_t i = 5; i < 17; i++)
        cr_assert_eq(append(&producers, batch_of(5, 0, i, 1), i), 0);
    cr_assert_eq(append(&producers, batch_of(5, 1, 0, 1), 17), 0);
    producers_rollback(&producers, 5);
    for (int32_t i = 0; i < 5; i++) {
        cr_assert_eq(check(&producers, batch_of(5, 0, i, 1)), PRODUCERS_DUPLICATE);
        cr_assert_eq(original.base_offset, i);
    }
    cr_assert_eq(append(&producers, batch_of(5, 0, 6, 1), 5), -EILSEQ);
    cr_assert_eq(append(&producers, batch_of(5, 0, 5, 1), 5), 0);
    producers_free(&producers);
}

Test(storage_producers, the_first_batch_that_failed_comes_before_the_second)
{
    struct producers producers = {0};
    append(&producers, batch_of(5, 0, 20, 10), 0);
    append(&producers, batch_of(5, 0, 30, 10), 10);
    producers_rollback(&producers, 0);
    cr_assert_eq(append(&producers, batch_of(5, 0, 40, 10), 0), -EILSEQ);
    cr_assert_eq(append(&producers, batch_of(5, 0, 20, 10), 0), 0);
    cr_assert_eq(append(&producers, batch_of(5, 0, 30, 10), 10), 0);

    struct batch_header refused = batch_of(6, 0, 20, 10);
    cr_assert_eq(check(&producers, refused), 0);
    producers_refused(&producers, &refused, NOW_MS);
    cr_assert_eq(append(&producers, batch_of(6, 0, 30, 10), 20), -EILSEQ);
    cr_assert_eq(append(&producers, batch_of(6, 0, 20, 10), 20), 0);
    producers_free(&producers);
}

Test(storage_producers, who_is_quiet_for_long_is_forgotten)
{
    struct producers producers = {0};
    struct batch_header first = batch_of(5, 0, 0, 10);
    struct batch_header later = batch_of(5, 0, 77, 1);
    cr_assert_eq(producers_check(&producers, &first, 1000, 500, &original), 0);
    producers_note(&producers, &first, 0, 1000);
    cr_assert_eq(producers_check(&producers, &later, 2000, 500, &original), -EILSEQ,
                 "not while its batch is under way");
    producers_commit(&producers, 10);
    cr_assert_eq(producers_check(&producers, &later, 1499, 500, &original), -EILSEQ);
    cr_assert_eq(producers_check(&producers, &later, 1500, 500, &original), 0);
    producers_note(&producers, &later, 10, 1500);
    producers_commit(&producers, 11);
    producers_expire(&producers, 1999, 500);
    cr_assert_eq(producers_count(&producers), 1);
    producers_expire(&producers, 2000, -1);
    cr_assert_eq(producers_count(&producers), 1);
    producers_expire(&producers, 2000, 500);
    cr_assert_eq(producers_count(&producers), 0);
    producers_free(&producers);
}

Test(storage_producers, the_least_recently_active_makes_room)
{
    struct producers producers = {0};
    for (int64_t id = 0; id < PRODUCERS_MAX; id++)
        cr_assert_eq(append(&producers, batch_of(id, 0, 0, 1), id), 0);
    cr_assert_eq(check(&producers, batch_of(PRODUCERS_MAX, 0, 0, 1)), -ENOMEM);
    producers_commit(&producers, PRODUCERS_MAX);
    cr_assert_eq(append(&producers, batch_of(0, 0, 1, 1), PRODUCERS_MAX), 0);
    cr_assert_eq(append(&producers, batch_of(PRODUCERS_MAX, 0, 0, 1), PRODUCERS_MAX + 1), 0);
    cr_assert_eq(producers_count(&producers), PRODUCERS_MAX);
    cr_assert_eq(check(&producers, batch_of(0, 0, 5, 1)), -EILSEQ, "still known");
    cr_assert_eq(check(&producers, batch_of(2, 0, 5, 1)), -EILSEQ, "still known");
    cr_assert_eq(check(&producers, batch_of(1, 0, 5, 1)), PRODUCERS_APPEND, "the oldest was not");
    producers_free(&producers);
}

Test(storage_producers, the_cleaner_learns_which_batch_is_the_last)
{
    struct producers producers = {0};
    append(&producers, batch_of(5, 0, 0, 10), 0);
    append(&producers, batch_of(5, 0, 10, 10), 10);
    append(&producers, batch_of(5, 0, 20, 10), 20);
    producers_commit(&producers, 20);
    cr_assert(producers_is_last(&producers, 5, 19, 20));
    cr_assert_not(producers_is_last(&producers, 5, 29, 20));
    cr_assert(producers_is_last(&producers, 5, 29, 30));
    cr_assert_not(producers_is_last(&producers, 6, 29, 30));
    producers_free(&producers);
}

Test(storage_producers, the_cleaner_keeps_what_batches_under_way_have_pushed_out)
{
    struct producers producers = {0};
    append(&producers, batch_of(5, 0, 0, 10), 0);
    producers_commit(&producers, 10);
    for (int i = 1; i <= PRODUCERS_BATCHES; i++)
        append(&producers, batch_of(5, 0, i * 10, 10), i * 10);
    cr_assert(producers_is_last(&producers, 5, 9, 10));
    producers_rollback(&producers, 10);
    cr_assert(producers_is_last(&producers, 5, 9, 10));
    producers_free(&producers);
}

// --- recovery

static void fold(struct producers *producers, struct batch_header header, int64_t base_offset)
{
    header.base_offset = base_offset;
    cr_assert_eq(producers_fold(producers, &header, NOW_MS), 0);
}

Test(storage_producers, folding_takes_whatever_the_log_holds)
{
    struct producers producers = {0};
    fold(&producers, batch_of(5, 2, 0, 10), 0);
    fold(&producers, batch_of(5, 2, 50, 10), 40);
    fold(&producers, batch_of(5, 2, 50, 10), 40);
    cr_assert_eq(check(&producers, batch_of(5, 2, 0, 10)), PRODUCERS_DUPLICATE);
    cr_assert_eq(check(&producers, batch_of(5, 2, 50, 10)), PRODUCERS_DUPLICATE);
    cr_assert_eq(original.base_offset, 40);
    cr_assert_eq(check(&producers, batch_of(5, 2, 60, 1)), PRODUCERS_APPEND);

    struct batch_header end = batch_of(5, 3, -1, 1);
    end.attributes = BATCH_CONTROL | BATCH_TRANSACTIONAL;
    fold(&producers, end, 50);
    cr_assert_eq(check(&producers, batch_of(5, 2, 60, 1)), -ESTALE);
    cr_assert_eq(check(&producers, batch_of(5, 3, 0, 1)), PRODUCERS_APPEND);
    producers_free(&producers);
}

Test(storage_producers, the_log_outranks_a_snapshot_that_is_ahead_of_it)
{
    struct producers producers = {0};
    for (int32_t i = 0; i < 6; i++)
        append(&producers, batch_of(5, 0, i, 1), i);
    producers_commit(&producers, 6);
    fold(&producers, batch_of(5, 0, 0, 1), 0);
    fold(&producers, batch_of(5, 0, 3, 1), 3);
    fold(&producers, batch_of(5, 0, 4, 2), 4);
    cr_assert_eq(check(&producers, batch_of(5, 0, 3, 1)), PRODUCERS_DUPLICATE);
    cr_assert_eq(check(&producers, batch_of(5, 0, 4, 1)), -EILSEQ);
    cr_assert_eq(check(&producers, batch_of(5, 0, 4, 2)), PRODUCERS_DUPLICATE);
    producers_truncate(&producers, 4);
    cr_assert_eq(check(&producers, batch_of(5, 0, 4, 2)), PRODUCERS_APPEND);
    cr_assert_eq(check(&producers, batch_of(5, 0, 3, 1)), PRODUCERS_DUPLICATE);
    producers_free(&producers);
}

// --- snapshots

struct parts {
    struct producers *to;
    uint32_t count;
    uint32_t limit;
    size_t largest;
};

static int load_part(void *context, struct span part)
{
    struct parts *parts = context;
    if (parts->largest < part.size)
        parts->largest = part.size;
    if (parts->count++ == parts->limit)
        return -ECANCELED;
    return producers_snapshot_load(parts->to, part, NOW_MS);
}

Test(storage_producers, a_snapshot_in_parts_counts_when_it_is_complete)
{
    struct producers producers = {0};
    struct producers copy = {0};
    for (int64_t id = 0; id < 1000; id++)
        append(&producers, batch_of(id, 1, 10, 10), id * 10);
    append(&copy, batch_of(5, 9, 0, 1), 0);
    producers_commit(&copy, 1);
    struct parts some = {.to = &copy, .limit = 3};
    cr_assert_eq(producers_snapshot_write(&producers, PRODUCERS_APPENDED, 4096, load_part, &some),
                 -ECANCELED);
    cr_assert_eq(check(&copy, batch_of(5, 9, 0, 1)), PRODUCERS_DUPLICATE, "still the old state");
    struct parts all = {.to = &copy, .limit = UINT32_MAX};
    cr_assert_eq(producers_snapshot_write(&producers, PRODUCERS_APPENDED, 4096, load_part, &all),
                 0);
    cr_assert_leq(all.largest, 4096);
    cr_assert_eq(producers_count(&copy), 1000);
    for (int64_t id = 0; id < 1000; id++) {
        cr_assert_eq(check(&copy, batch_of(id, 1, 10, 10)), PRODUCERS_DUPLICATE);
        cr_assert_eq(original.base_offset, id * 10);
        cr_assert_eq(check(&copy, batch_of(id, 1, 20, 10)), PRODUCERS_APPEND);
    }
    producers_free(&producers);
    producers_free(&copy);
}

Test(storage_producers, a_snapshot_of_what_is_committed_leaves_the_rest_in_place)
{
    struct producers producers = {0};
    struct producers copy = {0};
    for (int32_t i = 0; i < 6; i++)
        append(&producers, batch_of(5, 0, i, 1), i);
    producers_commit(&producers, 6);
    for (int32_t i = 6; i < 14; i++)
        append(&producers, batch_of(5, 0, i, 1), i);
    append(&producers, batch_of(6, 0, 0, 1), 14);
    struct parts parts = {.to = &copy, .limit = UINT32_MAX};
    cr_assert_eq(producers_snapshot_write(&producers, PRODUCERS_COMMITTED, 4096, load_part, &parts),
                 0);
    cr_assert_eq(producers_count(&copy), 1);
    for (int32_t i = 1; i < 6; i++)
        cr_assert_eq(check(&copy, batch_of(5, 0, i, 1)), PRODUCERS_DUPLICATE);
    cr_assert_eq(check(&copy, batch_of(5, 0, 6, 1)), PRODUCERS_APPEND);
    for (int32_t i = 9; i < 14; i++)
        cr_assert_eq(check(&producers, batch_of(5, 0, i, 1)), PRODUCERS_DUPLICATE);
    cr_assert_eq(check(&producers, batch_of(6, 0, 0, 1)), PRODUCERS_DUPLICATE);
    producers_free(&producers);
    producers_free(&copy);
}

// Whatever is changed in a snapshot is refused, or is a state like any other.
Test(storage_producers, damaged_snapshots_do_no_harm)
{
    struct producers producers = {0};
    uint8_t *bytes;
    size_t size;
    for (int32_t i = 0; i < 4; i++)
        append(&producers, batch_of(i % 2, 0, i / 2 * 3, 3), i * 3);
    cr_assert_eq(producers_snapshot_image(&producers, PRODUCERS_APPENDED, &bytes, &size), 0);
    for (size_t i = 0; i < size; i++) {
        struct producers copy = {0};
        cr_assert_eq(producers_snapshot_load(&copy, span_of(bytes, i), NOW_MS), -EBADMSG);
        for (int bit = 0; bit < 8; bit++) {
            bytes[i] ^= (uint8_t)(1 << bit);
            int error = producers_snapshot_load(&copy, span_of(bytes, size), NOW_MS);
            cr_assert(error == 0 || error == -EBADMSG);
            check(&copy, batch_of(0, 0, 3, 3));
            bytes[i] ^= (uint8_t)(1 << bit);
        }
        producers_free(&copy);
    }
    free(bytes);
    producers_free(&producers);
}
