// SPDX-License-Identifier: Apache-2.0
// Changes to the files of a data directory that no broker uses. Each one is safe at every moment:
// after a crash in the middle the directory is as it was, or as it is wanted, or holds a leftover
// besides that the broker removes. All wait; 0 or a negative errno.
#pragma once

#include "storage/inspect.h"

// Keeps brokers away until closed: -EBUSY when one is there. *fd is then -1.
int inspect_lock(const char *directory, int *fd);

// Writes a segment anew without what is bad in it: its sound frames, and for every gap between them
// a batch without records that holds the offsets. With `to` >= 0 offsets up to there are given up
// at its end as well. The new file takes the old one's place and its index goes. Needs the space
// for a copy.
int inspect_rewrite(struct inspect_segment *segment, int64_t to);

// Makes a segment file that holds no record for the offsets [from, to), in place of one of that
// name if there is one. `segments` of the log are surveyed.
int inspect_make_hole(const struct inspect_log *log, int64_t from, int64_t to);

// Removes a file, or a directory with the files in it; durable on return. `file` is below `root`.
// What is not there is no error.
int inspect_remove(const char *root, const char *file);

// Replaces a state file of the journal.
int inspect_state_write(const char *root, const char *name, struct journal_state_header header,
                        const struct journal_uncertain *uncertain);
