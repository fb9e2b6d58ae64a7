// SPDX-License-Identifier: Apache-2.0
// Where messages wait until they are sent: in the open batch of their partition, or, before a
// topic's partitions are known, in the topic's list of unplaced messages.
//
// Invariants
//  1. Unplaced messages are placed in the order in which they came, before any later one of their
//     topic; so the order within a partition is that of weir_produce.
//  2. A message either is in exactly one batch or list, or has been reported.
#include "clients/c/placement.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "clients/c/partitioner.h"

// weir.h's types and the protocol's are laid out alike, so arrays need no conversion.
_Static_assert(sizeof(struct weir_header) == sizeof(struct record_header) &&
                   offsetof(struct weir_header, value) == offsetof(struct record_header, value) &&
                   sizeof(struct weir_bytes) == sizeof(struct span) &&
                   offsetof(struct weir_bytes, size) == offsetof(struct span, size),
               "weir_header and record_header differ");

enum {
    CHOSEN_WRONG = -2,
    UNPLACED_STEP = 64 << 10, // bytes put aside between two looks at the network
};

static const char chosen_wrong[] = "the callback chose a partition that does not exist";

// A message that waits for its topic's partitions. Its bytes follow: key, value, then for each
// header name and value; the headers themselves come first.
struct unplaced {
    struct list node;
    int32_t partition;
    uint64_t created_ns;
    struct weir_message message;
    struct weir_header headers[];
};

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

static size_t message_bound(const struct weir_message *message)
{
    return batch_record_bound(span_of(message->key.data, message->key.size),
                              span_of(message->value.data, message->value.size),
                              (const struct record_header *)(const void *)message->headers,
                              (int32_t)message->header_count);
}

// The open batch is full. Its final bytes are made now, while its predecessor is on its way, and
// not when that has come back; should it fail, the attempt is repeated when the batch is to be
// sent.
static void batch_complete(struct weir_producer *producer, struct batch_queue *queue)
{
    if (!queue->open)
        return;
    idempotence_number_early(&producer->idempotence, queue);
    produce_request_seal(producer, queue->open);
    batch_queue_close(queue);
    producer->eager = true;
}

// CHOSEN_WRONG when the application's own choice does not exist. `bound` is what the message takes
// at most in a batch.
static int32_t partition_choose(struct weir_producer *producer, struct producer_topic *topic,
                                const struct weir_message *message, size_t bound)
{
    int32_t count = topic->metadata->partition_count;
    if (producer->choose) {
        int32_t chosen = producer->choose(producer->choose_context, topic->name, message, count);
        if (chosen != WEIR_ANY_PARTITION)
            return chosen >= 0 && chosen < count ? chosen : CHOSEN_WRONG;
    }
    if (message->key.data)
        return partitioner_keyed(span_of(message->key.data, message->key.size), count);
    struct batch_queue *queue = topic->sticky >= 0 && topic->sticky < topic->queue_count
                                    ? topic->queues[topic->sticky]
                                    : NULL;
    // The batch that messages were sticking to is complete: the next one goes elsewhere.
    if (queue && queue->open && queue->open->builder.size + bound > queue->open->builder.limit)
        batch_complete(producer, queue);
    if (topic->sticky < 0 || topic->sticky >= count || !queue || !queue->open)
        topic->sticky = sticky_choose(producer, topic);
    return topic->sticky;
}

// Room for one more opaque, if reports are wanted.
static bool opaque_reserve(const struct weir_producer *producer, struct batch *batch)
{
    if (!producer_reports(producer) || (uint32_t)batch->count < batch->opaque_capacity)
        return true;
    uint32_t capacity = batch->opaque_capacity ? batch->opaque_capacity * 2 : 64;
    void **opaques = realloc(batch->opaques, capacity * sizeof(*opaques));
    if (!opaques)
        return false;
    batch->opaques = opaques;
    batch->opaque_capacity = capacity;
    return true;
}

// What a message without a timestamp gets. The clock is read for the first one of a batch; the
// others get the kernel's last tick, some milliseconds ago, but never less than the first.
static int64_t timestamp_now(const struct batch *batch)
{
    int64_t coarse_ms = clock_wall_coarse_ms();
    return coarse_ms > batch->opened_ms ? coarse_ms : batch->opened_ms;
}

static enum batch_error batch_append(struct weir_producer *producer, struct batch *batch,
                                     const struct weir_message *message)
{
    if (!opaque_reserve(producer, batch))
        return BATCH_NO_MEMORY;
    enum batch_error error = batch_builder_add(
        &batch->builder, message->timestamp ? message->timestamp : timestamp_now(batch),
        span_of(message->key.data, message->key.size),
        span_of(message->value.data, message->value.size),
        (const struct record_header *)(const void *)message->headers,
        (int32_t)message->header_count);
    if (error)
        return error;
    if (producer_reports(producer))
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
        batch_complete(producer, queue);
        batch_queue_open(queue, batch, &producer->limits, charge,
                         created_ns ? created_ns : clock_monotonic_ns());
        batch->opened_ms = clock_wall_ms();
        error = batch_append(producer, batch, message);
        if (error && batch->count == 0) {
            queue->open = NULL;
            producer_batch_recycle(producer, batch);
        }
    }
    if (list_empty(&queue->active) && !batch_queue_idle(queue))
        list_append(&producer->active, &queue->active);
    if (error)
        return error == BATCH_NO_MEMORY ? WEIR_ERR_NO_MEMORY : WEIR_ERR_BAD_ARGUMENT;
    queue->open->charge += charge;
    if (queue->open->builder.size >= producer->limits.batch_size)
        batch_complete(producer, queue);
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
    if (message->timestamp == 0)
        unplaced->message.timestamp = clock_wall_ms();
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
    // Who only produces would fill all of buffer.memory before the partitions are asked for.
    producer->aside_bytes += size;
    if (producer->aside_bytes >= UNPLACED_STEP) {
        producer->aside_bytes = 0;
        producer->eager = true;
    }
    return WEIR_OK;
}

size_t placement_charge(const struct weir_message *message)
{
    return message_bound(message) + PLACEMENT_OVERHEAD;
}

// Reports a message that never got into a batch, by way of a batch of its own.
static void unplaced_fail(struct weir_producer *producer, struct producer_topic *topic,
                          struct unplaced *unplaced, int error, const char *reason)
{
    size_t charge = placement_charge(&unplaced->message);
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
    batch->placeless = unplaced->partition < 0;
    batch->charge = charge;
    batch->count = 1;
    if (producer_reports(producer))
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
        partition = partition_choose(producer, topic, &unplaced->message,
                                     message_bound(&unplaced->message));
    if (partition == CHOSEN_WRONG) {
        unplaced_fail(producer, topic, unplaced, WEIR_ERR_BAD_ARGUMENT, chosen_wrong);
        return true;
    }
    struct batch_queue *queue = topic_queue(topic, partition);
    int error = queue ? message_place(producer, queue, &unplaced->message,
                                      placement_charge(&unplaced->message), unplaced->created_ns)
                      : WEIR_ERR_NO_MEMORY;
    if (error)
        unplaced_fail(producer, topic, unplaced, error, weir_error_text(error));
    return true;
}

uint64_t placement_drive(struct weir_producer *producer)
{
    uint64_t due_ns = UINT64_MAX;
    list_each(at, &producer->unplaced) {
        struct producer_topic *topic = list_entry(at, struct producer_topic, link);
        int error = metadata_produce_error(&producer->client->metadata, topic->metadata);
        list_each(node, &topic->unplaced) {
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

int placement_add(struct weir_producer *producer, struct producer_topic *topic, int32_t partition,
                  const struct weir_message *message, size_t charge)
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
        partition = partition_choose(producer, topic, message, charge - PLACEMENT_OVERHEAD);
    if (partition == CHOSEN_WRONG)
        return client_fail(producer->client, WEIR_ERR_BAD_ARGUMENT, "topic '%s': %s", topic->name,
                           chosen_wrong);
    struct batch_queue *queue = topic_queue(topic, partition);
    if (!queue)
        return WEIR_ERR_NO_MEMORY;
    return message_place(producer, queue, message, charge, 0);
}

void placement_abandon(struct weir_producer *producer, struct producer_topic *topic, int error)
{
    for (struct list *node; (node = list_pop(&topic->unplaced));) {
        struct unplaced *unplaced = list_entry(node, struct unplaced, node);
        unplaced_fail(producer, topic, unplaced, error, weir_error_text(error));
        free(unplaced);
    }
    list_remove(&topic->link);
}
