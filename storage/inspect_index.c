// SPDX-License-Identifier: Apache-2.0
// Index files: read and taken apart here, compared with the frames while those are walked.
#include "storage/inspect_parts.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { INDEX_FILE_MAX = 256 * 1024 * 1024 };

void inspect_index_free(struct inspect_index *index)
{
    free(index->bytes);
    *index = (struct inspect_index){0};
}

static enum inspect_state bytes_read(struct inspect_index *index, const char *path,
                                     atomic_uint_fast64_t *progress)
{
    struct inspect_file file;
    index->error = inspect_file_open(&file, path);
    if (index->error)
        return index->error == -ENOENT ? INSPECT_ABSENT : INSPECT_REFUSED;
    file.progress = progress;
    enum inspect_state state = INSPECT_GARBLED;
    const uint8_t *bytes = NULL;
    const size_t size = file.size;
    if (size <= INDEX_FILE_MAX && size > 0)
        bytes = inspect_file_at(&file, 0, size);
    if (size == 0)
        state = INSPECT_EMPTY;
    if (bytes && (index->bytes = malloc(size)) != NULL) {
        memcpy(index->bytes, bytes, size);
        index->size = size;
        state = INSPECT_SOUND;
    }
    index->error = file.error;
    inspect_file_close(&file);
    return state;
}

static enum inspect_state judge(struct inspect_index *index, uint64_t salt, int64_t base)
{
    struct index_header *header = &index->header;
    if (index->size < INDEX_HEADER_SIZE || !format_index_read(index->bytes, header))
        return INSPECT_GARBLED;
    const uint8_t *behind = index->bytes + INDEX_HEADER_SIZE;
    uint64_t entries = (uint64_t)header->entry_count * INDEX_ENTRY_SIZE;
    uint64_t size = entries + header->producers_size;
    if (index->size - INDEX_HEADER_SIZE != size ||
        format_checksum(behind, size, header->salt) != header->entries_checksum)
        return INSPECT_GARBLED;
    index->count = header->entry_count;
    index->producers = span_of(behind + entries, header->producers_size);
    if ((salt != 0 && header->salt != salt) || (base >= 0 && header->base_offset != base))
        return INSPECT_FOREIGN;
    bool sane = header->covered >= FORMAT_BLOCK && header->next_offset >= header->base_offset &&
                header->last_frame < header->covered;
    return sane ? INSPECT_SOUND : INSPECT_GARBLED;
}

enum inspect_state inspect_index_read(struct inspect_index *index, const char *path, uint64_t salt,
                                      int64_t base, atomic_uint_fast64_t *progress)
{
    *index = (struct inspect_index){0};
    enum inspect_state state = bytes_read(index, path, progress);
    return state == INSPECT_SOUND ? judge(index, salt, base) : state;
}

struct index_entry inspect_index_entry(const struct inspect_index *index, uint32_t number)
{
    return format_entry_read(index->bytes + INDEX_HEADER_SIZE + (size_t)number * INDEX_ENTRY_SIZE);
}

// --- comparison

static void differs(struct inspect_index_check *check, uint64_t position, const char *what)
{
    struct inspect_segment *segment = check->segment;
    if (check->told)
        return;
    check->told = true;
    char *file = inspect_segment_path(segment, ".index", false);
    inspect_note(&segment->findings,
                 (struct inspect_finding){
                     .kind = INSPECT_WRONG_INDEX,
                     .file = file,
                     .topic = segment->log->topic,
                     .partition = segment->log->partition,
                 },
                 "%s, at byte %" PRIu64 " of the segment", what, position);
    free(file);
}

static void covered_compare(struct inspect_index_check *check)
{
    const struct inspect_segment *segment = check->segment;
    const struct index_header *index = &segment->index;
    check->covered_seen = true;
    if (check->gaps)
        return;
    if (index->next_offset != check->next_offset || index->sequence != check->next_sequence ||
        index->last_frame != check->last_frame)
        differs(check, index->covered, "it ends otherwise than the frames do");
    else if (index->max_timestamp != check->max_timestamp)
        differs(check, index->covered, "its largest timestamp is not that of the frames");
}

// Entries before `position` point to no frame, unless damage has hit theirs.
static void entries_pass(struct inspect_index_check *check, uint64_t position, bool damaged)
{
    while (check->next < check->index.count) {
        struct index_entry entry = inspect_index_entry(&check->index, check->next);
        if (entry.position >= position)
            return;
        check->next++;
        if (!damaged)
            differs(check, entry.position, "it points to where no frame begins");
    }
}

void inspect_index_frame(struct inspect_index_check *check, uint64_t position,
                         const struct frame_header *frame)
{
    if (check->segment->index_state != INSPECT_SOUND)
        return;
    entries_pass(check, position, false);
    if (!check->covered_seen && position >= check->segment->index.covered)
        covered_compare(check);
    if (check->next < check->index.count) {
        struct index_entry entry = inspect_index_entry(&check->index, check->next);
        if (entry.position == position) {
            check->next++;
            if (entry.offset != frame->base_offset)
                differs(check, position, "it names another offset than the frame");
            else if (!check->gaps && entry.max_before != check->max_timestamp)
                differs(check, position, "it names another timestamp than the frames before");
        }
    }
    check->next_offset = frame->next_offset;
    check->next_sequence = frame->sequence + 1;
    check->last_frame = position;
    if (check->max_timestamp < frame->max_timestamp)
        check->max_timestamp = frame->max_timestamp;
}

void inspect_index_gap(struct inspect_index_check *check, const struct inspect_gap *gap)
{
    if (check->segment->index_state != INSPECT_SOUND)
        return;
    entries_pass(check, gap->from, false);
    entries_pass(check, gap->to, true);
    check->gaps = true;
}

void inspect_index_end(struct inspect_index_check *check)
{
    const struct inspect_segment *segment = check->segment;
    if (segment->index_state != INSPECT_SOUND || segment->state != INSPECT_SOUND)
        return;
    entries_pass(check, segment->end, false);
    if (!check->covered_seen)
        covered_compare(check);
    if (check->next < check->index.count)
        differs(check, segment->end, "it goes on behind the last frame");
}
