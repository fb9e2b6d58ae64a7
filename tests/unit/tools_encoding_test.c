// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "tools/encoding.h"

Test(tools, base64_comes_back_as_it_was)
{
    unsigned char bytes[64];
    unsigned char back[128];

    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (unsigned char)(i * 37 + 200);
    for (size_t size = 0; size <= sizeof(bytes); size++) {
        char *text = encoding_base64(bytes, size);
        cr_assert_eq(strlen(text), (size + 2) / 3 * 4);
        cr_assert_eq(encoding_from_base64(text, strlen(text), back), (long)size);
        cr_assert_eq(memcmp(bytes, back, size), 0);
        free(text);
    }
}

Test(tools, base64_of_known_texts)
{
    static const char *const cases[][2] = {
        {"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"\xff\xfe\xfd", "//79"},
    };
    static const char *const bad[] = {"Z", "Zm9vY", "Zm=9", "Zm 9", "Zm9-"};
    unsigned char back[16];

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char *text = encoding_base64(cases[i][0], strlen(cases[i][0]));
        cr_expect_str_eq(text, cases[i][1]);
        free(text);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        cr_expect_eq(encoding_from_base64(bad[i], strlen(bad[i]), back), -1, "%s", bad[i]);
    cr_expect_eq(encoding_from_base64("Zm8", 3, back), 2);
    cr_expect_eq(encoding_from_base64("Zm\0v", 4, back), -1);
}

Test(tools, hexadecimal_digits)
{
    cr_expect_eq(encoding_hex_digit('0'), 0);
    cr_expect_eq(encoding_hex_digit('9'), 9);
    cr_expect_eq(encoding_hex_digit('a'), 10);
    cr_expect_eq(encoding_hex_digit('F'), 15);
    cr_expect_eq(encoding_hex_digit('g'), -1);
    cr_expect_eq(encoding_hex_digit('/'), -1);
    cr_expect_eq(encoding_hex_digit(':'), -1);
    cr_expect_eq(encoding_hex_digit('\0'), -1);
}
