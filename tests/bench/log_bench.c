// SPDX-License-Identifier: Apache-2.0
// Appends batches to logs on a real directory, a number of them in flight, without a network:
// what the storage engine alone takes and gives. Then reads the first log from its start to its
// end, a megabyte at a time, which comes from disk but for the last part.
//
//   log_bench DIRECTORY BATCH_BYTES IN_FLIGHT SECONDS [LOGS]
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/check.h"
#include "base/clock.h"
#include "storage/log.h"

enum { SAMPLES_MAX = 4 * 1024 * 1024, LOGS_MAX = 1000 };

struct bench {
    struct io *io;
    struct log *logs[LOGS_MAX];
    int log_count;
    struct span batch;
    struct batch_header header;
    uint64_t end_ns;
    uint64_t appended;
    uint32_t in_flight;
    uint32_t *samples_ns;
    uint32_t sample_count;
};

struct slot {
    struct log_append op;
    struct bench *bench;
    struct log *log;
    uint64_t start_ns;
};

static void slot_append(struct slot *slot)
{
    struct bench *bench = slot->bench;
    slot->start_ns = clock_monotonic_ns();
    bench->in_flight++;
    log_append(slot->log, bench->batch, &bench->header, 0, &slot->op);
}

static void slot_done(struct log_append *op)
{
    struct slot *slot = list_entry(op, struct slot, op);
    struct bench *bench = slot->bench;
    CHECK(op->error == 0);
    uint64_t now = clock_monotonic_ns();
    if (bench->sample_count < SAMPLES_MAX)
        bench->samples_ns[bench->sample_count++] = (uint32_t)(now - slot->start_ns);
    bench->appended++;
    bench->in_flight--;
    if (now < bench->end_ns)
        slot_append(slot);
}

static double cpu_seconds(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

struct replay {
    struct log_read op;
    bool done;
};

static void read_done(struct log_read *op)
{
    list_entry(op, struct replay, op)->done = true;
}

static void replay(struct bench *bench)
{
    struct log_offsets offsets = log_offsets(bench->logs[0]);
    struct replay replay = {.op = {.done = read_done, .max_bytes = 1 << 20, .at_least_one = true}};
    double cpu = cpu_seconds();
    uint64_t start = clock_monotonic_ns();
    uint64_t bytes = 0;
    uint64_t reads = 0;
    for (int64_t at = offsets.start; at < offsets.committed; reads++) {
        replay.op.offset = at;
        replay.done = false;
        log_read(bench->logs[0], &replay.op);
        while (!replay.done)
            io_run(bench->io, UINT64_MAX);
        CHECK(replay.op.error == 0 && replay.op.size > 0);
        bytes += replay.op.size;
        at += (int64_t)(replay.op.size / bench->batch.size); // batches of one record
        log_read_release(&replay.op);
    }
    double seconds = (double)(clock_monotonic_ns() - start) / 1e9;
    printf("%10s replay %8.1f MB/s  %7.1f KB/read  cpu %.3f s/GB\n", "",
           (double)bytes / seconds / 1e6, (double)bytes / (double)reads / 1e3,
           (cpu_seconds() - cpu) / ((double)bytes / 1e9));
}

static int compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a;
    uint32_t y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static void make_batch(struct bench *bench, size_t size)
{
    struct batch_builder builder;
    batch_builder_init(&builder, size + 1024);
    uint8_t *value = malloc(size);
    CHECK(value);
    for (size_t i = 0; i < size; i++)
        value[i] = (uint8_t)(i * 131 >> 3);
    CHECK(batch_builder_add(&builder, 1000, span_of(NULL, 0), span_of(value, size), NULL, 0) ==
          BATCH_OK);
    struct batch_scratch scratch = {0};
    CHECK(batch_builder_finish(&builder, CODEC_NONE, 0, (struct batch_producer){.id = -1}, &scratch,
                               &bench->batch) == BATCH_OK);
    CHECK(batch_header_read(bench->batch, &bench->header) == BATCH_OK);
    free(value);
}

static void open_logs(struct bench *bench, struct log_store *store)
{
    struct log_config config = {.segment_bytes = 1 << 30,
                                .segment_ms = -1,
                                .retention_bytes = 2LL << 30,
                                .retention_ms = -1};
    for (int i = 0; i < bench->log_count; i++) {
        struct log_name name = {.topic = span_text("bench"), .partition = i};
        CHECK(log_create(store, name, &config, &bench->logs[i]) == 0);
    }
}

static void run(struct bench *bench, uint32_t in_flight, double seconds)
{
    struct slot *slots = calloc(in_flight, sizeof(*slots));
    CHECK(slots);
    uint64_t next_retain = 0;
    bench->end_ns = clock_monotonic_ns() + (uint64_t)(seconds * 1e9);
    for (uint32_t i = 0; i < in_flight; i++) {
        slots[i].bench = bench;
        slots[i].log = bench->logs[i % (uint32_t)bench->log_count];
        slots[i].op.done = slot_done;
        slot_append(&slots[i]);
    }
    while (bench->in_flight > 0) {
        io_run(bench->io, UINT64_MAX);
        if (bench->io->now_ns > next_retain) {
            for (int i = 0; i < bench->log_count; i++)
                log_retain(bench->logs[i]);
            next_retain = bench->io->now_ns + 100000000;
        }
    }
    free(slots);
}

static void report(const struct bench *bench, const struct log_store_stats *stats, double seconds,
                   double cpu, const char *size, const char *in_flight)
{
    qsort(bench->samples_ns, bench->sample_count, sizeof(uint32_t), compare);
    double bytes = (double)bench->appended * (double)bench->batch.size;
    printf("%8s B x %-4s logs %-4d %8.1f MB/s %8.0f appends/s %7.0f commits/s  p50 %7.1f us  "
           "p99 %7.1f us  cpu %.3f s/GB (%.0f%%)  calls/commit %.2f  worker runs %" PRIu64 "\n",
           size, in_flight, bench->log_count, bytes / seconds / 1e6,
           (double)bench->appended / seconds, (double)stats->commits / seconds,
           bench->samples_ns[bench->sample_count / 2] / 1e3,
           bench->samples_ns[bench->sample_count / 100 * 99] / 1e3, cpu / (bytes / 1e9),
           cpu / seconds * 100, (double)bench->io->stats.system_calls / (double)stats->commits,
           io_uring_workers().runs);
}

static long number(const char *text)
{
    char *end = NULL;
    long value = strtol(text, &end, 10);
    if (end == text || *end || value <= 0) {
        fprintf(stderr, "log_bench: %s is not a positive number\n", text);
        exit(2);
    }
    return value;
}

int main(int argc, char **argv)
{
    if (argc < 5) {
        fprintf(stderr, "usage: log_bench DIRECTORY BATCH_BYTES IN_FLIGHT SECONDS [LOGS]\n");
        return 2;
    }
    struct bench bench = {.log_count = argc > 5 ? (int)number(argv[5]) : 1};
    CHECK(bench.log_count > 0 && bench.log_count <= LOGS_MAX);
    bench.samples_ns = malloc(SAMPLES_MAX * sizeof(uint32_t));
    CHECK(bench.samples_ns);
    const char *why = NULL;
    if (io_uring_create(1024, &bench.io, &why) != 0) {
        fprintf(stderr, "log_bench: %s\n", why);
        return 1;
    }
    struct pool *pool = pool_create(1 << 30);
    struct log_store *store = NULL;
    struct log_store_options options = {.io = bench.io,
                                        .pool = pool,
                                        .directory = argv[1],
                                        .tail_cache_bytes = 32 << 20,
                                        .read_cache_bytes = 64 << 20,
                                        .journal_bytes = 64 << 20,
                                        .direct = true};
    CHECK(log_store_open(&options, &store) == 0);
    make_batch(&bench, (size_t)number(argv[2]));
    open_logs(&bench, store);
    CHECK(log_store_begin(store, true) == 0);
    double cpu = cpu_seconds();
    uint64_t start = clock_monotonic_ns();
    run(&bench, (uint32_t)number(argv[3]), (double)number(argv[4]));
    double seconds = (double)(clock_monotonic_ns() - start) / 1e9;
    cpu = cpu_seconds() - cpu;
    struct log_store_stats stats = log_store_stats(store);
    report(&bench, &stats, seconds, cpu, argv[2], argv[3]);
    replay(&bench);
    CHECK(log_store_close(store) == 0);
    io_destroy(bench.io);
    pool_destroy(pool);
    return 0;
}
