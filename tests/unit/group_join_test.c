// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/group_fixture.h"

Test(group, a_dynamic_member_is_promised_an_id_first)
{
    struct fixture f;
    fixture_open(&f);
    struct call *first = join(&f, (struct join){.version = 4});
    cr_assert(first->answered);
    cr_assert_eq(first->out.join.error_code, KP_ERROR_MEMBER_ID_REQUIRED);
    cr_assert_eq(first->out.join.member_id.size, strlen("client-") + 36);
    cr_assert(group_is_empty(f.group));
    cr_assert_not(group_is_idle(f.group));
    struct call *second = join(&f, (struct join){.version = 4, .id = id_of(first)});
    cr_assert_not(second->answered, "the first rebalance waits for others");
    fixture_pass(&f, 2999);
    cr_assert_not(second->answered);
    fixture_pass(&f, 1);
    cr_assert(second->answered);
    cr_assert_eq(second->out.join.error_code, 0);
    cr_assert_eq(second->out.join.generation_id, 1);
    cr_assert(span_equal(second->out.join.member_id, first->out.join.member_id));
    cr_assert(span_equal(second->out.join.leader, first->out.join.member_id));
    cr_assert_eq(second->out.join.members_count, 1);
    cr_assert(is_text(second->out.join.members[0].metadata, "r"));
    fixture_close(&f);
}

Test(group, members_of_old_versions_join_at_once)
{
    for (int16_t version = 1; version < 4; version++) {
        struct fixture f;
        fixture_open(&f);
        struct call *call = join(&f, (struct join){.version = version});
        cr_assert_not(call->answered);
        cr_assert_eq(group_member_count(f.group), 1u);
        fixture_pass(&f, 3000);
        cr_assert_eq(call->out.join.error_code, 0);
        cr_assert_gt(call->out.join.member_id.size, 36u);
        fixture_close(&f);
    }
}

Test(group, a_promise_ends_with_the_session_timeout)
{
    struct fixture f;
    fixture_open(&f);
    struct call *first = join(&f, (struct join){.session_ms = 6000});
    fixture_pass(&f, 6000);
    struct call *late = join(&f, (struct join){.id = id_of(first)});
    cr_assert_eq(late->out.join.error_code, KP_ERROR_UNKNOWN_MEMBER_ID);
    cr_assert(group_is_idle(f.group), "nothing came of it");
    cr_assert_eq(f.written, 0u);
    fixture_close(&f);
}

Test(group, promises_are_bounded_and_the_oldest_goes)
{
    struct fixture f;
    fixture_open(&f);
    struct call *first = join(&f, (struct join){0});
    struct call *second = join(&f, (struct join){0});
    for (int i = 1; i < GROUP_PENDING_MAX; i++)
        join(&f, (struct join){0});
    cr_assert_eq(join(&f, (struct join){.id = id_of(first)})->out.join.error_code,
                 KP_ERROR_UNKNOWN_MEMBER_ID);
    cr_assert_not(join(&f, (struct join){.id = id_of(second)})->answered);
    fixture_close(&f);
}

Test(group, an_unknown_member_is_told_so)
{
    struct fixture f;
    fixture_open(&f);
    struct call *call = join(&f, (struct join){.id = "nobody"});
    cr_assert_eq(call->out.join.error_code, KP_ERROR_UNKNOWN_MEMBER_ID);
    cr_assert(is_text(call->out.join.member_id, "nobody"));
    cr_assert(group_is_idle(f.group));
    fixture_close(&f);
}

Test(group, the_first_rebalance_is_extended_while_members_come)
{
    struct fixture f;
    fixture_open(&f);
    struct call *first = join(&f, (struct join){.version = 3, .rebalance_ms = 7000});
    for (int i = 0; i < 2; i++) {
        fixture_pass(&f, 2500);
        join(&f, (struct join){.version = 3, .rebalance_ms = 7000});
    }
    fixture_pass(&f, 1999);
    cr_assert_not(first->answered, "until 7000 at most");
    fixture_pass(&f, 1);
    cr_assert(first->answered);
    cr_assert_eq(first->out.join.members_count, 3);
    fixture_close(&f);
}

Test(group, without_initial_delay_the_first_member_is_answered_at_once)
{
    struct fixture f;
    fixture_open(&f);
    f.limits.initial_rebalance_delay_ms = 0;
    struct call *call = join(&f, (struct join){.version = -1});
    cr_assert(call->answered);
    cr_assert_eq(call->out.join.generation_id, 1);
    fixture_close(&f);
}

Test(group, only_the_leader_gets_the_members)
{
    struct fixture f;
    fixture_open(&f);
    struct call *a = join(&f, (struct join){.version = 3, .protocols = "range=ra"});
    struct call *b = join(&f, (struct join){.version = 3, .protocols = "range=rb"});
    fixture_pass(&f, 6000);
    cr_assert_eq(a->out.join.members_count, 2);
    cr_assert_eq(b->out.join.members_count, 0);
    cr_assert(span_equal(b->out.join.leader, a->out.join.member_id));
    cr_assert(span_equal(a->out.join.members[1].member_id, b->out.join.member_id));
    cr_assert(is_text(a->out.join.members[1].metadata, "rb"));
    cr_assert(is_text(b->out.join.protocol_name, "range"));
    cr_assert(is_text(b->out.join.protocol_type, "consumer"));
    fixture_close(&f);
}

Test(group, the_protocol_is_what_most_prefer_of_what_all_offer)
{
    struct fixture f;
    fixture_open(&f);
    struct call *a = join(&f, (struct join){.version = 3, .protocols = "own=x,range=1,sticky=1"});
    join(&f, (struct join){.version = 3, .protocols = "sticky=2,range=2"});
    join(&f, (struct join){.version = 3, .protocols = "other=x,sticky=3,range=3"});
    fixture_pass(&f, 9000);
    cr_assert(is_text(a->out.join.protocol_name, "sticky"));
    cr_assert(is_text(a->out.join.members[0].metadata, "1"));
    cr_assert(is_text(a->out.join.members[2].metadata, "3"));
    fixture_close(&f);
}

Test(group, who_has_no_protocol_in_common_is_refused)
{
    struct fixture f;
    fixture_open(&f);
    join(&f, (struct join){.version = 3, .protocols = "range=1,sticky=1"});
    join(&f, (struct join){.version = 3, .protocols = "range=1"});
    struct join cases[] = {
        {.version = 3, .protocols = "sticky=1"},
        {.version = 3, .protocols = ""},
        {.version = 3, .type = "connect"},
        {.version = 5, .protocols = "sticky=1"},
        {.version = 5, .instance = "i", .protocols = "sticky=1"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct call *call = join(&f, cases[i]);
        cr_assert(call->answered);
        cr_assert_eq(call->out.join.error_code, KP_ERROR_INCONSISTENT_GROUP_PROTOCOL);
    }
    cr_assert_eq(group_member_count(f.group), 2u);
    fixture_close(&f);
}

Test(group, the_type_is_free_again_when_all_have_gone)
{
    struct fixture f;
    fixture_open(&f);
    struct call *call = join(&f, (struct join){.version = 3, .type = "connect"});
    fixture_pass(&f, 3000);
    cr_assert(is_text(group_protocol_type(f.group), "connect"));
    leave(&f, id_of(call), NULL);
    cr_assert(is_text(group_protocol_type(f.group), "connect"));
    call = join(&f, (struct join){.version = 3, .type = "consumer"});
    fixture_pass(&f, 3000);
    cr_assert_eq(call->out.join.error_code, 0);
    cr_assert_eq(call->out.join.generation_id, 3, "generations go on");
    cr_assert(is_text(group_protocol_type(f.group), "consumer"));
    fixture_close(&f);
}

Test(group, session_timeouts_have_bounds)
{
    struct fixture f;
    fixture_open(&f);
    int32_t wrong[] = {-1, 5999, 1800001, INT32_MIN, INT32_MAX};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
        cr_assert_eq(join(&f, (struct join){.session_ms = wrong[i]})->out.join.error_code,
                     KP_ERROR_INVALID_SESSION_TIMEOUT);
    cr_assert(group_is_idle(f.group));
    fixture_close(&f);
}

Test(group, absurd_rebalance_timeouts_are_cut)
{
    struct fixture f;
    fixture_open(&f);
    join(&f, (struct join){.version = 3, .rebalance_ms = INT32_MAX});
    join(&f, (struct join){.version = 3, .rebalance_ms = -5});
    fixture_pass(&f, 6000);
    cr_assert_str_eq(group_state_name(f.group), "CompletingRebalance");
    cr_assert_leq(group_due_ms(f.group), f.step.now_ms + GROUP_REBALANCE_MS_MAX);
    fixture_close(&f);
}

Test(group, the_join_ends_when_all_have_come)
{
    struct fixture f;
    fixture_open(&f);
    struct members m = stable_group(&f, 2, false);
    struct call *third = join_twice(&f, (struct join){0});
    cr_assert_not(third->answered);
    cr_assert_str_eq(group_state_name(f.group), "PreparingRebalance");
    cr_assert_eq(beat(&f, m.ids[0], NULL, 1), KP_ERROR_REBALANCE_IN_PROGRESS);
    struct call *a = join(&f, (struct join){.id = m.ids[0]});
    cr_assert_not(a->answered);
    struct call *b = join(&f, (struct join){.id = m.ids[1]});
    cr_assert(a->answered && b->answered && third->answered);
    cr_assert_eq(third->out.join.generation_id, 2);
    cr_assert_eq(a->out.join.members_count, 3, "who has led before goes on leading");
    fixture_close(&f);
}

Test(group, a_promise_holds_the_join_open)
{
    struct fixture f;
    fixture_open(&f);
    struct members m = stable_group(&f, 1, false);
    struct call *promised = join(&f, (struct join){0});
    struct call *a = join(&f, (struct join){.id = m.ids[0]});
    cr_assert_not(a->answered);
    struct call *b = join(&f, (struct join){.id = id_of(promised)});
    cr_assert(a->answered && b->answered);
    cr_assert_eq(a->out.join.members_count, 2);
    fixture_close(&f);
}

Test(group, who_does_not_join_again_in_time_is_out)
{
    struct fixture f;
    fixture_open(&f);
    struct members m = stable_group(&f, 3, false);
    struct call *a = join(&f, (struct join){.id = m.ids[0]});
    struct call *b = join(&f, (struct join){.id = m.ids[1]});
    for (int i = 0; i < 12; i++) {
        cr_assert_not(a->answered || b->answered);
        fixture_pass(&f, 5000);
        if (i < 11)
            cr_assert_eq(beat(&f, m.ids[2], NULL, 1), KP_ERROR_REBALANCE_IN_PROGRESS);
    }
    cr_assert(a->answered && b->answered);
    cr_assert_eq(a->out.join.members_count, 2);
    cr_assert_eq(beat(&f, m.ids[2], NULL, 1), KP_ERROR_UNKNOWN_MEMBER_ID);
    fixture_close(&f);
}

Test(group, a_session_ends_while_others_wait_in_the_join)
{
    struct fixture f;
    fixture_open(&f);
    struct members m = stable_group(&f, 2, false);
    struct call *a = join(&f, (struct join){.id = m.ids[0]});
    fixture_pass(&f, 9999);
    cr_assert_not(a->answered);
    fixture_pass(&f, 1);
    cr_assert(a->answered);
    cr_assert_eq(a->out.join.generation_id, 2);
    cr_assert_eq(a->out.join.members_count, 1);
    fixture_close(&f);
}

Test(group, sessions_do_not_end_while_members_wait)
{
    struct fixture f;
    fixture_open(&f);
    struct members m = stable_group(&f, 2, false);
    struct call *a = join(&f, (struct join){.id = m.ids[0]});
    for (int i = 0; i < 8; i++) {
        fixture_pass(&f, 6000);
        cr_assert_eq(beat(&f, m.ids[1], NULL, 1), KP_ERROR_REBALANCE_IN_PROGRESS);
    }
    cr_assert_not(a->answered, "48 s, and the session is one of 10 s");
    join(&f, (struct join){.id = m.ids[1]});
    cr_assert_eq(a->out.join.error_code, 0);
    fixture_pass(&f, 9999);
    cr_assert_eq(group_member_count(f.group), 2u, "a whole session from the answer on");
    fixture_pass(&f, 1);
    cr_assert_eq(group_member_count(f.group), 0u);
    fixture_close(&f);
}

Test(group, a_new_member_is_given_up_after_five_minutes)
{
    struct fixture f;
    fixture_open(&f);
    f.limits.initial_rebalance_delay_ms = 400000;
    struct call *call = join(&f, (struct join){.version = 3, .rebalance_ms = 400000});
    fixture_pass(&f, GROUP_NEW_MEMBER_MS - 1);
    cr_assert_not(call->answered);
    fixture_pass(&f, 1);
    cr_assert_eq(call->out.join.error_code, KP_ERROR_UNKNOWN_MEMBER_ID);
    cr_assert(group_is_idle(f.group));
    fixture_close(&f);
}

Test(group, a_follower_with_nothing_new_disturbs_nobody)
{
    struct fixture f;
    fixture_open(&f);
    struct members m = stable_group(&f, 2, false);
    uint32_t written = f.written;
    struct call *b = join(&f, (struct join){.id = m.ids[1]});
    cr_assert(b->answered);
    cr_assert_eq(b->out.join.error_code, 0);
    cr_assert_eq(b->out.join.generation_id, 1);
    cr_assert_eq(b->out.join.members_count, 0);
    cr_assert(is_text(b->out.join.leader, m.ids[0]));
    cr_assert_str_eq(group_state_name(f.group), "Stable");
    cr_assert(is_text(sync(&f, m.ids[1], 1)->out.sync.assignment, "b"));
    cr_assert_eq(f.written, written);
    fixture_close(&f);
}

Test(group, new_metadata_and_the_leaders_wish_rebalance)
{
    for (int leader = 0; leader < 2; leader++) {
        struct fixture f;
        fixture_open(&f);
        struct members m = stable_group(&f, 2, false);
        struct call *call =
            leader ? join(&f, (struct join){.id = m.ids[0]})
                   : join(&f, (struct join){.id = m.ids[1], .protocols = "range=other"});
        cr_assert_not(call->answered);
        cr_assert_str_eq(group_state_name(f.group), "PreparingRebalance");
        call = join(&f, (struct join){.id = m.ids[leader]});
        cr_assert(call->answered);
        cr_assert_eq(call->out.join.generation_id, 2);
        fixture_close(&f);
    }
}

Test(group, a_lone_member_may_change_its_protocols)
{
    struct fixture f;
    fixture_open(&f);
    struct members m = stable_group(&f, 1, false);
    struct call *call = join(&f, (struct join){.id = m.ids[0], .protocols = "sticky=s"});
    cr_assert_eq(call->out.join.error_code, 0);
    cr_assert(is_text(call->out.join.protocol_name, "sticky"));
    fixture_close(&f);
}

Test(group, while_the_leader_computes_a_repeated_join_is_answered_again)
{
    struct fixture f;
    fixture_open(&f);
    struct call *a = join(&f, (struct join){.version = 3});
    struct call *b = join(&f, (struct join){.version = 3});
    fixture_pass(&f, 6000);
    struct call *again = join(&f, (struct join){.id = id_of(a)});
    cr_assert_eq(again->out.join.generation_id, 1);
    cr_assert_eq(again->out.join.members_count, 2);
    struct call *waits = sync(&f, id_of(b), 1);
    cr_assert_not(waits->answered);
    again = join(&f, (struct join){.id = id_of(b)});
    cr_assert_eq(waits->out.sync.error_code, KP_ERROR_REBALANCE_IN_PROGRESS);
    cr_assert_eq(again->out.join.generation_id, 1);
    cr_assert_eq(again->out.join.members_count, 0);
    again = join(&f, (struct join){.id = id_of(b), .protocols = "range=new"});
    cr_assert_not(again->answered);
    cr_assert_str_eq(group_state_name(f.group), "PreparingRebalance");
    fixture_close(&f);
}

Test(group, who_asks_again_while_it_waits_gets_the_first_ask_back)
{
    struct fixture f;
    fixture_open(&f);
    struct members m = stable_group(&f, 2, false);
    struct call *first = join(&f, (struct join){.id = m.ids[0]});
    struct call *second = join(&f, (struct join){.id = m.ids[0]});
    cr_assert_eq(first->out.join.error_code, KP_ERROR_REBALANCE_IN_PROGRESS);
    cr_assert_not(second->answered);
    join(&f, (struct join){.id = m.ids[1]});
    cr_assert_eq(second->out.join.error_code, 0);
    fixture_close(&f);
}

Test(group, a_full_group_takes_nobody)
{
    struct fixture f;
    fixture_open(&f);
    f.limits.max_members = 2;
    struct members m = stable_group(&f, 2, false);
    cr_assert_eq(join(&f, (struct join){0})->out.join.error_code, KP_ERROR_GROUP_MAX_SIZE_REACHED);
    cr_assert_eq(join(&f, (struct join){.version = 1})->out.join.error_code,
                 KP_ERROR_GROUP_MAX_SIZE_REACHED);
    cr_assert_eq(join(&f, (struct join){.id = m.ids[1]})->out.join.error_code, 0);
    cr_assert_eq(group_member_count(f.group), 2u);
    fixture_close(&f);
}

Test(group, a_group_that_is_too_large_loses_who_comes_last)
{
    struct fixture f;
    fixture_open(&f);
    struct members m = stable_group(&f, 3, false);
    f.limits.max_members = 2;
    struct call *a = join(&f, (struct join){.id = m.ids[0]});
    struct call *b = join(&f, (struct join){.id = m.ids[1]});
    struct call *c = join(&f, (struct join){.id = m.ids[2]});
    cr_assert_eq(c->out.join.error_code, KP_ERROR_GROUP_MAX_SIZE_REACHED);
    cr_assert(a->answered && b->answered);
    cr_assert_eq(a->out.join.members_count, 2);
    fixture_close(&f);
}

Test(group, what_members_bring_is_bounded)
{
    struct fixture f;
    fixture_open(&f);
    char *large = malloc(5 << 20);
    snprintf(large, 5 << 20, "range=%0*d", (4 << 20) - 1000, 1);
    struct call *a = join(&f, (struct join){.version = 3, .protocols = large});
    cr_assert_not(a->answered);
    cr_assert_not(join(&f, (struct join){.version = 3})->answered);
    struct call *b = join(&f, (struct join){.version = 3, .protocols = large});
    cr_assert_not(b->answered);
    struct call *c = join(&f, (struct join){.version = 3, .protocols = large});
    cr_assert_eq(c->out.join.error_code, KP_ERROR_GROUP_MAX_SIZE_REACHED);
    cr_assert_leq(group_memory(f.group), (size_t)GROUP_BYTES_MAX);
    cr_assert_eq(group_member_count(f.group), 3u);
    fixture_pass(&f, 9000);
    cr_assert_eq(a->out.join.error_code, 0);
    cr_assert_eq(a->out.join.members_count, 3);
    free(large);
    fixture_close(&f);
}

Test(group, what_static_members_bring_is_bounded_when_they_come_back)
{
    enum { MEMBERS = 300, CLIENT_ID = 32767 };
    struct fixture f;
    fixture_open(&f);
    f.limits.max_members = 1000;
    char *client_id = calloc(1, CLIENT_ID);
    int refused = 0;
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < MEMBERS; i++) {
            char instance[16];
            snprintf(instance, sizeof(instance), "i%d", i);
            struct call *call = join_call((struct join){.instance = instance});
            if (round == 1)
                call->ask.client_id = span_of(client_id, CLIENT_ID);
            fixture_ask(&f, call);
            refused += call->answered;
        }
    }
    cr_assert_gt(refused, 10);
    cr_assert_leq(group_memory(f.group), (size_t)GROUP_BYTES_MAX);
    free(client_id);
    fixture_close(&f);
}

Test(group, the_number_of_protocols_and_the_length_of_names_are_bounded)
{
    struct fixture f;
    fixture_open(&f);
    char list[1000] = "";
    for (int i = 0; i <= GROUP_PROTOCOLS_MAX; i++)
        snprintf(list + strlen(list), sizeof(list) - strlen(list), "p%d=m,", i);
    cr_assert_eq(join(&f, (struct join){.protocols = list})->out.join.error_code,
                 KP_ERROR_INVALID_REQUEST);
    memset(list, 'i', GROUP_INSTANCE_ID_MAX + 1);
    list[GROUP_INSTANCE_ID_MAX + 1] = 0;
    char type[GROUP_NAME_MAX + 2];
    memset(type, 't', sizeof(type));
    type[GROUP_NAME_MAX + 1] = 0;
    cr_assert_eq(join(&f, (struct join){.type = type})->out.join.error_code,
                 KP_ERROR_INVALID_REQUEST);
    cr_assert_eq(join(&f, (struct join){.instance = list})->out.join.error_code,
                 KP_ERROR_INVALID_REQUEST);
    cr_assert(group_is_idle(f.group));
    fixture_close(&f);
}

Test(group, a_protocol_named_twice_counts_once)
{
    struct fixture f;
    fixture_open(&f);
    struct call *a = join(&f, (struct join){.version = 3, .protocols = "range=1,range=2"});
    struct call *b = join(&f, (struct join){.version = 3, .protocols = "sticky=1,range=1"});
    fixture_pass(&f, 6000);
    cr_assert_eq(b->out.join.error_code, 0);
    cr_assert(is_text(a->out.join.protocol_name, "range"));
    cr_assert(is_text(a->out.join.members[0].metadata, "1"));
    fixture_close(&f);
}
