// SPDX-License-Identifier: Apache-2.0
// One message at a time through librdkafka, which rdkafka_performance cannot do: the next is handed
// over when the one before has been acknowledged, without linger. Prints p50, p99, p99.9 and the
// largest time in microseconds. Compiled by install.py, not with the project.
//
// usage: rdkafka_single BROKER TOPIC SIZE SECONDS
#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { SAMPLES_MAX = 4 << 20, WARM_UP = 500, POLL_MS = 10000 };

static int delivered;
static rd_kafka_resp_err_t failure;

static void delivery_done(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque)
{
    (void)rk;
    (void)opaque;
    delivered = 1;
    failure = message->err;
}

static int64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a;
    int64_t y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

static rd_kafka_t *connect_to(const char *broker)
{
    const char *settings[][2] = {
        {"bootstrap.servers", broker}, {"linger.ms", "0"}, {"acks", "all"}};
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    char error[512];

    for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++) {
        if (rd_kafka_conf_set(conf, settings[i][0], settings[i][1], error, sizeof(error)) !=
            RD_KAFKA_CONF_OK) {
            fprintf(stderr, "%s\n", error);
            exit(2);
        }
    }
    rd_kafka_conf_set_dr_msg_cb(conf, delivery_done);
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, error, sizeof(error));
    if (rk == NULL) {
        fprintf(stderr, "%s\n", error);
        exit(1);
    }
    return rk;
}

static int send_one(rd_kafka_t *rk, rd_kafka_topic_t *topic, char *value, size_t size)
{
    delivered = 0;
    if (rd_kafka_produce(topic, 0, 0, value, size, NULL, 0, NULL) != 0)
        return -1;
    while (!delivered) {
        if (rd_kafka_poll(rk, POLL_MS) == 0)
            return -1;
    }
    return failure == RD_KAFKA_RESP_ERR_NO_ERROR ? 0 : -1;
}

static double at(const int64_t *samples, size_t count, double quantile)
{
    size_t rank = (size_t)(quantile * (double)count);

    return (double)samples[rank < count ? rank : count - 1] / 1000;
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fprintf(stderr, "usage: rdkafka_single BROKER TOPIC SIZE SECONDS\n");
        return 2;
    }
    size_t size = strtoul(argv[3], NULL, 10);
    double seconds = strtod(argv[4], NULL);
    char *value = malloc(size);
    int64_t *samples = malloc(sizeof(*samples) * SAMPLES_MAX);
    size_t count = 0;
    rd_kafka_t *rk = connect_to(argv[1]);
    rd_kafka_topic_t *topic = rd_kafka_topic_new(rk, argv[2], NULL);

    for (size_t i = 0; i < size; i++)
        value[i] = (char)rand();
    int64_t end = INT64_MAX;
    for (size_t i = 0; count < SAMPLES_MAX; i++) {
        int64_t begin = now_ns();
        if (i == WARM_UP)
            end = begin + (int64_t)(seconds * 1e9);
        if (begin >= end)
            break;
        if (send_one(rk, topic, value, size) != 0) {
            fprintf(stderr, "message %zu was not stored\n", i);
            return 1;
        }
        if (i >= WARM_UP)
            samples[count++] = now_ns() - begin;
    }
    if (count == 0) {
        fprintf(stderr, "no sample\n");
        return 1;
    }
    qsort(samples, count, sizeof(*samples), compare);
    printf("%zu messages p50 %.1f p99 %.1f p999 %.1f max %.1f\n", count, at(samples, count, 0.5),
           at(samples, count, 0.99), at(samples, count, 0.999), at(samples, count, 1));
    return 0;
}
