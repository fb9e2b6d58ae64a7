// SPDX-License-Identifier: Apache-2.0
// Produce requests: batches of several partitions of one broker, sent together, answered one by
// one.
//
// Invariants
//  1. A partition has at most one batch in a request (the protocol allows no more).
//  2. Every batch of a request is either answered by the reply, or the whole request ended with an
//     error; in both cases it is settled once: done, or back in its queue to be repeated.
//  3. Batches that are not full do not crowd out those that fill: see partial_limit. Those that are
//     full are not counted, so nothing waits for another partition's bulk.
//  4. Batches point into memory that stays theirs until they are settled, so they are sent without
//     a copy.
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "clients/c/batch_split.h"
#include "clients/c/error.h"
#include "clients/c/producer.h"
#include "gen/kp_produce.h"
#include "protocol/error.h"

enum {
    VERSION_WITHOUT_TOPIC_IDS = 12,
    PARTIAL_SHARE = 32, // of buffer.memory
};

static struct producer_topic *batch_topic(const struct batch *batch)
{
    return batch->queue->owner;
}

// ------------------------------------------------------------------------------------- building

static struct producer_node *producer_node(struct weir_producer *producer, struct node *node)
{
    for (struct list *at = producer->nodes.next; at != &producer->nodes; at = at->next) {
        struct producer_node *found = list_entry(at, struct producer_node, link);
        if (found->node == node)
            return found;
    }
    struct producer_node *fresh = calloc(1, sizeof(*fresh));
    if (!fresh)
        return NULL;
    fresh->node = node;
    list_append(&producer->nodes, &fresh->link);
    return fresh;
}

static struct produce_request *request_new(struct weir_producer *producer)
{
    struct list *spare = list_pop(&producer->spare_requests);
    if (spare)
        return list_entry(spare, struct produce_request, link);
    struct produce_request *request = calloc(1, sizeof(*request));
    if (!request)
        return NULL;
    request->producer = producer;
    list_init(&request->link);
    return request;
}

static void request_recycle(struct produce_request *request)
{
    list_remove(&request->link);
    request->batch_count = 0;
    list_append(&request->producer->spare_requests, &request->link);
}

static void request_free(struct produce_request *request)
{
    list_remove(&request->link);
    free(request->batches);
    free(request);
}

static void request_submit(struct produce_request *request);

// How many bytes of batches that are not full a request takes; no other one gets any while as many
// are in flight to its broker. So less than twice as many are, two requests under load, and the
// rest of buffer.memory is there for batches to fill.
static size_t partial_limit(const struct weir_producer *producer)
{
    return (size_t)producer->config.buffer_memory / PARTIAL_SHARE;
}

static bool has_room(const struct produce_request *request, size_t bytes, bool partial)
{
    const struct weir_producer *producer = request->producer;
    if (request->bytes + bytes > (size_t)producer->config.max_request_size)
        return false;
    return !partial || request->partial_bytes == 0 ||
           request->partial_bytes + bytes <= partial_limit(producer);
}

struct produce_request *produce_request_for(struct weir_producer *producer, struct node *node,
                                            size_t bytes, bool partial)
{
    struct producer_node *to = producer_node(producer, node);
    if (!to)
        return NULL;
    if (to->building && !has_room(to->building, bytes, partial))
        request_submit(to->building);
    if (partial && to->partial_bytes >= partial_limit(producer))
        return NULL;
    if (to->building)
        return to->building;
    if (to->in_flight >= (uint32_t)producer->config.max_in_flight)
        return NULL;
    struct produce_request *request = request_new(producer);
    if (!request)
        return NULL;
    request->node = to;
    request->bytes = request->partial_bytes = 0;
    request->topic_ids = true;
    to->building = request;
    return request;
}

bool produce_request_seal(struct weir_producer *producer, struct batch *batch)
{
    if (batch->slice.iov_base)
        return true;
    struct span bytes;
    enum batch_error error = batch_builder_finish(
        &batch->builder, (enum batch_codec)producer->config.compression_type,
        (int)producer->config.compression_level, batch->producer, &batch->scratch, &bytes);
    if (error) {
        batch->error = error == BATCH_NO_MEMORY ? WEIR_ERR_NO_MEMORY : WEIR_ERR_BAD_ARGUMENT;
        batch_reason(batch, "a batch for topic '%s' could not be compressed: %s",
                     batch_topic(batch)->name, batch_error_text(error));
        return false;
    }
    // The slice is only read; iovec has no way to say so.
    memcpy(&batch->slice.iov_base, &bytes.data, sizeof(bytes.data));
    batch->slice.iov_len = bytes.size;
    return true;
}

bool produce_request_add(struct produce_request *request, struct batch *batch, bool partial)
{
    if (!produce_request_seal(request->producer, batch))
        return false;
    if (request->batch_count == request->batch_capacity) {
        size_t capacity = request->batch_capacity ? request->batch_capacity * 2 : 8;
        struct batch **batches = realloc(request->batches, capacity * sizeof(struct batch *));
        if (!batches) {
            batch->error = WEIR_ERR_NO_MEMORY;
            return false;
        }
        request->batches = batches;
        request->batch_capacity = capacity;
    }
    request->batches[request->batch_count++] = batch;
    request->bytes += batch->slice.iov_len;
    if (partial)
        request->partial_bytes += batch->builder.size;
    if (batch->attempts == 1) {
        request->producer->stats.batches++;
        request->producer->stats.batch_bytes += batch->slice.iov_len;
    }
    request->topic_ids &= !kp_uuid_is_zero(batch_topic(batch)->metadata->id);
    return true;
}

// ------------------------------------------------------------------------------------- encoding

static int batch_compare(const void *a, const void *b)
{
    const struct batch *left = *(struct batch *const *)a;
    const struct batch *right = *(struct batch *const *)b;
    if (left->queue->owner != right->queue->owner)
        return (uintptr_t)left->queue->owner < (uintptr_t)right->queue->owner ? -1 : 1;
    return (left->queue->partition > right->queue->partition) -
           (left->queue->partition < right->queue->partition);
}

static void partition_fill(struct kp_produce_request_partition *to, struct batch *batch)
{
    kp_produce_request_partition_init(to);
    to->index = batch->queue->partition;
    to->records.slices = &batch->slice;
    to->records.slice_count = 1;
    to->records.size = (int64_t)batch->slice.iov_len;
}

// Groups the sorted batches by topic. Returns the number of topics.
static int32_t topics_fill(const struct produce_request *request,
                           struct kp_produce_request_topic *topics,
                           struct kp_produce_request_partition *partitions)
{
    int32_t topic_count = 0;
    const struct producer_topic *last = NULL;
    for (size_t i = 0; i < request->batch_count; i++) {
        struct batch *batch = request->batches[i];
        const struct producer_topic *topic = batch_topic(batch);
        if (topic != last) {
            struct kp_produce_request_topic *to = &topics[topic_count++];
            kp_produce_request_topic_init(to);
            to->name = span_text(topic->name);
            to->topic_id = topic->metadata->id;
            to->partition_data = &partitions[i];
            last = topic;
        }
        partition_fill(&partitions[i], batch);
        topics[topic_count - 1].partition_data_count++;
    }
    return topic_count;
}

static void request_encode(struct request *base, struct kp_writer *writer)
{
    struct produce_request *request = list_entry(base, struct produce_request, request);
    const struct config *config = &request->producer->config;
    struct kp_produce_request message;
    kp_produce_request_init(&message);
    message.acks = (int16_t)config->acks;
    message.timeout_ms = (int32_t)config->request_timeout_ms;
    struct kp_produce_request_partition *partitions =
        arena_array(writer->arena, request->batch_count, sizeof(*partitions));
    message.topic_data =
        arena_array(writer->arena, request->batch_count, sizeof(*message.topic_data));
    if (!partitions || !message.topic_data) {
        writer->failed = true;
        return;
    }
    message.topic_data_count = topics_fill(request, message.topic_data, partitions);
    kp_produce_request_encode(writer, base->version, &message);
}

// ------------------------------------------------------------------------------------- answers

static void queue_activate(struct weir_producer *producer, struct batch_queue *queue)
{
    if (list_empty(&queue->active))
        list_append(&producer->active, &queue->active);
}

// Batches that failed together are repeated together, in one request: so the pause is chosen once
// for all that fail at this moment.
static void batch_repeat(struct weir_producer *producer, struct batch *batch)
{
    struct weir_client *client = producer->client;
    if (producer->retry_chosen_ns != client->now_ns ||
        producer->retry_attempts != batch->attempts) {
        producer->retry_chosen_ns = client->now_ns;
        producer->retry_attempts = batch->attempts;
        producer->retry_at_ns =
            client->now_ns + client_backoff_ns(client, client->config.retry_backoff_ms,
                                               client->config.retry_backoff_max_ms,
                                               batch->attempts - 1);
    }
    batch_queue_repeat(batch->queue, batch, producer->retry_at_ns);
    queue_activate(producer, batch->queue);
}

// The batch failed with `error`: it is repeated as long as that is worth trying. `unstored` are
// those that only have to be numbered anew.
static void batch_failed(struct weir_producer *producer, struct batch *batch, int error,
                         bool unstored)
{
    uint64_t age_ns = producer->client->now_ns - batch->created_ns;
    bool worth =
        weir_error_retriable(error) && batch->attempts <= (uint64_t)producer->config.retries;
    bool again = (worth || unstored) && age_ns < producer->limits.delivery_timeout_ns;
    batch->error = error;
    if (again) {
        batch_repeat(producer, batch);
        return;
    }
    batch_queue_settled(batch->queue, batch);
    producer_batch_done(producer, batch, error);
}

static bool is_too_large(int16_t code)
{
    return code == KP_ERROR_MESSAGE_TOO_LARGE || code == KP_ERROR_RECORD_LIST_TOO_LARGE;
}

// Has a batch that the broker finds too large sent again in two halves, and later ones made
// smaller. False when it cannot be halved.
static bool batch_halve(struct weir_producer *producer, struct batch *batch)
{
    struct batch_queue *queue = batch->queue;
    size_t size = batch->builder.size / 2;
    if (producer->client->now_ns - batch->created_ns >= producer->limits.delivery_timeout_ns)
        return false;
    struct batch *second = batch_split(batch);
    if (!second)
        return false;
    if (!queue->size_max || size < queue->size_max)
        queue->size_max = size;
    batch_queue_insert(queue, second);
    batch_queue_repeat(queue, batch, 0);
    queue_activate(producer, queue);
    producer->worker.due = true;
    return true;
}

static void batch_answered(struct produce_request *request, struct batch *batch,
                           const struct kp_produce_response_partition *answer)
{
    struct weir_producer *producer = request->producer;
    enum idempotence_verdict verdict = idempotence_judge(batch, answer->error_code);
    if (answer->error_code == 0 || verdict == VERDICT_STORED) {
        batch->base_offset = answer->base_offset;
        batch->append_time = answer->log_append_time_ms;
        idempotence_stored(batch);
        if (batch_queue_done(batch->queue, batch))
            producer_batch_done(producer, batch, WEIR_OK);
        else
            queue_activate(producer, batch->queue);
        return;
    }
    if (is_too_large(answer->error_code) && batch_halve(producer, batch))
        return;
    struct span words = answer->error_message;
    if (!words.data || words.size == 0)
        words = span_text(kp_error_text(answer->error_code));
    batch_reason(batch, "topic '%s' partition %d: %s answered %s: %.*s", batch_topic(batch)->name,
                 batch->queue->partition, request->node->node->name,
                 kp_error_name(answer->error_code), words.size < 300 ? (int)words.size : 300,
                 (const char *)words.data);
    if (kp_error_retriable(answer->error_code))
        metadata_refresh(&producer->client->metadata);
    batch_failed(producer, batch, error_from_wire(answer->error_code), verdict == VERDICT_REPEAT);
}

// The place of an answer's batch in the request; -1 for none. Answers usually come in order, so
// the search starts at `hint`.
static long batch_find(const struct produce_request *request, int16_t version,
                       const struct kp_produce_response_topic *topic, int32_t partition,
                       size_t hint)
{
    for (size_t i = 0; i < request->batch_count; i++) {
        size_t at = (hint + i) % request->batch_count;
        const struct batch *batch = request->batches[at];
        if (!batch || batch->queue->partition != partition)
            continue;
        const struct producer_topic *own = batch_topic(batch);
        if (version > VERSION_WITHOUT_TOPIC_IDS ? kp_uuid_equal(topic->topic_id, own->metadata->id)
                                                : span_equal(topic->name, span_text(own->name)))
            return (long)at;
    }
    return -1;
}

static void answers_apply(struct produce_request *request, int16_t version,
                          const struct kp_produce_response *message)
{
    size_t hint = 0;
    for (int32_t t = 0; t < message->responses_count; t++) {
        const struct kp_produce_response_topic *topic = &message->responses[t];
        for (int32_t p = 0; p < topic->partition_responses_count; p++) {
            const struct kp_produce_response_partition *answer = &topic->partition_responses[p];
            long at = batch_find(request, version, topic, answer->index, hint);
            if (at < 0)
                continue;
            struct batch *batch = request->batches[at];
            request->batches[at] = NULL;
            hint = (size_t)at + 1;
            batch_answered(request, batch, answer);
        }
    }
}

// Ends the batches that have no answer of their own. Returns whether there were any.
static bool rest_fail(struct produce_request *request, int error, const char *reason)
{
    bool any = false;
    for (size_t i = 0; i < request->batch_count; i++) {
        struct batch *batch = request->batches[i];
        if (!batch)
            continue;
        any = true;
        batch_reason(batch, "topic '%s' partition %d: %s", batch_topic(batch)->name,
                     batch->queue->partition, reason);
        batch_failed(request->producer, batch, error, false);
    }
    return any;
}

static bool request_done(struct request *base, int error, struct reply *reply)
{
    struct produce_request *request = list_entry(base, struct produce_request, request);
    struct weir_producer *producer = request->producer;
    request->node->in_flight--;
    request->node->partial_bytes -= request->partial_bytes;
    producer->worker.due = true;
    bool sound = true;
    if (error) {
        const char *reason = base->last->error_text;
        rest_fail(request, error, reason[0] ? reason : weir_error_text(error));
    } else if (base->no_reply) {
        for (size_t i = 0; i < request->batch_count; i++) {
            batch_queue_settled(request->batches[i]->queue, request->batches[i]);
            producer_batch_done(producer, request->batches[i], WEIR_OK);
        }
    } else {
        struct kp_produce_response message;
        sound =
            kp_produce_response_decode(&reply->reader, reply->version, reply->arena, &message) == 0;
        if (sound)
            answers_apply(request, reply->version, &message);
        // What became of them is unknown, as if the connection had been lost.
        if (rest_fail(request, WEIR_ERR_TRANSPORT, "the broker's answer does not cover it"))
            sound = false;
    }
    request_recycle(request);
    return sound;
}

// The request may take as long as its oldest batch has left to live.
static uint64_t request_timeout_ns(const struct produce_request *request)
{
    const struct weir_producer *producer = request->producer;
    uint64_t now_ns = producer->client->now_ns;
    uint64_t timeout_ns = (uint64_t)producer->config.request_timeout_ms * MS;
    for (size_t i = 0; i < request->batch_count; i++) {
        uint64_t due_ns = request->batches[i]->created_ns + producer->limits.delivery_timeout_ns;
        uint64_t left_ns = due_ns > now_ns ? due_ns - now_ns : 1;
        if (left_ns < timeout_ns)
            timeout_ns = left_ns;
    }
    return timeout_ns;
}

static void request_submit(struct produce_request *request)
{
    struct weir_producer *producer = request->producer;
    struct producer_node *node = request->node;
    node->building = NULL;
    if (request->batch_count == 0) {
        request_recycle(request);
        return;
    }
    if (request->batch_count > 1)
        qsort(request->batches, request->batch_count, sizeof(struct batch *), batch_compare);
    request->request = (struct request){
        .api_key = KP_PRODUCE_KEY,
        .version_max = request->topic_ids ? KP_PRODUCE_MAX : VERSION_WITHOUT_TOPIC_IDS,
        .no_reply = producer->config.acks == 0,
        .timeout_ns = request_timeout_ns(request),
        .encode = request_encode,
        .done = request_done,
    };
    list_init(&request->request.node);
    list_append(&producer->requests, &request->link);
    node->in_flight++;
    node->partial_bytes += request->partial_bytes;
    connection_submit(client_connection(producer->client, node->node, NULL), &request->request);
}

void produce_request_submit_all(struct weir_producer *producer)
{
    list_each(at, &producer->nodes) {
        struct producer_node *node = list_entry(at, struct producer_node, link);
        if (node->building)
            request_submit(node->building);
    }
}

void produce_request_free_all(struct weir_producer *producer)
{
    list_each(at, &producer->requests) {
        struct produce_request *request = list_entry(at, struct produce_request, link);
        request_cancel(&request->request);
        for (size_t i = 0; i < request->batch_count; i++) {
            batch_queue_settled(request->batches[i]->queue, request->batches[i]);
            producer_batch_done(producer, request->batches[i], WEIR_ERR_ABANDONED);
        }
        request_free(request);
    }
    list_each(spare, &producer->spare_requests)
        request_free(list_entry(spare, struct produce_request, link));
    list_each(node, &producer->nodes)
        free(list_entry(node, struct producer_node, link));
}
