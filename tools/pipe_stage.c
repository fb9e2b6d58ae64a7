// SPDX-License-Identifier: Apache-2.0
// The stage's life: open, turn after turn, then an orderly end.
//
// A stage that stops (Ctrl-C, the end of --until-end, a failure) reads no more and begins no run;
// runs under way may finish within --grace (not after a failure); what has been handed to the
// producer is waited for; then what is done is committed and the group left. Whatever is cut short
// was not committed, and is done again by the next run.
#include "tools/pipe_stage.h"

#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "tools/interrupt.h"
#include "tools/value.h"

enum {
    NS_PER_MS = 1000 * 1000,
    RUN_RECORDS = 256,
    RUN_BYTES = 1 << 20,
    LANE_RECORDS = 4096,
    BATCH_BYTES = 1 << 20,
    BATCH_BYTES_MIN = 256,
    MESSAGE_SLACK = 64 * 1024,
    MESSAGE_MAX = 1 << 30,
};

static const char *const codecs[] = {"none", "gzip", "snappy", "lz4", "zstd"};

int64_t pipe_stage_clock_ms(void)
{
    return (int64_t)(clock_monotonic_ns() / NS_PER_MS);
}

void pipe_stage_fail(struct pipe_stage *stage, int code, const char *format, ...)
{
    char sentence[2048];
    va_list arguments;

    if (stage->code != 0)
        return;
    stage->code = code;
    progress_end(&stage->progress);
    va_start(arguments, format);
    vsnprintf(sentence, sizeof(sentence), format, arguments);
    va_end(arguments);
    app_fail(stage->app, code, "%s", sentence);
}

void pipe_stage_fail_client(struct pipe_stage *stage, int error)
{
    if (stage->code != 0)
        return;
    progress_end(&stage->progress);
    stage->code = app_fail_client(stage->app, stage->client, error);
}

// ----------------------------------------------------------------------------------------- opening

// Outputs are held to --max-bytes before they get this far. A record that goes on as it is, or to
// the dead letters, may be as large as what is read.
static int64_t largest_message(const struct pipe_options *options)
{
    int64_t most =
        options->max_bytes > options->memory_bytes ? options->max_bytes : options->memory_bytes;

    return most + MESSAGE_SLACK < MESSAGE_MAX ? most + MESSAGE_SLACK : MESSAGE_MAX;
}

// The broker may be away for as long as it takes: the stage waits for it.
static int configure(struct pipe_stage *stage, struct weir_config *config)
{
    const struct pipe_options *options = stage->options;
    struct app *app = stage->app;
    int code = app_set_text(app, config, "group.id", options->group);

    if (code == 0)
        code = app_set_text(app, config, "auto.offset.reset", "earliest");
    if (code == 0)
        code = app_set_text(app, config, "client.id", "weir-pipe");
    if (code == 0)
        code = app_set_text(app, config, "compression.type", codecs[options->codec]);
    if (code == 0)
        code = app_set(app, config, "delivery.timeout.ms", 24 * 3600 * 1000);
    if (code == 0)
        code = app_set(app, config, "message.max.bytes", largest_message(options));
    if (code == 0)
        code =
            app_set(app, config, "buffer.memory", 4 * options->max_bytes + options->memory_bytes);
    return code;
}

// The largest batch that the topic takes; INT64_MAX when nobody knows.
static int64_t batch_limit(struct pipe_stage *stage, const char *topic)
{
    struct weir_setting_list *list = NULL;
    int64_t limit = INT64_MAX;

    if (topic == NULL || weir_describe_settings(stage->client, WEIR_RESOURCE_TOPIC, topic, &list,
                                                app_timeout_ms(stage->app)) != WEIR_OK)
        return limit;
    for (size_t i = 0; i < list->count; i++) {
        const struct weir_setting_info *setting = &list->settings[i];
        if (strcmp(setting->name, "max.message.bytes") == 0 && setting->value != NULL)
            value_size(setting->value, &limit);
    }
    weir_setting_list_free(list);
    return limit;
}

// A batch beyond the topic's limit would be refused with all that is in it: only a record that is
// too large by itself is to be.
static int limit_batches(struct pipe_stage *stage, struct weir_config *config)
{
    int64_t limit = batch_limit(stage, stage->options->to);
    int64_t dead_letter_limit = batch_limit(stage, stage->options->dead_letter);

    limit = dead_letter_limit < limit ? dead_letter_limit : limit;
    if (limit >= BATCH_BYTES)
        return 0;
    return app_set(stage->app, config, "batch.size",
                   limit > BATCH_BYTES_MIN ? limit : BATCH_BYTES_MIN);
}

static int open_client(struct pipe_stage *stage)
{
    int code = 0;
    struct weir_config *config = app_config(stage->app, &code);

    if (config == NULL)
        return code;
    code = configure(stage, config);
    if (code == 0)
        stage->client = app_connect(stage->app, config, &code);
    if (stage->client != NULL)
        code = limit_batches(stage, config);
    if (stage->client != NULL && code == 0) {
        stage->producer = weir_producer_new(stage->client, config);
        stage->consumer = weir_consumer_new(stage->client, config);
    }
    weir_config_free(config);
    if (code == 0 && (stage->producer == NULL || stage->consumer == NULL))
        code = app_fail(stage->app, EXIT_FAILED, "out of memory");
    if (code == 0)
        weir_producer_on_delivery(stage->producer, pipe_output_delivered, stage);
    interrupt_catch();
    return code;
}

static int open_stage(struct pipe_stage *stage)
{
    const struct pipe_options *options = stage->options;
    size_t run = options->batch > 0 ? (size_t)options->batch : RUN_RECORDS;
    const struct pipe_rules rules = {
        .run_records = run,
        .run_bytes = options->batch > 0 ? (size_t)options->memory_bytes / 4 : RUN_BYTES,
        .linger_ms = options->batch > 0 ? options->linger_ms : 0,
        .retries = (uint32_t)options->retries,
        .pause_ms = options->pause_ms,
        .lane_records = 4 * run > LANE_RECORDS ? 4 * run : LANE_RECORDS,
        .lane_bytes = (size_t)options->memory_bytes,
    };

    pipe_engine_init(&stage->engine, &rules);
    list_init(&stage->inputs);
    list_init(&stage->refused);
    stage->seat_count = (size_t)options->workers;
    stage->seats = calloc(stage->seat_count, sizeof(*stage->seats));
    if (stage->seats == NULL)
        return app_fail(stage->app, EXIT_FAILED, "out of memory");
    for (size_t i = 0; i < stage->seat_count; i++)
        pipe_worker_init(&stage->seats[i].worker);
    return open_client(stage);
}

// ---------------------------------------------------------------------------------------- running

static void stop(struct pipe_stage *stage)
{
    if (stage->stopping)
        return;
    stage->stopping = true;
    stage->stop_by_ms = stage->now_ms + (stage->code == 0 ? stage->options->grace_ms : 0);
}

static void turn(struct pipe_stage *stage)
{
    stage->now_ms = pipe_stage_clock_ms();
    int error = weir_consumer_poll(stage->consumer, 0);
    if (error != WEIR_OK && !weir_error_retriable(error))
        pipe_stage_fail_client(stage, error);
    pipe_output_settle(stage);
    pipe_inputs_settle(stage);
    if (!stage->stopping && stage->code == 0) {
        pipe_inputs_take(stage);
        pipe_seats_begin(stage);
        pipe_inputs_balance(stage);
        stage->finished = stage->code == 0 && pipe_inputs_finished(stage);
    }
    pipe_summary_update(stage);
    if (!stage->finished)
        pipe_seats_turn(stage);
}

static bool drained(const struct pipe_stage *stage)
{
    if (stage->code != 0)
        return pipe_seats_idle(stage) && weir_producer_queued(stage->producer) == 0;
    for (struct list *node = stage->inputs.next; node != &stage->inputs; node = node->next) {
        if (list_entry(node, struct pipe_input, node)->lane.count > 0)
            return false;
    }
    return true;
}

static void work(struct pipe_stage *stage)
{
    while (stage->code == 0 && !interrupt_requested() && !stage->finished)
        turn(stage);
    stop(stage);
    int64_t end_ms = stage->stop_by_ms + app_timeout_ms(stage->app);
    while (!drained(stage) && stage->now_ms < end_ms) {
        turn(stage);
        // A failure on the way ends the grace.
        if (stage->code != 0 && stage->stop_by_ms > stage->now_ms)
            stage->stop_by_ms = stage->now_ms;
    }
    if (!drained(stage))
        pipe_stage_fail(stage, EXIT_UNREACHABLE,
                        "stopped before the broker had stored all outputs; what is missing is not "
                        "committed, and is done again by the next run");
}

// What is left is of a stage that could not end in good order.
static void close_stage(struct pipe_stage *stage)
{
    struct list *node;

    weir_producer_free(stage->producer);
    weir_consumer_free(stage->consumer);
    weir_client_free(stage->client);
    while ((node = list_pop(&stage->inputs)) != NULL) {
        struct pipe_input *input = list_entry(node, struct pipe_input, node);
        while ((node = list_pop(&input->lane.entries)) != NULL)
            pipe_record_free(pipe_record_of(list_entry(node, struct pipe_entry, node)));
        free(input);
    }
    free(stage->seats);
    group_ends_free(&stage->ends);
}

int pipe_stage_run(struct app *app, const struct pipe_options *options, char *const *command,
                   struct pipe_check *check)
{
    struct pipe_stage stage = {
        .app = app,
        .options = options,
        .command = command,
        .check = check,
        .format =
            {
                .kind = (enum pipe_format_kind)options->format,
                .envelope = options->envelope,
                .delimiter = options->delimiter,
                .topic = options->from,
                .check = check,
            },
        .start_ns = clock_monotonic_ns(),
    };

    int code = open_stage(&stage);
    if (code == 0 && pipe_inputs_open(&stage)) {
        progress_start(&stage.progress, app->err, progress_wanted(app->err), "", 0);
        work(&stage);
        pipe_seats_close(&stage);
        pipe_inputs_close(&stage);
        progress_end(&stage.progress);
        if (stage.code == 0 && options->until_end && !stage.finished)
            stage.code = EXIT_INTERRUPTED;
        pipe_summary_print(&stage);
    }
    close_stage(&stage);
    return code != 0 ? code : stage.code;
}
