// SPDX-License-Identifier: Apache-2.0
// When batches that are not full are sent, and when they wait for each other and fill.
#include "tests/unit/client_bench.h"

// A request takes 4 KiB of them, a thirty-second of the memory. Answers that are missing stay so.
static const char settings[] =
    "buffer.memory=128k message.max.bytes=16k request.timeout.ms=600000 delivery.timeout.ms=600000";

static void send_sized(struct bench *bench, int32_t partition, size_t size)
{
    static const char value[8192];
    struct weir_message message = {.value = weir_bytes_of(value, size)};
    cr_assert_eq(weir_produce(bench->producer, "t", partition, &message), WEIR_OK, "%s",
                 weir_last_error(bench->client));
}

static uint64_t batches_sent(const struct bench *bench)
{
    struct weir_producer_statistics stats;
    weir_producer_stats(bench->producer, &stats);
    return stats.batches;
}

static void poll_until_sent(struct bench *bench, uint64_t batches)
{
    for (int left_ms = WAIT_MS; batches_sent(bench) < batches && left_ms > 0; left_ms -= 10)
        cr_assert_eq(weir_poll(bench->client, 10), WEIR_OK);
    cr_assert_eq(batches_sent(bench), batches);
}

static void poll_a_few_times(struct bench *bench)
{
    for (int i = 0; i < 5; i++)
        cr_assert_eq(weir_poll(bench->client, 0), WEIR_OK);
}

// A bench whose broker has stored one message in each partition and answers nothing any more.
static struct bench *bench_unanswered(void)
{
    struct bench *bench = bench_new(1, settings);
    for (int32_t p = 0; p < MOCK_PARTITIONS; p++)
        send_sized(bench, p, 1);
    flush_ok(bench);
    mock_fault(bench->mock, (struct mock_fault){KP_PRODUCE_KEY, 0, 100, MOCK_SILENT, 0});
    return bench;
}

Test(client, a_small_batch_waits_for_none_of_another_partition)
{
    struct bench *bench = bench_unanswered();
    uint64_t before = batches_sent(bench);
    for (int32_t p = 0; p < MOCK_PARTITIONS; p++) {
        send_sized(bench, p, 500);
        poll_until_sent(bench, before + (uint64_t)p + 1);
    }
    bench_free(bench);
}

Test(client, batches_that_are_not_full_wait_while_much_of_them_is_in_flight)
{
    struct bench *bench = bench_unanswered();
    uint64_t before = batches_sent(bench);
    send_sized(bench, 0, 5000);
    poll_until_sent(bench, before + 1);
    send_sized(bench, 1, 500);
    send_sized(bench, 2, 500);
    poll_a_few_times(bench);
    send_sized(bench, 1, 500);
    poll_a_few_times(bench);
    cr_assert_eq(batches_sent(bench), before + 1);
    // Waiting does not make them fuller when no message is to come.
    cr_assert_eq(weir_flush(bench->producer, 0), WEIR_ERR_TIMED_OUT);
    poll_until_sent(bench, before + 3);
    bench_free(bench);
}

Test(client, an_answer_sends_the_batches_that_waited)
{
    struct bench *bench = bench_new(1, settings);
    for (int round = 0; round < 50; round++) {
        for (int32_t p = 0; p < MOCK_PARTITIONS; p++)
            send_sized(bench, p, 2500);
        cr_assert_eq(weir_poll(bench->client, 0), WEIR_OK);
        for (int left_ms = WAIT_MS; weir_producer_queued(bench->producer) > 8 && left_ms > 0;
             left_ms -= 10)
            cr_assert_eq(weir_poll(bench->client, 10), WEIR_OK);
        cr_assert_leq(weir_producer_queued(bench->producer), 8);
    }
    flush_ok(bench);
    cr_assert_eq(bench->reports.count, 50 * MOCK_PARTITIONS);
    cr_assert_eq(bench->reports.failed, 0);
    bench_free(bench);
}

// What a program that keeps its memory full sends: few batches under way, the others filling.
Test(client, a_request_takes_a_bounded_part_of_batches_that_are_not_full)
{
    struct bench *bench = bench_unanswered();
    uint64_t before = batches_sent(bench);
    int requests = mock_requests(bench->mock, KP_PRODUCE_KEY);
    for (int32_t p = 0; p < MOCK_PARTITIONS; p++)
        send_sized(bench, p, 1800);
    // Two fit into a request, which is then less than full, and so another one is sent.
    poll_until_sent(bench, before + 4);
    for (int left_ms = WAIT_MS;
         mock_requests(bench->mock, KP_PRODUCE_KEY) < requests + 2 && left_ms > 0; left_ms -= 10)
        cr_assert_eq(weir_poll(bench->client, 10), WEIR_OK);
    cr_assert_eq(mock_requests(bench->mock, KP_PRODUCE_KEY), requests + 2);
    bench_free(bench);
}
