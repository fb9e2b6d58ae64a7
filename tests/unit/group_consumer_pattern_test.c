// SPDX-License-Identifier: Apache-2.0
// Subscriptions by patterns, and what they may cost.
#include "tests/unit/group_consumer_fixture.h"

static void settle_down(struct fixture *f, uint32_t *steps)
{
    for (*steps = 0; group_due_ms(f->group) <= f->step.now_ms; ++*steps) {
        f->step.cost = 0;
        group_time(f->group, &f->step);
        cr_assert_lt(f->step.cost, 2u * CONSUMER_PATTERN_COST);
        fixture_settle(f);
    }
}

static void add_topics(struct topics *topics, uint32_t count)
{
    char name[24];
    for (uint32_t i = 0; i < count; i++) {
        snprintf(name, sizeof(name), "topic-%04u", i);
        topics_set(topics, name, 1);
    }
}

Test(group_consumer_pattern, names_that_match)
{
    struct fixture f;
    struct topics *topics = consumer_fixture_open(&f);
    topics_set(topics, "t", 1);
    topics_set(topics, "tt", 1);
    topics_set(topics, "u", 1);
    struct call *call = pulse(&f, (struct pulse){.regex = "t+", .topics = "u,none"});
    cr_assert_str_eq(assigned(&f, call), "t:0 tt:0 u:0");
    change_topic(&f, topics, "ttt", 1);
    change_topic(&f, topics, "other", 1);
    call = pulse(&f, (struct pulse){.epoch = 1});
    cr_assert_str_eq(assigned(&f, call), "t:0 tt:0 ttt:0 u:0");
    cr_assert_eq(epoch_of(call), 2);
    // An empty pattern is none.
    call = pulse(&f, (struct pulse){.epoch = 2, .regex = ""});
    cr_assert_str_eq(assigned(&f, call), "u:0");
    cr_assert(group_subscribes(f.group, span_text("none")));
    consumer_fixture_close(&f, topics);
}

Test(group_consumer_pattern, nonsense_changes_nothing)
{
    struct fixture f;
    struct topics *topics = consumer_fixture_open(&f);
    topics_set(topics, "aaaaaaaaaaaaaaaaaaaa", 1);
    cr_assert_eq(pulse_error(&f, (struct pulse){.regex = "("}),
                 KP_ERROR_INVALID_REGULAR_EXPRESSION);
    cr_assert_eq(pulse_error(&f, (struct pulse){.regex = "(a+)+[bc]"}),
                 KP_ERROR_INVALID_REGULAR_EXPRESSION);
    cr_assert(group_is_idle(f.group));
    pulse(&f, (struct pulse){.regex = "a+"});
    uint32_t written = f.written;
    cr_assert_eq(pulse_error(&f, (struct pulse){.epoch = 1, .regex = "[a"}),
                 KP_ERROR_INVALID_REGULAR_EXPRESSION);
    cr_assert_eq(f.written, written);
    cr_assert_eq(pulse_error(&f, (struct pulse){.epoch = 1}), 0);
    consumer_fixture_close(&f, topics);
}

Test(group_consumer_pattern, many_topics_take_several_steps)
{
    struct fixture f;
    struct topics *topics = consumer_fixture_open(&f);
    uint32_t steps;
    add_topics(topics, 1000);
    topics_set(topics, "t", 2);
    pulse(&f, (struct pulse){0});
    struct call *call = pulse(&f, (struct pulse){.id = "b", .regex = "topic-.*[02468]"});
    cr_assert_eq(epoch_of(call), 1, "no new epoch as long as it is not known what matches");
    cr_assert_str_eq(assigned(&f, call), "");
    cr_assert_str_eq(group_state_name(f.group), "Assigning");
    settle_down(&f, &steps);
    cr_assert_geq(steps, 2u);
    call = pulse(&f, (struct pulse){.id = "b", .epoch = 1});
    cr_assert_eq(epoch_of(call), 2);
    cr_assert_eq(call->out.consumer.assignment->topic_partitions_count, 500);
    // After a restart as well, and nothing is taken from anybody meanwhile.
    pulse(&f, (struct pulse){.epoch = 1});
    uint32_t written = f.written;
    fixture_restart(&f);
    cr_assert_str_eq(assigned(&f, pulse(&f, (struct pulse){.id = "b", .epoch = 2})), "-");
    settle_down(&f, &steps);
    cr_assert_eq(f.written, written);
    cr_assert_eq(epoch_of(pulse(&f, (struct pulse){.id = "b", .epoch = 2})), 2);
    consumer_fixture_close(&f, topics);
}

Test(group_consumer_pattern, what_explodes_late_is_told_with_the_next_heartbeat)
{
    struct fixture f;
    struct topics *topics = consumer_fixture_open(&f);
    uint32_t steps;
    add_topics(topics, 1000);
    topics_set(topics, "zzzzzzzzzzzzzzzzzzzz", 1);
    cr_assert_eq(pulse_error(&f, (struct pulse){.regex = "(z+)+[bc]|topic-0001"}), 0);
    settle_down(&f, &steps);
    cr_assert_eq(pulse_error(&f, (struct pulse){.epoch = 1}), KP_ERROR_INVALID_REGULAR_EXPRESSION);
    cr_assert_eq(pulse_error(&f, (struct pulse){.epoch = 1, .regex = "topic-0001"}), 0);
    settle_down(&f, &steps);
    struct call *call = pulse(&f, (struct pulse){.epoch = 2});
    cr_assert_eq(epoch_of(call), 3);
    cr_assert_str_eq(assigned(&f, call), "topic-0001:0");
    consumer_fixture_close(&f, topics);
}
