// SPDX-License-Identifier: Apache-2.0
// Whether a change of topics is allowed, and the records that make it. Pure: no I/O, no clock; what
// it allocates comes from the operation's arena.
#pragma once

#include "broker/controller.h"
#include "broker/state_log.h"

// Judges every change of `op` against the fold, sets its `error` and `why` or what it comes out as,
// and adds the records of the good ones to `batch`.
void topic_changes_prepare(const struct catalog_fold *fold, const struct config *config,
                           struct controller_op *op, int64_t now_ms, struct state_batch *batch);

// The error of all changes that are good so far.
void topic_changes_fail(struct controller_op *op, int16_t error, const char *why);
