// SPDX-License-Identifier: Apache-2.0
// ConsumerGroupHeartbeat (KIP-848): a member joins, stays, says what it wants and has, and leaves.
#include "broker/handlers/answer.h"
#include "broker/handlers/ask.h"
#include "broker/handlers/handlers.h"
#include "gen/kp_consumer_group_heartbeat.h"

struct heartbeat {
    struct coordinator_op op;
    struct kp_consumer_group_heartbeat_request in;
    struct kp_consumer_group_heartbeat_response out;
};

static void answered(struct coordinator_op *op)
{
    const struct heartbeat *heartbeat = list_entry(op, struct heartbeat, op);
    struct request *request = ask_begin_reply(op);
    kp_consumer_group_heartbeat_response_encode(&request->reply, request->version, &heartbeat->out);
    request_reply(request);
}

void handle_consumer_group_heartbeat(struct request *request)
{
    struct heartbeat *heartbeat = arena_alloc(&request->arena, sizeof(*heartbeat));
    if (!heartbeat) {
        answer_no_memory(request);
        return;
    }
    if (request_is_malformed(
            request, kp_consumer_group_heartbeat_request_decode(&request->body, request->version,
                                                                &request->arena, &heartbeat->in)))
        return;
    kp_consumer_group_heartbeat_response_init(&heartbeat->out);
    ask_submit(request, &heartbeat->op, GROUP_CONSUMER_HEARTBEAT, heartbeat->in.group_id,
               &heartbeat->in, &heartbeat->out, answered);
}
