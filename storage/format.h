// SPDX-License-Identifier: Apache-2.0
// The bytes of segment and index files. Pure functions: no I/O, no memory, no clock. The layout
// tables and the rules for changing them are in docs/disk-format.md.
//
// Everything is little-endian. Reading validates: any input is safe.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/types.h"

enum {
    FORMAT_VERSION = 2,
    FORMAT_BLOCK = 4096,    // size of a segment's header block, and what O_DIRECT transfers
    FORMAT_ALIGNMENT = 512, // frames start on multiples of it: what a device writes all or nothing
    FRAME_HEADER_SIZE = 64,
    FRAME_PAGE = 4096, // of a payload that is larger: each has a row in a table behind it
    FRAME_ROW_SIZE = 12,
    INDEX_HEADER_SIZE = 128,
    INDEX_ENTRY_SIZE = 24,
};

enum frame_kind {
    FRAME_DATA = 1,      // payload: record batches, one after the other. In a file that compaction
                         // made, offsets may be missing anywhere, and the payload may be empty
    FRAME_LOG_START = 2, // payload: the log's new start offset, 8 bytes
    FRAME_PRODUCERS = 3, // payload: a snapshot of the producers' state (producers.h)
};

struct segment_header {
    struct kp_uuid topic_id;
    int32_t partition;
    int64_t base_offset;
    uint64_t salt;           // random; the identity of this file's present life
    int64_t log_start;       // of the log when the segment was made
    int64_t created_ms;      // wall clock
    uint32_t alignment;      // of frames
    uint64_t first_sequence; // of the first frame
    int64_t cleaned_to; // compaction made the file out of those up to this offset; 0 = it did not
    int64_t dirty_from; // of a cleaned file: from here on it is not known which records are the
                        // last of their key; cleaned_to when all are
};

struct frame_header {
    enum frame_kind kind;
    uint32_t payload_size;
    uint32_t stored_size; // header, payload and padding: the distance to the next frame
    uint32_t batch_count;
    int64_t base_offset;
    int64_t next_offset;   // one past the last offset in the frame
    int64_t max_timestamp; // largest in the segment up to and with this frame; -1 = none
    uint64_t sequence;     // of the commit, +1 each within a log
    uint64_t payload_checksum;
};

// What an index file says about its segment, up to `covered`.
struct index_header {
    uint64_t salt;
    int64_t base_offset;
    uint64_t covered;    // frames before this position were durable when the index was written
    int64_t next_offset; // of the last frame, or the base offset
    uint64_t last_frame; // position of the last frame; 0 = there is none
    uint64_t sequence;   // of the next frame
    int64_t max_timestamp;
    int64_t log_start;
    uint32_t entry_count;
    uint32_t producers_size;   // bytes behind the entries: a snapshot of the producers' state there
    uint64_t entries_checksum; // of the entries and of that snapshot
};

struct index_entry {
    int64_t offset;     // the frame's base offset
    uint64_t position;  // of the frame
    int64_t max_before; // largest timestamp in the segment before this frame; -1 = none
};

void format_segment_write(const struct segment_header *header, uint8_t block[FORMAT_BLOCK]);

// 0; -EBADMSG: not a segment header, or damaged; -EPROTONOSUPPORT: sound, of another format
// version, which is put into *version.
int format_segment_read(const uint8_t block[FORMAT_BLOCK], struct segment_header *out,
                        uint32_t *version);

// The block that `position` lies in.
static inline uint64_t format_block_start(uint64_t position)
{
    return position & ~(uint64_t)(FORMAT_BLOCK - 1);
}

// Where the frame behind one that ends at `end` may start: there, or, when the writer did not have
// the bytes before it in memory, at the next multiple of FORMAT_BLOCK.
static inline uint64_t format_next_block(uint64_t end)
{
    return format_block_start(end + FORMAT_BLOCK - 1);
}

// The table behind a payload of that size: 0 when it is a single page.
static inline uint64_t format_table_size(uint64_t payload_size)
{
    uint64_t pages = (payload_size + FRAME_PAGE - 1) / FRAME_PAGE;
    return pages > 1 ? pages * FRAME_ROW_SIZE : 0;
}

// Header, payload and table.
static inline uint64_t format_framed_size(uint64_t payload_size)
{
    return FRAME_HEADER_SIZE + payload_size + format_table_size(payload_size);
}

// The same with the padding: the bytes a frame takes on disk.
uint64_t format_stored_size(uint64_t payload_size, uint32_t alignment);

uint64_t format_checksum(const void *data, size_t size, uint64_t salt);

// Writes the table of a payload behind it. Returns the payload's checksum.
uint64_t format_payload_seal(uint8_t *payload, uint64_t size, uint64_t salt);

enum format_payload {
    PAYLOAD_UNKNOWN, // not all of it has been checked
    PAYLOAD_SOUND,
    PAYLOAD_TABLE_BAD, // the records are all sound
    PAYLOAD_PAGES_BAD, // format_page_sound says which
    PAYLOAD_BAD,       // nothing in it can be checked
};

// `payload` has the table behind it, as the header says.
enum format_payload format_payload_check(const uint8_t *payload, const struct frame_header *frame,
                                         uint64_t salt);

// The same a part at a time: goes on with page *page, 0 at first, for at most *most pages, and
// takes off *most what it has checked. PAYLOAD_UNKNOWN: *most is 0, and there are more; the payload
// has to stay as it is until the call that says more. The table is checked as a whole, by the
// first.
enum format_payload format_payload_check_some(const uint8_t *payload,
                                              const struct frame_header *frame, uint64_t salt,
                                              uint64_t *page, uint64_t *most);

// Of a payload with a table that is sound.
bool format_page_sound(const uint8_t *payload, const struct frame_header *frame, uint64_t salt,
                       uint64_t page);

// Where the first batch begins that does so in that page, from the payload's start on; -1 = none.
int64_t format_page_batch(const uint8_t *payload, const struct frame_header *frame, uint64_t page);

// The header's checksum is seeded with the salt and the position, so a frame is valid in one place
// of one file only.
void format_frame_write(const struct frame_header *header, uint64_t salt, uint64_t position,
                        uint8_t to[FRAME_HEADER_SIZE]);

// False unless the 64 bytes are a sound frame header for that place. Says nothing of the payload.
bool format_frame_read(const uint8_t from[FRAME_HEADER_SIZE], uint64_t salt, uint64_t position,
                       uint32_t alignment, struct frame_header *out);

void format_index_write(const struct index_header *header, uint8_t to[INDEX_HEADER_SIZE]);
bool format_index_read(const uint8_t from[INDEX_HEADER_SIZE], struct index_header *out);
void format_entry_write(const struct index_entry *entry, uint8_t to[INDEX_ENTRY_SIZE]);
struct index_entry format_entry_read(const uint8_t from[INDEX_ENTRY_SIZE]);
