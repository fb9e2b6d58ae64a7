// SPDX-License-Identifier: Apache-2.0
// A full device, with space in reserve: logs that are state go on without end, the others when
// there is space again.
#include "tests/unit/storage_compact_fixture.h"

enum { CAPACITY = 12 * MIB, BALLAST = 2 * MIB };

struct other {
    struct log *log;
    struct keyed *keyed;
};

static void begin(struct keyed *keyed, struct other *other, uint64_t seed)
{
    keyed_begin(keyed, seed);
    keyed->world.ballast_bytes = BALLAST;
    keyed->world.config.segment_bytes = MIB;
    keyed->world.config.reserve_bytes = 128 * KIB;
    keyed->world.config.min_dirty_ratio = 0.5;
    sim_set_capacity(keyed->world.sim, CAPACITY);
    keyed_open(keyed);
    struct log_config config = {
        .segment_bytes = MIB, .segment_ms = -1, .retention_bytes = -1, .retention_ms = -1};
    struct log_name name = world_name();
    name.partition = 4;
    *other = (struct other){.keyed = keyed};
    cr_assert_eq(log_create(keyed->world.store, name, &config, &other->log), 0);
}

// Some milliseconds pass.
static void turn(struct keyed *keyed)
{
    struct io *io = keyed->world.io;
    log_store_compact(keyed->world.store);
    io_run(io, io->now_ns + 5 * 1000000);
}

struct filling {
    struct log_append op;
    bool done;
};

static void fill_done(struct log_append *op)
{
    list_entry(op, struct filling, op)->done = true;
}

static int append_other(struct other *other, size_t size)
{
    struct batch_builder builder;
    struct batch_scratch scratch = {0};
    struct batch_header header;
    struct span batch;
    uint8_t *value = calloc(1, size);
    batch_builder_init(&builder, MIB);
    cr_assert_eq(batch_builder_add(&builder, other->keyed->world.io->wall_ms, span_text("k"),
                                   span_of(value, size), NULL, 0),
                 BATCH_OK);
    cr_assert_eq(batch_builder_finish(&builder, CODEC_NONE, 0, (struct batch_producer){.id = -1},
                                      &scratch, &batch),
                 BATCH_OK);
    cr_assert_eq(batch_header_read(batch, &header), BATCH_OK);
    struct filling filling = {.op = {.done = fill_done}};
    log_append(other->log, batch, &header, EPOCH, &filling.op);
    while (!filling.done)
        turn(other->keyed);
    batch_builder_free(&builder);
    free(value);
    return filling.op.error;
}

static void fill(struct other *other)
{
    for (size_t size = 200 * KIB; size >= 4 * KIB; size /= 2) {
        int error = 0;
        while (!error)
            error = append_other(other, size);
        cr_assert_eq(error, -ENOSPC);
    }
}

struct deleting {
    struct log_delete op;
    bool done;
};

static void delete_done(struct log_delete *op)
{
    list_entry(op, struct deleting, op)->done = true;
}

static void delete_other(struct other *other)
{
    struct deleting deleting = {.op = {.done = delete_done}};
    log_delete(other->log, &deleting.op);
    while (!deleting.done)
        turn(other->keyed);
    cr_assert_eq(deleting.op.error, 0);
}

Test(space, state_goes_on_without_end)
{
    struct keyed keyed;
    struct other other;
    begin(&keyed, &other, 41);
    for (int i = 0; i < 1000 && keyed.world.store->ballast.state != BALLAST_HELD; i++)
        turn(&keyed);
    cr_assert_eq(keyed.world.store->ballast.state, BALLAST_HELD);
    fill(&other);
    uint64_t most = 0;
    for (int i = 0; i < 8000; i++) {
        int64_t before = keyed.acked;
        keyed_append(&keyed, 8, 0);
        while (keyed.world.in_flight > 0)
            turn(&keyed);
        cr_assert_gt(keyed.acked, before, "append %d", i);
        if (i % 100 == 0)
            cr_assert_eq(append_other(&other, 4 * KIB), -ENOSPC);
        uint64_t size = (uint64_t)log_offsets(keyed.world.log).size_bytes;
        most = size > most ? size : most;
    }
    cr_assert_lt(most, 2 * BALLAST);
    keyed_expect_last(&keyed, false);
    delete_other(&other);
    for (int i = 0; i < 4000 && keyed.world.store->ballast.state != BALLAST_HELD; i++)
        turn(&keyed);
    cr_assert_eq(keyed.world.store->ballast.state, BALLAST_HELD);
    cr_assert_not(space_is_tight(keyed.world.store));
    struct log_name name = world_name();
    name.partition = 5;
    struct log_config config = {.segment_bytes = MIB, .retention_bytes = -1, .retention_ms = -1};
    cr_assert_eq(log_create(keyed.world.store, name, &config, &other.log), 0);
    cr_assert_eq(append_other(&other, 200 * KIB), 0);
    cr_assert_eq(log_store_close(keyed.world.store), 0);
    keyed_open(&keyed);
    keyed_expect_last(&keyed, false);
    cr_assert_eq(log_store_close(keyed.world.store), 0);
    keyed_end(&keyed);
}

// What is held in reserve would be gone long before the compactor looks again by itself.
Test(space, state_on_the_reserve_asks_for_compaction_itself)
{
    struct keyed keyed;
    struct other other;
    begin(&keyed, &other, 43);
    for (int i = 0; i < 1000 && keyed.world.store->ballast.state != BALLAST_HELD; i++)
        turn(&keyed);
    fill(&other);
    keyed.world.store->compactor.backoff_ns = UINT64_C(3600) * 1000000000;
    for (int i = 0; i < 3000; i++) {
        int64_t before = keyed.acked;
        keyed_append(&keyed, 8, 0);
        while (keyed.world.in_flight > 0)
            turn(&keyed);
        cr_assert_gt(keyed.acked, before, "append %d", i);
    }
    cr_assert_eq(keyed.world.store->ballast.state, BALLAST_OUT);
    keyed_expect_last(&keyed, false);
    cr_assert_eq(log_store_close(keyed.world.store), 0);
    keyed_end(&keyed);
}

// The store is asked to compact only when it wants to be asked. Until then logs that have put off a
// new segment would grow where they are, and use up what was in reserve.
Test(space, state_begins_anew_as_soon_as_there_is_space)
{
    struct keyed keyed;
    struct other other;
    begin(&keyed, &other, 45);
    struct log_store *store = keyed.world.store;
    struct io *io = keyed.world.io;
    for (int i = 0; i < 1000 && store->ballast.state != BALLAST_HELD; i++)
        turn(&keyed);
    for (int i = 0; i < 8; i++)
        keyed_append(&keyed, 400, 0);
    fill(&other);
    store->compactor.backoff_ns = UINT64_C(15) * 1000000000;
    uint64_t due_ns = 0;
    for (int i = 0; i < 2000; i++) {
        int64_t before = keyed.acked;
        keyed_append(&keyed, 400, 0);
        while (keyed.world.in_flight > 0) {
            if (due_ns <= io->now_ns)
                due_ns = log_store_compact(store);
            io_run(io, io->now_ns + 100000);
        }
        cr_assert_gt(keyed.acked, before, "append %d", i);
    }
    cr_assert_eq(store->ballast.state, BALLAST_OUT);
    keyed_expect_last(&keyed, false);
    cr_assert_eq(log_store_close(store), 0);
    keyed_end(&keyed);
}

// Trying to take the reserve back needs space for a moment, even all that there is.
Test(space, state_goes_on_while_the_reserve_is_tried_for)
{
    struct keyed keyed;
    struct other other;
    begin(&keyed, &other, 44);
    struct log_store *store = keyed.world.store;
    for (int i = 0; i < 1000 && store->ballast.state != BALLAST_HELD; i++)
        turn(&keyed);
    fill(&other);
    int tried = 0;
    for (int i = 0; i < 2000; i++) {
        int64_t before = keyed.acked;
        keyed_append(&keyed, 30, 0);
        while (keyed.world.in_flight > 0) {
            space_freed(store);
            space_tick(store);
            bool taking = store->ballast.state == BALLAST_TAKING;
            tried += taking;
            sim_set_capacity(keyed.world.sim, taking ? sim_used_bytes(keyed.world.sim) : CAPACITY);
            log_store_compact(store);
            io_run(keyed.world.io, keyed.world.io->now_ns + 20000);
        }
        sim_set_capacity(keyed.world.sim, CAPACITY);
        cr_assert_gt(keyed.acked, before, "append %d", i);
        turn(&keyed);
    }
    cr_assert_gt(tried, 100, "this test would not notice");
    keyed_expect_last(&keyed, false);
    cr_assert_eq(log_store_close(store), 0);
    keyed_end(&keyed);
}

Test(space, without_a_reserve_it_ends)
{
    struct keyed keyed;
    struct other other;
    begin(&keyed, &other, 42);
    cr_assert_eq(log_store_close(keyed.world.store), 0);
    keyed.world.ballast_bytes = 0;
    keyed_open(&keyed);
    struct log_name name = world_name();
    name.partition = 4;
    struct log_config config = {.segment_bytes = MIB, .retention_bytes = -1, .retention_ms = -1};
    cr_assert_eq(log_create(keyed.world.store, name, &config, &other.log), 0);
    fill(&other);
    int64_t refused = 0;
    for (int i = 0; i < 2000 && !refused; i++) {
        int64_t before = keyed.acked;
        keyed_append(&keyed, 8, 0);
        while (keyed.world.in_flight > 0)
            turn(&keyed);
        refused += keyed.acked == before;
        keyed.count = keyed.acked;
    }
    cr_assert_eq(refused, 1, "this test would not notice");
    cr_assert_eq(log_store_close(keyed.world.store), 0);
    keyed_end(&keyed);
}
