// SPDX-License-Identifier: Apache-2.0
// How a record is printed: a text template in kcat's notation, JSON lines, msgpack, CSV with a
// first line, hexadecimal digits, or the bare value.
#pragma once

#include <stddef.h>
#include <stdio.h>

#include "clients/c/weir.h"

struct format;

// Parses `json`, `msgpack`, `csv`, `csv:FIELD,...`, `hex`, `raw`, or a template (anything that
// contains % or a backslash):
//   %t topic   %p partition   %o offset   %k key   %s or %v value   %h headers (name=value,...)
//   %K key size   %S value size (-1 when absent)   %T timestamp in ms   %D timestamp as a date
//   (UTC)
//   %{FIELD} a field as field.h has them, such as value.user.name
//   %% percent   \n newline   \t tab   \r return   \0 NUL   \xHH byte   \\ backslash
// Returns 0 and *out, to be freed with format_free; or -EINVAL with a sentence in `error`, -ENOMEM.
int format_parse(const char *text, struct format **out, char *error, size_t error_size);

// NULL is allowed.
void format_free(struct format *format);

// Writes what stands before the first record: the names of CSV's columns, else nothing.
void format_begin(const struct format *format, FILE *out);

// Writes one record. The stream's error flag tells about failures.
void format_record(const struct format *format, const struct weir_record *record, FILE *out);
