// SPDX-License-Identifier: Apache-2.0
// weir consume: prints records from a place in the topic on. Output is flushed before every wait,
// so that a pipe sees records as soon as they are here and long reads are written in large pieces.
#include <string.h>

#include "tools/app.h"
#include "tools/commands.h"
#include "tools/consume_group.h"
#include "tools/interrupt.h"
#include "tools/printing.h"
#include "tools/topic_reader.h"

enum { WAIT_MS = 250 };

struct consume_settings {
    int64_t partition;
    const char *from;
    int64_t count; // 0: no limit
    bool until_end;
    const char *format;
    const char *where;
    const char *group;
    bool pattern;
};

static int print_records(struct topic_reader *reader, struct printing *printing)
{
    const struct app *app = reader->app;
    struct weir_record record;

    while (!topic_reader_done(reader) && !interrupt_requested()) {
        int code = app_flush(app);
        if (code == 0)
            code = topic_reader_poll(reader, WAIT_MS);
        if (code != 0)
            return code;
        while (topic_reader_next(reader, &record)) {
            code = printing_record(printing, &record);
            if (code != 0 || printing_enough(printing))
                return code;
            if (ferror(app->out) || interrupt_requested())
                break;
        }
        printing_update(printing);
    }
    return 0;
}

static int consume(struct printing *printing, const struct consume_settings *options,
                   const char *topic, struct position from)
{
    struct topic_reader reader;
    int code = topic_reader_open(&reader, printing->app, topic, (int32_t)options->partition, from,
                                 options->until_end);

    if (code == 0) {
        printing_begin(printing, options->until_end ? topic_reader_expected(&reader) : 0);
        code = print_records(&reader, printing);
        int ended = printing_end(printing);
        code = code != 0 ? code : ended;
    }
    topic_reader_close(&reader);
    return code;
}

static int consume_as_member(struct printing *printing, const struct consume_settings *options,
                             int count, char **topics)
{
    const struct app *app = printing->app;
    struct consume_group what = {
        .group = options->group,
        .topics = (const char *const *)topics,
        .topic_count = (size_t)count,
        .pattern = options->pattern,
        .from = options->from,
    };

    if (options->partition >= 0)
        return app_fail(app, EXIT_USAGE, "--partition: with --group, the group gives partitions");
    if (strcmp(options->from, "beginning") != 0 && strcmp(options->from, "end") != 0)
        return app_fail(app, EXIT_USAGE,
                        "--from: with --group only beginning and end, for partitions of which "
                        "nothing is committed; 'weir group reset' moves the others");
    if (options->pattern && count != 1)
        return app_fail(app, EXIT_USAGE, "--pattern: give one regular expression, with | in it");
    int code = consume_group(printing, &what);
    int ended = printing_end(printing);
    return code != 0 ? code : ended;
}

static int check_alone(const struct app *app, const struct consume_settings *options, int count)
{
    if (options->pattern)
        return app_fail(app, EXIT_USAGE, "--pattern: only together with --group");
    if (count > 1)
        return app_fail(app, EXIT_USAGE, "several topics: only together with --group");
    return 0;
}

static int run_consume(struct app *app, const void *settings, int count, char **arguments)
{
    const struct consume_settings *options = settings;
    struct printing printing;
    struct position from;
    int code = printing_init(&printing, app, options->format, options->where);

    printing.count = options->count;
    printing.until_end = options->until_end;
    if (code == 0 && options->group != NULL) {
        code = consume_as_member(&printing, options, count, arguments);
        printing_free(&printing);
        return code;
    }
    if (code == 0)
        code = check_alone(app, options, count);
    if (code == 0)
        code = app_read_position(app, "--from", options->from, &from);
    if (code == 0)
        code = consume(&printing, options, arguments[0], from);
    printing_free(&printing);
    return code;
}

static const struct option_spec consume_options[] = {
    {.name = "partition",
     .letter = 'p',
     .kind = OPTION_COUNT,
     .placeholder = "N",
     .help = "only this partition (default: all)",
     .offset = offsetof(struct consume_settings, partition),
     .min = 0,
     .max = INT32_MAX},
    {.name = "group",
     .letter = 'g',
     .kind = OPTION_TEXT,
     .placeholder = "GROUP",
     .help = "read as a member of this group: from where it has got to, sharing the partitions "
             "with its other members, and commit what has been printed",
     .offset = offsetof(struct consume_settings, group)},
    {.name = "pattern",
     .kind = OPTION_FLAG,
     .help = "with --group: TOPIC is a regular expression for whole names of topics",
     .offset = offsetof(struct consume_settings, pattern)},
    {.name = "from",
     .letter = 'f',
     .kind = OPTION_TEXT,
     .placeholder = "WHERE",
     .help = "beginning, end, an OFFSET, -N (N records before the end of each partition), @TIME "
             "(@2026-01-31T12:00 in UTC, @-10m, @milliseconds since 1970) or newest (the record "
             "with the largest timestamp) (default: beginning)",
     .offset = offsetof(struct consume_settings, from)},
    {.name = "count",
     .letter = 'n',
     .kind = OPTION_COUNT,
     .placeholder = "COUNT",
     .help = "stop after COUNT records",
     .offset = offsetof(struct consume_settings, count),
     .min = 1,
     .max = INT64_MAX},
    {.name = "until-end",
     .letter = 'e',
     .kind = OPTION_FLAG,
     .help = "stop where the topic ended when reading began, instead of waiting for more",
     .offset = offsetof(struct consume_settings, until_end)},
    {.name = "format",
     .letter = 'F',
     .kind = OPTION_TEXT,
     .placeholder = "FORMAT",
     .help = "json (one object per line), msgpack, csv or csv:FIELD,..., hex, raw (values with "
             "nothing between them), or a text with the fields above (default: '%s\\n')",
     .offset = offsetof(struct consume_settings, format),
     .choices = printing_formats},
    {.name = "where",
     .letter = 'w',
     .kind = OPTION_TEXT,
     .placeholder = "EXPRESSION",
     .help = "only records of which this is true, see above",
     .offset = offsetof(struct consume_settings, where)},
    {.name = NULL},
};

static const struct consume_settings consume_defaults = {
    .partition = -1,
    .from = "beginning",
};

const struct command cmd_consume = {
    .name = "consume",
    .arguments = "TOPIC...",
    .min_arguments = 1,
    .max_arguments = -1,
    .summary = "Print the records of a topic",
    .description =
        "Waits for more at the end unless -n or --until-end says when to stop.\n"
        "\n"
        "With --group several may read together. What has been printed is committed, so that the\n"
        "next one goes on behind it; after a crash some records are printed again. --from says\n"
        "where partitions start of which nothing is committed.\n"
        "\n"
        "Fields of --format (as in kcat):\n"
        "  %t topic       %p partition    %o offset      %k key   %s or %v value\n"
        "  %h headers (name=value,...)    %T timestamp in ms      %D the same as a date\n"
        "  %K key size    %S value size (-1 when absent)          %% a percent sign\n"
        "  \\n newline     \\t tab          \\r return      \\0 NUL  \\xHH any byte\n"
        "  %{FIELD}\n"
        "\n"
        "FIELD is key, value, header.NAME, topic, partition, offset or timestamp, or a member of\n"
        "JSON or msgpack: value.user.name, value.items[0], value[\"a b\"]. CSV has the columns\n"
        "named, or topic, partition, offset, timestamp, key, value and headers.\n"
        "\n"
        "--where compares fields by == != < <= > >= and ~ !~ (a regular expression matches\n"
        "somewhere) with \"text\", 'text', numbers, true, false, null and @TIME; and, or, not and\n"
        "parentheses join comparisons. A field alone means: it is there, and not false.\n",
    .examples = "  weir consume orders --until-end\n"
                "  weir consume orders -p 0 --from -100 -n 10 --format '%o %k: %s\\n'\n"
                "  weir consume -g billing orders payments --format json\n"
                "  weir consume orders --from @-1h --format json | jq .value\n"
                "  weir consume orders -e --where 'value.amount > 100 and header.zone ~ \"^eu\"'\n"
                "  weir consume orders -e --format csv:key,value.amount,timestamp > orders.csv\n",
    .options = consume_options,
    .settings_size = sizeof(struct consume_settings),
    .defaults = &consume_defaults,
    .run = run_consume,
};
