// SPDX-License-Identifier: Apache-2.0
// What the journal's files share. Its users include storage/journal.h only.
#pragma once

#include "base/list.h"
#include "base/map.h"
#include "base/pool.h"
#include "storage/io.h"
#include "storage/journal.h"
#include "storage/journal_format.h"

enum {
    JOURNAL_PIECE = 64 * 1024,                      // of zeros
    JOURNAL_VECTORS = 16,                           // pieces per write
    JOURNAL_STEP = JOURNAL_PIECE * JOURNAL_VECTORS, // at a start
    JOURNAL_STEP_BESIDE = 2 * JOURNAL_PIECE,        // while there are commits
    JOURNAL_FILE_DEFAULT = 16 * 1024 * 1024,
    JOURNAL_FILE_MIN = 64 * 1024,
};

// The entries of one log in one file that are not yet in its segment.
struct journal_hold {
    struct list node; // the file's, oldest first
    struct journal_file *file;
    struct journal_log *log;
    struct journal_hold *newer; // of the same log, in a later file
    uint64_t frame;             // the highest
};

struct journal_file {
    struct list node; // journal->free or journal->held
    char *path;
    int fd; // -1 = not open
    uint32_t slot;
    bool named;     // its name is durable
    bool allocated; // in this run, up to the size wanted: what a crash took back is there again
    uint64_t life;
    uint64_t salt;
    uint64_t size;     // written before, with zeros at least: commits end below
    uint64_t position; // of the next commit
    uint64_t first_sequence;
    bool announced; // a commit in it names the next file
    struct list holds;
};

// The commit that is being formed or written.
struct journal_forming {
    struct journal_file *file; // NULL = nothing is formed
    struct buffer *buffer;     // header slot and payloads
    uint64_t room;             // bytes it may take on disk
    uint32_t payload_size;
    uint32_t entry_count;
    uint8_t *table;
    uint32_t table_capacity; // entries
};

// Making the next file ready, or prewriting more of the present one.
struct journal_preparing {
    enum {
        PREPARE_IDLE,
        PREPARE_OPENING,
        PREPARE_ALLOCATING,
        PREPARE_ZEROING,
        PREPARE_HEADER,
        PREPARE_NAMING,
    } step;
    struct journal_file *file;
    bool growing;      // the present file; else the next one
    uint64_t target;   // size
    uint64_t at;       // zeros are on their way up to here
    uint64_t retry_ns; // not before, after a failure
    int error;         // the latest
    struct io_op op;
    struct durable_op durable;
    int directory; // descriptor, while its names are synced
    struct iovec vectors[JOURNAL_VECTORS];
};

struct journal_findings;
struct found_group;

struct journal {
    struct journal_options options;
    char *directory; // <data>/journal
    char *state_path;
    uint64_t file_bytes;
    uint32_t file_limit;
    uint32_t file_count;
    struct journal_findings *findings; // until begun
    struct journal_state_header state; // as in the file
    bool settled;
    bool begun;
    bool closing;
    int error; // off for good
    uint64_t identity;
    uint64_t life;     // of the next file that gets one
    uint64_t sequence; // of the next commit
    uint32_t next_slot;
    uint32_t next_number;
    struct journal_file *current;
    struct journal_file *next; // its life has begun, its header and name are durable
    struct list held;          // earlier files, oldest first, which has holds
    struct list free;
    struct list bad; // files that failed; not used again in this run
    struct journal_forming forming;
    struct journal_preparing preparing;
    struct buffer *block; // for headers and announcements
    bool writing;
    bool spare;      // the files take no more space
    bool announcing; // what is being written names the next file
    struct durable_op write;
    struct iovec vectors[2];
    uint64_t write_size;
    void (*done)(void *context, int error);
    void *done_context;
    struct journal_uncertain *uncertain; // as in the state file
    uint32_t uncertain_count;
    uint32_t uncertain_capacity;
    struct journal_stats stats;
};

// --- journal_state.c

// The state file of one journal: 0, -ENOENT, or, named in a log line, -EBADMSG, -EPROTONOSUPPORT,
// -ENOMEM, what the device says twice. *uncertain is from malloc.
int journal_state_load(struct io *io, const char *path, struct journal_state_header *out,
                       struct journal_uncertain **uncertain);

// Replaces ours, durably, by journal->state and the list of uncertain logs. Waits. 0 or a negative
// errno.
int journal_state_save(struct journal *journal);

// Says of another journal that nothing in it is needed; if it is ever used again it begins with
// another identity (0 in the file), since its numbers are not kept. Waits. 0 or a negative errno.
int journal_state_settle(struct journal *journal, const struct found_group *group,
                         const char *path);

int journal_note_uncertain(struct journal *journal, const struct journal_uncertain *uncertain);

// --- journal_read.c, journal_judge.c

struct found_file {
    char *path;
    uint32_t shard; // as named
    uint32_t slot;
    bool sound; // the header is
    bool stray; // of a journal that is not known here: never touched
    bool aside; // under the name of a damaged one already
    bool damaged;
    bool unclaimed;   // holds entries of a log that nobody asked for
    uint64_t last_at; // the newest sound commit of its journal; size 0 = it is not in this file
    uint64_t last_size;
    struct journal_header header;
    uint8_t *image; // NULL = not needed
    uint64_t size;
};

struct found_commit {
    struct journal_commit header;
    struct found_file *file;
    uint64_t position;
    bool table_sound;
    bool payload_sound;
};

struct found_entry {
    struct span payload;
    int64_t base_offset;
    uint32_t kind;
    uint32_t next; // of the same log, +1; 0 = none
    struct found_file *file;
};

struct found_log {
    uint8_t key[20];
    uint32_t first; // entry, +1; 0 = none
    uint32_t last;
    uint64_t last_sequence; // in the group that is being judged
    uint64_t lost_sequence; // likewise: the last commit that held a bad entry of the log
    bool uncertain;
    bool listed; // the state file says so
    bool claimed;
};

struct found_state {
    char *path;
    struct journal_state_header header;
    struct journal_uncertain *uncertain;
    bool ours;
};

#define JOURNAL_STATE_NAME "%s/journal-%03u-of-%03u.state"

// The files of one journal, in the order of their lives.
struct found_group {
    uint32_t shard;
    uint32_t shard_count;
    uint64_t identity;
    const struct found_state *state;
    struct found_file **files;
    uint32_t file_count;
    struct found_commit *commits; // by sequence
    uint32_t commit_count;
    uint32_t commit_capacity;
    bool unreadable; // some block of a file
};

struct journal_findings {
    struct found_file *files;
    uint32_t file_count;
    struct found_state *states;
    uint32_t state_count;
    struct map logs; // key -> struct found_log
    struct found_entry *entries;
    uint32_t entry_count;
    uint32_t entry_capacity;
    bool all_uncertain; // a log of which nothing was found may have had something
    bool damaged;       // our journal is
    bool unreadable;    // the device did not give all of it: judged again at the next start
    uint64_t next_life;
    uint64_t next_sequence;
    struct journal_found *found;
};

int journal_read(struct journal *journal, struct journal_found *found);
void journal_findings_free(struct journal *journal);

// The commits of a group are read and sorted: finds what is missing and takes over the entries of
// logs that are ours. 0 or -ENOMEM.
int journal_judge(struct journal *journal, struct found_group *group);

struct found_log *journal_found_log(const struct journal_findings *findings,
                                    struct kp_uuid topic_id, int32_t partition);
// Makes it if need be; NULL without memory.
struct found_log *journal_find_log(struct journal_findings *findings, struct kp_uuid topic_id,
                                   int32_t partition);

struct journal_file *journal_file_new(struct journal *journal, uint32_t slot);
void journal_file_free(struct journal *journal, struct journal_file *file);

// --- journal_begin.c

// What is settled goes: damaged files aside, those of other numbers of shards away, ours become
// free ones. Waits. 0 or a negative errno.
int journal_clear(struct journal *journal);

// --- journal_files.c

// The first file of this run. Waits.
int journal_files_begin(struct journal *journal);

// Looks whether a file should be made ready or more of the present one prewritten.
void journal_prepare(struct journal *journal);

// The present file is used up; the next one takes its place.
void journal_switch(struct journal *journal);

// Files become free in the order in which they were used.
void journal_free_flushed(struct journal *journal);
