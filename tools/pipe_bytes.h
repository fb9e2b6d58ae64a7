// SPDX-License-Identifier: Apache-2.0
// Bytes that grow at the end and are used up from the front.
#pragma once

#include <stddef.h>

// Zeroed is empty.
struct pipe_bytes {
    char *data;
    size_t start; // used up
    size_t end;
    size_t capacity;
};

static inline size_t pipe_bytes_left(const struct pipe_bytes *bytes)
{
    return bytes->end - bytes->start;
}

static inline const char *pipe_bytes_front(const struct pipe_bytes *bytes)
{
    return bytes->data + bytes->start;
}

// Room for `size` more bytes behind the end; NULL without memory. Pointers into the bytes die.
char *pipe_bytes_room(struct pipe_bytes *bytes, size_t size);

// Appends. 0 or -ENOMEM, then nothing has changed.
int pipe_bytes_add(struct pipe_bytes *bytes, const void *data, size_t size);
int pipe_bytes_add_text(struct pipe_bytes *bytes, const char *text);

void pipe_bytes_use(struct pipe_bytes *bytes, size_t size);
void pipe_bytes_clear(struct pipe_bytes *bytes);
void pipe_bytes_free(struct pipe_bytes *bytes);
