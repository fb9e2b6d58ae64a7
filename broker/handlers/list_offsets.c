// SPDX-License-Identifier: Apache-2.0
// ListOffsets: the first or last offset of partitions, or the first one from a time on.
#include <errno.h>

#include "base/check.h"
#include "broker/handlers/data_path.h"
#include "broker/handlers/handlers.h"
#include "broker/shard.h"
#include "gen/kp_list_offsets.h"
#include "protocol/error.h"

// Times before 1970 stand for places.
enum {
    LATEST = -1,
    EARLIEST = -2,
    MAX_TIMESTAMP = -3,
    EARLIEST_LOCAL = -4, // all of the log is local
    LATEST_TIERED = -5,  // nothing is anywhere else
    PENDING_UPLOAD = -6,
};

struct list_offsets {
    struct request *request;
    struct kp_list_offsets_response out;
    uint32_t pending;
    bool failed; // memory ran out on the way
};

struct list_part {
    struct list_offsets *list;
    struct kp_list_offsets_response_partition *out;
    int64_t timestamp;
    struct partition_op op;
};

static void one_done(struct list_offsets *list)
{
    CHECK(list->pending > 0);
    if (--list->pending > 0)
        return;
    struct request *request = list->request;
    if (list->failed) {
        request_abort(request, "no memory for the request");
        return;
    }
    request_begin_reply(request);
    kp_list_offsets_response_encode(&request->reply, request->version, &list->out);
    request_reply(request);
}

static void part_done(struct partition_op *op)
{
    struct list_part *part = op->context;
    struct kp_list_offsets_response_partition *out = part->out;
    out->error_code = data_path_error(op->error);
    if (op->error) {
        // Only an answer.
    } else if (op->kind == PARTITION_FIND_TIME) {
        out->offset = op->time.offset;
        out->timestamp = op->time.offset < 0 ? -1 : op->time.found_timestamp;
    } else {
        out->offset = part->timestamp == LATEST ? op->offsets.committed : op->offsets.start;
    }
    if (out->offset >= 0)
        out->leader_epoch = DATA_PATH_EPOCH;
    one_done(part->list);
}

static void start_part(struct list_part *part)
{
    switch (part->timestamp) {
    case LATEST:
    case EARLIEST:
    case EARLIEST_LOCAL:
        part->op.kind = PARTITION_OFFSETS;
        break;
    case LATEST_TIERED:
    case PENDING_UPLOAD:
        return;
    default:
        part->op.kind = PARTITION_FIND_TIME;
        part->op.time.timestamp = part->timestamp == MAX_TIMESTAMP ? LOG_TIME_MAX : part->timestamp;
        break;
    }
    if (part->timestamp < PENDING_UPLOAD) {
        part->out->error_code = KP_ERROR_INVALID_REQUEST;
        return;
    }
    part->op.done = part_done;
    part->op.context = part;
    part->list->pending++;
    partition_start(part->list->request->shard, &part->op);
}

// How often each partition of the topic is asked for: 0, 1 or more. NULL without memory.
static uint8_t *count_places(struct arena *arena, const struct catalog_topic *topic,
                             const struct kp_list_offsets_request_topic *in)
{
    uint8_t *times = arena_alloc(arena, topic ? (size_t)topic->partition_count : 0);
    for (int32_t i = 0; times && topic && i < in->partitions_count; i++) {
        int32_t partition = in->partitions[i].partition_index;
        if (partition >= 0 && partition < topic->partition_count && times[partition] < 2)
            times[partition]++;
    }
    return times;
}

static int start_topic(struct list_offsets *list, const struct kp_list_offsets_request_topic *in,
                       struct kp_list_offsets_response_topic *out)
{
    struct request *request = list->request;
    size_t count = (size_t)in->partitions_count;
    out->name = in->name;
    out->partitions = arena_array(&request->arena, count, sizeof(*out->partitions));
    struct list_part *parts = arena_array(&request->arena, count, sizeof(*parts));
    int16_t topic_error;
    const struct catalog_topic *topic =
        data_path_topic(request, in->name, (struct kp_uuid){{0}}, &topic_error);
    const uint8_t *times = count_places(&request->arena, topic, in);
    if (!out->partitions || !parts || !times)
        return -ENOMEM;
    out->partitions_count = in->partitions_count;
    for (int32_t i = 0; i < in->partitions_count; i++) {
        const struct kp_list_offsets_request_partition *from = &in->partitions[i];
        struct list_part *part = &parts[i];
        part->list = list;
        part->out = &out->partitions[i];
        part->timestamp = from->timestamp;
        kp_list_offsets_response_partition_init(part->out);
        part->out->partition_index = from->partition_index;
        int16_t error = topic_error;
        if (!error)
            error = data_path_partition(topic, from->partition_index, &part->op.key);
        if (!error && times[from->partition_index] > 1)
            error = KP_ERROR_INVALID_REQUEST;
        if (!error)
            error = data_path_epoch(from->current_leader_epoch);
        part->out->error_code = error;
        if (!error)
            start_part(part);
    }
    return 0;
}

void handle_list_offsets(struct request *request)
{
    struct kp_list_offsets_request in;
    int decoded =
        kp_list_offsets_request_decode(&request->body, request->version, &request->arena, &in);
    if (request_is_malformed(request, decoded))
        return;
    size_t count = (size_t)in.topics_count;
    struct list_offsets *list = arena_alloc(&request->arena, sizeof(*list));
    struct kp_list_offsets_response_topic *topics =
        arena_array(&request->arena, count, sizeof(*topics));
    if (!list || !topics) {
        request_abort(request, "no memory for the request");
        return;
    }
    list->request = request;
    kp_list_offsets_response_init(&list->out);
    list->out.topics = topics;
    list->pending = 1;
    for (size_t i = 0; i < count; i++) {
        if (start_topic(list, &in.topics[i], &topics[i]) != 0) {
            list->failed = true;
            break;
        }
        list->out.topics_count++;
    }
    one_done(list);
}
