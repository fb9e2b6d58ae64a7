// SPDX-License-Identifier: Apache-2.0
// What weir consume does with records, wherever they come from: keeps some, prints them, counts.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "tools/app.h"
#include "tools/format.h"
#include "tools/progress.h"
#include "tools/where.h"

// Values of --format that are words, for completion; ends with NULL.
extern const char *const printing_formats[];

struct printing {
    struct app *app;
    struct format *format;
    struct where *where; // NULL: all
    int64_t count;       // how many to print; 0: no limit
    bool until_end;
    struct progress progress;
    int64_t read;
    int64_t printed;
    int64_t bytes;
};

// Reads --format (NULL: what -o says) and --where (NULL: none). 0 or an exit code after having
// reported what is wrong; printing_free is due in any case.
int printing_init(struct printing *printing, struct app *app, const char *format,
                  const char *where);
void printing_free(struct printing *printing);

// Before the first record; `total` is how many there are to read, 0 when nobody knows.
void printing_begin(struct printing *printing, int64_t total);

// Says anew how many there are to read in all.
void printing_expect(struct printing *printing, int64_t total);

// Prints a record if it is to be kept. 0 or an exit code after having reported why.
int printing_record(struct printing *printing, const struct weir_record *record);

// Whether `count` records have been printed.
bool printing_enough(const struct printing *printing);

// Redraws the progress, if it is time to.
void printing_update(struct printing *printing);

// The exit code when reading ends without an error.
int printing_end(struct printing *printing);
