// SPDX-License-Identifier: Apache-2.0
// Asks to groups as operations of a coordinator, on two shards without threads.
#pragma once

#include "gen/kp_delete_groups.h"
#include "gen/kp_describe_groups.h"
#include "gen/kp_heartbeat.h"
#include "gen/kp_join_group.h"
#include "gen/kp_leave_group.h"
#include "gen/kp_sync_group.h"
#include "protocol/error.h"
#include "tests/unit/broker_state_shards.h"

struct asked {
    struct coordinator_op op;
    struct arena arena;
    bool done;
    union {
        struct kp_join_group_request join;
        struct kp_sync_group_request sync;
        struct kp_heartbeat_request heartbeat;
        struct kp_leave_group_request leave;
    } in;
    union {
        struct kp_join_group_response join;
        struct kp_sync_group_response sync;
        struct kp_heartbeat_response heartbeat;
        struct kp_leave_group_response leave;
        struct kp_describe_groups_response_group described;
        struct kp_delete_groups_response_group deleted;
    } out;
    struct kp_join_group_request_protocol protocol;
    struct kp_sync_group_request_assignment assignment;
    struct kp_leave_group_request_member leaver;
};

static inline void asked_done(struct coordinator_op *op)
{
    list_entry(op, struct asked, op)->done = true;
}

static inline struct asked *asked_new(enum group_ask_kind kind, int16_t version, const char *group)
{
    struct asked *asked = calloc(1, sizeof(*asked));
    arena_init(&asked->arena, 64 << 20);
    asked->op = (struct coordinator_op){
        .kind = COORDINATOR_ASK,
        .group = span_text(group),
        .ask = {.kind = kind,
                .version = version,
                .client_id = span_text("client"),
                .client_host = span_text("/host"),
                .in = &asked->in,
                .out = &asked->out,
                .arena = &asked->arena},
        .arena = &asked->arena,
        .done = asked_done,
    };
    return asked;
}

static inline void asked_end(struct asked *asked)
{
    arena_free(&asked->arena);
    free(asked);
}

static inline void asked_submit(struct shards *shards, uint32_t home, struct asked *asked)
{
    coordinator_submit(&shards->shard[home], &asked->op);
    cr_assert_not(asked->done, "never from inside");
}

// JoinGroup of a version that needs no second round for a new member.
static inline struct asked *asked_join(const char *group, const char *member)
{
    struct asked *asked = asked_new(GROUP_JOIN, 3, group);
    kp_join_group_request_init(&asked->in.join);
    kp_join_group_response_init(&asked->out.join);
    asked->protocol = (struct kp_join_group_request_protocol){.name = span_text("range"),
                                                              .metadata = span_text("what I want")};
    asked->in.join.group_id = span_text(group);
    asked->in.join.session_timeout_ms = 10000;
    asked->in.join.rebalance_timeout_ms = 60000;
    asked->in.join.member_id = span_text(member);
    asked->in.join.protocol_type = span_text("test");
    asked->in.join.protocols = &asked->protocol;
    asked->in.join.protocols_count = 1;
    return asked;
}

static inline struct asked *asked_sync(const char *group, const char *member, int32_t generation,
                                       const char *assignment)
{
    struct asked *asked = asked_new(GROUP_SYNC, 2, group);
    kp_sync_group_request_init(&asked->in.sync);
    kp_sync_group_response_init(&asked->out.sync);
    asked->assignment = (struct kp_sync_group_request_assignment){
        .member_id = span_text(member), .assignment = span_text(assignment)};
    asked->in.sync.group_id = span_text(group);
    asked->in.sync.generation_id = generation;
    asked->in.sync.member_id = span_text(member);
    asked->in.sync.assignments = &asked->assignment;
    asked->in.sync.assignments_count = assignment ? 1 : 0;
    return asked;
}

static inline struct asked *asked_heartbeat(const char *group, const char *member,
                                            int32_t generation)
{
    struct asked *asked = asked_new(GROUP_HEARTBEAT, 2, group);
    kp_heartbeat_request_init(&asked->in.heartbeat);
    kp_heartbeat_response_init(&asked->out.heartbeat);
    asked->in.heartbeat.group_id = span_text(group);
    asked->in.heartbeat.generation_id = generation;
    asked->in.heartbeat.member_id = span_text(member);
    return asked;
}

static inline int16_t asked_run_heartbeat(struct shards *shards, const char *group,
                                          const char *member, int32_t generation)
{
    struct asked *asked = asked_heartbeat(group, member, generation);
    asked_submit(shards, 0, asked);
    shards_until(shards, &asked->done);
    int16_t error = asked->out.heartbeat.error_code;
    asked_end(asked);
    return error;
}

static inline int16_t asked_run_leave(struct shards *shards, const char *group, const char *member)
{
    struct asked *asked = asked_new(GROUP_LEAVE, 2, group);
    kp_leave_group_request_init(&asked->in.leave);
    kp_leave_group_response_init(&asked->out.leave);
    asked->in.leave.group_id = span_text(group);
    asked->in.leave.member_id = span_text(member);
    asked_submit(shards, 1, asked);
    shards_until(shards, &asked->done);
    int16_t error = asked->out.leave.error_code;
    asked_end(asked);
    return error;
}

static inline int16_t asked_run_delete(struct shards *shards, const char *group)
{
    struct asked *asked = asked_new(GROUP_DELETE, 2, group);
    kp_delete_groups_response_group_init(&asked->out.deleted);
    asked_submit(shards, 1, asked);
    shards_until(shards, &asked->done);
    int16_t error = asked->out.deleted.error_code;
    asked_end(asked);
    return error;
}

// The answer is in ->out.described; end it with asked_end.
static inline struct asked *asked_run_describe(struct shards *shards, const char *group)
{
    struct asked *asked = asked_new(GROUP_DESCRIBE, 6, group);
    kp_describe_groups_response_group_init(&asked->out.described);
    asked->out.described.group_id = span_text(group);
    asked_submit(shards, 0, asked);
    shards_until(shards, &asked->done);
    return asked;
}

enum { MEMBER_ID_SIZE = 128 };

struct member {
    char id[MEMBER_ID_SIZE];
    int32_t generation;
};

// One member joins an empty group and gets an assignment.
static inline struct member asked_settle_one(struct shards *shards, const char *group,
                                             const char *assignment)
{
    struct member member = {.generation = -1};
    struct asked *join = asked_join(group, "");
    asked_submit(shards, 1, join);
    shards_until(shards, &join->done);
    cr_assert_eq(join->out.join.error_code, 0);
    cr_assert_lt(join->out.join.member_id.size, sizeof(member.id));
    memcpy(member.id, join->out.join.member_id.data, join->out.join.member_id.size);
    member.generation = join->out.join.generation_id;
    asked_end(join);
    struct asked *sync = asked_sync(group, member.id, member.generation, assignment);
    asked_submit(shards, 0, sync);
    shards_until(shards, &sync->done);
    cr_assert_eq(sync->out.sync.error_code, 0);
    cr_assert(span_equal(sync->out.sync.assignment, span_text(assignment)));
    asked_end(sync);
    return member;
}
