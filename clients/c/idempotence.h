// SPDX-License-Identifier: Apache-2.0
// Numbers a producer's batches so that the broker stores each once and in order: the producer's id,
// and per partition an epoch and the number of the next message.
#pragma once

#include "clients/c/batch_queue.h"
#include "clients/c/call.h"

struct idempotence {
    struct weir_client *client;
    bool enabled;
    bool optional; // do without where the broker does not offer it
    bool asking;
    int64_t id; // -1: not known
    int16_t epoch;
    uint64_t renumberings;
    int error; // why asking failed for good, until it is taken notice of
    struct call call;
    void (*changed)(struct idempotence *idempotence); // an answer has come
};

// `mode` is enum idempotence_mode.
void idempotence_init(struct idempotence *idempotence, struct weir_client *client, int64_t mode,
                      void (*changed)(struct idempotence *idempotence));
void idempotence_free(struct idempotence *idempotence);

// Asks for an id unless there is one or it is being asked for.
void idempotence_want(struct idempotence *idempotence);

// Whether the partition's next batch can be numbered. If not, an id has been asked for, or what is
// in flight has to come back first; `changed` or an answer will follow.
bool idempotence_ready(struct idempotence *idempotence, struct batch_queue *queue);

// Numbers a batch that was just taken, unless it has a number. After idempotence_ready.
void idempotence_number(const struct idempotence *idempotence, struct batch_queue *queue,
                        struct batch *batch);

// The same for the open batch, which is full and about to be sealed: harmless when it cannot be
// numbered yet.
void idempotence_number_early(const struct idempotence *idempotence, struct batch_queue *queue);

// The broker has stored the batch.
void idempotence_stored(struct batch *batch);

// What an error (as Kafka numbers it) says about a numbered batch.
enum idempotence_verdict {
    VERDICT_NONE,   // nothing: it is an error like any other
    VERDICT_STORED, // it was stored before
    VERDICT_REPEAT, // it is not stored, and is to be sent again
};
enum idempotence_verdict idempotence_judge(struct batch *batch, int16_t code);
