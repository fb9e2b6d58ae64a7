// SPDX-License-Identifier: Apache-2.0
// The data directory as a whole: one broker at a time, of one format, left in order or not.
// Plain system calls: this is used by the main thread, before there is a shard and after the last.
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct directory {
    int fd;
    int lock_fd;
    bool first_use;   // it was empty
    bool found_clean; // the last broker ended in order
};

// Makes the directory if it is missing, locks it, checks or writes its format, takes the clean mark
// away. 0, or a negative errno with a sentence in `why`; nothing is then held.
int directory_open(struct directory *directory, const char *path, char *why, size_t why_size);

// Leaves the mark of an orderly end. 0 or a negative errno.
int directory_mark_clean(struct directory *directory);

// Gives up the lock.
void directory_close(struct directory *directory);
