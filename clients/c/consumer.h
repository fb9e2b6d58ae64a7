// SPDX-License-Identifier: Apache-2.0
// Inside the consumer: what it is assigned, what was fetched, and what the files consumer.c,
// fetcher.c and starts.c share.
#pragma once

#include "clients/c/aborted.h"
#include "clients/c/commit.h"
#include "clients/c/connection.h"
#include "clients/c/fetch_session.h"
#include "clients/c/member.h"
#include "clients/c/offsets.h"
#include "protocol/record_batch.h"

// Where an assignment stands on its way to its records.
enum assignment_state {
    ASSIGNMENT_NEEDS_STORED, // its start is the committed offset, not asked for yet
    ASSIGNMENT_NEEDS_LOOKUP, // its start is the beginning or the end, not asked for yet
    ASSIGNMENT_LOOKING,      // asked
    ASSIGNMENT_FETCHING,     // fetch_offset is known
    ASSIGNMENT_FAILED,       // `error` says why; rests until sought
    ASSIGNMENT_REMOVED,
};

// Whose an assignment is.
enum assignment_claim {
    CLAIM_BY_HAND,  // the application's
    CLAIM_FRESH,    // the group's gift, which the application was not told of yet
    CLAIM_HELD,     // told
    CLAIM_REVOKE,   // to be given up; not told
    CLAIM_REVOKING, // to be given up; told
    CLAIM_LOST,     // another member's; not told
};

// Never freed before the consumer is: requests and fetched bytes refer to it. What they hold counts
// only while their generation is still the assignment's.
struct assignment {
    struct list link;
    struct metadata_topic *topic;
    int32_t partition;
    enum assignment_state state;
    uint64_t generation; // rises whenever reading starts anew
    enum assignment_claim claim;
    bool paused;
    size_t session_place; // in the fetch session with its leader (fetch_session.c)
    bool asked;           // part of a fetch request under way
    uint32_t unread;      // parts of fetched answers that are not read to their end
    int64_t start;        // WEIR_BEGINNING, WEIR_END or WEIR_STORED: for the looking states
    int64_t position;     // offset of the next record to hand out
    int64_t fetch_offset; // and of the next one to fetch
    int64_t done;         // what enable.auto.commit may commit; -1 for nothing
    int64_t committed;    // as far as is known; -1
    int64_t committing;   // what enable.auto.commit's newest commit under way says; -1 for none
    struct kp_uuid group_topic_id; // under which the group gave it; the classic protocol has none
    int64_t low, high;
    int64_t stable;      // what may be read is below it: high, or before the first open transaction
    int32_t fetch_limit; // bytes to ask for
    uint64_t retry_at_ns;
    uint32_t failures; // in a row
    int error;
    bool error_reported;
    char *reason; // a sentence for `error`, or NULL
};

// What one answer brought for one partition: whole batches.
struct part {
    struct assignment *assignment;
    uint64_t generation;
    const uint8_t *at;
    const uint8_t *end;
    struct aborted *aborted; // transactions to be left out; NULL for none
};

// One answer with records.
struct fetched {
    struct list node;
    struct buffer *buffer;
    size_t size;
    size_t part_count;
    size_t part_at; // the one being read
    struct part parts[];
};

// What one broker is asked for.
struct fetcher {
    struct request request; // one at a time
    struct list link;
    struct weir_consumer *consumer;
    struct node *node;
    bool under_way;
    size_t asked_count;
    size_t asked_capacity;
    struct asked_partition {
        struct assignment *assignment;
        uint64_t generation;
        int32_t limit;
    } * asked; // by topic
    bool topic_ids;
    struct fetch_session session;
};

// A lookup of starting points under way.
struct start_lookup {
    struct list link;
    struct weir_consumer *consumer;
    struct offset_lookup lookup;
    struct offset_batch stored;
    bool committed; // asks the coordinator (`stored`), not the leaders (`lookup`)
    size_t count;
    struct assignment **assignments;
    uint64_t *generations;
    struct weir_offset_query *queries;
    struct weir_offset *offsets;
};

struct weir_consumer {
    struct worker worker;
    struct weir_client *client;
    struct config config;
    struct coordinator coordinator;
    struct member member;
    struct commits commits;
    struct weir_topic_partition *listing; // what weir_consumer_assignment returned last
    struct timer timer;                   // the next partition or broker to be tried again
    struct list assignments;              // those fetched last at the end, for fairness
    struct list fetchers;
    struct list lookups;        // struct start_lookup
    struct list fetched;        // answers not begun to read
    struct list aside;          // pause.c: parts of paused partitions, each a struct fetched
    size_t fetched_bytes;       // in `fetched`, `aside` and `current`
    struct fetched *current;    // the answer being read
    struct batch_reader reader; // in the current part
    const uint8_t *batch_at;    // where the batch of `reader` begins
    int64_t batch_end;          // offset after it
    bool reading;               // `reader` is in a batch
    struct arena inflated;      // records of compressed batches
    struct weir_consumer_statistics stats; // what is counted as it happens
};

// The partition is the application's to read; it is not while it waits for being told.
static inline bool assignment_blocked(const struct assignment *assignment)
{
    return assignment->claim != CLAIM_BY_HAND && assignment->claim != CLAIM_HELD;
}

// Adds an assignment, or finds a removed one; its reading is not started. NULL: out of memory.
struct assignment *assignment_add(struct weir_consumer *consumer, const char *topic,
                                  int32_t partition);

// Stops reading: what was fetched ahead is dropped, answers under way do not count.
void assignment_stop(struct weir_consumer *consumer, struct assignment *assignment,
                     enum assignment_claim claim);
void assignment_remove(struct weir_consumer *consumer, struct assignment *assignment);

// Finds an assignment, removed ones included. NULL for none.
struct assignment *consumer_find(const struct weir_consumer *consumer, const char *topic,
                                 int32_t partition);

// The same for what the application names: NULL, with *error and its sentence, unless assigned.
struct assignment *consumer_assigned(const struct weir_consumer *consumer, const char *topic,
                                     int32_t partition, int *error);

// Ends the reading of a partition with an error that weir_consumer_poll will report.
void assignment_fail(struct weir_consumer *consumer, struct assignment *assignment, int error,
                     const char *format, ...) __attribute__((format(printf, 4, 5)));

// Starts reading anew, from an offset or one of the places WEIR_BEGINNING, WEIR_END, WEIR_STORED.
void assignment_start(struct weir_consumer *consumer, struct assignment *assignment,
                      int64_t offset);

// Starts anew where auto.offset.reset says; fails with `error` if that is "none".
void assignment_reset(struct weir_consumer *consumer, struct assignment *assignment, int error);

// pause.c: the part at hand is of a paused partition: sets it aside. What was set aside of a
// partition is dropped when its reading starts anew.
void aside_put(struct weir_consumer *consumer);
void aside_drop(struct weir_consumer *consumer, const struct assignment *assignment);

// Whether to wait for a topic or partition that is missing, and not to fail: the group, which gave
// it, knows better, and takes it back when it is gone. It is postponed then, and told of.
bool assignment_await(struct weir_consumer *consumer, struct assignment *assignment, int error);

// Not to be asked about before a pause, which grows with each failure in a row.
void assignment_postpone(struct weir_consumer *consumer, struct assignment *assignment);

// starts.c: asks for the starting points that are needed. Returns when to look again.
uint64_t starts_drive(struct weir_consumer *consumer);
void starts_free(struct weir_consumer *consumer);

// fetcher.c: sends the fetches that are due. Returns when to look again.
uint64_t fetchers_drive(struct weir_consumer *consumer);
void fetchers_free(struct weir_consumer *consumer);
void fetched_free(struct weir_consumer *consumer, struct fetched *fetched);
