// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/bench_live.h"
#include "tools/command.h"
#include "tools/progress.h"
#include "tools/report.h"

Test(tools, tables_are_as_wide_as_their_widest_cell)
{
    static const struct report_column columns[] = {{"name", "NAME", false}, {"n", "N", true}};
    json_t *rows = json_pack("[{s:s, s:i}, {s:s, s:i}, {s:s}]", "name", "a", "n", 5, "name",
                             "\xc3\xa9t\xc3\xa9 2026", "n", 12345, "name", "none");
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    report_print_table(rows, columns, 2, out);
    fclose(out);
    cr_assert_str_eq(text, "NAME          N\n"
                           "a             5\n"
                           "\xc3\xa9t\xc3\xa9 2026  12345\n"
                           "none          -\n");
    json_decref(rows);
    free(text);
}

// One long name must not make the lines of all others wrap.
Test(tools, names_too_long_for_the_screen_stand_out_of_their_column)
{
    static const struct report_column columns[] = {
        {"name", "NAME", false}, {"n", "N", true}, {"state", "STATE", false}};
    json_t *rows =
        json_pack("[{s:s, s:i, s:s}, {s:s, s:i, s:s}, {s:s, s:i, s:s}]", "name", "billing", "n", 5,
                  "state", "Stable", "name", "a-name-longer-than-the-screen", "n", 12, "state",
                  "Empty", "name", "x", "n", 7, "state", "a-long-last-cell-pads-nothing");
    static const struct {
        int screen;
        const char *text;
    } cases[] = {
        {0, "NAME                            N  STATE\n"
            "billing                         5  Stable\n"
            "a-name-longer-than-the-screen  12  Empty\n"
            "x                               7  a-long-last-cell-pads-nothing\n"},
        {20, "NAME      N  STATE\n"
             "billing   5  Stable\n"
             "a-name-longer-than-the-screen  12  Empty\n"
             "x         7  a-long-last-cell-pads-nothing\n"},
        {14, "NAME   N  STATE\n"
             "billing   5  Stable\n"
             "a-name-longer-than-the-screen  12  Empty\n"
             "x      7  a-long-last-cell-pads-nothing\n"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char *text = NULL;
        size_t size = 0;
        FILE *out = open_memstream(&text, &size);
        report_print_table_on(rows, columns, 3, cases[i].screen, out);
        fclose(out);
        cr_expect_str_eq(text, cases[i].text, "screen of %d:\n%s", cases[i].screen, text);
        free(text);
    }
    json_decref(rows);
}

Test(tools, names_cannot_steer_the_terminal)
{
    static const struct {
        const char *text;
        int width;
        const char *shown;
    } cases[] = {
        {"plain", 10, "plain"},
        {"\x1b[31mred\x07\n", 20, "?[31mred??"},
        {"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80x", 3, "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80"},
        {"a\xc2\x9b"
         "31m",
         10, "a?31m"},
        {"wide", 2, "wi"},
        {"wide", 0, ""},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char shown[64];
        report_printable(cases[i].text, cases[i].width, shown, sizeof(shown));
        cr_expect_str_eq(shown, cases[i].shown);
        cr_expect_leq(report_width(shown), cases[i].width);
    }
    char small[6];
    report_printable("ab\xf0\x9f\x98\x80", 10, small, sizeof(small));
    cr_expect_str_eq(small, "ab");
    report_printable("\x80\x80\x80\x80\x80\x80\x80\x80\x80", 10, small, sizeof(small));
    cr_expect_lt(strlen(small), sizeof(small));
}

Test(tools, counts_are_grouped_by_thousands)
{
    static const struct {
        int64_t value;
        const char *text;
    } cases[] = {{0, "0"},          {999, "999"},  {1000, "1,000"}, {1234567, "1,234,567"},
                 {-1000, "-1,000"}, {-100, "-100"}};
    char text[32];

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        progress_count(text, sizeof(text), cases[i].value);
        cr_assert_str_eq(text, cases[i].text);
    }
}

Test(tools, progress_tells_share_rate_and_time_left)
{
    char text[256];

    progress_text(text, sizeof(text), "read", 20000, 5000, 10 * 1000 * 1000, 2000000000);
    cr_assert_str_eq(text, "read 5,000 records (25 %), 10.0 MB, 2,500/s, 5.0 MB/s, 0:06 left");
    progress_text(text, sizeof(text), "read", 0, 5000, 0, 2000000000);
    cr_assert_str_eq(text, "read 5,000 records, 0.0 MB, 2,500/s, 0.0 MB/s");
    progress_text(text, sizeof(text), "read", 10, 0, 0, 0);
    cr_assert_str_eq(text, "read 0 records (0 %), 0.0 MB, 0/s, 0.0 MB/s");
}

Test(tools, progress_tells_the_rest_of_work_on_bytes)
{
    char text[128];
    progress_bytes_text(text, sizeof(text), "verified", 10000000000, 2500000000, 2000000000);
    cr_expect_str_eq(text, "verified 2.50 of 10.00 GB (25 %), 1.25 GB/s, 0:06 left");
    progress_bytes_text(text, sizeof(text), "verified", 0, 0, 0);
    cr_expect_str_eq(text, "verified 0.00 of 0.00 GB (100 %), 0.00 GB/s");
}

Test(tools, progress_of_input_counts_its_bytes)
{
    char text[256];

    progress_input_text(text, sizeof(text), "produced", 20000000, 5000, 5000000, 2000000000);
    cr_expect_str_eq(text, "produced 5,000 records, 5.0 of 20.0 MB (25 %), 2,500/s, 2.5 MB/s, "
                           "0:06 left");
    progress_input_text(text, sizeof(text), "produced", 1000000, 10, 1000000, 1000000000);
    cr_expect_str_eq(text, "produced 10 records, 1.0 of 1.0 MB (100 %), 10/s, 1.0 MB/s");
}

Test(tools, progress_of_steps_names_them)
{
    char text[128];

    progress_steps_text(text, sizeof(text), "deleted", "topics", 5000, 1250, 5000000000);
    cr_expect_str_eq(text, "deleted 1,250 of 5,000 topics (25 %), 250/s, 0:15 left");
    progress_steps_text(text, sizeof(text), "deleted", "topics", 5000, 0, 0);
    cr_expect_str_eq(text, "deleted 0 of 5,000 topics (0 %), 0/s");
}

// What --help says must be there for every command, and no two options of one may collide.
Test(tools, the_command_table_is_complete_and_free_of_contradictions)
{
    for (size_t i = 0; command_table[i] != NULL; i++) {
        const struct command *command = command_table[i];
        cr_assert_not_null(command->summary, "%s", command->name);
        cr_assert_not_null(command->examples, "%s", command->name);
        cr_assert_not_null(command->run, "%s", command->name);

        bool letters[256] = {['h'] = true};
        const struct option_spec *tables[] = {command->options, command_common_options};
        for (size_t t = 0; t < 2; t++) {
            for (const struct option_spec *spec = tables[t]; spec && spec->name; spec++) {
                unsigned char letter = (unsigned char)spec->letter;
                cr_assert_not_null(spec->help, "%s --%s", command->name, spec->name);
                cr_assert_eq(spec->kind == OPTION_FLAG, spec->placeholder == NULL, "%s --%s",
                             command->name, spec->name);
                cr_assert(letter == 0 || !letters[letter], "%s -%c", command->name, letter);
                letters[letter] = true;
            }
        }
    }
}

Test(tools, commands_are_found_by_one_word_or_two)
{
    char *topic_list[] = {"topic", "list", "x"};
    char *consume[] = {"consume", "list"};
    char *unknown[] = {"topic", "burn"};
    int used = 0;

    cr_assert_str_eq(command_find(3, topic_list, &used)->name, "topic list");
    cr_assert_eq(used, 2);
    cr_assert_str_eq(command_find(2, consume, &used)->name, "consume");
    cr_assert_eq(used, 1);
    cr_assert_null(command_find(2, unknown, &used));
    cr_assert_null(command_find(1, topic_list, &used));
    cr_assert_null(command_find(0, topic_list, &used));
    cr_assert(command_is_group("topic"));
    cr_assert(!command_is_group("top"));
    cr_assert(!command_is_group("consume"));
}

Test(tools, line_of_a_benchmark_tells_the_last_second)
{
    struct bench_moment before = {.ns = 1000000000, .messages = 1000, .bytes = 1000000};
    struct bench_moment now = {
        .ns = 3000000000, .messages = 5000, .bytes = 5000000, .in_flight = 1234, .p99_ns = 1812000};
    char text[256];

    bench_live_text(text, sizeof(text), "produced", 20000, &before, &now);
    cr_expect_str_eq(text, "produced 5,000 (25 %), 2,000/s, 2.0 MB/s, p99 1,812 us, "
                           "1,234 in flight");
    now.in_flight = -1;
    now.p99_ns = 0;
    bench_live_text(text, sizeof(text), "read", 0, &before, &now);
    cr_expect_str_eq(text, "read 5,000, 2,000/s, 2.0 MB/s");
}
