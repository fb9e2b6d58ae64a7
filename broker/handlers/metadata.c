// SPDX-License-Identifier: Apache-2.0
// Metadata: which topics and partitions there are, and where. Missing topics are created when both
// the client and auto.create.topics.enable want it, and the answer then has them already.
#include <string.h>

#include "broker/catalog.h"
#include "broker/config.h"
#include "broker/handlers/answer.h"
#include "broker/handlers/handlers.h"
#include "broker/shard.h"
#include "gen/kp_metadata.h"
#include "protocol/error.h"

struct metadata {
    struct kp_metadata_request in;
    struct kp_metadata_response out;
    int32_t *replicas;
    struct controller_op create;
    struct map refused; // what could not be created: struct controller_change by name
};

// --- the answer -----------------------------------------------------------------------------

static int16_t add_partitions(struct request *request, const struct catalog_topic *topic,
                              struct kp_metadata_response_topic *out)
{
    struct metadata *metadata = request->state;
    size_t count = (size_t)topic->partition_count;
    out->partitions = arena_array(&request->arena, count, sizeof(*out->partitions));
    if (!out->partitions)
        return -1;
    for (int32_t i = 0; i < topic->partition_count; i++) {
        struct kp_metadata_response_partition *partition = &out->partitions[i];
        kp_metadata_response_partition_init(partition);
        partition->partition_index = i;
        partition->leader_id = request->shard->config->node_id;
        partition->leader_epoch = ANSWER_LEADER_EPOCH;
        partition->replica_nodes = partition->isr_nodes = metadata->replicas;
        partition->replica_nodes_count = partition->isr_nodes_count = 1;
    }
    out->partitions_count = topic->partition_count;
    return 0;
}

// The next topic of the answer, with what is known of it. False when memory is short.
static bool add_topic(struct request *request, const struct catalog_topic *topic, struct span name,
                      struct kp_uuid id, int16_t error)
{
    struct metadata *metadata = request->state;
    struct kp_metadata_response_topic *out = &metadata->out.topics[metadata->out.topics_count++];
    kp_metadata_response_topic_init(out);
    out->error_code = error;
    out->name = topic ? span_text(topic->name) : name;
    out->topic_id = topic ? topic->id : id;
    if (request->version < 12 && !out->name.data)
        out->name = span_text("");
    if (!topic)
        return true;
    out->is_internal = topic->internal;
    if (metadata->in.include_topic_authorized_operations)
        out->topic_authorized_operations = ANSWER_TOPIC_OPERATIONS;
    return add_partitions(request, topic, out) == 0;
}

static bool add_all(struct request *request)
{
    struct metadata *metadata = request->state;
    const struct catalog *catalog = request->shard->catalog;
    metadata->out.topics =
        arena_array(&request->arena, catalog->topic_count, sizeof(*metadata->out.topics));
    if (!metadata->out.topics)
        return false;
    for (uint32_t i = 0; i < catalog->topic_count; i++)
        if (!add_topic(request, catalog->topics[i], (struct span){0}, (struct kp_uuid){{0}}, 0))
            return false;
    return true;
}

static int16_t error_of_missing(const struct metadata *metadata, struct span name)
{
    const char *why;
    const struct controller_change *refused = map_get(&metadata->refused, name);
    int16_t error = refused ? refused->error : catalog_check_name(name, &why);
    return error ? error : KP_ERROR_UNKNOWN_TOPIC_OR_PARTITION;
}

// An id counts before a name: clients that ask by id may leave an empty name beside it.
static bool is_by_id(const struct kp_metadata_request_topic *asked)
{
    return !asked->name.data || !kp_uuid_is_zero(asked->topic_id);
}

static bool add_asked(struct request *request, const struct kp_metadata_request_topic *asked)
{
    struct metadata *metadata = request->state;
    const struct catalog *catalog = request->shard->catalog;
    const struct catalog_topic *topic;
    if (!is_by_id(asked)) {
        topic = catalog_find(catalog, asked->name);
        return add_topic(request, topic, asked->name, (struct kp_uuid){{0}},
                         topic ? 0 : error_of_missing(metadata, asked->name));
    }
    topic = catalog_find_id(catalog, asked->topic_id);
    return add_topic(request, topic, (struct span){0}, asked->topic_id,
                     topic ? 0 : KP_ERROR_UNKNOWN_TOPIC_ID);
}

// What was asked for several times is answered once, or a small request would have a huge answer.
static bool add_each(struct request *request)
{
    struct metadata *metadata = request->state;
    struct map seen;
    bool ok = true;
    metadata->out.topics = arena_array(&request->arena, (size_t)metadata->in.topics_count,
                                       sizeof(*metadata->out.topics));
    if (!metadata->out.topics)
        return false;
    map_init(&seen);
    for (int32_t i = 0; ok && i < metadata->in.topics_count; i++) {
        struct kp_metadata_request_topic *asked = &metadata->in.topics[i];
        struct span key =
            is_by_id(asked) ? span_of(asked->topic_id.bytes, sizeof(asked->topic_id)) : asked->name;
        if (map_get(&seen, key))
            continue;
        ok = map_put(&seen, key, asked) == 0 && add_asked(request, asked);
    }
    map_free(&seen);
    return ok;
}

static bool wants_all(const struct request *request)
{
    const struct metadata *metadata = request->state;
    return metadata->in.topics_count < 0 ||
           (request->version == 0 && metadata->in.topics_count == 0);
}

static void reply(struct request *request)
{
    struct metadata *metadata = request->state;
    struct kp_metadata_response *out = &metadata->out;
    struct kp_metadata_response_broker broker;
    kp_metadata_response_init(out);
    kp_metadata_response_broker_init(&broker);
    broker.node_id = request->shard->config->node_id;
    broker.host = answer_host(request, &broker.port);
    out->brokers = &broker;
    out->brokers_count = 1;
    out->cluster_id = span_text(request->shard->catalog->cluster_id_text);
    out->controller_id = broker.node_id;
    if (metadata->in.include_cluster_authorized_operations)
        out->cluster_authorized_operations = ANSWER_CLUSTER_OPERATIONS;
    metadata->replicas = answer_replicas(request);
    if (!broker.host.data || !metadata->replicas ||
        !(wants_all(request) ? add_all(request) : add_each(request))) {
        answer_no_memory(request);
        return;
    }
    request_begin_reply(request);
    kp_metadata_response_encode(&request->reply, request->version, out);
    request_reply(request);
}

// --- creating what is missing ---------------------------------------------------------------

static void created(struct controller_op *op)
{
    struct request *request = op->context;
    struct metadata *metadata = request->state;
    bool ok = true;
    for (uint32_t i = 0; ok && i < op->change_count; i++)
        if (op->changes[i].error)
            ok = map_put(&metadata->refused, op->changes[i].name, &op->changes[i]) == 0;
    if (ok)
        reply(request);
    else
        answer_no_memory(request);
    map_free(&metadata->refused);
}

// Names that begin so belong to brokers and frameworks, which create them on purpose.
static bool is_reserved(struct span name)
{
    return name.size >= 2 && memcmp(name.data, "__", 2) == 0;
}

static bool is_missing(const struct request *request, const struct kp_metadata_request_topic *asked)
{
    const char *why;
    return !is_by_id(asked) && !catalog_find(request->shard->catalog, asked->name) &&
           !is_reserved(asked->name) && catalog_check_name(asked->name, &why) == 0;
}

// Collects each missing name once. False when memory is short.
static bool find_missing(struct request *request)
{
    struct metadata *metadata = request->state;
    struct map seen;
    bool ok = true;
    int32_t missing = 0;
    for (int32_t i = 0; i < metadata->in.topics_count; i++)
        missing += is_missing(request, &metadata->in.topics[i]);
    if (missing == 0)
        return true;
    struct controller_change *changes = answer_changes(request, missing);
    if (!changes)
        return false;
    map_init(&seen);
    for (int32_t i = 0; ok && i < metadata->in.topics_count; i++) {
        struct span name = metadata->in.topics[i].name;
        if (!is_missing(request, &metadata->in.topics[i]) || map_get(&seen, name))
            continue;
        struct controller_change *change = &changes[metadata->create.change_count++];
        change->name = name;
        ok = map_put(&seen, name, change) == 0;
    }
    map_free(&seen);
    metadata->create.changes = changes;
    return ok;
}

void handle_metadata(struct request *request)
{
    struct metadata *metadata = arena_alloc(&request->arena, sizeof(*metadata));
    request->state = metadata;
    if (!metadata) {
        answer_no_memory(request);
        return;
    }
    if (request_is_malformed(request, kp_metadata_request_decode(&request->body, request->version,
                                                                 &request->arena, &metadata->in)))
        return;
    bool creates = metadata->in.allow_auto_topic_creation &&
                   config_number(request->shard->config, SETTING_AUTO_CREATE_TOPICS_ENABLE);
    if (creates && !find_missing(request)) {
        answer_no_memory(request);
        return;
    }
    if (metadata->create.change_count == 0) {
        reply(request);
        return;
    }
    metadata->create.kind = CONTROLLER_CREATE_TOPICS;
    metadata->create.exists_is_fine = true;
    answer_submit(request, &metadata->create, created);
}
