// SPDX-License-Identifier: Apache-2.0
// Questions about many groups and topics, and what is said when there is no time for all of them.
#include "gen/kp_create_topics.h"
#include "gen/kp_delete_groups.h"
#include "gen/kp_find_coordinator.h"
#include "tests/unit/client_bench.h"

enum { GROUPS = 100, AT_ONCE = 32, SHORT_MS = 50 };

struct many {
    struct bench *bench;
    char names[GROUPS][16];
    const char *list[GROUPS];
    int errors[GROUPS];
};

static struct many *many_new(void)
{
    struct many *many = calloc(1, sizeof(*many));
    many->bench = bench_new(1, "");
    for (int i = 0; i < GROUPS; i++) {
        snprintf(many->names[i], sizeof(many->names[i]), "group-%d", i);
        many->list[i] = many->names[i];
    }
    return many;
}

static void many_free(struct many *many)
{
    bench_free(many->bench);
    free(many);
}

static int many_delete(struct many *many, int timeout_ms)
{
    return weir_delete_groups(many->bench->client, many->list, GROUPS, many->errors, timeout_ms);
}

Test(client, all_of_many_groups_are_asked_about)
{
    struct many *many = many_new();
    cr_assert_eq(many_delete(many, WAIT_MS), WEIR_OK, "%s", weir_last_error(many->bench->client));
    for (int i = 0; i < GROUPS; i++)
        cr_assert_eq(many->errors[i], WEIR_OK);
    cr_assert_eq(mock_requests(many->bench->mock, KP_DELETE_GROUPS_KEY), GROUPS);
    many_free(many);
}

// What is asked when the time is up could only be told that there was no time.
Test(client, no_group_is_asked_about_when_the_time_is_up)
{
    struct many *many = many_new();
    mock_fault(many->bench->mock,
               (struct mock_fault){KP_FIND_COORDINATOR_KEY, 0, 1 << 20, MOCK_SILENT, 0});
    // However slow the machine is: some time is enough to ask.
    int asked_most = AT_ONCE;
    for (int timeout_ms = SHORT_MS;; timeout_ms *= 2, asked_most += AT_ONCE) {
        cr_assert_eq(many_delete(many, timeout_ms), WEIR_ERR_TIMED_OUT);
        const char *sentence = weir_last_error(many->bench->client);
        cr_assert_leq(mock_requests(many->bench->mock, KP_FIND_COORDINATOR_KEY), asked_most);
        if (strstr(sentence, "did not answer FindCoordinator in time"))
            break;
        cr_assert_lt(timeout_ms, WAIT_MS, "%s", sentence);
    }
    many_free(many);
}

// The broker answers for forty groups and is silent then.
static void many_silence(struct many *many)
{
    struct mock *mock = many->bench->mock;
    pthread_mutex_lock(&mock->lock);
    mock->fault_count = 0;
    pthread_mutex_unlock(&mock->lock);
    mock_fault(mock, (struct mock_fault){KP_DELETE_GROUPS_KEY, 40, 1, MOCK_MUTE, 0});
}

Test(client, how_many_groups_there_was_time_for_is_told)
{
    struct many *many = many_new();
    // However slow the machine is: some time is enough for the forty.
    for (int timeout_ms = SHORT_MS;; timeout_ms *= 2) {
        many_silence(many);
        int error = many_delete(many, timeout_ms);
        const char *sentence = weir_last_error(many->bench->client);
        cr_assert_eq(error, WEIR_ERR_TIMED_OUT, "%s", sentence);
        if (strstr(sentence, ": 40 of 100 groups"))
            break;
        cr_assert_lt(timeout_ms, WAIT_MS, "%s", sentence);
    }
    many_free(many);
}

// ------------------------------------------------------------------------------------- topics

enum { TOPICS = 8 };

static struct weir_outcome outcomes[TOPICS];

static int topics_create(struct bench *bench, int timeout_ms)
{
    static const char *const names[TOPICS] = {"a", "b", "c", "d", "e", "f", "g", "h"};
    struct weir_new_topic topics[TOPICS];
    for (int i = 0; i < TOPICS; i++)
        topics[i] = (struct weir_new_topic){.name = names[i]};
    return weir_create_topics(bench->client, topics, TOPICS, outcomes, timeout_ms);
}

static void counts_check(struct mock *mock, int requests, int created, int refused)
{
    cr_assert_eq(mock_requests(mock, KP_CREATE_TOPICS_KEY), requests);
    pthread_mutex_lock(&mock->lock);
    cr_assert_eq(mock->topics_created, created);
    cr_assert_eq(mock->topics_refused, refused);
    pthread_mutex_unlock(&mock->lock);
}

Test(client, topics_refused_for_the_moment_are_asked_for_again_alone)
{
    struct bench *bench = bench_new(1, "");
    mock_fault(bench->mock, (struct mock_fault){KP_CREATE_TOPICS_KEY, 0, 2, MOCK_ERROR,
                                                KP_ERROR_NOT_CONTROLLER});
    cr_assert_eq(topics_create(bench, WAIT_MS), WEIR_OK, "%s", weir_last_error(bench->client));
    for (int i = 0; i < TOPICS; i++)
        cr_assert_eq(outcomes[i].error, WEIR_OK);
    counts_check(bench->mock, 3, TOPICS, 4 + 2); // 8, then 4, then 2
    bench_free(bench);
}

Test(client, topics_refused_for_good_have_an_error_of_their_own)
{
    struct bench *bench = bench_new(1, "");
    mock_fault(bench->mock, (struct mock_fault){KP_CREATE_TOPICS_KEY, 0, 1, MOCK_ERROR,
                                                KP_ERROR_POLICY_VIOLATION});
    cr_assert_eq(topics_create(bench, WAIT_MS), WEIR_ERR_POLICY_VIOLATION);
    cr_assert_not_null(strstr(weir_last_error(bench->client), "cannot create topic 'b'"));
    for (int i = 0; i < TOPICS; i++) {
        cr_assert_eq(outcomes[i].error, i % 2 ? WEIR_ERR_POLICY_VIOLATION : WEIR_OK);
        cr_assert(i % 2 ? strstr(outcomes[i].why, "POLICY_VIOLATION") != NULL
                        : outcomes[i].why[0] == '\0');
    }
    counts_check(bench->mock, 1, 4, 4);
    bench_free(bench);
}

// The broker refuses half of the topics for the moment, and is silent then.
static void topics_silence(struct mock *mock)
{
    pthread_mutex_lock(&mock->lock);
    mock->fault_count = 0;
    pthread_mutex_unlock(&mock->lock);
    mock_fault(
        mock, (struct mock_fault){KP_CREATE_TOPICS_KEY, 0, 1, MOCK_ERROR, KP_ERROR_NOT_CONTROLLER});
    mock_fault(mock, (struct mock_fault){KP_CREATE_TOPICS_KEY, 0, 1 << 20, MOCK_SILENT, 0});
}

Test(client, topics_without_an_answer_say_so)
{
    struct bench *bench = bench_new(1, "");
    // However slow the machine is: some time is enough for the first request.
    for (int timeout_ms = SHORT_MS;; timeout_ms *= 2) {
        topics_silence(bench->mock);
        cr_assert_neq(topics_create(bench, timeout_ms), WEIR_OK);
        if (outcomes[0].error == WEIR_OK)
            break;
        cr_assert_lt(timeout_ms, WAIT_MS, "%s", outcomes[0].why);
    }
    for (int i = 0; i < TOPICS; i++) {
        cr_assert_eq(outcomes[i].error == WEIR_OK, i % 2 == 0, "%s", outcomes[i].why);
        cr_assert(i % 2 == 0 || strstr(outcomes[i].why, "cannot create topic"));
    }
    bench_free(bench);
}
