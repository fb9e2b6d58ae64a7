// SPDX-License-Identifier: Apache-2.0
// Journal files, byte by byte. Keeps rule 4 of the storage design for them: every stored byte that
// means something is covered by a checksum with the salt of the file's present life.
#include "storage/journal_format.h"

#include <errno.h>
#include <string.h>

#include "base/endian.h"

enum {
    HEADER_CHECKSUM_AT = JOURNAL_HEADER_SIZE - 8,
    COMMIT_CHECKSUM_AT = JOURNAL_COMMIT_HEADER - 8,
    STATE_CHECKSUM_AT = JOURNAL_STATE_HEADER - 8,
    COMMIT_MAGIC = 0x434a4c57,
    KIND_SHIFT = 28,
    STORED_MAX = 64 * 1024 * 1024,
};

static const char journal_magic[8] = "WEIRJNL";
static const char state_magic[8] = "WEIRJST";

void journal_header_write(const struct journal_header *header, uint8_t block[JOURNAL_BLOCK])
{
    memset(block, 0, JOURNAL_BLOCK);
    memcpy(block, journal_magic, sizeof(journal_magic));
    store_le32(block + 8, FORMAT_VERSION);
    store_le32(block + 12, header->shard);
    store_le32(block + 16, header->shard_count);
    store_le32(block + 20, header->slot);
    store_le64(block + 24, header->identity);
    store_le64(block + 32, header->salt);
    store_le64(block + 40, header->life);
    store_le64(block + 48, header->sequence);
    store_le64(block + 56, header->needed);
    store_le64(block + 64, (uint64_t)header->created_ms);
    store_le64(block + HEADER_CHECKSUM_AT, format_checksum(block, HEADER_CHECKSUM_AT, 0));
}

int journal_header_read(const uint8_t block[JOURNAL_BLOCK], struct journal_header *out,
                        uint32_t *version)
{
    if (memcmp(block, journal_magic, sizeof(journal_magic)) != 0 ||
        load_le64(block + HEADER_CHECKSUM_AT) != format_checksum(block, HEADER_CHECKSUM_AT, 0))
        return -EBADMSG;
    *version = load_le32(block + 8);
    if (*version != FORMAT_VERSION)
        return -EPROTONOSUPPORT;
    *out = (struct journal_header){
        .shard = load_le32(block + 12),
        .shard_count = load_le32(block + 16),
        .slot = load_le32(block + 20),
        .identity = load_le64(block + 24),
        .salt = load_le64(block + 32),
        .life = load_le64(block + 40),
        .sequence = load_le64(block + 48),
        .needed = load_le64(block + 56),
        .created_ms = (int64_t)load_le64(block + 64),
    };
    return out->shard < out->shard_count ? 0 : -EBADMSG;
}

uint64_t journal_stored_size(uint64_t payload_size, uint64_t entry_count)
{
    uint64_t size = JOURNAL_COMMIT_HEADER + payload_size + entry_count * JOURNAL_TABLE_ENTRY;
    return (size + JOURNAL_BLOCK - 1) & ~(uint64_t)(JOURNAL_BLOCK - 1);
}

void journal_commit_write(const struct journal_commit *commit, uint64_t salt, uint64_t position,
                          uint8_t to[JOURNAL_COMMIT_HEADER])
{
    store_le32(to, COMMIT_MAGIC);
    store_le32(to + 4, commit->entry_count);
    store_le32(to + 8, commit->payload_size);
    store_le32(to + 12, commit->stored_size);
    store_le32(to + 16, commit->next_slot);
    store_le32(to + 20, 0);
    store_le64(to + 24, commit->sequence);
    store_le64(to + 32, commit->needed);
    store_le64(to + 40, commit->table_checksum);
    store_le64(to + 48, commit->payload_checksum);
    store_le64(to + COMMIT_CHECKSUM_AT, format_checksum(to, COMMIT_CHECKSUM_AT, salt + position));
}

bool journal_commit_read(const uint8_t from[JOURNAL_COMMIT_HEADER], uint64_t salt,
                         uint64_t position, struct journal_commit *out)
{
    if (load_le32(from) != COMMIT_MAGIC ||
        load_le64(from + COMMIT_CHECKSUM_AT) !=
            format_checksum(from, COMMIT_CHECKSUM_AT, salt + position))
        return false;
    *out = (struct journal_commit){
        .entry_count = load_le32(from + 4),
        .payload_size = load_le32(from + 8),
        .stored_size = load_le32(from + 12),
        .next_slot = load_le32(from + 16),
        .sequence = load_le64(from + 24),
        .needed = load_le64(from + 32),
        .table_checksum = load_le64(from + 40),
        .payload_checksum = load_le64(from + 48),
    };
    return out->stored_size <= STORED_MAX && out->needed <= out->sequence &&
           out->stored_size == journal_stored_size(out->payload_size, out->entry_count);
}

void journal_entry_write(const struct journal_entry *entry, uint8_t to[JOURNAL_TABLE_ENTRY])
{
    store_le32(to, entry->log);
    store_le32(to + 4, entry->kind << KIND_SHIFT | entry->size);
    store_le64(to + 8, (uint64_t)entry->base_offset);
    store_le32(to + 16, entry->checksum);
}

struct journal_entry journal_entry_read(const uint8_t from[JOURNAL_TABLE_ENTRY])
{
    uint32_t kind_size = load_le32(from + 4);
    return (struct journal_entry){
        .log = load_le32(from),
        .kind = kind_size >> KIND_SHIFT,
        .size = kind_size & ((UINT32_C(1) << KIND_SHIFT) - 1),
        .base_offset = (int64_t)load_le64(from + 8),
        .checksum = load_le32(from + 16),
    };
}

uint32_t journal_entry_checksum(const void *payload, size_t size, uint64_t salt)
{
    return (uint32_t)format_checksum(payload, size, salt);
}

void journal_define_write(const struct journal_define *define, uint8_t to[JOURNAL_DEFINE_SIZE])
{
    memcpy(to, define->topic_id.bytes, sizeof(define->topic_id.bytes));
    store_le32(to + 16, (uint32_t)define->partition);
}

struct journal_define journal_define_read(const uint8_t from[JOURNAL_DEFINE_SIZE])
{
    struct journal_define define = {.partition = (int32_t)load_le32(from + 16)};
    memcpy(define.topic_id.bytes, from, sizeof(define.topic_id.bytes));
    return define;
}

size_t journal_state_size(uint32_t uncertain_count)
{
    return JOURNAL_STATE_HEADER + (size_t)uncertain_count * JOURNAL_STATE_ENTRY;
}

static uint64_t state_checksum(const uint8_t *state, size_t size)
{
    uint64_t head = format_checksum(state, STATE_CHECKSUM_AT, 0);
    return format_checksum(state + JOURNAL_STATE_HEADER, size - JOURNAL_STATE_HEADER, head);
}

void journal_state_write(const struct journal_state_header *header,
                         const struct journal_uncertain *uncertain, uint8_t *to)
{
    size_t size = journal_state_size(header->uncertain_count);
    memset(to, 0, size);
    memcpy(to, state_magic, sizeof(state_magic));
    store_le32(to + 8, FORMAT_VERSION);
    store_le32(to + 12, header->shard);
    store_le32(to + 16, header->shard_count);
    store_le32(to + 20, header->in_use);
    store_le64(to + 24, header->identity);
    store_le64(to + 32, header->life);
    store_le64(to + 40, header->sequence);
    store_le32(to + 48, header->uncertain_count);
    uint8_t *at = to + JOURNAL_STATE_HEADER;
    for (uint32_t i = 0; i < header->uncertain_count; i++, at += JOURNAL_STATE_ENTRY) {
        memcpy(at, uncertain[i].topic_id.bytes, sizeof(uncertain[i].topic_id.bytes));
        store_le32(at + 16, (uint32_t)uncertain[i].partition);
        store_le64(at + 24, (uint64_t)uncertain[i].next_offset);
    }
    store_le64(to + STATE_CHECKSUM_AT, state_checksum(to, size));
}

int journal_state_read(const uint8_t *from, size_t size, struct journal_state_header *out,
                       uint32_t *version)
{
    if (size < JOURNAL_STATE_HEADER || memcmp(from, state_magic, sizeof(state_magic)) != 0 ||
        load_le64(from + STATE_CHECKSUM_AT) != state_checksum(from, size))
        return -EBADMSG;
    *version = load_le32(from + 8);
    if (*version != FORMAT_VERSION)
        return -EPROTONOSUPPORT;
    *out = (struct journal_state_header){
        .shard = load_le32(from + 12),
        .shard_count = load_le32(from + 16),
        .in_use = load_le32(from + 20) != 0,
        .identity = load_le64(from + 24),
        .life = load_le64(from + 32),
        .sequence = load_le64(from + 40),
        .uncertain_count = load_le32(from + 48),
    };
    return size == journal_state_size(out->uncertain_count) ? 0 : -EBADMSG;
}

struct journal_uncertain journal_state_uncertain(const uint8_t *from, uint32_t index)
{
    const uint8_t *at = from + JOURNAL_STATE_HEADER + (size_t)index * JOURNAL_STATE_ENTRY;
    struct journal_uncertain uncertain = {
        .partition = (int32_t)load_le32(at + 16),
        .next_offset = (int64_t)load_le64(at + 24),
    };
    memcpy(uncertain.topic_id.bytes, at, sizeof(uncertain.topic_id.bytes));
    return uncertain;
}
