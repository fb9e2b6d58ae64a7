// SPDX-License-Identifier: Apache-2.0
// Manual pages in roff's man macros, made from the table of commands: what --help says, in the
// sections a manual page has.
#pragma once

#include <stdio.h>

#include "tools/command.h"

// The page of one command, weir-topic-create(1), or of the program, weir(1), for NULL.
void manual_write(const struct command *command, FILE *out);

// "weir-topic-create.1", "weir.1" for NULL.
void manual_file_name(const struct command *command, char *name, size_t size);
