// SPDX-License-Identifier: Apache-2.0
// DeleteRecords: moves the first offset of partitions forward.
#include <errno.h>

#include "base/check.h"
#include "broker/handlers/data_path.h"
#include "broker/handlers/handlers.h"
#include "broker/shard.h"
#include "gen/kp_delete_records.h"
#include "protocol/error.h"

struct delete_records {
    struct request *request;
    struct kp_delete_records_response out;
    uint32_t pending;
    bool failed; // memory ran out on the way
};

struct delete_part {
    struct delete_records *delete;
    struct kp_delete_records_response_partition *out;
    struct partition_op op;
};

static void one_done(struct delete_records *delete)
{
    CHECK(delete->pending > 0);
    if (--delete->pending > 0)
        return;
    struct request *request = delete->request;
    if (delete->failed) {
        request_abort(request, "no memory for the request");
        return;
    }
    request_begin_reply(request);
    kp_delete_records_response_encode(&request->reply, request->version, &delete->out);
    request_reply(request);
}

static void part_done(struct partition_op *op)
{
    struct delete_part *part = op->context;
    part->out->error_code = data_path_error(op->error);
    if (!op->error)
        part->out->low_watermark = op->trim.start;
    one_done(part->delete);
}

static void start_part(struct delete_part *part, const struct catalog_topic *topic,
                       const struct kp_delete_records_request_partition *in)
{
    int16_t error = data_path_partition(topic, in->partition_index, &part->op.key);
    if (!error && topic->internal)
        error = KP_ERROR_POLICY_VIOLATION;
    // -1 stands for all there is.
    if (!error && in->offset < -1)
        error = KP_ERROR_OFFSET_OUT_OF_RANGE;
    part->out->error_code = error;
    if (error)
        return;
    part->op.kind = PARTITION_TRIM;
    part->op.done = part_done;
    part->op.context = part;
    part->op.trim.offset = in->offset;
    part->delete->pending++;
    partition_start(part->delete->request->shard, &part->op);
}

static int start_topic(struct delete_records *delete,
                       const struct kp_delete_records_request_topic *in,
                       struct kp_delete_records_response_topic *out)
{
    struct request *request = delete->request;
    size_t count = (size_t)in->partitions_count;
    out->name = in->name;
    out->partitions = arena_array(&request->arena, count, sizeof(*out->partitions));
    struct delete_part *parts = arena_array(&request->arena, count, sizeof(*parts));
    if (!out->partitions || !parts)
        return -ENOMEM;
    out->partitions_count = in->partitions_count;
    int16_t error;
    const struct catalog_topic *topic =
        data_path_topic(request, in->name, (struct kp_uuid){{0}}, &error);
    for (size_t i = 0; i < count; i++) {
        parts[i].delete = delete;
        parts[i].out = &out->partitions[i];
        kp_delete_records_response_partition_init(parts[i].out);
        parts[i].out->partition_index = in->partitions[i].partition_index;
        parts[i].out->low_watermark = -1;
        parts[i].out->error_code = error;
        if (!error)
            start_part(&parts[i], topic, &in->partitions[i]);
    }
    return 0;
}

void handle_delete_records(struct request *request)
{
    struct kp_delete_records_request in;
    int decoded =
        kp_delete_records_request_decode(&request->body, request->version, &request->arena, &in);
    if (request_is_malformed(request, decoded))
        return;
    size_t count = (size_t)in.topics_count;
    struct delete_records *delete = arena_alloc(&request->arena, sizeof(*delete));
    struct kp_delete_records_response_topic *topics =
        arena_array(&request->arena, count, sizeof(*topics));
    if (!delete || !topics) {
        request_abort(request, "no memory for the request");
        return;
    }
    delete->request = request;
    kp_delete_records_response_init(&delete->out);
    delete->out.topics = topics;
    delete->pending = 1;
    for (size_t i = 0; i < count; i++) {
        if (start_topic(delete, &in.topics[i], &topics[i]) != 0) {
            delete->failed = true;
            break;
        }
        delete->out.topics_count++;
    }
    one_done(delete);
}
