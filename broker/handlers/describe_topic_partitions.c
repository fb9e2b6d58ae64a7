// SPDX-License-Identifier: Apache-2.0
// DescribeTopicPartitions: topics in the order of their names, at most so many partitions at a
// time. The cursor of an answer says where the next request goes on.
#include <stdlib.h>

#include "broker/catalog.h"
#include "broker/config.h"
#include "broker/handlers/answer.h"
#include "broker/handlers/handlers.h"
#include "broker/shard.h"
#include "gen/kp_describe_topic_partitions.h"
#include "protocol/error.h"

enum { PARTITIONS_MAX = 2000 }; // in one answer, whatever the client asks for

struct describe_partitions {
    struct kp_describe_topic_partitions_request in;
    struct kp_describe_topic_partitions_response out;
    struct kp_describe_topic_partitions_response_cursor next;
    struct span *names; // sorted, each once
    uint32_t name_count;
    int32_t *replicas;
    int32_t room; // partitions that still fit
};

// --- which topics ---------------------------------------------------------------------------

static int compare_spans(const void *a, const void *b)
{
    const struct span *left = a;
    const struct span *right = b;
    size_t shorter = left->size < right->size ? left->size : right->size;
    int order = shorter ? memcmp(left->data, right->data, shorter) : 0;
    return order ? order : (left->size > right->size) - (left->size < right->size);
}

static bool is_before_cursor(const struct describe_partitions *describe, struct span name)
{
    const struct kp_describe_topic_partitions_request_cursor *cursor = describe->in.cursor;
    return cursor && compare_spans(&name, &cursor->topic_name) < 0;
}

static void add_name(struct describe_partitions *describe, struct span name)
{
    if (!is_before_cursor(describe, name))
        describe->names[describe->name_count++] = name;
}

// No topics in the request means all of them. False when memory is short.
static bool collect_names(struct request *request)
{
    struct describe_partitions *describe = request->state;
    const struct catalog *catalog = request->shard->catalog;
    int32_t asked = describe->in.topics_count;
    size_t most = asked > 0 ? (size_t)asked : catalog->topic_count;
    describe->names = arena_array(&request->arena, most, sizeof(*describe->names));
    if (!describe->names)
        return false;
    for (int32_t i = 0; i < asked; i++)
        add_name(describe, describe->in.topics[i].name);
    for (uint32_t i = 0; asked <= 0 && i < catalog->topic_count; i++)
        add_name(describe, span_text(catalog->topics[i]->name));
    if (describe->name_count == 0)
        return true;
    qsort(describe->names, describe->name_count, sizeof(*describe->names), compare_spans);
    uint32_t kept = 1;
    for (uint32_t i = 1; i < describe->name_count; i++)
        if (!span_equal(describe->names[i], describe->names[kept - 1]))
            describe->names[kept++] = describe->names[i];
    describe->name_count = kept;
    return true;
}

// --- the answer -----------------------------------------------------------------------------

static void fill_partition(const struct request *request, int32_t number,
                           struct kp_describe_topic_partitions_response_partition *out)
{
    struct describe_partitions *describe = request->state;
    kp_describe_topic_partitions_response_partition_init(out);
    out->partition_index = number;
    out->leader_id = request->shard->config->node_id;
    out->leader_epoch = ANSWER_LEADER_EPOCH;
    out->replica_nodes = out->isr_nodes = describe->replicas;
    out->replica_nodes_count = out->isr_nodes_count = 1;
    out->eligible_leader_replicas_count = out->last_known_elr_count = 0;
}

// The partitions from `first` on, as many as there is room for.
static bool add_partitions(struct request *request, const struct catalog_topic *topic,
                           int32_t first, struct kp_describe_topic_partitions_response_topic *out)
{
    struct describe_partitions *describe = request->state;
    int32_t count = topic->partition_count - first;
    if (count > describe->room) {
        count = describe->room;
        describe->next = (struct kp_describe_topic_partitions_response_cursor){
            .topic_name = span_text(topic->name), .partition_index = first + count};
        describe->out.next_cursor = &describe->next;
    }
    out->partitions = arena_array(&request->arena, (size_t)count, sizeof(*out->partitions));
    if (!out->partitions)
        return false;
    for (int32_t i = 0; i < count; i++)
        fill_partition(request, first + i, &out->partitions[i]);
    out->partitions_count = count;
    describe->room -= count;
    return true;
}

static int32_t first_partition(const struct describe_partitions *describe, struct span name,
                               int32_t count)
{
    const struct kp_describe_topic_partitions_request_cursor *cursor = describe->in.cursor;
    if (!cursor || !span_equal(cursor->topic_name, name) || cursor->partition_index < 0)
        return 0;
    return cursor->partition_index < count ? cursor->partition_index : count;
}

static bool add_topic(struct request *request, struct span name)
{
    struct describe_partitions *describe = request->state;
    struct kp_describe_topic_partitions_response_topic *out =
        &describe->out.topics[describe->out.topics_count++];
    const struct catalog_topic *topic = catalog_find(request->shard->catalog, name);
    const char *why;
    kp_describe_topic_partitions_response_topic_init(out);
    out->name = name;
    if (!topic) {
        out->error_code = catalog_check_name(name, &why);
        if (!out->error_code)
            out->error_code = KP_ERROR_UNKNOWN_TOPIC_OR_PARTITION;
        return true;
    }
    out->topic_id = topic->id;
    out->is_internal = topic->internal;
    out->topic_authorized_operations = ANSWER_TOPIC_OPERATIONS;
    return add_partitions(request, topic, first_partition(describe, name, topic->partition_count),
                          out);
}

static bool fill(struct request *request)
{
    struct describe_partitions *describe = request->state;
    struct kp_describe_topic_partitions_response *out = &describe->out;
    kp_describe_topic_partitions_response_init(out);
    int32_t limit = describe->in.response_partition_limit;
    describe->room = limit > 0 && limit < PARTITIONS_MAX ? limit : PARTITIONS_MAX;
    describe->replicas = answer_replicas(request);
    if (!describe->replicas || !collect_names(request))
        return false;
    out->topics = arena_array(&request->arena, describe->name_count, sizeof(*out->topics));
    if (!out->topics)
        return false;
    for (uint32_t i = 0; i < describe->name_count && !out->next_cursor; i++) {
        if (describe->room > 0) {
            if (!add_topic(request, describe->names[i]))
                return false;
            continue;
        }
        describe->next.topic_name = describe->names[i];
        describe->next.partition_index = 0;
        out->next_cursor = &describe->next;
    }
    return true;
}

void handle_describe_topic_partitions(struct request *request)
{
    struct describe_partitions *describe = arena_alloc(&request->arena, sizeof(*describe));
    request->state = describe;
    if (!describe) {
        answer_no_memory(request);
        return;
    }
    if (request_is_malformed(
            request, kp_describe_topic_partitions_request_decode(&request->body, request->version,
                                                                 &request->arena, &describe->in)))
        return;
    if (!fill(request)) {
        answer_no_memory(request);
        return;
    }
    request_begin_reply(request);
    kp_describe_topic_partitions_response_encode(&request->reply, request->version, &describe->out);
    request_reply(request);
}
