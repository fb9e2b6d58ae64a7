// SPDX-License-Identifier: Apache-2.0
// weir consume -g: reads as a member of a group.
#pragma once

#include "tools/printing.h"

struct consume_group {
    const char *group;
    const char *const *topics;
    size_t topic_count;
    bool pattern;     // the one topic is a regular expression
    const char *from; // "beginning" or "end": where to start when nothing is committed
};

// Joins the group, prints what it is given, commits what has been written, and leaves. Waits until
// `printing` has enough, its until_end is reached, or a signal comes. 0 or an exit code after
// having reported why; printing_end is left to the caller.
int consume_group(struct printing *printing, const struct consume_group *what);
