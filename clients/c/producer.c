// SPDX-License-Identifier: Apache-2.0
// The producer: places messages in batches, decides what is sent when, reports what became of it.
//
// A message's way: weir_produce copies it into the open batch of its partition (or, before the
// partitions are known, aside: placement.c); producer_drive takes batches
// that are ready and puts them into requests; answers settle them; producer_report tells the
// application and frees the space.
//
// Invariants
//  1. Every message accepted is counted in `queued` and its size in `used_bytes` until it was
//     reported, and it is reported exactly once. So an application that never polls fills
//     buffer.memory and then gets QUEUE_FULL, not an ever larger process.
//  2. A queue is on the `active` list exactly while it has open or waiting batches; driving looks
//     at nothing else.
//  3. Without memory or time for a batch its messages fail; nothing disappears.
#include "clients/c/producer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "clients/c/error.h"
#include "clients/c/placement.h"

enum {
    TOPIC_NAME_MAX = 249,
    IDEMPOTENT_IN_FLIGHT = 5, // as many as brokers remember
    ACKS_ALL = -1,
    SPARE_SHARE = 2, // at most this part of buffer.memory is kept for reuse
};

static void producer_drive(struct worker *worker);
static void producer_report(struct worker *worker);
static void timer_expired(struct timer *timer);

// How many batches of a partition may be in flight. By default a batch that is not full waits for
// its predecessors, so that small messages still gather; who sets a number has them sent ahead.
static void limits_set(struct weir_producer *producer)
{
    const struct config *config = &producer->config;
    uint32_t wanted = (uint32_t)config->max_in_flight_per_partition;
    uint32_t most = wanted ? wanted : 1;
    if (producer->idempotence.enabled)
        most = wanted && wanted < IDEMPOTENT_IN_FLIGHT ? wanted : IDEMPOTENT_IN_FLIGHT;
    producer->limits = (struct batch_limits){
        .batch_size = (size_t)config->batch_size,
        .linger_ns = (uint64_t)config->linger_ms * MS,
        .delivery_timeout_ns = (uint64_t)config->delivery_timeout_ms * MS,
        .in_flight_max = config->acks != 0 ? most : UINT32_MAX,
        .hold_partial = config->acks != 0 && !wanted,
    };
}

static void idempotence_changed(struct idempotence *idempotence)
{
    struct weir_producer *producer = list_entry(idempotence, struct weir_producer, idempotence);
    limits_set(producer);
    producer->worker.due = true;
}

// Settings that exclude each other are refused rather than one of them ignored.
static bool settings_agree(struct weir_client *client, const struct config *config)
{
    if (config->idempotence != IDEMPOTENCE_ON)
        return true;
    if (config->acks == ACKS_ALL && config->max_in_flight_per_partition <= IDEMPOTENT_IN_FLIGHT)
        return true;
    client_fail(client, WEIR_ERR_BAD_ARGUMENT,
                "enable.idempotence=true needs acks=all and max.in.flight.per.partition of %d at "
                "most",
                IDEMPOTENT_IN_FLIGHT);
    return false;
}

struct weir_producer *weir_producer_new(struct weir_client *client,
                                        const struct weir_config *config)
{
    struct config values = config_values(config);
    if (!settings_agree(client, &values))
        return NULL;
    struct weir_producer *producer = calloc(1, sizeof(*producer));
    if (!producer)
        return NULL;
    producer->client = client;
    producer->config = values;
    producer->worker.drive = producer_drive;
    producer->worker.report = producer_report;
    producer->timer.expired = timer_expired;
    bool all = producer->config.acks == ACKS_ALL;
    idempotence_init(&producer->idempotence, client,
                     all ? producer->config.idempotence : IDEMPOTENCE_OFF, idempotence_changed);
    limits_set(producer);
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

void weir_producer_on_batch(struct weir_producer *producer,
                            void (*delivered)(void *context,
                                              const struct weir_batch_delivery *delivery),
                            void *context)
{
    producer->batch_delivered = delivered;
    producer->batch_context = context;
}

void weir_producer_on_partition(struct weir_producer *producer,
                                int32_t (*choose)(void *context, const char *topic,
                                                  const struct weir_message *message,
                                                  int32_t count),
                                void *context)
{
    producer->choose = choose;
    producer->choose_context = context;
}

void weir_producer_stats(const struct weir_producer *producer,
                         struct weir_producer_statistics *stats)
{
    *stats = producer->stats;
    stats->queued = producer->queued;
    stats->buffered_bytes = producer->used_bytes;
    stats->renumberings = producer->idempotence.renumberings;
    stats->producer_id = producer->idempotence.id;
}

size_t weir_producer_queued(const struct weir_producer *producer)
{
    return producer->queued;
}

// ------------------------------------------------------------------------------------ reporting

void producer_batch_recycle(struct weir_producer *producer, struct batch *batch)
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
    if (batch->stored)
        error = WEIR_OK;
    batch->error = error;
    if (error)
        producer->stats.failed += (uint64_t)batch->count;
    else
        producer->stats.delivered += (uint64_t)batch->count;
    if (error && !producer->first_error) {
        producer->first_error = error;
        client_fail(producer->client, error, "%s",
                    batch->reason ? batch->reason : weir_error_text(error));
    }
    if (!producer_reports(producer)) {
        producer_batch_recycle(producer, batch);
        return;
    }
    list_append(&producer->finished, &batch->node);
    producer->worker.reports = true;
}

static void batch_report_whole(struct weir_producer *producer, const struct batch *batch)
{
    const struct producer_topic *topic = batch->queue->owner;
    struct weir_batch_delivery delivery = {
        .error = batch->error,
        .topic = topic->name,
        .partition = batch->placeless ? WEIR_ANY_PARTITION : batch->queue->partition,
        .offset = batch->error ? -1 : batch->base_offset,
        .timestamp = batch->append_time,
        .count = (size_t)batch->count,
        .opaques = batch->opaques,
    };
    if (batch->error)
        delivery.reason = batch->reason ? batch->reason : weir_error_text(batch->error);
    producer->batch_delivered(producer->batch_context, &delivery);
}

static void batch_report(struct weir_producer *producer, const struct batch *batch)
{
    const struct producer_topic *topic = batch->queue->owner;
    struct weir_delivery delivery = {
        .error = batch->error,
        .topic = topic->name,
        .partition = batch->placeless ? WEIR_ANY_PARTITION : batch->queue->partition,
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
        if (producer->batch_delivered)
            batch_report_whole(producer, batch);
        if (producer->delivered)
            batch_report(producer, batch);
        producer_batch_recycle(producer, batch);
    }
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

// NULL when memory is short. Programs mostly produce to the topic they have produced to before.
static struct producer_topic *topic_find(struct weir_producer *producer, const char *name)
{
    struct producer_topic *topic = map_get(&producer->topics, span_text(name));
    if (!topic)
        topic = topic_add(producer, name);
    producer->last_topic = topic;
    return topic;
}

static bool is_last_topic(const struct weir_producer *producer, const char *name)
{
    return name && producer->last_topic && strcmp(producer->last_topic->name, name) == 0;
}

static int topic_check(struct weir_producer *producer, const char *name)
{
    if (name && *name && strlen(name) <= TOPIC_NAME_MAX)
        return WEIR_OK;
    return client_fail(producer->client, WEIR_ERR_BAD_ARGUMENT,
                       "a topic's name has 1 to %d characters", TOPIC_NAME_MAX);
}

// Also computes what the message will count against buffer.memory.
static int message_check(struct weir_producer *producer, const char *topic, int32_t partition,
                         const struct weir_message *message, size_t *charge)
{
    struct weir_client *client = producer->client;
    if (partition < WEIR_ANY_PARTITION || !message || message->timestamp < 0 ||
        message->header_count > INT32_MAX || (message->header_count && !message->headers))
        return client_fail(client, WEIR_ERR_BAD_ARGUMENT,
                           "a message for topic '%s' has an impossible partition, timestamp or "
                           "headers",
                           topic);
    size_t limit = (size_t)producer->config.message_max_bytes;
    bool large = message->key.size > limit || message->value.size > limit;
    *charge = large ? 0 : placement_charge(message);
    if (large || *charge - PLACEMENT_OVERHEAD > limit)
        return client_fail(client, WEIR_ERR_TOO_LARGE,
                           "a message for topic '%s' is larger than message.max.bytes (%zu)", topic,
                           limit);
    if (producer->used_bytes + *charge > (size_t)producer->config.buffer_memory)
        return client_fail(client, WEIR_ERR_QUEUE_FULL,
                           "%zu messages wait for delivery and use up buffer.memory",
                           producer->queued);
    return WEIR_OK;
}

int weir_produce(struct weir_producer *producer, const char *topic_name, int32_t partition,
                 const struct weir_message *message)
{
    struct weir_client *client = producer->client;
    size_t charge = 0;
    bool known = is_last_topic(producer, topic_name);
    int error = known ? WEIR_OK : topic_check(producer, topic_name);
    if (!error)
        error = message_check(producer, topic_name, partition, message, &charge);
    if (error == WEIR_ERR_QUEUE_FULL)
        producer->worker.due = true;
    if (error)
        return error;
    struct producer_topic *topic = known ? producer->last_topic : topic_find(producer, topic_name);
    if (!topic)
        return client_fail(client, WEIR_ERR_NO_MEMORY, "out of memory");
    error = placement_add(producer, topic, partition, message, charge);
    if (error == WEIR_ERR_NO_MEMORY)
        return client_fail(client, error, "out of memory");
    if (error)
        return error;
    producer->used_bytes += charge;
    producer->queued++;
    producer->stats.messages++;
    producer->worker.due = true;
    if (producer->eager && !client->in_callback) {
        producer->eager = false;
        client_turn(client, 0);
    }
    return WEIR_OK;
}

// ------------------------------------------------------------------------------------ driving

static void timer_expired(struct timer *timer)
{
    list_entry(timer, struct weir_producer, timer)->worker.due = true;
}

// Fails all that waits, because going on is of no use.
static void queue_fail(struct weir_producer *producer, struct batch_queue *queue, int error,
                       const char *why)
{
    struct producer_topic *topic = queue->owner;
    batch_queue_close(queue);
    while (!batch_queue_idle(queue)) {
        struct batch *batch = batch_queue_take(queue);
        batch_queue_settled(queue, batch);
        batch_reason(batch, "topic '%s': %s", topic->name, why);
        producer_batch_done(producer, batch, error);
    }
}

static void identity_missing(struct weir_producer *producer, struct batch_queue *queue)
{
    char why[640];
    const struct idempotence *idempotence = &producer->idempotence;
    snprintf(why, sizeof(why),
             "no producer id to be had (enable.idempotence=false does without): %s",
             idempotence->call.detail[0] ? idempotence->call.detail
                                         : weir_error_text(idempotence->error));
    queue_fail(producer, queue, idempotence->error, why);
}

static void expire(struct weir_producer *producer, struct batch_queue *queue)
{
    const struct producer_topic *topic = queue->owner;
    // Reports follow the order of the messages, so those in flight come first; their requests end
    // in time (see produce_request.c).
    if (queue->in_flight > 0)
        return;
    struct batch *stored;
    while ((stored = batch_queue_stored(queue)))
        producer_batch_done(producer, stored, WEIR_OK);
    int error = metadata_produce_error(&producer->client->metadata, topic->metadata);
    if (error) {
        queue_fail(producer, queue, error, weir_error_text(error));
        return;
    }
    if (producer->idempotence.error) {
        identity_missing(producer, queue);
        return;
    }
    struct batch *batch;
    while ((batch = batch_queue_expired(queue, &producer->limits, producer->client->now_ns))) {
        char *last = batch->reason;
        batch->reason = NULL;
        if (!last && producer->idempotence.asking && producer->idempotence.call.detail[0])
            last = strdup(producer->idempotence.call.detail);
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
    // Answers of two brokers could overtake one another.
    if (node && queue->in_flight > 0 && queue->destination != node)
        return expiry_ns;
    if (!node || !idempotence_ready(&producer->idempotence, queue))
        return expiry_ns;
    bool open = list_empty(&queue->waiting);
    const struct batch *next =
        open ? queue->open : list_entry(queue->waiting.next, struct batch, node);
    // Flushed batches get no fuller.
    struct produce_request *request =
        produce_request_for(producer, node, next->builder.size, open && !producer->flushing);
    if (!request)
        return expiry_ns; // an answer will make room
    struct batch *batch = batch_queue_take(queue);
    queue->destination = node;
    producer->stats.repeats += batch->attempts > 1;
    idempotence_number(&producer->idempotence, queue, batch);
    if (!produce_request_add(request, batch, open)) {
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
    list_each(at, &producer->active) {
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
    if (!list_empty(&producer->unplaced) || !list_empty(&producer->active))
        idempotence_want(&producer->idempotence);
    uint64_t unplaced_ns = placement_drive(producer);
    uint64_t due_ns;
    bool sent;
    do // again, because a partition may have several batches, one per request
        due_ns = queues_drive(producer, &sent);
    while (sent && producer->limits.in_flight_max > 1);
    producer->idempotence.error = WEIR_OK; // whoever waited has been told
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

// Ends what is not on its way.
static void queue_abandon(struct weir_producer *producer, struct batch_queue *queue, int error)
{
    batch_queue_close(queue);
    for (struct batch *batch; (batch = batch_queue_drop(queue));)
        producer_batch_done(producer, batch, error);
    list_remove(&queue->active);
}

static void topics_abandon(struct weir_producer *producer, int error)
{
    struct producer_topic *topic;
    for (size_t at = 0; (topic = map_next(&producer->topics, &at));) {
        for (int32_t i = 0; i < topic->queue_count; i++) {
            if (topic->queues[i])
                queue_abandon(producer, topic->queues[i], error);
        }
        placement_abandon(producer, topic, error);
    }
}

size_t weir_purge(struct weir_producer *producer)
{
    uint64_t ended = producer->stats.failed + producer->stats.delivered;
    topics_abandon(producer, WEIR_ERR_PURGED);
    return (size_t)(producer->stats.failed + producer->stats.delivered - ended);
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
    idempotence_free(&producer->idempotence);
    produce_request_free_all(producer);
    topics_abandon(producer, WEIR_ERR_ABANDONED);
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
