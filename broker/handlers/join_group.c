// SPDX-License-Identifier: Apache-2.0
// JoinGroup: a member joins, or joins again. Answered when everybody else has, or their time is
// over.
#include "broker/handlers/answer.h"
#include "broker/handlers/ask.h"
#include "broker/handlers/handlers.h"
#include "gen/kp_join_group.h"

struct join {
    struct coordinator_op op;
    struct kp_join_group_request in;
    struct kp_join_group_response out;
};

static void answered(struct coordinator_op *op)
{
    const struct join *join = list_entry(op, struct join, op);
    struct request *request = ask_begin_reply(op);
    kp_join_group_response_encode(&request->reply, request->version, &join->out);
    request_reply(request);
}

void handle_join_group(struct request *request)
{
    struct join *join = arena_alloc(&request->arena, sizeof(*join));
    if (!join) {
        answer_no_memory(request);
        return;
    }
    if (request_is_malformed(request, kp_join_group_request_decode(&request->body, request->version,
                                                                   &request->arena, &join->in)))
        return;
    if (!ask_keep(request, &join->in.group_id) || !ask_keep(request, &join->in.member_id) ||
        !ask_keep(request, &join->in.group_instance_id)) {
        answer_no_memory(request);
        return;
    }
    kp_join_group_response_init(&join->out);
    ask_submit(request, &join->op, GROUP_JOIN, join->in.group_id, &join->in, &join->out, answered);
}
