// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <stdlib.h>

#include "base/random.h"
#include "tools/pipe_engine.h"

enum { ENTRIES = 64 };

struct scene {
    struct pipe_engine engine;
    struct pipe_lane lanes[3];
    struct pipe_entry entries[ENTRIES];
    size_t used;
};

static const struct pipe_rules rules = {
    .run_records = 8,
    .run_bytes = 1000,
    .retries = 2,
    .pause_ms = 100,
    .lane_records = 16,
    .lane_bytes = 1000,
};

static void set_up(struct scene *scene, const struct pipe_rules *with, size_t lanes)
{
    *scene = (struct scene){0};
    pipe_engine_init(&scene->engine, with);
    for (size_t i = 0; i < lanes; i++)
        pipe_lane_open(&scene->engine, &scene->lanes[i]);
}

static struct pipe_entry *take(struct scene *scene, size_t lane, int64_t offset, size_t bytes,
                               int64_t now_ms)
{
    struct pipe_entry *entry = &scene->entries[scene->used++];

    pipe_lane_take(&scene->lanes[lane], entry, offset, bytes, now_ms);
    return entry;
}

static void take_many(struct scene *scene, size_t lane, int64_t from, size_t count)
{
    for (size_t i = 0; i < count; i++)
        take(scene, lane, from + (int64_t)i, 10, 0);
}

// The offsets of the run that begins now.
static size_t run(struct scene *scene, size_t lane, int64_t now_ms)
{
    cr_assert_eq(pipe_run_begin(&scene->engine, now_ms), &scene->lanes[lane]);
    return scene->lanes[lane].running;
}

static void succeed(struct pipe_lane *lane)
{
    struct pipe_entry *entry;

    while ((entry = pipe_run_first(lane)) != NULL)
        pipe_entry_conclude(entry);
}

static size_t pop_all(struct pipe_lane *lane)
{
    size_t count = 0;

    while (pipe_lane_pop(lane) != NULL)
        count++;
    return count;
}

Test(tools, pipe_commits_only_what_is_stored_without_gaps)
{
    struct scene scene;

    set_up(&scene, &rules, 1);
    struct pipe_lane *lane = &scene.lanes[0];
    take_many(&scene, 0, 10, 3);
    cr_assert_eq(run(&scene, 0, 0), 3);
    for (int i = 0; i < 3; i++) {
        pipe_output_begun(&scene.entries[i]);
        pipe_entry_conclude(&scene.entries[i]);
    }
    cr_assert_eq(pop_all(lane), 0);
    cr_assert_eq(lane->done, -1);
    pipe_output_ended(&scene.entries[1]);
    pipe_output_ended(&scene.entries[2]);
    cr_assert_eq(pop_all(lane), 0, "the first one's output is still on its way");
    pipe_output_ended(&scene.entries[0]);
    cr_assert_eq(pop_all(lane), 3);
    cr_assert_eq(lane->done, 13);
    cr_assert_eq(lane->count, 0);
    cr_assert_eq(lane->bytes, 0);
}

Test(tools, pipe_commits_past_records_without_outputs_and_gaps_of_offsets)
{
    struct scene scene;

    set_up(&scene, &rules, 1);
    take(&scene, 0, 3, 1, 0);
    take(&scene, 0, 90, 1, 0);
    run(&scene, 0, 0);
    pipe_entry_conclude(&scene.entries[0]);
    cr_assert_eq(pop_all(&scene.lanes[0]), 1);
    cr_assert_eq(scene.lanes[0].done, 4);
    pipe_entry_conclude(&scene.entries[1]);
    cr_assert_eq(pop_all(&scene.lanes[0]), 1);
    cr_assert_eq(scene.lanes[0].done, 91);
}

Test(tools, pipe_gives_a_lane_one_run_at_a_time_and_lanes_their_turns)
{
    struct scene scene;

    set_up(&scene, &rules, 2);
    take_many(&scene, 0, 0, 12);
    take_many(&scene, 1, 0, 1);
    cr_assert_eq(run(&scene, 0, 0), 8);
    cr_assert_eq(run(&scene, 1, 0), 1);
    cr_assert_null(pipe_run_begin(&scene.engine, 0), "four wait, but their lane is at work");
    cr_assert_eq(pipe_run_first(&scene.lanes[0])->offset, 0);
    cr_assert_eq(pipe_run_next(&scene.entries[0])->offset, 1);
    cr_assert_null(pipe_run_next(&scene.entries[7]));
    succeed(&scene.lanes[0]);
    cr_assert_eq(run(&scene, 0, 0), 4);
    cr_assert_eq(pipe_run_first(&scene.lanes[0])->offset, 8);
}

Test(tools, pipe_bounds_a_run_by_bytes_and_lets_a_large_record_run_alone)
{
    struct scene scene;

    set_up(&scene, &rules, 1);
    take(&scene, 0, 0, 5000, 0);
    take(&scene, 0, 1, 600, 0);
    take(&scene, 0, 2, 400, 0);
    take(&scene, 0, 3, 1, 0);
    cr_assert_eq(run(&scene, 0, 0), 1);
    succeed(&scene.lanes[0]);
    cr_assert_eq(run(&scene, 0, 0), 2);
}

Test(tools, pipe_is_full_by_records_and_by_bytes)
{
    struct scene scene;

    set_up(&scene, &rules, 2);
    take_many(&scene, 0, 0, 15);
    cr_assert(!pipe_lane_full(&scene.lanes[0]));
    take_many(&scene, 0, 15, 1);
    cr_assert(pipe_lane_full(&scene.lanes[0]));
    cr_assert(!pipe_lane_hungry(&scene.lanes[0]));
    take(&scene, 1, 0, 501, 0);
    cr_assert(!pipe_lane_full(&scene.lanes[1]));
    cr_assert(!pipe_lane_hungry(&scene.lanes[1]));
    take(&scene, 1, 1, 499, 0);
    cr_assert(pipe_lane_full(&scene.lanes[1]));
    run(&scene, 0, 0);
    succeed(&scene.lanes[0]);
    cr_assert(pipe_lane_full(&scene.lanes[0]), "concluded, but not yet stored");
    pop_all(&scene.lanes[0]);
    cr_assert(pipe_lane_hungry(&scene.lanes[0]));
}

// Runs the lane with a command that fails whenever the record at `poison` is in the run, until
// something is rejected. Returns its offset; *runs counts the runs that failed.
static int64_t run_with_poison(struct scene *scene, int64_t poison, size_t *runs)
{
    struct pipe_lane *lane = &scene->lanes[0];
    int64_t now_ms = 0;

    for (*runs = 0; *runs < 100;) {
        now_ms += 1000000;
        cr_assert_eq(pipe_run_begin(&scene->engine, now_ms), lane);
        bool fails = false;
        for (struct pipe_entry *at = pipe_run_first(lane); at != NULL; at = pipe_run_next(at))
            fails |= at->offset == poison;
        if (!fails) {
            succeed(lane);
            continue;
        }
        ++*runs;
        struct pipe_entry *rejected = pipe_run_failed(lane, now_ms);
        if (rejected != NULL)
            return rejected->offset;
    }
    return -1;
}

Test(tools, pipe_finds_the_record_that_makes_a_batch_fail)
{
    for (int64_t poison = 0; poison < 8; poison++) {
        struct scene scene;
        size_t runs;
        set_up(&scene, &rules, 1);
        take_many(&scene, 0, 0, 8);
        cr_assert_eq(run_with_poison(&scene, poison, &runs), poison);
        cr_assert_leq(runs, 3 + 1 + rules.retries + 3, "%zu runs failed", runs);
        cr_assert_eq(scene.entries[poison].failures, rules.retries + 1);
        for (int64_t i = 0; i < 8; i++)
            cr_assert(i == poison || scene.entries[i].failures == 0, "only it is blamed");
        // The others go on.
        while (scene.lanes[0].waiting > 0) {
            cr_assert_not_null(pipe_run_begin(&scene.engine, INT64_MAX));
            succeed(&scene.lanes[0]);
        }
        cr_assert_eq(pop_all(&scene.lanes[0]), 8);
    }
}

Test(tools, pipe_blames_nobody_when_several_were_with_the_command)
{
    struct scene scene;

    set_up(&scene, &rules, 1);
    take_many(&scene, 0, 0, 4);
    cr_assert_eq(run(&scene, 0, 0), 4);
    pipe_entry_conclude(&scene.entries[0]);
    cr_assert_null(pipe_run_failed(&scene.lanes[0], 0));
    cr_assert_eq(run(&scene, 0, 0), 1, "half of the three that had no answer");
    cr_assert_eq(pipe_run_first(&scene.lanes[0])->offset, 1);
    for (int i = 0; i < 4; i++)
        cr_assert_eq(scene.entries[i].failures, 0);
    succeed(&scene.lanes[0]);
    cr_assert_eq(run(&scene, 0, 0), 2, "and it grows again");
}

Test(tools, pipe_pauses_longer_before_each_retry_while_other_lanes_go_on)
{
    struct scene scene;

    set_up(&scene, &rules, 2);
    struct pipe_lane *lane = &scene.lanes[0];
    take_many(&scene, 0, 0, 1);
    run(&scene, 0, 0);
    cr_assert_null(pipe_run_failed(lane, 0));
    cr_assert_eq(pipe_engine_due_ms(&scene.engine), 100);
    cr_assert_null(pipe_run_begin(&scene.engine, 99));
    take_many(&scene, 1, 0, 1);
    cr_assert_eq(run(&scene, 1, 99), 1);
    cr_assert_eq(run(&scene, 0, 100), 1);
    cr_assert_null(pipe_run_failed(lane, 100));
    cr_assert_eq(pipe_engine_due_ms(&scene.engine), 300);
    run(&scene, 0, 300);
    cr_assert_eq(pipe_run_failed(lane, 300), &scene.entries[0]);
    cr_assert_eq(pipe_engine_due_ms(&scene.engine), INT64_MAX);
    cr_assert_eq(pop_all(lane), 1);
    cr_assert_eq(lane->done, 1);
}

Test(tools, pipe_pauses_have_a_bound)
{
    struct pipe_rules patient = rules;
    struct scene scene;

    patient.retries = UINT32_MAX - 1;
    set_up(&scene, &patient, 1);
    take_many(&scene, 0, 0, 1);
    int64_t now_ms = 0;
    for (int i = 0; i < 100; i++) {
        run(&scene, 0, now_ms);
        cr_assert_null(pipe_run_failed(&scene.lanes[0], now_ms));
        cr_assert_leq(pipe_engine_due_ms(&scene.engine) - now_ms, PIPE_PAUSE_MAX_MS);
        now_ms = pipe_engine_due_ms(&scene.engine);
    }
}

Test(tools, pipe_blames_nobody_for_a_command_that_could_not_start)
{
    struct scene scene;

    set_up(&scene, &rules, 1);
    take_many(&scene, 0, 0, 1);
    for (int i = 0; i < 10; i++) {
        run(&scene, 0, i * 100);
        pipe_run_undone(&scene.lanes[0], i * 100);
        cr_assert_eq(pipe_engine_due_ms(&scene.engine), (i + 1) * 100);
    }
    cr_assert_eq(scene.entries[0].failures, 0);
}

Test(tools, pipe_lets_a_batch_fill_for_a_while)
{
    struct pipe_rules batches = rules;
    struct scene scene;

    batches.linger_ms = 50;
    set_up(&scene, &batches, 1);
    take(&scene, 0, 0, 1, 1000);
    cr_assert_null(pipe_run_begin(&scene.engine, 1049));
    cr_assert_eq(pipe_engine_due_ms(&scene.engine), 1050);
    cr_assert_eq(run(&scene, 0, 1050), 1);
    succeed(&scene.lanes[0]);
    take_many(&scene, 0, 1, 8);
    cr_assert_eq(run(&scene, 0, 0), 8, "it is full");
    succeed(&scene.lanes[0]);
    take(&scene, 0, 9, 1, 2000);
    scene.lanes[0].complete = true;
    cr_assert_eq(run(&scene, 0, 2000), 1, "nothing more will come");
}

Test(tools, pipe_gives_up_a_lane_and_commits_what_is_done)
{
    struct scene scene;

    set_up(&scene, &rules, 1);
    struct pipe_lane *lane = &scene.lanes[0];
    take_many(&scene, 0, 0, 12);
    run(&scene, 0, 0);
    pipe_output_begun(&scene.entries[0]);
    pipe_entry_conclude(&scene.entries[0]);
    size_t dropped = 0;
    while (pipe_lane_drop(lane, false) != NULL)
        dropped++;
    cr_assert_eq(dropped, 4, "what waits");
    cr_assert_eq(lane->running, 7);
    pipe_entry_conclude(&scene.entries[1]);
    while (pipe_lane_drop(lane, true) != NULL)
        dropped++;
    cr_assert_eq(dropped, 10, "and what runs");
    cr_assert_null(pipe_run_begin(&scene.engine, 0));
    cr_assert_eq(pop_all(lane), 0);
    pipe_output_ended(&scene.entries[0]);
    cr_assert_eq(pop_all(lane), 2);
    cr_assert_eq(lane->done, 2);
    cr_assert_eq(lane->count, 0);
    pipe_lane_remove(lane);
}

// Everything at random, against the definition: done is the end of the longest prefix of records
// that are concluded and have nothing pending; each record is concluded once, in order.
Test(tools, pipe_keeps_its_promises_whatever_happens)
{
    for (uint64_t seed = 1; seed <= 300; seed++) {
        struct random random = {.state = seed};
        struct scene scene;
        set_up(&scene, &rules, 1);
        struct pipe_lane *lane = &scene.lanes[0];
        int64_t concluded = 0;
        int64_t now_ms = 0;
        int64_t popped = 0;
        for (int step = 0; step < 2000 && popped < ENTRIES; step++) {
            struct pipe_entry *first = pipe_run_first(lane);
            struct pipe_entry *verdict = NULL;
            now_ms += 50;
            switch (random_below(&random, 5)) {
            case 0:
                if (scene.used < ENTRIES && !pipe_lane_full(lane))
                    take(&scene, 0, (int64_t)scene.used, 10, now_ms);
                break;
            case 1:
                pipe_run_begin(&scene.engine, now_ms);
                break;
            case 2:
                if (first == NULL)
                    break;
                cr_assert_eq(first->offset, concluded);
                pipe_output_begun(first);
                pipe_entry_conclude(first);
                concluded++;
                break;
            case 3:
                if (first == NULL)
                    break;
                verdict = pipe_run_failed(lane, now_ms);
                cr_assert(verdict == NULL || verdict->offset == concluded);
                concluded += verdict != NULL;
                break;
            default: {
                int64_t i = popped + (int64_t)random_below(&random, 4);
                if (i < concluded && scene.entries[i].pending > 0)
                    pipe_output_ended(&scene.entries[i]);
            }
            }
            while (popped < concluded && scene.entries[popped].pending == 0) {
                cr_assert_eq(pipe_lane_pop(lane), &scene.entries[popped]);
                popped++;
                cr_assert_eq(lane->done, popped);
            }
            cr_assert_null(pipe_lane_pop(lane));
            cr_assert_eq(lane->count, scene.used - (size_t)popped);
            cr_assert_eq(lane->waiting + lane->running, scene.used - (size_t)concluded);
        }
    }
}
