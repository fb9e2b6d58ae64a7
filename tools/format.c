// SPDX-License-Identifier: Apache-2.0
// A template is compiled once into parts, each a piece of literal text or one field; printing walks
// the parts. JSON and raw are formats of a single part.
//
// Keys, values and header values are bytes: text formats write them as they are, JSON writes them
// as strings when they are UTF-8 and otherwise as base64 under a name that says so.
#include "tools/format.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tools/report.h"

enum part_kind {
    PART_LITERAL,
    PART_TOPIC,
    PART_PARTITION,
    PART_OFFSET,
    PART_KEY,
    PART_VALUE,
    PART_HEADERS,
    PART_KEY_SIZE,
    PART_VALUE_SIZE,
    PART_TIMESTAMP,
    PART_DATE,
    PART_JSON,
};

struct part {
    enum part_kind kind;
    size_t start; // of a literal, in format->literals
    size_t size;
};

struct format {
    size_t part_count;
    struct part *parts; // never more than the template has characters
    char *literals;
};

static const struct {
    char letter;
    enum part_kind kind;
} fields[] = {
    {'t', PART_TOPIC},      {'p', PART_PARTITION}, {'o', PART_OFFSET},  {'k', PART_KEY},
    {'s', PART_VALUE},      {'v', PART_VALUE},     {'h', PART_HEADERS}, {'K', PART_KEY_SIZE},
    {'S', PART_VALUE_SIZE}, {'T', PART_TIMESTAMP}, {'D', PART_DATE},
};

struct compiler {
    struct format *format;
    size_t literal_size;
    char *error;
    size_t error_size;
};

static void add_part(struct format *format, enum part_kind kind)
{
    format->parts[format->part_count++] = (struct part){.kind = kind};
}

static void add_literal(struct compiler *compiler, char c)
{
    struct format *format = compiler->format;
    size_t count = format->part_count;

    if (count == 0 || format->parts[count - 1].kind != PART_LITERAL) {
        add_part(format, PART_LITERAL);
        format->parts[count++].start = compiler->literal_size;
    }
    format->literals[compiler->literal_size++] = c;
    format->parts[count - 1].size++;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

// `at` points behind the backslash. Returns the place behind the escape, or NULL.
static const char *compile_escape(struct compiler *compiler, const char *at)
{
    static const char letters[] = "ntr0\\";
    static const char bytes[] = "\n\t\r\0\\";
    const char *found = *at != '\0' ? strchr(letters, *at) : NULL;

    if (found != NULL) {
        add_literal(compiler, bytes[found - letters]);
        return at + 1;
    }
    if (*at == 'x' && hex_digit(at[1]) >= 0 && hex_digit(at[2]) >= 0) {
        add_literal(compiler, (char)(hex_digit(at[1]) * 16 + hex_digit(at[2])));
        return at + 3;
    }
    snprintf(compiler->error, compiler->error_size,
             "\\%c means nothing in a format, there are \\n \\t \\r \\0 \\xHH and \\\\",
             *at != '\0' ? *at : ' ');
    return NULL;
}

// `at` points behind the percent sign. Returns the place behind the field, or NULL.
static const char *compile_field(struct compiler *compiler, const char *at)
{
    if (*at == '%') {
        add_literal(compiler, '%');
        return at + 1;
    }
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        if (fields[i].letter == *at) {
            add_part(compiler->format, fields[i].kind);
            return at + 1;
        }
    }
    snprintf(compiler->error, compiler->error_size,
             "%%%c is no field, there are %%t %%p %%o %%k %%s %%h %%K %%S %%T %%D and %%%%",
             *at != '\0' ? *at : ' ');
    return NULL;
}

static int compile(struct compiler *compiler, const char *text)
{
    if (strcmp(text, "json") == 0) {
        add_part(compiler->format, PART_JSON);
        return 0;
    }
    if (strcmp(text, "raw") == 0) {
        add_part(compiler->format, PART_VALUE);
        return 0;
    }
    if (strpbrk(text, "%\\") == NULL) {
        snprintf(compiler->error, compiler->error_size,
                 "'%s' is no format, give json, raw or a text such as '%%o %%k %%s\\n'", text);
        return -EINVAL;
    }
    while (text != NULL && *text != '\0') {
        if (*text == '%')
            text = compile_field(compiler, text + 1);
        else if (*text == '\\')
            text = compile_escape(compiler, text + 1);
        else
            add_literal(compiler, *text++);
    }
    return text != NULL ? 0 : -EINVAL;
}

int format_parse(const char *text, struct format **out, char *error, size_t error_size)
{
    size_t size = strlen(text) + 1;
    struct format *format = calloc(1, sizeof(*format));

    snprintf(error, error_size, "out of memory");
    if (format == NULL)
        return -ENOMEM;
    format->parts = calloc(size, sizeof(*format->parts));
    format->literals = malloc(size);
    if (format->parts == NULL || format->literals == NULL) {
        format_free(format);
        return -ENOMEM;
    }
    struct compiler compiler = {.format = format, .error = error, .error_size = error_size};
    int rc = compile(&compiler, text);
    if (rc != 0) {
        format_free(format);
        return rc;
    }
    *out = format;
    return 0;
}

void format_free(struct format *format)
{
    if (format == NULL)
        return;
    free(format->parts);
    free(format->literals);
    free(format);
}

static void write_bytes(struct weir_bytes bytes, FILE *out)
{
    if (bytes.size > 0)
        fwrite(bytes.data, 1, bytes.size, out);
}

static void write_headers(const struct weir_record *record, FILE *out)
{
    struct weir_header header;
    size_t at = 0;
    bool first = true;

    while (weir_record_header(record, &at, &header)) {
        if (!first)
            fputc(',', out);
        write_bytes(header.name, out);
        fputc('=', out);
        write_bytes(header.value, out);
        first = false;
    }
}

static void write_size(struct weir_bytes bytes, FILE *out)
{
    if (bytes.data == NULL)
        fputs("-1", out);
    else
        fprintf(out, "%zu", bytes.size);
}

static void write_date(int64_t timestamp_ms, FILE *out)
{
    time_t seconds = (time_t)(timestamp_ms / 1000);
    struct tm tm;
    char text[64];

    if (timestamp_ms < 0 || gmtime_r(&seconds, &tm) == NULL) {
        fputc('-', out);
        return;
    }
    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
    fprintf(out, "%s.%03dZ", text, (int)(timestamp_ms % 1000));
}

static void write_json(const struct weir_record *record, FILE *out)
{
    json_t *object = json_object();
    json_t *headers = json_array();
    struct weir_header header;
    size_t at = 0;

    json_object_set_new(object, "topic", json_string(record->topic));
    json_object_set_new(object, "partition", json_integer(record->partition));
    json_object_set_new(object, "offset", json_integer(record->offset));
    json_object_set_new(object, "timestamp", json_integer(record->timestamp));
    report_set_bytes(object, "key", record->key.data, record->key.size);
    report_set_bytes(object, "value", record->value.data, record->value.size);
    while (weir_record_header(record, &at, &header)) {
        json_t *pair = json_object();
        report_set_bytes(pair, "name", header.name.data, header.name.size);
        report_set_bytes(pair, "value", header.value.data, header.value.size);
        json_array_append_new(headers, pair);
    }
    json_object_set_new(object, "headers", headers);
    json_dumpf(object, out, JSON_COMPACT);
    fputc('\n', out);
    json_decref(object);
}

static void write_part(const struct format *format, const struct part *part,
                       const struct weir_record *record, FILE *out)
{
    switch (part->kind) {
    case PART_LITERAL:
        fwrite(format->literals + part->start, 1, part->size, out);
        break;
    case PART_TOPIC:
        fputs(record->topic, out);
        break;
    case PART_PARTITION:
        fprintf(out, "%" PRId32, record->partition);
        break;
    case PART_OFFSET:
        fprintf(out, "%" PRId64, record->offset);
        break;
    case PART_KEY:
        write_bytes(record->key, out);
        break;
    case PART_VALUE:
        write_bytes(record->value, out);
        break;
    case PART_HEADERS:
        write_headers(record, out);
        break;
    case PART_KEY_SIZE:
        write_size(record->key, out);
        break;
    case PART_VALUE_SIZE:
        write_size(record->value, out);
        break;
    case PART_TIMESTAMP:
        fprintf(out, "%" PRId64, record->timestamp);
        break;
    case PART_DATE:
        write_date(record->timestamp, out);
        break;
    case PART_JSON:
        write_json(record, out);
        break;
    }
}

void format_record(const struct format *format, const struct weir_record *record, FILE *out)
{
    for (size_t i = 0; i < format->part_count; i++)
        write_part(format, &format->parts[i], record, out);
}
