// SPDX-License-Identifier: Apache-2.0
// Heartbeat: a member is alive, and hears whether the group is as it was.
#include "broker/handlers/answer.h"
#include "broker/handlers/ask.h"
#include "broker/handlers/handlers.h"
#include "gen/kp_heartbeat.h"

struct heartbeat {
    struct coordinator_op op;
    struct kp_heartbeat_request in;
    struct kp_heartbeat_response out;
};

static void answered(struct coordinator_op *op)
{
    const struct heartbeat *heartbeat = list_entry(op, struct heartbeat, op);
    struct request *request = ask_begin_reply(op);
    kp_heartbeat_response_encode(&request->reply, request->version, &heartbeat->out);
    request_reply(request);
}

void handle_heartbeat(struct request *request)
{
    struct heartbeat *heartbeat = arena_alloc(&request->arena, sizeof(*heartbeat));
    if (!heartbeat) {
        answer_no_memory(request);
        return;
    }
    if (request_is_malformed(request, kp_heartbeat_request_decode(&request->body, request->version,
                                                                  &request->arena, &heartbeat->in)))
        return;
    kp_heartbeat_response_init(&heartbeat->out);
    ask_submit(request, &heartbeat->op, GROUP_HEARTBEAT, heartbeat->in.group_id, &heartbeat->in,
               &heartbeat->out, answered);
}
