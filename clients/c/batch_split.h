// SPDX-License-Identifier: Apache-2.0
// Batches that the broker found too large.
#pragma once

#include <stdbool.h>

#include "clients/c/batch_queue.h"

// Halves a batch of several messages that is certainly not stored: it keeps the first ones, the
// batch returned has the others, follows it in the partition's order and in its numbers, and is the
// caller's. NULL when that cannot be done, or memory is short: nothing has changed then.
struct batch *batch_split(struct batch *batch);
