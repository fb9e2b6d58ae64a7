// SPDX-License-Identifier: Apache-2.0
// What goes wrong around members of a group: programs that are slow, brokers that are killed,
// topics that are not there or grow (client_live.h, client_crowd.h).
#include "tests/unit/client_crowd.h"

// A program that drives the client, but does not poll, is out after max.poll.interval.ms, and back
// in when it polls.
static void idle_round(const char *protocol)
{
    struct crowd *crowd = crowd_new(protocol, "");
    weir_config_set(crowd->config, "max.poll.interval.ms", "1000");
    struct person *person = person_join(crowd, 0);
    crowd_settle(crowd);
    int before = person->revoked + person->lost;
    struct patience leaving = patience("the idle member to be out of its group");
    for (; weir_consumer_generation(person->consumer) >= 0 || person->held > 0;
         patience_check(&leaving))
        OK(person, weir_poll(person->client, 50));
    cr_assert_eq(person->revoked + person->lost, before + 1);
    crowd_settle(crowd);
    cr_assert_eq(person->held, PARTITIONS);
    crowd_free(crowd);
}

Test(client, live_members_that_do_not_poll_are_out)
{
    idle_round("auto");
}

Test(client, live_members_that_do_not_poll_are_out_classic)
{
    idle_round("classic");
}

// A hold that is not released ends all the same, and the partitions are lost.
static void held_too_long(const char *protocol)
{
    struct crowd *crowd = crowd_new(protocol, "");
    weir_config_set(crowd->config, "max.poll.interval.ms", "1000");
    struct person *first = person_join(crowd, 0);
    crowd_settle(crowd);
    // The broker takes them from a member that is not driven in time, as on a busy machine.
    crowd->late = true;
    first->hold = true;
    person_join(crowd, 1);
    struct patience losing = patience("the member to lose what it holds on to");
    while (first->lost == 0)
        crowd_wait(crowd, &losing);
    cr_assert_eq(weir_rebalance_release(first->consumer), WEIR_ERR_BAD_ARGUMENT);
    crowd_settle(crowd);
    crowd_free(crowd);
}

// The broker counts that time from its answer on, so the member counts it from the question: its
// partitions are lost before another member has them.
Test(client, live_time_to_give_up_counts_from_the_question)
{
    enum { INTERVAL_MS = 60000 };
    struct crowd *crowd = crowd_new("consumer", "");
    weir_config_set(crowd->config, "max.poll.interval.ms", "60000");
    struct person *first = person_join(crowd, 0);
    crowd_settle(crowd);
    first->hold = true;
    struct person *second = person_join(crowd, 1);
    struct member *member = &first->consumer->member;
    uint64_t asked_ns = 0;
    struct patience revoking = patience("the first member to be asked for partitions");
    for (; first->revoked == 0; patience_check(&revoking)) {
        person_work(second);
        bool asked = member->calling;
        asked_ns = first->client->now_ns;
        usleep(20000); // the answer has to wait
        client_turn(first->client, 0);
        asked_ns = asked ? asked_ns : first->client->now_ns;
        client_report(first->client);
    }
    cr_assert_leq(member->release_deadline_ns, asked_ns + (uint64_t)INTERVAL_MS * 1000000);
    crowd_free(crowd);
}

Test(client, live_holds_end)
{
    held_too_long("auto");
}

Test(client, live_holds_end_classic)
{
    held_too_long("classic");
}

// Its partitions wait for a static member that has stopped; while it lives, nobody takes its place.
Test(client, live_static_members_of_the_newer_protocol)
{
    struct crowd *crowd = crowd_new("consumer", "");
    weir_config_set(crowd->config, "group.instance.id", "one");
    struct person *first = person_join(crowd, 0);
    weir_config_set(crowd->config, "group.instance.id", "two");
    struct person *second = person_join(crowd, 1);
    crowd_settle(crowd);
    bool had[PARTITIONS];
    for (int p = 0; p < PARTITIONS; p++)
        had[p] = crowd->owner[p] == first;
    int second_revoked = second->revoked;

    weir_config_set(crowd->config, "group.instance.id", "one");
    struct person *third = person_join(crowd, 2);
    struct patience refusing = patience("the place to be refused");
    while (!weir_trouble(third->client) || !strstr(weir_trouble(third->client), "'one'"))
        crowd_wait(crowd, &refusing);
    cr_assert_eq(third->held, 0);
    person_leave(first);
    crowd_settle(crowd);
    for (int p = 0; p < PARTITIONS; p++)
        cr_assert_eq(crowd->owner[p] == third, had[p], "partition %d", p);
    cr_assert_eq(second->revoked, second_revoked);
    cr_assert_null(weir_trouble(third->client));
    crowd_free(crowd);
}

// Polls until the member has so many partitions, whosever they are.
static void person_wait(struct person *person, size_t wanted, const char *what)
{
    const struct weir_topic_partition *partitions;
    size_t count = 0;
    struct patience waiting = patience(what);
    for (; count != wanted; patience_check(&waiting)) {
        OK(person, weir_consumer_poll(person->consumer, 20));
        OK(person, weir_consumer_assignment(person->consumer, &partitions, &count));
    }
}

static void growing_round(const char *protocol)
{
    struct crowd *crowd = crowd_new(protocol, "");
    if (strcmp(protocol, "classic") == 0) // there the leader has to notice
        weir_config_set(crowd->config, "metadata.max.age.ms", "300");
    struct person *person = person_join(crowd, 0);
    weir_consumer_on_rebalance(person->consumer, NULL, NULL);
    person_wait(person, PARTITIONS, "all partitions");
    OK(crowd->live, weir_create_partitions(crowd->live->client, crowd->live->topic, 2 * PARTITIONS,
                                           false, WAIT_MS));
    person_wait(person, (size_t)(2 * PARTITIONS), "the new partitions");
    for (int32_t p = 0; p < 2 * PARTITIONS; p++) {
        struct weir_message message = {.value = weir_text("v")};
        int error = weir_produce(crowd->producer, crowd->live->topic, p, &message);
        struct patience learning = patience("the producer to learn of the new partitions");
        for (; error; patience_check(&learning)) {
            weir_poll(crowd->live->client, 20);
            error = weir_produce(crowd->producer, crowd->live->topic, p, &message);
        }
    }
    OK(crowd->live, weir_flush(crowd->producer, WAIT_MS));
    struct patience reading = patience("the records of old and new partitions");
    for (int count = 0; count < 2 * PARTITIONS; patience_check(&reading)) {
        struct weir_record record;
        OK(person, weir_consumer_poll(person->consumer, 50));
        while (weir_consumer_next(person->consumer, &record))
            count++;
    }
    cr_assert_null(weir_trouble(person->client));
    crowd_free(crowd);
}

Test(client, live_new_partitions_are_read)
{
    growing_round("auto");
}

Test(client, live_new_partitions_are_read_classic)
{
    growing_round("classic");
}

// A topic that is subscribed to and not there is told of, and read when it appears.
static void missing_round(const char *protocol)
{
    struct crowd *crowd = crowd_new(protocol, "");
    struct person *person = person_make(crowd, 0);
    char missing[TOPIC_SIZE + 16];
    snprintf(missing, sizeof(missing), "%s-later", crowd->live->topic);
    const char *topics[] = {crowd->live->topic, missing};
    weir_config_set(crowd->config, "metadata.max.age.ms", "300");
    OK(person, weir_subscribe(person->consumer, topics, 2));
    weir_consumer_on_rebalance(person->consumer, NULL, NULL);
    person_wait(person, PARTITIONS, "the topic that is there");
    struct patience telling = patience("the missing topic to be told of");
    while (!weir_trouble(person->client) || !strstr(weir_trouble(person->client), missing)) {
        patience_check(&telling);
        OK(person, weir_consumer_poll(person->consumer, 20));
    }
    topic_create(crowd->live, missing, 2);
    person_wait(person, PARTITIONS + 2, "the topic that was missing");
    struct patience settling = patience("the trouble to be over");
    for (; weir_trouble(person->client); patience_check(&settling))
        OK(person, weir_consumer_poll(person->consumer, 20));
    crowd_free(crowd);
}

Test(client, live_missing_topics_are_told_of)
{
    missing_round("auto");
}

Test(client, live_missing_topics_are_told_of_classic)
{
    missing_round("classic");
}

// The broker is killed under members at work and comes back: every record is seen, and everything
// is committed in the end.
static void killed_round(const char *protocol)
{
    struct crowd *crowd = crowd_new(protocol, "");
    struct live *live = crowd->live;
    if (!live->broker) {
        crowd_free(crowd);
        cr_skip_test("the broker is not ours to kill");
    }
    struct person *first = person_join(crowd, 0);
    person_join(crowd, 1);
    crowd_settle(crowd);
    for (int round = 0; round < 3; round++) {
        crowd_produce(crowd, 600);
        crowd_turn(crowd);
        char listen[sizeof(live->brokers)];
        snprintf(listen, sizeof(listen), "%s", live->brokers);
        kill(live->broker, SIGKILL);
        cr_assert_eq(waitpid(live->broker, NULL, 0), live->broker);
        crowd_turn(crowd);
        broker_start(live, listen);
        crowd_produce(crowd, 600);
        crowd_drain(crowd);
    }
    crowd_settle(crowd);
    struct patience committing = patience("every record to be committed");
    while (crowd_committed(crowd) < crowd->produced)
        crowd_wait(crowd, &committing);
    struct weir_consumer_statistics stats;
    weir_consumer_stats(first->consumer, &stats);
    cr_assert_eq(stats.assigned, PARTITIONS / 2);
    cr_assert_eq(stats.lag, 0);
    cr_assert_eq(stats.paused, 0);
    cr_assert_gt(stats.records, 0);
    cr_assert_gt(stats.fetches, 0);
    cr_assert_gt(stats.fetched_bytes, stats.records);
    cr_assert_gt(stats.commits, 0);
    cr_assert_gt(stats.rebalances, 0);
    crowd_free(crowd);
}

Test(client, live_groups_survive_the_broker)
{
    killed_round("auto");
}

Test(client, live_groups_survive_the_broker_classic)
{
    killed_round("classic");
}

// Members of both protocols in one group, whichever came first.
static void both_protocols(struct crowd *crowd, const char *first, const char *second)
{
    crowd_produce(crowd, 600);
    weir_config_set(crowd->config, "group.protocol", first);
    person_join(crowd, 0);
    crowd_settle(crowd);
    weir_config_set(crowd->config, "group.protocol", second);
    person_join(crowd, 1);
    crowd_settle(crowd);
    crowd_produce(crowd, 600);
    crowd_drain(crowd);
    person_leave(&crowd->persons[0]);
    crowd_settle(crowd);
    weir_config_set(crowd->config, "group.protocol", first);
    person_join(crowd, 2);
    crowd_settle(crowd);
    crowd_produce(crowd, 600);
    crowd_drain(crowd);
    struct patience committing = patience("every record to be committed");
    while (crowd_committed(crowd) < crowd->produced)
        crowd_wait(crowd, &committing);
    crowd_free(crowd);
}

Test(client, live_groups_of_both_protocols)
{
    both_protocols(crowd_new("auto", ""), "classic", "consumer");
}

Test(client, live_groups_of_both_protocols_the_other_way_around)
{
    both_protocols(crowd_new("auto", ""), "consumer", "classic");
}

// Where the broker does not turn groups of the classic protocol into others, a member that may
// choose falls back to it.
Test(client, live_members_fall_back_to_what_the_group_speaks)
{
    struct live *live = live_new_with("group.consumer.migration.policy=disabled");
    both_protocols(crowd_new_on(live, "auto", ""), "classic", "auto");
}
