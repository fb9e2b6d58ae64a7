// SPDX-License-Identifier: Apache-2.0
// What the administrative calls share.
#pragma once

#include "clients/c/call.h"

// A call to be run with call_run.
static inline struct call admin_call(struct weir_client *client, int16_t api_key,
                                     enum call_target target,
                                     void (*encode)(struct call *call, struct kp_writer *writer),
                                     int (*decode)(struct call *call, struct reply *reply))
{
    return (struct call){
        .client = client,
        .target = target,
        .api_key = api_key,
        .missing_is_final = target != CALL_LEADER,
        .encode = encode,
        .decode = decode,
    };
}

// The error of an answer, with its sentence kept for the caller.
int admin_result(struct call *call, int16_t code, struct span words);

// How long the broker may take: the caller's time-out, within request.timeout.ms.
int32_t admin_timeout_ms(const struct weir_client *client, int timeout_ms);

// What is left of a time-out for the next of several calls.
int admin_left_ms(const struct weir_client *client, uint64_t deadline_ns);

// Whether an array of texts is what it claims to be.
bool admin_names_given(const char *const *names, size_t count);

// A copy, empty for an absent text; NULL when memory is short.
const char *admin_text(struct arena *arena, struct span text);
