// SPDX-License-Identifier: Apache-2.0
// Cuts a stream of bytes into lines of any content, without ever holding more than one read and the
// longest line allowed.
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct line_reader {
    char *buffer;
    size_t capacity;
    size_t start; // of the first byte not handed out
    size_t end;
    size_t scanned; // no newline before this place
    size_t max;     // bytes in a line, without the newline
    size_t number;  // of the line handed out last, from 1
    bool skipping;  // inside a line that was too long
    bool at_end;    // the stream has ended
};

enum { LINE_READER_TOO_LONG = -1 };

// Returns 0 or -ENOMEM.
int line_reader_init(struct line_reader *reader, size_t max);
void line_reader_free(struct line_reader *reader);

// To be called when line_reader_next has returned 0. Reads once from `fd`, which blocks if there is
// nothing to read. Lines handed out before become invalid. Returns 0 (reader->at_end tells the end
// of the stream) or -errno; -EINTR when a signal came.
int line_reader_fill(struct line_reader *reader, int fd);

// The next complete line (at the end of the stream: also the rest without a newline), without
// its newline, valid until line_reader_fill. Returns 1 with *line and *size; 0 when more has to be
// read, or nothing is left; LINE_READER_TOO_LONG for a line beyond the maximum, which is dropped
// whole.
int line_reader_next(struct line_reader *reader, const char **line, size_t *size);
