// SPDX-License-Identifier: Apache-2.0
// Counts letters that are missing, too many, wrong, or swapped with their neighbour. Names longer
// than NAME_MAX_COMPARED are as far away as can be, so that the work for a name is bounded.
#include "base/similar.h"

enum { NAME_MAX_COMPARED = 64 };

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t distance(struct span a, const uint8_t *b, size_t b_size)
{
    size_t rows[3][NAME_MAX_COMPARED + 1];

    for (size_t j = 0; j <= b_size; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= a.size; i++) {
        const size_t *above_that = rows[(i + 1) % 3];
        const size_t *above = rows[(i - 1) % 3];
        size_t *row = rows[i % 3];
        row[0] = i;
        for (size_t j = 1; j <= b_size; j++) {
            row[j] =
                least(above[j - 1] + (a.data[i - 1] != b[j - 1]), least(above[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && a.data[i - 1] == b[j - 2] && a.data[i - 2] == b[j - 1])
                row[j] = least(row[j], above_that[j - 2] + 1);
        }
    }
    return rows[a.size % 3][b_size];
}

void similar_start(struct similar *similar, struct span given)
{
    *similar = (struct similar){.given = given, .distance = given.size / 3 + 1};
}

void similar_try(struct similar *similar, const char *name)
{
    struct span given = similar->given;
    size_t size = strlen(name);

    if (given.size == 0 || given.size > NAME_MAX_COMPARED || size > NAME_MAX_COMPARED)
        return;
    bool begins = size >= given.size && memcmp(name, given.data, given.size) == 0;
    size_t d = begins ? 0 : distance(given, (const uint8_t *)name, size);
    if (d < similar->distance) {
        similar->distance = d;
        similar->nearest = name;
    }
}
