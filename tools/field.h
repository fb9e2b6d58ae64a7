// SPDX-License-Identifier: Apache-2.0
// Places inside records, as people name them: key, value, topic, partition, offset, timestamp,
// header.NAME, and members of JSON or msgpack in a key or a value (value.user.name, value.items[0],
// value["a b"]).
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "clients/c/weir.h"

struct field;

// Reads a field at *at and moves *at behind it. 0 with *out, to be freed with field_free; -EINVAL
// with a sentence in `error`; -ENOMEM.
int field_parse(const char **at, struct field **out, char *error, size_t error_size);
void field_free(struct field *field); // NULL is allowed

enum field_kind {
    FIELD_ABSENT, // no such header or member, no key, not JSON or msgpack, or null
    FIELD_NUMBER, // number; whole numbers to 64 bits are exact
    FIELD_BOOL,
    FIELD_BYTES, // key, value, header or topic: text of whatever kind
    FIELD_TEXT,  // a string inside JSON or msgpack
    FIELD_JSON,  // an object or a list
};

struct field_value {
    enum field_kind kind;
    bool whole; // of a number
    bool boolean;
    int64_t integer;
    double real;
    struct weir_bytes bytes; // of BYTES and TEXT
    const json_t *json;
};

// One record while its fields are read; what is inside its key and value is decoded once, when it
// is first asked for.
struct record_view {
    const struct weir_record *record;
    json_t *parts[2]; // key, value; NULL when they hold neither JSON nor msgpack
    bool decoded[2];
};

// The record must stay valid until record_view_end.
void record_view_start(struct record_view *view, const struct weir_record *record);
void record_view_end(struct record_view *view);

// Pointers in *out are valid until record_view_end.
void field_read(const struct field *field, struct record_view *view, struct field_value *out);
