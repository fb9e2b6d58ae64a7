// SPDX-License-Identifier: Apache-2.0
// Which of the batches in an answer belong to aborted transactions, for isolation.level =
// read_committed.
#pragma once

#include "protocol/record_batch.h"

struct aborted;
struct kp_fetch_response_partition;

// What the answer says, as a copy. NULL when memory is short.
struct aborted *aborted_new(const struct kp_fetch_response_partition *answer);
void aborted_free(struct aborted *aborted); // NULL is allowed

// Whether a batch is part of an aborted transaction: 1, 0, or BATCH_NO_MEMORY. To be asked about
// every batch of the answer, in order, control batches included. `batch` is all of its bytes, of
// which `header` was read.
int aborted_covers(struct aborted *aborted, const struct batch_header *header, struct span batch);
