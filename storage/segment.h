// SPDX-License-Identifier: Apache-2.0
// One segment file of a log and what happens to it besides commits: making it, allocating ahead of
// its end, sealing it, opening it for readers, removing it. See segment.c and ahead.c.
#pragma once

#include "storage/format.h"
#include "storage/index.h"
#include "storage/io.h"
#include "storage/steps.h"

struct log;
struct log_store;
struct window;

enum {
    SEGMENT_FIRST_BYTES = 16 * 1024, // allocated when the file is made
};

// The space between a segment's end and its file's end.
struct ahead {
    struct io_op op;
    bool running;
    uint64_t to;     // what the operation in flight allocates up to
    uint64_t needed; // how much of it must be there for the commit that waits
};

struct segment {
    struct log *log;
    struct segment_header header;
    int fd;          // -1 = not open
    uint32_t users;  // operations that need the descriptor; it stays open until the last is done
    bool removed;    // no longer the log's; freed with the last user
    bool sealed;     // never written again
    bool sealing;    // an index file is being written
    bool bad;        // its header is damaged: nothing in it can be checked
    bool damaged;    // some of its frames are
    bool compacting; // its place is about to be taken by a file that compaction makes
    int64_t next_offset;
    int64_t max_timestamp; // -1 = none
    uint64_t next_sequence;
    uint64_t end;        // of the last durable frame
    uint64_t last_frame; // its position; 0 = none
    uint64_t file_size;  // what is allocated
    uint64_t covered;    // by the index file; 0 = there is none
    int64_t log_start;   // of the log, as the header or the index file says
    uint64_t quiet_end;  // `end` when checkpoint_look saw it last
    uint32_t image_size; // of the index file written last
    bool large_frames;   // some did not fit into what was read at once
    struct index index;
    struct window **windows; // the read cache's, in the order of the file
    uint32_t window_count;
    uint32_t window_capacity;
    struct ahead ahead;
    struct list idle_node; // the store's, while open and without users
};

// "<directory>/<20 digits><suffix>", from malloc; NULL without memory.
char *segment_path(const struct log *log, int64_t base_offset, const char *suffix);

// The base offset that a file of this kind is named after, or -1.
int64_t segment_base_of(const char *name, const char *suffix);

// In memory only. NULL without memory.
struct segment *segment_new(struct log *log, const struct segment_header *header);

// Takes the last reference away: closes the file and frees. Without users only.
void segment_free(struct segment *segment);

// The descriptor stays open between these two. The second may free a removed segment.
void segment_hold(struct segment *segment);
void segment_drop(struct segment *segment);

// A durable frame lies at segment->end. `note`: it must be in the index.
void segment_extend(struct segment *segment, const struct frame_header *frame, bool note);

// The bytes of the file from `from` to `to` are damaged, which had the offsets from `first` up to
// `next` (none when they are equal): says so, and reads of these offsets get -EIO. 0 or -ENOMEM.
int segment_note_damage(struct segment *segment, uint64_t from, uint64_t to, int64_t first,
                        int64_t next);

// Not when it is new or holds control frames only.
bool segment_has_records(const struct segment *segment);

// Closes open segments that nobody uses, the one that was used least recently first, until so many
// are left.
void segments_close_idle(struct log_store *store, uint32_t keep);

// Opens a segment that is held and closed. `done` is called with fd set or with an error.
struct segment_open {
    void (*done)(struct segment_open *op);
    int error;
    struct segment *segment;
    struct io_op op;
    char *path;
};
void segment_open(struct segment *segment, struct segment_open *op);

// --- checkpoint.c

// The segment is never written again: cuts what was allocated too much and
// writes the index file. In the background; failures cost only the time to scan the segment at the
// next start.
void segment_seal(struct segment *segment);

// What its index file would hold at present, from malloc. NULL without memory, and where there may
// be none.
uint8_t *segment_index_image(const struct segment *segment, size_t *size);

// Writes an index file of the active segment, in the background, if it has grown enough since the
// last one. `quiet`: also when it has not grown since the last call with `quiet`.
void checkpoint_look(struct log *log, bool quiet);

// Starts making the log's next segment file, whose first frame has that offset and number.
// Everything before is flushed. The log is parked; it goes on when the segment is durable and
// active, or fails.
void create_start(struct log *log, int64_t base_offset, uint64_t sequence, uint64_t frame_size);

// True when the active segment, which is open, has space allocated up to `to`. Otherwise that is
// being arranged, for a commit that waits, and commit_unpark or commit_fail follows.
bool ahead_ready(struct segment *segment, uint64_t to);

// Keeps some space allocated behind `to`, where the log's writes end at present. In the background.
void ahead_keep(struct segment *segment, uint64_t to);
