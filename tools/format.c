// SPDX-License-Identifier: Apache-2.0
// A template is compiled once into parts, each a piece of literal text or one field; printing walks
// the parts. JSON, msgpack, hex and raw are formats of a single part, CSV has one for each column.
//
// Keys, values and header values are bytes: text formats write them as they are, JSON writes them
// as strings when they are UTF-8 and otherwise as base64 under a name that says so.
#include "tools/format.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tools/encoding.h"
#include "tools/format_write.h"

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
    PART_FIELD,
    PART_ALL_HEADERS, // a column of CSV
    PART_JSON,
    PART_MSGPACK,
    PART_HEX,
};

struct part {
    enum part_kind kind;
    size_t start; // of a literal, in format->literals; of a column's name, in format->head
    size_t size;
    struct field *field;
};

struct format {
    char *head;  // CSV: the columns as they were given
    bool as_csv; // every part is a cell
    size_t part_count;
    struct part *parts; // see format_parse
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

static const struct {
    const char *name;
    enum part_kind kind;
} whole[] = {
    {"json", PART_JSON},
    {"msgpack", PART_MSGPACK},
    {"hex", PART_HEX},
    {"raw", PART_VALUE},
};

static const char all_columns[] = "topic,partition,offset,timestamp,key,value,headers";

struct compiler {
    struct format *format;
    size_t literal_size;
    char *error;
    size_t error_size;
};

static struct part *add_part(struct format *format, enum part_kind kind)
{
    struct part *part = &format->parts[format->part_count++];

    *part = (struct part){.kind = kind};
    return part;
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
    if (*at == 'x' && encoding_hex_digit(at[1]) >= 0 && encoding_hex_digit(at[2]) >= 0) {
        add_literal(compiler, (char)(encoding_hex_digit(at[1]) * 16 + encoding_hex_digit(at[2])));
        return at + 3;
    }
    snprintf(compiler->error, compiler->error_size,
             "\\%c means nothing in a format, there are \\n \\t \\r \\0 \\xHH and \\\\",
             *at != '\0' ? *at : ' ');
    return NULL;
}

// %{value.user.name}; `at` points behind the brace.
static const char *compile_braces(struct compiler *compiler, const char *at)
{
    struct field *field = NULL;

    if (field_parse(&at, &field, compiler->error, compiler->error_size) != 0)
        return NULL;
    if (*at != '}') {
        snprintf(compiler->error, compiler->error_size, "'}' is expected at '%.40s'", at);
        field_free(field);
        return NULL;
    }
    add_part(compiler->format, PART_FIELD)->field = field;
    return at + 1;
}

// `at` points behind the percent sign. Returns the place behind the field, or NULL.
static const char *compile_field(struct compiler *compiler, const char *at)
{
    if (*at == '%') {
        add_literal(compiler, '%');
        return at + 1;
    }
    if (*at == '{')
        return compile_braces(compiler, at + 1);
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        if (fields[i].letter == *at) {
            add_part(compiler->format, fields[i].kind);
            return at + 1;
        }
    }
    snprintf(
        compiler->error, compiler->error_size,
        "%%%c is no field, there are %%t %%p %%o %%k %%s %%h %%K %%S %%T %%D %%{FIELD} and %%%%",
        *at != '\0' ? *at : ' ');
    return NULL;
}

// Columns are fields, and `headers` for all of them.
static int compile_columns(struct compiler *compiler, const char *text)
{
    struct format *format = compiler->format;

    format->as_csv = true;
    format->head = strdup(text);
    if (format->head == NULL)
        return -ENOMEM;
    for (const char *head = text;;) {
        const char *start = text;
        if (strncmp(text, "headers", 7) == 0 && (text[7] == ',' || text[7] == '\0')) {
            add_part(format, PART_ALL_HEADERS);
            text += 7;
        } else {
            struct field *field = NULL;
            int rc = field_parse(&text, &field, compiler->error, compiler->error_size);
            if (rc != 0)
                return rc;
            add_part(format, PART_FIELD)->field = field;
        }
        struct part *part = &format->parts[format->part_count - 1];
        part->start = (size_t)(start - head);
        part->size = (size_t)(text - start);
        if (*text == '\0')
            return 0;
        if (*text++ != ',') {
            snprintf(compiler->error, compiler->error_size, "',' is expected at '%.40s'", text - 1);
            return -EINVAL;
        }
    }
}

static int compile(struct compiler *compiler, const char *text)
{
    for (size_t i = 0; i < sizeof(whole) / sizeof(whole[0]); i++) {
        if (strcmp(text, whole[i].name) == 0) {
            add_part(compiler->format, whole[i].kind);
            return 0;
        }
    }
    if (strcmp(text, "csv") == 0)
        return compile_columns(compiler, all_columns);
    if (strncmp(text, "csv:", 4) == 0)
        return compile_columns(compiler, text + 4);
    if (strpbrk(text, "%\\") == NULL) {
        snprintf(compiler->error, compiler->error_size,
                 "'%s' is no format, give json, msgpack, csv, csv:FIELD,..., hex, raw or a text "
                 "such as '%%o %%k %%s\\n'",
                 text);
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
    // A part takes a character at least, but for the columns that `csv` stands for.
    size_t size = strlen(text) + sizeof(all_columns);
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
    for (size_t i = 0; i < format->part_count; i++)
        field_free(format->parts[i].field);
    free(format->head);
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

static void write_field(const struct format *format, const struct part *part,
                        struct record_view *view, FILE *out)
{
    struct field_value value;

    field_read(part->field, view, &value);
    if (format->as_csv)
        format_write_cell(&value, out);
    else
        format_write_value(&value, out);
}

static void write_part(const struct format *format, const struct part *part,
                       struct record_view *view, FILE *out)
{
    const struct weir_record *record = view->record;

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
    case PART_FIELD:
        write_field(format, part, view, out);
        break;
    case PART_ALL_HEADERS:
        format_write_headers_cell(record, out);
        break;
    case PART_MSGPACK:
        format_write_msgpack(record, out);
        break;
    case PART_HEX:
        format_write_hex(record, out);
        break;
    case PART_JSON:
        format_write_json(record, out);
        break;
    }
}

void format_begin(const struct format *format, FILE *out)
{
    if (!format->as_csv)
        return;
    for (size_t i = 0; i < format->part_count; i++) {
        const struct part *part = &format->parts[i];
        struct field_value name = {
            .kind = FIELD_TEXT,
            .bytes = weir_bytes_of(format->head + part->start, part->size),
        };
        if (i > 0)
            fputc(',', out);
        format_write_cell(&name, out);
    }
    fputc('\n', out);
}

void format_record(const struct format *format, const struct weir_record *record, FILE *out)
{
    struct record_view view;

    record_view_start(&view, record);
    for (size_t i = 0; i < format->part_count; i++) {
        if (format->as_csv && i > 0)
            fputc(',', out);
        write_part(format, &format->parts[i], &view, out);
    }
    if (format->as_csv)
        fputc('\n', out);
    record_view_end(&view);
}
