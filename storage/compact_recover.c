// SPDX-License-Identifier: Apache-2.0
// What a start does about compactions that a stop has interrupted (see compact_swap.c).
//
// 1. A file that was being written counts for nothing.
// 2. A segment whose header says that it was made of others replaces them: what is left of them is
//    removed, after the name of the new one is durable.
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/log_line.h"
#include "storage/compact_write.h"
#include "storage/listing.h"
#include "storage/store.h"

static int remove_wait(struct log *log, char *path)
{
    int error = path ? io_remove_wait(log->store->io, path, false) : -ENOMEM;
    free(path);
    return error;
}

int compact_sweep(struct log *log, const struct listing *files)
{
    int error = 0;
    for (size_t i = 0; i < files->count && !error; i++) {
        const char *name = files->names[i];
        size_t length = strlen(name);
        size_t suffix = strlen(COMPACT_SUFFIX);
        if (length != 20 + suffix || strcmp(name + 20, COMPACT_SUFFIX) != 0)
            continue;
        error = remove_wait(log, segment_path(log, strtoll(name, NULL, 10), COMPACT_SUFFIX));
    }
    return error;
}

static int remove_segment(struct log *log, uint32_t at)
{
    struct segment *segment = log->segments[at];
    int64_t base = segment->header.base_offset;
    log_line(LOG_INFO, "%s/%020" PRId64 ".log was replaced by compaction: removed", log->directory,
             base);
    int error = remove_wait(log, segment_path(log, base, ".index"));
    if (!error)
        error = remove_wait(log, segment_path(log, base, ".log"));
    if (error)
        return error;
    log->segment_count--;
    memmove(log->segments + at, log->segments + at + 1,
            (log->segment_count - at) * sizeof(log->segments[0]));
    segment_free(segment);
    return 0;
}

int compact_remove_replaced(struct log *log)
{
    bool removed = false;
    int error = 0;
    for (uint32_t i = 0; i + 1 < log->segment_count && !error;) {
        const struct segment *segment = log->segments[i];
        if (segment->bad ||
            log->segments[i + 1]->header.base_offset >= segment->header.cleaned_to) {
            i++;
            continue;
        }
        if (!removed)
            error = io_sync_directory_wait(log->store->io, log->directory);
        removed = true;
        if (!error)
            error = remove_segment(log, i + 1);
    }
    return removed && !error ? io_sync_directory_wait(log->store->io, log->directory) : error;
}
