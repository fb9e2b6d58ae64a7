// SPDX-License-Identifier: Apache-2.0
// One group, driven by hand: a clock that the test turns, an image of what is durable, and calls
// that remember their answers.
#pragma once

#include <criterion/criterion.h>
#include <stdio.h>

#include "tests/unit/group_calls.h"

// --- the group and its world ---------------------------------------------------------------------

enum { CALLS_MAX = 4096 };

struct fixture {
    struct group *group;
    struct group_limits limits;
    struct random random;
    struct group_records records;
    struct list answers;
    struct group_step step;
    struct image image;
    uint32_t written; // records, in all
    struct call *calls[CALLS_MAX];
    uint32_t call_count;
};

static inline void fixture_take_answers(struct fixture *f)
{
    struct list *node;
    while ((node = list_pop(&f->answers))) {
        struct call *call = list_entry(list_entry(node, struct group_ask, node), struct call, ask);
        CHECK(!call->answered && !call->ask.member);
        call->answered = true;
        cr_assert(call_encodes(call), "kind %d, version %d", call->ask.kind, call->ask.version);
    }
}

// What a step wants written is durable, and its answers have arrived.
static inline void fixture_settle(struct fixture *f)
{
    cr_assert_not(f->step.failed);
    image_apply(&f->image, &f->records);
    f->written += f->records.count;
    group_records_clear(&f->records);
    fixture_take_answers(f);
    group_check(f->group);
}

static inline void fixture_open(struct fixture *f)
{
    *f = (struct fixture){
        .group = group_new(span_text("readers")),
        .limits = {.min_session_timeout_ms = 6000,
                   .max_session_timeout_ms = 1800000,
                   .initial_rebalance_delay_ms = 3000,
                   .max_members = 100},
        .random = {7},
    };
    group_records_init(&f->records);
    list_init(&f->answers);
    map_init(&f->image.records);
    f->step = (struct group_step){
        .now_ms = 1000000,
        .wall_ms = 1700000000000,
        .limits = &f->limits,
        .random = &f->random,
        .records = &f->records,
        .answers = &f->answers,
    };
}

static inline void fixture_close(struct fixture *f)
{
    group_give_up(f->group, &f->answers, KP_ERROR_COORDINATOR_NOT_AVAILABLE);
    fixture_take_answers(f);
    group_free(f->group);
    for (uint32_t i = 0; i < f->call_count; i++) {
        CHECK(f->calls[i]->answered);
        call_free(f->calls[i]);
    }
    group_records_free(&f->records);
    image_free(&f->image);
}

// The broker crashes and starts again: only the image stays.
static inline void fixture_restart(struct fixture *f)
{
    struct image_record *record;
    size_t at = 0;
    group_give_up(f->group, &f->answers, KP_ERROR_COORDINATOR_NOT_AVAILABLE);
    fixture_take_answers(f);
    group_free(f->group);
    f->group = group_new(span_text("readers"));
    while ((record = map_next(&f->image.records, &at)))
        cr_assert_eq(group_load(f->group, record->key, record->value), 0);
    cr_assert_eq(group_load_done(f->group, &f->step), 0);
    cr_assert_eq(f->records.count, 0u);
    group_check(f->group);
}

static inline struct call *fixture_ask(struct fixture *f, struct call *call)
{
    cr_assert_lt(f->call_count, (uint32_t)CALLS_MAX);
    f->calls[f->call_count++] = call;
    group_ask(f->group, &f->step, &call->ask);
    fixture_settle(f);
    return call;
}

// Turns the clock, from one time limit to the next.
static inline void fixture_pass(struct fixture *f, int64_t ms)
{
    int64_t end = f->step.now_ms + ms;
    for (;;) {
        int64_t due = group_due_ms(f->group);
        int64_t to = due < end ? due : end;
        if (to > f->step.now_ms) {
            f->step.wall_ms += to - f->step.now_ms;
            f->step.now_ms = to;
        }
        if (due > end)
            return;
        group_time(f->group, &f->step);
        fixture_settle(f);
        cr_assert_gt(group_due_ms(f->group), f->step.now_ms, "time must move on");
    }
}

// --- what members ask ----------------------------------------------------------------------------

struct join {
    int16_t version;       // default 5; -1: 0
    const char *id;        // default ""
    const char *instance;  // default none
    const char *type;      // default "consumer"
    const char *protocols; // default "range=r"
    int32_t session_ms;    // default 10000
    int32_t rebalance_ms;  // default 60000
};

static inline struct call *join_call(struct join join)
{
    struct call *call = call_new(GROUP_JOIN, join.version == 0  ? 5
                                             : join.version < 0 ? 0
                                                                : join.version);
    struct kp_join_group_request *in = &call->in.join;
    kp_join_group_request_init(in);
    in->group_id = span_text("readers");
    in->member_id = call_keep(call, join.id ? join.id : "");
    in->group_instance_id = call_keep(call, join.instance);
    in->protocol_type = call_keep(call, join.type ? join.type : "consumer");
    in->session_timeout_ms = join.session_ms ? join.session_ms : 10000;
    in->rebalance_timeout_ms = join.rebalance_ms ? join.rebalance_ms : 60000;
    call_protocols(call, join.protocols ? join.protocols : "range=r");
    return call;
}

static inline struct call *join(struct fixture *f, struct join join)
{
    return fixture_ask(f, join_call(join));
}

// The member id of a join's answer, or the one that it was promised.
static inline const char *id_of(struct call *call)
{
    cr_assert(call->answered);
    struct span id = call->out.join.member_id;
    return arena_text(&call->arena, id.data, id.size);
}

// A dynamic member's two joins; the second one is returned.
static inline struct call *join_twice(struct fixture *f, struct join args)
{
    struct call *first = join(f, args);
    cr_assert(first->answered);
    cr_assert_eq(first->out.join.error_code, KP_ERROR_MEMBER_ID_REQUIRED);
    args.id = id_of(first);
    return join(f, args);
}

// A list of member=assignment, NULL for none.
static inline struct call *sync_call(int16_t version, const char *id, int32_t generation)
{
    struct call *call = call_new(GROUP_SYNC, version);
    kp_sync_group_request_init(&call->in.sync);
    call->in.sync.group_id = span_text("readers");
    call->in.sync.member_id = call_keep(call, id);
    call->in.sync.generation_id = generation;
    if (version >= 5) {
        call->in.sync.protocol_type = span_text("consumer");
        call->in.sync.protocol_name = span_text("range");
    }
    call->in.sync.assignments = arena_array(&call->arena, 1100, sizeof(*call->in.sync.assignments));
    return call;
}

static inline void sync_assign(struct call *call, const char *id, const char *assignment)
{
    call->in.sync.assignments[call->in.sync.assignments_count++] =
        (struct kp_sync_group_request_assignment){.member_id = call_keep(call, id),
                                                  .assignment = call_keep(call, assignment)};
}

static inline struct call *sync(struct fixture *f, const char *id, int32_t generation)
{
    return fixture_ask(f, sync_call(4, id, generation));
}

static inline int16_t beat(struct fixture *f, const char *id, const char *instance,
                           int32_t generation)
{
    struct call *call = call_new(GROUP_HEARTBEAT, 4);
    kp_heartbeat_request_init(&call->in.heartbeat);
    call->in.heartbeat.member_id = call_keep(call, id);
    call->in.heartbeat.group_instance_id = call_keep(call, instance);
    call->in.heartbeat.generation_id = generation;
    fixture_ask(f, call);
    cr_assert(call->answered);
    return call->out.heartbeat.error_code;
}

static inline struct call *leave(struct fixture *f, const char *id, const char *instance)
{
    struct call *call = call_new(GROUP_LEAVE, 5);
    kp_leave_group_request_init(&call->in.leave);
    call->in.leave.members = arena_array(&call->arena, 1, sizeof(*call->in.leave.members));
    call->in.leave.members_count = 1;
    call->in.leave.members[0].member_id = call_keep(call, id);
    call->in.leave.members[0].group_instance_id = call_keep(call, instance);
    fixture_ask(f, call);
    cr_assert(call->answered);
    return call;
}

static inline struct call *describe(struct fixture *f)
{
    struct call *call = call_new(GROUP_DESCRIBE, 5);
    kp_describe_groups_response_group_init(&call->out.describe);
    call->out.describe.group_id = span_text("readers");
    return fixture_ask(f, call);
}

static inline bool is_text(struct span bytes, const char *text)
{
    return span_equal(bytes, span_text(text));
}

// A STABLE group of `count` members at generation 1 (a: the leader, b, ...), each with the
// assignment of its own letter. With `instances` member "a" has the instance id "ia", and so on.
struct members {
    const char *ids[8];
    uint32_t count;
};

static inline struct members stable_group(struct fixture *f, uint32_t count, bool instances)
{
    static const char *const names[] = {"ia", "ib", "ic", "id", "ie", "if", "ig", "ih"};
    static const char *const letters[] = {"a", "b", "c", "d", "e", "f", "g", "h"};
    struct members members = {.count = count};
    struct call *joins[8];
    for (uint32_t i = 0; i < count; i++)
        joins[i] = instances ? join(f, (struct join){.instance = names[i]})
                             : join_twice(f, (struct join){0});
    fixture_pass(f, 6000);
    for (uint32_t i = 0; i < count; i++) {
        cr_assert(joins[i]->answered);
        cr_assert_eq(joins[i]->out.join.error_code, 0);
        cr_assert_eq(joins[i]->out.join.generation_id, 1);
        members.ids[i] = id_of(joins[i]);
    }
    struct call *lead = sync_call(4, members.ids[0], 1);
    for (uint32_t i = 0; i < count; i++)
        sync_assign(lead, members.ids[i], letters[i]);
    fixture_ask(f, lead);
    for (uint32_t i = 1; i < count; i++)
        cr_assert(is_text(sync(f, members.ids[i], 1)->out.sync.assignment, letters[i]));
    cr_assert(is_text(lead->out.sync.assignment, "a"));
    cr_assert_str_eq(group_state_name(f->group), "Stable");
    return members;
}
