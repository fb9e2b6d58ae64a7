// SPDX-License-Identifier: Apache-2.0
// A fetch session with one broker (KIP-227): the broker remembers which partitions it is asked for,
// and from where, so that a request names only what has changed, and an answer only what has news.
#pragma once

#include "protocol/types.h"

struct arena;
struct fetcher;
struct kp_fetch_request;
struct kp_fetch_response;

struct fetch_session {
    int32_t id;     // 0: none
    int32_t epoch;  // of the next request; 0: that one names everything, and begins a session
    bool topic_ids; // partitions are named by topic ids
    bool full;      // the request under way names everything
    struct session_part {
        struct assignment *assignment;
        struct kp_uuid topic_id;
        int64_t fetch_offset;
        int32_t limit;
        int32_t leader_epoch;
    } * parts; // as the broker knows them
    size_t count;
};

void fetch_session_free(struct fetch_session *session);

// Fills the session's fields and the partitions of a request for all of fetcher->asked; the session
// takes the request as sent. False when memory is short.
bool fetch_session_fill(struct fetcher *fetcher, int16_t version, struct arena *arena,
                        struct kp_fetch_request *message);

// The answer has come, decoded. Returns whether the broker has only lost the session: what was
// asked for is then asked for again, at once.
bool fetch_session_answered(struct fetch_session *session, int16_t version,
                            const struct kp_fetch_response *message);

// The request has failed: what the broker knows is not known.
void fetch_session_lost(struct fetch_session *session);
