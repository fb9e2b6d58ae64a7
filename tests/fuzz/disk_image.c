// SPDX-License-Identifier: Apache-2.0
#include "tests/fuzz/disk_image.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/check.h"
#include "base/endian.h"
#include "storage/format.h"
#include "storage/journal_format.h"

enum { NAMES_MAX = 64, PATH_MAX_BYTES = 512, EDITS_MAX = 24, EDIT_SIZE = 10 };

// --- to and from a disk

struct names {
    char *list[NAMES_MAX];
    uint32_t count;
};

static int name_add(void *context, const char *name)
{
    struct names *names = context;
    CHECK(names->count < NAMES_MAX);
    names->list[names->count++] = strdup(name);
    return 0;
}

static int name_compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool file_take(struct image *image, struct io *io, const char *path)
{
    int fd = io_open_wait(io, path, O_RDONLY, 0);
    if (fd < 0)
        return false;
    int64_t size = io_file_size(io, fd);
    CHECK(image->count < IMAGE_FILES && size >= 0 && size <= IMAGE_FILE_BYTES);
    struct image_file *file = &image->files[image->count++];
    *file = (struct image_file){.path = strdup(path), .size = (size_t)size};
    file->bytes = malloc(file->size + 1);
    CHECK(file->bytes && file->path);
    CHECK(io_read_wait(io, fd, file->bytes, file->size, 0) == size);
    io_close_wait(io, fd);
    return true;
}

void image_take(struct image *image, struct io *io, const char *directory)
{
    struct names names = {0};
    if (io_list_directory(io, directory, name_add, &names) < 0)
        return;
    qsort(names.list, names.count, sizeof(names.list[0]), name_compare);
    for (uint32_t i = 0; i < names.count; i++) {
        char path[PATH_MAX_BYTES];
        snprintf(path, sizeof(path), "%s/%s", directory, names.list[i]);
        int fd = io_open_wait(io, path, O_RDONLY | O_DIRECTORY, 0);
        if (fd >= 0) {
            io_close_wait(io, fd);
            image_take(image, io, path);
        } else {
            CHECK(file_take(image, io, path));
        }
        free(names.list[i]);
    }
}

void image_copy(struct image *to, const struct image *from)
{
    *to = *from;
    for (uint32_t i = 0; i < to->count; i++) {
        to->files[i].path = strdup(from->files[i].path);
        to->files[i].bytes = malloc(from->files[i].size + 1);
        CHECK(to->files[i].path && to->files[i].bytes);
        memcpy(to->files[i].bytes, from->files[i].bytes, from->files[i].size);
    }
}

void image_free(struct image *image)
{
    for (uint32_t i = 0; i < image->count; i++) {
        free(image->files[i].path);
        free(image->files[i].bytes);
    }
    *image = (struct image){0};
}

static void directories_make(struct io *io, const char *path)
{
    char prefix[PATH_MAX_BYTES];
    for (const char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        snprintf(prefix, sizeof(prefix), "%.*s", (int)(slash - path), path);
        struct io_op op = {0};
        io_mkdir(io, &op, prefix, 0750);
        io_wait(io, &op);
        io_sync_directory_wait(io, prefix);
    }
}

void image_put(const struct image *image, struct io *io)
{
    for (uint32_t i = 0; i < image->count; i++) {
        const struct image_file *file = &image->files[i];
        if (!file->path)
            continue;
        directories_make(io, file->path);
        int fd = io_open_wait(io, file->path, O_RDWR | O_CREAT | O_EXCL, 0640);
        CHECK(fd >= 0);
        if (file->size > 0)
            CHECK(io_write_wait(io, fd, file->bytes, file->size, 0, true) == (int64_t)file->size);
        struct io_op op = {0};
        io_sync(io, &op, fd, false);
        CHECK(io_wait(io, &op) == 0);
        io_close_wait(io, fd);
    }
}

// --- edits: kind, file, place (4 bytes), length or other file, 3 bytes of content

// Places are counted in steps of what the formats are made of, so that a few bits reach much.
static size_t place_of(const struct image_file *file, const uint8_t *edit)
{
    static const size_t steps[] = {1, 8, 512, 4096};
    uint32_t raw = load_le32(edit + 2);
    size_t at = (raw >> 2) * steps[raw & 3];
    // Most of it is what the headers at the begin of blocks and sectors say.
    if (raw & 0x80000000)
        at = at % 64 + (raw >> 8 & 0xff) * FORMAT_ALIGNMENT;
    return file->size ? at % file->size : 0;
}

static void swap_contents(struct image_file *a, struct image_file *b)
{
    struct image_file kept = *a;
    a->bytes = b->bytes;
    a->size = b->size;
    b->bytes = kept.bytes;
    b->size = kept.size;
}

static void file_remove(struct image_file *file)
{
    free(file->path);
    file->path = NULL;
}

static void edit_one(struct image *image, const uint8_t *edit)
{
    struct image_file *file = &image->files[edit[1] % image->count];
    struct image_file *other = &image->files[edit[6] % image->count];
    size_t at = place_of(file, edit);
    size_t left = file->size - at;
    size_t length = (size_t)edit[6] * FORMAT_ALIGNMENT;
    length = length < left ? length : left;
    switch (edit[0] % 9) {
    case 0:
        if (left)
            file->bytes[at] ^= (uint8_t)(1u << (edit[7] & 7));
        break;
    case 1:
        memcpy(file->bytes + at, edit + 7, left < 3 ? left : 3);
        break;
    case 2:
        memset(file->bytes + at, edit[7] & 1 ? 0xff : 0, left < 8 ? left : 8);
        break;
    case 3:
        memset(file->bytes + at, 0, length);
        break;
    case 4:
        file->size = at;
        memset(file->bytes + at, 0, left);
        break;
    case 5: // stale blocks of another file, or of another place
        length = length < other->size ? length : other->size;
        memmove(file->bytes + at, other->bytes + at % (other->size - length + 1), length);
        break;
    case 6:
        swap_contents(file, other);
        break;
    case 7:
        file_remove(file);
        break;
    default: // a number of eight bytes becomes a nearby or an extreme one
        if (left >= 8) {
            at &= ~(size_t)7;
            uint64_t value = load_le64(file->bytes + at) + (uint64_t)(int8_t)edit[7];
            store_le64(file->bytes + at, edit[8] & 1 ? value << (edit[9] & 63) : value);
        }
        break;
    }
}

void image_edit(struct image *image, const uint8_t *edits, size_t size)
{
    for (int i = 0; i < EDITS_MAX && size >= EDIT_SIZE; i++) {
        edit_one(image, edits);
        edits += EDIT_SIZE;
        size -= EDIT_SIZE;
    }
}

// --- checksums

static void segment_make_right(struct image_file *file)
{
    uint8_t *bytes = file->bytes;
    if (file->size < FORMAT_BLOCK)
        return;
    store_le64(bytes + FORMAT_BLOCK - 8, format_checksum(bytes, FORMAT_BLOCK - 8, 0));
    uint64_t salt = load_le64(bytes + 48);
    size_t at = FORMAT_BLOCK;
    while (at + FRAME_HEADER_SIZE <= file->size) {
        uint64_t payload = load_le32(bytes + at + 4);
        uint64_t stored = load_le32(bytes + at + 8);
        if (load_le16(bytes + at) != 0x4657) {
            at += FORMAT_ALIGNMENT;
            continue;
        }
        if (at + format_framed_size(payload) <= file->size)
            store_le64(bytes + at + 48,
                       format_payload_seal(bytes + at + FRAME_HEADER_SIZE, payload, salt));
        store_le64(bytes + at + FRAME_HEADER_SIZE - 8,
                   format_checksum(bytes + at, FRAME_HEADER_SIZE - 8, salt + at));
        at += stored % FORMAT_ALIGNMENT == 0 && stored > 0 && stored <= file->size - at
                  ? stored
                  : FORMAT_ALIGNMENT;
    }
}

static void index_make_right(struct image_file *file)
{
    uint8_t *bytes = file->bytes;
    if (file->size < INDEX_HEADER_SIZE)
        return;
    uint64_t salt = load_le64(bytes + 16);
    store_le64(bytes + 80,
               format_checksum(bytes + INDEX_HEADER_SIZE, file->size - INDEX_HEADER_SIZE, salt));
    store_le64(bytes + INDEX_HEADER_SIZE - 8, format_checksum(bytes, INDEX_HEADER_SIZE - 8, salt));
}

// Entry checksums, then those of payload and table, then the commit header's.
static void commit_make_right(uint8_t *commit, uint64_t room, uint64_t salt, uint64_t position)
{
    uint64_t count = load_le32(commit + 4);
    uint64_t payload = load_le32(commit + 8);
    uint64_t table_at = JOURNAL_COMMIT_HEADER + payload;
    uint64_t table_size = count * JOURNAL_TABLE_ENTRY;
    if (table_at + table_size <= room) {
        uint8_t *table = commit + table_at;
        uint64_t at = JOURNAL_COMMIT_HEADER;
        for (uint64_t i = 0; i < count; i++) {
            struct journal_entry entry = journal_entry_read(table + i * JOURNAL_TABLE_ENTRY);
            if (entry.size > table_at - at)
                break;
            entry.checksum = journal_entry_checksum(commit + at, entry.size, salt);
            journal_entry_write(&entry, table + i * JOURNAL_TABLE_ENTRY);
            at += entry.size;
        }
        store_le64(commit + 40, format_checksum(table, table_size, salt));
        store_le64(commit + 48, format_checksum(commit + JOURNAL_COMMIT_HEADER, payload, salt));
    }
    store_le64(commit + JOURNAL_COMMIT_HEADER - 8,
               format_checksum(commit, JOURNAL_COMMIT_HEADER - 8, salt + position));
}

static void journal_make_right(struct image_file *file)
{
    uint8_t *bytes = file->bytes;
    if (file->size < JOURNAL_BLOCK)
        return;
    store_le64(bytes + JOURNAL_BLOCK - 8, format_checksum(bytes, JOURNAL_BLOCK - 8, 0));
    uint64_t salt = load_le64(bytes + 32);
    for (size_t at = JOURNAL_BLOCK; at + JOURNAL_COMMIT_HEADER <= file->size;) {
        uint64_t stored = load_le32(bytes + at + 12);
        if (load_le32(bytes + at) == 0x434a4c57)
            commit_make_right(bytes + at, file->size - at, salt, at);
        at += stored % JOURNAL_BLOCK == 0 && stored > 0 && stored <= file->size - at
                  ? stored
                  : JOURNAL_BLOCK;
    }
}

static void state_make_right(struct image_file *file)
{
    if (file->size < JOURNAL_STATE_HEADER)
        return;
    uint64_t head = format_checksum(file->bytes, JOURNAL_STATE_HEADER - 8, 0);
    store_le64(file->bytes + JOURNAL_STATE_HEADER - 8,
               format_checksum(file->bytes + JOURNAL_STATE_HEADER,
                               file->size - JOURNAL_STATE_HEADER, head));
}

void image_make_right(struct image *image, unsigned kinds)
{
    static const struct {
        const char *suffix;
        void (*make_right)(struct image_file *file);
    } rules[] = {{".log", segment_make_right},
                 {".index", index_make_right},
                 {".journal", journal_make_right},
                 {".state", state_make_right}};
    for (uint32_t i = 0; i < image->count; i++) {
        struct image_file *file = &image->files[i];
        const char *suffix = file->path ? strrchr(file->path, '.') : NULL;
        for (unsigned rule = 0; suffix && rule < 4; rule++) {
            if ((kinds & 1u << rule) && strcmp(suffix, rules[rule].suffix) == 0)
                rules[rule].make_right(file);
        }
    }
}
