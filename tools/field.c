// SPDX-License-Identifier: Apache-2.0
// A field is its root and a list of steps into what is decoded there.
//
// JSON or msgpack: a value that begins as JSON text does and reads as JSON is JSON; everything else
// that reads as exactly one msgpack value is msgpack.
#include "tools/field.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/span.h"
#include "tools/pack_json.h"

enum { STEPS_MAX = 16, NAME_MAX_BYTES = 255 };

enum root { ROOT_KEY, ROOT_VALUE, ROOT_HEADER, ROOT_TOPIC, ROOT_PARTITION, ROOT_OFFSET, ROOT_TIME };

struct step {
    char *name; // NULL: an index
    size_t size;
    size_t index;
};

struct field {
    enum root root;
    size_t step_count;
    struct step steps[STEPS_MAX];
};

static const struct {
    const char *name;
    enum root root;
    bool inside; // takes steps
} roots[] = {
    {"key", ROOT_KEY, true},
    {"value", ROOT_VALUE, true},
    {"header", ROOT_HEADER, true},
    {"topic", ROOT_TOPIC, false},
    {"partition", ROOT_PARTITION, false},
    {"offset", ROOT_OFFSET, false},
    {"timestamp", ROOT_TIME, false},
};

void field_free(struct field *field)
{
    if (field == NULL)
        return;
    for (size_t i = 0; i < field->step_count; i++)
        free(field->steps[i].name);
    free(field);
}

// -------------------------------------------------------------------------------- parsing

static bool is_name(char c)
{
    return c != '\0' && (unsigned char)c > ' ' && strchr(".[]()=!<>~\"',{}", c) == NULL;
}

static size_t name_length(const char *at)
{
    size_t length = 0;

    while (is_name(at[length]))
        length++;
    return length;
}

static int add_name(struct field *field, const char *name, size_t size)
{
    struct step *step = &field->steps[field->step_count];

    step->name = strndup(name, size);
    if (step->name == NULL)
        return -ENOMEM;
    step->size = size;
    field->step_count++;
    return 0;
}

// [12] or ["a b"]; `at` points behind the bracket. The place behind, or NULL.
static const char *parse_bracket(struct field *field, const char *at)
{
    if (*at == '"' || *at == '\'') {
        const char *end = strchr(at + 1, *at);
        if (end == NULL || end[1] != ']' || end - at > NAME_MAX_BYTES ||
            add_name(field, at + 1, (size_t)(end - at - 1)) != 0)
            return NULL;
        return end + 2;
    }
    char *end;
    errno = 0;
    unsigned long index = strtoul(at, &end, 10);
    if (*at < '0' || *at > '9' || errno != 0 || *end != ']')
        return NULL;
    field->steps[field->step_count++].index = index;
    return end + 1;
}

// The place behind one step, or NULL.
static const char *parse_step(struct field *field, const char *at)
{
    if (field->step_count == STEPS_MAX)
        return NULL;
    if (*at == '[')
        return parse_bracket(field, at + 1);
    size_t length = name_length(at + 1);
    if (length == 0 || length > NAME_MAX_BYTES || add_name(field, at + 1, length) != 0)
        return NULL;
    return at + 1 + length;
}

static int complain(const char *at, size_t size, char *error, size_t error_size)
{
    snprintf(error, error_size,
             "'%.*s' is no field, there are key, value, value.NAME, value[0], header.NAME, topic, "
             "partition, offset and timestamp",
             (int)(size > 0 ? size : strnlen(at, 32)), at);
    return -EINVAL;
}

int field_parse(const char **at, struct field **out, char *error, size_t error_size)
{
    const char *start = *at;
    size_t length = name_length(start);
    size_t row = 0;

    while (row < sizeof(roots) / sizeof(roots[0]) &&
           (strlen(roots[row].name) != length || memcmp(roots[row].name, start, length) != 0))
        row++;
    if (row == sizeof(roots) / sizeof(roots[0]))
        return complain(start, length, error, error_size);
    struct field *field = calloc(1, sizeof(*field));
    if (field == NULL) {
        snprintf(error, error_size, "out of memory");
        return -ENOMEM;
    }
    field->root = roots[row].root;
    const char *end = start + length;
    while (end != NULL && roots[row].inside && (*end == '.' || *end == '['))
        end = parse_step(field, end);
    bool header_named = field->step_count == 1 && field->steps[0].name != NULL;
    if (end == NULL || (field->root == ROOT_HEADER && !header_named)) {
        field_free(field);
        return complain(start, strcspn(start, " )="), error, error_size);
    }
    *out = field;
    *at = end;
    return 0;
}

// -------------------------------------------------------------------------------- reading

void record_view_start(struct record_view *view, const struct weir_record *record)
{
    *view = (struct record_view){.record = record};
}

void record_view_end(struct record_view *view)
{
    json_decref(view->parts[0]);
    json_decref(view->parts[1]);
}

static json_t *decode(struct weir_bytes bytes)
{
    const char *text = bytes.data;
    size_t at = 0;

    if (text == NULL)
        return NULL;
    while (at < bytes.size && isspace((unsigned char)text[at]))
        at++;
    if (at < bytes.size && strchr("{[\"-0123456789tfn", text[at]) != NULL && text[at] != '\0') {
        json_t *value = json_loadb(text, bytes.size, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
        if (value != NULL)
            return value;
    }
    return pack_json(span_of(bytes.data, bytes.size));
}

static const json_t *part(struct record_view *view, enum root root)
{
    size_t index = root == ROOT_KEY ? 0 : 1;

    if (!view->decoded[index]) {
        view->parts[index] = decode(index == 0 ? view->record->key : view->record->value);
        view->decoded[index] = true;
    }
    return view->parts[index];
}

static const json_t *walk(const struct field *field, const json_t *at)
{
    for (size_t i = 0; at != NULL && i < field->step_count; i++) {
        const struct step *step = &field->steps[i];
        at = step->name != NULL ? json_object_getn(at, step->name, step->size)
                                : json_array_get(at, step->index);
    }
    return at;
}

static void from_json(const json_t *json, struct field_value *out)
{
    *out = (struct field_value){.kind = FIELD_ABSENT};
    if (json == NULL || json_is_null(json))
        return;
    out->json = json;
    if (json_is_string(json)) {
        out->kind = FIELD_TEXT;
        out->bytes = weir_bytes_of(json_string_value(json), json_string_length(json));
    } else if (json_is_boolean(json)) {
        out->kind = FIELD_BOOL;
        out->boolean = json_is_true(json);
    } else if (json_is_number(json)) {
        out->kind = FIELD_NUMBER;
        out->whole = json_is_integer(json);
        out->integer = json_integer_value(json);
        out->real = json_number_value(json);
    } else {
        out->kind = FIELD_JSON;
    }
}

static void from_bytes(struct weir_bytes bytes, struct field_value *out)
{
    *out = (struct field_value){
        .kind = bytes.data != NULL ? FIELD_BYTES : FIELD_ABSENT,
        .bytes = bytes,
    };
}

static void from_number(int64_t number, struct field_value *out)
{
    *out = (struct field_value){
        .kind = FIELD_NUMBER,
        .whole = true,
        .integer = number,
        .real = (double)number,
    };
}

// Of several headers with the name the last one counts, as in Kafka's clients.
static void from_header(const struct field *field, const struct weir_record *record,
                        struct field_value *out)
{
    struct weir_header header;
    size_t at = 0;

    *out = (struct field_value){.kind = FIELD_ABSENT};
    while (weir_record_header(record, &at, &header)) {
        if (header.name.size == field->steps[0].size &&
            memcmp(header.name.data, field->steps[0].name, header.name.size) == 0)
            from_bytes(header.value, out);
    }
}

void field_read(const struct field *field, struct record_view *view, struct field_value *out)
{
    const struct weir_record *record = view->record;

    switch (field->root) {
    case ROOT_KEY:
    case ROOT_VALUE:
        if (field->step_count > 0)
            from_json(walk(field, part(view, field->root)), out);
        else
            from_bytes(field->root == ROOT_KEY ? record->key : record->value, out);
        break;
    case ROOT_HEADER:
        from_header(field, record, out);
        break;
    case ROOT_TOPIC:
        from_bytes(weir_text(record->topic), out);
        break;
    case ROOT_PARTITION:
        from_number(record->partition, out);
        break;
    case ROOT_OFFSET:
        from_number(record->offset, out);
        break;
    case ROOT_TIME:
        from_number(record->timestamp, out);
        break;
    }
}
