// SPDX-License-Identifier: Apache-2.0
// Puts small records into every partition of some topics, one after the other in turns, with a
// bounded number on their way at a time.
//
//   fill_bench BROKERS [--partitions N] [--records N] [--size BYTES] [--in-flight N] TOPIC...
//
// `records` go into each partition. Prints one line of JSON.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "clients/c/weir.h"

enum { WAIT_MS = 300000, SIZE_MAX_BYTES = 1 << 20 };

struct fill {
    struct weir_client *client;
    struct weir_producer *producer;
    unsigned long partitions;
    unsigned long records;
    unsigned long size;
    unsigned long in_flight;
    unsigned long failed;
    struct weir_message message;
};

static void must(const struct fill *fill, int error, const char *what)
{
    if (error == WEIR_OK)
        return;
    fprintf(stderr, "fill_bench: %s: %s\n", what, weir_last_error(fill->client));
    exit(1);
}

static void delivered(void *context, const struct weir_delivery *delivery)
{
    struct fill *fill = context;
    if (delivery->error)
        fill->failed++;
}

static void put(struct fill *fill, const char *topic, int32_t partition)
{
    int error;
    while (weir_producer_queued(fill->producer) >= fill->in_flight)
        must(fill, weir_poll(fill->client, 100), "sending");
    while ((error = weir_produce(fill->producer, topic, partition, &fill->message)) ==
           WEIR_ERR_QUEUE_FULL)
        must(fill, weir_poll(fill->client, 100), "sending");
    must(fill, error, "producing");
}

static void usage(void)
{
    fputs("usage: fill_bench BROKERS [--partitions N] [--records N] [--size BYTES]\n"
          "                  [--in-flight N] TOPIC...\n",
          stderr);
    exit(2);
}

static int parse(struct fill *fill, int argc, char **argv)
{
    const struct {
        const char *name;
        unsigned long *to;
    } options[] = {{"--partitions", &fill->partitions},
                   {"--records", &fill->records},
                   {"--size", &fill->size},
                   {"--in-flight", &fill->in_flight}};
    int at = 2;
    for (; at + 1 < argc && argv[at][0] == '-'; at += 2) {
        size_t i = 0;
        while (i < 4 && strcmp(argv[at], options[i].name) != 0)
            i++;
        if (i == 4 || !(*options[i].to = strtoul(argv[at + 1], NULL, 10)))
            usage();
    }
    if (at >= argc || fill->size > SIZE_MAX_BYTES)
        usage();
    return at;
}

int main(int argc, char **argv)
{
    struct fill fill = {.partitions = 1, .records = 1, .size = 16, .in_flight = 10000};
    int first = parse(&fill, argc, argv);
    char *value = calloc(1, fill.size);
    fill.client = weir_client_new(argv[1], NULL);
    fill.producer = fill.client ? weir_producer_new(fill.client, NULL) : NULL;
    if (!value || !fill.producer) {
        fputs("fill_bench: no client\n", stderr);
        return 1;
    }
    fill.message.value = weir_bytes_of(value, fill.size);
    weir_producer_on_delivery(fill.producer, delivered, &fill);
    uint64_t start = clock_monotonic_ns();
    for (unsigned long round = 0; round < fill.records; round++) {
        for (int i = first; i < argc; i++) {
            for (unsigned long p = 0; p < fill.partitions; p++)
                put(&fill, argv[i], (int32_t)p);
        }
    }
    must(&fill, weir_flush(fill.producer, WAIT_MS), "waiting for acknowledgements");
    double seconds = (double)(clock_monotonic_ns() - start) / 1e9;
    unsigned long count = fill.records * fill.partitions * (unsigned long)(argc - first);
    printf("{\"records\": %lu, \"failed\": %lu, \"seconds\": %.3f, \"mb_per_second\": %.1f}\n",
           count, fill.failed, seconds, (double)count * (double)fill.size / 1e6 / seconds);
    weir_producer_free(fill.producer);
    weir_client_free(fill.client);
    free(value);
    return fill.failed > 0;
}
