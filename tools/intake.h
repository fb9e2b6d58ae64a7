// SPDX-License-Identifier: Apache-2.0
// Input that says more than a value: records with key, headers and timestamp, as weir consume
// prints them, in JSON lines, CSV, hexadecimal digits or msgpack.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "clients/c/weir.h"

enum intake_format {
    INTAKE_LINES,
    INTAKE_JSON,
    INTAKE_CSV,
    INTAKE_HEX,
    INTAKE_MSGPACK,
    INTAKE_RAW
};

// The names of the formats, in that order; ends with NULL.
extern const char *const intake_formats[];

struct intake;

// A reader for JSON, CSV or HEX, whose input comes in lines, or for MSGPACK. NULL without memory.
// `max` bounds the bytes of one record's input.
struct intake *intake_new(enum intake_format format, size_t max);
void intake_free(struct intake *intake); // NULL is allowed

// Takes one line, without its newline. Returns 1 with *message, whose pointers are valid until the
// next call; 0 when there is no record (CSV's first line, an empty line, or a cell that goes on in
// the next line); -EINVAL when the line makes no sense, with a sentence in intake_error; -ENOMEM.
int intake_line(struct intake *intake, const char *line, size_t size, struct weir_message *message);

// Takes bytes of msgpack. 0 or -ENOMEM. Then intake_packed hands out messages as intake_line does,
// and 0 when more bytes are needed.
int intake_feed(struct intake *intake, const char *data, size_t size);
int intake_packed(struct intake *intake, struct weir_message *message);

// At the end of the input: 0, or -EINVAL when it ends inside a record or, with CSV, before the
// names of the columns.
int intake_end(struct intake *intake);

const char *intake_error(const struct intake *intake);
