// SPDX-License-Identifier: Apache-2.0
#include "base/timer.h"

#include <criterion/criterion.h>

#include "base/list.h"
#include "base/random.h"

enum { TIMERS = 300 };

struct job {
    struct timer timer;
    struct fixture *owner;
    uint64_t due_ns; // the model: UINT64_MAX = not set
    int fired;
};

struct fixture {
    struct timers timers;
    struct job jobs[TIMERS];
    struct random random;
    uint64_t now_ns;
    uint64_t last_due_ns;
};

static void job_expired(struct timer *timer)
{
    struct job *job = list_entry(timer, struct job, timer);
    struct fixture *fixture = job->owner;
    cr_assert_eq(timer->slot, 0, "unset before it is called");
    cr_assert_leq(job->due_ns, fixture->now_ns, "not early, and not after being cancelled");
    cr_assert_geq(job->due_ns, fixture->last_due_ns, "earliest first");
    fixture->last_due_ns = job->due_ns;
    job->due_ns = UINT64_MAX;
    job->fired++;
}

static void set(struct fixture *fixture, struct job *job, uint64_t due_ns)
{
    cr_assert_eq(timer_set(&fixture->timers, &job->timer, due_ns), 0);
    job->due_ns = due_ns;
}

static uint64_t earliest(const struct fixture *fixture)
{
    uint64_t due_ns = UINT64_MAX;
    for (int i = 0; i < TIMERS; i++)
        due_ns = fixture->jobs[i].due_ns < due_ns ? fixture->jobs[i].due_ns : due_ns;
    return due_ns;
}

static void run(struct fixture *fixture, uint64_t now_ns)
{
    fixture->now_ns = now_ns;
    fixture->last_due_ns = 0;
    timers_run(&fixture->timers, now_ns);
    cr_assert_gt(earliest(fixture), now_ns, "all that were due have fired");
}

static void init(struct fixture *fixture)
{
    *fixture = (struct fixture){.random = {.state = 8}};
    timers_init(&fixture->timers);
    for (int i = 0; i < TIMERS; i++)
        fixture->jobs[i] =
            (struct job){.timer = {.expired = job_expired}, .owner = fixture, .due_ns = UINT64_MAX};
}

Test(base, timer_against_a_model)
{
    static struct fixture fixture;
    init(&fixture);
    cr_assert_eq(timers_next(&fixture.timers), UINT64_MAX);
    for (int turn = 0; turn < 50000; turn++) {
        struct job *job = &fixture.jobs[random_below(&fixture.random, TIMERS)];
        uint64_t choice = random_below(&fixture.random, 100);
        if (choice < 60) {
            set(&fixture, job, fixture.now_ns + random_below(&fixture.random, 1000));
        } else if (choice < 95) {
            timer_cancel(&fixture.timers, &job->timer);
            job->due_ns = UINT64_MAX;
        } else {
            run(&fixture, fixture.now_ns + random_below(&fixture.random, 100));
        }
        cr_assert_eq(timers_next(&fixture.timers), earliest(&fixture));
    }
    run(&fixture, fixture.now_ns + 1000);
    cr_assert_eq(fixture.timers.count, 0);
    timers_free(&fixture.timers);
}

// ---- What a called timer may do ------------------------------------------------------------

struct chain {
    struct timer timer;
    struct timers *timers;
    struct timer *other;
    int left;
    int fired;
};

static void chain_expired(struct timer *timer)
{
    struct chain *chain = list_entry(timer, struct chain, timer);
    chain->fired++;
    if (chain->other)
        timer_cancel(chain->timers, chain->other);
    if (--chain->left > 0)
        timer_set(chain->timers, timer, timer->due_ns + 10);
}

Test(base, timer_may_set_and_cancel_when_called)
{
    struct timers timers;
    timers_init(&timers);
    struct chain victim = {.timer = {.expired = chain_expired}, .timers = &timers, .left = 1};
    struct chain chain = {
        .timer = {.expired = chain_expired}, .timers = &timers, .other = &victim.timer, .left = 5};
    timer_set(&timers, &chain.timer, 100);
    timer_set(&timers, &victim.timer, 101);
    timers_run(&timers, 99);
    cr_expect_eq(chain.fired, 0);
    timers_run(&timers, 120);
    cr_expect_eq(chain.fired, 3, "100, 110, 120");
    cr_expect_eq(victim.fired, 0, "cancelled by the first");
    cr_expect_eq(timers_next(&timers), 130);
    timers_run(&timers, UINT64_MAX);
    cr_expect_eq(chain.fired, 5);
    timer_cancel(&timers, &chain.timer);
    timers_free(&timers);
}
