// SPDX-License-Identifier: Apache-2.0
// Several clients of one benchmark: each is a thread with a connection, a payload and a result of
// its own. The thread that called waits, and shows how far they are together.
//
// Invariants:
//  1. Nobody begins before everybody could: connecting is not measured.
//  2. What a client counts is its own until its thread has been joined; only struct bench_shared
//     and struct bench_counters are touched by two threads, and those are atomic.
//  3. What a client reports goes into a text of its own; of several only the first failure is
//     shown.
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "tools/app.h"
#include "tools/bench.h"
#include "tools/interrupt.h"

enum {
    TICK_NS = 20 * 1000 * 1000,
    QUIET_S = 10, // after which nobody waits for what consumers have not got
};

static const uint64_t ns_per_s = 1000 * 1000 * 1000;

struct seat {
    struct app app; // reports into `text`
    char *text;
    size_t text_size;
    struct bench bench;
    bench_work *work;
    struct bench_result *result;
    struct bench_counters counters;
    pthread_t thread;
    bool started;
    atomic_bool done;
    int code;
};

struct crew {
    const struct bench *bench;
    struct seat *seats; // producers or readers first, then those that follow them
    int64_t workers;
    int64_t count;
    struct bench_shared shared;
};

static void *seat_main(void *context)
{
    struct seat *seat = context;

    seat->code = seat->work(&seat->bench, seat->result);
    atomic_store(&seat->done, true);
    return NULL;
}

static int seat_init(struct crew *crew, int64_t number, bench_work *work)
{
    const struct bench *bench = crew->bench;
    struct seat *seat = &crew->seats[number];
    bool follows = number >= crew->workers;

    seat->app = *bench->app;
    seat->app.err = open_memstream(&seat->text, &seat->text_size);
    seat->result = calloc(1, sizeof(*seat->result));
    seat->work = follows ? bench_consume : work;
    seat->bench = (struct bench){
        .app = &seat->app,
        .settings = bench->settings,
        .topic = bench->topic,
        .seat = follows ? 0 : number,
        .seats = follows ? 1 : crew->workers,
        .live = bench->live,
        .follows = follows,
        .shared = &crew->shared,
        .counters = &seat->counters,
    };
    if (seat->app.err == NULL || seat->result == NULL)
        return -1;
    return bench_payload_init(&seat->bench.payload, (size_t)bench->settings->size);
}

static void seat_free(struct seat *seat)
{
    bench_payload_free(&seat->bench.payload);
    if (seat->app.err != NULL)
        fclose(seat->app.err);
    free(seat->text);
    free(seat->result);
}

static void tick(void)
{
    struct timespec pause = {.tv_nsec = TICK_NS};

    nanosleep(&pause, NULL);
}

static int64_t count_done(const struct crew *crew, int64_t from, int64_t to)
{
    int64_t done = 0;

    for (int64_t i = from; i < to; i++)
        done += atomic_load(&crew->seats[i].done);
    return done;
}

// Sums, but of the latencies the worst client's.
static struct bench_moment sum_counters(const struct crew *crew, int64_t from, int64_t to)
{
    struct bench_moment sum = {0};

    for (int64_t i = from; i < to; i++) {
        const struct bench_counters *counters = &crew->seats[i].counters;
        uint64_t p99_ns = atomic_load(&counters->p99_ns);
        sum.messages += atomic_load(&counters->messages);
        sum.bytes += atomic_load(&counters->bytes);
        sum.in_flight += atomic_load(&counters->in_flight);
        sum.p99_ns = p99_ns > sum.p99_ns ? p99_ns : sum.p99_ns;
    }
    if (sum.in_flight < 0)
        sum.in_flight = -1;
    return sum;
}

// Lets all begin at once, when all can. One that ends before has failed: then nobody begins.
static bool begin(struct crew *crew)
{
    while (atomic_load(&crew->shared.ready) < crew->count) {
        if (count_done(crew, 0, crew->count) > 0 || interrupt_requested())
            return false;
        tick();
    }
    atomic_store(&crew->shared.start_ns, clock_monotonic_ns());
    return true;
}

static void watch_workers(struct crew *crew)
{
    const struct bench *bench = crew->bench;
    struct bench_live live;

    bool produces = crew->seats[0].work == bench_produce;
    bench_live_begin(bench, &live, produces ? "produced" : "read", bench->settings->count);
    while (count_done(crew, 0, crew->workers) < crew->workers) {
        tick();
        struct bench_moment moment = sum_counters(crew, 0, crew->workers);
        bench_live_update(&live, &moment);
    }
    bench_live_end(&live);
}

// The followers end when they have everything; those that wait in vain are told to.
static void watch_followers(struct crew *crew)
{
    uint64_t quiet_since_ns = clock_monotonic_ns();
    int64_t stored = 0;
    int64_t before = -1;

    for (int64_t i = 0; i < crew->workers; i++)
        stored += crew->seats[i].result->messages;
    atomic_store(&crew->shared.expected, stored);
    while (count_done(crew, crew->workers, crew->count) < crew->count - crew->workers) {
        int64_t messages = sum_counters(crew, crew->workers, crew->count).messages;
        uint64_t now_ns = clock_monotonic_ns();
        if (messages != before)
            quiet_since_ns = now_ns;
        before = messages;
        if (interrupt_requested() || now_ns - quiet_since_ns > QUIET_S * ns_per_s)
            atomic_store(&crew->shared.over, true);
        tick();
    }
}

static void add(struct bench_result *sum, const struct bench_result *one)
{
    sum->messages += one->messages;
    sum->failed += one->failed;
    sum->bytes += one->bytes;
    if (one->latency_from != NULL)
        sum->latency_from = one->latency_from;
    if (one->elapsed_ns > sum->elapsed_ns)
        sum->elapsed_ns = one->elapsed_ns;
    histogram_add(&sum->latency, &one->latency);
}

// Sums up, and shows what the first that failed had to say.
static int finish(struct crew *crew, struct bench_result *result, struct bench_result *consumed)
{
    int code = 0;

    for (int64_t i = 0; i < crew->count; i++) {
        struct seat *seat = &crew->seats[i];
        add(i < crew->workers ? result : consumed, seat->result);
        if (seat->code == 0 || code != 0)
            continue;
        code = seat->code;
        fflush(seat->app.err);
        fwrite(seat->text, 1, seat->text_size, crew->bench->app->err);
    }
    return code;
}

static int run(struct crew *crew)
{
    int64_t started = 0;

    for (int64_t i = 0; i < crew->count; i++) {
        struct seat *seat = &crew->seats[i];
        seat->started = pthread_create(&seat->thread, NULL, seat_main, seat) == 0;
        started += seat->started;
    }
    bool begun = started == crew->count && begin(crew);
    if (begun) {
        watch_workers(crew);
        watch_followers(crew);
    }
    atomic_store(&crew->shared.over, true);
    for (int64_t i = 0; i < crew->count; i++) {
        if (crew->seats[i].started)
            pthread_join(crew->seats[i].thread, NULL);
    }
    return started == crew->count ? 0 : -1;
}

int bench_crew_run(const struct bench *bench, bench_work *work, struct bench_result *result,
                   struct bench_result *consumed)
{
    struct crew crew = {
        .bench = bench,
        .workers = bench->settings->clients,
        .count = bench->settings->clients + bench->settings->consumers,
    };
    int error = -1;
    int code = 0;

    atomic_store(&crew.shared.expected, INT64_MAX);
    crew.seats = calloc((size_t)crew.count, sizeof(*crew.seats));
    if (crew.seats != NULL) {
        error = 0;
        for (int64_t i = 0; i < crew.count; i++)
            error = seat_init(&crew, i, work) != 0 ? -1 : error;
        if (error == 0)
            error = run(&crew);
        code = finish(&crew, result, consumed);
        for (int64_t i = 0; i < crew.count; i++)
            seat_free(&crew.seats[i]);
        free(crew.seats);
    }
    if (error != 0 && code == 0)
        code = app_fail(bench->app, EXIT_FAILED, "not enough memory or threads for %d clients",
                        (int)crew.count);
    return code;
}
