// SPDX-License-Identifier: Apache-2.0
// What the files of storage/ share: the store and its logs from the inside. Users of the log
// include storage/log.h only.
#pragma once

#include "storage/cache.h"
#include "storage/compact.h"
#include "storage/journal.h"
#include "storage/log.h"
#include "storage/producers.h"
#include "storage/scrub.h"
#include "storage/segment.h"
#include "storage/space.h"
#include "storage/tail.h"

enum {
    STORE_OPEN_FILES = 128, // segments kept open that nobody uses, unless the options say otherwise
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
    int sync_error;               // start.c: and it cannot be brought there
    bool settled;                 // start.c: it has
    bool unflushed;               // start.c: but not all that the journal had is in segments
    uint32_t checkpoints_running; // index files of active segments being written
    struct list logs;
    struct list expectations; // expect.c: of logs that are opened soon
    uint32_t expectation_count;
    struct expectation *expected; // of the one that is being opened; NULL = nothing
    struct rest *rest;            // rest.c: what the last end has left
    struct journal *journal;      // NULL = there is none
    enum durable_way way;         // how writes of segments become durable
    struct list dirty;            // logs that commit.c has to look at
    struct list journal_waiting;  // logs whose bytes go into the next journal commit
    struct list journal_running;  // logs with bytes in the one under way
    uint64_t journal_bytes;       // of payload, in that one
    struct list flushes;          // logs whose turn to be flushed has not come
    uint32_t flushes_running;
    bool flushes_alone; // nobody waits for commits
    struct tail_cache cache;
    struct read_cache reads;
    struct scrub scrub;
    struct buffer *spare_block; // for the last block of a write when memory is short
    struct list block_waiting;  // logs that wait for it
    struct list open_waiting;   // logs that wait for their turn to open their active segment
    uint32_t open_turns;        // logs that have theirs
    struct list idle_files;     // open segments without users, least recently used first
    uint32_t idle_file_count;
    uint32_t idle_file_limit;
    struct list creations; // of segment files, that wait for their turn
    uint32_t creations_running;
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
    uint64_t committed_ns; // when the last commit was durable; 0 = none in this run
    struct compactor compactor;
    struct ballast ballast;
};

enum { LOG_READ_ENDS = 8 };

// What is under way between a log and its active segment.
enum way {
    WAY_IDLE,
    WAY_PARKED,  // a file, space in it or its descriptor is being arranged
    WAY_WRITING, // a frame is on its way to the device
};

// Where a log waits; in one list at most.
enum queue {
    QUEUE_NONE,
    QUEUE_DIRTY,   // store->dirty
    QUEUE_JOURNAL, // store->journal_waiting
    QUEUE_BLOCK,   // store->block_waiting
    QUEUE_OPEN,    // store->open_waiting
};

struct commit_write {
    struct durable_op op;
    struct iovec vectors[2];
    struct segment *segment;
    struct buffer *buffer; // of the chunk
    struct buffer *block;  // the last, partial one
    struct frame_header frame;
    uint64_t position; // of the frame
    uint64_t size;     // bytes written, whole blocks
    bool commits;      // there are bytes in it that were not durable before
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
    struct tail tail;
    bool replaced_stay; // files that compaction replaced could not be removed: nothing is, until
                        // the next start
    int64_t compacted;  // everything below was compacted at least once since the start
    struct segment **segments; // oldest first; the last one is active
    uint32_t segment_count;
    uint32_t segment_capacity;
    int64_t sealed_bytes; // of all segments but the last, whose ends do not move any more
    struct damage *damages;
    uint32_t damage_count;
    struct list appends; // not yet durable, by offset
    struct producers producers;
    bool producers_gap;   // frames could not be read, so some of the producers may be missing
    int64_t producers_at; // offset before which the last whole snapshot was appended, or found at
                          // the begin of its segment; -1 = none
    struct list trims;    // those that have no frame yet
    struct list trims_writing; // those that the frame of number trim_frame makes durable
    int64_t trim_start;
    uint64_t trim_frame;
    struct list watches;
    struct list reads_parked;         // until a segment is gone; see read.c
    int64_t read_ends[LOG_READ_ENDS]; // where the latest readers from disk stopped
    uint32_t next_read_end;
    enum way way;
    enum queue queue;
    struct list queue_node;
    struct list delete_node; // store->deletes_waiting
    struct commit_write write;
    struct journal_log journal;
    struct list journal_node; // store->journal_running
    int64_t journal_offset;   // behind what is in that commit
    uint64_t journal_frame;   // the last frame that has bytes in it
    bool waits_for_space;     // parked until a compaction has ended
    bool in_journal;          // a journal commit with bytes of it is under way
    bool direct_once;         // the next commit does not go to the journal
    bool rewrite;             // what a failed write left behind the last frame is not known: only
                              // a frame written there may follow
    bool write_failed;        // nothing is written any more
    struct list flush_node;   // store->flushes
    uint64_t flush_to;        // frames up to this one are to be flushed; 0 = none
    bool flush_turn;          // one of store->flushes_running
    int flush_error;          // why the last one did not end well; until the next log_retain
    bool open_turn;           // one of store->open_turns
    bool creating;            // a segment is being made
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

// The log's directory, from malloc; NULL without memory, or for a name that cannot be one's.
char *log_directory(const struct log_store *store, struct log_name name);

int64_t log_producers_ms(const struct log *log);

// If the log's next bytes are the first of a segment, or would begin one together with `size` bytes
// of data, appends what is known of producers first, in frames of their own. False without memory.
bool log_put_producers(struct log *log, size_t size);

struct segment *log_active(const struct log *log); // NULL when there is no file

// A log with a reserve and no file gets its first segment, while there is space for it.
void log_reserve(struct log *log);

// Segments were removed or replaced, or an end was set.
void log_segments_changed(struct log *log);

// Of all segments, up to their ends.
int64_t log_segments_size(const struct log *log);

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

// Puts into the tail what the journal held: a batch, or the payload of another frame, that follows
// the log's end. It is committed then, and not flushed. Start-up only. 0 or -ENOMEM; -EIO when it
// is no batch.
int log_restore(struct log *log, enum frame_kind kind, int64_t base_offset, struct span payload);

// Comes before that, and before the batch is counted: should `size` bytes begin a segment, it
// begins with what is known of producers, as it does when they are appended. 0 or -ENOMEM.
int log_restore_producers(struct log *log, size_t size);

// Recovery has set the segments and the offsets: the tail begins behind them. `block`: see
// tail_start_at. 0 or -ENOMEM.
int log_recovered(struct log *log, uint64_t next_sequence, const uint8_t *block);

// --- commit.c

// There may be something to commit.
void commit_wake(struct log *log);

// What the log waited for is there.
void commit_unpark(struct log *log);

// Fails everything that is appended and neither durable nor on its way. The log itself goes on when
// the error may pass (no space, no memory, too many files), else it stops accepting.
void commit_fail(struct log *log, int error, const char *what);

// Fails everything that is in flight because the log is being deleted.
void commit_abandon(struct log *log);

// Starts what can be started.
void commit_run(struct log_store *store);

// --- write.c

// Seals the log's first unflushed frame and writes it to the active segment, which is open and has
// the space; commit_written follows. False: no memory at present.
bool write_start(struct log *log);

// Called by write.c when it is over. error 0: the frame is durable.
void commit_written(struct log *log, int error);

// --- flush.c

// The log's frames up to the last one are to be written to its segment, when there is a turn.
void flush_want(struct log *log);

// Whether the frame may be written for that reason now.
bool flush_has_turn(const struct log *log, const struct tail_frame *first);

// The log has changed: ends its turn when nothing is left to do.
void flush_check(struct log *log);

// Wants flushes when the journal or memory is short.
void flush_relieve(struct log_store *store);

// Now and then: what failed before may work now.
void flush_retry(struct log *log);

// Whether there is a turn for one that waits.
bool flush_is_due(const struct log_store *store);

// Gives turns.
void flush_run(struct log_store *store);

// Everything of all logs is to be flushed. Runs io_run until it is; for start-up and the end. 0, or
// the error of the first log that cannot be: with -ENOSPC or -ENOMEM a later call may do better.
int flush_all_wait(struct log_store *store);

// --- read.c

// A window that the read waits for is ready.
void read_resume(struct log_read *op, struct window *window);

// A segment has been removed, or was not.
void read_unpark(struct log *log);

// --- start.c

// Measures the device if wanted, and reads what earlier runs left in the journal. 0 or a negative
// errno.
int start_open(struct log_store *store, const struct log_store_options *options);

// What recovery found is durable: syncs the file system if that was not done. Blocks, at start-up
// only. 0 or a negative errno, which stays: a sync is not tried twice.
int start_sync(struct log_store *store);

// --- retain.c

// The time by which records grow old: that of the wall clock, but never ahead of what has really
// passed since the store was opened.
int64_t store_time_ms(const struct log_store *store);

// Whether the active segment has what those before it say of producers, durable: then they may go,
// or be compacted. There is an active segment.
bool retain_has_producers(const struct log *log);

// The start moved: removes the segments below it.
void retain_wake(struct log *log);

// --- delete.c

// The last operation of a log that is being deleted has ended.
void delete_continue(struct log *log);

// Removes what deletions left that a crash interrupted. Start-up only. 0 or a negative errno.
int delete_sweep(struct log_store *store);
