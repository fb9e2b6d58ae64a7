// SPDX-License-Identifier: Apache-2.0
// The names in a directory, sorted. Start-up only.
#pragma once

#include "storage/io.h"

struct listing {
    char **names;
    size_t count;
    size_t capacity;
};

// 0 or a negative errno; *out can be freed in either case.
int listing_read(struct listing *out, struct io *io, const char *path);
void listing_free(struct listing *listing);
