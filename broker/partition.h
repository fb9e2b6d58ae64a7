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
    struct list waiting; // appends that wait for memory, in order
    struct list stalled; // in the shard's list of the same name while there are some
};

// The part of a PARTITION_READ that is large.
struct partition_read {
    struct partition_op *op; // set by partition_start
    struct log_read log;     // in: offset, max_bytes, at_least_one; out: the rest
};

enum partition_kind {
    PARTITION_APPEND,
    PARTITION_READ,
    PARTITION_WATCH, // completes when there is more than watch.offset, or is cancelled
    PARTITION_FIND_TIME,
    PARTITION_TRIM,
    PARTITION_OFFSETS, // fills `offsets` only
};

// Owned by the caller, in place from partition_start until `done`; a PARTITION_READ that brought
// bytes stays in place until partition_release has said so.
struct partition_op {
    struct partition_key key;
    enum partition_kind kind;
    // On the home shard, never from inside partition_start or partition_cancel_watch.
    void (*done)(struct partition_op *op);
    void *context; // the caller's
    int error;     // out: 0 or a negative errno of storage/log.h; -ENOENT: no such partition here
    struct log_offsets offsets; // out; when the operation was done, or for PARTITION_READ as of the
                                // read; for PARTITION_APPEND only `start`
    union {
        struct {
            struct span batch; // in: checked; its bytes stay valid and unchanged until `done`, or
                               // until partition_has_taken
            const struct batch_header *header; // in
            int32_t leader_epoch;              // in
            struct log_append op;              // out
        } append;
        struct partition_read *read; // the caller's, in place like the operation
        struct {
            struct log_watch op; // in: offset
            bool cancelled;      // out
        } watch;
        struct log_time_lookup time;
        struct log_trim trim;
    };
    // Private to partition.c from here on.
    struct shard *home;
    struct shard *owner;
    struct message message;        // start and done
    struct message second_message; // cancel and its answer; release and its answer
    void (*released)(struct partition_op *op);
    struct list node;    // APPEND: in partition->waiting
    uint64_t give_up_ns; // APPEND: when it waits no longer
    bool waits;          // APPEND: it did not find memory when it was started
    bool refused;        // APPEND: for lack of memory, and the log has not called back yet
    bool holds;          // READ: there are slices to give back
    bool soon;           // READ: and somebody waits until they have been
    bool settled;        // WATCH, owner's thread: the outcome is on its way
    bool cancelling;     // WATCH, home's thread
};

// Fill key, kind, done and the kind's inputs first.
void partition_start(struct shard *home, struct partition_op *op);

// Right after partition_start of a PARTITION_APPEND: whether the bytes of its batch are not needed
// any more, since the log has copied them, or will never have them. Of an append to another shard
// that is not known.
bool partition_has_taken(const struct partition_op *op);

// Gives a finished read's slices back to the owner; not needed for one that failed or brought no
// bytes, and harmless then. `released` is called on the home shard, possibly from inside, when the
// memory of the operation and of its log_read may be reused. `soon`: somebody waits for that; else
// no shard is woken for it, and it may take some ten milliseconds.
void partition_release(struct partition_op *op, bool soon,
                       void (*released)(struct partition_op *op));

// Asks for the end of a WATCH whose `done` was not called yet; `done` follows as always.
void partition_cancel_watch(struct partition_op *op);

// The shard's own partitions: made at start-up and when a new catalog brings them. `recover`: open
// what an earlier run left (waits, start-up only; *recovery says what was found); otherwise the log
// is new and nothing waits. 0 or a negative errno.
int partition_open(struct shard *shard, struct log_name name, const struct log_config *config,
                   bool recover, struct log_recovery *recovery, struct partition **out);

// NULL when there is none on this shard.
struct partition *partition_find(struct shard *shard, struct kp_uuid topic_id, int32_t partition);

// Takes the partition out of the shard and deletes its log with log_delete(op).
void partition_delete(struct shard *shard, struct partition *partition, struct log_delete *op);

// Frees all partitions of a shard whose store is closed; the logs are gone already.
void partition_forget_all(struct shard *shard);
