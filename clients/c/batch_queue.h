// SPDX-License-Identifier: Apache-2.0
// The messages of one partition on their way: batches being filled, waiting, in flight. Knows
// nothing of the network; time is passed in.
#pragma once

#include <sys/uio.h>

#include "base/list.h"
#include "clients/c/weir.h"
#include "protocol/record_batch.h"

struct batch_queue;

// How an idempotent producer numbers the batches of a partition; see idempotence.h.
struct numbering {
    struct batch_producer next; // what the next batch gets; id -1: no numbers (yet)
    bool unproven;              // nothing was stored under the present epoch yet
    bool broken;                // the broker misses a number: all that waits is numbered anew
    bool fenced;                // ... under another id
};

struct batch {
    struct list node; // in queue->waiting, in a request, or among the finished
    struct batch_queue *queue;
    struct batch_builder builder;
    struct batch_scratch scratch; // compressed bytes
    struct iovec slice;           // the finished bytes; iov_base NULL until then
    void **opaques;               // one for each message, if anybody wants reports
    uint32_t opaque_capacity;
    int32_t count;
    size_t charge;       // bytes counted against buffer.memory
    uint64_t created_ns; // when its first message came
    int64_t opened_ms;   // the same as wall time
    uint64_t sequence;   // place in the partition's order, the first of its `places`
    uint64_t places;     // there, for when it is split
    uint32_t attempts;
    struct batch_producer producer; // id -1: not numbered
    bool alone;                     // nothing of its partition was under way when it was sent
    bool placeless; // its one message never got a partition; it is reported without one
    bool stored;    // but not to be reported before its predecessors
    int error;      // of the last attempt, or the final one
    char *reason;   // a sentence for it, or NULL
    int64_t base_offset;
    int64_t append_time; // -1 unless the broker sets timestamps
};

struct batch_limits {
    size_t batch_size;
    uint64_t linger_ns;
    uint64_t delivery_timeout_ns;
    uint32_t in_flight_max; // batches of one partition
    bool hold_partial;      // a batch that is not full waits while others are in flight
};

struct batch_queue {
    void *owner; // the producer's topic
    int32_t partition;
    struct batch *open;  // being filled, or NULL
    struct list waiting; // complete, or to be sent again, by sequence
    uint32_t in_flight;
    const void *destination; // where those in flight are
    uint32_t to_repeat;      // batches of `waiting` that were sent before
    uint64_t next_sequence;
    size_t size_max;      // of new batches, once the broker has refused one as too large; 0: any
    uint64_t retry_at_ns; // nothing is sent before; 0 for no pause
    struct list active;   // in the producer's list while anything is open or waiting
    struct numbering numbering;
};

void batch_queue_init(struct batch_queue *queue, void *owner, int32_t partition);

// A fresh batch. NULL when memory is short.
struct batch *batch_new(void);
void batch_free(struct batch *batch);

// Drops the contents and keeps the memory, for the next partition.
void batch_reuse(struct batch *batch);

// How much memory a batch keeps.
size_t batch_memory(const struct batch *batch);

// Keeps a sentence about a failure, printf-like. Does without when memory is short.
void batch_reason(struct batch *batch, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

// Opens `batch`, for records of at least `first_size` bytes. There must be no open one.
void batch_queue_open(struct batch_queue *queue, struct batch *batch,
                      const struct batch_limits *limits, size_t first_size, uint64_t now_ns);

// Completes the open batch, if any.
void batch_queue_close(struct batch_queue *queue);

// Nothing open and nothing waiting.
bool batch_queue_idle(const struct batch_queue *queue);

// When batch_queue_take will have a batch, as things stand: `now_ns` or earlier for at once,
// UINT64_MAX when an answer has to come first. With `flush`, linger does not count.
uint64_t batch_queue_ready_ns(const struct batch_queue *queue, const struct batch_limits *limits,
                              bool flush);

// The next batch to send, which is in flight from now on. Only when batch_queue_ready_ns says so.
struct batch *batch_queue_take(struct batch_queue *queue);

// The batch's answer has come: it is the caller's.
void batch_queue_settled(struct batch_queue *queue, struct batch *batch);

// The batch is to be sent again, in its old place, not before `retry_at_ns`. Until then, and while
// its predecessors are on their way, nothing else of the partition is sent.
void batch_queue_repeat(struct batch_queue *queue, struct batch *batch, uint64_t retry_at_ns);

// A second half of a batch in flight that is to be repeated: waits with it.
void batch_queue_insert(struct batch_queue *queue, struct batch *batch);

// The batch is stored. True when it is the caller's, to be reported; false while an earlier one has
// to be sent again: it then waits for batch_queue_stored.
bool batch_queue_done(struct batch_queue *queue, struct batch *batch);

// The next batch that was stored out of turn and whose turn has come, the caller's from now on;
// NULL for none.
struct batch *batch_queue_stored(struct batch_queue *queue);

// The oldest batch that waits, however old, the caller's from now on; NULL for none.
struct batch *batch_queue_drop(struct batch_queue *queue);

// The oldest batch if it has waited for longer than delivery.timeout.ms; the caller's from now on.
// NULL for none.
struct batch *batch_queue_expired(struct batch_queue *queue, const struct batch_limits *limits,
                                  uint64_t now_ns);

// When batch_queue_expired will next have one, UINT64_MAX for never.
uint64_t batch_queue_expiry_ns(const struct batch_queue *queue, const struct batch_limits *limits);
