// SPDX-License-Identifier: Apache-2.0
// Sparse indexes in memory and their file images.
#include "storage/index.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "storage/plant.h"

enum {
    // A search reads at most this much in vain: less than what one read from the device costs in
    // any case.
    INDEX_STEP = 64 * 1024,
    // Beyond that many every second one goes: a segment's index takes 24 KiB at most. Readers that
    // go on where they stopped do not need it (struct segment_resume).
    INDEX_ENTRIES_MAX = 1024,
};

void index_free(struct index *index)
{
    free(index->entries);
    *index = (struct index){0};
}

static void index_thin(struct index *index)
{
    for (uint32_t i = 0; i < index->count; i += 2)
        index->entries[i / 2] = index->entries[i];
    index->count = (index->count + 1) / 2;
    index->step *= 2;
}

void index_add(struct index *index, const struct index_entry *entry, bool always)
{
    if (index->step == 0)
        index->step = INDEX_STEP;
    if (index->count > 0 && !always &&
        entry->position - index->entries[index->count - 1].position < index->step)
        return;
    if (index->count == INDEX_ENTRIES_MAX)
        index_thin(index);
    if (index->count == index->capacity) {
        uint32_t capacity = index->capacity ? index->capacity * 2 : 4;
        struct index_entry *entries = realloc(index->entries, capacity * sizeof(*entries));
        if (!entries)
            return;
        index->entries = entries;
        index->capacity = capacity;
    }
    index->entries[index->count++] = *entry;
}

const struct index_entry *index_find_offset(const struct index *index, int64_t offset)
{
    uint32_t low = 0;
    for (uint32_t high = index->count; low < high;) {
        uint32_t middle = low + (high - low) / 2;
        if (index->entries[middle].offset <= offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 ? &index->entries[low - 1] : NULL;
}

const struct index_entry *index_find_time(const struct index *index, int64_t timestamp)
{
    uint32_t low = 0;
    for (uint32_t high = index->count; low < high;) {
        uint32_t middle = low + (high - low) / 2;
        if (index->entries[middle].max_before < timestamp)
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 ? &index->entries[low - 1] : NULL;
}

uint8_t *index_image(const struct index *index, struct index_header *header, struct span producers,
                     size_t *size)
{
    size_t entries_size = (size_t)index->count * INDEX_ENTRY_SIZE;
    size_t covered = entries_size + producers.size;
    uint8_t *image = malloc(INDEX_HEADER_SIZE + covered);
    if (!image)
        return NULL;
    uint8_t *entries = image + INDEX_HEADER_SIZE;
    for (uint32_t i = 0; i < index->count; i++)
        format_entry_write(&index->entries[i], entries + (size_t)i * INDEX_ENTRY_SIZE);
    if (producers.size > 0)
        memcpy(entries + entries_size, producers.data, producers.size);
    header->entry_count = index->count;
    header->producers_size = (uint32_t)producers.size;
    header->entries_checksum = format_checksum(entries, covered, header->salt);
    format_index_write(header, image);
    *size = INDEX_HEADER_SIZE + covered;
    return image;
}

int index_load(struct index *index, const uint8_t *image, size_t size, uint64_t salt,
               struct index_header *header, struct span *producers)
{
    struct index_header read;
    if (size < INDEX_HEADER_SIZE || !format_index_read(image, &read) || read.salt != salt)
        return -EBADMSG;
    size_t covered = size - INDEX_HEADER_SIZE;
    size_t entries_size = (size_t)read.entry_count * INDEX_ENTRY_SIZE;
    const uint8_t *bytes = image + INDEX_HEADER_SIZE;
    if (covered != entries_size + read.producers_size ||
        (read.entries_checksum != format_checksum(bytes, covered, salt) &&
         !planted(PLANT_TRUST_INDEX)))
        return -EBADMSG;
    struct index_entry *entries = NULL;
    if (read.entry_count > 0) {
        entries = malloc(read.entry_count * sizeof(*entries));
        if (!entries)
            return -ENOMEM;
    }
    for (uint32_t i = 0; i < read.entry_count; i++)
        entries[i] = format_entry_read(bytes + (size_t)i * INDEX_ENTRY_SIZE);
    free(index->entries);
    *index =
        (struct index){.entries = entries, .count = read.entry_count, .capacity = read.entry_count};
    *header = read;
    *producers = span_of(bytes + entries_size, read.producers_size);
    return 0;
}
