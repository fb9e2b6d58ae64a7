// SPDX-License-Identifier: Apache-2.0
// LeaveGroup: members go, and are not waited for any more.
#include "broker/handlers/answer.h"
#include "broker/handlers/ask.h"
#include "broker/handlers/handlers.h"
#include "gen/kp_leave_group.h"

struct leave {
    struct coordinator_op op;
    struct kp_leave_group_request in;
    struct kp_leave_group_response out;
};

static void answered(struct coordinator_op *op)
{
    const struct leave *leave = list_entry(op, struct leave, op);
    struct request *request = ask_begin_reply(op);
    kp_leave_group_response_encode(&request->reply, request->version, &leave->out);
    request_reply(request);
}

void handle_leave_group(struct request *request)
{
    struct leave *leave = arena_alloc(&request->arena, sizeof(*leave));
    if (!leave) {
        answer_no_memory(request);
        return;
    }
    if (request_is_malformed(request,
                             kp_leave_group_request_decode(&request->body, request->version,
                                                           &request->arena, &leave->in)))
        return;
    kp_leave_group_response_init(&leave->out);
    ask_submit(request, &leave->op, GROUP_LEAVE, leave->in.group_id, &leave->in, &leave->out,
               answered);
}
