// SPDX-License-Identifier: Apache-2.0
// OffsetCommit: where a group stands, as one of its members says, or a consumer outside of any
// group. Answered when it is durable.
#include "broker/catalog.h"
#include "broker/config.h"
#include "broker/handlers/answer.h"
#include "broker/handlers/handlers.h"
#include "broker/groups/coordinator.h"
#include "broker/shard.h"
#include "gen/kp_offset_commit.h"
#include "protocol/error.h"

enum { VERSION_TOPIC_IDS = 10 };

struct offset_commit {
    struct kp_offset_commit_request in;
    struct kp_offset_commit_response out;
    struct coordinator_op op;
};

static bool add_topic(struct request *request, const struct kp_offset_commit_request_topic *in,
                      const struct coordinator_entry *entries,
                      struct kp_offset_commit_response_topic *out)
{
    kp_offset_commit_response_topic_init(out);
    out->name = in->name;
    out->topic_id = in->topic_id;
    out->partitions =
        arena_array(&request->arena, (size_t)in->partitions_count, sizeof(*out->partitions));
    if (!out->partitions)
        return false;
    out->partitions_count = in->partitions_count;
    for (int32_t i = 0; i < in->partitions_count; i++)
        out->partitions[i] = (struct kp_offset_commit_response_partition){
            .partition_index = entries[i].partition, .error_code = entries[i].error};
    return true;
}

static void committed(struct coordinator_op *op)
{
    struct request *request = op->context;
    struct offset_commit *commit = request->state;
    struct kp_offset_commit_response *out = &commit->out;
    const struct coordinator_entry *entries = op->entries;
    kp_offset_commit_response_init(out);
    out->topics =
        arena_array(&request->arena, (size_t)commit->in.topics_count, sizeof(*out->topics));
    bool ok = out->topics != NULL;
    for (int32_t i = 0; ok && i < commit->in.topics_count; i++) {
        ok = add_topic(request, &commit->in.topics[i], entries, &out->topics[i]);
        entries += commit->in.topics[i].partitions_count;
    }
    if (!ok) {
        answer_no_memory(request);
        return;
    }
    out->topics_count = commit->in.topics_count;
    request_begin_reply(request);
    kp_offset_commit_response_encode(&request->reply, request->version, out);
    request_reply(request);
}

static int16_t check_entry(const struct request *request, const struct catalog_topic *topic,
                           const struct kp_offset_commit_request_partition *in)
{
    if (!topic)
        return request->version >= VERSION_TOPIC_IDS ? KP_ERROR_UNKNOWN_TOPIC_ID
                                                     : KP_ERROR_UNKNOWN_TOPIC_OR_PARTITION;
    if (in->partition_index < 0 || in->partition_index >= topic->partition_count)
        return KP_ERROR_UNKNOWN_TOPIC_OR_PARTITION;
    if (in->committed_offset < 0)
        return KP_ERROR_INVALID_REQUEST;
    if (in->committed_metadata.size >
        (size_t)config_number(request->shard->config, SETTING_OFFSET_METADATA_MAX_BYTES))
        return KP_ERROR_OFFSET_METADATA_TOO_LARGE;
    return 0;
}

static struct coordinator_entry *take_topic(const struct request *request,
                                            const struct kp_offset_commit_request_topic *in,
                                            struct coordinator_entry *entries)
{
    const struct catalog *catalog = request->shard->catalog;
    const struct catalog_topic *topic = request->version >= VERSION_TOPIC_IDS
                                            ? catalog_find_id(catalog, in->topic_id)
                                            : catalog_find(catalog, in->name);
    for (int32_t i = 0; i < in->partitions_count; i++) {
        const struct kp_offset_commit_request_partition *from = &in->partitions[i];
        *entries++ = (struct coordinator_entry){
            .topic_id = topic ? topic->id : in->topic_id,
            .partition = from->partition_index,
            .offset = from->committed_offset,
            .leader_epoch = from->committed_leader_epoch < -1 ? -1 : from->committed_leader_epoch,
            .metadata = from->committed_metadata,
            .error = check_entry(request, topic, from),
        };
    }
    return entries;
}

void handle_offset_commit(struct request *request)
{
    struct offset_commit *commit = arena_alloc(&request->arena, sizeof(*commit));
    request->state = commit;
    if (!commit) {
        answer_no_memory(request);
        return;
    }
    struct kp_offset_commit_request *in = &commit->in;
    if (request_is_malformed(request, kp_offset_commit_request_decode(
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
    commit->op = (struct coordinator_op){
        .kind = COORDINATOR_COMMIT,
        .group = in->group_id,
        .generation = in->generation_id_or_member_epoch,
        .member_id = in->member_id,
        .instance_id = in->group_instance_id,
        .version = request->version,
        .retention_ms = in->retention_time_ms,
        .entries = entries,
        .entry_count = (uint32_t)count,
        .arena = &request->arena,
        .done = committed,
        .context = request,
    };
    for (int32_t i = 0; i < in->topics_count; i++)
        entries = take_topic(request, &in->topics[i], entries);
    coordinator_submit(request->shard, &commit->op);
}
