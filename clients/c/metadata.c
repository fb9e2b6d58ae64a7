// SPDX-License-Identifier: Apache-2.0
// Owns the entries of topics and the request that fills them.
//
// Invariants
//  1. At most one request is under way. What becomes due meanwhile is part of the next one.
//  2. A topic stays due until an answer gave all its partitions a leader, or said that it does not
//     exist and nobody may create it, in which case it is asked for again at a growing interval.
//  3. A leader is never replaced by one of an older epoch, unless the topic's id has changed: a
//     broker that lags behind does not send us back.
//  4. Topics that may be created are never in one request with others, because the permission is
//     given for a whole request.
#include "clients/c/metadata.h"

#include <stdlib.h>
#include <string.h>

#include "clients/c/connection.h"
#include "clients/c/error.h"
#include "gen/kp_metadata.h"

enum { WITHOUT_CREATION = 30 }; // part of the patience with topics that nobody creates

struct metadata_request {
    struct request request;
    struct metadata *metadata;
    bool create;
};

static void timer_expired(struct timer *timer);
static void request_consider(struct metadata *metadata);

void metadata_init(struct metadata *metadata, struct weir_client *client)
{
    *metadata = (struct metadata){
        .client = client, .timer.expired = timer_expired, .controller = -1, .brokers_due = true};
    map_init(&metadata->topics);
    list_init(&metadata->waiters);
}

void metadata_free(struct metadata *metadata)
{
    size_t at = 0;
    struct metadata_topic *topic;
    while ((topic = map_next(&metadata->topics, &at))) {
        free(topic->name);
        free(topic->partitions);
        free(topic);
    }
    map_free(&metadata->topics);
    timer_cancel(&metadata->client->timers, &metadata->timer);
}

struct metadata_topic *metadata_topic(struct metadata *metadata, const char *name, bool create)
{
    struct metadata_topic *topic = map_get(&metadata->topics, span_text(name));
    if (topic) {
        if (create && !topic->create && topic->error)
            topic->due = true;
        topic->create |= create;
        if (topic->due)
            request_consider(metadata);
        return topic;
    }
    topic = calloc(1, sizeof(*topic));
    char *copy = strdup(name);
    if (!topic || !copy || map_put(&metadata->topics, span_text(copy), topic) != 0) {
        free(topic);
        free(copy);
        return NULL;
    }
    topic->name = copy;
    topic->create = create;
    topic->due = true;
    // Nothing was tried in vain for this topic, so it need not wait for a pause to end.
    metadata->attempts = 0;
    metadata->sent_ns = 0;
    request_consider(metadata);
    return topic;
}

void metadata_refresh(struct metadata *metadata)
{
    size_t at = 0;
    struct metadata_topic *topic;
    while ((topic = map_next(&metadata->topics, &at)))
        topic->due = true;
    metadata->brokers_due = true;
    request_consider(metadata);
}

void metadata_wait(struct metadata *metadata, struct metadata_waiter *waiter)
{
    list_append(&metadata->waiters, &waiter->node);
    metadata->brokers_due = true;
    request_consider(metadata);
}

int32_t metadata_leader(struct metadata *metadata, const struct metadata_topic *topic,
                        int32_t partition)
{
    int32_t leader = -1;
    if (partition >= 0 && partition < topic->partition_count)
        leader = topic->partitions[partition].leader;
    if (leader < 0)
        request_consider(metadata);
    return leader;
}

int metadata_topic_error(const struct metadata *metadata, const struct metadata_topic *topic)
{
    if (topic->error != WEIR_ERR_UNKNOWN_TOPIC_OR_PARTITION)
        return weir_error_retriable(topic->error) ? WEIR_OK : topic->error;
    int64_t limit_ms = metadata->client->config.topic_propagation_max_ms;
    if (!topic->create)
        limit_ms /= WITHOUT_CREATION;
    uint64_t missing_ns = metadata->client->now_ns - topic->missing_since_ns;
    return missing_ns >= (uint64_t)limit_ms * MS ? topic->error : WEIR_OK;
}

int metadata_produce_error(const struct metadata *metadata, const struct metadata_topic *topic)
{
    bool hope = topic->seen && topic->error == WEIR_ERR_UNKNOWN_TOPIC_OR_PARTITION;
    return hope ? WEIR_OK : metadata_topic_error(metadata, topic);
}

// ------------------------------------------------------------------------------------ the request

static void request_encode(struct request *request, struct kp_writer *writer)
{
    struct metadata_request *own = (struct metadata_request *)request;
    struct metadata *metadata = own->metadata;
    struct kp_metadata_request message;
    kp_metadata_request_init(&message);
    message.allow_auto_topic_creation = own->create;
    message.topics = arena_array(writer->arena, metadata->topics.count, sizeof(*message.topics));
    if (!message.topics) {
        writer->failed = true;
        return;
    }
    size_t at = 0;
    struct metadata_topic *topic;
    while ((topic = map_next(&metadata->topics, &at))) {
        topic->asked = topic->due && topic->create == own->create;
        if (!topic->asked)
            continue;
        struct kp_metadata_request_topic *asked = &message.topics[message.topics_count++];
        kp_metadata_request_topic_init(asked);
        asked->name = span_text(topic->name);
    }
    kp_metadata_request_encode(writer, request->version, &message);
}

static void waiters_call(struct metadata *metadata)
{
    struct list waiters;
    list_init(&waiters);
    list_splice(&waiters, &metadata->waiters);
    for (struct list *node; (node = list_pop(&waiters));) {
        struct metadata_waiter *waiter = list_entry(node, struct metadata_waiter, node);
        waiter->updated(waiter);
    }
}

static void brokers_store(struct metadata *metadata, const struct kp_metadata_response *message)
{
    for (int32_t i = 0; i < message->brokers_count; i++) {
        const struct kp_metadata_response_broker *broker = &message->brokers[i];
        struct address address = {.port = broker->port};
        bool usable = broker->node_id >= 0 && broker->port > 0 && broker->port <= 65535 &&
                      broker->host.size > 0 && broker->host.size < sizeof(address.host);
        if (!usable)
            continue;
        memcpy(address.host, broker->host.data, broker->host.size);
        client_node_set(metadata->client, broker->node_id, &address);
    }
    metadata->controller = message->controller_id;
}

// Makes room for `count` partitions, all without leader. False when memory is short.
static bool partitions_resize(struct metadata_topic *topic, int32_t count)
{
    if (count <= topic->partition_count)
        return true;
    struct metadata_partition *partitions =
        realloc(topic->partitions, (size_t)count * sizeof(*partitions));
    if (!partitions)
        return false;
    for (int32_t i = topic->partition_count; i < count; i++)
        partitions[i] = (struct metadata_partition){.leader = -1, .leader_epoch = -1};
    topic->partitions = partitions;
    topic->partition_count = count;
    return true;
}

static void partitions_store(struct metadata_topic *topic,
                             const struct kp_metadata_response_topic *from)
{
    if (!kp_uuid_equal(topic->id, from->topic_id))
        topic->partition_count = 0;
    topic->id = from->topic_id;
    if (!partitions_resize(topic, from->partitions_count))
        return;
    for (int32_t i = 0; i < from->partitions_count; i++) {
        const struct kp_metadata_response_partition *partition = &from->partitions[i];
        int32_t index = partition->partition_index;
        if (index < 0 || index >= topic->partition_count)
            continue;
        struct metadata_partition *to = &topic->partitions[index];
        if (partition->leader_epoch >= 0 && partition->leader_epoch < to->leader_epoch)
            continue;
        to->leader = partition->leader_id < 0 ? -1 : partition->leader_id;
        to->leader_epoch = partition->leader_epoch;
    }
    topic->seen |= topic->partition_count > 0;
    topic->due = false;
    for (int32_t i = 0; i < topic->partition_count; i++)
        topic->due |= topic->partitions[i].leader < 0;
}

static void topic_store(struct metadata *metadata, const struct kp_metadata_response_topic *from)
{
    struct metadata_topic *topic = map_get(&metadata->topics, from->name);
    if (!topic || !topic->asked)
        return;
    topic->asked = false;
    topic->error = error_from_wire(from->error_code);
    if (!topic->error) {
        topic->missing_since_ns = 0;
        partitions_store(topic, from);
        return;
    }
    topic->due = true;
    if (topic->error != WEIR_ERR_UNKNOWN_TOPIC_OR_PARTITION)
        return;
    topic->partition_count = 0;
    if (topic->missing_since_ns == 0)
        topic->missing_since_ns = metadata->client->now_ns;
}

// A reply came, or none will: lets everybody look again, and plans the next request.
static void request_end(struct metadata *metadata)
{
    free(metadata->request);
    metadata->request = NULL;
    bool open = metadata->brokers_due;
    size_t at = 0;
    struct metadata_topic *topic;
    while ((topic = map_next(&metadata->topics, &at)))
        open |= topic->due;
    metadata->attempts = open ? metadata->attempts + 1 : 0;
    waiters_call(metadata);
    client_rouse(metadata->client);
    request_consider(metadata);
}

static bool request_done(struct request *request, int error, struct reply *reply)
{
    struct metadata *metadata = ((struct metadata_request *)request)->metadata;
    if (error == WEIR_ERR_ABANDONED) {
        free(metadata->request);
        metadata->request = NULL;
        return true;
    }
    struct kp_metadata_response message;
    bool decoded = !error && kp_metadata_response_decode(&reply->reader, reply->version,
                                                         reply->arena, &message) == 0;
    if (decoded && message.error_code == 0) {
        metadata->brokers_due = false;
        brokers_store(metadata, &message);
        for (int32_t i = 0; i < message.topics_count; i++)
            topic_store(metadata, &message.topics[i]);
    }
    request_end(metadata);
    return error || decoded;
}

static void request_send(struct metadata *metadata, bool create)
{
    struct weir_client *client = metadata->client;
    struct connection *connection = client_any_connection(client);
    struct metadata_request *own = connection ? calloc(1, sizeof(*own)) : NULL;
    metadata->sent_ns = client->now_ns;
    if (!own) {
        uint64_t again_ns = client->now_ns + (uint64_t)client->config.retry_backoff_ms * MS;
        timer_set(&client->timers, &metadata->timer, again_ns);
        return;
    }
    own->metadata = metadata;
    own->create = create;
    own->request = (struct request){
        .api_key = KP_METADATA_KEY,
        .version_max = KP_METADATA_MAX,
        .timeout_ns = (uint64_t)client->config.request_timeout_ms * MS,
        .encode = request_encode,
        .done = request_done,
    };
    metadata->request = own;
    connection_submit(connection, &own->request);
}

// Makes a request now if something is due and the pause since the last one is over; otherwise sets
// the timer for it.
static void request_consider(struct metadata *metadata)
{
    struct weir_client *client = metadata->client;
    if (metadata->request)
        return;
    bool any = metadata->brokers_due;
    bool create = false;
    size_t at = 0;
    struct metadata_topic *topic;
    while ((topic = map_next(&metadata->topics, &at))) {
        any |= topic->due;
        create |= topic->due && topic->create;
    }
    uint64_t due_ns = metadata->sent_ns + (uint64_t)client->config.metadata_max_age_ms * MS;
    if (any && metadata->sent_ns == 0)
        due_ns = client->now_ns;
    else if (any)
        due_ns = metadata->sent_ns + client_backoff_ns(client, client->config.retry_backoff_ms,
                                                       client->config.retry_backoff_max_ms,
                                                       metadata->attempts);
    if (any && due_ns <= client->now_ns)
        request_send(metadata, create);
    else
        timer_set(&client->timers, &metadata->timer, due_ns);
}

static void timer_expired(struct timer *timer)
{
    struct metadata *metadata = list_entry(timer, struct metadata, timer);
    uint64_t max_age_ns = (uint64_t)metadata->client->config.metadata_max_age_ms * MS;
    if (metadata->client->now_ns - metadata->sent_ns >= max_age_ns)
        metadata_refresh(metadata);
    else
        request_consider(metadata);
}
