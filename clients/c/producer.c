// SPDX-License-Identifier: Apache-2.0
// The producer: places messages in batches, decides what is sent when, reports what became of it.
//
// A message's way: weir_produce copies it into the open batch of its partition (or, before the
// partitions are known, keeps it aside in its topic's `unplaced`); producer_drive takes batches
// that are ready and puts them into requests; answers settle them; producer_report tells the
// application and frees the space.
//
// Invariants
//  1. Every message accepted is counted in `queued` and its size in `used_bytes` until it was
//     reported, and it is reported exactly once. So an application that never polls fills
//     buffer.memory and then gets QUEUE_FULL, not an ever larger process.
//  2. Unplaced messages are placed in the order in which they came, before any later one of their
//     topic; so the order within a partition is that of weir_produce.
//  3. A queue is on the `active` list exactly while it has open or waiting batches; driving looks
//     at nothing else.
//  4. Without memory or time for a batch its messages fail; nothing disappears.
#include "clients/c/producer.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "clients/c/error.h"
#include "clients/c/partitioner.h"

enum {
    TOPIC_NAME_MAX = 249,
    MESSAGE_OVERHEAD = sizeof(void *), // what a message costs beside its bytes
    SPARE_SHARE = 2,                   // at most this part of buffer.memory is kept for reuse
};

// weir.h's types and the protocol's are laid out alike, so arrays need no conversion.
_Static_assert(sizeof(struct weir_header) == sizeof(struct record_header) &&
                   offsetof(struct weir_header, value) == offsetof(struct record_header, value) &&
                   sizeof(struct weir_bytes) == sizeof(struct span) &&
                   offsetof(struct weir_bytes, size) == offsetof(struct span, size),
               "weir_header and record_header differ");

// A message that waits for its topic's partitions. Its bytes follow: key, value, then for each
// header name and value; the headers themselves come first.
struct unplaced {
    struct list node;
    int32_t partition;
    uint64_t created_ns;
    struct weir_message message;
    struct weir_header headers[];
};

static void producer_drive(struct worker *worker);
static void producer_report(struct worker *worker);
static void timer_expired(struct timer *timer);

struct weir_producer *weir_producer_new(struct weir_client *client,
                                        const struct weir_config *config)
{
    struct weir_producer *producer = calloc(1, sizeof(*producer));
    if (!producer)
        return NULL;
    producer->client = client;
    producer->config = config_values(config);
    producer->worker.drive = producer_drive;
    producer->worker.report = producer_report;
    producer->timer.expired = timer_expired;
    bool in_order = producer->config.acks != 0;
    producer->limits = (struct batch_limits){
        .batch_size = (size_t)producer->config.batch_size,
        .linger_ns = (uint64_t)producer->config.linger_ms * MS,
        .delivery_timeout_ns = (uint64_t)producer->config.delivery_timeout_ms * MS,
        .in_flight_max =
            in_order ? (uint32_t)producer->config.max_in_flight_per_partition : UINT32_MAX,
    };
    map_init(&producer->topics);
    list_init(&producer->active);
    list_init(&producer->unplaced);
    list_init(&producer->nodes);
    list_init(&producer->requests);
    list_init(&producer->spare_requests);
    list_init(&producer->finished);
    list_init(&producer->spare);
    list_append(&client->workers, &producer->worker.node);
    return producer;
}

void weir_producer_on_delivery(struct weir_producer *producer,
                               void (*delivered)(void *context,
                                                 const struct weir_delivery *delivery),
                               void *context)
{
    producer->delivered = delivered;
    producer->context = context;
}

size_t weir_producer_queued(const struct weir_producer *producer)
{
    return producer->queued;
}

// ------------------------------------------------------------------------------------ reporting

static void batch_recycle(struct weir_producer *producer, struct batch *batch)
{
    producer->used_bytes -= batch->charge;
    producer->queued -= (size_t)batch->count;
    size_t memory = batch_memory(batch);
    if (producer->spare_bytes + memory > (size_t)producer->config.buffer_memory / SPARE_SHARE) {
        batch_free(batch);
        return;
    }
    batch_reuse(batch);
    producer->spare_bytes += memory;
    list_append(producer->spare.next, &batch->node); // in front: its memory is the warmest
}

void producer_batch_done(struct weir_producer *producer, struct batch *batch, int error)
{
    batch->error = error;
    if (error && !producer->first_error) {
        producer->first_error = error;
        client_fail(producer->client, error, "%s",
                    batch->reason ? batch->reason : weir_error_text(error));
    }
    if (!producer->delivered) {
        batch_recycle(producer, batch);
        return;
    }
    list_append(&producer->finished, &batch->node);
    producer->worker.reports = true;
}

static void batch_report(struct weir_producer *producer, const struct batch *batch)
{
    const struct producer_topic *topic = batch->queue->owner;
    struct weir_delivery delivery = {
        .error = batch->error,
        .topic = topic->name,
        .partition = batch->queue->partition,
        .offset = -1,
        .timestamp = batch->append_time,
    };
    if (batch->error)
        delivery.reason = batch->reason ? batch->reason : weir_error_text(batch->error);
    for (int32_t i = 0; i < batch->count; i++) {
        delivery.opaque = batch->opaques[i];
        if (!batch->error && batch->base_offset >= 0)
            delivery.offset = batch->base_offset + i;
        producer->delivered(producer->context, &delivery);
    }
}

static void producer_report(struct worker *worker)
{
    struct weir_producer *producer = list_entry(worker, struct weir_producer, worker);
    worker->reports = false;
    for (struct list *node; (node = list_pop(&producer->finished));) {
        struct batch *batch = list_entry(node, struct batch, node);
        batch_report(producer, batch);
        batch_recycle(producer, batch);
    }
}

// ------------------------------------------------------------------------------------ placing

static struct batch *batch_obtain(struct weir_producer *producer)
{
    struct list *spare = list_pop(&producer->spare);
    if (!spare)
        return batch_new();
    struct batch *batch = list_entry(spare, struct batch, node);
    producer->spare_bytes -= batch_memory(batch);
    return batch;
}

// The queue of a partition. NULL when memory is short.
static struct batch_queue *topic_queue(struct producer_topic *topic, int32_t partition)
{
    if (partition >= topic->queue_count) {
        int32_t count = partition >= topic->metadata->partition_count
                            ? partition + 1
                            : topic->metadata->partition_count;
        struct batch_queue **queues = realloc(topic->queues, (size_t)count * sizeof(*queues));
        if (!queues)
            return NULL;
        for (int32_t i = topic->queue_count; i < count; i++)
            queues[i] = NULL;
        topic->queues = queues;
        topic->queue_count = count;
    }
    if (!topic->queues[partition]) {
        struct batch_queue *queue = calloc(1, sizeof(*queue));
        if (!queue)
            return NULL;
        batch_queue_init(queue, topic, partition);
        topic->queues[partition] = queue;
    }
    return topic->queues[partition];
}

// Moves on to another partition, one that has a leader if possible.
static int32_t sticky_choose(struct weir_producer *producer, struct producer_topic *topic)
{
    const struct metadata_topic *metadata = topic->metadata;
    uint32_t count = (uint32_t)metadata->partition_count;
    uint32_t start = (uint32_t)random_below(&producer->client->random, count);
    for (uint32_t i = 0; i < count; i++) {
        int32_t partition = (int32_t)((start + i) % count);
        bool same = partition == topic->sticky && count > 1;
        if (!same && metadata->partitions[partition].leader >= 0)
            return partition;
    }
    return (int32_t)start;
}

static int32_t partition_choose(struct weir_producer *producer, struct producer_topic *topic,
                                const struct weir_message *message)
{
    int32_t count = topic->metadata->partition_count;
    if (message->key.data)
        return partitioner_keyed(span_of(message->key.data, message->key.size), count);
    const struct batch_queue *queue = topic->sticky >= 0 && topic->sticky < topic->queue_count
                                          ? topic->queues[topic->sticky]
                                          : NULL;
    // The batch that messages were sticking to is complete: the next one goes elsewhere.
    if (topic->sticky < 0 || topic->sticky >= count || !queue || !queue->open)
        topic->sticky = sticky_choose(producer, topic);
    return topic->sticky;
}

static size_t message_bound(const struct weir_message *message)
{
    return batch_record_bound(span_of(message->key.data, message->key.size),
                              span_of(message->value.data, message->value.size),
                              (const struct record_header *)(const void *)message->headers,
                              (int32_t)message->header_count);
}

// Room for one more opaque, if reports are wanted.
static bool opaque_reserve(const struct weir_producer *producer, struct batch *batch)
{
    if (!producer->delivered || (uint32_t)batch->count < batch->opaque_capacity)
        return true;
    uint32_t capacity = batch->opaque_capacity ? batch->opaque_capacity * 2 : 64;
    void **opaques = realloc(batch->opaques, capacity * sizeof(*opaques));
    if (!opaques)
        return false;
    batch->opaques = opaques;
    batch->opaque_capacity = capacity;
    return true;
}

static enum batch_error batch_append(struct weir_producer *producer, struct batch *batch,
                                     const struct weir_message *message)
{
    if (!opaque_reserve(producer, batch))
        return BATCH_NO_MEMORY;
    enum batch_error error = batch_builder_add(
        &batch->builder, message->timestamp, span_of(message->key.data, message->key.size),
        span_of(message->value.data, message->value.size),
        (const struct record_header *)(const void *)message->headers,
        (int32_t)message->header_count);
    if (error)
        return error;
    if (producer->delivered)
        batch->opaques[batch->count] = message->opaque;
    batch->count++;
    return BATCH_OK;
}

// Puts a message into the open batch of a partition, opening and closing batches as needed.
// `created_ns` is when the message came, 0 for just now. Its charge must be in used_bytes already.
static int message_place(struct weir_producer *producer, struct batch_queue *queue,
                         const struct weir_message *message, size_t charge, uint64_t created_ns)
{
    enum batch_error error = BATCH_TOO_LARGE;
    if (queue->open)
        error = batch_append(producer, queue->open, message);
    if (error == BATCH_TOO_LARGE) {
        struct batch *batch = batch_obtain(producer);
        if (!batch)
            return WEIR_ERR_NO_MEMORY;
        producer->completed |= queue->open != NULL;
        batch_queue_close(queue);
        batch_queue_open(queue, batch, &producer->limits, charge,
                         created_ns ? created_ns : clock_monotonic_ns());
        error = batch_append(producer, batch, message);
        if (error && batch->count == 0) {
            queue->open = NULL;
            batch_recycle(producer, batch);
        }
    }
    if (list_empty(&queue->active) && !batch_queue_idle(queue))
        list_append(&producer->active, &queue->active);
    if (error)
        return error == BATCH_NO_MEMORY ? WEIR_ERR_NO_MEMORY : WEIR_ERR_BAD_ARGUMENT;
    queue->open->charge += charge;
    if (queue->open->builder.size >= producer->limits.batch_size) {
        batch_queue_close(queue);
        producer->completed = true;
    }
    return WEIR_OK;
}

// ------------------------------------------------------------------------------------ unplaced

static struct weir_bytes bytes_copy(uint8_t **to, struct weir_bytes from)
{
    if (!from.data)
        return from;
    uint8_t *at = *to;
    memcpy(at, from.data, from.size);
    *to += from.size;
    return weir_bytes_of(at, from.size);
}

static int unplaced_add(struct weir_producer *producer, struct producer_topic *topic,
                        int32_t partition, const struct weir_message *message)
{
    size_t size = sizeof(struct unplaced) + message->header_count * sizeof(struct weir_header) +
                  message->key.size + message->value.size;
    for (size_t i = 0; i < message->header_count; i++)
        size += message->headers[i].name.size + message->headers[i].value.size;
    struct unplaced *unplaced = malloc(size);
    if (!unplaced)
        return WEIR_ERR_NO_MEMORY;
    uint8_t *to = (uint8_t *)&unplaced->headers[message->header_count];
    unplaced->partition = partition;
    unplaced->created_ns = clock_monotonic_ns();
    unplaced->message = *message;
    unplaced->message.key = bytes_copy(&to, message->key);
    unplaced->message.value = bytes_copy(&to, message->value);
    unplaced->message.headers = unplaced->headers;
    for (size_t i = 0; i < message->header_count; i++) {
        unplaced->headers[i].name = bytes_copy(&to, message->headers[i].name);
        unplaced->headers[i].value = bytes_copy(&to, message->headers[i].value);
    }
    list_append(&topic->unplaced, &unplaced->node);
    if (list_empty(&topic->link))
        list_append(&producer->unplaced, &topic->link);
    return WEIR_OK;
}

static size_t message_charge(const struct weir_message *message)
{
    return message_bound(message) + MESSAGE_OVERHEAD;
}

// Reports a message that never got into a batch, by way of a batch of its own.
static void unplaced_fail(struct weir_producer *producer, struct producer_topic *topic,
                          struct unplaced *unplaced, int error, const char *reason)
{
    size_t charge = message_charge(&unplaced->message);
    int32_t partition = unplaced->partition < 0 ? 0 : unplaced->partition;
    struct batch_queue *queue = topic_queue(topic, partition);
    struct batch *batch = queue ? batch_obtain(producer) : NULL;
    if (!batch || !opaque_reserve(producer, batch)) {
        // Not even a report is possible; what is certain is that it is no longer queued.
        producer->used_bytes -= charge;
        producer->queued--;
        producer->first_error = error;
        if (batch)
            batch_free(batch);
        return;
    }
    batch->queue = queue;
    batch->charge = charge;
    batch->count = 1;
    if (producer->delivered)
        batch->opaques[0] = unplaced->message.opaque;
    batch_reason(batch, "topic '%s': %s", topic->name, reason);
    producer_batch_done(producer, batch, error);
}

// Places or fails one message. Returns false if it has to go on waiting.
static bool unplaced_try(struct weir_producer *producer, struct producer_topic *topic,
                         struct unplaced *unplaced, int topic_error)
{
    uint64_t now_ns = producer->client->now_ns;
    const struct metadata_topic *metadata = topic->metadata;
    if (topic_error) {
        unplaced_fail(producer, topic, unplaced, topic_error, weir_error_text(topic_error));
        return true;
    }
    if (metadata->partition_count == 0) {
        if (now_ns - unplaced->created_ns < producer->limits.delivery_timeout_ns)
            return false;
        unplaced_fail(producer, topic, unplaced, WEIR_ERR_TIMED_OUT,
                      metadata->error ? weir_error_text(metadata->error)
                                      : "no broker could be reached in time");
        return true;
    }
    int32_t partition = unplaced->partition;
    if (partition >= metadata->partition_count) {
        unplaced_fail(producer, topic, unplaced, WEIR_ERR_UNKNOWN_TOPIC_OR_PARTITION,
                      "it has no such partition");
        return true;
    }
    if (partition < 0)
        partition = partition_choose(producer, topic, &unplaced->message);
    struct batch_queue *queue = topic_queue(topic, partition);
    int error = queue ? message_place(producer, queue, &unplaced->message,
                                      message_charge(&unplaced->message), unplaced->created_ns)
                      : WEIR_ERR_NO_MEMORY;
    if (error)
        unplaced_fail(producer, topic, unplaced, error, weir_error_text(error));
    return true;
}

// Returns when the first message left over will be too old.
static uint64_t unplaced_drive(struct weir_producer *producer)
{
    uint64_t due_ns = UINT64_MAX;
    list_each(at, &producer->unplaced)
    {
        struct producer_topic *topic = list_entry(at, struct producer_topic, link);
        int error = metadata_topic_error(&producer->client->metadata, topic->metadata);
        list_each(node, &topic->unplaced)
        {
            struct unplaced *unplaced = list_entry(node, struct unplaced, node);
            if (!unplaced_try(producer, topic, unplaced, error)) {
                uint64_t late_ns = unplaced->created_ns + producer->limits.delivery_timeout_ns;
                due_ns = late_ns < due_ns ? late_ns : due_ns;
                break;
            }
            list_remove(&unplaced->node);
            free(unplaced);
        }
        if (list_empty(&topic->unplaced))
            list_remove(&topic->link);
    }
    return due_ns;
}

// ------------------------------------------------------------------------------------ produce

static struct producer_topic *topic_add(struct weir_producer *producer, const char *name)
{
    struct producer_topic *topic = calloc(1, sizeof(*topic));
    if (!topic)
        return NULL;
    topic->sticky = -1;
    list_init(&topic->unplaced);
    list_init(&topic->link);
    topic->metadata = metadata_topic(&producer->client->metadata, name,
                                     producer->config.allow_auto_create_topics);
    if (!topic->metadata) {
        free(topic);
        return NULL;
    }
    topic->name = topic->metadata->name;
    if (map_put(&producer->topics, span_text(topic->name), topic) != 0) {
        free(topic);
        return NULL;
    }
    return topic;
}

static struct producer_topic *topic_find(struct weir_producer *producer, const char *name)
{
    struct producer_topic *topic = producer->last_topic;
    if (topic && strcmp(topic->name, name) == 0)
        return topic;
    topic = map_get(&producer->topics, span_text(name));
    if (!topic)
        topic = topic_add(producer, name);
    producer->last_topic = topic;
    return topic;
}

// Also computes what the message will count against buffer.memory.
static int message_check(struct weir_producer *producer, const char *topic, int32_t partition,
                         const struct weir_message *message, size_t *charge)
{
    struct weir_client *client = producer->client;
    if (!topic || !*topic || strlen(topic) > TOPIC_NAME_MAX)
        return client_fail(client, WEIR_ERR_BAD_ARGUMENT, "a topic's name has 1 to %d characters",
                           TOPIC_NAME_MAX);
    if (partition < WEIR_ANY_PARTITION || !message || message->timestamp < 0 ||
        message->header_count > INT32_MAX || (message->header_count && !message->headers))
        return client_fail(client, WEIR_ERR_BAD_ARGUMENT,
                           "a message for topic '%s' has an impossible partition, timestamp or "
                           "headers",
                           topic);
    size_t limit = (size_t)producer->config.message_max_bytes;
    bool large = message->key.size > limit || message->value.size > limit;
    *charge = large ? 0 : message_charge(message);
    if (large || *charge - MESSAGE_OVERHEAD > limit)
        return client_fail(client, WEIR_ERR_TOO_LARGE,
                           "a message for topic '%s' is larger than message.max.bytes (%zu)", topic,
                           limit);
    if (producer->used_bytes + *charge > (size_t)producer->config.buffer_memory)
        return client_fail(client, WEIR_ERR_QUEUE_FULL,
                           "%zu messages wait for delivery and use up buffer.memory",
                           producer->queued);
    return WEIR_OK;
}

// Queues the message with its topic.
static int message_queue(struct weir_producer *producer, struct producer_topic *topic,
                         int32_t partition, const struct weir_message *message, size_t charge)
{
    if (!list_empty(&topic->unplaced) || topic->metadata->partition_count == 0)
        return unplaced_add(producer, topic, partition, message);
    if (partition >= topic->metadata->partition_count) {
        // Partitions may have been added since we asked.
        metadata_refresh(&producer->client->metadata);
        return client_fail(producer->client, WEIR_ERR_UNKNOWN_TOPIC_OR_PARTITION,
                           "topic '%s' has %d partitions, and none with the number %d", topic->name,
                           topic->metadata->partition_count, partition);
    }
    if (partition < 0)
        partition = partition_choose(producer, topic, message);
    struct batch_queue *queue = topic_queue(topic, partition);
    if (!queue)
        return WEIR_ERR_NO_MEMORY;
    return message_place(producer, queue, message, charge, 0);
}

int weir_produce(struct weir_producer *producer, const char *topic_name, int32_t partition,
                 const struct weir_message *given)
{
    struct weir_client *client = producer->client;
    size_t charge = 0;
    int error = message_check(producer, topic_name, partition, given, &charge);
    if (error == WEIR_ERR_QUEUE_FULL)
        producer->worker.due = true;
    if (error)
        return error;
    struct producer_topic *topic = topic_find(producer, topic_name);
    if (!topic)
        return client_fail(client, WEIR_ERR_NO_MEMORY, "out of memory");
    struct weir_message message = *given;
    if (message.timestamp == 0)
        message.timestamp = clock_wall_ms();
    error = message_queue(producer, topic, partition, &message, charge);
    if (error == WEIR_ERR_NO_MEMORY)
        return client_fail(client, error, "out of memory");
    if (error)
        return error;
    producer->used_bytes += charge;
    producer->queued++;
    producer->worker.due = true;
    if (producer->completed && !client->in_callback) {
        producer->completed = false;
        client_turn(client, 0);
    }
    return WEIR_OK;
}

// ------------------------------------------------------------------------------------ driving

static void timer_expired(struct timer *timer)
{
    list_entry(timer, struct weir_producer, timer)->worker.due = true;
}

// Fails what waits for a topic that does not exist any more.
static void topic_gone(struct weir_producer *producer, struct batch_queue *queue, int error)
{
    struct producer_topic *topic = queue->owner;
    batch_queue_close(queue);
    while (!batch_queue_idle(queue)) {
        struct batch *batch = batch_queue_take(queue);
        batch_queue_settled(queue, batch);
        batch_reason(batch, "topic '%s': %s", topic->name, weir_error_text(error));
        producer_batch_done(producer, batch, error);
    }
}

static void expire(struct weir_producer *producer, struct batch_queue *queue)
{
    const struct producer_topic *topic = queue->owner;
    // Reports follow the order of the messages, so those in flight come first; their requests end
    // in time (see produce_request.c).
    if (queue->in_flight > 0)
        return;
    int error = metadata_topic_error(&producer->client->metadata, topic->metadata);
    if (error) {
        topic_gone(producer, queue, error);
        return;
    }
    struct batch *batch;
    while ((batch = batch_queue_expired(queue, &producer->limits, producer->client->now_ns))) {
        char *last = batch->reason;
        batch->reason = NULL;
        batch_reason(batch, "topic '%s' partition %d: not delivered within %lld ms%s%s",
                     topic->name, queue->partition, (long long)producer->config.delivery_timeout_ms,
                     last ? "; last: " : "", last ? last : "");
        free(last);
        producer_batch_done(producer, batch, WEIR_ERR_TIMED_OUT);
    }
}

// The leader's connection if a request could be sent there now.
static struct node *queue_destination(struct weir_producer *producer,
                                      const struct batch_queue *queue)
{
    struct weir_client *client = producer->client;
    const struct producer_topic *topic = queue->owner;
    int32_t leader = metadata_leader(&client->metadata, topic->metadata, queue->partition);
    struct node *node = leader < 0 ? NULL : client_node(client, leader);
    struct connection *connection = node ? client_connection(client, node, NULL) : NULL;
    return connection && connection_ready(connection) ? node : NULL;
}

// Takes what one queue may send. Returns when to look at it again.
static uint64_t queue_drive(struct weir_producer *producer, struct batch_queue *queue)
{
    uint64_t now_ns = producer->client->now_ns;
    uint64_t expiry_ns = batch_queue_expiry_ns(queue, &producer->limits);
    uint64_t ready_ns = batch_queue_ready_ns(queue, &producer->limits, producer->flushing);
    if (ready_ns > now_ns)
        return ready_ns < expiry_ns ? ready_ns : expiry_ns;
    struct node *node = queue_destination(producer, queue);
    if (!node)
        return expiry_ns;
    const struct batch *next = list_empty(&queue->waiting)
                                   ? queue->open
                                   : list_entry(queue->waiting.next, struct batch, node);
    struct produce_request *request = produce_request_for(producer, node, next->builder.size);
    if (!request)
        return expiry_ns; // an answer will make room
    struct batch *batch = batch_queue_take(queue);
    if (!produce_request_add(request, batch)) {
        batch_queue_settled(queue, batch);
        producer_batch_done(producer, batch, batch->error);
    }
    return batch_queue_expiry_ns(queue, &producer->limits);
}

// One pass over the active queues. Returns when the next one is due.
static uint64_t queues_drive(struct weir_producer *producer, bool *sent)
{
    uint64_t due_ns = UINT64_MAX;
    *sent = false;
    list_each(at, &producer->active)
    {
        struct batch_queue *queue = list_entry(at, struct batch_queue, active);
        uint32_t in_flight = queue->in_flight;
        expire(producer, queue);
        uint64_t next_ns = batch_queue_idle(queue) ? UINT64_MAX : queue_drive(producer, queue);
        *sent |= queue->in_flight > in_flight;
        due_ns = next_ns < due_ns ? next_ns : due_ns;
        if (batch_queue_idle(queue))
            list_remove(&queue->active);
    }
    produce_request_submit_all(producer);
    return due_ns;
}

static void producer_drive(struct worker *worker)
{
    struct weir_producer *producer = list_entry(worker, struct weir_producer, worker);
    worker->due = false;
    uint64_t unplaced_ns = unplaced_drive(producer);
    uint64_t due_ns;
    bool sent;
    do // again, because a partition may have several batches, one per request
        due_ns = queues_drive(producer, &sent);
    while (sent && producer->limits.in_flight_max > 1);
    if (unplaced_ns < due_ns)
        due_ns = unplaced_ns;
    if (due_ns == UINT64_MAX)
        timer_cancel(&producer->client->timers, &producer->timer);
    else
        timer_set(&producer->client->timers, &producer->timer, due_ns);
}

static bool all_reported(void *context)
{
    return ((const struct weir_producer *)context)->queued == 0;
}

int weir_flush(struct weir_producer *producer, int timeout_ms)
{
    struct weir_client *client = producer->client;
    int error = client_enter(client);
    if (error)
        return error;
    producer->flushing = true;
    producer->worker.due = true;
    client_wait(client, all_reported, producer, client_deadline(client, timeout_ms));
    producer->flushing = false;
    error = producer->first_error;
    producer->first_error = WEIR_OK;
    if (error)
        return error;
    if (producer->queued > 0)
        return client_fail(client, WEIR_ERR_TIMED_OUT,
                           "%zu messages were not delivered within %d ms", producer->queued,
                           timeout_ms);
    return WEIR_OK;
}

// ------------------------------------------------------------------------------------ the end

static void queue_abandon(struct weir_producer *producer, struct batch_queue *queue)
{
    batch_queue_close(queue);
    for (struct list *node; (node = list_pop(&queue->waiting));)
        producer_batch_done(producer, list_entry(node, struct batch, node), WEIR_ERR_ABANDONED);
    list_remove(&queue->active);
}

static void topic_abandon(struct weir_producer *producer, struct producer_topic *topic)
{
    for (int32_t i = 0; i < topic->queue_count; i++) {
        if (topic->queues[i])
            queue_abandon(producer, topic->queues[i]);
    }
    for (struct list *node; (node = list_pop(&topic->unplaced));) {
        struct unplaced *unplaced = list_entry(node, struct unplaced, node);
        unplaced_fail(producer, topic, unplaced, WEIR_ERR_ABANDONED,
                      weir_error_text(WEIR_ERR_ABANDONED));
        free(unplaced);
    }
}

static void topic_free(struct producer_topic *topic)
{
    for (int32_t i = 0; i < topic->queue_count; i++)
        free(topic->queues[i]);
    free(topic->queues);
    free(topic);
}

void weir_producer_free(struct weir_producer *producer)
{
    if (!producer)
        return;
    struct weir_client *client = producer->client;
    CHECK(!client->in_callback);
    struct producer_topic *topic;
    list_remove(&producer->worker.node);
    timer_cancel(&client->timers, &producer->timer);
    produce_request_free_all(producer);
    for (size_t at = 0; (topic = map_next(&producer->topics, &at));)
        topic_abandon(producer, topic);
    client->in_callback = true;
    producer_report(&producer->worker);
    client->in_callback = false;
    for (size_t at = 0; (topic = map_next(&producer->topics, &at));)
        topic_free(topic);
    map_free(&producer->topics);
    for (struct list *node; (node = list_pop(&producer->spare));)
        batch_free(list_entry(node, struct batch, node));
    free(producer);
}
