// SPDX-License-Identifier: Apache-2.0
// weir pipe: the options of a stage. The work is in pipe_stage.c.
#include <string.h>

#include "tools/app.h"
#include "tools/commands.h"
#include "tools/pipe_stage.h"

static bool missing(const char *text)
{
    return text == NULL || *text == '\0';
}

static int check_options(const struct app *app, const struct pipe_options *options, bool command)
{
    const char *dead_letter = options->dead_letter;

    if (missing(options->from) || missing(options->to) || missing(options->group))
        return app_fail(app, EXIT_USAGE,
                        "something is missing, the usage is: weir pipe --from TOPIC --to TOPIC "
                        "--group GROUP [OPTION]... [-- COMMAND...]");
    if (strcmp(options->from, options->to) == 0)
        return app_fail(app, EXIT_USAGE, "--to: a stage cannot write to the topic it reads");
    if (dead_letter != NULL && strcmp(options->from, dead_letter) == 0)
        return app_fail(app, EXIT_USAGE,
                        "--dead-letter: a stage cannot write to the topic it reads");
    if (dead_letter != NULL && strcmp(options->to, dead_letter) == 0)
        return app_fail(app, EXIT_USAGE, "--dead-letter: give another topic than --to");
    if (options->delimiter != NULL &&
        (options->format != PIPE_LINES || *options->delimiter == '\0'))
        return app_fail(app, EXIT_USAGE, "--key-delimiter: goes with --format lines only");
    if (options->delimiter != NULL && strchr(options->delimiter, '\n') != NULL)
        return app_fail(app, EXIT_USAGE, "--key-delimiter: cannot hold a line break");
    if (options->envelope && options->format == PIPE_LINES)
        return app_fail(app, EXIT_USAGE, "--envelope: goes with --format json or msgpack");
    if (options->check != NULL && options->format == PIPE_LINES)
        return app_fail(app, EXIT_USAGE, "--check: goes with --format json or msgpack");
    if (options->batch > 0 && !command)
        return app_fail(app, EXIT_USAGE, "--batch: needs a COMMAND");
    return 0;
}

static int run_pipe(struct app *app, const void *settings, int count, char **arguments)
{
    const struct pipe_options *options = settings;
    struct pipe_check *check = NULL;
    char error[512];
    int code = check_options(app, options, count > 0);

    if (code == 0 && options->check != NULL &&
        pipe_check_parse(options->check, &check, error, sizeof(error)) != 0)
        code = app_fail(app, EXIT_USAGE, "--check: %s", error);
    if (code == 0)
        code = pipe_stage_run(app, options, count > 0 ? arguments : NULL, check);
    pipe_check_free(check);
    return code;
}

static const char *const formats[] = {"lines", "json", "msgpack", NULL};
static const char *const codecs[] = {"none", "gzip", "snappy", "lz4", "zstd", NULL};

enum { DAY_MS = 24 * 3600 * 1000 };

static const struct option_spec pipe_option_specs[] = {
    {.name = "from",
     .letter = 'f',
     .kind = OPTION_TEXT,
     .placeholder = "TOPIC",
     .help = "the topic to read",
     .offset = offsetof(struct pipe_options, from)},
    {.name = "to",
     .letter = 't',
     .kind = OPTION_TEXT,
     .placeholder = "TOPIC",
     .help = "the topic to write the outputs to",
     .offset = offsetof(struct pipe_options, to)},
    {.name = "group",
     .letter = 'g',
     .kind = OPTION_TEXT,
     .placeholder = "GROUP",
     .help = "the stage's name: under it is kept how far it has come, and stages of one name share "
             "the work",
     .offset = offsetof(struct pipe_options, group)},
    {.name = "workers",
     .letter = 'w',
     .kind = OPTION_COUNT,
     .placeholder = "N",
     .help = "run up to N commands at once; a partition is worked on by one at a time (default: 1)",
     .offset = offsetof(struct pipe_options, workers),
     .min = 1,
     .max = PIPE_WORKERS_MAX},
    {.name = "format",
     .letter = 'F',
     .kind = OPTION_CHOICE,
     .placeholder = "FORMAT",
     .help = "lines, json or msgpack: how the command reads and writes records (default: lines)",
     .offset = offsetof(struct pipe_options, format),
     .choices = formats},
    {.name = "key-delimiter",
     .letter = 'k',
     .kind = OPTION_TEXT,
     .placeholder = "DELIM",
     .help = "with lines: show and read the key before the value, divided by DELIM",
     .offset = offsetof(struct pipe_options, delimiter)},
    {.name = "envelope",
     .letter = 'E',
     .kind = OPTION_FLAG,
     .help = "with json and msgpack: show and read objects with key, value and headers",
     .offset = offsetof(struct pipe_options, envelope)},
    {.name = "batch",
     .letter = 'B',
     .kind = OPTION_COUNT,
     .placeholder = "N",
     .help = "start the command anew for every N records, or fewer; it may write any number of "
             "outputs, which count once it has ended with exit code 0",
     .offset = offsetof(struct pipe_options, batch),
     .min = 1,
     .max = 1000000},
    {.name = "linger",
     .kind = OPTION_DURATION,
     .placeholder = "DURATION",
     .help = "with --batch: how long records wait for a batch to fill (default: 100ms)",
     .offset = offsetof(struct pipe_options, linger_ms),
     .min = 0,
     .max = DAY_MS},
    {.name = "dead-letter",
     .letter = 'd',
     .kind = OPTION_TEXT,
     .placeholder = "TOPIC",
     .help = "where records go that cannot be worked on; without it the stage stops at the first",
     .offset = offsetof(struct pipe_options, dead_letter)},
    {.name = "retries",
     .letter = 'r',
     .kind = OPTION_COUNT,
     .placeholder = "N",
     .help = "how often a record that makes the command fail is tried again (default: 3)",
     .offset = offsetof(struct pipe_options, retries),
     .min = 0,
     .max = 1000000},
    {.name = "retry-pause",
     .kind = OPTION_DURATION,
     .placeholder = "DURATION",
     .help = "before the first retry; doubles with each, up to 30s (default: 200ms)",
     .offset = offsetof(struct pipe_options, pause_ms),
     .min = 0,
     .max = PIPE_PAUSE_MAX_MS},
    {.name = "timeout",
     .letter = 'T',
     .kind = OPTION_DURATION,
     .placeholder = "DURATION",
     .help = "how long the command may take for a record, or a batch (default: 30s)",
     .offset = offsetof(struct pipe_options, answer_timeout_ms),
     .min = 1,
     .max = DAY_MS},
    {.name = "give-up",
     .kind = OPTION_COUNT,
     .placeholder = "N",
     .help = "stop when the command has failed for N records in a row; 0: never (default: 20)",
     .offset = offsetof(struct pipe_options, give_up),
     .min = 0,
     .max = INT64_MAX},
    {.name = "check",
     .kind = OPTION_TEXT,
     .placeholder = "SCHEMA",
     .help = "with json and msgpack: the fields every record must have, FIELD:TYPE[?],... or "
             "@PATH; others go to the dead letters",
     .offset = offsetof(struct pipe_options, check)},
    {.name = "until-end",
     .letter = 'e',
     .kind = OPTION_FLAG,
     .help = "stop where the topic ended when the stage began, instead of waiting for more",
     .offset = offsetof(struct pipe_options, until_end)},
    {.name = "grace",
     .kind = OPTION_DURATION,
     .placeholder = "DURATION",
     .help = "how long work under way may take to finish when the stage stops, or has to give a "
             "partition up; then it is left to whoever comes next (default: 10s)",
     .offset = offsetof(struct pipe_options, grace_ms),
     .min = 0,
     .max = DAY_MS},
    {.name = "compression",
     .letter = 'z',
     .kind = OPTION_CHOICE,
     .placeholder = "CODEC",
     .help = "of outputs: none, gzip, snappy, lz4 or zstd (default: none)",
     .offset = offsetof(struct pipe_options, codec),
     .choices = codecs},
    {.name = "max-bytes",
     .kind = OPTION_SIZE,
     .placeholder = "SIZE",
     .help = "the longest output accepted (default: 1M); the topic has a limit of its own",
     .offset = offsetof(struct pipe_options, max_bytes),
     .min = 1,
     .max = 1 << 30},
    {.name = "memory",
     .kind = OPTION_SIZE,
     .placeholder = "SIZE",
     .help = "how much of what has been read may be under way (default: 64M)",
     .offset = offsetof(struct pipe_options, memory_bytes),
     .min = 1 << 20,
     .max = (int64_t)1 << 40},
    {.name = NULL},
};

static const struct pipe_options pipe_defaults = {
    .workers = 1,
    .linger_ms = 100,
    .retries = 3,
    .pause_ms = 200,
    .answer_timeout_ms = 30 * 1000,
    .grace_ms = 10 * 1000,
    .give_up = 20,
    .max_bytes = 1 << 20,
    .memory_bytes = 64 << 20,
};

const struct command cmd_pipe = {
    .name = "pipe",
    .arguments = "[-- COMMAND [ARGUMENT]...]",
    .min_arguments = 0,
    .max_arguments = -1,
    .summary = "Run any program as a stage between two topics",
    .description =
        "COMMAND reads records on standard input and writes records on standard output. It is "
        "kept\n"
        "running, and answers every line with one line, in order; an empty one means that there "
        "is\n"
        "no output. It has to write each line out at once (sed -u, jq --unbuffered, python -u,\n"
        "stdbuf -oL). Outputs keep key, headers and time of their record. Programs of another\n"
        "kind, those that leave lines out (grep), sort, count or write when they end, take\n"
        "--batch N.\n"
        "Without a COMMAND records go on as they are: to check them, or to send dead letters "
        "again.\n"
        "\n"
        "How far the stage has come is committed once the outputs are stored: whatever is killed,\n"
        "no record is lost, some may be worked on twice. The order within a partition is kept.\n"
        "\n"
        "A command that fails or takes too long is started again. The record that makes it fail "
        "is\n"
        "retried alone, then goes to the dead letters with the headers weir.reason, weir.field,\n"
        "weir.topic, weir.partition, weir.offset, weir.attempts and weir.group.\n",
    .examples =
        "  weir pipe --from raw --to clean --group cleaner -- sed -u 's/ *$//'\n"
        "  weir pipe --from orders --to totals --group sums --format json --check id:integer \\\n"
        "      --dead-letter rejected --workers 4 -- jq --unbuffered -c '.total = .price * "
        ".count'\n"
        "  weir pipe --from rejected --to orders --group again --until-end\n",
    .options = pipe_option_specs,
    .settings_size = sizeof(struct pipe_options),
    .defaults = &pipe_defaults,
    .run = run_pipe,
};
