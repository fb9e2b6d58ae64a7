// SPDX-License-Identifier: Apache-2.0
// weir bench produce|consume|roundtrip: prepares the topic and the payload, measures, prints, and
// removes the topic again if it was made for the purpose.
#include <inttypes.h>
#include <stdlib.h>

#include "base/random.h"
#include "tools/app.h"
#include "tools/bench.h"
#include "tools/commands.h"
#include "tools/interrupt.h"
#include "tools/report.h"

enum { TOPIC_NAME_SIZE = 64 };

static int create_topic(struct bench *bench, char *name)
{
    unsigned char random[6];
    int code = 0;
    struct weir_client *client = app_open(bench->app, &code);

    if (client == NULL)
        return code;
    // From here on there is a topic to delete.
    interrupt_catch();
    random_system(random, sizeof(random));
    snprintf(name, TOPIC_NAME_SIZE, "weir-bench-%02x%02x%02x%02x%02x%02x", random[0], random[1],
             random[2], random[3], random[4], random[5]);

    char limit[24];
    snprintf(limit, sizeof(limit), "%" PRId64, bench->settings->size + (1 << 20));
    struct weir_setting setting = {.name = "max.message.bytes", .value = limit};
    struct weir_new_topic topic = {
        .name = name,
        .partitions = (int32_t)bench->settings->partitions,
        .settings = &setting,
        .setting_count = 1,
    };
    int error = weir_create_topic(client, &topic, app_timeout_ms(bench->app));
    if (error != WEIR_OK)
        code = app_fail_client(bench->app, client, error);
    weir_client_free(client);
    return code;
}

static int delete_topic(struct bench *bench)
{
    int code = 0;
    struct weir_client *client = app_open(bench->app, &code);

    if (client == NULL)
        return code;
    int error = weir_delete_topic(client, bench->topic, app_timeout_ms(bench->app));
    if (error != WEIR_OK)
        code = app_fail_client(bench->app, client, error);
    weir_client_free(client);
    return code;
}

typedef int measure_function(struct bench *bench, bool own_topic, json_t *results);

// What failed before anything was measured has no result.
static void add_result(struct bench *bench, json_t *results, const char *name,
                       const struct bench_result *result, int code)
{
    if (code != 0 && result->messages == 0)
        return;
    if (bench->app->common.output == OUTPUT_TEXT)
        bench_result_print(result, name, bench->settings->percentiles, bench->app->out);
    json_object_set_new(results, name, bench_result_json(result, bench->settings->percentiles));
}

static int run_bench(struct app *app, const void *settings, int count, char **arguments,
                     measure_function *measure)
{
    struct bench bench = {
        .app = app, .settings = settings, .seats = 1, .live = progress_wanted(app->err)};
    char name[TOPIC_NAME_SIZE];
    bool own_topic = count == 0;
    int code = 0;

    if (bench_payload_init(&bench.payload, (size_t)bench.settings->size) != 0)
        return app_fail(app, EXIT_FAILED, "out of memory");
    bench.topic = own_topic ? name : arguments[0];
    if (own_topic)
        code = create_topic(&bench, name);
    if (code == 0) {
        json_t *results = json_object();
        code = measure(&bench, own_topic, results);
        if (app->common.output == OUTPUT_JSON && json_object_size(results) > 0)
            report_print_json(results, app->out);
        json_decref(results);
        if (own_topic && !bench.settings->keep) {
            int deleted = delete_topic(&bench);
            code = code != 0 ? code : deleted;
        }
    }
    bench_payload_free(&bench.payload);
    return code == 0 && interrupt_requested() ? EXIT_INTERRUPTED : code;
}

static struct bench_result *new_result(struct app *app, int *code)
{
    struct bench_result *result = calloc(1, sizeof(*result));

    if (result == NULL)
        *code = app_fail(app, EXIT_FAILED, "out of memory");
    return result;
}

static int measure_produce(struct bench *bench, bool own_topic, json_t *results)
{
    const struct bench_settings *settings = bench->settings;
    int code = 0;
    struct bench_result *result = new_result(bench->app, &code);
    struct bench_result *consumed = new_result(bench->app, &code);

    (void)own_topic;
    if (code == 0) {
        bool alone = settings->clients == 1 && settings->consumers == 0;
        code = alone ? bench_produce(bench, result)
                     : bench_crew_run(bench, bench_produce, result, consumed);
        add_result(bench, results, "produce", result, code);
        if (settings->consumers > 0)
            add_result(bench, results, "consume", consumed, code);
    }
    free(result);
    free(consumed);
    return code;
}

// The filling is not what is measured: one client, as fast as it can.
static int fill_topic(const struct bench *bench, struct bench_result *filled)
{
    struct bench_settings settings = *bench->settings;
    struct bench filling = *bench;

    filling.settings = &settings;
    settings.rate = 0;
    settings.duration_ms = 0;
    return bench_produce(&filling, filled);
}

static int measure_consume(struct bench *bench, bool own_topic, json_t *results)
{
    int code = 0;
    struct bench_result *filled = new_result(bench->app, &code);
    struct bench_result *result = new_result(bench->app, &code);

    if (code == 0 && own_topic)
        code = fill_topic(bench, filled);
    if (code == 0) {
        code = bench->settings->clients == 1 ? bench_consume(bench, result)
                                             : bench_crew_run(bench, bench_consume, result, filled);
        add_result(bench, results, "consume", result, code);
    }
    free(filled);
    free(result);
    return code;
}

static int measure_roundtrip(struct bench *bench, bool own_topic, json_t *results)
{
    int code = 0;
    struct bench_result *acknowledged = new_result(bench->app, &code);
    struct bench_result *received = new_result(bench->app, &code);

    (void)own_topic;
    if (code == 0) {
        code = bench_roundtrip(bench, acknowledged, received);
        add_result(bench, results, "acknowledged", acknowledged, code);
        add_result(bench, results, "received", received, code);
    }
    free(acknowledged);
    free(received);
    return code;
}

static int run_bench_produce(struct app *app, const void *settings, int count, char **arguments)
{
    struct bench_settings copy = *(const struct bench_settings *)settings;

    if (copy.ramp_ms > 0 && copy.rate == 0)
        return app_fail(app, EXIT_USAGE, "--ramp: give the rate that it leads to, with --rate");
    if (copy.count == 0 && copy.duration_ms == 0)
        copy.duration_ms = 10 * 1000;
    return run_bench(app, &copy, count, arguments, measure_produce);
}

static int run_bench_consume(struct app *app, const void *settings, int count, char **arguments)
{
    struct bench_settings copy = *(const struct bench_settings *)settings;

    if (copy.consumers > 0)
        return app_fail(app, EXIT_USAGE, "--consumers stands beside producers, give --clients");
    if (count == 0 && copy.count == 0)
        copy.count = 100 * 1000;
    return run_bench(app, &copy, count, arguments, measure_consume);
}

static int run_bench_roundtrip(struct app *app, const void *settings, int count, char **arguments)
{
    struct bench_settings copy = *(const struct bench_settings *)settings;

    if (copy.clients > 1 || copy.consumers > 0)
        return app_fail(app, EXIT_USAGE, "a roundtrip is one message at a time, of one client");
    if (copy.size < 16)
        return app_fail(app, EXIT_USAGE,
                        "--size: give at least 16, a message must have room for its stamp");
    if (copy.count == 0 && copy.duration_ms == 0)
        copy.duration_ms = 10 * 1000;
    return run_bench(app, &copy, count, arguments, measure_roundtrip);
}

static const char *const acks[] = {"all", "1", "0", NULL};
static const char *const codecs[] = {"none", "gzip", "snappy", "lz4", "zstd", NULL};

static const struct option_spec bench_options[] = {
    {.name = "size",
     .letter = 's',
     .kind = OPTION_SIZE,
     .placeholder = "SIZE",
     .help = "bytes per message, random (default: 1K)",
     .offset = offsetof(struct bench_settings, size),
     .min = 1,
     .max = 64 << 20},
    {.name = "rate",
     .letter = 'r',
     .kind = OPTION_COUNT,
     .placeholder = "N",
     .help = "messages per second, each at its own moment; latency then counts from that moment "
             "(default: as fast as it goes)",
     .offset = offsetof(struct bench_settings, rate),
     .min = 1,
     .max = 100000000},
    {.name = "ramp",
     .kind = OPTION_DURATION,
     .placeholder = "DURATION",
     .help = "let the rate grow evenly from nothing for so long (default: 0)",
     .offset = offsetof(struct bench_settings, ramp_ms),
     .min = 1,
     .max = 24 * 3600 * 1000},
    {.name = "clients",
     .kind = OPTION_COUNT,
     .placeholder = "N",
     .help = "so many producers, or consumers, at once: a connection and a thread each. Producers "
             "share the count and the rate, each consumer reads everything (default: 1)",
     .offset = offsetof(struct bench_settings, clients),
     .min = 1,
     .max = 1000},
    {.name = "consumers",
     .kind = OPTION_COUNT,
     .placeholder = "N",
     .help = "of produce: so many consumers read meanwhile, each everything; their latency counts "
             "like the producers' (default: 0)",
     .offset = offsetof(struct bench_settings, consumers),
     .min = 1,
     .max = 1000},
    {.name = "keys",
     .kind = OPTION_COUNT,
     .placeholder = "N",
     .help = "give each message one of N keys, at random (default: none has a key)",
     .offset = offsetof(struct bench_settings, keys),
     .min = 1,
     .max = UINT32_MAX},
    {.name = "count",
     .letter = 'n',
     .kind = OPTION_COUNT,
     .placeholder = "COUNT",
     .help = "stop after COUNT messages",
     .offset = offsetof(struct bench_settings, count),
     .min = 1,
     .max = INT64_MAX},
    {.name = "duration",
     .letter = 'd',
     .kind = OPTION_DURATION,
     .placeholder = "DURATION",
     .help = "stop after so long (default: 10s unless --count is given)",
     .offset = offsetof(struct bench_settings, duration_ms),
     .min = 1,
     .max = 7 * 24 * 3600 * 1000},
    {.name = "in-flight",
     .letter = 'i',
     .kind = OPTION_COUNT,
     .placeholder = "N",
     .help = "messages handed over and not yet acknowledged, at most, of each client (default: "
             "10000)",
     .offset = offsetof(struct bench_settings, in_flight),
     .min = 1,
     .max = 100000000},
    {.name = "acks",
     .letter = 'a',
     .kind = OPTION_CHOICE,
     .placeholder = "all|1|0",
     .help = "when a message counts as stored (default: all)",
     .offset = offsetof(struct bench_settings, acks),
     .choices = acks},
    {.name = "partitions",
     .letter = 'p',
     .kind = OPTION_COUNT,
     .placeholder = "N",
     .help = "partitions of the topic, if it is made for the purpose (default: 1)",
     .offset = offsetof(struct bench_settings, partitions),
     .min = 1,
     .max = 100000},
    {.name = "linger",
     .kind = OPTION_DURATION,
     .placeholder = "DURATION",
     .help = "wait so long for a batch to fill (default: 0)",
     .offset = offsetof(struct bench_settings, linger_ms),
     .min = 0,
     .max = 60 * 1000},
    {.name = "batch",
     .kind = OPTION_SIZE,
     .placeholder = "SIZE",
     .help = "send a batch of this size without waiting (default: 1M)",
     .offset = offsetof(struct bench_settings, batch_size),
     .min = 1,
     .max = 64 << 20},
    {.name = "compression",
     .letter = 'z',
     .kind = OPTION_CHOICE,
     .placeholder = "CODEC",
     .help = "none, gzip, snappy, lz4 or zstd (default: none; the payload does not shrink)",
     .offset = offsetof(struct bench_settings, codec),
     .choices = codecs},
    {.name = "percentiles",
     .kind = OPTION_FLAG,
     .help = "show the whole distribution of latencies, each step halving what lies above",
     .offset = offsetof(struct bench_settings, percentiles)},
    {.name = "keep",
     .kind = OPTION_FLAG,
     .help = "leave the topic made for the purpose",
     .offset = offsetof(struct bench_settings, keep)},
    {.name = NULL},
};

static const struct bench_settings bench_defaults = {
    .size = 1024,
    .in_flight = 10000,
    .partitions = 1,
    .batch_size = 1 << 20,
    .clients = 1,
};

const struct command cmd_bench_produce = {
    .name = "bench produce",
    .arguments = "[TOPIC]",
    .max_arguments = 1,
    .summary = "Measure how fast records are stored",
    .description =
        "Without TOPIC a topic is made for the purpose and deleted afterwards. MB are 10^6 bytes "
        "of\n"
        "values. Latency counts to the acknowledgement: with --rate from the moment each message\n"
        "was due, so that a stall shows in all messages that had to wait for it; otherwise from\n"
        "the send. On a terminal a line shows the rates of the last second, with --rate its 99th\n"
        "percentile of latency (of several clients the worst one's), and the messages in flight.\n",
    .examples = "  weir bench produce --size 1K --rate 10000 --duration 30s\n"
                "  weir bench produce --rate 50000 --ramp 10s --clients 4 --consumers 2\n"
                "  weir bench produce --size 1M --in-flight 4 --count 1000 -o json\n",
    .options = bench_options,
    .settings_size = sizeof(struct bench_settings),
    .defaults = &bench_defaults,
    .run = run_bench_produce,
};

const struct command cmd_bench_consume = {
    .name = "bench consume",
    .arguments = "[TOPIC]",
    .max_arguments = 1,
    .summary = "Measure how fast records are read",
    .description =
        "Without TOPIC a topic is filled with --count messages first and deleted afterwards. A\n"
        "given TOPIC is read once from its beginning to its end, or with --count or --duration\n"
        "until then, also what arrives meanwhile. Messages that 'weir bench produce' sends to it\n"
        "meanwhile also tell their latency.\n",
    .examples = "  weir bench consume --count 1000000 --size 512\n"
                "  weir bench consume orders\n",
    .options = bench_options,
    .settings_size = sizeof(struct bench_settings),
    .defaults = &bench_defaults,
    .run = run_bench_consume,
};

const struct command cmd_bench_roundtrip = {
    .name = "bench roundtrip",
    .arguments = "[TOPIC]",
    .max_arguments = 1,
    .summary = "Measure the latency of single records",
    .description =
        "One message at a time: how long until it is acknowledged, and how long until a consumer\n"
        "waiting at the end has received it. With --rate both count from the moment the message\n"
        "was due, otherwise from its send. Uses partition 0.\n",
    .examples = "  weir bench roundtrip --size 1K --count 10000\n"
                "  weir bench roundtrip --rate 200 --duration 30s -o json\n",
    .options = bench_options,
    .settings_size = sizeof(struct bench_settings),
    .defaults = &bench_defaults,
    .run = run_bench_roundtrip,
};
