// SPDX-License-Identifier: Apache-2.0
// OffsetDelete: a group forgets where it stands in some partitions, unless its members are
// subscribed to them. Answered when that is durable.
#include "broker/catalog.h"
#include "broker/groups/coordinator.h"
#include "broker/handlers/answer.h"
#include "broker/handlers/handlers.h"
#include "broker/shard.h"
#include "gen/kp_offset_delete.h"
#include "protocol/error.h"

struct offset_delete {
    struct kp_offset_delete_request in;
    struct kp_offset_delete_response out;
    struct coordinator_op op;
};

static bool add_topic(struct request *request, const struct kp_offset_delete_request_topic *in,
                      const struct coordinator_entry *entries,
                      struct kp_offset_delete_response_topic *out)
{
    out->name = in->name;
    out->partitions =
        arena_array(&request->arena, (size_t)in->partitions_count, sizeof(*out->partitions));
    if (!out->partitions)
        return false;
    out->partitions_count = in->partitions_count;
    for (int32_t i = 0; i < in->partitions_count; i++)
        out->partitions[i] = (struct kp_offset_delete_response_partition){
            .partition_index = entries[i].partition, .error_code = entries[i].error};
    return true;
}

static bool fill(struct request *request, struct offset_delete *delete)
{
    const struct coordinator_entry *entries = delete->op.entries;
    const struct kp_offset_delete_request *in = &delete->in;
    struct kp_offset_delete_response *out = &delete->out;
    out->topics = arena_array(&request->arena, (size_t)in->topics_count, sizeof(*out->topics));
    if (!out->topics)
        return false;
    out->topics_count = in->topics_count;
    for (int32_t i = 0; i < in->topics_count; i++) {
        if (!add_topic(request, &in->topics[i], entries, &out->topics[i]))
            return false;
        entries += in->topics[i].partitions_count;
    }
    return true;
}

static void deleted(struct coordinator_op *op)
{
    struct request *request = op->context;
    struct offset_delete *delete = request->state;
    kp_offset_delete_response_init(&delete->out);
    delete->out.error_code = op->error;
    if (!op->error && !fill(request, delete)) {
        answer_no_memory(request);
        return;
    }
    request_begin_reply(request);
    kp_offset_delete_response_encode(&request->reply, request->version, &delete->out);
    request_reply(request);
}

static struct coordinator_entry *take_topic(const struct request *request,
                                            const struct kp_offset_delete_request_topic *in,
                                            struct coordinator_entry *entries)
{
    const struct catalog_topic *topic = catalog_find(request->shard->catalog, in->name);
    for (int32_t i = 0; i < in->partitions_count; i++) {
        int32_t partition = in->partitions[i].partition_index;
        bool exists = topic && partition >= 0 && partition < topic->partition_count;
        *entries++ = (struct coordinator_entry){
            .topic_id = topic ? topic->id : (struct kp_uuid){{0}},
            .partition = partition,
            .error = exists ? 0 : KP_ERROR_UNKNOWN_TOPIC_OR_PARTITION,
        };
    }
    return entries;
}

void handle_offset_delete(struct request *request)
{
    struct offset_delete *delete = arena_alloc(&request->arena, sizeof(*delete));
    request->state = delete;
    if (!delete) {
        answer_no_memory(request);
        return;
    }
    struct kp_offset_delete_request *in = &delete->in;
    if (request_is_malformed(request, kp_offset_delete_request_decode(
                                          &request->body, request->version, &request->arena, in)))
        return;
    size_t count = 0;
    for (int32_t i = 0; i < in->topics_count; i++)
        count += (size_t)in->topics[i].partitions_count;
    struct coordinator_entry *entries = arena_array(&request->arena, count, sizeof(*entries));
    if (!entries) {
        answer_no_memory(request);
        return;
    }
    delete->op = (struct coordinator_op){
        .kind = COORDINATOR_DELETE_OFFSETS,
        .group = in->group_id,
        .entries = entries,
        .entry_count = (uint32_t)count,
        .arena = &request->arena,
        .done = deleted,
        .context = request,
    };
    for (int32_t i = 0; i < in->topics_count; i++)
        entries = take_topic(request, &in->topics[i], entries);
    coordinator_submit(request->shard, &delete->op);
}
