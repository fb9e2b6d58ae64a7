// SPDX-License-Identifier: Apache-2.0
// The state of a log's producers as bytes: the payload of PRODUCERS frames and the producers
// section of index files. The layout is in docs/disk-format.md. A snapshot has one or more parts,
// each small enough for a frame of its own; it counts when all of them are there.
#pragma once

#include "storage/producers.h"

enum {
    PRODUCERS_PART_HEADER_SIZE = 8,
    PRODUCERS_ENTRY_SIZE = 24,
    PRODUCERS_BATCH_SIZE = 24,
    PRODUCERS_ENTRY_MAX = PRODUCERS_ENTRY_SIZE + PRODUCERS_BATCHES * PRODUCERS_BATCH_SIZE,
    // A part that goes into a frame.
    PRODUCERS_PART_MAX = 128 * 1024,
};

enum producers_view {
    PRODUCERS_APPENDED,  // as of the appended end: what precedes the next batch
    PRODUCERS_COMMITTED, // without what is not committed
};

// Calls `each` with every part, in order, none larger than `part_max` bytes (at least one entry and
// the header); not at all when nobody is known. The bytes are valid during the call, which must not
// change the producers. 0, -ENOMEM, or what `each` returned: not 0 ends it.
int producers_snapshot_write(struct producers *producers, enum producers_view view, size_t part_max,
                             int (*each)(void *context, struct span part), void *context);

// The same as one part from malloc: *out is empty when nobody is known. 0 or -ENOMEM.
int producers_snapshot_image(struct producers *producers, enum producers_view view, uint8_t **out,
                             size_t *size);

// Takes the next part of a snapshot: after the last one the state is what the snapshot says, before
// it what it was. 0; -EBADMSG when it is not the next part of a snapshot, or says what cannot be:
// nothing is changed, what came of it before is forgotten; -ENOMEM. `now_ms` bounds what it says of
// times.
int producers_snapshot_load(struct producers *producers, struct span part, int64_t now_ms);

// No further part of a snapshot begun will come.
void producers_snapshot_give_up(struct producers *producers);
