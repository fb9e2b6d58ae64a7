// SPDX-License-Identifier: Apache-2.0
// Reads the partitions of one topic from a place that a person named, optionally up to where the
// topic ended when reading began.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tools/app.h"
#include "tools/value.h"

struct topic_reader_partition {
    int32_t partition;
    bool active; // still read from
    int64_t start;
    int64_t stop; // first offset not to be read; meaningful with until_end
};

struct topic_reader {
    struct app *app;
    const char *topic;
    struct weir_client *client;
    struct weir_consumer *consumer;
    struct topic_reader_partition *partitions;
    size_t count;
    size_t active;
    bool until_end;
    bool moved;          // a record has been handed out since the last poll
    uint64_t waiting_ns; // since when polls have found nothing
};

// Connects, finds the topic and its offsets, and assigns all partitions, or only `partition` unless
// that is -1. With `until_end`, records that arrive later are not read. Waits. Returns 0 or an exit
// code after having reported why; topic_reader_close is due in any case.
int topic_reader_open(struct topic_reader *reader, struct app *app, const char *topic,
                      int32_t partition, struct position from, bool until_end);

// NULL members are allowed.
void topic_reader_close(struct topic_reader *reader);

// Waits up to `timeout_ms` for records; 0 or an exit code after having reported why. With until_end
// there are records to come, so that none within --timeout is a failure.
int topic_reader_poll(struct topic_reader *reader, int timeout_ms);

// The next record, valid until topic_reader_poll. False when there are none left for now.
bool topic_reader_next(struct topic_reader *reader, struct weir_record *record);

// With until_end: whether everything has been handed out.
bool topic_reader_done(const struct topic_reader *reader);

// Goes on where until_end stopped, and does not stop any more. 0 or an exit code.
int topic_reader_follow(struct topic_reader *reader);

// How many records lie between the starts and the stops, if none were removed from between.
int64_t topic_reader_expected(const struct topic_reader *reader);
