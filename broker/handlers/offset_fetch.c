// SPDX-License-Identifier: Apache-2.0
// OffsetFetch: where groups stand. One group until version 7, many from 8 on; each is one operation
// on the shard where it lives, one after the other, as they all take memory from the request's
// arena. Everything is answered from one form, `struct fetched_group`.
//
// Without transactions every committed offset is stable: require_stable changes nothing.
#include <stdlib.h>

#include "broker/catalog.h"
#include "broker/handlers/answer.h"
#include "broker/handlers/handlers.h"
#include "broker/groups/coordinator.h"
#include "broker/shard.h"
#include "gen/kp_offset_fetch.h"
#include "protocol/error.h"

enum { VERSION_NULL_TOPICS = 2, VERSION_GROUPS = 8, VERSION_TOPIC_IDS = 10 };

// A topic that was asked for, or that a group has positions in.
struct fetched_topic {
    struct span name;
    struct kp_uuid id;
    struct coordinator_entry *entries;
    int32_t count;
};

struct fetched_group {
    struct coordinator_op op;
    struct fetched_topic *topics;
    int32_t topic_count;
};

struct offset_fetch {
    struct kp_offset_fetch_request in;
    struct kp_offset_fetch_response out;
    struct fetched_group *groups;
    int32_t group_count;
    int32_t finished; // groups
};

// --- the answer -----------------------------------------------------------------------------

static bool add_old_topic(struct request *request, const struct fetched_topic *topic,
                          struct kp_offset_fetch_response_topic *out)
{
    kp_offset_fetch_response_topic_init(out);
    out->name = topic->name;
    out->partitions = arena_array(&request->arena, (size_t)topic->count, sizeof(*out->partitions));
    if (!out->partitions)
        return false;
    out->partitions_count = topic->count;
    for (int32_t i = 0; i < topic->count; i++)
        out->partitions[i] = (struct kp_offset_fetch_response_partition){
            .partition_index = topic->entries[i].partition,
            .committed_offset = topic->entries[i].offset,
            .committed_leader_epoch = topic->entries[i].leader_epoch,
            .metadata = topic->entries[i].metadata,
            .error_code = topic->entries[i].error,
        };
    return true;
}

// Versions 1 to 7.
static bool fill_old(struct request *request)
{
    struct offset_fetch *fetch = request->state;
    struct kp_offset_fetch_response *out = &fetch->out;
    const struct fetched_group *group = &fetch->groups[0];
    out->error_code = group->op.error;
    out->topics = arena_array(&request->arena, (size_t)group->topic_count, sizeof(*out->topics));
    if (!out->topics)
        return false;
    out->topics_count = group->topic_count;
    for (int32_t i = 0; i < group->topic_count; i++)
        if (!add_old_topic(request, &group->topics[i], &out->topics[i]))
            return false;
    return true;
}

static bool add_topic(struct request *request, const struct fetched_topic *topic,
                      struct kp_offset_fetch_response_group_topic *out)
{
    kp_offset_fetch_response_group_topic_init(out);
    out->name = topic->name;
    out->topic_id = topic->id;
    out->partitions = arena_array(&request->arena, (size_t)topic->count, sizeof(*out->partitions));
    if (!out->partitions)
        return false;
    out->partitions_count = topic->count;
    for (int32_t i = 0; i < topic->count; i++)
        out->partitions[i] = (struct kp_offset_fetch_response_group_partition){
            .partition_index = topic->entries[i].partition,
            .committed_offset = topic->entries[i].offset,
            .committed_leader_epoch = topic->entries[i].leader_epoch,
            .metadata = topic->entries[i].metadata,
            .error_code = topic->entries[i].error,
        };
    return true;
}

static bool add_group(struct request *request, const struct fetched_group *group,
                      struct kp_offset_fetch_response_group *out)
{
    kp_offset_fetch_response_group_init(out);
    out->group_id = group->op.group;
    out->error_code = group->op.error;
    if (out->error_code)
        return true;
    out->topics = arena_array(&request->arena, (size_t)group->topic_count, sizeof(*out->topics));
    if (!out->topics)
        return false;
    out->topics_count = group->topic_count;
    for (int32_t i = 0; i < group->topic_count; i++)
        if (!add_topic(request, &group->topics[i], &out->topics[i]))
            return false;
    return true;
}

static bool fill(struct request *request)
{
    struct offset_fetch *fetch = request->state;
    struct kp_offset_fetch_response *out = &fetch->out;
    out->groups = arena_array(&request->arena, (size_t)fetch->group_count, sizeof(*out->groups));
    if (!out->groups)
        return false;
    out->groups_count = fetch->group_count;
    for (int32_t i = 0; i < fetch->group_count; i++)
        if (!add_group(request, &fetch->groups[i], &out->groups[i]))
            return false;
    return true;
}

static void reply(struct request *request)
{
    struct offset_fetch *fetch = request->state;
    kp_offset_fetch_response_init(&fetch->out);
    if (!(request->version >= VERSION_GROUPS ? fill(request) : fill_old(request))) {
        answer_no_memory(request);
        return;
    }
    request_begin_reply(request);
    kp_offset_fetch_response_encode(&request->reply, request->version, &fetch->out);
    request_reply(request);
}

// --- all topics of a group ------------------------------------------------------------------

static int compare_entries(const void *a, const void *b)
{
    const struct coordinator_entry *left = a;
    const struct coordinator_entry *right = b;
    int order = memcmp(left->topic_id.bytes, right->topic_id.bytes, sizeof(left->topic_id.bytes));
    return order ? order
                 : (left->partition > right->partition) - (left->partition < right->partition);
}

// Sorts what came back into topics. Topics that have gone meanwhile are left out.
static bool collect_topics(struct request *request, struct fetched_group *group)
{
    struct coordinator_op *op = &group->op;
    group->topics = arena_array(&request->arena, op->entry_count, sizeof(*group->topics));
    if (!group->topics)
        return false;
    if (op->entry_count)
        qsort(op->entries, op->entry_count, sizeof(*op->entries), compare_entries);
    for (uint32_t i = 0, end; i < op->entry_count; i = end) {
        struct kp_uuid id = op->entries[i].topic_id;
        const struct catalog_topic *topic = catalog_find_id(request->shard->catalog, id);
        for (end = i; end < op->entry_count && kp_uuid_equal(op->entries[end].topic_id, id);)
            end++;
        if (topic)
            group->topics[group->topic_count++] =
                (struct fetched_topic){.name = answer_text(request, topic->name),
                                       .id = id,
                                       .entries = &op->entries[i],
                                       .count = (int32_t)(end - i)};
    }
    return true;
}

static void group_fetched(struct coordinator_op *op);

static void fetch_next(struct request *request)
{
    struct offset_fetch *fetch = request->state;
    if (fetch->finished == fetch->group_count) {
        reply(request);
        return;
    }
    struct coordinator_op *op = &fetch->groups[fetch->finished].op;
    op->done = group_fetched;
    op->version = request->version;
    op->context = request;
    op->arena = &request->arena;
    coordinator_submit(request->shard, op);
}

static void group_fetched(struct coordinator_op *op)
{
    struct request *request = op->context;
    struct offset_fetch *fetch = request->state;
    struct fetched_group *group = list_entry(op, struct fetched_group, op);
    if (op->kind == COORDINATOR_FETCH_ALL && !op->error && !collect_topics(request, group))
        op->error = KP_ERROR_UNKNOWN_SERVER_ERROR;
    fetch->finished++;
    fetch_next(request);
}

// --- the request ----------------------------------------------------------------------------

static const struct catalog_topic *find_topic(const struct request *request,
                                              const struct fetched_topic *topic)
{
    const struct catalog *catalog = request->shard->catalog;
    return request->version >= VERSION_TOPIC_IDS ? catalog_find_id(catalog, topic->id)
                                                 : catalog_find(catalog, topic->name);
}

// The entries of one topic. A topic that does not exist has no positions, which is no error, except
// that an unknown id is.
static void take_partitions(const struct request *request, const int32_t *partitions, int32_t count,
                            struct fetched_topic *topic)
{
    const struct catalog_topic *known = find_topic(request, topic);
    topic->count = count;
    for (int32_t i = 0; i < count; i++)
        topic->entries[i] = (struct coordinator_entry){
            .topic_id = known ? known->id : topic->id,
            .partition = partitions[i],
            .error =
                !known && request->version >= VERSION_TOPIC_IDS ? KP_ERROR_UNKNOWN_TOPIC_ID : 0,
        };
}

static bool make_room(struct request *request, struct fetched_group *group, int32_t topics,
                      size_t entries)
{
    group->topics = arena_array(&request->arena, (size_t)topics, sizeof(*group->topics));
    group->op.entries = arena_array(&request->arena, entries, sizeof(*group->op.entries));
    group->topic_count = topics;
    group->op.entry_count = (uint32_t)entries;
    return group->topics && group->op.entries;
}

static bool take_old(struct request *request, struct fetched_group *group)
{
    const struct kp_offset_fetch_request *in = &((struct offset_fetch *)request->state)->in;
    size_t count = 0;
    group->op.group = in->group_id;
    group->op.generation = -1;
    group->op.kind = in->topics_count < 0 ? COORDINATOR_FETCH_ALL : COORDINATOR_FETCH;
    if (in->topics_count < 0)
        return true;
    for (int32_t i = 0; i < in->topics_count; i++)
        count += (size_t)in->topics[i].partition_indexes_count;
    if (!make_room(request, group, in->topics_count, count))
        return false;
    struct coordinator_entry *entries = group->op.entries;
    for (int32_t i = 0; i < in->topics_count; i++) {
        struct fetched_topic *topic = &group->topics[i];
        *topic = (struct fetched_topic){.name = in->topics[i].name, .entries = entries};
        take_partitions(request, in->topics[i].partition_indexes,
                        in->topics[i].partition_indexes_count, topic);
        entries += topic->count;
    }
    return true;
}

static bool take_group(struct request *request, const struct kp_offset_fetch_request_group *in,
                       struct fetched_group *group)
{
    size_t count = 0;
    group->op.group = in->group_id;
    group->op.member_id = in->member_id;
    group->op.generation = in->member_epoch;
    group->op.kind = in->topics_count < 0 ? COORDINATOR_FETCH_ALL : COORDINATOR_FETCH;
    if (in->topics_count < 0)
        return true;
    for (int32_t i = 0; i < in->topics_count; i++)
        count += (size_t)in->topics[i].partition_indexes_count;
    if (!make_room(request, group, in->topics_count, count))
        return false;
    struct coordinator_entry *entries = group->op.entries;
    for (int32_t i = 0; i < in->topics_count; i++) {
        struct fetched_topic *topic = &group->topics[i];
        *topic = (struct fetched_topic){
            .name = in->topics[i].name, .id = in->topics[i].topic_id, .entries = entries};
        take_partitions(request, in->topics[i].partition_indexes,
                        in->topics[i].partition_indexes_count, topic);
        entries += topic->count;
    }
    return true;
}

static bool take_groups(struct request *request)
{
    struct offset_fetch *fetch = request->state;
    bool many = request->version >= VERSION_GROUPS;
    fetch->group_count = many ? fetch->in.groups_count : 1;
    fetch->groups =
        arena_array(&request->arena, (size_t)fetch->group_count, sizeof(*fetch->groups));
    if (!fetch->groups)
        return false;
    if (!many)
        return take_old(request, &fetch->groups[0]);
    for (int32_t i = 0; i < fetch->group_count; i++)
        if (!take_group(request, &fetch->in.groups[i], &fetch->groups[i]))
            return false;
    return true;
}

void handle_offset_fetch(struct request *request)
{
    struct offset_fetch *fetch = arena_alloc(&request->arena, sizeof(*fetch));
    request->state = fetch;
    if (!fetch) {
        answer_no_memory(request);
        return;
    }
    if (request_is_malformed(request,
                             kp_offset_fetch_request_decode(&request->body, request->version,
                                                            &request->arena, &fetch->in)))
        return;
    if (!take_groups(request)) {
        answer_no_memory(request);
        return;
    }
    fetch_next(request);
}
