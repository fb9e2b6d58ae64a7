// SPDX-License-Identifier: Apache-2.0
// A consumer's membership of a group: what both protocols share (member.c, release.c), the classic
// protocol (member_classic.c, and member_lead.c for the member that leads) and the newer one
// (member_consumer.c). One thread, as everything of a client; nothing here waits.
#pragma once

#include "clients/c/assignor.h"
#include "clients/c/call.h"
#include "clients/c/coordinator.h"
#include "clients/c/member_metadata.h"
#include "clients/c/subscription.h"

struct kp_join_group_response;
struct weir_consumer;
struct assignment;

enum { MEMBER_ID_SIZE = 1024 };

enum member_state {
    MEMBER_OUT,     // in no generation; joins when it is wanted
    MEMBER_JOINING, // asked to be let in; classic: waits for the others
    MEMBER_LEADING, // classic: waits for the topics' metadata, to share them out
    MEMBER_SYNCING, // classic: waits for its assignment
    MEMBER_IN,      // has an assignment, and sends heartbeats
    MEMBER_LEAVING,
    MEMBER_FAILED, // out until the application subscribes anew; `error` says why
};

// A partition that the group gives to the member.
struct member_target {
    struct metadata_topic *topic;
    struct kp_uuid topic_id; // zero with the classic protocol
    int32_t partition;
};

// A topic that a leader watches: when its partitions change in number, the group has to rebalance.
struct member_watch {
    struct metadata_topic *topic;
    int32_t partition_count;
};

// Of the classic protocol alone.
struct member_classic {
    bool leader;
    bool skip;          // a leader whose group keeps its assignment
    bool cooperative;   // keeps its partitions through a rebalance
    struct arena round; // of a leader: from JoinGroup's answer to SyncGroup's
    struct assignor assignor;
    struct metadata_topic **topics; // of assignor.topics
    char protocol_name[64];         // the strategy that the group has agreed on
    struct member_watch *watches;   // what the last assignment was made from
    size_t watch_count;
    int32_t target_generation; // in which `target` was given
};

// Of the newer protocol alone.
struct member_newer {
    bool joined;            // the broker has answered with an epoch
    bool complete;          // the next heartbeat says everything, not only what has changed
    uint64_t owned_version; // rises when a partition is taken or given up
    uint64_t owned_sent;    // in the heartbeat under way
    uint64_t owned_known;   // to the broker
    uint64_t version_sent;  // of the subscription, in the heartbeat under way
    struct member_given {
        struct kp_uuid topic_id;
        int32_t partition;
    } * given; // by the broker
    size_t given_count;
    uint64_t asked_ns; // when the heartbeat under way was written
    uint64_t given_ns; // when the one was that `given` answers
    struct member_name {
        struct kp_uuid topic_id;
        struct metadata_topic *topic;
    } * names;
    size_t name_count;
    struct call naming; // looks up names of topic ids
    bool naming_under_way;
    uint64_t naming_due_ns;
};

struct member {
    struct weir_consumer *consumer;
    struct subscription subscription;
    enum member_state state;
    bool classic;            // the protocol it speaks
    bool present;            // the broker may count it as a member
    char id[MEMBER_ID_SIZE]; // "": none yet
    int32_t generation;      // or epoch; -1: none
    struct call call;        // join, sync, heartbeat or leave
    bool calling;            // `call` is under way
    int16_t code;            // what the broker answered
    char words[256];         // and why, if it said
    uint64_t due_ns;         // of the next heartbeat or attempt to join
    int64_t heartbeat_ms;    // the interval
    uint32_t attempts;       // to join, in a row
    uint64_t joined_version; // of the subscription, as the group knows it
    bool rejoin;             // the group rebalances, or has to
    int error;               // when MEMBER_FAILED
    char reason[768];
    struct member_target *target; // what the group wants it to have
    size_t target_count;
    bool target_new; // and what it has may not be that yet

    // Giving up (release.c).
    bool releasing;          // some partitions are CLAIM_REVOKE or CLAIM_REVOKING
    bool telling;            // the application is in the callback about them
    bool held;               // it asked for more time
    uint64_t release_number; // the last commit that they wait for
    uint64_t release_deadline_ns;

    // The application.
    void (*changed)(void *context, const struct weir_rebalance *rebalance);
    void *context;
    bool announce;      // tell of the assignment even if there is nothing
    bool closing;       // weir_consumer_close is at work
    bool polling;       // weir_consumer_poll is
    uint64_t polled_ns; // when it was, last

    struct member_classic classics;
    struct member_newer newer;
};

// --------------------------------------------------------------------------------- for consumers

void member_init(struct member *member, struct weir_consumer *consumer);
void member_free(struct member *member);

// Does what is due, and returns when to look again.
uint64_t member_drive(struct member *member);

// Tells the application what has changed; member_to_report: whether there is something.
bool member_to_report(const struct member *member);
void member_report(struct member *member);

// Subscribed, or on the way out.
static inline bool member_involved(const struct member *member)
{
    return !subscription_is_empty(&member->subscription) || member->state != MEMBER_OUT ||
           member->present;
}

bool member_is_static(const struct member *member);

// Holds nothing, and is not about to: it has left or leaves, or was refused for good.
bool member_gone(const struct member *member);

// A commit was refused: the next heartbeat, which tells how things are, is due at once.
void member_doubted(struct member *member);

// ------------------------------------------------------------------------------ for the protocols

// Whether it should be a member.
bool member_wanted(const struct member *member);

// Sends a request to the coordinator; `done` is called once, unless member_hang_up comes first.
struct member_ask {
    int16_t api_key;
    int16_t version_min;
    bool parks; // the broker may answer late: on a connection of its own
    void (*encode)(struct call *call, struct kp_writer *writer);
    int (*decode)(struct call *call, struct reply *reply);
    void (*done)(struct call *call);
};
void member_call(struct member *member, struct member_ask ask);
void member_hang_up(struct member *member);

// For `decode`: keeps the broker's code for `done`. Returns WEIR_OK, or the code if the coordinator
// is to be asked again, or another one.
int member_answered(struct member *member, int16_t code, struct span words);

// Back to MEMBER_OUT; joins again after a pause that grows with each attempt in vain.
void member_retry(struct member *member);

// The partitions are somebody else's: ends commits, tells the application, back to MEMBER_OUT.
void member_lose(struct member *member);

// Out for good.
void member_fail(struct member *member, int error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void member_fail_code(struct member *member); // with member->code
void member_fail_call(struct member *member); // with member->call.error

// Replaces the target; false when memory is short. The items are copied.
bool member_aim(struct member *member, const struct member_target *target, size_t count);

// Takes and gives up what makes the difference to the target, unless a difference is being dealt
// with: to be called again then.
void member_apply(struct member *member);

// What it holds at the moment, FRESH to REVOKING, by topic: in the arena. `releasing`: also what it
// is giving up. False when memory is short.
bool member_owned(const struct member *member, struct arena *arena, bool releasing,
                  struct topic_shares *out);

// ----------------------------------------------------------------------------- release.c

// Starts giving partitions up: all, or those of topics not subscribed to any more, or not in the
// target.
enum release_what { RELEASE_ALL, RELEASE_UNSUBSCRIBED, RELEASE_UNAIMED };
void release_start(struct member *member, enum release_what what);

// Ends it when everything that it waits for has come.
void release_drive(struct member *member);

// Whether it holds nothing and the application knows.
bool release_complete(const struct member *member);
bool release_untold(const struct member *member);

// ----------------------------------------------------------------------------- the protocols

void classic_drive(struct member *member);
void classic_leave(struct member *member);

// The leader's part: false when memory is short. `lead_ready`: all that it needs is known.
bool lead_begin(struct member *member, const struct kp_join_group_response *answer);
bool lead_ready(const struct member *member);
bool lead_assign(struct member *member);
bool lead_outdated(const struct member *member); // the topics have changed since

void newer_drive(struct member *member);
void newer_leave(struct member *member);
uint64_t newer_due_ns(const struct member *member);
void newer_free(struct member *member);
