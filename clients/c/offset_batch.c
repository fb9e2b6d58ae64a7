// SPDX-License-Identifier: Apache-2.0
// Stores and fetches a group's offsets.
//
// Invariant: every offset named in the call has been answered by the broker when the call ends
// without an error; a reply that leaves one out cannot be trusted, and counts as corrupt.
#include <stdlib.h>
#include <string.h>

#include "clients/c/consumer.h"
#include "clients/c/error.h"
#include "gen/kp_offset_commit.h"
#include "gen/kp_offset_fetch.h"
#include "protocol/error.h"

enum {
    NAMES_UNTIL = 9,  // later versions name topics by id
    GROUPS_FROM = 8,  // OffsetFetch for several groups at once
    UNANSWERED = -99, // in offset->error while the reply is applied
};

static int order_compare(const void *a, const void *b, void *context)
{
    const struct weir_offset *offsets = context;
    const struct weir_offset *left = &offsets[*(const size_t *)a];
    const struct weir_offset *right = &offsets[*(const size_t *)b];
    int order = strcmp(left->topic, right->topic);
    if (order != 0)
        return order;
    return (left->partition > right->partition) - (left->partition < right->partition);
}

bool offset_batch_topic_starts(const struct offset_batch *batch, size_t i)
{
    return i == 0 || strcmp(batch->offsets[batch->order[i]].topic,
                            batch->offsets[batch->order[i - 1]].topic) != 0;
}

// ------------------------------------------------------------------------------------- commit

// As a member of the group, without which the group accepts nothing while it has members.
static void commit_sign(const struct member *member, struct kp_offset_commit_request *message)
{
    message->member_id = span_text(member->id);
    message->generation_id_or_member_epoch = member->generation;
    if (member_is_static(member))
        message->group_instance_id = span_text(member->consumer->config.group_instance_id);
}

static void commit_encode(struct call *call, struct kp_writer *writer)
{
    struct offset_batch *batch = list_entry(call, struct offset_batch, call);
    struct kp_offset_commit_request message;
    kp_offset_commit_request_init(&message);
    message.group_id = span_text(batch->group);
    message.member_id = span_text("");
    if (batch->member)
        commit_sign(batch->member, &message);
    message.topics = arena_array(writer->arena, batch->count, sizeof(*message.topics));
    struct kp_offset_commit_request_partition *partitions =
        arena_array(writer->arena, batch->count, sizeof(*partitions));
    if (!message.topics || !partitions) {
        writer->failed = true;
        return;
    }
    for (size_t i = 0; i < batch->count; i++) {
        const struct weir_offset *offset = &batch->offsets[batch->order[i]];
        if (offset_batch_topic_starts(batch, i)) {
            struct kp_offset_commit_request_topic *to = &message.topics[message.topics_count++];
            kp_offset_commit_request_topic_init(to);
            to->name = span_text(offset->topic);
            to->partitions = &partitions[i];
        }
        kp_offset_commit_request_partition_init(&partitions[i]);
        partitions[i].partition_index = offset->partition;
        partitions[i].committed_offset = offset->offset;
        partitions[i].committed_metadata = span_text(offset->metadata ? offset->metadata : "");
        message.topics[message.topics_count - 1].partitions_count++;
    }
    kp_offset_commit_request_encode(writer, call->request.version, &message);
}

struct weir_offset *offset_batch_find(const struct offset_batch *batch, struct span topic,
                                      int32_t partition)
{
    size_t low = 0, high = batch->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        struct weir_offset *offset = &batch->offsets[batch->order[middle]];
        struct span name = span_text(offset->topic);
        size_t shorter = name.size < topic.size ? name.size : topic.size;
        int order = shorter ? memcmp(topic.data, name.data, shorter) : 0;
        if (order == 0)
            order = (topic.size > name.size) - (topic.size < name.size);
        if (order == 0)
            order = (partition > offset->partition) - (partition < offset->partition);
        if (order == 0)
            return offset;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

void offset_batch_expect(const struct offset_batch *batch)
{
    for (size_t i = 0; i < batch->count; i++)
        batch->offsets[i].error = UNANSWERED;
}

int offset_batch_check(struct offset_batch *batch)
{
    int repeat = WEIR_OK;
    for (size_t i = 0; i < batch->count; i++) {
        int error = batch->offsets[i].error;
        if (error == UNANSWERED)
            return WEIR_ERR_CORRUPT;
        if (error)
            call_detail(&batch->call, (int16_t)error, (struct span){0});
        // A topic that is gone does not come back for being asked again.
        if (weir_error_retriable(error) && error != WEIR_ERR_UNKNOWN_TOPIC_OR_PARTITION)
            repeat = error;
        else if (error && batch->call.again && batch->call.again(&batch->call, error))
            repeat = error;
    }
    return repeat;
}

static int commit_decode(struct call *call, struct reply *reply)
{
    struct offset_batch *batch = list_entry(call, struct offset_batch, call);
    struct kp_offset_commit_response message;
    if (kp_offset_commit_response_decode(&reply->reader, reply->version, reply->arena, &message) !=
        0)
        return WEIR_ERR_CORRUPT;
    offset_batch_expect(batch);
    for (int32_t t = 0; t < message.topics_count; t++) {
        const struct kp_offset_commit_response_topic *topic = &message.topics[t];
        for (int32_t p = 0; p < topic->partitions_count; p++) {
            struct weir_offset *offset =
                offset_batch_find(batch, topic->name, topic->partitions[p].partition_index);
            if (offset)
                offset->error = error_from_wire(topic->partitions[p].error_code);
        }
    }
    return offset_batch_check(batch);
}

// ------------------------------------------------------------------------------------- fetch

// Both forms of the request have topics of a name and partition numbers, in different types.
static void fetch_encode_old(struct offset_batch *batch, struct kp_writer *writer, int32_t *indexes)
{
    struct kp_offset_fetch_request message;
    kp_offset_fetch_request_init(&message);
    message.group_id = span_text(batch->group);
    message.require_stable = batch->require_stable;
    message.topics = arena_array(writer->arena, batch->count, sizeof(*message.topics));
    if (!message.topics) {
        writer->failed = true;
        return;
    }
    message.topics_count = 0;
    for (size_t i = 0; i < batch->count; i++) {
        if (offset_batch_topic_starts(batch, i)) {
            struct kp_offset_fetch_request_topic *to = &message.topics[message.topics_count++];
            kp_offset_fetch_request_topic_init(to);
            to->name = span_text(batch->offsets[batch->order[i]].topic);
            to->partition_indexes = &indexes[i];
        }
        message.topics[message.topics_count - 1].partition_indexes_count++;
    }
    kp_offset_fetch_request_encode(writer, batch->call.request.version, &message);
}

static void fetch_encode_new(struct offset_batch *batch, struct kp_writer *writer, int32_t *indexes)
{
    struct kp_offset_fetch_request message;
    struct kp_offset_fetch_request_group group;
    kp_offset_fetch_request_init(&message);
    kp_offset_fetch_request_group_init(&group);
    message.require_stable = batch->require_stable;
    message.groups = &group;
    message.groups_count = 1;
    group.group_id = span_text(batch->group);
    group.topics = arena_array(writer->arena, batch->count, sizeof(*group.topics));
    if (!group.topics) {
        writer->failed = true;
        return;
    }
    group.topics_count = 0;
    for (size_t i = 0; i < batch->count; i++) {
        if (offset_batch_topic_starts(batch, i)) {
            struct kp_offset_fetch_request_group_topic *to = &group.topics[group.topics_count++];
            kp_offset_fetch_request_group_topic_init(to);
            to->name = span_text(batch->offsets[batch->order[i]].topic);
            to->partition_indexes = &indexes[i];
        }
        group.topics[group.topics_count - 1].partition_indexes_count++;
    }
    kp_offset_fetch_request_encode(writer, batch->call.request.version, &message);
}

static void fetch_encode(struct call *call, struct kp_writer *writer)
{
    struct offset_batch *batch = list_entry(call, struct offset_batch, call);
    int32_t *indexes = arena_array(writer->arena, batch->count, sizeof(*indexes));
    if (!indexes) {
        writer->failed = true;
        return;
    }
    for (size_t i = 0; i < batch->count; i++)
        indexes[i] = batch->offsets[batch->order[i]].partition;
    if (call->request.version < GROUPS_FROM)
        fetch_encode_old(batch, writer, indexes);
    else
        fetch_encode_new(batch, writer, indexes);
}

static void fetched_store(const struct offset_batch *batch, struct span topic, int32_t partition,
                          int64_t committed, int16_t code)
{
    struct weir_offset *offset = offset_batch_find(batch, topic, partition);
    if (!offset)
        return;
    offset->offset = committed;
    offset->error = error_from_wire(code);
}

static int fetch_apply_new(struct offset_batch *batch,
                           const struct kp_offset_fetch_response *message)
{
    if (message->groups_count != 1)
        return WEIR_ERR_CORRUPT;
    const struct kp_offset_fetch_response_group *group = &message->groups[0];
    if (group->error_code) {
        call_detail(&batch->call, group->error_code, (struct span){0});
        return error_from_wire(group->error_code);
    }
    for (int32_t t = 0; t < group->topics_count; t++) {
        const struct kp_offset_fetch_response_group_topic *topic = &group->topics[t];
        for (int32_t p = 0; p < topic->partitions_count; p++)
            fetched_store(batch, topic->name, topic->partitions[p].partition_index,
                          topic->partitions[p].committed_offset, topic->partitions[p].error_code);
    }
    return offset_batch_check(batch);
}

static int fetch_apply_old(struct offset_batch *batch,
                           const struct kp_offset_fetch_response *message)
{
    if (message->error_code) {
        call_detail(&batch->call, message->error_code, (struct span){0});
        return error_from_wire(message->error_code);
    }
    for (int32_t t = 0; t < message->topics_count; t++) {
        const struct kp_offset_fetch_response_topic *topic = &message->topics[t];
        for (int32_t p = 0; p < topic->partitions_count; p++)
            fetched_store(batch, topic->name, topic->partitions[p].partition_index,
                          topic->partitions[p].committed_offset, topic->partitions[p].error_code);
    }
    return offset_batch_check(batch);
}

static int fetch_decode(struct call *call, struct reply *reply)
{
    struct offset_batch *batch = list_entry(call, struct offset_batch, call);
    struct kp_offset_fetch_response message;
    if (kp_offset_fetch_response_decode(&reply->reader, reply->version, reply->arena, &message) !=
        0)
        return WEIR_ERR_CORRUPT;
    offset_batch_expect(batch);
    return reply->version < GROUPS_FROM ? fetch_apply_old(batch, &message)
                                        : fetch_apply_new(batch, &message);
}

// ------------------------------------------------------------------------------------- life

bool offset_batch_init(struct offset_batch *batch, struct coordinator *coordinator,
                       struct weir_offset *offsets, size_t count, bool commit)
{
    *batch = (struct offset_batch){
        .call =
            {
                .client = coordinator->client,
                .target = CALL_COORDINATOR,
                .api_key = commit ? KP_OFFSET_COMMIT_KEY : KP_OFFSET_FETCH_KEY,
                .version_max = NAMES_UNTIL,
                .coordinator = coordinator,
                .deadline_ns = UINT64_MAX,
                .encode = commit ? commit_encode : fetch_encode,
                .decode = commit ? commit_decode : fetch_decode,
            },
        .group = coordinator->group,
        .offsets = offsets,
        .order = calloc(count + 1, sizeof(size_t)),
        .count = count,
    };
    if (!batch->order)
        return false;
    for (size_t i = 0; i < count; i++)
        batch->order[i] = i;
    qsort_r(batch->order, count, sizeof(size_t), order_compare, offsets);
    return true;
}

void offset_batch_free(struct offset_batch *batch)
{
    free(batch->order);
    batch->order = NULL;
}

int offset_batch_error(const struct offset_batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        if (batch->offsets[i].error)
            return batch->offsets[i].error;
    }
    return WEIR_OK;
}

bool offset_batch_repeats(const struct offset_batch *batch)
{
    for (size_t i = 1; i < batch->count; i++) {
        if (order_compare(&batch->order[i - 1], &batch->order[i], batch->offsets) == 0)
            return true;
    }
    return false;
}
