// SPDX-License-Identifier: Apache-2.0
// Members of groups against a real broker, with both protocols (client_live.h, client_crowd.h).
#include <pthread.h>

#include "tests/unit/client_crowd.h"

// Members come, leave and die while records arrive: each record is seen, none is skipped, and who
// leaves in good order leaves nothing to be seen twice.
static void coming_and_going(const char *protocol, const char *strategy)
{
    struct crowd *crowd = crowd_new(protocol, strategy);
    crowd_produce(crowd, 600);
    person_join(crowd, 0);
    crowd_settle(crowd);
    for (int i = 1; i < 3; i++) {
        person_join(crowd, i);
        crowd_produce(crowd, 600);
        crowd_settle(crowd);
    }
    crowd_drain(crowd);
    person_leave(&crowd->persons[1]);
    crowd_produce(crowd, 600);
    crowd_settle(crowd);
    crowd_drain(crowd);
    for (int i = 0; i < crowd->produced; i++)
        cr_assert_eq(crowd->seen[i], 1, "record %d was seen %d times", i, crowd->seen[i]);
    crowd_produce(crowd, 600);
    crowd_turn(crowd);
    // A session of the newer protocol is the broker's to set, and long.
    if (strcmp(protocol, "classic") == 0)
        person_die(&crowd->persons[0]);
    else
        person_leave(&crowd->persons[0]);
    crowd_drain(crowd);
    struct patience committing = patience("every record to be committed");
    while (crowd_committed(crowd) < crowd->produced)
        crowd_wait(crowd, &committing);
    person_leave(&crowd->persons[2]);
    cr_assert_eq(crowd_committed(crowd), crowd->produced);
    crowd_free(crowd);
}

Test(client, live_members_come_and_go_range)
{
    coming_and_going("classic", "range");
}

Test(client, live_members_come_and_go_roundrobin)
{
    coming_and_going("classic", "roundrobin");
}

Test(client, live_members_come_and_go_sticky)
{
    coming_and_going("classic", "sticky");
}

Test(client, live_members_come_and_go_cooperative)
{
    coming_and_going("classic", "cooperative-sticky");
}

Test(client, live_members_of_the_default_protocol_come_and_go)
{
    coming_and_going("auto", "");
}

// What stays with a member while another joins is not taken from it meanwhile.
Test(client, live_cooperative_members_keep_what_stays)
{
    struct crowd *crowd = crowd_new("classic", "cooperative-sticky");
    struct person *first = person_join(crowd, 0);
    crowd_settle(crowd);
    cr_assert_eq(first->held, PARTITIONS);
    person_join(crowd, 1);
    crowd_settle(crowd);
    cr_assert_eq(first->held, PARTITIONS / 2);
    cr_assert_eq(first->revoked, 1);
    cr_assert_eq(first->lost, 0);
    cr_assert_eq(first->assigned, 1);
    crowd_free(crowd);
}

// A hold keeps partitions until it is released; nobody else gets them before.
Test(client, live_a_hold_keeps_partitions)
{
    struct crowd *crowd = crowd_new("auto", "");
    struct person *first = person_join(crowd, 0);
    crowd_settle(crowd);
    cr_assert_eq(weir_rebalance_hold(first->consumer), WEIR_ERR_BAD_ARGUMENT);
    first->hold = true;
    struct person *second = person_join(crowd, 1);
    struct patience revoking = patience("the first member to be asked for partitions");
    while (first->revoked == 0)
        crowd_wait(crowd, &revoking);
    for (int i = 0; i < 100; i++)
        crowd_turn(crowd);
    cr_assert_eq(second->held, 0);
    OK(first, weir_rebalance_release(first->consumer));
    cr_assert_eq(weir_rebalance_release(first->consumer), WEIR_ERR_BAD_ARGUMENT);
    crowd_settle(crowd);
    cr_assert_eq(second->held, PARTITIONS / 2);
    cr_assert_eq(first->lost, 0);
    crowd_free(crowd);
}

// Neither for an answer to what it has asked for reading, nor for the next heartbeat to be due.
Test(client, live_a_member_that_closes_waits_for_nobody)
{
    struct crowd *crowd = crowd_new("classic", "range");
    weir_config_set(crowd->config, "session.timeout.ms", "600000");
    weir_config_set(crowd->config, "heartbeat.interval.ms", "300000");
    weir_config_set(crowd->config, "fetch.max.wait.ms", "300000");
    struct person *person = person_join(crowd, 0);
    crowd_settle(crowd);
    for (int i = 0; i < 20; i++)
        crowd_turn(crowd);
    person_leave(person);
    crowd_free(crowd);
}

// A topic that appears later, and only the right ones.
static void pattern_round(const char *protocol)
{
    struct crowd *crowd = crowd_new(protocol, "");
    char pattern[TOPIC_SIZE + 16], other[TOPIC_SIZE + 16];
    weir_config_set(crowd->config, "metadata.max.age.ms", "500");
    struct person *person = person_make(crowd, 0);
    snprintf(pattern, sizeof(pattern), "%.*s.(-[ab])?", (int)strlen(crowd->live->topic) - 1,
             crowd->live->topic);
    snprintf(other, sizeof(other), "x%s", crowd->live->topic);
    topic_create(crowd->live, other, 1);
    cr_assert_eq(weir_subscribe_pattern(person->consumer, "a("),
                 WEIR_ERR_INVALID_REGULAR_EXPRESSION);
    OK(person, weir_subscribe_pattern(person->consumer, pattern));
    struct patience matching = patience("the topic that matches to be assigned");
    for (; person->held < PARTITIONS; patience_check(&matching))
        OK(person, weir_consumer_poll(person->consumer, 50));
    cr_assert_eq(person->held, PARTITIONS);
    snprintf(other, sizeof(other), "%s-b", crowd->live->topic);
    memset(crowd->owner, 0, sizeof(crowd->owner));
    weir_consumer_on_rebalance(person->consumer, NULL, NULL);
    topic_create(crowd->live, other, 2);
    struct patience appearing = patience("the new topic that matches to be assigned");
    for (size_t count = 0; count != PARTITIONS + 2; patience_check(&appearing)) {
        const struct weir_topic_partition *partitions;
        OK(person, weir_consumer_poll(person->consumer, 50));
        OK(person, weir_consumer_assignment(person->consumer, &partitions, &count));
    }
    crowd_free(crowd);
}

Test(client, live_patterns_find_new_topics)
{
    pattern_round("auto");
}

Test(client, live_patterns_find_new_topics_classic)
{
    pattern_round("classic");
}

// The second member with the same instance id takes the first one's place; the first is told.
Test(client, live_static_members_take_their_place)
{
    struct crowd *crowd = crowd_new("classic", "");
    weir_config_set(crowd->config, "group.instance.id", "only-one");
    struct person *first = person_join(crowd, 0);
    crowd_settle(crowd);
    struct person *second = person_make(crowd, 1);
    const char *topic = crowd->live->topic;
    weir_consumer_on_rebalance(second->consumer, NULL, NULL);
    OK(second, weir_subscribe(second->consumer, &topic, 1));
    int error = WEIR_OK;
    struct patience fencing = patience("the first member to be told of the second");
    for (; !error; patience_check(&fencing)) {
        OK(second, weir_consumer_poll(second->consumer, 20));
        error = weir_consumer_poll(first->consumer, 20);
    }
    cr_assert_eq(error, WEIR_ERR_FENCED_INSTANCE_ID, "%s", weir_last_error(first->client));
    cr_assert_eq(weir_consumer_poll(first->consumer, 0), WEIR_ERR_FENCED_INSTANCE_ID);
    cr_assert_eq(first->lost, 1);
    cr_assert_eq(first->held, 0);
    crowd_free(crowd);
}

// Only what was handed out before the last poll, then, at the end, everything.
Test(client, live_automatic_commits_follow_the_polls)
{
    struct crowd *crowd = crowd_new("auto", "");
    weir_config_set(crowd->config, "enable.auto.commit", "true");
    weir_config_set(crowd->config, "auto.commit.interval.ms", "50");
    crowd_produce(crowd, PARTITIONS);
    struct person *person = person_join(crowd, 0);
    struct weir_record record;
    struct patience reading = patience("the first record");
    for (; !weir_consumer_next(person->consumer, &record); patience_check(&reading))
        OK(person, weir_consumer_poll(person->consumer, 100));
    struct weir_offset offset = {.topic = crowd->live->topic, .partition = record.partition};
    for (int i = 0; i < 10; i++)
        weir_poll(person->client, 50);
    OK(person, weir_committed(person->consumer, &offset, 1, WAIT_MS));
    cr_assert_leq(offset.offset, 0); // the record is still being worked on
    struct patience committing = patience("an automatic commit");
    for (; offset.offset < 1; patience_check(&committing)) {
        OK(person, weir_consumer_poll(person->consumer, 20));
        OK(person, weir_committed(person->consumer, &offset, 1, WAIT_MS));
    }
    struct patience ending = patience("the other records");
    for (int count = 1; count < PARTITIONS; patience_check(&ending)) {
        OK(person, weir_consumer_poll(person->consumer, 20));
        while (weir_consumer_next(person->consumer, &record))
            count++;
    }
    person_leave(person);
    cr_assert_eq(crowd_committed(crowd), crowd->produced);
    crowd_free(crowd);
}

static void *resume_later(void *broker)
{
    usleep(400000);
    kill(*(pid_t *)broker, SIGCONT);
    return NULL;
}

static void commit_once_more(void *context, int error, const struct weir_offset *offsets,
                             size_t count)
{
    struct person *person = context;
    (void)error;
    (void)offsets;
    (void)count;
    cr_assert_eq(weir_commit_async(person->consumer, NULL, 0, commit_ended, person), WEIR_OK);
}

static void commit_when_revoked(void *context, const struct weir_rebalance *rebalance)
{
    struct person *person = context;
    if (rebalance->kind == WEIR_PARTITIONS_REVOKED)
        cr_assert_eq(weir_commit_async(person->consumer, NULL, 0, commit_once_more, person),
                     WEIR_OK);
}

// Whatever is still to be committed, and however slow the broker is to answer: closing is not kept
// waiting by what cannot be committed any more.
Test(client, live_commits_of_the_last_moment_do_not_keep_a_member)
{
    struct crowd *crowd = crowd_new("auto", "");
    if (!crowd->live->broker) {
        crowd_free(crowd);
        cr_skip_test("the broker is not ours to stop");
    }
    weir_config_set(crowd->config, "enable.auto.commit", "true");
    weir_config_set(crowd->config, "auto.commit.interval.ms", "5");
    crowd_produce(crowd, PARTITIONS);
    struct person *person = person_join(crowd, 0);
    struct weir_record record;
    struct patience reading = patience("every record");
    for (int count = 0; count < PARTITIONS; patience_check(&reading)) {
        OK(person, weir_consumer_poll(person->consumer, 20));
        while (weir_consumer_next(person->consumer, &record))
            count++;
    }
    weir_consumer_on_rebalance(person->consumer, commit_when_revoked, person);
    pthread_t thread;
    kill(crowd->live->broker, SIGSTOP);
    cr_assert_eq(pthread_create(&thread, NULL, resume_later, &crowd->live->broker), 0);
    OK(person, weir_consumer_close(person->consumer, WAIT_MS / 2));
    pthread_join(thread, NULL);
    person_gone(person);
    cr_assert_eq(crowd_committed(crowd), crowd->produced);
    crowd_free(crowd);
}

Test(client, live_members_commit_only_what_they_hold)
{
    struct crowd *crowd = crowd_new("auto", "");
    crowd_produce(crowd, PARTITIONS);
    struct person *person = person_join(crowd, 0);
    struct weir_offset offsets[] = {{.topic = crowd->live->topic, .partition = 0, .offset = 1},
                                    {.topic = "nobody's", .partition = 0, .offset = 1}};
    cr_assert_eq(weir_commit_offsets(person->consumer, offsets, 1, 0), WEIR_ERR_TIMED_OUT);
    crowd_settle(crowd);
    cr_assert_eq(weir_commit_offsets(person->consumer, offsets, 2, WAIT_MS), WEIR_ERR_NOT_ASSIGNED);
    cr_assert_eq(offsets[0].error, WEIR_OK);
    cr_assert_eq(offsets[1].error, WEIR_ERR_NOT_ASSIGNED);
    cr_assert_eq(weir_consumer_assign(person->consumer, crowd->live->topic, 0, 0),
                 WEIR_ERR_BAD_ARGUMENT);
    crowd_drain(crowd);
    int64_t lag;
    OK(person, weir_consumer_lag(person->consumer, crowd->live->topic, 0, &lag));
    cr_assert_eq(lag, 0);
    cr_assert_geq(weir_consumer_generation(person->consumer), 0);
    cr_assert_neq(weir_consumer_member_id(person->consumer)[0], '\0');
    OK(person, weir_unsubscribe(person->consumer));
    struct patience leaving = patience("the member to be out of the group");
    for (; weir_consumer_generation(person->consumer) >= 0; patience_check(&leaving))
        OK(person, weir_poll(person->client, 20));
    cr_assert_eq(person->held, 0);
    crowd_free(crowd);
}

static void *wake(void *client)
{
    usleep(20000);
    cr_assert_eq(weir_wake(client), WEIR_OK);
    return NULL;
}

Test(client, live_another_thread_ends_the_wait)
{
    struct live *live = live_new();
    struct weir_consumer *consumer = weir_consumer_new(live->client, NULL);
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, wake, live->client), 0);
    cr_assert_eq(weir_consumer_poll(consumer, WEIR_FOREVER), WEIR_ERR_INTERRUPTED);
    pthread_join(thread, NULL);
    // Before the wait counts as well, and once.
    cr_assert_eq(weir_wake(live->client), WEIR_OK);
    cr_assert_eq(weir_wake(live->client), WEIR_OK);
    cr_assert_eq(weir_poll(live->client, WEIR_FOREVER), WEIR_ERR_INTERRUPTED);
    OK(live, weir_poll(live->client, 0));
    weir_consumer_free(consumer);
    live_free(live);
}

// The example prints everything, and ends in good order when it is asked to.
Test(client, live_example_of_a_member)
{
    struct crowd *crowd = crowd_new("auto", "");
    char path[PATH_MAX + 64], line[64], group[TOPIC_SIZE + 8];
    int lines[2];
    pid_t self = getpid();
    crowd_produce(crowd, 100);
    snprintf(path, sizeof(path), "%s", build_path("clients/c/example_group"));
    snprintf(group, sizeof(group), "%s-ex", crowd->live->topic);
    cr_assert_eq(pipe(lines), 0);
    pid_t child = fork();
    if (child == 0) {
        child_bind(self, lines[1], STDERR_FILENO);
        close(lines[0]);
        close(lines[1]);
        execl(path, path, group, crowd->live->topic, crowd->live->brokers, (char *)NULL);
        _exit(127);
    }
    close(lines[1]);
    FILE *stream = fdopen(lines[0], "r");
    for (int i = 0; i < 100; i++)
        cr_assert_not_null(fgets(line, sizeof(line), stream));
    child_stop(child, "the example to end");
    fclose(stream);
    crowd_free(crowd);
}
