// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tools/where.h"

// Headers zone=eu and size=7.
static const char headers[] = "\x08zone\x04"
                              "eu\x08size\x02"
                              "7";

static const char json[] =
    "{\"amount\": 12.5, \"count\": 9007199254740993, \"user\": {\"name\": \"Ann\", "
    "\"tags\": [\"new\", \"vip\"]}, \"ok\": true, \"off\": false, \"none\": null, "
    "\"a b\": 1}";

static struct weir_record sample(struct weir_bytes value)
{
    struct weir_record record = {
        .topic = "orders",
        .partition = 3,
        .offset = 42,
        .timestamp = 1769947200250,
        .key = weir_text("17"),
        .value = value,
        .headers = weir_bytes_of(headers, sizeof(headers) - 1),
        .header_count = 2,
    };
    return record;
}

static void expect_of(struct weir_bytes value, const char *text, int expected)
{
    struct weir_record record = sample(value);
    struct where *where = NULL;
    char error[256] = "";

    cr_assert_eq(where_parse(text, &where, error, sizeof(error)), 0, "%s: %s", text, error);
    cr_expect_eq(where_keeps(where, &record), expected, "%s", text);
    where_free(where);
}

static void expect(const char *text, int expected)
{
    expect_of(weir_text(json), text, expected);
}

static void refuse(const char *text, const char *says)
{
    struct where *where = NULL;
    char error[256] = "";

    cr_expect_eq(where_parse(text, &where, error, sizeof(error)), -EINVAL, "%s", text);
    cr_expect_not_null(strstr(error, says), "%s: %s", text, error);
}

Test(where, reads_everything_a_record_has)
{
    expect("topic == \"orders\" and partition == 3 and offset == 42", 1);
    expect("timestamp >= @2026-01-01 and timestamp < @2026-12-31T12:00", 1);
    expect("header.zone == 'eu'", 1);
    expect("header[\"zone\"] == 'us'", 0);
    expect("header.missing", 0);
    expect("key == \"17\"", 1);
}

Test(where, reads_inside_json)
{
    expect("value.amount > 12 and value.amount <= 12.5", 1);
    expect("value.user.name == \"Ann\"", 1);
    expect("value.user.tags[1] == 'vip'", 1);
    expect("value.user.tags[2]", 0);
    expect("value[\"a b\"] = 1", 1);
    expect("value.user", 1);
    expect_of(weir_text("[1, {\"x\": 2}]"), "value[1].x == 2", 1);
}

Test(where, reads_inside_msgpack)
{
    // {"n": 300, "f": 1.5 (32 bits), "s": "x"}
    static const char packed[] = "\x83\xa1n\xcd\x01\x2c\xa1"
                                 "f\xca\x3f\xc0\x00\x00\xa1s\xa1x";
    struct weir_bytes value = weir_bytes_of(packed, sizeof(packed) - 1);

    expect_of(value, "value.n == 300 and value.f == 1.5 and value.s == 'x'", 1);
    expect_of(value, "value.n > 300", 0);
}

Test(where, whole_numbers_are_exact)
{
    expect("value.count == 9007199254740993", 1);
    expect("value.count == 9007199254740992", 0);
}

Test(where, text_becomes_a_number_where_the_literal_is_one)
{
    expect("key == 17", 1);
    expect("key > 9", 1);
    expect("key > '9'", 0);
    expect("header.size <= 7.0", 1);
    expect("header.zone > 1", 0);
    expect("value.user.name > 1", 0);
    expect("value.user.name != 1", 1);
}

Test(where, null_false_and_absent)
{
    expect("value.ok and not value.off and not value.none and not value.gone", 1);
    expect("value.none == null and value.gone == null and value.ok != null", 1);
    expect("value.off == false", 1);
    expect("value.gone == false", 0);
    expect_of(weir_bytes_of(NULL, 0), "value == null", 1);
    expect_of(weir_text("not json"), "value.amount", 0);
    expect_of(weir_text("not json"), "value ~ 'js'", 1);
}

Test(where, regular_expressions)
{
    expect("value.user.name ~ \"^A\"", 1);
    expect("value.user.name !~ \"^A\"", 0);
    expect("key ~ \"^[0-9]+$\"", 1);
    expect("header.zone ~ '(?i)EU|US'", 1);
    expect("value.amount ~ '12'", 0);
    refuse("key ~ \"(\"", "regular expression");
    refuse("key ~ 12", "regular expression");
}

Test(where, a_pattern_that_explodes_is_stopped)
{
    expect_of(weir_text("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab"),
              "value ~ \"^(a|aa)+[cd]\"", -E2BIG);
}

Test(where, order_of_evaluation)
{
    expect("offset == 1 and offset == 1 or offset == 42", 1);
    expect("offset == 42 or offset == 1 and offset == 1", 1);
    expect("(offset == 42 or offset == 1) and offset == 1", 0);
    expect("not offset == 1 and offset == 42", 1);
    expect("not (offset == 42 and partition == 3)", 0);
    expect("  offset==42  ", 1);
}

Test(where, what_makes_no_sense)
{
    refuse("", "no field");
    refuse("size > 1", "no field");
    refuse("value.", "no field");
    refuse("header", "no field");
    refuse("value[x]", "no field");
    refuse("offset >", "expected");
    refuse("offset > x", "expected at 'x'");
    refuse("offset > 1 2", "'and' or 'or'");
    refuse("key == \"open", "closing quote");
    refuse("(offset > 1", "')'");
    refuse("offset > 0x10", "expected");
    refuse("offset > nan", "expected");
}

Test(where, is_bounded)
{
    char text[4096] = "";
    int size = 0;

    memset(text, '(', 100);
    refuse(text, "simpler");
    size = snprintf(text, sizeof(text), "offset");
    for (int i = 0; i < 200; i++)
        size += snprintf(text + size, sizeof(text) - (size_t)size, " and offset");
    refuse(text, "too long");
}
