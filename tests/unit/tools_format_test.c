// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/format.h"
#include "tools/pack_json.h"

// Two headers, a=1 and b (absent), in the encoding of record batches: sizes are zigzag varints.
static const char encoded_headers[] = "\x02"
                                      "a\x02"
                                      "1\x02"
                                      "b\x01";

static struct weir_record sample(void)
{
    struct weir_record record = {
        .topic = "orders",
        .partition = 3,
        .offset = 42,
        .timestamp = 1769947200250,
        .key = weir_text("key"),
        .value = weir_text("value"),
        .headers = weir_bytes_of(encoded_headers, sizeof(encoded_headers) - 1),
        .header_count = 2,
    };
    return record;
}

static char *print(const char *template, const struct weir_record *record, size_t *size)
{
    struct format *format = NULL;
    char error[256] = "";
    char *text = NULL;

    cr_assert_eq(format_parse(template, &format, error, sizeof(error)), 0, "%s", error);
    FILE *out = open_memstream(&text, size);
    format_record(format, record, out);
    fclose(out);
    format_free(format);
    return text;
}

static void expect(const char *template, const struct weir_record *record, const char *expected)
{
    size_t size;
    char *text = print(template, record, &size);

    cr_assert_str_eq(text, expected);
    free(text);
}

Test(tools, templates_fill_in_every_field)
{
    struct weir_record record = sample();

    expect("%t %p %o %k %s %v\\n", &record, "orders 3 42 key value value\n");
    expect("%T %D", &record, "1769947200250 2026-02-01T12:00:00.250Z");
    expect("%K %S", &record, "3 5");
    expect("%h", &record, "a=1,b=");
    expect("100%%\\t\\\\\\x41%o%o", &record, "100%\t\\A4242");
}

Test(tools, what_is_absent_prints_as_nothing_and_size_minus_one)
{
    struct weir_record record = {.topic = "t", .timestamp = -1};

    expect("[%k][%s][%h] %K %S %D", &record, "[][][] -1 -1 -");
    record.value = weir_text("");
    expect("%S", &record, "0");
}

Test(tools, bytes_pass_unchanged)
{
    struct weir_record record = sample();
    size_t size;

    record.value = weir_bytes_of("a\0b\n\xff", 5);
    char *text = print("raw", &record, &size);
    cr_assert_eq(size, 5);
    cr_assert_eq(memcmp(text, "a\0b\n\xff", 5), 0);
    free(text);
    text = print("<%s\\0>", &record, &size);
    cr_assert_eq(size, 8);
    cr_assert_eq(memcmp(text, "<a\0b\n\xff\0>", 8), 0);
    free(text);
}

Test(tools, json_is_one_line_that_parses)
{
    struct weir_record record = sample();
    size_t size;

    record.value = weir_text("line\n\"quoted\" \xc3\xa9");
    char *text = print("json", &record, &size);
    cr_assert_eq(strchr(text, '\n'), text + size - 1);
    json_t *object = json_loads(text, 0, NULL);
    cr_assert_not_null(object);
    cr_assert_str_eq(json_string_value(json_object_get(object, "topic")), "orders");
    cr_assert_eq(json_integer_value(json_object_get(object, "partition")), 3);
    cr_assert_eq(json_integer_value(json_object_get(object, "offset")), 42);
    cr_assert_eq(json_integer_value(json_object_get(object, "timestamp")), 1769947200250);
    cr_assert_str_eq(json_string_value(json_object_get(object, "key")), "key");
    cr_assert_str_eq(json_string_value(json_object_get(object, "value")),
                     "line\n\"quoted\" \xc3\xa9");
    json_t *headers = json_object_get(object, "headers");
    cr_assert_eq(json_array_size(headers), 2);
    cr_assert_str_eq(json_string_value(json_object_get(json_array_get(headers, 0), "value")), "1");
    cr_assert(json_is_null(json_object_get(json_array_get(headers, 1), "value")));
    json_decref(object);
    free(text);
}

Test(tools, json_writes_what_is_not_utf8_as_base64)
{
    static const struct {
        const char *bytes;
        const char *encoded;
    } cases[] = {{"\xff", "/w=="}, {"\xff\xfe", "//4="}, {"\xff\xfe\xfd", "//79"}};
    struct weir_record record = sample();
    size_t size;

    record.key = weir_bytes_of(NULL, 0);
    for (size_t i = 0; i < 3; i++) {
        record.value = weir_text(cases[i].bytes);
        char *text = print("json", &record, &size);
        json_t *object = json_loads(text, 0, NULL);
        cr_assert_not_null(object);
        cr_assert(json_is_null(json_object_get(object, "key")));
        cr_assert_null(json_object_get(object, "value"));
        cr_assert_str_eq(json_string_value(json_object_get(object, "value_base64")),
                         cases[i].encoded);
        json_decref(object);
        free(text);
    }
}

Test(tools, nonsense_templates_are_refused_with_a_sentence)
{
    static const char *const bad[] = {"jsom", "", "%q", "100%", "\\", "\\q", "\\xg0", "\\x4"};

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct format *format = NULL;
        char error[256] = "";
        cr_assert_eq(format_parse(bad[i], &format, error, sizeof(error)), -EINVAL, "'%s'", bad[i]);
        cr_assert_neq(error[0], '\0', "'%s'", bad[i]);
        cr_assert_null(format);
    }
}

Test(format, fields_of_templates)
{
    struct weir_record record = sample();

    record.value = weir_text("{\"user\":{\"name\":\"Ann\"},\"n\":[1,2.5],\"yes\":true}");
    expect("%{value.user.name} %{value.n[0]} %{value.n[1]} %{value.yes} %{header.a} %{offset}\\n",
           &record, "Ann 1 2.5 true 1 42\n");
    expect("<%{value.gone}%{header.b}%{value.n}>\\n", &record, "<[1,2.5]>\n");
}

Test(format, csv)
{
    struct weir_record record = sample();

    expect("csv", &record,
           "orders,3,42,1769947200250,key,value,"
           "\"[{\"\"name\"\":\"\"a\"\",\"\"value\"\":\"\"1\"\"},{\"\"name\"\":\"\"b\"\","
           "\"\"value\"\":null}]\"\n");
    record.value = weir_text("{\"text\":\"a \\\"b\\\", c\",\"list\":[\"x\"]}");
    record.key = weir_text("");
    expect("csv:key,value.text,value.list,value.gone,offset", &record,
           "\"\",\"a \"\"b\"\", c\",\"[\"\"x\"\"]\",,42\n");
    record.key = weir_bytes_of(NULL, 0);
    expect("csv:key,header.a", &record, ",1\n");
}

Test(format, hex)
{
    struct weir_record record = sample();

    expect("hex", &record, "6b6579\t76616c7565\t61=31\t62=-\n");
    record.key = weir_bytes_of(NULL, 0);
    record.value = weir_text("");
    record.header_count = 0;
    record.headers = weir_bytes_of(NULL, 0);
    expect("hex", &record, "-\t\n");
}

Test(format, msgpack)
{
    struct weir_record record = sample();
    size_t size;
    char *packed = print("msgpack", &record, &size);
    json_t *value = pack_json(span_of(packed, size));

    cr_assert_not_null(value);
    cr_expect_str_eq(json_string_value(json_object_get(value, "topic")), "orders");
    cr_expect_eq(json_integer_value(json_object_get(value, "timestamp")), 1769947200250);
    cr_expect_str_eq(json_string_value(json_object_get(value, "key")), "a2V5"); // binary
    cr_expect_eq(json_array_size(json_object_get(value, "headers")), 2);
    json_decref(value);
    free(packed);
}
