// SPDX-License-Identifier: Apache-2.0
// Whether the records of a batch are what their topic allows: their timestamps, and their keys.
#pragma once

#include "broker/topic_settings.h"
#include "gen/kp_produce.h"
#include "protocol/record_batch.h"

enum { PRODUCE_INFLATE_MAX = 32 << 20 }; // bytes of a batch that has to be looked into

struct produce_verdict {
    int16_t error;                                    // 0, or the code for the whole batch
    const char *why;                                  // a sentence, when there is an error
    struct kp_produce_response_record_error *records; // those to blame, from the arena
    int32_t record_count;
};

// For topics with CreateTime; the batch has been checked. Looks at the header only, unless that
// calls for a look at each record.
struct produce_verdict produce_check_times(struct span batch, const struct batch_header *header,
                                           const struct topic_settings *settings, int64_t now_ms,
                                           struct arena *arena);

// For a batch of a compacted topic in which some record has no key: which ones.
struct produce_verdict produce_blame_keys(struct span batch, struct arena *arena);
