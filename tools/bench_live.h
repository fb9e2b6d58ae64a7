// SPDX-License-Identifier: Apache-2.0
// The line that shows a benchmark at work, on terminals only: what the last second brought.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "tools/histogram.h"
#include "tools/progress.h"

enum { BENCH_LIVE_SAMPLES = 5 }; // one per redraw: together a second

// How far the work is. in_flight and p99_ns are -1 and 0 where they mean nothing.
struct bench_moment {
    uint64_t ns;
    int64_t messages;
    int64_t bytes;
    int64_t in_flight;
    uint64_t p99_ns; // of the last second
};

struct bench_live {
    struct progress progress;
    struct bench_moment samples[BENCH_LIVE_SAMPLES]; // the last ones; `oldest` is the next to go
    int oldest;
};

// Latencies of the last whole second, from a histogram of all so far.
struct bench_second {
    struct histogram before; // as it was when the second began
    uint64_t next_ns;
    uint64_t p99_ns;
};

// `total` is 0 when nobody knows; `verb` must outlive it.
void bench_live_start(struct bench_live *live, FILE *out, bool on, const char *verb, int64_t total);

// Redraws if it is time to; cheap otherwise. moment->ns is filled in.
void bench_live_update(struct bench_live *live, struct bench_moment *moment);

void bench_live_end(struct bench_live *live);

// The line's text: "produced 1,200,000 (41 %), 640,123/s, 655.5 MB/s, p99 812 us, 10,000 in
// flight".
void bench_live_text(char *text, size_t size, const char *verb, int64_t total,
                     const struct bench_moment *before, const struct bench_moment *now);

// To be called often: notes the second's p99 when it is over.
void bench_second_update(struct bench_second *second, const struct histogram *latency);
