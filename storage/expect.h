// SPDX-License-Identifier: Apache-2.0
// What recovery reads of a log, read before it asks: see expect.c. Start-up only.
#pragma once

#include "storage/listing.h"
#include "storage/log.h"

struct expectation;

// The next log_open is that of `log`: waits for what was begun for it. NULL when there is nothing.
// From then on store->expected is what these functions look at, until expect_end.
void expect_begin(struct log *log);
void expect_end(struct log_store *store);

// The names in the log's directory: as listing_read.
int expect_listing(struct log *log, struct listing *out);

// The descriptor of the segment's file, open as recover_open does it; the caller's. -1 = not there.
int expect_file(struct log *log, int64_t base);

// The image of the segment's index file, from malloc, the caller's; NULL = not there.
uint8_t *expect_index(struct log *log, int64_t base, size_t *size);

// Copies up to `size` bytes of the segment's file from `offset` on: at least `least`, or 0.
size_t expect_read(const struct log *log, int64_t base, void *to, size_t least, size_t size,
                   uint64_t offset);

// Forgets what nobody has asked for.
void expect_drop_all(struct log_store *store);
