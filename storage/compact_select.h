// SPDX-License-Identifier: Apache-2.0
// Whether a log is worth compacting, and how far. Pure.
#pragma once

#include <stdbool.h>
#include <stdint.h>

// A segment as far as it matters here. The last one of a log is the active one.
struct compact_extent {
    int64_t base_offset;
    int64_t next_offset;
    uint64_t bytes;
    int64_t newest_ms; // its largest timestamp, or when it was made if it has none
    int64_t created_ms;
    int64_t cleaned_to; // as in its header
    int64_t dirty_from;
    bool sealed;  // and all of it committed
    bool damaged; // left alone
};

struct compact_limits {
    int64_t log_start;
    int64_t now_ms;
    double min_dirty_ratio;
    int64_t min_lag_ms;
    int64_t max_lag_ms; // INT64_MAX = none
};

struct compact_plan {
    bool due;
    bool overdue;       // something dirty is older than max_lag_ms
    bool whole;         // there is no damage below clean_to
    double ratio;       // dirty bytes of all bytes below clean_to
    int64_t dirty_from; // from here
    int64_t clean_to;   // to here: the end of a sealed segment
};

struct compact_plan compact_select(const struct compact_extent *extents, uint32_t count,
                                   const struct compact_limits *limits);
