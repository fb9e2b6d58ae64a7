// SPDX-License-Identifier: Apache-2.0
// The durable log: what the broker knows of storage. A store holds the logs (one per partition)
// that one shard owns; everything here runs on that shard's thread.
//
// Calls that take an operation (`struct log_append`, ...) never wait: they return at once, and the
// operation's `done` is called later from io_run, exactly once, never from inside the call. The
// operation is owned by the caller and must stay in place until then. Errors are negative errnos:
//   -EIO       the device failed or stored bytes are damaged; the log may have stopped accepting
//   -ENOSPC    the device is full; the log goes on by itself when there is space again
//   -ENOMEM    the memory budget is used up; try again
//   -ERANGE    the offset is outside [start, end]
//   -ESHUTDOWN the log is being deleted or the store closed
//   -EILSEQ    append: batches of the producer are missing before this one
//   -ESTALE    append: the producer has begun a newer epoch
//
// Offsets: start <= committed <= end. Readers see [start, committed); `committed` is the high
// watermark. `end` counts what is appended in memory and not yet durable.
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/list.h"
#include "base/pool.h"
#include "base/span.h"
#include "protocol/record_batch.h"
#include "protocol/types.h"
#include "storage/io.h"

struct log_store;
struct log;

// How a write becomes durable.
enum log_sync {
    LOG_SYNC_AUTO, // the better one on this device, measured when the store opens
    LOG_SYNC_DSYNC,
    LOG_SYNC_FSYNC, // write, then fdatasync
};

// Shared by the stores of one data directory: whether the device is full.
struct log_space {
    _Atomic uint32_t tight;  // stores that have given up their ballast
    _Atomic uint32_t taking; // stores that try to get it back
};

struct log_store_options {
    struct io *io;
    struct pool *pool;       // for tails and reads
    const char *directory;   // the broker's data directory; copied
    size_t tail_cache_bytes; // committed bytes kept in memory for readers, all logs together
    size_t read_cache_bytes; // of what was read from disk, verified; 0 = nothing is kept
    bool direct;             // O_DIRECT where the file system takes it
    uint32_t shard;          // which of how many; these two decide whose journal a file is
    uint32_t shard_count;    // 0 counts as 1
    // Whether the log is this store's; NULL = every one. For journals of another number of shards.
    bool (*owns)(void *context, struct kp_uuid topic_id, int32_t partition);
    void *owns_context;
    uint64_t journal_bytes;      // all files of the store's journal together; 0 = no journal
    uint64_t journal_file_bytes; // one of them; 0 = 16 MiB, less when the journal is small
    enum log_sync sync;
    int64_t producer_expiry_ms; // how long a quiet producer is remembered; 0 = for ever
    struct log_space *space;    // zeroed, outlives the stores; NULL = the store is the only one
    uint64_t ballast_bytes;     // held in reserve for logs with reserve_bytes; 0 = nothing
    struct log_compaction {
        bool enabled;
        size_t map_bytes;          // for the keys of one pass; 0 = 32 MiB
        uint64_t bytes_per_second; // read and written; 0 = without limit
        uint64_t backoff_ms;       // how often to look for something to do; 0 = 15 s
    } compaction;
    uint32_t open_files; // segment files kept open that nobody uses; 0 = 128
};

struct log_store_stats {
    uint64_t commits;         // device writes that made data durable
    uint64_t committed_bytes; // payload
    uint64_t written_bytes;   // to segments, with frames and padding
    uint64_t journal_commits; // of the commits
    uint64_t journal_bytes;   // written for them, with all that belongs to them
    uint64_t flushes;         // writes to segments of what had been journalled
    uint64_t flushed_bytes;   // of written_bytes
    uint64_t damaged_frames;  // found by recovery or reads
    uint64_t write_errors;
    uint64_t memory_reads; // log_read that gave bytes: all of them from the tail,
    uint64_t cache_reads;  // without waiting for the device,
    uint64_t disk_reads;   // after waiting for it
    uint64_t memory_read_bytes;
    uint64_t cache_read_bytes;
    uint64_t disk_read_bytes;
    uint64_t device_reads;      // that these, read-ahead and the scrub have led to
    uint64_t device_read_bytes; // with frames, padding and what nobody asked for yet
    uint64_t read_ahead;        // windows read before anybody asked for them
    uint64_t read_errors;       // the device failed
    uint64_t scrubbed_bytes;
    uint64_t compactions;          // passes over a log that were completed
    uint64_t compacted_bytes_read; // by them, by now
    uint64_t compacted_bytes_written;
};

// Makes the directories that are missing. 0 or a negative errno.
int log_store_open(const struct log_store_options *options, struct log_store **out);

// Stops accepting, commits what was accepted, writes the indexes of all logs, closes all files.
// Runs io_run itself until that is done; frees the store and its logs. 0, or the first error of
// closing: logs that failed before are left as they are.
int log_store_close(struct log_store *store);

struct log_store_stats log_store_stats(const struct log_store *store);

// A write of the journal is on its way: io_run returns when it is done, and what is appended until
// then, unless it is much, becomes durable with the next one.
bool log_store_is_journalling(const struct log_store *store);

struct log_name {
    struct span topic; // text
    struct kp_uuid topic_id;
    int32_t partition;
};

// Limits as Kafka's topic settings of similar names; -1 = no limit for the retention ones.
struct log_config {
    int64_t segment_bytes;
    int64_t segment_ms;
    int64_t retention_bytes;
    int64_t retention_ms;
    // Kept allocated ahead, from the start, so that the log goes on for a while when the disk is
    // full; 0 for logs of ordinary data.
    int64_t reserve_bytes;
    // Compaction: the last record of each key is kept, older ones go.
    bool compact;
    double min_dirty_ratio;
    int64_t min_compaction_lag_ms;
    int64_t max_compaction_lag_ms; // 0 = none; what is dirty for so long is compacted in any case
    int64_t delete_retention_ms;   // how long tombstones are kept
};

// A new log, empty: without a reserve no file exists until the first append. 0, -ENOMEM, or -EINVAL
// for a name that cannot be a directory's.
int log_create(struct log_store *store, struct log_name name, const struct log_config *config,
               struct log **out);

// What recovery found, for the start-up line and the tests.
struct log_recovery {
    int64_t torn_bytes;     // cut from the end: bytes of commits that were never acknowledged
    int64_t damaged_ranges; // regions of the log that fail their checksum; reads of them get -EIO
    uint32_t segments;
    uint64_t scanned_bytes;
};

// log_open of this log follows, soon: what it reads is read in advance, for as many logs as are
// expected at a time (up to 64; of further ones nothing). Nothing in the log's directory may change
// before. Start-up only.
void log_expect(struct log_store *store, struct log_name name);

// The log that an earlier run left, or an empty one if it left no file. Waits (start-up only).
// A log with damage opens, serves what is sound, and says so here and in one log line per range.
int log_open(struct log_store *store, struct log_name name, const struct log_config *config,
             struct log **out, struct log_recovery *recovery);

// After the last log_open: writes what only the journal had into segments, and makes durable what
// was found behind the checkpoints. Nothing may be served before. Waits (start-up only). 0; 1: some
// of what the journal had cannot be written at present (the disk is full): it is served all the
// same, but log_store_begin of every store of the directory must get `all_opened` as false; or a
// negative errno.
int log_store_settle(struct log_store *store);

// After all stores of the data directory have settled: the journal begins anew. `all_opened`: no
// log of any store failed to open; else what the journal holds for such logs is kept. Settles first
// if that was not done. Waits (start-up only). Without this call nothing is journalled, every
// commit goes to its segment. 0 or a negative errno.
int log_store_begin(struct log_store *store, bool all_opened);

void log_configure(struct log *log, const struct log_config *config);

struct log_offsets {
    int64_t start;
    int64_t committed;
    int64_t end;
    int64_t size_bytes; // on disk, of the live range
    int error;          // 0, or why the log accepts nothing at present (negative errno)
};
struct log_offsets log_offsets(const struct log *log);

// --- append ---------------------------------------------------------------------------------

struct log_append {
    void (*done)(struct log_append *op);
    int error;           // out: 0 = durable; on return from log_append: 0, or why it is refused
    int64_t base_offset; // out: set on return from log_append already
    int64_t last_offset; // out: likewise
    int64_t start;       // out: of the log; likewise
    bool duplicate;      // out: likewise
    int64_t timestamp;   // out: of a duplicate: the largest of the batch that is stored
    struct list node;    // the log's, until done
};

// Takes one checked batch (see batch_check): copies the bytes, gives the copy its offsets and
// leader epoch, and lets the next commit make it durable. `done` follows the commit.
// A batch with a producer id that is one of the producer's last five in the log (epoch, first and
// last sequence number) is not stored again: it is a duplicate, its offsets are those of the first
// time, and `done` says what became of that one.
void log_append(struct log *log, struct span batch, const struct batch_header *header,
                int32_t leader_epoch, struct log_append *op);

// --- read -----------------------------------------------------------------------------------

enum { LOG_READ_SLICES = 64 };

struct log_read {
    void (*done)(struct log_read *op);
    // in
    int64_t offset;
    uint32_t max_bytes;
    bool at_least_one; // the first batch is returned even when it is larger than max_bytes
    // out
    int error;
    struct log_offsets offsets; // as of the read
    uint64_t size;              // sum of the slices
    uint32_t slice_count;
    struct iovec slices[LOG_READ_SLICES]; // whole batches, in order; the first is that of `offset`
    // the log's
    struct buffer *pins[LOG_READ_SLICES];
    uint32_t pin_count;
    struct log *log;
    int64_t next;    // the offset behind what was taken so far
    bool sequential; // goes on where a reader has stopped before
    bool waited;     // for the device
    struct list node;
};

// Reads committed batches from `offset` on; where there is none at that offset any more, from the
// next one on. At the high watermark: no error and no bytes; below it always at least one batch
// (max_bytes allowing) or an error. Served from memory without copying where the bytes are still
// there, else from disk. Fewer bytes than allowed may come back, also when more are there.
// Damage gives -EIO to a read that begins at it; one that begins before gets what is sound up to
// it.
// The slices are valid until log_read_release, which must be called on this thread after `done`
// (with or without error). The bytes never change.
void log_read(struct log *log, struct log_read *op);
void log_read_release(struct log_read *op);

// Verifies up to about `bytes` of what is in segments in the background, going on where the last
// call stopped, unless readers keep the device busy. Damage is named, counted and noted as by a
// read. Call it regularly, with as much as the interval may cost.
void log_store_scrub(struct log_store *store, uint64_t bytes);

// --- watch ----------------------------------------------------------------------------------

struct log_watch {
    void (*fired)(struct log_watch *watch);
    int64_t offset;   // in
    struct list node; // the log's, until fired or cancelled
    bool set;
};

// Calls `fired` once, from io_run, when committed > offset, or start > offset, or the log fails or
// is deleted; if that is so already, in the next io_run.
void log_watch(struct log *log, struct log_watch *watch);
void log_watch_cancel(struct log_watch *watch); // harmless when not set

// --- time -----------------------------------------------------------------------------------

enum { LOG_TIME_MAX = -3 }; // look for the record with the largest timestamp

struct log_time_lookup {
    void (*done)(struct log_time_lookup *op);
    int64_t timestamp; // in: or LOG_TIME_MAX
    int error;         // out
    int64_t offset; // out: of the first record, in offset order, with at least that timestamp; -1 =
                    // none
    int64_t found_timestamp; // out
    struct list node;        // the log's, until done
};

// Looks inside batches, compressed ones too; timestamps need not be in order.
void log_find_time(struct log *log, struct log_time_lookup *op);

// --- the other end --------------------------------------------------------------------------

struct log_trim {
    void (*done)(struct log_trim *op);
    int64_t offset; // in: the new start; -1 = committed
    int error;      // out: 0 = durable
    int64_t start;  // out
    struct list node;
};

// Moves the start forward, durably, then deletes whole segments below it. -ERANGE when the offset
// is above committed. An offset below the start changes nothing.
void log_trim(struct log *log, struct log_trim *op);

// Applies retention by time and size, and rolls an active segment that is too old, as of
// io->wall_ms. Cheap when nothing is due; deletions happen in the background. Call it every few
// seconds.
void log_retain(struct log *log);

// Starts compacting the log that needs it most, or goes on with what waits for its share of the
// device, and rolls active segments that are older than max_compaction_lag_ms. Also sees to the
// space in reserve. Returns when it should be called again (io->now_ns). What it starts goes on in
// the background, in small steps.
uint64_t log_store_compact(struct log_store *store);

struct log_delete {
    void (*done)(struct log_delete *op);
    int error;
    struct list node;
};

// Fails all operations in flight with -ESHUTDOWN, removes the files, frees the log, then `done`.
// The log must not be used any more after this call.
void log_delete(struct log *log, struct log_delete *op);
