// SPDX-License-Identifier: Apache-2.0
// The journal of one store: small pieces of many logs become durable in one write. It holds them
// until they are in their segments; after a crash the next start finds them there.
//
// Everything runs on the store's thread. Start-up: journal_open, journal_replay for each log, then,
// when all that was replayed is durable in segments, journal_settled, and at last journal_begin.
// In between and without these the state is JOURNAL_OFF, and every commit goes its other way.
//
// Invariants the user keeps:
// 1. What is added was not added before, and comes in the order of the log (frame, offset).
// 2. journal_flushed only for frames that are durable in the log's segment.
// 3. After a failed journal_write the bytes of that commit may be durable or not. At their offsets
//    nothing else may ever be written: the same bytes go to the segment, or the log stops.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"
#include "protocol/types.h"
#include "storage/durable.h"
#include "storage/format.h"

struct io;
struct pool;
struct journal;
struct journal_hold;

enum {
    JOURNAL_ENTRY_MAX = 256 * 1024,
    JOURNAL_COMMIT_MAX = 4 * 1024 * 1024,
};

// Embedded in each log. All zero but for the name before its first use.
struct journal_log {
    struct kp_uuid topic_id;
    int32_t partition;
    uint32_t number;             // within this run; 0 = none yet
    uint64_t defined;            // life of the journal file that knows the number
    struct journal_hold *oldest; // one per journal file that holds something unflushed of the log
    struct journal_hold *newest;
};

struct journal_options {
    struct io *io;
    struct pool *pool;
    const char *directory; // the data directory; copied
    uint32_t shard;
    uint32_t shard_count;
    bool (*owns)(void *context, struct kp_uuid topic_id, int32_t partition); // NULL = every log
    void *owns_context;
    uint64_t bytes;      // all files together; 0 = read what is there, and take no commits
    uint64_t file_bytes; // 0 = the default
    bool direct;         // O_DIRECT
    enum durable_way way;
};

struct journal_found {
    uint64_t commits; // sound ones that may be needed
    uint64_t entries; // of logs that are ours
    uint64_t bytes;   // their payloads
    uint64_t damages; // each told in a log line
    bool unclean;     // the last run did not come to an orderly end
};

// Reads what earlier runs left; *found says what. Damage is no error. Waits (start-up only).
// 0, -ENOMEM, -EPROTONOSUPPORT (a file of another format version, named in a log line), or what the
// device says.
int journal_open(const struct journal_options *options, struct journal **out,
                 struct journal_found *found);

// What was found for one log, oldest first. `each` returns 0 to go on; payloads are valid as long
// as the journal is not settled. Returns 0 or what `each` returned.
// *uncertain: the journal may have held more of the log than can be read: the log must not accept
// anything until it is repaired.
typedef int (*journal_each)(void *context, enum frame_kind kind, int64_t base_offset,
                            struct span payload);
int journal_replay(struct journal *journal, struct journal_log *log, journal_each each,
                   void *context, bool *uncertain);

// The log, replayed, is known up to `next_offset` and uncertain behind: remembered in the state
// file by journal_settled, so that it stays so until repaired.
void journal_uncertain(struct journal *journal, const struct journal_log *log, int64_t next_offset);

// Not everything replayed can be brought to segments, so that it is served from here: writes the
// newest commit again, durable, since only the program may have ended after its sync had failed
// (the earlier ones were durable before it was begun). Before journal_settled. Waits. 0 or a
// negative errno.
int journal_secure(struct journal *journal);

// Everything replayed is durable in segments, or secured. `all_opened`: nobody else may come to ask
// for what was found. Waits. 0 or a negative errno.
int journal_settled(struct journal *journal);

// Whether the device did not give all of what was found, so that nothing of it may be given up: no
// store may begin (all_opened is false for all).
bool journal_is_unreadable(const struct journal *journal);

// Takes commits from now on. Waits. 0 or a negative errno: then there is no journal.
int journal_begin(struct journal *journal, bool all_opened);

// While `spare`, the files neither grow nor become more: the space that is left is for segments.
void journal_spare(struct journal *journal, bool spare);

enum journal_state {
    JOURNAL_OFF,   // not begun, failed or without files: commits go to segments
    JOURNAL_FULL,  // no file is free: commits go to segments until something is flushed
    JOURNAL_BUSY,  // a write is in flight; wait for it
    JOURNAL_READY, // journal_add, then journal_write
};
enum journal_state journal_state(const struct journal *journal);

// Adds an entry to the commit that is being formed; copies the payload, which is at most
// JOURNAL_ENTRY_MAX. `frame` is the number of the log's frame that will bring the entry to the
// segment; it never falls. False: no room or no memory: write first, or take the other way.
// Only while JOURNAL_READY.
bool journal_add(struct journal *journal, struct journal_log *log, uint64_t frame,
                 enum frame_kind kind, int64_t base_offset, struct span payload);

// Writes what was added, at least one entry. `done` from io_run; it may add and write again.
// error 0: all entries are durable. Else the journal is off for good, see invariant 3.
void journal_write(struct journal *journal, void (*done)(void *context, int error), void *context);

// The log's frames up to this number are durable in its segment, so their entries are not needed
// any more. UINT64_MAX: none is, the log is deleted.
void journal_flushed(struct journal *journal, struct journal_log *log, uint64_t frame);

// More than half of the space holds something unflushed.
bool journal_is_short(const struct journal *journal);

// The log with the oldest entry that is not flushed, or the one after `after` in that order; NULL
// at the end. Nothing may be flushed between two calls of one walk.
struct journal_log *journal_oldest(const struct journal *journal, const struct journal_log *after);

struct journal_stats {
    uint64_t commits;
    uint64_t entries;
    uint64_t payload_bytes;
    uint64_t written_bytes; // commits with all that belongs to them; not the prewriting
    uint64_t bytes;         // files there are
    uint64_t held_bytes;    // of those with something unflushed
    uint64_t full;          // how often there was no free file
    int error;              // why it is off for good
};
struct journal_stats journal_stats(const struct journal *journal);

// No write is in flight. If everything is flushed, the next start need not read the journal. The
// logs are not told any more, and must not use it. Waits. 0 or a negative errno; frees in any case.
int journal_close(struct journal *journal);
