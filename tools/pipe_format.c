// SPDX-License-Identifier: Apache-2.0
// Lines, and what the formats share; envelopes are in pipe_envelope.c.
//
// Invariants:
//  1. One record is one line, or one msgpack value: what cannot be shown so is refused, never
//     altered or cut.
//  2. Values keep their bytes (JSON: but for line breaks between its parts).
#include "tools/pipe_format.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tools/pack_json.h"
#include "tools/pipe_envelope.h"

static int refuse(struct pipe_refusal *why, const char *field, const char *sentence)
{
    why->field = field;
    snprintf(why->reason, sizeof(why->reason), "%s", sentence);
    return -EBADMSG;
}

// Integers beyond 64 bits are JSON, too.
static json_t *load_json(const char *data, size_t size, json_error_t *error)
{
    json_t *value = json_loadb(data, size, JSON_DECODE_ANY, error);

    if (value == NULL && json_error_code(error) == json_error_numeric_overflow)
        value = json_loadb(data, size, JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL, error);
    return value;
}

static int check_fields(const struct pipe_format *format, const json_t *value,
                        struct pipe_refusal *why)
{
    why->field = pipe_check_value(format->check, value, why->reason, sizeof(why->reason));
    return why->field != NULL ? -EBADMSG : 0;
}

static int check_json(const struct pipe_format *format, struct weir_bytes bytes,
                      struct pipe_refusal *why)
{
    json_error_t error;
    json_t *value = load_json(bytes.data != NULL ? bytes.data : "", bytes.size, &error);

    if (value == NULL) {
        char sentence[PIPE_REASON_MAX];
        snprintf(sentence, sizeof(sentence), "the value is not JSON: %s", error.text);
        return refuse(why, NULL, sentence);
    }
    int rc = format->check != NULL ? check_fields(format, value, why) : 0;
    json_decref(value);
    return rc;
}

static int check_msgpack(const struct pipe_format *format, struct weir_bytes bytes,
                         struct pipe_refusal *why)
{
    struct span span = span_of(bytes.data, bytes.size);

    if (bytes.size == 0 || pipe_pack_size(span) != bytes.size)
        return refuse(why, NULL, "the value is not msgpack");
    if (format->check == NULL)
        return 0;
    json_t *value = pack_json(span);
    if (value == NULL)
        return refuse(why, NULL, "the value is msgpack that nests too deep or has odd keys");
    int rc = check_fields(format, value, why);
    json_decref(value);
    return rc;
}

static bool holds(struct weir_bytes bytes, const char *text)
{
    return bytes.size > 0 && memmem(bytes.data, bytes.size, text, strlen(text)) != NULL;
}

static int check_line(const struct pipe_format *format, const struct pipe_record *record,
                      struct pipe_refusal *why)
{
    const char *delimiter = format->delimiter;

    if (holds(record->value, "\n"))
        return refuse(why, NULL, "the value has several lines, which --format lines cannot show");
    if (delimiter != NULL && (holds(record->key, delimiter) || holds(record->key, "\n")))
        return refuse(why, NULL, "the key holds the delimiter or a line break");
    return 0;
}

// A record without a value is a deletion: there is nothing to check, and an envelope can show it.
int pipe_format_check(const struct pipe_format *format, const struct pipe_record *record,
                      struct pipe_refusal *why)
{
    bool deletion = record->value.data == NULL;

    if (format->kind == PIPE_LINES)
        return check_line(format, record, why);
    if (deletion && format->envelope && format->check == NULL)
        return 0;
    if (deletion)
        return refuse(why, NULL, "the record has no value");
    return format->kind == PIPE_JSON ? check_json(format, record->value, why)
                                     : check_msgpack(format, record->value, why);
}

static int write_line(const struct pipe_format *format, const struct pipe_record *record,
                      struct pipe_bytes *to)
{
    bool keyed = format->delimiter != NULL && record->key.data != NULL;
    int rc = keyed ? pipe_bytes_add(to, record->key.data, record->key.size) : 0;

    if (rc == 0 && keyed)
        rc = pipe_bytes_add_text(to, format->delimiter);
    if (rc == 0)
        rc = pipe_bytes_add(to, record->value.data, record->value.size);
    return rc != 0 ? rc : pipe_bytes_add(to, "\n", 1);
}

// Line breaks of JSON stand between its parts only: a string shows them as \n.
static void join_lines(char *data, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (data[i] == '\n' || data[i] == '\r')
            data[i] = ' ';
    }
}

static int write_value(const struct pipe_format *format, const struct pipe_record *record,
                       struct pipe_bytes *to)
{
    size_t before = to->end - to->start;
    int rc = format->envelope ? pipe_envelope_write(format, record, to)
                              : pipe_bytes_add(to, record->value.data, record->value.size);

    if (rc != 0 || format->kind == PIPE_MSGPACK)
        return rc;
    join_lines(to->data + to->start + before, pipe_bytes_left(to) - before);
    return pipe_bytes_add(to, "\n", 1);
}

int pipe_format_write(const struct pipe_format *format, const struct pipe_record *record,
                      struct pipe_bytes *to)
{
    size_t before = pipe_bytes_left(to);
    int rc = format->kind == PIPE_LINES ? write_line(format, record, to)
                                        : write_value(format, record, to);

    if (rc != 0)
        to->end = to->start + before;
    return rc;
}

int pipe_format_cut(const struct pipe_format *format, struct pipe_cut *cut, const char *data,
                    size_t size, bool at_end, size_t *answer, size_t *total)
{
    if (size == 0)
        return 0;
    if (format->kind == PIPE_MSGPACK) {
        int rc = pipe_pack_scan(&cut->scan, data, size);
        *answer = *total = cut->scan.at;
        return rc;
    }
    const char *end = memchr(data + cut->scanned, '\n', size - cut->scanned);
    cut->scanned = size;
    if (end == NULL && !at_end)
        return 0;
    *answer = end != NULL ? (size_t)(end - data) : size;
    *total = *answer + (end != NULL ? 1 : 0);
    return 1;
}

struct weir_message pipe_format_message(const struct pipe_record *record)
{
    if (record == NULL)
        return (struct weir_message){0};
    return (struct weir_message){
        .key = record->key,
        .headers = record->headers,
        .header_count = record->header_count,
        .timestamp = record->timestamp > 0 ? record->timestamp : 0,
    };
}

static int read_line(const struct pipe_format *format, const struct pipe_record *record,
                     const char *answer, size_t size, pipe_emit_function *emit, void *context)
{
    struct weir_message message = pipe_format_message(record);

    if (format->delimiter != NULL) {
        size_t delimiter_size = strlen(format->delimiter);
        const char *found = memmem(answer, size, format->delimiter, delimiter_size);
        size_t key_size = found != NULL ? (size_t)(found - answer) : 0;
        message.key = found != NULL ? weir_bytes_of(answer, key_size) : weir_text(NULL);
        answer = found != NULL ? found + delimiter_size : answer;
        size -= found != NULL ? key_size + delimiter_size : 0;
    }
    message.value = weir_bytes_of(answer, size);
    return emit(context, &message);
}

static int read_json(const struct pipe_format *format, const struct pipe_record *record,
                     const char *answer, size_t size, pipe_emit_function *emit, void *context,
                     struct pipe_refusal *why)
{
    json_error_t error;
    json_t *value = load_json(answer, size, &error);
    int rc;

    if (value == NULL) {
        char sentence[PIPE_REASON_MAX];
        snprintf(sentence, sizeof(sentence), "the command's answer is not JSON: %s", error.text);
        return refuse(why, NULL, sentence);
    }
    if (format->envelope) {
        rc = pipe_envelope_read_json(record, value, emit, context, why);
    } else {
        struct weir_message message = pipe_format_message(record);
        message.value = weir_bytes_of(answer, size);
        rc = emit(context, &message);
    }
    json_decref(value);
    return rc;
}

static bool blank(const char *answer, size_t size)
{
    return size == 0 || (size == 1 && answer[0] == '\r');
}

int pipe_format_read(const struct pipe_format *format, const struct pipe_record *record,
                     const char *answer, size_t size, pipe_emit_function *emit, void *context,
                     struct pipe_refusal *why)
{
    why->field = NULL;
    if (format->kind != PIPE_MSGPACK && blank(answer, size))
        return 0;
    if (format->kind == PIPE_LINES)
        return read_line(format, record, answer, size, emit, context);
    if (format->kind == PIPE_JSON)
        return read_json(format, record, answer, size, emit, context, why);
    struct span span = span_of(answer, size);
    if (pipe_pack_take_nil(&span))
        return 0;
    if (format->envelope)
        return pipe_envelope_read_msgpack(record, span, emit, context, why);
    struct weir_message message = pipe_format_message(record);
    message.value = weir_bytes_of(answer, size);
    return emit(context, &message);
}
