// SPDX-License-Identifier: Apache-2.0
// Opening a log that an earlier run left: finds its segments, loads or rebuilds their indexes,
// scans what no index covers (scan.c, rule 7 of the storage design), and sets the offsets.
//
// 1. The data outranks every index (rule 6): an index file is used only if its checksum, the
//    segment's salt and the frame it calls the last one agree; else the segment is scanned. What a
//    sound index says to have been durable still counts as evidence.
// 2. `start` is the highest that the first segment's name, any segment's header, an index or a
//    control frame says.
// 3. What was found behind the last clean close may not have reached the device yet (the crash may
//    have been ours alone): file and directories are synced before anybody reads it.
// 4. A last file without a sound header and without any content is a creation that a crash ended:
//    it is removed. Any other file without a sound header is damage. So is an index without its
//    segment behind the last one: an index is written when there are frames, and removed first.
// 5. If it cannot be known where the log ends, it opens, serves what is sound, and accepts nothing.
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/log_line.h"
#include "storage/listing.h"
#include "storage/plant.h"
#include "storage/producers_recover.h"
#include "storage/scan.h"
#include "storage/store.h"

enum { INDEX_FILE_MAX = 256 * 1024 * 1024 };

struct recovery {
    struct log *log;
    struct log_recovery *result;
    struct segment *leftover; // rule 4
    int64_t lost;             // base offset of a segment that must have been the last; -1 = none
    int64_t log_start;
};

// --- one segment file

static void name_of(const struct segment *segment, char to[32])
{
    snprintf(to, 32, "%020" PRId64 ".log", segment->header.base_offset);
}

static bool header_fits(const struct log *log, const struct segment_header *header, int64_t base)
{
    return kp_uuid_equal(header->topic_id, log->topic_id) && header->partition == log->partition &&
           header->base_offset == base;
}

static int header_load(struct segment *segment)
{
    const struct log *log = segment->log;
    struct buffer *block = pool_get(log->store->pool, FORMAT_BLOCK);
    if (!block)
        return -ENOMEM;
    int64_t got = io_read_wait(log->store->io, segment->fd, block->data, FORMAT_BLOCK, 0);
    struct segment_header header;
    uint32_t version = 0;
    int error = -EBADMSG;
    if (got == FORMAT_BLOCK)
        error = format_segment_read(block->data, &header, &version);
    buffer_unref(block);
    char name[32];
    name_of(segment, name);
    if (error == -EPROTONOSUPPORT) {
        log_line(LOG_ERROR, "%s/%s is of format version %u; this program reads version %d only",
                 log->directory, name, version, FORMAT_VERSION);
        return error;
    }
    if (error || !header_fits(log, &header, segment->header.base_offset)) {
        segment->bad = true;
        return 0;
    }
    segment->header = header;
    segment->next_sequence = header.first_sequence;
    return 0;
}

static int file_open(struct segment *segment)
{
    struct log_store *store = segment->log->store;
    char *path = segment_path(segment->log, segment->header.base_offset, ".log");
    if (!path)
        return -ENOMEM;
    segment->fd = io_open_wait(store->io, path, O_RDWR | (store->direct ? O_DIRECT : 0), 0);
    free(path);
    if (segment->fd < 0)
        return segment->fd;
    int64_t size = io_file_size(store->io, segment->fd);
    if (size < 0)
        return (int)size;
    segment->file_size = (uint64_t)size;
    return header_load(segment);
}

static int segment_load(struct log *log, int64_t base)
{
    struct segment_header header = {.base_offset = base, .alignment = FORMAT_BLOCK};
    struct segment *segment = segment_new(log, &header);
    if (!segment)
        return -ENOMEM;
    int error = log_reserve_segment(log);
    if (error) {
        segment_free(segment);
        return error;
    }
    log_add_segment(log, segment);
    return file_open(segment);
}

// --- its index

static bool index_is_sane(const struct segment *segment, const struct index_header *header)
{
    return header->base_offset == segment->header.base_offset && header->covered >= FORMAT_BLOCK &&
           header->next_offset >= header->base_offset && header->last_frame < header->covered;
}

// 0, -ENOMEM, or -EBADMSG for a file that cannot be used. *out is from malloc; *producers lies in
// it.
static int image_load(struct segment *segment, int fd, struct index_header *header,
                      struct span *producers, uint8_t **out)
{
    struct io *io = segment->log->store->io;
    int64_t size = io_file_size(io, fd);
    if (size < INDEX_HEADER_SIZE || size > INDEX_FILE_MAX)
        return -EBADMSG;
    uint8_t *image = malloc((size_t)size);
    if (!image)
        return -ENOMEM;
    *out = image;
    int error = io_read_wait(io, fd, image, (size_t)size, 0) == size
                    ? index_load(&segment->index, image, (size_t)size, segment->header.salt, header,
                                 producers)
                    : -EBADMSG;
    if (error)
        return error;
    return index_is_sane(segment, header) ? 0 : -EBADMSG;
}

// Whether the frame that the index calls the last one is what it says. Its payload is checked for
// the active segment only: in a sealed one, whoever reads it finds out.
static bool last_frame_fits(struct scan *scan, const struct index_header *header)
{
    struct frame_header frame;
    if (header->covered > scan->segment->file_size)
        return false;
    if (header->last_frame == 0)
        return header->covered == FORMAT_BLOCK;
    return scan_frame(scan, header->last_frame, &frame) &&
           header->last_frame + frame.stored_size == header->covered &&
           frame.next_offset == header->next_offset && frame.sequence + 1 == header->sequence;
}

// 0, or -ENOMEM.
static int index_apply(struct scan *scan, int error, const struct index_header *header,
                       struct span producers)
{
    struct segment *segment = scan->segment;
    if (error == 0)
        scan->evidence = *header;
    if (error || (!last_frame_fits(scan, header) && !planted(PLANT_TRUST_INDEX))) {
        if (error == -ENOMEM || scan->error == -ENOMEM)
            return -ENOMEM;
        index_free(&segment->index);
        scan->error = 0;
        return 0;
    }
    segment->covered = header->covered;
    segment->end = header->covered;
    segment->next_offset = header->next_offset;
    segment->next_sequence = header->sequence;
    segment->last_frame = header->last_frame;
    segment->max_timestamp = header->max_timestamp;
    if (scan->log_start < header->log_start)
        scan->log_start = header->log_start;
    return producers_recover_section(segment->log, producers);
}

// Takes over what the index file knows, and gives the scan its evidence. A file that cannot be used
// is as good as none; but being short of memory says nothing about it. 0 or -ENOMEM.
static int index_use(struct scan *scan)
{
    struct segment *segment = scan->segment;
    struct io *io = segment->log->store->io;
    char *path = segment_path(segment->log, segment->header.base_offset, ".index");
    if (!path)
        return -ENOMEM;
    int fd = io_open_wait(io, path, O_RDONLY, 0);
    free(path);
    if (fd < 0)
        return fd == -ENOMEM ? fd : 0;
    struct index_header header;
    struct span producers = {0};
    uint8_t *image = NULL;
    int error = image_load(segment, fd, &header, &producers, &image);
    io_close_wait(io, fd);
    error = index_apply(scan, error, &header, producers);
    free(image);
    return error;
}

// --- the whole log

// Nothing can be known of this file but its place between the others.
static int give_up_segment(struct recovery *recovery, struct segment *segment, int64_t limit)
{
    struct log *log = recovery->log;
    char name[32];
    name_of(segment, name);
    recovery->result->damaged_ranges++;
    segment->damaged = true;
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

static int segment_recover(struct recovery *recovery, struct segment *segment, int64_t limit)
{
    if (segment->bad)
        return give_up_segment(recovery, segment, limit);
    struct scan scan = {.segment = segment, .limit = limit, .log_start = recovery->log_start};
    if (scan.log_start < segment->header.log_start)
        scan.log_start = segment->header.log_start;
    int error = index_use(&scan);
    bool whole = segment->covered > 0 && segment->next_offset == limit;
    if (!error && !whole)
        error = scan_run(&scan);
    recovery->log_start = scan.log_start;
    recovery->result->scanned_bytes += scan.read_bytes;
    recovery->result->torn_bytes += scan.torn_bytes;
    recovery->result->damaged_ranges += scan.damaged_ranges;
    scan_free(&scan);
    return error == -EIO ? give_up_segment(recovery, segment, limit) : error;
}

static int segments_recover(struct recovery *recovery)
{
    struct log *log = recovery->log;
    int error = 0;
    for (uint32_t i = 0; i < log->segment_count && !error; i++) {
        int64_t limit = INT64_MAX;
        if (i + 1 < log->segment_count)
            limit = log->segments[i + 1]->header.base_offset;
        error = segment_recover(recovery, log->segments[i], limit);
    }
    return error;
}

static bool is_leftover(const struct log *log, struct segment *segment)
{
    // The first file of a log that had others before cannot be a creation.
    if (!segment->bad || (log->segment_count == 1 && segment->header.base_offset > 0))
        return false;
    struct scan scan = {.segment = segment};
    bool empty = scan_is_zero(&scan, FORMAT_BLOCK);
    scan_free(&scan);
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

// Logs of one topic are opened one after the other: their parents are synced once.
static int parents_sync(const struct log *log)
{
    struct log_store *store = log->store;
    if (store->synced_topic && strcmp(store->synced_topic, log->topic) == 0)
        return 0;
    char *topic_directory = NULL;
    if (asprintf(&topic_directory, "%s/%s", store->topics, log->topic) < 0)
        return -ENOMEM;
    int error = io_sync_directory_wait(store->io, topic_directory);
    free(topic_directory);
    if (!error && !store->synced_topic)
        error = io_sync_directory_wait(store->io, store->topics);
    if (error)
        return error;
    free(store->synced_topic);
    store->synced_topic = strdup(log->topic);
    return store->synced_topic ? 0 : -ENOMEM;
}

static int directories_sync(const struct log *log)
{
    int error = io_sync_directory_wait(log->store->io, log->directory);
    return error || log->segment_count > 1 ? error : parents_sync(log);
}

static int make_durable(const struct log *log)
{
    const struct segment *active = log_active(log);
    if (!active || active->bad || (active->covered > 0 && active->covered == active->end))
        return 0;
    struct io_op op = {0};
    io_sync(log->store->io, &op, active->fd, false);
    int64_t result = io_wait(log->store->io, &op);
    return result < 0 ? (int)result : directories_sync(log);
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
    if (!active)
        return;
    log->committed = active->next_offset;
    log->end = log->committed;
    log->sequence = active->next_sequence;
    log->start = log->segments[0]->header.base_offset;
    if (log->start < recovery->log_start)
        log->start = recovery->log_start;
    if (log->start > log->committed)
        log->start = log->committed;
    forget_old_damage(log);
    producers_recover_end(log);
}

// All but the last are sealed; one whose index is missing gets a new one.
static void segments_seal(struct log *log)
{
    for (uint32_t i = 0; i + 1 < log->segment_count; i++) {
        struct segment *segment = log->segments[i];
        segment->sealed = true;
        segment_hold(segment);
        if (!segment->damaged && segment->covered != segment->end)
            segment_seal(segment);
        segment_drop(segment);
    }
}

// The base offset that a file of this kind is named after, or -1.
static int64_t base_of(const char *name, const char *suffix)
{
    int64_t base = 0;
    int length = 0;
    if (sscanf(name, "%20" SCNd64 "%n", &base, &length) != 1 || length != 20 || base < 0)
        return -1;
    return strcmp(name + length, suffix) == 0 ? base : -1;
}

// Names are in order, so the last index is that of the last segment there was.
static void lost_note(struct recovery *recovery, const struct listing *files)
{
    const struct segment *last = log_active(recovery->log);
    for (size_t i = 0; i < files->count; i++) {
        int64_t base = base_of(files->names[i], ".index");
        if (base >= 0 && (!last || base > last->header.base_offset))
            recovery->lost = base;
    }
}

static int files_load(struct recovery *recovery, const struct listing *files)
{
    struct log *log = recovery->log;
    int error = 0;
    for (size_t i = 0; i < files->count && !error; i++) {
        int64_t base = base_of(files->names[i], ".log");
        if (base >= 0)
            error = segment_load(log, base);
    }
    struct segment *last = log_active(log);
    if (!error && last && is_leftover(log, last)) {
        recovery->leftover = last;
        log->segment_count--;
    }
    if (!error)
        lost_note(recovery, files);
    return error;
}

static int recover(struct recovery *recovery)
{
    struct log *log = recovery->log;
    struct listing files;
    int error = listing_read(&files, log->store->io, log->directory);
    if (!error)
        error = files_load(recovery, &files);
    if (!error)
        error = compact_sweep(log, &files);
    listing_free(&files);
    if (error == -ENOENT)
        return 0;
    if (!error)
        error = compact_remove_replaced(log);
    if (!error)
        error = segments_recover(recovery);
    if (!error && recovery->lost >= 0)
        error = end_lost(recovery);
    else if (!error && recovery->leftover)
        error = leftover_judge(recovery);
    if (!error)
        error = make_durable(log);
    if (error)
        return error;
    offsets_set(recovery);
    segments_seal(log);
    recovery->result->segments = log->segment_count;
    return 0;
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
    error = recover(&recovery);
    if (recovery.leftover)
        segment_free(recovery.leftover);
    if (error) {
        log_free(recovery.log);
        return error;
    }
    log_reserve(recovery.log);
    *out = recovery.log;
    return 0;
}
