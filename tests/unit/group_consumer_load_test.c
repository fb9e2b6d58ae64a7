// SPDX-License-Identifier: Apache-2.0
// Groups of the consumer protocol after a restart.
#include "tests/unit/group_consumer_fixture.h"

// Until nothing is due that does not wait for time to pass.
static void settle_down(struct fixture *f)
{
    while (group_due_ms(f->group) <= f->step.now_ms) {
        group_time(f->group, &f->step);
        fixture_settle(f);
    }
}

Test(group_consumer_load, everybody_goes_on)
{
    struct fixture f;
    struct topics *topics = consumer_fixture_open(&f);
    topics_set(topics, "t", 4);
    topics_set(topics, "u", 2);
    struct obedient members[] = {{.id = "a"}, {.id = "b"}, {.id = "c"}};
    pulse(&f, (struct pulse){.instance = "i", .topics = "t,u", .rack = "r", .assignor = "range"});
    pulse(&f, (struct pulse){.id = "b", .regex = "t|u"});
    pulse(&f, (struct pulse){.id = "c"});
    for (int i = 0; i < 3; i++)
        obey(&f, &members[i]);
    obey_all(&f, members, 3);
    uint32_t written = f.written;
    fixture_restart(&f);
    settle_down(&f);
    cr_assert_eq(f.written, written, "nothing has changed");
    cr_assert_str_eq(group_state_name(f.group), "Stable");
    for (int i = 0; i < 3; i++)
        cr_assert_str_eq(
            assigned(&f, pulse(&f, (struct pulse){.id = members[i].id, .epoch = members[i].epoch})),
            "-");
    fixture_pass(&f, 45000);
    cr_assert_str_eq(group_state_name(f.group), "Empty");
    fixture_restart(&f);
    cr_assert_str_eq(group_state_name(f.group), "Empty");
    consumer_fixture_close(&f, topics);
}

Test(group_consumer_load, what_is_to_be_given_up_is_kept_until_it_is)
{
    struct fixture f;
    struct topics *topics = consumer_fixture_open(&f);
    topics_set(topics, "t", 2);
    pulse(&f, (struct pulse){0});
    pulse(&f, (struct pulse){.id = "b"});
    pulse(&f, (struct pulse){.epoch = 1});
    fixture_restart(&f);
    settle_down(&f);
    cr_assert_str_eq(assigned(&f, pulse(&f, (struct pulse){.id = "b", .epoch = 2})), "-");
    cr_assert_eq(epoch_of(pulse(&f, (struct pulse){.epoch = 1, .owned = "t:0"})), 2);
    cr_assert_str_eq(assigned(&f, pulse(&f, (struct pulse){.id = "b", .epoch = 2})), "t:1");
    fixture_restart(&f);
    settle_down(&f);
    fixture_pass(&f, 44999);
    cr_assert_eq(pulse_error(&f, (struct pulse){.epoch = 2}), 0, "a whole session");
    consumer_fixture_close(&f, topics);
}

Test(group_consumer_load, topics_that_have_changed_meanwhile_are_noticed)
{
    struct fixture f;
    struct topics *topics = consumer_fixture_open(&f);
    topics_set(topics, "t", 2);
    pulse(&f, (struct pulse){0});
    topics_set(topics, "t", 3);
    fixture_restart(&f);
    settle_down(&f);
    struct call *call = pulse(&f, (struct pulse){.epoch = 1});
    cr_assert_eq(epoch_of(call), 2);
    cr_assert_str_eq(assigned(&f, call), "t:0 t:1 t:2");
    consumer_fixture_close(&f, topics);
}

// Any part of the records gives a group that goes on, and in which everybody gets there.
Test(group_consumer_load, lost_records_do_no_harm)
{
    struct random random = {5};
    for (int run = 0; run < 300; run++) {
        struct fixture f;
        struct topics *topics = consumer_fixture_open(&f);
        topics_set(topics, "t", 5);
        topics_set(topics, "u", 3);
        for (int i = 0; i < 12; i++) {
            static const char *const ids[] = {"a", "b", "c", "d"};
            const char *id = ids[random_below(&random, 4)];
            const struct group_member *member = group_member_find(f.group, span_text(id));
            int32_t epoch = member ? member->consumer->epoch : 0;
            if (member && random_below(&random, 4) == 0)
                pulse(&f, (struct pulse){.id = id, .epoch = -1});
            else
                pulse(&f, (struct pulse){.id = id,
                                         .epoch = epoch,
                                         .topics = random_below(&random, 2) ? "t,u" : "u",
                                         .owned = random_below(&random, 2) ? "" : NULL});
        }
        struct image_record *lost[64];
        uint32_t count = 0;
        struct image_record *record;
        for (size_t at = 0; (record = map_next(&f.image.records, &at));)
            if (random_below(&random, 3) == 0 && count < 64)
                lost[count++] = record;
        for (uint32_t i = 0; i < count; i++)
            image_put(&f.image, lost[i]->key, (struct span){0});
        fixture_restart(&f);
        settle_down(&f);
        struct obedient members[] = {{.id = "x"}, {.id = "y"}};
        fixture_pass(&f, 40000);
        obey(&f, &members[0]);
        obey(&f, &members[1]);
        fixture_pass(&f, 20000);
        obey_all(&f, members, 2);
        consumer_fixture_close(&f, topics);
    }
}
