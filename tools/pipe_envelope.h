// SPDX-License-Identifier: Apache-2.0
// Records with everything that belongs to them, as JSON objects or msgpack maps.
#pragma once

#include "base/span.h"
#include "tools/pipe_format.h"

// Appends the envelope of a record whose value has been checked. 0 or -ENOMEM.
int pipe_envelope_write(const struct pipe_format *format, const struct pipe_record *record,
                        struct pipe_bytes *to);

// As pipe_format_read.
int pipe_envelope_read_json(const struct pipe_record *record, const json_t *answer,
                            pipe_emit_function *emit, void *context, struct pipe_refusal *why);
int pipe_envelope_read_msgpack(const struct pipe_record *record, struct span answer,
                               pipe_emit_function *emit, void *context, struct pipe_refusal *why);

// The message that an output of `record` begins as.
struct weir_message pipe_format_message(const struct pipe_record *record);
