// SPDX-License-Identifier: Apache-2.0
// weir consume: prints records from a place in the topic on. Output is flushed before every wait,
// so that a pipe sees records as soon as they are here and long reads are written in large pieces.
#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "tools/app.h"
#include "tools/commands.h"
#include "tools/format.h"
#include "tools/interrupt.h"
#include "tools/progress.h"
#include "tools/topic_reader.h"
#include "tools/where.h"

enum { WAIT_MS = 250, REDRAW_EVERY = 1024 };

struct consume_settings {
    int64_t partition;
    const char *from;
    int64_t count; // 0: no limit
    bool until_end;
    const char *format;
    const char *where;
};

// What becomes of the records, wherever they come from.
struct printing {
    struct app *app;
    const struct consume_settings *options;
    struct format *format;
    struct where *where; // NULL: all
    struct progress progress;
    int64_t read;
    int64_t printed;
    int64_t bytes;
};

// 0 or an exit code.
static int print_record(struct printing *printing, const struct weir_record *record)
{
    int kept = printing->where != NULL ? where_keeps(printing->where, record) : 1;

    if (kept < 0)
        return app_fail(printing->app, EXIT_FAILED,
                        "--where: the regular expression takes too many steps on %s partition "
                        "%" PRId32 " offset %" PRId64 ", give a simpler one",
                        record->topic, record->partition, record->offset);
    if (kept > 0) {
        format_record(printing->format, record, printing->app->out);
        printing->printed++;
    }
    printing->bytes += (int64_t)(record->key.size + record->value.size);
    if (++printing->read % REDRAW_EVERY == 0)
        progress_update(&printing->progress, printing->read, printing->bytes);
    return 0;
}

static bool print_enough(const struct printing *printing)
{
    return printing->options->count > 0 && printing->printed >= printing->options->count;
}

// Without an end of its own, Ctrl-C is how this command is meant to be left.
static int print_end(const struct printing *printing)
{
    bool has_end = printing->options->until_end || printing->options->count > 0;

    return interrupt_requested() && has_end && !print_enough(printing) ? EXIT_INTERRUPTED : 0;
}

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
            code = print_record(printing, &record);
            if (code != 0 || print_enough(printing))
                return code;
            if (ferror(app->out) || interrupt_requested())
                break;
        }
        progress_update(&printing->progress, printing->read, printing->bytes);
    }
    return print_end(printing);
}

// On a terminal that shows the records themselves, a second moving line only disturbs.
static void print_begin(struct printing *printing, int64_t total)
{
    const struct app *app = printing->app;
    bool shown = progress_wanted(app->err) && !progress_wanted(app->out);
    int64_t count = printing->options->count;

    if (count > 0 && printing->where == NULL && (total == 0 || count < total))
        total = count;
    progress_start(&printing->progress, app->err, shown, "read", total);
    format_begin(printing->format, app->out);
}

static int consume(struct printing *printing, const char *topic, struct position from)
{
    const struct consume_settings *options = printing->options;
    struct topic_reader reader;
    int code = topic_reader_open(&reader, printing->app, topic, (int32_t)options->partition, from,
                                 options->until_end);

    if (code == 0) {
        print_begin(printing, options->until_end ? topic_reader_expected(&reader) : 0);
        code = print_records(&reader, printing);
        progress_end(&printing->progress);
    }
    topic_reader_close(&reader);
    return code;
}

static int read_settings(struct printing *printing, struct position *from)
{
    const struct app *app = printing->app;
    const struct consume_settings *options = printing->options;
    const char *text = options->format;
    char error[256];

    if (text == NULL)
        text = app->common.output == OUTPUT_JSON ? "json" : "%s\\n";
    if (format_parse(text, &printing->format, error, sizeof(error)) != 0)
        return app_fail(app, EXIT_USAGE, "--format: %s", error);
    if (options->where != NULL &&
        where_parse(options->where, &printing->where, error, sizeof(error)) != 0)
        return app_fail(app, EXIT_USAGE, "--where: %s", error);
    if (value_position(options->from, clock_wall_ms(), from) != 0)
        return app_fail(app, EXIT_USAGE,
                        "--from: '%s' will not do, give beginning, end, OFFSET, -N or @TIME "
                        "(@2026-01-31T12:00, @-10m)",
                        options->from);
    return 0;
}

static int run_consume(struct app *app, const void *settings, int count, char **arguments)
{
    struct printing printing = {.app = app, .options = settings};
    struct position from;

    (void)count;
    int code = read_settings(&printing, &from);
    if (code == 0)
        code = consume(&printing, arguments[0], from);
    where_free(printing.where);
    format_free(printing.format);
    return code;
}

static const char *const formats[] = {"json", "msgpack", "csv", "hex", "raw", NULL};

static const struct option_spec consume_options[] = {
    {.name = "partition",
     .letter = 'p',
     .kind = OPTION_COUNT,
     .placeholder = "N",
     .help = "only this partition (default: all)",
     .offset = offsetof(struct consume_settings, partition),
     .min = 0,
     .max = INT32_MAX},
    {.name = "from",
     .letter = 'f',
     .kind = OPTION_TEXT,
     .placeholder = "WHERE",
     .help = "beginning, end, an OFFSET, -N (N records before the end of each partition), or @TIME "
             "(@2026-01-31T12:00 in UTC, @-10m, @milliseconds since 1970) (default: beginning)",
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
             "nothing between them), or a text with fields as below (default: '%s\\n')",
     .offset = offsetof(struct consume_settings, format),
     .choices = formats},
    {.name = "where",
     .letter = 'w',
     .kind = OPTION_TEXT,
     .placeholder = "EXPRESSION",
     .help = "only records of which this is true, see below",
     .offset = offsetof(struct consume_settings, where)},
    {.name = NULL},
};

static const struct consume_settings consume_defaults = {
    .partition = -1,
    .from = "beginning",
};

const struct command cmd_consume = {
    .name = "consume",
    .arguments = "TOPIC",
    .min_arguments = 1,
    .max_arguments = 1,
    .summary = "Print the records of a topic",
    .description =
        "Waits for more at the end unless -n or --until-end says when to stop.\n"
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
                "  weir consume orders --from @-1h --format json | jq .value\n"
                "  weir consume orders -e --where 'value.amount > 100 and header.zone ~ \"^eu\"'\n"
                "  weir consume orders -e --format csv:key,value.amount,timestamp > orders.csv\n",
    .options = consume_options,
    .settings_size = sizeof(struct consume_settings),
    .defaults = &consume_defaults,
    .run = run_consume,
};
