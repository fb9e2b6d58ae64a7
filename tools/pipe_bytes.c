// SPDX-License-Identifier: Apache-2.0
// Moves what is left to the front before it grows; gives memory of an unusual size back when empty.
#include "tools/pipe_bytes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_CAPACITY = 4096, KEPT_CAPACITY = 1 << 20 };

char *pipe_bytes_room(struct pipe_bytes *bytes, size_t size)
{
    if (bytes->capacity - bytes->end >= size)
        return bytes->data + bytes->end;
    size_t left = pipe_bytes_left(bytes);
    if (bytes->start > 0 && left > 0)
        memmove(bytes->data, bytes->data + bytes->start, left);
    bytes->start = 0;
    bytes->end = left;
    if (bytes->capacity - left < size) {
        size_t capacity = bytes->capacity != 0 ? bytes->capacity : FIRST_CAPACITY;
        while (capacity - left < size)
            capacity *= 2;
        char *data = realloc(bytes->data, capacity);
        if (data == NULL)
            return NULL;
        bytes->data = data;
        bytes->capacity = capacity;
    }
    return bytes->data + bytes->end;
}

int pipe_bytes_add(struct pipe_bytes *bytes, const void *data, size_t size)
{
    if (size == 0)
        return 0;
    char *room = pipe_bytes_room(bytes, size);
    if (room == NULL)
        return -ENOMEM;
    memcpy(room, data, size);
    bytes->end += size;
    return 0;
}

int pipe_bytes_add_text(struct pipe_bytes *bytes, const char *text)
{
    return pipe_bytes_add(bytes, text, strlen(text));
}

void pipe_bytes_use(struct pipe_bytes *bytes, size_t size)
{
    bytes->start += size;
    if (bytes->start == bytes->end)
        pipe_bytes_clear(bytes);
}

void pipe_bytes_clear(struct pipe_bytes *bytes)
{
    if (bytes->capacity > KEPT_CAPACITY)
        pipe_bytes_free(bytes);
    bytes->start = bytes->end = 0;
}

void pipe_bytes_free(struct pipe_bytes *bytes)
{
    free(bytes->data);
    *bytes = (struct pipe_bytes){0};
}
