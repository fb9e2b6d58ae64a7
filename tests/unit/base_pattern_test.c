// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/pattern.h"

static int try_match(const char *text, const char *name)
{
    struct pattern *pattern;
    uint32_t cost = 0;
    cr_assert_eq(pattern_compile(span_text(text), &pattern), 0, "%s", text);
    int result = pattern_match(pattern, span_text(name), &cost);
    cr_assert(cost >= 1 && cost <= PATTERN_COST_MAX);
    pattern_free(pattern);
    return result;
}

Test(base_pattern, the_whole_name_matches)
{
    cr_assert_eq(try_match("orders", "orders"), 1);
    cr_assert_eq(try_match("orders", "orders-2"), 0);
    cr_assert_eq(try_match("orders", "my-orders"), 0);
    cr_assert_eq(try_match("orders.*", "orders-2"), 1);
    cr_assert_eq(try_match("a|ab", "ab"), 1);
    cr_assert_eq(try_match("^a|b$", "b"), 1);
    cr_assert_eq(try_match("(?i)ORDERS", "orders"), 1);
    cr_assert_eq(try_match("\\d+", "12"), 1);
    cr_assert_eq(try_match("", ""), 1);
}

Test(base_pattern, nonsense_is_refused)
{
    static const char *const wrong[] = {"(", "a{2,1}", "[a", "*", "(*UTF)a", "\\C", "(?<n"};
    struct pattern *pattern;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
        cr_assert_eq(pattern_compile(span_text(wrong[i]), &pattern), -EINVAL, "%s", wrong[i]);
}

Test(base_pattern, size_is_bounded)
{
    struct pattern *pattern;
    char text[PATTERN_MAX + 2];
    memset(text, 'a', sizeof(text));
    cr_assert_eq(pattern_compile(span_of(text, PATTERN_MAX + 1), &pattern), -EINVAL);
    cr_assert_eq(pattern_compile(span_of(text, PATTERN_MAX), &pattern), 0);
    pattern_free(pattern);
    cr_assert_eq(pattern_compile(span_text("((a{1000}){1000}){1000}"), &pattern), -EINVAL);
    memset(text, '(', 60);
    memset(text + 60, ')', 60);
    cr_assert_eq(pattern_compile(span_of(text, 120), &pattern), -EINVAL);
}

Test(base_pattern, what_explodes_ends)
{
    char name[250];
    memset(name, 'a', 249);
    name[249] = 0;
    cr_assert_eq(try_match("(a+)+[bc]", name), -E2BIG);
    cr_assert_eq(try_match("(a|aa)+[bc]", name), -E2BIG);
    cr_assert_eq(try_match("(a*)*[bc]", name), -E2BIG);
    cr_assert_eq(try_match("(?R)?a(?R)?[bc]", name), -E2BIG);
    // What anybody may write does not.
    cr_assert_eq(try_match(".*a.*a.*", name), 1);
    cr_assert_eq(try_match("(a|b|c)*", name), 1);
    cr_assert_eq(try_match(".*b.*", name), 0);
}
