// SPDX-License-Identifier: Apache-2.0
// One request to the right broker, repeated until it succeeds, fails for good, or time is up.
#pragma once

#include "clients/c/connection.h"

enum call_target {
    CALL_ANY,         // whoever answers
    CALL_CONTROLLER,  // for changes of topics
    CALL_NODE,        // call->node_id
    CALL_LEADER,      // of call->topic, call->partition
    CALL_COORDINATOR, // call->coordinator
};

struct coordinator;

// Embedded in what its maker needs to know.
//
// `encode` writes the body for call->request.version. `decode` reads the reply into the maker's own
// memory and returns WEIR_OK, an error of the broker (a retriable one has the call repeated), or
// WEIR_ERR_CORRUPT for bytes that cannot be decoded. Before returning an error it says why with
// call_detail.
// `done`, if set, is called once from the loop when the call is finished.
struct call {
    struct weir_client *client;
    enum call_target target;
    int16_t api_key;
    int16_t version_min; // 0: any
    int16_t version_max; // 0: whatever the schema covers
    const void *channel; // NULL, or the connection's own, for requests that hold up what follows
    int64_t request_timeout_ms; // for one attempt; 0: the client's
    int32_t node_id;
    struct metadata_topic *topic;
    int32_t partition;
    struct coordinator *coordinator;
    uint64_t deadline_ns;
    bool missing_is_final; // UNKNOWN_TOPIC_OR_PARTITION is an answer, not a reason to repeat
    void (*encode)(struct call *call, struct kp_writer *writer);
    int (*decode)(struct call *call, struct reply *reply);
    void (*done)(struct call *call);
    bool (*again)(struct call *call, int error); // NULL, or what else than usual to repeat it for

    int error; // once finished
    bool finished;
    uint32_t attempts;
    struct request request;
    struct timer timer; // the next attempt, or the deadline
    struct metadata_waiter waiter;
    char detail[512]; // a sentence about the last failure
};

// Starts. The call must stay in place until it is finished or cancelled.
void call_start(struct call *call);

// Ends without calling `done`. Harmless when finished.
void call_cancel(struct call *call);

// Starts, and turns the loop until the call is finished. Returns its error, with the sentence for
// weir_last_error set to "<what>: <detail>". To be used after client_enter.
int call_run(struct call *call, const char *what, int timeout_ms);

// Keeps a sentence for the failure that `decode` is about to return: the broker's own words
// (absent: the code's text).
void call_detail(struct call *call, int16_t code, struct span words);

// For coordinators, when what a call waited for has come: it looks again for where to send, or it
// ends with an error.
void call_resume(struct call *call);
void call_fail(struct call *call, int error, const char *detail);
