// SPDX-License-Identifier: Apache-2.0
// Regular expressions that clients send to say which topics they want. A client may send any text:
// what compiling and matching may cost is bounded. One thread per pattern. Nothing waits.
#pragma once

#include <stdint.h>

#include "base/span.h"

enum {
    PATTERN_MAX = 1024, // bytes of a pattern
    // A match that goes on for long costs this many units; a usual one costs one. A unit is about a
    // microsecond.
    PATTERN_COST_MAX = 200,
};

struct pattern;

// 0 with *out; -EINVAL: not a regular expression, or too long or too large a one; -ENOMEM.
int pattern_compile(struct span text, struct pattern **out);
void pattern_free(struct pattern *pattern); // NULL: nothing

// Whether the whole of `name` matches: 1 or 0; -E2BIG: the pattern takes too many steps to tell;
// -ENOMEM. Adds what it has cost to *cost.
int pattern_match(struct pattern *pattern, struct span name, uint32_t *cost);
