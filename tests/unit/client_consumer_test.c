// SPDX-License-Identifier: Apache-2.0
// The consumer, and the calls that wait, against a broker that misbehaves.
#include <criterion/criterion.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clients/c/weir.h"
#include "gen/kp_consumer_group_heartbeat.h"
#include "gen/kp_fetch.h"
#include "gen/kp_find_coordinator.h"
#include "gen/kp_join_group.h"
#include "gen/kp_list_offsets.h"
#include "gen/kp_metadata.h"
#include "gen/kp_offset_commit.h"
#include "gen/kp_offset_fetch.h"
#include "gen/kp_produce.h"
#include "protocol/error.h"
#include "tests/unit/client_mock.h"

enum { WAIT_MS = 60000 };

struct bench {
    struct mock *mock;
    struct weir_client *client;
    struct weir_consumer *consumer;
};

static struct weir_config *config_new(const char *settings)
{
    struct weir_config *config = weir_config_new();
    char *copy = strdup(settings);
    char *rest = NULL;
    weir_config_set(config, "retry.backoff.ms", "1");
    weir_config_set(config, "reconnect.backoff.ms", "1");
    weir_config_set(config, "group.id", "g");
    weir_config_set(config, "auto.offset.reset", "earliest");
    for (char *at = strtok_r(copy, " ", &rest); at; at = strtok_r(NULL, " ", &rest)) {
        char *value = strchr(at, '=');
        *value++ = '\0';
        cr_assert_eq(weir_config_set(config, at, value), WEIR_OK, "%s", weir_config_error(config));
    }
    free(copy);
    return config;
}

static struct bench *bench_new(int nodes, const char *settings)
{
    struct bench *bench = calloc(1, sizeof(*bench));
    struct weir_config *config = config_new(settings);
    bench->mock = mock_new(nodes);
    bench->client = weir_client_new(mock_brokers(bench->mock), config);
    bench->consumer = weir_consumer_new(bench->client, config);
    weir_config_free(config);
    return bench;
}

static void bench_free(struct bench *bench)
{
    weir_consumer_free(bench->consumer);
    weir_client_free(bench->client);
    mock_free(bench->mock);
    free(bench);
}

// Stores 0..count-1 as values, `per_batch` to a batch.
static void fill(struct bench *bench, int32_t partition, int count, int per_batch,
                 const char *settings)
{
    struct weir_config *config = config_new(settings);
    struct weir_producer *producer = weir_producer_new(bench->client, config);
    for (int i = 0; i < count; i++) {
        char value[16];
        snprintf(value, sizeof(value), "%d", i);
        struct weir_header headers[] = {{weir_text("h"), weir_text(value)}};
        struct weir_message message = {.key = weir_text("key"),
                                       .value = weir_text(value),
                                       .headers = headers,
                                       .header_count = 1,
                                       .timestamp = 1000 + i};
        cr_assert_eq(weir_produce(producer, "t", partition, &message), WEIR_OK);
        if ((i + 1) % per_batch == 0)
            cr_assert_eq(weir_flush(producer, WAIT_MS), WEIR_OK);
    }
    cr_assert_eq(weir_flush(producer, WAIT_MS), WEIR_OK);
    weir_producer_free(producer);
    weir_config_free(config);
}

static void assign(struct bench *bench, int32_t partition, int64_t offset)
{
    cr_assert_eq(weir_consumer_assign(bench->consumer, "t", partition, offset), WEIR_OK, "%s",
                 weir_last_error(bench->client));
}

// Reads the next `count` records of the only partition and checks that they are from..from+count-1.
static void expect(struct bench *bench, int from, int count)
{
    for (int i = from; i < from + count;) {
        struct weir_record record;
        cr_assert_eq(weir_consumer_poll(bench->consumer, WAIT_MS), WEIR_OK, "%s",
                     weir_last_error(bench->client));
        while (i < from + count && weir_consumer_next(bench->consumer, &record)) {
            char value[16];
            snprintf(value, sizeof(value), "%d", i);
            cr_assert_eq(record.offset, i);
            cr_assert_eq(record.timestamp, 1000 + i);
            cr_assert_eq(record.value.size, strlen(value));
            cr_assert_eq(memcmp(record.value.data, value, record.value.size), 0);
            cr_assert_eq(memcmp(record.key.data, "key", 3), 0);
            struct weir_header header;
            size_t at = 0;
            cr_assert(weir_record_header(&record, &at, &header));
            cr_assert_eq(memcmp(header.value.data, value, header.value.size), 0);
            cr_assert_not(weir_record_header(&record, &at, &header));
            i++;
        }
    }
}

// Polls until the partition's error comes.
static int error_of_poll(struct bench *bench)
{
    return weir_consumer_poll(bench->consumer, WAIT_MS);
}

static int64_t position(struct bench *bench, int32_t partition)
{
    int64_t value = -99;
    cr_assert_eq(weir_consumer_position(bench->consumer, "t", partition, &value), WEIR_OK);
    return value;
}

Test(client, records_come_back_as_they_were_sent)
{
    static const char *const codecs[] = {"none", "gzip", "snappy", "lz4", "zstd"};
    for (size_t i = 0; i < sizeof(codecs) / sizeof(codecs[0]); i++) {
        char settings[64];
        snprintf(settings, sizeof(settings), "compression.type=%s", codecs[i]);
        struct bench *bench = bench_new(1, "");
        fill(bench, 0, 500, 100, settings);
        assign(bench, 0, WEIR_BEGINNING);
        expect(bench, 0, 500);
        cr_assert_eq(position(bench, 0), 500);
        bench_free(bench);
    }
}

Test(client, reading_may_start_in_the_middle_of_a_batch)
{
    struct bench *bench = bench_new(1, "");
    fill(bench, 0, 100, 50, "");
    assign(bench, 0, 77);
    expect(bench, 77, 23);
    bench_free(bench);
}

Test(client, the_end_is_where_new_records_come)
{
    struct bench *bench = bench_new(1, "");
    fill(bench, 0, 10, 10, "");
    assign(bench, 0, WEIR_END);
    for (int i = 0; i < WAIT_MS / 50 && position(bench, 0) != 10; i++)
        cr_assert_eq(weir_consumer_poll(bench->consumer, 50), WEIR_OK);
    struct weir_record record;
    cr_assert_not(weir_consumer_next(bench->consumer, &record));
    cr_assert_eq(position(bench, 0), 10);
    bench_free(bench);
}

Test(client, small_fetches_are_put_together)
{
    // A limit below the size of a batch: one answer brings a batch at a time, or not even that
    // until more was asked for.
    for (int cut = 0; cut < 2; cut++) {
        struct bench *bench = bench_new(1, "max.partition.fetch.bytes=1024");
        bench->mock->cut = cut;
        fill(bench, 0, 1000, 250, "");
        assign(bench, 0, 0);
        expect(bench, 0, 1000);
        bench_free(bench);
    }
}

Test(client, fetching_survives_what_connections_do)
{
    static const struct mock_fault faults[] = {
        {KP_FETCH_KEY, 0, 2, MOCK_CLOSE, 0},
        {KP_FETCH_KEY, 1, 1, MOCK_HALF, 0},
        {KP_FETCH_KEY, 0, 1, MOCK_GARBAGE, 0},
        {KP_FETCH_KEY, 1, 1, MOCK_WRONG_ID, 0},
        {KP_FETCH_KEY, 0, 1, MOCK_HUGE, 0},
        {KP_FETCH_KEY, 1, 2, MOCK_ERROR, KP_ERROR_NOT_LEADER_OR_FOLLOWER},
        {KP_FETCH_KEY, 1, 2, MOCK_ERROR, KP_ERROR_FENCED_LEADER_EPOCH},
        {KP_FETCH_KEY, 1, 1, MOCK_MOVE_LEADER, 0},
        {KP_LIST_OFFSETS_KEY, 0, 2, MOCK_CLOSE, 0},
        {KP_LIST_OFFSETS_KEY, 0, 2, MOCK_ERROR, KP_ERROR_NOT_LEADER_OR_FOLLOWER},
    };
    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
        struct bench *bench = bench_new(2, "max.partition.fetch.bytes=2048");
        fill(bench, 0, 300, 30, "");
        mock_fault(bench->mock, faults[i]);
        assign(bench, 0, WEIR_BEGINNING);
        expect(bench, 0, 300);
        bench_free(bench);
    }
}

Test(client, unanswered_fetches_time_out)
{
    struct bench *bench = bench_new(1, "request.timeout.ms=500 fetch.max.wait.ms=50");
    fill(bench, 0, 10, 10, "");
    mock_fault(bench->mock, (struct mock_fault){KP_FETCH_KEY, 0, 1, MOCK_SILENT, 0});
    assign(bench, 0, 0);
    expect(bench, 0, 10);
    bench_free(bench);
}

Test(client, old_brokers_are_read_in_old_versions)
{
    struct bench *bench = bench_new(1, "");
    bench->mock->version_max[KP_FETCH_KEY] = 4;
    bench->mock->version_max[KP_LIST_OFFSETS_KEY] = 1;
    bench->mock->version_max[KP_OFFSET_FETCH_KEY] = 2;
    bench->mock->version_max[KP_FIND_COORDINATOR_KEY] = 0;
    fill(bench, 0, 100, 50, "");
    assign(bench, 0, WEIR_STORED);
    expect(bench, 0, 100);
    bench_free(bench);
}

Test(client, offsets_out_of_range_follow_the_policy)
{
    struct bench *bench = bench_new(1, "");
    fill(bench, 0, 20, 5, "");
    bench->mock->logs[0].low = 10;
    assign(bench, 0, 3);
    expect(bench, 10, 10);
    bench_free(bench);

    bench = bench_new(1, "auto.offset.reset=none");
    fill(bench, 0, 20, 5, "");
    assign(bench, 0, 21);
    assign(bench, 1, WEIR_STORED);
    int first = error_of_poll(bench);
    int second = error_of_poll(bench);
    cr_assert((first == WEIR_ERR_OFFSET_OUT_OF_RANGE && second == WEIR_ERR_NO_OFFSET) ||
              (first == WEIR_ERR_NO_OFFSET && second == WEIR_ERR_OFFSET_OUT_OF_RANGE));
    cr_assert_eq(weir_consumer_poll(bench->consumer, 20), WEIR_OK, "each is reported once");
    cr_assert_eq(weir_consumer_seek(bench->consumer, "t", 0, 15), WEIR_OK);
    expect(bench, 15, 5);
    bench_free(bench);
}

Test(client, damaged_batches_are_named_and_not_handed_out)
{
    struct bench *bench = bench_new(1, "");
    fill(bench, 0, 20, 10, "");
    bench->mock->logs[0].batches[1].data[BATCH_HEADER_SIZE + 5] ^= 0x40;
    assign(bench, 0, 0);
    expect(bench, 0, 10);
    struct weir_record record;
    int error;
    while ((error = weir_consumer_poll(bench->consumer, WAIT_MS)) == WEIR_OK)
        cr_assert_not(weir_consumer_next(bench->consumer, &record));
    cr_assert_eq(error, WEIR_ERR_CORRUPT);
    cr_assert(strstr(weir_last_error(bench->client), "offset 10") != NULL, "%s",
              weir_last_error(bench->client));
    cr_assert_eq(position(bench, 0), 10);
    bench_free(bench);
}

Test(client, damaged_batch_headers_are_named)
{
    struct bench *bench = bench_new(1, "");
    fill(bench, 0, 20, 10, "");
    bench->mock->logs[0].batches[1].data[16] = 1; // magic
    assign(bench, 0, 0);
    expect(bench, 0, 10);
    struct weir_record record;
    int error;
    while ((error = weir_consumer_poll(bench->consumer, WAIT_MS)) == WEIR_OK)
        cr_assert_not(weir_consumer_next(bench->consumer, &record));
    cr_assert_eq(error, WEIR_ERR_CORRUPT);
    bench_free(bench);
}

Test(client, seeking_pausing_and_unassigning)
{
    struct bench *bench = bench_new(1, "");
    struct weir_record record;
    fill(bench, 0, 100, 10, "");
    assign(bench, 0, 0);
    expect(bench, 0, 15);
    cr_assert_eq(weir_consumer_seek(bench->consumer, "t", 0, 50), WEIR_OK);
    cr_assert_not(weir_consumer_next(bench->consumer, &record), "what was fetched is dropped");
    expect(bench, 50, 15);
    cr_assert_eq(weir_consumer_pause(bench->consumer, "t", 0), WEIR_OK);
    cr_assert_eq(weir_consumer_poll(bench->consumer, 20), WEIR_OK);
    cr_assert_not(weir_consumer_next(bench->consumer, &record));
    cr_assert_eq(position(bench, 0), 65);
    cr_assert_eq(weir_consumer_resume(bench->consumer, "t", 0), WEIR_OK);
    expect(bench, 65, 35);
    cr_assert_eq(weir_consumer_unassign(bench->consumer, "t", 0), WEIR_OK);
    cr_assert_eq(weir_consumer_seek(bench->consumer, "t", 0, 0), WEIR_ERR_NOT_ASSIGNED);
    cr_assert_eq(weir_consumer_pause(bench->consumer, "t", 0), WEIR_ERR_NOT_ASSIGNED);
    assign(bench, 0, 90);
    expect(bench, 90, 10);
    bench_free(bench);
}

// Reads the next records of a partition, whichever they are; returns the first that is missing.
static int64_t take(struct bench *bench, int32_t partition, int64_t from, int most)
{
    struct weir_record record;
    for (int i = 0; i < most && weir_consumer_next(bench->consumer, &record); i++) {
        cr_assert_eq(record.partition, partition);
        cr_assert_eq(record.offset, from++);
    }
    return from;
}

// Pausing in the middle of a batch, of an answer with another partition, loses, doubles and fetches
// again nothing.
Test(client, what_was_fetched_of_a_paused_partition_is_kept)
{
    enum { COUNT = 600 };
    struct bench *bench = bench_new(1, "fetch.max.wait.ms=10");
    struct weir_consumer_statistics stats;
    uint64_t bytes[2];
    fill(bench, 0, COUNT, 50, "compression.type=lz4");
    fill(bench, 1, COUNT, 50, "");
    for (int paused = 0; paused < 2; paused++) {
        weir_consumer_stats(bench->consumer, &stats);
        uint64_t before = stats.fetched_bytes;
        int64_t next[2] = {0, 0};
        assign(bench, 0, 0);
        assign(bench, 1, 0);
        cr_assert_eq(weir_consumer_poll(bench->consumer, WAIT_MS), WEIR_OK);
        for (bool out = false; next[1] < COUNT;) {
            if (paused && !out && next[0] > 0) {
                cr_assert_eq(weir_consumer_pause(bench->consumer, "t", 0), WEIR_OK);
                out = true;
            }
            struct weir_record record;
            if (!weir_consumer_next(bench->consumer, &record)) {
                cr_assert_eq(weir_consumer_poll(bench->consumer, 50), WEIR_OK);
                continue;
            }
            cr_assert(record.partition == 1 || !out);
            cr_assert_eq(record.offset, next[record.partition]++);
        }
        if (paused) {
            weir_consumer_stats(bench->consumer, &stats);
            cr_assert_eq(stats.paused, 1);
            cr_assert_gt(stats.buffered_bytes, 0);
        }
        cr_assert_eq(weir_consumer_resume(bench->consumer, "t", 0), WEIR_OK);
        while (next[0] < COUNT) {
            cr_assert_eq(weir_consumer_poll(bench->consumer, WAIT_MS), WEIR_OK);
            next[0] = take(bench, 0, next[0], COUNT);
        }
        weir_consumer_stats(bench->consumer, &stats);
        bytes[paused] = stats.fetched_bytes - before;
    }
    cr_assert_lt(bytes[1] - bytes[0] / 2, bytes[0]);
    bench_free(bench);
}

// Resumed and paused again between any two records.
Test(client, pausing_at_random_keeps_the_order)
{
    enum { COUNT = 400 };
    struct random random = {.state = 7};
    struct bench *bench = bench_new(1, "fetch.max.wait.ms=5 max.partition.fetch.bytes=1k");
    int64_t next[MOCK_PARTITIONS] = {0};
    int64_t total = 0;
    for (int p = 0; p < MOCK_PARTITIONS; p++) {
        fill(bench, p, COUNT, 7 + p, p % 2 ? "compression.type=lz4" : "");
        assign(bench, p, 0);
    }
    while (total < (int64_t)COUNT * MOCK_PARTITIONS) {
        struct weir_record record;
        int32_t partition = (int32_t)random_below(&random, MOCK_PARTITIONS);
        switch (random_below(&random, 8)) {
        case 0:
            cr_assert_eq(weir_consumer_pause(bench->consumer, "t", partition), WEIR_OK);
            break;
        case 1:
        case 2:
            cr_assert_eq(weir_consumer_resume(bench->consumer, "t", partition), WEIR_OK);
            break;
        case 3:
            cr_assert_eq(weir_consumer_poll(bench->consumer, 2), WEIR_OK);
            break;
        default:
            for (int i = 0; i < 9 && weir_consumer_next(bench->consumer, &record); i++) {
                cr_assert_eq(record.offset, next[record.partition]++);
                total++;
            }
        }
    }
    bench_free(bench);
}

Test(client, several_partitions_are_read_fairly)
{
    struct bench *bench = bench_new(1, "fetch.max.bytes=4k max.partition.fetch.bytes=2k");
    int seen[MOCK_PARTITIONS] = {0};
    int total = 0;
    for (int p = 0; p < MOCK_PARTITIONS; p++) {
        fill(bench, p, 200, 20, "");
        assign(bench, p, WEIR_BEGINNING);
    }
    while (total < 200 * MOCK_PARTITIONS) {
        struct weir_record record;
        cr_assert_eq(weir_consumer_poll(bench->consumer, WAIT_MS), WEIR_OK);
        for (; weir_consumer_next(bench->consumer, &record); total++)
            cr_assert_eq(record.offset, seen[record.partition]++);
    }
    for (int p = 0; p < MOCK_PARTITIONS; p++)
        cr_assert_eq(seen[p], 200);
    int64_t low, high;
    cr_assert_eq(weir_consumer_watermarks(bench->consumer, "t", 2, &low, &high), WEIR_OK);
    cr_assert_eq(low, 0);
    cr_assert_eq(high, 200);
    bench_free(bench);
}

Test(client, records_stay_valid_until_the_next_poll)
{
    // Compressed batches: the records lie in memory that the consumer inflated.
    struct bench *bench = bench_new(1, "");
    fill(bench, 0, 300, 50, "compression.type=lz4");
    assign(bench, 0, 0);
    int taken = 0;
    while (taken < 300) {
        struct weir_record kept[300];
        int count = 0;
        cr_assert_eq(weir_consumer_poll(bench->consumer, WAIT_MS), WEIR_OK);
        while (count < 70 && weir_consumer_next(bench->consumer, &kept[count]))
            count++;
        for (int i = 0; i < count; i++) {
            char value[16];
            snprintf(value, sizeof(value), "%d", taken + i);
            cr_assert_eq(memcmp(kept[i].value.data, value, strlen(value)), 0);
        }
        taken += count;
    }
    bench_free(bench);
}

Test(client, offsets_are_committed_and_found_again)
{
    struct bench *bench = bench_new(1, "");
    fill(bench, 0, 20, 10, "");
    assign(bench, 0, WEIR_STORED); // nothing committed: earliest
    expect(bench, 0, 12);
    cr_assert_eq(weir_commit(bench->consumer, WAIT_MS), WEIR_OK, "%s",
                 weir_last_error(bench->client));
    struct weir_offset offsets[] = {{.topic = "t", .partition = 3}, {.topic = "t", .partition = 0}};
    cr_assert_eq(weir_committed(bench->consumer, offsets, 2, WAIT_MS), WEIR_OK);
    cr_assert_eq(offsets[0].offset, -1);
    cr_assert_eq(offsets[1].offset, 12);
    assign(bench, 0, WEIR_STORED);
    expect(bench, 12, 8);
    bench_free(bench);
}

Test(client, committing_survives_what_coordinators_do)
{
    static const struct mock_fault faults[] = {
        {KP_OFFSET_COMMIT_KEY, 0, 2, MOCK_CLOSE, 0},
        {KP_OFFSET_COMMIT_KEY, 0, 1, MOCK_ERROR, KP_ERROR_NOT_COORDINATOR},
        {KP_OFFSET_COMMIT_KEY, 0, 2, MOCK_ERROR, KP_ERROR_COORDINATOR_LOAD_IN_PROGRESS},
        {KP_FIND_COORDINATOR_KEY, 0, 2, MOCK_ERROR, KP_ERROR_COORDINATOR_NOT_AVAILABLE},
        {KP_FIND_COORDINATOR_KEY, 0, 2, MOCK_CLOSE, 0},
    };
    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
        struct bench *bench = bench_new(1, "");
        struct weir_offset offset = {.topic = "t", .partition = 1, .offset = 42};
        mock_fault(bench->mock, faults[i]);
        cr_assert_eq(weir_commit_offsets(bench->consumer, &offset, 1, WAIT_MS), WEIR_OK, "%s",
                     weir_last_error(bench->client));
        cr_assert_eq(bench->mock->logs[1].committed, 42);
        bench_free(bench);
    }
}

Test(client, refused_commits_are_errors)
{
    struct bench *bench = bench_new(1, "");
    struct weir_offset offset = {.topic = "t", .partition = 1, .offset = 42};
    mock_fault(bench->mock, (struct mock_fault){KP_OFFSET_COMMIT_KEY, 0, 1, MOCK_ERROR,
                                                KP_ERROR_UNKNOWN_MEMBER_ID});
    cr_assert_eq(weir_commit_offsets(bench->consumer, &offset, 1, WAIT_MS),
                 KP_ERROR_UNKNOWN_MEMBER_ID);
    cr_assert_eq(offset.error, KP_ERROR_UNKNOWN_MEMBER_ID);
    mock_fault(bench->mock, (struct mock_fault){KP_FIND_COORDINATOR_KEY, 0, 1, MOCK_ERROR,
                                                KP_ERROR_GROUP_AUTHORIZATION_FAILED});
    struct weir_consumer *other = bench->consumer;
    weir_consumer_free(other);
    struct weir_config *config = config_new("group.id=other");
    bench->consumer = weir_consumer_new(bench->client, config);
    weir_config_free(config);
    cr_assert_eq(weir_commit_offsets(bench->consumer, &offset, 1, WAIT_MS),
                 KP_ERROR_GROUP_AUTHORIZATION_FAILED);
    bench_free(bench);
}

Test(client, without_a_group_nothing_is_committed)
{
    struct bench *bench = bench_new(1, "group.id=");
    struct weir_offset offset = {.topic = "t", .partition = 1, .offset = 42};
    cr_assert_eq(weir_commit_offsets(bench->consumer, &offset, 1, WAIT_MS), WEIR_ERR_NO_GROUP);
    cr_assert_eq(weir_consumer_assign(bench->consumer, "t", 0, WEIR_STORED), WEIR_ERR_NO_GROUP);
    bench_free(bench);
}

Test(client, calls_time_out)
{
    struct bench *bench = bench_new(1, "");
    struct weir_offset_query query = {.topic = "t", .at = WEIR_END};
    mock_fault(bench->mock, (struct mock_fault){KP_LIST_OFFSETS_KEY, 0, 1 << 20, MOCK_SILENT, 0});
    cr_assert_eq(weir_list_offsets(bench->client, &query, 1, 50), WEIR_ERR_TIMED_OUT);
    cr_assert_eq(query.error, WEIR_ERR_TIMED_OUT);
    cr_assert_neq(weir_last_error(bench->client)[0], '\0');
    bench_free(bench);
}

Test(client, one_partition_may_be_asked_about_twice)
{
    struct bench *bench = bench_new(1, "");
    fill(bench, 1, 7, 7, "");
    struct weir_offset_query queries[] = {
        {.topic = "t", .partition = 1, .at = WEIR_BEGINNING},
        {.topic = "t", .partition = 1, .at = WEIR_END},
        {.topic = "t", .partition = 2, .at = WEIR_END},
    };
    cr_assert_eq(weir_list_offsets(bench->client, queries, 3, WAIT_MS), WEIR_OK);
    cr_assert_eq(queries[0].offset, 0);
    cr_assert_eq(queries[1].offset, 7);
    cr_assert_eq(queries[2].offset, 0);
    bench_free(bench);
}

// The topic is not known before: one request finds that out, one asks for all other partitions, and
// the second question about each partition makes a third.
Test(client, many_partitions_are_asked_for_together)
{
    struct bench *bench = bench_new(1, "");
    struct weir_offset_query queries[2 * MOCK_PARTITIONS];
    for (int32_t i = 0; i < MOCK_PARTITIONS; i++) {
        bench->mock->logs[i].next = i + 1;
        queries[i] = (struct weir_offset_query){.topic = "t", .partition = i, .at = WEIR_END};
        queries[2 * MOCK_PARTITIONS - 1 - i] = queries[i];
    }
    cr_assert_eq(weir_list_offsets(bench->client, queries, 2 * MOCK_PARTITIONS, WAIT_MS), WEIR_OK);
    for (int32_t i = 0; i < MOCK_PARTITIONS; i++) {
        cr_assert_eq(queries[i].offset, i + 1);
        cr_assert_eq(queries[2 * MOCK_PARTITIONS - 1 - i].offset, i + 1);
    }
    cr_assert_leq(mock_requests(bench->mock, KP_LIST_OFFSETS_KEY), 3);
    bench_free(bench);
}

// More requests at once than a connection has under way: the rest follows as answers come.
Test(client, many_topics_are_asked_for_at_once)
{
    enum { TOPICS = 3000 };
    struct bench *bench = bench_new(1, "");
    struct weir_offset_query *queries = calloc(TOPICS, sizeof(*queries));
    char(*names)[16] = calloc(TOPICS, sizeof(*names));
    bench->mock->any_topic = true;
    bench->mock->logs[0].next = 7;
    for (int i = 0; i < TOPICS; i++) {
        snprintf(names[i], sizeof(names[i]), "topic-%d", i);
        queries[i] = (struct weir_offset_query){.topic = names[i], .at = WEIR_END};
    }
    cr_assert_eq(weir_list_offsets(bench->client, queries, TOPICS, WAIT_MS), WEIR_OK);
    for (int i = 0; i < TOPICS; i++)
        cr_assert_eq(queries[i].offset, 7);
    free(queries);
    free(names);
    bench_free(bench);
}

// One question for the topic waits, the others give up with it.
Test(client, questions_about_a_topic_that_stays_unknown_end)
{
    struct bench *bench = bench_new(1, "");
    struct weir_offset_query queries[100];
    mock_fault(bench->mock, (struct mock_fault){KP_METADATA_KEY, 0, 1 << 20, MOCK_SILENT, 0});
    for (int32_t i = 0; i < 100; i++)
        queries[i] = (struct weir_offset_query){.topic = "u", .partition = i, .at = WEIR_END};
    cr_assert_eq(weir_list_offsets(bench->client, queries, 100, 50), WEIR_ERR_TIMED_OUT);
    for (int32_t i = 0; i < 100; i++)
        cr_assert_eq(queries[i].error, WEIR_ERR_TIMED_OUT);
    bench_free(bench);
}

Test(client, unknown_topics_are_an_error_of_the_poll)
{
    struct bench *bench = bench_new(1, "topic.metadata.propagation.max.ms=50");
    cr_assert_eq(weir_consumer_assign(bench->consumer, "nowhere", 0, WEIR_BEGINNING), WEIR_OK);
    cr_assert_eq(error_of_poll(bench), WEIR_ERR_UNKNOWN_TOPIC_OR_PARTITION);
    cr_assert_eq(weir_consumer_assign(bench->consumer, "t", MOCK_PARTITIONS, 0), WEIR_OK);
    cr_assert_eq(error_of_poll(bench), WEIR_ERR_UNKNOWN_TOPIC_OR_PARTITION);
    bench_free(bench);
}

Test(client, clients_of_foreign_loops_need_no_waiting_calls)
{
    struct bench *bench = bench_new(1, "");
    fill(bench, 0, 50, 10, "");
    assign(bench, 0, WEIR_BEGINNING);
    int taken = 0;
    while (taken < 50) {
        struct pollfd fd = {.fd = weir_fd(bench->client), .events = POLLIN};
        cr_assert_geq(poll(&fd, 1, weir_timeout_ms(bench->client)), 0);
        cr_assert_eq(weir_consumer_poll(bench->consumer, 0), WEIR_OK);
        struct weir_record record;
        while (weir_consumer_next(bench->consumer, &record))
            cr_assert_eq(record.offset, taken++);
    }
    bench_free(bench);
}

Test(client, freeing_in_the_middle_of_everything_leaks_nothing)
{
    struct bench *bench = bench_new(1, "max.partition.fetch.bytes=1k");
    fill(bench, 0, 200, 20, "compression.type=zstd");
    mock_fault(bench->mock, (struct mock_fault){KP_OFFSET_FETCH_KEY, 0, 100, MOCK_SILENT, 0});
    assign(bench, 0, 0);
    assign(bench, 1, WEIR_STORED);
    expect(bench, 0, 30);
    bench_free(bench);
}

// Subscribes and polls until the member has failed; returns why.
static const char *member_failure(struct bench *bench)
{
    const char *topic = "t";
    int error = WEIR_OK;
    bench->mock->version_max[KP_CONSUMER_GROUP_HEARTBEAT_KEY] = -1;
    bench->mock->version_max[KP_JOIN_GROUP_KEY] = -1;
    cr_assert_eq(weir_subscribe(bench->consumer, &topic, 1), WEIR_OK);
    for (int i = 0; i < 1000 && !error; i++)
        error = weir_consumer_poll(bench->consumer, 20);
    cr_assert_eq(error, WEIR_ERR_UNSUPPORTED);
    return weir_last_error(bench->client);
}

// Before a broker that knows nothing of the newer protocol a member that may choose speaks the
// classic one; this broker knows neither, and the one asked for last is named.
Test(client, members_fall_back_where_the_newer_protocol_is_not_served)
{
    struct bench *bench = bench_new(1, "");
    cr_assert(strstr(member_failure(bench), "JoinGroup"));
    bench_free(bench);
    bench = bench_new(1, "group.protocol=consumer");
    cr_assert(strstr(member_failure(bench), "ConsumerGroupHeartbeat"));
    bench_free(bench);
}

static void count_report(void *context, const struct weir_delivery *delivery)
{
    (void)delivery;
    ++*(int *)context;
}

// Whatever a broker says, the client neither crashes nor loses count. Every answer has a byte
// changed, in a different place each time; what the calls return is not the point.
Test(client, answers_with_changed_bytes_do_no_harm)
{
    static const int16_t apis[] = {0, 1, 2, 3, 8, 9, 10, 18};
    for (uint64_t seed = 0; seed < 150; seed++) {
        struct bench *bench = bench_new(1, "request.timeout.ms=20 fetch.max.wait.ms=1 "
                                           "delivery.timeout.ms=40 reconnect.backoff.max.ms=2 "
                                           "retry.backoff.max.ms=2");
        fill(bench, 0, 20, 10, seed % 2 ? "compression.type=lz4" : "");
        bench->mock->random.state = seed;
        for (size_t i = 0; i < sizeof(apis) / sizeof(apis[0]); i++)
            mock_fault(bench->mock, (struct mock_fault){apis[i], seed % 3 ? (int)seed % 3 : 0,
                                                        1 << 20, MOCK_FLIP, 0});
        struct weir_producer *producer = weir_producer_new(bench->client, NULL);
        struct weir_message message = {.value = weir_text("v")};
        struct weir_offset offset = {.topic = "t", .offset = 1};
        struct weir_offset_query query = {.topic = "t", .at = WEIR_END};
        struct weir_record record;
        struct weir_topic_list *list;
        int reported = 0;
        weir_producer_on_delivery(producer, count_report, &reported);
        assign(bench, 0, seed % 2 ? WEIR_STORED : WEIR_BEGINNING);
        cr_assert_eq(weir_produce(producer, "t", 1, &message), WEIR_OK);
        for (int i = 0; i < 3; i++) {
            weir_consumer_poll(bench->consumer, 5);
            while (weir_consumer_next(bench->consumer, &record)) {
            }
        }
        weir_list_offsets(bench->client, &query, 1, 5);
        weir_commit_offsets(bench->consumer, &offset, 1, 5);
        if (weir_describe_topics(bench->client, NULL, 0, &list, 5) == WEIR_OK)
            weir_topic_list_free(list);
        weir_flush(producer, 5);
        weir_producer_free(producer);
        cr_assert_eq(reported, 1);
        bench_free(bench);
    }
}
