// SPDX-License-Identifier: Apache-2.0
// Text is made by pure functions; only progress_update reads the clock.
#include "tools/progress.h"

#include <inttypes.h>
#include <unistd.h>

#include "base/clock.h"

enum { REDRAW_NS = 200 * 1000 * 1000 };

static const double ns_per_second = 1e9;

bool progress_wanted(FILE *out)
{
    return isatty(fileno(out)) == 1;
}

void progress_start(struct progress *progress, FILE *out, bool on, const char *verb, int64_t total)
{
    *progress = (struct progress){.out = out, .shown = on, .verb = verb, .total = total};
    if (!on)
        return;
    progress->start_ns = clock_monotonic_ns();
    progress->next_ns = progress->start_ns + REDRAW_NS;
}

void progress_start_bytes(struct progress *progress, FILE *out, bool on, const char *verb,
                          int64_t total)
{
    progress_start(progress, out, on, verb, total);
    progress->kind = PROGRESS_BYTES;
}

void progress_start_input(struct progress *progress, FILE *out, bool on, const char *verb,
                          int64_t total)
{
    progress_start(progress, out, on, verb, total);
    progress->kind = PROGRESS_INPUT;
}

void progress_start_steps(struct progress *progress, FILE *out, const char *verb, const char *noun,
                          int64_t total)
{
    progress_start(progress, out, progress_wanted(out), verb, total);
    progress->kind = PROGRESS_STEPS;
    progress->noun = noun;
}

void progress_count(char *text, size_t size, int64_t value)
{
    char digits[24];
    int length = snprintf(digits, sizeof(digits), "%" PRId64, value);
    size_t used = 0;

    for (int i = 0; i < length && used + 1 < size; i++) {
        bool after_digit = i > 0 && digits[i - 1] != '-';
        if (after_digit && (length - i) % 3 == 0 && used + 2 < size)
            text[used++] = ',';
        text[used++] = digits[i];
    }
    if (size > 0)
        text[used] = '\0';
}

static double per_second(int64_t amount, uint64_t elapsed_ns)
{
    return elapsed_ns > 0 ? (double)amount * ns_per_second / (double)elapsed_ns : 0;
}

// Of nothing, everything is done.
static int percent_of(int64_t done, int64_t total)
{
    return total > 0 ? (int)(100.0 * (double)done / (double)total) : 100;
}

// ", 1:07 left", or nothing while nobody can tell.
static void left_text(char *text, size_t size, int64_t rest, double rate)
{
    *text = '\0';
    if (rest <= 0 || rate <= 0)
        return;
    int64_t seconds = (int64_t)((double)rest / rate);
    snprintf(text, size, ", %" PRId64 ":%02d left", seconds / 60, (int)(seconds % 60));
}

void progress_text(char *text, size_t size, const char *verb, int64_t total, int64_t records,
                   int64_t bytes, uint64_t elapsed_ns)
{
    double rate = per_second(records, elapsed_ns);
    char count[32];
    char rate_text[32];
    char percent[16] = "";
    char left[32];

    progress_count(count, sizeof(count), records);
    progress_count(rate_text, sizeof(rate_text), (int64_t)rate);
    left_text(left, sizeof(left), total - records, rate);
    if (total > 0)
        snprintf(percent, sizeof(percent), " (%d %%)", percent_of(records, total));
    snprintf(text, size, "%s %s records%s, %.1f MB, %s/s, %.1f MB/s%s", verb, count, percent,
             (double)bytes / 1e6, rate_text, per_second(bytes, elapsed_ns) / 1e6, left);
}

void progress_input_text(char *text, size_t size, const char *verb, int64_t total, int64_t records,
                         int64_t bytes, uint64_t elapsed_ns)
{
    double rate = per_second(bytes, elapsed_ns);
    char count[32];
    char rate_text[32];
    char left[32];

    progress_count(count, sizeof(count), records);
    progress_count(rate_text, sizeof(rate_text), (int64_t)per_second(records, elapsed_ns));
    left_text(left, sizeof(left), total - bytes, rate);
    snprintf(text, size, "%s %s records, %.1f of %.1f MB (%d %%), %s/s, %.1f MB/s%s", verb, count,
             (double)bytes / 1e6, (double)total / 1e6, percent_of(bytes, total), rate_text,
             rate / 1e6, left);
}

void progress_bytes_text(char *text, size_t size, const char *verb, int64_t total, int64_t bytes,
                         uint64_t elapsed_ns)
{
    double rate = per_second(bytes, elapsed_ns);
    char left[32];

    left_text(left, sizeof(left), total - bytes, rate);
    snprintf(text, size, "%s %.2f of %.2f GB (%d %%), %.2f GB/s%s", verb, (double)bytes / 1e9,
             (double)total / 1e9, percent_of(bytes, total), rate / 1e9, left);
}

void progress_steps_text(char *text, size_t size, const char *verb, const char *noun, int64_t total,
                         int64_t done, uint64_t elapsed_ns)
{
    double rate = per_second(done, elapsed_ns);
    char count[32];
    char total_text[32];
    char rate_text[32];
    char left[32];

    progress_count(count, sizeof(count), done);
    progress_count(total_text, sizeof(total_text), total);
    progress_count(rate_text, sizeof(rate_text), (int64_t)rate);
    left_text(left, sizeof(left), total - done, rate);
    snprintf(text, size, "%s %s of %s %s (%d %%), %s/s%s", verb, count, total_text, noun,
             percent_of(done, total), rate_text, left);
}

bool progress_due(struct progress *progress)
{
    if (!progress->shown)
        return false;
    uint64_t now_ns = clock_monotonic_ns();
    if (now_ns < progress->next_ns)
        return false;
    progress->next_ns = now_ns + REDRAW_NS;
    return true;
}

void progress_show(struct progress *progress, const char *text)
{
    fprintf(progress->out, "\r\033[K%s", text);
    fflush(progress->out);
    progress->drawn = true;
}

void progress_update(struct progress *progress, int64_t records, int64_t bytes)
{
    const char *verb = progress->verb;
    int64_t total = progress->total;
    char text[256];

    if (!progress_due(progress))
        return;
    uint64_t elapsed_ns = clock_monotonic_ns() - progress->start_ns;
    switch (progress->kind) {
    case PROGRESS_RECORDS:
        progress_text(text, sizeof(text), verb, total, records, bytes, elapsed_ns);
        break;
    case PROGRESS_INPUT:
        progress_input_text(text, sizeof(text), verb, total, records, bytes, elapsed_ns);
        break;
    case PROGRESS_BYTES:
        progress_bytes_text(text, sizeof(text), verb, total, bytes, elapsed_ns);
        break;
    case PROGRESS_STEPS:
        progress_steps_text(text, sizeof(text), verb, progress->noun, total, records, elapsed_ns);
        break;
    }
    progress_show(progress, text);
}

void progress_end(struct progress *progress)
{
    if (!progress->drawn)
        return;
    fprintf(progress->out, "\r\033[K");
    fflush(progress->out);
    progress->drawn = false;
}
