// SPDX-License-Identifier: Apache-2.0
// A producer before a scripted broker (client_mock.h), and what it reported.
#pragma once

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clients/c/weir.h"
#include "gen/kp_api_versions.h"
#include "gen/kp_metadata.h"
#include "gen/kp_produce.h"
#include "protocol/error.h"
#include "tests/unit/client_mock.h"

enum { WAIT_MS = 60000, TEXT_SIZE = 1 << 16, REPORTS_MAX = 4096 };

struct reports {
    int count;
    int failed;
    int error; // of the last one that failed
    char reason[512];
    char order[TEXT_SIZE]; // the opaques of those delivered, "0 1 2"
    int64_t offsets[REPORTS_MAX];
};

struct bench {
    struct mock *mock;
    struct weir_client *client;
    struct weir_producer *producer;
    struct reports reports;
    char text[TEXT_SIZE];
};

static inline void delivered(void *context, const struct weir_delivery *delivery)
{
    struct reports *reports = context;
    size_t used = strlen(reports->order);
    cr_assert(reports->count < REPORTS_MAX);
    reports->offsets[reports->count++] = delivery->offset;
    if (delivery->error) {
        reports->failed++;
        reports->error = delivery->error;
        snprintf(reports->reason, sizeof(reports->reason), "%s", delivery->reason);
        return;
    }
    cr_assert_null(delivery->reason);
    snprintf(reports->order + used, sizeof(reports->order) - used, "%s%d", used ? " " : "",
             (int)(intptr_t)delivery->opaque);
}

// `settings` is "name=value name=value".
static inline struct weir_config *config_new(const char *settings)
{
    struct weir_config *config = weir_config_new();
    char *copy = strdup(settings);
    char *rest = NULL;
    weir_config_set(config, "retry.backoff.ms", "1");
    weir_config_set(config, "reconnect.backoff.ms", "1");
    for (char *at = strtok_r(copy, " ", &rest); at; at = strtok_r(NULL, " ", &rest)) {
        char *value = strchr(at, '=');
        *value++ = '\0';
        cr_assert_eq(weir_config_set(config, at, value), WEIR_OK, "%s", weir_config_error(config));
    }
    free(copy);
    return config;
}

static inline struct bench *bench_new(int nodes, const char *settings)
{
    struct bench *bench = calloc(1, sizeof(*bench));
    struct weir_config *config = config_new(settings);
    bench->mock = mock_new(nodes);
    bench->client = weir_client_new(mock_brokers(bench->mock), config);
    bench->producer = weir_producer_new(bench->client, config);
    weir_producer_on_delivery(bench->producer, delivered, &bench->reports);
    weir_config_free(config);
    return bench;
}

static inline void bench_free(struct bench *bench)
{
    weir_producer_free(bench->producer);
    weir_client_free(bench->client);
    mock_free(bench->mock);
    free(bench);
}

static inline int send_number(struct bench *bench, int32_t partition, int number)
{
    char value[16];
    snprintf(value, sizeof(value), "%d", number);
    struct weir_message message = {.value = weir_text(value), .opaque = (void *)(intptr_t)number};
    return weir_produce(bench->producer, "t", partition, &message);
}

static inline void send_numbers(struct bench *bench, int32_t partition, int from, int to)
{
    for (int i = from; i < to; i++)
        cr_assert_eq(send_number(bench, partition, i), WEIR_OK, "%s",
                     weir_last_error(bench->client));
}

static inline void flush_ok(struct bench *bench)
{
    cr_assert_eq(weir_flush(bench->producer, WAIT_MS), WEIR_OK, "%s",
                 weir_last_error(bench->client));
}

// "0 1 2 ... count-1"
static inline const char *numbers(int count)
{
    static char text[TEXT_SIZE];
    size_t used = 0;
    text[0] = '\0';
    for (int i = 0; i < count; i++)
        used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%d", i ? " " : "", i);
    return text;
}

static inline const char *stored(struct bench *bench, int32_t partition)
{
    return mock_values(bench->mock, partition, bench->text, sizeof(bench->text));
}

// Sends 0..99 in batches of ten to partition 0 while `fault` strikes, and expects that the broker
// ends up with `want` (NULL: each once, in order).
static inline void survive(const char *settings, int nodes, struct mock_fault fault,
                           const char *want)
{
    struct bench *bench = bench_new(nodes, settings);
    mock_fault(bench->mock, fault);
    for (int i = 0; i < 10; i++) {
        send_numbers(bench, 0, i * 10, i * 10 + 10);
        for (int p = 0; p < 3; p++)
            weir_poll(bench->client, 0);
    }
    flush_ok(bench);
    cr_assert_eq(bench->reports.count, 100);
    cr_assert_str_eq(bench->reports.order, numbers(100));
    cr_assert_str_eq(stored(bench, 0), want ? want : numbers(100));
    bench_free(bench);
}
