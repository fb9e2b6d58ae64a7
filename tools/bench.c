// SPDX-License-Identifier: Apache-2.0
// Payload, pacing and results of the benchmarks.
//
// With a rate, latency counts from the moment a message was due, not from the moment it was handed
// over: when the broker stalls, every message that should have been sent meanwhile waits, and its
// wait belongs into the result. Without a rate nothing is due, so it counts from the send.
#include "tools/bench.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/random.h"
#include "tools/app.h"
#include "tools/interrupt.h"
#include "tools/progress.h"

enum {
    POOL_SIZE = 4 << 20,
    STAMP_SIZE = 16,
    NS_PER_MS = 1000 * 1000,
    NS_PER_SECOND = 1000 * 1000 * 1000,
};

static const unsigned char stamp_magic[8] = {'w', 'e', 'i', 'r', 'b', 'n', 'c', 'h'};

int bench_payload_init(struct bench_payload *payload, size_t size)
{
    struct random random;

    random_system(&random.state, sizeof(random.state));
    *payload = (struct bench_payload){.size = size, .pool_size = POOL_SIZE + size};
    payload->bytes = malloc(payload->pool_size + sizeof(uint64_t));
    if (payload->bytes == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < payload->pool_size; i += sizeof(uint64_t)) {
        uint64_t bits = random_next(&random);
        memcpy(payload->bytes + i, &bits, sizeof(bits));
    }
    return 0;
}

void bench_payload_free(struct bench_payload *payload)
{
    free(payload->bytes);
    payload->bytes = NULL;
}

struct weir_bytes bench_payload_next(struct bench_payload *payload, uint64_t wall_ns)
{
    unsigned char *value = payload->bytes + payload->next;

    payload->next += payload->size;
    if (payload->next > POOL_SIZE)
        payload->next = 0;
    if (payload->size >= STAMP_SIZE) {
        memcpy(value, stamp_magic, sizeof(stamp_magic));
        memcpy(value + sizeof(stamp_magic), &wall_ns, sizeof(wall_ns));
    }
    return weir_bytes_of(value, payload->size);
}

bool bench_payload_stamp(struct weir_bytes value, uint64_t *wall_ns)
{
    const unsigned char *bytes = value.data;

    if (value.size < STAMP_SIZE || memcmp(bytes, stamp_magic, sizeof(stamp_magic)) != 0)
        return false;
    memcpy(wall_ns, bytes + sizeof(stamp_magic), sizeof(*wall_ns));
    return true;
}

uint64_t bench_wall_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * NS_PER_SECOND + (uint64_t)now.tv_nsec;
}

// A ramp of T seconds to R messages a second sends R*T/2 of them, message i at sqrt(2*i*T/R); from
// then on everything is half a ramp later than it would be without one.
uint64_t bench_due_ns(const struct bench_settings *settings, uint64_t start_ns, int64_t index)
{
    if (settings->rate == 0)
        return start_ns;
    double ramp_s = (double)settings->ramp_ms / 1000;
    if ((double)index < (double)settings->rate * ramp_s / 2)
        return start_ns + (uint64_t)(sqrt(2 * (double)index * ramp_s / (double)settings->rate) *
                                     NS_PER_SECOND);
    // Whole seconds apart, so that the product cannot overflow and no error adds up.
    uint64_t rate = (uint64_t)settings->rate;
    uint64_t number = (uint64_t)index;
    return start_ns + (uint64_t)settings->ramp_ms * NS_PER_MS / 2 + number / rate * NS_PER_SECOND +
           number % rate * NS_PER_SECOND / rate;
}

int64_t bench_share(const struct bench *bench)
{
    int64_t count = bench->settings->count;

    return count / bench->seats + (bench->seat < count % bench->seats ? 1 : 0);
}

uint64_t bench_await_start(const struct bench *bench, struct weir_client *client)
{
    struct bench_shared *shared = bench->shared;

    if (shared == NULL)
        return clock_monotonic_ns();
    atomic_fetch_add(&shared->ready, 1);
    while (atomic_load(&shared->start_ns) == 0 && !atomic_load(&shared->over))
        weir_poll(client, 1);
    return atomic_load(&shared->start_ns);
}

void bench_live_begin(const struct bench *bench, struct bench_live *live, const char *verb,
                      int64_t total)
{
    bench_live_start(live, bench->app->err, bench->live && bench->counters == NULL, verb, total);
}

void bench_progress(const struct bench *bench, struct bench_live *live, struct bench_result *result,
                    int64_t in_flight)
{
    struct bench_counters *counters = bench->counters;

    if (bench->live && bench->settings->rate > 0)
        bench_second_update(&result->last_second, &result->latency);
    struct bench_moment moment = {
        .messages = result->messages,
        .bytes = result->bytes,
        .in_flight = in_flight,
        .p99_ns = result->last_second.p99_ns,
    };
    bench_live_update(live, &moment);
    if (counters == NULL)
        return;
    atomic_store_explicit(&counters->messages, moment.messages, memory_order_relaxed);
    atomic_store_explicit(&counters->bytes, moment.bytes, memory_order_relaxed);
    atomic_store_explicit(&counters->in_flight, moment.in_flight, memory_order_relaxed);
    atomic_store_explicit(&counters->p99_ns, moment.p99_ns, memory_order_relaxed);
}

void bench_wait(const struct weir_client *client, uint64_t until_ns)
{
    struct pollfd fd = {.fd = weir_fd(client), .events = POLLIN};
    uint64_t now_ns = clock_monotonic_ns();
    uint64_t wait_ns = until_ns > now_ns ? until_ns - now_ns : 0;
    int timeout_ms = weir_timeout_ms(client);

    if (timeout_ms >= 0 && (uint64_t)timeout_ms * NS_PER_MS < wait_ns)
        wait_ns = (uint64_t)timeout_ms * NS_PER_MS;
    struct timespec timeout = {.tv_sec = (time_t)(wait_ns / NS_PER_SECOND),
                               .tv_nsec = (long)(wait_ns % NS_PER_SECOND)};
    ppoll(&fd, 1, &timeout, NULL);
}

static const char *const acks_names[] = {"all", "1", "0"};
static const char *const codec_names[] = {"none", "gzip", "snappy", "lz4", "zstd"};

struct weir_client *bench_connect(const struct bench *bench, struct weir_config **config, int *code)
{
    enum { MEMORY_MIN = 64 << 20, MESSAGE_MIN = 1 << 20, FRAMING_MAX = 64 * 1024 };
    const struct bench_settings *settings = bench->settings;
    struct app *app = bench->app;
    struct weir_client *client = NULL;
    int64_t limit = settings->size + FRAMING_MAX;

    *config = app_config(app, code);
    if (*config == NULL)
        return NULL;
    *code = app_set_text(app, *config, "acks", acks_names[settings->acks]);
    if (*code == 0)
        *code = app_set_text(app, *config, "compression.type", codec_names[settings->codec]);
    if (*code == 0)
        *code = app_set(app, *config, "linger.ms", settings->linger_ms);
    if (*code == 0)
        *code = app_set(app, *config, "batch.size", settings->batch_size);
    if (*code == 0)
        *code =
            app_set(app, *config, "message.max.bytes", limit > MESSAGE_MIN ? limit : MESSAGE_MIN);
    if (*code == 0)
        *code =
            app_set(app, *config, "buffer.memory", 4 * limit > MEMORY_MIN ? 4 * limit : MEMORY_MIN);
    if (*code == 0)
        client = app_connect(app, *config, code);
    interrupt_catch();
    if (client == NULL) {
        weir_config_free(*config);
        *config = NULL;
    }
    return client;
}

static double per_second(int64_t amount, uint64_t elapsed_ns)
{
    return elapsed_ns == 0 ? 0 : (double)amount * NS_PER_SECOND / (double)elapsed_ns;
}

static double quantile_us(const struct bench_result *result, double quantile)
{
    return (double)histogram_quantile(&result->latency, quantile) / 1000;
}

// The distribution as HDR histograms are printed: each step halves what lies above it, down to the
// last message.
static double next_quantile(double quantile)
{
    return quantile + (1 - quantile) / 2;
}

static bool has_quantile(const struct bench_result *result, double quantile)
{
    return (1 - quantile) * (double)result->latency.total >= 1;
}

static json_t *distribution_json(const struct bench_result *result)
{
    json_t *steps = json_array();

    for (double q = 0; has_quantile(result, q); q = next_quantile(q))
        json_array_append_new(steps,
                              json_pack("{s:f, s:f}", "quantile", q, "us", quantile_us(result, q)));
    json_array_append_new(
        steps, json_pack("{s:f, s:f}", "quantile", 1.0, "us", (double)result->latency.max / 1000));
    return steps;
}

static json_t *latency_json(const struct bench_result *result, bool percentiles)
{
    if (result->latency_from == NULL || result->latency.total == 0)
        return json_null();
    json_t *latency = json_pack(
        "{s:s, s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "from", result->latency_from,
        "samples", (json_int_t)result->latency.total, "mean_us",
        histogram_mean(&result->latency) / 1000, "min_us", (double)result->latency.min / 1000,
        "p50_us", quantile_us(result, 0.5), "p90_us", quantile_us(result, 0.9), "p99_us",
        quantile_us(result, 0.99), "p999_us", quantile_us(result, 0.999), "p9999_us",
        quantile_us(result, 0.9999), "max_us", (double)result->latency.max / 1000);
    if (percentiles)
        json_object_set_new(latency, "distribution", distribution_json(result));
    return latency;
}

json_t *bench_result_json(const struct bench_result *result, bool percentiles)
{
    return json_pack("{s:I, s:I, s:I, s:f, s:f, s:f, s:o}", "messages",
                     (json_int_t)result->messages, "failed", (json_int_t)result->failed, "bytes",
                     (json_int_t)result->bytes, "seconds",
                     (double)result->elapsed_ns / NS_PER_SECOND, "messages_per_second",
                     per_second(result->messages, result->elapsed_ns), "mb_per_second",
                     per_second(result->bytes, result->elapsed_ns) / 1e6, "latency",
                     latency_json(result, percentiles));
}

static void print_distribution(const struct bench_result *result, FILE *out)
{
    fprintf(out, "  %12s %14s %12s\n", "percentile", "us", "above");
    for (double q = 0; has_quantile(result, q); q = next_quantile(q))
        fprintf(out, "  %12.6f %14.1f %12.0f\n", q * 100, quantile_us(result, q),
                (1 - q) * (double)result->latency.total);
    fprintf(out, "  %12.6f %14.1f %12d\n", 100.0, (double)result->latency.max / 1000, 0);
}

static void print_latency(const char *name, double us, FILE *out)
{
    if (us < 1000)
        fprintf(out, "  %s %.0f us", name, us);
    else
        fprintf(out, "  %s %.2f ms", name, us / 1000);
}

void bench_result_print(const struct bench_result *result, const char *name, bool percentiles,
                        FILE *out)
{
    char messages[32];
    char rate[32];

    progress_count(messages, sizeof(messages), result->messages);
    progress_count(rate, sizeof(rate), (int64_t)per_second(result->messages, result->elapsed_ns));
    fprintf(out, "%s: %s messages in %.2f s: %s messages/s, %.2f MB/s\n", name, messages,
            (double)result->elapsed_ns / NS_PER_SECOND, rate,
            per_second(result->bytes, result->elapsed_ns) / 1e6);
    if (result->failed > 0)
        fprintf(out, "  failed: %" PRId64 "\n", result->failed);
    if (result->latency_from == NULL || result->latency.total == 0)
        return;
    fprintf(out, "  latency from the %s:", result->latency_from);
    print_latency("p50", quantile_us(result, 0.5), out);
    print_latency("p99", quantile_us(result, 0.99), out);
    print_latency("p99.9", quantile_us(result, 0.999), out);
    print_latency("p99.99", quantile_us(result, 0.9999), out);
    print_latency("max", (double)result->latency.max / 1000, out);
    fputc('\n', out);
    if (percentiles)
        print_distribution(result, out);
}
