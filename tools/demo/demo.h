// SPDX-License-Identifier: Apache-2.0
// The programs of the demo. Each is run in a process of its own, and returns its exit code.
#pragma once

#include <stdint.h>

struct demo {
    const char *brokers;
    const char *path;       // the package database
    int64_t clock_start_ms; // when the demo began
    int64_t pace_ms;        // how long stage 1 takes its time
};

// Stage 1: every paragraph of the package database becomes a record of packages.raw.
int demo_ingest(const struct demo *demo);

// The command of stage 2: reads packages from standard input and answers each on standard output,
// or ends at one that is damaged.
int demo_clean(const struct demo *demo);

// Stage 3: reads packages.clean, adds up per section, prints the table, stores it in
// packages.sections.
int demo_report(const struct demo *demo);

// Reads all topics from their beginning and compares them with the input, paragraph by paragraph.
int demo_verify(const struct demo *demo);
