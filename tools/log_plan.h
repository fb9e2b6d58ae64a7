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
    PLAN_STATE,   // of the journal
    PLAN_GIVE_UP, // what goes with the steps before: only said
};

struct plan_step {
    enum plan_action action;
    char *file;                      // below the data directory
    struct inspect_log *log;         // NULL for files of no log
    struct inspect_segment *segment; // PLAN_REWRITE
    int64_t first;                   // offsets given up; first == next: none
    int64_t next;                    // INT64_MAX: all from `first` on
    const char *why;
    struct journal_state_header state; // PLAN_STATE
    struct journal_uncertain *uncertain;
};

struct plan {
    struct plan_step *steps;
    size_t count;
    size_t left; // findings that no wish covers
    bool short_of_memory;
};

// `filtered`: not all logs were surveyed, so what concerns all of them stays as it is.
void plan_make(struct plan *plan, struct log_survey *survey, const struct plan_wishes *wishes,
               bool filtered);
void plan_free(struct plan *plan);

// --- for log_plan_journal.c

// Takes `step`, its file and its list. False without memory.
bool plan_add(struct plan *plan, struct plan_step step);
void plan_remove(struct plan *plan, struct inspect_log *log, const char *file, const char *why);
void plan_journal(struct plan *plan, struct log_survey *survey, bool filtered);

// --- doing it

// 0 or a negative errno.
int plan_step_do(const struct plan_step *step, const char *root);

void plan_step_print(const struct plan_step *step, FILE *out);
json_t *plan_step_json(const struct plan_step *step);
