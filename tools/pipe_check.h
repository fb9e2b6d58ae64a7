// SPDX-License-Identifier: Apache-2.0
// The schema of --check: which fields a record must have, and of which type.
#pragma once

#include <jansson.h>
#include <stddef.h>

struct pipe_check;

// Parses "FIELD:TYPE, FIELD:TYPE?, ...". A field is a name, or names joined by dots that lead into
// objects; types are string, integer, number, boolean, object, array, null and any; a question mark
// allows the field to be missing. Text between # and the end of its line is no part of it. "@PATH"
// reads that from a file. Returns 0 and *out, to be freed with pipe_check_free; -EINVAL with a
// sentence in `error`; -ENOMEM.
int pipe_check_parse(const char *text, struct pipe_check **out, char *error, size_t error_size);

// NULL is allowed.
void pipe_check_free(struct pipe_check *check);

// NULL when the value has all it must have; otherwise the name of the field that is missing or
// wrong, valid as long as the check, and a sentence in `reason`.
const char *pipe_check_value(const struct pipe_check *check, const json_t *value, char *reason,
                             size_t reason_size);
