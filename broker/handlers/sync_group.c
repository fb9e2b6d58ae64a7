// SPDX-License-Identifier: Apache-2.0
// SyncGroup: a member asks for its assignment, and the leader brings everybody's.
#include "broker/handlers/answer.h"
#include "broker/handlers/ask.h"
#include "broker/handlers/handlers.h"
#include "gen/kp_sync_group.h"

struct sync {
    struct coordinator_op op;
    struct kp_sync_group_request in;
    struct kp_sync_group_response out;
};

static void answered(struct coordinator_op *op)
{
    const struct sync *sync = list_entry(op, struct sync, op);
    struct request *request = ask_begin_reply(op);
    kp_sync_group_response_encode(&request->reply, request->version, &sync->out);
    request_reply(request);
}

void handle_sync_group(struct request *request)
{
    struct sync *sync = arena_alloc(&request->arena, sizeof(*sync));
    if (!sync) {
        answer_no_memory(request);
        return;
    }
    if (request_is_malformed(request, kp_sync_group_request_decode(&request->body, request->version,
                                                                   &request->arena, &sync->in)))
        return;
    if (!ask_keep(request, &sync->in.group_id) || !ask_keep(request, &sync->in.member_id) ||
        !ask_keep(request, &sync->in.group_instance_id)) {
        answer_no_memory(request);
        return;
    }
    kp_sync_group_response_init(&sync->out);
    ask_submit(request, &sync->op, GROUP_SYNC, sync->in.group_id, &sync->in, &sync->out, answered);
}
