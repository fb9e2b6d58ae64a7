// SPDX-License-Identifier: Apache-2.0
// The name that a person most likely meant: the nearest of those there are.
#pragma once

#include "base/span.h"

struct similar {
    struct span given;
    const char *nearest; // the best so far; NULL: none comes near
    size_t distance;     // names must be nearer than this
};

void similar_start(struct similar *similar, struct span given);

// Takes `name`, which must outlive `similar`, if it is nearer than all before: one that begins with
// what was given, else one that few keystrokes turn into it (one for every three letters).
void similar_try(struct similar *similar, const char *name);
