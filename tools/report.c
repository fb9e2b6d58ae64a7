// SPDX-License-Identifier: Apache-2.0
// Two passes over the rows: the first finds the widths, the second prints.
#include "tools/report.h"

#include <inttypes.h>
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
