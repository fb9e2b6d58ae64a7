// SPDX-License-Identifier: Apache-2.0
// One line on standard error that tells how far long work has come: shown on terminals only,
// rewritten in place, gone at the end.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct progress {
    FILE *out;
    bool shown;       // false: every call does nothing
    const char *verb; // "produced"
    int64_t total;    // records in all, or bytes; 0 when nobody knows
    bool of_bytes;    // there are no records
    uint64_t start_ns;
    uint64_t next_ns;
    bool drawn;
};

// `on` is usually progress_wanted(). `verb` must outlive the progress.
void progress_start(struct progress *progress, FILE *out, bool on, const char *verb, int64_t total);

// The same for work that knows bytes only: `total` is theirs, `records` of updates means nothing.
void progress_start_bytes(struct progress *progress, FILE *out, bool on, const char *verb,
                          int64_t total);

// Whether `out` is a terminal.
bool progress_wanted(FILE *out);

// Redraws at most five times a second; cheap otherwise.
void progress_update(struct progress *progress, int64_t records, int64_t bytes);

// For work with a line of its own: whether it is time to redraw, and the line.
bool progress_due(struct progress *progress);
void progress_show(struct progress *progress, const char *text);

// Removes the line.
void progress_end(struct progress *progress);

// The line's text: "produced 12,345 records (41 %), 3.2 MB, 4,100/s, 1.1 MB/s, 0:07 left".
void progress_text(char *text, size_t size, const char *verb, int64_t total, int64_t records,
                   int64_t bytes, uint64_t elapsed_ns);

// Without records: "verified 3.20 of 10.00 GB (32 %), 1.60 GB/s, 0:04 left".
void progress_bytes_text(char *text, size_t size, const char *verb, int64_t total, int64_t bytes,
                         uint64_t elapsed_ns);

// 1234567 as "1,234,567".
void progress_count(char *text, size_t size, int64_t value);
