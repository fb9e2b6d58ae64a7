// SPDX-License-Identifier: Apache-2.0
// ListGroups: every group, from one shard after the other.
#include "broker/handlers/answer.h"
#include "broker/handlers/handlers.h"
#include "broker/groups/coordinator.h"
#include "broker/shard.h"
#include "gen/kp_list_groups.h"

struct list_groups {
    struct coordinator_op op;
    struct kp_list_groups_request in;
    struct kp_list_groups_response out;
};

static void one_listed(struct coordinator_op *op);

static void list_next(struct request *request, struct list_groups *list, uint32_t shard)
{
    if (shard == shard_count(request->shard)) {
        request_begin_reply(request);
        kp_list_groups_response_encode(&request->reply, request->version, &list->out);
        request_reply(request);
        return;
    }
    list->op = (struct coordinator_op){
        .kind = COORDINATOR_LIST,
        .shard_index = shard,
        .states = list->in.states_filter,
        .state_count = list->in.states_filter_count,
        .types = list->in.types_filter,
        .type_count = list->in.types_filter_count,
        .arena = &request->arena,
        .done = one_listed,
        .context = request,
    };
    coordinator_submit(request->shard, &list->op);
}

// False without memory.
static bool append(struct request *request, struct kp_list_groups_response *out,
                   const struct coordinator_op *op)
{
    size_t before = (size_t)out->groups_count;
    size_t count = before + op->listed_count;
    struct kp_list_groups_response_group *groups =
        arena_array(&request->arena, count, sizeof(*groups));
    if (!groups)
        return false;
    if (before)
        memcpy(groups, out->groups, before * sizeof(*groups));
    for (uint32_t i = 0; i < op->listed_count; i++)
        groups[before + i] = (struct kp_list_groups_response_group){
            .group_id = op->listed[i].name,
            .protocol_type = op->listed[i].protocol_type,
            .group_state = span_text(op->listed[i].state),
            .group_type = span_text(op->listed[i].type),
        };
    out->groups = groups;
    out->groups_count = (int32_t)count;
    return true;
}

static void one_listed(struct coordinator_op *op)
{
    struct list_groups *list = list_entry(op, struct list_groups, op);
    struct request *request = op->context;
    if (op->error)
        list->out.error_code = op->error;
    if (append(request, &list->out, op))
        list_next(request, list, op->shard_index + 1);
    else
        answer_no_memory(request);
}

void handle_list_groups(struct request *request)
{
    struct list_groups *list = arena_alloc(&request->arena, sizeof(*list));
    if (!list) {
        answer_no_memory(request);
        return;
    }
    if (request_is_malformed(request,
                             kp_list_groups_request_decode(&request->body, request->version,
                                                           &request->arena, &list->in)))
        return;
    kp_list_groups_response_init(&list->out);
    list_next(request, list, 0);
}
