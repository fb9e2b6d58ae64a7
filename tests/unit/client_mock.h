// SPDX-License-Identifier: Apache-2.0
// A scripted broker for tests of the client: one thread that speaks the protocol through the
// generated codecs, keeps one topic ("t") in memory, and misbehaves as told.
//
// The cluster has one or two nodes, which are two listening sockets of the same mock; node 1 leads
// all partitions at first.
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/random.h"
#include "protocol/record_batch.h"

enum { MOCK_PARTITIONS = 4, MOCK_BATCHES_MAX = 4096, MOCK_APIS = 128, MOCK_FAULTS_MAX = 16 };

enum mock_action {
    MOCK_ERROR,           // answer every partition with `code`, and do nothing
    MOCK_CLOSE,           // close the connection, and do nothing
    MOCK_APPLY_AND_CLOSE, // do it, and close instead of answering
    MOCK_SILENT,          // neither do nor answer it
    MOCK_MUTE,            // nor anything else on this connection from then on
    MOCK_HALF,            // send half of the answer, then close
    MOCK_WRONG_ID,        // answer with another correlation id
    MOCK_GARBAGE,         // answer with bytes that are no message
    MOCK_HUGE,            // announce an answer of 2 GB
    MOCK_FLIP,            // answer with a random byte changed
    MOCK_MOVE_LEADER,     // make the other node the leader, and answer NOT_LEADER
};

struct mock_fault {
    int16_t api_key;
    int skip;  // so many requests of that API pass first
    int times; // then so many are hit
    enum mock_action action;
    int16_t code;
};

struct mock_log {
    struct {
        uint8_t *data;
        size_t size;
    } batches[MOCK_BATCHES_MAX];
    size_t count;
    int64_t low;
    int64_t next;
    int64_t committed; // -1 for none
    // What it knows of its one idempotent producer.
    int64_t producer_id; // -1: nothing
    int16_t producer_epoch;
    int32_t next_sequence;
    struct mock_batch {
        int32_t first_sequence;
        int64_t base_offset;
    } recent[5];
};

struct mock {
    pthread_t thread;
    pthread_mutex_t lock; // for everything below
    int wake[2];
    int listeners[2];
    int ports[2];
    int nodes;
    int leader;                     // node id
    bool trickle;                   // send answers in tiny pieces
    bool old_api_versions;          // knows only version 0 of ApiVersions
    size_t batch_max;               // larger batches are refused; 0: none
    bool cut;                       // cuts batches at partition_max_bytes
    int16_t init_epoch;             // that InitProducerId gives
    bool strict;                    // an unknown producer has to begin with 0
    bool any_topic;                 // every topic exists; their logs are one
    bool topic_missing;             // "t" does not exist until somebody may create it
    int hidden;                     // requests that will still find no topic at all
    int16_t version_max[MOCK_APIS]; // caps below the schema's; -1 for not offered
    struct mock_fault faults[MOCK_FAULTS_MAX];
    int fault_count;
    int requests[MOCK_APIS]; // seen so far
    int topics_created;      // of those asked for
    int topics_refused;
    int connections;      // accepted so far
    struct random random; // for MOCK_FLIP
    struct mock_log logs[MOCK_PARTITIONS];
};

// Starts; the listening ports are the system's choice.
struct mock *mock_new(int nodes);
void mock_free(struct mock *mock);

// "127.0.0.1:PORT" of node 1. Valid until the next call.
const char *mock_brokers(const struct mock *mock);

void mock_fault(struct mock *mock, struct mock_fault fault);

// Has a log forget its producer.
void mock_producer_lost(struct mock *mock, int32_t partition);

// Deletes the newest batch of a log, as a broker does that loses data.
void mock_batch_lost(struct mock *mock, int32_t partition);

// The next so many requests of Metadata and of Produce find no topic, though it is there.
void mock_topic_hide(struct mock *mock, int requests);

// How many requests of an API have arrived.
int mock_requests(struct mock *mock, int16_t api_key);

// The records in the log of a partition, as text, in order: "a b c". In `out`.
const char *mock_values(struct mock *mock, int32_t partition, char *out, size_t size);
