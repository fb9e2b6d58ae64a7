// SPDX-License-Identifier: Apache-2.0
// A consumer group: who is in it, which generation it has reached, who was given what. Pure: no
// I/O, no clock; time comes in with every step, and records, answers and the next time limit come
// out. One thread (the shard that owns the group's partition of the offsets topic). Nothing waits.
//
// An event is one call with a struct group_step. What it wants written is in step->records, what it
// answers in step->answers, and the caller sends no answer of this step before these records, and
// all that the group gave out before, are durable: everything a member was told survives a crash.
// The caller keeps the last durable value of every record key (the image). When a write fails, or
// step->failed is set, it answers every ask that is in `answers`, held, or parked (group_give_up)
// with COORDINATOR_NOT_AVAILABLE, frees the group, and makes a new one from the image with
// group_load. Nothing else ever rolls back.
//
// A group that does not exist is asked like a new one (but for DESCRIBE and DELETE, which the
// caller answers itself), and freed again when group_is_idle says that nothing came of it.
#pragma once

#include "base/arena.h"
#include "base/list.h"
#include "base/random.h"
#include "broker/catalog.h"
#include "broker/groups/group_record.h"

enum {
    GROUP_NAME_MAX = 1024, // bytes of a group id; the caller has checked it
    // What the members of one group may bring (their metadata), and what a leader may hand out (all
    // assignments), in bytes. A step writes at most this and the keys, and an answer carries it.
    GROUP_BYTES_MAX = 8 << 20,
};

enum group_assignor { GROUP_NO_ASSIGNOR, GROUP_UNIFORM, GROUP_RANGE };

// NO_ASSIGNOR: there is none of this name. The name of NO_ASSIGNOR is empty.
enum group_assignor group_assignor_find(struct span name);
const char *group_assignor_name(enum group_assignor assignor);

// The broker's settings for groups.
struct group_limits {
    int32_t min_session_timeout_ms;         // group.min.session.timeout.ms
    int32_t max_session_timeout_ms;         // group.max.session.timeout.ms
    int32_t initial_rebalance_delay_ms;     // group.initial.rebalance.delay.ms
    uint32_t max_members;                   // group.max.size
    int32_t consumer_session_timeout_ms;    // group.consumer.session.timeout.ms
    int32_t consumer_heartbeat_interval_ms; // group.consumer.heartbeat.interval.ms
    uint32_t consumer_max_members;          // group.consumer.max.size
    enum group_assignor assignors[2];       // group.consumer.assignors, NO_ASSIGNOR at the end
    bool may_upgrade;   // group.consumer.migration.policy: classic groups to the consumer protocol
    bool may_downgrade; // and back
};

enum group_ask_kind {
    GROUP_JOIN,
    GROUP_SYNC,
    GROUP_HEARTBEAT,
    GROUP_LEAVE,
    GROUP_CONSUMER_HEARTBEAT,
    GROUP_DESCRIBE,
    GROUP_CONSUMER_DESCRIBE,
    GROUP_DELETE,
};

// A request to one group. Owned by the asker and in place, with all it points to, until it is in
// `answers`; so is its arena. Every ask is answered exactly once.
struct group_ask {
    struct list node; // in `answers`, or parked in the group
    enum group_ask_kind kind;
    int16_t version;
    struct span client_id;
    struct span client_host;
    // The decoded kp_<api>_request; DESCRIBE and DELETE: nothing. Once the ask is parked, only its
    // member_id and group_instance_id may be looked at: the rest is gone.
    const void *in;
    // The kp_<api>_response, as kp_<api>_response_init leaves it, filled when answered. DESCRIBE:
    // kp_describe_groups_response_group with its group_id set, CONSUMER_DESCRIBE:
    // kp_consumer_group_describe_response_group likewise; DELETE: kp_delete_groups_response_group.
    void *out;
    // Everything the answer points to is a constant, in here, or a part of `in`. It must be able to
    // hold GROUP_BYTES_MAX and then some.
    struct arena *arena;
    struct group_member *member; // private to the group: who waits with this ask
};

// What comes in with every event, and where its results go.
struct group_step {
    int64_t now_ms;  // monotonic
    int64_t wall_ms; // what is kept across restarts
    const struct catalog *catalog;
    const struct group_limits *limits;
    struct random *random; // for member ids; seeded from the system
    // Out, appended to: to be written together. Group records come last, so that a part of them, in
    // their order, gives a sound group as well.
    struct group_records *records;
    struct list *answers; // out, appended to: struct group_ask, in order
    uint32_t cost; // out, added to: work beyond what records and answers show, in microseconds
    bool failed;   // out: memory was short; see above
};

struct group; // group_internal.h

// An empty group that nobody has joined; `name` is copied. NULL without memory.
struct group *group_new(struct span name);
// Nothing may be parked any more.
void group_free(struct group *group);

// Into a new group: each record of the image, in any order, then group_load_done. Any mixture of
// sound records gives a valid group. 0, -EBADMSG (this record is no group's record or not sound,
// and counts as absent), -ENOMEM. Records of other kinds (offsets) are let pass with 0.
int group_load(struct group *group, struct span key, struct span value);
// Every member gets its whole session timeout from step->now_ms. Writes and answers nothing: what
// does not fit together (records were lost) is dropped, and the tombstones are due at once
// (group_due_ms). 0 or -ENOMEM: the group is good for group_free only.
int group_load_done(struct group *group, struct group_step *step);

// On return the ask is in step->answers, or parked; also when step->failed was set.
void group_ask(struct group *group, struct group_step *step, struct group_ask *ask);
// What is due by step->now_ms.
void group_time(struct group *group, struct group_step *step);
// When group_time has something to do, perhaps; INT64_MAX: never. Changes with every step.
int64_t group_due_ms(const struct group *group);
// step->catalog is another one than at the last step.
void group_catalog_changed(struct group *group, struct group_step *step);

// The client of a parked ask has gone. The ask is answered with COORDINATOR_NOT_AVAILABLE. Its
// member has not joined (or synced) then, and may come back with its id until its session, which
// starts now, ends; one that has not been told its id is removed.
void group_forsake(struct group *group, struct group_step *step, struct group_ask *ask);

// Every parked ask is moved to `answers` with this error.
void group_give_up(struct group *group, struct list *answers, int16_t error);
// Makes an ask's answer this error and nothing else, whatever it holds by now.
void group_ask_fail(struct group_ask *ask, int16_t error);

// --- offsets -------------------------------------------------------------------------------------

// Whether OffsetCommit `version` may commit as this member: 0 or a KP_ERROR. `group` NULL: there is
// none. Counts as a heartbeat when it may. `instance_id` absent: none.
int16_t group_may_commit(struct group *group, struct group_step *step, struct span member_id,
                         struct span instance_id, int32_t generation_or_epoch, int16_t version);
// The same for OffsetFetch from version 9 on; member_id absent and epoch -1: not as a member.
int16_t group_may_fetch(struct group *group, struct group_step *step, struct span member_id,
                        int32_t member_epoch);
// Whether OffsetDelete may touch any topic: 0 or NON_EMPTY_GROUP. It may not touch those that
// group_subscribes names.
int16_t group_may_delete_offsets(const struct group *group);
// Whether a member is subscribed to the topic, or might be. Not for every offset of a hot path.
bool group_subscribes(struct group *group, struct span topic);
// KIP-211: the wall-clock time from which the retention of an offset committed at `commit_ms` runs;
// INT64_MAX: it does not.
int64_t group_unused_since_ms(struct group *group, struct span topic, int64_t commit_ms);

// --- what it looks like from outside -------------------------------------------------------------

struct span group_name(const struct group *group);
const char *group_type_name(const struct group *group);  // "classic" or "consumer"
const char *group_state_name(const struct group *group); // as ListGroups shows it
struct span group_protocol_type(const struct group *group);
uint32_t group_member_count(const struct group *group);
// Without members (those that only have an id promised do not count): DELETE is answered with 0
// then, and the caller removes all records of the group, its offsets too, and frees it.
bool group_is_empty(const struct group *group);
// Nothing is in it, nothing of it is durable or on its way: it can be freed as if it never was.
bool group_is_idle(const struct group *group);
// Bytes of memory that members make it hold.
size_t group_memory(const struct group *group);
