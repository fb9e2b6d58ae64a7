// SPDX-License-Identifier: Apache-2.0
// Options as tables: one row says an option's name, what it takes, where the value goes and what
// --help says about it. The row is the only place that knows; parsing, bounds, error sentences,
// --help, manual pages and completion all read it.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum option_kind {
    OPTION_FLAG,     // bool
    OPTION_TEXT,     // const char *
    OPTION_LIST,     // struct text_list; may be given again
    OPTION_COUNT,    // int64_t between min and max
    OPTION_SIZE,     // int64_t bytes between min and max, "64K"
    OPTION_DURATION, // int64_t milliseconds between min and max, "10s"
    OPTION_CHOICE,   // int: index into choices
};

// The values point into argv.
struct text_list {
    const char **items;
    size_t count;
};

struct option_spec {
    const char *name; // long form, without dashes
    char letter;      // 0: none
    enum option_kind kind;
    const char *placeholder; // what the value is called in --help; NULL for flags
    const char *help;
    size_t offset; // of the value in the settings struct
    int64_t min;
    int64_t max;                // 0 together with min 0: any non-negative value
    const char *const *choices; // ends with NULL; of OPTION_TEXT: what completion suggests
};

// A table ends with a row whose name is NULL.

enum {
    OPTIONS_HELP = 1, // --help was asked for
    OPTIONS_ERROR = -1,
};

// A table and the struct that its values go to.
struct options_target {
    const struct option_spec *specs;
    void *settings;
};

// Reads the options of argv (argv[0] is skipped) as the targets' tables say. Options and arguments
// may mix, unless `stop_at_argument`; "--" ends the options. On return argv's arguments stand
// behind the options and *first is the first one's index. Returns 0, OPTIONS_HELP, or OPTIONS_ERROR
// with a sentence in `error`. Lists grow by malloc and are freed with options_free. Not reentrant
// (getopt keeps state).
int options_parse(int argc, char **argv, const struct options_target *targets, size_t target_count,
                  bool stop_at_argument, int *first, char *error, size_t error_size);

// Frees the lists of one table.
void options_free(const struct option_spec *specs, void *settings);

// Prints a table for --help, one option per paragraph, wrapped at 80 columns.
void options_print(const struct option_spec *specs, FILE *out);
