// SPDX-License-Identifier: Apache-2.0
// Puts into a log's tail what the journal has behind the end of its segments. Offsets decide, so
// doing it again after a crash in the middle changes nothing:
//
// 1. Batches below the end of the segments are there already and are left out. That the segments
//    end in the torn rest of a frame which the journal covers is therefore no damage.
// 2. An entry beyond the end, of any kind, means that what lies between was lost with a damaged
//    part of the journal: damage, named, and the log goes on behind it. The frame that brings the
//    entry to the segment keeps that gap, and later starts report it again.
// 3. A log of which the journal may have held more than can be read is uncertain: it serves what is
//    known, accepts nothing, and says so at each start until it is repaired.
// 4. A segment that begins here begins with what is known of producers, as any other does.
// 5. If it is not known where the segments end, nothing is put behind them: it could overwrite what
//    is there. The journal keeps its entries then.
#include <errno.h>
#include <inttypes.h>

#include "base/endian.h"
#include "base/log_line.h"
#include "protocol/record_batch.h"
#include "storage/plant.h"
#include "storage/producers_recover.h"
#include "storage/recover.h"
#include "storage/store.h"

// Memory for the tail is short: what was replayed so far goes to the segments.
static bool make_room(struct log *log)
{
    return start_sync(log->store) == 0 && flush_all_wait(log->store) == 0;
}

static int restore_once(struct log *log, enum frame_kind kind, int64_t base_offset,
                        struct span payload)
{
    int error = kind == FRAME_PRODUCERS ? 0 : log_restore_producers(log, payload.size);
    if (!error && kind == FRAME_DATA)
        error = producers_recover_frame(log, kind, payload);
    return error ? error : log_restore(log, kind, base_offset, payload);
}

// Having done it in part does no harm: the same snapshot, and the same batch, count once.
static int restore(struct log *log, enum frame_kind kind, int64_t base_offset, struct span payload)
{
    int error = restore_once(log, kind, base_offset, payload);
    if (error != -ENOMEM || !make_room(log))
        return error;
    return restore_once(log, kind, base_offset, payload);
}

// Without a segment the first one would begin behind the gap, and look like one that retention has
// left: a frame that says where the log starts comes before.
static int gap_anchor(struct log *log)
{
    uint8_t bytes[8];
    store_le64(bytes, (uint64_t)log->start);
    return restore(log, FRAME_LOG_START, log->end, span_of(bytes, sizeof(bytes)));
}

static int gap_note(struct recovery *recovery, int64_t to)
{
    struct log *log = recovery->log;
    int error = log->tail.next.position == 0 ? gap_anchor(log) : 0;
    if (error)
        return error;
    log_line(LOG_ERROR,
             "%s-%d: offsets %" PRId64 " up to %" PRId64
             " were in a part of the journal that is lost: they cannot be read",
             log->topic, (int)log->partition, log->end, to - 1);
    recovery->result->damaged_ranges++;
    tail_close(&log->tail); // a gap lies between frames
    producers_recover_gap(log);
    int64_t from = log->end;
    log->end = to;
    return log_note_damage(log, from, to);
}

// Batches from the first one that is not in the segments on.
static int replay_batches(struct recovery *recovery, struct span payload)
{
    struct log *log = recovery->log;
    struct batch_header header;
    for (size_t at = 0; at < payload.size; at += batch_total_size(&header)) {
        struct span rest = span_of(payload.data + at, payload.size - at);
        if (batch_header_read(rest, &header) != BATCH_OK || batch_total_size(&header) > rest.size)
            return 0; // sound bytes, so never written by a log; nothing can be done with them
        if (header.base_offset < log->end)
            continue;
        int error = 0;
        if (header.base_offset > log->end && !planted(PLANT_IGNORE_GAP))
            error = gap_note(recovery, header.base_offset);
        if (!error)
            error = restore(log, FRAME_DATA, header.base_offset,
                            span_of(rest.data, batch_total_size(&header)));
        if (error)
            return error;
    }
    return 0;
}

// `gap`: offsets before it are lost, so a frame has to keep that, whatever start it says.
static int replay_start(struct recovery *recovery, struct span payload, bool gap)
{
    struct log *log = recovery->log;
    int64_t start = (int64_t)load_le64(payload.data);
    if (start < log->start && !gap)
        return 0;
    // The same start again, too: it may be known from an index only, which nothing made durable.
    uint8_t bytes[8];
    start = start < log->start ? log->start : start;
    store_le64(bytes, (uint64_t)start);
    int error = restore(log, FRAME_LOG_START, log->end, span_of(bytes, sizeof(bytes)));
    if (!error)
        log->start = start;
    return error;
}

// A frame that is not of records. It has no offsets of its own, but everything below its base
// offset was there when it was journalled.
static int replay_control(struct recovery *recovery, enum frame_kind kind, int64_t base_offset,
                          struct span payload)
{
    struct log *log = recovery->log;
    bool gap = base_offset > log->end;
    if (base_offset < log->end)
        return 0;
    if (kind == FRAME_LOG_START &&
        (payload.size != 8 || (int64_t)load_le64(payload.data) > base_offset))
        return 0; // sound bytes, so never written by a log
    int error = gap ? gap_note(recovery, base_offset) : 0;
    if (error)
        return error;
    if (kind == FRAME_LOG_START)
        return replay_start(recovery, payload, gap);
    error = restore(log, kind, base_offset, payload);
    return error ? error : producers_recover_frame(log, kind, payload);
}

static int replay_entry(void *context, enum frame_kind kind, int64_t base_offset,
                        struct span payload)
{
    struct recovery *recovery = context;
    if (kind == FRAME_DATA)
        return replay_batches(recovery, payload);
    return replay_control(recovery, kind, base_offset, payload);
}

static int uncertain_note(struct recovery *recovery)
{
    struct log *log = recovery->log;
    log_line(LOG_ERROR,
             "%s-%d: the journal may have had records from offset %" PRId64
             " on and cannot be read: the partition accepts nothing until it is repaired",
             log->topic, (int)log->partition, log->end);
    recovery->result->damaged_ranges++;
    journal_uncertain(log->store->journal, &log->journal, log->end);
    log->error = -EIO;
    return log_note_damage(log, log->end, INT64_MAX);
}

static int entry_seen(void *context, enum frame_kind kind, int64_t base_offset, struct span payload)
{
    (void)kind;
    (void)base_offset;
    (void)payload;
    *(bool *)context = true;
    return 1; // one is enough
}

// Rule 5.
static void entries_keep(struct log *log)
{
    bool any = false;
    bool uncertain = false;
    journal_replay(log->store->journal, &log->journal, entry_seen, &any, &uncertain);
    if (!any)
        return;
    log->store->unflushed = true;
    log_line(LOG_WARN, "%s-%d: what the journal has of it stays there, since its end is not known",
             log->topic, (int)log->partition);
}

int replay_run(struct recovery *recovery)
{
    struct log *log = recovery->log;
    bool uncertain = false;
    if (!log->store->journal)
        return 0;
    if (log->error) {
        entries_keep(log);
        return 0;
    }
    int error =
        journal_replay(log->store->journal, &log->journal, replay_entry, recovery, &uncertain);
    return !error && uncertain ? uncertain_note(recovery) : error;
}
