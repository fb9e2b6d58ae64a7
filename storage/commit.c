// SPDX-License-Identifier: Apache-2.0
// The group commit: makes the tails of a store's logs durable. These rules of the storage design
// are kept here:
//
// Rule 1. Appended >= committed; consumers see only committed records; the high watermark is the
//    committed offset. `committed` moves in write_finish only, when a frame is durable.
// Rule 2. An acknowledgement follows the commit of its bytes, never precedes it. Appends are
//    completed in write_finish only (or failed).
// Rule 3. Bytes of an acknowledged record are never rewritten. A frame is written at the end of the
//    durable ones, starts on a block of its own, and the end only moves forward.
// Rule 5. A failing write or sync is never retried as if nothing had happened: the log stops
//    accepting, the error is named, and what is on disk is established anew when it is opened next.
//
// Further invariants, on which recovery depends:
// a. A log has at most one frame on its way to the device. Sequence numbers grow by one with every
//    frame, so a frame found behind a bad one proves that the bad one was durable once.
// b. A frame is written only into a segment file that is itself durable (create.c).
//
// A round takes every log that has something to commit, writes one frame of each, all submitted
// together, and ends when all of them are complete; what arrives meanwhile makes the next round.
// There is no timer: the linger is the device's own latency.
//
//              append, trim                 file or space missing
//      IDLE ----------------> DIRTY -round-> PARKED
//        ^                      |               | there now: DIRTY again
//        |                      v               | not possible: everything uncommitted fails
//        +------ complete -- WRITING            v
//
// A log without space (or memory, or descriptors) fails what is uncommitted and stays usable:
// offsets given to the failed appends are given again. After any other error it accepts nothing.
#include <errno.h>
#include <string.h>

#include "base/check.h"
#include "base/endian.h"
#include "base/log_line.h"
#include "storage/store.h"

static bool has_work(const struct log *log)
{
    struct chunk *chunk;
    if (!list_empty(&log->trims))
        return true;
    // tail_first does not change the tail; only what it returns lets others do so.
    return tail_first((struct tail *)(uintptr_t)&log->tail, &chunk) || log->roll_wanted;
}

void commit_wake(struct log *log)
{
    if (log->commit != COMMIT_IDLE || log->deleting)
        return;
    log->commit = COMMIT_DIRTY;
    list_append(&log->store->dirty, &log->dirty_node);
    store_kick(log->store);
}

void commit_unpark(struct log *log)
{
    CHECK(log->commit == COMMIT_PARKED);
    log->commit = COMMIT_IDLE;
    commit_wake(log);
}

// --- failure

static bool may_pass(int error)
{
    return error == -ENOSPC || error == -ENOMEM;
}

static int error_kind(int error)
{
    if (error == -ENOSPC || error == -EDQUOT)
        return -ENOSPC;
    if (error == -ENOMEM || error == -EMFILE || error == -ENFILE)
        return -ENOMEM;
    return -EIO;
}

static void fail_trims(struct log *log, struct list *trims, int error)
{
    for (struct list *node; (node = list_pop(trims));) {
        struct log_trim *trim = list_entry(node, struct log_trim, node);
        trim->error = error;
        trim->start = log->start;
        list_append(&log->store->ready.trims, &trim->node);
    }
}

static void fail_operations(struct log *log, int error)
{
    for (struct list *node; (node = list_pop(&log->appends));) {
        struct log_append *append = list_entry(node, struct log_append, node);
        append->error = error;
        list_append(&log->store->ready.appends, &append->node);
    }
    fail_trims(log, &log->trims, error);
    fail_trims(log, &log->trims_writing, error);
    store_kick(log->store);
}

void commit_abandon(struct log *log)
{
    if (log->commit == COMMIT_DIRTY) {
        list_remove(&log->dirty_node);
        log->commit = COMMIT_IDLE;
    }
    fail_operations(log, -ESHUTDOWN);
}

// A full device fails the appends of many logs, again and again: one line a minute says so.
static void tell_for_now(struct log *log, int error, const char *what)
{
    enum { EVERY_S = 60 };
    struct log_store *store = log->store;
    uint64_t now_ns = store->io->now_ns;
    if (store->told_ns > 0 && now_ns - store->told_ns < EVERY_S * UINT64_C(1000000000))
        return;
    store->told_ns = now_ns;
    log_line(LOG_WARN, "%s-%d accepts nothing for now: %s: %s", log->topic, (int)log->partition,
             what, strerror(-error));
}

void commit_fail(struct log *log, int error, const char *what)
{
    CHECK(log->commit != COMMIT_WRITING && log->commit != COMMIT_DIRTY);
    log->commit = COMMIT_IDLE;
    int kind = log->deleting ? -ESHUTDOWN : error_kind(error);
    if (!log->deleting)
        tail_drop(&log->tail);
    producers_rollback(&log->producers, log->committed);
    log->end = log->committed;
    log->roll_wanted = false;
    fail_operations(log, kind);
    if (log->deleting)
        return;
    if (may_pass(kind)) {
        tell_for_now(log, error, what);
        return;
    }
    log_line(LOG_ERROR, "%s-%d accepts nothing any more: %s: %s", log->topic, (int)log->partition,
             what, strerror(-error));
    log->error = kind;
    log_changed(log);
}

// --- a frame is durable

static void finish_appends(struct log *log)
{
    while (!list_empty(&log->appends)) {
        struct log_append *append = list_entry(log->appends.next, struct log_append, node);
        if (append->last_offset >= log->committed)
            break;
        list_remove(&append->node);
        append->error = 0;
        list_append(&log->store->ready.appends, &append->node);
    }
}

static void finish_trims(struct log *log)
{
    if (log->start < log->write.start)
        log->start = log->write.start;
    fail_trims(log, &log->trims_writing, 0);
    retain_wake(log);
}

static void write_finish(struct log *log)
{
    struct log_store *store = log->store;
    struct commit_write *write = &log->write;
    store->stats.commits++;
    store->stats.written_bytes += write->frame.stored_size;
    segment_extend(write->segment, &write->frame, false);
    log->sequence++;
    if (write->frame.kind == FRAME_DATA) {
        store->stats.committed_bytes += write->frame.payload_size;
        tail_commit(&log->tail);
        tail_cache_evict(&store->cache, store->cache.limit_bytes);
        log->committed = write->frame.next_offset;
        producers_commit(&log->producers, log->committed);
        finish_appends(log);
    } else {
        finish_trims(log);
    }
    ahead_keep(write->segment, write->frame.stored_size);
    checkpoint_look(log, false);
    log_changed(log);
}

static void write_done(struct io_op *op)
{
    struct log *log = list_entry(op, struct log, write.op);
    struct log_store *store = log->store;
    struct commit_write *write = &log->write;
    store_enter(store);
    store->commits_running--;
    log->commit = COMMIT_IDLE;
    if (log->deleting) {
        commit_fail(log, -ESHUTDOWN, "deleting");
    } else if (op->result != (int64_t)write->frame.stored_size) {
        store->stats.write_errors++;
        commit_fail(log, op->result < 0 ? (int)op->result : -EIO, "writing a segment");
    } else {
        write_finish(log);
    }
    if (write->control)
        buffer_unref(write->control);
    write->control = NULL;
    segment_drop(write->segment);
    if (has_work(log))
        commit_wake(log);
    log_unbusy(log);
    store_leave(store);
}

// --- writing a frame

static int64_t highest_trim(const struct log *log)
{
    int64_t start = log->start;
    list_each(node, &log->trims) {
        const struct log_trim *trim = list_entry(node, struct log_trim, node);
        if (start < trim->offset)
            start = trim->offset;
    }
    return start;
}

// The bytes of the frame that moves the log start; NULL without memory.
static uint8_t *seal_control(struct log *log, struct frame_header *frame)
{
    struct commit_write *write = &log->write;
    write->control = pool_get(log->store->pool, FORMAT_BLOCK);
    if (!write->control)
        return NULL;
    uint8_t *bytes = write->control->data;
    memset(bytes, 0, FORMAT_BLOCK);
    write->start = highest_trim(log);
    store_le64(bytes + FRAME_HEADER_SIZE, (uint64_t)write->start);
    list_splice(&log->trims_writing, &log->trims);
    *frame = (struct frame_header){
        .kind = FRAME_LOG_START,
        .payload_size = 8,
        .base_offset = log->committed,
        .next_offset = log->committed,
        .max_timestamp = log_active(log)->max_timestamp,
    };
    return bytes;
}

static uint8_t *seal_data(struct log *log, struct frame_header *frame)
{
    struct chunk *chunk = NULL;
    const struct tail_frame *first = tail_first(&log->tail, &chunk);
    int64_t max_timestamp = log_active(log)->max_timestamp;
    *frame = (struct frame_header){
        .kind = FRAME_DATA,
        .payload_size = first->payload_size,
        .batch_count = first->batch_count,
        .base_offset = first->base_offset,
        .next_offset = first->next_offset,
        .max_timestamp =
            max_timestamp > first->max_timestamp ? max_timestamp : first->max_timestamp,
    };
    return tail_seal(&log->tail);
}

// The one place where a frame takes its way to durability. All of them go straight to the segment;
// a journal that gathers the small frames of many logs into one write would be chosen here.
static void write_start(struct log *log, uint8_t *bytes, struct frame_header *frame)
{
    struct log_store *store = log->store;
    struct segment *segment = log_active(log);
    frame->stored_size =
        (uint32_t)format_stored_size(frame->payload_size, segment->header.alignment);
    frame->sequence = log->sequence;
    frame->payload_checksum =
        format_checksum(bytes + FRAME_HEADER_SIZE, frame->payload_size, segment->header.salt);
    format_frame_write(frame, segment->header.salt, segment->end, bytes);
    log->write.frame = *frame;
    log->write.segment = segment;
    log->write.op.done = write_done;
    log->commit = COMMIT_WRITING;
    store->commits_running++;
    segment_hold(segment);
    log_busy(log);
    io_write(store->io, &log->write.op, segment->fd, bytes, frame->stored_size, segment->end, true);
}

static bool must_roll(const struct log *log, uint64_t stored)
{
    const struct segment *active = log_active(log);
    if (!active)
        return true;
    if (!segment_has_records(active) || log->roll_put_off)
        return false; // without records, the next one would have the same name
    return log->roll_wanted || active->end + stored > (uint64_t)log->config.segment_bytes;
}

// Writes the log's next frame, or parks the log until it can.
static void commit_advance(struct log *log)
{
    struct chunk *chunk = NULL;
    const struct tail_frame *first = tail_first(&log->tail, &chunk);
    bool control = !list_empty(&log->trims);
    uint64_t stored = format_stored_size(control ? 8
                                         : first ? first->payload_size
                                                 : 0,
                                         FORMAT_BLOCK);
    bool segment = log->roll_wanted && (log_active(log) || log->config.reserve_bytes > 0);
    if (!control && !first && !segment)
        return;
    if (must_roll(log, stored)) {
        log->commit = COMMIT_PARKED;
        create_start(log, stored);
        return;
    }
    log->roll_wanted = false;
    if (!control && !first)
        return;
    if (!ahead_ready(log_active(log), stored)) {
        log->commit = COMMIT_PARKED;
        return;
    }
    struct frame_header frame;
    uint8_t *bytes = control ? seal_control(log, &frame) : seal_data(log, &frame);
    if (bytes)
        write_start(log, bytes, &frame);
    else
        commit_fail(log, -ENOMEM, "moving the log start");
}

void commit_run(struct log_store *store)
{
    if (store->commits_running > 0)
        return;
    struct list round;
    list_init(&round);
    list_splice(&round, &store->dirty);
    for (struct list *node; (node = list_pop(&round));) {
        struct log *log = list_entry(node, struct log, dirty_node);
        log->commit = COMMIT_IDLE;
        commit_advance(log);
    }
}
