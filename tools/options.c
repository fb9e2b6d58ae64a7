// SPDX-License-Identifier: Apache-2.0
// Translates tables of options into getopt_long's form, and its answers into values.
//
// Invariants:
//  1. A value is stored only after it has passed its kind's check and its bounds.
//  2. getopt_long's result identifies a row by FIRST_CODE plus its place in the joined tables, so a
//     letter and a long name lead to the same row.
//  3. Names are written out: getopt_long would take --form for --format, and a script that relies
//     on that breaks when an option is added.
#include "tools/options.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/similar.h"
#include "tools/value.h"

enum {
    FIRST_CODE = 1000,
    HELP_CODE = 999,
    ROWS_MAX = 64,
    HELP_COLUMN = 30,
    HELP_WIDTH = 80,
};

struct row {
    const struct option_spec *spec;
    void *settings;
};

struct parser {
    struct row rows[ROWS_MAX];
    size_t count;
    struct option longs[ROWS_MAX + 2];
    char letters[2 * ROWS_MAX + 8]; // getopt's string
    size_t letters_size;
    char *error;
    size_t error_size;
};

static void *target_of(const struct row *row)
{
    return (char *)row->settings + row->spec->offset;
}

static void describe_expected(const struct option_spec *spec, char *text, size_t size)
{
    switch (spec->kind) {
    case OPTION_SIZE:
        snprintf(text, size, "a size such as 512, 64K, 10M or 1G");
        break;
    case OPTION_DURATION:
        snprintf(text, size, "a duration such as 500ms, 10s, 5m, 2h or 7d");
        break;
    case OPTION_COUNT:
        snprintf(text, size, "a whole number");
        break;
    default:
        text[0] = '\0';
    }
}

static int store_number(struct parser *parser, const struct row *row, const char *text)
{
    const struct option_spec *spec = row->spec;
    int64_t max = spec->min == 0 && spec->max == 0 ? INT64_MAX : spec->max;
    int64_t value = 0;
    char expected[64];
    int rc;

    if (spec->kind == OPTION_SIZE)
        rc = value_size(text, &value);
    else if (spec->kind == OPTION_DURATION)
        rc = value_duration(text, &value);
    else
        rc = value_count(text, INT64_MIN, INT64_MAX, &value);

    if (rc == -EINVAL) {
        describe_expected(spec, expected, sizeof(expected));
        snprintf(parser->error, parser->error_size, "--%s: '%s' will not do, give %s", spec->name,
                 text, expected);
        return OPTIONS_ERROR;
    }
    if (rc != 0 || value < spec->min || value > max) {
        snprintf(parser->error, parser->error_size,
                 "--%s: %s is out of range, give %" PRId64 " to %" PRId64 "%s", spec->name, text,
                 spec->min, max, spec->kind == OPTION_DURATION ? " ms" : "");
        return OPTIONS_ERROR;
    }
    memcpy(target_of(row), &value, sizeof(value));
    return 0;
}

static int store_choice(struct parser *parser, const struct row *row, const char *text)
{
    const char *const *choices = row->spec->choices;
    int length;

    for (int i = 0; choices[i] != NULL; i++) {
        if (strcmp(choices[i], text) == 0) {
            memcpy(target_of(row), &i, sizeof(i));
            return 0;
        }
    }
    length = snprintf(parser->error, parser->error_size, "--%s: no '%s', give one of",
                      row->spec->name, text);
    for (int i = 0; choices[i] != NULL && (size_t)length < parser->error_size; i++)
        length += snprintf(parser->error + length, parser->error_size - (size_t)length, "%s %s",
                           i == 0 ? "" : ",", choices[i]);
    return OPTIONS_ERROR;
}

static int store_item(struct parser *parser, const struct row *row, const char *text)
{
    struct text_list *list = target_of(row);
    const char **items = reallocarray(list->items, list->count + 1, sizeof(*items));

    if (items == NULL) {
        snprintf(parser->error, parser->error_size, "out of memory");
        return OPTIONS_ERROR;
    }
    list->items = items;
    list->items[list->count++] = text;
    return 0;
}

static int store(struct parser *parser, const struct row *row, const char *text)
{
    bool set = true;

    switch (row->spec->kind) {
    case OPTION_FLAG:
        memcpy(target_of(row), &set, sizeof(set));
        return 0;
    case OPTION_TEXT:
        memcpy(target_of(row), &text, sizeof(text));
        return 0;
    case OPTION_LIST:
        return store_item(parser, row, text);
    case OPTION_CHOICE:
        return store_choice(parser, row, text);
    case OPTION_COUNT:
    case OPTION_SIZE:
    case OPTION_DURATION:
        break;
    }
    return store_number(parser, row, text);
}

static void add_row(struct parser *parser, const struct option_spec *spec, void *settings)
{
    size_t index = parser->count++;
    bool has_value = spec->kind != OPTION_FLAG;

    parser->rows[index] = (struct row){spec, settings};
    parser->longs[index] = (struct option){
        .name = spec->name,
        .has_arg = has_value ? required_argument : no_argument,
        .val = FIRST_CODE + (int)index,
    };
    if (spec->letter != 0)
        parser->letters[parser->letters_size++] = spec->letter;
    if (spec->letter != 0 && has_value)
        parser->letters[parser->letters_size++] = ':';
}

static void prepare(struct parser *parser, const struct options_target *targets, size_t count,
                    bool stop_at_argument)
{
    // The colon makes getopt tell a missing value from an unknown option.
    parser->letters_size = (size_t)snprintf(parser->letters, sizeof(parser->letters), "%s",
                                            stop_at_argument ? "+:h" : ":h");
    for (size_t i = 0; i < count; i++) {
        const struct option_spec *specs = targets[i].specs;
        for (; specs != NULL && specs->name != NULL && parser->count < ROWS_MAX; specs++)
            add_row(parser, specs, targets[i].settings);
    }
    parser->longs[parser->count] = (struct option){.name = "help", .val = HELP_CODE};
}

static const struct row *row_of(const struct parser *parser, int code)
{
    if (code >= FIRST_CODE)
        return &parser->rows[code - FIRST_CODE];
    for (size_t i = 0; i < parser->count; i++) {
        if (parser->rows[i].spec->letter == code)
            return &parser->rows[i];
    }
    return NULL;
}

// What people type who know the tools that come with Kafka.
static const struct {
    const char *theirs;
    const char *ours; // an option, and how its value begins
} foreign_names[] = {
    {"bootstrap-server", "brokers"},
    {"broker-list", "brokers"},
    {"command-config", "client-setting"},
    {"config", "set"},
    {"consumer-property", "client-setting"},
    {"from-beginning", "from beginning"},
    {"max-messages", "count"},
    {"offset", "from"},
    {"producer-property", "client-setting"},
    {"replication-factor", "replication"},
    {"shift-by", "shift"},
    {"to-datetime", "to @"},
    {"to-earliest", "to beginning"},
    {"to-latest", "to end"},
    {"to-offset", "to"},
};

// NULL: no such name, or nothing of the kind here.
static const char *translate(const struct parser *parser, struct span given)
{
    const char *ours = NULL;

    for (size_t i = 0; i < sizeof(foreign_names) / sizeof(foreign_names[0]); i++)
        if (span_equal(given, span_text(foreign_names[i].theirs)))
            ours = foreign_names[i].ours;
    for (size_t i = 0; ours != NULL && i < parser->count; i++) {
        const char *name = parser->rows[i].spec->name;
        if (strlen(name) == strcspn(ours, " ") && strncmp(name, ours, strlen(name)) == 0)
            return ours;
    }
    return NULL;
}

// "; did you mean --format?", or where to look.
static void suggest(const struct parser *parser, const char *given, char *text, size_t size)
{
    struct similar similar;
    const char *ours = translate(parser, span_of(given, strcspn(given, "=")));

    if (ours != NULL) {
        snprintf(text, size, "; did you mean --%s?", ours);
        return;
    }
    similar_start(&similar, span_of(given, strcspn(given, "=")));
    for (size_t i = 0; i < parser->count; i++)
        similar_try(&similar, parser->rows[i].spec->name);
    similar_try(&similar, "help");
    if (similar.nearest != NULL)
        snprintf(text, size, "; did you mean --%s?", similar.nearest);
}

static int no_such_option(struct parser *parser, const char *given)
{
    char suggestion[80] = ", see --help";

    if (strncmp(given, "--", 2) == 0)
        suggest(parser, given + 2, suggestion, sizeof(suggestion));
    snprintf(parser->error, parser->error_size, "there is no option %.*s%s",
             (int)strcspn(given, "="), given, suggestion);
    return OPTIONS_ERROR;
}

static int complain(struct parser *parser, int code, char **argv)
{
    // A letter stands in optopt; of a long option getopt keeps only the place.
    const char *given = argv[optind - 1];
    char letter[3] = {'-', (char)optopt, '\0'};
    bool is_letter = optopt > 0 && optopt < HELP_CODE;
    bool is_row = optopt >= FIRST_CODE;

    if (code == ':') {
        snprintf(parser->error, parser->error_size, "%s needs a value, see --help",
                 is_letter ? letter : given);
        return OPTIONS_ERROR;
    }
    if (is_row && strchr(given, '=') != NULL) {
        snprintf(parser->error, parser->error_size, "--%s takes no value",
                 parser->rows[optopt - FIRST_CODE].spec->name);
        return OPTIONS_ERROR;
    }
    return no_such_option(parser, is_letter ? letter : given);
}

// The long option that getopt_long has just read as `name` was written as this word.
static bool written_out(char **argv, const char *name, const char **word)
{
    *word = argv[optind - 1];
    if (optarg == *word && strncmp(argv[optind - 2], "--", 2) == 0)
        *word = argv[optind - 2];
    return strcspn(*word + 2, "=") == strlen(name);
}

int options_parse(int argc, char **argv, const struct options_target *targets, size_t target_count,
                  bool stop_at_argument, int *first, char *error, size_t error_size)
{
    struct parser parser = {.error = error, .error_size = error_size};
    const char *word;
    int code;
    int place = 0;

    prepare(&parser, targets, target_count, stop_at_argument);
    opterr = 0;
    optind = 0;
    while ((code = getopt_long(argc, argv, parser.letters, parser.longs, &place)) != -1) {
        if (code == '?' || code == ':')
            return complain(&parser, code, argv);
        if (code >= HELP_CODE && !written_out(argv, parser.longs[place].name, &word))
            return no_such_option(&parser, word);
        if (code == 'h' || code == HELP_CODE)
            return OPTIONS_HELP;

        int rc = store(&parser, row_of(&parser, code), optarg);
        if (rc != 0)
            return rc;
    }
    *first = optind;
    return 0;
}

void options_free(const struct option_spec *specs, void *settings)
{
    for (; specs != NULL && specs->name != NULL; specs++) {
        if (specs->kind != OPTION_LIST)
            continue;
        struct row row = {specs, settings};
        struct text_list *list = target_of(&row);
        free(list->items);
        *list = (struct text_list){0};
    }
}

// Words of `text` in lines that start at HELP_COLUMN; the cursor stands at `column` already.
static void print_wrapped(const char *text, int column, FILE *out)
{
    bool line_empty = true;

    if (column >= HELP_COLUMN - 1) {
        fputc('\n', out);
        column = 0;
    }
    fprintf(out, "%*s", HELP_COLUMN - column, "");
    column = HELP_COLUMN;
    while (*text != '\0') {
        int length = (int)strcspn(text, " ");
        if (!line_empty && column + 1 + length > HELP_WIDTH) {
            fprintf(out, "\n%*s", HELP_COLUMN, "");
            column = HELP_COLUMN;
            line_empty = true;
        }
        column += fprintf(out, "%s%.*s", line_empty ? "" : " ", length, text);
        line_empty = false;
        text += length;
        text += strspn(text, " ");
    }
    fputc('\n', out);
}

void options_print(const struct option_spec *specs, FILE *out)
{
    for (; specs != NULL && specs->name != NULL; specs++) {
        int column = specs->letter != 0 ? fprintf(out, "  -%c, --%s", specs->letter, specs->name)
                                        : fprintf(out, "      --%s", specs->name);
        if (specs->placeholder != NULL)
            column += fprintf(out, " %s", specs->placeholder);
        print_wrapped(specs->help, column, out);
    }
}
