// SPDX-License-Identifier: Apache-2.0
// How records reach the command and come back from it.
//
// lines    the value, then a newline; with a delimiter KEY DELIMITER VALUE. An answer is a line; an
//          empty one means: no output.
// json     the value, which must be JSON, on one line. An answer is a line of JSON, or empty.
// msgpack  the value, which must be one msgpack value. An answer is a msgpack value, nil: no
// output.
//
// With an envelope, json and msgpack show an object with key, value, headers, topic, partition,
// offset and timestamp, and answers are such objects (only value is needed), or arrays of them:
// several outputs, or none.
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "tools/pipe_bytes.h"
#include "tools/pipe_check.h"
#include "tools/pipe_pack.h"
#include "tools/pipe_record.h"

enum pipe_format_kind { PIPE_LINES, PIPE_JSON, PIPE_MSGPACK };

struct pipe_format {
    enum pipe_format_kind kind;
    bool envelope;
    const char *delimiter;          // NULL: none
    const char *topic;              // where records come from
    const struct pipe_check *check; // NULL: none
};

// How far the next answer has been looked for. Zeroed before each answer.
struct pipe_cut {
    size_t scanned;
    struct pipe_pack_scan scan;
};

// Whether the command can be shown the record, and its value passes the check. 0, or -EBADMSG with
// *why filled.
int pipe_format_check(const struct pipe_format *format, const struct pipe_record *record,
                      struct pipe_refusal *why);

// Appends what the command is to read, of a record that has passed pipe_format_check. 0 or -ENOMEM;
// then nothing is appended.
int pipe_format_write(const struct pipe_format *format, const struct pipe_record *record,
                      struct pipe_bytes *to);

// Finds the first answer in what the command has written. 1 with its size, and with *total the
// bytes it takes with its end; 0 when more is needed (with `at_end`: nothing is left, or what is
// left is no whole answer); -1 when it is not in the format.
int pipe_format_cut(const struct pipe_format *format, struct pipe_cut *cut, const char *data,
                    size_t size, bool at_end, size_t *answer, size_t *total);

// What is made of an output. The message is valid during the call. Not 0 ends the reading.
typedef int pipe_emit_function(void *context, const struct weir_message *message);

// Reads an answer and emits its outputs, which take key, headers and timestamp from `record` (NULL:
// nobody knows which one) unless the answer has its own. 0, -EBADMSG with *why, -ENOMEM, or what
// `emit` returned. Nothing is emitted of an answer that is bad in its form.
int pipe_format_read(const struct pipe_format *format, const struct pipe_record *record,
                     const char *answer, size_t size, pipe_emit_function *emit, void *context,
                     struct pipe_refusal *why);
