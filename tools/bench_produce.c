// SPDX-License-Identifier: Apache-2.0
// Produces stamped messages, as fast as the bound on messages in flight allows or at a fixed rate.
//
// Invariants:
//  1. Message number i of all clients is due at bench_due_ns(i), whatever happened to those before
//     it, and whichever client sends it.
//  2. sent - reported never exceeds the bound on messages in flight.
//  3. Without a rate, a message counts from a moment at most CLOCK_EVERY messages before its send:
//     too early, never too late.
#include "tools/bench.h"

#include <inttypes.h>

#include "base/clock.h"
#include "base/random.h"
#include "tools/app.h"
#include "tools/interrupt.h"

enum {
    NS_PER_MS = 1000 * 1000,
    WAIT_NS = 100 * 1000 * 1000,
    FLUSH_MS = 60 * 1000,
    KEY_SIZE = 8,
    CLOCK_EVERY = 16
};

struct producing {
    struct bench *bench;
    struct bench_result *result;
    struct weir_client *client;
    struct weir_producer *producer;
    uint64_t start_ns;
    uint64_t end_ns; // of sending; UINT64_MAX without a duration
    uint64_t last_ns;
    uint64_t wall_offset_ns; // from monotonic time to wall time
    int64_t share;           // of the messages to be sent in all; INT64_MAX without a limit
    int64_t sent;
    int64_t reported;
    struct random random; // chooses keys
    char key[KEY_SIZE];
    int first_error;
    char reason[512];
};

// Messages that were sent at the same time have had the same latency.
static void latency_record(struct histogram *latency, uint64_t now_ns, void *const *opaques,
                           size_t count)
{
    for (size_t i = 0, next; i < count; i = next) {
        for (next = i + 1; next < count && opaques[next] == opaques[i];)
            next++;
        histogram_record_times(latency, now_ns - (uint64_t)(uintptr_t)opaques[i], next - i);
    }
}

static void batch_done(void *context, const struct weir_batch_delivery *delivery)
{
    struct producing *run = context;
    struct bench_result *result = run->result;
    int64_t count = (int64_t)delivery->count;

    run->reported += count;
    run->last_ns = clock_monotonic_ns();
    if (delivery->error != WEIR_OK) {
        result->failed += count;
        if (run->first_error == WEIR_OK) {
            run->first_error = delivery->error;
            snprintf(run->reason, sizeof(run->reason), "%s", delivery->reason);
        }
        return;
    }
    result->messages += count;
    result->bytes += count * run->bench->settings->size;
    latency_record(&result->latency, run->last_ns, delivery->opaques, delivery->count);
}

static bool finished(const struct producing *run, uint64_t now_ns)
{
    return run->sent >= run->share || now_ns >= run->end_ns || interrupt_requested();
}

// When this client's next message is due.
static uint64_t next_due_ns(const struct producing *run)
{
    const struct bench *bench = run->bench;

    return bench_due_ns(bench->settings, run->start_ns, run->sent * bench->seats + bench->seat);
}

// One of so many keys, as hexadecimal digits. Absent when messages are to have none.
static struct weir_bytes next_key(struct producing *run)
{
    static const char digits[] = "0123456789abcdef";
    int64_t keys = run->bench->settings->keys;

    if (keys == 0)
        return (struct weir_bytes){0};
    uint64_t key = random_below(&run->random, (uint64_t)keys);
    for (int i = 0; i < KEY_SIZE; i++)
        run->key[i] = digits[key >> (4 * (KEY_SIZE - 1 - i)) & 0xf];
    return weir_bytes_of(run->key, KEY_SIZE);
}

static int send_one(struct producing *run, uint64_t from_ns)
{
    struct weir_message message = {
        .key = next_key(run),
        .value = bench_payload_next(&run->bench->payload, from_ns + run->wall_offset_ns),
        .opaque = (void *)(uintptr_t)from_ns,
    };
    return weir_produce(run->producer, run->bench->topic, WEIR_ANY_PARTITION, &message);
}

// Sends what is due. Returns WEIR_OK or the error that ends the run; a full queue is neither.
static int send_due(struct producing *run, uint64_t *now_ns)
{
    const struct bench_settings *settings = run->bench->settings;
    bool paced = settings->rate > 0;

    run->wall_offset_ns = bench_wall_ns() - clock_monotonic_ns();
    while (!finished(run, *now_ns) && run->sent - run->reported < settings->in_flight) {
        uint64_t due_ns = paced ? next_due_ns(run) : *now_ns;
        if (due_ns > *now_ns)
            break;
        int error = send_one(run, due_ns);
        if (error == WEIR_ERR_QUEUE_FULL)
            break;
        if (error != WEIR_OK)
            return error;
        run->sent++;
        // Reading the clock costs as much as sending a message.
        if (paced || run->sent % CLOCK_EVERY == 0)
            *now_ns = clock_monotonic_ns();
    }
    return WEIR_OK;
}

static int produce(struct producing *run, struct bench_live *live)
{
    const struct bench_settings *settings = run->bench->settings;
    uint64_t now_ns = bench_await_start(run->bench, run->client);

    if (now_ns == 0)
        return WEIR_OK;
    run->share = settings->count > 0 ? bench_share(run->bench) : INT64_MAX;
    run->start_ns = now_ns;
    run->last_ns = now_ns;
    run->end_ns = settings->duration_ms > 0 ? now_ns + (uint64_t)settings->duration_ms * NS_PER_MS
                                            : UINT64_MAX;
    while (!finished(run, now_ns)) {
        int error = send_due(run, &now_ns);
        if (error != WEIR_OK)
            return error;
        // Gives the library the occasion to send before anybody waits.
        weir_poll(run->client, 0);
        bench_progress(run->bench, live, run->result, run->sent - run->reported);

        uint64_t until_ns = now_ns + WAIT_NS;
        bool may_send = run->sent - run->reported < settings->in_flight;
        uint64_t due_ns = next_due_ns(run);
        if (may_send && due_ns < until_ns)
            until_ns = due_ns;
        if (until_ns < run->end_ns)
            bench_wait(run->client, until_ns);
        else
            bench_wait(run->client, run->end_ns);
        now_ns = clock_monotonic_ns();
    }
    return WEIR_OK;
}

int bench_produce(struct bench *bench, struct bench_result *result)
{
    struct producing run = {.bench = bench, .result = result};
    struct app *app = bench->app;
    struct weir_config *config = NULL;
    struct bench_live live;
    int code = 0;

    result->latency_from = bench->settings->rate > 0 ? "intended send time" : "send";
    run.client = bench_connect(bench, &config, &code);
    if (run.client == NULL)
        return code;
    run.producer = weir_producer_new(run.client, config);
    weir_config_free(config);
    if (run.producer == NULL) {
        weir_client_free(run.client);
        return app_fail(app, EXIT_FAILED, "out of memory");
    }
    weir_producer_on_batch(run.producer, batch_done, &run);
    random_system(&run.random.state, sizeof(run.random.state));
    bench_live_begin(bench, &live, "produced", bench->settings->count);
    int error = produce(&run, &live);
    if (error == WEIR_OK)
        error = weir_flush(run.producer, FLUSH_MS);
    bench_live_end(&live);
    result->elapsed_ns = run.last_ns - run.start_ns;
    if (run.first_error != WEIR_OK)
        code = app_fail(app, app_exit_code(run.first_error),
                        "%" PRId64 " messages were not stored, the first because: %s%s",
                        result->failed, run.reason, app_hint(run.first_error));
    else if (error != WEIR_OK)
        code = app_fail_client(app, run.client, error);
    weir_producer_free(run.producer);
    weir_client_free(run.client);
    return code;
}
