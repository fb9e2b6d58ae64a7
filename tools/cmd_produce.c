// SPDX-License-Identifier: Apache-2.0
// weir produce: every line read becomes a record.
//
// Owns the client, the producer and the input. One loop waits for input and for the network
// together, so that records typed by hand leave at once and a full pipe is read no faster than the
// broker stores.
//
// Invariants:
//  1. accepted == delivered + failed + what the producer still holds; a record that was never
//     accepted (too long, refused by the library) counts as failed at once.
//  2. The first failure's sentence is kept and printed at the end, once.
//  3. Exit code 0 means: every line that was read is stored as --acks demands.
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "tools/app.h"
#include "tools/commands.h"
#include "tools/interrupt.h"
#include "tools/line_reader.h"
#include "tools/progress.h"
#include "tools/value.h"

enum {
    HEADERS_MAX = 64,
    WAIT_MS = 250,
    FRAMING_MAX = 64 * 1024,
    DEFAULT_MEMORY = 64 * 1024 * 1024,
};

struct produce_settings {
    const char *file;
    const char *delimiter;
    struct text_list headers;
    int64_t partition;
    int codec;
    int acks;
    int64_t max_bytes;
    int64_t linger_ms;
    bool null_values;
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
    struct progress progress;
    int64_t accepted;
    int64_t delivered;
    int64_t failed;
    int64_t bytes;
    int first_error;
    char reason[512];
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
static void produce_line(struct production *run, const char *line, size_t size)
{
    struct weir_message message = {
        .headers = run->headers,
        .header_count = run->options->headers.count,
    };
    int error;

    split_key(run->options, line, size, &message);
    while ((error = weir_produce(run->producer, run->topic, (int32_t)run->options->partition,
                                 &message)) == WEIR_ERR_QUEUE_FULL)
        weir_poll(run->client, WAIT_MS);
    if (error != WEIR_OK) {
        record_failed(run, error, weir_last_error(run->client));
        return;
    }
    run->accepted++;
    run->bytes += (int64_t)size;
}

static void produce_buffered_lines(struct production *run)
{
    const char *line;
    size_t size;
    int rc;

    while ((rc = line_reader_next(&run->reader, &line, &size)) != 0) {
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

static int produce_all(struct production *run)
{
    while (!run->reader.at_end && !interrupt_requested()) {
        progress_update(&run->progress, run->delivered, run->bytes);
        if (!wait_for_input(run))
            continue;
        int rc = line_reader_fill(&run->reader, run->fd);
        if (rc == -EINTR || rc == -EAGAIN)
            continue;
        if (rc != 0)
            return app_fail(run->app, EXIT_FAILED, "cannot read the input: %s", strerror(-rc));
        produce_buffered_lines(run);
    }
    return 0;
}

// Waits for the last answers. A second Ctrl-C ends the program; the first one has only ended the
// reading.
static void drain(struct production *run)
{
    weir_flush(run->producer, 0);
    while (weir_producer_queued(run->producer) > 0) {
        weir_flush(run->producer, WAIT_MS);
        progress_update(&run->progress, run->delivered, run->bytes);
    }
}

static int conclude(struct production *run)
{
    int64_t total = run->delivered + run->failed;

    progress_end(&run->progress);
    if (run->failed > 0)
        return app_fail(run->app, app_exit_code(run->first_error),
                        "%" PRId64 " of %" PRId64 " records were not stored, the first because: %s",
                        run->failed, total, run->reason);
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
    if (line_reader_init(&run->reader, (size_t)run->options->max_bytes) != 0)
        return app_fail(run->app, EXIT_FAILED, "out of memory");
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
        code = open_input(&run);
    if (code == 0)
        code = open_producer(&run);
    if (code == 0) {
        progress_start(&run.progress, app->err, progress_wanted(app->err) && !isatty(run.fd),
                       "produced", 0);
        code = produce_all(&run);
        drain(&run);
        int concluded = conclude(&run);
        code = code != 0 ? code : concluded;
    }
    weir_producer_free(run.producer);
    weir_client_free(run.client);
    line_reader_free(&run.reader);
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
    {.name = "key-delimiter",
     .letter = 'k',
     .kind = OPTION_TEXT,
     .placeholder = "DELIM",
     .help = "what stands before the first DELIM of a line is the record's key; a line without "
             "it has none",
     .offset = offsetof(struct produce_settings, delimiter)},
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
    .summary = "Store every line of the input as a record",
    .description =
        "Lines may hold any bytes; the last one needs no newline. Ctrl-C ends the input: what was\n"
        "read before is still stored.\n",
    .examples = "  echo hello | weir produce greetings\n"
                "  weir produce orders -k : -z zstd --file orders.txt\n"
                "  zcat log.gz | weir produce log -H host=web1\n",
    .options = produce_options,
    .settings_size = sizeof(struct produce_settings),
    .defaults = &produce_defaults,
    .run = run_produce,
};
