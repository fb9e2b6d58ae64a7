// SPDX-License-Identifier: Apache-2.0
// The files of a small store, in memory: taken from a simulated disk, changed as fuzz input says,
// made consistent again where asked to, and put on another simulated disk.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "storage/io.h"

enum { IMAGE_FILES = 32, IMAGE_FILE_BYTES = 1 << 20 };

struct image_file {
    char *path; // in the data directory
    uint8_t *bytes;
    size_t size;
};

struct image {
    struct image_file files[IMAGE_FILES];
    uint32_t count;
};

// Everything below `directory`, in the order of the names.
void image_take(struct image *image, struct io *io, const char *directory);

// A copy whose files can be changed.
void image_copy(struct image *to, const struct image *from);

void image_put(const struct image *image, struct io *io);
void image_free(struct image *image);

// Applies edits: swaps, cuts, removes, overwrites, copies between files. Input of any form.
void image_edit(struct image *image, const uint8_t *edits, size_t size);

enum { IMAGE_SEGMENTS = 1, IMAGE_INDEXES = 2, IMAGE_JOURNAL = 4, IMAGE_STATE = 8 };

// Makes checksums right, so that what was changed is believed: those of frames and headers of the
// kinds of files in `kinds`.
void image_make_right(struct image *image, unsigned kinds);
