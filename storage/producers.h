// SPDX-License-Identifier: Apache-2.0
// What a log knows of its idempotent producers: for each producer id the epoch and the last five
// batches, so that a batch that is sent again is recognised and one that is missing is noticed.
// Pure state: no I/O, no clock; on the log's thread. Starts zeroed: that is "nobody known".
//
// Appending:   producers_check -> (the log takes the bytes) -> producers_note
// Afterwards:  producers_commit when they are durable, or producers_rollback when they never will
// be Recovery:    producers_snapshot_load, then producers_fold for every batch behind it
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/map.h"
#include "base/span.h"
#include "protocol/record_batch.h"

enum {
    PRODUCERS_BATCHES = 5, // remembered per producer: as many as a client has under way at most
    PRODUCERS_MAX = 65536, // of a log; beyond it the least recently active one is forgotten
};

struct producer_batch {
    int32_t first_sequence;
    int32_t last_sequence;
    int64_t last_offset;
    int64_t max_timestamp;
};

struct producer {
    int64_t id;
    struct list node;      // producers->active
    int64_t active_ms;     // of its last batch, by the caller's clock
    int32_t next_sequence; // of the next batch of this epoch
    uint32_t pending;      // batches that are neither committed nor rolled back
    int16_t epoch;
    bool known;     // false: nothing of it is stored, all that counts is next_sequence
    uint8_t count;  // of batches
    uint8_t newest; // index in batches
    struct producer_batch batches[PRODUCERS_BATCHES]; // a ring
};

// What producers_note has overwritten, until the batch is committed.
struct producer_undo {
    struct producer *producer;
    int64_t last_offset; // of the batch noted
    struct producer_batch batch;
    int32_t next_sequence;
    int16_t epoch;
    bool known;
    uint8_t count;
};

struct producers {
    struct map map;             // id -> struct producer
    struct list active;         // least recently active first; valid while there is a producer
    struct producer_undo *undo; // a ring, oldest first
    uint32_t undo_first;
    uint32_t undo_count;
    uint32_t undo_capacity;     // a power of two, or 0
    struct producers *incoming; // a snapshot of several parts that is not complete yet
};

struct producers_original {
    int64_t base_offset;
    int64_t last_offset;
    int64_t max_timestamp;
};

enum { PRODUCERS_APPEND = 0, PRODUCERS_DUPLICATE = 1 };

void producers_free(struct producers *producers); // leaves it zeroed

// What to do with a batch that somebody wants to append. Batches without a producer id, and control
// batches, are always appended.
//   PRODUCERS_APPEND     append it; producers_note will need no memory
//   PRODUCERS_DUPLICATE  it was appended before: *original says where. It need not be committed.
//   -EILSEQ  its first sequence number is not the one behind the last batch's, or not 0 in a new
//            epoch, or below 0
//   -ESTALE  its epoch is older than the producer's
//   -ENOMEM  there is no memory to remember it, or too many batches are not committed yet
// A producer that was quiet for `expiry_ms` is not known any more. One that is not known may begin
// with any sequence number.
int producers_check(struct producers *producers, const struct batch_header *header, int64_t now_ms,
                    int64_t expiry_ms, struct producers_original *original);

// The batch that producers_check has passed is in the log, at this offset.
void producers_note(struct producers *producers, const struct batch_header *header,
                    int64_t base_offset, int64_t now_ms);

// The batch that producers_check has passed was refused for a passing reason. If nothing is known
// of its producer, the next batch must be this one: those that the client sent behind it must not
// overtake it.
void producers_refused(struct producers *producers, const struct batch_header *header,
                       int64_t now_ms);

// Everything below this offset is durable.
void producers_commit(struct producers *producers, int64_t committed);

// What is not committed and lies at or behind `from` was never there. Of a producer of which
// nothing is left its first batch is expected next.
void producers_rollback(struct producers *producers, int64_t from);

// A batch that the log holds, read at recovery, in offset order: it counts, whatever is known. One
// that a snapshot has counted already changes nothing. 0 or -ENOMEM.
int producers_fold(struct producers *producers, const struct batch_header *header, int64_t now_ms);

// Recovery has found the end of the log: batches at or behind it do not exist.
void producers_truncate(struct producers *producers, int64_t end);

// Forgets who was quiet for `expiry_ms`.
void producers_expire(struct producers *producers, int64_t now_ms, int64_t expiry_ms);

// Whether a batch that ends at `last_offset` is the producer's newest committed one, or may be:
// then the cleaner keeps its header, even without records.
bool producers_is_last(const struct producers *producers, int64_t producer_id, int64_t last_offset,
                       int64_t committed);

static inline uint32_t producers_count(const struct producers *producers)
{
    return (uint32_t)producers->map.count;
}

// --- for producers_snapshot.c

// Exchanges the state with that before (after) the batches that are not committed: first to rewind,
// again to go on. Nothing else may be called in between but reading.
void producers_rewind(struct producers *producers);
void producers_replay(struct producers *producers);

// A new one, last in `active`; NULL without memory. The id must not be there yet.
struct producer *producers_add(struct producers *producers, int64_t id);
