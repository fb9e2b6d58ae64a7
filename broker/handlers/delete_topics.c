// SPDX-License-Identifier: Apache-2.0
// DeleteTopics, by name or by id. Answered when the names are free again on every shard; the files
// go in the background.
#include <stdio.h>

#include "broker/handlers/answer.h"
#include "broker/handlers/handlers.h"
#include "gen/kp_delete_topics.h"
#include "protocol/error.h"

struct delete_topics {
    struct kp_delete_topics_request in;
    struct kp_delete_topics_response out;
    struct controller_op op;
};

static void deleted(struct controller_op *op)
{
    struct request *request = op->context;
    struct delete_topics *delete = request->state;
    struct kp_delete_topics_response *out = &delete->out;
    kp_delete_topics_response_init(out);
    out->responses = arena_array(&request->arena, op->change_count, sizeof(*out->responses));
    if (!out->responses) {
        answer_no_memory(request);
        return;
    }
    out->responses_count = (int32_t)op->change_count;
    for (uint32_t i = 0; i < op->change_count; i++) {
        struct kp_delete_topics_response_topic *topic = &out->responses[i];
        kp_delete_topics_response_topic_init(topic);
        topic->name = op->changes[i].name;
        topic->topic_id = op->changes[i].id;
        topic->error_code = op->changes[i].error;
        topic->error_message = answer_why(request, &op->changes[i]);
    }
    request_begin_reply(request);
    kp_delete_topics_response_encode(&request->reply, request->version, out);
    request_reply(request);
}

static void take_topic(const struct kp_delete_topics_request_topic *in,
                       struct controller_change *change)
{
    change->name = in->name;
    change->id = in->topic_id;
    if (in->name.data && !kp_uuid_is_zero(in->topic_id)) {
        change->error = KP_ERROR_INVALID_REQUEST;
        snprintf(change->why, sizeof(change->why), "either the name or the id is needed, not both");
    }
}

void handle_delete_topics(struct request *request)
{
    struct delete_topics *delete = arena_alloc(&request->arena, sizeof(*delete));
    request->state = delete;
    if (!delete) {
        answer_no_memory(request);
        return;
    }
    struct kp_delete_topics_request *in = &delete->in;
    if (request_is_malformed(request, kp_delete_topics_request_decode(
                                          &request->body, request->version, &request->arena, in)))
        return;
    bool by_list = request->version >= 6;
    int32_t count = by_list ? in->topics_count : in->topic_names_count;
    delete->op.kind = CONTROLLER_DELETE_TOPICS;
    delete->op.changes = answer_changes(request, count);
    if (!delete->op.changes) {
        answer_no_memory(request);
        return;
    }
    delete->op.change_count = (uint32_t)count;
    for (int32_t i = 0; i < count; i++) {
        if (by_list)
            take_topic(&in->topics[i], &delete->op.changes[i]);
        else
            delete->op.changes[i].name = in->topic_names[i];
    }
    answer_submit(request, &delete->op, deleted);
}
