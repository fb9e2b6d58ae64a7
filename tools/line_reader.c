// SPDX-License-Identifier: Apache-2.0
// Invariants:
//  1. start <= scanned <= end <= capacity; bytes between start and end are not handed out yet.
//  2. The buffer holds the longest line and one read, so that a fill always finds room.
//  3. While skipping, the bytes up to the next newline belong to a line already reported.
#include "tools/line_reader.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { READ_SIZE = 256 * 1024 };

int line_reader_init(struct line_reader *reader, size_t max)
{
    *reader = (struct line_reader){.max = max, .capacity = max + READ_SIZE + 1};
    reader->buffer = malloc(reader->capacity);
    return reader->buffer != NULL ? 0 : -ENOMEM;
}

void line_reader_free(struct line_reader *reader)
{
    free(reader->buffer);
    reader->buffer = NULL;
}

int line_reader_fill(struct line_reader *reader, int fd)
{
    memmove(reader->buffer, reader->buffer + reader->start, reader->end - reader->start);
    reader->end -= reader->start;
    reader->scanned -= reader->start;
    reader->start = 0;

    size_t room = reader->capacity - reader->end;
    ssize_t got = read(fd, reader->buffer + reader->end, room < READ_SIZE ? room : READ_SIZE);
    if (got < 0)
        return -errno;
    if (got == 0)
        reader->at_end = true;
    reader->end += (size_t)got;
    return 0;
}

// A line that ends before `end` has been found or given up; `next` is where the one after begins.
static int finish_line(struct line_reader *reader, size_t end, size_t next, const char **line,
                       size_t *size)
{
    size_t start = reader->start;
    bool too_long = end - start > reader->max;

    reader->start = next;
    reader->scanned = next;
    reader->number++;
    if (too_long)
        return LINE_READER_TOO_LONG;
    *line = reader->buffer + start;
    *size = end - start;
    return 1;
}

int line_reader_next(struct line_reader *reader, const char **line, size_t *size)
{
    char *from = reader->buffer + reader->scanned;
    char *newline = memchr(from, '\n', reader->end - reader->scanned);

    if (reader->skipping) {
        reader->start = newline != NULL ? (size_t)(newline - reader->buffer) + 1 : reader->end;
        reader->scanned = reader->start;
        reader->skipping = newline == NULL;
        return newline != NULL ? line_reader_next(reader, line, size) : 0;
    }
    if (newline != NULL) {
        size_t end = (size_t)(newline - reader->buffer);
        return finish_line(reader, end, end + 1, line, size);
    }
    reader->scanned = reader->end;
    if (reader->end - reader->start > reader->max) {
        reader->skipping = true;
        return finish_line(reader, reader->end, reader->end, line, size);
    }
    if (reader->at_end && reader->end > reader->start)
        return finish_line(reader, reader->end, reader->end, line, size);
    return 0;
}
