// SPDX-License-Identifier: Apache-2.0
// Fetch sessions (KIP-227): what a client has asked for and was told last, so that its next request
// names only what has changed and its answer only what is new. No network, no partitions: a session
// is told what comes in and says what has to go out.
//
// All of it belongs to one thread. Requests were decoded before, but what they say is not trusted.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/map.h"
#include "base/random.h"
#include "gen/kp_fetch.h"

enum {
    FETCH_SESSION_BYTES_MAX = 4 << 20,   // of one session: about 15,000 partitions
    FETCH_SESSIONS_BYTES_MAX = 32 << 20, // of all sessions of a shard
    FETCH_SESSION_IDLE_MS = 120000,      // unused for as long, one gives way to a new one
};

// The topic as the client names it: by id (name empty) or by name (id zero).
struct fetch_session_topic {
    struct span name;
    struct kp_uuid id;
    uint64_t serial; // in its session
    uint32_t parts;  // goes when it has none
};

struct fetch_session_part {
    struct list node; // in the order in which partitions are read
    struct fetch_session_topic *topic;
    struct kp_fetch_request_partition in; // as the client has asked last
    int64_t high_watermark;               // as the client was told last; -1 nothing, or an error
    int64_t log_start;
    uint64_t key[2];
};

struct fetch_session {
    int32_t id;
    int32_t epoch; // that the next request has to have
    bool by_id;    // how its topics are named
    bool held;     // a request uses it
    bool closed;   // goes when the request that holds it is done
    struct list parts;
    uint32_t part_count;
    size_t bytes;
    // Private.
    struct map topics;
    struct map by_key;
    uint64_t serial;
    struct list node;
    uint64_t used_ns;
};

// An empty one. NULL without memory.
struct fetch_session *fetch_session_create(bool by_id);
void fetch_session_free(struct fetch_session *session);

// Takes over what a request says: partitions that are new or asked for differently, and the ones
// that it forgets. New ones come last; of one that comes twice the last word counts. 0, -ENOMEM, or
// -ENOBUFS when the session becomes too large; after an error it can only be freed.
int fetch_session_update(struct fetch_session *session, const struct kp_fetch_request *in);

// NULL when it is not in the session.
struct fetch_session_part *fetch_session_find(const struct fetch_session *session,
                                              const struct kp_fetch_request_topic *topic,
                                              int32_t partition);

// True when the answer has to list the partition: it has records, an error, or something the client
// was not told. It counts as told then. With records it goes behind all others, so that the next
// answer, which may be full before it comes to all, begins with those that had to wait.
bool fetch_session_tell(struct fetch_session *session, struct fetch_session_part *part,
                        const struct kp_fetch_response_partition *out);

int32_t fetch_session_next_epoch(int32_t epoch);

// --- the sessions of a shard ------------------------------------------------------------------

struct fetch_sessions {
    struct map by_id;
    struct list used;   // the one unused for longest first
    struct list closed; // that are still held
    uint32_t slots;
    uint32_t count; // with closed ones that are held
    size_t bytes;
    struct random random;
};

// NULL without memory.
struct fetch_sessions *fetch_sessions_create(uint32_t slots, uint64_t seed);
// Held ones too. NULL is fine.
void fetch_sessions_destroy(struct fetch_sessions *sessions);

// Does what a request says about its session. Returns the error for the whole answer, or 0 and in
// *out the session, held, that the request is part of: a new one (epoch 0 in the request) or one
// that has taken over the changes. NULL when there is none: not wanted, closed, or refused because
// there is no place; the request then stands for itself.
int16_t fetch_sessions_begin(struct fetch_sessions *sessions, const struct kp_fetch_request *in,
                             bool by_id, uint64_t now_ns, struct fetch_session **out);

// The request is done with it.
void fetch_sessions_end(struct fetch_sessions *sessions, struct fetch_session *session);
