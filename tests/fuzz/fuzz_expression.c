// SPDX-License-Identifier: Apache-2.0
// --where and --format, and the records they are used on. The input is an expression, a zero byte,
// a record's value and, behind another zero byte, its key. What is taken runs on the record within
// its bounds; what is refused is refused with a sentence.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "tools/format.h"
#include "tools/where.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// Headers zone=eu and size=7.
static const char headers[] = "\x08zone\x04"
                              "eu\x08size\x02"
                              "7";

static void check_refused(int rc, const char *error)
{
    CHECK(rc == -EINVAL || rc == -ENOMEM);
    CHECK(error[0] != '\0' && strnlen(error, 256) < 256);
}

static void try_where(const char *text, const struct weir_record *record)
{
    char error[256] = "";
    struct where *where = NULL;
    int rc = where_parse(text, &where, error, sizeof(error));

    if (rc != 0) {
        check_refused(rc, error);
        return;
    }
    int kept = where_keeps(where, record);
    CHECK(kept == 0 || kept == 1 || kept == -E2BIG);
    CHECK(where_keeps(where, record) == kept);
    where_free(where);
}

static void try_format(const char *text, const struct weir_record *record)
{
    char error[256] = "";
    struct format *format = NULL;
    int rc = format_parse(text, &format, error, sizeof(error));

    if (rc != 0) {
        check_refused(rc, error);
        return;
    }
    char *printed = NULL;
    size_t printed_size = 0;
    FILE *out = open_memstream(&printed, &printed_size);
    CHECK(out != NULL);
    format_begin(format, out);
    format_record(format, record, out);
    fclose(out);
    free(printed);
    format_free(format);
}

// The bytes up to the next zero byte or the end, as text of its own; *at moves behind it.
static char *next_text(const uint8_t **at, const uint8_t *end, size_t *size)
{
    const uint8_t *zero = memchr(*at, 0, (size_t)(end - *at));

    *size = (size_t)((zero != NULL ? zero : end) - *at);
    char *text = malloc(*size + 1);
    CHECK(text != NULL);
    memcpy(text, *at, *size);
    text[*size] = '\0';
    *at += *size + (zero != NULL);
    return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *at = data;
    const uint8_t *end = data + size;
    size_t text_size;
    size_t value_size;
    char *text = next_text(&at, end, &text_size);
    char *value = next_text(&at, end, &value_size);
    struct weir_record record = {
        .topic = "orders",
        .partition = 3,
        .offset = 42,
        .timestamp = 1769947200250,
        .key = weir_bytes_of(at < end ? (const char *)at : NULL, (size_t)(end - at)),
        .value = weir_bytes_of(value, value_size),
        .headers = weir_bytes_of(headers, sizeof(headers) - 1),
        .header_count = 2,
    };

    try_where(text, &record);
    try_format(text, &record);
    free(text);
    free(value);
    return 0;
}
