// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <errno.h>

#include "tools/value.h"

static const int64_t now_ms = 1769947200000; // 2026-02-01T12:00:00Z

Test(tools, counts_are_whole_numbers_within_bounds)
{
    int64_t value = -1;

    cr_assert_eq(value_count("0", 0, 10, &value), 0);
    cr_assert_eq(value, 0);
    cr_assert_eq(value_count("-7", -10, 10, &value), 0);
    cr_assert_eq(value, -7);
    cr_assert_eq(value_count("9223372036854775807", 0, INT64_MAX, &value), 0);
    cr_assert_eq(value, INT64_MAX);
    value = 42;
    cr_assert_eq(value_count("11", 0, 10, &value), -ERANGE);
    cr_assert_eq(value_count("9223372036854775808", 0, INT64_MAX, &value), -ERANGE);
    static const char *const bad[] = {"", "-", "+", "1x", " 1", "1 ", "0x10", "1.5", "--1"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        cr_assert_eq(value_count(bad[i], -100, 100, &value), -EINVAL, "'%s'", bad[i]);
    cr_assert_eq(value, 42, "a refused value is not stored");
}

Test(tools, sizes_take_suffixes)
{
    static const struct {
        const char *text;
        int64_t bytes;
    } good[] = {
        {"0", 0},
        {"512", 512},
        {"1k", 1024},
        {"64K", 65536},
        {"10M", 10 << 20},
        {"1GiB", 1 << 30},
        {"2tb", INT64_C(2) << 40},
    };
    static const char *const bad[] = {"", "K", "-1K", "1.5M", "1 K", "1KK", "1X", "ten"};
    int64_t value = 0;

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        cr_assert_eq(value_size(good[i].text, &value), 0, "'%s'", good[i].text);
        cr_assert_eq(value, good[i].bytes, "'%s'", good[i].text);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        cr_assert_eq(value_size(bad[i], &value), -EINVAL, "'%s'", bad[i]);
    cr_assert_eq(value_size("9223372036854775807K", &value), -ERANGE);
}

Test(tools, durations_need_a_unit)
{
    int64_t value = 0;

    cr_assert_eq(value_duration("250ms", &value), 0);
    cr_assert_eq(value, 250);
    cr_assert_eq(value_duration("10s", &value), 0);
    cr_assert_eq(value, 10000);
    cr_assert_eq(value_duration("2h", &value), 0);
    cr_assert_eq(value, 7200000);
    cr_assert_eq(value_duration("7d", &value), 0);
    cr_assert_eq(value, 604800000);
    cr_assert_eq(value_duration("0", &value), 0);
    cr_assert_eq(value, 0);
    cr_assert_eq(value_duration("10", &value), -EINVAL);
    cr_assert_eq(value_duration("s", &value), -EINVAL);
    cr_assert_eq(value_duration("9223372036854775807d", &value), -ERANGE);
}

Test(tools, moments_are_dates_milliseconds_or_ago)
{
    static const struct {
        const char *text;
        int64_t ms;
    } good[] = {
        {"2026-02-01T12:00", 1769947200000},
        {"2026-02-01 12:00:00", 1769947200000},
        {"2026-02-01T12:00:00.250Z", 1769947200250},
        {"2026-02-01", 1769904000000},
        {"2024-02-29", 1709164800000},
        {"1769947200000", 1769947200000},
        {"-10m", 1769946600000},
        {"0", 0},
    };
    static const char *const bad[] = {
        "",          "2026-13-01",       "2026-02-30",   "2026-2-1",  "2026-02-01x",
        "-10",       "2026-02-01T25:00", "2026-02-01T1", "yesterday", "-",
        "2025-02-29"};
    int64_t value = 0;

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        cr_assert_eq(value_time(good[i].text, now_ms, &value), 0, "'%s'", good[i].text);
        cr_assert_eq(value, good[i].ms, "'%s' gives %lld", good[i].text, (long long)value);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        cr_assert_eq(value_time(bad[i], now_ms, &value), -EINVAL, "'%s'", bad[i]);
}

Test(tools, positions)
{
    struct position position;

    cr_assert_eq(value_position("beginning", now_ms, &position), 0);
    cr_assert_eq(position.kind, POSITION_BEGINNING);
    cr_assert_eq(value_position("end", now_ms, &position), 0);
    cr_assert_eq(position.kind, POSITION_END);
    cr_assert_eq(value_position("17", now_ms, &position), 0);
    cr_assert_eq(position.kind, POSITION_OFFSET);
    cr_assert_eq(position.value, 17);
    cr_assert_eq(value_position("-17", now_ms, &position), 0);
    cr_assert_eq(position.kind, POSITION_FROM_END);
    cr_assert_eq(position.value, 17);
    cr_assert_eq(value_position("@-1m", now_ms, &position), 0);
    cr_assert_eq(position.kind, POSITION_TIME);
    cr_assert_eq(position.value, now_ms - 60000);
    cr_assert_eq(value_position("newest", now_ms, &position), 0);
    cr_assert_eq(position.kind, POSITION_NEWEST);
    static const char *const bad[] = {"", "@", "start", "newes", "1x", "-", "--1", "@now"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        cr_assert_neq(value_position(bad[i], now_ms, &position), 0, "'%s'", bad[i]);
}

Test(tools, assignments_split_at_the_first_equals_sign)
{
    int length = 0;

    cr_assert_str_eq(value_assignment("a=b=c", &length), "b=c");
    cr_assert_eq(length, 1);
    cr_assert_str_eq(value_assignment("name=", &length), "");
    cr_assert_eq(length, 4);
    cr_assert_null(value_assignment("=value", &length));
    cr_assert_null(value_assignment("name", &length));
}
