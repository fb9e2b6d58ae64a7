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
    progress->of_bytes = true;
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

void progress_text(char *text, size_t size, const char *verb, int64_t total, int64_t records,
                   int64_t bytes, uint64_t elapsed_ns)
{
    double seconds = (double)elapsed_ns / ns_per_second;
    double rate = seconds > 0 ? (double)records / seconds : 0;
    double byte_rate = seconds > 0 ? (double)bytes / seconds : 0;
    char count[32];
    char rate_text[32];
    char percent[16] = "";
    char left[32] = "";

    progress_count(count, sizeof(count), records);
    progress_count(rate_text, sizeof(rate_text), (int64_t)rate);
    if (total > 0)
        snprintf(percent, sizeof(percent), " (%d %%)",
                 (int)(100.0 * (double)records / (double)total));
    if (total > records && rate > 0) {
        int64_t rest = (int64_t)((double)(total - records) / rate);
        snprintf(left, sizeof(left), ", %" PRId64 ":%02d left", rest / 60, (int)(rest % 60));
    }
    snprintf(text, size, "%s %s records%s, %.1f MB, %s/s, %.1f MB/s%s", verb, count, percent,
             (double)bytes / 1e6, rate_text, byte_rate / 1e6, left);
}

void progress_bytes_text(char *text, size_t size, const char *verb, int64_t total, int64_t bytes,
                         uint64_t elapsed_ns)
{
    double seconds = (double)elapsed_ns / ns_per_second;
    double rate = seconds > 0 ? (double)bytes / seconds : 0;
    char left[32] = "";

    if (total > bytes && rate > 0) {
        int64_t rest = (int64_t)((double)(total - bytes) / rate);
        snprintf(left, sizeof(left), ", %" PRId64 ":%02d left", rest / 60, (int)(rest % 60));
    }
    snprintf(text, size, "%s %.2f of %.2f GB (%d %%), %.2f GB/s%s", verb, (double)bytes / 1e9,
             (double)total / 1e9, total > 0 ? (int)(100.0 * (double)bytes / (double)total) : 100,
             rate / 1e9, left);
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
    char text[256];

    if (!progress_due(progress))
        return;
    uint64_t elapsed_ns = clock_monotonic_ns() - progress->start_ns;
    if (progress->of_bytes)
        progress_bytes_text(text, sizeof(text), progress->verb, progress->total, bytes, elapsed_ns);
    else
        progress_text(text, sizeof(text), progress->verb, progress->total, records, bytes,
                      elapsed_ns);
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
