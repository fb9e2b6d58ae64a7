// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/random.h"
#include "tools/histogram.h"

enum { SAMPLES = 20000 };

static struct histogram *new_histogram(void)
{
    struct histogram *histogram = calloc(1, sizeof(*histogram));

    cr_assert_not_null(histogram);
    return histogram;
}

static int compare(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a;
    uint64_t right = *(const uint64_t *)b;

    return left < right ? -1 : left > right;
}

Test(tools, an_empty_histogram_has_no_quantiles)
{
    struct histogram *histogram = new_histogram();

    cr_assert_eq(histogram_quantile(histogram, 0.5), 0);
    cr_assert_eq(histogram_mean(histogram), 0);
    free(histogram);
}

Test(tools, a_value_may_count_several_times)
{
    struct histogram *one_by_one = new_histogram();
    struct histogram *at_once = new_histogram();

    for (uint64_t value = 1; value < 1000000000; value *= 7) {
        for (uint64_t i = 0; i < value % 10; i++)
            histogram_record(one_by_one, value);
        histogram_record_times(at_once, value, value % 10);
    }
    cr_assert_gt(at_once->total, 0);
    cr_assert_arr_eq(one_by_one, at_once, sizeof(*at_once));
    free(one_by_one);
    free(at_once);
}

Test(tools, small_values_are_exact)
{
    struct histogram *histogram = new_histogram();

    for (uint64_t i = 1; i <= 100; i++)
        histogram_record(histogram, i);
    cr_assert_eq(histogram_quantile(histogram, 0), 1);
    cr_assert_eq(histogram_quantile(histogram, 0.5), 50);
    cr_assert_eq(histogram_quantile(histogram, 0.99), 99);
    cr_assert_eq(histogram_quantile(histogram, 1), 100);
    cr_assert_float_eq(histogram_mean(histogram), 50.5, 1e-9);
    cr_assert_eq(histogram->min, 1);
    cr_assert_eq(histogram->max, 100);
    free(histogram);
}

Test(tools, histograms_add_up)
{
    struct histogram *all = new_histogram();
    struct histogram *one = new_histogram();
    struct histogram *other = new_histogram();

    for (uint64_t i = 1; i <= 5000; i++) {
        histogram_record(all, i * 1000);
        histogram_record(i % 3 == 0 ? one : other, i * 1000);
    }
    histogram_add(one, other);
    cr_assert_arr_eq(one->counts, all->counts, sizeof(all->counts));
    cr_assert_eq(one->total, all->total);
    cr_assert_eq(one->min, 1000);
    cr_assert_eq(one->max, 5000000);
    cr_assert_float_eq(histogram_mean(one), histogram_mean(all), 1e-6);
    free(all);
    free(one);
    free(other);
}

// Against the same samples, sorted: never below the true quantile, above it by a 128th at most.
Test(tools, quantiles_stay_within_one_bucket_of_the_truth)
{
    static const double quantiles[] = {0.01, 0.25, 0.5, 0.9, 0.99, 0.999, 1};
    struct random random = {.state = 7};
    uint64_t *samples = calloc(SAMPLES, sizeof(*samples));
    struct histogram *histogram = new_histogram();

    for (size_t i = 0; i < SAMPLES; i++) {
        samples[i] = random_next(&random) >> (24 + random_below(&random, 40));
        histogram_record(histogram, samples[i]);
    }
    qsort(samples, SAMPLES, sizeof(*samples), compare);
    for (size_t i = 0; i < sizeof(quantiles) / sizeof(quantiles[0]); i++) {
        size_t rank = (size_t)(quantiles[i] * SAMPLES + 0.999999);
        uint64_t exact = samples[rank - 1];
        uint64_t given = histogram_quantile(histogram, quantiles[i]);
        cr_assert_geq(given, exact, "quantile %f: %lu < %lu", quantiles[i], given, exact);
        cr_assert_leq(given, exact + exact / 128, "quantile %f: %lu > %lu", quantiles[i], given,
                      exact);
    }
    free(samples);
    free(histogram);
}

Test(tools, values_beyond_the_range_count_as_the_largest)
{
    struct histogram *histogram = new_histogram();

    histogram_record(histogram, 5);
    histogram_record(histogram, UINT64_MAX);
    cr_assert_eq(histogram->total, 2);
    cr_assert_eq(histogram_quantile(histogram, 0.5), 5);
    cr_assert_eq(histogram_quantile(histogram, 1), UINT64_MAX);
    free(histogram);
}

Test(tools, what_was_recorded_since_a_copy_is_told_apart)
{
    struct histogram *histogram = new_histogram();
    struct histogram *earlier = new_histogram();

    histogram_record_times(histogram, 1000, 50);
    *earlier = *histogram;
    histogram_record_times(histogram, 5, 10);
    histogram_subtract(histogram, earlier);
    cr_assert_eq(histogram->total, 10);
    cr_assert_eq(histogram_quantile(histogram, 0.5), 5);
    cr_assert_eq(histogram_quantile(histogram, 1), 5);
    free(histogram);
    free(earlier);
}
