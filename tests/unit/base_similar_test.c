// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>

#include "base/similar.h"

static const char *nearest(const char *given)
{
    static const char *const names[] = {"consume", "produce", "topic list", "topic describe",
                                        "top"};
    struct similar similar;

    similar_start(&similar, span_text(given));
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        similar_try(&similar, names[i]);
    return similar.nearest;
}

Test(base, similar_names_are_found)
{
    static const char *const cases[][2] = {
        {"cosnume", "consume"},       {"comsume", "consume"}, {"consumer", "consume"},
        {"con", "consume"},           {"prodcue", "produce"}, {"topic lits", "topic list"},
        {"topci list", "topic list"}, {"to", "topic list"},   {"tpo", "top"},
        {"consume", "consume"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        cr_expect_str_eq(nearest(cases[i][0]), cases[i][1], "%s", cases[i][0]);
}

Test(base, names_too_far_away_are_no_help)
{
    char huge[5000];

    memset(huge, 'c', sizeof(huge) - 1);
    huge[sizeof(huge) - 1] = '\0';
    cr_expect_null(nearest(""));
    cr_expect_null(nearest("frobnicate"));
    cr_expect_null(nearest("x"));
    cr_expect_null(nearest(huge));
}
