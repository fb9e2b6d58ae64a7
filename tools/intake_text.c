// SPDX-License-Identifier: Apache-2.0
// Records in JSON lines and in CSV with the names of the columns in its first line.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tools/encoding.h"
#include "tools/intake_parts.h"
#include "tools/value.h"

// -------------------------------------------------------------------------------- JSON

static int base64_bytes(struct intake *intake, const char *name, const json_t *json,
                        struct weir_bytes *out)
{
    const char *text = json_string_value(json);
    size_t size = json_string_length(json);

    if (text == NULL)
        return intake_complain(intake, "'%s' is no base64", name);
    char *bytes = intake_keep(intake, size);
    if (bytes == NULL)
        return -ENOMEM;
    long used = encoding_from_base64(text, size, bytes);
    if (used < 0)
        return intake_complain(intake, "'%s' is no base64", name);
    *out = weir_bytes_of(bytes, (size_t)used);
    return 0;
}

// A string is its text; null is absent; anything else is stored as the JSON it is.
static int json_bytes(struct intake *intake, const json_t *json, struct weir_bytes *out)
{
    *out = weir_bytes_of(NULL, 0);
    if (json == NULL || json_is_null(json))
        return 0;
    if (json_is_string(json)) {
        *out = weir_bytes_of(json_string_value(json), json_string_length(json));
        return 0;
    }
    size_t size = json_dumpb(json, NULL, 0, JSON_COMPACT | JSON_ENCODE_ANY);
    char *text = intake_keep(intake, size);
    if (text == NULL)
        return -ENOMEM;
    json_dumpb(json, text, size, JSON_COMPACT | JSON_ENCODE_ANY);
    *out = weir_bytes_of(text, size);
    return 0;
}

int intake_json_headers(struct intake *intake, const json_t *headers)
{
    size_t index;
    const json_t *header;

    if (!json_is_array(headers))
        return intake_complain(intake, "'headers' is no list of objects with name and value");
    json_array_foreach(headers, index, header)
    {
        const json_t *name = json_object_get(header, "name");
        const json_t *encoded = json_object_get(header, "value_base64");
        struct weir_bytes value = {0};
        if (!json_is_string(name))
            return intake_complain(intake, "a header has no name");
        int rc = encoded != NULL ? base64_bytes(intake, "value_base64", encoded, &value)
                                 : json_bytes(intake, json_object_get(header, "value"), &value);
        if (rc == 0)
            rc = intake_add_header(
                intake, weir_bytes_of(json_string_value(name), json_string_length(name)), value);
        if (rc != 0)
            return rc;
    }
    return 0;
}

static int json_member(struct intake *intake, const char *name, const json_t *json,
                       struct weir_message *message)
{
    static const char *const ignored[] = {"topic", "partition", "offset"};

    if (strcmp(name, "key") == 0)
        return json_bytes(intake, json, &message->key);
    if (strcmp(name, "value") == 0)
        return json_bytes(intake, json, &message->value);
    if (strcmp(name, "key_base64") == 0)
        return base64_bytes(intake, name, json, &message->key);
    if (strcmp(name, "value_base64") == 0)
        return base64_bytes(intake, name, json, &message->value);
    if (strcmp(name, "headers") == 0)
        return intake_json_headers(intake, json);
    if (strcmp(name, "timestamp") == 0) {
        message->timestamp = json_integer_value(json);
        return json_is_integer(json) && message->timestamp >= 0
                   ? 0
                   : intake_complain(intake, "'timestamp' is no number of milliseconds since 1970");
    }
    for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++) {
        if (strcmp(name, ignored[i]) == 0)
            return 0;
    }
    return intake_complain(intake,
                           "there is no '%.64s' in a record, only key, value, headers and "
                           "timestamp",
                           name);
}

int intake_json(struct intake *intake, const char *line, size_t size, struct weir_message *message)
{
    json_error_t error;
    const char *name;
    json_t *member;
    int rc = 0;

    if (size == 0)
        return 0;
    intake->json = json_loadb(line, size, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    if (intake->json == NULL)
        return intake_complain(intake, "it is no JSON: %s", error.text);
    if (!json_is_object(intake->json))
        return intake_complain(intake, "it is no object with key, value, headers");
    if (json_object_get(intake->json, "value") == NULL &&
        json_object_get(intake->json, "value_base64") == NULL)
        return intake_complain(intake, "there is no 'value'");
    json_object_foreach(intake->json, name, member)
    {
        if (rc == 0)
            rc = json_member(intake, name, member, message);
    }
    return rc == 0 ? 1 : rc;
}

// -------------------------------------------------------------------------------- CSV

struct cell {
    const char *text;
    size_t size;
    bool quoted; // an empty cell is absent only without quotes
};

static bool inside_quotes(const char *text, size_t size)
{
    size_t quotes = 0;

    for (size_t i = 0; i < size; i++)
        quotes += text[i] == '"';
    return quotes % 2 != 0;
}

// Reads a cell in quotes, which stands at *at. Its text is written over the input.
static int quoted_cell(struct intake *intake, char **at, const char *end, struct cell *cell)
{
    char *from = *at + 1;
    char *to = from;

    cell->text = to;
    cell->quoted = true;
    while (from < end && (*from != '"' || (from + 1 < end && from[1] == '"'))) {
        from += *from == '"';
        *to++ = *from++;
    }
    cell->size = (size_t)(to - cell->text);
    if (from == end || (from + 1 < end && from[1] != ','))
        return intake_complain(intake, "behind a closing quote a comma is expected");
    *at = from + 1;
    return 0;
}

// Cuts a record into cells. Returns their number or -EINVAL.
static int cut(struct intake *intake, char *text, size_t size, struct cell *cells)
{
    const char *end = text + size;
    char *at = text;
    int count = 0;

    for (;;) {
        if (count == INTAKE_COLUMNS_MAX)
            return intake_complain(intake, "it has more than %d columns", INTAKE_COLUMNS_MAX);
        struct cell *cell = &cells[count++];
        *cell = (struct cell){0};
        if (at < end && *at == '"') {
            int rc = quoted_cell(intake, &at, end, cell);
            if (rc != 0)
                return rc;
        } else {
            char *comma = memchr(at, ',', (size_t)(end - at));
            cell->text = at;
            cell->size = (size_t)((comma != NULL ? comma : end) - at);
            at += cell->size;
        }
        if (at == end)
            return count;
        at++;
    }
}

static int read_column(struct intake *intake, const struct cell *cell, size_t index)
{
    static const struct {
        const char *name;
        enum intake_column column;
    } names[] = {
        {"key", COLUMN_KEY},         {"value", COLUMN_VALUE},   {"timestamp", COLUMN_TIME},
        {"headers", COLUMN_HEADERS}, {"topic", COLUMN_IGNORED}, {"partition", COLUMN_IGNORED},
        {"offset", COLUMN_IGNORED},
    };

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strlen(names[i].name) == cell->size &&
            memcmp(names[i].name, cell->text, cell->size) == 0) {
            intake->columns[index] = names[i].column;
            return 0;
        }
    }
    if (cell->size <= 7 || memcmp(cell->text, "header.", 7) != 0)
        return intake_complain(intake,
                               "column '%.*s' is unknown, there are key, value, timestamp, headers "
                               "and header.NAME",
                               (int)(cell->size < 64 ? cell->size : 64), cell->text);
    intake->columns[index] = COLUMN_HEADER;
    intake->column_names[index] = strndup(cell->text + 7, cell->size - 7);
    return intake->column_names[index] != NULL ? 0 : -ENOMEM;
}

static int read_columns(struct intake *intake, const struct cell *cells, int count)
{
    bool has_value = false;
    int rc = 0;

    for (int i = 0; rc == 0 && i < count; i++) {
        intake->column_count++;
        rc = read_column(intake, &cells[i], (size_t)i);
        has_value |= intake->columns[i] == COLUMN_VALUE;
    }
    if (rc == 0 && !has_value)
        rc = intake_complain(intake, "the first line names no column 'value'");
    return rc;
}

static int read_headers(struct intake *intake, struct weir_bytes bytes)
{
    if (bytes.data == NULL)
        return 0;
    intake->json = json_loadb(bytes.data, bytes.size, 0, NULL);
    return intake_json_headers(intake, intake->json);
}

static int read_cell(struct intake *intake, size_t index, const struct cell *cell,
                     struct weir_message *message)
{
    bool absent = cell->size == 0 && !cell->quoted;
    struct weir_bytes bytes = {absent ? NULL : cell->text, cell->size};
    char number[24] = "";

    switch (intake->columns[index]) {
    case COLUMN_KEY:
        message->key = bytes;
        return 0;
    case COLUMN_VALUE:
        message->value = bytes;
        return 0;
    case COLUMN_HEADER:
        return absent ? 0
                      : intake_add_header(intake, weir_text(intake->column_names[index]), bytes);
    case COLUMN_HEADERS:
        return read_headers(intake, bytes);
    case COLUMN_TIME:
        if (cell->size < sizeof(number))
            memcpy(number, cell->text, cell->size);
        if (absent || value_count(number, 0, INT64_MAX, &message->timestamp) == 0)
            return 0;
        return intake_complain(intake, "'timestamp' is no number of milliseconds since 1970");
    case COLUMN_IGNORED:
        break;
    }
    return 0;
}

// Lines gather in `text` until no quote is open.
static int gather(struct intake *intake, const char *line, size_t size)
{
    bool first = intake->text == NULL || intake->text_size == 0;
    size_t total = intake->text_size + size + !first;

    if (total > intake->max)
        return intake_complain(intake, "it is longer than %zu bytes, see --max-bytes", intake->max);
    char *text = realloc(intake->text, total + 1);
    if (text == NULL)
        return -ENOMEM;
    intake->text = text;
    if (!first)
        text[intake->text_size++] = '\n';
    memcpy(text + intake->text_size, line, size);
    intake->text_size = total;
    return 0;
}

int intake_csv(struct intake *intake, const char *line, size_t size, struct weir_message *message)
{
    struct cell cells[INTAKE_COLUMNS_MAX];

    int rc = gather(intake, line, size);
    if (rc != 0 || inside_quotes(intake->text, intake->text_size))
        return rc;
    size_t total = intake->text_size;
    intake->text_size = 0;
    if (total > 0 && intake->text[total - 1] == '\r')
        total--;
    if (total == 0 && intake->column_count != 1)
        return 0;
    int count = cut(intake, intake->text, total, cells);
    if (count < 0)
        return count;
    if (intake->column_count == 0)
        return read_columns(intake, cells, count);
    if ((size_t)count != intake->column_count)
        return intake_complain(intake, "it has %d columns, the first line names %zu", count,
                               intake->column_count);
    for (int i = 0; rc == 0 && i < count; i++)
        rc = read_cell(intake, (size_t)i, &cells[i], message);
    return rc == 0 ? 1 : rc;
}
