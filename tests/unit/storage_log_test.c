// SPDX-License-Identifier: Apache-2.0
// What log.h promises, on a real disk through io_uring and on the simulated one.
#include <criterion/parameterized.h>

#include "tests/unit/storage_fixture.h"

static void open_world(struct world *world)
{
    int error = world_open(world);
    cr_assert_eq(error, 0, "%s", strerror(-error));
}

static void reopen(struct world *world)
{
    cr_assert_eq(log_store_close(world->store), 0);
    open_world(world);
    world_verify_recovered(world);
}

static void verify_all(struct world *world)
{
    world_verify_range(world, log_offsets(world->log).start, model_end(&world->model), 100000);
}

// --- appending and reading

static void an_empty_log_is_empty(struct world *world)
{
    open_world(world);
    struct log_offsets offsets = log_offsets(world->log);
    cr_assert_eq(offsets.start, 0);
    cr_assert_eq(offsets.end, 0);
    cr_assert_eq(offsets.size_bytes, 0);
    struct reading reading;
    world_read(world, &reading, 0, MIB);
    cr_assert_eq(reading.op.error, 0);
    cr_assert_eq(reading.op.size, 0);
    log_read_release(&reading.op);
    world_read(world, &reading, 1, MIB);
    cr_assert_eq(reading.op.error, -ERANGE);
    log_read_release(&reading.op);
    cr_assert_not(world_has_file(world, 0, ".log"), "no file before the first append");
    reopen(world);
    log_store_close(world->store);
}

static void batches_come_back_as_they_went(struct world *world)
{
    static const size_t sizes[] = {1, 100, 4000, 5000, 70000, 1100000, 3 * MIB, 10, 200000};
    for (int cached = 0; cached < 2; cached++) {
        world->tail_cache_bytes = cached ? 64 * MIB : 0;
        open_world(world);
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
            world_append(world, 1 + (int)(i % 3), sizes[i]);
            if (i % 2)
                world_settle(world);
        }
        world_settle(world);
        cr_assert_eq(world->model.acked, model_end(&world->model));
        verify_all(world);
        world_verify_range(world, 0, model_end(&world->model), 1);
        world_verify_range(world, 0, model_end(&world->model), 16 * MIB);
        for (int64_t from = 0; from < model_end(&world->model); from++)
            world_verify_range(world, from, from + 1, 1000);
        cr_assert_eq(log_store_close(world->store), 0);
    }
}

static void appends_that_come_together_share_a_commit(struct world *world)
{
    open_world(world);
    world_append(world, 1, 10);
    world_settle(world);
    uint64_t before = log_store_stats(world->store).commits;
    for (int i = 0; i < 100; i++)
        world_append(world, 1, 100);
    cr_assert_eq(log_offsets(world->log).end, 101);
    cr_assert_eq(log_offsets(world->log).committed, 1, "nothing is durable yet");
    world_settle(world);
    cr_assert_leq(log_store_stats(world->store).commits - before, 2);
    verify_all(world);
    log_store_close(world->store);
}

static void uncommitted_records_are_not_read(struct world *world)
{
    open_world(world);
    world_append(world, 1, 10);
    world_settle(world);
    world_append(world, 1, 10);
    struct reading reading;
    world_read(world, &reading, 0, MIB);
    cr_assert_eq(reading.op.error, 0);
    int64_t next = world_compare(world, &reading.op);
    cr_assert_leq(next, reading.op.offsets.committed);
    cr_assert_geq(next, 1);
    log_read_release(&reading.op);
    world_settle(world);
    log_store_close(world->store);
}

static void a_read_takes_whole_batches_up_to_its_limit(struct world *world)
{
    for (int cached = 0; cached < 2; cached++) {
        world->tail_cache_bytes = cached ? 64 * MIB : 0;
        open_world(world);
        int64_t base = log_offsets(world->log).end;
        for (int i = 0; i < 10; i++)
            world_append(world, 2, 1000);
        world_settle(world);
        size_t one = world->model.batches[world->model.count - 1].size;
        struct reading reading;
        world_read(world, &reading, base + 5, (uint32_t)(3 * one)); // the middle of the third batch
        cr_assert_eq(reading.op.size, 3 * one);
        cr_assert_eq(world_compare(world, &reading.op), base + 10);
        log_read_release(&reading.op);
        reading = (struct reading){
            .op = {.done = read_finished, .offset = base, .max_bytes = (uint32_t)one - 1}};
        log_read(world->log, &reading.op);
        while (!reading.done)
            world_turn(world);
        cr_assert_eq(reading.op.error, 0);
        cr_assert_eq(reading.op.size, 0, "not even one batch unless asked for");
        log_read_release(&reading.op);
        log_store_close(world->store);
    }
}

static void what_a_reader_holds_does_not_change(struct world *world)
{
    world->tail_cache_bytes = 32 * KIB;
    open_world(world);
    world_append(world, 1, 5000);
    world_settle(world);
    struct reading reading;
    world_read(world, &reading, 0, MIB);
    for (int i = 0; i < 100; i++)
        world_append(world, 1, 5000);
    world_settle(world);
    cr_assert_eq(world_compare(world, &reading.op), 1);
    log_read_release(&reading.op);
    log_store_close(world->store);
}

// --- segments

static void segments_roll_by_size(struct world *world)
{
    world->config.segment_bytes = 100000;
    open_world(world);
    for (int i = 0; i < 60; i++) {
        world_append(world, 1, 7000);
        if (i % 5 == 0)
            world_settle(world);
    }
    world_settle(world);
    verify_all(world);
    world->config.segment_bytes = 30000;
    reopen(world);
    cr_assert_geq(world->recovery.segments, 4);
    verify_all(world);
    for (int i = 0; i < 10; i++)
        world_append(world, 1, 7000);
    world_settle(world);
    world->config.segment_bytes = MIB;
    reopen(world);
    verify_all(world);
    log_store_close(world->store);
}

static void a_batch_larger_than_a_segment_is_stored(struct world *world)
{
    world->config.segment_bytes = 50000;
    open_world(world);
    for (int i = 0; i < 3; i++) {
        world_append(world, 2, 300000);
        world_settle(world);
    }
    reopen(world);
    verify_all(world);
    cr_assert_eq(world->recovery.segments, 3);
    log_store_close(world->store);
}

// --- watching

struct watching {
    struct log_watch watch;
    int fired;
};

static void watch_fired(struct log_watch *watch)
{
    list_entry(watch, struct watching, watch)->fired++;
}

static void watches_fire_once_and_can_be_cancelled(struct world *world)
{
    open_world(world);
    struct watching first = {.watch = {.fired = watch_fired, .offset = 0}};
    struct watching second = {.watch = {.fired = watch_fired, .offset = 1}};
    struct watching cancelled = {.watch = {.fired = watch_fired, .offset = 0}};
    log_watch(world->log, &first.watch);
    log_watch(world->log, &second.watch);
    log_watch(world->log, &cancelled.watch);
    log_watch_cancel(&cancelled.watch);
    log_watch_cancel(&cancelled.watch);
    world_append(world, 1, 10);
    world_settle(world);
    while (!first.fired)
        world_turn(world);
    cr_assert_eq(second.fired, 0);
    log_watch(world->log, &first.watch); // due already
    cr_assert_eq(first.fired, 1, "not from inside the call");
    world_append(world, 1, 10);
    world_settle(world);
    while (first.fired < 2 || second.fired < 1)
        world_turn(world);
    cr_assert_eq(cancelled.fired, 0);
    struct watching last = {.watch = {.fired = watch_fired, .offset = 100}};
    log_watch(world->log, &last.watch);
    log_store_close(world->store);
    cr_assert_eq(last.fired, 1, "the end of the store fires it");
    cr_assert_not(last.watch.set);
}

// --- the other end

static void a_trim_survives_restarts(struct world *world)
{
    world->config.segment_bytes = 40000;
    open_world(world);
    for (int i = 0; i < 20; i++) {
        world_append(world, 1, 7000);
        world_settle(world);
    }
    cr_assert_eq(world_trim(world, 13), 0);
    cr_assert_eq(log_offsets(world->log).start, 13);
    cr_assert_eq(world_trim(world, 5), 0);
    cr_assert_eq(log_offsets(world->log).start, 13, "never back");
    cr_assert_eq(world_trim(world, 21), -ERANGE);
    while (world_has_file(world, 0, ".log"))
        world_turn(world);
    struct reading reading;
    world_read(world, &reading, 12, MIB);
    cr_assert_eq(reading.op.error, -ERANGE);
    log_read_release(&reading.op);
    verify_all(world);
    reopen(world);
    cr_assert_eq(log_offsets(world->log).start, 13);
    verify_all(world);
    cr_assert_eq(world_trim(world, -1), 0);
    reopen(world);
    cr_assert_eq(log_offsets(world->log).start, 20);
    cr_assert_eq(log_offsets(world->log).committed, 20);
    world_append(world, 1, 10);
    world_settle(world);
    cr_assert_eq(world->model.acked, 21);
    verify_all(world);
    log_store_close(world->store);
}

static void retain_until(struct world *world, int64_t start)
{
    while (log_offsets(world->log).start < start) {
        log_retain(world->log);
        io_run(world->io, world->io->now_ns + 1000000);
    }
    cr_assert_eq(log_offsets(world->log).start, start);
}

static void retention_by_size_keeps_the_newest(struct world *world)
{
    world->config.segment_bytes = 4096 * 5;
    open_world(world);
    for (int i = 0; i < 20; i++) { // four to a segment
        world_append(world, 1, 3000);
        world_settle(world);
    }
    log_retain(world->log);
    world_turn(world);
    cr_assert_eq(log_offsets(world->log).start, 0);
    world->config.retention_bytes = 2 * (4096 + 4 * 3584); // two segments
    log_configure(world->log, &world->config);
    retain_until(world, 12);
    verify_all(world);
    reopen(world);
    cr_assert_eq(log_offsets(world->log).start, 12);
    verify_all(world);
    log_store_close(world->store);
}

static void retention_by_time_keeps_the_end(struct world *world)
{
    world->config.segment_bytes = 4096 * 5;
    open_world(world);
    int64_t now = world->io->wall_ms;
    for (int i = 0; i < 12; i++) {
        world_append_at(world, 1, 3000, CODEC_NONE, now - 100000 + i * 1000, 1);
        world_settle(world);
    }
    world->config.retention_ms = 95500; // segments end at 3 s, 7 s and 11 s
    log_configure(world->log, &world->config);
    retain_until(world, 4);
    verify_all(world);
    world->config.retention_ms = 1000;
    log_configure(world->log, &world->config);
    retain_until(world, 12); // the active one is rolled first
    cr_assert_eq(log_offsets(world->log).committed, 12);
    reopen(world);
    cr_assert_eq(log_offsets(world->log).start, 12);
    cr_assert_eq(log_offsets(world->log).end, 12);
    world->config.retention_ms = -1;
    log_configure(world->log, &world->config);
    world_append(world, 1, 100);
    world_settle(world);
    verify_all(world);
    log_store_close(world->store);
}

// --- deleting

struct deleting {
    struct log_delete op;
    bool done;
};

static void delete_done(struct log_delete *op)
{
    list_entry(op, struct deleting, op)->done = true;
}

static bool exists(struct world *world, const char *name)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", world->directory, name);
    int fd = io_open_wait(world->io, path, O_RDONLY | O_DIRECTORY, 0);
    if (fd >= 0)
        io_close_wait(world->io, fd);
    return fd >= 0;
}

static void a_deleted_log_is_gone(struct world *world)
{
    world->config.segment_bytes = 20000;
    for (int variant = 0; variant < 3; variant++) {
        open_world(world);
        for (int i = 0; i < 10; i++)
            world_append(world, 1, 7000);
        if (variant > 0)
            world_settle(world);
        struct watching watching = {.watch = {.fired = watch_fired, .offset = 1000}};
        log_watch(world->log, &watching.watch);
        struct reading reading = {.op = {.done = read_finished, .max_bytes = MIB}};
        if (variant == 2)
            log_read(world->log, &reading.op);
        struct deleting deleting = {.op = {.done = delete_done}};
        log_delete(world->log, &deleting.op);
        while (!deleting.done)
            world_turn(world);
        cr_assert_eq(deleting.op.error, 0, "%s", strerror(-deleting.op.error));
        cr_assert_eq(world->in_flight, 0);
        cr_assert_eq(watching.fired, 1);
        if (variant == 2) {
            cr_assert(reading.done);
            log_read_release(&reading.op);
        }
        cr_assert_not(exists(world, "topics/orders"));
        cr_assert_eq(log_store_close(world->store), 0);
        model_free(&world->model);
        open_world(world);
        cr_assert_eq(log_offsets(world->log).end, 0);
        cr_assert_eq(log_store_close(world->store), 0);
    }
}

// --- times

static void times_are_looked_up(struct world *world)
{
    world->config.segment_bytes = 300000;
    for (int cached = 0; cached < 2; cached++) {
        world->tail_cache_bytes = cached ? 64 * MIB : 0;
        open_world(world);
        // Ten records to a batch, a millisecond apart, batches a second apart; every fifth batch
        // lies an hour back, and codecs take turns.
        int64_t base = log_offsets(world->log).end;
        int64_t origin = 1000000000 + base * 100000;
        for (int i = 0; i < 60; i++) {
            int64_t at = origin + i * 1000 - (i % 5 == 4 ? 3600000 : 0);
            world_append_at(world, 10, 20000, (enum batch_codec)(i % 5), at, 1);
            if (i % 3 == 0)
                world_settle(world);
        }
        world_settle(world);
        for (int i = 0; i < 60; i++) {
            if (i % 5 == 4)
                continue;
            struct looking exact = world_find_time(world, origin + i * 1000 + 3);
            cr_assert_eq(exact.op.error, 0);
            cr_assert_eq(exact.op.offset, base + i * 10 + 3);
            cr_assert_eq(exact.op.found_timestamp, origin + i * 1000 + 3);
            struct looking between = world_find_time(world, origin + i * 1000 - 500);
            cr_assert_eq(between.op.offset, base + i * 10);
        }
        struct looking late = world_find_time(world, origin + 58 * 1000 + 10);
        cr_assert_eq(late.op.error, 0);
        cr_assert_eq(late.op.offset, -1);
        struct looking largest = world_find_time(world, LOG_TIME_MAX);
        cr_assert_eq(largest.op.offset, base + 58 * 10 + 9);
        cr_assert_eq(largest.op.found_timestamp, origin + 58 * 1000 + 9);
        cr_assert_eq(log_store_close(world->store), 0);
    }
    open_world(world);
    cr_assert_eq(world_trim(world, -1), 0);
    struct looking none = world_find_time(world, LOG_TIME_MAX);
    cr_assert_eq(none.op.error, 0);
    cr_assert_eq(none.op.offset, -1);
    log_store_close(world->store);
}

static void the_largest_time_counts_from_the_start_on(struct world *world)
{
    open_world(world);
    static const int64_t times[] = {5000, 9000, 3000, 7000, 4000};
    for (int i = 0; i < 5; i++)
        world_append_at(world, 1, 100, CODEC_NONE, times[i], 1);
    world_settle(world);
    cr_assert_eq(world_find_time(world, LOG_TIME_MAX).op.offset, 1);
    cr_assert_eq(world_trim(world, 2), 0);
    cr_assert_eq(world_find_time(world, LOG_TIME_MAX).op.offset, 3);
    cr_assert_eq(world_find_time(world, 1).op.offset, 2);
    cr_assert_eq(world_find_time(world, 4000).op.offset, 3);
    cr_assert_eq(world_find_time(world, 8000).op.offset, -1);
    reopen(world);
    cr_assert_eq(world_find_time(world, LOG_TIME_MAX).op.offset, 3);
    log_store_close(world->store);
}

// --- many logs

static void many_logs_share_commit_rounds(struct world *world)
{
    enum { LOGS = 50 };
    cr_assert_eq(world_open_store(world), 0);
    struct world *logs = calloc(LOGS, sizeof(*logs));
    for (int i = 0; i < LOGS; i++) {
        struct log_name name = world_name();
        name.partition = i;
        logs[i] = *world;
        cr_assert_eq(log_create(world->store, name, &world->config, &logs[i].log), 0);
    }
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < LOGS; i++)
            world_append(&logs[i], 1 + i % 3, 200);
        for (int i = 0; i < LOGS; i++)
            world_settle(&logs[i]);
    }
    for (int i = 0; i < LOGS; i++) {
        cr_assert_eq(log_offsets(logs[i].log).committed, 5 * (1 + i % 3));
        verify_all(&logs[i]);
        model_free(&logs[i].model);
    }
    free(logs);
    cr_assert_eq(log_store_close(world->store), 0);
}

// Descriptors are taken from logs that are not busy, also in the middle of their lives.
static void many_logs_do_with_few_open_files(struct world *world)
{
    world->open_files = 3;
    world->tail_cache_bytes = 0;
    many_logs_share_commit_rounds(world);
    cr_assert_eq(world_open_store(world), 0);
    for (int i = 0; i < 50; i++) {
        struct world log = *world;
        struct log_name name = world_name();
        name.partition = i;
        cr_assert_eq(log_open(world->store, name, &world->config, &log.log, &log.recovery), 0);
        cr_assert_eq(log_offsets(log.log).committed, 5 * (1 + i % 3));
    }
    cr_assert_eq(log_store_close(world->store), 0);
}

struct promise {
    const char *name;
    void (*check)(struct world *world);
};

static const struct promise promises[] = {
    {"an empty log is empty", an_empty_log_is_empty},
    {"batches come back as they went", batches_come_back_as_they_went},
    {"appends that come together share a commit", appends_that_come_together_share_a_commit},
    {"uncommitted records are not read", uncommitted_records_are_not_read},
    {"a read takes whole batches up to its limit", a_read_takes_whole_batches_up_to_its_limit},
    {"what a reader holds does not change", what_a_reader_holds_does_not_change},
    {"segments roll by size", segments_roll_by_size},
    {"a batch larger than a segment is stored", a_batch_larger_than_a_segment_is_stored},
    {"watches fire once and can be cancelled", watches_fire_once_and_can_be_cancelled},
    {"a trim survives restarts", a_trim_survives_restarts},
    {"retention by size keeps the newest", retention_by_size_keeps_the_newest},
    {"retention by time keeps the end", retention_by_time_keeps_the_end},
    {"a deleted log is gone", a_deleted_log_is_gone},
    {"times are looked up", times_are_looked_up},
    {"the largest time counts from the start on", the_largest_time_counts_from_the_start_on},
    {"many logs share commit rounds", many_logs_share_commit_rounds},
    {"many logs do with few open files", many_logs_do_with_few_open_files},
};

enum { PROMISES = sizeof(promises) / sizeof(promises[0]) };

static struct criterion_test_params all_promises(void)
{
    static int index[PROMISES];
    for (int i = 0; i < PROMISES; i++)
        index[i] = i;
    return cr_make_param_array(int, index, PROMISES);
}

ParameterizedTestParameters(storage, log_promises_on_the_simulated_disk)
{
    return all_promises();
}

ParameterizedTest(const int *index, storage, log_promises_on_the_simulated_disk)
{
    cr_log_info("%s", promises[*index].name);
    struct world world;
    world_begin(&world, 1 + (uint64_t)*index);
    promises[*index].check(&world);
    world_end(&world);
}

ParameterizedTestParameters(storage, log_promises_on_a_real_disk)
{
    return all_promises();
}

ParameterizedTest(const int *index, storage, log_promises_on_a_real_disk)
{
    cr_log_info("%s", promises[*index].name);
    struct world world;
    world_begin_real(&world);
    promises[*index].check(&world);
    world_end(&world);
}
