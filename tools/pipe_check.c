// SPDX-License-Identifier: Apache-2.0
// A schema is a list of fields in the order in which they are written; the first that does not hold
// is the one that is named.
#include "tools/pipe_check.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SCHEMA_MAX = 1 << 20, NAME_MAX_BYTES = 256 };

enum type {
    TYPE_STRING,
    TYPE_INTEGER,
    TYPE_NUMBER,
    TYPE_BOOLEAN,
    TYPE_OBJECT,
    TYPE_ARRAY,
    TYPE_NULL,
    TYPE_ANY,
};

static const char *const type_names[] = {"string", "integer", "number", "boolean",
                                         "object", "array",   "null",   "any"};

struct field {
    const char *path; // "a.b"
    enum type type;
    bool optional;
};

struct pipe_check {
    char *text;
    struct field *fields;
    size_t count;
};

static char *read_file(const char *path, char *error, size_t error_size)
{
    FILE *file = fopen(path, "re");
    char *text = NULL;
    size_t size = 0;

    if (file == NULL) {
        snprintf(error, error_size, "cannot read %s: %s", path, strerror(errno));
        return NULL;
    }
    text = malloc(SCHEMA_MAX + 1);
    if (text != NULL)
        size = fread(text, 1, SCHEMA_MAX + 1, file);
    bool bad = ferror(file) != 0 || size > SCHEMA_MAX || text == NULL;
    fclose(file);
    if (bad) {
        snprintf(error, error_size, "cannot read %s as a schema of at most 1 MiB", path);
        free(text);
        return NULL;
    }
    text[size] = '\0';
    return text;
}

static void blank_comments(char *text)
{
    bool comment = false;

    for (; *text != '\0'; text++) {
        comment = *text == '#' || (comment && *text != '\n');
        if (comment)
            *text = ' ';
    }
}

static char *trim(char *text)
{
    while (isspace((unsigned char)*text))
        text++;
    char *end = text + strlen(text);
    while (end > text && isspace((unsigned char)end[-1]))
        *--end = '\0';
    return text;
}

static int parse_type(const char *name, enum type *out)
{
    for (size_t i = 0; i < sizeof(type_names) / sizeof(type_names[0]); i++) {
        if (strcmp(type_names[i], name) == 0) {
            *out = (enum type)i;
            return 0;
        }
    }
    return -EINVAL;
}

static bool path_sound(const char *path)
{
    size_t size = strlen(path);

    return size > 0 && size < NAME_MAX_BYTES && path[0] != '.' && path[size - 1] != '.' &&
           strstr(path, "..") == NULL;
}

// One "FIELD:TYPE?".
static int parse_field(struct field *field, char *text, char *error, size_t error_size)
{
    char *colon = strrchr(text, ':');

    if (colon == NULL) {
        snprintf(error, error_size, "'%s' will not do, give FIELD:TYPE", text);
        return -EINVAL;
    }
    *colon = '\0';
    char *type = trim(colon + 1);
    size_t size = strlen(type);
    field->path = trim(text);
    field->optional = size > 0 && type[size - 1] == '?';
    if (field->optional)
        type[size - 1] = '\0';
    if (!path_sound(field->path)) {
        snprintf(error, error_size, "'%s' is no field's name, give NAME or NAME.NAME", field->path);
        return -EINVAL;
    }
    if (parse_type(trim(type), &field->type) == 0)
        return 0;
    snprintf(error, error_size,
             "field '%s': there is no type '%s', there are string, integer, number, boolean, "
             "object, array, null and any",
             field->path, type);
    return -EINVAL;
}

static int parse_fields(struct pipe_check *check, char *error, size_t error_size)
{
    char *rest = check->text;
    char *piece;

    while ((piece = strsep(&rest, ",\n")) != NULL) {
        piece = trim(piece);
        if (*piece == '\0')
            continue;
        int rc = parse_field(&check->fields[check->count], piece, error, error_size);
        if (rc != 0)
            return rc;
        check->count++;
    }
    if (check->count > 0)
        return 0;
    snprintf(error, error_size, "the schema names no field, give FIELD:TYPE[,...]");
    return -EINVAL;
}

int pipe_check_parse(const char *text, struct pipe_check **out, char *error, size_t error_size)
{
    struct pipe_check *check = calloc(1, sizeof(*check));

    snprintf(error, error_size, "out of memory");
    if (check == NULL)
        return -ENOMEM;
    check->text = text[0] == '@' ? read_file(text + 1, error, error_size) : strdup(text);
    if (check->text == NULL) {
        pipe_check_free(check);
        return text[0] == '@' ? -EINVAL : -ENOMEM;
    }
    blank_comments(check->text);
    // A field takes three bytes at least.
    check->fields = calloc(strlen(check->text) / 3 + 1, sizeof(*check->fields));
    int rc = check->fields != NULL ? parse_fields(check, error, error_size) : -ENOMEM;
    if (rc != 0) {
        pipe_check_free(check);
        return rc;
    }
    *out = check;
    return 0;
}

void pipe_check_free(struct pipe_check *check)
{
    if (check == NULL)
        return;
    free(check->text);
    free(check->fields);
    free(check);
}

static bool matches(const json_t *value, enum type type)
{
    switch (type) {
    case TYPE_STRING:
        return json_is_string(value);
    case TYPE_INTEGER:
        return json_is_integer(value);
    case TYPE_NUMBER:
        return json_is_number(value);
    case TYPE_BOOLEAN:
        return json_is_boolean(value);
    case TYPE_OBJECT:
        return json_is_object(value);
    case TYPE_ARRAY:
        return json_is_array(value);
    case TYPE_NULL:
        return json_is_null(value);
    case TYPE_ANY:
        break;
    }
    return true;
}

static const char *type_of(const json_t *value)
{
    for (size_t i = 0; i < TYPE_ANY; i++) {
        if (matches(value, (enum type)i))
            return type_names[i];
    }
    return "nothing";
}

// A name that contains dots is found as it stands before it is taken apart.
static const json_t *find(const json_t *value, const char *path)
{
    while (value != NULL) {
        const json_t *whole = json_object_get(value, path);
        const char *dot = strchr(path, '.');
        char name[NAME_MAX_BYTES];
        if (whole != NULL || dot == NULL)
            return whole;
        memcpy(name, path, (size_t)(dot - path));
        name[dot - path] = '\0';
        value = json_object_get(value, name);
        path = dot + 1;
    }
    return NULL;
}

const char *pipe_check_value(const struct pipe_check *check, const json_t *value, char *reason,
                             size_t reason_size)
{
    for (size_t i = 0; i < check->count; i++) {
        const struct field *field = &check->fields[i];
        const json_t *found = find(value, field->path);
        if (found == NULL && !field->optional) {
            snprintf(reason, reason_size, "field '%s' is missing", field->path);
            return field->path;
        }
        if (found != NULL && !matches(found, field->type)) {
            snprintf(reason, reason_size, "field '%s' is %s, not %s", field->path, type_of(found),
                     type_names[field->type]);
            return field->path;
        }
    }
    return NULL;
}
