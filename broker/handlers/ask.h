// SPDX-License-Identifier: Apache-2.0
// A request that is put to a group, as most of the group APIs are.
#pragma once

#include "broker/groups/coordinator.h"
#include "broker/request.h"

// Makes a text of the request outlive its body. False without memory.
bool ask_keep(struct request *request, struct span *text);

// Puts request `in` to a group, to be answered in `out`, which its _init has filled; `done` is
// called with the request as the operation's context. Until then request->state is `op`, and the
// request can be interrupted. JOIN, SYNC: group, member_id and group_instance_id were kept
// (ask_keep), for the body goes when the answer waits for other members.
void ask_submit(struct request *request, struct coordinator_op *op, enum group_ask_kind kind,
                struct span group, const void *in, void *out,
                void (*done)(struct coordinator_op *op));

// In `done`: the request, with the reply begun. Encode the answer, then request_reply.
struct request *ask_begin_reply(struct coordinator_op *op);
