// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>

#include "tools/bench.h"

static const uint64_t ns_per_ms = 1000 * 1000;
static const uint64_t start_ns = 77;

Test(tools, messages_of_a_rate_are_due_evenly)
{
    struct bench_settings settings = {.rate = 3};

    cr_assert_eq(bench_due_ns(&settings, start_ns, 0), start_ns);
    cr_assert_eq(bench_due_ns(&settings, start_ns, 1), start_ns + 333333333);
    cr_assert_eq(bench_due_ns(&settings, start_ns, 3000000), start_ns + 1000000 * 1000 * ns_per_ms);
    settings.rate = 0;
    cr_assert_eq(bench_due_ns(&settings, start_ns, 1000), start_ns);
}

// A ramp of 2 s to 1,000 a second has sent a quarter of its 1,000 messages at half its time.
Test(tools, a_ramp_reaches_its_rate_and_goes_on_evenly)
{
    struct bench_settings settings = {.rate = 1000, .ramp_ms = 2000};
    uint64_t before_ns = 0;

    cr_assert_eq(bench_due_ns(&settings, start_ns, 0), start_ns);
    cr_assert_eq(bench_due_ns(&settings, start_ns, 250), start_ns + 1000 * ns_per_ms);
    cr_assert_eq(bench_due_ns(&settings, start_ns, 1000), start_ns + 2000 * ns_per_ms);
    cr_assert_eq(bench_due_ns(&settings, start_ns, 1001), start_ns + 2001 * ns_per_ms);
    for (int64_t i = 0; i < 3000; i++) {
        uint64_t due_ns = bench_due_ns(&settings, start_ns, i);
        cr_assert_gt(due_ns, before_ns, "message %d", (int)i);
        before_ns = due_ns;
    }
}

Test(tools, clients_share_a_count_without_remainder)
{
    struct bench_settings settings = {.count = 11};
    int64_t sum = 0;

    for (int64_t seat = 0; seat < 4; seat++) {
        struct bench bench = {.settings = &settings, .seat = seat, .seats = 4};
        sum += bench_share(&bench);
    }
    cr_assert_eq(sum, 11);
}
