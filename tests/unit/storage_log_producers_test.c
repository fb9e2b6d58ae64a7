// SPDX-License-Identifier: Apache-2.0
// Idempotent producers through the log: repetitions, gaps, failures, and everything that a restart
// must bring back.
#include "tests/unit/storage_fixture.h"

struct sending {
    struct log_append op;
    bool done;
};

static void sent(struct log_append *op)
{
    list_entry(op, struct sending, op)->done = true;
}

// Appends without waiting. Batches that follow each other have one record per sequence number.
static void offer_later(struct world *world, struct sending *sending, int64_t id, int16_t epoch,
                        int32_t sequence, int32_t count)
{
    struct batch_builder builder;
    batch_builder_init(&builder, MIB);
    for (int32_t i = 0; i < count; i++)
        cr_assert_eq(batch_builder_add(&builder, 1000 + sequence + i, span_text("k"),
                                       span_text("some value"), NULL, 0),
                     BATCH_OK);
    struct batch_scratch scratch = {0};
    struct span batch;
    struct batch_header header;
    cr_assert_eq(batch_builder_finish(&builder, CODEC_NONE, 0,
                                      (struct batch_producer){id, epoch, sequence}, &scratch,
                                      &batch),
                 BATCH_OK);
    cr_assert_eq(batch_check(batch, &header), BATCH_OK);
    *sending = (struct sending){.op = {.done = sent}};
    log_append(world->log, batch, &header, EPOCH, &sending->op);
    cr_assert_not(sending->done, "called back from inside");
    batch_builder_free(&builder);
}

static void finish(struct world *world, struct sending *sending)
{
    while (!sending->done)
        world_turn(world);
}

static struct log_append offer(struct world *world, int64_t id, int16_t epoch, int32_t sequence,
                               int32_t count)
{
    struct sending sending;
    offer_later(world, &sending, id, epoch, sequence, count);
    finish(world, &sending);
    return sending.op;
}

static void expect_new(struct world *world, int64_t id, int32_t sequence, int32_t count)
{
    int64_t end = log_offsets(world->log).end;
    struct log_append op = offer(world, id, 0, sequence, count);
    cr_assert_eq(op.error, 0, "producer %d, sequence %d: %s", (int)id, (int)sequence,
                 strerror(-op.error));
    cr_assert_not(op.duplicate, "producer %d, sequence %d", (int)id, (int)sequence);
    cr_assert_eq(op.base_offset, end);
    cr_assert_eq(log_offsets(world->log).end, end + count);
}

static void expect_repeated(struct world *world, int64_t id, int32_t sequence, int32_t count,
                            int64_t base_offset)
{
    int64_t end = log_offsets(world->log).end;
    struct log_append op = offer(world, id, 0, sequence, count);
    cr_assert_eq(op.error, 0, "producer %d, sequence %d: %s", (int)id, (int)sequence,
                 strerror(-op.error));
    cr_assert(op.duplicate, "producer %d, sequence %d", (int)id, (int)sequence);
    cr_assert_eq(op.base_offset, base_offset);
    cr_assert_eq(op.last_offset, base_offset + count - 1);
    cr_assert_eq(op.timestamp, 1000 + sequence + count - 1);
    cr_assert_eq(log_offsets(world->log).end, end, "nothing is stored");
}

static void expect_gap(struct world *world, int64_t id, int32_t sequence)
{
    cr_assert_eq(offer(world, id, 0, sequence, 1).error, -EILSEQ);
}

static void begin(struct world *world)
{
    world_begin(world, 1);
    cr_assert_eq(world_open(world), 0);
}

static void end(struct world *world)
{
    cr_assert_eq(log_store_close(world->store), 0);
    world_end(world);
}

Test(storage_log_producers, repetitions_gaps_and_epochs)
{
    struct world world;
    begin(&world);
    for (int32_t i = 0; i < 8; i++)
        expect_new(&world, 7, i * 3, 3);
    for (int32_t i = 3; i < 8; i++)
        expect_repeated(&world, 7, i * 3, 3, i * 3);
    expect_gap(&world, 7, 25);
    expect_gap(&world, 7, 6);
    cr_assert_eq(offer(&world, 7, 1, 24, 1).error, -EILSEQ);
    cr_assert_eq(offer(&world, 7, 1, 0, 1).error, 0);
    cr_assert_eq(offer(&world, 7, 0, 24, 1).error, -ESTALE);
    cr_assert_eq(log_offsets(world.log).end, 25);
    end(&world);
}

Test(storage_log_producers, a_repetition_is_answered_with_the_batch_it_repeats)
{
    struct world world;
    begin(&world);
    struct sending first, second, again, none;
    offer_later(&world, &first, 7, 0, 0, 2);
    offer_later(&world, &second, 7, 0, 2, 2);
    offer_later(&world, &again, 7, 0, 0, 2);
    cr_assert(again.op.duplicate);
    cr_assert_eq(again.op.base_offset, 0);
    offer_later(&world, &none, -1, -1, -1, 2);
    while (!again.done) {
        cr_assert(log_offsets(world.log).committed == 0 || first.done);
        world_turn(&world);
    }
    cr_assert(first.done);
    cr_assert_eq(again.op.error, 0);
    finish(&world, &second);
    finish(&world, &none);
    cr_assert_eq(none.op.base_offset, 4);
    end(&world);
}

Test(storage_log_producers, what_failed_is_taken_when_it_comes_again)
{
    struct world world;
    begin(&world);
    expect_new(&world, 7, 0, 1);
    sim_fail(world.sim, IO_WRITE, 1, -ENOSPC, true);
    struct sending failing[8], again, unknown;
    for (int32_t i = 0; i < 8; i++)
        offer_later(&world, &failing[i], 7, 0, 1 + i, 1);
    offer_later(&world, &unknown, 8, 0, 50, 1);
    offer_later(&world, &again, 7, 0, 5, 1);
    for (int32_t i = 0; i < 8; i++) {
        finish(&world, &failing[i]);
        cr_assert_eq(failing[i].op.error, -ENOSPC);
    }
    finish(&world, &again);
    cr_assert_eq(again.op.error, -ENOSPC, "what it repeats is not there");
    finish(&world, &unknown);
    sim_fail(world.sim, IO_WRITE, 0, 0, false);
    expect_gap(&world, 7, 9);
    expect_gap(&world, 8, 51);
    expect_repeated(&world, 7, 0, 1, 0);
    for (int32_t i = 0; i < 8; i++)
        expect_new(&world, 7, 1 + i, 1);
    expect_new(&world, 8, 50, 1);
    expect_new(&world, 8, 51, 1);
    end(&world);
}

// --- restarts

enum ending { CLEAN, CRASH };

static void restart(struct world *world, enum ending ending)
{
    if (ending == CRASH)
        world_crash(world);
    else
        cr_assert_eq(log_store_close(world->store), 0);
    cr_assert_eq(world_open(world), 0);
    cr_assert_eq(log_offsets(world->log).error, 0);
}

Test(storage_log_producers, a_restart_forgets_nobody)
{
    for (int ending = CLEAN; ending <= CRASH; ending++) {
        struct world world;
        begin(&world);
        for (int32_t i = 0; i < 8; i++) {
            expect_new(&world, 7, i, 1);
            expect_new(&world, 8, 100 + i, 1);
        }
        for (int i = 0; i < 3; i++) {
            restart(&world, (enum ending)ending);
            for (int32_t j = 3 + i; j < 8 + i; j++) {
                expect_repeated(&world, 7, j, 1, j * 2);
                expect_repeated(&world, 8, 100 + j, 1, j * 2 + 1);
            }
            expect_gap(&world, 7, 9 + i);
            expect_new(&world, 7, 8 + i, 1);
            expect_new(&world, 8, 108 + i, 1);
        }
        end(&world);
    }
}

// Enough data of nobody's to begin `count` segments.
static void fill_segments(struct world *world, int count)
{
    for (int i = 0; i < count * 2; i++) {
        world_append(world, 1, 40 * KIB);
        world_settle(world);
    }
}

static void small_segments(struct world *world)
{
    world->config.segment_bytes = 64 * KIB;
    log_configure(world->log, &world->config);
}

Test(storage_log_producers, segments_that_are_gone_take_nobody_along)
{
    for (int ending = CLEAN; ending <= CRASH; ending++) {
        struct world world;
        begin(&world);
        small_segments(&world);
        for (int32_t i = 0; i < 6; i++)
            expect_new(&world, 7, i, 1);
        fill_segments(&world, 5);
        cr_assert_eq(world_trim(&world, -1), 0);
        for (int i = 0; i < 50; i++)
            world_turn(&world);
        cr_assert_not(world_has_file(&world, 0, ".log"));
        for (int i = 0; i < 2; i++) {
            restart(&world, (enum ending)ending);
            for (int32_t j = 1; j < 6; j++)
                expect_repeated(&world, 7, j, 1, j);
            expect_gap(&world, 7, 7);
        }
        expect_new(&world, 7, 6, 1);
        end(&world);
    }
}

Test(storage_log_producers, an_idle_log_that_expires_keeps_them)
{
    for (int ending = CLEAN; ending <= CRASH; ending++) {
        struct world world;
        begin(&world);
        world.config.retention_ms = 1000;
        log_configure(world.log, &world.config);
        for (int32_t i = 0; i < 6; i++)
            expect_new(&world, 7, i, 1);
        for (int i = 0; i < 10; i++) {
            sim_advance(world.sim, UINT64_C(5000) * 1000000);
            log_retain(world.log);
            for (int j = 0; j < 20; j++)
                world_turn(&world);
        }
        cr_assert_eq(log_offsets(world.log).start, 6, "everything expires");
        restart(&world, (enum ending)ending);
        for (int32_t i = 1; i < 6; i++)
            expect_repeated(&world, 7, i, 1, i);
        expect_gap(&world, 7, 7);
        end(&world);
    }
}

Test(storage_log_producers, more_of_them_than_a_frame_holds)
{
    enum { MANY = 3000 };
    static struct sending sending[MANY];
    struct world world;
    begin(&world);
    small_segments(&world);
    for (int64_t id = 0; id < MANY; id++)
        offer_later(&world, &sending[id], id, 0, 5, 1);
    for (int64_t id = 0; id < MANY; id++) {
        finish(&world, &sending[id]);
        cr_assert_eq(sending[id].op.error, 0);
    }
    fill_segments(&world, 2);
    cr_assert_eq(world_trim(&world, -1), 0);
    for (int i = 0; i < 500; i++)
        world_turn(&world);
    cr_assert_not(world_has_file(&world, 0, ".log"));
    restart(&world, CRASH);
    for (int64_t id = 0; id < MANY; id += 19)
        expect_repeated(&world, id, 5, 1, id);
    end(&world);
}

static void remove_indexes(struct world *world, int64_t end_offset)
{
    for (int64_t base = 0; base < end_offset; base++) {
        if (world_has_file(world, base, ".index"))
            world_remove_file(world, base, ".index");
    }
}

Test(storage_log_producers, lost_indexes_cost_nothing)
{
    struct world world;
    begin(&world);
    small_segments(&world);
    for (int32_t i = 0; i < 4; i++) {
        expect_new(&world, 7, i, 1);
        fill_segments(&world, 1);
    }
    int64_t offsets[4];
    for (int32_t i = 0; i < 4; i++)
        offsets[i] = offer(&world, 7, 0, i, 1).base_offset;
    int64_t end_offset = log_offsets(world.log).end;
    cr_assert_eq(log_store_close(world.store), 0);
    remove_indexes(&world, end_offset);
    cr_assert_eq(world_open(&world), 0);
    for (int32_t i = 0; i < 4; i++)
        expect_repeated(&world, 7, i, 1, offsets[i]);
    expect_gap(&world, 7, 5);
    expect_new(&world, 7, 4, 1);
    end(&world);
}

// Whatever the next append does, the segment it goes to is not the first one.
static void tiny_segments(struct world *world)
{
    world->config.segment_bytes = 8 * KIB;
    log_configure(world->log, &world->config);
}

static void retain_often(struct world *world, int times)
{
    for (int i = 0; i < times; i++) {
        sim_advance(world->sim, 10000000);
        log_retain(world->log);
        world_turn(world);
    }
}

static void expect_first_gone(struct world *world)
{
    retain_often(world, 50);
    cr_assert_not(world_has_file(world, 0, ".log"));
}

// A batch may fit into the segment with the frame that is open, but not with one of its own, which
// it needs when the chunk is full.
Test(storage_log_producers, a_batch_that_almost_fits_begins_a_segment_with_them)
{
    uint32_t begun = 0;
    for (int64_t limit = 84 * KIB; limit < 96 * KIB; limit += 512) {
        struct world world;
        begin(&world);
        for (int32_t i = 0; i < 6; i++)
            expect_new(&world, 7, i, 1);
        world.config.segment_bytes = limit;
        log_configure(world.log, &world.config);
        world_append(&world, 1, 40 * KIB);
        world_append(&world, 1, 40 * KIB);
        world_settle(&world);
        if (world_has_file(&world, 7, ".log")) {
            begun++;
            cr_assert_eq(world_trim(&world, -1), 0);
            expect_first_gone(&world);
            restart(&world, CRASH);
            for (int32_t i = 1; i < 6; i++)
                expect_repeated(&world, 7, i, 1, i);
            expect_gap(&world, 7, 7);
        }
        end(&world);
    }
    cr_assert(begun > 0 && begun < 24);
}

Test(storage_log_producers, a_trim_that_begins_a_segment_keeps_them)
{
    struct world world;
    begin(&world);
    for (int32_t i = 0; i < 6; i++)
        expect_new(&world, 7, i, 1);
    world_append(&world, 1, 40 * KIB);
    world_settle(&world);
    tiny_segments(&world);
    cr_assert_eq(world_trim(&world, -1), 0);
    expect_first_gone(&world);
    restart(&world, CRASH);
    for (int32_t i = 1; i < 6; i++)
        expect_repeated(&world, 7, i, 1, i);
    expect_gap(&world, 7, 7);
    end(&world);
}

Test(storage_log_producers, a_segment_that_replay_begins_keeps_them)
{
    struct world world;
    world_begin(&world, 1);
    world.journal_bytes = MIB;
    cr_assert_eq(world_open(&world), 0);
    for (int32_t i = 0; i < 6; i++)
        expect_new(&world, 7, i, 1);
    for (int i = 0; i < 2; i++) {
        world_append(&world, 1, 8 * KIB);
        world_settle(&world);
    }
    cr_assert_gt(log_store_stats(world.store).journal_commits, 6);
    tiny_segments(&world);
    restart(&world, CRASH); // with segments that are smaller than what is replayed
    cr_assert_eq(world_trim(&world, -1), 0);
    expect_first_gone(&world);
    int64_t end_offset = log_offsets(world.log).end;
    world_crash(&world);
    remove_indexes(&world, end_offset);
    cr_assert_eq(world_open(&world), 0);
    for (int32_t i = 1; i < 6; i++)
        expect_repeated(&world, 7, i, 1, i);
    expect_gap(&world, 7, 7);
    end(&world);
}

static void look_after(struct world *world, int times)
{
    for (int i = 0; i < times; i++) {
        sim_advance(world->sim, 10000000);
        log_store_compact(world->store);
        world_turn(world);
    }
}

// The last segment that has their batches must stay as it is until the next one has a snapshot.
Test(storage_log_producers, compaction_does_not_come_before_the_next_snapshot)
{
    struct world world;
    world_begin(&world, 1);
    world.config.compact = true;
    world.compaction = (struct log_compaction){.enabled = true, .backoff_ms = 1};
    cr_assert_eq(world_open(&world), 0);
    for (int32_t i = 0; i < 6; i++)
        expect_new(&world, 7, i, 1);
    world_append(&world, 1, 8 * KIB);
    world_settle(&world);
    tiny_segments(&world);
    sim_fail(world.sim, IO_WRITE, 2, -ENOSPC, true); // after the new segment's header
    cr_assert_eq(offer(&world, 7, 0, 6, 1).error, -ENOSPC);
    cr_assert(world_has_file(&world, 7, ".log"));
    sim_fail(world.sim, IO_WRITE, 0, 0, false);
    look_after(&world, 200);
    cr_assert_eq(log_store_stats(world.store).compactions, 0);
    restart(&world, CRASH);
    for (int32_t i = 1; i < 6; i++)
        expect_repeated(&world, 7, i, 1, i);
    log_retain(world.log);
    look_after(&world, 200);
    cr_assert_gt(log_store_stats(world.store).compactions, 0, "then it may");
    restart(&world, CRASH);
    for (int32_t i = 1; i < 6; i++)
        expect_repeated(&world, 7, i, 1, i);
    expect_gap(&world, 7, 7);
    expect_new(&world, 7, 6, 1);
    end(&world);
}

// The snapshot was to begin a segment for which there is no space, and went into the one before.
Test(storage_log_producers, a_segment_that_could_not_be_made_begins_with_them_later)
{
    struct world world;
    begin(&world);
    world.config.retention_ms = 1000;
    log_configure(world.log, &world.config);
    for (int32_t i = 0; i < 6; i++)
        expect_new(&world, 7, i, 1);
    sim_advance(world.sim, UINT64_C(5000) * 1000000);
    sim_fail(world.sim, IO_OPEN, 1, -ENOSPC, true);
    retain_often(&world, 20);
    sim_fail(world.sim, IO_OPEN, 0, 0, false);
    retain_often(&world, 50);
    cr_assert_eq(log_offsets(world.log).start, 6, "everything expires");
    world_crash(&world);
    remove_indexes(&world, 7);
    cr_assert_eq(world_open(&world), 0);
    for (int32_t i = 1; i < 6; i++)
        expect_repeated(&world, 7, i, 1, i);
    expect_gap(&world, 7, 7);
    end(&world);
}

Test(storage_log_producers, who_was_quiet_too_long_is_new)
{
    struct world world;
    begin(&world);
    cr_assert_eq(log_store_close(world.store), 0);
    struct log_store_options options = {.io = world.io,
                                        .pool = world.pool,
                                        .directory = world.directory,
                                        .direct = true,
                                        .producer_expiry_ms = 60000};
    cr_assert_eq(log_store_open(&options, &world.store), 0);
    cr_assert_eq(log_open(world.store, world_name(), &world.config, &world.log, &world.recovery),
                 0);
    expect_new(&world, 7, 0, 1);
    sim_advance(world.sim, UINT64_C(59000) * 1000000);
    log_retain(world.log);
    expect_gap(&world, 7, 9);
    sim_advance(world.sim, UINT64_C(2000) * 1000000);
    expect_new(&world, 7, 9, 1);
    end(&world);
}
