// SPDX-License-Identifier: Apache-2.0
// The numbers of idempotent batches, and what to do when the broker finds them wrong.
//
// A broker remembers, per partition and producer id, the epoch and the last numbers it stored. It
// refuses a batch that does not follow (OUT_OF_ORDER_SEQUENCE_NUMBER), and answers one that it has
// already as stored.
//
// Invariants
//  1. Batches of a partition are numbered in their order, without gaps, when they are sent or
//     sealed. A batch that ends unstored (too large, too old, purged) leaves a gap behind.
//  2. A number changes only when the batch is certainly not stored: the broker has refused it as
//     out of order although nothing before it was under way any more. Whatever became of its
//     predecessors, neither it nor anything behind it was stored then. All that waits gets the
//     partition's next epoch and numbers from 0; whatever still drifts through the network under
//     the old epoch is refused from then on.
//  3. A batch refused while others were under way says nothing: it is sent again, alone, first.
//  4. Every partition has an epoch of its own under the producer's one id, so trouble with one does
//     not disturb the others.
#include "clients/c/idempotence.h"

#include <limits.h>
#include <stdio.h>

#include "base/check.h"
#include "clients/c/config.h"
#include "clients/c/error.h"
#include "gen/kp_init_producer_id.h"
#include "protocol/error.h"

// ------------------------------------------------------------------------------------- the id

static void ask_encode(struct call *call, struct kp_writer *writer)
{
    struct kp_init_producer_id_request message;
    kp_init_producer_id_request_init(&message);
    message.transactional_id = (struct span){0};
    message.transaction_timeout_ms = INT32_MAX;
    kp_init_producer_id_request_encode(writer, call->request.version, &message);
}

static int ask_decode(struct call *call, struct reply *reply)
{
    struct idempotence *idempotence = list_entry(call, struct idempotence, call);
    struct kp_init_producer_id_response message;
    if (kp_init_producer_id_response_decode(&reply->reader, reply->version, reply->arena,
                                            &message) != 0)
        return WEIR_ERR_CORRUPT;
    if (message.error_code) {
        call_detail(call, message.error_code, (struct span){0});
        return error_from_wire(message.error_code);
    }
    if (message.producer_id < 0 || message.producer_epoch < 0)
        return WEIR_ERR_CORRUPT;
    idempotence->id = message.producer_id;
    idempotence->epoch = message.producer_epoch;
    return WEIR_OK;
}

static void ask_done(struct call *call)
{
    struct idempotence *idempotence = list_entry(call, struct idempotence, call);
    idempotence->asking = false;
    if (call->error == WEIR_ERR_UNSUPPORTED && idempotence->optional)
        idempotence->enabled = false;
    else
        idempotence->error = call->error;
    idempotence->changed(idempotence);
}

void idempotence_init(struct idempotence *idempotence, struct weir_client *client, int64_t mode,
                      void (*changed)(struct idempotence *idempotence))
{
    *idempotence = (struct idempotence){
        .client = client,
        .enabled = mode != IDEMPOTENCE_OFF,
        .optional = mode == IDEMPOTENCE_AUTO,
        .id = -1,
        .changed = changed,
    };
}

void idempotence_free(struct idempotence *idempotence)
{
    if (idempotence->asking)
        call_cancel(&idempotence->call);
}

void idempotence_want(struct idempotence *idempotence)
{
    if (!idempotence->enabled || idempotence->asking || idempotence->id >= 0 || idempotence->error)
        return;
    idempotence->asking = true;
    // Without end: batches have a time limit of their own.
    idempotence->call = (struct call){
        .client = idempotence->client,
        .target = CALL_ANY,
        .api_key = KP_INIT_PRODUCER_ID_KEY,
        .deadline_ns = UINT64_MAX,
        .encode = ask_encode,
        .decode = ask_decode,
        .done = ask_done,
    };
    call_start(&idempotence->call);
}

// ------------------------------------------------------------------------------------- numbers

static void numbering_start(struct numbering *numbering, int64_t id, int16_t epoch)
{
    *numbering = (struct numbering){
        .next = {.id = id, .epoch = epoch, .base_sequence = 0},
        .unproven = true,
    };
}

// The next epoch, or, at the end of them, another id. False while that has to be asked for.
static bool numbering_restart(struct idempotence *idempotence, struct batch_queue *queue)
{
    struct numbering *numbering = &queue->numbering;
    bool same = idempotence->id == numbering->next.id;
    if (same && (numbering->fenced || numbering->next.epoch == INT16_MAX))
        idempotence->id = -1;
    if (idempotence->id < 0) {
        idempotence_want(idempotence);
        return false;
    }
    if (same)
        numbering_start(numbering, numbering->next.id, (int16_t)(numbering->next.epoch + 1));
    else
        numbering_start(numbering, idempotence->id, idempotence->epoch);
    idempotence->renumberings++;
    client_log(
        idempotence->client, WEIR_LOG_WARNING,
        "partition %d: the broker misses batches or has forgotten the producer; what waits is "
        "numbered anew under epoch %d of producer %lld",
        queue->partition, numbering->next.epoch, (long long)numbering->next.id);
    for (struct list *at = queue->waiting.next; at != &queue->waiting; at = at->next)
        list_entry(at, struct batch, node)->producer.id = -1;
    return true;
}

bool idempotence_ready(struct idempotence *idempotence, struct batch_queue *queue)
{
    struct numbering *numbering = &queue->numbering;
    if (!idempotence->enabled)
        return true;
    if (numbering->broken)
        return queue->in_flight == 0 && numbering_restart(idempotence, queue);
    if (numbering->next.id >= 0)
        return true;
    if (idempotence->id < 0) {
        idempotence_want(idempotence);
        return false;
    }
    numbering_start(numbering, idempotence->id, idempotence->epoch);
    return true;
}

// Sequence numbers go around: after the largest comes 0.
static int32_t sequence_after(int32_t sequence, int32_t count)
{
    return (int32_t)(((int64_t)sequence + count) & INT32_MAX);
}

void idempotence_number(const struct idempotence *idempotence, struct batch_queue *queue,
                        struct batch *batch)
{
    struct numbering *numbering = &queue->numbering;
    if (!idempotence->enabled || batch->producer.id >= 0)
        return;
    CHECK(numbering->next.id >= 0 && batch->count > 0);
    batch->producer = numbering->next;
    numbering->next.base_sequence = sequence_after(numbering->next.base_sequence, batch->count);
    if (batch->slice.iov_base)
        batch_set_producer(batch->slice.iov_base, batch->slice.iov_len, batch->producer);
}

void idempotence_number_early(const struct idempotence *idempotence, struct batch_queue *queue)
{
    const struct batch *last =
        list_empty(&queue->waiting) ? NULL : list_entry(queue->waiting.prev, struct batch, node);
    bool orderly = !last || last->producer.id >= 0;
    if (queue->open && orderly && queue->numbering.next.id >= 0 && !queue->numbering.broken)
        idempotence_number(idempotence, queue, queue->open);
}

// ------------------------------------------------------------------------------------- answers

void idempotence_stored(struct batch *batch)
{
    struct numbering *numbering = &batch->queue->numbering;
    if (batch->producer.id == numbering->next.id && batch->producer.epoch == numbering->next.epoch)
        numbering->unproven = false;
}

enum idempotence_verdict idempotence_judge(struct batch *batch, int16_t code)
{
    struct numbering *numbering = &batch->queue->numbering;
    if (batch->producer.id < 0)
        return VERDICT_NONE;
    switch (code) {
    case KP_ERROR_DUPLICATE_SEQUENCE_NUMBER:
        return VERDICT_STORED;
    case KP_ERROR_OUT_OF_ORDER_SEQUENCE_NUMBER:
    case KP_ERROR_UNKNOWN_PRODUCER_ID:
        numbering->broken |= batch->alone;
        return VERDICT_REPEAT;
    case KP_ERROR_INVALID_PRODUCER_EPOCH:
        // Somebody else writes under our id: this batch has failed, the next ones get another id.
        numbering->broken = numbering->fenced = true;
        return VERDICT_NONE;
    default:
        return VERDICT_NONE;
    }
}
