// SPDX-License-Identifier: Apache-2.0
// What the three benchmarks share: their options, the payload, the pacing and the result.
#pragma once

#include <jansson.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "clients/c/weir.h"
#include "tools/bench_live.h"
#include "tools/command.h"
#include "tools/histogram.h"

struct bench_settings {
    int64_t size;
    int64_t rate;    // messages per second, of all clients together; 0: as fast as it goes
    int64_t ramp_ms; // the rate grows evenly from nothing for so long
    int64_t in_flight;
    int64_t count;       // 0: no limit
    int64_t duration_ms; // 0: no limit
    int64_t partitions;
    int64_t linger_ms;
    int64_t batch_size;
    int64_t keys;      // different ones; 0: messages have none
    int64_t clients;   // each a thread with a connection of its own
    int64_t consumers; // beside producers
    int acks;
    int codec;
    bool percentiles; // the whole distribution
    bool keep;
};

struct bench_result {
    int64_t messages;
    int64_t failed;
    int64_t bytes;
    uint64_t elapsed_ns;
    struct histogram latency;
    const char *latency_from;        // "intended send time", "send", ...; NULL: none was measured
    struct bench_second last_second; // for the live line
};

// Random bytes, made beforehand so that neither making nor compressing them distorts the result.
struct bench_payload {
    unsigned char *bytes;
    size_t pool_size;
    size_t size;
    size_t next;
};

// What the clients of one run tell each other, from thread to thread.
struct bench_shared {
    _Atomic int64_t ready;     // how many could begin
    _Atomic uint64_t start_ns; // when they do; 0: not yet
    _Atomic int64_t expected;  // messages that a consumer is to get; INT64_MAX: nobody knows yet
    atomic_bool over;          // nothing more is to be done
};

// What one client has done so far, for the line that shows it.
struct bench_counters {
    _Atomic int64_t messages;
    _Atomic int64_t bytes;
    _Atomic int64_t in_flight;
    _Atomic uint64_t p99_ns;
};

// One benchmark under way: the work of one client, which sends the messages seat, seat + seats, ...
struct bench {
    struct app *app;
    const struct bench_settings *settings;
    const char *topic;
    struct bench_payload payload;
    int64_t seat;
    int64_t seats;
    bool live;                       // somebody looks on
    bool follows;                    // reads from the end on, until all have come that are expected
    struct bench_shared *shared;     // NULL: the only client
    struct bench_counters *counters; // NULL likewise
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

// When message number `index` of all clients is due; `start_ns` for all of them without a rate.
uint64_t bench_due_ns(const struct bench_settings *settings, uint64_t start_ns, int64_t index);

// How many of the messages to be sent in all are this client's. 0: there is no limit.
int64_t bench_share(const struct bench *bench);

// Waits, driving the client, until all clients can begin, and returns when they do: now, for the
// only one. 0: the run was given up meanwhile.
uint64_t bench_await_start(const struct bench *bench, struct weir_client *client);

// Begins this client's own line. It stays hidden where a line shows all clients together.
void bench_live_begin(const struct bench *bench, struct bench_live *live, const char *verb,
                      int64_t total);

// Shows how far the work is, on the client's own line or for the one of all. `in_flight` is -1
// where it means nothing.
void bench_progress(const struct bench *bench, struct bench_live *live, struct bench_result *result,
                    int64_t in_flight);

// Waits until `until_ns` or until the client has something to do, but does not drive it. Precise to
// microseconds, which weir_poll's time-out is not.
void bench_wait(const struct weir_client *client, uint64_t until_ns);

// A client set up as the options say. NULL after having reported why, with *code set; otherwise
// *config is the caller's.
struct weir_client *bench_connect(const struct bench *bench, struct weir_config **config,
                                  int *code);

// `work` done by so many clients at once, each in a thread of its own, together with so many
// consumers that read the topic meanwhile, from its end on. The results are sums, their latencies
// those of all. Reports the first failure and returns 0 or an exit code.
typedef int bench_work(struct bench *bench, struct bench_result *result);
int bench_crew_run(const struct bench *bench, bench_work *work, struct bench_result *result,
                   struct bench_result *consumed);

// The three measurements. Each reports its own failures and returns 0 or an exit code.
int bench_produce(struct bench *bench, struct bench_result *result);
int bench_consume(struct bench *bench, struct bench_result *result);
int bench_roundtrip(struct bench *bench, struct bench_result *acknowledged,
                    struct bench_result *received);

// The numbers as JSON, and as lines for people.
json_t *bench_result_json(const struct bench_result *result, bool percentiles);
void bench_result_print(const struct bench_result *result, const char *name, bool percentiles,
                        FILE *out);
