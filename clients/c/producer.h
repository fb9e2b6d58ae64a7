// SPDX-License-Identifier: Apache-2.0
// Inside the producer: its topics, its requests, and what producer.c and produce_request.c share.
#pragma once

#include "clients/c/batch_queue.h"
#include "clients/c/connection.h"
#include "clients/c/idempotence.h"

struct producer_topic {
    char *name;
    struct metadata_topic *metadata;
    struct batch_queue **queues; // by partition; NULL until used
    int32_t queue_count;
    int32_t sticky;       // where messages without key go at present, -1 for nowhere yet
    struct list unplaced; // messages that came before the partitions were known
    struct list link;     // in producer->unplaced while there are any
};

// What a producer has under way with one broker.
struct producer_node {
    struct list link;
    struct node *node;
    uint32_t in_flight;               // requests
    size_t partial_bytes;             // in these, of batches that were not full
    struct produce_request *building; // in this round of producer_drive, or NULL
};

struct produce_request {
    struct request request;
    struct list link; // in producer->requests or producer->spare_requests
    struct weir_producer *producer;
    struct producer_node *node;
    struct batch **batches; // by topic and partition; NULL once answered
    size_t batch_count;
    size_t batch_capacity;
    size_t bytes;         // of all batches
    size_t partial_bytes; // of those that were not full when they were taken
    bool topic_ids;       // all topics have one
};

struct weir_producer {
    struct worker worker;
    struct weir_client *client;
    struct config config;
    struct batch_limits limits;
    struct idempotence idempotence;
    struct timer timer;
    struct map topics; // struct producer_topic by name
    struct producer_topic *last_topic;
    struct list active;   // batch queues with something to send
    struct list unplaced; // topics with unplaced messages
    struct list nodes;    // struct producer_node
    struct list requests; // submitted
    struct list spare_requests;
    struct list finished; // batches to be reported
    struct list spare;    // batches for reuse
    size_t spare_bytes;
    size_t used_bytes;    // of buffer.memory
    size_t queued;        // messages not yet reported
    uint64_t retry_at_ns; // for batches that failed at retry_chosen_ns
    uint64_t retry_chosen_ns;
    uint32_t retry_attempts;
    size_t aside_bytes; // of unplaced messages since the network was last looked at for them
    bool eager;         // the network is to be looked at soon: a batch was filled, or aside_bytes
    bool flushing;
    int first_error;                       // since the last flush
    struct weir_producer_statistics stats; // what is counted as it happens
    void (*delivered)(void *context, const struct weir_delivery *delivery);
    void *context;
    void (*batch_delivered)(void *context, const struct weir_batch_delivery *delivery);
    void *batch_context;
    int32_t (*choose)(void *context, const char *topic, const struct weir_message *message,
                      int32_t count);
    void *choose_context;
};

static inline bool producer_reports(const struct weir_producer *producer)
{
    return producer->delivered || producer->batch_delivered;
}

// A request for this round with room for `bytes` more; NULL when the broker has as many requests
// in flight as allowed, or, for a batch that is not full (`partial`), as many bytes of such, or
// memory is short.
struct produce_request *produce_request_for(struct weir_producer *producer, struct node *node,
                                            size_t bytes, bool partial);

// Makes a batch's final bytes, compressed if so configured, unless that was done before. The batch
// takes no more messages then. False, with its error and reason set, when that fails.
bool produce_request_seal(struct weir_producer *producer, struct batch *batch);

// Adds a batch that was taken from its queue; `partial`: while it was not full. False when memory
// is short or compressing failed: the batch is then still the caller's, its error and reason set.
bool produce_request_add(struct produce_request *request, struct batch *batch, bool partial);

// Submits what was built in this round.
void produce_request_submit_all(struct weir_producer *producer);

// Frees all requests; their batches are done with WEIR_ERR_ABANDONED.
void produce_request_free_all(struct weir_producer *producer);

// A batch's fate. It has left its queue; it belongs to the producer again.
void producer_batch_done(struct weir_producer *producer, struct batch *batch, int error);

// Takes a batch's messages off the books and keeps its memory for the next one.
void producer_batch_recycle(struct weir_producer *producer, struct batch *batch);
