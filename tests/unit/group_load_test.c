// SPDX-License-Identifier: Apache-2.0
// Restarts: what was durable comes back, whole or in part.
#include <errno.h>

#include "tests/unit/group_fixture.h"

Test(group, a_stable_group_survives_a_restart)
{
    struct fixture f;
    fixture_open(&f);
    struct members m = stable_group(&f, 3, false);
    fixture_pass(&f, 9000);
    fixture_restart(&f);
    cr_assert_str_eq(group_state_name(f.group), "Stable");
    cr_assert(is_text(group_protocol_type(f.group), "consumer"));
    fixture_pass(&f, 9999);
    for (uint32_t i = 0; i < 3; i++)
        cr_assert_eq(beat(&f, m.ids[i], NULL, 1), 0, "a whole session");
    cr_assert(is_text(sync(&f, m.ids[1], 1)->out.sync.assignment, "b"));
    struct kp_describe_groups_response_group *out = &describe(&f)->out.describe;
    cr_assert_eq(out->members_count, 3);
    for (int i = 0; i < 3; i++)
        cr_assert(is_text(out->members[i].member_id, m.ids[i]), "in the old order");
    struct call *wish = join(&f, (struct join){.id = m.ids[0]});
    cr_assert_not(wish->answered, "the leader still leads");
    fixture_close(&f);
}

Test(group, a_leader_can_hand_out_after_a_restart)
{
    struct fixture f;
    fixture_open(&f);
    struct call *a = join_twice(&f, (struct join){0});
    struct call *b = join_twice(&f, (struct join){0});
    fixture_pass(&f, 6000);
    struct call *waits = sync(&f, id_of(b), 1);
    fixture_restart(&f);
    cr_assert_eq(waits->out.sync.error_code, KP_ERROR_COORDINATOR_NOT_AVAILABLE);
    cr_assert_str_eq(group_state_name(f.group), "CompletingRebalance");
    waits = sync(&f, id_of(b), 1);
    struct call *lead = sync_call(4, id_of(a), 1);
    sync_assign(lead, id_of(b), "for b");
    fixture_ask(&f, lead);
    cr_assert_eq(lead->out.sync.error_code, 0);
    cr_assert(is_text(waits->out.sync.assignment, "for b"));
    fixture_close(&f);
}

Test(group, a_rebalance_goes_on_after_a_restart)
{
    struct fixture f;
    fixture_open(&f);
    struct members m = stable_group(&f, 3, false);
    leave(&f, m.ids[2], NULL);
    fixture_restart(&f);
    cr_assert_eq(beat(&f, m.ids[0], NULL, 1), KP_ERROR_REBALANCE_IN_PROGRESS);
    struct call *a = join(&f, (struct join){.id = m.ids[0]});
    struct call *b = join(&f, (struct join){.id = m.ids[1]});
    cr_assert_eq(a->out.join.generation_id, 2);
    cr_assert_eq(a->out.join.members_count, 2);
    cr_assert_eq(b->out.join.error_code, 0);
    fixture_close(&f);
}

Test(group, assignments_of_former_generations_do_not_come_back)
{
    struct fixture f;
    fixture_open(&f);
    struct members m = stable_group(&f, 2, false);
    join(&f, (struct join){.id = m.ids[0]});
    join(&f, (struct join){.id = m.ids[1]});
    struct call *lead = sync_call(4, m.ids[0], 2);
    sync_assign(lead, m.ids[0], "all");
    fixture_ask(&f, lead);
    fixture_restart(&f);
    cr_assert(is_text(sync(&f, m.ids[0], 2)->out.sync.assignment, "all"));
    cr_assert_eq(sync(&f, m.ids[1], 2)->out.sync.assignment.size, 0u);
    fixture_close(&f);
}

Test(group, members_that_were_told_nothing_leave_no_records)
{
    struct fixture f;
    fixture_open(&f);
    struct members m = stable_group(&f, 1, false);
    uint32_t written = f.written;
    struct call *b = join_twice(&f, (struct join){0});
    cr_assert_not(b->answered);
    cr_assert_eq(f.written, written + 1, "the group rebalances");
    fixture_restart(&f);
    cr_assert_eq(group_member_count(f.group), 1u);
    struct call *a = join(&f, (struct join){.id = m.ids[0]});
    cr_assert_eq(a->out.join.members_count, 1);
    fixture_close(&f);
}

Test(group, members_that_have_gone_leave_no_records)
{
    struct fixture f;
    fixture_open(&f);
    struct members m = stable_group(&f, 4, true);
    leave(&f, m.ids[0], NULL);
    join(&f, (struct join){.instance = "ib"});
    cr_assert_eq(f.image.records.count, 1 + 2 * 3u);
    fixture_pass(&f, 60000);
    cr_assert(group_is_empty(f.group));
    cr_assert_eq(f.image.records.count, 1u, "the group's own");
    fixture_restart(&f);
    cr_assert_str_eq(group_state_name(f.group), "Empty");
    cr_assert_not(group_is_idle(f.group));
    struct call *call = join(&f, (struct join){.version = 3});
    fixture_pass(&f, 3000);
    cr_assert_gt(call->out.join.generation_id, 1);
    fixture_close(&f);
}

Test(group, records_that_are_not_sound_count_as_absent)
{
    struct fixture f;
    fixture_open(&f);
    stable_group(&f, 2, false);
    struct image_record *record;
    size_t at = 0;
    struct group *group = group_new(span_text("readers"));
    while ((record = map_next(&f.image.records, &at))) {
        struct span cut = span_of(record->value.data, record->value.size - 1);
        cr_assert_eq(group_load(group, record->key, cut), -EBADMSG);
        cut = span_of(record->key.data, record->key.size - 1);
        cr_assert_eq(group_load(group, cut, record->value), -EBADMSG);
        struct group *other = group_new(span_text("writers"));
        cr_assert_eq(group_load(other, record->key, record->value), -EBADMSG);
        group_free(other);
    }
    cr_assert_eq(group_load_done(group, &f.step), 0);
    cr_assert(group_is_idle(group));
    group_free(group);
    fixture_close(&f);
}

// Any part of the records, also of several times, gives a group that works.
Test(group, any_mixture_of_records_gives_a_sound_group)
{
    for (uint64_t seed = 0; seed < 300; seed++) {
        struct fixture f;
        struct random random = {seed};
        fixture_open(&f);
        struct members m = stable_group(&f, 4, seed & 1);
        for (int i = 0; i < 4; i++) {
            uint64_t member = random_below(&random, 4);
            if (random_below(&random, 2))
                leave(&f, m.ids[member], NULL);
            else
                join(&f, (struct join){.id = m.ids[member],
                                       .protocols = i & 1 ? "range=r" : "range=x,other=y"});
        }
        struct image_record *record;
        size_t at = 0;
        struct group *group = group_new(span_text("readers"));
        struct image *image = &f.image;
        while ((record = map_next(&image->records, &at)))
            if (random_below(&random, 4))
                cr_assert_eq(group_load(group, record->key, record->value), 0);
        group_give_up(f.group, &f.answers, KP_ERROR_COORDINATOR_NOT_AVAILABLE);
        fixture_take_answers(&f);
        group_free(f.group);
        f.group = group;
        cr_assert_eq(group_load_done(group, &f.step), 0);
        cr_assert_eq(f.records.count, 0u);
        group_time(group, &f.step);
        fixture_settle(&f);
        fixture_pass(&f, 200000);
        cr_assert(group_is_empty(f.group));
        struct call *call = join(&f, (struct join){.version = 3});
        fixture_pass(&f, 3000);
        cr_assert_eq(call->out.join.error_code, 0);
        fixture_close(&f);
    }
}

Test(group, a_lack_of_memory_for_an_answer_fails_the_step)
{
    struct fixture f;
    fixture_open(&f);
    struct call *call = join_call((struct join){.version = 3});
    call->arena.limit = call->arena.used + 50;
    fixture_ask(&f, call);
    f.step.now_ms += 3000;
    group_time(f.group, &f.step);
    cr_assert(f.step.failed);
    f.step.failed = false;
    group_records_clear(&f.records);
    fixture_take_answers(&f);
    cr_assert(call->answered);
    cr_assert_eq(call->out.join.error_code, KP_ERROR_COORDINATOR_NOT_AVAILABLE);
    fixture_restart(&f);
    cr_assert(group_is_idle(f.group));
    fixture_close(&f);
}

// A part of what the leader handed out was durable, and that it had.
Test(group, assignments_count_only_when_all_are_stored)
{
    struct fixture f;
    fixture_open(&f);
    struct call *a = join_twice(&f, (struct join){0});
    struct call *b = join_twice(&f, (struct join){0});
    fixture_pass(&f, 6000);
    uint8_t key[] = {0x92, 0xa5, 'g', 'r', 'o', 'u', 'p', 0xa7, 'r', 'e', 'a', 'd', 'e', 'r', 's'};
    struct span group_key = span_of(key, sizeof(key));
    struct image_record *record = map_get(&f.image.records, group_key);
    cr_assert_not_null(record);
    struct span before = group_copy(record->value);
    struct call *lead = sync_call(4, id_of(a), 1);
    sync_assign(lead, id_of(a), "for a");
    sync_assign(lead, id_of(b), "for b");
    fixture_ask(&f, lead);
    image_put(&f.image, group_key, before);
    group_span_free(&before);
    fixture_restart(&f);
    cr_assert_str_eq(group_state_name(f.group), "CompletingRebalance");
    lead = sync_call(4, id_of(a), 1);
    sync_assign(lead, id_of(a), "all");
    fixture_ask(&f, lead);
    cr_assert_eq(sync(&f, id_of(b), 1)->out.sync.assignment.size, 0u);
    fixture_close(&f);
}

Test(group, what_a_member_says_anew_is_stored)
{
    struct fixture f;
    fixture_open(&f);
    struct members m = stable_group(&f, 2, false);
    join(&f, (struct join){.id = m.ids[0], .protocols = "range=new", .rebalance_ms = 7000});
    join(&f, (struct join){.id = m.ids[1], .session_ms = 20000});
    fixture_restart(&f);
    struct call *a =
        join(&f, (struct join){.id = m.ids[0], .protocols = "range=new", .rebalance_ms = 7000});
    cr_assert_eq(a->out.join.generation_id, 2, "nothing new");
    cr_assert(is_text(a->out.join.members[0].metadata, "new"));
    cr_assert_eq(group_member_find(f.group, span_text(m.ids[0]))->rebalance_ms, 7000);
    cr_assert_eq(group_member_find(f.group, span_text(m.ids[1]))->session_ms, 20000);
    fixture_close(&f);
}

// Records that were damaged and passed all checks all the same.
Test(group, no_bytes_of_records_lead_to_an_unsound_group)
{
    for (uint64_t seed = 0; seed < 3000; seed++) {
        struct fixture f;
        struct random random = {seed};
        fixture_open(&f);
        stable_group(&f, 2, seed & 1);
        struct image_record *record;
        size_t at = 0;
        struct group *group = group_new(span_text("readers"));
        while ((record = map_next(&f.image.records, &at))) {
            struct span value = group_copy(record->value);
            uint8_t *bytes = (uint8_t *)(uintptr_t)value.data;
            for (uint64_t flips = random_below(&random, 3); flips > 0; flips--)
                bytes[random_below(&random, value.size)] = (uint8_t)random_next(&random);
            int error = group_load(group, record->key, value);
            cr_assert(error == 0 || error == -EBADMSG);
            group_span_free(&value);
        }
        cr_assert_eq(group_load_done(group, &f.step), 0);
        group_free(f.group);
        f.group = group;
        group_time(group, &f.step);
        fixture_settle(&f);
        leave(&f, "", "ia");
        struct call *call = join(&f, (struct join){.version = 3});
        fixture_pass(&f, 10000);
        cr_assert(call->answered || group_due_ms(f.group) < INT64_MAX);
        fixture_close(&f);
    }
}
