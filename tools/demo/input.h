// SPDX-License-Identifier: Apache-2.0
// The demo's input: every paragraph of the machine's package database, with a few damaged ones in
// between. The same file gives the same list every time, so that whoever checks the result needs no
// word of the stage that sent it.
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct paragraph {
    const char *text; // without the empty line that ends it
    size_t size;
    bool damaged; // made by the demo
};

struct input {
    struct paragraph *paragraphs; // a paragraph's place here is its number
    size_t count;
    size_t damaged;
    char *file; // what the sound paragraphs point into
    char **damaged_texts;
};

// Reads `path` whole. Returns 0 or -errno; -EINVAL when there is no paragraph in it. Freed by
// input_free.
int input_load(struct input *input, const char *path);
void input_free(struct input *input);
