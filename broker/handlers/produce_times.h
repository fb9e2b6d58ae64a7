// SPDX-License-Identifier: Apache-2.0
// Whether the timestamps of a batch lie within what its topic allows.
#pragma once

#include "broker/topic_settings.h"
#include "gen/kp_produce.h"
#include "protocol/record_batch.h"

struct produce_times {
    int16_t error;                                    // 0, or the code for the whole batch
    const char *why;                                  // a sentence, when there is an error
    struct kp_produce_response_record_error *records; // those to blame, from the arena
    int32_t record_count;
};

// For topics with CreateTime; the batch has been checked. Looks at the header only, unless that
// calls for a look at each record.
struct produce_times produce_times_check(struct span batch, const struct batch_header *header,
                                         const struct topic_settings *settings, int64_t now_ms,
                                         struct arena *arena);
