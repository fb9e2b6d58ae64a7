// SPDX-License-Identifier: Apache-2.0
// What the readers of all input formats share. Private to intake*.c.
#pragma once

#include <jansson.h>
#include <msgpack.h>

#include "tools/intake.h"
#include "tools/pipe_pack.h"

enum { INTAKE_HEADERS_MAX = 256, INTAKE_COLUMNS_MAX = 256, INTAKE_OWNED_MAX = 1024 };

// What a column of CSV holds.
enum intake_column {
    COLUMN_IGNORED,
    COLUMN_KEY,
    COLUMN_VALUE,
    COLUMN_TIME,
    COLUMN_HEADERS,
    COLUMN_HEADER
};

struct intake {
    enum intake_format format;
    size_t max;
    char error[256];
    json_t *json; // what the message points into
    struct weir_header headers[INTAKE_HEADERS_MAX];
    size_t header_count;
    void *owned[INTAKE_OWNED_MAX]; // freed before the next message
    size_t owned_count;
    // CSV
    enum intake_column columns[INTAKE_COLUMNS_MAX];
    char *column_names[INTAKE_COLUMNS_MAX]; // of headers
    size_t column_count;
    char *text; // a record that spans lines
    size_t text_size;
    // msgpack
    struct pipe_bytes packed;
    struct pipe_pack_scan scan; // of the record at the front of `packed`
    size_t taken;               // bytes at the front that the last message points into
    msgpack_unpacked unpacked;
};

// Keeps a sentence; -EINVAL.
int intake_complain(struct intake *intake, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

// Memory that lasts as long as the message; NULL without memory.
void *intake_keep(struct intake *intake, size_t size);

// Adds a header. 0 or -EINVAL.
int intake_add_header(struct intake *intake, struct weir_bytes name, struct weir_bytes value);

int intake_json(struct intake *intake, const char *line, size_t size, struct weir_message *message);
int intake_json_headers(struct intake *intake, const json_t *headers);
int intake_csv(struct intake *intake, const char *line, size_t size, struct weir_message *message);
