// SPDX-License-Identifier: Apache-2.0
// Creating, growing, emptying and deleting topics. Each function is one call, made and awaited
// here; nothing outlives it.
//
// A change that was carried out but whose answer was lost is repeated, and may then be refused as
// already done (TOPIC_ALREADY_EXISTS, UNKNOWN_TOPIC_OR_PARTITION): the caller sees that error.
#include <stdio.h>

#include "clients/c/admin.h"
#include "clients/c/error.h"
#include "gen/kp_create_partitions.h"
#include "gen/kp_create_topics.h"
#include "gen/kp_delete_records.h"
#include "gen/kp_delete_topics.h"

int admin_result(struct call *call, int16_t code, struct span words)
{
    if (code)
        call_detail(call, code, words);
    return error_from_wire(code);
}

int32_t admin_timeout_ms(const struct weir_client *client, int timeout_ms)
{
    int64_t limit_ms = client->config.request_timeout_ms;
    return timeout_ms >= 0 && timeout_ms < limit_ms ? timeout_ms : (int32_t)limit_ms;
}

// Has the topic's metadata looked at anew, since we have just changed it.
static void topic_changed(struct weir_client *client, const char *name)
{
    struct metadata_topic *topic = map_get(&client->metadata.topics, span_text(name));
    if (!topic)
        return;
    topic->error = WEIR_OK;
    topic->missing_since_ns = 0;
    metadata_refresh(&client->metadata);
}

// ------------------------------------------------------------------------------------- create

struct create_topic {
    struct call call;
    const struct weir_new_topic *topic;
    int32_t timeout_ms;
};

static void create_encode(struct call *call, struct kp_writer *writer)
{
    struct create_topic *create = list_entry(call, struct create_topic, call);
    const struct weir_new_topic *from = create->topic;
    struct kp_create_topics_request message;
    struct kp_create_topics_request_topic topic;
    kp_create_topics_request_init(&message);
    kp_create_topics_request_topic_init(&topic);
    message.topics = &topic;
    message.topics_count = 1;
    message.timeout_ms = create->timeout_ms;
    message.validate_only = from->validate_only;
    topic.name = span_text(from->name);
    topic.num_partitions = from->partitions > 0 ? from->partitions : -1;
    topic.replication_factor = from->replication_factor > 0 ? from->replication_factor : -1;
    topic.configs = arena_array(writer->arena, from->setting_count, sizeof(*topic.configs));
    if (!topic.configs) {
        writer->failed = true;
        return;
    }
    topic.configs_count = (int32_t)from->setting_count;
    for (size_t i = 0; i < from->setting_count; i++) {
        kp_create_topics_request_config_init(&topic.configs[i]);
        topic.configs[i].name = span_text(from->settings[i].name);
        topic.configs[i].value = span_text(from->settings[i].value);
    }
    kp_create_topics_request_encode(writer, call->request.version, &message);
}

static int create_decode(struct call *call, struct reply *reply)
{
    struct kp_create_topics_response message;
    if (kp_create_topics_response_decode(&reply->reader, reply->version, reply->arena, &message) !=
            0 ||
        message.topics_count != 1)
        return WEIR_ERR_CORRUPT;
    return admin_result(call, message.topics[0].error_code, message.topics[0].error_message);
}

int weir_create_topic(struct weir_client *client, const struct weir_new_topic *topic,
                      int timeout_ms)
{
    int error = client_enter(client);
    if (error)
        return error;
    if (!topic || !topic->name || (topic->setting_count > 0 && !topic->settings))
        return client_fail(client, WEIR_ERR_BAD_ARGUMENT, "a new topic needs a name");
    for (size_t i = 0; i < topic->setting_count; i++) {
        if (!topic->settings[i].name)
            return client_fail(client, WEIR_ERR_BAD_ARGUMENT, "setting %zu has no name", i);
    }
    struct create_topic create = {
        .call =
            admin_call(client, KP_CREATE_TOPICS_KEY, CALL_CONTROLLER, create_encode, create_decode),
        .topic = topic,
        .timeout_ms = admin_timeout_ms(client, timeout_ms),
    };
    char what[320];
    snprintf(what, sizeof(what), "cannot create topic '%.249s'", topic->name);
    error = call_run(&create.call, what, timeout_ms);
    topic_changed(client, topic->name);
    return error;
}

// ------------------------------------------------------------------------------------- delete

struct delete_topic {
    struct call call;
    const char *name;
    int32_t timeout_ms;
};

static void delete_encode(struct call *call, struct kp_writer *writer)
{
    struct delete_topic *delete = list_entry(call, struct delete_topic, call);
    struct kp_delete_topics_request message;
    struct kp_delete_topics_request_topic topic;
    struct span name = span_text(delete->name);
    kp_delete_topics_request_init(&message);
    kp_delete_topics_request_topic_init(&topic);
    topic.name = name;
    message.topics = &topic;
    message.topics_count = 1;
    message.topic_names = &name;
    message.topic_names_count = 1;
    message.timeout_ms = delete->timeout_ms;
    kp_delete_topics_request_encode(writer, call->request.version, &message);
}

static int delete_decode(struct call *call, struct reply *reply)
{
    struct kp_delete_topics_response message;
    if (kp_delete_topics_response_decode(&reply->reader, reply->version, reply->arena, &message) !=
            0 ||
        message.responses_count != 1)
        return WEIR_ERR_CORRUPT;
    return admin_result(call, message.responses[0].error_code, message.responses[0].error_message);
}

int weir_delete_topic(struct weir_client *client, const char *name, int timeout_ms)
{
    int error = client_enter(client);
    if (error)
        return error;
    if (!name)
        return client_fail(client, WEIR_ERR_BAD_ARGUMENT, "deleting needs a topic's name");
    struct delete_topic delete = {
        .call =
            admin_call(client, KP_DELETE_TOPICS_KEY, CALL_CONTROLLER, delete_encode, delete_decode),
        .name = name,
        .timeout_ms = admin_timeout_ms(client, timeout_ms),
    };
    char what[320];
    snprintf(what, sizeof(what), "cannot delete topic '%.249s'", name);
    error = call_run(&delete.call, what, timeout_ms);
    topic_changed(client, name);
    return error;
}

// ------------------------------------------------------------------------------------- grow

struct create_partitions {
    struct call call;
    const char *name;
    int32_t total;
    int32_t timeout_ms;
};

static void grow_encode(struct call *call, struct kp_writer *writer)
{
    struct create_partitions *grow = list_entry(call, struct create_partitions, call);
    struct kp_create_partitions_request message;
    struct kp_create_partitions_request_topic topic;
    kp_create_partitions_request_init(&message);
    kp_create_partitions_request_topic_init(&topic);
    topic.name = span_text(grow->name);
    topic.count = grow->total;
    topic.assignments_count = -1;
    message.topics = &topic;
    message.topics_count = 1;
    message.timeout_ms = grow->timeout_ms;
    kp_create_partitions_request_encode(writer, call->request.version, &message);
}

static int grow_decode(struct call *call, struct reply *reply)
{
    struct kp_create_partitions_response message;
    if (kp_create_partitions_response_decode(&reply->reader, reply->version, reply->arena,
                                             &message) != 0 ||
        message.results_count != 1)
        return WEIR_ERR_CORRUPT;
    return admin_result(call, message.results[0].error_code, message.results[0].error_message);
}

int weir_create_partitions(struct weir_client *client, const char *topic, int32_t total,
                           int timeout_ms)
{
    int error = client_enter(client);
    if (error)
        return error;
    if (!topic || total < 1)
        return client_fail(client, WEIR_ERR_BAD_ARGUMENT,
                           "growing needs a topic's name and a number of partitions");
    struct create_partitions grow = {
        .call =
            admin_call(client, KP_CREATE_PARTITIONS_KEY, CALL_CONTROLLER, grow_encode, grow_decode),
        .name = topic,
        .total = total,
        .timeout_ms = admin_timeout_ms(client, timeout_ms),
    };
    char what[320];
    snprintf(what, sizeof(what), "cannot grow topic '%.249s'", topic);
    error = call_run(&grow.call, what, timeout_ms);
    topic_changed(client, topic);
    return error;
}

// ------------------------------------------------------------------------------------- empty

struct delete_records {
    struct call call;
    int64_t offset;
    int64_t low;
    int32_t timeout_ms;
};

static void trim_encode(struct call *call, struct kp_writer *writer)
{
    struct delete_records *trim = list_entry(call, struct delete_records, call);
    struct kp_delete_records_request message;
    struct kp_delete_records_request_topic topic;
    struct kp_delete_records_request_partition partition;
    kp_delete_records_request_init(&message);
    kp_delete_records_request_topic_init(&topic);
    kp_delete_records_request_partition_init(&partition);
    partition.partition_index = call->partition;
    partition.offset = trim->offset;
    topic.name = span_text(call->topic->name);
    topic.partitions = &partition;
    topic.partitions_count = 1;
    message.topics = &topic;
    message.topics_count = 1;
    message.timeout_ms = trim->timeout_ms;
    kp_delete_records_request_encode(writer, call->request.version, &message);
}

static int trim_decode(struct call *call, struct reply *reply)
{
    struct delete_records *trim = list_entry(call, struct delete_records, call);
    struct kp_delete_records_response message;
    if (kp_delete_records_response_decode(&reply->reader, reply->version, reply->arena, &message) !=
            0 ||
        message.topics_count != 1 || message.topics[0].partitions_count != 1)
        return WEIR_ERR_CORRUPT;
    trim->low = message.topics[0].partitions[0].low_watermark;
    return admin_result(call, message.topics[0].partitions[0].error_code, (struct span){0});
}

int weir_delete_records(struct weir_client *client, const char *topic, int32_t partition,
                        int64_t offset, int64_t *low, int timeout_ms)
{
    int error = client_enter(client);
    if (error)
        return error;
    if (!topic || partition < 0 || offset < WEIR_END)
        return client_fail(client, WEIR_ERR_BAD_ARGUMENT,
                           "deleting records needs a topic, a partition and an offset");
    struct delete_records trim = {
        .call = admin_call(client, KP_DELETE_RECORDS_KEY, CALL_LEADER, trim_encode, trim_decode),
        .offset = offset,
        .timeout_ms = admin_timeout_ms(client, timeout_ms),
    };
    trim.call.topic = metadata_topic(&client->metadata, topic, false);
    trim.call.partition = partition;
    if (!trim.call.topic)
        return client_fail(client, WEIR_ERR_NO_MEMORY, "out of memory");
    char what[320];
    snprintf(what, sizeof(what), "cannot delete records of topic '%.249s' partition %d", topic,
             partition);
    error = call_run(&trim.call, what, timeout_ms);
    if (!error && low)
        *low = trim.low;
    return error;
}
