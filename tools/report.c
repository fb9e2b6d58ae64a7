// SPDX-License-Identifier: Apache-2.0
// Two passes over the rows: the first finds the widths, the second prints.
#include "tools/report.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { COLUMNS_MAX = 16, CELL_MAX = 300 };

// Characters, not bytes: continuation bytes of UTF-8 take no place on the screen.
static int width_of(const char *text)
{
    int width = 0;

    for (; *text != '\0'; text++)
        width += ((unsigned char)*text & 0xC0) != 0x80;
    return width;
}

static void cell_text(const json_t *value, char *text, size_t size)
{
    if (json_is_string(value))
        snprintf(text, size, "%s", json_string_value(value));
    else if (json_is_integer(value))
        snprintf(text, size, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else if (json_is_real(value))
        snprintf(text, size, "%.1f", json_real_value(value));
    else if (json_is_boolean(value))
        snprintf(text, size, "%s", json_is_true(value) ? "yes" : "no");
    else
        snprintf(text, size, "-");
}

static void print_cell(const char *text, const struct report_column *column, int width, bool last,
                       FILE *out)
{
    int padding = width - width_of(text);

    if (column->right)
        fprintf(out, "%*s%s%s", padding, "", text, last ? "\n" : "  ");
    else if (last)
        fprintf(out, "%s\n", text);
    else
        fprintf(out, "%s%*s  ", text, padding, "");
}

void report_print_table(const json_t *rows, const struct report_column *columns, size_t count,
                        FILE *out)
{
    int widths[COLUMNS_MAX] = {0};
    char text[CELL_MAX];
    size_t index;
    const json_t *row;

    if (count > COLUMNS_MAX)
        count = COLUMNS_MAX;
    for (size_t i = 0; i < count; i++)
        widths[i] = width_of(columns[i].title);
    json_array_foreach(rows, index, row)
    {
        for (size_t i = 0; i < count; i++) {
            cell_text(json_object_get(row, columns[i].key), text, sizeof(text));
            int width = width_of(text);
            widths[i] = width > widths[i] ? width : widths[i];
        }
    }
    for (size_t i = 0; i < count; i++)
        print_cell(columns[i].title, &columns[i], widths[i], i + 1 == count, out);
    json_array_foreach(rows, index, row)
    {
        for (size_t i = 0; i < count; i++) {
            cell_text(json_object_get(row, columns[i].key), text, sizeof(text));
            print_cell(text, &columns[i], widths[i], i + 1 == count, out);
        }
    }
}

void report_print_json(const json_t *value, FILE *out)
{
    json_dumpf(value, out, JSON_INDENT(2) | JSON_ENCODE_ANY);
    fputc('\n', out);
}

void report_print(const json_t *rows, bool json, const struct report_column *columns, size_t count,
                  FILE *out)
{
    if (json)
        report_print_json(rows, out);
    else
        report_print_table(rows, columns, count, out);
}

char *report_base64(const void *data, size_t size)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *bytes = data;
    char *text = malloc((size + 2) / 3 * 4 + 1);
    char *to = text;

    if (text == NULL)
        return NULL;
    for (size_t i = 0; i < size; i += 3) {
        size_t left = size - i;
        uint32_t bits = (uint32_t)bytes[i] << 16;
        bits |= left > 1 ? (uint32_t)bytes[i + 1] << 8 : 0;
        bits |= left > 2 ? (uint32_t)bytes[i + 2] : 0;
        *to++ = digits[bits >> 18];
        *to++ = digits[bits >> 12 & 63];
        *to++ = '=';
        *to++ = '=';
        if (left > 1)
            to[-2] = digits[bits >> 6 & 63];
        if (left > 2)
            to[-1] = digits[bits & 63];
    }
    *to = '\0';
    return text;
}

void report_set_bytes(json_t *object, const char *name, const void *data, size_t size)
{
    char base64_name[64];

    if (data == NULL) {
        json_object_set_new(object, name, json_null());
        return;
    }
    json_t *text = json_stringn(data, size);
    if (text != NULL) {
        json_object_set_new(object, name, text);
        return;
    }
    char *encoded = report_base64(data, size);
    snprintf(base64_name, sizeof(base64_name), "%s_base64", name);
    json_object_set_new(object, base64_name, encoded != NULL ? json_string(encoded) : json_null());
    free(encoded);
}
