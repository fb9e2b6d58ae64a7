// SPDX-License-Identifier: Apache-2.0
// CreatePartitions: more partitions for topics. Answered when every shard serves them.
#include <stdio.h>

#include "broker/config.h"
#include "broker/handlers/answer.h"
#include "broker/handlers/handlers.h"
#include "broker/shard.h"
#include "gen/kp_create_partitions.h"
#include "protocol/error.h"

struct create_partitions {
    struct kp_create_partitions_request in;
    struct kp_create_partitions_response out;
    struct controller_op op;
};

static void created(struct controller_op *op)
{
    struct request *request = op->context;
    struct create_partitions *create = request->state;
    struct kp_create_partitions_response *out = &create->out;
    kp_create_partitions_response_init(out);
    out->results = arena_array(&request->arena, op->change_count, sizeof(*out->results));
    if (!out->results) {
        answer_no_memory(request);
        return;
    }
    out->results_count = (int32_t)op->change_count;
    for (uint32_t i = 0; i < op->change_count; i++) {
        struct kp_create_partitions_response_topic *topic = &out->results[i];
        kp_create_partitions_response_topic_init(topic);
        topic->name = op->changes[i].name;
        topic->error_code = op->changes[i].error;
        topic->error_message = answer_why(request, &op->changes[i]);
    }
    request_begin_reply(request);
    kp_create_partitions_response_encode(&request->reply, request->version, out);
    request_reply(request);
}

static void take_topic(const struct request *request,
                       const struct kp_create_partitions_request_topic *in,
                       struct controller_change *change)
{
    change->name = in->name;
    change->partition_count = in->count;
    change->assignment_count = in->assignments_count;
    for (int32_t i = 0; i < in->assignments_count; i++) {
        const struct kp_create_partitions_request_assignment *assignment = &in->assignments[i];
        if (assignment->broker_ids_count == 1 &&
            assignment->broker_ids[0] == request->shard->config->node_id)
            continue;
        change->error = KP_ERROR_INVALID_REPLICA_ASSIGNMENT;
        snprintf(change->why, sizeof(change->why),
                 "every partition has one replica, on this broker");
    }
}

void handle_create_partitions(struct request *request)
{
    struct create_partitions *create = arena_alloc(&request->arena, sizeof(*create));
    request->state = create;
    if (!create) {
        answer_no_memory(request);
        return;
    }
    if (request_is_malformed(request,
                             kp_create_partitions_request_decode(&request->body, request->version,
                                                                 &request->arena, &create->in)))
        return;
    create->op.kind = CONTROLLER_CREATE_PARTITIONS;
    create->op.validate_only = create->in.validate_only;
    create->op.changes = answer_changes(request, create->in.topics_count);
    if (!create->op.changes) {
        answer_no_memory(request);
        return;
    }
    create->op.change_count = (uint32_t)create->in.topics_count;
    for (int32_t i = 0; i < create->in.topics_count; i++)
        take_topic(request, &create->in.topics[i], &create->op.changes[i]);
    answer_submit(request, &create->op, created);
}
