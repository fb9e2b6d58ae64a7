// SPDX-License-Identifier: Apache-2.0
// Two passes over the rows: the first finds the widths, the second prints. A third between them
// narrows the column of names where the screen is too narrow.
#include "tools/report.h"

#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

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
    int missing = width - report_width(text);
    int padding = missing > 0 ? missing : 0; // a negative width would pad on the other side

    if (column->right)
        fprintf(out, "%*s%s%s", padding, "", text, last ? "\n" : "  ");
    else if (last)
        fprintf(out, "%s\n", text);
    else
        fprintf(out, "%s%*s  ", text, padding, "");
}

static int cell_width(const json_t *row, const struct report_column *column)
{
    char text[CELL_MAX];

    cell_text(json_object_get(row, column->key), text, sizeof(text));
    return report_width(text);
}

// The widest column that others are padded behind; count when there is none.
static size_t widest_name(const struct report_column *columns, const int *widths, size_t count)
{
    size_t widest = count;

    for (size_t i = 0; i + 1 < count; i++) {
        if (!columns[i].right && (widest == count || widths[i] > widths[widest]))
            widest = i;
    }
    return widest;
}

// Makes that column as wide as the longest of its cells with which lines fit on the screen.
static void narrow(const json_t *rows, const struct report_column *columns, size_t count,
                   int screen, int *widths)
{
    size_t widest = widest_name(columns, widths, count);
    int others = 0;
    size_t index;
    const json_t *row;

    if (screen == 0 || widest == count)
        return;
    for (size_t i = 0; i < count; i++) {
        bool padded = columns[i].right || i + 1 < count;
        others += i == widest ? 2 : padded ? widths[i] + 2 : report_width(columns[i].title) + 2;
    }
    int room = screen - others + 2;
    if (widths[widest] <= room)
        return;
    widths[widest] = report_width(columns[widest].title);
    json_array_foreach(rows, index, row)
    {
        int width = cell_width(row, &columns[widest]);
        if (width <= room && width > widths[widest])
            widths[widest] = width;
    }
}

static int screen_width(FILE *out)
{
    struct winsize size;
    int fd = fileno(out);

    return fd >= 0 && ioctl(fd, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

void report_print_table(const json_t *rows, const struct report_column *columns, size_t count,
                        FILE *out)
{
    report_print_table_on(rows, columns, count, screen_width(out), out);
}

void report_print_table_on(const json_t *rows, const struct report_column *columns, size_t count,
                           int screen, FILE *out)
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
            int width = cell_width(row, &columns[i]);
            widths[i] = width > widths[i] ? width : widths[i];
        }
    }
    narrow(rows, columns, count, screen, widths);
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
