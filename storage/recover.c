// SPDX-License-Identifier: Apache-2.0
// Opening a log that an earlier run left: finds its segments, loads their indexes
// (recover_segment.c), scans what no index covers (scan.c, rule 7 of the storage design), sets the
// offsets, and takes over what the journal has behind that (replay.c).
//
// 1. `start` is the highest that the first segment's name, any segment's header, an index or a
//    control frame says.
// 2. What was found and the last segment's index file does not cover, records as well as a start
//    that has moved, may not have reached the device yet (the crash may have been ours alone), and
//    if a sync of it has failed, no later one will bring it there: what is read is the kernel's
//    copy. Frames of a log are written one at a time, so that can only be the last one (or the
//    header of a file without any), and behind damage the header of a torn one that proves it (3 in
//    scan.c). It is written again as it is, unless it was read past the cache (O_DIRECT), from the
//    device; then the store syncs the file system, once for all logs, before anything is served and
//    before anything is written behind it (start.c).
// 3. A last file without a sound header and without any content is a creation that a crash ended:
//    it is removed. So is one without frames when the segment before it goes on beyond its base
//    offset: the creation had failed. Any other file without a sound header is damage. So is an
//    index without its segment behind the last one: an index is written when there are frames, and
//    removed first.
// 4. If it cannot be known where the log ends, it opens, serves what is sound, and accepts nothing.
// 5. All of this can be interrupted and done again: files are removed only when they mean nothing,
//    and nothing else is changed.
// 6. Few files are open at a time, however many segments there are.
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/log_line.h"
#include "storage/expect.h"
#include "storage/listing.h"
#include "storage/plant.h"
#include "storage/producers_recover.h"
#include "storage/recover.h"
#include "storage/rest.h"
#include "storage/scan.h"
#include "storage/store.h"

// Nothing can be known of this file but its place between the others.
static int give_up_segment(struct recovery *recovery, struct segment *segment, int64_t limit)
{
    struct log *log = recovery->log;
    char name[32];
    recover_name_of(segment, name);
    recovery->result->damaged_ranges++;
    segment->damaged = true;
    producers_recover_gap(log);
    if (limit < INT64_MAX) {
        log_line(LOG_ERROR,
                 "%s/%s is damaged from byte %" PRIu64 " on: offsets %" PRId64 " up to %" PRId64
                 " cannot be read",
                 log->directory, name, segment->bad ? 0 : segment->end, segment->next_offset,
                 limit - 1);
        return log_note_damage(log, segment->next_offset, limit);
    }
    log_line(LOG_ERROR,
             "%s/%s is damaged from byte %" PRIu64 " on, at the end of the log: offsets from "
             "%" PRId64 " on cannot be read, and %s-%d accepts nothing",
             log->directory, name, segment->bad ? 0 : segment->end, segment->next_offset,
             log->topic, (int)log->partition);
    log->error = -EIO;
    return log_note_damage(log, segment->next_offset, INT64_MAX);
}

static int segment_recover(struct recovery *recovery, uint32_t at, int64_t limit, int64_t least)
{
    const struct log *log = recovery->log;
    struct segment *segment = log->segments[at];
    if (segment->bad)
        return give_up_segment(recovery, segment, limit);
    struct scan scan = {
        .segment = segment, .limit = limit, .least = least, .log_start = recovery->log_start};
    if (limit < INT64_MAX && !log->segments[at + 1]->bad)
        scan.limit_sequence = log->segments[at + 1]->header.first_sequence;
    if (scan.log_start < segment->header.log_start)
        scan.log_start = segment->header.log_start;
    int error = recover_open(segment);
    if (!error)
        error = recover_index(&scan);
    bool whole = segment->covered > 0 && segment->next_offset == limit;
    if (!error && !whole)
        error = scan_run(&scan);
    recovery->log_start = scan.log_start;
    recovery->result->scanned_bytes += scan.read_bytes;
    recovery->result->torn_bytes += scan.torn_bytes;
    recovery->result->damaged_ranges += scan.damaged_ranges;
    scan_free(&scan);
    segment_drop(segment);
    return error == -EIO ? give_up_segment(recovery, segment, limit) : error;
}

// Whether no frame begins where the first one must. Then it may be that none was ever written.
static bool seems_empty(struct segment *segment)
{
    struct scan scan = {.segment = segment};
    struct frame_header frame;
    if (segment->bad || recover_open(segment) != 0)
        return false;
    bool found = scan_frame(&scan, FORMAT_BLOCK, &frame);
    bool empty = !found && !scan.error;
    scan_free(&scan);
    segment_drop(segment);
    return empty;
}

// Rule 3. The segment before the last one, which seems empty: it must reach the last one's base
// offset; if it goes beyond, that one is a leftover.
static int segment_before_recover(struct recovery *recovery)
{
    struct log *log = recovery->log;
    struct segment *last = log_active(log);
    struct segment *before = log->segments[log->segment_count - 2];
    int64_t base = last->header.base_offset;
    int error = segment_recover(recovery, log->segment_count - 2, INT64_MAX, base);
    if (error || before->next_offset <= base)
        return error;
    recovery->leftover = last;
    log->segment_count--;
    before->sealed = false;
    return 0;
}

static int segments_recover(struct recovery *recovery)
{
    struct log *log = recovery->log;
    bool empty = log->segment_count > 1 && !log->segments[log->segment_count - 2]->bad &&
                 seems_empty(log_active(log));
    int error = 0;
    for (uint32_t i = 0; i < log->segment_count && !error; i++) {
        if (i + 2 == log->segment_count && empty)
            error = segment_before_recover(recovery);
        else if (i + 1 < log->segment_count)
            error = segment_recover(recovery, i, log->segments[i + 1]->header.base_offset, 0);
        else
            error = segment_recover(recovery, i, INT64_MAX, 0);
    }
    return error;
}

static bool is_leftover(const struct log *log, struct segment *segment)
{
    // The first file of a log that had others before cannot be a creation.
    if (!segment->bad || (log->segment_count == 1 && segment->header.base_offset > 0))
        return false;
    struct scan scan = {.segment = segment};
    if (recover_open(segment) != 0)
        return false;
    bool empty = scan_is_zero(&scan, FORMAT_BLOCK);
    scan_free(&scan);
    segment_drop(segment);
    return empty && !scan.error;
}

static int leftover_remove(struct recovery *recovery)
{
    struct log *log = recovery->log;
    struct io *io = log->store->io;
    char *path = segment_path(log, recovery->leftover->header.base_offset, ".log");
    if (!path)
        return -ENOMEM;
    struct io_op op = {0};
    io_unlink(io, &op, path, false);
    int64_t result = io_wait(io, &op);
    free(path);
    return result < 0 ? (int)result : io_sync_directory_wait(io, log->directory);
}

// It is not known how far the log went, so nothing may take the offsets that it had.
static int end_lost(struct recovery *recovery)
{
    struct log *log = recovery->log;
    const struct segment *last = log_active(log);
    int64_t from = last ? last->next_offset : 0;
    log_line(LOG_ERROR,
             "%s/%020" PRId64 ".log is missing or empty, at the end of the log: offsets from "
             "%" PRId64 " on cannot be read, and %s-%d accepts nothing",
             log->directory, recovery->lost, from, log->topic, (int)log->partition);
    recovery->result->damaged_ranges++;
    log->error = -EIO;
    return log_note_damage(log, from, INT64_MAX);
}

// The file was begun when everything before its base offset was durable.
static int leftover_judge(struct recovery *recovery)
{
    struct log *log = recovery->log;
    const struct segment *last = log_active(log);
    int64_t base = recovery->leftover->header.base_offset;
    if (last && last->next_offset < base) {
        log_line(LOG_ERROR,
                 "%s: offsets %" PRId64 " up to %" PRId64 " are lost; %s-%d accepts "
                 "nothing",
                 log->directory, last->next_offset, base - 1, log->topic, (int)log->partition);
        recovery->result->damaged_ranges++;
        log->error = -EIO;
        return log_note_damage(log, last->next_offset, INT64_MAX);
    }
    return leftover_remove(recovery);
}

// Rule 2. An index file was written when what it covers was durable, and the start that it names.
// The removal of a segment moves the start too, and may not be durable.
static int found_secure(const struct log *log)
{
    struct segment *active = log_active(log);
    if (!active)
        return 0;
    bool covered = active->covered > 0 && active->covered >= active->end;
    if (active->bad || !covered || active->log_start < log->start)
        start_found(log->store);
    if (active->bad || covered || log->store->direct || planted(PLANT_BELIEVE_CACHE))
        return 0;
    int error = recover_open(active);
    if (error)
        return error;
    struct scan scan = {.segment = active};
    error = scan_rewrite_last(&scan);
    scan_free(&scan);
    segment_drop(active);
    return error;
}

// Damage below the start concerns nobody any more.
static void forget_old_damage(struct log *log)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < log->damage_count; i++) {
        if (log->damages[i].to > log->start)
            log->damages[kept++] = log->damages[i];
    }
    log->damage_count = kept;
}

static void offsets_set(struct recovery *recovery)
{
    struct log *log = recovery->log;
    const struct segment *active = log_active(log);
    log_segments_changed(log);
    if (!active)
        return;
    log->committed = active->next_offset;
    log->end = log->committed;
    log->start = log->segments[0]->header.base_offset;
    if (log->start < recovery->log_start)
        log->start = recovery->log_start;
    if (log->start > log->committed)
        log->start = log->committed;
    forget_old_damage(log);
}

// Bytes behind the last frame in its block, the rest of a torn write, give way to zeros: a header
// among them could be taken for the next frame's, which may well begin in the next block. The bytes
// before are written again as they are (rule 3). But behind a damaged frame such a header is what
// proves that the frame was durable: it stays until the next one is written in its place.
// *keep: the block is to be given to the tail. 0 or a negative errno.
static int rest_judge(struct segment *active, uint8_t *block, bool *keep)
{
    struct io *io = active->log->store->io;
    uint64_t used = active->end % FORMAT_BLOCK;
    memset(block, 0, FORMAT_BLOCK);
    int64_t got = (int64_t)expect_read(active->log, active->header.base_offset, block, used,
                                       FORMAT_BLOCK, active->end - used);
    if (got == 0)
        got = io_read_wait(io, active->fd, block, FORMAT_BLOCK, active->end - used);
    bool clean = span_is_zero(span_of(block + used, FORMAT_BLOCK - used));
    *keep = !clean && active->damaged;
    if (got >= 0 && !clean && !active->damaged) {
        memset(block + used, 0, FORMAT_BLOCK - used);
        got = io_write_wait(io, active->fd, block, FORMAT_BLOCK, active->end - used, true);
    }
    return got < 0 ? (int)got : 0;
}

// A file that is as the last end left it ends with its last frame.
static int tail_set(struct recovery *recovery)
{
    struct log *log = recovery->log;
    struct segment *active = log_active(log);
    if (!active || active->bad || active->end % FORMAT_BLOCK == 0 || recovery->rested)
        return log_recovered(log, active ? active->next_sequence : 1, NULL);
    struct buffer *block = pool_get(log->store->pool, FORMAT_BLOCK);
    if (!block)
        return -ENOMEM;
    bool keep = false;
    int error = recover_open(active);
    if (!error) {
        error = rest_judge(active, block->data, &keep);
        segment_drop(active);
    }
    if (!error)
        error = log_recovered(log, active->next_sequence, keep ? block->data : NULL);
    buffer_unref(block);
    return error;
}

// All but the last are sealed; one whose index is missing gets a new one.
static void segments_seal(struct log *log)
{
    for (uint32_t i = 0; i + 1 < log->segment_count; i++) {
        struct segment *segment = log->segments[i];
        segment->sealed = true;
        if (segment->bad || segment->damaged || segment->covered == segment->end ||
            recover_open(segment) != 0)
            continue;
        segment_seal(segment);
        segment_drop(segment);
    }
}

// Names are in order, so the last index is that of the last segment there was.
static void lost_note(struct recovery *recovery, const struct listing *files)
{
    const struct segment *last = log_active(recovery->log);
    for (size_t i = 0; i < files->count; i++) {
        int64_t base = segment_base_of(files->names[i], ".index");
        if (base >= 0 && (!last || base > last->header.base_offset))
            recovery->lost = base;
    }
}

static int files_load(struct recovery *recovery, const struct listing *files)
{
    struct log *log = recovery->log;
    int error = 0;
    for (size_t i = 0; i < files->count && !error; i++) {
        int64_t base = segment_base_of(files->names[i], ".log");
        if (base < 0)
            continue;
        if (log->segment_count > 0)
            log_active(log)->sealed = true;
        error = recover_load(log, base);
    }
    struct segment *last = log_active(log);
    if (!error && last && is_leftover(log, last)) {
        recovery->leftover = last;
        log->segment_count--;
        if (log->segment_count > 0)
            log_active(log)->sealed = false;
    }
    if (!error)
        lost_note(recovery, files);
    return error;
}

// Takes the log as the last end left it. `*taken` false: its files have to be looked at.
static int rested_load(struct recovery *recovery, bool *taken)
{
    struct log *log = recovery->log;
    struct rested rested;
    *taken = rest_take(log, &rested);
    if (!*taken)
        return 0;
    struct segment *segment = segment_new(log, &rested.header);
    int error = segment ? log_reserve_segment(log) : -ENOMEM;
    if (error) {
        index_free(&rested.index);
        if (segment)
            segment_free(segment);
        return error;
    }
    log_add_segment(log, segment);
    segment->index = rested.index;
    segment->file_size = rested.index_header.covered;
    segment->log_start = rested.index_header.log_start;
    recovery->log_start = segment->log_start;
    recovery->rested = true;
    return recover_covered(segment, &rested.index_header, rested.producers);
}

// -ENOENT: there are none.
static int files_recover(struct recovery *recovery)
{
    struct log *log = recovery->log;
    struct listing files;
    int error = expect_listing(log, &files);
    if (!error)
        error = files_load(recovery, &files);
    if (!error)
        error = compact_sweep(log, &files);
    listing_free(&files);
    if (!error)
        error = compact_remove_replaced(log);
    if (!error)
        error = segments_recover(recovery);
    if (!error && recovery->lost >= 0)
        error = end_lost(recovery);
    else if (!error && recovery->leftover)
        error = leftover_judge(recovery);
    return error;
}

static int recover(struct recovery *recovery)
{
    struct log *log = recovery->log;
    bool taken = false;
    int error = rested_load(recovery, &taken);
    if (!error && !taken)
        error = files_recover(recovery);
    if (error == -ENOENT) {
        error = log_recovered(log, 1, NULL);
        return error ? error : replay_run(recovery); // nothing but the journal may have it
    }
    if (error)
        return error;
    offsets_set(recovery);
    error = found_secure(log);
    if (!error)
        error = tail_set(recovery);
    if (error)
        return error;
    segments_seal(log);
    error = replay_run(recovery);
    if (error)
        return error;
    producers_recover_end(log);
    recovery->result->segments = log->segment_count;
    return 0;
}

// What was replayed may be on its way to a segment already, and indexes being written.
static void give_up(struct log *log)
{
    struct io *io = log->store->io;
    log->write_failed = true; // nothing further is started
    commit_abandon(log);
    while (log->busy > 0)
        io_run(io, io->now_ns + 1000000000);
    log_free(log);
}

int log_open(struct log_store *store, struct log_name name, const struct log_config *config,
             struct log **out, struct log_recovery *result)
{
    struct log_recovery unused;
    struct recovery recovery = {.result = result ? result : &unused, .lost = -1};
    *recovery.result = (struct log_recovery){0};
    int error = log_make(store, name, config, &recovery.log);
    if (error)
        return error;
    expect_begin(recovery.log);
    error = recover(&recovery);
    expect_end(store);
    if (recovery.leftover)
        segment_free(recovery.leftover);
    if (error) {
        give_up(recovery.log);
        return error;
    }
    log_reserve(recovery.log);
    *out = recovery.log;
    return 0;
}
