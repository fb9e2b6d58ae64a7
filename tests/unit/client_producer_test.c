// SPDX-License-Identifier: Apache-2.0
// The producer against a broker that misbehaves.
#include "tests/unit/client_bench.h"

Test(client, messages_arrive_once_and_in_order)
{
    struct bench *bench = bench_new(1, "");
    send_numbers(bench, 2, 0, 1000);
    cr_assert_eq(weir_producer_queued(bench->producer), 1000);
    flush_ok(bench);
    cr_assert_eq(weir_producer_queued(bench->producer), 0);
    cr_assert_str_eq(bench->reports.order, numbers(1000));
    cr_assert_str_eq(stored(bench, 2), numbers(1000));
    for (int i = 0; i < 1000; i++)
        cr_assert_eq(bench->reports.offsets[i], i);
    bench_free(bench);
}

Test(client, refused_batches_are_repeated_in_order)
{
    survive("", 1,
            (struct mock_fault){KP_PRODUCE_KEY, 0, 3, MOCK_ERROR, KP_ERROR_NOT_ENOUGH_REPLICAS},
            NULL);
    survive("", 1,
            (struct mock_fault){KP_PRODUCE_KEY, 1, 2, MOCK_ERROR, KP_ERROR_NOT_LEADER_OR_FOLLOWER},
            NULL);
}

Test(client, refused_batches_in_flight_together_are_repeated_in_order)
{
    // Refusals that strike all of a partition's batches at once keep the order even with several
    // in flight; one that strikes only the first of them does not, as weir.h says.
    survive("enable.idempotence=false max.in.flight.per.partition=3 batch.size=300", 1,
            (struct mock_fault){KP_PRODUCE_KEY, 0, 3, MOCK_CLOSE, 0}, NULL);
}

Test(client, lost_connections_lose_nothing)
{
    survive("", 1, (struct mock_fault){KP_PRODUCE_KEY, 0, 2, MOCK_CLOSE, 0}, NULL);
    survive("", 1, (struct mock_fault){KP_METADATA_KEY, 0, 2, MOCK_CLOSE, 0}, NULL);
    survive("", 1, (struct mock_fault){KP_API_VERSIONS_KEY, 0, 3, MOCK_CLOSE, 0}, NULL);
}

Test(client, without_idempotence_an_answer_lost_leaves_a_duplicate)
{
    struct bench *bench = bench_new(1, "enable.idempotence=false");
    mock_fault(bench->mock, (struct mock_fault){KP_PRODUCE_KEY, 0, 1, MOCK_APPLY_AND_CLOSE, 0});
    send_numbers(bench, 0, 0, 3);
    flush_ok(bench);
    cr_assert_str_eq(bench->reports.order, "0 1 2");
    cr_assert_str_eq(stored(bench, 0), "0 1 2 0 1 2");
    bench_free(bench);
}

Test(client, without_retries_nothing_is_sent_twice)
{
    struct bench *bench = bench_new(1, "retries=0");
    mock_fault(bench->mock, (struct mock_fault){KP_PRODUCE_KEY, 0, 1, MOCK_APPLY_AND_CLOSE, 0});
    send_numbers(bench, 0, 0, 3);
    cr_assert_eq(weir_flush(bench->producer, WAIT_MS), WEIR_ERR_TRANSPORT);
    cr_assert_eq(bench->reports.failed, 3);
    cr_assert_eq(bench->reports.error, WEIR_ERR_TRANSPORT);
    cr_assert_str_eq(stored(bench, 0), "0 1 2");
    bench_free(bench);
}

Test(client, damaged_answers_close_the_connection_and_are_repeated)
{
    static const enum mock_action actions[] = {MOCK_HALF, MOCK_WRONG_ID, MOCK_GARBAGE, MOCK_HUGE};
    for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++) {
        struct bench *bench = bench_new(1, "");
        mock_fault(bench->mock, (struct mock_fault){KP_PRODUCE_KEY, 1, 1, actions[i], 0});
        mock_fault(bench->mock, (struct mock_fault){KP_METADATA_KEY, 0, 1, actions[i], 0});
        mock_fault(bench->mock, (struct mock_fault){KP_API_VERSIONS_KEY, 0, 1, actions[i], 0});
        send_numbers(bench, 0, 0, 1);
        flush_ok(bench);
        send_numbers(bench, 0, 1, 2);
        flush_ok(bench);
        cr_assert_str_eq(bench->reports.order, "0 1");
        cr_assert_str_eq(stored(bench, 0), "0 1");
        bench_free(bench);
    }
}

Test(client, unanswered_requests_time_out_and_are_repeated)
{
    survive("request.timeout.ms=500", 1, (struct mock_fault){KP_PRODUCE_KEY, 0, 1, MOCK_SILENT, 0},
            NULL);
}

Test(client, the_new_leader_is_found)
{
    survive("", 2, (struct mock_fault){KP_PRODUCE_KEY, 1, 1, MOCK_MOVE_LEADER, 0}, NULL);
}

Test(client, answers_may_come_in_tiny_pieces)
{
    struct bench *bench = bench_new(1, "");
    bench->mock->trickle = true;
    send_numbers(bench, 0, 0, 50);
    flush_ok(bench);
    cr_assert_str_eq(stored(bench, 0), numbers(50));
    bench_free(bench);
}

Test(client, old_brokers_are_spoken_to_in_old_versions)
{
    struct bench *bench = bench_new(1, "compression.type=gzip");
    bench->mock->old_api_versions = true;
    bench->mock->version_max[KP_PRODUCE_KEY] = 3;
    bench->mock->version_max[KP_METADATA_KEY] = 1;
    send_numbers(bench, 0, 0, 50);
    flush_ok(bench);
    cr_assert_str_eq(stored(bench, 0), numbers(50));
    bench_free(bench);
}

Test(client, a_broker_that_offers_too_little_is_named)
{
    struct bench *bench = bench_new(1, "");
    bench->mock->version_max[KP_PRODUCE_KEY] = -1;
    send_numbers(bench, 0, 0, 1);
    cr_assert_eq(weir_flush(bench->producer, WAIT_MS), WEIR_ERR_UNSUPPORTED);
    cr_assert_eq(bench->reports.error, WEIR_ERR_UNSUPPORTED);
    bench_free(bench);
}

Test(client, topics_are_created_on_first_use)
{
    struct bench *bench = bench_new(1, "");
    bench->mock->topic_missing = true;
    send_numbers(bench, 0, 0, 5);
    flush_ok(bench);
    cr_assert_str_eq(stored(bench, 0), numbers(5));
    bench_free(bench);
}

// Before the partitions of a topic are known its messages are put aside, and only the network
// tells.
Test(client, who_only_produces_is_served)
{
    static char value[70000];
    struct bench *bench = bench_new(1, "");
    struct weir_message message = {.value = weir_bytes_of(value, sizeof(value))};
    while (mock_requests(bench->mock, KP_PRODUCE_KEY) == 0) {
        cr_assert_eq(weir_produce(bench->producer, "t", 0, &message), WEIR_OK,
                     "buffer.memory is full, and nothing was sent");
        usleep(20000);
    }
    flush_ok(bench);
    bench_free(bench);
}

Test(client, unknown_topics_fail)
{
    struct bench *bench = bench_new(1, "topic.metadata.propagation.max.ms=50");
    struct weir_message message = {.value = weir_text("v")};
    cr_assert_eq(weir_produce(bench->producer, "nowhere", 0, &message), WEIR_OK);
    cr_assert_eq(weir_flush(bench->producer, WAIT_MS), WEIR_ERR_UNKNOWN_TOPIC_OR_PARTITION);
    cr_assert_eq(bench->reports.error, WEIR_ERR_UNKNOWN_TOPIC_OR_PARTITION);
    cr_assert(strstr(bench->reports.reason, "nowhere") != NULL);
    // A partition beyond the topic's is refused at once when that is known, else reported.
    cr_assert_eq(weir_produce(bench->producer, "t", MOCK_PARTITIONS, &message), WEIR_OK);
    cr_assert_eq(weir_flush(bench->producer, WAIT_MS), WEIR_ERR_UNKNOWN_TOPIC_OR_PARTITION);
    cr_assert_eq(weir_produce(bench->producer, "t", MOCK_PARTITIONS, &message),
                 WEIR_ERR_UNKNOWN_TOPIC_OR_PARTITION);
    bench_free(bench);
}

// A broker that has just made a topic may deny it for a while, even after it has shown it.
Test(client, a_topic_that_was_seen_is_waited_for)
{
    struct bench *bench =
        bench_new(1, "topic.metadata.propagation.max.ms=0 retry.backoff.max.ms=5");
    send_numbers(bench, 0, 0, 1);
    flush_ok(bench);
    mock_topic_hide(bench->mock, 20);
    send_numbers(bench, 0, 1, 10);
    flush_ok(bench);
    cr_assert_str_eq(bench->reports.order, numbers(10));
    cr_assert_str_eq(stored(bench, 0), numbers(10));
    bench_free(bench);
}

Test(client, errors_that_repeating_cannot_cure_are_reported)
{
    struct bench *bench = bench_new(1, "");
    mock_fault(bench->mock,
               (struct mock_fault){KP_PRODUCE_KEY, 0, 1, MOCK_ERROR, KP_ERROR_POLICY_VIOLATION});
    send_numbers(bench, 0, 0, 2);
    cr_assert_eq(weir_flush(bench->producer, WAIT_MS), WEIR_ERR_POLICY_VIOLATION);
    cr_assert_eq(bench->reports.failed, 2);
    cr_assert(strstr(bench->reports.reason, "POLICY_VIOLATION") != NULL);
    cr_assert(strstr(bench->reports.reason, "partition 0") != NULL);
    cr_assert_eq(mock_requests(bench->mock, KP_PRODUCE_KEY), 1);
    send_numbers(bench, 0, 2, 3);
    flush_ok(bench);
    cr_assert_str_eq(stored(bench, 0), "2");
    bench_free(bench);
}

Test(client, messages_expire)
{
    struct bench *bench = bench_new(1, "delivery.timeout.ms=3000");
    mock_fault(bench->mock, (struct mock_fault){KP_PRODUCE_KEY, 0, 1 << 20, MOCK_ERROR,
                                                KP_ERROR_NOT_ENOUGH_REPLICAS});
    send_numbers(bench, 0, 0, 2);
    cr_assert_neq(weir_flush(bench->producer, WAIT_MS), WEIR_OK);
    cr_assert_eq(bench->reports.failed, 2);
    cr_assert(strstr(bench->reports.reason, "NOT_ENOUGH_REPLICAS") != NULL, "%s",
              bench->reports.reason);
    bench_free(bench);
}

Test(client, messages_expire_without_a_broker)
{
    struct mock *mock = mock_new(1);
    char brokers[64];
    snprintf(brokers, sizeof(brokers), "%s", mock_brokers(mock));
    mock_free(mock); // nobody listens there any more
    struct weir_config *config = config_new("delivery.timeout.ms=60");
    struct weir_client *client = weir_client_new(brokers, config);
    struct weir_producer *producer = weir_producer_new(client, config);
    struct reports reports = {0};
    weir_producer_on_delivery(producer, delivered, &reports);
    struct weir_message message = {.value = weir_text("v")};
    cr_assert_eq(weir_produce(producer, "t", 0, &message), WEIR_OK);
    cr_assert_eq(weir_flush(producer, WAIT_MS), WEIR_ERR_TIMED_OUT);
    cr_assert_eq(reports.error, WEIR_ERR_TIMED_OUT);
    cr_assert_not_null(weir_trouble(client));
    weir_producer_free(producer);
    weir_client_free(client);
    weir_config_free(config);
}

Test(client, memory_is_bounded)
{
    struct bench *bench = bench_new(1, "buffer.memory=16k message.max.bytes=4k");
    char value[1000];
    memset(value, 'x', sizeof(value));
    struct weir_message message = {.value = weir_bytes_of(value, sizeof(value))};
    int accepted = 0;
    int error;
    while ((error = weir_produce(bench->producer, "t", 0, &message)) == WEIR_OK)
        accepted++;
    cr_assert_eq(error, WEIR_ERR_QUEUE_FULL);
    cr_assert(accepted >= 12 && accepted <= 16);
    flush_ok(bench);
    cr_assert_eq(bench->reports.count, accepted);
    cr_assert_eq(weir_produce(bench->producer, "t", 0, &message), WEIR_OK);
    char large[5000] = {0};
    struct weir_message too_large = {.value = weir_bytes_of(large, sizeof(large))};
    cr_assert_eq(weir_produce(bench->producer, "t", 0, &too_large), WEIR_ERR_TOO_LARGE);
    flush_ok(bench);
    bench_free(bench);
}

Test(client, records_larger_than_a_batch_get_their_own)
{
    struct bench *bench = bench_new(1, "batch.size=1k message.max.bytes=1m");
    char *value = calloc(1, 100000);
    for (int i = 0; i < 3; i++) {
        struct weir_message message = {.value = weir_bytes_of(value, 100000)};
        cr_assert_eq(send_number(bench, 0, i), WEIR_OK);
        cr_assert_eq(weir_produce(bench->producer, "t", 0, &message), WEIR_OK);
    }
    flush_ok(bench);
    cr_assert_eq(bench->reports.count, 6);
    cr_assert_eq(bench->mock->logs[0].next, 6);
    free(value);
    bench_free(bench);
}

Test(client, without_acks_sending_is_delivery)
{
    struct bench *bench = bench_new(1, "acks=0");
    send_numbers(bench, 0, 0, 10);
    flush_ok(bench);
    cr_assert_eq(bench->reports.count, 10);
    cr_assert_eq(bench->reports.failed, 0);
    cr_assert_eq(bench->reports.offsets[9], -1);
    // The connection is in order, so what comes back on it comes after the messages were read.
    struct weir_topic_list *list;
    const char *name = "t";
    cr_assert_eq(weir_describe_topics(bench->client, &name, 1, &list, WAIT_MS), WEIR_OK);
    weir_topic_list_free(list);
    cr_assert_str_eq(stored(bench, 0), numbers(10));
    bench_free(bench);
}

Test(client, freeing_reports_what_is_abandoned)
{
    struct bench *bench = bench_new(1, "");
    mock_fault(bench->mock, (struct mock_fault){KP_PRODUCE_KEY, 0, 100, MOCK_SILENT, 0});
    send_numbers(bench, 0, 0, 3); // one batch in flight
    cr_assert_eq(weir_flush(bench->producer, 100), WEIR_ERR_TIMED_OUT);
    send_numbers(bench, 0, 3, 5); // one open
    struct weir_message message = {.value = weir_text("v")};
    cr_assert_eq(weir_produce(bench->producer, "unheard-of", 0, &message), WEIR_OK); // one unplaced
    weir_producer_free(bench->producer);
    bench->producer = NULL;
    cr_assert_eq(bench->reports.count, 6);
    cr_assert_eq(bench->reports.failed, 6);
    cr_assert_eq(bench->reports.error, WEIR_ERR_ABANDONED);
    bench_free(bench);
}

static void flush_inside(void *context, const struct weir_delivery *delivery)
{
    struct bench *bench = context;
    (void)delivery;
    cr_assert_eq(weir_flush(bench->producer, 0), WEIR_ERR_BUSY);
    cr_assert_eq(weir_poll(bench->client, 0), WEIR_ERR_BUSY);
    if (bench->reports.count++ == 0)
        cr_assert_eq(send_number(bench, 1, 7), WEIR_OK, "producing from a callback is allowed");
}

Test(client, callbacks_may_produce_but_not_wait)
{
    struct bench *bench = bench_new(1, "");
    weir_producer_on_delivery(bench->producer, flush_inside, bench);
    send_numbers(bench, 0, 0, 1);
    flush_ok(bench);
    cr_assert_eq(bench->reports.count, 2);
    cr_assert_str_eq(stored(bench, 1), "7");
    bench_free(bench);
}

Test(client, keys_choose_partitions_and_others_take_turns)
{
    struct bench *bench = bench_new(1, "");
    struct weir_message keyed = {.key = weir_text("foobar"), .value = weir_text("k")};
    cr_assert_eq(weir_produce(bench->producer, "t", WEIR_ANY_PARTITION, &keyed), WEIR_OK);
    flush_ok(bench);
    int32_t expected = (-790332482 & INT32_MAX) % MOCK_PARTITIONS; // murmur2 of the key
    cr_assert_str_eq(stored(bench, expected), "k");
    for (int i = 0; i < 40; i++) {
        cr_assert_eq(send_number(bench, WEIR_ANY_PARTITION, i), WEIR_OK);
        flush_ok(bench);
    }
    int used = 0;
    for (int p = 0; p < MOCK_PARTITIONS; p++)
        used += bench->mock->logs[p].next > 0;
    cr_assert(used >= 2, "batches without keys must not all go to one partition");
    bench_free(bench);
}

Test(client, many_partitions_share_requests)
{
    struct bench *bench = bench_new(1, "linger.ms=1000");
    for (int i = 0; i < 40; i++)
        cr_assert_eq(send_number(bench, i % MOCK_PARTITIONS, i), WEIR_OK);
    flush_ok(bench);
    cr_assert_eq(mock_requests(bench->mock, KP_PRODUCE_KEY), 1);
    cr_assert_str_eq(stored(bench, 1), "1 5 9 13 17 21 25 29 33 37");
    bench_free(bench);
}

Test(client, impossible_messages_are_refused)
{
    struct bench *bench = bench_new(1, "");
    struct weir_message message = {.value = weir_text("v")};
    char name[300];
    memset(name, 'n', sizeof(name));
    name[299] = '\0';
    cr_assert_eq(weir_produce(bench->producer, "", 0, &message), WEIR_ERR_BAD_ARGUMENT);
    cr_assert_eq(weir_produce(bench->producer, NULL, 0, &message), WEIR_ERR_BAD_ARGUMENT);
    cr_assert_eq(weir_produce(bench->producer, name, 0, &message), WEIR_ERR_BAD_ARGUMENT);
    cr_assert_eq(weir_produce(bench->producer, "t", -2, &message), WEIR_ERR_BAD_ARGUMENT);
    cr_assert_eq(weir_produce(bench->producer, "t", 0, NULL), WEIR_ERR_BAD_ARGUMENT);
    message.timestamp = -5;
    cr_assert_eq(weir_produce(bench->producer, "t", 0, &message), WEIR_ERR_BAD_ARGUMENT);
    cr_assert_eq(weir_producer_queued(bench->producer), 0);
    bench_free(bench);
}

Test(client, the_first_address_that_answers_is_used)
{
    struct mock *mock = mock_new(1);
    struct mock *gone = mock_new(1);
    char brokers[256];
    snprintf(brokers, sizeof(brokers), "127.0.0.1:%d,localhost:%d,127.0.0.1:%d", gone->ports[0],
             gone->ports[1], mock->ports[0]);
    mock_free(gone);
    struct weir_config *config = config_new("");
    struct weir_client *client = weir_client_new(brokers, config);
    struct weir_producer *producer = weir_producer_new(client, config);
    struct weir_message message = {.value = weir_text("v")};
    char text[16];
    cr_assert_eq(weir_produce(producer, "t", 0, &message), WEIR_OK);
    cr_assert_eq(weir_flush(producer, WAIT_MS), WEIR_OK, "%s", weir_last_error(client));
    cr_assert_str_eq(mock_values(mock, 0, text, sizeof(text)), "v");
    weir_producer_free(producer);
    weir_client_free(client);
    weir_config_free(config);
    mock_free(mock);
}

// A host name is looked up, and all the addresses it stands for are tried.
Test(client, host_names_are_looked_up)
{
    struct mock *mock = mock_new(1);
    char brokers[64];
    snprintf(brokers, sizeof(brokers), "localhost:%d", mock->ports[0]);
    struct weir_config *config = config_new("");
    struct weir_client *client = weir_client_new(brokers, config);
    struct weir_topic_list *list;
    cr_assert_eq(weir_describe_topics(client, NULL, 0, &list, WAIT_MS), WEIR_OK, "%s",
                 weir_last_error(client));
    weir_topic_list_free(list);
    weir_client_free(client);
    client = weir_client_new("no-such-host.invalid", config);
    // On a busy machine even the attempt may come too late.
    int error = WEIR_ERR_TIMED_OUT;
    for (int limit_ms = 100; error == WEIR_ERR_TIMED_OUT && limit_ms <= WAIT_MS; limit_ms *= 4)
        error = weir_describe_topics(client, NULL, 0, &list, limit_ms);
    cr_assert_eq(error, WEIR_ERR_RESOLVE, "%s", weir_last_error(client));
    cr_assert(strstr(weir_last_error(client), "no-such-host.invalid") != NULL);
    weir_client_free(client);
    weir_config_free(config);
    mock_free(mock);
}

// ------------------------------------------------------------------------------- too large

// Batches of all sizes, of which the broker takes only small ones.
static void too_large(const char *settings)
{
    enum { COUNT = 3000 };
    struct bench *bench = bench_new(1, settings);
    bench->mock->batch_max = 200;
    for (int i = 0; i < COUNT; i += 500) {
        send_numbers(bench, 0, i, i + 500);
        weir_poll(bench->client, 0);
    }
    flush_ok(bench);
    cr_assert_eq(bench->reports.count, COUNT);
    cr_assert_str_eq(bench->reports.order, numbers(COUNT));
    cr_assert_str_eq(stored(bench, 0), numbers(COUNT));
    for (int i = 0; i < COUNT; i++)
        cr_assert_eq(bench->reports.offsets[i], i);
    struct weir_producer_statistics stats;
    weir_producer_stats(bench->producer, &stats);
    cr_assert_eq(stats.delivered, COUNT);
    cr_assert_eq(stats.buffered_bytes, 0);
    cr_assert_eq(stats.renumberings, 0);
    // Later batches are small from the start.
    int before = mock_requests(bench->mock, KP_PRODUCE_KEY);
    send_numbers(bench, 0, COUNT, COUNT + 5);
    flush_ok(bench);
    cr_assert_leq(mock_requests(bench->mock, KP_PRODUCE_KEY), before + 5);
    bench_free(bench);
}

Test(client, batches_that_are_too_large_are_split)
{
    too_large("");
    too_large("compression.type=lz4");
    too_large("enable.idempotence=false");
    too_large("retries=0 linger.ms=1 batch.size=3k");
    too_large("max.in.flight.per.partition=5 batch.size=1k");
}

Test(client, a_message_that_is_too_large_fails_alone)
{
    struct bench *bench = bench_new(1, "");
    char value[1000];
    bench->mock->batch_max = 500;
    memset(value, 'x', sizeof(value));
    struct weir_header header = {weir_text("h"), weir_text("v")};
    struct weir_message message = {.value = weir_bytes_of(value, sizeof(value)),
                                   .headers = &header,
                                   .header_count = 1,
                                   .opaque = (void *)(intptr_t)-1};
    send_numbers(bench, 0, 0, 20);
    cr_assert_eq(weir_produce(bench->producer, "t", 0, &message), WEIR_OK);
    send_numbers(bench, 0, 20, 40);
    cr_assert_eq(weir_flush(bench->producer, WAIT_MS), WEIR_ERR_MESSAGE_TOO_LARGE);
    cr_assert_eq(bench->reports.count, 41);
    cr_assert_eq(bench->reports.failed, 1);
    cr_assert_eq(bench->reports.error, WEIR_ERR_MESSAGE_TOO_LARGE);
    cr_assert_str_eq(bench->reports.order, numbers(40));
    cr_assert_str_eq(stored(bench, 0), numbers(40));
    bench_free(bench);
}

// ------------------------------------------------------------------------------- further callbacks

static void partition_note(void *context, const struct weir_delivery *delivery)
{
    cr_assert_neq(delivery->error, WEIR_OK);
    *(int32_t *)context = delivery->partition;
}

static void batch_partition_note(void *context, const struct weir_batch_delivery *delivery)
{
    *(int32_t *)context = delivery->partition;
}

Test(client, a_message_that_never_got_a_partition_is_reported_without_one)
{
    struct mock *mock = mock_new(1);
    struct weir_config *config = config_new("topic.metadata.propagation.max.ms=20");
    struct weir_client *client = weir_client_new(mock_brokers(mock), config);
    struct weir_producer *producer = weir_producer_new(client, config);
    int32_t reported = 7, reported_batch = 7;
    weir_producer_on_delivery(producer, partition_note, &reported);
    weir_producer_on_batch(producer, batch_partition_note, &reported_batch);
    struct weir_message message = {.value = weir_text("v")};
    cr_assert_eq(weir_produce(producer, "missing", WEIR_ANY_PARTITION, &message), WEIR_OK);
    cr_assert_eq(weir_flush(producer, WAIT_MS), WEIR_ERR_UNKNOWN_TOPIC_OR_PARTITION);
    cr_assert_eq(reported, WEIR_ANY_PARTITION);
    cr_assert_eq(reported_batch, WEIR_ANY_PARTITION);
    cr_assert_eq(weir_produce(producer, "missing", 2, &message), WEIR_OK);
    cr_assert_eq(weir_flush(producer, WAIT_MS), WEIR_ERR_UNKNOWN_TOPIC_OR_PARTITION);
    cr_assert_eq(reported, 2);
    weir_producer_free(producer);
    weir_client_free(client);
    weir_config_free(config);
    mock_free(mock);
}

struct batches {
    int count;
    size_t messages;
    int64_t next;
    int error;
    char order[TEXT_SIZE];
};

static void batch_delivered(void *context, const struct weir_batch_delivery *delivery)
{
    struct batches *batches = context;
    batches->count++;
    batches->messages += delivery->count;
    batches->error = delivery->error;
    cr_assert_str_eq(delivery->topic, "t");
    cr_assert_eq(delivery->reason == NULL, delivery->error == WEIR_OK);
    cr_assert_eq(delivery->offset, delivery->error ? -1 : batches->next);
    batches->next += delivery->error ? 0 : (int64_t)delivery->count;
    for (size_t i = 0; i < delivery->count; i++) {
        size_t used = strlen(batches->order);
        snprintf(batches->order + used, sizeof(batches->order) - used, "%s%d", used ? " " : "",
                 (int)(intptr_t)delivery->opaques[i]);
    }
}

Test(client, batches_are_reported_as_a_whole)
{
    struct bench *bench = bench_new(1, "batch.size=300");
    struct batches batches = {0};
    weir_producer_on_batch(bench->producer, batch_delivered, &batches);
    weir_producer_on_delivery(bench->producer, NULL, NULL);
    send_numbers(bench, 0, 0, 100);
    flush_ok(bench);
    cr_assert_eq(batches.messages, 100);
    cr_assert_gt(batches.count, 1);
    cr_assert_lt(batches.count, 50);
    cr_assert_str_eq(batches.order, numbers(100));
    cr_assert_eq(batches.error, WEIR_OK);
    bench_free(bench);
}

Test(client, both_reports_may_be_wanted)
{
    struct bench *bench = bench_new(1, "");
    struct batches batches = {0};
    weir_producer_on_batch(bench->producer, batch_delivered, &batches);
    send_numbers(bench, 1, 0, 10);
    flush_ok(bench);
    cr_assert_str_eq(batches.order, numbers(10));
    cr_assert_str_eq(bench->reports.order, numbers(10));
    bench_free(bench);
}

Test(client, what_waits_can_be_purged)
{
    struct bench *bench = bench_new(1, "linger.ms=60000");
    send_numbers(bench, 0, 0, 5);
    cr_assert_eq(weir_purge(bench->producer), 5); // before the topic's partitions are known
    weir_poll(bench->client, 0);
    cr_assert_eq(bench->reports.failed, 5);
    cr_assert_eq(bench->reports.error, WEIR_ERR_PURGED);
    cr_assert_eq(weir_producer_queued(bench->producer), 0);
    cr_assert_eq(weir_flush(bench->producer, WAIT_MS), WEIR_ERR_PURGED);
    send_numbers(bench, 0, 5, 6);
    flush_ok(bench);
    send_numbers(bench, 0, 6, 9);
    cr_assert_eq(weir_purge(bench->producer), 3);
    cr_assert_eq(weir_purge(bench->producer), 0);
    cr_assert_eq(weir_flush(bench->producer, WAIT_MS), WEIR_ERR_PURGED);
    send_numbers(bench, 0, 9, 11);
    flush_ok(bench);
    cr_assert_str_eq(stored(bench, 0), "5 9 10");
    bench_free(bench);
}

static int32_t by_first_byte(void *context, const char *topic, const struct weir_message *message,
                             int32_t count)
{
    (*(int *)context)++;
    cr_assert_str_eq(topic, "t");
    cr_assert_eq(count, MOCK_PARTITIONS);
    const char *value = message->value.data;
    return value[0] == '9' ? count : value[0] == '8' ? WEIR_ANY_PARTITION : value[0] - '0';
}

Test(client, the_application_may_choose_partitions)
{
    struct bench *bench = bench_new(1, "");
    int asked = 0;
    weir_producer_on_partition(bench->producer, by_first_byte, &asked);
    send_numbers(bench, WEIR_ANY_PARTITION, 0, 3); // placed when the partitions are known
    flush_ok(bench);
    send_numbers(bench, WEIR_ANY_PARTITION, 3, 4);
    send_numbers(bench, WEIR_ANY_PARTITION, 8, 9);
    send_numbers(bench, 2, 10, 11);
    cr_assert_eq(send_number(bench, WEIR_ANY_PARTITION, 9), WEIR_ERR_BAD_ARGUMENT);
    flush_ok(bench);
    cr_assert_eq(asked, 6);
    cr_assert(stored(bench, 0)[0] == '0');
    cr_assert(stored(bench, 1)[0] == '1');
    cr_assert(stored(bench, 2)[0] == '2' && strstr(stored(bench, 2), "10"));
    cr_assert(stored(bench, 3)[0] == '3');
    cr_assert_eq(bench->reports.count, 6);
    bench_free(bench);
}

Test(client, a_partition_that_does_not_exist_fails_the_message)
{
    struct bench *bench = bench_new(1, "");
    int asked = 0;
    weir_producer_on_partition(bench->producer, by_first_byte, &asked);
    send_numbers(bench, WEIR_ANY_PARTITION, 9, 10);
    cr_assert_eq(weir_flush(bench->producer, WAIT_MS), WEIR_ERR_BAD_ARGUMENT);
    cr_assert_eq(bench->reports.failed, 1);
    bench_free(bench);
}

Test(client, keyless_messages_are_spread_fairly)
{
    struct bench *bench = bench_new(1, "batch.size=300");
    for (int i = 0; i < 4000; i += 100) {
        send_numbers(bench, WEIR_ANY_PARTITION, i, i + 100);
        weir_poll(bench->client, 0);
    }
    flush_ok(bench);
    for (int p = 0; p < MOCK_PARTITIONS; p++) {
        cr_assert_gt(bench->mock->logs[p].next, 600, "partition %d: %d", p,
                     (int)bench->mock->logs[p].next);
        cr_assert_lt(bench->mock->logs[p].next, 1600);
    }
    bench_free(bench);
}

Test(client, statistics_count_what_happens)
{
    struct bench *bench = bench_new(1, "");
    mock_fault(bench->mock, (struct mock_fault){KP_PRODUCE_KEY, 0, 1, MOCK_CLOSE, 0});
    send_numbers(bench, 0, 0, 10);
    struct weir_producer_statistics stats;
    weir_producer_stats(bench->producer, &stats);
    cr_assert_eq(stats.messages, 10);
    cr_assert_eq(stats.queued, 10);
    cr_assert_gt(stats.buffered_bytes, 10);
    cr_assert_eq(stats.producer_id, -1);
    flush_ok(bench);
    mock_fault(bench->mock,
               (struct mock_fault){KP_PRODUCE_KEY, 0, 1, MOCK_ERROR, KP_ERROR_MESSAGE_TOO_LARGE});
    send_numbers(bench, 0, 10, 11);
    weir_flush(bench->producer, WAIT_MS);
    weir_producer_stats(bench->producer, &stats);
    cr_assert_eq(stats.messages, 11);
    cr_assert_eq(stats.delivered, 10);
    cr_assert_eq(stats.failed, 1);
    cr_assert_eq(stats.batches, 2);
    cr_assert_eq(stats.repeats, 1);
    cr_assert_eq(stats.queued, 0);
    cr_assert_eq(stats.buffered_bytes, 0);
    cr_assert_gt(stats.producer_id, 0);
    struct weir_client_statistics client;
    weir_client_stats(bench->client, &client);
    cr_assert_geq(client.connects, 2);
    cr_assert_eq(client.connection_fails, 1);
    cr_assert_eq(client.connections, 2); // the address that was given, and the broker by its id
    cr_assert_eq(client.requests, client.responses + 1);
    cr_assert_eq(client.in_flight, 0);
    cr_assert_gt(client.bytes_sent, stats.batch_bytes);
    cr_assert_gt(client.bytes_received, 100);
    bench_free(bench);
}

static void logged(void *context, enum weir_log_level level, const char *sentence)
{
    char *all = context;
    size_t used = strlen(all);
    snprintf(all + used, TEXT_SIZE - used, "%d %s\n", (int)level, sentence);
}

Test(client, the_log_tells_what_happens)
{
    static char all[TEXT_SIZE];
    struct bench *bench = bench_new(1, "");
    weir_client_on_log(bench->client, WEIR_LOG_INFO, logged, all);
    mock_fault(bench->mock, (struct mock_fault){KP_PRODUCE_KEY, 0, 1, MOCK_CLOSE, 0});
    send_numbers(bench, 0, 0, 1);
    flush_ok(bench);
    cr_assert(strstr(all, "6 connected to 127.0.0.1:") != NULL, "%s", all);
    cr_assert(strstr(all, "closed the connection") != NULL, "%s", all);
    weir_client_on_log(bench->client, WEIR_LOG_WARNING, logged, all);
    all[0] = '\0';
    mock_fault(bench->mock, (struct mock_fault){KP_PRODUCE_KEY, 0, 1, MOCK_CLOSE, 0});
    send_numbers(bench, 0, 1, 2);
    flush_ok(bench);
    cr_assert(strstr(all, "4 ") == all && !strstr(all, "6 "), "%s", all);
    bench_free(bench);
}
