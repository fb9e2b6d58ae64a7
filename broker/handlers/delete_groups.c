// SPDX-License-Identifier: Apache-2.0
// DeleteGroups: groups without members go, with their offsets. One ask per group, one after the
// other.
#include "broker/handlers/answer.h"
#include "broker/handlers/ask.h"
#include "broker/handlers/handlers.h"
#include "gen/kp_delete_groups.h"

struct delete
{
    struct coordinator_op op;
    struct kp_delete_groups_request in;
    struct kp_delete_groups_response out;
};

static void one_deleted(struct coordinator_op *op);

static void delete_next(struct request *request, struct delete *delete)
{
    struct kp_delete_groups_response *out = &delete->out;
    if (out->results_count < delete->in.groups_names_count) {
        struct kp_delete_groups_response_group *group = &out->results[out->results_count++];
        kp_delete_groups_response_group_init(group);
        group->group_id = delete->in.groups_names[out->results_count - 1];
        ask_submit(request, &delete->op, GROUP_DELETE, group->group_id, NULL, group, one_deleted);
        return;
    }
    ask_begin_reply(&delete->op);
    kp_delete_groups_response_encode(&request->reply, request->version, out);
    request_reply(request);
}

static void one_deleted(struct coordinator_op *op)
{
    delete_next(op->context, list_entry(op, struct delete, op));
}

void handle_delete_groups(struct request *request)
{
    struct delete *delete = arena_alloc(&request->arena, sizeof(*delete));
    if (!delete) {
        answer_no_memory(request);
        return;
    }
    if (request_is_malformed(request,
                             kp_delete_groups_request_decode(&request->body, request->version,
                                                             &request->arena, &delete->in)))
        return;
    kp_delete_groups_response_init(&delete->out);
    delete->out.results = arena_array(&request->arena, (size_t) delete->in.groups_names_count,
                                      sizeof(*delete->out.results));
    if (!delete->out.results) {
        answer_no_memory(request);
        return;
    }
    delete->op.context = request;
    delete_next(request, delete);
}
