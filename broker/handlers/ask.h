// SPDX-License-Identifier: Apache-2.0
// A request that is put to a group, as most of the group APIs are.
#pragma once

#include "broker/groups/coordinator.h"
#include "broker/request.h"

// Puts request `in` to a group, to be answered in `out`, which its _init has filled; `done` is
// called with the request as the operation's context. Until then request->state is `op`, and the
// request can be interrupted.
void ask_submit(struct request *request, struct coordinator_op *op, enum group_ask_kind kind,
                struct span group, const void *in, void *out,
                void (*done)(struct coordinator_op *op));

// In `done`: the request, with the reply begun. Encode the answer, then request_reply.
struct request *ask_begin_reply(struct coordinator_op *op);
