// SPDX-License-Identifier: Apache-2.0
// What `weir log repair` would do, as a list of steps, made from what a survey has found.
#pragma once

#include "tools/log_survey.h"

struct plan_wishes {
    bool indexes;
    bool truncate;
    bool drop_range;
    bool discard_journal;
    bool leftovers;
};

enum plan_action {
    PLAN_REMOVE,  // a file
    PLAN_REWRITE, // a segment without its gaps
    PLAN_HOLE,    // a segment file without records
};

struct plan_step {
    enum plan_action action;
    char *file;                      // below the data directory
    struct inspect_log *log;         // NULL for files of no log
    struct inspect_segment *segment; // PLAN_REWRITE
    int64_t first;                   // offsets given up; first == next: none
    int64_t next;                    // INT64_MAX: all from `first` on
    const char *why;
};

struct plan {
    struct plan_step *steps;
    size_t count;
    size_t left; // findings that no wish covers
    bool short_of_memory;
};

void plan_make(struct plan *plan, struct log_survey *survey, const struct plan_wishes *wishes);
void plan_free(struct plan *plan);

// 0 or a negative errno.
int plan_step_do(const struct plan_step *step, const char *root);

void plan_step_print(const struct plan_step *step, FILE *out);
json_t *plan_step_json(const struct plan_step *step);
