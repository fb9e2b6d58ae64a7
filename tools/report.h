// SPDX-License-Identifier: Apache-2.0
// A list of results, kept once as JSON and printed as JSON or as a table for people.
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct report_column {
    const char *key;   // member of each row
    const char *title; // heading of the table's column
    bool right;        // numbers are easier to compare when they end in one line
};

// Prints `rows`, an array of objects, as a table: a heading, then one line per row, columns as wide
// as needed. A missing member or null shows as "-". Nothing but the heading for no rows. On a
// terminal, names so long that all lines would wrap with them stand out of their column instead.
void report_print_table(const json_t *rows, const struct report_column *columns, size_t count,
                        FILE *out);

// The same on a screen of so many characters; 0: as wide as needed.
void report_print_table_on(const json_t *rows, const struct report_column *columns, size_t count,
                           int screen, FILE *out);

// Prints any value as indented JSON and a newline.
void report_print_json(const json_t *value, FILE *out);

// Prints `rows` as one or the other.
void report_print(const json_t *rows, bool json, const struct report_column *columns, size_t count,
                  FILE *out);

// Sets `name` to bytes: null, a string when they are UTF-8, else base64 under NAME_base64.
void report_set_bytes(json_t *object, const char *name, const void *data, size_t size);

// Copies at most `width` characters of UTF-8. Control characters of either kind become '?': names
// come from anybody, and must not steer the terminal of the one who looks.
void report_printable(const char *text, int width, char *out, size_t size);

// How many characters of UTF-8 there are.
int report_width(const char *text);
