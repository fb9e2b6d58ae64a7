// SPDX-License-Identifier: Apache-2.0
// Histories of one group: its members, the network between them and the broker, and as much of a
// broker as a group needs. Time is counted, nothing waits: a history of ten minutes takes a
// millisecond.
//
//   group_sim.c          the clock, what happens when, the program
//   group_sim_broker.c   the group, its image, writes that take time and fail, crashes
//   group_sim_member.c   members as clients are, and what befalls them
//   group_sim_checker.c  what members were told, and what must hold of it
//   group_sim_consumer.c both, for members of the consumer protocol
//   group_sim_plants.c   faults that the others must find
//   group_sim_mixed.c    classic members whose metadata is that of real consumers, for groups with
//                        members of both protocols
//
// A history is one of three kinds: classic members only, which offer and assign texts; members of
// the consumer protocol only; or both in one group, which goes from one protocol to the other.
#pragma once

#include <inttypes.h>
#include <stdio.h>

#include "tests/unit/group_calls.h"

enum {
    SIM_MEMBERS = 10,
    SIM_PARTITIONS = 16,
    SIM_ID_SIZE = GROUP_MEMBER_ID_MAX + 1,
    SIM_INSTANCE_SIZE = 8,
    SIM_LISTED = 64,
    SIM_SAID = 60,
    SIM_SAID_SIZE = 180,
};

enum sim_what { SIM_JOIN, SIM_SYNC, SIM_HEARTBEAT, SIM_LEAVE, SIM_COMMIT, SIM_CONSUMER };

// A request under way, at the broker, or on the way back.
struct sim_request {
    struct call call;
    struct list node; // of those at the broker
    enum sim_what what;
    int member; // -1: nobody's
    uint64_t token;
    char id[SIM_ID_SIZE];
    char instance[SIM_INSTANCE_SIZE];
    int32_t generation; // or epoch
    bool full;          // CONSUMER: it says everything, and that it wants `metadata`
    uint32_t metadata;
    int64_t owned; // CONSUMER: what it lists, a bit each; -1: it does not. COMMIT: what it has
};

enum sim_event_kind {
    SIM_ARRIVES,   // a request at the broker
    SIM_ANSWERED,  // an answer at the member
    SIM_MEMBER,    // a member's time
    SIM_WRITTEN,   // the oldest write is durable
    SIM_GROUP,     // the group's time
    SIM_UP,        // the broker starts again
    SIM_MISFORTUNE // something befalls somebody
};

struct sim_event {
    int64_t at_ms;
    uint64_t order;
    enum sim_event_kind kind;
    struct sim_request *request;
    int member;
    uint64_t token;
};

enum sim_state { SIM_OFF, SIM_JOINING, SIM_COMPUTING, SIM_SYNCING, SIM_STABLE };

// A client. An empty `instance` makes it a dynamic member.
struct sim_member {
    enum sim_state state;
    int16_t version; // of JoinGroup; the others follow
    char id[SIM_ID_SIZE];
    char instance[SIM_INSTANCE_SIZE];
    uint32_t metadata;
    int32_t session_ms;
    int32_t rebalance_ms;
    int32_t generation;
    bool leads;
    uint64_t token;       // of the request that it waits for
    uint64_t timer;       // the one that counts
    int64_t heard_ms;     // the last good answer
    int64_t paused_until; // it neither hears nor acts before
    uint32_t owned;       // partitions, a bit each
    char listed[SIM_LISTED][SIM_ID_SIZE];
    uint32_t listed_count;
    bool classic;               // in a mixed group; `metadata` is what it wants
    uint32_t gives[SIM_LISTED]; // as the leader of real consumers
    // Of the consumer protocol, where `generation` is the epoch, and `metadata` what it wants.
    uint32_t target;    // what it was told that it has
    uint32_t reported;  // of what it owns, by the last request that was answered
    bool full;          // the next request says everything
    bool waits;         // for an answer
    int64_t arrival_ms; // of its last request at the broker
};

// Records of one step that are not durable yet, and the answers that wait for them.
struct sim_write {
    struct list node;
    uint64_t serial;
    struct group_records records;
    struct list answers;
};

struct sim_broker {
    struct group *group; // NULL: the broker is down
    struct group_limits limits;
    struct group_step step;
    struct image image;
    struct list writes; // struct sim_write, oldest first
    struct list requests;
    uint64_t serial;
    int64_t last_write_ms;
    uint32_t crashes;
};

struct sim_checker;
struct sim_consumers;

struct sim {
    uint64_t seed;
    struct random random;
    int64_t now_ms;
    struct sim_event *events; // a heap, the next one first
    uint32_t event_count;
    uint32_t event_capacity;
    uint64_t order;
    uint64_t token;
    bool calm; // nothing goes wrong any more
    struct sim_broker broker;
    struct sim_member members[SIM_MEMBERS];
    struct sim_checker *checker;
    struct sim_consumers *consumers; // NULL: a history of the classic protocol
    bool mixed;
    bool cooperative; // the classic members of a mixed group
    FILE *out;
    char said[SIM_SAID][SIM_SAID_SIZE];
    uint64_t said_count;
    uint64_t steps;
};

// --- group_sim.c

void sim_history(uint64_t seed); // ends the process if something is wrong
void sim_say(struct sim *sim, const char *format, ...) __attribute__((format(printf, 2, 3)));
_Noreturn void sim_fail(struct sim *sim, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
struct sim_event *sim_at(struct sim *sim, int64_t at_ms, enum sim_event_kind kind);
static inline uint64_t sim_random(struct sim *sim, uint64_t bound)
{
    return random_below(&sim->random, bound);
}
static inline bool sim_chance(struct sim *sim, uint64_t one_in)
{
    return !sim->calm && random_below(&sim->random, one_in) == 0;
}
// Through the network: it takes time, and may be lost.
void sim_send(struct sim *sim, struct sim_request *request, enum sim_event_kind kind);
struct sim_request *sim_request_new(struct sim *sim, enum sim_what what, int16_t version,
                                    const char *id, const char *instance, int32_t generation);
void sim_request_free(struct sim_request *request);

// --- group_sim_broker.c

void sim_broker_open(struct sim *sim);
void sim_broker_close(struct sim *sim);
void sim_broker_ask(struct sim *sim, struct sim_request *request);
void sim_broker_time(struct sim *sim);
void sim_broker_written(struct sim *sim, uint64_t serial);
void sim_broker_crash(struct sim *sim);
void sim_broker_up(struct sim *sim);
void sim_broker_fail_write(struct sim *sim);
void sim_broker_forsake(struct sim *sim);
void sim_broker_catalog_changed(struct sim *sim);

// --- group_sim_member.c

void sim_member_start(struct sim *sim, int member, const char *instance);
void sim_member_time(struct sim *sim, int member, uint64_t timer);
void sim_member_answer(struct sim *sim, struct sim_request *request);
void sim_misfortune(struct sim *sim);

// --- group_sim_checker.c

struct sim_checker *sim_checker_new(void);
void sim_checker_free(struct sim_checker *checker);
// A leader sends its assignments, each named "<number>:<partitions>".
void sim_checker_gives(struct sim *sim, const struct sim_request *request, uint32_t number);
// An answer leaves the broker.
void sim_checker_told(struct sim *sim, const struct sim_request *request);
// The group was made from the image.
void sim_checker_loaded(struct sim *sim);
// A member has committed what it had when it sent the request.
void sim_checker_committed(struct sim *sim, const struct sim_request *request);
// No partition has two owners that both may commit.
void sim_checker_owners(struct sim *sim);
// Whether every member that is on is in the same generation, and every partition has an owner.
bool sim_checker_settled(const struct sim *sim);

// --- group_sim_consumer.c

void sim_consumers_open(struct sim *sim);
void sim_consumers_close(struct sim *sim);
void sim_consumer_start(struct sim *sim, int member, const char *instance);
void sim_consumer_time(struct sim *sim, int member);
void sim_consumer_answer(struct sim *sim, const struct sim_request *request);
void sim_consumer_befall(struct sim *sim, int member);
void sim_consumer_arrives(struct sim *sim, const struct sim_request *request);
void sim_consumer_told(struct sim *sim, const struct sim_request *request);
void sim_consumer_loaded(struct sim *sim);
bool sim_consumer_settled(const struct sim *sim);
// Behind what the member has sent before, however late that is.
void sim_consumer_post(struct sim *sim, int member, struct sim_request *request);
uint32_t sim_consumer_partitions(const struct sim *sim, uint32_t topic);
// The generation that somebody under this id is told; it never goes back.
void sim_consumer_told_generation(struct sim *sim, const char *id, int32_t generation);

// --- group_sim_mixed.c

void sim_mixed_subscribe(struct sim *sim, struct sim_request *request);
void sim_mixed_plan(struct sim *sim, struct sim_member *member,
                    const struct kp_join_group_response *out);
void sim_mixed_assign(struct sim_request *request, const struct sim_member *member);
uint32_t sim_mixed_assigned(struct sim *sim, const struct kp_sync_group_response *out);
void sim_mixed_told(struct sim *sim, const struct sim_request *request);

// --- group_sim_plants.c

int sim_run_plants(uint64_t first, uint64_t seeds); // what main returns
