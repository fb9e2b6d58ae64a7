// SPDX-License-Identifier: Apache-2.0
// The space that is left when the device is full: for the logs that are state (those with a
// reserve: topics, committed offsets), so that they go on without end. See space.c.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "storage/io.h"

struct log;
struct log_space;
struct log_store;
struct log_store_options;

struct ballast {
    enum {
        BALLAST_NONE,   // there is none
        BALLAST_TAKING, // being allocated
        BALLAST_HELD,
        BALLAST_WANTED, // a log needs it; it goes when other logs have stopped growing
        BALLAST_GOING,
        BALLAST_OUT, // its space is there for the logs that are state
    } state;
    uint64_t bytes;
    char *path;
    int fd;
    uint64_t since_ns;     // WANTED, OUT: when that began, or it was last tried to take it back
    uint64_t times_out;    // so often has it gone
    bool counted;          // in space->tight
    uint64_t sealed_bytes; // by logs that are state, since the last compaction ended
    bool seen;             // the tightness that this store's logs are set up for
    struct io_op op;
    struct log_space *space; // shared by the stores of the data directory, or &own
    struct log_space *own;
};

// Start-up only. 0 or a negative errno.
int space_open(struct log_store *store, const struct log_store_options *options);

// Start-up and the end, when nothing else is under way.
void space_close(struct log_store *store);

// Whether there is space only for the logs that are state.
bool space_is_tight(const struct log_store *store);

// An operation to give this log space has ended so.
void space_note(struct log *log, int64_t result);

// Whether a log that has met a full device had better try again: its store is making space.
bool space_is_coming(const struct log *log);

// A segment of the log has been sealed: while its store lives on what was in reserve, there may be
// something to gain.
void space_sealed(struct log *log);

// Whether the log must not go on before the compaction under way has ended: it would use up what
// that needs. The caller parks the log; space_compacted wakes it.
bool space_must_wait(struct log *log);

// A compaction has ended.
void space_compacted(struct log_store *store);

// Files have been removed: it may be worth trying to take the ballast back.
void space_freed(struct log_store *store);

// The log is new or was configured: sets the size of its segments.
void space_limit_segments(struct log *log);

// Goes on with what is to be done about the ballast; called every second or more often.
void space_tick(struct log_store *store);
