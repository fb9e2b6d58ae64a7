// SPDX-License-Identifier: Apache-2.0
// The formats that show a whole record. Private to format*.c.
#pragma once

#include <stdio.h>

#include "tools/field.h"

// One JSON object and a newline.
void format_write_json(const struct weir_record *record, FILE *out);

// One msgpack map with the members that JSON has; keys and values are binary.
void format_write_msgpack(const struct weir_record *record, FILE *out);

// Key, value and headers in hexadecimal digits, with tabs between; "-" for what is absent.
void format_write_hex(const struct weir_record *record, FILE *out);

// A value as text; nothing for one that is absent.
void format_write_value(const struct field_value *value, FILE *out);

// The same as a cell of CSV, in quotes where that is needed. What is absent is an empty cell, what
// is empty is "".
void format_write_cell(const struct field_value *value, FILE *out);

// All headers as a cell that holds JSON; an empty cell for none.
void format_write_headers_cell(const struct weir_record *record, FILE *out);
