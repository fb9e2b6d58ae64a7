// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/line_reader.h"

struct input {
    int fds[2];
    struct line_reader reader;
};

static void open_input(struct input *input, size_t max)
{
    cr_assert_eq(pipe(input->fds), 0);
    cr_assert_eq(line_reader_init(&input->reader, max), 0);
}

static void feed(struct input *input, const void *bytes, size_t size)
{
    cr_assert_eq(write(input->fds[1], bytes, size), (ssize_t)size);
    cr_assert_eq(line_reader_fill(&input->reader, input->fds[0]), 0);
}

static void end_input(struct input *input)
{
    close(input->fds[1]);
    cr_assert_eq(line_reader_fill(&input->reader, input->fds[0]), 0);
    cr_assert(input->reader.at_end);
}

static void close_input(struct input *input)
{
    close(input->fds[0]);
    line_reader_free(&input->reader);
}

static void expect_line(struct input *input, const char *bytes, size_t size)
{
    const char *line;
    size_t line_size;

    cr_assert_eq(line_reader_next(&input->reader, &line, &line_size), 1);
    cr_assert_eq(line_size, size);
    cr_assert_eq(memcmp(line, bytes, size), 0);
}

static void expect(struct input *input, int result)
{
    const char *line;
    size_t size;

    cr_assert_eq(line_reader_next(&input->reader, &line, &size), result);
}

Test(tools, lines_are_cut_at_newlines_and_may_hold_any_byte)
{
    struct input input;

    open_input(&input, 100);
    feed(&input, "one\n\ntwo\0\r\xff\n", 12);
    expect_line(&input, "one", 3);
    expect_line(&input, "", 0);
    expect_line(&input, "two\0\r\xff", 6);
    expect(&input, 0);
    end_input(&input);
    expect(&input, 0);
    cr_assert_eq(input.reader.number, 3);
    close_input(&input);
}

Test(tools, a_line_may_arrive_in_pieces_and_the_last_needs_no_newline)
{
    struct input input;

    open_input(&input, 100);
    feed(&input, "begin", 5);
    expect(&input, 0);
    feed(&input, "ning\nend", 8);
    expect_line(&input, "beginning", 9);
    expect(&input, 0);
    end_input(&input);
    expect_line(&input, "end", 3);
    expect(&input, 0);
    close_input(&input);
}

Test(tools, a_line_too_long_is_dropped_whole_and_reported_once)
{
    struct input input;

    open_input(&input, 4);
    feed(&input, "1234\n12345\nok\n123", 17);
    expect_line(&input, "1234", 4);
    expect(&input, LINE_READER_TOO_LONG);
    cr_assert_eq(input.reader.number, 2);
    expect_line(&input, "ok", 2);
    expect(&input, 0);
    feed(&input, "4567", 4);
    expect(&input, LINE_READER_TOO_LONG);
    expect(&input, 0);
    feed(&input, "89\nfine\n", 8);
    expect_line(&input, "fine", 4);
    expect(&input, 0);
    feed(&input, "too long", 8);
    expect(&input, LINE_READER_TOO_LONG);
    end_input(&input);
    expect(&input, 0);
    close_input(&input);
}

Test(tools, more_than_one_read_of_input_passes_unchanged)
{
    enum { LINE = 30000, LINES = 40 };
    struct input input;
    char *text = malloc(LINE + 1);
    const char *line;
    size_t size;
    int seen = 0;

    open_input(&input, LINE);
    for (int i = 0; i < LINES; i++) {
        memset(text, 'a' + i % 26, LINE);
        text[LINE] = '\n';
        feed(&input, text, LINE + 1);
        while (line_reader_next(&input.reader, &line, &size) == 1) {
            cr_assert_eq(size, LINE);
            cr_assert_eq(line[0], 'a' + seen % 26);
            cr_assert_eq(line[LINE - 1], 'a' + seen % 26);
            seen++;
        }
    }
    cr_assert_eq(seen, LINES);
    close(input.fds[1]);
    close_input(&input);
    free(text);
}

Test(tools, reading_from_nothing_is_an_error)
{
    struct line_reader reader;

    cr_assert_eq(line_reader_init(&reader, 10), 0);
    cr_assert_eq(line_reader_fill(&reader, -1), -EBADF);
    line_reader_free(&reader);
}
