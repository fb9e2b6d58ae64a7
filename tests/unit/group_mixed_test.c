// SPDX-License-Identifier: Apache-2.0
// Classic members of a group of the consumer protocol.
#include "tests/unit/group_mixed_fixture.h"

static struct topics *open_with_consumer(struct fixture *f)
{
    struct topics *topics = mixed_fixture_open(f);
    cr_assert_str_eq(assigned(f, pulse(f, (struct pulse){.id = "c"})), "t:0 t:1 t:2 t:3");
    return topics;
}

// One heartbeat to hear of it, one to say that it is done.
static void give_up(struct fixture *f, int32_t epoch, const char *owned)
{
    pulse(f, (struct pulse){.id = "c", .epoch = epoch});
    pulse(f, (struct pulse){.id = "c", .epoch = epoch, .owned = owned});
}

Test(group_mixed, a_classic_member_joins_and_gets_its_part)
{
    struct fixture f;
    struct topics *topics = open_with_consumer(&f);
    struct call *a = enter(&f, (struct enter){.api = 9});
    cr_assert_eq(generation_of(a), 2);
    cr_assert_eq(a->out.join.members_count, 0);
    cr_assert_eq(a->out.join.leader.size, 0u);
    cr_assert(is_text(a->out.join.protocol_name, "range"));
    cr_assert_str_eq(given(&f, id_of(a), 2), "");
    cr_assert_eq(beat(&f, id_of(a), NULL, 2), 0); // the other one has it still
    give_up(&f, 1, "t:0 t:1");
    cr_assert_eq(beat(&f, id_of(a), NULL, 2), KP_ERROR_REBALANCE_IN_PROGRESS);
    a = enter(&f, (struct enter){.id = id_of(a)});
    cr_assert_eq(generation_of(a), 2);
    cr_assert_str_eq(given(&f, id_of(a), 2), "t:2 t:3");
    cr_assert_eq(beat(&f, id_of(a), NULL, 2), 0);
    fixture_restart(&f);
    cr_assert_eq(beat(&f, id_of(a), NULL, 2), 0);
    cr_assert_str_eq(given(&f, id_of(a), 2), "t:2 t:3");
    consumer_fixture_close(&f, topics);
}

// It keeps what it is to keep while it gives the rest up.
Test(group_mixed, a_cooperative_member_gives_up_in_two_rounds)
{
    struct fixture f;
    struct topics *topics = open_with_consumer(&f);
    struct call *a = enter(&f, (struct enter){0});
    give_up(&f, 1, "t:0 t:1");
    a = enter(&f, (struct enter){.id = id_of(a)});
    cr_assert_str_eq(given(&f, id_of(a), 2), "t:2 t:3");
    pulse(&f, (struct pulse){.id = "d"});
    cr_assert_eq(beat(&f, id_of(a), NULL, 2), KP_ERROR_REBALANCE_IN_PROGRESS);
    a = enter(&f, (struct enter){.id = id_of(a), .owned = "t:2 t:3"});
    cr_assert_eq(generation_of(a), 2); // until it has nothing to give up
    const char *kept = given(&f, id_of(a), 2);
    cr_assert_eq(strlen(kept), 3u);
    cr_assert_eq(commits(&f, id_of(a), 2), 0);
    cr_assert_eq(beat(&f, id_of(a), NULL, 2), KP_ERROR_REBALANCE_IN_PROGRESS);
    a = enter(&f, (struct enter){.id = id_of(a), .owned = kept});
    cr_assert_eq(generation_of(a), 3);
    cr_assert_str_eq(given(&f, id_of(a), 3), kept);
    cr_assert_eq(commits(&f, id_of(a), 2), KP_ERROR_ILLEGAL_GENERATION);
    cr_assert_eq(commits(&f, id_of(a), 3), 0);
    consumer_fixture_close(&f, topics);
}

Test(group_mixed, who_says_nothing_of_what_it_has_has_nothing)
{
    struct fixture f;
    struct topics *topics = open_with_consumer(&f);
    pulse(&f, (struct pulse){.id = "c", .epoch = 1, .topics = "u"});
    give_up(&f, 1, "");
    struct call *a = enter(&f, (struct enter){.version = -1});
    cr_assert_str_eq(given(&f, id_of(a), generation_of(a)), "t:0 t:1 t:2 t:3");
    pulse(&f, (struct pulse){.id = "d"});
    a = enter(&f, (struct enter){.id = id_of(a), .version = -1});
    cr_assert_eq(strlen(given(&f, id_of(a), generation_of(a))), 7u);
    consumer_fixture_close(&f, topics);
}

Test(group_mixed, a_new_subscription_is_a_new_epoch)
{
    struct fixture f;
    struct topics *topics = open_with_consumer(&f);
    topics_set(topics, "u", 1);
    struct call *a = enter(&f, (struct enter){.topics = "t"});
    cr_assert_eq(generation_of(enter(&f, (struct enter){.id = id_of(a), .topics = "t"})), 2);
    a = enter(&f, (struct enter){.id = id_of(a), .topics = "u"});
    cr_assert_eq(generation_of(a), 3);
    cr_assert_str_eq(given(&f, id_of(a), 3), "u:0");
    cr_assert(group_subscribes(f.group, span_text("u")));
    consumer_fixture_close(&f, topics);
}

Test(group_mixed, who_may_not_join)
{
    struct fixture f;
    struct topics *topics = open_with_consumer(&f);
    struct call *broken = join_call((struct join){.instance = "i"});
    cr_assert_eq(fixture_ask(&f, broken)->out.join.error_code,
                 KP_ERROR_INCONSISTENT_GROUP_PROTOCOL);
    cr_assert_eq(enter_error(&f, (struct enter){.id = "c"}), KP_ERROR_UNKNOWN_MEMBER_ID);
    cr_assert_eq(enter_error(&f, (struct enter){.id = "x"}), KP_ERROR_UNKNOWN_MEMBER_ID);
    cr_assert_eq(enter_error(&f, (struct enter){.type = "connect"}),
                 KP_ERROR_INCONSISTENT_GROUP_PROTOCOL);
    cr_assert_eq(enter_error(&f, (struct enter){.session_ms = 1}),
                 KP_ERROR_INVALID_SESSION_TIMEOUT);
    enter(&f, (struct enter){0});
    cr_assert_eq(enter_error(&f, (struct enter){.protocol = "sticky"}),
                 KP_ERROR_INCONSISTENT_GROUP_PROTOCOL);
    f.limits.consumer_max_members = 2;
    cr_assert_eq(enter_error(&f, (struct enter){0}), KP_ERROR_GROUP_MAX_SIZE_REACHED);
    cr_assert_eq(group_member_count(f.group), 2u);
    consumer_fixture_close(&f, topics);
}

Test(group_mixed, a_promised_id_is_good_until_its_session_ends)
{
    struct fixture f;
    struct topics *topics = open_with_consumer(&f);
    struct call *promised = fixture_ask(&f, enter_call((struct enter){0}));
    cr_assert_eq(promised->out.join.error_code, KP_ERROR_MEMBER_ID_REQUIRED);
    fixture_pass(&f, 11000);
    cr_assert_eq(enter_error(&f, (struct enter){.id = id_of(promised)}),
                 KP_ERROR_UNKNOWN_MEMBER_ID);
    consumer_fixture_close(&f, topics);
}

Test(group_mixed, requests_of_the_other_protocol_find_no_classic_member)
{
    struct fixture f;
    struct topics *topics = open_with_consumer(&f);
    const char *a = id_of(enter(&f, (struct enter){0}));
    cr_assert_eq(pulse_error(&f, (struct pulse){.id = a, .epoch = 2}), KP_ERROR_UNKNOWN_MEMBER_ID);
    cr_assert_eq(pulse_error(&f, (struct pulse){.id = a, .epoch = -1}), KP_ERROR_UNKNOWN_MEMBER_ID);
    cr_assert_eq(pulse_error(&f, (struct pulse){.id = a}), KP_ERROR_INVALID_REQUEST);
    cr_assert_eq(beat(&f, "c", NULL, 1), KP_ERROR_UNKNOWN_MEMBER_ID);
    cr_assert_eq(sync(&f, "c", 1)->out.sync.error_code, KP_ERROR_UNKNOWN_MEMBER_ID);
    cr_assert_eq(group_member_count(f.group), 2u);
    consumer_fixture_close(&f, topics);
}

Test(group_mixed, an_administrator_removes_members_of_both_protocols)
{
    struct fixture f;
    struct topics *topics = open_with_consumer(&f);
    const char *a = id_of(enter(&f, (struct enter){0}));
    cr_assert_eq(leave(&f, a, NULL)->out.leave.members[0].error_code, 0);
    cr_assert_eq(group_member_count(f.group), 1u);
    cr_assert_eq(leave(&f, "c", NULL)->out.leave.members[0].error_code, 0);
    cr_assert_str_eq(group_state_name(f.group), "Empty");
    cr_assert_eq(pulse_error(&f, (struct pulse){.id = "c", .epoch = 1}),
                 KP_ERROR_UNKNOWN_MEMBER_ID);
    consumer_fixture_close(&f, topics);
}

Test(group_mixed, what_sync_group_must_agree_on)
{
    struct fixture f;
    struct topics *topics = open_with_consumer(&f);
    const char *a = id_of(enter(&f, (struct enter){0}));
    cr_assert_eq(sync(&f, a, 1)->out.sync.error_code, KP_ERROR_ILLEGAL_GENERATION);
    struct call *call = sync_call(5, a, 2);
    call->in.sync.protocol_name = span_text("sticky");
    cr_assert_eq(fixture_ask(&f, call)->out.sync.error_code, KP_ERROR_INCONSISTENT_GROUP_PROTOCOL);
    call = fixture_ask(&f, sync_call(5, a, 2));
    cr_assert_eq(call->out.sync.error_code, 0);
    cr_assert(is_text(call->out.sync.protocol_type, "consumer"));
    consumer_fixture_close(&f, topics);
}

// Who joins and never syncs, or hears that it shall join and never does, is removed.
Test(group_mixed, a_member_that_does_not_go_on_is_removed)
{
    struct fixture f;
    struct topics *topics = open_with_consumer(&f);
    const char *a = id_of(enter(&f, (struct enter){.rebalance_ms = 20000}));
    for (int i = 0; i < 5; i++) {
        cr_assert_eq(beat(&f, a, NULL, 2), 0);
        cr_assert_eq(pulse_error(&f, (struct pulse){.id = "c", .epoch = 1}), 0);
        fixture_pass(&f, 3900);
    }
    fixture_pass(&f, 1000);
    cr_assert_eq(beat(&f, a, NULL, 2), KP_ERROR_UNKNOWN_MEMBER_ID);
    a = id_of(enter(&f, (struct enter){.rebalance_ms = 20000}));
    int32_t generation = f.group->generation;
    given(&f, a, generation);
    pulse(&f, (struct pulse){.id = "d"});
    for (int i = 0; i < 6; i++) {
        cr_assert_eq(beat(&f, a, NULL, generation), KP_ERROR_REBALANCE_IN_PROGRESS);
        fixture_pass(&f, 3500);
    }
    cr_assert_eq(beat(&f, a, NULL, generation), KP_ERROR_UNKNOWN_MEMBER_ID);
    consumer_fixture_close(&f, topics);
}

Test(group_mixed, a_session_of_a_classic_member_is_its_own)
{
    struct fixture f;
    struct topics *topics = open_with_consumer(&f);
    const char *a = id_of(enter(&f, (struct enter){.session_ms = 7000}));
    given(&f, a, 2);
    fixture_pass(&f, 6000);
    cr_assert_eq(commits(&f, a, 2), 0); // a sign of life
    fixture_pass(&f, 6000);
    cr_assert_eq(beat(&f, a, NULL, 2), 0);
    fixture_restart(&f);
    fixture_pass(&f, 8000);
    cr_assert_eq(beat(&f, a, NULL, 2), KP_ERROR_UNKNOWN_MEMBER_ID);
    consumer_fixture_close(&f, topics);
}

Test(group_mixed, offsets_are_read_and_committed_in_the_generation_that_was_told)
{
    struct fixture f;
    struct topics *topics = open_with_consumer(&f);
    const char *a = id_of(enter(&f, (struct enter){.instance = "ia"}));
    cr_assert_eq(commits(&f, a, 2), 0);
    cr_assert_eq(commits(&f, a, 1), KP_ERROR_ILLEGAL_GENERATION);
    cr_assert_eq(commits(&f, "nobody", 2), KP_ERROR_UNKNOWN_MEMBER_ID);
    cr_assert_eq(commits(&f, "c", 1), KP_ERROR_UNSUPPORTED_VERSION);
    cr_assert_eq(group_may_commit(f.group, &f.step, span_text("other"), span_text("ia"), 2, 8),
                 KP_ERROR_FENCED_INSTANCE_ID);
    cr_assert_eq(group_may_fetch(f.group, &f.step, span_text(a), 2), 0);
    cr_assert_eq(group_may_fetch(f.group, &f.step, span_text(a), 1), KP_ERROR_ILLEGAL_GENERATION);
    const char *again = id_of(enter(&f, (struct enter){.instance = "ia"}));
    cr_assert_eq(commits(&f, a, 2), KP_ERROR_UNKNOWN_MEMBER_ID);
    cr_assert_eq(commits(&f, again, 2), 0);
    cr_assert_eq(group_may_commit(f.group, &f.step, span_text(a), span_text("ia"), 2, 8),
                 KP_ERROR_FENCED_INSTANCE_ID);
    consumer_fixture_close(&f, topics);
}

Test(group_mixed, a_description_says_which_protocol_a_member_speaks)
{
    struct fixture f;
    struct topics *topics = open_with_consumer(&f);
    enter(&f, (struct enter){.topics = "t"});
    struct call *call = describe_consumers(&f);
    const struct kp_consumer_group_describe_response_group *out = &call->out.consumer_describe;
    cr_assert_eq(out->members_count, 2);
    cr_assert_eq(out->members[0].member_type, 1);
    cr_assert_eq(out->members[1].member_type, 0);
    cr_assert(is_text(out->members[1].rack_id, "rack"));
    cr_assert(is_text(out->members[1].subscribed_topic_names[0], "t"));
    consumer_fixture_close(&f, topics);
}
