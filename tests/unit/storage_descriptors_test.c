// SPDX-License-Identifier: Apache-2.0
// Too few descriptors, of the process or the machine: what needs one fails for now and works when
// there are some again; nothing stops for ever, and few are needed at a time.
#include "tests/unit/storage_fixture.h"

static void append_some(struct world *world)
{
    for (int i = 0; i < 8; i++) {
        world_append(world, 1, i % 4 == 3 ? 90000 : 3000);
        world_settle(world);
    }
}

// From the `nth` open on none succeeds for a while. Whether there was such a one.
static bool lack_from(uint64_t nth, int error)
{
    struct world world;
    world_begin(&world, nth);
    world.config.segment_bytes = 100000;
    world.open_files = 1;
    world.journal_bytes = nth % 2 ? MIB : 0;
    cr_assert_eq(world_open(&world), 0);
    sim_fail(world.sim, IO_OPEN, nth, error, true);
    append_some(&world);
    bool struck = sim_has_failed(world.sim, IO_OPEN);
    sim_fail(world.sim, IO_OPEN, 0, 0, false);
    model_cut(&world.model, log_offsets(world.log).end);
    cr_assert_eq(log_offsets(world.log).error, 0, "%" PRIu64, nth);
    append_some(&world);
    cr_assert_eq(world.model.acked, model_end(&world.model), "%" PRIu64, nth);
    world_verify_range(&world, 0, world.model.acked, 50000);
    world_crash(&world);
    cr_assert_eq(world_open(&world), 0);
    world_verify_recovered(&world);
    world_verify_range(&world, 0, world.model.acked, 50000);
    cr_assert_eq(log_store_close(world.store), 0);
    world_end(&world);
    return struck;
}

Test(storage, without_descriptors_appends_fail_and_the_log_goes_on)
{
    uint64_t nth = 1;
    while (lack_from(nth, nth % 4 < 2 ? -EMFILE : -ENFILE))
        nth++;
    cr_assert_gt(nth, 8);
}

enum { LOGS = 200, FILES_MAX = 60 };

static int pending;

static void many_done(struct log_append *op)
{
    cr_assert_eq(op->error, 0);
    pending--;
}

// A record for each log; how many files were open at most meanwhile.
static uint32_t append_to_all(struct world *world, struct log *const *logs,
                              struct log_append *appends, struct span batch)
{
    struct batch_header header;
    uint32_t most = 0;
    cr_assert_eq(batch_check(batch, &header), BATCH_OK);
    for (int i = 0; i < LOGS; i++) {
        appends[i] = (struct log_append){.done = many_done};
        pending++;
        log_append(logs[i], batch, &header, EPOCH, &appends[i]);
    }
    while (pending > 0) {
        world_turn(world);
        uint32_t files = sim_open_files(world->sim);
        most = most < files ? files : most;
    }
    return most;
}

Test(storage, many_logs_need_few_descriptors_at_a_time)
{
    struct world world;
    struct log *logs[LOGS];
    struct log_append appends[LOGS];
    struct batch_builder builder;
    struct batch_scratch scratch = {0};
    struct span batch;
    batch_builder_init(&builder, MIB);
    batch_builder_add(&builder, 1, span_text("k"), span_text("value"), NULL, 0);
    cr_assert_eq(batch_builder_finish(&builder, CODEC_NONE, 0, (struct batch_producer){.id = -1},
                                      &scratch, &batch),
                 BATCH_OK);
    world_begin(&world, 1);
    world.open_files = 4;
    cr_assert_eq(world_open_store(&world), 0);
    for (int i = 0; i < LOGS; i++) {
        struct log_name name = world_name();
        name.partition = i;
        cr_assert_eq(log_create(world.store, name, &world.config, &logs[i]), 0);
    }
    cr_assert_eq(log_store_begin(world.store, true), 0);
    for (int round = 0; round < 3; round++) {
        uint32_t most = append_to_all(&world, logs, appends, batch);
        cr_assert_leq(most, round > 0 ? FILES_MAX : 2 * FILES_MAX, "%u", most);
    }
    for (int i = 0; i < LOGS; i++)
        cr_assert_eq(log_offsets(logs[i]).committed, 3);
    cr_assert_eq(log_store_close(world.store), 0);
    cr_assert_eq(sim_open_files(world.sim), 0);
    free(scratch.data);
    batch_builder_free(&builder);
    world_end(&world);
}
