// SPDX-License-Identifier: Apache-2.0
// weir produce: every line read becomes a record, or every record that the input describes.
//
// Owns the client, the producer and the input. One loop waits for input and for the network
// together, so that records typed by hand leave at once and a full pipe is read no faster than the
// broker stores.
//
// Invariants:
//  1. accepted == delivered + failed + what the producer still holds; a record that was never
//     accepted (too long, refused by the library) counts as failed at once.
//  2. The first failure's sentence is kept and printed at the end, once.
//  3. Exit code 0 means: every record that was read is stored as --acks demands.
//  4. Input that makes no sense ends the reading; what stood before it is stored.
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/app.h"
#include "tools/commands.h"
#include "tools/intake.h"
#include "tools/interrupt.h"
#include "tools/line_reader.h"
#include "tools/progress.h"
#include "tools/value.h"

enum {
    HEADERS_MAX = 64,
    WAIT_MS = 250,
    FRAMING_MAX = 64 * 1024,
    DEFAULT_MEMORY = 64 * 1024 * 1024,
    CHUNK = 64 * 1024,
};

struct produce_settings {
    const char *file;
    const char *delimiter;
    const char *key;
    struct text_list headers;
    int64_t partition;
    int codec;
    int acks;
    int64_t max_bytes;
    int64_t linger_ms;
    bool null_values;
    int format; // enum intake_format
};

struct production {
    struct app *app;
    const struct produce_settings *options;
    const char *topic;
    struct weir_client *client;
    struct weir_producer *producer;
    struct weir_header headers[HEADERS_MAX];
    int fd;
    struct line_reader reader;
    struct intake *intake; // NULL for lines and raw
    char *chunk;           // raw: the whole input; msgpack: what was read last
    size_t chunk_size;
    int64_t parsed; // records that the intake has handed out
    bool malformed; // the input made no sense, `malformation` says why
    struct progress progress;
    off_t input_start; // where reading a file began; -1: the input is none
    int64_t accepted;
    int64_t delivered;
    int64_t failed;
    int64_t bytes;
    int first_error;
    char reason[512];
    char malformation[512];
};

static void record_failed(struct production *run, int error, const char *reason)
{
    run->failed++;
    if (run->first_error != WEIR_OK)
        return;
    run->first_error = error;
    snprintf(run->reason, sizeof(run->reason), "%s", reason);
}

static void delivery_done(void *context, const struct weir_delivery *delivery)
{
    struct production *run = context;

    if (delivery->error == WEIR_OK)
        run->delivered++;
    else
        record_failed(run, delivery->error, delivery->reason);
}

static void split_key(const struct produce_settings *options, const char *line, size_t size,
                      struct weir_message *message)
{
    size_t delimiter_size = options->delimiter != NULL ? strlen(options->delimiter) : 0;
    const char *found =
        delimiter_size > 0 ? memmem(line, size, options->delimiter, delimiter_size) : NULL;

    if (found != NULL) {
        size_t key_size = (size_t)(found - line);
        message->key = weir_bytes_of(line, key_size);
        line = found + delimiter_size;
        size -= key_size + delimiter_size;
    }
    message->value = weir_bytes_of(line, size);
    if (size == 0 && options->null_values)
        message->value = weir_bytes_of(NULL, 0);
}

// A full queue is the broker's pace reaching us: wait for room.
static void produce_message(struct production *run, struct weir_message *message)
{
    int error;

    if (message->key.data == NULL && run->options->key != NULL)
        message->key = weir_text(run->options->key);

    while ((error = weir_produce(run->producer, run->topic, (int32_t)run->options->partition,
                                 message)) == WEIR_ERR_QUEUE_FULL)
        weir_poll(run->client, WAIT_MS);
    if (error != WEIR_OK) {
        record_failed(run, error, weir_last_error(run->client));
        return;
    }
    run->accepted++;
    run->bytes += (int64_t)(message->key.size + message->value.size);
}

static void produce_line(struct production *run, const char *line, size_t size)
{
    struct weir_message message = {
        .headers = run->headers,
        .header_count = run->options->headers.count,
    };

    split_key(run->options, line, size, &message);
    produce_message(run, &message);
}

// The record's own headers, then those of -H.
static void produce_parsed(struct production *run, struct weir_message *message)
{
    size_t own = message->header_count;
    size_t common = run->options->headers.count;

    run->parsed++;
    if (common == 0) {
        produce_message(run, message);
        return;
    }
    struct weir_header *headers = calloc(own + common, sizeof(*headers));
    if (headers == NULL) {
        record_failed(run, WEIR_ERR_NO_MEMORY, "out of memory");
        return;
    }
    if (own > 0)
        memcpy(headers, message->headers, own * sizeof(*headers));
    memcpy(headers + own, run->headers, common * sizeof(*headers));
    message->headers = headers;
    message->header_count = own + common;
    produce_message(run, message);
    free(headers);
}

static void input_is_malformed(struct production *run, const char *unit, size_t number, int rc)
{
    run->malformed = true;
    snprintf(run->malformation, sizeof(run->malformation), "%s %zu: %s", unit, number,
             rc == -ENOMEM ? "out of memory" : intake_error(run->intake));
}

static void parse_line(struct production *run, const char *line, size_t size)
{
    struct weir_message message;
    int rc = intake_line(run->intake, line, size, &message);

    if (rc == 1)
        produce_parsed(run, &message);
    else if (rc < 0)
        input_is_malformed(run, "line", run->reader.number, rc);
}

static void produce_buffered_lines(struct production *run)
{
    const char *line;
    size_t size;
    int rc;

    while (!run->malformed && (rc = line_reader_next(&run->reader, &line, &size)) != 0) {
        if (rc > 0 && run->intake != NULL) {
            parse_line(run, line, size);
            continue;
        }
        if (rc > 0) {
            produce_line(run, line, size);
            continue;
        }
        char reason[128];
        snprintf(reason, sizeof(reason),
                 "line %zu is longer than %" PRId64 " bytes, see --max-bytes", run->reader.number,
                 run->options->max_bytes);
        record_failed(run, WEIR_ERR_TOO_LARGE, reason);
    }
}

// Waits until there is input, driving the client meanwhile. False: nothing to read yet.
static bool wait_for_input(struct production *run)
{
    struct pollfd fds[] = {{.fd = run->fd, .events = POLLIN},
                           {.fd = weir_fd(run->client), .events = POLLIN}};
    int timeout_ms = weir_timeout_ms(run->client);

    if (timeout_ms < 0 || timeout_ms > WAIT_MS)
        timeout_ms = WAIT_MS;
    int ready = poll(fds, 2, timeout_ms);
    weir_poll(run->client, 0);
    return ready > 0 && fds[0].revents != 0;
}

// Both read once, as line_reader_fill does. The whole input is one value:
static int fill_raw(struct production *run)
{
    size_t max = (size_t)run->options->max_bytes;

    if (run->chunk_size > max) {
        record_failed(run, WEIR_ERR_TOO_LARGE, "the input is longer than --max-bytes");
        run->reader.at_end = true;
        return 0;
    }
    char *chunk = realloc(run->chunk, run->chunk_size + CHUNK);
    if (chunk == NULL)
        return -ENOMEM;
    run->chunk = chunk;
    ssize_t size = read(run->fd, chunk + run->chunk_size, CHUNK);
    if (size < 0)
        return -errno;
    run->chunk_size += (size_t)size;
    run->reader.at_end = size == 0;
    if (size == 0 && run->chunk_size > 0)
        produce_line(run, run->chunk, run->chunk_size);
    return 0;
}

static int fill_packed(struct production *run)
{
    struct weir_message message;

    if (run->chunk == NULL)
        run->chunk = malloc(CHUNK);
    if (run->chunk == NULL)
        return -ENOMEM;
    ssize_t size = read(run->fd, run->chunk, CHUNK);
    if (size < 0)
        return -errno;
    run->reader.at_end = size == 0;
    int rc = intake_feed(run->intake, run->chunk, (size_t)size);
    while (rc == 0 && (rc = intake_packed(run->intake, &message)) == 1) {
        produce_parsed(run, &message);
        rc = 0;
    }
    if (rc < 0)
        input_is_malformed(run, "record", (size_t)run->parsed + 1, rc);
    return 0;
}

static int fill_lines(struct production *run)
{
    int rc = line_reader_fill(&run->reader, run->fd);

    if (rc == 0)
        produce_buffered_lines(run);
    return rc;
}

// Of a file the whole length is known, so that its bytes tell how far it is.
static void start_progress(struct production *run)
{
    FILE *err = run->app->err;
    bool on = progress_wanted(err) && !isatty(run->fd);
    struct stat input;

    run->input_start = lseek(run->fd, 0, SEEK_CUR);
    if (run->input_start >= 0 && fstat(run->fd, &input) == 0 && S_ISREG(input.st_mode) &&
        input.st_size > run->input_start) {
        progress_start_input(&run->progress, err, on, "produced", input.st_size - run->input_start);
        return;
    }
    run->input_start = -1;
    progress_start(&run->progress, err, on, "produced", 0);
}

static void show_progress(struct production *run)
{
    int64_t bytes = run->bytes;

    if (run->input_start >= 0 && run->progress.shown)
        bytes = lseek(run->fd, 0, SEEK_CUR) - run->input_start;
    progress_update(&run->progress, run->delivered, bytes);
}

static int produce_all(struct production *run)
{
    int format = run->options->format;

    while (!run->reader.at_end && !run->malformed && !interrupt_requested()) {
        show_progress(run);
        if (!wait_for_input(run))
            continue;
        int rc = format == INTAKE_RAW       ? fill_raw(run)
                 : format == INTAKE_MSGPACK ? fill_packed(run)
                                            : fill_lines(run);
        if (rc != 0 && rc != -EINTR && rc != -EAGAIN)
            return app_fail(run->app, EXIT_FAILED, "cannot read the input: %s", strerror(-rc));
    }
    if (run->intake != NULL && run->reader.at_end && !run->malformed &&
        intake_end(run->intake) != 0)
        input_is_malformed(run, format == INTAKE_MSGPACK ? "record" : "line",
                           format == INTAKE_MSGPACK ? (size_t)run->parsed + 1 : run->reader.number,
                           -EINVAL);
    return 0;
}

// Waits for the last answers. A second Ctrl-C ends the program; the first one has only ended the
// reading.
static void drain(struct production *run)
{
    weir_flush(run->producer, 0);
    while (weir_producer_queued(run->producer) > 0) {
        weir_flush(run->producer, WAIT_MS);
        show_progress(run);
    }
}

// The input stopped making sense.
static int fail_malformed(const struct production *run)
{
    char before[96] = "nothing is stored";

    if (run->delivered == 1)
        snprintf(before, sizeof(before), "the record before it is stored, nothing behind it is");
    if (run->delivered > 1)
        snprintf(before, sizeof(before),
                 "the %" PRId64 " records before it are stored, nothing behind it is",
                 run->delivered);
    return app_fail(run->app, EXIT_FAILED, "%s (%s)", run->malformation, before);
}

static int conclude(struct production *run)
{
    int64_t total = run->delivered + run->failed;

    progress_end(&run->progress);
    if (run->failed > 0)
        return app_fail(run->app, app_exit_code(run->first_error),
                        "%" PRId64 " of %" PRId64
                        " records were not stored, the first because: %s%s",
                        run->failed, total, run->reason, app_hint(run->first_error));
    if (run->malformed)
        return fail_malformed(run);
    return interrupt_requested() ? EXIT_INTERRUPTED : 0;
}

static int parse_headers(struct production *run)
{
    const struct text_list *list = &run->options->headers;

    if (list->count > HEADERS_MAX)
        return app_fail(run->app, EXIT_USAGE, "-H: at most %d headers", HEADERS_MAX);
    for (size_t i = 0; i < list->count; i++) {
        int length;
        const char *value = value_assignment(list->items[i], &length);
        if (value == NULL)
            return app_fail(run->app, EXIT_USAGE, "-H: '%s' will not do, give NAME=VALUE",
                            list->items[i]);
        run->headers[i].name = weir_bytes_of(list->items[i], (size_t)length);
        run->headers[i].value = weir_text(value);
    }
    return 0;
}

static const char *const codecs[] = {"none", "gzip", "snappy", "lz4", "zstd", NULL};
static const char *const acks[] = {"all", "1", "0", NULL};

static int configure(const struct production *run, struct weir_config *config)
{
    const struct produce_settings *options = run->options;
    int64_t limit = options->max_bytes;
    int code = app_set_text(run->app, config, "compression.type", codecs[options->codec]);

    if (code == 0)
        code = app_set_text(run->app, config, "acks", acks[options->acks]);
    if (code == 0)
        code = app_set(run->app, config, "linger.ms", options->linger_ms);
    if (code == 0) // somebody waits to hear of a name mistyped
        code = app_set(run->app, config, "topic.metadata.propagation.max.ms", 5000);
    // A record is its line, its headers and some framing.
    if (code == 0)
        code = app_set(run->app, config, "message.max.bytes", limit + FRAMING_MAX);
    if (code == 0 && 2 * limit > DEFAULT_MEMORY)
        code = app_set(run->app, config, "buffer.memory", 2 * limit);
    return code;
}

static int open_input(struct production *run)
{
    const char *file = run->options->file;

    run->fd = STDIN_FILENO;
    if (file != NULL && strcmp(file, "-") != 0)
        run->fd = open(file, O_RDONLY | O_CLOEXEC);
    if (run->fd < 0)
        return app_fail(run->app, EXIT_FAILED, "cannot open %s: %s", file, strerror(errno));
    int format = run->options->format;
    bool parsed = format != INTAKE_LINES && format != INTAKE_RAW;
    if (parsed)
        run->intake = intake_new((enum intake_format)format, (size_t)run->options->max_bytes);
    if (line_reader_init(&run->reader, (size_t)run->options->max_bytes) != 0 ||
        (parsed && run->intake == NULL))
        return app_fail(run->app, EXIT_FAILED, "out of memory");
    return 0;
}

static int check_options(const struct production *run)
{
    const struct produce_settings *options = run->options;

    if (options->format == INTAKE_LINES)
        return 0;
    if (options->delimiter != NULL)
        return app_fail(run->app, EXIT_USAGE, "--key-delimiter: only with --format lines");
    if (options->null_values)
        return app_fail(run->app, EXIT_USAGE, "--null: only with --format lines");
    return 0;
}

static int open_producer(struct production *run)
{
    int code = 0;
    struct weir_config *config = app_config(run->app, &code);

    if (config == NULL)
        return code;
    code = configure(run, config);
    if (code == 0)
        run->client = app_connect(run->app, config, &code);
    if (run->client != NULL)
        run->producer = weir_producer_new(run->client, config);
    weir_config_free(config);
    if (code == 0 && run->producer == NULL)
        code = app_fail(run->app, EXIT_FAILED, "out of memory");
    if (code == 0)
        weir_producer_on_delivery(run->producer, delivery_done, run);
    return code;
}

static int run_produce(struct app *app, const void *settings, int count, char **arguments)
{
    struct production run = {
        .app = app,
        .options = settings,
        .topic = arguments[0],
        .fd = -1,
    };

    (void)count;
    int code = parse_headers(&run);
    if (code == 0)
        code = check_options(&run);
    if (code == 0)
        code = open_input(&run);
    if (code == 0)
        code = open_producer(&run);
    interrupt_catch();
    if (code == 0) {
        start_progress(&run);
        code = produce_all(&run);
        drain(&run);
        int concluded = conclude(&run);
        code = code != 0 ? code : concluded;
    }
    weir_producer_free(run.producer);
    weir_client_free(run.client);
    line_reader_free(&run.reader);
    intake_free(run.intake);
    free(run.chunk);
    if (run.fd > STDIN_FILENO)
        close(run.fd);
    return code;
}

static const struct option_spec produce_options[] = {
    {.name = "file",
     .letter = 'f',
     .kind = OPTION_TEXT,
     .placeholder = "PATH",
     .help = "read the lines from a file instead of standard input",
     .offset = offsetof(struct produce_settings, file)},
    {.name = "format",
     .letter = 'F',
     .kind = OPTION_CHOICE,
     .placeholder = "FORMAT",
     .help = "lines (each is a value), json, csv, hex or msgpack as 'weir consume' prints them, or "
             "raw (the whole input is one value) (default: lines)",
     .offset = offsetof(struct produce_settings, format),
     .choices = intake_formats},
    {.name = "key-delimiter",
     .letter = 'k',
     .kind = OPTION_TEXT,
     .placeholder = "DELIM",
     .help = "what stands before the first DELIM of a line is the record's key; a line without "
             "it has none",
     .offset = offsetof(struct produce_settings, delimiter)},
    {.name = "key",
     .kind = OPTION_TEXT,
     .placeholder = "KEY",
     .help = "the key of every record that brings none of its own",
     .offset = offsetof(struct produce_settings, key)},
    {.name = "header",
     .letter = 'H',
     .kind = OPTION_LIST,
     .placeholder = "NAME=VALUE",
     .help = "a header for every record; may be given again",
     .offset = offsetof(struct produce_settings, headers)},
    {.name = "partition",
     .letter = 'p',
     .kind = OPTION_COUNT,
     .placeholder = "N",
     .help = "the partition (default: chosen by key; without a key they take turns)",
     .offset = offsetof(struct produce_settings, partition),
     .min = 0,
     .max = INT32_MAX},
    {.name = "compression",
     .letter = 'z',
     .kind = OPTION_CHOICE,
     .placeholder = "CODEC",
     .help = "none, gzip, snappy, lz4 or zstd (default: none)",
     .offset = offsetof(struct produce_settings, codec),
     .choices = codecs},
    {.name = "acks",
     .letter = 'a',
     .kind = OPTION_CHOICE,
     .placeholder = "all|1|0",
     .help = "when a record counts as stored: on all copies, on one, or as soon as it is sent "
             "(default: all)",
     .offset = offsetof(struct produce_settings, acks),
     .choices = acks},
    {.name = "null",
     .letter = 'Z',
     .kind = OPTION_FLAG,
     .help = "an empty value means none: on a compacted topic it deletes the key",
     .offset = offsetof(struct produce_settings, null_values)},
    {.name = "max-bytes",
     .kind = OPTION_SIZE,
     .placeholder = "SIZE",
     .help = "the longest line accepted (default: 1M); the topic has a limit of its own",
     .offset = offsetof(struct produce_settings, max_bytes),
     .min = 1,
     .max = 1 << 30},
    {.name = "linger",
     .kind = OPTION_DURATION,
     .placeholder = "DURATION",
     .help = "wait so long for a batch to fill (default: 5ms)",
     .offset = offsetof(struct produce_settings, linger_ms),
     .min = 0,
     .max = 60 * 1000},
    {.name = NULL},
};

static const struct produce_settings produce_defaults = {
    .partition = WEIR_ANY_PARTITION,
    .max_bytes = 1 << 20,
    .linger_ms = 5,
};

const struct command cmd_produce = {
    .name = "produce",
    .arguments = "TOPIC",
    .min_arguments = 1,
    .max_arguments = 1,
    .summary = "Store the lines of the input, or the records it describes",
    .description =
        "Lines may hold any bytes; the last one needs no newline. Ctrl-C ends the input: what was\n"
        "read before is still stored.\n"
        "\n"
        "A record in JSON is an object in one line, with value and, if wanted, key, headers (a "
        "list\n"
        "of objects with name and value) and timestamp (milliseconds). null is absent; what is no\n"
        "text is stored as JSON; value_base64 and key_base64 hold any bytes. topic, partition and\n"
        "offset are passed over. CSV names its columns in the first line: value, key, timestamp,\n"
        "headers, header.NAME. What makes no sense ends the input: nothing behind it is stored.\n",
    .examples = "  echo hello | weir produce greetings\n"
                "  weir produce orders -k : -z zstd --file orders.txt\n"
                "  zcat log.gz | weir produce log -H host=web1\n"
                "  weir produce images --format raw --key logo --file logo.png\n"
                "  weir consume a -e --format json | weir produce b --format json\n",
    .options = produce_options,
    .settings_size = sizeof(struct produce_settings),
    .defaults = &produce_defaults,
    .run = run_produce,
};
