// SPDX-License-Identifier: Apache-2.0
// One message at a time: how long until it is acknowledged, and how long until a consumer that
// waits at the end of the topic has it.
//
// Invariant: message i + 1 is sent only after message i has been acknowledged and received.
#include "tools/bench.h"

#include "base/clock.h"
#include "tools/app.h"
#include "tools/interrupt.h"

enum {
    NS_PER_MS = 1000 * 1000,
    WAIT_NS = 100 * 1000 * 1000,
    SETUP_MS = 10 * 1000,
};

struct roundtrip {
    struct bench *bench;
    struct bench_result *acknowledged;
    struct bench_result *received;
    struct weir_client *client;
    struct weir_producer *producer;
    struct weir_consumer *consumer;
    uint64_t from_ns;
    uint64_t stamp_ns;
    bool is_acknowledged;
    bool is_received;
    int error;
    char reason[512];
};

static void delivery_done(void *context, const struct weir_delivery *delivery)
{
    struct roundtrip *run = context;

    run->is_acknowledged = true;
    if (delivery->error == WEIR_OK) {
        histogram_record(&run->acknowledged->latency, clock_monotonic_ns() - run->from_ns);
        return;
    }
    run->error = delivery->error;
    snprintf(run->reason, sizeof(run->reason), "%s", delivery->reason);
}

static int take_records(struct roundtrip *run)
{
    struct weir_record record;
    uint64_t stamp_ns;
    int error = weir_consumer_poll(run->consumer, 0);

    while (error == WEIR_OK && weir_consumer_next(run->consumer, &record)) {
        if (!bench_payload_stamp(record.value, &stamp_ns) || stamp_ns != run->stamp_ns)
            continue;
        run->is_received = true;
        histogram_record(&run->received->latency, clock_monotonic_ns() - run->from_ns);
    }
    return error;
}

static int send_one(struct roundtrip *run, uint64_t from_ns)
{
    run->from_ns = from_ns;
    run->stamp_ns = bench_wall_ns();
    run->is_acknowledged = false;
    run->is_received = false;

    struct weir_message message = {
        .value = bench_payload_next(&run->bench->payload, run->stamp_ns),
    };
    return weir_produce(run->producer, run->bench->topic, 0, &message);
}

// Drives the client until the message is back or nobody wants to wait any longer.
static int await_one(struct roundtrip *run)
{
    while ((!run->is_acknowledged || !run->is_received) && run->error == WEIR_OK &&
           !interrupt_requested()) {
        int error = take_records(run);
        if (error != WEIR_OK)
            return error;
        if (!run->is_acknowledged || !run->is_received)
            bench_wait(run->client, clock_monotonic_ns() + WAIT_NS);
    }
    return run->error;
}

static int measure(struct roundtrip *run, struct bench_live *live)
{
    const struct bench_settings *settings = run->bench->settings;
    uint64_t start_ns = clock_monotonic_ns();
    uint64_t end_ns = settings->duration_ms > 0
                          ? start_ns + (uint64_t)settings->duration_ms * NS_PER_MS
                          : UINT64_MAX;
    int error = WEIR_OK;

    for (int64_t i = 0; error == WEIR_OK && (settings->count == 0 || i < settings->count); i++) {
        uint64_t due_ns = bench_due_ns(settings, start_ns, i);
        uint64_t now_ns;
        while ((now_ns = clock_monotonic_ns()) < due_ns && !interrupt_requested()) {
            bench_wait(run->client, due_ns);
            weir_poll(run->client, 0);
        }
        if (now_ns >= end_ns || interrupt_requested())
            break;
        error = send_one(run, settings->rate > 0 ? due_ns : now_ns);
        if (error == WEIR_OK)
            error = await_one(run);
        run->acknowledged->messages = i + 1;
        run->acknowledged->bytes = (i + 1) * settings->size;
        bench_progress(run->bench, live, run->acknowledged, -1);
    }
    run->acknowledged->elapsed_ns = clock_monotonic_ns() - start_ns;
    run->received->elapsed_ns = run->acknowledged->elapsed_ns;
    return error;
}

static int fail(struct roundtrip *run, int error)
{
    if (run->error != WEIR_OK)
        return app_fail(run->bench->app, app_exit_code(run->error), "%s", run->reason);
    return app_fail_client(run->bench->app, run->client, error);
}

// The consumer must stand at the end before the first message is sent.
static int place_consumer(struct roundtrip *run)
{
    struct weir_offset_query query = {.topic = run->bench->topic, .at = WEIR_END};
    int error = weir_list_offsets(run->client, &query, 1, SETUP_MS);

    if (error == WEIR_OK)
        error = weir_consumer_assign(run->consumer, run->bench->topic, 0, query.offset);
    return error;
}

static int open_client(struct roundtrip *run)
{
    struct weir_config *config = NULL;
    int code = 0;

    run->client = bench_connect(run->bench, &config, &code);
    if (run->client == NULL)
        return code;
    run->producer = weir_producer_new(run->client, config);
    run->consumer = weir_consumer_new(run->client, config);
    weir_config_free(config);
    if (run->producer == NULL || run->consumer == NULL)
        return app_fail(run->bench->app, EXIT_FAILED, "out of memory");
    weir_producer_on_delivery(run->producer, delivery_done, run);
    int error = place_consumer(run);
    return error == WEIR_OK ? 0 : fail(run, error);
}

int bench_roundtrip(struct bench *bench, struct bench_result *acknowledged,
                    struct bench_result *received)
{
    struct roundtrip run = {
        .bench = bench,
        .acknowledged = acknowledged,
        .received = received,
    };
    struct bench_live live;
    int code = open_client(&run);

    if (code == 0) {
        bench_live_begin(bench, &live, "measured", bench->settings->count);
        int error = measure(&run, &live);
        bench_live_end(&live);
        code = error == WEIR_OK ? 0 : fail(&run, error);
    }
    const char *from = bench->settings->rate > 0 ? "intended send time" : "send";
    struct bench_result *results[] = {acknowledged, received};
    for (size_t i = 0; i < 2; i++) {
        results[i]->latency_from = from;
        results[i]->messages = (int64_t)results[i]->latency.total;
        results[i]->bytes = results[i]->messages * bench->settings->size;
    }
    weir_producer_free(run.producer);
    weir_consumer_free(run.consumer);
    weir_client_free(run.client);
    return code;
}
