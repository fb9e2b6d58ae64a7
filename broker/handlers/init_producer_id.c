// SPDX-License-Identifier: Apache-2.0
// InitProducerId: an id for a producer whose batches are to be stored once each. Every answer has a
// new id, whatever the producer had before: an idempotent producer that wants a new epoch of its
// old id needs nobody's consent. Transactions are not served yet.
#include "broker/handlers/answer.h"
#include "broker/handlers/handlers.h"
#include "broker/shard.h"
#include "gen/kp_init_producer_id.h"
#include "protocol/error.h"

struct init_producer_id {
    struct kp_init_producer_id_request in;
    struct controller_op op;
    struct controller_change change;
};

static void answer(struct request *request, int16_t error, int64_t producer_id)
{
    struct kp_init_producer_id_response out;
    kp_init_producer_id_response_init(&out);
    out.error_code = error;
    out.producer_id = error ? -1 : producer_id;
    out.producer_epoch = error ? -1 : 0;
    request_begin_reply(request);
    kp_init_producer_id_response_encode(&request->reply, request->version, &out);
    request_reply(request);
}

static int16_t check(const struct kp_init_producer_id_request *in)
{
    if ((in->producer_id == -1) != (in->producer_epoch == -1))
        return KP_ERROR_INVALID_REQUEST;
    if (!in->transactional_id.data)
        return KP_ERROR_NONE;
    // There is no coordinator for it, as FindCoordinator says too.
    return in->transactional_id.size == 0 ? KP_ERROR_INVALID_REQUEST
                                          : KP_ERROR_COORDINATOR_NOT_AVAILABLE;
}

static void given(struct controller_op *op)
{
    // Whatever the reason, trying again is right; clients do so when they are told this.
    int16_t error = op->changes[0].error ? KP_ERROR_COORDINATOR_LOAD_IN_PROGRESS : KP_ERROR_NONE;
    answer(op->context, error, op->producer_id);
}

void handle_init_producer_id(struct request *request)
{
    struct init_producer_id *init = arena_alloc(&request->arena, sizeof(*init));
    if (!init) {
        answer_no_memory(request);
        return;
    }
    if (request_is_malformed(request,
                             kp_init_producer_id_request_decode(&request->body, request->version,
                                                                &request->arena, &init->in)))
        return;
    int16_t error = check(&init->in);
    if (error) {
        answer(request, error, -1);
        return;
    }
    init->op.kind = CONTROLLER_PRODUCER_ID;
    init->op.changes = &init->change;
    init->op.change_count = 1;
    answer_submit(request, &init->op, given);
}
