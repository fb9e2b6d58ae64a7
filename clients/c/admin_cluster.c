// SPDX-License-Identifier: Apache-2.0
// Describing topics and the cluster.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clients/c/admin.h"
#include "clients/c/error.h"
#include "gen/kp_describe_cluster.h"
#include "gen/kp_metadata.h"

enum { RESULT_LIMIT = 512 << 20, ERROR_FROM_VERSION = 13 };

// ------------------------------------------------------------------------------------- topics

// A list and the memory of everything in it.
struct topic_result {
    struct weir_topic_list list;
    struct arena arena;
};

struct describe_topics {
    struct call call;
    const char *const *names;
    size_t count;
    struct topic_result *result;
};

static void topics_encode(struct call *call, struct kp_writer *writer)
{
    struct describe_topics *describe = list_entry(call, struct describe_topics, call);
    struct kp_metadata_request message;
    kp_metadata_request_init(&message);
    message.allow_auto_topic_creation = false;
    message.topics = arena_array(writer->arena, describe->count, sizeof(*message.topics));
    if (!message.topics) {
        writer->failed = true;
        return;
    }
    for (size_t i = 0; i < describe->count; i++) {
        kp_metadata_request_topic_init(&message.topics[i]);
        message.topics[i].name = span_text(describe->names[i]);
    }
    // None named: all, which is null, except in version 0 where it is an empty list.
    bool all = describe->count == 0 && call->request.version > 0;
    message.topics_count = all ? -1 : (int32_t)describe->count;
    kp_metadata_request_encode(writer, call->request.version, &message);
}

static void id_format(struct kp_uuid id, char out[40])
{
    static const char digits[] = "0123456789abcdef";
    out[0] = '\0';
    if (kp_uuid_is_zero(id))
        return;
    char *to = out;
    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *to++ = '-';
        *to++ = digits[id.bytes[i] >> 4];
        *to++ = digits[id.bytes[i] & 15];
    }
    *to = '\0';
}

static const int32_t *ids_copy(struct arena *arena, const int32_t *ids, int32_t count)
{
    size_t used = count > 0 ? (size_t)count : 0;
    int32_t *copy = arena_array(arena, used, sizeof(*copy));
    if (copy && used > 0)
        memcpy(copy, ids, used * sizeof(*copy));
    return copy;
}

static int partition_compare(const void *a, const void *b)
{
    int32_t left = ((const struct weir_partition *)a)->partition;
    int32_t right = ((const struct weir_partition *)b)->partition;
    return (left > right) - (left < right);
}

static int topic_store(struct arena *arena, const struct kp_metadata_response_topic *from,
                       struct weir_topic *to)
{
    struct weir_partition *partitions =
        arena_array(arena, (size_t)from->partitions_count, sizeof(*partitions));
    to->name =
        arena_text(arena, from->name.data ? (const char *)from->name.data : "", from->name.size);
    if (!partitions || !to->name)
        return WEIR_ERR_NO_MEMORY;
    id_format(from->topic_id, to->id);
    to->internal = from->is_internal;
    to->error = error_from_wire(from->error_code);
    to->partitions = partitions;
    to->partition_count = (size_t)from->partitions_count;
    for (size_t i = 0; i < to->partition_count; i++) {
        const struct kp_metadata_response_partition *source = &from->partitions[i];
        struct weir_partition *partition = &partitions[i];
        partition->partition = source->partition_index;
        partition->leader = source->leader_id;
        partition->leader_epoch = source->leader_epoch;
        partition->error = error_from_wire(source->error_code);
        partition->replicas = ids_copy(arena, source->replica_nodes, source->replica_nodes_count);
        partition->in_sync = ids_copy(arena, source->isr_nodes, source->isr_nodes_count);
        if (!partition->replicas || !partition->in_sync)
            return WEIR_ERR_NO_MEMORY;
        partition->replica_count = (size_t)source->replica_nodes_count;
        partition->in_sync_count = (size_t)source->isr_nodes_count;
    }
    if (to->partition_count > 1)
        qsort(partitions, to->partition_count, sizeof(*partitions), partition_compare);
    return WEIR_OK;
}

static int topic_compare(const void *a, const void *b)
{
    return strcmp(((const struct weir_topic *)a)->name, ((const struct weir_topic *)b)->name);
}

static int topics_decode(struct call *call, struct reply *reply)
{
    struct describe_topics *describe = list_entry(call, struct describe_topics, call);
    struct topic_result *result = describe->result;
    struct kp_metadata_response message;
    if (kp_metadata_response_decode(&reply->reader, reply->version, reply->arena, &message) != 0)
        return WEIR_ERR_CORRUPT;
    if (reply->version >= ERROR_FROM_VERSION && message.error_code)
        return admin_result(call, message.error_code, (struct span){0});
    arena_reset(&result->arena);
    struct weir_topic *topics =
        arena_array(&result->arena, (size_t)message.topics_count, sizeof(*topics));
    if (!topics)
        return WEIR_ERR_NO_MEMORY;
    for (int32_t i = 0; i < message.topics_count; i++) {
        int error = topic_store(&result->arena, &message.topics[i], &topics[i]);
        if (error)
            return error;
    }
    if (message.topics_count > 1)
        qsort(topics, (size_t)message.topics_count, sizeof(*topics), topic_compare);
    result->list.topics = topics;
    result->list.count = (size_t)message.topics_count;
    return WEIR_OK;
}

int weir_describe_topics(struct weir_client *client, const char *const *names, size_t count,
                         struct weir_topic_list **list, int timeout_ms)
{
    int error = client_enter(client);
    if (error)
        return error;
    if (!list || (count > 0 && !names) || count > INT32_MAX)
        return client_fail(client, WEIR_ERR_BAD_ARGUMENT, "describing topics needs their names");
    struct topic_result *result = calloc(1, sizeof(*result));
    if (!result)
        return client_fail(client, WEIR_ERR_NO_MEMORY, "out of memory");
    arena_init(&result->arena, RESULT_LIMIT);
    struct describe_topics describe = {
        .call = admin_call(client, KP_METADATA_KEY, CALL_ANY, topics_encode, topics_decode),
        .names = names,
        .count = count,
        .result = result,
    };
    error = call_run(&describe.call, "cannot describe topics", timeout_ms);
    if (error)
        weir_topic_list_free(&result->list);
    else
        *list = &result->list;
    return error;
}

void weir_topic_list_free(struct weir_topic_list *list)
{
    if (!list)
        return;
    struct topic_result *result = list_entry(list, struct topic_result, list);
    arena_free(&result->arena);
    free(result);
}

// ------------------------------------------------------------------------------------- cluster

struct cluster_result {
    struct weir_cluster cluster;
    struct arena arena;
};

struct describe_cluster {
    struct call call;
    struct cluster_result *result;
};

static int broker_compare(const void *a, const void *b)
{
    int32_t left = ((const struct weir_broker *)a)->id;
    int32_t right = ((const struct weir_broker *)b)->id;
    return (left > right) - (left < right);
}

// Both answers that describe a cluster name brokers in the same terms.
static int broker_store(struct arena *arena, struct weir_broker *to, int32_t id, struct span host,
                        int32_t port, struct span rack)
{
    to->id = id;
    to->port = port;
    to->host = arena_text(arena, host.data, host.size);
    to->rack = rack.data ? arena_text(arena, rack.data, rack.size) : NULL;
    return to->host && (to->rack || !rack.data) ? WEIR_OK : WEIR_ERR_NO_MEMORY;
}

static int cluster_store(struct cluster_result *result, struct span id, int32_t controller,
                         struct weir_broker *brokers, int32_t count)
{
    result->cluster.id = id.data ? arena_text(&result->arena, id.data, id.size) : NULL;
    if (id.data && !result->cluster.id)
        return WEIR_ERR_NO_MEMORY;
    result->cluster.controller = controller;
    if (count > 1)
        qsort(brokers, (size_t)count, sizeof(*brokers), broker_compare);
    result->cluster.brokers = brokers;
    result->cluster.broker_count = (size_t)count;
    return WEIR_OK;
}

static void cluster_encode(struct call *call, struct kp_writer *writer)
{
    struct kp_describe_cluster_request message;
    kp_describe_cluster_request_init(&message);
    kp_describe_cluster_request_encode(writer, call->request.version, &message);
}

static int cluster_decode(struct call *call, struct reply *reply)
{
    struct cluster_result *result = list_entry(call, struct describe_cluster, call)->result;
    struct kp_describe_cluster_response message;
    if (kp_describe_cluster_response_decode(&reply->reader, reply->version, reply->arena,
                                            &message) != 0)
        return WEIR_ERR_CORRUPT;
    if (message.error_code)
        return admin_result(call, message.error_code, message.error_message);
    arena_reset(&result->arena);
    struct weir_broker *brokers =
        arena_array(&result->arena, (size_t)message.brokers_count, sizeof(*brokers));
    int error = brokers ? WEIR_OK : WEIR_ERR_NO_MEMORY;
    for (int32_t i = 0; i < message.brokers_count && !error; i++)
        error =
            broker_store(&result->arena, &brokers[i], message.brokers[i].broker_id,
                         message.brokers[i].host, message.brokers[i].port, message.brokers[i].rack);
    return error ? error
                 : cluster_store(result, message.cluster_id, message.controller_id, brokers,
                                 message.brokers_count);
}

// Brokers from before DescribeCluster tell the same in their metadata.
static void brokers_encode(struct call *call, struct kp_writer *writer)
{
    struct kp_metadata_request message;
    kp_metadata_request_init(&message);
    message.allow_auto_topic_creation = false;
    kp_metadata_request_encode(writer, call->request.version, &message);
}

static int brokers_decode(struct call *call, struct reply *reply)
{
    struct cluster_result *result = list_entry(call, struct describe_cluster, call)->result;
    struct kp_metadata_response message;
    if (kp_metadata_response_decode(&reply->reader, reply->version, reply->arena, &message) != 0)
        return WEIR_ERR_CORRUPT;
    arena_reset(&result->arena);
    struct weir_broker *brokers =
        arena_array(&result->arena, (size_t)message.brokers_count, sizeof(*brokers));
    int error = brokers ? WEIR_OK : WEIR_ERR_NO_MEMORY;
    for (int32_t i = 0; i < message.brokers_count && !error; i++)
        error =
            broker_store(&result->arena, &brokers[i], message.brokers[i].node_id,
                         message.brokers[i].host, message.brokers[i].port, message.brokers[i].rack);
    return error ? error
                 : cluster_store(result, message.cluster_id, message.controller_id, brokers,
                                 message.brokers_count);
}

int weir_describe_cluster(struct weir_client *client, struct weir_cluster **cluster, int timeout_ms)
{
    int error = client_enter(client);
    if (error)
        return error;
    struct cluster_result *result = calloc(1, sizeof(*result));
    if (!result)
        return client_fail(client, WEIR_ERR_NO_MEMORY, "out of memory");
    arena_init(&result->arena, RESULT_LIMIT);
    struct describe_cluster describe = {
        .call =
            admin_call(client, KP_DESCRIBE_CLUSTER_KEY, CALL_ANY, cluster_encode, cluster_decode),
        .result = result,
    };
    const char *what = "cannot describe the cluster";
    error = call_run(&describe.call, what, timeout_ms);
    if (error == WEIR_ERR_UNSUPPORTED) {
        describe.call =
            admin_call(client, KP_METADATA_KEY, CALL_ANY, brokers_encode, brokers_decode);
        error = call_run(&describe.call, what, timeout_ms);
    }
    if (error)
        weir_cluster_free(&result->cluster);
    else
        *cluster = &result->cluster;
    return error;
}

void weir_cluster_free(struct weir_cluster *cluster)
{
    if (!cluster)
        return;
    struct cluster_result *result = list_entry(cluster, struct cluster_result, cluster);
    arena_free(&result->arena);
    free(result);
}
