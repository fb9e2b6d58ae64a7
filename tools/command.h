// SPDX-License-Identifier: Apache-2.0
// What a subcommand of `weir` is. The table in commands.c is the only list of them: dispatch,
// --help, manual pages and shell completion read nothing else.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "clients/c/weir.h"
#include "tools/options.h"

enum exit_code {
    EXIT_OK = 0,
    EXIT_FAILED = 1,      // something went wrong; the sentence on standard error says what
    EXIT_USAGE = 2,       // the command line makes no sense
    EXIT_NOT_FOUND = 3,   // no such topic, partition or offset
    EXIT_UNREACHABLE = 4, // no broker at that address, or no answer in time
    EXIT_INTERRUPTED = 130,
};

enum output { OUTPUT_TEXT, OUTPUT_JSON };

// The options every command takes.
struct common_settings {
    const char *brokers;
    int output; // enum output
    int64_t timeout_ms;
    struct text_list client_settings; // NAME=VALUE
    bool version;
};

extern const struct option_spec command_common_options[];

struct exit_meaning {
    int code;
    const char *meaning; // NULL ends the table
};

extern const struct exit_meaning command_exit_codes[];

struct command;

// One run of the program. Commands write results to `out` and everything else to `err`.
struct app {
    struct common_settings common;
    const struct command *command; // NULL until one is chosen
    FILE *out;
    FILE *err;
};

struct command {
    const char *name;      // "topic create"
    const char *arguments; // "TOPIC...", empty for none
    int min_arguments;
    int max_arguments;          // -1: any number
    const char *argument_words; // what the arguments may be, with spaces between; NULL: not fixed
    const char *summary;
    const char *description; // lines for --help, or NULL
    const char *examples;    // lines
    const struct option_spec *options;
    size_t settings_size;
    const void *defaults; // settings_size bytes the options start from
    int (*run)(struct app *app, const void *settings, int count, char **arguments);
};

// Ends with NULL.
extern const struct command *const command_table[];

// The command that the first words of `words` name, with *used set to how many; NULL for none.
const struct command *command_find(int count, char **words, int *used);

// Whether some command's name starts with this word ("topic").
bool command_is_group(const char *word);

// --help of one command, of a group (the first word of names), or of the program (NULL).
void command_print_help(const struct command *command, FILE *out);
void command_print_overview(const char *group, FILE *out);

// Runs a whole command line and returns the exit code.
int command_main(struct app *app, int argc, char **argv);
