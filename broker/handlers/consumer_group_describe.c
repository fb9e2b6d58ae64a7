// SPDX-License-Identifier: Apache-2.0
// ConsumerGroupDescribe (KIP-848): groups of the newer protocol and their members. One ask per
// group, one after the other, as their answers all take memory from the request's arena.
#include "broker/handlers/answer.h"
#include "broker/handlers/ask.h"
#include "broker/handlers/handlers.h"
#include "gen/kp_consumer_group_describe.h"
#include "protocol/error.h"

struct describe {
    struct coordinator_op op;
    struct kp_consumer_group_describe_request in;
    struct kp_consumer_group_describe_response out;
};

static void one_described(struct coordinator_op *op);

static void describe_next(struct request *request, struct describe *describe)
{
    struct kp_consumer_group_describe_response *out = &describe->out;
    if (out->groups_count < describe->in.group_ids_count) {
        struct kp_consumer_group_describe_response_group *group = &out->groups[out->groups_count];
        kp_consumer_group_describe_response_group_init(group);
        group->group_id = describe->in.group_ids[out->groups_count];
        ask_submit(request, &describe->op, GROUP_CONSUMER_DESCRIBE, group->group_id, NULL, group,
                   one_described);
        return;
    }
    ask_begin_reply(&describe->op);
    kp_consumer_group_describe_response_encode(&request->reply, request->version, out);
    request_reply(request);
}

static void one_described(struct coordinator_op *op)
{
    struct describe *describe = list_entry(op, struct describe, op);
    struct request *request = op->context;
    struct kp_consumer_group_describe_response_group *group =
        &describe->out.groups[describe->out.groups_count++];
    if (group->error_code && !group->error_message.data)
        group->error_message = span_text(kp_error_text(group->error_code));
    if (describe->in.include_authorized_operations && !group->error_code)
        group->authorized_operations = ANSWER_GROUP_OPERATIONS;
    describe_next(request, describe);
}

void handle_consumer_group_describe(struct request *request)
{
    struct describe *describe = arena_alloc(&request->arena, sizeof(*describe));
    if (!describe) {
        answer_no_memory(request);
        return;
    }
    if (request_is_malformed(
            request, kp_consumer_group_describe_request_decode(&request->body, request->version,
                                                               &request->arena, &describe->in)))
        return;
    kp_consumer_group_describe_response_init(&describe->out);
    describe->out.groups = arena_array(&request->arena, (size_t)describe->in.group_ids_count,
                                       sizeof(*describe->out.groups));
    if (!describe->out.groups) {
        answer_no_memory(request);
        return;
    }
    describe->op.context = request;
    describe_next(request, describe);
}
