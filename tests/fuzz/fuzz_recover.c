// SPDX-License-Identifier: Apache-2.0
// Recovery from files that decay, tricks and accidents have changed. A small store is made once;
// the input says what to change in its files (disk_image.c). Its first byte chooses which checksums
// are made right afterwards (bits 0 to 3), so that what was changed is believed. the store must
// open or refuse with an error, serve nothing but whole batches in order, take new records where it
// says so, and still have these after another crash.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/random.h"
#include "storage/log.h"
#include "tests/fuzz/disk_image.h"
#include "tests/sim/sim_io.h"

enum { LOGS = 2, READS_MAX = 300, TURNS_MAX = 100000, EPOCH = 3, PRODUCER = 7 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct store {
    struct sim *sim;
    struct io *io;
    struct pool *pool;
    struct log_store *store;
    struct log *logs[LOGS];
    bool forged; // changes may carry right checksums: then nobody can tell what is a batch
};

// Recovery says a line for whatever it finds: not here (the linker's --wrap).
void __wrap_log_line(int level, const char *format, ...);
void __wrap_log_line(int level, const char *format, ...)
{
    (void)level;
    (void)format;
}

// The same input gives the same run.
static struct random salts;

void __wrap_random_system(void *to, size_t size);
void __wrap_random_system(void *to, size_t size)
{
    uint8_t *at = to;
    for (size_t i = 0; i < size; i++)
        at[i] = (uint8_t)random_next(&salts);
}

static void store_begin(struct store *store, uint64_t seed)
{
    *store = (struct store){.sim = sim_create(seed)};
    salts.state = seed;
    store->io = sim_io(store->sim);
    store->pool = pool_create(64 << 20);
    CHECK(store->pool);
}

static void store_end(struct store *store)
{
    sim_destroy(store->sim);
    pool_destroy(store->pool);
}

static int store_open(struct store *store)
{
    struct log_store_options options = {
        .io = store->io,
        .pool = store->pool,
        .directory = "/data",
        .tail_cache_bytes = 1 << 20,
        .direct = true,
        .journal_bytes = 192 * 1024,
        .journal_file_bytes = 64 * 1024,
        .sync = LOG_SYNC_DSYNC,
    };
    struct log_config config = {
        .segment_bytes = 60000, .segment_ms = -1, .retention_bytes = -1, .retention_ms = -1};
    int error = log_store_open(&options, &store->store);
    if (error)
        return error;
    bool all = true;
    for (int i = 0; i < LOGS; i++) {
        struct log_name name = {
            .topic = span_text("t"), .topic_id = {{9, (uint8_t)i}}, .partition = i};
        struct log_recovery recovery;
        if (log_open(store->store, name, &config, &store->logs[i], &recovery) != 0) {
            store->logs[i] = NULL;
            all = false;
        }
    }
    error = log_store_settle(store->store);
    if (!error)
        error = log_store_begin(store->store, all);
    if (error)
        log_store_close(store->store);
    return error;
}

static void turn(struct store *store)
{
    io_run(store->io, store->io->now_ns + 1000000000);
}

// --- appending

struct appending {
    struct log_append op;
    bool done;
};

static void append_done(struct log_append *op)
{
    list_entry(op, struct appending, op)->done = true;
}

// Of the first log all batches are of one producer. The offset, or an error.
static int64_t append(struct store *store, struct log *log, size_t size, int64_t timestamp)
{
    struct batch_builder builder;
    struct batch_scratch scratch = {0};
    struct batch_header header;
    struct span batch;
    struct batch_producer producer = {.id = -1, .epoch = -1, .base_sequence = -1};
    if (log == store->logs[0])
        producer = (struct batch_producer){.id = PRODUCER,
                                           .base_sequence = (int32_t)(log_offsets(log).end)};
    char *value = malloc(size);
    CHECK(value);
    memset(value, 'v', size);
    batch_builder_init(&builder, 1 << 20);
    CHECK(batch_builder_add(&builder, timestamp, span_text("key"), span_of(value, size), NULL, 0) ==
          BATCH_OK);
    CHECK(batch_builder_finish(&builder, CODEC_NONE, 0, producer, &scratch, &batch) == BATCH_OK);
    CHECK(batch_check(batch, &header) == BATCH_OK);
    struct appending appending = {.op.done = append_done};
    log_append(log, batch, &header, EPOCH, &appending.op);
    for (int i = 0; !appending.done; i++) {
        CHECK(i < TURNS_MAX);
        turn(store);
    }
    free(value);
    free(scratch.data);
    batch_builder_free(&builder);
    return appending.op.error ? appending.op.error : appending.op.base_offset;
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

// Whole, sound batches, in order. The offset behind them.
static int64_t check_slices(const struct store *store, const struct log_read *op)
{
    int64_t next = op->offset;
    for (uint32_t i = 0; i < op->slice_count; i++) {
        const uint8_t *bytes = op->slices[i].iov_base;
        size_t left = op->slices[i].iov_len;
        while (left > 0) {
            struct batch_header header;
            bool sound = batch_header_read(span_of(bytes, left), &header) == BATCH_OK;
            size_t size = sound ? batch_total_size(&header) : 0;
            sound = sound && size <= left && batch_last_offset(&header) >= next;
            CHECK(sound || store->forged);
            if (!sound)
                return op->offset + 1;
            next = batch_last_offset(&header) + 1;
            bytes += size;
            left -= size;
        }
    }
    return next;
}

// Errors are for one offset: the next is tried.
static void read_all(struct store *store, struct log *log)
{
    struct log_offsets offsets = log_offsets(log);
    CHECK(offsets.start <= offsets.committed && offsets.committed <= offsets.end);
    int64_t at = offsets.start;
    for (int i = 0; i < READS_MAX && at < offsets.committed; i++) {
        struct reading reading = {
            .op = {.done = read_done, .offset = at, .max_bytes = 5000, .at_least_one = true}};
        log_read(log, &reading.op);
        for (int turns = 0; !reading.done; turns++) {
            CHECK(turns < TURNS_MAX);
            turn(store);
        }
        int64_t next = reading.op.error ? at + 1 : check_slices(store, &reading.op);
        CHECK(next > at || store->forged);
        next = next > at ? next : at + 1;
        log_read_release(&reading.op);
        at = next;
    }
}

struct looking {
    struct log_time_lookup op;
    bool done;
};

static void look_done(struct log_time_lookup *op)
{
    list_entry(op, struct looking, op)->done = true;
}

static void look_up(struct store *store, struct log *log, int64_t timestamp)
{
    struct looking looking = {.op = {.done = look_done, .timestamp = timestamp}};
    log_find_time(log, &looking.op);
    for (int i = 0; !looking.done; i++) {
        CHECK(i < TURNS_MAX);
        turn(store);
    }
}

// --- the store that everything begins with, and what must hold after the changes

static struct image *original(void)
{
    static struct image image;
    if (image.count > 0)
        return &image;
    struct store store;
    store_begin(&store, 1);
    for (int life = 0; life < 2; life++) {
        CHECK(store_open(&store) == 0);
        for (int i = 0; i < 40; i++) {
            size_t size = i % 7 == 6 ? 9000 : 300 + (size_t)i * 10;
            CHECK(append(&store, store.logs[i % 3 == 0], size, 1000 + i) >= 0);
        }
        if (life == 0)
            CHECK(log_store_close(store.store) == 0);
    }
    // The last records are in the journal only, where there is one.
    sim_power_off(store.sim, 0);
    log_store_close(store.store);
    sim_restart(store.sim);
    image_take(&image, store.io, "/data");
    CHECK(image.count >= 4);
    store_end(&store);
    return &image;
}

static void crash(struct store *store)
{
    sim_power_off(store->sim, 0);
    log_store_close(store->store);
    sim_restart(store->sim);
}

static void use(struct store *store)
{
    int64_t acknowledged[LOGS] = {-1, -1};
    for (int i = 0; i < LOGS; i++) {
        struct log *log = store->logs[i];
        if (!log)
            continue;
        read_all(store, log);
        look_up(store, log, 1020);
        look_up(store, log, LOG_TIME_MAX);
        for (int n = 0; n < 3; n++) {
            int64_t offset = append(store, log, 700, 5000);
            acknowledged[i] = offset >= 0 ? offset : acknowledged[i];
        }
        read_all(store, log);
    }
    crash(store);
    int error = store_open(store);
    if (error) {
        CHECK(acknowledged[0] < 0 && acknowledged[1] < 0);
        return;
    }
    for (int i = 0; i < LOGS; i++) {
        if (acknowledged[i] < 0)
            continue;
        CHECK(store->logs[i]);
        CHECK(log_offsets(store->logs[i]).committed > acknowledged[i]);
        if (store->forged)
            continue; // the start of the log may be anything
        struct reading reading = {.op = {.done = read_done,
                                         .offset = acknowledged[i],
                                         .max_bytes = 1,
                                         .at_least_one = true}};
        log_read(store->logs[i], &reading.op);
        while (!reading.done)
            turn(store);
        CHECK(reading.op.error == 0 && check_slices(store, &reading.op) == acknowledged[i] + 1);
        log_read_release(&reading.op);
    }
    log_store_close(store->store);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    struct image image;
    struct store store;
    image_copy(&image, original());
    image_edit(&image, data + 1, size - 1);
    image_make_right(&image, data[0] & 15);
    store_begin(&store, 2);
    store.forged = data[0] & (IMAGE_SEGMENTS | IMAGE_JOURNAL);
    image_put(&image, store.io);
    image_free(&image);
    if (store_open(&store) == 0)
        use(&store);
    store_end(&store);
    return 0;
}
