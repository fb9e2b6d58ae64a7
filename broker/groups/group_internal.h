// SPDX-License-Identifier: Apache-2.0
// What the files of broker/groups share: the group, its members, and what both protocols do with
// them. Everything runs within one step; see group.h.
#pragma once

#include "base/check.h"
#include "base/map.h"
#include "broker/groups/consumer_internal.h"
#include "broker/groups/group.h"
#include "protocol/error.h"

enum {
    GROUP_PROTOCOLS_MAX = 64,    // that one member may offer
    GROUP_INSTANCE_ID_MAX = 249, // bytes, as Kafka's clients check it
    GROUP_PENDING_MAX = 1000,    // promised member ids; the oldest goes when there are more
    GROUP_REBALANCE_MS_MAX = 24 * 3600 * 1000,
    // A new member does not know its id yet and cannot send heartbeats: if its JoinGroup waits
    // longer than this, it is given up, and its client, if it is there, tries again.
    GROUP_NEW_MEMBER_MS = 300000,
};

enum group_type { GROUP_CLASSIC, GROUP_CONSUMER };

enum classic_phase { CLASSIC_EMPTY, CLASSIC_PREPARING, CLASSIC_COMPLETING, CLASSIC_STABLE };

// The name of an assignment protocol that members offer, once per group.
struct group_protocol {
    struct span name;
    uint32_t members; // that offer it
    uint32_t votes;   // only while they are counted
    uint32_t holds;   // offers and the choice of the group; it goes with the last
    uint8_t text[];
};

struct group_offer {
    struct group_protocol *protocol;
    struct span metadata; // behind the array of offers
};

// Offers in the order of preference, and their metadata: one allocation.
struct group_offers {
    uint32_t count;
    size_t bytes; // counted against GROUP_BYTES_MAX
    struct group_offer items[];
};

struct group_member {
    struct list node; // in group->members, oldest first
    struct span id;
    struct span instance_id; // absent: a dynamic member
    struct span client_id;
    struct span client_host;
    uint64_t joined; // ascending within the list, but for static members that were replaced
    int32_t session_ms;
    int32_t rebalance_ms;
    int64_t deadline_ms;         // when its session ends; INT64_MAX while a known member waits
    struct group_ask *ask;       // its JoinGroup or SyncGroup that waits; NULL
    struct group_offers *offers; // NULL: not of the classic protocol
    struct span assignment;      // its own memory; absent: none
    bool is_new;                 // has not been told its id by an answer to JoinGroup
    bool sync_due;   // has been told the generation and has not asked for its assignment
    bool durable;    // its record is there, or is in this step's
    bool changed;    // and differs from what is here
    bool has_target; // its target record is there
    size_t bytes;    // of it all but offers, assignment and sets of partitions
    struct consumer_member *consumer; // of a group of the consumer protocol; NULL: of a classic one
    uint8_t text[];
};

// A member id that was promised by MEMBER_ID_REQUIRED (KIP-394).
struct group_pending {
    struct list node; // in group->pending, oldest first
    struct span id;
    int64_t deadline_ms;
    uint8_t text[];
};

// Which topics the members of a classic consumer group are subscribed to, as far as known.
struct group_topics {
    struct map names; // of topics; the keys point into the members' metadata
    bool counted;     // `names` and `unknown` are right; cleared when members change
    bool unknown;     // some metadata could not be read: any topic might be one
};

struct group {
    struct span name;
    enum group_type type;
    // Members, of either protocol.
    struct list members;
    struct map by_id;
    struct map by_instance; // static members
    uint32_t member_count;
    uint32_t offering; // members with offers: of the classic protocol
    uint64_t last_joined;
    size_t bytes; // of members and their offers; at most GROUP_BYTES_MAX
    struct list pending;
    struct map pending_by_id;
    int64_t members_due_ms; // no deadline of a member or a pending id is before it
    bool durable;           // its record is there, or is in this step's
    bool changed;           // and has to be written with this step
    int64_t empty_since_ms; // wall clock; while it has no members
    // The classic protocol.
    enum classic_phase phase;
    bool initial;           // PREPARING, and from EMPTY: no join completes it, only time
    bool newcomers;         // since the initial delay was last extended
    int64_t phase_due_ms;   // when PREPARING, or the waiting for syncs, ends; INT64_MAX: never
    int64_t initial_end_ms; // the initial delay is not extended beyond this
    int32_t generation;
    uint32_t joining;                // members whose JoinGroup waits
    uint32_t syncs_due;              // members with sync_due
    struct group_member *leader;     // of the generation; NULL: gone
    struct group_protocol *protocol; // chosen for the generation, and held; NULL: none
    struct span protocol_type;       // its own memory; absent: nobody has joined yet
    struct map protocols;            // all that members offer, by name
    struct group_topics topics;
    // The consumer protocol; its epoch is `generation`.
    struct consumer_group consumer;
    // While the image is loaded: the leader's id, its own memory, and targets. Afterwards: ids
    // whose records get tombstones with the next step.
    struct span loaded_leader;
    struct list loaded_targets;
    struct list stale;
    uint8_t text[];
};

// --- group.c -------------------------------------------------------------------------------------

// A copy in memory of its own; data NULL without memory. Never absent otherwise.
struct span group_copy(struct span bytes);
void group_span_free(struct span *bytes); // of group_copy; absent afterwards
// A copy in the ask's arena; false (and step->failed) without memory. Absent stays absent.
bool group_arena_copy(struct group_step *step, struct group_ask *ask, struct span bytes,
                      struct span *out);
void group_answer(struct group_step *step, struct group_ask *ask);
void group_answer_error(struct group_step *step, struct group_ask *ask, int16_t error);
// The same for a KP_ERROR, or a negative errno: memory is short, and the step has failed.
void group_refuse(struct group_step *step, struct group_ask *ask, int error);
// The group's record is to be written when the step ends.
void group_write(struct group *group);
void group_end_step(struct group *group, struct group_step *step);

// --- group_load.c --------------------------------------------------------------------------------

void group_load_free(struct group *group);
// A member whose records do not fit the others is dropped; they get tombstones with the next step,
// for nothing can be written while groups are loaded. False without memory.
bool group_load_drop(struct group *group, struct group_member *member);
// The records under this id, whose member is not there, get tombstones likewise.
bool group_load_mark_stale(struct group *group, struct span id);
void group_load_erase(struct group *group, struct group_step *step); // those tombstones

// --- group_record.c, in step->records ------------------------------------------------------------

void group_write_group(struct group_step *step, const struct group *group);
void group_write_member(struct group_step *step, const struct group *group,
                        const struct group_member *member);
void group_write_target(struct group_step *step, const struct group *group,
                        const struct group_member *member);
void group_erase_member(struct group_step *step, const struct group *group, struct span id);
void group_erase_target(struct group_step *step, const struct group *group, struct span id);
void group_erase_current(struct group_step *step, const struct group *group, struct span id);
// For the files that write records of their own: the key, then, after the value, the end. False:
// the step has failed.
bool group_record_begin(struct group_step *step, msgpack_packer *packer, const char *kind,
                        const struct group *group, struct span id);
void group_record_end(struct group_step *step);
void group_pack_text(msgpack_packer *packer, const char *name, struct span text);
void group_pack_number(msgpack_packer *packer, const char *name, int64_t number);
// As "protocols", and read again: 0 with *out, -EBADMSG, -ENOMEM.
void group_pack_offers(msgpack_packer *packer, const struct group_offers *offers);
int group_load_offers(struct group *group, const msgpack_object *list, struct group_offers **out);

// --- group_member.c ------------------------------------------------------------------------------

// What is to be known of a new member; the spans are copied.
struct group_identity {
    struct span id;
    struct span instance_id; // absent: none
    struct span client_id;
    struct span client_host;
};

// Bytes of a member that is called so.
size_t group_identity_size(const struct group_identity *identity);
struct group_member *group_member_find(const struct group *group, struct span id);
struct group_member *group_member_find_instance(const struct group *group, struct span instance_id);
// Whether the request comes from the member that it says: 0 with *out, or UNKNOWN_MEMBER_ID,
// FENCED_INSTANCE_ID. `instance_id` absent or empty: not given.
int16_t group_member_check(const struct group *group, struct span id, struct span instance_id,
                           struct group_member **out);
// A new member at the end of the list, without offers. NULL without memory.
struct group_member *group_member_add(struct group *group, const struct group_identity *identity);
// Takes it out, with what it offers; its records get tombstones, a parked ask is answered with
// UNKNOWN_MEMBER_ID. What follows for the group is the caller's.
void group_member_remove(struct group *group, struct group_step *step, struct group_member *member);
// The same without a word: nothing is written or answered.
void group_member_drop(struct group *group, struct group_member *member);
// A static member comes back under a new id: the same member with place, offers, assignment, and
// records under the new id. A parked ask of the old one is answered with FENCED_INSTANCE_ID. NULL
// without memory: nothing has changed.
struct group_member *group_member_replace(struct group *group, struct group_step *step,
                                          struct group_member *old,
                                          const struct group_identity *identity);
// Parks the ask as the member's; one that waits already is answered with REBALANCE_IN_PROGRESS.
void group_member_park(struct group *group, struct group_step *step, struct group_member *member,
                       struct group_ask *ask);
// The parked ask, taken out; the caller answers it. NULL: none.
struct group_ask *group_member_unpark(struct group *group, struct group_member *member);
// Its session starts anew, unless it waits.
void group_member_touch(struct group *group, struct group_step *step, struct group_member *member);
void group_member_set_deadline(struct group *group, struct group_member *member, int64_t at_ms);
// Replaces the assignment by a copy; absent: none. False without memory.
bool group_member_assign(struct group_member *member, struct span assignment);
// "<client>-<uuid>", in `out`.
enum { GROUP_MEMBER_ID_MAX = 128 + 1 + 36 };
struct span group_member_make_id(struct random *random, struct span client,
                                 uint8_t out[GROUP_MEMBER_ID_MAX]);

// Promises an id until `deadline_ms`. False without memory.
bool group_pending_add(struct group *group, struct span id, int64_t deadline_ms);
struct group_pending *group_pending_find(const struct group *group, struct span id);
void group_pending_remove(struct group *group, struct group_pending *pending);
// Those that are due go; members_due_ms is not behind any other.
void group_pending_expire(struct group *group, const struct group_step *step);

// --- group_offer.c -------------------------------------------------------------------------------

struct kp_join_group_request_protocol;

// Copies what a member offers; names that come twice count once. 0 with *out, or the error that the
// join is answered with; -ENOMEM. The offers count for the group when they are set.
int group_offers_new(struct group *group, const struct kp_join_group_request_protocol *protocols,
                     int32_t count, struct group_offers **out);
void group_offers_free(struct group *group, struct group_offers *offers);
// Puts them in the place of the member's, which are freed; NULL: none.
void group_offers_set(struct group *group, struct group_member *member,
                      struct group_offers *offers);
// Whether what is offered is what the member has offered, in the same order.
bool group_offers_equal(const struct group_member *member,
                        const struct kp_join_group_request_protocol *protocols, int32_t count);
// Whether one of the protocols is offered by all that offer any but `except` (NULL: by all).
bool group_offers_agree(const struct group *group,
                        const struct kp_join_group_request_protocol *protocols, int32_t count,
                        const struct group_member *except);
// What most of those that offer any prefer of that which they all offer; NULL: there is none.
struct group_protocol *group_offers_vote(struct group *group);
// The metadata that a member offers for a protocol; absent: it does not.
struct span group_offers_metadata(const struct group_member *member,
                                  const struct group_protocol *protocol);
// The protocol of this name, held for the caller; NULL without memory.
struct group_protocol *group_protocol_hold(struct group *group, struct span name);
void group_protocol_let_go(struct group *group, struct group_protocol *protocol);

// --- the classic protocol ------------------------------------------------------------------------

// classic.c
bool classic_load_done(struct group *group, struct group_step *step); // false without memory
// After a removal, which may have been the last one.
void classic_members_gone(struct group *group, struct group_step *step);
// The leader has handed out the assignments.
void classic_become_stable(struct group *group, struct group_step *step);
// Its SyncGroup has come, or is not expected any more.
void classic_sync_come(struct group *group, struct group_member *member);
void classic_time(struct group *group, struct group_step *step);
// After members have come, gone or changed: starts a rebalance, or completes one that waited.
void classic_rebalance(struct group *group, struct group_step *step);
void classic_prepare(struct group *group, struct group_step *step);
// No phase, leader, protocol or SyncGroup to come any more; the members stay. None has an ask.
void classic_end(struct group *group);
void classic_forsake(struct group *group, struct group_step *step, struct group_ask *ask);
void classic_try_complete(struct group *group, struct group_step *step);
// classic_join.c
struct kp_join_group_request;
void classic_join(struct group *group, struct group_step *step, struct group_ask *ask);
// Who joins: a member, who holds a promised id, or, with both NULL, nobody known yet. 0, or why the
// request is refused.
int16_t classic_join_find(const struct group *group, const struct group_step *step,
                          const struct kp_join_group_request *in, struct group_member **member,
                          struct group_pending **pending);
struct group_identity classic_join_identity(const struct group_ask *ask, struct span id);
// What is offered, if the group has room for it. `member` NULL: a new one; `more`: bytes that the
// member itself will take, besides those it takes already. 0, a KP_ERROR, -ENOMEM.
int classic_join_offers(struct group *group, const struct group_member *member,
                        const struct kp_join_group_request *in, size_t more,
                        struct group_offers **out);
// Takes over what the request says (member->changed); the offers become the member's.
void classic_join_update(struct group *group, struct group_member *member,
                         const struct group_ask *ask, struct group_offers *offers);
// Answers with MEMBER_ID_REQUIRED.
void classic_join_promise(struct group *group, struct group_step *step, struct group_ask *ask);
void classic_answer_join(struct group *group, struct group_step *step, struct group_member *member,
                         struct group_ask *ask);
// classic_sync.c
void classic_sync(struct group *group, struct group_step *step, struct group_ask *ask);
void classic_heartbeat(struct group *group, struct group_step *step, struct group_ask *ask);
int16_t classic_may_commit(struct group *group, struct group_step *step, struct span member_id,
                           struct span instance_id, int32_t generation);
// classic_leave.c
void classic_leave(struct group *group, struct group_step *step, struct group_ask *ask);
void classic_describe(struct group *group, struct group_step *step, struct group_ask *ask);
// classic_topics.c
bool classic_subscribes(struct group *group, struct span topic);
void classic_topics_forget(struct group *group);

// --- both protocols in one group -----------------------------------------------------------------

// migrate.c
// Whether members of the consumer protocol may turn groups like this one, which is classic.
bool migrate_is_open(const struct group *group, const struct group_step *step);
// Whether this one can be turned as well: what its members have said can be understood.
bool migrate_may_upgrade(const struct group *group, struct group_step *step);
// Turns it, of which may_upgrade was true in this step, into a group of the consumer protocol,
// whose targets are still to be computed. False without memory: the step has failed.
bool migrate_upgrade(struct group *group, struct group_step *step);
// Turns a group of the consumer protocol, if it has only classic members left and may be turned,
// into a classic one that rebalances. Whether it is one now, or the step has failed on the way.
bool migrate_downgrade(struct group *group, struct group_step *step);

// What a classic member has (and is to give up), as SyncGroup answers it: the bytes that it takes,
// and the bytes, at `to`.
size_t migrate_assignment_size(const struct group_step *step,
                               const struct consumer_member *consumer, bool with_revoking);
struct span migrate_assignment_write(const struct group_step *step,
                                     const struct group_member *member, bool with_revoking,
                                     uint8_t *to);

// mixed.c: classic members of a group of the consumer protocol.
void mixed_join(struct group *group, struct group_step *step, struct group_ask *ask);
void mixed_sync(struct group *group, struct group_step *step, struct group_ask *ask);
void mixed_heartbeat(struct group *group, struct group_step *step, struct group_ask *ask);
int16_t mixed_may_commit(struct group *group, struct group_step *step, struct span member_id,
                         struct span instance_id, int32_t generation);
