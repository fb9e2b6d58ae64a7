// SPDX-License-Identifier: Apache-2.0
// The state of a log's producers after a start: the newest snapshot (the producers section of an
// index file, or PRODUCERS frames, with which a segment begins) and the batches behind it.
//
// 1. A segment begins with a snapshot unless nobody was known, so no segment needs those before it.
//    If the snapshot is damaged the section of the segment before says the same.
// 2. Where frames are neither read nor summed up, nobody is known afterwards: of an unknown
//    producer every batch is taken, of one that is wrongly known good ones would be refused.
//    No index is written then, or the next start would believe it, though it may be able to read
//    what this one could not.
// 3. A section may be ahead of what its index covers, never of what was committed: folding the
//    same batches again changes nothing.
#include "storage/producers_recover.h"

#include <errno.h>

#include "base/log_line.h"
#include "storage/plant.h"
#include "storage/producers_snapshot.h"
#include "storage/store.h"

void producers_recover_gap(struct log *log)
{
    producers_free(&log->producers);
    log->producers_gap = true;
}

static int snapshot_load(struct log *log, struct span part)
{
    int error = producers_snapshot_load(&log->producers, part, log_producers_ms(log));
    if (!error && !log->producers.incoming)
        log->producers_gap = false;
    if (error != -EBADMSG)
        return error;
    log_line(LOG_ERROR,
             "%s: what is known of producers cannot be read: batches that they send a second time "
             "may be stored twice",
             log->directory);
    return 0;
}

int producers_recover_section(struct log *log, struct span section)
{
    producers_free(&log->producers);
    log->producers_gap = false;
    if (section.size == 0 || planted(PLANT_DROP_PRODUCERS))
        return 0;
    return snapshot_load(log, section);
}

static int fold_batches(struct log *log, struct span payload)
{
    int64_t now_ms = log_producers_ms(log);
    struct batch_header header;
    while (payload.size > 0) {
        if (batch_header_read(payload, &header) != BATCH_OK ||
            batch_total_size(&header) > payload.size)
            return 0; // whoever reads it will find out
        int error = producers_fold(&log->producers, &header, now_ms);
        if (error)
            return error;
        size_t size = batch_total_size(&header);
        payload = span_of(payload.data + size, payload.size - size);
    }
    return 0;
}

int producers_recover_frame(struct log *log, enum frame_kind kind, struct span payload)
{
    if (kind == FRAME_PRODUCERS)
        return planted(PLANT_DROP_PRODUCERS) ? 0 : snapshot_load(log, payload);
    producers_snapshot_give_up(&log->producers);
    return kind == FRAME_DATA ? fold_batches(log, payload) : 0;
}

void producers_recover_end(struct log *log)
{
    producers_snapshot_give_up(&log->producers);
    producers_truncate(&log->producers, log->end);
}
