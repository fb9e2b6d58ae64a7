// SPDX-License-Identifier: Apache-2.0
// One segment file at start: its header, and its index file.
//
// 1. The data outranks every index (rule 6 of the storage design): an index file is used only if
//    its checksum, the segment's salt and the frame it calls the last one agree; else the segment
//    is scanned. What a sound index says to have been durable still counts as evidence.
// 2. A file without a sound header of this log, at this offset, is bad: nothing in it can be
//    checked. One of another format version is refused by name.
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log_line.h"
#include "storage/expect.h"
#include "storage/plant.h"
#include "storage/producers_recover.h"
#include "storage/recover.h"
#include "storage/scan.h"
#include "storage/store.h"

enum { INDEX_FILE_MAX = 256 * 1024 * 1024 };

void recover_name_of(const struct segment *segment, char to[32])
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
    int64_t base = segment->header.base_offset;
    int64_t got = (int64_t)expect_read(log, base, block->data, FORMAT_BLOCK, FORMAT_BLOCK, 0);
    if (got == 0)
        got = io_read_wait(log->store->io, segment->fd, block->data, FORMAT_BLOCK, 0);
    struct segment_header header;
    uint32_t version = 0;
    int error = -EBADMSG;
    if (got == FORMAT_BLOCK)
        error = format_segment_read(block->data, &header, &version);
    buffer_unref(block);
    char name[32];
    recover_name_of(segment, name);
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
    segment->log_start = header.log_start;
    segment->next_sequence = header.first_sequence;
    return 0;
}

int recover_open(struct segment *segment)
{
    struct log_store *store = segment->log->store;
    segment_hold(segment);
    if (segment->fd < 0)
        segment->fd = expect_file(segment->log, segment->header.base_offset);
    if (segment->fd >= 0)
        return 0;
    int error = -ENOMEM;
    char *path = segment_path(segment->log, segment->header.base_offset, ".log");
    if (path)
        error = io_open_wait(store->io, path, O_RDWR | (store->direct ? O_DIRECT : 0), 0);
    free(path);
    if (error < 0)
        segment_drop(segment);
    else
        segment->fd = error;
    return error < 0 ? error : 0;
}

int recover_load(struct log *log, int64_t base)
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
    error = recover_open(segment);
    if (error)
        return error;
    int64_t size = io_file_size(log->store->io, segment->fd);
    segment->file_size = size < 0 ? 0 : (uint64_t)size;
    error = size < 0 ? (int)size : header_load(segment);
    segment_drop(segment);
    return error;
}

// --- its index

static bool index_is_sane(const struct segment *segment, const struct index_header *header)
{
    return header->base_offset == segment->header.base_offset && header->covered >= FORMAT_BLOCK &&
           header->next_offset >= header->base_offset && header->last_frame < header->covered;
}

// The whole index file, from malloc. 0, -ENOENT, a lack of memory or descriptors, or -EBADMSG for
// one that cannot be used.
static int image_read(struct segment *segment, uint8_t **image, size_t *size)
{
    struct io *io = segment->log->store->io;
    *image = expect_index(segment->log, segment->header.base_offset, size);
    if (*image)
        return 0;
    char *path = segment_path(segment->log, segment->header.base_offset, ".index");
    if (!path)
        return -ENOMEM;
    int fd = io_open_wait(io, path, O_RDONLY, 0);
    free(path);
    if (fd < 0)
        return fd == -ENOMEM || io_lacks_descriptors(fd) ? fd : -ENOENT;
    int64_t file_size = io_file_size(io, fd);
    int error = file_size < INDEX_HEADER_SIZE || file_size > INDEX_FILE_MAX ? -EBADMSG : 0;
    if (!error) {
        *size = (size_t)file_size;
        *image = malloc(*size);
        error = *image ? 0 : -ENOMEM;
    }
    if (!error && io_read_wait(io, fd, *image, *size, 0) != file_size)
        error = -EBADMSG;
    io_close_wait(io, fd);
    return error;
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

int recover_covered(struct segment *segment, const struct index_header *header,
                    struct span producers)
{
    segment->covered = header->covered;
    segment->end = header->covered;
    segment->next_offset = header->next_offset;
    segment->next_sequence = header->sequence;
    segment->last_frame = header->last_frame;
    segment->max_timestamp = header->max_timestamp;
    if (!segment_has_records(segment) && producers.size > 0)
        segment->log->producers_at = header->base_offset; // see checkpoint.c
    return producers_recover_section(segment->log, producers);
}

// 0, or -ENOMEM.
static int index_apply(struct scan *scan, int error, const struct index_header *header,
                       struct span producers)
{
    struct segment *segment = scan->segment;
    if (error == 0) {
        scan->evidence = *header;
        if (segment->log_start < header->log_start)
            segment->log_start = header->log_start;
        if (scan->log_start < header->log_start)
            scan->log_start = header->log_start;
    }
    if (error || (!last_frame_fits(scan, header) && !planted(PLANT_TRUST_INDEX))) {
        if (error == -ENOMEM || scan->error == -ENOMEM)
            return -ENOMEM;
        index_free(&segment->index);
        scan->error = 0;
        return 0;
    }
    return recover_covered(segment, header, producers);
}

// Takes over what the index file knows, and gives the scan its evidence. A file that cannot be used
// is as good as none; but a lack of memory or descriptors says nothing about it. 0 or that error.
int recover_index(struct scan *scan)
{
    struct segment *segment = scan->segment;
    uint8_t *image = NULL;
    size_t size = 0;
    int error = image_read(segment, &image, &size);
    if (error == -ENOENT || io_lacks_descriptors(error))
        return error == -ENOENT ? 0 : error;
    struct index_header header;
    struct span producers = {0};
    if (!error)
        error = index_load(&segment->index, image, size, segment->header.salt, &header, &producers);
    if (!error && !index_is_sane(segment, &header))
        error = -EBADMSG;
    error = index_apply(scan, error, &header, producers);
    free(image);
    return error;
}
