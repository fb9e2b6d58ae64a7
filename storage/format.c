// SPDX-License-Identifier: Apache-2.0
// The layout of segment and index files, field by field.
//
// Keeps rule 4 of the storage design: every stored byte is covered by an XXH3 checksum that also
// covers what Kafka's CRC leaves out (base offset, leader epoch), salted with the identity of the
// file's current life: stale bytes of a recycled file can never pass for records.
//
// 1. A frame's payload checksum is seeded with the salt; its header checksum covers all other
//    header fields, the payload checksum among them, and is seeded with salt and position.
// 2. The checksum of a payload larger than a page is that of a table with a checksum for each page:
//    where a page is damaged the others still prove themselves.
// 3. Padding is not covered: it carries nothing.
// 4. Magic, version and the checksum in the last 8 bytes of a segment's header block keep their
//    place in every format version, so any version can refuse any other by name.
#include "storage/format.h"

#include <errno.h>
#include <string.h>
#define XXH_STATIC_LINKING_ONLY // for a state on the stack
#if defined(__x86_64__)
// The plain library is compiled for the oldest CPUs; this variant takes the widest vectors there
// are (49 against 16 GB/s on bytes in the cache).
#include <xxh_x86dispatch.h>
#else
#include <xxhash.h>
#endif

#include "base/endian.h"
#include "storage/plant.h"

enum {
    CHECKSUM_AT = FORMAT_BLOCK - 8,
    FRAME_MAGIC = 0x4657,
    FRAME_CHECKSUM_AT = FRAME_HEADER_SIZE - 8,
    INDEX_CHECKSUM_AT = INDEX_HEADER_SIZE - 8,
};

static const uint32_t NO_BATCH = UINT32_MAX;

static const char segment_magic[8] = "WEIRLOG";
static const char index_magic[8] = "WEIRIDX";

static int64_t load_signed(const uint8_t *from)
{
    return (int64_t)load_le64(from);
}

static void store_signed(uint8_t *to, int64_t value)
{
    store_le64(to, (uint64_t)value);
}

uint64_t format_checksum(const void *data, size_t size, uint64_t salt)
{
    if (planted(PLANT_NO_SALT))
        salt = 0;
    return XXH3_64bits_withSeed(data, size, salt);
}

void format_segment_write(const struct segment_header *header, uint8_t block[FORMAT_BLOCK])
{
    memset(block, 0, FORMAT_BLOCK);
    memcpy(block, segment_magic, sizeof(segment_magic));
    store_le32(block + 8, FORMAT_VERSION);
    store_le32(block + 12, header->alignment);
    memcpy(block + 16, header->topic_id.bytes, sizeof(header->topic_id.bytes));
    store_le32(block + 32, (uint32_t)header->partition);
    store_signed(block + 40, header->base_offset);
    store_le64(block + 48, header->salt);
    store_signed(block + 56, header->log_start);
    store_signed(block + 64, header->created_ms);
    store_le64(block + 72, header->first_sequence);
    store_signed(block + 80, header->cleaned_to);
    store_signed(block + 88, header->dirty_from);
    store_le64(block + CHECKSUM_AT, format_checksum(block, CHECKSUM_AT, 0));
}

int format_segment_read(const uint8_t block[FORMAT_BLOCK], struct segment_header *out,
                        uint32_t *version)
{
    if (memcmp(block, segment_magic, sizeof(segment_magic)) != 0 ||
        load_le64(block + CHECKSUM_AT) != format_checksum(block, CHECKSUM_AT, 0))
        return -EBADMSG;
    *version = load_le32(block + 8);
    if (*version != FORMAT_VERSION)
        return -EPROTONOSUPPORT;
    out->alignment = load_le32(block + 12);
    memcpy(out->topic_id.bytes, block + 16, sizeof(out->topic_id.bytes));
    out->partition = (int32_t)load_le32(block + 32);
    out->base_offset = load_signed(block + 40);
    out->salt = load_le64(block + 48);
    out->log_start = load_signed(block + 56);
    out->created_ms = load_signed(block + 64);
    out->first_sequence = load_le64(block + 72);
    out->cleaned_to = load_signed(block + 80);
    out->dirty_from = load_signed(block + 88);
    uint32_t alignment = out->alignment;
    bool aligned = alignment >= FRAME_HEADER_SIZE && (alignment & (alignment - 1)) == 0 &&
                   alignment <= FORMAT_BLOCK;
    bool cleaned = out->dirty_from >= 0 && out->dirty_from <= out->cleaned_to &&
                   (out->cleaned_to == 0 || out->cleaned_to > out->base_offset);
    return aligned && cleaned && out->base_offset >= 0 && out->log_start >= 0 ? 0 : -EBADMSG;
}

uint64_t format_stored_size(uint64_t payload_size, uint32_t alignment)
{
    uint64_t mask = (uint64_t)alignment - 1;
    return (format_framed_size(payload_size) + mask) & ~mask;
}

// --- payloads

// Goes from batch to batch, as far as lengths make sense.
struct batch_walk {
    const uint8_t *payload;
    uint64_t size;
    uint64_t at; // the batch reached; `size` when there is none
};

static uint32_t walk_to_page(struct batch_walk *walk, uint64_t page)
{
    enum { LENGTH_AT = 8, LENGTH_FROM = 12 }; // the length does not count the bytes before it
    while (walk->at < page * FRAME_PAGE) {
        uint64_t left = walk->size - walk->at;
        if (left < LENGTH_FROM)
            break;
        uint64_t size = LENGTH_FROM + (uint64_t)load_be32(walk->payload + walk->at + LENGTH_AT);
        walk->at = size < left ? walk->at + size : walk->size;
    }
    bool inside = walk->at >= page * FRAME_PAGE && walk->at < walk->size &&
                  walk->at < (page + 1) * FRAME_PAGE;
    return inside ? (uint32_t)walk->at : NO_BATCH;
}

static uint64_t page_checksum(const uint8_t *payload, uint64_t size, uint64_t salt, uint64_t page)
{
    uint64_t at = page * FRAME_PAGE;
    uint64_t left = size - at;
    return format_checksum(payload + at, left < FRAME_PAGE ? left : FRAME_PAGE, salt + page);
}

static void row_write(struct batch_walk *walk, uint64_t salt, uint64_t page,
                      uint8_t to[FRAME_ROW_SIZE])
{
    store_le64(to, page_checksum(walk->payload, walk->size, salt, page));
    store_le32(to + 8, walk_to_page(walk, page));
}

uint64_t format_payload_seal(uint8_t *payload, uint64_t size, uint64_t salt)
{
    uint64_t table = format_table_size(size);
    struct batch_walk walk = {.payload = payload, .size = size};
    for (uint64_t at = 0; at < table; at += FRAME_ROW_SIZE)
        row_write(&walk, salt, at / FRAME_ROW_SIZE, payload + size + at);
    return table > 0 ? format_checksum(payload + size, table, salt)
                     : format_checksum(payload, size, salt);
}

// What the table would have to be, were the payload sound: its checksum.
static uint64_t table_checksum(const uint8_t *payload, uint64_t size, uint64_t salt)
{
    XXH3_state_t state;
    struct batch_walk walk = {.payload = payload, .size = size};
    XXH3_64bits_reset_withSeed(&state, planted(PLANT_NO_SALT) ? 0 : salt);
    for (uint64_t at = 0; at < format_table_size(size); at += FRAME_ROW_SIZE) {
        uint8_t row[FRAME_ROW_SIZE];
        row_write(&walk, salt, at / FRAME_ROW_SIZE, row);
        XXH3_64bits_update(&state, row, sizeof(row));
    }
    return XXH3_64bits_digest(&state);
}

static const uint8_t *row_of(const uint8_t *payload, const struct frame_header *frame,
                             uint64_t page)
{
    return payload + frame->payload_size + page * FRAME_ROW_SIZE;
}

bool format_page_sound(const uint8_t *payload, const struct frame_header *frame, uint64_t salt,
                       uint64_t page)
{
    return load_le64(row_of(payload, frame, page)) ==
           page_checksum(payload, frame->payload_size, salt, page);
}

int64_t format_page_batch(const uint8_t *payload, const struct frame_header *frame, uint64_t page)
{
    uint32_t at = load_le32(row_of(payload, frame, page) + 8);
    return at == NO_BATCH ? -1 : (int64_t)at;
}

// PAYLOAD_UNKNOWN: the table is sound, which says nothing of the pages.
static enum format_payload table_check(const uint8_t *payload, const struct frame_header *frame,
                                       uint64_t salt)
{
    uint64_t size = frame->payload_size;
    uint64_t table = format_table_size(size);
    if (table == 0)
        return format_checksum(payload, size, salt) == frame->payload_checksum ? PAYLOAD_SOUND
                                                                               : PAYLOAD_BAD;
    if (format_checksum(payload + size, table, salt) == frame->payload_checksum)
        return PAYLOAD_UNKNOWN;
    return table_checksum(payload, size, salt) == frame->payload_checksum ? PAYLOAD_TABLE_BAD
                                                                          : PAYLOAD_BAD;
}

enum format_payload format_payload_check_some(const uint8_t *payload,
                                              const struct frame_header *frame, uint64_t salt,
                                              uint64_t *page, uint64_t *most)
{
    uint64_t pages = format_table_size(frame->payload_size) / FRAME_ROW_SIZE;
    if (*most == 0)
        return PAYLOAD_UNKNOWN;
    enum format_payload state = *page == 0 ? table_check(payload, frame, salt) : PAYLOAD_UNKNOWN;
    if (state != PAYLOAD_UNKNOWN) {
        --*most;
        return state;
    }
    for (; *page < pages; ++*page, --*most) {
        if (*most == 0)
            return PAYLOAD_UNKNOWN;
        if (!format_page_sound(payload, frame, salt, *page))
            return PAYLOAD_PAGES_BAD;
    }
    return PAYLOAD_SOUND;
}

enum format_payload format_payload_check(const uint8_t *payload, const struct frame_header *frame,
                                         uint64_t salt)
{
    uint64_t page = 0;
    uint64_t most = UINT64_MAX;
    return format_payload_check_some(payload, frame, salt, &page, &most);
}

// --- frames

void format_frame_write(const struct frame_header *header, uint64_t salt, uint64_t position,
                        uint8_t to[FRAME_HEADER_SIZE])
{
    store_le16(to, FRAME_MAGIC);
    store_le16(to + 2, (uint16_t)header->kind);
    store_le32(to + 4, header->payload_size);
    store_le32(to + 8, header->stored_size);
    store_le32(to + 12, header->batch_count);
    store_signed(to + 16, header->base_offset);
    store_signed(to + 24, header->next_offset);
    store_signed(to + 32, header->max_timestamp);
    store_le64(to + 40, header->sequence);
    store_le64(to + 48, header->payload_checksum);
    store_le64(to + FRAME_CHECKSUM_AT, format_checksum(to, FRAME_CHECKSUM_AT, salt + position));
}

static bool frame_is_plausible(const struct frame_header *header, uint32_t alignment)
{
    if (header->stored_size != format_stored_size(header->payload_size, alignment))
        return false;
    if (header->base_offset < 0 || header->next_offset < header->base_offset)
        return false;
    if (header->kind == FRAME_LOG_START)
        return header->payload_size == 8 && header->next_offset == header->base_offset;
    if (header->kind == FRAME_PRODUCERS)
        return header->payload_size > 0 && header->next_offset == header->base_offset;
    bool full = header->payload_size > 0 && header->batch_count > 0;
    bool empty = header->payload_size == 0 && header->batch_count == 0;
    return header->kind == FRAME_DATA && (full || empty) &&
           header->next_offset > header->base_offset;
}

bool format_frame_read(const uint8_t from[FRAME_HEADER_SIZE], uint64_t salt, uint64_t position,
                       uint32_t alignment, struct frame_header *out)
{
    if (load_le16(from) != FRAME_MAGIC ||
        load_le64(from + FRAME_CHECKSUM_AT) !=
            format_checksum(from, FRAME_CHECKSUM_AT, salt + position))
        return false;
    out->kind = (enum frame_kind)load_le16(from + 2);
    out->payload_size = load_le32(from + 4);
    out->stored_size = load_le32(from + 8);
    out->batch_count = load_le32(from + 12);
    out->base_offset = load_signed(from + 16);
    out->next_offset = load_signed(from + 24);
    out->max_timestamp = load_signed(from + 32);
    out->sequence = load_le64(from + 40);
    out->payload_checksum = load_le64(from + 48);
    return frame_is_plausible(out, alignment);
}

void format_index_write(const struct index_header *header, uint8_t to[INDEX_HEADER_SIZE])
{
    memset(to, 0, INDEX_HEADER_SIZE);
    memcpy(to, index_magic, sizeof(index_magic));
    store_le32(to + 8, FORMAT_VERSION);
    store_le32(to + 12, header->entry_count);
    store_le64(to + 16, header->salt);
    store_signed(to + 24, header->base_offset);
    store_le64(to + 32, header->covered);
    store_signed(to + 40, header->next_offset);
    store_le64(to + 48, header->last_frame);
    store_le64(to + 56, header->sequence);
    store_signed(to + 64, header->max_timestamp);
    store_signed(to + 72, header->log_start);
    store_le64(to + 80, header->entries_checksum);
    store_le32(to + 88, header->producers_size);
    store_le64(to + INDEX_CHECKSUM_AT, format_checksum(to, INDEX_CHECKSUM_AT, header->salt));
}

bool format_index_read(const uint8_t from[INDEX_HEADER_SIZE], struct index_header *out)
{
    if (memcmp(from, index_magic, sizeof(index_magic)) != 0 ||
        load_le32(from + 8) != FORMAT_VERSION)
        return false;
    out->entry_count = load_le32(from + 12);
    out->salt = load_le64(from + 16);
    out->base_offset = load_signed(from + 24);
    out->covered = load_le64(from + 32);
    out->next_offset = load_signed(from + 40);
    out->last_frame = load_le64(from + 48);
    out->sequence = load_le64(from + 56);
    out->max_timestamp = load_signed(from + 64);
    out->log_start = load_signed(from + 72);
    out->entries_checksum = load_le64(from + 80);
    out->producers_size = load_le32(from + 88);
    return planted(PLANT_TRUST_INDEX) || load_le64(from + INDEX_CHECKSUM_AT) ==
                                             format_checksum(from, INDEX_CHECKSUM_AT, out->salt);
}

void format_entry_write(const struct index_entry *entry, uint8_t to[INDEX_ENTRY_SIZE])
{
    store_signed(to, entry->offset);
    store_le64(to + 8, entry->position);
    store_signed(to + 16, entry->max_before);
}

struct index_entry format_entry_read(const uint8_t from[INDEX_ENTRY_SIZE])
{
    return (struct index_entry){
        .offset = load_signed(from),
        .position = load_le64(from + 8),
        .max_before = load_signed(from + 16),
    };
}
