// SPDX-License-Identifier: Apache-2.0
// A compaction under way: what compact.c and compact_swap.c share.
#pragma once

#include "storage/compact_batch.h"
#include "storage/compact_read.h"
#include "storage/compact_select.h"
#include "storage/compact_write.h"
#include "storage/store.h"

enum { COMPACT_GROUP_MAX = 32 }; // segments that become one: each has its file open

enum compact_phase { COMPACT_NOTING, COMPACT_COPYING, COMPACT_FINISHING, COMPACT_SWAPPING };

enum compact_progress {
    COMPACT_GOES_ON, // there is more to do at once
    COMPACT_WAITS,   // something calls compact_advance later
    COMPACT_ENDED,   // the compaction does not exist any more
};

struct compaction {
    struct log_store *store;
    struct log *log;
    enum compact_phase phase;
    struct compact_plan plan;
    struct compact_map map;
    int64_t map_end;
    int64_t delete_horizon_ms;
    struct compact_rules rules;
    struct compact_batch work;
    struct compact_reader reader;
    struct compact_writer writer;
    int64_t at;                               // where the next segment or group begins, or later
    struct segment *group[COMPACT_GROUP_MAX]; // held
    uint32_t group_count;
    uint32_t group_at;            // the one that is being read; SWAPPING: the next to be removed
    bool dry;                     // only looking whether there is anything to take out
    struct segment_header header; // of the file that the group becomes
    struct span out;              // what the writer has not taken yet
    uint64_t stepped;             // bytes worked on in this turn
    bool paused;
    uint64_t resume_ns; // paused: until then
    struct io_op op;
    struct steps steps;
    int directory_fd; // SWAPPING: the log's
    int swap_error;
    struct segment *made; // SWAPPING: by the writer, in the log's list
    char *path;
    char *paths[6];
};

void compact_advance(struct compaction *compaction);
void compact_go_on(struct compaction *compaction); // with the next io_run

// The compaction ends, for now; says so.
enum compact_progress compact_fail(struct compaction *compaction, int error);

// The sources are as if nothing had been, or are freed if they were removed.
void compact_release_group(struct compaction *compaction);

// --- compact_swap.c

// The new file is durable: it becomes the group's segment. Goes on with COMPACT_COPYING.
enum compact_progress compact_swap(struct compaction *compaction);
