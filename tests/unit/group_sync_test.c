// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/group_fixture.h"

// Two members that know generation 1, whose leader (a) has assigned nothing yet.
struct pair {
    const char *a;
    const char *b;
};

static struct pair joined_pair(struct fixture *f)
{
    struct call *a = join_twice(f, (struct join){0});
    struct call *b = join_twice(f, (struct join){0});
    fixture_pass(f, 6000);
    cr_assert_str_eq(group_state_name(f->group), "CompletingRebalance");
    return (struct pair){id_of(a), id_of(b)};
}

static struct call *lead(struct fixture *f, struct pair pair, int32_t generation)
{
    struct call *call = sync_call(4, pair.a, generation);
    sync_assign(call, pair.a, "for a");
    sync_assign(call, pair.b, "for b");
    return fixture_ask(f, call);
}

Test(group, followers_wait_for_the_leader)
{
    struct fixture f;
    fixture_open(&f);
    struct pair pair = joined_pair(&f);
    struct call *b = sync(&f, pair.b, 1);
    cr_assert_not(b->answered);
    struct call *a = lead(&f, pair, 1);
    cr_assert(a->answered && b->answered);
    cr_assert(is_text(a->out.sync.assignment, "for a"));
    cr_assert(is_text(b->out.sync.assignment, "for b"));
    cr_assert(is_text(b->out.sync.protocol_name, "range"));
    cr_assert(is_text(b->out.sync.protocol_type, "consumer"));
    fixture_close(&f);
}

Test(group, a_repeated_sync_gets_the_stored_assignment)
{
    struct fixture f;
    fixture_open(&f);
    struct pair pair = joined_pair(&f);
    lead(&f, pair, 1);
    struct call *again = sync_call(4, pair.a, 1);
    sync_assign(again, pair.a, "another");
    sync_assign(again, pair.b, "another");
    cr_assert(is_text(fixture_ask(&f, again)->out.sync.assignment, "for a"));
    cr_assert(is_text(sync(&f, pair.b, 1)->out.sync.assignment, "for b"));
    fixture_close(&f);
}

Test(group, members_that_the_leader_left_out_get_nothing_and_strangers_are_ignored)
{
    struct fixture f;
    fixture_open(&f);
    struct pair pair = joined_pair(&f);
    struct call *b = sync(&f, pair.b, 1);
    struct call *a = sync_call(4, pair.a, 1);
    sync_assign(a, pair.a, "all");
    sync_assign(a, "a stranger", "something");
    sync_assign(a, "", "something");
    fixture_ask(&f, a);
    cr_assert(is_text(a->out.sync.assignment, "all"));
    cr_assert_eq(b->out.sync.error_code, 0);
    cr_assert_eq(b->out.sync.assignment.size, 0u);
    cr_assert_not_null(b->out.sync.assignment.data, "empty, not null");
    cr_assert_eq(group_member_count(f.group), 2u);
    fixture_close(&f);
}

Test(group, syncs_are_checked)
{
    struct fixture f;
    fixture_open(&f);
    struct pair pair = joined_pair(&f);
    cr_assert_eq(sync(&f, "nobody", 1)->out.sync.error_code, KP_ERROR_UNKNOWN_MEMBER_ID);
    cr_assert_eq(sync(&f, "", 1)->out.sync.error_code, KP_ERROR_UNKNOWN_MEMBER_ID);
    cr_assert_eq(sync(&f, pair.b, 0)->out.sync.error_code, KP_ERROR_ILLEGAL_GENERATION);
    cr_assert_eq(sync(&f, pair.b, 2)->out.sync.error_code, KP_ERROR_ILLEGAL_GENERATION);
    struct call *call = sync_call(5, pair.b, 1);
    call->in.sync.protocol_name = span_text("sticky");
    cr_assert_eq(fixture_ask(&f, call)->out.sync.error_code, KP_ERROR_INCONSISTENT_GROUP_PROTOCOL);
    call = sync_call(5, pair.b, 1);
    call->in.sync.protocol_type = span_text("connect");
    cr_assert_eq(fixture_ask(&f, call)->out.sync.error_code, KP_ERROR_INCONSISTENT_GROUP_PROTOCOL);
    call = sync_call(5, pair.b, 1);
    call->in.sync.protocol_type = (struct span){0};
    cr_assert_eq(fixture_ask(&f, call)->out.sync.error_code, KP_ERROR_INCONSISTENT_GROUP_PROTOCOL);
    call = sync_call(5, pair.b, 1);
    cr_assert_not(fixture_ask(&f, call)->answered);
    fixture_close(&f);
}

Test(group, an_empty_group_knows_nobody)
{
    struct fixture f;
    fixture_open(&f);
    cr_assert_eq(sync(&f, "nobody", 0)->out.sync.error_code, KP_ERROR_UNKNOWN_MEMBER_ID);
    cr_assert_eq(beat(&f, "nobody", NULL, 0), KP_ERROR_UNKNOWN_MEMBER_ID);
    cr_assert_eq(leave(&f, "nobody", NULL)->out.leave.members[0].error_code,
                 KP_ERROR_UNKNOWN_MEMBER_ID);
    cr_assert(group_is_idle(f.group));
    fixture_close(&f);
}

Test(group, a_sync_during_the_next_join_is_told_to_join)
{
    struct fixture f;
    fixture_open(&f);
    struct pair pair = joined_pair(&f);
    struct call *b = sync(&f, pair.b, 1);
    struct call *c = join_twice(&f, (struct join){0});
    cr_assert_eq(b->out.sync.error_code, KP_ERROR_REBALANCE_IN_PROGRESS);
    cr_assert_eq(b->out.sync.assignment.size, 0u);
    struct call *a = lead(&f, pair, 1);
    cr_assert_eq(a->out.sync.error_code, KP_ERROR_REBALANCE_IN_PROGRESS);
    join(&f, (struct join){.id = pair.a});
    join(&f, (struct join){.id = pair.b});
    cr_assert_eq(c->out.join.generation_id, 2);
    a = lead(&f, pair, 1);
    cr_assert_eq(a->out.sync.error_code, KP_ERROR_ILLEGAL_GENERATION, "too late");
    a = lead(&f, pair, 2);
    cr_assert(is_text(a->out.sync.assignment, "for a"));
    cr_assert_eq(sync(&f, id_of(c), 2)->out.sync.assignment.size, 0u);
    fixture_close(&f);
}

Test(group, a_leader_that_dies_computing_does_not_stop_the_others)
{
    struct fixture f;
    fixture_open(&f);
    struct pair pair = joined_pair(&f);
    struct call *b = sync(&f, pair.b, 1);
    fixture_pass(&f, 9999);
    cr_assert_not(b->answered);
    fixture_pass(&f, 1);
    cr_assert_eq(b->out.sync.error_code, KP_ERROR_REBALANCE_IN_PROGRESS);
    struct call *alone = join(&f, (struct join){.id = pair.b});
    cr_assert_eq(alone->out.join.generation_id, 2);
    cr_assert_eq(alone->out.join.members_count, 1);
    cr_assert(is_text(alone->out.join.leader, pair.b));
    fixture_close(&f);
}

Test(group, a_leader_that_never_syncs_is_removed_after_the_rebalance_timeout)
{
    struct fixture f;
    fixture_open(&f);
    struct pair pair = joined_pair(&f);
    struct call *b = sync(&f, pair.b, 1);
    for (int i = 0; i < 12; i++) {
        cr_assert_not(b->answered);
        cr_assert_eq(beat(&f, pair.a, NULL, 1), 0, "it lives, and does nothing");
        fixture_pass(&f, 5000);
    }
    cr_assert_eq(b->out.sync.error_code, KP_ERROR_REBALANCE_IN_PROGRESS);
    cr_assert_eq(beat(&f, pair.a, NULL, 1), KP_ERROR_UNKNOWN_MEMBER_ID);
    fixture_close(&f);
}

Test(group, a_follower_that_never_syncs_is_removed_after_the_rebalance_timeout)
{
    struct fixture f;
    fixture_open(&f);
    struct pair pair = joined_pair(&f);
    lead(&f, pair, 1);
    for (int i = 0; i < 12; i++) {
        cr_assert_eq(beat(&f, pair.a, NULL, 1), 0);
        cr_assert_eq(beat(&f, pair.b, NULL, 1), 0);
        fixture_pass(&f, 5000);
    }
    cr_assert_eq(beat(&f, pair.b, NULL, 1), KP_ERROR_UNKNOWN_MEMBER_ID);
    cr_assert_eq(beat(&f, pair.a, NULL, 1), KP_ERROR_REBALANCE_IN_PROGRESS);
    fixture_close(&f);
}

Test(group, what_a_leader_hands_out_is_bounded)
{
    struct fixture f;
    fixture_open(&f);
    struct pair pair = joined_pair(&f);
    size_t half = (GROUP_BYTES_MAX / 2) + 1;
    uint8_t *bytes = calloc(1, half);
    struct call *call = sync_call(4, pair.a, 1);
    sync_assign(call, pair.a, "");
    sync_assign(call, pair.b, "");
    call->in.sync.assignments[0].assignment = span_of(bytes, half);
    call->in.sync.assignments[1].assignment = span_of(bytes, half);
    cr_assert_eq(fixture_ask(&f, call)->out.sync.error_code, KP_ERROR_INVALID_REQUEST);
    struct call *many = sync_call(4, pair.a, 1);
    for (int i = 0; i < 500; i++)
        sync_assign(many, "nobody", "x");
    cr_assert_eq(fixture_ask(&f, many)->out.sync.error_code, KP_ERROR_INVALID_REQUEST);
    cr_assert(is_text(lead(&f, pair, 1)->out.sync.assignment, "for a"), "the next one is right");
    free(bytes);
    fixture_close(&f);
}

Test(group, heartbeats_say_how_things_stand)
{
    struct fixture f;
    fixture_open(&f);
    struct pair pair = joined_pair(&f);
    cr_assert_eq(beat(&f, pair.b, NULL, 1), 0, "the leader computes");
    cr_assert_eq(beat(&f, pair.b, NULL, 0), KP_ERROR_ILLEGAL_GENERATION);
    cr_assert_eq(beat(&f, "nobody", NULL, 1), KP_ERROR_UNKNOWN_MEMBER_ID);
    cr_assert_eq(beat(&f, pair.b, "instance", 1), KP_ERROR_UNKNOWN_MEMBER_ID);
    lead(&f, pair, 1);
    sync(&f, pair.b, 1);
    cr_assert_eq(beat(&f, pair.b, NULL, 1), 0);
    fixture_close(&f);
}

Test(group, sessions_live_from_heartbeats_and_commits)
{
    struct fixture f;
    fixture_open(&f);
    struct members m = stable_group(&f, 3, false);
    for (int i = 0; i < 6; i++) {
        fixture_pass(&f, 9000);
        cr_assert_eq(beat(&f, m.ids[0], NULL, 1), i ? KP_ERROR_REBALANCE_IN_PROGRESS : 0);
        cr_assert_eq(
            group_may_commit(f.group, &f.step, span_text(m.ids[1]), (struct span){0}, 1, 8), 0);
    }
    cr_assert_eq(group_member_count(f.group), 2u);
    cr_assert_eq(beat(&f, m.ids[2], NULL, 1), KP_ERROR_UNKNOWN_MEMBER_ID);
    fixture_close(&f);
}

static int16_t may_commit(struct fixture *f, const char *id, int32_t generation)
{
    return group_may_commit(f->group, &f->step, span_text(id), (struct span){0}, generation, 8);
}

Test(group, commits_are_checked)
{
    struct fixture f;
    fixture_open(&f);
    struct span none = {0};
    cr_assert_eq(group_may_commit(NULL, &f.step, kp_empty(), none, -1, 8), 0);
    cr_assert_eq(group_may_commit(NULL, &f.step, span_text("m"), none, 3, 8),
                 KP_ERROR_ILLEGAL_GENERATION);
    cr_assert_eq(group_may_commit(NULL, &f.step, span_text("m"), none, 3, 9),
                 KP_ERROR_GROUP_ID_NOT_FOUND);
    cr_assert_eq(may_commit(&f, "", -1), 0);
    cr_assert_eq(may_commit(&f, "m", 3), KP_ERROR_ILLEGAL_GENERATION, "nobody ever joined");
    struct pair pair = joined_pair(&f);
    cr_assert_eq(may_commit(&f, "", -1), KP_ERROR_UNKNOWN_MEMBER_ID);
    cr_assert_eq(may_commit(&f, pair.b, 1), KP_ERROR_REBALANCE_IN_PROGRESS);
    cr_assert_eq(may_commit(&f, pair.b, 0), KP_ERROR_ILLEGAL_GENERATION);
    lead(&f, pair, 1);
    cr_assert_eq(may_commit(&f, pair.b, 1), 0);
    cr_assert_eq(may_commit(&f, "", -1), KP_ERROR_UNKNOWN_MEMBER_ID);
    cr_assert_eq(may_commit(&f, "nobody", 1), KP_ERROR_UNKNOWN_MEMBER_ID);
    join(&f, (struct join){.id = pair.a});
    cr_assert_eq(may_commit(&f, pair.b, 1), 0, "what was read before the rebalance may be kept");
    leave(&f, pair.a, NULL);
    leave(&f, pair.b, NULL);
    cr_assert_eq(may_commit(&f, "", -1), 0);
    cr_assert_eq(may_commit(&f, pair.b, 1), KP_ERROR_UNKNOWN_MEMBER_ID);
    fixture_close(&f);
}

Test(group, two_rounds_move_partitions_cooperatively)
{
    struct fixture f;
    fixture_open(&f);
    struct members m = stable_group(&f, 1, false);
    struct call *b = join_twice(&f, (struct join){0});
    join(&f, (struct join){.id = m.ids[0], .protocols = "range=owns a"});
    struct call *first = sync_call(4, m.ids[0], 2);
    sync_assign(first, m.ids[0], "half");
    fixture_ask(&f, first);
    cr_assert_eq(sync(&f, id_of(b), 2)->out.sync.assignment.size, 0u);
    struct call *a = join(&f, (struct join){.id = m.ids[0], .protocols = "range=owns half"});
    cr_assert_not(a->answered);
    join(&f, (struct join){.id = id_of(b), .protocols = "range=owns nothing"});
    cr_assert_eq(a->out.join.generation_id, 3);
    cr_assert(is_text(a->out.join.members[0].metadata, "owns half"));
    cr_assert(is_text(a->out.join.members[1].metadata, "owns nothing"));
    fixture_close(&f);
}

Test(group, a_client_that_has_gone_has_not_joined)
{
    struct fixture f;
    fixture_open(&f);
    struct members m = stable_group(&f, 2, false);
    struct call *a = join(&f, (struct join){.id = m.ids[0]});
    group_forsake(f.group, &f.step, &a->ask);
    fixture_settle(&f);
    cr_assert_eq(a->out.join.error_code, KP_ERROR_COORDINATOR_NOT_AVAILABLE);
    struct call *b = join(&f, (struct join){.id = m.ids[1]});
    cr_assert_not(b->answered);
    a = join(&f, (struct join){.id = m.ids[0]});
    cr_assert(a->answered && b->answered);
    b = sync(&f, m.ids[1], 2);
    group_forsake(f.group, &f.step, &b->ask);
    fixture_settle(&f);
    cr_assert_eq(b->out.sync.error_code, KP_ERROR_COORDINATOR_NOT_AVAILABLE);
    fixture_pass(&f, 10000);
    cr_assert(group_is_empty(f.group), "sessions run again");
    fixture_close(&f);
}

Test(group, a_client_that_has_gone_has_to_sync_again)
{
    struct fixture f;
    fixture_open(&f);
    struct pair pair = joined_pair(&f);
    struct call *b = sync(&f, pair.b, 1);
    group_forsake(f.group, &f.step, &b->ask);
    fixture_settle(&f);
    lead(&f, pair, 1);
    for (int i = 0; i < 12; i++) {
        cr_assert_eq(beat(&f, pair.a, NULL, 1), 0);
        cr_assert_eq(beat(&f, pair.b, NULL, 1), 0);
        fixture_pass(&f, 5000);
    }
    cr_assert_eq(beat(&f, pair.b, NULL, 1), KP_ERROR_UNKNOWN_MEMBER_ID);
    fixture_close(&f);
}

Test(group, a_client_that_has_gone_before_it_knew_its_id_leaves_nothing)
{
    struct fixture f;
    fixture_open(&f);
    struct call *old = join(&f, (struct join){.version = 3});
    struct call *with_id = join_twice(&f, (struct join){0});
    group_forsake(f.group, &f.step, &old->ask);
    group_forsake(f.group, &f.step, &with_id->ask);
    fixture_settle(&f);
    cr_assert_eq(group_member_count(f.group), 1u);
    struct span id = with_id->in.join.member_id;
    with_id = join(&f, (struct join){.id = arena_text(&with_id->arena, id.data, id.size)});
    fixture_pass(&f, 6000);
    cr_assert_eq(with_id->out.join.error_code, 0);
    fixture_close(&f);
}

Test(group, a_thousand_members_share_a_group)
{
    enum { MEMBERS = 1000 };
    static struct fixture f;
    static const char *ids[MEMBERS];
    static struct call *calls[MEMBERS];
    fixture_open(&f);
    f.limits.max_members = MEMBERS;
    for (int i = 0; i < MEMBERS; i++)
        calls[i] = join(&f, (struct join){.version = 3});
    fixture_pass(&f, 6000);
    cr_assert_eq(calls[0]->out.join.members_count, MEMBERS);
    for (int i = 0; i < MEMBERS; i++)
        ids[i] = id_of(calls[i]);
    for (int i = 1; i < MEMBERS; i++)
        calls[i] = sync(&f, ids[i], 1);
    struct call *lead = sync_call(4, ids[0], 1);
    for (int i = 0; i < MEMBERS; i++)
        sync_assign(lead, ids[i], ids[i]);
    fixture_ask(&f, lead);
    for (int i = 1; i < MEMBERS; i++)
        cr_assert(is_text(calls[i]->out.sync.assignment, ids[i]), "each has its own");
    leave(&f, ids[500], NULL);
    for (int i = 0; i < MEMBERS; i++)
        calls[i] = i == 500 ? NULL : join(&f, (struct join){.version = 3, .id = ids[i]});
    cr_assert_eq(calls[0]->out.join.generation_id, 2);
    cr_assert_eq(calls[0]->out.join.members_count, MEMBERS - 1);
    fixture_restart(&f);
    cr_assert_eq(group_member_count(f.group), MEMBERS - 1u);
    fixture_pass(&f, 10000);
    cr_assert(group_is_empty(f.group));
    cr_assert_eq(f.image.records.count, 1u);
    fixture_close(&f);
}
