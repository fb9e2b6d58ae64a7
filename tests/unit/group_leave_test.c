// SPDX-License-Identifier: Apache-2.0
// Leaving, and what is to be seen of a group from outside.
#include "tests/unit/group_fixture.h"

Test(group, who_leaves_sets_the_others_in_motion)
{
    struct fixture f;
    fixture_open(&f);
    struct members m = stable_group(&f, 2, false);
    struct call *call = leave(&f, m.ids[0], NULL);
    cr_assert_eq(call->out.leave.error_code, 0);
    cr_assert_eq(call->out.leave.members_count, 1);
    cr_assert_eq(call->out.leave.members[0].error_code, 0);
    cr_assert(is_text(call->out.leave.members[0].member_id, m.ids[0]));
    cr_assert_eq(beat(&f, m.ids[1], NULL, 1), KP_ERROR_REBALANCE_IN_PROGRESS);
    cr_assert_eq(beat(&f, m.ids[0], NULL, 1), KP_ERROR_UNKNOWN_MEMBER_ID);
    call = leave(&f, m.ids[0], NULL);
    cr_assert_eq(call->out.leave.members[0].error_code, KP_ERROR_UNKNOWN_MEMBER_ID);
    struct call *b = join(&f, (struct join){.id = m.ids[1]});
    cr_assert_eq(b->out.join.members_count, 1);
    fixture_close(&f);
}

Test(group, old_versions_leave_one_by_one)
{
    struct fixture f;
    fixture_open(&f);
    struct members m = stable_group(&f, 1, false);
    struct call *call = call_new(GROUP_LEAVE, 2);
    kp_leave_group_request_init(&call->in.leave);
    call->in.leave.member_id = span_text("nobody");
    cr_assert_eq(fixture_ask(&f, call)->out.leave.error_code, KP_ERROR_UNKNOWN_MEMBER_ID);
    call = call_new(GROUP_LEAVE, 0);
    kp_leave_group_request_init(&call->in.leave);
    call->in.leave.member_id = span_text(m.ids[0]);
    cr_assert_eq(fixture_ask(&f, call)->out.leave.error_code, 0);
    cr_assert_str_eq(group_state_name(f.group), "Empty");
    fixture_close(&f);
}

Test(group, several_leave_with_one_request_and_one_rebalance)
{
    struct fixture f;
    fixture_open(&f);
    struct members m = stable_group(&f, 4, true);
    struct call *call = call_new(GROUP_LEAVE, 3);
    kp_leave_group_request_init(&call->in.leave);
    struct kp_leave_group_request_member members[] = {
        {.member_id = kp_empty(), .group_instance_id = span_text("ib")},
        {.member_id = kp_empty(), .group_instance_id = span_text("nobody")},
        {.member_id = kp_empty()},
        {.member_id = span_text(m.ids[2]), .group_instance_id = span_text("ic")},
        {.member_id = span_text(m.ids[2]), .group_instance_id = span_text("id")},
        {.member_id = span_text(m.ids[3])},
    };
    int16_t errors[] = {0, KP_ERROR_UNKNOWN_MEMBER_ID,  KP_ERROR_UNKNOWN_MEMBER_ID,
                        0, KP_ERROR_FENCED_INSTANCE_ID, 0};
    call->in.leave.members = members;
    call->in.leave.members_count = 6;
    fixture_ask(&f, call);
    cr_assert_eq(call->out.leave.error_code, 0);
    cr_assert_eq(call->out.leave.members_count, 6);
    for (int i = 0; i < 6; i++)
        cr_assert_eq(call->out.leave.members[i].error_code, errors[i], "member %d", i);
    cr_assert_eq(group_member_count(f.group), 1u);
    struct call *a = join(&f, (struct join){.instance = "ia", .id = m.ids[0]});
    cr_assert_eq(a->out.join.generation_id, 2);
    fixture_close(&f);
}

Test(group, who_leaves_while_it_waits_is_answered)
{
    struct fixture f;
    fixture_open(&f);
    struct members m = stable_group(&f, 2, false);
    struct call *b = join(&f, (struct join){.id = m.ids[1], .protocols = "range=new"});
    leave(&f, m.ids[1], NULL);
    cr_assert_eq(b->out.join.error_code, KP_ERROR_UNKNOWN_MEMBER_ID);
    struct call *a = join(&f, (struct join){.id = m.ids[0]});
    cr_assert_eq(a->out.join.members_count, 1);
    fixture_close(&f);
}

Test(group, the_last_to_leave_ends_the_join)
{
    struct fixture f;
    fixture_open(&f);
    struct members m = stable_group(&f, 2, false);
    struct call *a = join(&f, (struct join){.id = m.ids[0]});
    leave(&f, m.ids[1], NULL);
    cr_assert_eq(a->out.join.generation_id, 2);
    fixture_close(&f);
}

Test(group, a_promise_can_be_given_back)
{
    struct fixture f;
    fixture_open(&f);
    struct members m = stable_group(&f, 1, false);
    struct call *promised = join(&f, (struct join){0});
    struct call *a = join(&f, (struct join){.id = m.ids[0]});
    cr_assert_not(a->answered);
    cr_assert_eq(leave(&f, id_of(promised), NULL)->out.leave.members[0].error_code, 0);
    cr_assert(a->answered);
    fixture_close(&f);
}

Test(group, an_absurd_list_of_leavers_is_refused)
{
    struct fixture f;
    fixture_open(&f);
    struct call *call = call_new(GROUP_LEAVE, 3);
    kp_leave_group_request_init(&call->in.leave);
    call->in.leave.members = arena_array(&call->arena, 500, sizeof(*call->in.leave.members));
    call->in.leave.members_count = 500;
    cr_assert_eq(fixture_ask(&f, call)->out.leave.error_code, KP_ERROR_INVALID_REQUEST);
    fixture_close(&f);
}

Test(group, a_description_shows_members_and_their_assignments)
{
    struct fixture f;
    fixture_open(&f);
    struct members m = stable_group(&f, 2, true);
    struct kp_describe_groups_response_group *out = &describe(&f)->out.describe;
    cr_assert_eq(out->error_code, 0);
    cr_assert(is_text(out->group_id, "readers"));
    cr_assert(is_text(out->group_state, "Stable"));
    cr_assert(is_text(out->protocol_type, "consumer"));
    cr_assert(is_text(out->protocol_data, "range"));
    cr_assert_eq(out->members_count, 2);
    cr_assert(is_text(out->members[1].member_id, m.ids[1]));
    cr_assert(is_text(out->members[1].group_instance_id, "ib"));
    cr_assert(is_text(out->members[1].client_id, "client"));
    cr_assert(is_text(out->members[1].client_host, "/127.0.0.1"));
    cr_assert(is_text(out->members[1].member_metadata, "r"));
    cr_assert(is_text(out->members[1].member_assignment, "b"));
    join(&f, (struct join){.instance = "ia", .id = m.ids[0]});
    out = &describe(&f)->out.describe;
    cr_assert(is_text(out->group_state, "PreparingRebalance"));
    cr_assert(is_text(out->protocol_data, ""));
    cr_assert_eq(out->members_count, 2);
    cr_assert(is_text(out->members[0].member_metadata, ""));
    fixture_close(&f);
}

Test(group, a_description_without_memory_is_an_error_and_no_more)
{
    struct fixture f;
    fixture_open(&f);
    stable_group(&f, 2, false);
    struct call *call = call_new(GROUP_DESCRIBE, 5);
    kp_describe_groups_response_group_init(&call->out.describe);
    call->arena.limit = 100;
    fixture_ask(&f, call);
    cr_assert_eq(call->out.describe.error_code, KP_ERROR_COORDINATOR_NOT_AVAILABLE);
    cr_assert_eq(call->out.describe.members_count, 0);
    fixture_close(&f);
}

// A group of one member in every version of every message; fixture_settle encodes the answers.
Test(group, every_version_is_answered)
{
    for (int16_t version = 0; version <= 9; version++) {
        struct fixture f;
        fixture_open(&f);
        f.limits.initial_rebalance_delay_ms = 0;
        int16_t join_version = version ? version : -1;
        struct call *call = join_call((struct join){.version = join_version});
        call->ask.client_id = (struct span){0};
        fixture_ask(&f, call);
        if (version >= 4) {
            cr_assert_eq(call->out.join.error_code, KP_ERROR_MEMBER_ID_REQUIRED);
            call = join(&f, (struct join){.version = join_version, .id = id_of(call)});
        }
        cr_assert_eq(call->out.join.error_code, 0);
        const char *id = id_of(call);
        int16_t sync_version = version < 5 ? version : 5;
        struct call *lead = sync_call(sync_version, id, 1);
        sync_assign(lead, id, "all");
        fixture_ask(&f, lead);
        cr_assert(is_text(lead->out.sync.assignment, "all"));
        cr_assert_eq(fixture_ask(&f, sync_call(sync_version, "nobody", 1))->out.sync.error_code,
                     KP_ERROR_UNKNOWN_MEMBER_ID);
        struct call *shown = call_new(GROUP_DESCRIBE, version < 6 ? version : 6);
        kp_describe_groups_response_group_init(&shown->out.describe);
        fixture_ask(&f, shown);
        cr_assert_eq(shown->out.describe.members_count, 1);
        struct call *gone = call_new(GROUP_LEAVE, version < 5 ? version : 5);
        kp_leave_group_request_init(&gone->in.leave);
        struct kp_leave_group_request_member member = {.member_id = span_text(id)};
        gone->in.leave.member_id = span_text(id);
        gone->in.leave.members = &member;
        gone->in.leave.members_count = version >= 3;
        fixture_ask(&f, gone);
        cr_assert(group_is_empty(f.group));
        cr_assert_eq(
            join(&f, (struct join){.version = join_version, .session_ms = 1})->out.join.error_code,
            KP_ERROR_INVALID_SESSION_TIMEOUT);
        fixture_close(&f);
    }
}

static int16_t ask_delete(struct fixture *f)
{
    struct call *call = call_new(GROUP_DELETE, 2);
    fixture_ask(f, call);
    cr_assert(call->answered);
    return call->out.delete.error_code;
}

Test(group, only_an_empty_group_is_deleted)
{
    struct fixture f;
    fixture_open(&f);
    struct members m = stable_group(&f, 1, false);
    cr_assert_eq(ask_delete(&f), KP_ERROR_NON_EMPTY_GROUP);
    leave(&f, m.ids[0], NULL);
    cr_assert_eq(ask_delete(&f), 0);
    fixture_close(&f);
}

// --- offsets ------------------------------------------------------------------------------------

// ConsumerProtocolSubscription version 1 with the topics of a list like "orders,payments".
static struct span subscription(struct call *call, const char *topics)
{
    uint8_t *bytes = arena_alloc(&call->arena, 1000);
    size_t at = 6;
    bytes[1] = 1;
    while (*topics) {
        size_t size = strcspn(topics, ",");
        bytes[5]++;
        bytes[at + 1] = (uint8_t)size;
        memcpy(bytes + at + 2, topics, size);
        at += 2 + size;
        topics += size;
        topics += *topics == ',';
    }
    memset(bytes + at, 0xff, 4); // no user data
    return span_of(bytes, at + 4);
}

static struct call *subscribe(struct fixture *f, struct join args, const char *topics)
{
    struct call *call = join_call(args);
    call->in.join.protocols[0].metadata = subscription(call, topics);
    return fixture_ask(f, call);
}

static bool subscribes(struct fixture *f, const char *topic)
{
    return group_subscribes(f->group, span_text(topic));
}

Test(group, topics_of_subscriptions_are_known)
{
    struct fixture f;
    fixture_open(&f);
    struct call *a = subscribe(&f, (struct join){.version = 3}, "orders,payments");
    subscribe(&f, (struct join){.version = 3}, "orders,payments");
    struct call *c = subscribe(&f, (struct join){.version = 3}, "orders,audit");
    cr_assert(subscribes(&f, "anything"), "no protocol is chosen yet");
    fixture_pass(&f, 9000);
    cr_assert(subscribes(&f, "orders"));
    cr_assert(subscribes(&f, "payments"));
    cr_assert(subscribes(&f, "audit"));
    cr_assert_not(subscribes(&f, "audi"));
    cr_assert_not(subscribes(&f, "anything"));
    cr_assert_eq(group_may_delete_offsets(f.group), 0);
    leave(&f, id_of(c), NULL);
    cr_assert_not(subscribes(&f, "audit"));
    cr_assert(subscribes(&f, "payments"));
    leave(&f, id_of(a), NULL);
    fixture_close(&f);
}

Test(group, metadata_that_cannot_be_read_might_mean_any_topic)
{
    static const char *const bad[] = {"", "x", "\1\1\1\1\1\1\1", "\xff\xff\1\1\1\1"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        struct fixture f;
        fixture_open(&f);
        struct call *call = join_call((struct join){.version = 3});
        call->in.join.protocols[0].metadata = span_text(bad[i]);
        fixture_ask(&f, call);
        fixture_pass(&f, 3000);
        cr_assert(subscribes(&f, "anything"));
        fixture_close(&f);
    }
}

Test(group, other_types_subscribe_to_nothing_but_keep_their_offsets)
{
    struct fixture f;
    fixture_open(&f);
    struct call *call = join(&f, (struct join){.version = 3, .type = "connect"});
    fixture_pass(&f, 3000);
    cr_assert_not(subscribes(&f, "anything"));
    cr_assert_eq(group_may_delete_offsets(f.group), KP_ERROR_NON_EMPTY_GROUP);
    cr_assert_eq(group_unused_since_ms(f.group, span_text("t"), 5), INT64_MAX);
    leave(&f, id_of(call), NULL);
    cr_assert_eq(group_may_delete_offsets(f.group), 0);
    cr_assert_eq(group_unused_since_ms(f.group, span_text("t"), 5), f.step.wall_ms);
    fixture_close(&f);
}

Test(group, offsets_begin_to_age_when_nobody_uses_them)
{
    struct fixture f;
    fixture_open(&f);
    struct span orders = span_text("orders");
    struct span other = span_text("other");
    cr_assert_eq(group_unused_since_ms(f.group, orders, 77), 77, "nobody has ever joined");
    struct call *a = subscribe(&f, (struct join){.version = 3}, "orders");
    fixture_pass(&f, 3000);
    cr_assert_eq(group_unused_since_ms(f.group, other, 77), INT64_MAX, "not stable yet");
    sync(&f, id_of(a), 1);
    cr_assert_eq(group_unused_since_ms(f.group, orders, 77), INT64_MAX);
    cr_assert_eq(group_unused_since_ms(f.group, other, 77), 77);
    fixture_pass(&f, 10000);
    int64_t empty_ms = f.step.wall_ms;
    cr_assert_str_eq(group_state_name(f.group), "Empty");
    fixture_pass(&f, 5000);
    cr_assert_eq(group_unused_since_ms(f.group, orders, 77), empty_ms);
    fixture_restart(&f);
    cr_assert_eq(group_unused_since_ms(f.group, other, 77), empty_ms);
    fixture_close(&f);
}
