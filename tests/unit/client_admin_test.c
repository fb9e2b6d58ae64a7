// SPDX-License-Identifier: Apache-2.0
// Questions about many groups, and what is said when there is no time for all of them.
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
