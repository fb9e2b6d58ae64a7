// SPDX-License-Identifier: Apache-2.0
// Producer state against a model that keeps every batch ever appended and looks through all of them
// for each question: random appends, repetitions, gaps, epochs, commits, failures, expiry, and
// crashes that are recovered from an older snapshot and the batches behind it.
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>

#include "base/random.h"
#include "storage/producers_snapshot.h"

enum { IDS = 6, BATCHES = 4000, STEPS = 3000, SEEDS = 60, EXPIRY_MS = 400 };

struct model_batch {
    struct batch_header header; // with its base offset
    bool forgotten;
};

struct model {
    struct model_batch batches[BATCHES];
    uint32_t count;
    uint32_t committed;
    int64_t active_ms[IDS];
    struct batch_header first_failed[IDS]; // producer_id < 0: none
};

struct world {
    struct random random;
    struct producers producers;
    struct model model;
    int64_t now_ms;
    // The last snapshot, and what the model was then.
    struct model snapshot_model;
    uint8_t *snapshot;
    size_t snapshot_size;
    uint32_t covered; // batches before this one are not folded again
};

static int32_t sequence_after(const struct batch_header *header)
{
    int64_t next = (int64_t)header->base_sequence + header->last_offset_delta + 1;
    return (int32_t)(next > INT32_MAX ? next - INT32_MAX - 1 : next);
}

static int64_t model_end(const struct model *model, uint32_t count)
{
    return count > 0 ? batch_last_offset(&model->batches[count - 1].header) + 1 : 0;
}

// The newest remembered batch of a producer before index `before`; UINT32_MAX when there is none.
static uint32_t model_newest(const struct model *model, int64_t id, uint32_t before)
{
    for (uint32_t i = before; i > 0; i--) {
        const struct model_batch *batch = &model->batches[i - 1];
        if (batch->header.producer_id == id && !batch->forgotten)
            return i - 1;
    }
    return UINT32_MAX;
}

static bool model_pending(const struct model *model, int64_t id)
{
    uint32_t newest = model_newest(model, id, model->count);
    return newest != UINT32_MAX && newest >= model->committed;
}

static void model_expire(struct model *model, int64_t id, int64_t now_ms)
{
    if (now_ms - model->active_ms[id] < EXPIRY_MS || model_pending(model, id))
        return;
    for (uint32_t i = 0; i < model->count; i++)
        model->batches[i].forgotten |= model->batches[i].header.producer_id == id;
    model->first_failed[id].producer_id = -1;
}

static int model_check(struct model *model, const struct batch_header *header, int64_t now_ms,
                       int64_t *base_offset)
{
    int64_t id = header->producer_id;
    model_expire(model, id, now_ms);
    uint32_t at = model_newest(model, id, model->count);
    const struct batch_header *failed = &model->first_failed[id];
    if (at == UINT32_MAX)
        return failed->producer_id < 0 || failed->producer_epoch != header->producer_epoch ||
                       failed->base_sequence == header->base_sequence
                   ? PRODUCERS_APPEND
                   : -EILSEQ;
    const struct batch_header *newest = &model->batches[at].header;
    for (int i = 0; i < PRODUCERS_BATCHES && at != UINT32_MAX; i++) {
        const struct batch_header *seen = &model->batches[at].header;
        if (seen->producer_epoch != newest->producer_epoch)
            break;
        if (seen->producer_epoch == header->producer_epoch &&
            seen->base_sequence == header->base_sequence &&
            seen->last_offset_delta == header->last_offset_delta) {
            *base_offset = seen->base_offset;
            return PRODUCERS_DUPLICATE;
        }
        at = model_newest(model, id, at);
    }
    if (header->producer_epoch < newest->producer_epoch)
        return -ESTALE;
    int32_t expected = header->producer_epoch > newest->producer_epoch ? 0 : sequence_after(newest);
    return header->base_sequence == expected ? PRODUCERS_APPEND : -EILSEQ;
}

static void model_rollback(struct model *model, uint32_t kept)
{
    for (int64_t id = 0; id < IDS; id++) {
        uint32_t first = kept;
        while (first < model->count && model->batches[first].header.producer_id != id)
            first++;
        if (first < model->count && model_newest(model, id, kept) == UINT32_MAX)
            model->first_failed[id] = model->batches[first].header;
    }
    model->count = kept;
}

// --- what happens

static struct batch_header some_batch(struct world *world)
{
    struct random *random = &world->random;
    int64_t id = (int64_t)random_below(random, IDS);
    uint32_t at = model_newest(&world->model, id, world->model.count);
    struct batch_header header = {
        .producer_id = id,
        .last_offset_delta = (int32_t)random_below(random, 4),
        .base_sequence = random_below(random, 2) ? 0 : INT32_MAX - (int32_t)random_below(random, 9),
    };
    if (at == UINT32_MAX)
        return header;
    uint64_t back = random_below(random, 16);
    if (back < 7) { // a repetition, perhaps of something too old
        for (; back > 0 && model_newest(&world->model, id, at) != UINT32_MAX; back--)
            at = model_newest(&world->model, id, at);
        return world->model.batches[at].header;
    }
    const struct batch_header *newest = &world->model.batches[at].header;
    header.producer_epoch = newest->producer_epoch;
    header.base_sequence = sequence_after(newest);
    switch (random_below(random, 16)) {
    case 0:
        header.base_sequence = (int32_t)(((uint32_t)header.base_sequence + 1) & INT32_MAX);
        break;
    case 1:
        header.producer_epoch++;
        header.base_sequence = 0;
        break;
    case 2:
        header.producer_epoch++;
        break;
    case 3:
        header.producer_epoch =
            (int16_t)(header.producer_epoch > 0 ? header.producer_epoch - 1 : 0);
        break;
    default:
        break;
    }
    return header;
}

static void do_append(struct world *world)
{
    struct model *model = &world->model;
    struct batch_header header = some_batch(world);
    struct producers_original original = {-1, -1, -1};
    int64_t expected_offset = -1;
    int expected = model_check(model, &header, world->now_ms, &expected_offset);
    int verdict = producers_check(&world->producers, &header, world->now_ms, EXPIRY_MS, &original);
    cr_assert_eq(verdict, expected, "verdict %d instead of %d", verdict, expected);
    cr_assert_eq(original.base_offset, expected_offset);
    if (verdict != PRODUCERS_APPEND || model->count == BATCHES)
        return;
    model->active_ms[header.producer_id] = world->now_ms;
    if (random_below(&world->random, 20) == 0) {
        producers_refused(&world->producers, &header, world->now_ms);
        if (model_newest(model, header.producer_id, model->count) == UINT32_MAX)
            model->first_failed[header.producer_id] = header;
        else
            model->active_ms[header.producer_id] =
                ((struct producer *)map_get(&world->producers.map, span_of(&header.producer_id, 8)))
                    ->active_ms;
        return;
    }
    header.base_offset = model_end(model, model->count);
    producers_note(&world->producers, &header, header.base_offset, world->now_ms);
    model->batches[model->count++] = (struct model_batch){.header = header};
}

static void do_commit(struct world *world)
{
    struct model *model = &world->model;
    model->committed += (uint32_t)random_below(&world->random, model->count - model->committed + 1);
    producers_commit(&world->producers, model_end(model, model->committed));
}

static void do_rollback(struct world *world)
{
    struct model *model = &world->model;
    uint32_t pending = model->count - model->committed;
    uint32_t kept = model->committed + (uint32_t)random_below(&world->random, pending + 1);
    producers_rollback(&world->producers, model_end(model, kept));
    model_rollback(model, kept);
}

static void do_snapshot(struct world *world)
{
    free(world->snapshot);
    cr_assert_eq(producers_snapshot_image(&world->producers, PRODUCERS_COMMITTED, &world->snapshot,
                                          &world->snapshot_size),
                 0);
    world->snapshot_model = world->model;
    uint32_t committed = world->model.committed;
    world->covered = committed - (uint32_t)random_below(&world->random, committed / 4 + 1);
}

// What the snapshot and the batches from `covered` on tell of one producer.
static void model_recover(struct world *world, int64_t id)
{
    struct model *model = &world->model;
    const struct model *old = &world->snapshot_model;
    uint32_t old_count = old->committed;
    bool was_known = model_newest(old, id, old_count) != UINT32_MAX;
    model->active_ms[id] = old->active_ms[id];
    model->first_failed[id].producer_id = -1;
    for (uint32_t i = 0; i < model->count; i++) {
        struct model_batch *batch = &model->batches[i];
        if (batch->header.producer_id != id)
            continue;
        bool folded = i >= world->covered;
        batch->forgotten =
            i < old_count && (was_known || !folded) ? old->batches[i].forgotten : !folded;
        if (folded)
            model->active_ms[id] = world->now_ms;
    }
}

static void do_crash(struct world *world)
{
    struct model *model = &world->model;
    producers_free(&world->producers);
    if (world->snapshot)
        cr_assert_eq(producers_snapshot_load(&world->producers,
                                             span_of(world->snapshot, world->snapshot_size),
                                             world->now_ms),
                     0);
    model->count = model->committed;
    for (uint32_t i = world->covered; i < model->count; i++)
        cr_assert_eq(producers_fold(&world->producers, &model->batches[i].header, world->now_ms),
                     0);
    producers_truncate(&world->producers, model_end(model, model->count));
    for (int64_t id = 0; id < IDS; id++)
        model_recover(world, id);
}

// One that is still under way holds up those behind it, so who is gone is not decided here.
static void do_expire(struct world *world)
{
    producers_expire(&world->producers, world->now_ms, EXPIRY_MS);
    for (int64_t id = 0; id < IDS; id++) {
        if (!map_get(&world->producers.map, span_of(&id, sizeof(id))))
            model_expire(&world->model, id, world->now_ms);
    }
}

static void step(struct world *world)
{
    uint64_t what = random_below(&world->random, 100);
    bool pause = random_below(&world->random, 50) == 0;
    world->now_ms += pause ? EXPIRY_MS : (int64_t)random_below(&world->random, 8);
    if (what < 70) {
        do_append(world);
    } else if (what < 90) {
        do_commit(world);
    } else if (what < 93) {
        do_rollback(world);
    } else if (what < 97) {
        do_snapshot(world);
    } else if (what < 98) {
        do_crash(world);
    } else {
        do_expire(world);
    }
}

Test(storage_producers_model, random_histories)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct world *world = calloc(1, sizeof(*world));
        cr_assert(world);
        world->random.state = seed;
        world->now_ms = 1000;
        for (int64_t id = 0; id < IDS; id++)
            world->model.first_failed[id].producer_id = -1;
        for (int i = 0; i < STEPS; i++)
            step(world);
        producers_free(&world->producers);
        free(world->snapshot);
        free(world);
    }
}
