// SPDX-License-Identifier: Apache-2.0
// Which records to keep: `value.amount > 100 and (header.zone == "eu" or key ~ "^vip-")`.
//
//   expression   comparisons joined by and, or, not and parentheses; not binds most tightly
//   comparison   FIELD OPERATOR LITERAL, or FIELD alone: there is one, and it is not false
//   operator     ==  !=  <  <=  >  >=  ~ (contains a match of the regular expression)  !~
//   literal      "text" 'text' 12 -1.5e3 true false null @TIME (as in value.h)
//
// Text is compared byte by byte, numbers as numbers. Keys, headers and plain values are text, and
// numbers where the literal is one. What cannot be compared is unequal, and neither less nor
// greater; what is not there equals null only.
#pragma once

#include <stddef.h>

#include "tools/field.h"

struct where;

// 0 with *out, to be freed with where_free; -EINVAL with a sentence in `error`; -ENOMEM.
int where_parse(const char *text, struct where **out, char *error, size_t error_size);
void where_free(struct where *where); // NULL is allowed

// 1 or 0; -E2BIG when a regular expression takes too many steps on this record.
int where_keeps(const struct where *where, const struct weir_record *record);
