// SPDX-License-Identifier: Apache-2.0
// A store with one log on a simulated or a real disk, and a model of what the log must hold.
#pragma once

#include <criterion/criterion.h>
#include <errno.h>
#include <ftw.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "storage/log.h"
#include "tests/sim/sim_io.h"

enum {
    KIB = 1024,
    MIB = 1024 * 1024,
    EPOCH = 5,
};

// One batch that was appended, as it must come back.
struct expected {
    uint8_t *data;
    size_t size;
    int64_t base_offset;
    int64_t last_offset;
    int64_t max_timestamp;
};

struct model {
    struct expected *batches; // by offset
    size_t count;
    size_t capacity;
    int64_t acked;      // everything below was acknowledged
    int64_t start;      // the highest start that was ever seen
    int64_t start_most; // the highest that was ever asked for
};

struct world {
    uint64_t seed;
    struct sim *sim; // NULL on a real disk
    struct io *io;
    struct pool *pool;
    struct log_store *store;
    struct log *log;
    struct log_config config;
    struct log_recovery recovery;
    size_t tail_cache_bytes;
    uint32_t open_files;
    uint64_t journal_bytes;
    size_t read_cache_bytes;
    struct log_compaction compaction;
    uint64_t ballast_bytes;
    bool buffered; // no O_DIRECT
    enum log_sync sync;
    char directory[64];
    struct random random;
    struct model model;
    uint32_t in_flight;
};

struct appending {
    struct log_append op;
    struct world *world;
};

static inline struct log_name world_name(void)
{
    return (struct log_name){
        .topic = span_text("orders"), .topic_id = {{1, 2, 3, 4, 0xff, 0xfe}}, .partition = 3};
}

static inline const char *world_log_directory(void)
{
    return "topics/orders/3-AQIDBP_-AAAAAAAAAAAAAA";
}

static inline void world_init(struct world *world, uint64_t seed)
{
    *world = (struct world){
        .seed = seed,
        .tail_cache_bytes = 4 * MIB,
        .config = {.segment_bytes = 1 << 30,
                   .segment_ms = -1,
                   .retention_bytes = -1,
                   .retention_ms = -1},
        .random = {.state = seed * 7919},
    };
    world->pool = pool_create(256 * MIB);
}

static inline void world_begin(struct world *world, uint64_t seed)
{
    world_init(world, seed);
    snprintf(world->directory, sizeof(world->directory), "/data");
    world->sim = sim_create(seed);
    world->io = sim_io(world->sim);
}

static inline void world_begin_real(struct world *world)
{
    world_init(world, 1);
    snprintf(world->directory, sizeof(world->directory), "/tmp/weir_log_XXXXXX");
    cr_assert(mkdtemp(world->directory) != NULL);
    const char *why = NULL;
    cr_assert_eq(io_uring_create(64, &world->io, &why), 0, "%s", why ? why : "");
}

static inline int world_open_store(struct world *world)
{
    struct log_store_options options = {
        .io = world->io,
        .pool = world->pool,
        .directory = world->directory,
        .tail_cache_bytes = world->tail_cache_bytes,
        .open_files = world->open_files,
        .journal_bytes = world->journal_bytes,
        .read_cache_bytes = world->read_cache_bytes,
        .direct = !world->buffered,
        .sync = world->sync,
        .compaction = world->compaction,
        .ballast_bytes = world->ballast_bytes,
    };
    return log_store_open(&options, &world->store);
}

static inline int world_open(struct world *world)
{
    int error = world_open_store(world);
    if (error)
        return error;
    if (world->seed % 2 == 0)
        log_expect(world->store, world_name());
    error = log_open(world->store, world_name(), &world->config, &world->log, &world->recovery);
    if (!error)
        error = log_store_begin(world->store, true);
    if (error)
        log_store_close(world->store);
    return error;
}

static inline void world_turn(struct world *world)
{
    io_run(world->io, world->io->now_ns + 1000000000);
}

static inline void model_free(struct model *model)
{
    for (size_t i = 0; i < model->count; i++)
        free(model->batches[i].data);
    free(model->batches);
    *model = (struct model){0};
}

static inline int world_remove_entry(const char *path, const struct stat *status, int type,
                                     struct FTW *place)
{
    (void)status;
    (void)type;
    (void)place;
    return remove(path);
}

static inline void world_end(struct world *world)
{
    model_free(&world->model);
    if (world->sim) {
        sim_destroy(world->sim);
    } else {
        io_destroy(world->io);
        nftw(world->directory, world_remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    }
    pool_destroy(world->pool);
}

// The power is off or goes off: everything in memory is lost.
static inline void world_crash(struct world *world)
{
    sim_power_off(world->sim, 0);
    log_store_close(world->store);
    sim_restart(world->sim);
    world->in_flight = 0;
}

// The program ends where it is, killed; the machine goes on.
static inline void world_kill(struct world *world)
{
    sim_power_off(world->sim, 0);
    log_store_close(world->store);
    sim_restart_process(world->sim);
    world->in_flight = 0;
}

// --- appending

// What lies at or beyond `end` is not there.
static inline void model_cut(struct model *model, int64_t end)
{
    while (model->count && model->batches[model->count - 1].base_offset >= end)
        free(model->batches[--model->count].data);
}

static inline void model_add(struct model *model, struct span batch, int64_t base, int64_t last,
                             int64_t max_timestamp)
{
    model_cut(model, base); // offsets of appends that failed are given again
    if (model->count == model->capacity) {
        model->capacity = model->capacity ? model->capacity * 2 : 64;
        model->batches = realloc(model->batches, model->capacity * sizeof(*model->batches));
    }
    uint8_t *data = malloc(batch.size);
    memcpy(data, batch.data, batch.size);
    batch_assign(data, base, EPOCH);
    model->batches[model->count++] = (struct expected){.data = data,
                                                       .size = batch.size,
                                                       .base_offset = base,
                                                       .last_offset = last,
                                                       .max_timestamp = max_timestamp};
}

static inline int64_t model_end(const struct model *model)
{
    return model->count ? model->batches[model->count - 1].last_offset + 1 : 0;
}

static inline void append_done(struct log_append *op)
{
    struct appending *appending = list_entry(op, struct appending, op);
    struct world *world = appending->world;
    world->in_flight--;
    if (op->error == 0) {
        cr_assert_geq(op->base_offset, world->model.acked, "seed %" PRIu64, world->seed);
        world->model.acked = op->last_offset + 1;
    }
    free(appending);
}

// A batch of `records` records with random values that together are about `size` bytes.
static inline void world_append_at(struct world *world, int records, size_t size,
                                   enum batch_codec codec, int64_t timestamp, int64_t step)
{
    struct batch_builder builder;
    batch_builder_init(&builder, 64 * MIB);
    size_t each = size / (size_t)records;
    uint8_t *value = malloc(each + 8);
    for (int i = 0; i < records; i++) {
        for (size_t at = 0; at < each; at += 8) {
            uint64_t word = random_next(&world->random);
            memcpy(value + at, &word, 8);
        }
        cr_assert_eq(batch_builder_add(&builder, timestamp + i * step, span_text("k"),
                                       span_of(value, each), NULL, 0),
                     BATCH_OK);
    }
    free(value);
    struct batch_scratch scratch = {0};
    struct span batch;
    cr_assert_eq(batch_builder_finish(&builder, codec, 0, (struct batch_producer){.id = -1},
                                      &scratch, &batch),
                 BATCH_OK);
    struct batch_header header;
    cr_assert_eq(batch_check(batch, &header), BATCH_OK);
    struct appending *appending = calloc(1, sizeof(*appending));
    appending->world = world;
    appending->op.done = append_done;
    world->in_flight++;
    log_append(world->log, batch, &header, EPOCH, &appending->op);
    if (appending->op.base_offset >= 0)
        model_add(&world->model, batch, appending->op.base_offset, appending->op.last_offset,
                  header.max_timestamp);
    free(scratch.data);
    batch_builder_free(&builder);
}

static inline void world_append(struct world *world, int records, size_t size)
{
    world_append_at(world, records, size, CODEC_NONE, world->io->wall_ms, 1);
}

static inline void world_settle(struct world *world)
{
    while (world->in_flight > 0)
        world_turn(world);
}

// --- reading

struct reading {
    struct log_read op;
    bool done;
};

static inline void read_finished(struct log_read *op)
{
    list_entry(op, struct reading, op)->done = true;
}

// Release it afterwards.
static inline void world_read(struct world *world, struct reading *reading, int64_t offset,
                              uint32_t max_bytes)
{
    *reading = (struct reading){
        .op = {
            .done = read_finished, .offset = offset, .max_bytes = max_bytes, .at_least_one = true}};
    log_read(world->log, &reading->op);
    cr_assert_not(reading->done, "called back from inside");
    while (!reading->done)
        world_turn(world);
}

static inline size_t model_find(const struct model *model, int64_t offset)
{
    size_t low = 0;
    for (size_t high = model->count; low < high;) {
        size_t middle = low + (high - low) / 2;
        if (model->batches[middle].last_offset < offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

// Compares what a read gave with the model. Returns the offset behind it.
static inline int64_t world_compare(const struct world *world, const struct log_read *op)
{
    const struct model *model = &world->model;
    size_t at = model_find(model, op->offset);
    int64_t next = op->offset;
    uint64_t size = 0;
    for (uint32_t i = 0; i < op->slice_count; i++) {
        const uint8_t *bytes = op->slices[i].iov_base;
        size_t left = op->slices[i].iov_len;
        size += left;
        while (left > 0) {
            cr_assert_lt(at, model->count, "seed %" PRIu64 ": more than was appended", world->seed);
            const struct expected *batch = &model->batches[at++];
            cr_assert_leq(batch->size, left, "seed %" PRIu64 ": part of a batch", world->seed);
            cr_assert_eq(memcmp(bytes, batch->data, batch->size), 0,
                         "seed %" PRIu64 ": other bytes at offset %" PRId64, world->seed,
                         batch->base_offset);
            bytes += batch->size;
            left -= batch->size;
            next = batch->last_offset + 1;
        }
    }
    cr_assert_eq(size, op->size);
    return next;
}

// Reads everything from `from` to `to` in pieces of `max_bytes`.
static inline void world_verify_range(struct world *world, int64_t from, int64_t to,
                                      uint32_t max_bytes)
{
    while (from < to) {
        struct reading reading;
        world_read(world, &reading, from, max_bytes);
        cr_assert_eq(reading.op.error, 0, "seed %" PRIu64 ": offset %" PRId64 ": %s", world->seed,
                     from, strerror(-reading.op.error));
        int64_t next = world_compare(world, &reading.op);
        cr_assert_gt(next, from, "seed %" PRIu64 ": nothing at offset %" PRId64, world->seed, from);
        log_read_release(&reading.op);
        from = next;
    }
}

// After opening: nothing acknowledged is missing, nothing is there that was not appended.
static inline void world_verify_recovered(struct world *world)
{
    struct log_offsets offsets = log_offsets(world->log);
    struct model *model = &world->model;
    cr_assert_eq(offsets.error, 0, "seed %" PRIu64, world->seed);
    cr_assert_eq(world->recovery.damaged_ranges, 0, "seed %" PRIu64, world->seed);
    cr_assert_eq(offsets.committed, offsets.end, "seed %" PRIu64, world->seed);
    cr_assert_geq(offsets.committed, model->acked, "seed %" PRIu64 ": acknowledged and lost",
                  world->seed);
    cr_assert_leq(offsets.committed, model_end(model), "seed %" PRIu64 ": never appended",
                  world->seed);
    cr_assert_geq(offsets.start, model->start, "seed %" PRIu64 ": the start went back",
                  world->seed);
    model_cut(model, offsets.committed);
    cr_assert_eq(offsets.committed, model_end(model), "seed %" PRIu64 ": part of a batch",
                 world->seed);
    model->acked = offsets.committed;
    model->start = offsets.start;
}

// --- other operations

struct trimming {
    struct log_trim op;
    bool done;
};

static inline void trim_done(struct log_trim *op)
{
    list_entry(op, struct trimming, op)->done = true;
}

static inline int world_trim(struct world *world, int64_t offset)
{
    struct trimming trimming = {.op = {.done = trim_done, .offset = offset}};
    if (world->model.start_most < offset)
        world->model.start_most = offset;
    log_trim(world->log, &trimming.op);
    while (!trimming.done)
        world_turn(world);
    if (trimming.op.error == 0 && world->model.start < trimming.op.start)
        world->model.start = trimming.op.start;
    return trimming.op.error;
}

struct looking {
    struct log_time_lookup op;
    bool done;
};

static inline void look_done(struct log_time_lookup *op)
{
    list_entry(op, struct looking, op)->done = true;
}

static inline struct looking world_find_time(struct world *world, int64_t timestamp)
{
    struct looking looking = {.op = {.done = look_done, .timestamp = timestamp}};
    log_find_time(world->log, &looking.op);
    while (!looking.done)
        world_turn(world);
    return looking;
}

static inline void world_segment_path(const struct world *world, int64_t base, const char *suffix,
                                      char to[256])
{
    snprintf(to, 256, "%s/%s/%020" PRId64 "%s", world->directory, world_log_directory(), base,
             suffix);
}

// --- files behind the log's back

static inline void world_remove_file(struct world *world, int64_t base, const char *suffix)
{
    char path[256];
    world_segment_path(world, base, suffix, path);
    struct io_op op = {0};
    io_unlink(world->io, &op, path, false);
    cr_assert_eq(io_wait(world->io, &op), 0, "%s", path);
}

static inline bool world_has_file(struct world *world, int64_t base, const char *suffix)
{
    char path[256];
    world_segment_path(world, base, suffix, path);
    int fd = io_open_wait(world->io, path, O_RDONLY, 0);
    if (fd >= 0)
        io_close_wait(world->io, fd);
    return fd >= 0;
}

static inline void world_overwrite(struct world *world, int64_t base, const char *suffix,
                                   uint64_t position, const void *bytes, size_t size)
{
    char path[256];
    world_segment_path(world, base, suffix, path);
    int fd = io_open_wait(world->io, path, O_RDWR | O_CREAT, 0644);
    cr_assert_geq(fd, 0, "%s", path);
    cr_assert_eq(io_write_wait(world->io, fd, bytes, size, position, true), (int64_t)size);
    io_close_wait(world->io, fd);
}

static inline void world_flip(struct world *world, int64_t base, const char *suffix, uint64_t bit)
{
    char path[256];
    world_segment_path(world, base, suffix, path);
    cr_assert_eq(sim_flip(world->sim, path, bit), 0, "%s", path);
}

static inline void world_peek(struct world *world, int64_t base, uint64_t position, void *to,
                              size_t size)
{
    char path[256];
    world_segment_path(world, base, ".log", path);
    int fd = io_open_wait(world->io, path, O_RDONLY, 0);
    cr_assert_geq(fd, 0, "%s", path);
    cr_assert_eq(io_read_wait(world->io, fd, to, size, position), (int64_t)size);
    io_close_wait(world->io, fd);
}

static inline void world_make_durable(struct world *world, int64_t base, const char *suffix)
{
    char path[256];
    world_segment_path(world, base, suffix, path);
    int fd = io_open_wait(world->io, path, O_RDWR, 0);
    cr_assert_geq(fd, 0, "%s", path);
    struct io_op op = {0};
    io_sync(world->io, &op, fd, false);
    cr_assert_eq(io_wait(world->io, &op), 0);
    io_close_wait(world->io, fd);
    snprintf(path, sizeof(path), "%s/%s", world->directory, world_log_directory());
    cr_assert_eq(io_sync_directory_wait(world->io, path), 0);
}
