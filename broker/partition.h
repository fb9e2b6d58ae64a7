// SPDX-License-Identifier: Apache-2.0
// Partitions and the operations on them. A partition lives on the shard that shard_of_partition
// names; an operation is started on any shard, carried out on the owner and completed on the shard
// that started it, by the same code whether that is one shard or two.
#pragma once

#include "broker/shard.h"
#include "storage/log.h"

struct partition_key {
    struct kp_uuid topic_id;
    int32_t partition;
};

struct partition {
    struct partition_key key; // also the key in shard->partitions
    struct log *log;
};

enum partition_kind {
    PARTITION_APPEND,
    PARTITION_READ,
    PARTITION_WATCH,     // completes when there is more than watch.offset, or is cancelled
    PARTITION_FIND_TIME,
    PARTITION_TRIM,
    PARTITION_OFFSETS,   // fills `offsets`
};

// Owned by the caller from partition_start until `done` (for PARTITION_READ until `released`, see
// partition_release).
struct partition_op {
    struct message message;
    struct shard *home;
    struct shard *owner;
    struct partition_key key;
    enum partition_kind kind;
    void (*done)(struct partition_op *op); // on the home shard, never from inside partition_start
    int error;      // out: 0 or a negative errno of storage/log.h; -ENOENT: no such partition here
    struct log_offsets offsets; // out, for every kind
    // APPEND in
    struct span batch;
    struct batch_header header;
    int32_t leader_epoch;
    bool cancelled; // WATCH: out
    union {
        struct log_append append;
        struct log_read read;
        struct log_watch watch;
        struct log_time_lookup time;
        struct log_trim trim;
    };
    void *context; // the caller's
};

// Fill key, kind, done and the kind's inputs first.
void partition_start(struct shard *home, struct partition_op *op);

// Gives a finished read's slices back to the owner. `released` is called on the home shard when the
// operation's memory may be reused; NULL when the caller keeps it until the shard ends.
void partition_release(struct partition_op *op, void (*released)(struct partition_op *op));

// Asks for the end of a WATCH that is not done yet; `done` follows as always.
void partition_cancel_watch(struct partition_op *op);

// The shard's own partitions: made at start-up and when a new catalog brings them, removed when it
// drops them. 0 or a negative errno.
int partition_open(struct shard *shard, struct log_name name, const struct log_config *config,
                   bool recover, struct partition **out);
// Removes a partition of this shard: it can no longer be found, its log is deleted with `op`, and
// the operations it has in flight end with -ESHUTDOWN. Frees `partition`.
void partition_drop(struct shard *shard, struct partition *partition, struct log_delete *op);

struct partition *partition_find(struct shard *shard, struct kp_uuid topic_id, int32_t partition);
