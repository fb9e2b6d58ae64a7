// SPDX-License-Identifier: Apache-2.0
// The bytes of journal files and of the journal's state file. Pure functions: no I/O, no memory, no
// clock. The layout tables are in docs/disk-format.md. Everything is little-endian. Reading
// validates: any input is safe.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "storage/format.h"

enum {
    JOURNAL_BLOCK = 4096, // header block; commits start on multiples of it and take whole ones
    // What means something in the header block. A device writes it all or nothing, so a file whose
    // new life was about to begin still has the old header or has the new one.
    JOURNAL_HEADER_SIZE = 512,
    JOURNAL_COMMIT_HEADER = 64,
    JOURNAL_TABLE_ENTRY = 20,
    JOURNAL_DEFINE_SIZE = 20,
    JOURNAL_KIND_DEFINE = 4, // beside those of frames: gives a log number its meaning in this file
    JOURNAL_STATE_HEADER = 64,
    JOURNAL_STATE_ENTRY = 32,
};

#define JOURNAL_NO_SLOT UINT32_MAX

struct journal_header {
    uint32_t shard;
    uint32_t shard_count;
    uint32_t slot;
    uint64_t identity; // random: of all files of one journal
    uint64_t salt;     // random: of this life of this file
    uint64_t life;     // +1 with every life of a file of the journal
    uint64_t sequence; // no commit of this life has a lower one
    uint64_t needed;   // commits before this one hold nothing that is needed
    int64_t created_ms;
};

// A commit: header, payloads back to back, table, padding.
struct journal_commit {
    uint32_t entry_count;
    uint32_t payload_size;
    uint32_t stored_size; // multiple of JOURNAL_BLOCK: the distance to the next commit
    uint32_t next_slot;   // the file that is ready to be the next one, JOURNAL_NO_SLOT = none
    uint64_t sequence;    // +1 with every commit of the journal
    uint64_t needed;      // commits before this one hold nothing that is needed
    uint64_t table_checksum;
    uint64_t payload_checksum;
};

struct journal_entry {
    uint32_t log; // number, see JOURNAL_KIND_DEFINE
    uint32_t kind;
    uint32_t size;
    int64_t base_offset;
    uint32_t checksum; // low half
};

void journal_header_write(const struct journal_header *header, uint8_t block[JOURNAL_BLOCK]);

// 0; -EBADMSG: not a journal file's, or damaged; -EPROTONOSUPPORT: sound, of another version.
int journal_header_read(const uint8_t block[JOURNAL_BLOCK], struct journal_header *out,
                        uint32_t *version);

static inline uint64_t journal_table_at(const struct journal_commit *commit)
{
    return JOURNAL_COMMIT_HEADER + (uint64_t)commit->payload_size;
}

// The whole blocks that a commit of this content takes.
uint64_t journal_stored_size(uint64_t payload_size, uint64_t entry_count);

// The header's checksum is seeded with the salt and the position: valid in one place of one life.
void journal_commit_write(const struct journal_commit *commit, uint64_t salt, uint64_t position,
                          uint8_t to[JOURNAL_COMMIT_HEADER]);
bool journal_commit_read(const uint8_t from[JOURNAL_COMMIT_HEADER], uint64_t salt,
                         uint64_t position, struct journal_commit *out);

void journal_entry_write(const struct journal_entry *entry, uint8_t to[JOURNAL_TABLE_ENTRY]);
struct journal_entry journal_entry_read(const uint8_t from[JOURNAL_TABLE_ENTRY]);
uint32_t journal_entry_checksum(const void *payload, size_t size, uint64_t salt);

struct journal_define {
    struct kp_uuid topic_id;
    int32_t partition;
};
void journal_define_write(const struct journal_define *define, uint8_t to[JOURNAL_DEFINE_SIZE]);
struct journal_define journal_define_read(const uint8_t from[JOURNAL_DEFINE_SIZE]);

// What a journal must not forget, in a small file of its own outside of the journal's directory.
struct journal_state_header {
    uint32_t shard;
    uint32_t shard_count;
    bool in_use;       // commits may have been made since the file was written
    uint64_t identity; // of the journal's files
    uint64_t life;     // of the first file in use, or of the next one
    uint64_t sequence; // commits before this one hold nothing that is needed
    uint32_t uncertain_count;
};

// A log of which the journal lost something that nobody can name.
struct journal_uncertain {
    struct kp_uuid topic_id;
    int32_t partition;
    int64_t next_offset; // what is before is certain
};

// `size` bytes in all: journal_state_size(count). The checksum is in the header and covers all.
size_t journal_state_size(uint32_t uncertain_count);
void journal_state_write(const struct journal_state_header *header,
                         const struct journal_uncertain *uncertain, uint8_t *to);
int journal_state_read(const uint8_t *from, size_t size, struct journal_state_header *out,
                       uint32_t *version);
struct journal_uncertain journal_state_uncertain(const uint8_t *from, uint32_t index);
