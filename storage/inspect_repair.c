// SPDX-License-Identifier: Apache-2.0
// What `weir log repair` does to segment files. Keeps rules 3 and 6 of the storage design: no byte
// of a sound record is written in place, and a file appears under its name complete and durable.
//
// 1. A segment is written anew as compaction does it: <base>.log.cleaning complete and synced ->
//    renamed over <base>.log -> directory synced -> the old index removed. The new file has a salt
//    of its own, so an index that a crash leaves is of another life and not used.
// 2. Offsets given up are never given to other records: batches without records stand for them, so
//    offsets stay contiguous, and consumers get past them even at the log's end.
// 3. Frames are numbered anew from the file's first sequence number. There are never more than
//    before, so the numbers of the segment behind are still higher.
#include "storage/inspect_repair.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crc32c.h"
#include "base/endian.h"
#include "base/random.h"
#include "protocol/record_batch.h"
#include "storage/inspect_parts.h"

// A segment file in the making.
struct making {
    const struct inspect_log *log;
    struct segment_header header;
    char *path; // of the .cleaning file
    char *target;
    int fd;
    uint64_t position;
    uint64_t sequence;
    int64_t max_timestamp;
    int64_t next_offset;
};

// --- plain file operations

static int write_at(int fd, const void *data, size_t size, uint64_t position)
{
    const uint8_t *bytes = data;
    for (size_t done = 0; done < size;) {
        ssize_t wrote = pwrite(fd, bytes + done, size - done, (off_t)(position + done));
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote <= 0)
            return wrote < 0 ? -errno : -ENOSPC;
        done += (size_t)wrote;
    }
    return 0;
}

static int sync_directory_of(const char *path)
{
    char *copy = strdup(path);
    if (!copy)
        return -ENOMEM;
    char *slash = strrchr(copy, '/');
    if (slash)
        *slash = '\0';
    int fd = open(slash ? copy : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    free(copy);
    if (fd < 0)
        return -errno;
    int error = fsync(fd) != 0 ? -errno : 0;
    close(fd);
    return error;
}

static int tree_remove(const char *path)
{
    if (unlink(path) == 0)
        return 0;
    if (errno != EISDIR && errno != EPERM)
        return errno == ENOENT ? 0 : -errno;
    DIR *entries = opendir(path);
    if (!entries)
        return -errno;
    int error = 0;
    struct dirent *entry;
    while (!error && (entry = readdir(entries)) != NULL) {
        bool own = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
        if (!own && unlinkat(dirfd(entries), entry->d_name, 0) != 0)
            error = -errno;
    }
    closedir(entries);
    if (!error && rmdir(path) != 0)
        error = -errno;
    return error;
}

int inspect_remove(const char *root, const char *file)
{
    char *path = NULL;
    if (asprintf(&path, "%s/%s", root, file) < 0)
        return -ENOMEM;
    int error = tree_remove(path);
    if (!error)
        error = sync_directory_of(path);
    free(path);
    return error;
}

int inspect_lock(const char *directory, int *fd)
{
    char *path = NULL;
    *fd = -1;
    if (asprintf(&path, "%s/lock", directory) < 0)
        return -ENOMEM;
    int lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    free(path);
    if (lock < 0)
        return -errno;
    if (flock(lock, LOCK_EX | LOCK_NB) != 0) {
        int error = errno == EWOULDBLOCK ? -EBUSY : -errno;
        close(lock);
        return error;
    }
    *fd = lock;
    return 0;
}

// --- making a segment

static char *path_of(const struct inspect_log *log, int64_t base, const char *suffix)
{
    struct inspect_segment segment = {.log = log, .base = base};
    return inspect_segment_path(&segment, suffix, true);
}

static int making_begin(struct making *making, const struct inspect_log *log,
                        const struct segment_header *header)
{
    *making = (struct making){.log = log,
                              .header = *header,
                              .fd = -1,
                              .position = FORMAT_BLOCK,
                              .sequence = header->first_sequence,
                              .max_timestamp = -1,
                              .next_offset = header->base_offset};
    random_system(&making->header.salt, sizeof(making->header.salt));
    making->header.alignment = FORMAT_ALIGNMENT;
    making->path = path_of(log, header->base_offset, ".log.cleaning");
    making->target = path_of(log, header->base_offset, ".log");
    if (!making->path || !making->target)
        return -ENOMEM;
    making->fd = open(making->path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    return making->fd < 0 ? -errno : 0;
}

static int frame_put(struct making *making, struct frame_header frame, struct span payload)
{
    uint8_t head[FRAME_HEADER_SIZE];
    frame.stored_size = (uint32_t)format_stored_size(payload.size, making->header.alignment);
    frame.payload_size = (uint32_t)payload.size;
    frame.sequence = making->sequence++;
    frame.max_timestamp = making->max_timestamp;
    size_t size = (size_t)(format_framed_size(payload.size) - FRAME_HEADER_SIZE);
    uint8_t *framed = malloc(size + 1); // the payload with its table
    if (!framed)
        return -ENOMEM;
    memcpy(framed, payload.data, payload.size);
    frame.payload_checksum = format_payload_seal(framed, payload.size, making->header.salt);
    format_frame_write(&frame, making->header.salt, making->position, head);
    int error = write_at(making->fd, head, sizeof(head), making->position);
    if (!error)
        error = write_at(making->fd, framed, size, making->position + FRAME_HEADER_SIZE);
    free(framed);
    making->position += frame.stored_size;
    making->next_offset = frame.next_offset;
    return error;
}

// A batch without records: consumers pass over its offsets as over those that compaction took.
static void batch_empty(uint8_t to[BATCH_HEADER_SIZE], int64_t first, int64_t next)
{
    memset(to, 0, BATCH_HEADER_SIZE);
    store_be64(to, (uint64_t)first);
    store_be32(to + 8, BATCH_HEADER_SIZE - BATCH_LENGTH_OVERHEAD);
    to[16] = 2;
    store_be32(to + 23, (uint32_t)(next - first - 1));
    memset(to + 27, 0xff, 30); // no timestamps, no producer
    store_be32(to + 17, crc32c(0, to + 21, BATCH_HEADER_SIZE - 21));
}

static int hole_put(struct making *making, int64_t from, int64_t to)
{
    int error = 0;
    while (from < to && !error) {
        uint8_t batch[BATCH_HEADER_SIZE];
        int64_t next = to - from > INT32_MAX ? from + INT32_MAX : to;
        struct frame_header frame = {
            .kind = FRAME_DATA, .batch_count = 1, .base_offset = from, .next_offset = next};
        batch_empty(batch, from, next);
        error = frame_put(making, frame, span_of(batch, sizeof(batch)));
        from = next;
    }
    return error;
}

// The header comes last: before it the file is none.
static int making_finish(struct making *making)
{
    uint8_t block[FORMAT_BLOCK];
    format_segment_write(&making->header, block);
    uint64_t size = format_next_block(making->position);
    int error = write_at(making->fd, block, sizeof(block), 0);
    if (!error && ftruncate(making->fd, (off_t)size) != 0)
        error = -errno;
    if (!error && fsync(making->fd) != 0)
        error = -errno;
    if (!error)
        error = sync_directory_of(making->path);
    if (!error && rename(making->path, making->target) != 0)
        error = -errno;
    return error ? error : sync_directory_of(making->target);
}

static void making_end(struct making *making, int error)
{
    if (making->fd >= 0)
        close(making->fd);
    if (error && making->path)
        unlink(making->path);
    free(making->path);
    free(making->target);
}

static int index_remove(const struct inspect_log *log, int64_t base)
{
    char *path = path_of(log, base, ".index");
    if (!path)
        return -ENOMEM;
    int error = tree_remove(path);
    if (!error)
        error = sync_directory_of(path);
    free(path);
    return error;
}

// --- a segment without what is bad

static void timestamps_take(struct making *making, struct span payload)
{
    for (size_t at = 0; at < payload.size;) {
        struct batch_header header;
        if (batch_header_read(span_of(payload.data + at, payload.size - at), &header) != BATCH_OK)
            return;
        if (header.record_count > 0 && making->max_timestamp < header.max_timestamp)
            making->max_timestamp = header.max_timestamp;
        at += batch_total_size(&header);
    }
}

static uint32_t batches_in(struct span payload)
{
    uint32_t count = 0;
    struct batch_header header;
    for (size_t at = 0; at < payload.size; at += batch_total_size(&header), count++) {
        if (batch_header_read(span_of(payload.data + at, payload.size - at), &header) != BATCH_OK)
            break;
    }
    return count;
}

static int frame_copy(void *context, uint64_t position, const struct frame_header *frame,
                      struct span payload)
{
    struct making *making = context;
    (void)position;
    if (frame->kind == FRAME_DATA)
        timestamps_take(making, payload);
    return frame_put(making, *frame, payload);
}

static int gap_copy(void *context, const struct inspect_gap *gap)
{
    return hole_put(context, gap->first, gap->next);
}

// A batch without records for each gap.
static size_t holes_size(const struct inspect_part *part)
{
    uint64_t offsets = (uint64_t)(part->next - part->first);
    return part->sound ? 0 : (size_t)((offsets + INT32_MAX - 1) / INT32_MAX) * BATCH_HEADER_SIZE;
}

// One frame out of one frame (3), with batches that stand for what is given up.
static int broken_copy(void *context, uint64_t position, const struct frame_header *frame,
                       const struct inspect_part *parts, size_t count)
{
    struct making *making = context;
    (void)position;
    if (frame->kind != FRAME_DATA)
        return 0;
    size_t size = 0;
    for (size_t i = 0; i < count; i++)
        size += parts[i].sound ? parts[i].bytes.size : holes_size(&parts[i]);
    uint8_t *payload = malloc(size + 1);
    if (!payload)
        return -ENOMEM;
    uint8_t *to = payload;
    for (size_t i = 0; i < count; i++) {
        const struct inspect_part *part = &parts[i];
        if (part->sound)
            to = mempcpy(to, part->bytes.data, part->bytes.size);
        for (int64_t from = part->first; !part->sound && from < part->next;) {
            int64_t next = part->next - from > INT32_MAX ? from + INT32_MAX : part->next;
            batch_empty(to, from, next);
            to += BATCH_HEADER_SIZE;
            from = next;
        }
    }
    struct frame_header copy = *frame;
    struct span all = span_of(payload, size);
    copy.batch_count = batches_in(all);
    timestamps_take(making, all);
    int error = frame_put(making, copy, all);
    free(payload);
    return error;
}

int inspect_rewrite(struct inspect_segment *segment, int64_t to)
{
    struct making making;
    const struct inspect_log *log = segment->log;
    struct inspect_visitor visitor = {&making, NULL, frame_copy, gap_copy, broken_copy};
    int error = making_begin(&making, log, &segment->header);
    if (!error)
        error = inspect_segment_walk(segment, &visitor, NULL);
    if (!error && to > making.next_offset)
        error = hole_put(&making, making.next_offset, to);
    if (!error)
        error = making_finish(&making);
    making_end(&making, error);
    return error ? error : index_remove(log, segment->base);
}

// --- a segment without anything

static struct segment_header hole_header(const struct inspect_log *log, int64_t from)
{
    struct segment_header header = {
        .topic_id = log->topic_id,
        .partition = log->partition,
        .base_offset = from,
        .log_start = log->start,
        .created_ms = clock_wall_ms(),
        .first_sequence = 1,
    };
    for (size_t i = 0; i < log->segment_count; i++) {
        const struct inspect_segment *segment = &log->segments[i];
        if (segment->state != INSPECT_SOUND || segment->superseded || segment->base > from)
            continue;
        header.first_sequence = segment->next_sequence;
        header.created_ms = segment->header.created_ms;
    }
    return header;
}

int inspect_make_hole(const struct inspect_log *log, int64_t from, int64_t to)
{
    struct making making;
    struct segment_header header = hole_header(log, from);
    int error = making_begin(&making, log, &header);
    if (!error)
        error = hole_put(&making, from, to);
    if (!error)
        error = making_finish(&making);
    making_end(&making, error);
    return error ? error : index_remove(log, from);
}
