// SPDX-License-Identifier: Apache-2.0
// The consumer protocol (KIP-848): joining, reconciling, leaving.
#include "tests/unit/group_consumer_fixture.h"

Test(group_consumer, the_first_member_gets_everything)
{
    struct fixture f;
    struct topics *topics = consumer_fixture_open(&f);
    topics_set(topics, "t", 3);
    struct call *call = pulse(&f, (struct pulse){0});
    cr_assert_str_eq(assigned(&f, call), "t:0 t:1 t:2");
    cr_assert_eq(epoch_of(call), 1);
    cr_assert_eq(call->out.consumer.heartbeat_interval_ms, 5000);
    cr_assert(is_text(call->out.consumer.member_id, "a"));
    cr_assert_str_eq(group_state_name(f.group), "Stable");
    cr_assert_str_eq(group_type_name(f.group), "consumer");
    consumer_fixture_close(&f, topics);
}

Test(group_consumer, nothing_new_is_told_once)
{
    struct fixture f;
    struct topics *topics = consumer_fixture_open(&f);
    topics_set(topics, "t", 2);
    pulse(&f, (struct pulse){0});
    uint32_t written = f.written;
    cr_assert_str_eq(assigned(&f, pulse(&f, (struct pulse){.epoch = 1})), "-");
    // A full request is answered in full.
    cr_assert_str_eq(
        assigned(&f, pulse(&f,
                           (struct pulse){
                               .epoch = 1, .topics = "t", .rebalance_ms = 60000, .owned = "t:0"})),
        "t:0 t:1");
    cr_assert_eq(f.written, written, "and writes nothing");
    consumer_fixture_close(&f, topics);
}

Test(group_consumer, a_partition_moves_when_its_owner_is_without_it)
{
    struct fixture f;
    struct topics *topics = consumer_fixture_open(&f);
    topics_set(topics, "t", 4);
    pulse(&f, (struct pulse){0});
    struct call *b = pulse(&f, (struct pulse){.id = "b"});
    cr_assert_str_eq(assigned(&f, b), "");
    cr_assert_eq(epoch_of(b), 2);
    cr_assert_str_eq(group_state_name(f.group), "Reconciling");
    // The owner is told to give two up, in its old epoch.
    struct call *a = pulse(&f, (struct pulse){.epoch = 1});
    cr_assert_str_eq(assigned(&f, a), "t:0 t:1");
    cr_assert_eq(epoch_of(a), 1);
    // As long as it does not say that it has, nobody gets them.
    cr_assert_eq(epoch_of(pulse(&f, (struct pulse){.epoch = 1})), 1);
    cr_assert_eq(epoch_of(pulse(&f, (struct pulse){.epoch = 1, .owned = "t:0 t:1 t:3"})), 1);
    cr_assert_str_eq(assigned(&f, pulse(&f, (struct pulse){.id = "b", .epoch = 2})), "-");
    a = pulse(&f, (struct pulse){.epoch = 1, .owned = "t:0 t:1"});
    cr_assert_eq(epoch_of(a), 2);
    cr_assert_str_eq(assigned(&f, a), "-");
    b = pulse(&f, (struct pulse){.id = "b", .epoch = 2});
    cr_assert_str_eq(assigned(&f, b), "t:2 t:3");
    cr_assert_eq(epoch_of(b), 2);
    cr_assert_str_eq(group_state_name(f.group), "Stable");
    consumer_fixture_close(&f, topics);
}

Test(group_consumer, who_leaves_is_replaced)
{
    struct fixture f;
    struct topics *topics = consumer_fixture_open(&f);
    topics_set(topics, "t", 2);
    pulse(&f, (struct pulse){0});
    pulse(&f, (struct pulse){.id = "b"});
    struct call *left = pulse(&f, (struct pulse){.epoch = -1});
    cr_assert_eq(left->out.consumer.member_epoch, -1);
    cr_assert_str_eq(assigned(&f, pulse(&f, (struct pulse){.id = "b", .epoch = 2})), "t:0 t:1");
    cr_assert_eq(pulse_error(&f, (struct pulse){.epoch = 1}), KP_ERROR_UNKNOWN_MEMBER_ID);
    cr_assert_eq(pulse_error(&f, (struct pulse){.epoch = -1}), KP_ERROR_UNKNOWN_MEMBER_ID);
    pulse(&f, (struct pulse){.id = "b", .epoch = -1});
    cr_assert_str_eq(group_state_name(f.group), "Empty");
    cr_assert_eq(f.image.records.count, 1u, "only the group's record is left");
    // The epoch goes on where it was.
    cr_assert_gt(epoch_of(pulse(&f, (struct pulse){0})), 3);
    consumer_fixture_close(&f, topics);
}

Test(group_consumer, an_administrator_removes_members)
{
    struct fixture f;
    struct topics *topics = consumer_fixture_open(&f);
    topics_set(topics, "t", 2);
    pulse(&f, (struct pulse){0});
    pulse(&f, (struct pulse){.id = "b"});
    cr_assert_eq(leave(&f, "a", NULL)->out.leave.members[0].error_code, 0);
    cr_assert_str_eq(assigned(&f, pulse(&f, (struct pulse){.id = "b", .epoch = 2})), "t:0 t:1");
    cr_assert_eq(pulse_error(&f, (struct pulse){.epoch = 1}), KP_ERROR_UNKNOWN_MEMBER_ID);
    // One that has left for a while, by its instance id.
    pulse(&f, (struct pulse){.id = "c", .instance = "i"});
    pulse(&f, (struct pulse){.id = "c", .instance = "i", .epoch = -2});
    cr_assert_eq(leave(&f, "b", "i")->out.leave.members[0].error_code, KP_ERROR_FENCED_INSTANCE_ID);
    cr_assert_eq(leave(&f, "", "i")->out.leave.members[0].error_code, 0);
    cr_assert_eq(leave(&f, "b", NULL)->out.leave.members[0].error_code, 0);
    cr_assert_str_eq(group_state_name(f.group), "Empty");
    cr_assert_eq(f.image.records.count, 1u, "only the group's record is left");
    consumer_fixture_close(&f, topics);
}

Test(group_consumer, sessions_end)
{
    struct fixture f;
    struct topics *topics = consumer_fixture_open(&f);
    topics_set(topics, "t", 2);
    pulse(&f, (struct pulse){0});
    pulse(&f, (struct pulse){.id = "b"});
    fixture_pass(&f, 30000);
    pulse(&f, (struct pulse){.id = "b", .epoch = 2});
    fixture_pass(&f, 14999);
    cr_assert_eq(group_member_count(f.group), 2u);
    fixture_pass(&f, 1);
    cr_assert_eq(group_member_count(f.group), 1u);
    cr_assert_str_eq(assigned(&f, pulse(&f, (struct pulse){.id = "b", .epoch = 2})), "t:0 t:1");
    consumer_fixture_close(&f, topics);
}

Test(group_consumer, who_does_not_give_up_in_time_is_removed)
{
    struct fixture f;
    struct topics *topics = consumer_fixture_open(&f);
    topics_set(topics, "t", 2);
    pulse(&f, (struct pulse){.rebalance_ms = 20000});
    pulse(&f, (struct pulse){.id = "b"});
    pulse(&f, (struct pulse){.epoch = 1});
    for (int i = 0; i < 3; i++) {
        fixture_pass(&f, 6000);
        cr_assert_eq(pulse_error(&f, (struct pulse){.epoch = 1}), 0);
    }
    fixture_pass(&f, 2000);
    cr_assert_eq(pulse_error(&f, (struct pulse){.epoch = 1}), KP_ERROR_UNKNOWN_MEMBER_ID);
    cr_assert_str_eq(assigned(&f, pulse(&f, (struct pulse){.id = "b", .epoch = 2})), "t:0 t:1");
    consumer_fixture_close(&f, topics);
}

Test(group_consumer, other_epochs_are_fenced)
{
    struct fixture f;
    struct topics *topics = consumer_fixture_open(&f);
    topics_set(topics, "t", 2);
    pulse(&f, (struct pulse){0});
    pulse(&f, (struct pulse){.id = "b"});
    pulse(&f, (struct pulse){.id = "b", .epoch = -1});
    struct call *call = pulse(&f, (struct pulse){.epoch = 1});
    cr_assert_eq(epoch_of(call), 3);
    cr_assert_eq(pulse_error(&f, (struct pulse){.epoch = 4}), KP_ERROR_FENCED_MEMBER_EPOCH);
    cr_assert_eq(pulse_error(&f, (struct pulse){.epoch = 2}), KP_ERROR_FENCED_MEMBER_EPOCH);
    // The answer with the epoch may have been lost: who says what it has is told again.
    cr_assert_eq(pulse_error(&f, (struct pulse){.epoch = 1}), KP_ERROR_FENCED_MEMBER_EPOCH);
    cr_assert_eq(pulse_error(&f, (struct pulse){.epoch = 1, .owned = "t:0 u:1"}),
                 KP_ERROR_FENCED_MEMBER_EPOCH);
    call = pulse(&f, (struct pulse){.epoch = 1, .owned = "t:0"});
    cr_assert_eq(epoch_of(call), 3);
    cr_assert_str_eq(assigned(&f, call), "t:0 t:1");
    // Who is fenced joins again and has nothing.
    call = pulse(&f, (struct pulse){0});
    cr_assert_eq(epoch_of(call), 3);
    cr_assert_str_eq(assigned(&f, call), "t:0 t:1");
    consumer_fixture_close(&f, topics);
}

Test(group_consumer, who_joins_again_gives_up_what_it_had)
{
    struct fixture f;
    struct topics *topics = consumer_fixture_open(&f);
    topics_set(topics, "t", 2);
    pulse(&f, (struct pulse){0});
    pulse(&f, (struct pulse){.id = "b"});
    pulse(&f, (struct pulse){.epoch = 1});
    struct call *call = pulse(&f, (struct pulse){0});
    cr_assert_eq(epoch_of(call), 2);
    cr_assert_str_eq(assigned(&f, call), "t:0");
    cr_assert_str_eq(assigned(&f, pulse(&f, (struct pulse){.id = "b", .epoch = 2})), "t:1");
    consumer_fixture_close(&f, topics);
}

Test(group_consumer, malformed_requests_are_refused)
{
    struct fixture f;
    struct topics *topics = consumer_fixture_open(&f);
    topics_set(topics, "t", 2);
    char longer[300];
    memset(longer, 'x', sizeof(longer));
    longer[299] = 0;
    const struct pulse wrong[] = {
        {.id = ""},
        {.rebalance_ms = -1},
        {.owned = "t:0"},
        {.instance = ""},
        {.rack = ""},
        {.rack = longer},
        {.instance = longer},
        {.id = longer},
        {.epoch = -3},
        {.epoch = -2},
        {.epoch = 1, .id = ""},
        {.epoch = -1, .id = ""},
        {.epoch = 1, .rebalance_ms = -2},
    };
    for (uint32_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
        cr_assert_eq(pulse_error(&f, wrong[i]), KP_ERROR_INVALID_REQUEST, "%u", i);
    cr_assert_eq(pulse_error(&f, (struct pulse){.assignor = "x"}), KP_ERROR_UNSUPPORTED_ASSIGNOR);
    cr_assert(group_is_idle(f.group));
    // Version 0 leaves the id to the broker.
    struct call *call = pulse(&f, (struct pulse){.version = -1, .id = ""});
    cr_assert_eq(epoch_of(call), 1);
    cr_assert_gt(call->out.consumer.member_id.size, 30u);
    consumer_fixture_close(&f, topics);
}

Test(group_consumer, a_group_may_be_full)
{
    struct fixture f;
    struct topics *topics = consumer_fixture_open(&f);
    topics_set(topics, "t", 2);
    f.limits.consumer_max_members = 1;
    pulse(&f, (struct pulse){0});
    cr_assert_eq(pulse_error(&f, (struct pulse){.id = "b"}), KP_ERROR_GROUP_MAX_SIZE_REACHED);
    cr_assert_eq(pulse_error(&f, (struct pulse){0}), 0);
    consumer_fixture_close(&f, topics);
}

Test(group_consumer, topics_change)
{
    struct fixture f;
    struct topics *topics = consumer_fixture_open(&f);
    pulse(&f, (struct pulse){.topics = "t,u"});
    change_topic(&f, topics, "t", 1);
    cr_assert_str_eq(assigned(&f, pulse(&f, (struct pulse){.epoch = 1})), "t:0");
    change_topic(&f, topics, "t", 2);
    change_topic(&f, topics, "u", 1);
    change_topic(&f, topics, "other", 1);
    struct call *call = pulse(&f, (struct pulse){.epoch = 2});
    cr_assert_str_eq(assigned(&f, call), "t:0 t:1 u:0");
    cr_assert_eq(epoch_of(call), 4);
    change_topic(&f, topics, "t", 0);
    call = pulse(&f, (struct pulse){.epoch = 4});
    cr_assert_str_eq(assigned(&f, call), "u:0");
    call = pulse(&f, (struct pulse){.epoch = 4, .owned = "u:0"});
    cr_assert_eq(epoch_of(call), 5);
    consumer_fixture_close(&f, topics);
}

Test(group_consumer, a_member_changes_its_mind)
{
    struct fixture f;
    struct topics *topics = consumer_fixture_open(&f);
    topics_set(topics, "t", 2);
    topics_set(topics, "u", 1);
    pulse(&f, (struct pulse){0});
    struct call *call = pulse(&f, (struct pulse){.epoch = 1, .topics = "u"});
    cr_assert_eq(epoch_of(call), 1);
    cr_assert_str_eq(assigned(&f, call), "");
    call = pulse(&f, (struct pulse){.epoch = 1, .owned = ""});
    cr_assert_str_eq(assigned(&f, call), "u:0");
    cr_assert_eq(epoch_of(call), 2);
    cr_assert(group_subscribes(f.group, span_text("u")));
    cr_assert_not(group_subscribes(f.group, span_text("t")));
    consumer_fixture_close(&f, topics);
}

// --- static members ------------------------------------------------------------------------------

Test(group_consumer, a_static_member_comes_back)
{
    struct fixture f;
    struct topics *topics = consumer_fixture_open(&f);
    topics_set(topics, "t", 2);
    pulse(&f, (struct pulse){.instance = "i"});
    cr_assert_eq(pulse_error(&f, (struct pulse){.id = "b", .instance = "i"}),
                 KP_ERROR_UNRELEASED_INSTANCE_ID);
    struct call *left = pulse(&f, (struct pulse){.instance = "i", .epoch = -2});
    cr_assert_eq(left->out.consumer.member_epoch, -2);
    cr_assert_eq(pulse_error(&f, (struct pulse){.instance = "i", .epoch = 1}),
                 KP_ERROR_FENCED_MEMBER_EPOCH);
    struct call *back = pulse(&f, (struct pulse){.id = "b", .instance = "i"});
    cr_assert_eq(epoch_of(back), 1, "nothing has changed");
    cr_assert_str_eq(assigned(&f, back), "t:0 t:1");
    cr_assert_eq(pulse_error(&f, (struct pulse){.instance = "i", .epoch = 1}),
                 KP_ERROR_FENCED_INSTANCE_ID);
    cr_assert_eq(pulse_error(&f, (struct pulse){.instance = "i", .epoch = -1}),
                 KP_ERROR_FENCED_INSTANCE_ID);
    cr_assert_eq(pulse_error(&f, (struct pulse){.id = "b", .instance = "j", .epoch = 1}),
                 KP_ERROR_UNKNOWN_MEMBER_ID);
    consumer_fixture_close(&f, topics);
}

Test(group_consumer, a_static_member_that_stays_away_is_removed)
{
    struct fixture f;
    struct topics *topics = consumer_fixture_open(&f);
    topics_set(topics, "t", 2);
    pulse(&f, (struct pulse){.instance = "i"});
    pulse(&f, (struct pulse){.id = "b"});
    pulse(&f, (struct pulse){.instance = "i", .epoch = -2});
    fixture_pass(&f, 40000);
    cr_assert_str_eq(assigned(&f, pulse(&f, (struct pulse){.id = "b", .epoch = 2})), "-");
    fixture_pass(&f, 5000);
    cr_assert_str_eq(assigned(&f, pulse(&f, (struct pulse){.id = "b", .epoch = 2})), "t:0 t:1");
    consumer_fixture_close(&f, topics);
}

Test(group_consumer, who_leaves_for_a_while_has_given_up_what_it_was_to)
{
    struct fixture f;
    struct topics *topics = consumer_fixture_open(&f);
    topics_set(topics, "t", 2);
    pulse(&f, (struct pulse){.instance = "i"});
    pulse(&f, (struct pulse){.id = "b"});
    pulse(&f, (struct pulse){.instance = "i", .epoch = 1});
    pulse(&f, (struct pulse){.instance = "i", .epoch = -2});
    cr_assert_str_eq(assigned(&f, pulse(&f, (struct pulse){.id = "b", .epoch = 2})), "t:1");
    struct call *back = pulse(&f, (struct pulse){.id = "c", .instance = "i"});
    cr_assert_str_eq(assigned(&f, back), "t:0");
    consumer_fixture_close(&f, topics);
}

// What it commits late of the partitions that it has given up must not count.
Test(group_consumer, who_gives_up_twice_is_in_another_epoch_in_between)
{
    struct fixture f;
    struct topics *topics = consumer_fixture_open(&f);
    topics_set(topics, "t", 6);
    cr_assert_eq(epoch_of(pulse(&f, (struct pulse){0})), 1);
    pulse(&f, (struct pulse){.id = "b"});
    cr_assert_str_eq(assigned(&f, pulse(&f, (struct pulse){.epoch = 1})), "t:0 t:1 t:2");
    pulse(&f, (struct pulse){.id = "c"});
    struct pulse without = {.epoch = 1, .owned = "t:0 t:1 t:2"};
    struct call *again = pulse(&f, without);
    cr_assert_str_eq(assigned(&f, again), "t:0 t:1");
    cr_assert_eq(epoch_of(again), 2);
    cr_assert_eq(group_may_commit(f.group, &f.step, span_text("a"), (struct span){0}, 1, 9),
                 KP_ERROR_STALE_MEMBER_EPOCH);
    cr_assert_eq(epoch_of(pulse(&f, without)), 2); // the answer may have been lost
    fixture_restart(&f);
    cr_assert_eq(epoch_of(pulse(&f, (struct pulse){.epoch = 2, .owned = "t:0 t:1"})), 3);
    consumer_fixture_close(&f, topics);
}

// --- the other protocol, offsets, descriptions
// -----------------------------------------------------

Test(group_consumer, a_group_without_members_takes_either_protocol)
{
    struct fixture f;
    struct topics *topics = consumer_fixture_open(&f);
    topics_set(topics, "t", 2);
    int32_t epoch = epoch_of(pulse(&f, (struct pulse){0}));
    cr_assert_eq(join(&f, (struct join){.type = "connect"})->out.join.error_code,
                 KP_ERROR_INCONSISTENT_GROUP_PROTOCOL);
    cr_assert_eq(describe(&f)->out.describe.error_code, KP_ERROR_GROUP_ID_NOT_FOUND);
    pulse(&f, (struct pulse){.epoch = -1});
    struct call *joined = join_twice(&f, (struct join){0});
    fixture_pass(&f, 6000);
    cr_assert_eq(joined->out.join.error_code, 0);
    cr_assert_gt(joined->out.join.generation_id, epoch);
    cr_assert_eq(pulse_error(&f, (struct pulse){0}), KP_ERROR_GROUP_ID_NOT_FOUND);
    cr_assert_eq(describe_consumers(&f)->out.consumer_describe.error_code,
                 KP_ERROR_GROUP_ID_NOT_FOUND);
    leave(&f, id_of(joined), NULL);
    cr_assert_gt(epoch_of(pulse(&f, (struct pulse){0})), joined->out.join.generation_id);
    fixture_restart(&f);
    cr_assert_str_eq(group_type_name(f.group), "consumer");
    consumer_fixture_close(&f, topics);
}

Test(group_consumer, offsets_are_committed_in_the_member_s_epoch)
{
    struct fixture f;
    struct topics *topics = consumer_fixture_open(&f);
    struct span none = {0};
    topics_set(topics, "t", 2);
    pulse(&f, (struct pulse){0});
    struct span a = span_text("a");
    cr_assert_eq(group_may_commit(f.group, &f.step, a, none, 1, 9), 0);
    cr_assert_eq(group_may_commit(f.group, &f.step, a, none, 0, 9), KP_ERROR_STALE_MEMBER_EPOCH);
    cr_assert_eq(group_may_commit(f.group, &f.step, a, none, 1, 8), KP_ERROR_UNSUPPORTED_VERSION);
    cr_assert_eq(group_may_commit(f.group, &f.step, span_text("b"), none, 1, 9),
                 KP_ERROR_UNKNOWN_MEMBER_ID);
    cr_assert_eq(group_may_commit(f.group, &f.step, kp_empty(), none, -1, 9),
                 KP_ERROR_UNKNOWN_MEMBER_ID);
    cr_assert_eq(group_may_fetch(f.group, &f.step, a, 1), 0);
    cr_assert_eq(group_may_fetch(f.group, &f.step, a, 2), KP_ERROR_STALE_MEMBER_EPOCH);
    cr_assert_eq(group_may_fetch(f.group, &f.step, none, -1), 0);
    cr_assert_eq(group_may_fetch(f.group, &f.step, span_text("b"), 1), KP_ERROR_UNKNOWN_MEMBER_ID);
    pulse(&f, (struct pulse){.epoch = -1});
    cr_assert_eq(group_may_commit(f.group, &f.step, kp_empty(), none, -1, 9), 0);
    consumer_fixture_close(&f, topics);
}

Test(group_consumer, groups_are_described)
{
    struct fixture f;
    struct topics *topics = consumer_fixture_open(&f);
    topics_set(topics, "t", 2);
    pulse(&f, (struct pulse){.instance = "i", .rack = "r"});
    pulse(&f, (struct pulse){.id = "b", .regex = "t.*", .assignor = "range"});
    const struct kp_consumer_group_describe_response_group *group =
        &describe_consumers(&f)->out.consumer_describe;
    cr_assert_eq(group->error_code, 0);
    cr_assert_eq(group->group_epoch, 2);
    cr_assert(is_text(group->group_state, "Reconciling"));
    cr_assert(is_text(group->assignor_name, "range"));
    cr_assert_eq(group->members_count, 2);
    const struct kp_consumer_group_describe_response_member *a = &group->members[0];
    cr_assert(is_text(a->member_id, "a") && is_text(a->instance_id, "i") &&
              is_text(a->rack_id, "r"));
    cr_assert(a->subscribed_topic_names_count == 1 && is_text(a->subscribed_topic_names[0], "t"));
    cr_assert_eq(a->assignment.topic_partitions[0].partitions_count, 2);
    cr_assert(is_text(a->assignment.topic_partitions[0].topic_name, "t"));
    cr_assert_eq(a->target_assignment.topic_partitions[0].partitions_count, 1);
    cr_assert_eq(a->member_type, 1);
    cr_assert(is_text(group->members[1].subscribed_topic_regex, "t.*"));
    consumer_fixture_close(&f, topics);
}
