// SPDX-License-Identifier: Apache-2.0
// Committed offsets. A group belongs to one partition of the offsets topic, by hash, and so to the
// shard that owns it. The state is a fold over those partitions.
#pragma once

#include "broker/catalog.h"
#include "broker/shard.h"

// Folds the offsets partitions that this shard owns and sets shard->offsets; after topics_open, on
// the shard's thread. Waits (start-up only). 0, or a negative errno with a sentence in `why`.
int offsets_open(struct shard *shard, char *why, size_t why_size);
void offsets_close(struct shard *shard);

// Writes tombstones for the committed offsets of a deleted topic. They are out of use already, for
// nothing leads to a topic that is not in the catalog.
void offsets_forget_topic(struct shard *shard, struct kp_uuid topic_id);

enum offsets_kind { OFFSETS_COMMIT, OFFSETS_FETCH, OFFSETS_FETCH_ALL };

struct offsets_entry {
    struct kp_uuid topic_id;
    int32_t partition;
    int64_t offset;       // FETCH: out; -1 = none committed
    int32_t leader_epoch; // FETCH: out
    struct span metadata; // FETCH: out, in the operation's arena
    int16_t error;        // in: an entry that has one already is left out; out: KP_ERROR_*
};

// Owned by the caller, in place until `done`; so is everything it points to.
struct offsets_op {
    struct message message;
    struct shard *home;
    struct shard *owner;
    enum offsets_kind kind;
    struct span group;
    // COMMIT: how the client sees itself; -1 and "" for a consumer outside of a group.
    int32_t generation;
    struct span member_id;
    bool new_errors;               // the client knows GROUP_ID_NOT_FOUND
    struct offsets_entry *entries; // FETCH_ALL: out, from the arena
    uint32_t entry_count;
    struct arena *arena; // FETCH: for the answer; used on the owner's thread until `done`
    int16_t error;       // out, for the whole operation; the entries have it too
    void (*done)(struct offsets_op *op); // on the home shard, never from inside offsets_submit
    void *context;
};

void offsets_submit(struct shard *home, struct offsets_op *op);
