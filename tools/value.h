// SPDX-License-Identifier: Apache-2.0
// Reading the values that people type: counts, sizes, durations, moments and log positions.
// Every function takes the whole text (trailing characters are an error), returns 0, -EINVAL when
// the text is not such a value or -ERANGE when it is out of bounds, and writes *out only on 0.
#pragma once

#include <stdint.h>

// Decimal digits with an optional sign.
int value_count(const char *text, int64_t min, int64_t max, int64_t *out);

// Bytes: digits with an optional suffix K, M, G or T (powers of 1024; "KiB", "kB" and lower case
// are taken as well).
int value_size(const char *text, int64_t *out);

// Milliseconds: digits and a unit, ms, s, m, h or d. Only 0 may stand without one.
int value_duration(const char *text, int64_t *out_ms);

// Milliseconds since 1970 in UTC, from one of: 2026-01-31, 2026-01-31T12:30[:05[.250]] with an
// optional Z (always UTC), a number of milliseconds since 1970, or a duration before `now_ms`,
// written as -10m.
int value_time(const char *text, int64_t now_ms, int64_t *out_ms);

enum position_kind {
    POSITION_BEGINNING,
    POSITION_END,
    POSITION_OFFSET,   // value: the offset
    POSITION_FROM_END, // value: how many records before the end
    POSITION_TIME,     // value: milliseconds since 1970
    POSITION_NEWEST,   // the record with the largest timestamp
};

struct position {
    enum position_kind kind;
    int64_t value;
};

// beginning, end, OFFSET, -N, @TIME or newest.
int value_position(const char *text, int64_t now_ms, struct position *out);

// Splits "name=value" at the first '='. Returns the value's start and the name's length, or NULL
// when there is no '=' or no name.
const char *value_assignment(const char *text, int *name_length);
