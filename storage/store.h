// SPDX-License-Identifier: Apache-2.0
// What the files of storage/ share: the store and its logs from the inside. Users of the log
// include storage/log.h only.
#pragma once

#include "storage/cache.h"
#include "storage/compact.h"
#include "storage/log.h"
#include "storage/producers.h"
#include "storage/scrub.h"
#include "storage/segment.h"
#include "storage/tail.h"

enum {
    STORE_ZEROS = 64 * 1024,
    STORE_IDLE_FILES = 128, // sealed segments kept open without a reader
    STORE_DELETIONS = 8,    // of logs, at a time: each has files open
};

// Operations that are complete and wait to be told so.
struct store_ready {
    struct list appends;
    struct list reads;
    struct list lookups;
    struct list trims;
    struct list watches;
    struct list deletes;
};

struct log_store {
    struct io *io;
    struct pool *pool;
    char *topics; // directory of the topics
    bool direct;
    bool can_allocate; // false once the file system refused to
    bool closing;
    bool unsynced;                // start.c: what recovery found may not have reached the device
    bool settled;                 // start.c: it has
    uint32_t checkpoints_running; // index files of active segments being written
    struct list logs;
    struct list dirty;        // logs that have something to commit
    uint32_t commits_running; // writes of the present commit round
    struct tail_cache cache;
    struct read_cache reads;
    struct scrub scrub;
    struct buffer *zeros;
    struct list idle_files; // open sealed segments without users, least recently used first
    uint32_t idle_file_count;
    uint32_t closes_running;
    uint32_t deletes_running; // those waiting included
    uint32_t deletes_active;
    struct list deletes_waiting; // logs whose turn has not come
    struct store_ready ready;
    struct io_op kick;
    bool kicked;
    uint32_t depth;             // of store_enter
    int64_t producer_expiry_ms; // -1 = never
    int64_t opened_ms;          // wall clock
    uint64_t opened_ns;
    uint64_t told_ns;      // when commit.c last said that a log accepts nothing for now, 0 = never
    uint64_t told_read_ns; // when window.c last said that a file cannot be read, 0 = never
    struct log_store_stats stats;
    struct compactor compactor;
};

enum { LOG_READ_ENDS = 8 };

enum commit_state {
    COMMIT_IDLE,
    COMMIT_DIRTY,   // in store->dirty
    COMMIT_PARKED,  // a file or space for it is being arranged
    COMMIT_WRITING, // a frame is on its way to the device
};

struct commit_write {
    struct io_op op;
    struct segment *segment;
    struct frame_header frame;
    struct buffer *control; // of a frame that is not in the tail
    int64_t start;          // FRAME_LOG_START: the value written
};

// Bytes that fail their checksum; found at start-up.
struct damage {
    int64_t from; // offsets
    int64_t to;
};

struct log {
    struct log_store *store;
    struct list node; // the store's
    struct log_config config;
    struct kp_uuid topic_id;
    int32_t partition;
    char *topic;
    char *directory;
    int error; // accepts nothing because of this
    int64_t start;
    int64_t committed;
    int64_t end;
    uint64_t sequence; // of the next frame
    struct tail tail;
    int64_t compacted; // everything below was compacted at least once since the start
    struct segment **segments; // oldest first; the last one is active
    uint32_t segment_count;
    uint32_t segment_capacity;
    struct damage *damages;
    uint32_t damage_count;
    struct list appends; // not yet durable, by offset
    struct producers producers;
    bool producers_gap; // frames could not be read, so some of the producers may be missing
    struct list trims;
    struct list trims_writing; // those that the control frame in flight makes durable
    struct list watches;
    struct list reads_parked;         // until a segment is gone; see read.c
    int64_t read_ends[LOG_READ_ENDS]; // where the latest readers from disk stopped
    uint32_t next_read_end;
    enum commit_state commit;
    struct list dirty_node;
    struct list delete_node; // store->deletes_waiting
    struct commit_write write;
    bool roll_wanted;  // the next commit goes to a new segment
    bool roll_put_off; // there was no space for it; until the next log_retain
    bool creating;     // that segment is being made
    bool deleting;
    bool removing;                // a segment is being removed
    struct log_delete *delete_op; // while deleting
    uint32_t busy;                // operations in flight on its behalf
};

// --- store.c

// Every callback of an operation that storage started runs between these two. The second one tells
// the users what has become complete and starts commits; the log may be gone after it.
void store_enter(struct log_store *store);
void store_leave(struct log_store *store);

// Something is ready or dirty: sees to it that it is looked at in the next io_run.
void store_kick(struct log_store *store);

// --- log.c

int64_t log_producers_ms(const struct log *log);

struct segment *log_active(const struct log *log); // NULL when there is no file

// A log with a reserve and no file gets its first segment, while there is space for it.
void log_reserve(struct log *log);

// Makes room for one more segment. 0 or -ENOMEM.
int log_reserve_segment(struct log *log);

// Adds a segment behind the others, in the room made for it.
void log_add_segment(struct log *log, struct segment *segment);

// An operation on behalf of the log begins, ends. The end of the last one frees a deleted log.
void log_busy(struct log *log);
void log_unbusy(struct log *log);

void log_free(struct log *log);

// Reads of these offsets get -EIO. 0 or -ENOMEM.
int log_note_damage(struct log *log, int64_t from, int64_t to);

// Whether all of these offsets have been noted.
bool log_damage_is_known(const struct log *log, int64_t from, int64_t to);

// `offset`, or the first one behind it that is not known to be damaged.
int64_t log_skip_damage(const struct log *log, int64_t offset);

// committed or start moved, or the log failed: fires the watches that waited for it.
void log_changed(struct log *log);

// Fires all watches.
void log_fire(struct log *log);

int log_make(struct log_store *store, struct log_name name, const struct log_config *config,
             struct log **out);

// --- commit.c

// There may be something to commit.
void commit_wake(struct log *log);

// What the log waited for is there.
void commit_unpark(struct log *log);

// Fails everything that is appended and not durable. The log itself goes on when the error may
// pass (no space, no memory, too many files), else it stops accepting.
void commit_fail(struct log *log, int error, const char *what);

// Fails everything that is in flight because the log is being deleted.
void commit_abandon(struct log *log);

// Starts the next round if none is running.
void commit_run(struct log_store *store);

// --- read.c

// A window that the read waits for is ready.
void read_resume(struct log_read *op, struct window *window);

// A segment has been removed, or was not.
void read_unpark(struct log *log);

// --- start.c

// What recovery found is durable: syncs the file system if that was not done. Blocks, at start-up
// only. 0 or a negative errno.
int start_sync(struct log_store *store);

// --- retain.c

// The time by which records grow old: that of the wall clock, but never ahead of what has really
// passed since the store was opened.
int64_t store_time_ms(const struct log_store *store);

// The start moved: removes the segments below it.
void retain_wake(struct log *log);

// --- delete.c

// The last operation of a log that is being deleted has ended.
void delete_continue(struct log *log);

// Removes what deletions left that a crash interrupted. Start-up only. 0 or a negative errno.
int delete_sweep(struct log_store *store);
