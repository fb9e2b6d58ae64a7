// SPDX-License-Identifier: Apache-2.0
// What the catalog means for one shard: which partitions it has open.
#pragma once

#include "broker/catalog.h"
#include "broker/shard.h"

// What opening found, for the start-up line.
struct topics_summary {
    uint32_t partitions;
    uint64_t torn_bytes;
    uint64_t damaged_ranges;
    uint64_t segments;
    uint32_t failed; // partitions that could not be opened; each has its own log line
};

// At start-up, on the shard's own thread, with shard->catalog set: opens every partition that lives
// on this shard, recovering what an earlier run left, and removes the files of deleted topics.
// Waits. 0, or -ENOMEM. A partition that cannot be opened is left out, with a log line.
int topics_open(struct shard *shard, const struct catalog *catalog, struct topics_summary *out);

// Makes a published snapshot the shard's own: opens, drops and configures what `changes` say.
// At once; the files of dropped partitions go in the background, and `files_gone` is called when
// the last one has. 0 or -ENOMEM.
struct topics_update {
    const struct catalog *catalog;
    const struct catalog_change *changes;
    uint32_t change_count;
    void (*files_gone)(struct topics_update *update); // never from inside topics_apply
    bool files_stay; // out, for files_gone: some could not be removed
    // private
    uint32_t files_left;
    struct shard *shard;
};
int topics_apply(struct shard *shard, struct topics_update *update);

// Starts the shard's timer that applies retention every log.retention.check.interval.ms.
// `timer` and what follows live in the shard until topics_stop_retention.
int topics_start_retention(struct shard *shard);
void topics_stop_retention(struct shard *shard);
