// SPDX-License-Identifier: Apache-2.0
// What compaction does with one batch: noting its keys in the map, and taking out what the map says
// is superseded. Pure: no I/O, no clock.
#pragma once

#include "protocol/record_batch.h"
#include "storage/compact_map.h"

enum { COMPACT_INFLATE_MAX = 64 * 1024 * 1024 }; // of one batch; a larger one stays as it is

struct compact_rules {
    const struct compact_map *map;
    int64_t map_end; // the map has seen everything from its beginning to here
    int64_t now_ms;
    int64_t delete_horizon_ms; // until when tombstones stay that have no date yet; -1: no date is
                               // given to them now
};

// Working memory, kept between batches.
struct compact_batch {
    struct batch_thinner thinner;
    struct batch_contexts contexts;
    struct arena arena;
    const struct compact_rules *rules;
    uint8_t emptied[BATCH_HEADER_SIZE];
};

void compact_batch_init(struct compact_batch *work);
void compact_batch_free(struct compact_batch *work);

// Notes every key. 0; -ENOSPC: the map is full, some of the keys are in it; -ENOMEM. A batch that
// does not parse is passed over.
int compact_batch_note(struct compact_batch *work, struct span batch, struct compact_map *map);

// What stays of the batch: *out is the batch itself, or lies in `work` until the next call; of size
// 0 when nothing stays. `keep_place`: a batch without records stays when there is no record left.
// A batch that does not parse, and control batches, stay as they are. 0 or -ENOMEM.
int compact_batch_thin(struct compact_batch *work, const struct compact_rules *rules,
                       struct span batch, bool keep_place, struct span *out);
