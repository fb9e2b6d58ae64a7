// SPDX-License-Identifier: Apache-2.0
// What a pipeline stage may do next and which offsets it may commit: pure bookkeeping, without
// processes, broker, clock or memory of its own.
//
// A lane is one input partition while it is ours. Its entries are records in order of their
// offsets: first those concluded (their outputs may still be on their way to the broker), then
// those running (with a command now), then those waiting. A run is what one worker is given of one
// lane at once; a lane has one run at a time, so that its order holds.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"

struct pipe_rules {
    size_t run_records;  // in one run at most
    size_t run_bytes;    // the same; a single record may be larger
    int64_t linger_ms;   // how long records wait for a run to fill; 0: a run begins at once
    uint32_t retries;    // after the first failure of a record
    int64_t pause_ms;    // before the first retry; doubles with each, up to PIPE_PAUSE_MAX_MS
    size_t lane_records; // a lane with so many is full
    size_t lane_bytes;
};

enum { PIPE_PAUSE_MAX_MS = 30 * 1000 };

struct pipe_engine {
    struct pipe_rules rules;
    struct list lanes; // the next one to be served first
};

enum pipe_entry_state { PIPE_WAITING, PIPE_RUNNING, PIPE_CONCLUDED };

// One record on its way through the stage. Embedded in the owner's struct, which owns its memory.
struct pipe_entry {
    struct list node;
    struct pipe_lane *lane;
    int64_t offset;
    size_t bytes;
    int64_t arrived_ms;
    enum pipe_entry_state state;
    uint32_t pending;  // outputs handed to the producer whose end is not known
    uint32_t failures; // of the command with this record alone
};

// One input partition. Embedded in the owner's struct.
struct pipe_lane {
    struct list node;
    struct pipe_engine *engine;
    struct list entries;
    struct list *open; // the first entry that is not concluded; &entries: none
    size_t count;      // of entries
    size_t bytes;
    size_t waiting;
    size_t running;
    size_t limit; // records in the next run: shrinks to find the one that makes the command fail
    int64_t rest_until_ms;
    int64_t done;  // every record before this offset is done with; -1: none so far
    bool closed;   // no further run
    bool complete; // nothing more will come: what waits need not wait for more
};

void pipe_engine_init(struct pipe_engine *engine, const struct pipe_rules *rules);

void pipe_lane_open(struct pipe_engine *engine, struct pipe_lane *lane);

// The lane has no entries any more.
void pipe_lane_remove(struct pipe_lane *lane);

// Adds a record read from the lane's partition; offsets rise.
void pipe_lane_take(struct pipe_lane *lane, struct pipe_entry *entry, int64_t offset, size_t bytes,
                    int64_t now_ms);

// Full: read no more for now. Hungry: less than half of that; read again.
bool pipe_lane_full(const struct pipe_lane *lane);
bool pipe_lane_hungry(const struct pipe_lane *lane);

// Begins a run: chooses a lane in turn and marks its first waiting entries as running. NULL when no
// lane has anything to do by now_ms.
struct pipe_lane *pipe_run_begin(struct pipe_engine *engine, int64_t now_ms);

// When pipe_run_begin may find something at last, though nothing else happens; INT64_MAX: never.
int64_t pipe_engine_due_ms(const struct pipe_engine *engine);

// The run's first entry that is not concluded; NULL for none.
struct pipe_entry *pipe_run_first(const struct pipe_lane *lane);
// The entry after this one in its run, or NULL.
struct pipe_entry *pipe_run_next(const struct pipe_entry *entry);

// The run's first entry has all its outputs, if any, handed over (pipe_output_begun). When it was
// the last one the run is over, and has succeeded.
void pipe_entry_conclude(struct pipe_entry *entry);

// The command failed, or was given up. What is still running waits again, the next run is
// smaller; if it was one record alone, it counts as that one's failure. Returns the entry when it
// has failed too often now: concluded, for the owner to reject; otherwise NULL.
struct pipe_entry *pipe_run_failed(struct pipe_lane *lane, int64_t now_ms);

// The run ended through no fault of the command (it could not be started): nobody is blamed, and
// the lane rests for a pause.
void pipe_run_undone(struct pipe_lane *lane, int64_t now_ms);

// An output of the entry went to the producer; it was acknowledged.
void pipe_output_begun(struct pipe_entry *entry);
void pipe_output_ended(struct pipe_entry *entry);

// Takes the first entry off the lane if it is done with, and moves lane->done behind it; otherwise
// NULL. The owner frees it.
struct pipe_entry *pipe_lane_pop(struct pipe_lane *lane);

// Closes the lane and takes off it one entry that waits (with `running` also one that runs: the
// command has been stopped). NULL when there is none. The owner frees it.
struct pipe_entry *pipe_lane_drop(struct pipe_lane *lane, bool running);
