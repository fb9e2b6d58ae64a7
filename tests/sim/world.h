// SPDX-License-Identifier: Apache-2.0
// One simulated history: a machine, the stores of its shards, the logs in them, their users and
// what these know. history.c decides what happens, world_*.c do it.
#pragma once

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/pool.h"
#include "base/random.h"
#include "storage/log.h"
#include "tests/sim/checker.h"
#include "tests/sim/sim_io.h"

enum {
    WORLD_SHARDS = 2,
    WORLD_LOGS = 8,
    WORLD_EVENTS = 48, // remembered for the report of a failure
    WORLD_EVENT_SIZE = 160,
    WORLD_EPOCH = 7,
    WORLD_NAME_SIZE = 32,
    WORLD_STEPS_MAX = 500000, // of the machine, in a history: many times what any needs
};

// What a run of many histories did, to see that everything it should try happens.
enum world_count {
    COUNT_LIVES,
    COUNT_CRASHES,
    COUNT_RECOVERY_CRASHES,
    COUNT_APPENDS,
    COUNT_ACKED,
    COUNT_FAILED,
    COUNT_DUPLICATES,
    COUNT_READS,
    COUNT_LOOKUPS,
    COUNT_TRIMS,
    COUNT_DELETES,
    COUNT_FAULTS,
    COUNT_DAMAGES,
    COUNT_FULL,
    COUNT_COMPACTIONS,
    COUNT_COUNT,
};

// A batch of an idempotent producer, as its client remembers it.
struct world_sent {
    struct content content;
    enum { SENT_UNDERWAY, SENT_ACKED, SENT_FAILED } state; // failed: it must be sent again
    int64_t base;                                          // where it was acknowledged
};

enum {
    WORLD_PRODUCERS = 2,
    SENT_UNACKED = 5, // as many as a client has under way at most
    SENT_ACKED_KEPT = 5,
    SENT_MAX = SENT_UNACKED + SENT_ACKED_KEPT,
};

struct world_producer {
    int64_t id;
    int16_t epoch;
    int32_t next_sequence;
    bool resending;                   // what was answered, or must be refused
    struct world_sent sent[SENT_MAX]; // in order, acknowledged ones first
    uint32_t count;
};

// What storage/inspect.h says of a log before it is opened.
struct world_opinion {
    bool given;
    int64_t start;
    int64_t end;
    bool accepts;
};

struct world_log {
    struct world *world;
    struct world_opinion opinion;
    bool exists; // it should be opened at the next start
    bool deleting;
    uint32_t life; // how often there was a log of this name
    char topic[WORLD_NAME_SIZE];
    char name[WORLD_NAME_SIZE + 16];
    int32_t partition;
    struct kp_uuid id;
    uint32_t shard;
    struct log *log; // NULL while not open
    struct log_config config;
    struct checker checker;
    bool producers_unsure; // damage may have taken what was known of them
    bool table_damaged;    // reported, and nothing is lost with it
    struct world_producer producers[WORLD_PRODUCERS];
    uint32_t users; // operations in flight
};

struct world_shard {
    struct world *world;
    struct io *io;
    struct pool *pool;
    struct log_store *store; // NULL while not open
};

struct world {
    uint64_t seed;
    struct random random;
    struct sim *sim;
    struct world_shard shards[WORLD_SHARDS];
    uint32_t shard_count; // of this life
    struct world_log logs[WORLD_LOGS];
    uint32_t log_count;
    struct content_builder builder;
    uint64_t next_content;
    uint32_t in_flight;
    bool cached;     // the file system mostly does not take O_DIRECT
    bool direct;     // the stores of this life use it
    bool faulty;     // operations may have failed in this life
    bool full;       // there may be no space at present
    bool stopping;   // in order
    bool clean;      // the last life ended in order
    bool unordered;  // the wall clock has jumped
    int64_t lead_ms; // of the wall clock over the other, at most, when the stores were opened
    uint64_t digest; // of everything that happened
    bool show_disk;
    FILE *out; // of everything that happens, as text; may be NULL
    char events[WORLD_EVENTS][WORLD_EVENT_SIZE];
    uint64_t event_count;
    uint64_t counts[COUNT_COUNT];
    uint64_t damages_before; // of other histories
    bool inspecting;
};

// A new machine for the history of a seed; what counts and settings were is kept.
void world_begin(struct world *world, uint64_t seed, FILE *out);

// Says what happens. Goes into the digest, so it must be the same in every run of the seed.
void world_say(struct world *world, const char *format, ...) __attribute__((format(printf, 2, 3)));

// The history has shown a fault: prints seed, text and the last events, ends the process.
_Noreturn void world_fail(struct world *world, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

// The program's: says what is known of a history that failed, and ends the process.
_Noreturn void world_failed(struct world *world, const char *text);

static inline uint64_t world_random(struct world *world, uint64_t bound)
{
    return random_below(&world->random, bound);
}

static inline bool world_chance(struct world *world, uint64_t one_in)
{
    return random_below(&world->random, one_in) == 0;
}

// How late it may be for the logs: by the wall clock, but no later than it would be if that had not
// jumped since the stores were opened.
int64_t world_latest_ms(const struct world *world);

// Tells the checkers. Comes before every jump.
void world_tell_time(struct world *world);

// Lets the machine work for a moment: something completes if anything is under way.
void world_turn(struct world *world);

// Until nothing is in flight.
void world_settle(struct world *world);

// --- world_start.c

// Opens stores and logs and checks what they hold. False when the power failed or a planned fault
// came in between: then world_crash is next.
bool world_start(struct world *world);
void world_stop(struct world *world);
void world_crash(struct world *world);

// --- world_inspect.c: only if world->inspecting

// Asks for a second opinion of what is on the disk. A history goes on otherwise than without.
void world_inspect(struct world *world);

// Compares it with what recovery has made of a log.
void world_compare(struct world_log *log);

// Ends a history: spoils files in every way and compares, a few times.
void world_ruin(struct world *world);

// --- world_use.c: each starts something on a log that is open.

void world_append(struct world_log *log);

// Whether the log may answer so, given what was done to the machine.
bool world_may_fail(const struct world_log *log, int error);

// What the sender of an append is told besides the checker. `duplicate`: nothing was stored.
struct world_sender {
    void (*ended)(struct world_log *log, struct world_producer *producer, uint64_t content_id,
                  int error, bool duplicate, int64_t base);
    struct world_producer *producer;
};

// True when the batch is stored (again).
bool world_send(struct world_log *log, const struct content *content, struct world_sender sender);
struct content world_content(struct world_log *log);
void world_read(struct world_log *log);
void world_look_up(struct world_log *log);
void world_trim(struct world_log *log);
void world_delete(struct world_log *log);
void world_show(struct world_log *log);

// A new log in the place of one that is not there.
void world_create(struct world_log *log);

// Reads the log from its start to the high watermark and waits for that. False when the power
// failed or reads failed that may.
bool world_read_all(struct world_log *log);

// --- world_producer.c

// One of the log's idempotent producers does something.
void world_produce(struct world_log *log);
void world_producers_begin(struct world_log *log);

// --- world_damage.c

// Damages a file of the log. The machine is off.
void world_damage(struct world_log *log);
void world_damage_journal(struct world *world);

// --- history.c

// Runs the history of a seed from its beginning to its end.
void world_history(struct world *world, uint64_t seed, FILE *out);
