// SPDX-License-Identifier: Apache-2.0
// What the three benchmarks share: their options, the payload, the pacing and the result.
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "clients/c/weir.h"
#include "tools/command.h"
#include "tools/histogram.h"

struct bench_settings {
    int64_t size;
    int64_t rate; // messages per second; 0: as fast as it goes
    int64_t in_flight;
    int64_t count;       // 0: no limit
    int64_t duration_ms; // 0: no limit
    int64_t partitions;
    int64_t linger_ms;
    int64_t batch_size;
    int acks;
    int codec;
    bool keep;
};

struct bench_result {
    int64_t messages;
    int64_t failed;
    int64_t bytes;
    uint64_t elapsed_ns;
    struct histogram latency;
    const char *latency_from; // "intended send time", "send", ...; NULL: none was measured
};

// Random bytes, made beforehand so that neither making nor compressing them distorts the result.
struct bench_payload {
    unsigned char *bytes;
    size_t pool_size;
    size_t size;
    size_t next;
};

// One benchmark under way.
struct bench {
    struct app *app;
    const struct bench_settings *settings;
    const char *topic;
    struct bench_payload payload;
};

// Returns 0 or -ENOMEM.
int bench_payload_init(struct bench_payload *payload, size_t size);
void bench_payload_free(struct bench_payload *payload);

// The next message's value, stamped with `wall_ns` if it has room for a stamp. Valid until the
// next call.
struct weir_bytes bench_payload_next(struct bench_payload *payload, uint64_t wall_ns);

// Reads a stamp. False when there is none.
bool bench_payload_stamp(struct weir_bytes value, uint64_t *wall_ns);

// Nanoseconds since 1970: comparable between processes, which monotonic time is not everywhere.
uint64_t bench_wall_ns(void);

// When message number `index` is due; `start_ns` for all of them without a rate.
uint64_t bench_due_ns(const struct bench_settings *settings, uint64_t start_ns, int64_t index);

// Waits until `until_ns` or until the client has something to do, but does not drive it. Precise to
// microseconds, which weir_poll's time-out is not.
void bench_wait(const struct weir_client *client, uint64_t until_ns);

// A client set up as the options say. NULL after having reported why, with *code set; otherwise
// *config is the caller's.
struct weir_client *bench_connect(const struct bench *bench, struct weir_config **config,
                                  int *code);

// The three measurements. Each reports its own failures and returns 0 or an exit code.
int bench_produce(struct bench *bench, struct bench_result *result);
int bench_consume(struct bench *bench, struct bench_result *result);
int bench_roundtrip(struct bench *bench, struct bench_result *acknowledged,
                    struct bench_result *received);

// The numbers as JSON, and as lines for people.
json_t *bench_result_json(const struct bench_result *result);
void bench_result_print(const struct bench_result *result, const char *name, FILE *out);
