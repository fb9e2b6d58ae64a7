// SPDX-License-Identifier: Apache-2.0
// The parts of a group that the consumer protocol (KIP-848) needs: topics, sets of partitions, what
// members are subscribed to, what they have and shall have. A part of group_internal.h.
#pragma once

#include "base/list.h"
#include "base/map.h"
#include "broker/groups/group.h"
#include "protocol/types.h"

struct group_member;
struct kp_consumer_group_heartbeat_request_topic_partition;
struct pattern;

enum {
    CONSUMER_TOPICS_MAX = 10000, // names in one subscription
    CONSUMER_TEXT_MAX = 255,     // bytes of a member id, of a rack
    CONSUMER_LEFT = -2,          // the epoch of a static member that will be back
    // Partitions that a member may say it has, if it was not told of more.
    CONSUMER_OWNED_MAX = 100000,
    // What a step does for patterns; see pattern.h.
    CONSUMER_PATTERN_COST = 400,
};

// --- topics and partitions -----------------------------------------------------------------------

// A topic that somebody is subscribed to, has, or shall have. It goes with the last of those.
struct consumer_topic {
    struct kp_uuid id;
    uint32_t holds;
    uint32_t index;                   // while an assignment is computed
    uint32_t mark;                    // that this computation has seen it
    int32_t partition_count;          // as the catalog says; 0: it is not there
    struct consumer_member **holders; // who has the partition, by number; NULL: nobody
    int32_t holder_count;             // the length of that
    struct span name;                 // empty: it was not in the catalog when it was first heard of
    uint8_t text[];
};

struct consumer_part {
    struct consumer_topic *topic;
    int32_t partition;
};

// Sorted by topic id and partition. Every part holds its topic.
struct consumer_set {
    struct consumer_part *parts;
    uint32_t count;
};

// Parts on their way into a set, in any order.
struct consumer_part_list {
    struct consumer_part *parts;
    uint32_t count;
    uint32_t capacity;
};

// Topics, sorted by id. Each is held.
struct consumer_topic_list {
    struct consumer_topic **items;
    uint32_t count;
    uint32_t capacity;
};

// --- what members want ---------------------------------------------------------------------------

// Members with equal ones share it.
struct consumer_subscription {
    struct list node;   // in consumer.matching, while a pass is under way
    struct span key;    // in the map
    struct span regex;  // absent: none
    struct span *names; // sorted, each once
    uint32_t name_count;
    struct pattern *pattern;
    uint32_t members;
    uint32_t number;                   // while an assignment is computed
    uint32_t mark;                     // that this computation has seen it
    struct consumer_topic_list topics; // that there are, of these; kept while a pass is under way
    bool known;                        // a first pass has ended: `topics` is right
    bool broken; // the pattern takes too many steps, and counts as matching none
    struct consumer_topic_list found; // what the pattern matches, by the pass under way, unsorted
    uint64_t found_version;           // of the catalog when it began
    uint8_t after[256];               // it goes on behind this name
    uint8_t after_size;
    uint8_t text[];
};

// --- what members have ---------------------------------------------------------------------------

// STABLE: it was told all of its target. UNREVOKED: it has to give partitions up. UNRELEASED: it
// waits for partitions that others have.
enum consumer_state { CONSUMER_STABLE, CONSUMER_UNREVOKED, CONSUMER_UNRELEASED };

struct consumer_member {
    int32_t epoch;
    int32_t previous_epoch; // what it had before it was told this one
    enum consumer_state state;
    struct consumer_subscription *subscription;
    enum group_assignor assignor; // that it prefers
    struct span rack;             // its own memory; absent: none
    struct consumer_set target;
    struct consumer_set assigned; // what it was told, or is with this step
    struct consumer_set revoking; // what it was told before, and has not said to be without
    int64_t revoke_due_ms;        // UNREVOKED: it is removed then; INT64_MAX
    int64_t classic_due_ms;       // of the classic protocol: likewise if it has not joined, or
                                  // synced, by then; INT64_MAX: that is not expected of it
    bool has_current;             // its record of that name is there
};

// The partitions that a request lists.
struct consumer_owned {
    const struct kp_consumer_group_heartbeat_request_topic_partition *topics;
    int32_t count; // -1: it lists none, not even none
};

// --- of a group ----------------------------------------------------------------------------------

struct consumer_group {
    struct map topics;        // by id
    struct map subscriptions; // by key
    struct list matching;     // subscriptions with a pass under way
    int64_t work_due_ms;      // now, while there are any; INT64_MAX
    uint32_t unknown;         // subscriptions that are not `known`
    bool turned;              // it was classic, and no epoch has begun since
    bool dirty;               // the targets are not those of what members want
    uint64_t hash;            // of the topics and their partitions that the targets are for
    uint32_t mark;            // the last one given
    size_t parts;             // in all sets
    struct list loaded;       // records that wait until all are there
};

// consumer_set.c
int consumer_part_compare(const void *a, const void *b);
// The topic, new or not, and no hold more; NULL without memory. `from` NULL: it is not in the
// catalog.
struct consumer_topic *consumer_topic_find(struct group *group, struct kp_uuid id);
struct consumer_topic *consumer_topic_get(struct group *group, struct kp_uuid id,
                                          const struct catalog_topic *from);
void consumer_topic_let_go(struct group *group, struct consumer_topic *topic);
// Makes room for holders up to this partition. False without memory.
bool consumer_topic_make_room(struct consumer_topic *topic, int32_t partition);
struct consumer_member *consumer_holder(const struct consumer_part *part);
// Takes the sorted parts in the place of what is there; `parts` stays the caller's. False without
// memory: nothing has changed.
bool consumer_set_replace(struct group *group, struct consumer_set *set,
                          const struct consumer_part *parts, uint32_t count);
void consumer_set_free(struct group *group, struct consumer_set *set);
bool consumer_set_has(const struct consumer_set *set, struct consumer_part part);
// Adds a part, which holds its topic until the list is emptied. False without memory.
bool consumer_part_list_add(struct consumer_part_list *list, struct consumer_topic *topic,
                            int32_t partition);
// Keeps the memory.
void consumer_part_list_empty(struct group *group, struct consumer_part_list *list);
bool consumer_set_equal(const struct consumer_set *set, const struct consumer_part *parts,
                        uint32_t count);
// Holds the topic that is added. False without memory.
bool consumer_topic_list_add(struct consumer_topic_list *topics, struct consumer_topic *topic);
void consumer_topic_list_sort(struct group *group, struct consumer_topic_list *topics); // each once
void consumer_topic_list_free(struct group *group, struct consumer_topic_list *topics);

// consumer_subscribe.c
// The subscription to these, held for one member more. 0 with *out; -ENOMEM;
// INVALID_REGULAR_EXPRESSION, INVALID_REQUEST. `regex` absent or empty: none.
int consumer_subscription_hold(struct group *group, struct group_step *step,
                               const struct span *names, uint32_t name_count, struct span regex,
                               struct consumer_subscription **out);
void consumer_subscription_let_go(struct group *group, struct consumer_subscription *subscription);
// Looks everything up again; what patterns match is looked for in this step and the next ones.
void consumer_subscriptions_refresh(struct group *group, struct group_step *step);
void consumer_subscriptions_work(struct group *group, struct group_step *step);
bool consumer_subscribes(const struct group *group, struct span topic);

// consumer_target.c
// Members or what they want have changed: a new epoch with new targets, as soon as it is known what
// all patterns match.
void consumer_rebalance(struct group *group, struct group_step *step);
// Likewise if topics have changed, or it was put off.
void consumer_target_settle(struct group *group, struct group_step *step);
// The one that most members prefer; if they are not of one mind, the first that is configured.
enum group_assignor consumer_group_assignor(const struct group *group,
                                            const struct group_step *step);

// consumer_reconcile.c
// One step of a member towards its target. False without memory. Writes its record if it changes.
bool consumer_reconcile(struct group *group, struct group_step *step, struct group_member *member,
                        const struct consumer_owned *owned, bool *assigned_changed);
// Whether all that is listed is what nobody else can have: what the member was told, or is still to
// give up.
bool consumer_owns_no_more(struct group *group, const struct consumer_owned *owned,
                           const struct consumer_member *consumer);
// What a member was to give up is free.
void consumer_release_revoking(struct group *group, struct consumer_member *consumer);
// Whether others have parts of the member's target.
bool consumer_waits(const struct consumer_member *consumer);
// The member has until its rebalance timeout to give up what it is to.
void consumer_let_revoke(struct group *group, struct group_step *step, struct group_member *member);
// All of a member's partitions are free.
void consumer_release(struct group *group, struct consumer_member *consumer);
// The parts, of which none has a holder, are this member's. False without memory: nothing changed.
bool consumer_hold(const struct consumer_part *parts, uint32_t count,
                   struct consumer_member *consumer);

// consumer.c
void consumer_open(struct group *group);  // of a new group
void consumer_close(struct group *group); // which has no members any more
// What it counts for one member, in bytes; NULL: nothing.
size_t consumer_subscription_weight(const struct consumer_subscription *subscription);
struct consumer_member *consumer_member_new(void);
void consumer_member_free(struct group *group, struct group_member *member); // if it is one
// What a member is subscribed to, with what that counts. It takes the hold over.
void consumer_member_subscribe(struct group *group, struct group_member *member,
                               struct consumer_subscription *subscription);
// Absent or the same: nothing changes. False without memory.
bool consumer_member_set_rack(struct consumer_member *consumer, struct span rack, bool *changed);
void consumer_heartbeat(struct group *group, struct group_step *step, struct group_ask *ask);
void consumer_time(struct group *group, struct group_step *step);
void consumer_catalog_changed(struct group *group, struct group_step *step);
// After members have gone.
void consumer_members_gone(struct group *group, struct group_step *step);
int16_t consumer_may_commit(struct group *group, struct group_step *step, struct span member_id,
                            struct span instance_id, int32_t epoch, int16_t version);
int16_t consumer_may_fetch(struct group *group, struct span member_id, int32_t epoch);
const char *consumer_state_name(const struct group *group);

// consumer_describe.c
void consumer_describe(struct group *group, struct group_step *step, struct group_ask *ask);

// consumer_record.c
struct group_record;
void consumer_write_group(struct group_step *step, const struct group *group);
void consumer_write_member(struct group_step *step, const struct group *group,
                           const struct group_member *member);
void consumer_write_target(struct group_step *step, const struct group *group,
                           struct group_member *member);
void consumer_write_current(struct group_step *step, const struct group *group,
                            struct group_member *member);
// consumer_load.c
bool consumer_load_is_ours(const struct group_record *record); // which is no tombstone
// 0, -EBADMSG, -ENOMEM
int consumer_load(struct group *group, const struct group_record *record, struct span value);
bool consumer_load_done(struct group *group, struct group_step *step); // false without memory
bool consumer_load_mark_all_stale(struct group *group);                // likewise
void consumer_load_forget(struct group *group);
