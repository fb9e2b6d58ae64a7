// SPDX-License-Identifier: Apache-2.0
// DescribeGroups: groups and their members. One ask per group, one after the other, as their
// answers all take memory from the request's arena.
#include "broker/handlers/answer.h"
#include "broker/handlers/ask.h"
#include "broker/handlers/handlers.h"
#include "gen/kp_describe_groups.h"
#include "protocol/error.h"

enum { VERSION_NOT_FOUND = 6 };

struct describe {
    struct coordinator_op op;
    struct kp_describe_groups_request in;
    struct kp_describe_groups_response out;
};

static void one_described(struct coordinator_op *op);

static void describe_next(struct request *request, struct describe *describe)
{
    struct kp_describe_groups_response *out = &describe->out;
    if (out->groups_count < describe->in.groups_count) {
        struct kp_describe_groups_response_group *group = &out->groups[out->groups_count];
        kp_describe_groups_response_group_init(group);
        group->group_id = describe->in.groups[out->groups_count];
        ask_submit(request, &describe->op, GROUP_DESCRIBE, group->group_id, NULL, group,
                   one_described);
        return;
    }
    ask_begin_reply(&describe->op);
    kp_describe_groups_response_encode(&request->reply, request->version, out);
    request_reply(request);
}

// Until version 5 a group that does not exist is a dead one.
static void tell_absence(const struct request *request,
                         struct kp_describe_groups_response_group *group)
{
    if (request->version >= VERSION_NOT_FOUND) {
        group->error_message = span_text(kp_error_text(KP_ERROR_GROUP_ID_NOT_FOUND));
        group->group_state = span_text("Dead");
        return;
    }
    group->error_code = 0;
    group->group_state = span_text("Dead");
}

static void one_described(struct coordinator_op *op)
{
    struct describe *describe = list_entry(op, struct describe, op);
    struct request *request = op->context;
    struct kp_describe_groups_response_group *group =
        &describe->out.groups[describe->out.groups_count++];
    if (group->error_code == KP_ERROR_GROUP_ID_NOT_FOUND)
        tell_absence(request, group);
    if (describe->in.include_authorized_operations && !group->error_code)
        group->authorized_operations = ANSWER_GROUP_OPERATIONS;
    describe_next(request, describe);
}

void handle_describe_groups(struct request *request)
{
    struct describe *describe = arena_alloc(&request->arena, sizeof(*describe));
    if (!describe) {
        answer_no_memory(request);
        return;
    }
    if (request_is_malformed(request,
                             kp_describe_groups_request_decode(&request->body, request->version,
                                                               &request->arena, &describe->in)))
        return;
    kp_describe_groups_response_init(&describe->out);
    describe->out.groups = arena_array(&request->arena, (size_t)describe->in.groups_count,
                                       sizeof(*describe->out.groups));
    if (!describe->out.groups) {
        answer_no_memory(request);
        return;
    }
    describe->op.context = request;
    describe_next(request, describe);
}
