// SPDX-License-Identifier: Apache-2.0
// The groups that live on one shard: their members and their committed offsets. A group belongs to
// one partition of the offsets topic, by hash, and so to the shard that owns it. What is there is a
// fold over those partitions.
//
// An operation on a group is started on any shard, carried out on the group's and completed on the
// shard that started it. It is answered when everything that its answer says is durable.
#pragma once

#include "broker/groups/group.h"
#include "broker/shard.h"

// Folds the offsets partitions that this shard owns, brings its groups to life and sets
// shard->coordinator; after topics_open, on the shard's thread. Waits (start-up only). 0, or a
// negative errno with a sentence in `why`.
int coordinator_open(struct shard *shard, char *why, size_t why_size);
// After the last request. What is being written may become durable after that.
void coordinator_close(struct shard *shard);

// shard->catalog is a new one. `deleted`: topics have gone; their offsets are out of use already,
// for nothing leads to a topic that is not in the catalog, and go in the background.
void coordinator_catalog_changed(struct shard *shard, bool deleted);

enum coordinator_kind {
    COORDINATOR_ASK,            // `ask`, to the group
    COORDINATOR_COMMIT,         // `entries`
    COORDINATOR_FETCH,          // `entries`
    COORDINATOR_FETCH_ALL,      // fills `entries`
    COORDINATOR_DELETE_OFFSETS, // `entries`
    COORDINATOR_LIST,           // fills `listed` with groups of one shard
};

struct coordinator_entry {
    struct kp_uuid topic_id;
    int32_t partition;
    int64_t offset;       // FETCH: out; -1 = none committed
    int32_t leader_epoch; // FETCH: out
    struct span metadata; // FETCH: out, in the operation's arena
    int16_t error;        // in: an entry that has one already is left out; out: KP_ERROR_*
};

struct coordinator_listed {
    struct span name; // in the operation's arena, as protocol_type
    struct span protocol_type;
    const char *state; // a constant, as type
    const char *type;
};

// Owned by the caller, in place until `done`; so is everything it points to.
struct coordinator_op {
    enum coordinator_kind kind;
    struct span group; // LIST: nothing
    // ASK: everything but the list node. An ask that cannot be put to a group fails with `error`.
    struct group_ask ask;
    // COMMIT, FETCH, FETCH_ALL: who asks, as whom, and in which version of OffsetCommit or
    // OffsetFetch.
    struct span member_id;
    struct span instance_id; // COMMIT; absent: none
    int32_t generation;      // or member epoch; -1: outside of a group
    int16_t version;
    int64_t retention_ms; // COMMIT; -1: as the broker's settings say
    struct coordinator_entry *entries;
    uint32_t entry_count;
    // LIST: the groups of this shard whose state and type are among these, if any are named.
    uint32_t shard_index;
    const struct span *states;
    int32_t state_count;
    const struct span *types;
    int32_t type_count;
    struct coordinator_listed *listed; // out
    uint32_t listed_count;
    struct arena *arena; // for the answer; used on the owner's thread until `done`
    int16_t error;       // out, for the whole operation; the entries have it too
    void (*done)(struct coordinator_op *op); // on the home shard, never from inside a call here
    // ASK, or NULL: likewise, before `done`: the answer waits for other members. Of what the ask
    // points to only `group`, and member_id and group_instance_id of `in`, are needed from then on.
    void (*waits)(struct coordinator_op *op);
    void *context; // the caller's
    // Private from here on.
    struct shard *home;
    struct shard *owner;
    struct message message;        // start and done
    struct message cancel_message; // cancel and its answer
    struct message waits_message;
    struct list node; // of those that wait for their turn
    bool parked;      // owner's thread: in a group
    bool cancelled;   // owner's thread: nobody waits for the answer any more
    bool returned;    // home's thread: done, but for the answer to the cancel
    bool cancelling;  // home's thread
};

void coordinator_submit(struct shard *home, struct coordinator_op *op);

// On the home shard, after coordinator_submit and before `done`: the client has gone, or the broker
// stops. An operation that waits for other members ends soon, with COORDINATOR_NOT_AVAILABLE; its
// member stays. `done` follows as always.
void coordinator_cancel(struct coordinator_op *op);
