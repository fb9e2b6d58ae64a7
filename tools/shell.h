// SPDX-License-Identifier: Apache-2.0
// Completion scripts for bash, zsh and fish, made from the table of commands. Each script holds the
// whole table; it runs weir only to ask the broker for the names of topics and groups.
#pragma once

#include <stdio.h>

#include "tools/options.h"

// What completes the value of an option, or an argument.
enum shell_words {
    SHELL_NOTHING, // a number, a name nobody knows yet
    SHELL_CHOICES, // option_spec.choices
    SHELL_FILES,
    SHELL_TOPICS,
    SHELL_GROUPS,
};

// What `placeholder` ("TOPIC...", "PATH") stands for; SHELL_NOTHING for NULL.
enum shell_words shell_words_of(const char *placeholder);

// The same for an option's value.
enum shell_words shell_words_of_option(const struct option_spec *spec);

// Writes the script to be sourced, or to be put where the shell looks for completions.
void shell_write_bash(FILE *out);
void shell_write_zsh(FILE *out);
void shell_write_fish(FILE *out);
