// SPDX-License-Identifier: Apache-2.0
// State as a fold over a log: an internal partition whose records are msgpack. Reading them all, in
// order, gives the state; a change is a few records more, in effect once they are durable.
// On the thread of the partition's shard.
#pragma once

#include "protocol/record_batch.h"
#include "storage/log.h"

// Calls `each` for every record from the start to the high watermark; a value without data is a
// tombstone. Waits (start-up only). 0, the first non-zero result of `each`, or a negative errno of
// reading; *offset then says where.
int state_log_load(struct io *io, struct log *log,
                   int (*each)(void *context, struct span key, struct span value), void *context,
                   int64_t *offset);

// The records of one change. They become durable and visible together, or not at all.
struct state_batch {
    struct batch_builder builder;
    bool failed;
};

void state_batch_init(struct state_batch *batch);
void state_batch_free(struct state_batch *batch);
void state_batch_reset(struct state_batch *batch);
bool state_batch_empty(const struct state_batch *batch);
// An absent value is a tombstone. A failure (memory, size) sticks, and the append reports it.
void state_batch_add(struct state_batch *batch, int64_t now_ms, struct span key, struct span value);

// Calls `each` for the records of `batch` itself: the same fold after a change as at start-up.
int state_batch_each(struct state_batch *batch,
                     int (*each)(void *context, struct span key, struct span value), void *context);

// Appends. `op->done` follows the commit, never from inside this call unless the batch had failed
// (-EMSGSIZE is returned then, and `done` never called).
int state_log_append(struct log *log, struct state_batch *batch, struct log_append *op);
