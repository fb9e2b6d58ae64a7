// SPDX-License-Identifier: Apache-2.0
// One client process of the soak, with libweir. Goes on until standard input is closed, whatever
// happens to the broker, and says on standard output what it was told; the lines are those of
// load.py, the values those of values.py.
//
//   soak_client produce|follow BROKERS TOPIC PARTITIONS NAME
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/random.h"
#include "clients/c/weir.h"

enum { VALUE_MAX = 400000, IN_FLIGHT = 2000, WAIT_MS = 60000 };

struct soak {
    struct weir_client *client;
    const char *topic;
    int32_t partitions;
    const char *name;
    char value[VALUE_MAX];
};

static bool told_to_stop(void)
{
    struct pollfd input = {.fd = 0, .events = POLLIN};
    return poll(&input, 1, 0) > 0;
}

// As value_of in values.py.
static size_t value_make(const char *name, size_t name_size, uint64_t number, char *to)
{
    size_t head = (size_t)snprintf(to, 100, "%.*s %" PRIu64 " ", (int)name_size, name, number);
    size_t size =
        number % 211 == 210 ? 100000 + (size_t)(number % 7) * 30000 : (size_t)(number * 37 % 1500);
    memset(to + head, 'x', size);
    return head + size;
}

static void delivered(void *context, const struct weir_delivery *delivery)
{
    (void)context;
    uint64_t number = (uint64_t)(uintptr_t)delivery->opaque;
    if (delivery->error)
        printf("F %d %" PRIu64 " %d\n", (int)delivery->partition, number, delivery->error);
    else
        printf("A %d %" PRId64 " %" PRIu64 "\n", (int)delivery->partition, delivery->offset,
               number);
}

static int produce(struct soak *soak)
{
    struct weir_producer *producer = weir_producer_new(soak->client, NULL);
    struct random random = {.state = 1};
    uint64_t number = 0;
    if (!producer)
        return 1;
    weir_producer_on_delivery(producer, delivered, soak);
    while (!told_to_stop()) {
        static const int bursts[] = {1, 1, 3, 20, 100};
        for (int i = bursts[random_below(&random, 5)]; i > 0; i--) {
            if (weir_producer_queued(producer) >= IN_FLIGHT)
                break;
            size_t size = value_make(soak->name, strlen(soak->name), number, soak->value);
            struct weir_message message = {.value = weir_bytes_of(soak->value, size),
                                           .opaque = (void *)(uintptr_t)number};
            int32_t partition = (int32_t)(number % (uint64_t)soak->partitions);
            if (weir_produce(producer, soak->topic, partition, &message) != WEIR_OK)
                break;
            number++;
        }
        uint64_t end_ns = clock_monotonic_ns() + random_below(&random, 30) * 1000000;
        do {
            weir_poll(soak->client, 5);
        } while (clock_monotonic_ns() < end_ns);
        fflush(stdout);
    }
    weir_flush(producer, WAIT_MS);
    weir_producer_free(producer);
    printf("N %" PRIu64 "\n", number);
    return 0;
}

// "S ...", with the name ! for bytes that nobody wrote.
static void say_seen(struct soak *soak, const struct weir_record *record)
{
    const char *text = record->value.data;
    const char *space = text ? memchr(text, ' ', record->value.size) : NULL;
    uint64_t number = space ? strtoull(space + 1, NULL, 10) : 0;
    size_t name_size = space ? (size_t)(space - text) : 0;
    bool right = space && record->value.size < VALUE_MAX && name_size < 50 &&
                 value_make(text, name_size, number, soak->value) == record->value.size &&
                 memcmp(soak->value, text, record->value.size) == 0;
    printf("S %d %" PRId64 " %.*s %" PRIu64 "\n", (int)record->partition, record->offset,
           right ? (int)name_size : 1, right ? text : "!", number);
}

static int follow(struct soak *soak)
{
    struct weir_consumer *consumer = weir_consumer_new(soak->client, NULL);
    if (!consumer)
        return 1;
    for (int32_t i = 0; i < soak->partitions; i++)
        weir_consumer_assign(consumer, soak->topic, i, WEIR_BEGINNING);
    while (!told_to_stop()) {
        struct weir_record record;
        weir_consumer_poll(consumer, 100);
        while (weir_consumer_next(consumer, &record))
            say_seen(soak, &record);
        fflush(stdout);
    }
    weir_consumer_free(consumer);
    return 0;
}

int main(int argc, char **argv)
{
    static struct soak soak;
    if (argc != 6) {
        fputs("usage: soak_client produce|follow BROKERS TOPIC PARTITIONS NAME\n", stderr);
        return 2;
    }
    soak.client = weir_client_new(argv[2], NULL);
    soak.topic = argv[3];
    soak.partitions = (int)strtol(argv[4], NULL, 10);
    soak.name = argv[5];
    if (!soak.client)
        return 1;
    int status = strcmp(argv[1], "produce") == 0 ? produce(&soak) : follow(&soak);
    weir_client_free(soak.client);
    return fflush(stdout) == 0 ? status : 1;
}
