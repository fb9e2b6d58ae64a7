// SPDX-License-Identifier: Apache-2.0
// Invariants:
//  1. Values below 2^SUB_BITS have a bucket each; above, every power of two is split into
//     2^SUB_BITS buckets of equal width. bucket_of and bucket_end are inverse in that sense:
//     bucket_of(bucket_end(i)) == i.
//  2. total is the sum of counts.
#include "tools/histogram.h"

#include <math.h>

static uint32_t bucket_of(uint64_t value)
{
    if (value >> HISTOGRAM_SUB_BITS == 0)
        return (uint32_t)value;
    if (value >> HISTOGRAM_VALUE_BITS != 0)
        return HISTOGRAM_BUCKETS - 1;

    uint32_t shift = 63 - (uint32_t)__builtin_clzll(value) - HISTOGRAM_SUB_BITS;
    uint32_t sub = (uint32_t)(value >> shift) - (1U << HISTOGRAM_SUB_BITS);
    return ((shift + 1) << HISTOGRAM_SUB_BITS) + sub;
}

static uint64_t bucket_end(uint32_t bucket)
{
    uint32_t row = bucket >> HISTOGRAM_SUB_BITS;
    uint64_t sub = bucket & ((1U << HISTOGRAM_SUB_BITS) - 1);

    if (row == 0)
        return sub;
    return ((sub + (1U << HISTOGRAM_SUB_BITS) + 1) << (row - 1)) - 1;
}

void histogram_record(struct histogram *histogram, uint64_t value)
{
    histogram_record_times(histogram, value, 1);
}

void histogram_record_times(struct histogram *histogram, uint64_t value, uint64_t times)
{
    if (times == 0)
        return;
    histogram->counts[bucket_of(value)] += times;
    if (histogram->total == 0 || value < histogram->min)
        histogram->min = value;
    if (value > histogram->max)
        histogram->max = value;
    histogram->total += times;
    histogram->sum += (double)value * (double)times;
}

void histogram_subtract(struct histogram *histogram, const struct histogram *earlier)
{
    for (int i = 0; i < HISTOGRAM_BUCKETS; i++)
        histogram->counts[i] -= earlier->counts[i];
    histogram->total -= earlier->total;
    histogram->sum -= earlier->sum;
}

void histogram_add(struct histogram *histogram, const struct histogram *other)
{
    if (other->total == 0)
        return;
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++)
        histogram->counts[i] += other->counts[i];
    if (histogram->total == 0 || other->min < histogram->min)
        histogram->min = other->min;
    if (other->max > histogram->max)
        histogram->max = other->max;
    histogram->total += other->total;
    histogram->sum += other->sum;
}

uint64_t histogram_quantile(const struct histogram *histogram, double quantile)
{
    if (histogram->total == 0)
        return 0;

    uint64_t rank = (uint64_t)ceil(quantile * (double)histogram->total);
    uint64_t seen = 0;
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS - 1; i++) {
        seen += histogram->counts[i];
        if (seen >= rank && seen > 0)
            return bucket_end(i) < histogram->max ? bucket_end(i) : histogram->max;
    }
    return histogram->max;
}

double histogram_mean(const struct histogram *histogram)
{
    return histogram->total == 0 ? 0 : histogram->sum / (double)histogram->total;
}
