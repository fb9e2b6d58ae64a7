// SPDX-License-Identifier: Apache-2.0
// The price of spreading: one record to each of many partitions, all acknowledged, in turns with
// the same records to a single one. Each is timed from the first record's send to the last one's
// acknowledgement, with nothing else under way.
//
//   fan_bench BROKERS [--partitions N] [--size BYTES] [--seconds S]
//
// Prints one line of JSON; microseconds.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/check.h"
#include "base/clock.h"
#include "clients/c/weir.h"

enum { ROUNDS_MAX = 100000, WARM_UP = 5, WAIT_MS = 60000, VALUE_MAX = 1 << 20 };

struct fan {
    struct weir_client *client;
    struct weir_producer *producer;
    char wide[64]; // topics
    char narrow[64];
    int32_t partitions;
    struct weir_message message;
};

struct samples {
    uint32_t us[ROUNDS_MAX];
    size_t count;
};

static void must(const struct fan *fan, int error, const char *what)
{
    if (error == WEIR_OK)
        return;
    fprintf(stderr, "fan_bench: %s: %s\n", what, weir_last_error(fan->client));
    exit(1);
}

static void create(const struct fan *fan, const char *name, int32_t partitions)
{
    struct weir_new_topic topic = {.name = name, .partitions = partitions};
    must(fan, weir_create_topic(fan->client, &topic, WAIT_MS), "creating a topic");
}

// One record per partition of the wide topic, or all of them to the narrow one.
static uint32_t round_us(struct fan *fan, bool wide)
{
    uint64_t start = clock_monotonic_ns();
    for (int32_t i = 0; i < fan->partitions; i++)
        must(fan,
             weir_produce(fan->producer, wide ? fan->wide : fan->narrow, wide ? i : 0,
                          &fan->message),
             "producing");
    must(fan, weir_flush(fan->producer, WAIT_MS), "waiting for acknowledgements");
    return (uint32_t)((clock_monotonic_ns() - start) / 1000);
}

static int compare(const void *a, const void *b)
{
    const uint32_t *x = a;
    const uint32_t *y = b;
    return *x < *y ? -1 : *x > *y;
}

static uint32_t percentile(struct samples *samples, size_t per_cent)
{
    qsort(samples->us, samples->count, sizeof(samples->us[0]), compare);
    return samples->us[(samples->count - 1) * per_cent / 100];
}

static void run(struct fan *fan, double seconds)
{
    static struct samples wide, narrow;
    for (int i = 0; i < WARM_UP; i++) {
        round_us(fan, true);
        round_us(fan, false);
    }
    uint64_t end = clock_monotonic_ns() + (uint64_t)(seconds * 1e9);
    while (clock_monotonic_ns() < end && wide.count < ROUNDS_MAX) {
        wide.us[wide.count++] = round_us(fan, true);
        narrow.us[narrow.count++] = round_us(fan, false);
    }
    printf("{\"partitions\": %d, \"size\": %zu, \"rounds\": %zu, \"wide_p50_us\": %u, "
           "\"wide_p99_us\": %u, \"narrow_p50_us\": %u, \"narrow_p99_us\": %u}\n",
           (int)fan->partitions, fan->message.value.size, wide.count, percentile(&wide, 50),
           percentile(&wide, 99), percentile(&narrow, 50), percentile(&narrow, 99));
}

static unsigned long number(const char *text, unsigned long most)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || value == 0 || value > most) {
        fprintf(stderr, "usage: fan_bench BROKERS [--partitions N] [--size BYTES] [--seconds S]\n");
        exit(2);
    }
    return value;
}

int main(int argc, char **argv)
{
    struct fan fan = {.partitions = 1000};
    size_t size = 100;
    double seconds = 3;
    for (int i = 2; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--partitions") == 0)
            fan.partitions = (int32_t)number(argv[i + 1], 100000);
        else if (strcmp(argv[i], "--size") == 0)
            size = number(argv[i + 1], VALUE_MAX);
        else if (strcmp(argv[i], "--seconds") == 0)
            seconds = (double)number(argv[i + 1], 3600);
        else
            number("", 0);
    }
    if (argc % 2 != 0)
        number("", 0);
    char *value = malloc(size);
    CHECK(value);
    memset(value, 'v', size);
    fan.message.value = weir_bytes_of(value, size);
    fan.client = weir_client_new(argv[1], NULL);
    fan.producer = fan.client ? weir_producer_new(fan.client, NULL) : NULL;
    CHECK(fan.producer);
    snprintf(fan.wide, sizeof(fan.wide), "wide-%ld", (long)time(NULL));
    snprintf(fan.narrow, sizeof(fan.narrow), "narrow-%ld", (long)time(NULL));
    create(&fan, fan.wide, fan.partitions);
    create(&fan, fan.narrow, 1);
    run(&fan, seconds);
    weir_producer_free(fan.producer);
    weir_client_free(fan.client);
    free(value);
    return 0;
}
