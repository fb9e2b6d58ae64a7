// SPDX-License-Identifier: Apache-2.0
// Idempotent producers of one log: each numbers its batches, and the log takes each number once.
//
// 1. A producer's batches follow each other without a gap, modulo 2^31: the sequence number behind
//    INT32_MAX is 0.
// 2. A batch with the first and last sequence and the epoch of one of the last five is that batch,
//    sent again. It is answered with the original's offset, never appended.
// 3. A higher epoch begins at 0 and ends the one before; a lower one is refused.
// 4. The state is that of the appended end of the log. For every batch that is not committed there
//    is an entry in `undo` with what it replaced: rolling back puts all of it back, newest first,
//    and the state is again what the durable log says.
// 5. A producer with uncommitted batches is neither expired nor forgotten for room, so entries of
//    `undo` never point to nothing.
//
// Of a producer that nothing is known of any sequence is taken, since its state may have expired.
// That must not let its second batch overtake the first when the first one failed: such a producer
// stays as `known == false`, with the number that has to come first.
#include "storage/producers.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

enum {
    UNDO_MIN = 16,
    UNDO_KEPT = 64, // more than that many entries are given back when they are not needed
    UNDO_MAX = 256 * 1024,
};

static struct span id_span(const int64_t *id)
{
    return span_of(id, sizeof(*id));
}

static int32_t sequence_add(int32_t sequence, int32_t delta)
{
    return (int32_t)(((uint32_t)sequence + (uint32_t)delta) & INT32_MAX);
}

static int32_t last_sequence(const struct batch_header *header)
{
    return sequence_add(header->base_sequence, header->last_offset_delta);
}

static bool is_counted(const struct batch_header *header)
{
    return header->producer_id >= 0 && !(header->attributes & BATCH_CONTROL);
}

static bool is_sane(const struct batch_header *header)
{
    return header->producer_epoch >= 0 && header->base_sequence >= 0;
}

// Most batches come from the producer that has sent the one before.
static struct producer *find(const struct producers *producers, int64_t id)
{
    if (producers->map.count == 0)
        return NULL;
    struct producer *latest = list_entry(producers->active.prev, struct producer, node);
    if (latest->id == id)
        return latest;
    return map_get(&producers->map, id_span(&id));
}

static void forget(struct producers *producers, struct producer *producer)
{
    CHECK(producer->pending == 0);
    CHECK(map_remove(&producers->map, id_span(&producer->id)) == producer);
    list_remove(&producer->node);
    free(producer);
    if (producers->map.count == 0)
        map_free(&producers->map);
}

void producers_free(struct producers *producers)
{
    size_t at = 0;
    for (struct producer *producer; (producer = map_next(&producers->map, &at)) != NULL;)
        free(producer);
    map_free(&producers->map);
    free(producers->undo);
    if (producers->incoming)
        producers_free(producers->incoming);
    free(producers->incoming);
    *producers = (struct producers){0};
}

struct producer *producers_add(struct producers *producers, int64_t id)
{
    struct producer *producer = calloc(1, sizeof(*producer));
    if (!producer)
        return NULL;
    producer->id = id;
    producer->epoch = -1;
    if (map_put(&producers->map, id_span(&producer->id), producer) != 0) {
        free(producer);
        return NULL;
    }
    if (producers->map.count == 1)
        list_init(&producers->active);
    list_append(&producers->active, &producer->node);
    return producer;
}

static void touch(struct producers *producers, struct producer *producer, int64_t now_ms)
{
    producer->active_ms = now_ms;
    list_remove(&producer->node);
    list_append(&producers->active, &producer->node);
}

// --- the ring of batches

// `back` = 0 is the newest one.
static struct producer_batch *batch_at(struct producer *producer, uint32_t back)
{
    return &producer->batches[(producer->newest + PRODUCERS_BATCHES - back) % PRODUCERS_BATCHES];
}

// The slot that the next batch takes.
static struct producer_batch *batch_advance(struct producer *producer)
{
    producer->newest = (uint8_t)((producer->newest + 1) % PRODUCERS_BATCHES);
    return &producer->batches[producer->newest];
}

static void batch_retreat(struct producer *producer)
{
    producer->newest = (uint8_t)((producer->newest + PRODUCERS_BATCHES - 1) % PRODUCERS_BATCHES);
}

static void batch_put(struct producer *producer, const struct batch_header *header,
                      int64_t base_offset)
{
    if (!producer->known || producer->epoch != header->producer_epoch)
        producer->count = 0;
    *batch_advance(producer) = (struct producer_batch){
        .first_sequence = header->base_sequence,
        .last_sequence = last_sequence(header),
        .last_offset = base_offset + header->last_offset_delta,
        .max_timestamp = header->max_timestamp,
    };
    producer->known = true;
    producer->epoch = header->producer_epoch;
    producer->next_sequence = sequence_add(last_sequence(header), 1);
    if (producer->count < PRODUCERS_BATCHES)
        producer->count++;
}

static const struct producer_batch *batch_find(struct producer *producer,
                                               const struct batch_header *header)
{
    if (!producer->known || producer->epoch != header->producer_epoch)
        return NULL;
    for (uint32_t back = 0; back < producer->count; back++) {
        const struct producer_batch *batch = batch_at(producer, back);
        if (batch->first_sequence == header->base_sequence &&
            batch->last_sequence == last_sequence(header))
            return batch;
    }
    return NULL;
}

// --- undo

static struct producer_undo *undo_at(const struct producers *producers, uint32_t index)
{
    return &producers->undo[(producers->undo_first + index) & (producers->undo_capacity - 1)];
}

static int undo_reserve(struct producers *producers)
{
    if (producers->undo_count < producers->undo_capacity)
        return 0;
    if (producers->undo_capacity == UNDO_MAX)
        return -ENOMEM;
    uint32_t capacity = producers->undo_capacity ? producers->undo_capacity * 2 : UNDO_MIN;
    struct producer_undo *undo = malloc(capacity * sizeof(*undo));
    if (!undo)
        return -ENOMEM;
    for (uint32_t i = 0; i < producers->undo_count; i++)
        undo[i] = *undo_at(producers, i);
    free(producers->undo);
    producers->undo = undo;
    producers->undo_first = 0;
    producers->undo_capacity = capacity;
    return 0;
}

static void undo_shrink(struct producers *producers)
{
    if (producers->undo_count > 0 || producers->undo_capacity <= UNDO_KEPT)
        return;
    free(producers->undo);
    producers->undo = NULL;
    producers->undo_capacity = 0;
}

static void undo_push(struct producers *producers, struct producer *producer, int64_t last_offset)
{
    CHECK(producers->undo_count < producers->undo_capacity);
    const struct producer_batch *replaced = batch_at(producer, PRODUCERS_BATCHES - 1);
    *undo_at(producers, producers->undo_count++) = (struct producer_undo){
        .producer = producer,
        .last_offset = last_offset,
        .batch = *replaced,
        .next_sequence = producer->next_sequence,
        .epoch = producer->epoch,
        .known = producer->known,
        .count = producer->count,
    };
    producer->pending++;
}

// What the entry holds goes into the producer, and the other way round. The caller moves `newest`.
static void undo_exchange(struct producer_undo *undo, struct producer_batch *slot)
{
    struct producer *producer = undo->producer;
    struct producer_undo now = {
        .producer = producer,
        .last_offset = undo->last_offset,
        .batch = *slot,
        .next_sequence = producer->next_sequence,
        .epoch = producer->epoch,
        .known = producer->known,
        .count = producer->count,
    };
    *slot = undo->batch;
    producer->next_sequence = undo->next_sequence;
    producer->epoch = undo->epoch;
    producer->known = undo->known;
    producer->count = undo->count;
    *undo = now;
}

void producers_rewind(struct producers *producers)
{
    for (uint32_t i = producers->undo_count; i > 0; i--) {
        struct producer_undo *undo = undo_at(producers, i - 1);
        undo_exchange(undo, batch_at(undo->producer, 0));
        batch_retreat(undo->producer);
    }
}

void producers_replay(struct producers *producers)
{
    for (uint32_t i = 0; i < producers->undo_count; i++) {
        struct producer_undo *undo = undo_at(producers, i);
        undo_exchange(undo, batch_advance(undo->producer));
    }
}

void producers_commit(struct producers *producers, int64_t committed)
{
    while (producers->undo_count > 0 && undo_at(producers, 0)->last_offset < committed) {
        undo_at(producers, 0)->producer->pending--;
        producers->undo_first = (producers->undo_first + 1) & (producers->undo_capacity - 1);
        producers->undo_count--;
    }
    undo_shrink(producers);
}

void producers_rollback(struct producers *producers, int64_t from)
{
    for (; producers->undo_count > 0; producers->undo_count--) {
        struct producer_undo *undo = undo_at(producers, producers->undo_count - 1);
        if (undo->last_offset < from)
            break;
        struct producer *producer = undo->producer;
        struct producer_batch *newest = batch_at(producer, 0);
        int32_t first = newest->first_sequence;
        int16_t epoch = producer->epoch;
        undo_exchange(undo, newest);
        batch_retreat(producer);
        producer->pending--;
        if (!producer->known) {
            producer->next_sequence = first;
            producer->epoch = epoch;
        }
    }
    undo_shrink(producers);
}

// --- appending

static bool is_expired(const struct producer *producer, int64_t now_ms, int64_t expiry_ms)
{
    return producer->pending == 0 && expiry_ms >= 0 && now_ms >= producer->active_ms &&
           now_ms - producer->active_ms >= expiry_ms;
}

// Makes room for one more.
static bool make_room(struct producers *producers)
{
    if (producers->map.count < PRODUCERS_MAX)
        return true;
    struct producer *oldest = list_entry(producers->active.next, struct producer, node);
    if (oldest->pending > 0)
        return false;
    forget(producers, oldest);
    return true;
}

static struct producer *find_or_add(struct producers *producers, int64_t id)
{
    struct producer *producer = find(producers, id);
    if (producer)
        return producer;
    return make_room(producers) ? producers_add(producers, id) : NULL;
}

static int check_sequence(const struct producer *producer, const struct batch_header *header)
{
    bool same = producer->epoch == header->producer_epoch;
    if (!producer->known)
        return !same || header->base_sequence == producer->next_sequence ? 0 : -EILSEQ;
    if (header->producer_epoch < producer->epoch)
        return -ESTALE;
    return header->base_sequence == (same ? producer->next_sequence : 0) ? 0 : -EILSEQ;
}

int producers_check(struct producers *producers, const struct batch_header *header, int64_t now_ms,
                    int64_t expiry_ms, struct producers_original *original)
{
    if (!is_counted(header))
        return PRODUCERS_APPEND;
    if (!is_sane(header))
        return -EILSEQ;
    struct producer *producer = find(producers, header->producer_id);
    if (producer && is_expired(producer, now_ms, expiry_ms)) {
        forget(producers, producer);
        producer = NULL;
    }
    const struct producer_batch *batch = producer ? batch_find(producer, header) : NULL;
    if (batch) {
        *original = (struct producers_original){
            .base_offset = batch->last_offset - header->last_offset_delta,
            .last_offset = batch->last_offset,
            .max_timestamp = batch->max_timestamp,
        };
        return PRODUCERS_DUPLICATE;
    }
    int error = producer ? check_sequence(producer, header) : 0;
    if (!error)
        error = undo_reserve(producers);
    if (!error && !find_or_add(producers, header->producer_id))
        error = -ENOMEM;
    return error;
}

void producers_note(struct producers *producers, const struct batch_header *header,
                    int64_t base_offset, int64_t now_ms)
{
    if (!is_counted(header))
        return;
    struct producer *producer = find(producers, header->producer_id);
    CHECK(producer);
    undo_push(producers, producer, base_offset + header->last_offset_delta);
    batch_put(producer, header, base_offset);
    touch(producers, producer, now_ms);
}

void producers_refused(struct producers *producers, const struct batch_header *header,
                       int64_t now_ms)
{
    struct producer *producer = is_counted(header) ? find(producers, header->producer_id) : NULL;
    if (!producer || producer->known)
        return;
    producer->epoch = header->producer_epoch;
    producer->next_sequence = header->base_sequence;
    touch(producers, producer, now_ms);
}

// --- recovery

// The end of a transaction: says which epoch is the present one, and has no sequence numbers.
static void fold_control(struct producer *producer, const struct batch_header *header)
{
    if (producer->known && header->producer_epoch <= producer->epoch)
        return;
    producer->known = true;
    producer->epoch = header->producer_epoch;
    producer->next_sequence = 0;
    producer->count = 0;
}

// Batches that a snapshot has at or behind an offset that the log gives to another one.
static void drop_from(struct producer *producer, int64_t offset)
{
    while (producer->count > 0 && batch_at(producer, 0)->last_offset >= offset) {
        producer->next_sequence = batch_at(producer, 0)->first_sequence;
        batch_retreat(producer);
        producer->count--;
    }
}

static bool is_folded(struct producer *producer, const struct batch_header *header)
{
    if (producer->count == 0)
        return false;
    if (batch_last_offset(header) < batch_at(producer, producer->count - 1U)->last_offset)
        return true;
    const struct producer_batch *batch = batch_find(producer, header);
    return batch && batch->last_offset == batch_last_offset(header);
}

int producers_fold(struct producers *producers, const struct batch_header *header, int64_t now_ms)
{
    bool counted = is_counted(header);
    if (header->producer_id < 0 || header->producer_epoch < 0 || (counted && !is_sane(header)))
        return 0;
    struct producer *producer = find_or_add(producers, header->producer_id);
    if (!producer)
        return -ENOMEM;
    touch(producers, producer, now_ms);
    if (!counted) {
        fold_control(producer, header);
    } else if (!is_folded(producer, header)) {
        drop_from(producer, header->base_offset);
        batch_put(producer, header, header->base_offset);
    }
    return 0;
}

void producers_truncate(struct producers *producers, int64_t end)
{
    CHECK(producers->undo_count == 0);
    if (producers->map.count == 0)
        return;
    list_each(node, &producers->active) {
        struct producer *producer = list_entry(node, struct producer, node);
        drop_from(producer, end);
    }
}

void producers_expire(struct producers *producers, int64_t now_ms, int64_t expiry_ms)
{
    while (producers->map.count > 0) {
        struct producer *oldest = list_entry(producers->active.next, struct producer, node);
        if (!is_expired(oldest, now_ms, expiry_ms))
            return;
        forget(producers, oldest);
    }
}

bool producers_is_last(const struct producers *producers, int64_t producer_id, int64_t last_offset,
                       int64_t committed)
{
    struct producer *producer = find(producers, producer_id);
    if (!producer)
        return false;
    for (uint32_t back = 0; back < producer->count; back++) {
        int64_t offset = batch_at(producer, back)->last_offset;
        if (offset < committed)
            return offset == last_offset;
    }
    // What is under way has pushed out what is committed, and may yet be rolled back.
    return true;
}
