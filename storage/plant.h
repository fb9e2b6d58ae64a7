// SPDX-License-Identifier: Apache-2.0
// Faults planted on purpose, one at a time, to prove that the simulation (tests/sim) finds each of
// them. Only a library built with WEIR_PLANTS, which nothing but that proof links, contains them;
// everywhere else the condition is a constant and costs nothing.
//
// At the place where a fault belongs: if (planted(PLANT_...)) do the wrong thing; one line.
#pragma once

#include <stdbool.h>

enum plant {
    PLANT_NONE,
    PLANT_ACK_BEFORE_COMMIT,   // an append is acknowledged before its bytes are durable
    PLANT_SKIP_DIRECTORY_SYNC, // a new segment's directory is not synced
    PLANT_NO_SALT,             // checksums do not depend on the file's life
    PLANT_TRUST_INDEX,         // an index file is taken without comparing it with the segment
    PLANT_RETRY_FAILED_SYNC,   // a failed write or sync is repeated, and its success believed
    PLANT_REUSE_JOURNAL_EARLY, // a journal file is recycled while something in it is unflushed
    PLANT_DROP_PRODUCERS,      // a restart does not bring back the producers' state
    PLANT_CUT_MIDDLE,          // a bad frame is cut although something durable lies behind it
    PLANT_IGNORE_GAP,          // replay goes on behind missing offsets as if there were none
    PLANT_FLUSH_EARLY,         // a flush counts as durable before its write has completed
    PLANT_SKIP_PREFIX,         // a frame's write begins with zeros instead of the block's old bytes
    PLANT_COMPACT_LAST,        // compaction drops the last value of a key
    PLANT_TRIM_EARLY,          // a trim is told to be done before it is durable
    PLANT_CHECKPOINT_EARLY,    // an index of the active segment covers what is not durable
    PLANT_BEGIN_UNSETTLED,     // the journal begins anew before its old entries are in segments
    PLANT_STALE_LIFE,          // commits of an earlier life of a journal file are replayed
    PLANT_BELIEVE_CACHE,       // what a start finds is not written again before it is synced
    PLANT_COUNT,
};

#ifdef WEIR_PLANTS
extern enum plant plant_active; // set by the simulation while nothing runs

static inline bool planted(enum plant plant)
{
    return plant_active == plant;
}
#else
static inline bool planted(enum plant plant)
{
    (void)plant;
    return false;
}
#endif
