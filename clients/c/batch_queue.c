// SPDX-License-Identifier: Apache-2.0
// Owns the order of one partition's batches.
//
//     open --full, or taken--> waiting --take--> in flight --settled--> (reported)
//                                 ^                  |
//                                 +---- repeat ------+
//
// Invariants
//  1. Sequences rise in the order in which batches were opened; `waiting` is sorted by them, and
//     the open batch comes after all of them.
//  2. At most in_flight_max batches are in flight. While a batch waits to be repeated, no further
//     one is sent until all that are in flight have come back: so whatever failed together is
//     repeated in the old order. With in_flight_max 1, nothing is ever overtaken.
//  3. A batch's bytes do not change once it was taken: what is repeated is what was sent first. The
//     exception is its number, which idempotence.c may change when that is safe.
//  4. Batches are reported in their order: one that is stored while an earlier one has to be sent
//     again waits with it.
//  5. Until the broker has stored something under a partition's present epoch, one batch is in
//     flight: a broker that knows nothing of a producer takes whatever number comes first.
#include "clients/c/batch_queue.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"

enum { PLACE_BITS = 32 };
static const uint64_t PLACES_PER_BATCH = (uint64_t)1 << PLACE_BITS;

void batch_queue_init(struct batch_queue *queue, void *owner, int32_t partition)
{
    *queue = (struct batch_queue){.owner = owner, .partition = partition};
    queue->numbering.next.id = -1;
    list_init(&queue->waiting);
    list_init(&queue->active);
}

struct batch *batch_new(void)
{
    struct batch *batch = calloc(1, sizeof(*batch));
    if (!batch)
        return NULL;
    list_init(&batch->node);
    batch_builder_init(&batch->builder, 0);
    return batch;
}

void batch_free(struct batch *batch)
{
    batch_builder_free(&batch->builder);
    free(batch->scratch.data);
    free(batch->opaques);
    free(batch->reason);
    free(batch);
}

void batch_reuse(struct batch *batch)
{
    batch_builder_reset(&batch->builder);
    free(batch->reason);
    batch->reason = NULL;
    batch->slice.iov_base = NULL;
    batch->queue = NULL;
    batch->count = 0;
    batch->charge = 0;
    batch->stored = batch->placeless = false;
    batch->attempts = 0;
    batch->error = WEIR_OK;
}

size_t batch_memory(const struct batch *batch)
{
    return batch->builder.capacity + batch->scratch.capacity +
           batch->opaque_capacity * sizeof(*batch->opaques);
}

void batch_reason(struct batch *batch, const char *format, ...)
{
    char *reason = NULL;
    va_list arguments;
    va_start(arguments, format);
    int size = vasprintf(&reason, format, arguments);
    va_end(arguments);
    free(batch->reason);
    batch->reason = size < 0 ? NULL : reason;
}

void batch_queue_open(struct batch_queue *queue, struct batch *batch,
                      const struct batch_limits *limits, size_t first_size, uint64_t now_ns)
{
    CHECK(!queue->open && batch->count == 0);
    size_t size = limits->batch_size;
    if (queue->size_max && queue->size_max < size)
        size = queue->size_max;
    size_t limit = size > BATCH_HEADER_SIZE ? size - BATCH_HEADER_SIZE : 0;
    batch->builder.limit = first_size > limit ? first_size : limit;
    batch->queue = queue;
    batch->created_ns = now_ns;
    batch->sequence = queue->next_sequence;
    batch->places = PLACES_PER_BATCH;
    queue->next_sequence += PLACES_PER_BATCH;
    batch->base_offset = batch->append_time = -1;
    batch->producer = (struct batch_producer){.id = -1, .epoch = -1, .base_sequence = -1};
    queue->open = batch;
}

void batch_queue_close(struct batch_queue *queue)
{
    if (queue->open)
        list_append(&queue->waiting, &queue->open->node);
    queue->open = NULL;
}

bool batch_queue_idle(const struct batch_queue *queue)
{
    return !queue->open && list_empty(&queue->waiting);
}

uint64_t batch_queue_ready_ns(const struct batch_queue *queue, const struct batch_limits *limits,
                              bool flush)
{
    uint32_t in_flight_max = queue->numbering.unproven ? 1 : limits->in_flight_max;
    bool blocked =
        queue->in_flight >= in_flight_max || (queue->to_repeat > 0 && queue->in_flight > 0);
    if (blocked || batch_queue_idle(queue))
        return UINT64_MAX;
    if (!list_empty(&queue->waiting))
        return queue->retry_at_ns;
    if (limits->hold_partial && queue->in_flight > 0)
        return UINT64_MAX;
    uint64_t lingered_ns = flush ? 0 : queue->open->created_ns + limits->linger_ns;
    return lingered_ns > queue->retry_at_ns ? lingered_ns : queue->retry_at_ns;
}

static struct batch *waiting_pop(struct batch_queue *queue)
{
    struct batch *batch = list_entry(list_pop(&queue->waiting), struct batch, node);
    if (batch->attempts > 0)
        queue->to_repeat--;
    return batch;
}

struct batch *batch_queue_take(struct batch_queue *queue)
{
    if (list_empty(&queue->waiting))
        batch_queue_close(queue);
    CHECK(!list_empty(&queue->waiting));
    struct batch *batch = waiting_pop(queue);
    batch->attempts++;
    batch->alone = queue->in_flight++ == 0;
    if (queue->to_repeat == 0)
        queue->retry_at_ns = 0;
    return batch;
}

void batch_queue_settled(struct batch_queue *queue, struct batch *batch)
{
    CHECK(batch->queue == queue && queue->in_flight > 0);
    list_remove(&batch->node);
    queue->in_flight--;
}

// Puts a batch that was sent before among those that wait.
static void waiting_insert(struct batch_queue *queue, struct batch *batch)
{
    struct list *before = queue->waiting.next;
    while (before != &queue->waiting &&
           list_entry(before, struct batch, node)->sequence < batch->sequence)
        before = before->next;
    list_append(before, &batch->node); // in front of `before`
    queue->to_repeat++;
}

void batch_queue_insert(struct batch_queue *queue, struct batch *batch)
{
    CHECK(batch->queue == queue && batch->attempts > 0);
    waiting_insert(queue, batch);
}

void batch_queue_repeat(struct batch_queue *queue, struct batch *batch, uint64_t retry_at_ns)
{
    batch_queue_settled(queue, batch);
    waiting_insert(queue, batch);
    if (retry_at_ns > queue->retry_at_ns)
        queue->retry_at_ns = retry_at_ns;
}

bool batch_queue_done(struct batch_queue *queue, struct batch *batch)
{
    struct list *first = queue->waiting.next;
    bool overtaken = first != &queue->waiting &&
                     list_entry(first, struct batch, node)->sequence < batch->sequence;
    batch->stored = true;
    if (overtaken)
        batch_queue_repeat(queue, batch, 0);
    else
        batch_queue_settled(queue, batch);
    return !overtaken;
}

struct batch *batch_queue_stored(struct batch_queue *queue)
{
    struct list *first = queue->waiting.next;
    bool turn = queue->in_flight == 0 && first != &queue->waiting &&
                list_entry(first, struct batch, node)->stored;
    return turn ? waiting_pop(queue) : NULL;
}

static const struct batch *oldest(const struct batch_queue *queue)
{
    if (list_empty(&queue->waiting))
        return queue->open;
    return list_entry(queue->waiting.next, const struct batch, node);
}

uint64_t batch_queue_expiry_ns(const struct batch_queue *queue, const struct batch_limits *limits)
{
    const struct batch *batch = oldest(queue);
    return batch ? batch->created_ns + limits->delivery_timeout_ns : UINT64_MAX;
}

struct batch *batch_queue_drop(struct batch_queue *queue)
{
    return list_empty(&queue->waiting) ? NULL : waiting_pop(queue);
}

struct batch *batch_queue_expired(struct batch_queue *queue, const struct batch_limits *limits,
                                  uint64_t now_ns)
{
    if (batch_queue_expiry_ns(queue, limits) > now_ns)
        return NULL;
    if (list_empty(&queue->waiting))
        batch_queue_close(queue);
    return waiting_pop(queue);
}
