// SPDX-License-Identifier: Apache-2.0
// Several members of one group in one thread, each with a client of its own, driven in turns, and
// what all of them have seen.
#pragma once

#include "clients/c/consumer.h"
#include "tests/unit/client_live.h"

enum { MEMBERS_MAX = 4, PARTITIONS = 6, RECORDS_MAX = 20000 };

struct crowd;

struct person {
    struct crowd *crowd;
    struct weir_client *client;
    struct weir_consumer *consumer; // NULL: not there
    int assigned, revoked, lost;    // calls of the callback
    int held;                       // partitions
    int commits;                    // that have ended without an error
    bool hold;                      // in the next revocation
};

// A group, and what all of its members have seen.
struct crowd {
    struct live *live;
    struct weir_config *config;
    struct weir_producer *producer;
    struct person persons[MEMBERS_MAX];
    struct person *owner[PARTITIONS];
    bool late; // a member may learn that its partitions are lost when they are another's already
    int produced;
    int seen[RECORDS_MAX]; // by number
    int distinct;
};

static inline void person_told(void *context, const struct weir_rebalance *rebalance)
{
    struct person *person = context;
    struct crowd *crowd = person->crowd;
    for (size_t i = 0; i < rebalance->count; i++) {
        struct person **owner = &crowd->owner[rebalance->partitions[i].partition];
        if (rebalance->kind == WEIR_PARTITIONS_ASSIGNED) {
            cr_assert(!*owner || crowd->late, "partition %d has two owners",
                      rebalance->partitions[i].partition);
            if (*owner)
                (*owner)->held--;
            *owner = person;
            person->held++;
        } else {
            // What is lost was revoked before if it was held on to, and may be another's by now.
            cr_assert(*owner == person || rebalance->kind == WEIR_PARTITIONS_LOST || crowd->late);
            person->held -= *owner == person;
            *owner = *owner == person ? NULL : *owner;
        }
    }
    person->assigned += rebalance->kind == WEIR_PARTITIONS_ASSIGNED;
    person->lost += rebalance->kind == WEIR_PARTITIONS_LOST;
    if (rebalance->kind != WEIR_PARTITIONS_REVOKED)
        return;
    person->revoked++;
    cr_assert_eq(weir_commit_async(person->consumer, NULL, 0, NULL, NULL), WEIR_OK);
    if (person->hold)
        cr_assert_eq(weir_rebalance_hold(person->consumer), WEIR_OK);
    person->hold = false;
}

static inline struct crowd *crowd_new_on(struct live *live, const char *protocol,
                                         const char *strategy)
{
    struct crowd *crowd = calloc(1, sizeof(*crowd));
    crowd->live = live;
    crowd->config = weir_config_new();
    weir_config_set(crowd->config, "group.id", crowd->live->topic);
    weir_config_set(crowd->config, "auto.offset.reset", "earliest");
    // No longer than it takes to miss one who died; nobody is driven while records are flushed.
    weir_config_set(crowd->config, "session.timeout.ms", "15000");
    weir_config_set(crowd->config, "heartbeat.interval.ms", "100");
    cr_assert_eq(weir_config_set(crowd->config, "group.protocol", protocol), WEIR_OK);
    cr_assert_eq(weir_config_set(crowd->config, "partition.assignment.strategy", strategy),
                 WEIR_OK);
    topic_create(crowd->live, crowd->live->topic, PARTITIONS);
    crowd->producer = weir_producer_new(crowd->live->client, NULL);
    for (int i = 0; i < MEMBERS_MAX; i++)
        crowd->persons[i].crowd = crowd;
    return crowd;
}

static inline struct crowd *crowd_new(const char *protocol, const char *strategy)
{
    return crowd_new_on(live_new(), protocol, strategy);
}

static inline struct person *person_make(struct crowd *crowd, int i)
{
    struct person *person = &crowd->persons[i];
    person->client = weir_client_new(crowd->live->brokers, crowd->config);
    person->consumer = weir_consumer_new(person->client, crowd->config);
    weir_consumer_on_rebalance(person->consumer, person_told, person);
    return person;
}

static inline struct person *person_join(struct crowd *crowd, int i)
{
    struct person *person = person_make(crowd, i);
    const char *topic = crowd->live->topic;
    OK(person, weir_subscribe(person->consumer, &topic, 1));
    return person;
}

static inline void person_gone(struct person *person)
{
    for (int p = 0; p < PARTITIONS; p++) {
        if (person->crowd->owner[p] == person)
            person->crowd->owner[p] = NULL;
    }
    person->consumer = NULL;
    person->held = 0;
    weir_client_free(person->client);
}

static inline void person_leave(struct person *person)
{
    OK(person, weir_consumer_close(person->consumer, WAIT_MS));
    person_gone(person);
}

// Without a word: its session has to end.
static inline void person_die(struct person *person)
{
    weir_consumer_free(person->consumer);
    person_gone(person);
}

static inline void crowd_free(struct crowd *crowd)
{
    for (int i = 0; i < MEMBERS_MAX; i++) {
        if (crowd->persons[i].consumer)
            person_die(&crowd->persons[i]);
    }
    weir_producer_free(crowd->producer);
    weir_config_free(crowd->config);
    live_free(crowd->live);
    free(crowd);
}

static inline void crowd_produce(struct crowd *crowd, int count)
{
    for (int i = 0; i < count; i++) {
        char value[16];
        snprintf(value, sizeof(value), "%d", crowd->produced++);
        struct weir_message message = {.value = weir_text(value)};
        OK(crowd->live, weir_produce(crowd->producer, crowd->live->topic,
                                     crowd->produced % PARTITIONS, &message));
    }
    OK(crowd->live, weir_flush(crowd->producer, WAIT_MS));
}

static inline void commit_ended(void *context, int error, const struct weir_offset *offsets,
                                size_t count)
{
    struct person *person = context;
    (void)offsets;
    (void)count;
    // Partitions may have gone, or the member.
    cr_assert(error == WEIR_OK || error == WEIR_ERR_NOT_ASSIGNED || error == WEIR_ERR_ABANDONED,
              "%d", error);
    person->commits += error == WEIR_OK;
}

static inline void person_work(struct person *person)
{
    struct crowd *crowd = person->crowd;
    struct weir_record record;
    int count = 0;
    OK(person, weir_consumer_poll(person->consumer, 10));
    for (; weir_consumer_next(person->consumer, &record); count++) {
        cr_assert_eq(crowd->owner[record.partition], person);
        char text[16] = {0};
        memcpy(text, record.value.data, record.value.size);
        crowd->distinct += crowd->seen[strtol(text, NULL, 10)]++ == 0;
    }
    if (count > 0)
        OK(person, weir_commit_async(person->consumer, NULL, 0, commit_ended, person));
}

static inline void crowd_turn(struct crowd *crowd)
{
    for (int i = 0; i < MEMBERS_MAX; i++) {
        if (crowd->persons[i].consumer)
            person_work(&crowd->persons[i]);
    }
}

// How things stand, when a test has waited long enough.
static inline void crowd_describe(const struct crowd *crowd)
{
    for (int i = 0; i < MEMBERS_MAX; i++) {
        const struct person *person = &crowd->persons[i];
        if (!person->consumer)
            continue;
        const struct member *member = &person->consumer->member;
        const char *trouble = weir_trouble(person->client);
        cr_log_error("member %d: state %d, generation %d, call %d, code %d, releasing %d, told of "
                     "%d partitions (%d, %d, %d), group wants %zu; %s; last error: %s",
                     i, member->state, member->generation, member->calling, member->code,
                     member->releasing, person->held, person->assigned, person->revoked,
                     person->lost, member->target_count, trouble ? trouble : "no trouble",
                     weir_last_error(person->client));
    }
    cr_log_error("%d of %d records seen; the broker's log: %s.log", crowd->distinct,
                 crowd->produced, crowd->live->directory);
}

// One turn of a loop that must not last for ever.
static inline void crowd_wait(struct crowd *crowd, const struct patience *patience)
{
    if (patience_is_over(patience))
        crowd_describe(crowd);
    patience_check(patience);
    crowd_turn(crowd);
}

// Drives everybody until all partitions have an owner and nobody has more than one partition more
// than another.
static inline void crowd_settle(struct crowd *crowd)
{
    struct patience settling = patience("every partition to have an owner, and a fair one");
    for (bool settled = false; !settled;) {
        int most = 0, least = PARTITIONS, total = 0;
        crowd_wait(crowd, &settling);
        for (int i = 0; i < MEMBERS_MAX; i++) {
            const struct person *person = &crowd->persons[i];
            if (!person->consumer)
                continue;
            most = person->held > most ? person->held : most;
            least = person->held < least ? person->held : least;
            total += person->held;
        }
        settled = total == PARTITIONS && most - least <= 1;
    }
}

static inline void crowd_drain(struct crowd *crowd)
{
    struct patience draining = patience("every record to be seen");
    while (crowd->distinct < crowd->produced)
        crowd_wait(crowd, &draining);
}

static inline int64_t crowd_committed(struct crowd *crowd)
{
    struct weir_consumer *reader = weir_consumer_new(crowd->live->client, crowd->config);
    int64_t total = 0;
    for (int32_t p = 0; p < PARTITIONS; p++) {
        struct weir_offset offset = {.topic = crowd->live->topic, .partition = p};
        OK(crowd->live, weir_committed(reader, &offset, 1, WAIT_MS));
        total += offset.offset > 0 ? offset.offset : 0;
    }
    weir_consumer_free(reader);
    return total;
}
