// SPDX-License-Identifier: Apache-2.0
// The idempotent producer: each message once and in order, whatever happens to batches and answers.
#include "clients/c/idempotence.h"
#include "gen/kp_init_producer_id.h"
#include "tests/unit/client_bench.h"

// What in-flight batches need to show their worth: small ones, many at once.
#define MANY "batch.size=300 max.in.flight.per.partition=5 "

static void hit(struct bench *bench, int skip, int times, enum mock_action action, int16_t code)
{
    mock_fault(bench->mock, (struct mock_fault){KP_PRODUCE_KEY, skip, times, action, code});
}

static void send_and_check(struct bench *bench, int from, int to)
{
    send_numbers(bench, 0, from, to);
    flush_ok(bench);
    cr_assert_str_eq(stored(bench, 0), numbers(to));
    cr_assert_str_eq(bench->reports.order, numbers(to));
}

Test(client, an_answer_lost_with_the_connection_leaves_no_duplicate)
{
    struct bench *bench = bench_new(1, "");
    hit(bench, 0, 1, MOCK_APPLY_AND_CLOSE, 0);
    hit(bench, 2, 1, MOCK_APPLY_AND_CLOSE, 0);
    send_and_check(bench, 0, 3);
    send_and_check(bench, 3, 6);
    for (int i = 0; i < 6; i++)
        cr_assert_eq(bench->reports.offsets[i], i);
    cr_assert_eq(mock_requests(bench->mock, KP_INIT_PRODUCER_ID_KEY), 1);
    bench_free(bench);
}

Test(client, batches_in_flight_keep_their_order_whatever_is_refused)
{
    for (int skip = 0; skip < 8; skip++) {
        struct bench *bench = bench_new(1, MANY);
        hit(bench, skip, 1, MOCK_ERROR, KP_ERROR_NOT_ENOUGH_REPLICAS);
        hit(bench, skip + 2, 2, MOCK_ERROR, KP_ERROR_NOT_LEADER_OR_FOLLOWER);
        send_and_check(bench, 0, 300);
        bench_free(bench);
    }
}

Test(client, batches_in_flight_are_stored_once_whatever_connection_is_lost)
{
    for (int skip = 0; skip < 8; skip++) {
        struct bench *bench = bench_new(2, MANY);
        hit(bench, skip, 1, MOCK_APPLY_AND_CLOSE, 0);
        hit(bench, skip + 3, 1, MOCK_CLOSE, 0);
        hit(bench, skip + 4, 1, MOCK_MOVE_LEADER, 0);
        hit(bench, skip + 5, 1, MOCK_HALF, 0);
        send_and_check(bench, 0, 300);
        bench_free(bench);
    }
}

Test(client, random_faults_neither_lose_nor_double_nor_reorder)
{
    static const enum mock_action actions[] = {MOCK_CLOSE, MOCK_APPLY_AND_CLOSE, MOCK_HALF,
                                               MOCK_MOVE_LEADER, MOCK_WRONG_ID};
    struct random random = {.state = 1234};
    for (int round = 0; round < 30; round++) {
        struct bench *bench = bench_new(2, MANY);
        for (int i = 0; i < 12; i++) {
            int skip = (int)random_below(&random, 20);
            enum mock_action action = actions[random_below(&random, 5)];
            if (random_below(&random, 3) == 0)
                hit(bench, skip, 1, MOCK_ERROR, KP_ERROR_NOT_ENOUGH_REPLICAS_AFTER_APPEND);
            else
                hit(bench, skip, 1, action, 0);
        }
        send_and_check(bench, 0, 200);
        send_and_check(bench, 200, 400);
        bench_free(bench);
    }
}

Test(client, a_broker_that_lost_batches_gets_the_next_ones_all_the_same)
{
    struct bench *bench = bench_new(1, MANY);
    send_numbers(bench, 0, 0, 1);
    flush_ok(bench);
    send_numbers(bench, 0, 1, 2);
    flush_ok(bench);
    mock_batch_lost(bench->mock, 0);
    send_numbers(bench, 0, 2, 100);
    flush_ok(bench);
    cr_assert_str_eq(bench->reports.order, numbers(100));
    cr_assert(strncmp(stored(bench, 0), "0 2 3 4 ", 8) == 0);
    cr_assert_eq(bench->mock->logs[0].producer_epoch, 1);
    cr_assert_eq(bench->reports.failed, 0);
    bench_free(bench);
}

Test(client, a_broker_that_forgot_the_producer_goes_on)
{
    struct bench *bench = bench_new(1, MANY);
    bench->mock->strict = true;
    send_and_check(bench, 0, 50);
    mock_producer_lost(bench->mock, 0);
    send_and_check(bench, 50, 100);
    cr_assert_eq(bench->mock->logs[0].producer_epoch, 1);
    cr_assert_eq(mock_requests(bench->mock, KP_INIT_PRODUCER_ID_KEY), 1);
    bench_free(bench);
}

Test(client, after_a_batch_that_failed_for_good_the_next_ones_are_stored)
{
    struct bench *bench = bench_new(1, MANY);
    hit(bench, 1, 1, MOCK_ERROR, KP_ERROR_POLICY_VIOLATION);
    send_numbers(bench, 0, 0, 1);
    flush_ok(bench);
    send_numbers(bench, 0, 1, 300);
    cr_assert_eq(weir_flush(bench->producer, WAIT_MS), WEIR_ERR_POLICY_VIOLATION);
    cr_assert_gt(bench->reports.failed, 0);
    cr_assert_str_eq(stored(bench, 0), bench->reports.order); // all others, in order
    bench_free(bench);
}

Test(client, without_retries_what_is_unknown_fails_and_the_next_is_stored_once)
{
    struct bench *bench = bench_new(1, MANY "retries=0");
    hit(bench, 0, 1, MOCK_APPLY_AND_CLOSE, 0);
    send_numbers(bench, 0, 0, 3);
    cr_assert_eq(weir_flush(bench->producer, WAIT_MS), WEIR_ERR_TRANSPORT);
    send_numbers(bench, 0, 3, 6);
    flush_ok(bench);
    hit(bench, 0, 1, MOCK_CLOSE, 0);
    send_numbers(bench, 0, 6, 7);
    cr_assert_eq(weir_flush(bench->producer, WAIT_MS), WEIR_ERR_TRANSPORT);
    send_numbers(bench, 0, 7, 9);
    flush_ok(bench);
    cr_assert_str_eq(stored(bench, 0), "0 1 2 3 4 5 7 8");
    bench_free(bench);
}

Test(client, the_last_epoch_is_followed_by_another_id)
{
    struct bench *bench = bench_new(1, MANY);
    bench->mock->init_epoch = INT16_MAX;
    send_numbers(bench, 0, 0, 1);
    flush_ok(bench);
    send_numbers(bench, 0, 1, 2);
    flush_ok(bench);
    mock_batch_lost(bench->mock, 0);
    send_numbers(bench, 0, 2, 50);
    flush_ok(bench);
    cr_assert_eq(mock_requests(bench->mock, KP_INIT_PRODUCER_ID_KEY), 2);
    cr_assert_eq(bench->mock->logs[0].producer_id, 1002);
    cr_assert_eq(bench->reports.failed, 0);
    bench_free(bench);
}

Test(client, a_fenced_producer_says_so_and_goes_on_under_another_id)
{
    struct bench *bench = bench_new(1, "");
    send_numbers(bench, 0, 0, 1);
    flush_ok(bench);
    hit(bench, 0, 1, MOCK_ERROR, KP_ERROR_INVALID_PRODUCER_EPOCH);
    send_numbers(bench, 0, 1, 2);
    cr_assert_eq(weir_flush(bench->producer, WAIT_MS), KP_ERROR_INVALID_PRODUCER_EPOCH);
    cr_assert(strstr(bench->reports.reason, "INVALID_PRODUCER_EPOCH") != NULL);
    send_numbers(bench, 0, 2, 3);
    flush_ok(bench);
    cr_assert_str_eq(stored(bench, 0), "0 2");
    cr_assert_eq(bench->mock->logs[0].producer_id, 1002);
    bench_free(bench);
}

Test(client, brokers_without_producer_ids_are_done_without)
{
    struct bench *bench = bench_new(1, "");
    bench->mock->version_max[KP_INIT_PRODUCER_ID_KEY] = -1;
    send_and_check(bench, 0, 100);
    cr_assert_eq(bench->mock->logs[0].producer_id, -1);
    bench_free(bench);
    bench = bench_new(1, "enable.idempotence=true");
    bench->mock->version_max[KP_INIT_PRODUCER_ID_KEY] = -1;
    send_numbers(bench, 0, 0, 1);
    cr_assert_eq(weir_flush(bench->producer, WAIT_MS), WEIR_ERR_UNSUPPORTED);
    cr_assert(strstr(bench->reports.reason, "enable.idempotence") != NULL, "%s",
              bench->reports.reason);
    bench_free(bench);
}

Test(client, a_producer_id_that_is_refused_fails_what_waits_and_is_asked_for_again)
{
    struct bench *bench = bench_new(1, "");
    mock_fault(bench->mock, (struct mock_fault){KP_INIT_PRODUCER_ID_KEY, 0, 2, MOCK_ERROR,
                                                KP_ERROR_COORDINATOR_NOT_AVAILABLE});
    mock_fault(bench->mock, (struct mock_fault){KP_INIT_PRODUCER_ID_KEY, 0, 1, MOCK_ERROR,
                                                KP_ERROR_CLUSTER_AUTHORIZATION_FAILED});
    send_numbers(bench, 0, 0, 2);
    cr_assert_eq(weir_flush(bench->producer, WAIT_MS), KP_ERROR_CLUSTER_AUTHORIZATION_FAILED);
    cr_assert_eq(bench->reports.failed, 2);
    cr_assert(strstr(bench->reports.reason, "CLUSTER_AUTHORIZATION_FAILED") != NULL);
    send_numbers(bench, 0, 2, 4);
    flush_ok(bench);
    cr_assert_str_eq(stored(bench, 0), "2 3");
    bench_free(bench);
}

Test(client, settings_that_exclude_idempotence_are_refused)
{
    static const char *const bad[] = {"enable.idempotence=true acks=1",
                                      "enable.idempotence=true max.in.flight.per.partition=6"};
    struct weir_client *client = weir_client_new("127.0.0.1:1", NULL);
    for (size_t i = 0; i < 2; i++) {
        struct weir_config *config = config_new(bad[i]);
        cr_assert_null(weir_producer_new(client, config));
        cr_assert(strstr(weir_last_error(client), "enable.idempotence") != NULL);
        weir_config_free(config);
    }
    weir_client_free(client);
}

// ------------------------------------------------------------------------------------ the parts

Test(client, sequence_numbers_go_around)
{
    struct idempotence idempotence = {.enabled = true, .id = 7};
    struct batch_queue queue;
    batch_queue_init(&queue, NULL, 0);
    cr_assert(idempotence_ready(&idempotence, &queue));
    queue.numbering.next.base_sequence = INT32_MAX - 1;
    struct batch *first = batch_new(), *second = batch_new();
    first->queue = second->queue = &queue;
    first->producer.id = second->producer.id = -1;
    first->count = 3;
    second->count = 1;
    idempotence_number(&idempotence, &queue, first);
    idempotence_number(&idempotence, &queue, second);
    cr_assert_eq(first->producer.base_sequence, INT32_MAX - 1);
    cr_assert_eq(second->producer.base_sequence, 1);
    batch_free(first);
    batch_free(second);
}
