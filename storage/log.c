// SPDX-License-Identifier: Apache-2.0
// One log, seen from outside: making it, appending, watching, asking for its offsets.
//
// start <= committed <= end. An append moves `end` at once; `committed` follows when commit.c has
// made the bytes durable; `start` follows trims and retention, also only when durable.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "storage/plant.h"
#include "storage/producers_snapshot.h"
#include "storage/store.h"

enum { UUID_TEXT_SIZE = 22 };

static void uuid_text(struct kp_uuid id, char to[UUID_TEXT_SIZE + 1])
{
    static const char digits[64] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint32_t bits = 0;
    uint32_t count = 0;
    size_t at = 0;
    for (size_t i = 0; i < sizeof(id.bytes); i++) {
        bits = bits << 8 | id.bytes[i];
        count += 8;
        for (; count >= 6; count -= 6)
            to[at++] = digits[bits >> (count - 6) & 63];
    }
    to[at++] = digits[bits << (6 - count) & 63];
    CHECK(at == UUID_TEXT_SIZE);
    to[at] = 0;
}

// A topic's name becomes a directory's.
static bool name_is_safe(struct span topic)
{
    bool dots = span_equal(topic, span_text(".")) || span_equal(topic, span_text(".."));
    return topic.size > 0 && topic.size <= 249 && !dots && !memchr(topic.data, '/', topic.size) &&
           !memchr(topic.data, 0, topic.size);
}

static void log_init(struct log *log, struct log_store *store, const struct log_config *config)
{
    log->store = store;
    log->producers_at = -1;
    tail_init(&log->tail, &store->cache);
    log_configure(log, config);
    list_init(&log->appends);
    list_init(&log->trims);
    list_init(&log->trims_writing);
    list_init(&log->watches);
    list_init(&log->reads_parked);
    for (int i = 0; i < LOG_READ_ENDS; i++)
        log->read_ends[i] = -1;
    list_init(&log->queue_node);
    list_init(&log->journal_node);
    list_init(&log->flush_node);
    log->journal.topic_id = log->topic_id;
    log->journal.partition = log->partition;
    list_append(&store->logs, &log->node);
}

char *log_directory(const struct log_store *store, struct log_name name)
{
    char *directory = NULL;
    char id[UUID_TEXT_SIZE + 1];
    uuid_text(name.topic_id, id);
    if (!name_is_safe(name.topic) || name.partition < 0 ||
        asprintf(&directory, "%s/%.*s/%d-%s", store->topics, (int)name.topic.size,
                 (const char *)name.topic.data, (int)name.partition, id) < 0)
        return NULL;
    return directory;
}

int log_make(struct log_store *store, struct log_name name, const struct log_config *config,
             struct log **out)
{
    if (!name_is_safe(name.topic) || name.partition < 0)
        return -EINVAL;
    struct log *log = calloc(1, sizeof(*log));
    if (!log)
        return -ENOMEM;
    log->topic = strndup((const char *)name.topic.data, name.topic.size);
    log->directory = log_directory(store, name);
    if (!log->topic || !log->directory) {
        free(log->topic);
        free(log->directory);
        free(log);
        return -ENOMEM;
    }
    log->topic_id = name.topic_id;
    log->partition = name.partition;
    log_init(log, store, config);
    *out = log;
    return 0;
}

int log_create(struct log_store *store, struct log_name name, const struct log_config *config,
               struct log **out)
{
    int error = log_make(store, name, config, out);
    if (!error)
        log_reserve(*out);
    return error;
}

void log_reserve(struct log *log)
{
    if (log->config.reserve_bytes <= 0 || log_active(log))
        return;
    log->tail.roll = true;
    commit_wake(log);
}

void log_free(struct log *log)
{
    CHECK(log->busy == 0 && log->flush_to == 0);
    scrub_forget(log);
    if (log->store->journal && log->deleting)
        journal_flushed(log->store->journal, &log->journal, UINT64_MAX);
    list_remove(&log->node);
    list_remove(&log->queue_node);
    tail_free(&log->tail);
    producers_free(&log->producers);
    for (uint32_t i = 0; i < log->segment_count; i++)
        segment_free(log->segments[i]);
    free(log->segments);
    free(log->damages);
    free(log->topic);
    free(log->directory);
    free(log);
}

void log_configure(struct log *log, const struct log_config *config)
{
    log->config = *config;
    // A segment holds at least its header and one frame; without a limit offsets run out first.
    if (log->config.segment_bytes <= 0)
        log->config.segment_bytes = INT64_MAX / 2;
    if (log->config.reserve_bytes < 0)
        log->config.reserve_bytes = 0;
    log->config.reserve_bytes &= ~(int64_t)(FORMAT_BLOCK - 1);
    space_limit_segments(log);
}

struct segment *log_active(const struct log *log)
{
    return log->segment_count > 0 ? log->segments[log->segment_count - 1] : NULL;
}

int log_reserve_segment(struct log *log)
{
    if (log->segment_count < log->segment_capacity)
        return 0;
    uint32_t capacity = log->segment_capacity ? log->segment_capacity * 2 : 2;
    struct segment **segments =
        realloc(log->segments, capacity * sizeof(*segments)); // NOLINT: array of pointers
    if (!segments)
        return -ENOMEM;
    log->segments = segments;
    log->segment_capacity = capacity;
    return 0;
}

void log_add_segment(struct log *log, struct segment *segment)
{
    CHECK(log->segment_count < log->segment_capacity);
    log->segments[log->segment_count++] = segment;
    log_segments_changed(log);
}

void log_segments_changed(struct log *log)
{
    log->sealed_bytes = 0;
    for (uint32_t i = 0; i + 1 < log->segment_count; i++)
        log->sealed_bytes += (int64_t)log->segments[i]->end;
}

int64_t log_segments_size(const struct log *log)
{
    const struct segment *active = log_active(log);
    return active ? log->sealed_bytes + (int64_t)active->end : 0;
}

void log_busy(struct log *log)
{
    log->busy++;
}

void log_unbusy(struct log *log)
{
    CHECK(log->busy > 0);
    if (--log->busy == 0 && log->deleting)
        delete_continue(log);
}

struct log_offsets log_offsets(const struct log *log)
{
    struct log_offsets offsets = {
        .start = log->start,
        .committed = log->committed,
        .end = log->end,
        .error = log->error,
    };
    offsets.size_bytes = log_segments_size(log);
    offsets.size_bytes += (int64_t)(log->tail.unflushed_bytes - log->tail.uncommitted_bytes);
    return offsets;
}

int log_note_damage(struct log *log, int64_t from, int64_t to)
{
    log->store->stats.damaged_frames++;
    if (from >= to)
        return 0;
    size_t count = (size_t)log->damage_count + 1;
    struct damage *damages = realloc(log->damages, count * sizeof(*damages));
    if (!damages)
        return -ENOMEM;
    log->damages = damages;
    uint32_t at = log->damage_count++;
    for (; at > 0 && damages[at - 1].from > from; at--)
        damages[at] = damages[at - 1];
    damages[at] = (struct damage){.from = from, .to = to};
    return 0;
}

bool log_damage_is_known(const struct log *log, int64_t from, int64_t to)
{
    // Ranges are kept in order.
    for (uint32_t i = 0; i < log->damage_count && from < to; i++) {
        if (log->damages[i].from <= from && from < log->damages[i].to)
            from = log->damages[i].to;
    }
    return from >= to;
}

int64_t log_skip_damage(const struct log *log, int64_t offset)
{
    // Ranges are kept in order.
    for (uint32_t i = 0; i < log->damage_count; i++) {
        if (offset >= log->damages[i].from && offset < log->damages[i].to)
            offset = log->damages[i].to;
    }
    return offset;
}

// --- append

static void append_refuse(struct log *log, struct log_append *op, int error)
{
    op->error = error;
    op->base_offset = -1;
    op->last_offset = -1;
    list_append(&log->store->ready.appends, &op->node);
    store_kick(log->store);
}

// The clock of the producers: it does not jump while the store is open, so that nobody is forgotten
// because somebody set the time.
int64_t log_producers_ms(const struct log *log)
{
    const struct log_store *store = log->store;
    return store->opened_ms + (int64_t)((store->io->now_ns - store->opened_ns) / 1000000);
}

// The batch is in the log already: the answer waits until that one is durable, if it is not yet.
static void append_repeated(struct log *log, struct log_append *op,
                            const struct producers_original *original)
{
    op->error = 0;
    op->base_offset = original->base_offset;
    op->last_offset = original->last_offset;
    op->duplicate = true;
    op->timestamp = original->max_timestamp;
    if (op->last_offset < log->committed) {
        list_append(&log->store->ready.appends, &op->node);
        store_kick(log->store);
        return;
    }
    struct list *behind = log->appends.prev;
    while (behind != &log->appends &&
           list_entry(behind, struct log_append, node)->last_offset > op->last_offset)
        behind = behind->prev;
    list_append(behind->next, &op->node);
    commit_wake(log);
}

static int producers_part(void *context, struct span part)
{
    struct log *log = context;
    return tail_control(&log->tail, FRAME_PRODUCERS, part, log->end) > 0 ? 0 : -ENOMEM;
}

// Parts that were appended before memory ran out count for nothing; all of them come again.
bool log_put_producers(struct log *log, size_t size)
{
    struct tail *tail = &log->tail;
    if (producers_count(&log->producers) == 0 || log->producers_at == log->end)
        return true;
    bool begins = tail_would_roll(tail, size, log->end);
    if (!begins && (tail->next.position == 0 || tail->next.segment_base != log->end))
        return true;
    if (begins)
        log->tail.roll = true;
    if (producers_snapshot_write(&log->producers, PRODUCERS_APPENDED, PRODUCERS_PART_MAX,
                                 producers_part, log) != 0)
        return false;
    log->producers_at = log->end;
    return true;
}

void log_append(struct log *log, struct span batch, const struct batch_header *header,
                int32_t leader_epoch, struct log_append *op)
{
    CHECK(batch.size == batch_total_size(header));
    op->duplicate = false;
    op->start = log->start;
    int error = log->store->closing ? -ESHUTDOWN : log->error;
    if (!error && log->config.reserve_bytes == 0 && space_is_tight(log->store))
        error = -ENOSPC;
    if (error) {
        append_refuse(log, op, error);
        return;
    }
    struct producers_original original;
    int64_t now_ms = log_producers_ms(log);
    int verdict =
        producers_check(&log->producers, header, now_ms, log->store->producer_expiry_ms, &original);
    if (verdict == PRODUCERS_DUPLICATE) {
        append_repeated(log, op, &original);
        return;
    }
    if (verdict < 0) {
        append_refuse(log, op, verdict);
        return;
    }
    int64_t base = log->end;
    int64_t last = base + header->last_offset_delta;
    uint8_t *copy = NULL;
    if (log_put_producers(log, batch.size))
        copy = tail_append(&log->tail, batch, base, last + 1, header->max_timestamp);
    if (!copy) {
        producers_refused(&log->producers, header, now_ms);
        flush_relieve(log->store);
        append_refuse(log, op, -ENOMEM);
        return;
    }
    batch_assign(copy, base, leader_epoch);
    producers_note(&log->producers, header, base, now_ms);
    log->end = last + 1;
    op->error = 0;
    op->base_offset = base;
    op->last_offset = last;
    list_append(planted(PLANT_ACK_BEFORE_COMMIT) ? &log->store->ready.appends : &log->appends,
                &op->node);
    commit_wake(log);
}

// --- recovery

int log_recovered(struct log *log, uint64_t next_sequence, const uint8_t *block)
{
    struct segment *active = log_active(log);
    log->tail.sequence = next_sequence;
    if (!active)
        return 0;
    segment_hold(active);
    segment_drop(active); // its descriptor counts as one that nobody uses
    struct tail_place place = {.position = active->end, .segment_base = active->header.base_offset};
    return tail_start_at(&log->tail, place, block);
}

static int restore_data(struct log *log, struct span batch)
{
    struct batch_header header;
    if (batch_header_read(batch, &header) != BATCH_OK || batch_total_size(&header) != batch.size)
        return -EIO;
    int64_t next = batch_last_offset(&header) + 1;
    if (!tail_append(&log->tail, batch, header.base_offset, next, header.max_timestamp))
        return -ENOMEM;
    log->end = next;
    return 0;
}

static void restored(struct log *log)
{
    struct chunk *chunk = NULL;
    for (struct tail_frame *frame = tail_waiting(&log->tail, &chunk); frame;
         frame = tail_after(&log->tail, frame, &chunk))
        tail_hold(&log->tail, frame);
    tail_commit(&log->tail);
    log->committed = log->end;
}

int log_restore_producers(struct log *log, size_t size)
{
    bool put = log_put_producers(log, size);
    restored(log);
    return put ? 0 : -ENOMEM;
}

int log_restore(struct log *log, enum frame_kind kind, int64_t base_offset, struct span payload)
{
    int error = 0;
    if (kind == FRAME_DATA)
        error = restore_data(log, payload);
    else if (tail_control(&log->tail, kind, payload, base_offset) == 0)
        error = -ENOMEM;
    restored(log);
    return error;
}

// --- watch

static void watch_fire(struct log_store *store, struct log_watch *watch)
{
    list_remove(&watch->node);
    list_append(&store->ready.watches, &watch->node);
    store_kick(store);
}

void log_fire(struct log *log)
{
    list_each(node, &log->watches)
        watch_fire(log->store, list_entry(node, struct log_watch, node));
}

static bool watch_is_due(const struct log *log, const struct log_watch *watch)
{
    return log->error || log->store->closing || log->committed > watch->offset ||
           log->start > watch->offset;
}

void log_changed(struct log *log)
{
    list_each(node, &log->watches) {
        struct log_watch *watch = list_entry(node, struct log_watch, node);
        if (watch_is_due(log, watch))
            watch_fire(log->store, watch);
    }
}

void log_watch(struct log *log, struct log_watch *watch)
{
    watch->set = true;
    list_append(&log->watches, &watch->node);
    if (watch_is_due(log, watch))
        watch_fire(log->store, watch);
}

void log_watch_cancel(struct log_watch *watch)
{
    if (!watch->set)
        return;
    watch->set = false;
    list_remove(&watch->node);
}
