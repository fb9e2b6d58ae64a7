// SPDX-License-Identifier: Apache-2.0
// Pieces that the scripts of several shells are made of. Private to shell*.c.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "tools/options.h"

// Whether row `index` of the table is the first with its first word ("topic") and has a second one;
// that word is then in `group`.
bool shell_first_of_group(size_t index, char *group, size_t size);

// Every such word, each between `before` and `after`.
void shell_write_groups(FILE *out, const char *before, const char *after);

// The options of every command that take a value: --brokers, -b, ... with `between` between them.
void shell_write_valued(FILE *out, const char *between);

// The words an option may take, with spaces between them.
void shell_write_choices(const struct option_spec *spec, FILE *out);
