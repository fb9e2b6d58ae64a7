// SPDX-License-Identifier: Apache-2.0
// The parts all formats share, hexadecimal digits, and msgpack.
//
// A message points into what the intake keeps until the next one; nothing is half handed out: an
// error leaves no message.
#include "tools/intake.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/encoding.h"
#include "tools/intake_parts.h"

const char *const intake_formats[] = {"lines", "json", "csv", "hex", "msgpack", "raw", NULL};

int intake_complain(struct intake *intake, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(intake->error, sizeof(intake->error), format, arguments);
    va_end(arguments);
    return -EINVAL;
}

const char *intake_error(const struct intake *intake)
{
    return intake->error;
}

void *intake_keep(struct intake *intake, size_t size)
{
    if (intake->owned_count == INTAKE_OWNED_MAX)
        return NULL;
    void *memory = malloc(size > 0 ? size : 1);
    if (memory != NULL)
        intake->owned[intake->owned_count++] = memory;
    return memory;
}

static void forget(struct intake *intake)
{
    for (size_t i = 0; i < intake->owned_count; i++)
        free(intake->owned[i]);
    intake->owned_count = 0;
    intake->header_count = 0;
    json_decref(intake->json);
    intake->json = NULL;
}

struct intake *intake_new(enum intake_format format, size_t max)
{
    struct intake *intake = calloc(1, sizeof(*intake));

    if (intake == NULL)
        return NULL;
    intake->format = format;
    intake->max = max;
    msgpack_unpacked_init(&intake->unpacked);
    return intake;
}

void intake_free(struct intake *intake)
{
    if (intake == NULL)
        return;
    forget(intake);
    for (size_t i = 0; i < intake->column_count; i++)
        free(intake->column_names[i]);
    free(intake->text);
    msgpack_unpacked_destroy(&intake->unpacked);
    pipe_bytes_free(&intake->packed);
    free(intake);
}

int intake_add_header(struct intake *intake, struct weir_bytes name, struct weir_bytes value)
{
    if (intake->header_count == INTAKE_HEADERS_MAX)
        return intake_complain(intake, "it has more than %d headers", INTAKE_HEADERS_MAX);
    intake->headers[intake->header_count++] = (struct weir_header){name, value};
    return 0;
}

// -------------------------------------------------------------------------------- hex

static int hex_bytes(struct intake *intake, const char *text, size_t size, struct weir_bytes *out)
{
    *out = weir_bytes_of(NULL, 0);
    if (size == 1 && *text == '-')
        return 0;
    char *bytes = intake_keep(intake, size / 2);
    if (bytes == NULL)
        return -ENOMEM;
    for (size_t i = 0; i + 1 < size; i += 2) {
        int high = encoding_hex_digit(text[i]);
        int low = encoding_hex_digit(text[i + 1]);
        if (high < 0 || low < 0)
            return intake_complain(intake, "'%.2s' is no pair of hexadecimal digits", text + i);
        bytes[i / 2] = (char)(high * 16 + low);
    }
    if (size % 2 != 0)
        return intake_complain(intake, "the number of hexadecimal digits is odd");
    *out = weir_bytes_of(bytes, size / 2);
    return 0;
}

static int hex_header(struct intake *intake, const char *text, size_t size)
{
    const char *equals = memchr(text, '=', size);
    struct weir_bytes name;
    struct weir_bytes value;

    if (equals == NULL)
        return intake_complain(intake, "a header is NAME=VALUE");
    size_t length = (size_t)(equals - text);
    int rc = hex_bytes(intake, text, length, &name);
    if (rc == 0)
        rc = hex_bytes(intake, equals + 1, size - length - 1, &value);
    if (rc == 0 && name.data == NULL)
        rc = intake_complain(intake, "a header needs a name");
    return rc == 0 ? intake_add_header(intake, name, value) : rc;
}

// VALUE, or KEY tab VALUE, or KEY tab VALUE tab NAME=VALUE ...
static int hex_line(struct intake *intake, const char *line, size_t size,
                    struct weir_message *message)
{
    const char *end = line + size;
    const char *tab = memchr(line, '\t', size);

    if (tab == NULL) {
        int rc = hex_bytes(intake, line, size, &message->value);
        return rc == 0 ? 1 : rc;
    }
    int rc = hex_bytes(intake, line, (size_t)(tab - line), &message->key);
    for (bool value = true; rc == 0 && tab != NULL; value = false) {
        const char *start = tab + 1;
        tab = memchr(start, '\t', (size_t)(end - start));
        size_t length = (size_t)((tab != NULL ? tab : end) - start);
        rc = value ? hex_bytes(intake, start, length, &message->value)
                   : hex_header(intake, start, length);
    }
    return rc == 0 ? 1 : rc;
}

int intake_line(struct intake *intake, const char *line, size_t size, struct weir_message *message)
{
    int rc;

    forget(intake);
    *message = (struct weir_message){0};
    // In CSV it may stand inside quotes.
    if (intake->format != INTAKE_CSV && size > 0 && line[size - 1] == '\r')
        size--;
    if (intake->format == INTAKE_JSON)
        rc = intake_json(intake, line, size, message);
    else if (intake->format == INTAKE_CSV)
        rc = intake_csv(intake, line, size, message);
    else
        rc = hex_line(intake, line, size, message);
    message->headers = intake->headers;
    message->header_count = intake->header_count;
    return rc;
}

// -------------------------------------------------------------------------------- msgpack

int intake_feed(struct intake *intake, const char *data, size_t size)
{
    return pipe_bytes_add(&intake->packed, data, size);
}

// Finds the end of the next record before anything of it is decoded: a length in it that promises
// more than there is costs nothing. 1, 0 when more is needed, -EINVAL.
static int find_record(struct intake *intake, const char **record, size_t *size)
{
    pipe_bytes_use(&intake->packed, intake->taken);
    intake->taken = 0;
    *record = pipe_bytes_front(&intake->packed);
    int rc = pipe_pack_scan(&intake->scan, *record, pipe_bytes_left(&intake->packed));
    *size = rc == 1 ? intake->scan.at : pipe_bytes_left(&intake->packed);
    if (rc < 0)
        return intake_complain(intake, "it is no msgpack");
    if (*size > intake->max)
        return intake_complain(intake, "it is longer than %zu bytes, see --max-bytes", intake->max);
    if (rc == 1) {
        intake->taken = *size;
        intake->scan = (struct pipe_pack_scan){0};
    }
    return rc;
}

static bool named(const msgpack_object *key, const char *name)
{
    return key->type == MSGPACK_OBJECT_STR && key->via.str.size == strlen(name) &&
           memcmp(key->via.str.ptr, name, key->via.str.size) == 0;
}

// Text and binary as they are, nil as absent, everything else as the msgpack it is.
static int packed_bytes(struct intake *intake, const msgpack_object *object, struct weir_bytes *out)
{
    msgpack_sbuffer buffer;
    msgpack_packer packer;

    *out = weir_bytes_of(NULL, 0);
    if (object->type == MSGPACK_OBJECT_NIL)
        return 0;
    if (object->type == MSGPACK_OBJECT_STR || object->type == MSGPACK_OBJECT_BIN) {
        static const char empty[1];
        *out = weir_bytes_of(object->via.bin.size > 0 ? object->via.bin.ptr : empty,
                             object->via.bin.size);
        return 0;
    }
    msgpack_sbuffer_init(&buffer);
    msgpack_packer_init(&packer, &buffer, msgpack_sbuffer_write);
    char *copy =
        msgpack_pack_object(&packer, *object) == 0 ? intake_keep(intake, buffer.size) : NULL;
    if (copy != NULL) {
        memcpy(copy, buffer.data, buffer.size);
        *out = weir_bytes_of(copy, buffer.size);
    }
    msgpack_sbuffer_destroy(&buffer);
    return copy != NULL ? 0 : -ENOMEM;
}

static int packed_header(struct intake *intake, const msgpack_object *object)
{
    struct weir_bytes name = {0};
    struct weir_bytes value = {0};
    int rc = 0;

    if (object->type != MSGPACK_OBJECT_MAP)
        return intake_complain(intake, "'headers' is no list of maps with name and value");
    for (uint32_t i = 0; rc == 0 && i < object->via.map.size; i++) {
        const msgpack_object_kv *pair = &object->via.map.ptr[i];
        if (named(&pair->key, "name"))
            rc = packed_bytes(intake, &pair->val, &name);
        else if (named(&pair->key, "value"))
            rc = packed_bytes(intake, &pair->val, &value);
    }
    if (rc == 0 && name.data == NULL)
        return intake_complain(intake, "a header has no name");
    return rc == 0 ? intake_add_header(intake, name, value) : rc;
}

static int packed_headers(struct intake *intake, const msgpack_object *object)
{
    int rc = 0;

    if (object->type != MSGPACK_OBJECT_ARRAY)
        return intake_complain(intake, "'headers' is no list of maps with name and value");
    for (uint32_t i = 0; rc == 0 && i < object->via.array.size; i++)
        rc = packed_header(intake, &object->via.array.ptr[i]);
    return rc;
}

static int packed_member(struct intake *intake, const msgpack_object_kv *pair,
                         struct weir_message *message, bool *has_value)
{
    if (named(&pair->key, "key"))
        return packed_bytes(intake, &pair->val, &message->key);
    if (named(&pair->key, "headers"))
        return packed_headers(intake, &pair->val);
    if (named(&pair->key, "value")) {
        *has_value = true;
        return packed_bytes(intake, &pair->val, &message->value);
    }
    if (named(&pair->key, "timestamp")) {
        if (pair->val.type != MSGPACK_OBJECT_POSITIVE_INTEGER || pair->val.via.u64 > INT64_MAX)
            return intake_complain(intake, "'timestamp' is no number of milliseconds since 1970");
        message->timestamp = pair->val.via.i64;
    }
    return 0;
}

int intake_packed(struct intake *intake, struct weir_message *message)
{
    bool has_value = false;
    const char *record;
    size_t size;
    size_t at = 0;
    int rc = 0;

    forget(intake);
    *message = (struct weir_message){0};
    int found = find_record(intake, &record, &size);
    if (found != 1)
        return found;
    if (msgpack_unpack_next(&intake->unpacked, record, size, &at) != MSGPACK_UNPACK_SUCCESS)
        return intake_complain(intake, "it is no msgpack, or nested too deep");
    const msgpack_object *object = &intake->unpacked.data;
    if (object->type != MSGPACK_OBJECT_MAP)
        return intake_complain(intake, "it is no map with key, value, headers");
    for (uint32_t i = 0; rc == 0 && i < object->via.map.size; i++)
        rc = packed_member(intake, &object->via.map.ptr[i], message, &has_value);
    if (rc == 0 && !has_value)
        rc = intake_complain(intake, "there is no 'value'");
    message->headers = intake->headers;
    message->header_count = intake->header_count;
    return rc == 0 ? 1 : rc;
}

int intake_end(struct intake *intake)
{
    if (intake->format == INTAKE_MSGPACK && pipe_bytes_left(&intake->packed) > intake->taken)
        return intake_complain(intake, "the input ends inside a record");
    if (intake->format == INTAKE_CSV && intake->text_size > 0)
        return intake_complain(intake, "the input ends inside quotes");
    return 0;
}
