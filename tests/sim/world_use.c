// SPDX-License-Identifier: Apache-2.0
// What the users of a log do, and what they tell the checker.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "tests/sim/world.h"

static void begin(struct world_log *log)
{
    log->users++;
    log->world->in_flight++;
}

static void end(struct world_log *log)
{
    log->users--;
    log->world->in_flight--;
}

// Whether the log may answer so, given what was done to the machine.
bool world_may_fail(const struct world_log *log, int error)
{
    const struct world *world = log->world;
    if (world->faulty || sim_power_is_off(world->sim))
        return true;
    if (log->checker.end_damaged)
        return true;
    if (log->deleting && error == -ESHUTDOWN)
        return true;
    return world->full && error == -ENOSPC;
}

void world_show(struct world_log *log)
{
    struct log_offsets offsets = log_offsets(log->log);
    world_tell_time(log->world);
    checker_shown(&log->checker, offsets.start, offsets.committed, offsets.end);
    if (offsets.error && !world_may_fail(log, offsets.error))
        world_fail(log->world, "%s accepts nothing: %s", log->name, strerror(-offsets.error));
}

// --- append

struct appending {
    struct log_append op;
    struct world_log *log;
    struct attempt *attempt;
    struct content content;
    struct world_sender sender;
};

// The log says that it has the batch already: then it must be where it says.
static void check_duplicate(const struct appending *appending)
{
    const struct world_log *log = appending->log;
    const struct log_append *op = &appending->op;
    struct attempt *attempt = checker_find(&log->checker, op->base_offset);
    log->world->counts[COUNT_DUPLICATES]++;
    if (!attempt && op->base_offset < log->checker.start)
        return;
    if (!attempt || attempt->base != op->base_offset || attempt->last != op->last_offset ||
        attempt->content.id != appending->content.id)
        world_fail(log->world,
                   "%s calls a batch a duplicate of offset %" PRId64 ", which it is not", log->name,
                   op->base_offset);
    if (!op->error)
        attempt->exposed = true;
}

static void append_done(struct log_append *op)
{
    struct appending *appending = list_entry(op, struct appending, op);
    struct world_log *log = appending->log;
    struct world *world = log->world;
    world->counts[op->error ? COUNT_FAILED : COUNT_ACKED]++;
    const struct batch_producer *producer = &appending->content.producer;
    world_say(world, "%s append %" PRId64 " to %" PRId64 " of %" PRId64 "/%d/%d: %d%s", log->name,
              op->base_offset, op->last_offset, producer->id, (int)producer->epoch,
              (int)producer->base_sequence, op->error, op->duplicate ? ", duplicate" : "");
    if (appending->attempt)
        checker_append_done(&log->checker, appending->attempt, op->error);
    else if (op->duplicate)
        check_duplicate(appending);
    else if (!op->error)
        world_fail(world, "%s acknowledges what it gave no offset", log->name);
    if (appending->sender.ended)
        appending->sender.ended(log, appending->sender.producer, appending->content.id, op->error,
                                op->duplicate, op->base_offset);
    else if (op->error && !world_may_fail(log, op->error))
        world_fail(world, "%s refuses a record: %s", log->name, strerror(-op->error));
    end(log);
    free(appending);
}

static uint32_t choose_value_bytes(struct world *world)
{
    switch (world_random(world, 40)) {
    case 0:
        return 30000 + (uint32_t)world_random(world, 60000);
    case 1:
    case 2:
    case 3:
        return 2000 + (uint32_t)world_random(world, 8000);
    default:
        return (uint32_t)world_random(world, 400);
    }
}

struct content world_content(struct world_log *log)
{
    struct world *world = log->world;
    struct content content = {
        .id = ++world->next_content,
        .records = 1 + (int32_t)world_random(world, 4),
        .value_bytes = choose_value_bytes(world),
        .timestamp = log->world->shards[log->shard].io->wall_ms,
        .timestamp_step = (int32_t)world_random(world, 5) - 1,
        .keys = log->checker.keyed ? CONTENT_KEYS_MAX : 0,
        .producer = {.id = -1, .epoch = -1, .base_sequence = -1},
    };
    if (world_chance(world, 8))
        content.timestamp -= (int64_t)world_random(world, 3000);
    if (content.timestamp < 10)
        content.timestamp = 10;
    if (world_chance(world, 16))
        content.codec = world_chance(world, 2) ? CODEC_LZ4 : CODEC_ZSTD;
    return content;
}

static void note_attempt(struct appending *appending, const struct content *content,
                         struct span batch)
{
    struct world_log *log = appending->log;
    uint8_t *stored = malloc(batch.size);
    CHECK(stored);
    memcpy(stored, batch.data, batch.size);
    batch_assign(stored, appending->op.base_offset, WORLD_EPOCH);
    appending->attempt =
        checker_append(&log->checker, content, appending->op.base_offset, appending->op.last_offset,
                       span_of(stored, batch.size), world_latest_ms(log->world));
    free(stored);
}

bool world_send(struct world_log *log, const struct content *content, struct world_sender sender)
{
    struct world *world = log->world;
    struct span batch = content_build(&world->builder, content);
    struct batch_header header;
    CHECK(batch_check(batch, &header) == BATCH_OK);
    struct appending *appending = calloc(1, sizeof(*appending));
    CHECK(appending);
    appending->log = log;
    appending->content = *content;
    appending->sender = sender;
    appending->op.done = append_done;
    begin(log);
    world->counts[COUNT_APPENDS]++;
    log_append(log->log, batch, &header, WORLD_EPOCH, &appending->op);
    if (appending->op.error || appending->op.base_offset < 0 || appending->op.duplicate)
        return false;
    note_attempt(appending, content, batch);
    return true;
}

void world_append(struct world_log *log)
{
    struct content content = world_content(log);
    world_send(log, &content, (struct world_sender){0});
}

// --- read

struct reading {
    struct log_read op;
    struct world_log *log;
    int64_t committed; // when it was asked
    bool waited;       // somebody waits and frees it
    bool done;
    int64_t next;
};

static void check_nothing(const struct reading *reading)
{
    const struct log_read *op = &reading->op;
    if (op->size == 0 && op->offset < reading->committed && op->at_least_one)
        world_fail(reading->log->world, "%s: nothing at offset %" PRId64 " below %" PRId64,
                   reading->log->name, op->offset, reading->committed);
}

static void check_error(const struct reading *reading)
{
    const struct log_read *op = &reading->op;
    struct world_log *log = reading->log;
    if (world_may_fail(log, op->error) || checker_may_be_damaged(&log->checker, op->offset))
        return;
    if (op->error == -ERANGE && op->offset < op->offsets.start)
        return;
    if (op->error == -ESHUTDOWN && log->world->stopping)
        return;
    world_fail(log->world, "%s: reading offset %" PRId64 ": %s", log->name, op->offset,
               strerror(-op->error));
}

static void read_done(struct log_read *op)
{
    struct reading *reading = list_entry(op, struct reading, op);
    struct world_log *log = reading->log;
    world_say(log->world, "%s read %" PRId64 ": %d, %" PRIu64 " bytes", log->name, op->offset,
              op->error, op->size);
    reading->next = op->offset;
    if (op->error) {
        check_error(reading);
    } else {
        check_nothing(reading);
        log->checker.device_failed = log->world->faulty;
        world_tell_time(log->world);
        reading->next = checker_read(&log->checker, op->offset, op->slices, op->slice_count);
        if (reading->next > op->offsets.committed)
            world_fail(log->world,
                       "%s: a read gives %" PRId64 ", above the high watermark %" PRId64, log->name,
                       reading->next - 1, op->offsets.committed);
        checker_shown(&log->checker, op->offsets.start, op->offsets.committed, op->offsets.end);
    }
    log_read_release(op);
    reading->done = true;
    end(log);
    if (!reading->waited)
        free(reading);
}

static struct reading *read_start(struct world_log *log, int64_t offset, uint32_t max_bytes,
                                  bool waited)
{
    struct reading *reading = calloc(1, sizeof(*reading));
    CHECK(reading);
    reading->log = log;
    reading->waited = waited;
    reading->committed = log_offsets(log->log).committed;
    reading->op = (struct log_read){
        .done = read_done, .offset = offset, .max_bytes = max_bytes, .at_least_one = true};
    begin(log);
    log->world->counts[COUNT_READS]++;
    log_read(log->log, &reading->op);
    return reading;
}

void world_read(struct world_log *log)
{
    struct world *world = log->world;
    struct log_offsets offsets = log_offsets(log->log);
    uint64_t range = (uint64_t)(offsets.committed - offsets.start) + 1;
    int64_t offset = offsets.start + (int64_t)world_random(world, range);
    if (world_chance(world, 4))
        offset = offsets.committed - (int64_t)world_random(world, range < 3 ? range : 3);
    read_start(log, offset, 1 + (uint32_t)world_random(world, 40000), false);
}

bool world_read_all(struct world_log *log)
{
    struct world *world = log->world;
    int64_t at = log_offsets(log->log).start;
    int64_t to = log_offsets(log->log).committed;
    uint32_t max_bytes = 1 + (uint32_t)world_random(world, 200000);
    while (at < to) {
        struct reading *reading = read_start(log, at, max_bytes, true);
        while (!reading->done)
            world_turn(world);
        int error = reading->op.error;
        int64_t next = reading->next;
        free(reading);
        if (error && !checker_may_be_damaged(&log->checker, at))
            return false;
        if (!error && next == at)
            world_fail(world, "%s: nothing at offset %" PRId64, log->name, at);
        at = error ? at + 1 : next;
    }
    return true;
}

// --- time

struct looking {
    struct log_time_lookup op;
    struct world_log *log;
    int64_t committed; // when it was asked
};

static void look_up_done(struct log_time_lookup *op)
{
    struct looking *looking = list_entry(op, struct looking, op);
    struct world_log *log = looking->log;
    world_say(log->world, "%s look up %" PRId64 ": %d, %" PRId64, log->name, op->timestamp,
              op->error, op->offset);
    bool closed = op->error == -ESHUTDOWN && log->world->stopping;
    if (op->error && !closed && !world_may_fail(log, op->error) && log->checker.damage_count == 0)
        world_fail(log->world, "%s: looking for time %" PRId64 ": %s", log->name, op->timestamp,
                   strerror(-op->error));
    if (!op->error)
        checker_time(&log->checker, op->timestamp,
                     log->deleting ? INT64_MAX : log_offsets(log->log).start, looking->committed,
                     op->offset, op->found_timestamp);
    end(log);
    free(looking);
}

void world_look_up(struct world_log *log)
{
    struct world *world = log->world;
    struct looking *looking = calloc(1, sizeof(*looking));
    CHECK(looking);
    looking->log = log;
    looking->committed = log_offsets(log->log).committed;
    looking->op.done = look_up_done;
    looking->op.timestamp = LOG_TIME_MAX;
    if (!world_chance(world, 4) && log->checker.count > 0) {
        const struct attempt *near = log->checker.attempts[world_random(world, log->checker.count)];
        looking->op.timestamp = near->content.timestamp - 2 + (int64_t)world_random(world, 5);
    }
    begin(log);
    world->counts[COUNT_LOOKUPS]++;
    log_find_time(log->log, &looking->op);
}

// --- trim

struct trimming {
    struct log_trim op;
    struct world_log *log;
};

static void trim_done(struct log_trim *op)
{
    struct trimming *trimming = list_entry(op, struct trimming, op);
    struct world_log *log = trimming->log;
    world_say(log->world, "%s trim %" PRId64 ": %d, %" PRId64, log->name, op->offset, op->error,
              op->start);
    if (!op->error)
        checker_trimmed(&log->checker, op->offset, op->start);
    else if (!world_may_fail(log, op->error))
        world_fail(log->world, "%s: a trim to %" PRId64 " fails: %s", log->name, op->offset,
                   strerror(-op->error));
    end(log);
    free(trimming);
}

void world_trim(struct world_log *log)
{
    struct log_offsets offsets = log_offsets(log->log);
    uint64_t range = (uint64_t)(offsets.committed - offsets.start) + 1;
    struct trimming *trimming = calloc(1, sizeof(*trimming));
    CHECK(trimming);
    trimming->log = log;
    trimming->op.done = trim_done;
    trimming->op.offset = offsets.start + (int64_t)world_random(log->world, range);
    if (log->checker.start_asked < trimming->op.offset)
        log->checker.start_asked = trimming->op.offset;
    begin(log);
    log->world->counts[COUNT_TRIMS]++;
    log_trim(log->log, &trimming->op);
}

// --- delete and create

struct deleting {
    struct log_delete op;
    struct world_log *log;
};

static void delete_done(struct log_delete *op)
{
    struct deleting *deleting = list_entry(op, struct deleting, op);
    struct world_log *log = deleting->log;
    world_say(log->world, "%s deleted: %d", log->name, op->error);
    if (op->error && !world_may_fail(log, op->error))
        world_fail(log->world, "%s cannot be deleted: %s", log->name, strerror(-op->error));
    log->deleting = false;
    end(log);
    free(deleting);
}

// As a broker does: that the topic is gone is remembered elsewhere, so nobody opens it again.
void world_delete(struct world_log *log)
{
    struct deleting *deleting = calloc(1, sizeof(*deleting));
    CHECK(deleting);
    deleting->log = log;
    deleting->op.done = delete_done;
    begin(log);
    log->world->counts[COUNT_DELETES]++;
    log->deleting = true;
    log->exists = false;
    world_say(log->world, "%s is deleted", log->name);
    struct log *gone = log->log;
    log->log = NULL;
    log_delete(gone, &deleting->op);
}
