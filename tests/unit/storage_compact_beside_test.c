// SPDX-License-Identifier: Apache-2.0
// Compaction beside everything else: readers, trims, retention, deletion, the end of the store,
// full and failing devices, damage, producers.
#include "tests/unit/storage_compact_fixture.h"

static int note_cleaning(void *context, const char *name)
{
    bool *found = context;
    *found |= strstr(name, ".cleaning") != NULL;
    return 0;
}

static bool has_cleaning_file(const struct keyed *keyed)
{
    char path[200];
    bool found = false;
    snprintf(path, sizeof(path), "%s/%s", keyed->world.directory, world_log_directory());
    io_list_directory(keyed->world.io, path, note_cleaning, &found);
    return found;
}

// Some turns of a compaction, until it is in the middle of its writing.
static void compact_half(struct keyed *keyed)
{
    sim_advance(keyed->world.sim, 2 * 1000000);
    for (int i = 0; i < 10000 && !has_cleaning_file(keyed); i++) {
        log_store_compact(keyed->world.store);
        world_turn(&keyed->world);
    }
    cr_assert(has_cleaning_file(keyed));
}

static void begin_filled(struct keyed *keyed, uint64_t seed)
{
    keyed_begin(keyed, seed);
    keyed_open(keyed);
    keyed_fill(keyed, 60, 5);
}

static void end(struct keyed *keyed)
{
    cr_assert_eq(log_store_close(keyed->world.store), 0);
    keyed_end(keyed);
}

Test(compact_beside, a_reader_goes_on_with_the_file_it_has)
{
    struct keyed keyed;
    begin_filled(&keyed, 21);
    struct log *log = keyed.world.log;
    struct reading reading = {
        .op = {.done = read_finished, .offset = 0, .max_bytes = 8 * KIB, .at_least_one = true}};
    struct segment *old = log->segments[0];
    segment_hold(old);
    cr_assert(keyed_compact(&keyed));
    cr_assert(old->removed);
    log_read(log, &reading.op);
    while (!reading.done)
        world_turn(&keyed.world);
    cr_assert_eq(reading.op.error, 0);
    log_read_release(&reading.op);
    segment_drop(old);
    keyed_expect_last(&keyed, false);
    end(&keyed);
}

Test(compact_beside, the_end_of_the_store_ends_it)
{
    struct keyed keyed;
    begin_filled(&keyed, 22);
    compact_half(&keyed);
    cr_assert_eq(log_store_close(keyed.world.store), 0);
    cr_assert_not(has_cleaning_file(&keyed));
    keyed_open(&keyed);
    keyed_expect_last(&keyed, false);
    cr_assert(keyed_compact(&keyed));
    keyed_expect_last(&keyed, false);
    keyed_expect_compacted(&keyed);
    end(&keyed);
}

Test(compact_beside, the_end_of_the_store_does_not_wait_for_the_throttle)
{
    struct keyed keyed;
    keyed_begin(&keyed, 23);
    keyed.world.compaction.bytes_per_second = 1;
    keyed_open(&keyed);
    keyed_fill(&keyed, 60, 5);
    sim_advance(keyed.world.sim, 2 * 1000000);
    for (int i = 0; i < 200; i++) {
        log_store_compact(keyed.world.store);
        world_turn(&keyed.world);
    }
    cr_assert_not_null(keyed.world.store->compactor.running);
    cr_assert_eq(log_store_stats(keyed.world.store).compactions, 0);
    end(&keyed);
}

struct deleting {
    struct log_delete op;
    bool done;
};

static void delete_done(struct log_delete *op)
{
    list_entry(op, struct deleting, op)->done = true;
}

Test(compact_beside, a_log_is_deleted_with_the_file_that_was_being_written)
{
    struct keyed keyed;
    begin_filled(&keyed, 24);
    compact_half(&keyed);
    struct deleting deleting = {.op = {.done = delete_done}};
    log_delete(keyed.world.log, &deleting.op);
    while (!deleting.done)
        world_turn(&keyed.world);
    cr_assert_eq(deleting.op.error, 0);
    cr_assert_null(keyed.world.store->compactor.running);
    bool found = false;
    cr_assert_eq(io_list_directory(keyed.world.io, "/data/topics/orders", note_cleaning, &found),
                 -ENOENT, "nothing keeps the topic's directory");
    end(&keyed);
}

Test(compact_beside, a_full_device_puts_it_off)
{
    struct keyed keyed;
    begin_filled(&keyed, 25);
    sim_set_capacity(keyed.world.sim, sim_used_bytes(keyed.world.sim) + 4096);
    for (int i = 0; i < 5; i++) {
        keyed_compact(&keyed);
        cr_assert_null(keyed.world.store->compactor.running);
        cr_assert_not(has_cleaning_file(&keyed));
    }
    keyed_expect_last(&keyed, false);
    cr_assert_eq(log_offsets(keyed.world.log).error, 0);
    sim_set_capacity(keyed.world.sim, 0);
    sim_advance(keyed.world.sim, 2 * 1000000);
    cr_assert(keyed_compact(&keyed));
    keyed_expect_last(&keyed, false);
    keyed_expect_compacted(&keyed);
    end(&keyed);
}

// Each operation fails once: the log has its old segments or its new ones.
Test(compact_beside, any_operation_may_fail)
{
    static const enum io_kind kinds[] = {IO_OPEN,     IO_READ,   IO_WRITE,  IO_SYNC,
                                         IO_TRUNCATE, IO_RENAME, IO_UNLINK, IO_CLOSE};
    for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
        for (uint64_t nth = 1; nth < 12; nth++) {
            struct keyed keyed;
            begin_filled(&keyed, 26);
            sim_fail(keyed.world.sim, kinds[k], nth, k % 2 ? -EIO : -EMFILE, false);
            keyed_compact(&keyed);
            sim_fail(keyed.world.sim, kinds[k], 0, 0, false);
            sim_advance(keyed.world.sim, 2 * 1000000);
            keyed_compact(&keyed);
            keyed_expect_last(&keyed, false);
            if (kinds[k] != IO_SYNC)
                cr_assert_eq(log_offsets(keyed.world.log).error, 0, "kind %d, %d", (int)kinds[k],
                             (int)nth);
            log_store_close(keyed.world.store);
            keyed_open(&keyed);
            cr_assert(keyed_compact(&keyed));
            keyed_expect_last(&keyed, false);
            keyed_expect_compacted(&keyed);
            end(&keyed);
        }
    }
}

static void damage(const struct keyed *keyed, int64_t base, uint64_t byte)
{
    char path[200];
    snprintf(path, sizeof(path), "%s/%s/%020" PRId64 ".log", keyed->world.directory,
             world_log_directory(), base);
    cr_assert_eq(sim_flip(keyed->world.sim, path, byte * 8), 0);
}

Test(compact_beside, a_damaged_segment_is_left_alone)
{
    struct keyed keyed;
    begin_filled(&keyed, 27);
    struct log *log = keyed.world.log;
    struct segment *hurt = log->segments[1];
    int64_t from = hurt->header.base_offset;
    int64_t to = hurt->next_offset;
    damage(&keyed, from, FORMAT_BLOCK + 300);
    keyed_compact(&keyed); // meets it
    sim_advance(keyed.world.sim, 2 * 1000000);
    cr_assert(keyed_compact(&keyed));
    bool there = false;
    for (uint32_t i = 0; i < log->segment_count; i++)
        there |= log->segments[i] == hurt;
    cr_assert(there);
    cr_assert(hurt->damaged);
    cr_assert_eq(hurt->header.cleaned_to, 0);
    const struct segment *before = log->segments[0];
    cr_assert_eq(before->header.cleaned_to, from);
    uint64_t passes = log_store_stats(keyed.world.store).compactions;
    sim_advance(keyed.world.sim, 2 * 1000000);
    cr_assert(keyed_compact(&keyed));
    cr_assert_eq(log_store_stats(keyed.world.store).compactions, passes, "not again and again");
    cr_assert_gt(to, from);
    end(&keyed);
}

Test(compact_beside, trims_and_retention_wait_for_their_turn)
{
    struct keyed keyed;
    begin_filled(&keyed, 28);
    compact_half(&keyed);
    int64_t start = log_offsets(keyed.world.log).committed;
    cr_assert_eq(world_trim(&keyed.world, start), 0);
    cr_assert(keyed_compact(&keyed));
    for (int i = 0; i < 100 && keyed.world.log->segment_count > 1; i++) {
        log_retain(keyed.world.log);
        world_turn(&keyed.world);
    }
    cr_assert_eq(keyed.world.log->segment_count, 1);
    cr_assert_eq(log_offsets(keyed.world.log).start, start);
    cr_assert_eq(log_store_close(keyed.world.store), 0);
    keyed.start = start;
    keyed_open(&keyed);
    end(&keyed);
}

// For a second.
static void roll_by_age(struct keyed *keyed)
{
    struct io *io = keyed->world.io;
    for (uint64_t end_ns = io->now_ns + 1000000000; io->now_ns < end_ns;) {
        log_store_compact(keyed->world.store);
        io_run(io, io->now_ns + 2 * 1000000);
    }
}

Test(compact_beside, what_has_waited_too_long_is_rolled_and_compacted)
{
    struct keyed keyed;
    keyed_begin(&keyed, 29);
    keyed.world.config.max_compaction_lag_ms = 1000000;
    keyed.world.config.min_dirty_ratio = 1;
    keyed.world.config.segment_bytes = 10 * MIB;
    keyed_open(&keyed);
    keyed_fill(&keyed, 60, 0);
    sim_jump(keyed.world.sim, 2000000);
    roll_by_age(&keyed);
    cr_assert_eq(keyed.world.log->segment_count, 1, "a clock that jumps is not time that passes");
    sim_jump(keyed.world.sim, -2000000);
    sim_advance(keyed.world.sim, UINT64_C(1100000) * 1000000);
    roll_by_age(&keyed);
    cr_assert_eq(keyed.world.log->segment_count, 2);
    keyed_expect_last(&keyed, false);
    keyed_expect_compacted(&keyed);
    cr_assert_eq(log_store_stats(keyed.world.store).compactions, 1);
    end(&keyed);
}

// --- producers

struct sending {
    struct log_append op;
    bool done;
};

static void sent(struct log_append *op)
{
    list_entry(op, struct sending, op)->done = true;
}

// One record of key "p" in a batch of its own.
static struct log_append send_one(struct keyed *keyed, int64_t producer, int32_t sequence)
{
    struct batch_builder builder;
    struct batch_scratch scratch = {0};
    struct batch_header header;
    struct span batch;
    batch_builder_init(&builder, MIB);
    cr_assert_eq(batch_builder_add(&builder, keyed->world.io->wall_ms, span_text("p"),
                                   span_text("value"), NULL, 0),
                 BATCH_OK);
    cr_assert_eq(batch_builder_finish(&builder, CODEC_NONE, 0,
                                      (struct batch_producer){producer, 0, sequence}, &scratch,
                                      &batch),
                 BATCH_OK);
    cr_assert_eq(batch_header_read(batch, &header), BATCH_OK);
    struct sending sending = {.op = {.done = sent}};
    log_append(keyed->world.log, batch, &header, EPOCH, &sending.op);
    while (!sending.done)
        world_turn(&keyed->world);
    batch_builder_free(&builder);
    return sending.op;
}

Test(compact_beside, the_last_batch_of_each_producer_is_remembered)
{
    enum { PRODUCERS = 60 };
    struct keyed keyed;
    keyed_begin(&keyed, 30);
    keyed.world.config.segment_bytes = 60 * KIB;
    keyed_open(&keyed);
    int64_t offsets[PRODUCERS];
    for (int i = 0; i < PRODUCERS; i++) {
        for (int32_t sequence = 0; sequence < 3; sequence++)
            offsets[i] = send_one(&keyed, 100 + i, sequence).base_offset;
    }
    cr_assert(keyed_compact(&keyed));
    cr_assert_gt(log_store_stats(keyed.world.store).compactions, 0);
    cr_assert_eq(log_store_close(keyed.world.store), 0);
    // No index says what the log knew: the batches do.
    char path[200];
    for (int64_t base = 0; base < 3 * PRODUCERS; base++) {
        struct io_op op = {0};
        snprintf(path, sizeof(path), "%s/%s/%020" PRId64 ".index", keyed.world.directory,
                 world_log_directory(), base);
        io_unlink(keyed.world.io, &op, path, false);
        io_wait(keyed.world.io, &op);
    }
    cr_assert_eq(world_open(&keyed.world), 0);
    for (int i = 0; i < PRODUCERS; i++) {
        struct log_append again = send_one(&keyed, 100 + i, 2);
        cr_assert_eq(again.error, 0);
        cr_assert(again.duplicate, "producer %d", i);
        cr_assert_eq(again.base_offset, offsets[i]);
    }
    cr_assert_eq(send_one(&keyed, 100, 4).error, -EILSEQ);
    end(&keyed);
}
