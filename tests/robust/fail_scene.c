// SPDX-License-Identifier: Apache-2.0
// Allocations of this file never fail (see fault_alloc.h).
#include "tests/robust/fail_scene.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/random.h"
#include "tests/robust/fault_alloc.h"

enum { KIB = 1024, EPOCH = 5, COMPACTED = 1, DOOMED = SCENE_LOGS - 1 };

static const char directory[] = "/data";
static const char *const topics[SCENE_LOGS] = {"orders", "orders", "doomed"};

// --- batches, made before anything can fail, and shared by all runs

enum { KIND_SMALL, KIND_PACKED, KIND_LARGE, KINDS, RECORDS_MAX = 3 };

struct sample {
    struct batch_builder builder;
    struct batch_scratch scratch;
    struct span batch;
};

static void sample_make(struct sample *sample, int kind, int64_t timestamp,
                        struct batch_producer producer)
{
    static const size_t sizes[KINDS] = {700, 9000, 90 * KIB};
    struct random random = {.state = (uint64_t)timestamp};
    batch_builder_init(&sample->builder, 1 << 20);
    size_t size = sizes[kind] / RECORDS_MAX;
    uint8_t *value = malloc(size + 8);
    CHECK(value);
    for (int i = 0; i < RECORDS_MAX; i++) {
        for (size_t at = 0; at < size; at += 8) {
            uint64_t word = random_next(&random) & 0x0f0f0f0f0f0f0f0f;
            memcpy(value + at, &word, 8);
        }
        CHECK(batch_builder_add(&sample->builder, timestamp + i, span_text("key"),
                                span_of(value, size), NULL, 0) == BATCH_OK);
    }
    free(value);
    CHECK(batch_builder_finish(&sample->builder, kind == KIND_PACKED ? CODEC_LZ4 : CODEC_NONE, 0,
                               producer, &sample->scratch, &sample->batch) == BATCH_OK);
}

static void sample_free(struct sample *sample)
{
    free(sample->scratch.data);
    batch_builder_free(&sample->builder);
}

// --- telling

static int tell(struct scene *scene, const char *step, int error)
{
    if (error) {
        scene->errors++;
        scene->last_error = error;
        scene->told(scene, step, error);
    }
    return error;
}

static void turn(struct scene *scene)
{
    io_run(scene->io, scene->io->now_ns + 1000000000);
}

void scene_begin(struct scene *scene, uint64_t seed,
                 void (*told)(struct scene *scene, const char *step, int error))
{
    *scene = (struct scene){.seed = seed, .next_timestamp = 1000, .told = told};
    scene->sim = sim_create(seed);
    scene->io = sim_io(scene->sim);
    scene->pool = pool_create(64 << 20);
    CHECK(scene->pool);
    scene->logs[COMPACTED].compacts = true;
}

static void log_forget(struct scene_log *log)
{
    for (uint32_t i = 0; i < log->count; i++)
        free(log->batches[i].bytes);
    log->count = 0;
}

void scene_end(struct scene *scene)
{
    for (int i = 0; i < SCENE_LOGS; i++)
        log_forget(&scene->logs[i]);
    sim_destroy(scene->sim);
    pool_destroy(scene->pool);
}

// --- the model

static int64_t log_end(const struct scene_log *log)
{
    return log->count ? log->batches[log->count - 1].last_offset + 1 : 0;
}

static void log_cut(struct scene_log *log, int64_t end)
{
    while (log->count && log->batches[log->count - 1].base_offset >= end)
        free(log->batches[--log->count].bytes);
}

static const struct stored *log_at(const struct scene_log *log, int64_t offset)
{
    for (uint32_t i = 0; i < log->count; i++) {
        if (log->batches[i].last_offset >= offset)
            return &log->batches[i];
    }
    return NULL;
}

// --- appending

struct appending {
    struct log_append op;
    struct scene *scene;
    struct scene_log *log;
};

static void append_done(struct log_append *op)
{
    struct appending *appending = list_entry(op, struct appending, op);
    appending->scene->in_flight--;
    if (op->error == 0 && !op->duplicate) {
        CHECK(op->base_offset >= appending->log->acked);
        appending->log->acked = op->last_offset + 1;
    }
    tell(appending->scene, "append", op->error);
    free(appending);
}

// The first log has one producer only, so that its sequence numbers are the offsets.
static struct batch_producer producer_of(const struct scene *scene, const struct scene_log *log)
{
    if (log != &scene->logs[0])
        return (struct batch_producer){.id = -1, .epoch = -1, .base_sequence = -1};
    return (struct batch_producer){.id = 7, .base_sequence = (int32_t)log_offsets(log->log).end};
}

static void append(struct scene *scene, struct scene_log *log, int kind)
{
    if (!log->log || log->count == SCENE_BATCHES)
        return;
    struct sample sample = {0};
    struct batch_header header;
    int64_t timestamp = scene->next_timestamp;
    scene->next_timestamp += 10;
    fault_alloc_pause();
    sample_make(&sample, kind, timestamp, producer_of(scene, log));
    fault_alloc_resume();
    CHECK(batch_check(sample.batch, &header) == BATCH_OK);
    struct appending *appending = calloc(1, sizeof(*appending));
    CHECK(appending);
    *appending = (struct appending){.op.done = append_done, .scene = scene, .log = log};
    scene->in_flight++;
    log_append(log->log, sample.batch, &header, EPOCH, &appending->op);
    if (appending->op.error == 0) {
        log_cut(log, appending->op.base_offset); // offsets of failed appends are given again
        uint8_t *copy = malloc(sample.batch.size);
        CHECK(copy);
        memcpy(copy, sample.batch.data, sample.batch.size);
        batch_assign(copy, appending->op.base_offset, EPOCH);
        log->batches[log->count++] = (struct stored){.bytes = copy,
                                                     .size = sample.batch.size,
                                                     .base_offset = appending->op.base_offset,
                                                     .last_offset = appending->op.last_offset,
                                                     .first_timestamp = timestamp};
    }
    sample_free(&sample);
}

// The last acknowledged batch of the first log once more, as after an answer that was lost.
static void append_again(struct scene *scene, struct scene_log *log)
{
    if (!log->log || log->count == 0 || log->acked != log_end(log))
        return;
    const struct stored *last = &log->batches[log->count - 1];
    struct batch_header header;
    struct span batch = span_of(last->bytes, last->size);
    CHECK(batch_check(batch, &header) == BATCH_OK);
    struct appending *appending = calloc(1, sizeof(*appending));
    CHECK(appending);
    *appending = (struct appending){.op.done = append_done, .scene = scene, .log = log};
    scene->in_flight++;
    log_append(log->log, batch, &header, EPOCH, &appending->op);
    CHECK(appending->op.error || appending->op.duplicate);
    CHECK(appending->op.error || appending->op.base_offset == last->base_offset);
}

static void settle(struct scene *scene)
{
    while (scene->in_flight > 0)
        turn(scene);
}

void scene_append_one(struct scene *scene)
{
    for (int i = 0; i < SCENE_LOGS; i++)
        append(scene, &scene->logs[i], KIND_SMALL);
    settle(scene);
}

// --- reading

struct reading {
    struct log_read op;
    bool done;
};

static void read_done(struct log_read *op)
{
    list_entry(op, struct reading, op)->done = true;
}

// Whole batches, equal to what was appended. Returns the offset behind them.
static int64_t compare(const struct scene_log *log, const struct log_read *op)
{
    int64_t next = op->offset;
    for (uint32_t i = 0; i < op->slice_count; i++) {
        const uint8_t *bytes = op->slices[i].iov_base;
        size_t left = op->slices[i].iov_len;
        while (left > 0 && log->compacts) {
            struct batch_header header;
            CHECK(batch_header_read(span_of(bytes, left), &header) == BATCH_OK);
            size_t size = batch_total_size(&header);
            CHECK(size <= left && batch_last_offset(&header) >= next);
            bytes += size;
            left -= size;
            next = batch_last_offset(&header) + 1;
        }
        while (left > 0) {
            const struct stored *batch = log_at(log, next);
            CHECK(batch && batch->size <= left);
            CHECK(memcmp(batch->bytes, bytes, batch->size) == 0);
            bytes += batch->size;
            left -= batch->size;
            next = batch->last_offset + 1;
        }
    }
    return next;
}

// Reads [from, committed) as far as it goes without an error. Returns how far that is.
static int64_t read_all(struct scene *scene, struct scene_log *log, int64_t from,
                        uint32_t max_bytes)
{
    while (from < log_offsets(log->log).committed) {
        struct reading reading = {
            .op = {
                .done = read_done, .offset = from, .max_bytes = max_bytes, .at_least_one = true}};
        log_read(log->log, &reading.op);
        CHECK(!reading.done);
        while (!reading.done)
            turn(scene);
        int error = tell(scene, "read", reading.op.error);
        int64_t next = error ? from : compare(log, &reading.op);
        log_read_release(&reading.op);
        if (error)
            break;
        CHECK(next > from);
        from = next;
    }
    return from;
}

struct looking {
    struct log_time_lookup op;
    bool done;
};

static void look_done(struct log_time_lookup *op)
{
    list_entry(op, struct looking, op)->done = true;
}

static int64_t expected_offset(const struct scene_log *log, struct log_offsets offsets,
                               int64_t timestamp)
{
    for (uint32_t i = 0; i < log->count; i++) {
        const struct stored *batch = &log->batches[i];
        for (int64_t o = batch->base_offset; o <= batch->last_offset; o++) {
            if (o >= offsets.start && o < offsets.committed &&
                batch->first_timestamp + (o - batch->base_offset) >= timestamp)
                return o;
        }
    }
    return -1;
}

static void look_up(struct scene *scene, struct scene_log *log, int64_t timestamp)
{
    struct looking looking = {.op = {.done = look_done, .timestamp = timestamp}};
    log_find_time(log->log, &looking.op);
    while (!looking.done)
        turn(scene);
    if (tell(scene, "time lookup", looking.op.error) || log->damaged || log->compacts)
        return;
    if (timestamp != LOG_TIME_MAX)
        CHECK(looking.op.offset == expected_offset(log, log_offsets(log->log), timestamp));
}

// --- the other end

struct trimming {
    struct log_trim op;
    bool done;
};

static void trim_done(struct log_trim *op)
{
    list_entry(op, struct trimming, op)->done = true;
}

static void trim(struct scene *scene, struct scene_log *log, int64_t offset)
{
    struct trimming trimming = {.op = {.done = trim_done, .offset = offset}};
    if (log->start_most < offset)
        log->start_most = offset;
    log_trim(log->log, &trimming.op);
    while (!trimming.done)
        turn(scene);
    if (!tell(scene, "trim", trimming.op.error))
        CHECK(log_offsets(log->log).start >= offset);
}

struct deleting {
    struct log_delete op;
    bool done;
};

static void delete_done(struct log_delete *op)
{
    list_entry(op, struct deleting, op)->done = true;
}

void scene_delete(struct scene *scene)
{
    struct scene_log *log = &scene->logs[DOOMED];
    if (!log->log)
        return;
    struct deleting deleting = {.op = {.done = delete_done}};
    log->gone = true; // nobody opens it again, also when files of it stay
    log_delete(log->log, &deleting.op);
    log->log = NULL;
    while (!deleting.done)
        turn(scene);
    tell(scene, "delete", deleting.op.error);
}

static struct log_config config_of(const struct scene_log *log)
{
    return (struct log_config){.segment_bytes = 150000,
                               .segment_ms = 3600000,
                               .retention_bytes = -1,
                               .retention_ms = -1,
                               .compact = log->compacts};
}

// Rolls by age, and lets retention by size take the oldest segments.
static void retain(struct scene *scene, struct scene_log *log)
{
    struct log_config config = config_of(log);
    config.segment_ms = 1000;
    config.retention_bytes = 400000;
    sim_advance(scene->sim, 2000000000);
    log_configure(log->log, &config);
    log_retain(log->log);
    for (int i = 0; i < 40; i++)
        turn(scene);
    int64_t start = log_offsets(log->log).start;
    if (log->start_most < start)
        log->start_most = start;
    config = config_of(log);
    log_configure(log->log, &config);
}

static void work_on(struct scene *scene, struct scene_log *log)
{
    static const int kinds[] = {KIND_SMALL, KIND_SMALL, KIND_PACKED, KIND_LARGE, KIND_SMALL};
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        append(scene, log, kinds[i]);
        if (i % 2)
            settle(scene);
    }
    settle(scene);
    if (log == &scene->logs[0])
        append_again(scene, log);
    settle(scene);
    read_all(scene, log, log_offsets(log->log).start, 20000);
    look_up(scene, log, 0);
    look_up(scene, log, scene->next_timestamp - 38);
    look_up(scene, log, LOG_TIME_MAX);
}

void scene_work(struct scene *scene)
{
    for (int i = 0; i < SCENE_LOGS; i++) {
        if (scene->logs[i].log)
            work_on(scene, &scene->logs[i]);
    }
    struct scene_log *log = &scene->logs[0];
    if (log->log) {
        struct log_offsets offsets = log_offsets(log->log);
        trim(scene, log, offsets.start + (offsets.committed - offsets.start) / 4);
        retain(scene, log);
        append(scene, log, KIND_LARGE);
        settle(scene);
    }
    if (scene->store) {
        log_store_compact(scene->store);
        for (int i = 0; i < 60; i++)
            turn(scene);
    }
}

// --- lives

// Nothing acknowledged is missing, and nothing is there that was not appended.
static void check_opened(struct scene *scene, struct scene_log *log,
                         const struct log_recovery *recovery)
{
    struct log_offsets offsets = log_offsets(log->log);
    log->damaged = recovery->damaged_ranges > 0;
    if (log->damaged) {
        tell(scene, "damage", -EIO); // what the device did not give
        return;
    }
    CHECK(offsets.committed == offsets.end);
    CHECK(offsets.committed >= log->acked);
    CHECK(offsets.committed <= log_end(log));
    CHECK(offsets.start <= log->start_most);
    log_cut(log, offsets.committed);
    CHECK(log_end(log) == offsets.committed || offsets.start == offsets.committed);
    log->acked = offsets.committed;
}

static bool open_log(struct scene *scene, int number)
{
    struct scene_log *log = &scene->logs[number];
    struct log_name name = {.topic = span_text(topics[number]),
                            .topic_id = {{1, (uint8_t)(number == DOOMED ? 2 : 1)}},
                            .partition = number};
    struct log_config config = config_of(log);
    struct log_recovery recovery = {0};
    // As the broker does: what a partition holds is known only to recovery.
    int error = log_open(scene->store, name, &config, &log->log, &recovery);
    if (error)
        log->log = NULL;
    if (tell(scene, "open log", error))
        return false;
    check_opened(scene, log, &recovery);
    return true;
}

static int open_store(struct scene *scene)
{
    struct log_store_options options = {
        .io = scene->io,
        .pool = scene->pool,
        .directory = directory,
        .tail_cache_bytes = 32 * KIB,
        .read_cache_bytes = 128 * KIB,
        .direct = scene->direct,
        .journal_bytes = 256 * KIB,
        .journal_file_bytes = 64 * KIB,
        .sync = scene->sync,
        .compaction = {.enabled = true, .map_bytes = 8 * KIB, .backoff_ms = 1},
    };
    int error = log_store_open(&options, &scene->store);
    if (error)
        scene->store = NULL;
    return tell(scene, "open store", error);
}

static void forgive_stopped(struct scene *scene)
{
    for (int i = 0; i < SCENE_LOGS; i++) {
        struct scene_log *log = &scene->logs[i];
        if (!log->log || log_offsets(log->log).error != -EIO)
            continue;
        log->gone = true;
        log->log = NULL;
    }
}

bool scene_open(struct scene *scene)
{
    if (!scene->store && open_store(scene))
        return false;
    bool all = true;
    for (int i = 0; i < SCENE_LOGS; i++) {
        if (scene->logs[i].log || scene->logs[i].gone)
            continue;
        all = all && !scene->begun && open_log(scene, i); // later than that is too late
    }
    if (!scene->settled) {
        int error = log_store_settle(scene->store);
        all &= error <= 0;
        if (error < 0 && tell(scene, "settle", error))
            return false;
    }
    scene->settled = true;
    if (!scene->begun && tell(scene, "begin", log_store_begin(scene->store, all)))
        return false;
    scene->begun = true;
    if (scene->forgives)
        forgive_stopped(scene);
    return all;
}

static void forget_open(struct scene *scene)
{
    for (int i = 0; i < SCENE_LOGS; i++)
        scene->logs[i].log = NULL;
    scene->store = NULL;
    scene->settled = false;
    scene->begun = false;
    scene->in_flight = 0;
}

void scene_close(struct scene *scene)
{
    if (scene->store)
        tell(scene, "close", log_store_close(scene->store));
    CHECK(sim_open_files(scene->sim) == 0);
    forget_open(scene);
}

void scene_crash(struct scene *scene)
{
    sim_power_off(scene->sim, 0);
    if (scene->store)
        log_store_close(scene->store);
    sim_restart(scene->sim);
    forget_open(scene);
}

void scene_verify(struct scene *scene)
{
    for (int i = 0; i < SCENE_LOGS; i++) {
        struct scene_log *log = &scene->logs[i];
        if (!log->log)
            continue;
        struct log_offsets offsets = log_offsets(log->log);
        CHECK(offsets.committed >= log->acked && offsets.start <= log->start_most);
        int64_t got = read_all(scene, log, offsets.start, 50000);
        CHECK(got >= log->acked || !scene->strict);
    }
}
