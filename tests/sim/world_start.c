// SPDX-License-Identifier: Apache-2.0
// Starting and stopping: in order, by a crash of the program, by a crash of the machine.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "tests/sim/world.h"

enum { POOL_BYTES = 256 * 1024 * 1024, JOURNAL_FILE = 64 * 1024 };

static uint32_t shard_of(const struct world *world, struct kp_uuid id, int32_t partition)
{
    return (id.bytes[0] + (uint32_t)partition) % world->shard_count;
}

static bool owns(void *context, struct kp_uuid id, int32_t partition)
{
    struct world_shard *shard = context;
    struct world *world = shard->world;
    return shard_of(world, id, partition) == (uint32_t)(shard - world->shards);
}

// Errors of starting are for the checker to judge only when nothing was done to the machine.
static bool start_failed(struct world *world, int error, const char *what)
{
    if (!error)
        return false;
    world_say(world, "%s: %d", what, error);
    bool excused = world->faulty || sim_power_is_off(world->sim) || world->full;
    if (!excused)
        world_fail(world, "%s: %s", what, strerror(-error));
    return true;
}

static struct log_store_options choose_options(struct world *world)
{
    static const enum log_sync ways[] = {LOG_SYNC_AUTO, LOG_SYNC_DSYNC, LOG_SYNC_FSYNC};
    return (struct log_store_options){
        .directory = "/data",
        .tail_cache_bytes = world_chance(world, 3) ? 0 : world_random(world, 256 * 1024),
        .read_cache_bytes = world_chance(world, 3) ? 0 : world_random(world, 4 << 20),
        .direct = world->direct,
        .shard_count = world->shard_count,
        .owns = owns,
        .journal_bytes = world_chance(world, 6) ? 0 : (2 + world_random(world, 5)) * JOURNAL_FILE,
        .journal_file_bytes = JOURNAL_FILE,
        .compaction = {.enabled = true,
                       .map_bytes = 1 + world_random(world, 4096),
                       .backoff_ms = 1},
        .sync = ways[world_random(world, 3)],
    };
}

// What retention goes by, should the shard look at its clock now.
static int64_t time_of(const struct world *world, const struct io *io)
{
    int64_t most_ms = (int64_t)(io->now_ns / 1000000) + world->lead_ms;
    return io->wall_ms < most_ms ? io->wall_ms : most_ms;
}

int64_t world_latest_ms(const struct world *world)
{
    enum { ROUNDING_MS = 1 };
    int64_t latest_ms = time_of(world, sim_io(world->sim));
    for (uint32_t i = 0; i < WORLD_SHARDS; i++) {
        const struct io *io = world->shards[i].io;
        if (io && time_of(world, io) > latest_ms)
            latest_ms = time_of(world, io);
    }
    return latest_ms + ROUNDING_MS;
}

void world_tell_time(struct world *world)
{
    int64_t latest_ms = world_latest_ms(world);
    for (uint32_t i = 0; i < world->log_count; i++)
        checker_tell_time(&world->logs[i].checker, latest_ms);
}

static void lead_note(struct world_shard *shard)
{
    int64_t lead_ms = shard->io->wall_ms - (int64_t)(shard->io->now_ns / 1000000);
    if (shard->world->lead_ms < lead_ms)
        shard->world->lead_ms = lead_ms;
}

static bool stores_open(struct world *world)
{
    world_tell_time(world); // of the life before
    world->lead_ms = 0;
    world->direct = world_chance(world, 12) == world->cached;
    struct log_store_options options = choose_options(world);
    world_say(world, "start: %u shards, journal of %" PRIu64 " bytes", world->shard_count,
              options.journal_bytes);
    for (uint32_t i = 0; i < world->shard_count; i++) {
        struct world_shard *shard = &world->shards[i];
        shard->io = sim_io_at(world->sim, i);
        shard->world = world;
        shard->pool = pool_create(POOL_BYTES);
        CHECK(shard->pool);
        options.io = shard->io;
        options.pool = shard->pool;
        options.shard = i;
        options.owns_context = shard;
        lead_note(shard);
        int error = log_store_open(&options, &shard->store);
        lead_note(shard);
        if (start_failed(world, error, "opening a store")) {
            shard->store = NULL;
            return false;
        }
    }
    return true;
}

// What cannot be read at present counts as damaged: such a log is left alone in this life.
static void judge_recovery(struct world_log *log, const struct log_recovery *recovery)
{
    struct world *world = log->world;
    bool known = log->checker.damage_count > 0 || log->checker.end_damaged || log->table_damaged;
    if (recovery->damaged_ranges == 0 || known)
        return;
    if (!world->faulty && !sim_power_is_off(world->sim))
        world_fail(world, "%s: damage is reported where none is", log->name);
    log->log = NULL;
}

static bool log_start(struct world_log *log, bool *all_opened)
{
    struct world *world = log->world;
    log->shard = shard_of(world, log->id, log->partition);
    struct log_recovery recovery;
    struct log_name name = {span_text(log->topic), log->id, log->partition};
    int error = log_open(world->shards[log->shard].store, name, &log->config, &log->log, &recovery);
    world_say(world, "%s opened: %d", log->name, error);
    if (!error) {
        world_compare(log);
        judge_recovery(log, &recovery);
        return true;
    }
    log->log = NULL;
    *all_opened = false;
    // A broker goes on without the log.
    return !start_failed(world, error, "opening a log") ||
           (!sim_power_is_off(world->sim) && world_chance(world, 2));
}

static bool logs_open(struct world *world, bool *all_opened)
{
    for (uint32_t i = 0; i < world->log_count; i++) {
        const struct world_log *log = &world->logs[i];
        struct log_name name = {span_text(log->topic), log->id, log->partition};
        if (log->exists && world_chance(world, 2))
            log_expect(world->shards[shard_of(world, log->id, log->partition)].store, name);
    }
    for (uint32_t i = 0; i < world->log_count; i++) {
        if (world->logs[i].exists && !log_start(&world->logs[i], all_opened))
            return false;
    }
    return true;
}

static bool logs_verify(struct world *world)
{
    for (uint32_t i = 0; i < world->log_count; i++) {
        struct world_log *log = &world->logs[i];
        if (!log->log)
            continue;
        struct log_offsets offsets = log_offsets(log->log);
        world_say(world, "%s: %" PRId64 " to %" PRId64 ", %d", log->name, offsets.start,
                  offsets.committed, offsets.error);
        if (offsets.error && (world->faulty || sim_power_is_off(world->sim))) {
            log->log = NULL; // left alone in this life
            continue;
        }
        world_tell_time(world);
        checker_restarted(&log->checker, offsets.start, offsets.committed, offsets.end,
                          offsets.error);
        if (!world_read_all(log))
            return false;
        checker_verified(&log->checker, offsets.start);
    }
    return true;
}

bool world_start(struct world *world)
{
    bool all_opened = true;
    world->counts[COUNT_LIVES]++;
    if (!stores_open(world) || !logs_open(world, &all_opened))
        return false;
    for (uint32_t i = 0; i < world->shard_count; i++) {
        int error = log_store_settle(world->shards[i].store);
        all_opened = all_opened && error <= 0;
        if (start_failed(world, error < 0 ? error : 0, "settling"))
            return false;
    }
    for (uint32_t i = 0; i < world->shard_count; i++) {
        int error = log_store_begin(world->shards[i].store, all_opened);
        if (start_failed(world, error, "beginning the journal"))
            return false;
    }
    return !sim_power_is_off(world->sim) && logs_verify(world);
}

static int stores_close(struct world *world)
{
    int error = 0;
    for (uint32_t i = 0; i < WORLD_SHARDS; i++) {
        struct world_shard *shard = &world->shards[i];
        if (shard->store) {
            world->counts[COUNT_COMPACTIONS] += log_store_stats(shard->store).compactions;
            int one = log_store_close(shard->store);
            error = error ? error : one;
        }
        shard->store = NULL;
        if (shard->pool)
            pool_destroy(shard->pool);
        shard->pool = NULL;
    }
    for (uint32_t i = 0; i < world->log_count; i++)
        world->logs[i].log = NULL;
    if (world->in_flight > 0)
        world_fail(world, "a store is closed and %u operations have not ended", world->in_flight);
    return error;
}

static void faults_clear(struct world *world)
{
    for (int kind = 0; kind <= IO_SHUTDOWN; kind++)
        sim_fail(world->sim, (enum io_kind)kind, 0, 0, false);
    world->faulty = false;
}

// What a failed sync of cached writes has lost is still read until the machine stops: mostly it is
// the program alone that ends then.
static bool machine_ends(struct world *world, bool usually)
{
    return world->faulty && !world->direct ? world_chance(world, 4) : usually;
}

void world_stop(struct world *world)
{
    world_say(world, "stop");
    world->stopping = true;
    int error = stores_close(world);
    world->stopping = false;
    bool off = sim_power_is_off(world->sim);
    bool excused = world->faulty || off || world->full;
    if (error && !excused)
        world_fail(world, "closing a store: %s", strerror(-error));
    if (sim_open_files(world->sim) > 0 && !excused)
        world_fail(world, "%u files stay open", sim_open_files(world->sim));
    world->clean = !off && !error && !world->faulty;
    bool machine = off || machine_ends(world, world_chance(world, 2));
    faults_clear(world);
    if (machine)
        sim_restart(world->sim);
    else
        sim_restart_process(world->sim);
}

void world_crash(struct world *world)
{
    bool machine = machine_ends(world, !world_chance(world, 4));
    world_say(world, "crash of the %s", machine ? "machine" : "program");
    world->counts[COUNT_CRASHES]++;
    sim_power_off(world->sim, 0);
    stores_close(world);
    world->clean = false;
    faults_clear(world);
    if (machine)
        sim_restart(world->sim);
    else
        sim_restart_process(world->sim);
}
