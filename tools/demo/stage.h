// SPDX-License-Identifier: Apache-2.0
// What the demo's stages share: who they are, what they say, how they write and how they continue
// after an interruption, be it their own or the broker's.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "clients/c/weir.h"

enum { STAGE_PARTITIONS_MAX = 16 };

// Topics of the demo.
extern const char stage_raw[];
extern const char stage_clean[];
extern const char stage_rejected[];
extern const char stage_sections[];

// A program of the pipeline. Zero it, then stage_open.
struct stage {
    const char *name;
    int64_t clock_start_ms; // when the demo began, for the column of seconds
    struct weir_client *client;
    struct weir_producer *producer;
    struct weir_consumer *consumer; // reads, and keeps the place in the topic it reads
    int64_t delivered;
    int64_t reported; // deliveries, and failures
    int64_t queued;
    int delivery_error;
    char delivery_reason[512];
    uint64_t progress_ns; // when the broker last acknowledged something that was due
    uint64_t spoken_ns;
    bool waiting; // has said that the broker does not answer
};

// One input topic, from the committed place on.
struct stage_input {
    const char *topic;
    size_t partition_count;
    int64_t next[STAGE_PARTITIONS_MAX];  // first offset not done
    int64_t saved[STAGE_PARTITIONS_MAX]; // committed
    bool ended[STAGE_PARTITIONS_MAX];    // the end mark has been seen
};

// Connects as `name` with committed offsets kept under `group`; waits for the broker. Returns 0, or
// -1 after having said why.
int stage_open(struct stage *stage, const char *name, const char *brokers, const char *group,
               int64_t clock_start_ms);
void stage_close(struct stage *stage);

// One line for the audience: seconds since the demo began, the stage, the sentence.
void stage_say(const struct stage *stage, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

// Says something at most once a second; false when it is too early for that.
bool stage_may_speak(struct stage *stage);

// Says a failure. Returns -1.
int stage_fail(const struct stage *stage, const char *what, int error);

// Queues a record; waits while the queue is full. 0 or -1. The message's `opaque`, unless NULL,
// points to a bool that becomes true when the record is acknowledged.
int stage_send(struct stage *stage, const char *topic, int32_t partition,
               const struct weir_message *message);

// Drives the client for up to `timeout_ms`, and notices (aloud) when the broker stops or starts
// answering.
void stage_drive(struct stage *stage, int timeout_ms);

// Waits until everything sent is acknowledged. 0, or -1 when a record could not be stored.
int stage_flush(struct stage *stage);

// Finds the topic's partitions and what is committed of each. 0 or -1.
int stage_input_open(struct stage *stage, struct stage_input *input, const char *topic);

// Starts reading every partition at `offsets`. 0 or -1.
int stage_input_start(struct stage *stage, const struct stage_input *input, const int64_t *offsets);

// Records that everything before next[] is done. Waits. 0 or -1.
int stage_input_save(struct stage *stage, struct stage_input *input);

bool stage_input_ended(const struct stage_input *input);

// The end mark of a topic: a record without key and value in every partition, with the header
// `end`; demo.sh sends it.
bool stage_is_end(const struct weir_record *record);

// Header `name` as a text in `to`; false when the record has none or it does not fit.
bool stage_header(const struct weir_record *record, const char *name, char *to, size_t size);

// Header `input`: the number of the paragraph that the record stems from; -1 when it has none.
int64_t stage_input_number(const struct weir_record *record);
