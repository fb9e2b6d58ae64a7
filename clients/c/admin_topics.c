// SPDX-License-Identifier: Apache-2.0
// Creating, growing, emptying and deleting topics. Each function is one call, made and awaited
// here; nothing outlives it.
//
// A change that was carried out but whose answer was lost is repeated, and may then be refused as
// already done (TOPIC_ALREADY_EXISTS, UNKNOWN_TOPIC_OR_PARTITION): the caller sees that error.
//
// Of several topics in one request, those are asked for again, alone, that the broker has refused
// for the moment only. Brokers answer in any order.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

// ------------------------------------------------------------------------------------- several

// Topics that are created or deleted together.
struct topic_batch {
    struct call call;
    const char *verb;                    // "create"
    const struct weir_new_topic *topics; // to be created; NULL: to be deleted
    const char *const *names;            // to be deleted
    size_t count;
    struct weir_outcome *outcomes;
    struct map pending; // name -> outcome, of those without a final answer
    int32_t timeout_ms;
};

static const char *batch_name(const struct topic_batch *batch, size_t i)
{
    return batch->topics ? batch->topics[i].name : batch->names[i];
}

static bool batch_asks(const struct topic_batch *batch, size_t i)
{
    return map_get(&batch->pending, span_text(batch_name(batch, i))) != NULL;
}

static void outcome_set(struct weir_outcome *outcome, const struct weir_client *client, int error)
{
    _Static_assert(sizeof(outcome->why) == sizeof(client->error_text), "a sentence fits");
    outcome->error = error;
    memcpy(outcome->why, client->error_text, sizeof(outcome->why));
}

static void batch_settle(struct topic_batch *batch, struct span name, struct weir_outcome *outcome,
                         int error)
{
    struct weir_client *client = batch->call.client;
    const char *detail = batch->call.detail[0] ? batch->call.detail : weir_error_text(error);
    if (!error)
        return;
    client_fail(client, error, "cannot %s topic '%.*s': %s", batch->verb,
                name.size < 249 ? (int)name.size : 249, (const char *)name.data, detail);
    outcome_set(outcome, client, error);
}

// Takes the answer about one topic. An error when it is to be asked for again.
static int batch_answer(struct topic_batch *batch, struct span name, int16_t code,
                        struct span words)
{
    struct weir_outcome *outcome = name.data ? map_get(&batch->pending, name) : NULL;
    if (!outcome)
        return WEIR_OK;
    batch->call.detail[0] = '\0';
    int error = admin_result(&batch->call, code, words);
    if (weir_error_retriable(error) && error != WEIR_ERR_UNKNOWN_TOPIC_OR_PARTITION)
        return error;
    map_remove(&batch->pending, name);
    batch_settle(batch, name, outcome, error);
    return WEIR_OK;
}

// The result of an answer, of which `repeat` is the last error that is for the moment only.
static int batch_answered(struct topic_batch *batch, int repeat)
{
    batch->call.detail[0] = '\0';
    if (repeat)
        return admin_result(&batch->call, (int16_t)repeat, (struct span){0});
    return batch->pending.count == 0 ? WEIR_OK : WEIR_ERR_CORRUPT;
}

static int batch_start(struct topic_batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        struct span name = span_text(batch_name(batch, i));
        if (map_get(&batch->pending, name))
            return client_fail(batch->call.client, WEIR_ERR_BAD_ARGUMENT,
                               "topic '%.249s' is there twice", batch_name(batch, i));
        if (map_put(&batch->pending, name, &batch->outcomes[i]) != 0)
            return client_fail(batch->call.client, WEIR_ERR_NO_MEMORY, "out of memory");
    }
    return WEIR_OK;
}

// Asks, waits, and has each topic's outcome say what became of it. The first error.
static int batch_finish(struct topic_batch *batch, int timeout_ms)
{
    struct weir_client *client = batch->call.client;
    int error = call_run(&batch->call, batch->verb, timeout_ms);
    const struct weir_outcome *first = NULL;
    for (size_t i = 0; i < batch->count; i++) {
        struct weir_outcome *outcome = &batch->outcomes[i];
        if (batch_asks(batch, i))
            batch_settle(batch, span_text(batch_name(batch, i)), outcome, error);
        if (outcome->error && !first)
            first = outcome;
        topic_changed(client, batch_name(batch, i));
    }
    if (!first)
        return WEIR_OK;
    memcpy(client->error_text, first->why, sizeof(first->why));
    return first->error;
}

// `outcomes` may be NULL.
static int batch_run(struct topic_batch *batch, struct weir_outcome *outcomes, int timeout_ms)
{
    struct weir_outcome *own = NULL;
    if (batch->count == 0)
        return WEIR_OK;
    if (!outcomes)
        outcomes = own = calloc(batch->count, sizeof(*own));
    if (!outcomes)
        return client_fail(batch->call.client, WEIR_ERR_NO_MEMORY, "out of memory");
    batch->outcomes = outcomes;
    batch->timeout_ms = admin_timeout_ms(batch->call.client, timeout_ms);
    map_init(&batch->pending);
    memset(outcomes, 0, batch->count * sizeof(*outcomes));
    int error = batch_start(batch);
    for (size_t i = 0; i < batch->count && error; i++)
        outcome_set(&outcomes[i], batch->call.client, error);
    if (!error)
        error = batch_finish(batch, timeout_ms);
    map_free(&batch->pending);
    free(own);
    return error;
}

// ------------------------------------------------------------------------------------- create

static bool create_topic_encode(const struct weir_new_topic *from, struct arena *arena,
                                struct kp_create_topics_request_topic *to)
{
    kp_create_topics_request_topic_init(to);
    to->name = span_text(from->name);
    to->num_partitions = from->partitions > 0 ? from->partitions : -1;
    to->replication_factor = from->replication_factor > 0 ? from->replication_factor : -1;
    to->configs = arena_array(arena, from->setting_count, sizeof(*to->configs));
    if (!to->configs)
        return false;
    to->configs_count = (int32_t)from->setting_count;
    for (size_t i = 0; i < from->setting_count; i++) {
        kp_create_topics_request_config_init(&to->configs[i]);
        to->configs[i].name = span_text(from->settings[i].name);
        to->configs[i].value = span_text(from->settings[i].value);
    }
    return true;
}

static void create_encode(struct call *call, struct kp_writer *writer)
{
    struct topic_batch *batch = list_entry(call, struct topic_batch, call);
    struct kp_create_topics_request message;
    kp_create_topics_request_init(&message);
    message.topics = arena_array(writer->arena, batch->count, sizeof(*message.topics));
    message.timeout_ms = batch->timeout_ms;
    message.validate_only = batch->topics[0].validate_only;
    bool sound = message.topics != NULL;
    for (size_t i = 0; sound && i < batch->count; i++) {
        if (batch_asks(batch, i))
            sound = create_topic_encode(&batch->topics[i], writer->arena,
                                        &message.topics[message.topics_count++]);
    }
    if (sound)
        kp_create_topics_request_encode(writer, call->request.version, &message);
    else
        writer->failed = true;
}

static int create_decode(struct call *call, struct reply *reply)
{
    struct topic_batch *batch = list_entry(call, struct topic_batch, call);
    struct kp_create_topics_response message;
    if (kp_create_topics_response_decode(&reply->reader, reply->version, reply->arena, &message) !=
        0)
        return WEIR_ERR_CORRUPT;
    int repeat = WEIR_OK;
    for (int32_t i = 0; i < message.topics_count; i++) {
        const struct kp_create_topics_response_topic *topic = &message.topics[i];
        int error = batch_answer(batch, topic->name, topic->error_code, topic->error_message);
        repeat = error ? error : repeat;
    }
    return batch_answered(batch, repeat);
}

// What makes no sense about a new topic, or NULL.
static const char *new_topic_fault(const struct weir_new_topic *topic)
{
    if (!topic->name || (topic->setting_count > 0 && !topic->settings))
        return "a new topic needs a name";
    for (size_t i = 0; i < topic->setting_count; i++) {
        if (!topic->settings[i].name)
            return "a setting of a new topic has no name";
        if (topic->settings[i].change != WEIR_SETTING_SET)
            return "settings of a new topic can only be set";
    }
    return NULL;
}

int weir_create_topics(struct weir_client *client, const struct weir_new_topic *topics,
                       size_t count, struct weir_outcome *outcomes, int timeout_ms)
{
    int error = client_enter(client);
    if (error)
        return error;
    const char *fault = (count > 0 && !topics) || count > INT32_MAX ? "which topics?" : NULL;
    for (size_t i = 0; i < count && !fault; i++) {
        fault = new_topic_fault(&topics[i]);
        if (topics[i].validate_only != topics[0].validate_only)
            fault = "either all new topics are to be validated only, or none";
    }
    if (fault)
        return client_fail(client, WEIR_ERR_BAD_ARGUMENT, "%s", fault);
    struct topic_batch batch = {
        .call =
            admin_call(client, KP_CREATE_TOPICS_KEY, CALL_CONTROLLER, create_encode, create_decode),
        .verb = "create",
        .topics = topics,
        .count = count,
    };
    return batch_run(&batch, outcomes, timeout_ms);
}

int weir_create_topic(struct weir_client *client, const struct weir_new_topic *topic,
                      int timeout_ms)
{
    return weir_create_topics(client, topic, 1, NULL, timeout_ms);
}

// ------------------------------------------------------------------------------------- delete

// Two forms: by name or id, and by name.
static void delete_encode(struct call *call, struct kp_writer *writer)
{
    struct topic_batch *batch = list_entry(call, struct topic_batch, call);
    struct kp_delete_topics_request message;
    kp_delete_topics_request_init(&message);
    message.topics = arena_array(writer->arena, batch->count, sizeof(*message.topics));
    message.topic_names = arena_array(writer->arena, batch->count, sizeof(*message.topic_names));
    if (!message.topics || !message.topic_names) {
        writer->failed = true;
        return;
    }
    for (size_t i = 0; i < batch->count; i++) {
        if (!batch_asks(batch, i))
            continue;
        struct span name = span_text(batch->names[i]);
        kp_delete_topics_request_topic_init(&message.topics[message.topics_count]);
        message.topics[message.topics_count++].name = name;
        message.topic_names[message.topic_names_count++] = name;
    }
    message.timeout_ms = batch->timeout_ms;
    kp_delete_topics_request_encode(writer, call->request.version, &message);
}

static int delete_decode(struct call *call, struct reply *reply)
{
    struct topic_batch *batch = list_entry(call, struct topic_batch, call);
    struct kp_delete_topics_response message;
    if (kp_delete_topics_response_decode(&reply->reader, reply->version, reply->arena, &message) !=
        0)
        return WEIR_ERR_CORRUPT;
    int repeat = WEIR_OK;
    for (int32_t i = 0; i < message.responses_count; i++) {
        const struct kp_delete_topics_response_topic *topic = &message.responses[i];
        int error = batch_answer(batch, topic->name, topic->error_code, topic->error_message);
        repeat = error ? error : repeat;
    }
    return batch_answered(batch, repeat);
}

int weir_delete_topics(struct weir_client *client, const char *const *names, size_t count,
                       struct weir_outcome *outcomes, int timeout_ms)
{
    int error = client_enter(client);
    if (error)
        return error;
    if (!admin_names_given(names, count))
        return client_fail(client, WEIR_ERR_BAD_ARGUMENT, "deleting needs topics' names");
    struct topic_batch batch = {
        .call =
            admin_call(client, KP_DELETE_TOPICS_KEY, CALL_CONTROLLER, delete_encode, delete_decode),
        .verb = "delete",
        .names = names,
        .count = count,
    };
    return batch_run(&batch, outcomes, timeout_ms);
}

int weir_delete_topic(struct weir_client *client, const char *name, int timeout_ms)
{
    return weir_delete_topics(client, &name, 1, NULL, timeout_ms);
}

// ------------------------------------------------------------------------------------- grow

struct create_partitions {
    struct call call;
    const char *name;
    int32_t total;
    bool validate_only;
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
    message.validate_only = grow->validate_only;
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
                           bool validate_only, int timeout_ms)
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
        .validate_only = validate_only,
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
