// SPDX-License-Identifier: Apache-2.0
// Totals per section, each package counted once however often its record comes.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "tools/demo/package.h"

struct section {
    char name[64];
    int64_t packages;
    uint64_t installed_kb;
    char largest[64];
    uint64_t largest_kb;
};

struct sections {
    struct section *items;
    size_t count;
    size_t capacity;
    bool *seen; // by paragraph number
    size_t seen_size;
    int64_t packages;
    int64_t repeated;
};

// Counts a package that stems from paragraph `number`, unless that one has been counted before.
// 0, -ENOMEM, or -ERANGE for an impossible number.
int sections_add(struct sections *sections, int64_t number, const struct package *package);

// Puts the section with the most packages first.
void sections_sort(struct sections *sections);

// A table of the first `rows`, a line for all others, and the total.
void sections_print(const struct sections *sections, size_t rows, FILE *out);

void sections_free(struct sections *sections);
