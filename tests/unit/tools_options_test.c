// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/options.h"

struct values {
    bool flag;
    const char *text;
    struct text_list list;
    int64_t count;
    int64_t size;
    int64_t wait_ms;
    int color;
};

static const char *const colors[] = {"red", "green", NULL};

static const struct option_spec specs[] = {
    {.name = "flag",
     .letter = 'f',
     .kind = OPTION_FLAG,
     .help = "a flag",
     .offset = offsetof(struct values, flag)},
    {.name = "text",
     .letter = 't',
     .kind = OPTION_TEXT,
     .placeholder = "TEXT",
     .help = "a text",
     .offset = offsetof(struct values, text)},
    {.name = "list",
     .letter = 'l',
     .kind = OPTION_LIST,
     .placeholder = "ITEM",
     .help = "items",
     .offset = offsetof(struct values, list)},
    {.name = "count",
     .letter = 'n',
     .kind = OPTION_COUNT,
     .placeholder = "N",
     .help = "a count",
     .offset = offsetof(struct values, count),
     .min = 1,
     .max = 10},
    {.name = "size",
     .kind = OPTION_SIZE,
     .placeholder = "SIZE",
     .help = "a size",
     .offset = offsetof(struct values, size)},
    {.name = "wait",
     .kind = OPTION_DURATION,
     .placeholder = "TIME",
     .help = "a duration",
     .offset = offsetof(struct values, wait_ms),
     .min = 0,
     .max = 60000},
    {.name = "color",
     .kind = OPTION_CHOICE,
     .placeholder = "COLOR",
     .help = "a color",
     .offset = offsetof(struct values, color),
     .choices = colors},
    {.name = NULL},
};

// Parses up to seven words; *first and the words' order are left in `words`.
static int parse(struct values *values, char **words, int *first, char *error)
{
    struct options_target target = {specs, values};
    int count = 0;

    while (words[count] != NULL)
        count++;
    error[0] = '\0';
    return options_parse(count, words, &target, 1, false, first, error, 256);
}

#define WORDS(...) ((char *[]){"weir", __VA_ARGS__, NULL})

Test(tools, every_kind_of_option_is_stored)
{
    struct values values = {0};
    char error[256];
    int first = 0;
    char **words = WORDS("-f", "topic", "--text=x", "-l", "a", "-lb", "-n", "7", "--size", "2K",
                         "--wait=5s", "--color", "green", "--", "-n");

    cr_assert_eq(parse(&values, words, &first, error), 0, "%s", error);
    cr_assert(values.flag);
    cr_assert_str_eq(values.text, "x");
    cr_assert_eq(values.list.count, 2);
    cr_assert_str_eq(values.list.items[0], "a");
    cr_assert_str_eq(values.list.items[1], "b");
    cr_assert_eq(values.count, 7);
    cr_assert_eq(values.size, 2048);
    cr_assert_eq(values.wait_ms, 5000);
    cr_assert_eq(values.color, 1);
    cr_assert_str_eq(words[first], "topic");
    cr_assert_str_eq(words[first + 1], "-n");
    cr_assert_null(words[first + 2]);
    options_free(specs, &values);
    cr_assert_eq(values.list.count, 0);
}

Test(tools, refused_options_say_what_would_do)
{
    static const struct {
        char *word;
        const char *sentence;
    } cases[] = {
        {"--count=x", "--count: 'x' will not do, give a whole number"},
        {"-n11", "--count: 11 is out of range, give 1 to 10"},
        {"--size=10Q", "--size: '10Q' will not do, give a size such as 512, 64K, 10M or 1G"},
        {"--wait=5", "--wait: '5' will not do, give a duration such as 500ms, 10s, 5m, 2h or 7d"},
        {"--wait=61s", "--wait: 61s is out of range, give 0 to 60000 ms"},
        {"--color=blue", "--color: no 'blue', give one of red, green"},
        {"--nonsense", "there is no option --nonsense, see --help"},
        {"--nonsense=5", "there is no option --nonsense, see --help"},
        {"--colour=red", "there is no option --colour; did you mean --color?"},
        {"--col=red", "there is no option --col; did you mean --color?"},
        {"--fla", "there is no option --fla; did you mean --flag?"},
        {"--he", "there is no option --he; did you mean --help?"},
        {"--max-messages=5", "there is no option --max-messages; did you mean --count?"},
        {"--from-beginning", "there is no option --from-beginning, see --help"}, // nor any --from
        {"--flag=yes", "--flag takes no value"},
        {"-q", "there is no option -q, see --help"},
        {"-n", "-n needs a value, see --help"},
        {"--text", "--text needs a value, see --help"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct values values = {.count = 5, .size = 6};
        char error[256];
        int first = 0;
        cr_assert_eq(parse(&values, WORDS(cases[i].word), &first, error), OPTIONS_ERROR, "%s",
                     cases[i].word);
        cr_assert_str_eq(error, cases[i].sentence);
        cr_assert_eq(values.count, 5);
        cr_assert_eq(values.size, 6);
    }
}

Test(tools, long_names_are_written_out)
{
    struct values values = {0};
    char error[256];
    int first = 0;

    cr_assert_eq(parse(&values, WORDS("--tex", "--text"), &first, error), OPTIONS_ERROR);
    cr_assert_str_eq(error, "there is no option --tex; did you mean --text?");
    cr_assert_eq(parse(&values, WORDS("--text", "--tex"), &first, error), 0);
    cr_assert_str_eq(values.text, "--tex");
    cr_assert_eq(parse(&values, WORDS("-t", "--tex"), &first, error), 0);
    cr_assert_eq(parse(&values, WORDS("word", "--text", "a", "b", "--count", "3"), &first, error),
                 0);
    cr_assert_eq(first, 5);
}

Test(tools, help_is_recognised_anywhere)
{
    struct values values = {0};
    char error[256];
    int first = 0;

    cr_assert_eq(parse(&values, WORDS("topic", "--help"), &first, error), OPTIONS_HELP);
    cr_assert_eq(parse(&values, WORDS("-h"), &first, error), OPTIONS_HELP);
}

Test(tools, help_names_every_option_within_eighty_columns)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    options_print(specs, out);
    fclose(out);
    for (const struct option_spec *spec = specs; spec->name != NULL; spec++) {
        char name[32];
        snprintf(name, sizeof(name), "--%s", spec->name);
        cr_assert_not_null(strstr(text, name));
        cr_assert_not_null(strstr(text, spec->help));
    }
    for (const char *line = text; *line != '\0'; line += strcspn(line, "\n") + 1)
        cr_assert_leq(strcspn(line, "\n"), 80);
    free(text);
}
