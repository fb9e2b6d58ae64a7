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

enum { WAIT_MS = 250, REDRAW_EVERY = 1024 };

struct consume_settings {
    int64_t partition;
    const char *from;
    int64_t count; // 0: no limit
    bool until_end;
    const char *format;
};

static int print_records(struct topic_reader *reader, const struct consume_settings *options,
                         const struct format *format, struct progress *progress)
{
    const struct app *app = reader->app;
    struct weir_record record;
    int64_t printed = 0;
    int64_t bytes = 0;

    while (!topic_reader_done(reader) && !interrupt_requested()) {
        int code = app_flush(app);
        if (code == 0)
            code = topic_reader_poll(reader, WAIT_MS);
        if (code != 0)
            return code;
        while (topic_reader_next(reader, &record)) {
            format_record(format, &record, app->out);
            bytes += (int64_t)(record.key.size + record.value.size);
            if (++printed == options->count)
                return 0;
            if (printed % REDRAW_EVERY == 0)
                progress_update(progress, printed, bytes);
            if (ferror(app->out) || interrupt_requested())
                break;
        }
        progress_update(progress, printed, bytes);
    }
    // Without an end of its own, Ctrl-C is how this command is meant to be left.
    bool has_end = options->until_end || options->count > 0;
    return interrupt_requested() && has_end ? EXIT_INTERRUPTED : 0;
}

static int consume(struct app *app, const struct consume_settings *options, const char *topic,
                   struct position from, const struct format *format)
{
    struct topic_reader reader;
    struct progress progress;
    int code = topic_reader_open(&reader, app, topic, (int32_t)options->partition, from,
                                 options->until_end);

    if (code == 0) {
        // On a terminal that shows the records themselves, a second moving line only disturbs.
        bool shown = progress_wanted(app->err) && !progress_wanted(app->out);
        int64_t total = options->until_end ? topic_reader_expected(&reader) : 0;
        if (options->count > 0 && (total == 0 || options->count < total))
            total = options->count;
        progress_start(&progress, app->err, shown, "read", total);
        code = print_records(&reader, options, format, &progress);
        progress_end(&progress);
    }
    topic_reader_close(&reader);
    return code;
}

static int run_consume(struct app *app, const void *settings, int count, char **arguments)
{
    const struct consume_settings *options = settings;
    const char *text = options->format;
    struct position from;
    struct format *format;
    char error[256];

    (void)count;
    if (text == NULL)
        text = app->common.output == OUTPUT_JSON ? "json" : "%s\\n";
    if (format_parse(text, &format, error, sizeof(error)) != 0)
        return app_fail(app, EXIT_USAGE, "--format: %s", error);
    int code = 0;
    if (value_position(options->from, clock_wall_ms(), &from) != 0)
        code = app_fail(app, EXIT_USAGE,
                        "--from: '%s' will not do, give beginning, end, OFFSET, -N or @TIME "
                        "(@2026-01-31T12:00, @-10m)",
                        options->from);
    if (code == 0)
        code = consume(app, options, arguments[0], from, format);
    format_free(format);
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
     .help = "json (one object per line), raw (values with nothing between them), or a text with "
             "fields as below (default: '%s\\n')",
     .offset = offsetof(struct consume_settings, format)},
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
        "  \\n newline     \\t tab          \\r return      \\0 NUL  \\xHH any byte\n",
    .examples = "  weir consume orders --until-end\n"
                "  weir consume orders -p 0 --from -100 -n 10 --format '%o %k: %s\\n'\n"
                "  weir consume orders --from @-1h --format json | jq .value\n",
    .options = consume_options,
    .settings_size = sizeof(struct consume_settings),
    .defaults = &consume_defaults,
    .run = run_consume,
};
