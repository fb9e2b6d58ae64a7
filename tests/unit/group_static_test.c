// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/group_fixture.h"

Test(group, a_static_member_comes_back_unnoticed)
{
    struct fixture f;
    fixture_open(&f);
    struct members m = stable_group(&f, 3, true);
    struct call *back = join(&f, (struct join){.instance = "ib"});
    cr_assert(back->answered);
    cr_assert_eq(back->out.join.error_code, 0);
    cr_assert_eq(back->out.join.generation_id, 1);
    cr_assert(!is_text(back->out.join.member_id, m.ids[1]));
    cr_assert(is_text(back->out.join.leader, m.ids[0]));
    cr_assert_eq(back->out.join.members_count, 0);
    cr_assert_str_eq(group_state_name(f.group), "Stable");
    cr_assert(is_text(sync(&f, id_of(back), 1)->out.sync.assignment, "b"), "its old one");
    cr_assert_eq(beat(&f, m.ids[0], "ia", 1), 0);
    fixture_restart(&f);
    cr_assert(is_text(sync(&f, id_of(back), 1)->out.sync.assignment, "b"));
    cr_assert_eq(beat(&f, m.ids[1], "ib", 1), KP_ERROR_FENCED_INSTANCE_ID);
    fixture_close(&f);
}

Test(group, the_former_self_of_a_static_member_is_fenced)
{
    struct fixture f;
    fixture_open(&f);
    struct members m = stable_group(&f, 2, true);
    struct call *back = join(&f, (struct join){.instance = "ib"});
    cr_assert_eq(beat(&f, m.ids[1], "ib", 1), KP_ERROR_FENCED_INSTANCE_ID);
    cr_assert_eq(beat(&f, m.ids[1], NULL, 1), KP_ERROR_UNKNOWN_MEMBER_ID);
    struct call *call = join(&f, (struct join){.instance = "ib", .id = m.ids[1]});
    cr_assert_eq(call->out.join.error_code, KP_ERROR_FENCED_INSTANCE_ID);
    call = sync_call(4, m.ids[1], 1);
    call->in.sync.group_instance_id = span_text("ib");
    cr_assert_eq(fixture_ask(&f, call)->out.sync.error_code, KP_ERROR_FENCED_INSTANCE_ID);
    cr_assert_eq(leave(&f, m.ids[1], "ib")->out.leave.members[0].error_code,
                 KP_ERROR_FENCED_INSTANCE_ID);
    cr_assert_eq(group_may_commit(f.group, &f.step, span_text(m.ids[1]), span_text("ib"), 1, 8),
                 KP_ERROR_FENCED_INSTANCE_ID);
    cr_assert_eq(
        join(&f, (struct join){.instance = "other", .id = id_of(back)})->out.join.error_code,
        KP_ERROR_UNKNOWN_MEMBER_ID);
    fixture_close(&f);
}

Test(group, a_static_leader_comes_back_without_computing)
{
    for (int16_t version = 8; version <= 9; version++) {
        struct fixture f;
        fixture_open(&f);
        struct members m = stable_group(&f, 2, true);
        struct call *back = join(&f, (struct join){.version = version, .instance = "ia"});
        cr_assert_eq(back->out.join.generation_id, 1);
        if (version >= 9) {
            cr_assert(back->out.join.skip_assignment);
            cr_assert(span_equal(back->out.join.leader, back->out.join.member_id));
            cr_assert_eq(back->out.join.members_count, 2);
        } else {
            cr_assert(is_text(back->out.join.leader, m.ids[0]), "or it would assign");
            cr_assert_eq(back->out.join.members_count, 0);
        }
        cr_assert(is_text(sync(&f, id_of(back), 1)->out.sync.assignment, "a"));
        fixture_restart(&f);
        cr_assert_str_eq(group_state_name(f.group), "Stable");
        struct call *wish = join(&f, (struct join){.instance = "ia", .id = id_of(back)});
        cr_assert_not(wish->answered, "it leads: a rebalance begins");
        fixture_close(&f);
    }
}

Test(group, a_static_member_that_changes_the_protocol_rebalances)
{
    struct fixture f;
    fixture_open(&f);
    struct call *a = join(&f, (struct join){.instance = "ia", .protocols = "x=1,y=1"});
    struct call *b = join(&f, (struct join){.instance = "ib", .protocols = "x=1,y=1"});
    fixture_pass(&f, 6000);
    struct call *lead = sync_call(4, id_of(a), 1);
    fixture_ask(&f, lead);
    sync(&f, id_of(b), 1);
    cr_assert(is_text(a->out.join.protocol_name, "x"));
    struct call *back = join(&f, (struct join){.instance = "ib", .protocols = "y=1"});
    cr_assert_not(back->answered);
    cr_assert_str_eq(group_state_name(f.group), "PreparingRebalance");
    a = join(&f, (struct join){.instance = "ia", .id = id_of(a), .protocols = "x=1,y=1"});
    cr_assert(back->answered);
    cr_assert_eq(back->out.join.generation_id, 2);
    cr_assert(is_text(back->out.join.protocol_name, "y"));
    fixture_close(&f);
}

Test(group, a_static_member_that_comes_back_while_the_leader_computes_rebalances)
{
    struct fixture f;
    fixture_open(&f);
    struct call *a = join(&f, (struct join){.instance = "ia"});
    struct call *b = join(&f, (struct join){.instance = "ib"});
    fixture_pass(&f, 6000);
    struct call *waits = sync(&f, id_of(b), 1);
    struct call *back = join(&f, (struct join){.instance = "ib"});
    cr_assert_eq(waits->out.sync.error_code, KP_ERROR_FENCED_INSTANCE_ID);
    cr_assert_not(back->answered);
    a = join(&f, (struct join){.instance = "ia", .id = id_of(a)});
    cr_assert_eq(back->out.join.generation_id, 2);
    cr_assert_eq(a->out.join.members_count, 2);
    fixture_close(&f);
}

Test(group, a_static_member_that_joins_twice_fences_its_first_self)
{
    struct fixture f;
    fixture_open(&f);
    struct call *first = join(&f, (struct join){.instance = "ia"});
    struct call *second = join(&f, (struct join){.instance = "ia"});
    cr_assert_eq(first->out.join.error_code, KP_ERROR_FENCED_INSTANCE_ID);
    fixture_pass(&f, 6000);
    cr_assert_eq(second->out.join.error_code, 0);
    cr_assert_eq(second->out.join.members_count, 1);
    fixture_close(&f);
}

Test(group, a_static_member_keeps_its_place_through_a_rebalance)
{
    struct fixture f;
    fixture_open(&f);
    struct call *s = join(&f, (struct join){.instance = "ia", .session_ms = 100000});
    struct call *d = join_twice(&f, (struct join){.session_ms = 100000});
    fixture_pass(&f, 6000);
    struct call *lead = sync_call(4, id_of(s), 1);
    fixture_ask(&f, lead);
    sync(&f, id_of(d), 1);
    d = join(&f, (struct join){.id = id_of(d), .session_ms = 100000, .protocols = "range=new"});
    fixture_pass(&f, 60000);
    cr_assert_eq(d->out.join.generation_id, 2);
    cr_assert_eq(d->out.join.members_count, 2, "the static one is away, and stays a member");
    cr_assert(span_equal(d->out.join.leader, d->out.join.member_id), "but does not lead");
    fixture_pass(&f, 39999);
    cr_assert_eq(group_member_count(f.group), 2u);
    fixture_pass(&f, 1);
    cr_assert_eq(group_member_count(f.group), 1u, "until its session ends");
    fixture_close(&f);
}

Test(group, static_members_only_and_all_away_keep_their_places)
{
    struct fixture f;
    fixture_open(&f);
    struct call *a = join(&f, (struct join){.instance = "ia", .session_ms = 300000});
    struct call *b = join(&f, (struct join){.instance = "ib", .session_ms = 300000});
    fixture_pass(&f, 6000);
    fixture_ask(&f, sync_call(4, id_of(a), 1));
    sync(&f, id_of(b), 1);
    leave(&f, "", "ia");
    cr_assert_str_eq(group_state_name(f.group), "PreparingRebalance");
    fixture_pass(&f, 200000);
    cr_assert_eq(group_member_count(f.group), 1u);
    struct call *back = join(&f, (struct join){.instance = "ib", .session_ms = 300000});
    cr_assert(back->answered);
    cr_assert_eq(back->out.join.generation_id, 2);
    fixture_close(&f);
}

Test(group, waiting_for_static_members_is_no_work)
{
    struct fixture f;
    fixture_open(&f);
    struct call *a = join(&f, (struct join){.instance = "ia", .rebalance_ms = 1});
    struct call *b = join(&f, (struct join){.instance = "ib", .rebalance_ms = 1});
    fixture_pass(&f, 3000);
    fixture_ask(&f, sync_call(4, id_of(a), 1));
    sync(&f, id_of(b), 1);
    leave(&f, id_of(a), "ia");
    fixture_pass(&f, 10);
    cr_assert_str_eq(group_state_name(f.group), "PreparingRebalance");
    cr_assert_geq(group_due_ms(f.group), f.step.now_ms + 900);
    fixture_close(&f);
}

Test(group, a_full_group_takes_its_static_members_back)
{
    struct fixture f;
    fixture_open(&f);
    f.limits.max_members = 2;
    stable_group(&f, 2, true);
    cr_assert_eq(join(&f, (struct join){.instance = "ib"})->out.join.error_code, 0);
    cr_assert_eq(join(&f, (struct join){.instance = "ic"})->out.join.error_code,
                 KP_ERROR_GROUP_MAX_SIZE_REACHED);
    fixture_close(&f);
}

Test(group, a_promised_id_is_not_for_static_members)
{
    struct fixture f;
    fixture_open(&f);
    struct call *first = join(&f, (struct join){0});
    struct call *second = join(&f, (struct join){.id = id_of(first), .instance = "ia"});
    cr_assert_eq(second->out.join.error_code, KP_ERROR_UNKNOWN_MEMBER_ID);
    fixture_close(&f);
}
