// SPDX-License-Identifier: Apache-2.0
// A start opens four files and directories of every log, only to find that nothing has happened
// since the last index was written. So a clean end writes down, in one file for all logs of the
// store, what such a start would find: the header and the index of the segment. The next start
// reads that and takes each log from it without opening anything.
//
// 1. Only logs of one segment that is durable, sound and covered by its index as a whole; all
//    others are recovered as after a crash.
// 2. It is removed, durably, before a start goes on, and before anything is written therefore. It
//    is never there while a store is open, so it is always from the end just before.
// 3. It is believed for a log only while the segment's file and the log's directory have the size
//    and the time of their last change that they had: who repairs, restores or removes files, or
//    runs another program on them, changes these.
// 4. It is written beside, synced and renamed, so it is there as a whole or not at all. It can
//    always be thrown away.
// 5. Damage that has come to the device meanwhile is found by whoever reads, as in all other
//    frames that an index covers.
#include "storage/rest.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/endian.h"
#include "base/log_line.h"
#include "base/map.h"
#include "storage/listing.h"
#include "storage/store.h"

enum {
    HEADER_SIZE = 64,
    HEADER_CHECKSUM_AT = HEADER_SIZE - 8,
    KEY_SIZE = 20,     // topic id, partition
    SEGMENT_SIZE = 96, // of a segment's header block, up to its zeros; its checksum follows
    ENTRY_SIZE = 160,
    IMAGE_MAX = 64 * 1024,
    BYTES_MAX = 256 * 1024 * 1024,
};

static const char magic[8] = "WEIRRST";
static const char prefix[] = "rest-";

struct rest {
    char *directory;
    char *name;
    char *path;
    uint32_t shard;
    uint32_t shard_count;
    uint8_t *bytes; // of the last end; NULL = nothing is known
    struct map entries;
};

// --- bytes

static uint8_t *entry_image(uint8_t *entry)
{
    return entry + ENTRY_SIZE;
}

static void segment_write(const struct segment_header *header, uint8_t to[SEGMENT_SIZE + 8])
{
    uint8_t block[FORMAT_BLOCK];
    format_segment_write(header, block);
    memcpy(to, block, SEGMENT_SIZE);
    memcpy(to + SEGMENT_SIZE, block + FORMAT_BLOCK - 8, 8);
}

static bool segment_read(const uint8_t from[SEGMENT_SIZE + 8], struct segment_header *out)
{
    uint8_t block[FORMAT_BLOCK] = {0};
    uint32_t version;
    memcpy(block, from, SEGMENT_SIZE);
    memcpy(block + FORMAT_BLOCK - 8, from + SEGMENT_SIZE, 8);
    return format_segment_read(block, out, &version) == 0;
}

static void header_write(const struct rest *rest, uint32_t count, struct span entries,
                         uint8_t to[HEADER_SIZE])
{
    memset(to, 0, HEADER_SIZE);
    memcpy(to, magic, sizeof(magic));
    store_le32(to + 8, FORMAT_VERSION);
    store_le32(to + 12, rest->shard);
    store_le32(to + 16, rest->shard_count);
    store_le32(to + 20, count);
    store_le64(to + 24, entries.size);
    store_le64(to + 32, format_checksum(entries.data, entries.size, 0));
    store_le64(to + HEADER_CHECKSUM_AT, format_checksum(to, HEADER_CHECKSUM_AT, 0));
}

static bool header_fits(const struct rest *rest, const uint8_t *bytes, size_t size)
{
    const uint8_t *entries = bytes + HEADER_SIZE;
    return size >= HEADER_SIZE && memcmp(bytes, magic, sizeof(magic)) == 0 &&
           load_le64(bytes + HEADER_CHECKSUM_AT) == format_checksum(bytes, HEADER_CHECKSUM_AT, 0) &&
           load_le32(bytes + 8) == FORMAT_VERSION && load_le32(bytes + 12) == rest->shard &&
           load_le32(bytes + 16) == rest->shard_count &&
           load_le64(bytes + 24) == size - HEADER_SIZE &&
           load_le64(bytes + 32) == format_checksum(entries, size - HEADER_SIZE, 0);
}

// --- the start

// Without memory, or where the bytes do not add up, what is left out is not known.
static void entries_note(struct rest *rest, size_t size)
{
    uint8_t *at = rest->bytes + HEADER_SIZE;
    size_t left = size - HEADER_SIZE;
    while (left >= ENTRY_SIZE) {
        size_t image = load_le32(at + KEY_SIZE);
        if (image > left - ENTRY_SIZE || map_put(&rest->entries, span_of(at, KEY_SIZE), at) != 0)
            return;
        at += ENTRY_SIZE + image;
        left -= ENTRY_SIZE + image;
    }
}

static void file_read(struct rest *rest, struct io *io)
{
    int fd = io_open_wait(io, rest->path, O_RDONLY, 0);
    if (fd < 0)
        return;
    int64_t size = io_file_size(io, fd);
    if (size >= HEADER_SIZE && size <= BYTES_MAX)
        rest->bytes = malloc((size_t)size);
    if (rest->bytes && io_read_wait(io, fd, rest->bytes, (size_t)size, 0) == size &&
        header_fits(rest, rest->bytes, (size_t)size))
        entries_note(rest, (size_t)size);
    io_close_wait(io, fd);
}

// Rule 2. The first shard sees to those of shards that are no more. Shards start side by side, so
// a name may be gone when its turn comes.
static int files_remove(const struct rest *rest, struct io *io)
{
    struct listing names;
    bool any = false;
    int error = listing_read(&names, io, rest->directory);
    for (size_t i = 0; i < names.count && !error; i++) {
        const char *name = names.names[i];
        char others[32];
        snprintf(others, sizeof(others), "-of-%03" PRIu32, rest->shard_count);
        const char *count = strstr(name, "-of-");
        bool stranger = rest->shard == 0 && count && strncmp(count, others, strlen(others)) != 0;
        bool ours = strncmp(name, rest->name, strlen(rest->name)) == 0;
        if (strncmp(name, prefix, strlen(prefix)) != 0 || (!ours && !stranger))
            continue;
        any = true;
        char *path;
        if (asprintf(&path, "%s/%s", rest->directory, name) < 0) {
            error = -ENOMEM;
            break;
        }
        error = io_remove_wait(io, path, false);
        free(path);
    }
    listing_free(&names);
    return error || !any ? error : io_sync_directory_wait(io, rest->directory);
}

int rest_open(struct log_store *store, const struct log_store_options *options)
{
    struct rest *rest = calloc(1, sizeof(*rest));
    if (!rest)
        return -ENOMEM;
    store->rest = rest;
    map_init(&rest->entries);
    rest->shard = options->shard;
    rest->shard_count = options->shard_count ? options->shard_count : 1;
    rest->directory = strdup(options->directory);
    if (asprintf(&rest->name, "%s%03" PRIu32 "-of-%03" PRIu32, prefix, rest->shard,
                 rest->shard_count) < 0)
        rest->name = NULL;
    if (asprintf(&rest->path, "%s/%s", options->directory, rest->name ? rest->name : "") < 0)
        rest->path = NULL;
    if (!rest->directory || !rest->name || !rest->path)
        return -ENOMEM;
    file_read(rest, store->io);
    return files_remove(rest, store->io);
}

static uint8_t *entry_find(const struct log_store *store, struct kp_uuid id, int32_t partition)
{
    uint8_t key[KEY_SIZE];
    memcpy(key, id.bytes, sizeof(id.bytes));
    store_le32(key + 16, (uint32_t)partition);
    return map_get(&store->rest->entries, span_of(key, sizeof(key)));
}

bool rest_has(const struct log_store *store, struct log_name name)
{
    return entry_find(store, name.topic_id, name.partition) != NULL;
}

static bool stamp_is(struct io *io, const char *path, const uint8_t *entry)
{
    struct io_stamp stamp;
    return path && io_stamp_of(io, path, &stamp) == 0 && stamp.size == load_le64(entry) &&
           stamp.changed_ns == (int64_t)load_le64(entry + 8);
}

// Rule 3.
static bool is_untouched(const struct log *log, const uint8_t *entry, int64_t base)
{
    char *path = segment_path(log, base, ".log");
    bool same = stamp_is(log->store->io, path, entry + 24) &&
                stamp_is(log->store->io, log->directory, entry + 40);
    free(path);
    return same;
}

bool rest_take(struct log *log, struct rested *out)
{
    *out = (struct rested){0};
    uint8_t *entry = entry_find(log->store, log->topic_id, log->partition);
    if (!entry || !segment_read(entry + 56, &out->header) ||
        !kp_uuid_equal(out->header.topic_id, log->topic_id) ||
        out->header.partition != log->partition ||
        !is_untouched(log, entry, out->header.base_offset))
        return false;
    if (index_load(&out->index, entry_image(entry), load_le32(entry + KEY_SIZE), out->header.salt,
                   &out->index_header, &out->producers) != 0)
        return false;
    const struct index_header *index = &out->index_header;
    if (index->base_offset == out->header.base_offset && index->covered == load_le64(entry + 24) &&
        index->last_frame > 0 && index->last_frame < index->covered &&
        index->next_offset >= index->base_offset)
        return true;
    index_free(&out->index);
    return false;
}

void rest_forget(struct log_store *store)
{
    map_free(&store->rest->entries);
    map_init(&store->rest->entries);
    free(store->rest->bytes);
    store->rest->bytes = NULL;
}

void rest_free(struct log_store *store)
{
    if (!store->rest)
        return;
    rest_forget(store);
    free(store->rest->directory);
    free(store->rest->name);
    free(store->rest->path);
    free(store->rest);
    store->rest = NULL;
}

// --- the end

// Rule 1.
static bool is_at_rest(const struct log *log)
{
    const struct segment *active = log_active(log);
    return active && log->segment_count == 1 && !log->error && !log->deleting &&
           !log->write_failed && !log->rewrite && !log->replaced_stay && !log->producers_gap &&
           log->damage_count == 0 && !active->bad && !active->damaged && active->last_frame > 0 &&
           active->covered == active->end && active->file_size == active->end &&
           active->next_offset == log->end && log->committed == log->end &&
           active->log_start >= log->start;
}

struct rest_image {
    uint8_t *bytes; // with room for the header
    size_t size;
    size_t room;
    uint32_t count;
};

static uint8_t *image_extend(struct rest_image *image, size_t size)
{
    if (image->size + size > BYTES_MAX)
        return NULL;
    if (image->size + size > image->room) {
        size_t room = image->room ? image->room * 2 : 4 * IMAGE_MAX;
        uint8_t *grown = realloc(image->bytes, room);
        if (!grown)
            return NULL;
        image->bytes = grown;
        image->room = room;
    }
    uint8_t *at = image->bytes + image->size;
    image->size += size;
    return at;
}

static bool stamp_write(struct io *io, const char *path, uint8_t *entry, uint64_t *size)
{
    struct io_stamp stamp;
    if (!path || io_stamp_of(io, path, &stamp) != 0)
        return false;
    store_le64(entry, stamp.size);
    store_le64(entry + 8, (uint64_t)stamp.changed_ns);
    *size = stamp.size;
    return true;
}

static void log_add(struct rest_image *image, const struct log *log)
{
    const struct segment *active = log_active(log);
    struct io *io = log->store->io;
    uint8_t entry[ENTRY_SIZE] = {0};
    uint64_t size = 0;
    uint64_t ignored;
    char *path = segment_path(log, active->header.base_offset, ".log");
    bool found = stamp_write(io, path, entry + 24, &size) && size == active->end &&
                 stamp_write(io, log->directory, entry + 40, &ignored);
    free(path);
    size_t index_size = 0;
    uint8_t *index = found ? segment_index_image(active, &index_size) : NULL;
    uint8_t *to = NULL;
    if (index && index_size <= IMAGE_MAX)
        to = image_extend(image, ENTRY_SIZE + index_size);
    if (to) {
        memcpy(entry, log->topic_id.bytes, sizeof(log->topic_id.bytes));
        store_le32(entry + 16, (uint32_t)log->partition);
        store_le32(entry + KEY_SIZE, (uint32_t)index_size);
        segment_write(&active->header, entry + 56);
        memcpy(to, entry, ENTRY_SIZE);
        memcpy(entry_image(to), index, index_size);
        image->count++;
    }
    free(index);
}

void rest_write(struct log_store *store)
{
    struct rest_image image = {0};
    if (!image_extend(&image, HEADER_SIZE))
        return;
    list_each(node, &store->logs) {
        const struct log *log = list_entry(node, struct log, node);
        if (is_at_rest(log))
            log_add(&image, log);
    }
    header_write(store->rest, image.count,
                 span_of(image.bytes + HEADER_SIZE, image.size - HEADER_SIZE), image.bytes);
    const struct rest *rest = store->rest;
    int error = 0;
    if (image.count > 0) // rule 4
        error = io_replace_wait(store->io, rest->directory, rest->path, image.bytes, image.size);
    if (error)
        log_line(LOG_INFO, "%s could not be written: %s; the next start looks at every log",
                 store->rest->path, strerror(-error));
    free(image.bytes);
}
