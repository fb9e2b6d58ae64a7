// SPDX-License-Identifier: Apache-2.0
// One line on standard error that tells how far long work has come: shown on terminals only,
// rewritten in place, gone at the end.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum progress_kind {
    PROGRESS_RECORDS, // `total` records, 0 when nobody knows
    PROGRESS_INPUT,   // records from `total` bytes of input
    PROGRESS_BYTES,   // `total` bytes, and no records
    PROGRESS_STEPS,   // `total` topics or the like
};

struct progress {
    FILE *out;
    bool shown; // false: every call does nothing
    enum progress_kind kind;
    const char *verb; // "produced"
    const char *noun; // of steps: "topics"
    int64_t total;
    uint64_t start_ns;
    uint64_t next_ns;
    bool drawn;
};

// `on` is usually progress_wanted(). `verb` must outlive the progress.
void progress_start(struct progress *progress, FILE *out, bool on, const char *verb, int64_t total);

// The same for work that knows bytes only: `total` is theirs, `records` of updates means nothing.
void progress_start_bytes(struct progress *progress, FILE *out, bool on, const char *verb,
                          int64_t total);

// For records read from `total` bytes: the bytes of updates are those read so far.
void progress_start_input(struct progress *progress, FILE *out, bool on, const char *verb,
                          int64_t total);

// For work on `total` things that are called `noun`; the records of updates are those done with.
void progress_start_steps(struct progress *progress, FILE *out, const char *verb, const char *noun,
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

// "produced 12,345 records, 3.2 of 10.0 MB (32 %), 4,100/s, 1.1 MB/s, 0:06 left".
void progress_input_text(char *text, size_t size, const char *verb, int64_t total, int64_t records,
                         int64_t bytes, uint64_t elapsed_ns);

// "deleted 1,200 of 5,000 topics (24 %), 300/s, 0:12 left".
void progress_steps_text(char *text, size_t size, const char *verb, const char *noun, int64_t total,
                         int64_t done, uint64_t elapsed_ns);

// 1234567 as "1,234,567".
void progress_count(char *text, size_t size, int64_t value);
