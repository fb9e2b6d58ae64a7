// SPDX-License-Identifier: Apache-2.0
// The group commit: makes the tails of a store's logs durable. These rules of the storage design
// are kept here:
//
// Rule 1. Appended >= committed; consumers see only committed records; the high watermark is the
//    committed offset. `committed` moves in commit_reach only, when bytes are durable.
// Rule 2. An acknowledgement follows the commit of its bytes, never precedes it. Appends are
//    completed in commit_reach only (or failed).
// Rule 5. A failing write or sync is never retried as if nothing had happened: the log stops
//    accepting, the error is named, and what is on disk is established anew when it is opened next.
//    A failed journal commit: see d.
// Rule 8. No commit of either way starts before the log's segment exists and has the space for it,
//    so a full disk is found out before the first byte is written, and what is in the journal
//    always has its home.
//
// There are two ways to durability, and the data takes one or both:
//
//   journal way   small dirty bytes of all logs together, in one write of the store's journal.
//                 Their frames stay in memory, go on growing, and reach their segments later
//                 (flush.c).
//   segment way   the log's first unflushed frame is written to its segment, with everything in it
//                 that only the journal had. For dirty bytes of COMMIT_DIRECT_BYTES or more, and
//                 when there is no journal, or no room in it. A flush is the same write, with
//                 nobody waiting for it.
//
// One journal write per store and one segment write per log are under way at a time. There is no
// timer: what arrives meanwhile makes the next commit. A log's state has two parts. Between log and
// segment (log->way):
//
//            segment, space or descriptor missing                 frame complete, space there
//   PARKED <---------------------------------------- IDLE ------------------------------> WRITING
//      |      there now: IDLE, looked at again         ^                                     |
//      +--- not possible: what is neither durable -----+-------- durable, or failed ---------+
//           nor on its way fails
//
// and between log and journal (log->queue, log->in_journal):
//
//           append, trim               small: way 1               room, none under way
//   NONE ---------------> DIRTY --------------------> JOURNAL ------------------------> in_journal
//                         DIRTY: commit_advance looks at it in this turn; large: segment way
//
// Further invariants, on which recovery depends:
// a. A log has at most one frame on its way to its segment, in order. Sequence numbers grow by one
//    with every frame, so a frame found behind a bad one proves that the bad one was durable once.
// b. Frames are written, and bytes journalled, only when their segment file is itself durable
//    (create.c). So before a segment is begun everything before it is flushed.
// c. A frame is not written to its segment while bytes of it are in the journal write under way,
//    and bytes of a log are not journalled while a frame with dirty bytes is being written: what a
//    crash leaves in both places is the same.
// d. Bytes that were handed to the journal are never forgotten (tail_drop keeps them): should the
//    write fail, they may be on the device all the same, and replay would bring them back. So the
//    same bytes take the segment way, at the same offsets, and are acknowledged or failed by that.
//    The journal is off from then on. When the segment write fails, too, the log accepts nothing;
//    when it only lacks space the appends fail, and their bytes, whatever becomes of them, keep
//    their offsets and go before everything else. Other bytes never get these offsets.
// e. After a segment write that failed although the log goes on (no space), it is not known what
//    lies behind the last frame. What is appended next gets the same offsets, so nothing goes to
//    the journal until a frame has been written there (log->rewrite): replay must not meet a
//    segment that ends with the failed frame.
//
// A log without space (or memory, or descriptors) fails what is neither durable nor on its way and
// stays usable: offsets given to the failed appends are given again. After any other error it
// accepts nothing.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/endian.h"
#include "base/log_line.h"
#include "storage/store.h"

enum {
    // From here on writing twice (journal and segment) costs more than a write of its own.
    COMMIT_DIRECT_BYTES = 64 * 1024,
    // What a log may have in the journal only. The more, the fewer and larger the frames of logs
    // with small records; the less, the shorter a commit waits behind their writes, the less memory
    // and the shorter the replay.
    COMMIT_UNFLUSHED_BYTES = 256 * 1024,
    OPENS_MAX = 32, // logs for which their active segment was opened, at a time
};

// --- queues

static void queue_leave(struct log *log)
{
    list_remove(&log->queue_node);
    log->queue = QUEUE_NONE;
}

static void queue_enter(struct log *log, enum queue queue, struct list *list)
{
    queue_leave(log);
    log->queue = queue;
    list_append(list, &log->queue_node);
}

void commit_wake(struct log *log)
{
    if (log->deleting || log->way == WAY_PARKED || log->queue == QUEUE_DIRTY ||
        log->queue == QUEUE_BLOCK || log->queue == QUEUE_OPEN)
        return;
    if (log->queue == QUEUE_JOURNAL && log->tail.waiting_bytes < COMMIT_DIRECT_BYTES)
        return;
    queue_enter(log, QUEUE_DIRTY, &log->store->dirty);
    store_kick(log->store);
}

void commit_unpark(struct log *log)
{
    CHECK(log->way == WAY_PARKED);
    log->way = WAY_IDLE;
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

static void end_trims(struct log *log, struct list *trims, int error)
{
    for (struct list *node; (node = list_pop(trims));) {
        struct log_trim *trim = list_entry(node, struct log_trim, node);
        trim->error = error;
        trim->start = log->start;
        list_append(&log->store->ready.trims, &trim->node);
    }
    store_kick(log->store);
}

// Appends of offsets from `from` on.
static void fail_appends(struct log *log, int64_t from, int error)
{
    list_each(node, &log->appends) {
        struct log_append *append = list_entry(node, struct log_append, node);
        if (append->last_offset < from)
            continue;
        list_remove(&append->node);
        append->error = error;
        list_append(&log->store->ready.appends, &append->node);
    }
    store_kick(log->store);
}

static void open_turn_end(struct log *log)
{
    log->store->open_turns -= log->open_turn;
    log->open_turn = false;
}

void commit_abandon(struct log *log)
{
    queue_leave(log);
    open_turn_end(log);
    fail_appends(log, 0, -ESHUTDOWN);
    end_trims(log, &log->trims, -ESHUTDOWN);
    end_trims(log, &log->trims_writing, -ESHUTDOWN);
    flush_check(log);
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

static void stop(struct log *log, int kind, int error, const char *what)
{
    log->write_failed = true;
    log_line(LOG_ERROR, "%s-%d accepts nothing any more: %s: %s", log->topic, (int)log->partition,
             what, strerror(-error));
    if (!log->error)
        log->error = kind;
    log_changed(log);
}

void commit_fail(struct log *log, int error, const char *what)
{
    CHECK(log->way != WAY_WRITING);
    log->way = WAY_IDLE;
    open_turn_end(log);
    if (log->deleting)
        return;
    int kind = error_kind(error);
    bool stops = !may_pass(kind);
    log->end = tail_drop(&log->tail, log->committed);
    producers_rollback(&log->producers, log->end);
    log->producers_at = -1;
    // What is in the journal write under way is answered by that. What a failed one may have left
    // on the device has failed now, but keeps its offsets: the next append, or flush, writes it
    // first.
    fail_appends(log, log->in_journal ? log->end : log->committed, kind);
    end_trims(log, &log->trims, kind);
    if (log->trim_frame >= log->tail.sequence || !log->in_journal)
        end_trims(log, &log->trims_writing, kind);
    if (stops)
        stop(log, kind, error, what);
    else
        tell_for_now(log, error, what);
    if (log->flush_turn)
        log->flush_error = kind;
    flush_check(log);
}

// --- bytes are durable

static void count_commit(struct log_store *store)
{
    store->stats.commits++;
    store->committed_ns = store->io->now_ns;
}

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
    if (log->start < log->trim_start)
        log->start = log->trim_start;
    end_trims(log, &log->trims_writing, 0);
    retain_wake(log);
}

// Everything before `offset`, and the control frames up to number `frame`, is durable.
static void commit_reach(struct log *log, int64_t offset, uint64_t frame)
{
    if (log->committed < offset)
        log->committed = offset;
    producers_commit(&log->producers, log->committed);
    finish_appends(log);
    if (!list_empty(&log->trims_writing) && log->trim_frame <= frame)
        finish_trims(log);
    log_changed(log);
}

static bool has_work(const struct log *log)
{
    return log->tail.uncommitted_bytes > 0 || !list_empty(&log->trims) || log->tail.roll ||
           log->flush_turn;
}

// --- segment way

void commit_written(struct log *log, int error)
{
    struct log_store *store = log->store;
    struct commit_write *write = &log->write;
    log->way = WAY_IDLE;
    open_turn_end(log);
    if (log->deleting)
        return;
    if (error) {
        store->stats.write_errors++;
        log->rewrite = true;
        if (tail_keep_block(&log->tail) != 0)
            error = -EIO;
        // Of what waits, nothing is on its way to the journal any more.
        bool stranded = !log->in_journal && log->tail.uncommitted_bytes > 0;
        if (log->tail.waiting_bytes > 0 || stranded || write->commits ||
            !may_pass(error_kind(error)))
            commit_fail(log, error, "writing a segment");
        else
            tell_for_now(log, error, "writing a segment"); // it still is in the journal
        log->flush_error = error_kind(error);
        flush_check(log);
        return;
    }
    struct segment *segment = write->segment;
    store->stats.written_bytes += write->size;
    if (write->commits) {
        count_commit(store);
    } else {
        store->stats.flushes++;
        store->stats.flushed_bytes += write->size;
    }
    if (write->frame.kind == FRAME_DATA && write->commits)
        store->stats.committed_bytes += write->frame.payload_size;
    segment->end = write->position;
    segment_extend(segment, &write->frame, false);
    if (segment->file_size < write->position - write->position % FORMAT_BLOCK + write->size)
        segment->file_size = write->position - write->position % FORMAT_BLOCK + write->size;
    tail_flush(&log->tail);
    tail_cache_evict(&store->cache, store->cache.limit_bytes);
    log->rewrite = false;
    log->direct_once = false;
    log->flush_error = 0;
    if (store->journal)
        journal_flushed(store->journal, &log->journal, write->frame.sequence);
    commit_reach(log, write->frame.next_offset, write->frame.sequence);
    ahead_keep(segment, segment->end);
    checkpoint_look(log, false);
    flush_check(log);
    if (has_work(log))
        commit_wake(log);
}

// A descriptor for the active segment. It is in use until the write is done, and no limit of idle
// files counts it: so a few logs have their turn at a time.

struct reopening {
    struct segment_open open;
    struct log *log;
};

static void commit_advance(struct log *log);

static void reopened(struct segment_open *open)
{
    struct reopening *reopening = list_entry(open, struct reopening, open);
    struct log *log = reopening->log;
    struct log_store *store = log->store;
    struct segment *segment = open->segment;
    store_enter(store);
    int error = open->error;
    free(reopening);
    log->way = WAY_IDLE;
    if (error)
        commit_fail(log, error, "opening a segment file");
    else if (!log->deleting)
        commit_advance(log); // at once: later others may need the descriptor
    if (log->way == WAY_IDLE && log->queue != QUEUE_BLOCK)
        open_turn_end(log);
    segment_drop(segment);
    log_unbusy(log);
    store_leave(store);
}

static void reopen(struct log *log, struct segment *segment)
{
    struct log_store *store = log->store;
    if (!log->open_turn && store->open_turns == OPENS_MAX) {
        queue_enter(log, QUEUE_OPEN, &store->open_waiting);
        return;
    }
    struct reopening *reopening = calloc(1, sizeof(*reopening));
    if (!reopening) {
        commit_fail(log, -ENOMEM, "opening a segment file");
        return;
    }
    store->open_turns += !log->open_turn;
    log->open_turn = true;
    log->way = WAY_PARKED;
    reopening->log = log;
    reopening->open.done = reopened;
    segment_hold(segment);
    log_busy(log);
    segment_open(segment, &reopening->open);
}

// Those whose turn has come are looked at again: one may not need the descriptor any more.
static void opens_next(struct log_store *store)
{
    uint32_t turns = OPENS_MAX - store->open_turns;
    for (struct list *node; turns > 0 && (node = list_pop(&store->open_waiting)); turns--) {
        struct log *log = list_entry(node, struct log, queue_node);
        log->queue = QUEUE_NONE;
        commit_wake(log);
    }
}

// Whether the log's active segment has space up to `to`; if not, it is being arranged.
static bool space_ready(struct log *log, uint64_t to)
{
    struct segment *segment = log_active(log);
    if (!log->store->can_allocate || to <= segment->file_size)
        return true;
    if (segment->fd < 0) {
        reopen(log, segment);
        return false;
    }
    log->way = WAY_PARKED;
    if (!ahead_ready(segment, to))
        return false;
    log->way = WAY_IDLE;
    return true;
}

static void go_segment_way(struct log *log, const struct tail_frame *first)
{
    if (log->in_journal && first->committed_size < first->payload_size)
        return; // c
    uint64_t end = first->position + format_stored_size(first->payload_size, FORMAT_ALIGNMENT);
    if (!space_ready(log, format_next_block(end)))
        return;
    if (log_active(log)->fd < 0)
        reopen(log, log_active(log));
    else if (!write_start(log))
        queue_enter(log, QUEUE_BLOCK, &log->store->block_waiting);
}

// --- journal way

static enum journal_state state_of_journal(const struct log_store *store)
{
    return store->journal ? journal_state(store->journal) : JOURNAL_OFF;
}

// Frames are waiting whose segment does not exist yet.
static bool roll_is_due(const struct log *log)
{
    const struct tail *tail = &log->tail;
    return tail->flushed.position == 0 || tail->next.segment_base != tail->flushed.segment_base;
}

static bool takes_journal(const struct log *log)
{
    enum journal_state state = state_of_journal(log->store);
    if (state == JOURNAL_OFF || state == JOURNAL_FULL || log->rewrite || log->direct_once)
        return false;
    bool failed_before = !log->in_journal && log->tail.uncommitted_bytes > log->tail.waiting_bytes;
    return log->tail.waiting_bytes < COMMIT_DIRECT_BYTES && !roll_is_due(log) && !failed_before;
}

static bool has_space(const struct log *log)
{
    return !log->store->can_allocate ||
           format_next_block(log->tail.next.position) <= log_active(log)->file_size;
}

static void go_journal_way(struct log *log)
{
    if (has_space(log))
        queue_enter(log, QUEUE_JOURNAL, &log->store->journal_waiting);
    else if (log->way == WAY_IDLE && space_ready(log, format_next_block(log->tail.next.position)))
        queue_enter(log, QUEUE_JOURNAL, &log->store->journal_waiting);
}

static int64_t base_offset_at(const struct tail_frame *frame, const uint8_t *payload)
{
    return frame->kind == FRAME_DATA ? (int64_t)load_be64(payload) : frame->base_offset;
}

// Hands what waits to the journal, as much as it takes. Whether it took anything.
static bool journal_take(struct log *log)
{
    struct log_store *store = log->store;
    struct chunk *chunk = NULL;
    bool took = false;
    for (struct tail_frame *frame = tail_waiting(&log->tail, &chunk); frame;
         frame = tail_after(&log->tail, frame, &chunk)) {
        const uint8_t *bytes =
            chunk->buffer->data + frame->at + FRAME_HEADER_SIZE + frame->held_size;
        struct span payload = span_of(bytes, frame->payload_size - frame->held_size);
        if (!journal_add(store->journal, &log->journal, frame->sequence, frame->kind,
                         base_offset_at(frame, bytes), payload))
            break;
        took = true;
        store->journal_bytes += payload.size;
        log->journal_offset = frame->next_offset;
        log->journal_frame = frame->sequence;
        tail_hold(&log->tail, frame);
    }
    return took;
}

static void journal_done(void *context, int error);

// Forms the next journal commit when the one before is durable.
static void journal_form(struct log_store *store)
{
    enum journal_state state = state_of_journal(store);
    if (list_empty(&store->journal_waiting) || state == JOURNAL_BUSY)
        return;
    journal_spare(store->journal, space_is_tight(store));
    struct list waiting;
    list_init(&waiting);
    list_splice(&waiting, &store->journal_waiting);
    bool full = false;
    for (struct list *node; (node = list_pop(&waiting));) {
        struct log *log = list_entry(node, struct log, queue_node);
        log->queue = QUEUE_NONE;
        bool fits = takes_journal(log) && has_space(log) &&
                    !(log->way == WAY_WRITING && log->write.commits);
        if (!fits || full) {
            commit_wake(log);
            continue;
        }
        if (!journal_take(log)) {
            full = true;
            log->direct_once = list_empty(&store->journal_running); // it does not go in at all
            commit_wake(log);
            continue;
        }
        log->in_journal = true;
        log_busy(log);
        list_append(&store->journal_running, &log->journal_node);
    }
    if (!list_empty(&store->journal_running))
        journal_write(store->journal, journal_done, store);
}

static void journal_done_for(struct log *log, int error)
{
    log->in_journal = false;
    if (log->deleting)
        return;
    if (!error) {
        tail_commit(&log->tail);
        commit_reach(log, log->journal_offset, log->journal_frame);
        if (log->way != WAY_PARKED && log_active(log)->fd >= 0 && !roll_is_due(log))
            ahead_keep(log_active(log), log->tail.next.position);
        if (log->tail.unflushed_bytes >= COMMIT_UNFLUSHED_BYTES)
            flush_want(log);
    } else if (log->write_failed) {
        fail_appends(log, log->committed, -EIO);
        end_trims(log, &log->trims_writing, -EIO);
    }
    if (has_work(log))
        commit_wake(log);
}

static void journal_done(void *context, int error)
{
    struct log_store *store = context;
    store_enter(store);
    if (error) {
        store->stats.write_errors++;
    } else {
        count_commit(store);
        store->stats.committed_bytes += store->journal_bytes;
    }
    store->journal_bytes = 0;
    for (struct list *node; (node = list_pop(&store->journal_running));) {
        struct log *log = list_entry(node, struct log, journal_node);
        journal_done_for(log, error);
        log_unbusy(log);
    }
    flush_relieve(store);
    store_leave(store);
}

// --- a turn

// The frame that moves the log start. One at a time: further trims wait for the next.
static void trim_append(struct log *log)
{
    if (list_empty(&log->trims) || !list_empty(&log->trims_writing))
        return;
    int64_t start = log->start;
    list_each(node, &log->trims) {
        const struct log_trim *trim = list_entry(node, struct log_trim, node);
        if (start < trim->offset)
            start = trim->offset;
    }
    uint8_t payload[8];
    store_le64(payload, (uint64_t)start);
    uint64_t frame = 0;
    tail_close(&log->tail);
    if (log_put_producers(log, sizeof(payload))) // it may begin a segment, and outlive those before
        frame =
            tail_control(&log->tail, FRAME_LOG_START, span_of(payload, sizeof(payload)), log->end);
    if (frame == 0) {
        end_trims(log, &log->trims, -ENOMEM);
        return;
    }
    log->trim_start = start;
    log->trim_frame = frame;
    list_splice(&log->trims_writing, &log->trims);
}

// Nothing waits; a segment may still be wanted: space for a log that has it reserved, or the next
// one for a log whose records are all too old.
static void advance_empty(struct log *log)
{
    const struct segment *active = log_active(log);
    bool wanted = log->tail.roll && !log->tail.roll_put_off;
    if (active ? !wanted || log->end <= active->header.base_offset
               : !wanted || log->config.reserve_bytes == 0) {
        return;
    }
    log->way = WAY_PARKED;
    create_start(log, log->end, log->tail.sequence, 0);
}

// Starts what is to be done next for the log, if it can be.
static void commit_advance(struct log *log)
{
    struct chunk *chunk = NULL;
    if (log->write_failed || log->way == WAY_PARKED)
        return;
    if (log->way == WAY_IDLE && space_must_wait(log)) {
        log->way = WAY_PARKED;
        return;
    }
    trim_append(log);
    const struct tail_frame *first = tail_first(&log->tail, &chunk);
    bool waits = log->tail.waiting_bytes > 0;
    bool journal = waits && takes_journal(log);
    if (log->way == WAY_WRITING) {
        if (journal && !log->write.commits)
            go_journal_way(log);
        return;
    }
    if (!first) {
        advance_empty(log);
        return;
    }
    if (first->begins_segment) {
        log->way = WAY_PARKED;
        create_start(log, first->base_offset, first->sequence,
                     format_stored_size(first->payload_size, FORMAT_ALIGNMENT));
        return;
    }
    if (journal)
        go_journal_way(log);
    bool lost = !log->in_journal && log->tail.uncommitted_bytes > log->tail.waiting_bytes; // d
    if (log->way == WAY_IDLE &&
        ((waits && !journal) || lost || roll_is_due(log) || flush_has_turn(log, first)))
        go_segment_way(log, first);
}

void commit_run(struct log_store *store)
{
    struct list now;
    list_init(&now);
    flush_run(store);
    opens_next(store);
    list_splice(&now, &store->dirty);
    // During a start only: nothing is written behind what is not durable.
    int error = list_empty(&now) ? 0 : start_sync(store);
    for (struct list *node; (node = list_pop(&now));) {
        struct log *log = list_entry(node, struct log, queue_node);
        log->queue = QUEUE_NONE;
        if (error && log->way == WAY_IDLE)
            commit_fail(log, error, "making durable what a start has found");
        else
            commit_advance(log);
        if (log->way == WAY_IDLE && log->queue != QUEUE_BLOCK)
            open_turn_end(log); // it was opened for nothing
    }
    journal_form(store);
    compact_run(store);
    if (!list_empty(&store->open_waiting) && store->open_turns < OPENS_MAX)
        store_kick(store);
}
