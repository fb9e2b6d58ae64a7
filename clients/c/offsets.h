// SPDX-License-Identifier: Apache-2.0
// Offsets of many partitions: looked up with their leaders (ListOffsets), stored and fetched with
// their group's coordinator (OffsetCommit, OffsetFetch).
#pragma once

#include "clients/c/call.h"
#include "clients/c/coordinator.h"

struct member;

// ListOffsets for any number of partitions: one request per leader, repeated for the partitions
// whose leader has moved.
struct offset_lookup {
    struct weir_client *client;
    struct weir_offset_query *queries; // topic names must outlive the lookup
    size_t count;
    uint64_t deadline_ns;
    int8_t isolation;                           // what the end is: enum isolation_level
    void (*done)(struct offset_lookup *lookup); // once, from the loop; may free the lookup

    bool finished;
    char detail[512];               // a sentence about the first failure
    struct metadata_topic **topics; // of each query
    bool *open;                     // not answered yet
    size_t *order;                  // indexes of `queries`, by topic and partition
    uint32_t *asked;                // the round that asked a query last
    uint32_t round;
    struct list groups;            // requests under way
    bool starting;                 // the round's requests are being made
    struct metadata_waiter waiter; // while queries wait for the metadata of their topics
};

// Starts. False when memory is short; nothing has happened then.
bool offset_lookup_start(struct offset_lookup *lookup);

// Ends without calling `done` and frees what the lookup holds; also to be called after the end.
void offset_lookup_free(struct offset_lookup *lookup);

// OffsetCommit or OffsetFetch for any number of partitions of one group: `offsets` is filled in by
// the time the call is finished. The call is to be started or run by the maker, and
// offset_batch_free called at the end.
struct offset_batch {
    struct call call;
    const char *group;
    const struct member *member; // who commits, as of each attempt; NULL: nobody in particular
    bool require_stable;         // fetch: wait for transactions that are about to commit
    struct weir_offset *offsets;
    size_t *order; // indexes of `offsets`, by topic and partition
    size_t count;
};

// Prepares a call; `commit` chooses which. False when memory is short.
bool offset_batch_init(struct offset_batch *batch, struct coordinator *coordinator,
                       struct weir_offset *offsets, size_t count, bool commit);
void offset_batch_free(struct offset_batch *batch);

// The first error among the offsets, WEIR_OK for none.
int offset_batch_error(const struct offset_batch *batch);

// Whether an offset is named twice. Brokers answer that only once.
bool offset_batch_repeats(const struct offset_batch *batch);

// For other calls about the same offsets: what their `encode` and `decode` need.
//
// Whether the i-th offset in order is the first of its topic.
bool offset_batch_topic_starts(const struct offset_batch *batch, size_t i);
// The offset for a partition that the broker named; NULL for one that nobody asked about.
struct weir_offset *offset_batch_find(const struct offset_batch *batch, struct span topic,
                                      int32_t partition);
// Marks all as not answered, before a reply is applied.
void offset_batch_expect(const struct offset_batch *batch);
// After that: WEIR_ERR_CORRUPT when one is not answered; an error for which the whole call is worth
// repeating; otherwise WEIR_OK, with all answers in place.
int offset_batch_check(struct offset_batch *batch);
