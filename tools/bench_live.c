// SPDX-License-Identifier: Apache-2.0
#include "tools/bench_live.h"

#include <inttypes.h>

#include "base/clock.h"

enum { SECOND_NS = 1000 * 1000 * 1000 };

void bench_live_start(struct bench_live *live, FILE *out, bool on, const char *verb, int64_t total)
{
    *live = (struct bench_live){0};
    progress_start(&live->progress, out, on, verb, total);
    for (int i = 0; i < BENCH_LIVE_SAMPLES; i++)
        live->samples[i].ns = live->progress.start_ns;
}

void bench_live_text(char *text, size_t size, const char *verb, int64_t total,
                     const struct bench_moment *before, const struct bench_moment *now)
{
    double seconds = now->ns > before->ns ? (double)(now->ns - before->ns) / SECOND_NS : 1;
    char count[32];
    char rate[32];
    char percent[16] = "";
    char latency[48] = "";
    char waiting[48] = "";

    progress_count(count, sizeof(count), now->messages);
    progress_count(rate, sizeof(rate),
                   (int64_t)((double)(now->messages - before->messages) / seconds));
    if (total > 0)
        snprintf(percent, sizeof(percent), " (%d %%)",
                 (int)(100.0 * (double)now->messages / (double)total));
    if (now->p99_ns > 0) {
        char us[32];
        progress_count(us, sizeof(us), (int64_t)(now->p99_ns / 1000));
        snprintf(latency, sizeof(latency), ", p99 %s us", us);
    }
    if (now->in_flight >= 0) {
        char messages[32];
        progress_count(messages, sizeof(messages), now->in_flight);
        snprintf(waiting, sizeof(waiting), ", %s in flight", messages);
    }
    snprintf(text, size, "%s %s%s, %s/s, %.1f MB/s%s%s", verb, count, percent, rate,
             (double)(now->bytes - before->bytes) / 1e6 / seconds, latency, waiting);
}

void bench_live_update(struct bench_live *live, struct bench_moment *moment)
{
    char text[256];

    if (!progress_due(&live->progress))
        return;
    moment->ns = clock_monotonic_ns();
    struct bench_moment *oldest = &live->samples[live->oldest];
    bench_live_text(text, sizeof(text), live->progress.verb, live->progress.total, oldest, moment);
    progress_show(&live->progress, text);
    *oldest = *moment;
    live->oldest = (live->oldest + 1) % BENCH_LIVE_SAMPLES;
}

void bench_live_end(struct bench_live *live)
{
    progress_end(&live->progress);
}

void bench_second_update(struct bench_second *second, const struct histogram *latency)
{
    uint64_t now_ns = clock_monotonic_ns();

    if (now_ns < second->next_ns)
        return;
    struct histogram last = *latency;
    histogram_subtract(&last, &second->before);
    second->p99_ns = histogram_quantile(&last, 0.99);
    second->before = *latency;
    second->next_ns = now_ns + SECOND_NS;
}
