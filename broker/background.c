// SPDX-License-Identifier: Apache-2.0
// Timers. Every shard: once a second the store may verify as many bytes as the setting says, and
// when it asks for it, it compacts.
// Shard 0: asks all shards for the counters of their stores, one message there and back each, adds
// them up and prints what has changed since the last line; nothing when nothing has.
//
// 1. `stats` belongs to its own shard, except between the delivery of `ask` and its way back.
// 2. One round of asking at a time: the timer is set again when all answers are there.
// 3. What is on its way when the loops end is not delivered; nobody waits for it.
#include "broker/background.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/log_line.h"
#include "broker/config.h"
#include "broker/server.h"
#include "broker/shard.h"

static const uint64_t ns_per_ms = 1000000;

enum { SCRUB_INTERVAL_MS = 1000 };

struct background {
    struct shard *shard;
    struct timer scrub_timer;
    struct timer compact_timer;
    struct message ask;
    struct log_store_stats stats;
    // Shard 0's.
    struct timer stats_timer;
    uint32_t answers;
    struct log_store_stats told; // sum of all shards at the last line
    uint64_t told_runs;          // of the kernel's workers
    uint64_t told_ns;
};

// --- statistics -------------------------------------------------------------------------------

// The counters are all of one type, so they are added and compared as an array.
enum { COUNTERS = sizeof(struct log_store_stats) / sizeof(uint64_t) };

union counters {
    struct log_store_stats stats;
    uint64_t all[COUNTERS];
};

_Static_assert(sizeof(union counters) == sizeof(struct log_store_stats), "counters are uint64_t");

static void add(union counters *sum, const struct log_store_stats *stats)
{
    union counters one = {.stats = *stats};
    for (size_t i = 0; i < COUNTERS; i++)
        sum->all[i] += one.all[i];
}

static double mb(uint64_t bytes)
{
    return (double)bytes / 1e6;
}

static void print(const struct log_store_stats *now, double seconds, uint64_t runs)
{
    log_line(LOG_INFO,
             "storage, %.0f s: %" PRIu64 " commits of %.1f MB; journal %" PRIu64
             " (%.1f MB written), segments %.1f MB written, of these %" PRIu64
             " flushes (%.1f MB); reads from memory %" PRIu64 " (%.1f MB), cache %" PRIu64
             " (%.1f MB), disk %" PRIu64 " (%.1f MB); device reads %" PRIu64 " (%.1f MB), %" PRIu64
             " ahead; scrubbed %.1f MB; compacted %.1f MB (%.1f MB written); damage %" PRIu64
             ", read errors %" PRIu64 ", write errors %" PRIu64
             "; operations moved to kernel threads %" PRIu64,
             seconds, now->commits, mb(now->committed_bytes), now->journal_commits,
             mb(now->journal_bytes), mb(now->written_bytes), now->flushes, mb(now->flushed_bytes),
             now->memory_reads, mb(now->memory_read_bytes), now->cache_reads,
             mb(now->cache_read_bytes), now->disk_reads, mb(now->disk_read_bytes),
             now->device_reads, mb(now->device_read_bytes), now->read_ahead,
             mb(now->scrubbed_bytes), mb(now->compacted_bytes_read),
             mb(now->compacted_bytes_written), now->damaged_frames, now->read_errors,
             now->write_errors, runs);
}

// All shards have left their counters.
static void tell(struct background *background)
{
    struct shard *shard = background->shard;
    union counters sum = {0};
    for (uint32_t i = 0; i < shard_count(shard); i++)
        add(&sum, &shard_by_index(shard, i)->background->stats);
    union counters since = sum;
    union counters told = {.stats = background->told};
    uint64_t changes = 0;
    for (size_t i = 0; i < COUNTERS; i++) {
        since.all[i] -= told.all[i];
        changes |= since.all[i];
    }
    uint64_t now_ns = shard->io->now_ns;
    uint64_t runs = io_uring_workers().runs;
    uint64_t moved = runs > background->told_runs ? runs - background->told_runs : 0;
    if (changes > 0)
        print(&since.stats, (double)(now_ns - background->told_ns) / 1e9, moved);
    background->told = sum.stats;
    background->told_runs = runs;
    background->told_ns = now_ns;
}

static void set_stats_timer(struct background *background)
{
    struct shard *shard = background->shard;
    uint64_t interval_ms = (uint64_t)config_number(shard->config, SETTING_STATS_INTERVAL_MS);
    // Without memory the last line will have to do.
    (void)timer_set(&shard->timers, &background->stats_timer,
                    shard->io->now_ns + interval_ms * ns_per_ms);
}

static void answer_here(struct shard *here, struct message *message)
{
    (void)message;
    struct background *background = here->background;
    if (++background->answers < shard_count(here))
        return;
    background->answers = 0;
    if (here->ended)
        return;
    tell(background);
    set_stats_timer(background);
}

static void ask_here(struct shard *here, struct message *message)
{
    struct background *background = list_entry(message, struct background, ask);
    background->stats = log_store_stats(here->store);
    message->deliver = answer_here;
    shard_post(here, shard_by_index(here, 0), message);
}

static void stats_due(struct timer *timer)
{
    struct shard *shard = list_entry(timer, struct background, stats_timer)->shard;
    for (uint32_t i = 0; i < shard_count(shard); i++) {
        struct shard *to = shard_by_index(shard, i);
        to->background->ask.deliver = ask_here;
        shard_post(shard, to, &to->background->ask);
    }
}

void background_last_line(struct shard *shard)
{
    if (shard->background->told_ns > 0)
        tell(shard->background);
}

// --- the scrub --------------------------------------------------------------------------------

static uint64_t scrub_bytes(const struct shard *shard)
{
    uint64_t rate = (uint64_t)config_number(shard->config, SETTING_SCRUB_BYTES_PER_SECOND);
    return rate * SCRUB_INTERVAL_MS / 1000 / shard_count(shard);
}

static int set_scrub_timer(struct background *background)
{
    struct shard *shard = background->shard;
    return timer_set(&shard->timers, &background->scrub_timer,
                     shard->io->now_ns + SCRUB_INTERVAL_MS * ns_per_ms);
}

static void scrub_due(struct timer *timer)
{
    struct background *background = list_entry(timer, struct background, scrub_timer);
    log_store_scrub(background->shard->store, scrub_bytes(background->shard));
    if (set_scrub_timer(background))
        log_line(LOG_ERROR, "the scrub stops until the next start: out of memory");
}

// --- compaction -------------------------------------------------------------------------------

static int set_compact_timer(struct background *background, uint64_t due_ns)
{
    struct shard *shard = background->shard;
    uint64_t earliest_ns = shard->io->now_ns + ns_per_ms;
    return timer_set(&shard->timers, &background->compact_timer,
                     due_ns > earliest_ns ? due_ns : earliest_ns);
}

static void compact_due(struct timer *timer)
{
    struct background *background = list_entry(timer, struct background, compact_timer);
    if (set_compact_timer(background, log_store_compact(background->shard->store)))
        log_line(LOG_ERROR, "compaction stops until the next start: out of memory");
}

// --- life -------------------------------------------------------------------------------------

int background_create(struct shard *shard)
{
    struct background *background = calloc(1, sizeof(*background));
    if (!background)
        return -1;
    background->shard = shard;
    background->scrub_timer.expired = scrub_due;
    background->compact_timer.expired = compact_due;
    background->stats_timer.expired = stats_due;
    shard->background = background;
    return 0;
}

void background_destroy(struct shard *shard)
{
    free(shard->background);
    shard->background = NULL;
}

int background_start(struct shard *shard)
{
    struct background *background = shard->background;
    int error = scrub_bytes(shard) > 0 ? set_scrub_timer(background) : 0;
    if (!error)
        error = set_compact_timer(background, 0);
    if (shard->index > 0 || error)
        return error;
    background->told_ns = shard->io->now_ns;
    background->told_runs = io_uring_workers().runs;
    if (config_number(shard->config, SETTING_STATS_INTERVAL_MS) > 0)
        set_stats_timer(background);
    return 0;
}

void background_stop(struct shard *shard)
{
    struct background *background = shard->background;
    timer_cancel(&shard->timers, &background->scrub_timer);
    timer_cancel(&shard->timers, &background->compact_timer);
    timer_cancel(&shard->timers, &background->stats_timer);
    if (shard->store)
        background->stats = log_store_stats(shard->store);
}
