// SPDX-License-Identifier: Apache-2.0
// Two passes over the rows: the first finds the widths, the second prints.
#include "tools/report.h"

#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "tools/encoding.h"

enum { COLUMNS_MAX = 16, CELL_MAX = 300, CHARACTER_MAX = 4 };

// Characters, not bytes: continuation bytes of UTF-8 take no place on the screen.
int report_width(const char *text)
{
    int width = 0;

    for (; *text != '\0'; text++)
        width += ((unsigned char)*text & 0xC0) != 0x80;
    return width;
}

void report_printable(const char *text, int width, char *out, size_t size)
{
    size_t used = 0;

    for (; *text != '\0' && used + 1 < size; text++) {
        unsigned char byte = (unsigned char)*text;
        bool goes_on = (byte & 0xC0) == 0x80;
        // A character is copied whole or not at all.
        if (!goes_on && (used + CHARACTER_MAX >= size || width-- == 0))
            break;
        bool control = byte < ' ' || byte == 127;
        if (byte == 0xC2 && (unsigned char)text[1] >= 0x80 && (unsigned char)text[1] < 0xA0) {
            control = true;
            text++;
        }
        out[used++] = control ? '?' : *text;
    }
    out[used] = '\0';
}

static void cell_text(const json_t *value, char *text, size_t size)
{
    if (json_is_string(value))
        report_printable(json_string_value(value), INT_MAX, text, size);
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
    int padding = width - report_width(text);

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
        widths[i] = report_width(columns[i].title);
    json_array_foreach(rows, index, row)
    {
        for (size_t i = 0; i < count; i++) {
            cell_text(json_object_get(row, columns[i].key), text, sizeof(text));
            int width = report_width(text);
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
    char *encoded = encoding_base64(data, size);
    snprintf(base64_name, sizeof(base64_name), "%s_base64", name);
    json_object_set_new(object, base64_name, encoded != NULL ? json_string(encoded) : json_null());
    free(encoded);
}
