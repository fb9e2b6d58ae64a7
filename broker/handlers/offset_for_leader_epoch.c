// SPDX-License-Identifier: Apache-2.0
// OffsetForLeaderEpoch: where a leader epoch ends. There is one leader, and its epoch is 0 for
// ever: it ends where the partition does, and other epochs never were.
#include "base/check.h"
#include "broker/handlers/answer.h"
#include "broker/handlers/data_path.h"
#include "broker/handlers/handlers.h"
#include "broker/shard.h"
#include "gen/kp_offset_for_leader_epoch.h"

struct epochs {
    struct request *request;
    struct kp_offset_for_leader_epoch_response out;
    uint32_t pending;
    bool failed; // memory ran out on the way
};

struct epoch_part {
    struct epochs *epochs;
    struct kp_offset_for_leader_epoch_response_partition *out;
    struct partition_op op;
};

static void one_done(struct epochs *epochs)
{
    CHECK(epochs->pending > 0);
    if (--epochs->pending > 0)
        return;
    struct request *request = epochs->request;
    if (epochs->failed) {
        answer_no_memory(request);
        return;
    }
    request_begin_reply(request);
    kp_offset_for_leader_epoch_response_encode(&request->reply, request->version, &epochs->out);
    request_reply(request);
}

static void part_done(struct partition_op *op)
{
    struct epoch_part *part = op->context;
    part->out->error_code = data_path_error(op->error);
    if (!op->error) {
        part->out->leader_epoch = DATA_PATH_EPOCH;
        part->out->end_offset = op->offsets.committed;
    }
    one_done(part->epochs);
}

static void start_part(struct epochs *epochs, struct epoch_part *part)
{
    part->epochs = epochs;
    part->op.kind = PARTITION_OFFSETS;
    part->op.done = part_done;
    part->op.context = part;
    epochs->pending++;
    partition_start(epochs->request->shard, &part->op);
}

static bool start_topic(struct epochs *epochs,
                        const struct kp_offset_for_leader_epoch_request_topic *in,
                        struct kp_offset_for_leader_epoch_response_topic *out)
{
    struct request *request = epochs->request;
    size_t count = (size_t)in->partitions_count;
    out->topic = in->topic;
    out->partitions = arena_array(&request->arena, count, sizeof(*out->partitions));
    struct epoch_part *parts = arena_array(&request->arena, count, sizeof(*parts));
    int16_t topic_error;
    const struct catalog_topic *topic =
        data_path_topic(request, in->topic, (struct kp_uuid){{0}}, &topic_error);
    if (!out->partitions || !parts)
        return false;
    out->partitions_count = in->partitions_count;
    for (int32_t i = 0; i < in->partitions_count; i++) {
        const struct kp_offset_for_leader_epoch_request_partition *from = &in->partitions[i];
        struct epoch_part *part = &parts[i];
        part->out = &out->partitions[i];
        kp_offset_for_leader_epoch_response_partition_init(part->out);
        part->out->partition = from->partition;
        int16_t error = topic_error;
        if (!error)
            error = data_path_partition(topic, from->partition, &part->op.key);
        if (!error)
            error = data_path_epoch(from->current_leader_epoch);
        part->out->error_code = error;
        if (!error && from->leader_epoch == DATA_PATH_EPOCH)
            start_part(epochs, part);
    }
    return true;
}

void handle_offset_for_leader_epoch(struct request *request)
{
    struct kp_offset_for_leader_epoch_request in;
    if (request_is_malformed(request, kp_offset_for_leader_epoch_request_decode(
                                          &request->body, request->version, &request->arena, &in)))
        return;
    struct epochs *epochs = arena_alloc(&request->arena, sizeof(*epochs));
    struct kp_offset_for_leader_epoch_response_topic *topics =
        arena_array(&request->arena, (size_t)in.topics_count, sizeof(*topics));
    if (!epochs || !topics) {
        answer_no_memory(request);
        return;
    }
    epochs->request = request;
    kp_offset_for_leader_epoch_response_init(&epochs->out);
    epochs->out.topics = topics;
    epochs->pending = 1;
    for (int32_t i = 0; i < in.topics_count && !epochs->failed; i++) {
        epochs->failed = !start_topic(epochs, &in.topics[i], &topics[i]);
        epochs->out.topics_count += !epochs->failed;
    }
    one_done(epochs);
}
