// SPDX-License-Identifier: Apache-2.0
// Idempotent producers and what they may rely on: a batch that is sent again is stored once, one
// that is missing is noticed, a producer of an older epoch is turned away. Over any crash.
#include <errno.h>
#include <string.h>

#include "base/check.h"
#include "tests/sim/world.h"

void world_producers_begin(struct world_log *log)
{
    for (uint32_t i = 0; i < WORLD_PRODUCERS; i++)
        log->producers[i] = (struct world_producer){.id = 1000 + i};
}

static struct world_sent *sent_find(struct world_producer *producer, uint64_t content_id)
{
    for (uint32_t i = 0; i < producer->count; i++) {
        if (producer->sent[i].content.id == content_id)
            return &producer->sent[i];
    }
    return NULL;
}

static uint32_t sent_count(const struct world_producer *producer, int state)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < producer->count; i++)
        count += (int)producer->sent[i].state == state;
    return count;
}

static void sent_forget_oldest(struct world_producer *producer)
{
    CHECK(producer->sent[0].state == SENT_ACKED);
    producer->count--;
    memmove(producer->sent, producer->sent + 1, producer->count * sizeof(producer->sent[0]));
}

static void batch_ended(struct world_log *log, struct world_producer *producer, uint64_t content_id,
                        int error, bool duplicate, int64_t base)
{
    struct world_sent *sent = sent_find(producer, content_id);
    CHECK(sent);
    producer->resending = false;
    if (error) {
        // Batches behind one that failed are out of order.
        bool follows = error == -EILSEQ && sent != producer->sent && sent[-1].state != SENT_ACKED;
        if (!follows && !world_may_fail(log, error))
            world_fail(log->world, "%s refuses a producer's batch: %s", log->name,
                       strerror(-error));
        if (sent->state == SENT_UNDERWAY)
            sent->state = SENT_FAILED;
        return;
    }
    if (sent->state == SENT_ACKED && (!duplicate || sent->base != base))
        world_fail(log->world, "%s: a batch at offset %" PRId64 " is stored again at %" PRId64,
                   log->name, sent->base, base);
    sent->state = SENT_ACKED;
    sent->base = base;
}

static void batch_send(struct world_log *log, struct world_producer *producer,
                       struct world_sent *sent)
{
    struct content content = sent->content;
    bool acked = sent->state == SENT_ACKED;
    producer->resending = acked;
    bool stored = world_send(log, &content, (struct world_sender){batch_ended, producer});
    if (stored && acked)
        world_fail(log->world, "%s: a batch that is at offset %" PRId64 " is stored again",
                   log->name, sent->base);
}

static void batch_new(struct world_log *log, struct world_producer *producer)
{
    if (producer->count == SENT_MAX)
        sent_forget_oldest(producer);
    struct world_sent *sent = &producer->sent[producer->count++];
    *sent = (struct world_sent){.content = world_content(log), .base = -1};
    sent->content.producer = (struct batch_producer){
        .id = producer->id, .epoch = producer->epoch, .base_sequence = producer->next_sequence};
    producer->next_sequence += sent->content.records;
    batch_send(log, producer, sent);
}

static void resend_failed(struct world_log *log, struct world_producer *producer)
{
    for (uint32_t i = 0; i < producer->count; i++) {
        struct world_sent *sent = &producer->sent[i];
        if (sent->state != SENT_FAILED)
            continue;
        sent->state = SENT_UNDERWAY;
        batch_send(log, producer, sent);
    }
}

// --- what must be refused

static void refusal_ended(struct world_log *log, struct world_producer *producer,
                          uint64_t content_id, int error, bool duplicate, int64_t base)
{
    (void)content_id;
    (void)duplicate;
    producer->resending = false;
    if (!error)
        world_fail(log->world,
                   "%s: producer %" PRId64 " may leave out a batch, or go back to an "
                   "older epoch, at offset %" PRId64,
                   log->name, producer->id, base);
}

// Only when the log knows the producer: something of it is acknowledged in this epoch.
static void send_wrong(struct world_log *log, struct world_producer *producer)
{
    struct content content = world_content(log);
    content.producer = (struct batch_producer){
        .id = producer->id, .epoch = producer->epoch, .base_sequence = producer->next_sequence + 1};
    if (producer->epoch > 0 && world_chance(log->world, 2)) {
        content.producer.epoch--;
        content.producer.base_sequence = producer->next_sequence;
    }
    producer->resending = true;
    bool stored = world_send(log, &content, (struct world_sender){refusal_ended, producer});
    if (stored)
        world_fail(log->world, "%s: a batch of producer %" PRId64 " is stored out of order",
                   log->name, producer->id);
}

void world_produce(struct world_log *log)
{
    struct world *world = log->world;
    struct world_producer *producer = &log->producers[world_random(world, WORLD_PRODUCERS)];
    if (producer->resending || log->producers_unsure)
        return;
    uint32_t underway = sent_count(producer, SENT_UNDERWAY);
    uint32_t failed = sent_count(producer, SENT_FAILED);
    uint64_t dice = world_random(world, 16);
    if (failed > 0) {
        if (underway == 0)
            resend_failed(log, producer);
    } else if (underway < SENT_UNACKED && (dice < 11 || producer->count == 0 || underway > 0)) {
        batch_new(log, producer);
    } else if (underway == 0 && dice < 14) {
        uint32_t kept = producer->count < SENT_ACKED_KEPT ? producer->count : SENT_ACKED_KEPT;
        uint32_t back = 1 + (uint32_t)world_random(world, kept);
        struct world_sent *sent = &producer->sent[producer->count - back];
        batch_send(log, producer, sent);
    } else if (underway == 0 && dice == 14) {
        send_wrong(log, producer);
    } else if (underway == 0) {
        producer->epoch++;
        producer->next_sequence = 0;
        producer->count = 0;
        batch_new(log, producer);
    }
}
