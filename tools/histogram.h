// SPDX-License-Identifier: Apache-2.0
// Counts of durations in buckets whose width grows with the value, so that any quantile is known to
// within one part in 128, from nanoseconds to minutes, in fixed memory. Single-threaded.
#pragma once

#include <stdint.h>

enum {
    HISTOGRAM_SUB_BITS = 7,
    HISTOGRAM_VALUE_BITS = 42, // larger values are counted as the largest (73 minutes in ns)
    HISTOGRAM_BUCKETS = (HISTOGRAM_VALUE_BITS - HISTOGRAM_SUB_BITS + 1) << HISTOGRAM_SUB_BITS,
};

// All zero is an empty histogram. About 36 KB: not for the stack of a deep call.
struct histogram {
    uint64_t counts[HISTOGRAM_BUCKETS];
    uint64_t total;
    uint64_t max; // exact
    uint64_t min; // exact; meaningless while total is 0
    double sum;
};

void histogram_record(struct histogram *histogram, uint64_t value);

// The same value so many times.
void histogram_record_times(struct histogram *histogram, uint64_t value, uint64_t times);

// The smallest recorded value that at least `quantile` (0 to 1) of all values do not exceed,
// rounded up to its bucket's end but never above the maximum. 0 when empty.
uint64_t histogram_quantile(const struct histogram *histogram, double quantile);

// Adds what `other` has counted.
void histogram_add(struct histogram *histogram, const struct histogram *other);

// Takes away what `earlier`, the same histogram as it was before, had counted. The extremes stay
// those of all.
void histogram_subtract(struct histogram *histogram, const struct histogram *earlier);

// 0 when empty.
double histogram_mean(const struct histogram *histogram);
