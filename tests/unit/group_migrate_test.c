// SPDX-License-Identifier: Apache-2.0
// Groups that are turned from the classic protocol to the consumer protocol, and back.
#include "tests/unit/group_mixed_fixture.h"

static void check_turned(struct fixture *f, const char *type, uint32_t members)
{
    cr_assert_str_eq(group_type_name(f->group), type);
    cr_assert_eq(group_member_count(f->group), members);
}

// --- upwards -------------------------------------------------------------------------------------

Test(group_migrate, a_consumer_turns_a_stable_group_and_nobody_loses_what_it_has)
{
    struct fixture f;
    struct topics *topics = mixed_fixture_open(&f);
    struct pair pair = stable_pair(&f, NULL, NULL);
    struct call *c = pulse(&f, (struct pulse){.id = "c"});
    check_turned(&f, "consumer", 3);
    cr_assert_eq(epoch_of(c), 2);
    cr_assert_str_eq(assigned(&f, c), ""); // it is still others'
    cr_assert_eq(commits(&f, pair.a, 1), 0);
    cr_assert_eq(commits(&f, pair.b, 1), 0);
    cr_assert_eq(beat(&f, pair.a, NULL, 1), KP_ERROR_REBALANCE_IN_PROGRESS);
    cr_assert_eq(sync(&f, pair.b, 1)->out.sync.error_code, KP_ERROR_REBALANCE_IN_PROGRESS);
    fixture_restart(&f);
    check_turned(&f, "consumer", 3);
    cr_assert_eq(commits(&f, pair.a, 1), 0);
    cr_assert_eq(beat(&f, pair.a, NULL, 1), KP_ERROR_REBALANCE_IN_PROGRESS);
    cr_assert_eq(generation_of(enter(&f, (struct enter){.id = pair.a})), 2);
    cr_assert_eq(commits(&f, pair.a, 1), KP_ERROR_ILLEGAL_GENERATION);
    cr_assert_eq(generation_of(enter(&f, (struct enter){.id = pair.b})), 2);
    cr_assert_str_eq(given(&f, pair.a, 2), "t:0 t:1");
    cr_assert_str_eq(given(&f, pair.b, 2), "t:2");
    cr_assert_str_eq(assigned(&f, pulse(&f, (struct pulse){.id = "c", .epoch = 2})), "t:3");
    cr_assert_eq(beat(&f, pair.a, NULL, 2), 0);
    cr_assert_eq(beat(&f, pair.b, NULL, 2), 0);
    consumer_fixture_close(&f, topics);
}

Test(group_migrate, who_waits_in_a_rebalance_is_told_to_join_again)
{
    struct fixture f;
    struct topics *topics = mixed_fixture_open(&f);
    struct pair pair = stable_pair(&f, NULL, NULL);
    struct call *d = enter(&f, (struct enter){0});
    struct call *old = fixture_ask(&f, enter_call((struct enter){.api = 3}));
    struct call *a = fixture_ask(&f, enter_call((struct enter){.id = pair.a}));
    cr_assert(!d->answered && !old->answered && !a->answered);
    cr_assert_eq(epoch_of(pulse(&f, (struct pulse){.id = "c"})), 2);
    cr_assert_eq(d->out.join.error_code, KP_ERROR_REBALANCE_IN_PROGRESS);
    cr_assert_eq(a->out.join.error_code, KP_ERROR_REBALANCE_IN_PROGRESS);
    cr_assert_eq(old->out.join.error_code, KP_ERROR_REBALANCE_IN_PROGRESS);
    check_turned(&f, "consumer", 4); // the one of an old version does not know its id
    cr_assert_eq(generation_of(enter(&f, (struct enter){.id = id_of(d)})), 2);
    cr_assert_eq(commits(&f, pair.b, 1), 0);
    consumer_fixture_close(&f, topics);
}

// Nobody has an assignment then; cooperative members say what they have.
Test(group_migrate, while_assignments_are_computed_members_have_what_they_say)
{
    struct fixture f;
    struct topics *topics = mixed_fixture_open(&f);
    struct pair pair = stable_pair(&f, NULL, NULL);
    struct call *a = fixture_ask(
        &f, enter_call((struct enter){.id = pair.a, .owned = "t:0 t:1", .topics = "t,u"}));
    struct call *b =
        fixture_ask(&f, enter_call((struct enter){.id = pair.b, .owned = "t:3 t:1 t:77 x:0"}));
    cr_assert_eq(generation_of(a), 2);
    cr_assert_eq(generation_of(b), 2);
    struct call *waits = sync(&f, pair.b, 2);
    cr_assert(!waits->answered);
    struct call *c = pulse(&f, (struct pulse){.id = "c"});
    cr_assert_eq(waits->out.sync.error_code, KP_ERROR_REBALANCE_IN_PROGRESS);
    cr_assert_str_eq(assigned(&f, c), "t:2"); // which is nobody's
    cr_assert_eq(commits(&f, pair.a, 2), 0);
    cr_assert_eq(commits(&f, pair.b, 2), KP_ERROR_ILLEGAL_GENERATION); // it claims t:1 as well
    consumer_fixture_close(&f, topics);
}

// A cooperative member that has been told to give t:1 up, and has not joined again yet.
Test(group_migrate, what_a_member_is_giving_up_is_nobody_elses)
{
    struct fixture f;
    struct topics *topics = mixed_fixture_open(&f);
    struct call *a = enter(&f, (struct enter){.owned = "t:0 t:1 t:2 t:3"});
    fixture_pass(&f, 6000);
    struct call *lead = sync_call(4, id_of(a), 1);
    sync_assign(lead, id_of(a), "");
    lead->in.sync.assignments[0].assignment = assignment(lead, "t:0 t:2 t:3");
    fixture_ask(&f, lead);
    struct call *c = pulse(&f, (struct pulse){.id = "c"});
    cr_assert_str_eq(assigned(&f, c), "");
    cr_assert_eq(beat(&f, id_of(a), NULL, 1), KP_ERROR_REBALANCE_IN_PROGRESS);
    fixture_restart(&f);
    enter(&f, (struct enter){.id = id_of(a), .owned = "t:0 t:2 t:3"});
    c = pulse(&f, (struct pulse){.id = "c", .epoch = 2});
    cr_assert_str_eq(assigned(&f, c), "t:1");
    consumer_fixture_close(&f, topics);
}

// Sticky ones that gave all up before they joined say what they had, for their leader to keep it.
Test(group_migrate, what_members_had_before_their_assignments_is_no_claim)
{
    struct fixture f;
    struct topics *topics = mixed_fixture_open(&f);
    struct pair pair = stable_pair(&f, NULL, NULL);
    struct call *a = fixture_ask(&f, enter_call((struct enter){.id = pair.a, .owned = "t:0 t:1"}));
    fixture_ask(&f, enter_call((struct enter){.id = pair.b, .owned = "t:2 t:3"}));
    cr_assert_eq(generation_of(a), 2);
    struct call *lead = sync_call(4, pair.a, 2);
    sync_assign(lead, pair.a, "");
    sync_assign(lead, pair.b, "");
    lead->in.sync.assignments[0].assignment = assignment(lead, "t:0 t:2");
    lead->in.sync.assignments[1].assignment = assignment(lead, "t:1 t:3");
    fixture_ask(&f, lead);
    cr_assert_str_eq(given(&f, pair.b, 2), "t:1 t:3");
    cr_assert_eq(epoch_of(pulse(&f, (struct pulse){.id = "c"})), 3);
    cr_assert_eq(commits(&f, pair.a, 2), 0);
    cr_assert_eq(commits(&f, pair.b, 2), 0);
    consumer_fixture_close(&f, topics);
}

static int16_t turns(struct fixture *f)
{
    return pulse_error(f, (struct pulse){.id = "c"});
}

Test(group_migrate, the_policy_decides)
{
    struct fixture f;
    struct topics *topics = mixed_fixture_open(&f);
    f.limits.may_upgrade = false;
    struct pair pair = stable_pair(&f, NULL, NULL);
    cr_assert_eq(turns(&f), KP_ERROR_GROUP_ID_NOT_FOUND);
    cr_assert_eq(pulse_error(&f, (struct pulse){.id = "c", .epoch = 3}),
                 KP_ERROR_GROUP_ID_NOT_FOUND);
    cr_assert_eq(beat(&f, pair.a, NULL, 1), 0);
    f.limits.may_upgrade = true;
    f.limits.may_downgrade = false;
    cr_assert_eq(pulse_error(&f, (struct pulse){.id = "c", .epoch = 3}),
                 KP_ERROR_UNKNOWN_MEMBER_ID);
    cr_assert_eq(turns(&f), 0);
    pulse(&f, (struct pulse){.id = "c", .epoch = -1});
    check_turned(&f, "consumer", 2);
    cr_assert_eq(beat(&f, pair.a, NULL, 1), KP_ERROR_REBALANCE_IN_PROGRESS);
    consumer_fixture_close(&f, topics);
}

Test(group_migrate, a_group_that_cannot_be_turned_stays_as_it_is)
{
    struct fixture f;
    struct topics *topics = mixed_fixture_open(&f);
    struct pair pair = stable_pair(&f, NULL, NULL);
    f.limits.consumer_max_members = 1;
    cr_assert_eq(turns(&f), KP_ERROR_GROUP_ID_NOT_FOUND);
    f.limits.consumer_max_members = 2;
    cr_assert_eq(turns(&f), KP_ERROR_GROUP_MAX_SIZE_REACHED);
    f.limits.consumer_max_members = 100;
    cr_assert_eq(pulse_error(&f, (struct pulse){.id = "c", .regex = "("}),
                 KP_ERROR_INVALID_REGULAR_EXPRESSION);
    cr_assert_eq(pulse_error(&f, (struct pulse){.id = pair.a}), KP_ERROR_INVALID_REQUEST);
    check_turned(&f, "classic", 2);
    cr_assert_eq(beat(&f, pair.a, NULL, 1), 0);
    consumer_fixture_close(&f, topics);
}

Test(group_migrate, what_members_say_must_be_understood)
{
    static const char *const types[] = {"connect", "consumer"};
    for (size_t i = 0; i < 2; i++) {
        struct fixture f;
        struct topics *topics = mixed_fixture_open(&f);
        join_twice(&f, (struct join){.type = types[i]}); // its metadata is "r"
        fixture_pass(&f, 6000);
        cr_assert_eq(turns(&f), KP_ERROR_GROUP_ID_NOT_FOUND);
        check_turned(&f, "classic", 1);
        consumer_fixture_close(&f, topics);
    }
}

// Every beginning of a subscription, with a leader that assigns every beginning of an assignment.
Test(group_migrate, cut_metadata_and_assignments_do_no_harm)
{
    for (size_t size = 0; size < 60; size++) {
        struct fixture f;
        struct topics *topics = mixed_fixture_open(&f);
        struct call *call = enter_call((struct enter){.instance = "i", .owned = "t:0 t:1"});
        struct span *metadata = &call->in.join.protocols[0].metadata;
        if (size < metadata->size)
            metadata->size = size;
        fixture_ask(&f, call);
        fixture_pass(&f, 6000);
        struct call *lead = sync_call(4, id_of(call), 1);
        sync_assign(lead, id_of(call), "");
        lead->in.sync.assignments[0].assignment = assignment(lead, "t:0 t:1");
        if (size > 25)
            lead->in.sync.assignments[0].assignment.size = size % 26;
        fixture_ask(&f, lead);
        int16_t error = turns(&f);
        cr_assert(error == 0 || error == KP_ERROR_GROUP_ID_NOT_FOUND);
        cr_assert_str_eq(group_type_name(f.group), error ? "classic" : "consumer");
        consumer_fixture_close(&f, topics);
    }
}

Test(group_migrate, static_members_come_over_one_after_the_other)
{
    struct fixture f;
    struct topics *topics = mixed_fixture_open(&f);
    struct pair pair = stable_pair(&f, "ia", "ib");
    struct call *a = pulse(&f, (struct pulse){.id = "new-a", .instance = "ia"});
    check_turned(&f, "consumer", 2);
    cr_assert_str_eq(assigned(&f, a), "t:0 t:1"); // what its former self had
    cr_assert_eq(commits(&f, pair.a, 1), KP_ERROR_UNKNOWN_MEMBER_ID);
    cr_assert_eq(beat(&f, pair.a, "ia", 1), KP_ERROR_FENCED_INSTANCE_ID);
    fixture_restart(&f);
    struct call *b = pulse(&f, (struct pulse){.id = "new-b", .instance = "ib"});
    cr_assert_str_eq(assigned(&f, b), "t:2 t:3");
    check_turned(&f, "consumer", 2);
    cr_assert_eq(f.group->offering, 0u);
    // And back: neither has left.
    struct call *back = enter(&f, (struct enter){.instance = "ia"});
    check_turned(&f, "consumer", 2);
    cr_assert_str_eq(given(&f, id_of(back), generation_of(back)), "t:0 t:1");
    cr_assert_eq(pulse_error(&f, (struct pulse){.id = "new-a", .instance = "ia", .epoch = 2}),
                 KP_ERROR_FENCED_INSTANCE_ID);
    struct call *last = fixture_ask(&f, enter_call((struct enter){.instance = "ib"}));
    check_turned(&f, "classic", 2);
    cr_assert(!last->answered); // until "ia" has heard of it
    cr_assert_eq(pulse_error(&f, (struct pulse){.id = "new-b", .instance = "ib", .epoch = 2}),
                 KP_ERROR_FENCED_INSTANCE_ID);
    int32_t generation = generation_of(back);
    cr_assert_eq(beat(&f, id_of(back), "ia", generation), KP_ERROR_REBALANCE_IN_PROGRESS);
    struct call *first =
        fixture_ask(&f, enter_call((struct enter){.id = id_of(back), .instance = "ia"}));
    cr_assert_gt(generation_of(first), generation);
    cr_assert_eq(generation_of(last), generation_of(first));
    consumer_fixture_close(&f, topics);
}

Test(group_migrate, a_static_member_may_come_over_while_it_waits_for_its_first_answer)
{
    struct fixture f;
    struct topics *topics = mixed_fixture_open(&f);
    struct call *waits = fixture_ask(&f, enter_call((struct enter){.instance = "ia"}));
    cr_assert(!waits->answered);
    struct call *a = pulse(&f, (struct pulse){.id = "new-a", .instance = "ia"});
    cr_assert_str_eq(assigned(&f, a), "t:0 t:1 t:2 t:3");
    cr_assert_eq(waits->out.join.error_code, KP_ERROR_REBALANCE_IN_PROGRESS);
    check_turned(&f, "consumer", 1);
    consumer_fixture_close(&f, topics);
}

// --- downwards -----------------------------------------------------------------------------------

static void turn_and_join(struct fixture *f, struct pair pair)
{
    cr_assert_eq(turns(f), 0);
    cr_assert_eq(generation_of(enter(f, (struct enter){.id = pair.a})), 2);
    cr_assert_eq(generation_of(enter(f, (struct enter){.id = pair.b})), 2);
    cr_assert_str_eq(given(f, pair.a, 2), "t:0 t:1");
    cr_assert_str_eq(given(f, pair.b, 2), "t:2");
}

static void rebalance_classic(struct fixture *f, struct pair pair, int32_t generation)
{
    cr_assert_eq(beat(f, pair.a, NULL, generation), KP_ERROR_REBALANCE_IN_PROGRESS);
    struct call *a = fixture_ask(f, enter_call((struct enter){.id = pair.a}));
    struct call *b = fixture_ask(f, enter_call((struct enter){.id = pair.b}));
    cr_assert_gt(generation_of(a), generation);
    cr_assert_eq(generation_of(a), generation_of(b));
    cr_assert_eq(a->out.join.members_count, 2);
    struct call *lead = sync_call(4, pair.a, generation_of(a));
    sync_assign(lead, pair.a, "");
    lead->in.sync.assignments[0].assignment = assignment(lead, "t:0 t:1 t:2 t:3");
    fixture_ask(f, lead);
    cr_assert_str_eq(group_state_name(f->group), "Stable");
}

Test(group_migrate, the_last_consumer_that_leaves_turns_the_group_back)
{
    struct fixture f;
    struct topics *topics = mixed_fixture_open(&f);
    struct pair pair = stable_pair(&f, NULL, NULL);
    turn_and_join(&f, pair);
    pulse(&f, (struct pulse){.id = "c", .epoch = -1});
    check_turned(&f, "classic", 2);
    cr_assert_str_eq(group_state_name(f.group), "PreparingRebalance");
    cr_assert_eq(commits(&f, pair.a, 2), 0);
    fixture_restart(&f);
    check_turned(&f, "classic", 2);
    cr_assert_eq(commits(&f, pair.a, 2), 0);
    rebalance_classic(&f, pair, 2);
    consumer_fixture_close(&f, topics);
}

Test(group_migrate, so_does_one_whose_session_ends)
{
    struct fixture f;
    struct topics *topics = mixed_fixture_open(&f);
    struct pair pair = stable_pair(&f, NULL, NULL);
    turn_and_join(&f, pair);
    for (int i = 0; i < 9; i++) {
        fixture_pass(&f, 5000);
        beat(&f, pair.a, NULL, 2);
        beat(&f, pair.b, NULL, 2);
    }
    fixture_pass(&f, 1000);
    check_turned(&f, "classic", 2);
    cr_assert_eq(pulse_error(&f, (struct pulse){.id = "c", .epoch = 2}),
                 KP_ERROR_UNKNOWN_MEMBER_ID);
    rebalance_classic(&f, pair, 2);
    consumer_fixture_close(&f, topics);
}

// Before the classic rebalance has ended, what members have is known from before.
Test(group_migrate, a_group_that_is_turned_again_at_once_gives_nothing_away)
{
    for (int crash = 0; crash < 2; crash++) {
        struct fixture f;
        struct topics *topics = mixed_fixture_open(&f);
        struct pair pair = stable_pair(&f, NULL, NULL);
        turn_and_join(&f, pair);
        pulse(&f, (struct pulse){.id = "c", .epoch = -1});
        check_turned(&f, "classic", 2);
        if (crash)
            fixture_restart(&f);
        struct call *d = pulse(&f, (struct pulse){.id = "d"});
        check_turned(&f, "consumer", 3);
        cr_assert_str_eq(assigned(&f, d), "t:3");
        cr_assert_eq(commits(&f, pair.a, 2), 0);
        cr_assert_eq(commits(&f, pair.b, 2), 0);
        consumer_fixture_close(&f, topics);
    }
}

Test(group_migrate, nothing_is_left_when_all_have_gone)
{
    struct fixture f;
    struct topics *topics = mixed_fixture_open(&f);
    struct pair pair = stable_pair(&f, NULL, NULL);
    turn_and_join(&f, pair);
    leave(&f, pair.a, NULL);
    leave(&f, pair.b, NULL);
    check_turned(&f, "consumer", 1);
    pulse(&f, (struct pulse){.id = "c", .epoch = -1});
    check_turned(&f, "consumer", 0);
    cr_assert_eq(f.image.records.count, 1u); // the group's own
    cr_assert_eq(f.group->bytes, 0u);
    consumer_fixture_close(&f, topics);
}
