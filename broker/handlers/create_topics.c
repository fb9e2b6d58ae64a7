// SPDX-License-Identifier: Apache-2.0
// CreateTopics. Answered when the topics are durable and every shard serves them.
#include <stdio.h>

#include "broker/catalog.h"
#include "broker/config.h"
#include "broker/handlers/answer.h"
#include "broker/handlers/describe.h"
#include "broker/handlers/handlers.h"
#include "broker/shard.h"
#include "gen/kp_create_topics.h"
#include "protocol/error.h"

struct create_topics {
    struct kp_create_topics_request in;
    struct kp_create_topics_response out;
    struct controller_op op;
};

// --- the answer -----------------------------------------------------------------------------

static bool add_configs(struct request *request, const struct catalog_topic *topic,
                        struct kp_create_topics_response_topic *out)
{
    struct describe_list list;
    if (!describe_topic(request, topic, &list))
        return false;
    out->configs = arena_array(&request->arena, list.count, sizeof(*out->configs));
    if (!out->configs)
        return false;
    for (uint32_t i = 0; i < list.count; i++) {
        const struct describe_entry *entry = &list.entries[i];
        out->configs[i] = (struct kp_create_topics_response_config){
            .name = span_text(entry->setting->name),
            .value = span_text(entry->value),
            .config_source = entry->source,
        };
    }
    out->configs_count = (int32_t)list.count;
    return true;
}

// The configs of a topic that was validated and not created: what they would be.
static bool add_imagined(struct request *request, const struct controller_change *change,
                         struct kp_create_topics_response_topic *out)
{
    struct catalog_topic topic = {.setting_count = change->setting_count};
    topic.settings = arena_array(&request->arena, topic.setting_count, sizeof(*topic.settings));
    if (!topic.settings)
        return false;
    for (uint32_t i = 0; i < topic.setting_count; i++) {
        struct span name = change->settings[i].name;
        struct span value = change->settings[i].value;
        topic.settings[i].name = arena_text(&request->arena, name.data, name.size);
        topic.settings[i].value = arena_text(&request->arena, value.data, value.size);
        if (!topic.settings[i].name || !topic.settings[i].value)
            return false;
    }
    return add_configs(request, &topic, out);
}

static bool add_result(struct request *request, const struct controller_change *change,
                       struct kp_create_topics_response_topic *out)
{
    struct create_topics *create = request->state;
    kp_create_topics_response_topic_init(out);
    out->name = change->name;
    out->error_code = change->error;
    out->error_message = answer_why(request, change);
    out->configs_count = -1;
    if (change->error)
        return true;
    out->num_partitions = change->partition_count;
    out->replication_factor = 1;
    if (create->op.validate_only)
        return request->version < 5 || add_imagined(request, change, out);
    out->topic_id = change->id;
    const struct catalog_topic *topic = catalog_find(request->shard->catalog, change->name);
    return !topic || request->version < 5 || add_configs(request, topic, out);
}

static void created(struct controller_op *op)
{
    struct request *request = op->context;
    struct create_topics *create = request->state;
    struct kp_create_topics_response *out = &create->out;
    kp_create_topics_response_init(out);
    out->topics = arena_array(&request->arena, op->change_count, sizeof(*out->topics));
    bool ok = out->topics != NULL;
    for (uint32_t i = 0; ok && i < op->change_count; i++)
        ok = add_result(request, &op->changes[i], &out->topics[i]);
    if (!ok) {
        answer_no_memory(request);
        return;
    }
    out->topics_count = (int32_t)op->change_count;
    request_begin_reply(request);
    kp_create_topics_response_encode(&request->reply, request->version, out);
    request_reply(request);
}

// --- the request ----------------------------------------------------------------------------

static void refuse(struct controller_change *change, int16_t error, const char *why)
{
    change->error = error;
    snprintf(change->why, sizeof(change->why), "%s", why);
}

static const char *check_assignments(struct request *request,
                                     const struct kp_create_topics_request_topic *in)
{
    bool *seen = arena_array(&request->arena, (size_t)in->assignments_count, sizeof(*seen));
    if (!seen)
        return "too many partitions";
    for (int32_t i = 0; i < in->assignments_count; i++) {
        const struct kp_create_topics_request_assignment *assignment = &in->assignments[i];
        int32_t index = assignment->partition_index;
        if (assignment->broker_ids_count != 1 ||
            assignment->broker_ids[0] != request->shard->config->node_id)
            return "every partition has one replica, on this broker";
        if (index < 0 || index >= in->assignments_count || seen[index])
            return "partitions are numbered from 0 without a gap";
        seen[index] = true;
    }
    return NULL;
}

// Replicas placed by hand.
static void take_assignments(struct request *request,
                             const struct kp_create_topics_request_topic *in,
                             struct controller_change *change)
{
    const char *why = check_assignments(request, in);
    change->partition_count = in->assignments_count;
    if (in->num_partitions != -1 || in->replication_factor != -1)
        refuse(change, KP_ERROR_INVALID_REQUEST,
               "with assignments, the number of partitions and replicas must be -1");
    else if (why)
        refuse(change, KP_ERROR_INVALID_REPLICA_ASSIGNMENT, why);
}

static bool take_settings(struct request *request, const struct kp_create_topics_request_topic *in,
                          struct controller_change *change)
{
    change->settings =
        arena_array(&request->arena, (size_t)in->configs_count, sizeof(*change->settings));
    if (!change->settings)
        return false;
    for (int32_t i = 0; i < in->configs_count; i++)
        change->settings[i] = (struct controller_setting){
            .name = in->configs[i].name, .value = in->configs[i].value, .action = CONTROLLER_SET};
    change->setting_count = (uint32_t)in->configs_count;
    return true;
}

static bool take_topic(struct request *request, const struct kp_create_topics_request_topic *in,
                       struct controller_change *change)
{
    change->name = in->name;
    change->partition_count = in->num_partitions;
    if (in->assignments_count > 0)
        take_assignments(request, in, change);
    else if (in->replication_factor != 1 && in->replication_factor != -1)
        refuse(change, KP_ERROR_INVALID_REPLICATION_FACTOR,
               "there is one broker, so the replication factor is 1");
    return take_settings(request, in, change);
}

void handle_create_topics(struct request *request)
{
    struct create_topics *create = arena_alloc(&request->arena, sizeof(*create));
    request->state = create;
    if (!create) {
        answer_no_memory(request);
        return;
    }
    if (request_is_malformed(request,
                             kp_create_topics_request_decode(&request->body, request->version,
                                                             &request->arena, &create->in)))
        return;
    create->op.kind = CONTROLLER_CREATE_TOPICS;
    create->op.validate_only = create->in.validate_only;
    create->op.changes = answer_changes(request, create->in.topics_count);
    bool ok = create->op.changes != NULL;
    for (int32_t i = 0; ok && i < create->in.topics_count; i++)
        ok = take_topic(request, &create->in.topics[i], &create->op.changes[i]);
    if (!ok) {
        answer_no_memory(request);
        return;
    }
    create->op.change_count = (uint32_t)create->in.topics_count;
    answer_submit(request, &create->op, created);
}
