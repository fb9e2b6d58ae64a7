// SPDX-License-Identifier: Apache-2.0
// Regular expressions by PCRE2.
//
// 1. The library counts the steps of a match, its nesting and its memory, and gives up at a limit;
//    its limits for compiling are those of lengths and of nesting. So a pattern that explodes is
//    one that cannot be used, whatever the name.
// 2. A match is tried within few steps first, so that the cost of the usual one is known to be low.
#include "base/pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <errno.h>
#include <stdlib.h>

enum {
    STEPS_FEW = 500,
    STEPS_MAX = 20000,
    DEPTH_MAX = 5000,
    MEMORY_MAX_KIB = 1024,
    PARENTHESES_MAX = 50, // within each other
};

struct pattern {
    pcre2_code *code;
    pcre2_match_data *match;
    pcre2_match_context *limits;
};

static int compile(struct pattern *pattern, struct span text)
{
    int error;
    PCRE2_SIZE at;
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    if (!context)
        return -ENOMEM;
    pcre2_set_max_pattern_length(context, PATTERN_MAX);
    pcre2_set_parens_nest_limit(context, PARENTHESES_MAX);
    // \C may stop within a character, and a pattern has no business with callouts or newlines.
    pattern->code = pcre2_compile(text.data, text.size,
                                  PCRE2_ANCHORED | PCRE2_ENDANCHORED | PCRE2_NEVER_BACKSLASH_C |
                                      PCRE2_NEVER_UTF,
                                  &error, &at, context);
    pcre2_compile_context_free(context);
    if (pattern->code)
        return 0;
    return error == PCRE2_ERROR_NOMEMORY ? -ENOMEM : -EINVAL;
}

int pattern_compile(struct span text, struct pattern **out)
{
    if (text.size > PATTERN_MAX)
        return -EINVAL;
    struct pattern *pattern = calloc(1, sizeof(*pattern));
    if (!pattern)
        return -ENOMEM;
    int error = compile(pattern, text);
    if (!error) {
        // Only whether it matches is asked, so there is no need for room for what groups match.
        pattern->match = pcre2_match_data_create(1, NULL);
        pattern->limits = pcre2_match_context_create(NULL);
        if (!pattern->match || !pattern->limits)
            error = -ENOMEM;
    }
    if (error) {
        pattern_free(pattern);
        return error;
    }
    pcre2_set_depth_limit(pattern->limits, DEPTH_MAX);
    pcre2_set_heap_limit(pattern->limits, MEMORY_MAX_KIB);
    *out = pattern;
    return 0;
}

void pattern_free(struct pattern *pattern)
{
    if (!pattern)
        return;
    pcre2_match_context_free(pattern->limits);
    pcre2_match_data_free(pattern->match);
    pcre2_code_free(pattern->code);
    free(pattern);
}

static int match(struct pattern *pattern, struct span name, uint32_t steps)
{
    pcre2_set_match_limit(pattern->limits, steps);
    return pcre2_match(pattern->code, name.data, name.size, 0, 0, pattern->match, pattern->limits);
}

int pattern_match(struct pattern *pattern, struct span name, uint32_t *cost)
{
    int result = match(pattern, name, STEPS_FEW);
    *cost += 1;
    if (result == PCRE2_ERROR_MATCHLIMIT) {
        result = match(pattern, name, STEPS_MAX);
        *cost += PATTERN_COST_MAX - 1;
    }
    if (result == PCRE2_ERROR_NOMATCH)
        return 0;
    if (result == PCRE2_ERROR_NOMEMORY)
        return -ENOMEM;
    return result >= 0 ? 1 : -E2BIG;
}
