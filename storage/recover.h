// SPDX-License-Identifier: Apache-2.0
// What the files of recovery share: recover.c (a log), recover_segment.c (one file), replay.c (what
// the journal has). Start-up only; everything waits.
#pragma once

#include "storage/log.h"
#include "storage/segment.h"

struct scan;

struct recovery {
    struct log *log;
    struct log_recovery *result;
    struct segment *leftover; // the file of a creation that a crash ended
    int64_t lost;             // base offset of a segment that must have been the last; -1 = none
    int64_t log_start;
    bool rested; // the log is as the last end left it (rest.c)
};

void recover_name_of(const struct segment *segment, char to[32]);

// Makes a segment of a file and adds it to the log; `bad` says what its header is like. 0 or a
// negative errno.
int recover_load(struct log *log, int64_t base);

// Holds the segment and opens its file if need be: segment_drop when it is not needed any more. Not
// held after an error. 0 or a negative errno.
int recover_open(struct segment *segment);

// Takes over what the index file knows, and gives the scan its evidence. A file that cannot be used
// is as good as none; but a lack of memory or descriptors says nothing about it. 0 or that error.
int recover_index(struct scan *scan);

// Takes over what an index says; `producers` is a part of its image. 0 or -ENOMEM.
int recover_covered(struct segment *segment, const struct index_header *header,
                    struct span producers);

// --- replay.c

// Puts what the journal has behind the segments into the log's tail. The log's offsets are set.
// 0 or a negative errno.
int replay_run(struct recovery *recovery);

// --- start.c

// Something was found that may not have reached the device yet.
void start_found(struct log_store *store);
