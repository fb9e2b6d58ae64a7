// SPDX-License-Identifier: Apache-2.0
#include "storage/compact_select.h"

#include <criterion/criterion.h>

enum { NOW = 1000000 };

static struct compact_extent segment(int64_t base, uint64_t bytes, int64_t age)
{
    return (struct compact_extent){.base_offset = base,
                                   .next_offset = base + 100,
                                   .bytes = bytes,
                                   .newest_ms = NOW - age,
                                   .created_ms = NOW - age,
                                   .sealed = true};
}

static struct compact_extent cleaned(int64_t base, uint64_t bytes)
{
    struct compact_extent made = segment(base, bytes, 50000);
    made.cleaned_to = made.dirty_from = made.next_offset;
    return made;
}

static struct compact_extent active(int64_t base)
{
    struct compact_extent made = segment(base, 5000, 0);
    made.sealed = false;
    return made;
}

static const struct compact_limits limits = {
    .now_ms = NOW, .min_dirty_ratio = 0.5, .max_lag_ms = INT64_MAX};

Test(compact_select, the_share_of_dirty_bytes_decides)
{
    struct compact_extent log[] = {cleaned(0, 600), segment(100, 300, 10), segment(200, 200, 10),
                                   active(300)};
    struct compact_plan plan = compact_select(log, 4, &limits);
    cr_assert_not(plan.due);
    cr_assert_float_eq(plan.ratio, 500.0 / 1100, 1e-9);
    log[0].bytes = 500;
    plan = compact_select(log, 4, &limits);
    cr_assert(plan.due);
    cr_assert(plan.whole);
    cr_assert_not(plan.overdue);
    cr_assert_eq(plan.dirty_from, 100);
    cr_assert_eq(plan.clean_to, 300);
}

Test(compact_select, nothing_is_due_without_a_dirty_sealed_segment)
{
    struct compact_extent log[] = {cleaned(0, 600), cleaned(100, 1), active(200)};
    struct compact_limits all = limits;
    all.min_dirty_ratio = 0;
    cr_assert_not(compact_select(log, 3, &all).due);
    cr_assert_not(compact_select(log + 2, 1, &all).due);
    cr_assert_not(compact_select(log, 0, &all).due);
    log[1] = segment(100, 1, 0);
    cr_assert(compact_select(log, 3, &all).due);
}

Test(compact_select, what_is_young_waits_and_so_does_what_follows)
{
    struct compact_extent log[] = {segment(0, 100, 5000), segment(100, 100, 1000),
                                   segment(200, 100, 5000), active(300)};
    struct compact_limits lag = limits;
    lag.min_lag_ms = 1001;
    struct compact_plan plan = compact_select(log, 4, &lag);
    cr_assert(plan.due);
    cr_assert_eq(plan.clean_to, 100);
    lag.min_lag_ms = 1000;
    cr_assert_eq(compact_select(log, 4, &lag).clean_to, 300);
    log[1].newest_ms = NOW + 999999; // a producer's clock that goes wrong
    cr_assert_eq(compact_select(log, 4, &lag).clean_to, 100);
}

Test(compact_select, what_has_waited_too_long_is_due_in_any_case)
{
    struct compact_extent log[] = {cleaned(0, 10000), segment(100, 1, 5000), active(200)};
    struct compact_limits lag = limits;
    lag.max_lag_ms = 5001;
    cr_assert_not(compact_select(log, 3, &lag).due);
    lag.max_lag_ms = 5000;
    cr_assert(compact_select(log, 3, &lag).due);
    cr_assert(compact_select(log, 3, &lag).overdue);
}

Test(compact_select, damage_is_left_alone_and_counts_for_nothing)
{
    struct compact_extent log[] = {segment(0, 1000, 10), cleaned(100, 100), segment(200, 100, 10),
                                   active(300)};
    log[0].damaged = true;
    struct compact_plan plan = compact_select(log, 4, &limits);
    cr_assert(plan.due);
    cr_assert_not(plan.whole);
    cr_assert_float_eq(plan.ratio, 0.5, 1e-9);
    cr_assert_eq(plan.dirty_from, 200);
}

Test(compact_select, a_segment_of_which_nothing_is_sound_is_damage)
{
    struct compact_extent log[] = {segment(0, 1000, 10), segment(100, 100, 10), active(200)};
    log[0].damaged = true;
    log[0].next_offset = 0;
    struct compact_plan plan = compact_select(log, 3, &limits);
    cr_assert(plan.due);
    cr_assert_not(plan.whole);
    cr_assert_eq(plan.dirty_from, 100);
}

Test(compact_select, a_pass_that_ended_inside_a_segment_goes_on_there)
{
    struct compact_extent log[] = {cleaned(0, 100), cleaned(100, 100), segment(200, 100, 10),
                                   active(300)};
    log[1].dirty_from = 150;
    struct compact_plan plan = compact_select(log, 4, &limits);
    cr_assert_eq(plan.dirty_from, 150);
    cr_assert_float_eq(plan.ratio, 2.0 / 3, 1e-9);
}

Test(compact_select, what_is_below_the_start_of_the_log_does_not_count)
{
    struct compact_extent log[] = {segment(0, 100000, 10), segment(100, 100, 10), active(200)};
    struct compact_limits trimmed = limits;
    trimmed.log_start = 120;
    struct compact_plan plan = compact_select(log, 3, &trimmed);
    cr_assert_eq(plan.dirty_from, 120);
    cr_assert_float_eq(plan.ratio, 1, 1e-9);
    trimmed.log_start = 200;
    cr_assert_not(compact_select(log, 3, &trimmed).due);
}
