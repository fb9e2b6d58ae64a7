// SPDX-License-Identifier: Apache-2.0
// Pure functions from a record to a stream.
#include "tools/format_write.h"

#include <inttypes.h>
#include <msgpack.h>
#include <stdlib.h>
#include <string.h>

#include "tools/report.h"

static json_t *headers_json(const struct weir_record *record)
{
    json_t *headers = json_array();
    struct weir_header header;
    size_t at = 0;

    while (weir_record_header(record, &at, &header)) {
        json_t *pair = json_object();
        report_set_bytes(pair, "name", header.name.data, header.name.size);
        report_set_bytes(pair, "value", header.value.data, header.value.size);
        json_array_append_new(headers, pair);
    }
    return headers;
}

void format_write_json(const struct weir_record *record, FILE *out)
{
    json_t *object = json_object();

    json_object_set_new(object, "topic", json_string(record->topic));
    json_object_set_new(object, "partition", json_integer(record->partition));
    json_object_set_new(object, "offset", json_integer(record->offset));
    json_object_set_new(object, "timestamp", json_integer(record->timestamp));
    report_set_bytes(object, "key", record->key.data, record->key.size);
    report_set_bytes(object, "value", record->value.data, record->value.size);
    json_object_set_new(object, "headers", headers_json(record));
    json_dumpf(object, out, JSON_COMPACT);
    fputc('\n', out);
    json_decref(object);
}

// -------------------------------------------------------------------------------- msgpack

static void pack_text(msgpack_packer *packer, const char *text)
{
    msgpack_pack_str_with_body(packer, text, strlen(text));
}

static void pack_bytes(msgpack_packer *packer, const char *name, struct weir_bytes bytes)
{
    pack_text(packer, name);
    if (bytes.data != NULL)
        msgpack_pack_bin_with_body(packer, bytes.data, bytes.size);
    else
        msgpack_pack_nil(packer);
}

static void pack_number(msgpack_packer *packer, const char *name, int64_t number)
{
    pack_text(packer, name);
    msgpack_pack_int64(packer, number);
}

static int write_packed(void *context, const char *data, size_t size)
{
    return fwrite(data, 1, size, context) == size ? 0 : -1;
}

void format_write_msgpack(const struct weir_record *record, FILE *out)
{
    msgpack_packer packer;
    struct weir_header header;
    size_t at = 0;

    msgpack_packer_init(&packer, out, write_packed);
    msgpack_pack_map(&packer, 7);
    pack_text(&packer, "topic");
    pack_text(&packer, record->topic);
    pack_number(&packer, "partition", record->partition);
    pack_number(&packer, "offset", record->offset);
    pack_number(&packer, "timestamp", record->timestamp);
    pack_bytes(&packer, "key", record->key);
    pack_bytes(&packer, "value", record->value);
    pack_text(&packer, "headers");
    // Headers that cannot be decoded end the walk early, and the count must be true.
    size_t count = 0;
    while (weir_record_header(record, &at, &header))
        count++;
    msgpack_pack_array(&packer, count);
    at = 0;
    while (weir_record_header(record, &at, &header)) {
        msgpack_pack_map(&packer, 2);
        pack_text(&packer, "name");
        msgpack_pack_str_with_body(&packer, header.name.data, header.name.size);
        pack_bytes(&packer, "value", header.value);
    }
}

// -------------------------------------------------------------------------------- hex

static void write_digits(struct weir_bytes bytes, FILE *out)
{
    static const char digits[] = "0123456789abcdef";
    const unsigned char *at = bytes.data;

    if (at == NULL)
        fputc('-', out);
    for (size_t i = 0; i < bytes.size; i++) {
        fputc(digits[at[i] >> 4], out);
        fputc(digits[at[i] & 15], out);
    }
}

void format_write_hex(const struct weir_record *record, FILE *out)
{
    struct weir_header header;
    size_t at = 0;

    write_digits(record->key, out);
    fputc('\t', out);
    write_digits(record->value, out);
    while (weir_record_header(record, &at, &header)) {
        fputc('\t', out);
        write_digits(header.name, out);
        fputc('=', out);
        write_digits(header.value, out);
    }
    fputc('\n', out);
}

// -------------------------------------------------------------------------------- fields

static void write_number(const struct field_value *value, FILE *out)
{
    if (value->whole)
        fprintf(out, "%" PRId64, value->integer);
    else
        fprintf(out, "%.17g", value->real);
}

void format_write_value(const struct field_value *value, FILE *out)
{
    switch (value->kind) {
    case FIELD_ABSENT:
        break;
    case FIELD_NUMBER:
        write_number(value, out);
        break;
    case FIELD_BOOL:
        fputs(value->boolean ? "true" : "false", out);
        break;
    case FIELD_BYTES:
    case FIELD_TEXT:
        if (value->bytes.size > 0)
            fwrite(value->bytes.data, 1, value->bytes.size, out);
        break;
    case FIELD_JSON:
        json_dumpf(value->json, out, JSON_COMPACT);
        break;
    }
}

static bool needs_quotes(struct weir_bytes bytes)
{
    const char *text = bytes.data;

    if (bytes.size == 0 || text[0] == ' ' || text[bytes.size - 1] == ' ')
        return true;
    for (size_t i = 0; i < bytes.size; i++) {
        if (strchr("\",\r\n", text[i]) != NULL)
            return true;
    }
    return false;
}

static void write_text_cell(struct weir_bytes bytes, FILE *out)
{
    const char *text = bytes.data;

    if (!needs_quotes(bytes)) {
        fwrite(text, 1, bytes.size, out);
        return;
    }
    fputc('"', out);
    for (size_t i = 0; i < bytes.size; i++) {
        if (text[i] == '"')
            fputc('"', out);
        fputc(text[i], out);
    }
    fputc('"', out);
}

static void write_json_cell(const json_t *json, FILE *out)
{
    char *text = json_dumps(json, JSON_COMPACT);

    if (text != NULL)
        write_text_cell(weir_text(text), out);
    free(text);
}

void format_write_cell(const struct field_value *value, FILE *out)
{
    if (value->kind == FIELD_BYTES || value->kind == FIELD_TEXT)
        write_text_cell(value->bytes, out);
    else if (value->kind == FIELD_JSON)
        write_json_cell(value->json, out);
    else
        format_write_value(value, out);
}

void format_write_headers_cell(const struct weir_record *record, FILE *out)
{
    json_t *headers = headers_json(record);

    if (json_array_size(headers) > 0)
        write_json_cell(headers, out);
    json_decref(headers);
}
