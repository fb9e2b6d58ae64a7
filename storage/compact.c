// SPDX-License-Identifier: Apache-2.0
// Compaction of one log: its sealed segments are replaced, one or several neighbours at a time, by
// a file that has the last record of each key.
//
//   NOTING    the keys of what is dirty go into the map, until it is full or all is seen
//   COPYING   what stays of a group of segments goes into "<base>.log.cleaning"
//   FINISHING that file is made durable
//   SWAPPING  (compact_swap.c) it takes the place of the group's first segment, the others go;
//             then COPYING goes on with the next group, and after the last one NOTING with what did
//             not fit into the map
//
// 1. Only sealed segments, all of them committed, are touched, and only whole ones are replaced.
//    Until the moment of the rename nothing that counts has changed: any failure (no space, no
//    memory, a bad device) ends the compaction, its file goes, and it is tried again later.
// 2. A segment with damage is left alone. It is named once, when it is met. Tombstones above it get
//    no date, so that they stay: what they delete may still be readable in it.
// 3. The sources stay held and open from before they are read until they are out of the log's list:
//    a reader that has one goes on with the old file. While they are held nobody removes them.
// 4. The last batch of a file stays, if need be without records, so that the file's last batch
//    always reaches to its end. So does the last batch of each producer (Kafka keeps it, too).
// 5. The loop is not held up: after STEP_BYTES of work, or one batch that is larger, the others
//    have their turn. What is read and written is paid for at bytes_per_second.
// 6. A segment that is clean already is read first, and written only if something in it has to go.
// 7. What the last of them says of producers (compaction keeps one batch of each) must be in the
//    active one before it is touched.
#include "storage/compact_engine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/log_line.h"
#include "base/random.h"

enum {
    STEP_BYTES = 64 * 1024,
    MAP_BYTES = 32 * 1024 * 1024,
    BACKOFF_MS = 15000,
    SPACE_MS = 500, // how often to look after the space in reserve
    PAUSE_MS = 50,  // how far ahead of its allowance a compaction may be
};

static const uint64_t ns_per_ms = 1000000;

void compact_init(struct compactor *compactor, const struct log_compaction *options)
{
    *compactor = (struct compactor){
        .enabled = options->enabled,
        .map_bytes = options->map_bytes ? options->map_bytes : MAP_BYTES,
        .bytes_per_second = options->bytes_per_second,
        .backoff_ns = (options->backoff_ms ? options->backoff_ms : BACKOFF_MS) * ns_per_ms,
    };
}

// When space is tight, what can be gained is gained soon.
static uint64_t next_look_ns(const struct log_store *store)
{
    uint64_t wait_ns = store->compactor.backoff_ns;
    if (space_is_tight(store) && wait_ns > SPACE_MS * ns_per_ms)
        wait_ns = SPACE_MS * ns_per_ms;
    return store->io->now_ns + wait_ns;
}

// --- the end

static void end(struct compaction *compaction)
{
    struct log *log = compaction->log;
    compact_release_group(compaction);
    compact_reader_close(&compaction->reader);
    compact_writer_drop(&compaction->writer);
    compact_batch_free(&compaction->work);
    compact_map_free(&compaction->map);
    log->store->compactor.running = NULL;
    space_compacted(log->store);
    free(compaction);
    retain_wake(log);
    log_unbusy(log);
}

static void removed(struct io_op *op)
{
    struct compaction *compaction = list_entry(op, struct compaction, op);
    struct log_store *store = compaction->store;
    store_enter(store);
    end(compaction);
    store_leave(store);
}

// Ends before the rename: the file that was being written goes.
static enum compact_progress give_up(struct compaction *compaction)
{
    if (compaction->writer.state == COMPACT_WRITER_CLOSED ||
        compaction->writer.state == COMPACT_WRITER_OPENING) {
        end(compaction);
        return COMPACT_ENDED;
    }
    compaction->op.done = removed;
    io_unlink(compaction->store->io, &compaction->op, compaction->writer.path, false);
    return COMPACT_WAITS;
}

enum compact_progress compact_fail(struct compaction *compaction, int error)
{
    enum { EVERY_S = 600 };
    const struct log *log = compaction->log;
    struct compactor *compactor = &compaction->store->compactor;
    uint64_t now_ns = compaction->store->io->now_ns;
    space_note(compaction->log, error);
    compactor->idle_until_ns = next_look_ns(compaction->store);
    bool told = compactor->told_ns > 0 && now_ns - compactor->told_ns <= EVERY_S * 1000 * ns_per_ms;
    if (error != -ESHUTDOWN && !told) {
        compactor->told_ns = now_ns;
        log_line(LOG_WARN, "%s-%d cannot be compacted for now: %s", log->topic, (int)log->partition,
                 strerror(-error));
    }
    return give_up(compaction);
}

// The next look at the log leaves the segment out.
static enum compact_progress meet_damage(struct compaction *compaction)
{
    struct segment *segment = compaction->reader.segment;
    segment->damaged = true;
    compaction->store->stats.damaged_frames++;
    log_line(LOG_ERROR,
             "%s/%020lld.log is damaged at byte %llu, behind offset %lld: it is not compacted",
             segment->log->directory, (long long)segment->header.base_offset,
             (unsigned long long)compaction->reader.position,
             (long long)compaction->reader.next_offset - 1);
    return give_up(compaction);
}

// Until log_store_compact is called at that time or later.
static enum compact_progress pause(struct compaction *compaction, uint64_t until_ns)
{
    compaction->paused = true;
    compaction->resume_ns = until_ns;
    return COMPACT_WAITS;
}

// --- noting keys

// The first segment that reaches beyond `offset`, or NULL.
static struct segment *segment_beyond(const struct log *log, int64_t offset)
{
    for (uint32_t i = 0; i + 1 < log->segment_count; i++)
        if (log->segments[i]->next_offset > offset)
            return log->segments[i];
    return NULL;
}

static enum compact_progress copying_begin(struct compaction *compaction)
{
    compact_reader_close(&compaction->reader);
    compaction->phase = COMPACT_COPYING;
    compaction->at = 0;
    compaction->rules.map = &compaction->map;
    compaction->rules.map_end = compaction->map_end;
    return COMPACT_GOES_ON;
}

// The map is full: the pass ends before the segment that did not fit, or, when it is the first one,
// inside of it.
static enum compact_progress map_full(struct compaction *compaction,
                                      const struct batch_header *header)
{
    const struct segment *segment = compaction->reader.segment;
    int64_t dirty_from = compaction->plan.dirty_from;
    if (segment->header.base_offset > dirty_from) {
        compaction->map_end = segment->header.base_offset;
    } else if (header->base_offset > dirty_from) {
        compaction->map_end = header->base_offset;
    } else {
        // One batch has more keys than there is room for. It counts as seen; what it deletes is not
        // known for certain.
        compaction->map_end = batch_last_offset(header) + 1;
        compaction->rules.delete_horizon_ms = -1;
    }
    return copying_begin(compaction);
}

static enum compact_progress note_batch(struct compaction *compaction, struct span batch)
{
    struct batch_header header;
    CHECK(batch_header_read(batch, &header) == BATCH_OK);
    compaction->stepped += batch.size;
    if (batch_last_offset(&header) < compaction->plan.dirty_from)
        return COMPACT_GOES_ON;
    int error = compact_batch_note(&compaction->work, batch, &compaction->map);
    compaction->stepped += compaction->work.arena.used;
    if (error == -ENOSPC)
        return map_full(compaction, &header);
    return error ? compact_fail(compaction, error) : COMPACT_GOES_ON;
}

static enum compact_progress note_next(struct compaction *compaction)
{
    struct compact_reader *reader = &compaction->reader;
    struct span batch;
    if (!reader->segment) {
        struct segment *segment = segment_beyond(compaction->log, compaction->at);
        if (!segment || segment->header.base_offset >= compaction->plan.clean_to) {
            compaction->map_end = compaction->plan.clean_to;
            return copying_begin(compaction);
        }
        compaction->at = segment->next_offset;
        if (!segment->bad && !segment->damaged)
            compact_reader_open(reader, segment);
        return COMPACT_GOES_ON;
    }
    switch (compact_reader_next(reader, &batch)) {
    case COMPACT_READ_BATCH:
        return note_batch(compaction, batch);
    case COMPACT_READ_WAIT:
        return COMPACT_WAITS;
    case COMPACT_READ_END:
        compact_reader_close(reader);
        return COMPACT_GOES_ON;
    case COMPACT_READ_DAMAGED:
        return meet_damage(compaction);
    case COMPACT_READ_FAILED:
        break;
    }
    return compact_fail(compaction, reader->error);
}

// --- copying

static bool may_join(const struct compaction *compaction, const struct segment *segment)
{
    const struct log *log = compaction->log;
    return segment->sealed && !segment->bad && !segment->damaged &&
           segment->next_offset > log->start && segment->header.base_offset < compaction->map_end &&
           segment->next_offset <= compaction->plan.clean_to;
}

// Its index is being written, its space given back, or it is about to go: which may fail, and a
// pass that left it out would give dates to tombstones whose values it still has.
static bool is_settling(const struct segment *segment)
{
    const struct log *log = segment->log;
    return (log->removing && segment == log->segments[0]) || segment->sealing ||
           segment->ahead.running;
}

// Takes the next segments that can become one file. False when the first of them must be waited
// for.
static bool group_take(struct compaction *compaction)
{
    const struct log *log = compaction->log;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i + 1 < log->segment_count; i++) {
        struct segment *segment = log->segments[i];
        if (segment->header.base_offset < compaction->at)
            continue;
        bool joins = may_join(compaction, segment);
        if (compaction->group_count == 0 && !joins)
            continue;
        bytes += segment->end;
        if (joins && is_settling(segment))
            return compaction->group_count > 0;
        if (!joins || compaction->group_count == COMPACT_GROUP_MAX ||
            (compaction->group_count > 0 && bytes > (uint64_t)log->config.segment_bytes))
            break;
        segment->compacting = true;
        segment_hold(segment);
        compaction->group[compaction->group_count++] = segment;
    }
    return true;
}

static enum compact_progress pass_end(struct compaction *compaction)
{
    struct compact_plan *plan = &compaction->plan;
    compaction->store->stats.compactions++;
    if (compaction->map_end >= plan->clean_to) {
        end(compaction);
        return COMPACT_ENDED;
    }
    plan->dirty_from = compaction->map_end;
    compact_map_clear(&compaction->map);
    compaction->rules.delete_horizon_ms = compaction->delete_horizon_ms;
    compaction->phase = COMPACT_NOTING;
    compaction->at = plan->dirty_from;
    return COMPACT_GOES_ON;
}

static enum compact_progress group_begin(struct compaction *compaction)
{
    if (!group_take(compaction))
        return pause(compaction, compaction->store->io->now_ns + ns_per_ms);
    if (compaction->group_count == 0)
        return pass_end(compaction);
    const struct segment_header *first = &compaction->group[0]->header;
    const struct segment *last = compaction->group[compaction->group_count - 1];
    compaction->at = last->next_offset;
    compaction->group_at = 0;
    compaction->dry = compaction->group_count == 1 && first->cleaned_to > 0 &&
                      first->dirty_from == first->cleaned_to;
    compaction->header = *first;
    compaction->header.log_start = compaction->log->start;
    compaction->header.created_ms = last->header.created_ms;
    compaction->header.alignment = FORMAT_ALIGNMENT;
    compaction->header.cleaned_to = last->next_offset;
    compaction->header.dirty_from =
        last->next_offset < compaction->map_end ? last->next_offset : compaction->map_end;
    return COMPACT_GOES_ON;
}

// Whether the batch has to keep its place even without records.
static bool keeps_place(const struct compaction *compaction, const struct batch_header *header)
{
    const struct log *log = compaction->log;
    int64_t last_offset = batch_last_offset(header);
    return last_offset + 1 == compaction->header.cleaned_to ||
           producers_is_last(&log->producers, header->producer_id, last_offset, log->committed);
}

static enum compact_progress copy_batch(struct compaction *compaction, struct span batch)
{
    struct batch_header header;
    struct span out;
    CHECK(batch_header_read(batch, &header) == BATCH_OK);
    int error = compact_batch_thin(&compaction->work, &compaction->rules, batch,
                                   keeps_place(compaction, &header), &out);
    compaction->stepped += batch.size + compaction->work.arena.used;
    if (error)
        return compact_fail(compaction, error);
    if (compaction->dry && out.data == batch.data)
        return COMPACT_GOES_ON;
    if (compaction->dry) {
        compact_reader_close(&compaction->reader);
        compaction->dry = false;
        return COMPACT_GOES_ON;
    }
    compaction->out = out;
    return COMPACT_GOES_ON;
}

static enum compact_progress write_batch(struct compaction *compaction)
{
    struct batch_header header;
    CHECK(batch_header_read(compaction->out, &header) == BATCH_OK);
    int did = compact_writer_add(&compaction->writer, compaction->out, &header);
    if (did < 0)
        return compact_fail(compaction, did);
    if (did == 0)
        return COMPACT_WAITS;
    compaction->out = span_of(NULL, 0);
    return COMPACT_GOES_ON;
}

static enum compact_progress source_end(struct compaction *compaction)
{
    compact_reader_close(&compaction->reader);
    if (++compaction->group_at < compaction->group_count)
        return COMPACT_GOES_ON;
    if (compaction->dry)
        compact_release_group(compaction);
    else
        compaction->phase = COMPACT_FINISHING;
    return COMPACT_GOES_ON;
}

static enum compact_progress copy_next(struct compaction *compaction)
{
    struct compact_reader *reader = &compaction->reader;
    struct span batch;
    if (compaction->out.size > 0)
        return write_batch(compaction);
    if (compaction->group_count == 0)
        return group_begin(compaction);
    if (!compaction->dry) {
        int did = compact_writer_open(&compaction->writer, compaction->log, &compaction->header);
        if (did <= 0)
            return did < 0 ? compact_fail(compaction, did) : COMPACT_WAITS;
    }
    if (!reader->segment)
        compact_reader_open(reader, compaction->group[compaction->group_at]);
    switch (compact_reader_next(reader, &batch)) {
    case COMPACT_READ_BATCH:
        return copy_batch(compaction, batch);
    case COMPACT_READ_WAIT:
        return COMPACT_WAITS;
    case COMPACT_READ_END:
        return source_end(compaction);
    case COMPACT_READ_DAMAGED:
        return meet_damage(compaction);
    case COMPACT_READ_FAILED:
        break;
    }
    return compact_fail(compaction, reader->error);
}

static enum compact_progress finish_next(struct compaction *compaction)
{
    int did = compact_writer_finish(&compaction->writer, compaction->header.cleaned_to);
    if (did <= 0)
        return did < 0 ? compact_fail(compaction, did) : COMPACT_WAITS;
    compaction->phase = COMPACT_SWAPPING;
    return compact_swap(compaction);
}

// --- steps

// What was read and written is paid for; false when that is too far ahead of the clock.
static bool is_paid(struct compaction *compaction)
{
    struct log_store *store = compaction->store;
    struct compactor *compactor = &store->compactor;
    uint64_t read = compaction->reader.read_bytes;
    uint64_t written = compaction->writer.written_bytes;
    compaction->reader.read_bytes = 0;
    compaction->writer.written_bytes = 0;
    store->stats.compacted_bytes_read += read;
    store->stats.compacted_bytes_written += written;
    if (compactor->bytes_per_second == 0)
        return true;
    if (compactor->paid_ns < store->io->now_ns)
        compactor->paid_ns = store->io->now_ns;
    compactor->paid_ns +=
        (uint64_t)((double)(read + written) * 1e9 / (double)compactor->bytes_per_second);
    return compactor->paid_ns <= store->io->now_ns + PAUSE_MS * ns_per_ms;
}

// While space is tight, only the logs that are state are compacted.
static bool must_spare(const struct log *log)
{
    return log->config.reserve_bytes == 0 && space_is_tight(log->store);
}

static enum compact_progress step(struct compaction *compaction)
{
    if (compaction->phase == COMPACT_SWAPPING)
        return COMPACT_WAITS;
    if (compaction->log->deleting || compaction->store->closing)
        return give_up(compaction);
    if (must_spare(compaction->log))
        return compact_fail(compaction, -ENOSPC);
    if (!is_paid(compaction))
        return pause(compaction, compaction->store->compactor.paid_ns);
    switch (compaction->phase) {
    case COMPACT_NOTING:
        return note_next(compaction);
    case COMPACT_COPYING:
        return copy_next(compaction);
    case COMPACT_FINISHING:
        return finish_next(compaction);
    case COMPACT_SWAPPING:
        break;
    }
    return COMPACT_WAITS;
}

static void turn_done(struct io_op *op)
{
    compact_advance(list_entry(op, struct compaction, op));
}

void compact_go_on(struct compaction *compaction)
{
    compaction->op.done = turn_done;
    io_nop(compaction->store->io, &compaction->op);
}

void compact_advance(struct compaction *compaction)
{
    struct log_store *store = compaction->store;
    enum compact_progress progress = COMPACT_GOES_ON;
    store_enter(store);
    compaction->stepped = 0;
    while (progress == COMPACT_GOES_ON && compaction->stepped < STEP_BYTES)
        progress = step(compaction);
    if (progress == COMPACT_GOES_ON)
        compact_go_on(compaction);
    store_leave(store);
}

static void reader_resume(struct compact_reader *reader)
{
    compact_advance(list_entry(reader, struct compaction, reader));
}

static void writer_resume(struct compact_writer *writer)
{
    compact_advance(list_entry(writer, struct compaction, writer));
}

// --- the beginning

static int64_t horizon(const struct log *log, const struct compact_plan *plan)
{
    int64_t now_ms = store_time_ms(log->store);
    if (!plan->whole)
        return -1;
    return log->config.delete_retention_ms < INT64_MAX - now_ms
               ? now_ms + log->config.delete_retention_ms
               : INT64_MAX;
}

static void begin(struct log *log, const struct compact_plan *plan)
{
    struct log_store *store = log->store;
    struct compactor *compactor = &store->compactor;
    struct compaction *compaction = calloc(1, sizeof(*compaction));
    uint64_t seed;
    random_system(&seed, sizeof(seed));
    if (!compaction || compact_map_init(&compaction->map, compactor->map_bytes,
                                        (uint64_t)(plan->clean_to - plan->dirty_from), seed)) {
        free(compaction);
        compactor->idle_until_ns = next_look_ns(store);
        return;
    }
    compaction->store = store;
    compaction->log = log;
    compaction->plan = *plan;
    compaction->phase = COMPACT_NOTING;
    compaction->at = plan->dirty_from;
    compaction->delete_horizon_ms = horizon(log, plan);
    compaction->rules.delete_horizon_ms = compaction->delete_horizon_ms;
    compaction->rules.now_ms = store_time_ms(store);
    compaction->reader.resume = reader_resume;
    compaction->writer.resume = writer_resume;
    compact_batch_init(&compaction->work);
    compactor->running = compaction;
    log_busy(log);
    compact_go_on(compaction);
}

// Rule 7.
static bool is_needed(const struct segment *segment)
{
    const struct log *log = segment->log;
    return segment->next_offset == log_active(log)->header.base_offset &&
           !retain_has_producers(log);
}

static struct compact_extent extent_of(const struct segment *segment)
{
    const struct log *log = segment->log;
    return (struct compact_extent){
        .base_offset = segment->header.base_offset,
        .next_offset = segment->next_offset,
        .bytes = segment->end,
        .newest_ms =
            segment->max_timestamp >= 0 ? segment->max_timestamp : segment->header.created_ms,
        .created_ms = segment->header.created_ms,
        .cleaned_to = segment->header.cleaned_to,
        .dirty_from = segment->header.dirty_from,
        .sealed = segment->sealed && segment->next_offset <= log->committed && !is_needed(segment),
        .damaged = segment->bad || segment->damaged,
    };
}

static struct compact_plan plan_for(const struct log *log)
{
    struct compact_plan none = {0};
    bool tight = space_is_tight(log->store);
    if (must_spare(log) || !log->config.compact || log->error || log->deleting ||
        log->segment_count < 2)
        return none;
    struct compact_extent *extents = calloc(log->segment_count, sizeof(*extents));
    if (!extents)
        return none;
    for (uint32_t i = 0; i < log->segment_count; i++)
        extents[i] = extent_of(log->segments[i]);
    struct compact_limits limits = {
        .log_start = log->start,
        .now_ms = store_time_ms(log->store),
        .min_dirty_ratio = tight ? 0 : log->config.min_dirty_ratio,
        .min_lag_ms = log->config.min_compaction_lag_ms,
        .max_lag_ms =
            log->config.max_compaction_lag_ms > 0 ? log->config.max_compaction_lag_ms : INT64_MAX,
    };
    struct compact_plan plan = compact_select(extents, log->segment_count, &limits);
    free(extents);
    return plan;
}

// Internal logs first, then what has waited for too long, then what has most to gain.
static double urgency(const struct log *log, const struct compact_plan *plan)
{
    return plan->ratio + (plan->overdue ? 2 : 0) + (log->config.reserve_bytes > 0 ? 4 : 0);
}

static void roll_old(struct log *log)
{
    const struct segment *active = log_active(log);
    if (!log->config.compact || log->config.max_compaction_lag_ms <= 0 || !active || log->error ||
        log->deleting || !segment_has_records(active))
        return;
    if (store_time_ms(log->store) - active->header.created_ms < log->config.max_compaction_lag_ms)
        return;
    log->tail.roll = true;
    flush_want(log);
    commit_wake(log);
}

static void look(struct log_store *store)
{
    struct log *best = NULL;
    struct compact_plan best_plan = {0};
    list_each(node, &store->logs) {
        struct log *log = list_entry(node, struct log, node);
        roll_old(log);
        struct compact_plan plan = plan_for(log);
        if (plan.due && (!best || urgency(best, &best_plan) < urgency(log, &plan))) {
            best = log;
            best_plan = plan;
        }
    }
    if (best)
        begin(best, &best_plan);
    else
        store->compactor.idle_until_ns = next_look_ns(store);
}

void compact_run(struct log_store *store)
{
    struct compactor *compactor = &store->compactor;
    if (!compactor->wanted || compactor->running)
        return;
    compactor->wanted = false;
    if (compactor->enabled && !store->closing)
        look(store);
}

void compact_stop(struct log_store *store)
{
    struct compaction *running = store->compactor.running;
    if (!running || !running->paused)
        return;
    running->paused = false;
    compact_go_on(running);
}

uint64_t log_store_compact(struct log_store *store)
{
    struct compactor *compactor = &store->compactor;
    uint64_t now_ns = store->io->now_ns;
    struct compaction *running = compactor->running;
    if (store->closing)
        return now_ns + compactor->backoff_ns;
    space_tick(store);
    if (!compactor->enabled)
        return now_ns + SPACE_MS * ns_per_ms;
    if (running && running->paused && running->resume_ns <= now_ns) {
        running->paused = false;
        compact_go_on(running);
    } else if (!running && compactor->idle_until_ns <= now_ns) {
        look(store);
    }
    if (compactor->running)
        return now_ns + PAUSE_MS * ns_per_ms;
    uint64_t next_ns = store->ballast.bytes > 0 ? now_ns + SPACE_MS * ns_per_ms : UINT64_MAX;
    return compactor->idle_until_ns < next_ns ? compactor->idle_until_ns : next_ns;
}
