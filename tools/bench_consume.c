// SPDX-License-Identifier: Apache-2.0
// Reads a topic as fast as it comes. Messages stamped by 'weir bench produce' after reading began
// also tell how long they were under way; older ones would only tell how long they have lain there.
#include "tools/bench.h"

#include "base/clock.h"
#include "tools/app.h"
#include "tools/interrupt.h"
#include "tools/topic_reader.h"

enum { NS_PER_MS = 1000 * 1000, WAIT_MS = 250, FOLLOW_WAIT_MS = 20 };

static void count_record(struct bench_result *result, const struct weir_record *record,
                         uint64_t start_wall_ns)
{
    uint64_t stamp_ns;

    result->messages++;
    result->bytes += (int64_t)(record->key.size + record->value.size);
    if (!bench_payload_stamp(record->value, &stamp_ns) || stamp_ns < start_wall_ns)
        return;
    uint64_t now_ns = bench_wall_ns();
    if (now_ns >= stamp_ns)
        histogram_record(&result->latency, now_ns - stamp_ns);
}

// Whether a client that follows producers has what they have sent, or nobody waits for it.
static bool followed(const struct bench *bench, const struct bench_result *result)
{
    return result->messages >= atomic_load(&bench->shared->expected) ||
           atomic_load(&bench->shared->over);
}

static int read_records(struct topic_reader *reader, const struct bench *bench,
                        struct bench_result *result, struct bench_live *live)
{
    const struct bench_settings *settings = bench->settings;
    uint64_t start_ns = bench_await_start(bench, reader->client);
    uint64_t start_wall_ns =
        bench->follows ? 0 : bench_wall_ns(); // what follows reads only new ones
    uint64_t duration_ns = bench->follows ? 0 : (uint64_t)settings->duration_ms * NS_PER_MS;
    int64_t count = bench->follows ? 0 : settings->count;
    bool full = start_ns == 0;
    int code = 0;

    while (code == 0 && !full && !topic_reader_done(reader) && !interrupt_requested()) {
        struct weir_record record;
        code = topic_reader_poll(reader, bench->follows ? FOLLOW_WAIT_MS : WAIT_MS);
        int64_t before = result->messages;
        while (!full && topic_reader_next(reader, &record)) {
            count_record(result, &record, start_wall_ns);
            full = result->messages == count;
        }
        uint64_t now_ns = clock_monotonic_ns();
        // Waiting for messages that do not come is no reading: time counts up to the last one.
        if (reader->until_end || result->messages > before)
            result->elapsed_ns = now_ns - start_ns;
        full = full || (duration_ns > 0 && now_ns - start_ns >= duration_ns) ||
               (bench->follows && followed(bench, result));
        bench_progress(bench, live, result, -1);
    }
    return code;
}

int bench_consume(struct bench *bench, struct bench_result *result)
{
    const struct bench_settings *settings = bench->settings;
    struct app *app = bench->app;
    struct position from = {.kind = bench->follows ? POSITION_END : POSITION_BEGINNING};
    struct topic_reader reader;
    struct bench_live live;
    bool until_end = settings->duration_ms == 0 && settings->count == 0 && !bench->follows;
    int code = topic_reader_open(&reader, app, bench->topic, -1, from, until_end);

    result->latency_from = "stamp of the producer";
    if (code == 0) {
        int64_t total = settings->count > 0 ? settings->count : topic_reader_expected(&reader);
        bench_live_begin(bench, &live, "read", total);
        code = read_records(&reader, bench, result, &live);
        bench_live_end(&live);
    }
    topic_reader_close(&reader);
    return code;
}
