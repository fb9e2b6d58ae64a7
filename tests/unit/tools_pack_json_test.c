// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "tools/pack_json.h"

static void assert_json(const char *bytes, size_t size, const char *expected)
{
    json_t *value = pack_json(span_of(bytes, size));
    char *text = value ? json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_SORT_KEYS) : NULL;
    if (expected)
        cr_expect_str_eq(text ? text : "nothing", expected);
    else
        cr_expect_null(text, "%s", text);
    free(text);
    json_decref(value);
}

#define ASSERT_JSON(bytes, expected) assert_json(bytes, sizeof(bytes) - 1, expected)

Test(tools, pack_json_shows_every_kind_of_value)
{
    ASSERT_JSON("\x07", "7");
    ASSERT_JSON("\xff", "-1");
    ASSERT_JSON("\xcc\xff", "255");
    ASSERT_JSON("\xd0\x80", "-128");
    ASSERT_JSON("\xd1\xff\xfe", "-2");
    ASSERT_JSON("\xce\x00\x01\x00\x00", "65536");
    ASSERT_JSON("\xd3\xff\xff\xff\xff\xff\xff\xff\xfd", "-3");
    ASSERT_JSON("\xcb\x3f\xe0\x00\x00\x00\x00\x00\x00", "0.5");
    ASSERT_JSON("\xc0", "null");
    ASSERT_JSON("\xc3", "true");
    ASSERT_JSON("\xa2hi", "\"hi\"");
    ASSERT_JSON("\xd9\x02hi", "\"hi\"");
    ASSERT_JSON("\xc4\x02\x01\x02", "\"AQI=\"");
    ASSERT_JSON("\xc4\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
                "\"_____________________w\"");
    ASSERT_JSON("\x92\x01\xa1x", "[1,\"x\"]");
    ASSERT_JSON("\xdc\x00\x01\x05", "[5]");
    ASSERT_JSON("\x82\xa1"
                "a\x01\x02\xc2",
                "{\"2\":false,\"a\":1}");
    ASSERT_JSON("\xde\x00\x01\xa1k\xc0", "{\"k\":null}");
}

Test(tools, pack_json_refuses_what_is_not_whole)
{
    ASSERT_JSON("", NULL);
    ASSERT_JSON("\x01\x01", NULL); // more behind
    ASSERT_JSON("\xa5hi", NULL);
    ASSERT_JSON("\xdd\xff\xff\xff\xff", NULL); // four billion items, says the count
    ASSERT_JSON("\xdf\xff\xff\xff\xff\x01\x01", NULL);
    ASSERT_JSON("\xc6\xff\xff\xff\xff", NULL);
    ASSERT_JSON("\xc1", NULL);
    ASSERT_JSON("\xa1\xff", NULL);     // no UTF-8
    ASSERT_JSON("\x81\x90\x01", NULL); // an array as a key
    char deep[40];
    memset(deep, 0x91, sizeof(deep));
    deep[39] = 1;
    assert_json(deep, sizeof(deep), NULL);
    cr_expect_null(pack_json((struct span){0}));
}

Test(tools, pack_json_survives_any_bytes)
{
    struct random random = {.state = 3};
    for (int i = 0; i < 20000; i++) {
        size_t size = random_below(&random, 65);
        uint8_t *exact = malloc(size > 0 ? size : 1); // the sanitizer sees a byte too far
        for (size_t k = 0; k < size; k++)
            exact[k] = (uint8_t)random_next(&random);
        json_decref(pack_json(span_of(exact, size)));
        free(exact);
    }
}
