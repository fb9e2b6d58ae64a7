// SPDX-License-Identifier: Apache-2.0
// What happens in a history: everything is drawn from the seed.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "tests/sim/world.h"

void world_turn(struct world *world)
{
    enum { IDLE_NS = 1000000 };
    if (!sim_pass(world->sim))
        sim_advance(world->sim, IDLE_NS);
    uint32_t first = (uint32_t)world_random(world, world->shard_count);
    for (uint32_t i = 0; i < world->shard_count; i++)
        io_run(world->shards[(first + i) % world->shard_count].io, 0);
}

void world_settle(struct world *world)
{
    while (world->in_flight > 0)
        world_turn(world);
}

static void report(void *context, const char *text)
{
    world_fail(context, "%s", text);
}

// --- logs

static void choose_config(struct world_log *log)
{
    struct world *world = log->world;
    struct log_config *config = &log->config;
    config->segment_bytes = 8192 + (int64_t)world_random(world, 120000);
    config->segment_ms = world_chance(world, 3) ? 2000 : -1;
    config->retention_bytes = world_chance(world, 4) ? (int64_t)world_random(world, 200000) : -1;
    config->retention_ms = world_chance(world, 4) ? 2000 : -1;
    if (log->checker.compacted) {
        config->compact = true;
        config->min_dirty_ratio = (double)world_random(world, 6) / 10;
        config->max_compaction_lag_ms = world_chance(world, 3) ? 1000 : 0;
        config->min_compaction_lag_ms = world_chance(world, 3) ? 1000 : 0;
        config->delete_retention_ms = (int64_t)world_random(world, 3000);
        config->segment_bytes = 4096 + (int64_t)world_random(world, 30000);
        config->retention_bytes = -1;
    }
    config->reserve_bytes = world_chance(world, 8) ? 65536 : 0;
    log->checker.sized |= config->retention_bytes >= 0;
    if (config->retention_ms >= 0)
        log->checker.retention_ms = config->retention_ms;
    if (config->retention_bytes >= 0 || config->retention_ms >= 0)
        log->checker.retention = true;
}

// A log of this name begins a new life, with a new identity.
static void log_renew(struct world_log *log)
{
    struct world *world = log->world;
    if (log->life > 0)
        checker_free(&log->checker);
    log->life++;
    uint32_t number = (uint32_t)(log - world->logs);
    snprintf(log->topic, sizeof(log->topic), "topic-%u", number / 2);
    log->partition = (int32_t)(number % 2);
    log->id = (struct kp_uuid){{(uint8_t)(number / 2), (uint8_t)log->life, 1, 2, 3}};
    snprintf(log->name, sizeof(log->name), "%s-%d.%u", log->topic, (int)log->partition, log->life);
    checker_init(&log->checker, log->name, (struct checker_report){report, world});
    log->exists = true;
    log->config = (struct log_config){0};
    log->checker.compacted = log->checker.keyed = world_chance(world, 3);
    choose_config(log);
    log->producers_unsure = false;
    world_producers_begin(log);
    world_say(world, "%s begins%s%s", log->name, log->checker.compacted ? ", compacted" : "",
              log->checker.retention ? ", with retention" : "");
}

void world_create(struct world_log *log)
{
    struct world *world = log->world;
    log_renew(log);
    log->shard = (log->id.bytes[0] + (uint32_t)log->partition) % world->shard_count;
    struct log_name name = {span_text(log->topic), log->id, log->partition};
    int error = log_create(world->shards[log->shard].store, name, &log->config, &log->log);
    world_say(world, "%s created: %d", log->name, error);
    if (error)
        world_fail(world, "%s cannot be created: %s", log->name, strerror(-error));
}

// --- steps

static struct world_log *choose_log(struct world *world)
{
    struct world_log *log = &world->logs[world_random(world, world->log_count)];
    if (!log->log && !log->exists && !log->deleting && log->users == 0 && world_chance(world, 4))
        world_create(log);
    return log->log ? log : NULL;
}

static void some_appends(struct world *world)
{
    for (uint64_t i = world_random(world, 8); i < 8; i++) {
        struct world_log *log = choose_log(world);
        for (uint64_t k = log ? 1 + world_random(world, 3) : 0; k > 0; k--) {
            if (world_chance(world, 2))
                world_produce(log);
            else
                world_append(log);
        }
    }
}

static void some_time(struct world *world)
{
    sim_advance(world->sim, world_random(world, 1500) * 1000000);
    for (uint32_t i = 0; i < world->shard_count; i++)
        log_store_compact(world->shards[i].store);
    for (uint32_t i = 0; i < world->log_count; i++) {
        struct world_log *log = &world->logs[i];
        if (!log->log)
            continue;
        log_retain(log->log);
        world_show(log);
    }
    for (uint32_t i = 0; i < world->shard_count; i++)
        log_store_scrub(world->shards[i].store, world_random(world, 4 << 20));
}

static void some_fault(struct world *world)
{
    static const enum io_kind kinds[] = {IO_OPEN,     IO_CLOSE,  IO_READ,   IO_WRITE,
                                         IO_WRITE,    IO_SYNC,   IO_SYNC,   IO_ALLOCATE,
                                         IO_TRUNCATE, IO_RENAME, IO_UNLINK, IO_MKDIR};
    enum io_kind kind = kinds[world_random(world, sizeof(kinds) / sizeof(kinds[0]))];
    // Through the cache these two leave what is read and was never saved.
    if (world->cached && world_chance(world, 2))
        kind = world_chance(world, 2) ? IO_SYNC : IO_WRITE;
    int error = -EIO;
    if (kind == IO_OPEN && world_chance(world, 2))
        error = -EMFILE;
    if ((kind == IO_WRITE || kind == IO_ALLOCATE) && world_chance(world, 3))
        error = -ENOSPC;
    uint64_t nth = 1 + world_random(world, 12);
    bool for_ever = world_chance(world, 4) && error == -EIO;
    world->faulty = true;
    world->counts[COUNT_FAULTS]++;
    world_say(world, "fault: kind %d, number %" PRIu64 ", %d%s", (int)kind, nth, error,
              for_ever ? ", for ever" : "");
    sim_fail(world->sim, kind, nth, error, for_ever);
}

static void disk_full(struct world *world)
{
    if (world->full) {
        world_say(world, "there is space");
        sim_set_capacity(world->sim, 0);
        // What has found no space already may still be about to say so.
        for (int i = 0; i < 40; i++)
            world_turn(world);
        world_settle(world);
        world->full = false;
        return;
    }
    uint64_t capacity = sim_used_bytes(world->sim) + world_random(world, 200000);
    world_say(world, "space for %" PRIu64 " bytes", capacity);
    world->full = true;
    world->counts[COUNT_FULL]++;
    sim_set_capacity(world->sim, capacity);
}

static void clock_jump(struct world *world)
{
    int64_t ms = (int64_t)world_random(world, 7200000) - 3600000;
    world_tell_time(world);
    world_say(world, "the clock jumps by %" PRId64 " ms", ms);
    sim_jump(world->sim, ms);
}

static void rare_step(struct world *world)
{
    struct world_log *log = choose_log(world);
    switch (world_random(world, 16)) {
    case 0:
    case 1:
    case 2:
        if (log)
            world_trim(log);
        break;
    case 3:
        if (log && log->users == 0)
            world_delete(log);
        break;
    case 4:
        some_fault(world);
        break;
    case 5:
    case 6:
        disk_full(world);
        break;
    case 7:
        clock_jump(world);
        break;
    case 8:
        if (log) {
            choose_config(log);
            log_configure(log->log, &log->config);
        }
        break;
    default:
        world_settle(world);
        break;
    }
}

static void one_step(struct world *world)
{
    struct world_log *log = choose_log(world);
    uint64_t kind = world_random(world, 32);
    if (kind < 10)
        some_appends(world);
    else if (kind < 20)
        world_turn(world);
    else if (kind < 24 && log)
        world_read(log);
    else if (kind < 26 && log)
        world_look_up(log);
    else if (kind < 29)
        some_time(world);
    else if (kind < 31)
        rare_step(world);
    else if (log)
        world_show(log);
}

// --- a history

static void damage_sometimes(struct world *world)
{
    if (!world_chance(world, 8) || world->inspecting)
        return;
    if (world_chance(world, 4)) {
        world_damage_journal(world);
        return;
    }
    struct world_log *log = &world->logs[world_random(world, world->log_count)];
    if (log->exists && log->checker.damage_count == 0)
        world_damage(log);
}

static void one_life(struct world *world)
{
    damage_sometimes(world);
    world->shard_count = 1 + (uint32_t)world_random(world, WORLD_SHARDS);
    bool clean = world_chance(world, 4);
    world_inspect(world);
    if (world_chance(world, 3)) {
        sim_power_off(world->sim, 1 + world_random(world, 60));
        clean = false;
    }
    // What cannot be read at a start counts as lost until it is repaired, so that does not fail.
    if (world_chance(world, 16)) {
        some_fault(world);
        sim_fail(world->sim, IO_READ, 0, 0, false);
    }
    if (!world_start(world)) {
        world->counts[COUNT_RECOVERY_CRASHES]++;
        world_crash(world);
        return;
    }
    if (!clean)
        sim_power_off(world->sim, 1 + world_random(world, 600));
    if (world->cached && world_chance(world, 4))
        some_fault(world);
    for (uint64_t i = 20 + world_random(world, 60); i > 0 && !sim_power_is_off(world->sim); i--)
        one_step(world);
    if (clean)
        world_stop(world);
    else
        world_crash(world);
}

// Without any fault everything works again.
static void last_life(struct world *world)
{
    sim_set_capacity(world->sim, 0);
    world->full = false;
    world->shard_count = 1 + (uint32_t)world_random(world, WORLD_SHARDS);
    world_inspect(world);
    if (!world_start(world))
        world_fail(world, "the last start fails");
    for (uint32_t i = 0; i < world->log_count; i++) {
        struct world_log *log = &world->logs[i];
        for (int k = 0; log->log && k < 4; k++) {
            world_append(log);
            world_produce(log);
            world_settle(world);
        }
    }
    if (world->inspecting && world_chance(world, 2))
        world_crash(world);
    else
        world_stop(world);
}

static void world_free(struct world *world)
{
    for (uint32_t i = 0; i < world->log_count; i++)
        checker_free(&world->logs[i].checker);
    content_builder_free(&world->builder);
    sim_destroy(world->sim);
}

void world_history(struct world *world, uint64_t seed, FILE *out)
{
    world_begin(world, seed, out);
    content_builder_init(&world->builder);
    world->shard_count = 1;
    world->log_count = 2 + (uint32_t)world_random(world, WORLD_LOGS - 1);
    world->cached = world_chance(world, 6);
    for (uint32_t i = 0; i < world->log_count; i++) {
        world->logs[i].world = world;
        log_renew(&world->logs[i]);
    }
    for (uint64_t lives = 2 + world_random(world, 4); lives > 0; lives--)
        one_life(world);
    last_life(world);
    world_ruin(world);
    world_free(world);
}
