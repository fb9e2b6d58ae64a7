// SPDX-License-Identifier: Apache-2.0
// What a clean end leaves, so that the next start need not look into every log: see rest.c.
// Start-up and the end only; everything waits.
#pragma once

#include <stdint.h>

#include "storage/format.h"
#include "storage/index.h"
#include "storage/log.h"

struct log;

// A log of one segment that nobody has touched since.
struct rested {
    struct segment_header header;
    struct index_header index_header;
    struct index index; // from malloc, the caller's
    struct span producers;
};

// Takes over what the last end left for this store, and removes it, durably; of it and of every
// other number of shards. 0; an error when it may still be there: nothing may be written then.
int rest_open(struct log_store *store, const struct log_store_options *options);

// Whether something is known of the log, which may have been touched since.
bool rest_has(const struct log_store *store, struct log_name name);

// True: *out is how the log's files are, and there are no others.
bool rest_take(struct log *log, struct rested *out);

// Nobody asks any more.
void rest_forget(struct log_store *store);

// All logs are in their segments and nothing is under way. What cannot be written is left out.
void rest_write(struct log_store *store);

void rest_free(struct log_store *store);
