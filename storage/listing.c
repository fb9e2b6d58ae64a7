// SPDX-License-Identifier: Apache-2.0
#include "storage/listing.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int add_name(void *context, const char *name)
{
    struct listing *listing = context;
    if (listing->count == listing->capacity) {
        size_t capacity = listing->capacity ? listing->capacity * 2 : 16;
        char **names = realloc(listing->names, capacity * sizeof(char *));
        if (!names)
            return -ENOMEM;
        listing->names = names;
        listing->capacity = capacity;
    }
    char *copy = strdup(name);
    if (!copy)
        return -ENOMEM;
    listing->names[listing->count++] = copy;
    return 0;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int listing_read(struct listing *out, struct io *io, const char *path)
{
    *out = (struct listing){0};
    int error = io_list_directory(io, path, add_name, out);
    if (!error && out->count > 1)
        qsort(out->names, out->count, sizeof(char *), compare_names);
    return error;
}

void listing_free(struct listing *listing)
{
    for (size_t i = 0; i < listing->count; i++)
        free(listing->names[i]);
    free(listing->names);
    *listing = (struct listing){0};
}
