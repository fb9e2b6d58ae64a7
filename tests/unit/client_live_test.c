// SPDX-License-Identifier: Apache-2.0
// The client against a real broker (client_live.h).
#include "tests/unit/client_live.h"

static void number_send(struct live *live, struct weir_producer *producer, int number)
{
    char key[16], value[128];
    snprintf(key, sizeof(key), "k%d", number % 100);
    snprintf(value, sizeof(value), "%d is a number, and numbers compress, compress, compress",
             number);
    struct weir_header headers[] = {{weir_text("a"), weir_text(key)}, {weir_text("b"), {NULL, 0}}};
    struct weir_message message = {.key = weir_text(key),
                                   .value = weir_text(value),
                                   .headers = headers,
                                   .header_count = 2,
                                   .timestamp = 1700000000000 + number};
    int error;
    struct patience room = patience("room in the producer's queue");
    while ((error = weir_produce(producer, live->topic, WEIR_ANY_PARTITION, &message)) ==
           WEIR_ERR_QUEUE_FULL) {
        patience_check(&room);
        weir_poll(live->client, 100);
    }
    OK(live, error);
}

static int number_check(const struct weir_record *record)
{
    char text[8] = {0}, key[16];
    memcpy(text, record->value.data, 7);
    int number = (int)strtol(text, NULL, 10);
    snprintf(key, sizeof(key), "k%d", number % 100);
    cr_assert_eq(record->timestamp, 1700000000000 + number);
    cr_assert(record->key.size == strlen(key) && memcmp(record->key.data, key, strlen(key)) == 0);
    struct weir_header header;
    size_t at = 0;
    cr_assert(weir_record_header(record, &at, &header) && header.value.size == strlen(key));
    cr_assert(weir_record_header(record, &at, &header) && header.value.data == NULL);
    return number;
}

static void codec_round_trip(struct live *live, const char *codec)
{
    enum { COUNT = 5000 };
    struct weir_config *config = weir_config_new();
    cr_assert_eq(weir_config_set(config, "compression.type", codec), WEIR_OK);
    struct weir_producer *producer = weir_producer_new(live->client, config);
    topic_create(live, live->topic, 3);
    for (int i = 0; i < COUNT; i++)
        number_send(live, producer, i);
    OK(live, weir_flush(producer, WAIT_MS));
    struct weir_consumer *consumer = weir_consumer_new(live->client, config);
    int64_t next[3] = {0};
    bool *seen = calloc(COUNT, sizeof(bool));
    for (int p = 0; p < 3; p++)
        OK(live, weir_consumer_assign(consumer, live->topic, p, WEIR_BEGINNING));
    struct patience reading = patience("every record");
    for (int count = 0; count < COUNT; patience_check(&reading)) {
        struct weir_record record;
        OK(live, weir_consumer_poll(consumer, WAIT_MS));
        for (; weir_consumer_next(consumer, &record); count++) {
            cr_assert_eq(record.offset, next[record.partition]++);
            int number = number_check(&record);
            cr_assert_not(seen[number]);
            seen[number] = true;
        }
    }
    free(seen);
    weir_consumer_free(consumer);
    weir_producer_free(producer);
    weir_config_free(config);
    OK(live, weir_delete_topic(live->client, live->topic, WAIT_MS));
}

Test(client, live_every_codec)
{
    static const char *const codecs[] = {"none", "gzip", "snappy", "lz4", "zstd"};
    struct live *live = live_new();
    size_t stem = strlen(live->topic);
    for (size_t i = 0; i < sizeof(codecs) / sizeof(codecs[0]); i++) {
        snprintf(live->topic + stem, TOPIC_SIZE - stem, "-%s", codecs[i]);
        codec_round_trip(live, codecs[i]);
    }
    live_free(live);
}

// The topic is filled by somebody else: the committed values are "c0", "c1", ..., all others begin
// with "a" (tests/compat/suites/libweir/Transactions.java).
static int transactions_read(struct live *live, const char *topic, const char *isolation)
{
    struct weir_config *config = weir_config_new();
    struct weir_offset_query end = {.topic = topic, .at = WEIR_END};
    int committed = 0, others = 0;
    weir_config_set(config, "isolation.level", isolation);
    weir_config_set(config, "max.partition.fetch.bytes", "1k");
    weir_config_set(config, "fetch.max.bytes", "1k");
    struct weir_consumer *consumer = weir_consumer_new(live->client, config);
    OK(live, weir_consumer_assign(consumer, topic, 0, WEIR_BEGINNING));
    int64_t position = -1, low, high = -1, lag = -1;
    struct patience reading = patience("the end of what may be read");
    while (lag != 0) {
        struct weir_record record;
        patience_check(&reading);
        OK(live, weir_consumer_poll(consumer, 100));
        while (weir_consumer_next(consumer, &record)) {
            char value[16];
            snprintf(value, sizeof(value), "c%d", committed);
            bool good = record.value.size == strlen(value) &&
                        memcmp(record.value.data, value, strlen(value)) == 0;
            committed += good;
            others += !good;
        }
        OK(live, weir_consumer_lag(consumer, topic, 0, &lag));
    }
    OK(live, weir_consumer_position(consumer, topic, 0, &position));
    OK(live, weir_consumer_watermarks(consumer, topic, 0, &low, &high));
    OK(live, weir_list_offsets(live->client, &end, 1, WAIT_MS));
    cr_assert_eq(high, end.offset);
    cr_assert_eq(position < high, strcmp(isolation, "read_committed") == 0);
    cr_assert_gt(committed, 0);
    weir_consumer_free(consumer);
    weir_config_free(config);
    return others;
}

Test(client, live_aborted_transactions_are_left_out)
{
    const char *topic = getenv("WEIR_TEST_TRANSACTIONS");
    if (!topic)
        cr_skip_test("needs a broker with transactions");
    struct live *live = live_new();
    cr_assert_eq(transactions_read(live, topic, "read_committed"), 0);
    cr_assert_gt(transactions_read(live, topic, "read_uncommitted"), 0);
    live_free(live);
}

// Empty also while the broker does not know of the topic everywhere.
static const char *setting_value(struct live *live, const char *name)
{
    static char value[64];
    struct weir_setting_list *list;
    value[0] = '\0';
    int error =
        weir_describe_settings(live->client, WEIR_RESOURCE_TOPIC, live->topic, &list, WAIT_MS);
    if (error == WEIR_ERR_UNKNOWN_TOPIC_OR_PARTITION)
        return value;
    OK(live, error);
    for (size_t i = 0; i < list->count; i++) {
        if (strcmp(list->settings[i].name, name) == 0 && list->settings[i].value)
            snprintf(value, sizeof(value), "%s", list->settings[i].value);
    }
    weir_setting_list_free(list);
    return value;
}

Test(client, live_topics_and_settings)
{
    struct live *live = live_new();
    struct weir_client *client = live->client;
    struct weir_setting setting = {.name = "retention.ms", .value = "123456"};
    struct weir_new_topic topic = {.name = live->topic,
                                   .partitions = 2,
                                   .settings = &setting,
                                   .setting_count = 1,
                                   .validate_only = true};
    OK(live, weir_create_topic(client, &topic, WAIT_MS));
    topic.validate_only = false;
    OK(live, weir_create_topic(client, &topic, WAIT_MS));
    cr_assert_eq(weir_create_topic(client, &topic, WAIT_MS), WEIR_ERR_TOPIC_ALREADY_EXISTS);
    cr_assert(strstr(weir_last_error(client), live->topic) != NULL);
    struct weir_new_topic bad = {.name = "a/b"};
    cr_assert_eq(weir_create_topic(client, &bad, WAIT_MS), WEIR_ERR_INVALID_TOPIC);
    OK(live, weir_create_partitions(client, live->topic, 5, false, WAIT_MS));
    cr_assert_eq(weir_create_partitions(client, live->topic, 3, false, WAIT_MS),
                 WEIR_ERR_INVALID_PARTITIONS);
    struct patience telling = patience("the setting to be told"); // some brokers take their time
    for (; strcmp(setting_value(live, "retention.ms"), "123456") != 0; patience_check(&telling))
        weir_poll(client, 20);
    setting.value = "777777";
    OK(live,
       weir_alter_settings(client, WEIR_RESOURCE_TOPIC, live->topic, &setting, 1, false, WAIT_MS));
    for (; strcmp(setting_value(live, "retention.ms"), "777777") != 0; patience_check(&telling))
        weir_poll(client, 20);
    setting.value = NULL;
    OK(live,
       weir_alter_settings(client, WEIR_RESOURCE_TOPIC, live->topic, &setting, 1, false, WAIT_MS));
    for (; strcmp(setting_value(live, "retention.ms"), "777777") == 0; patience_check(&telling))
        weir_poll(client, 20);
    struct weir_setting nonsense = {.name = "no.such.setting", .value = "1"};
    cr_assert_eq(
        weir_alter_settings(client, WEIR_RESOURCE_TOPIC, live->topic, &nonsense, 1, false, WAIT_MS),
        WEIR_ERR_INVALID_CONFIG);

    const char *names[] = {live->topic, "there-is-no-such-topic"};
    struct weir_topic_list *list;
    OK(live, weir_describe_topics(client, names, 2, &list, WAIT_MS));
    cr_assert_eq(list->count, 2);
    cr_assert_eq(list->topics[0].partition_count, 5);
    cr_assert_eq(list->topics[0].partitions[4].partition, 4);
    cr_assert_eq(strlen(list->topics[0].id), 36);
    cr_assert_eq(list->topics[1].error, WEIR_ERR_UNKNOWN_TOPIC_OR_PARTITION);
    weir_topic_list_free(list);
    struct weir_cluster *cluster;
    OK(live, weir_describe_cluster(client, &cluster, WAIT_MS));
    cr_assert_geq(cluster->broker_count, 1);
    cr_assert_not_null(cluster->id);
    weir_cluster_free(cluster);
    OK(live, weir_delete_topic(client, live->topic, WAIT_MS));
    cr_assert_eq(weir_delete_topic(client, live->topic, WAIT_MS),
                 WEIR_ERR_UNKNOWN_TOPIC_OR_PARTITION);
    live_free(live);
}

Test(client, live_offsets)
{
    struct live *live = live_new();
    struct weir_config *config = weir_config_new();
    weir_config_set(config, "group.id", live->topic);
    weir_config_set(config, "auto.offset.reset", "none");
    struct weir_producer *producer = weir_producer_new(live->client, config);
    struct weir_consumer *consumer = weir_consumer_new(live->client, config);
    topic_create(live, live->topic, 1);
    for (int i = 0; i < 100; i++)
        number_send(live, producer, i);
    OK(live, weir_flush(producer, WAIT_MS));

    struct weir_offset_query queries[] = {
        {.topic = live->topic, .at = WEIR_BEGINNING},
        {.topic = live->topic, .at = WEIR_END},
        {.topic = live->topic, .at = 1700000000050},
        {.topic = live->topic, .at = 1700000009999},
    };
    OK(live, weir_list_offsets(live->client, queries, 4, WAIT_MS));
    cr_assert_eq(queries[0].offset, 0);
    cr_assert_eq(queries[1].offset, 100);
    cr_assert_eq(queries[2].offset, 50);
    cr_assert_eq(queries[2].timestamp, 1700000000050);
    cr_assert_eq(queries[3].offset, -1);
    int64_t low;
    OK(live, weir_delete_records(live->client, live->topic, 0, 10, &low, WAIT_MS));
    cr_assert_eq(low, 10);

    OK(live, weir_consumer_assign(consumer, live->topic, 0, 5));
    cr_assert_eq(weir_consumer_poll(consumer, WAIT_MS), WEIR_ERR_OFFSET_OUT_OF_RANGE);
    OK(live, weir_consumer_assign(consumer, live->topic, 0, WEIR_STORED));
    cr_assert_eq(weir_consumer_poll(consumer, WAIT_MS), WEIR_ERR_NO_OFFSET);
    OK(live, weir_consumer_assign(consumer, live->topic, 0, WEIR_BEGINNING));
    OK(live, weir_consumer_poll(consumer, WAIT_MS));
    struct weir_record record;
    for (int i = 10; i < 30; i++) {
        cr_assert(weir_consumer_next(consumer, &record));
        cr_assert_eq(record.offset, i);
    }
    OK(live, weir_commit(consumer, WAIT_MS));
    struct weir_offset offset = {.topic = live->topic};
    OK(live, weir_committed(consumer, &offset, 1, WAIT_MS));
    cr_assert_eq(offset.offset, 30);
    OK(live, weir_consumer_assign(consumer, live->topic, 0, WEIR_STORED));
    OK(live, weir_consumer_poll(consumer, WAIT_MS));
    cr_assert(weir_consumer_next(consumer, &record));
    cr_assert_eq(record.offset, 30);
    OK(live, weir_delete_topic(live->client, live->topic, WAIT_MS));
    weir_consumer_free(consumer);
    weir_producer_free(producer);
    weir_config_free(config);
    live_free(live);
}

Test(client, live_large_records)
{
    enum { SIZE = 900000 };
    struct live *live = live_new();
    struct weir_producer *producer = weir_producer_new(live->client, NULL);
    struct weir_consumer *consumer = weir_consumer_new(live->client, NULL);
    char *value = malloc(SIZE);
    topic_create(live, live->topic, 1);
    for (int i = 0; i < 20; i++) {
        memset(value, 'a' + i, SIZE);
        struct weir_message message = {.value = weir_bytes_of(value, SIZE)};
        OK(live, weir_produce(producer, live->topic, 0, &message));
    }
    OK(live, weir_flush(producer, WAIT_MS));
    OK(live, weir_consumer_assign(consumer, live->topic, 0, 0));
    struct patience reading = patience("every record");
    for (int i = 0; i < 20; patience_check(&reading)) {
        struct weir_record record;
        OK(live, weir_consumer_poll(consumer, WAIT_MS));
        for (; weir_consumer_next(consumer, &record); i++) {
            memset(value, 'a' + i, SIZE);
            cr_assert_eq(record.value.size, SIZE);
            cr_assert_eq(memcmp(record.value.data, value, SIZE), 0);
        }
    }
    OK(live, weir_delete_topic(live->client, live->topic, WAIT_MS));
    free(value);
    weir_consumer_free(consumer);
    weir_producer_free(producer);
    live_free(live);
}

Test(client, live_batches_that_are_too_large_are_split)
{
    enum { COUNT = 2000 };
    struct live *live = live_new();
    struct weir_setting setting = {.name = "max.message.bytes", .value = "2000"};
    struct weir_new_topic topic = {
        .name = live->topic, .partitions = 1, .settings = &setting, .setting_count = 1};
    OK(live, weir_create_topic(live->client, &topic, WAIT_MS));
    struct weir_producer *producer = weir_producer_new(live->client, NULL);
    struct weir_consumer *consumer = weir_consumer_new(live->client, NULL);
    for (int i = 0; i < COUNT; i++)
        number_send(live, producer, i);
    OK(live, weir_flush(producer, WAIT_MS));
    OK(live, weir_consumer_assign(consumer, live->topic, 0, WEIR_BEGINNING));
    struct patience reading = patience("every record");
    for (int next = 0; next < COUNT; patience_check(&reading)) {
        struct weir_record record;
        OK(live, weir_consumer_poll(consumer, WAIT_MS));
        while (weir_consumer_next(consumer, &record))
            cr_assert_eq(number_check(&record), next++);
    }
    OK(live, weir_delete_topic(live->client, live->topic, WAIT_MS));
    weir_consumer_free(consumer);
    weir_producer_free(producer);
    live_free(live);
}

struct traffic {
    uint64_t requests;
    uint64_t sent;
    uint64_t received;
};

// What a consumer of many partitions costs that have no news: per request, of so many at least.
static struct traffic traffic_measure(struct live *live, struct weir_consumer *consumer,
                                      uint64_t least)
{
    struct weir_client_statistics before, after;
    uint64_t requests = 0;
    struct patience asking = patience("requests to be counted");
    weir_client_stats(live->client, &before);
    for (; requests < least; patience_check(&asking)) {
        OK(live, weir_consumer_poll(consumer, 30));
        weir_client_stats(live->client, &after);
        requests = after.requests - before.requests;
    }
    return (struct traffic){
        .requests = requests,
        .sent = (after.bytes_sent - before.bytes_sent) / requests,
        .received = (after.bytes_received - before.bytes_received) / requests,
    };
}

// Requests and answers name what has changed, not all of the partitions.
Test(client, live_fetches_name_only_what_has_changed)
{
    enum { PARTITIONS = 200, ROUNDS = 20 };
    struct live *live = live_new();
    struct weir_config *config = weir_config_new();
    weir_config_set(config, "fetch.max.wait.ms", "5");
    struct weir_producer *producer = weir_producer_new(live->client, NULL);
    struct weir_consumer *consumer = weir_consumer_new(live->client, config);
    topic_create(live, live->topic, PARTITIONS);
    for (int32_t p = 0; p < PARTITIONS; p++)
        OK(live, weir_consumer_assign(consumer, live->topic, p, 0));
    struct weir_consumer_statistics stats = {0};
    struct patience starting = patience("the first fetches");
    for (; stats.fetches < 5; patience_check(&starting)) {
        OK(live, weir_consumer_poll(consumer, 20));
        weir_consumer_stats(consumer, &stats);
    }
    // The first answers name everything, and some brokers need several until all are served.
    struct patience settling = patience("requests that name only what has changed");
    struct traffic traffic = traffic_measure(live, consumer, 5);
    for (; traffic.sent >= 200 || traffic.received >= 200; patience_check(&settling))
        traffic = traffic_measure(live, consumer, 5);
    cr_log_info("%llu bytes sent and %llu received per request for %d partitions without news",
                (unsigned long long)traffic.sent, (unsigned long long)traffic.received, PARTITIONS);
    int next[PARTITIONS] = {0};
    struct patience reading = patience("a record to arrive");
    for (int i = 0; i < ROUNDS * PARTITIONS; i++) {
        int32_t partition = (i * 7) % PARTITIONS;
        char value[16];
        snprintf(value, sizeof(value), "%d", next[partition]);
        struct weir_message message = {.value = weir_text(value)};
        OK(live, weir_produce(producer, live->topic, partition, &message));
        // Some are paused, sought back or left out for a while.
        int32_t other = (i * 13) % PARTITIONS;
        if (i % 5 == 0)
            OK(live, weir_consumer_pause(consumer, live->topic, other));
        if (i % 5 == 3)
            OK(live, weir_consumer_resume(consumer, live->topic, (i - 3) * 13 % PARTITIONS));
        next[partition]++;
        if (i % PARTITIONS == 0)
            OK(live, weir_consumer_poll(consumer, 1));
    }
    OK(live, weir_flush(producer, WAIT_MS));
    for (int32_t p = 0; p < PARTITIONS; p++) {
        OK(live, weir_consumer_resume(consumer, live->topic, p));
        OK(live, weir_consumer_seek(consumer, live->topic, p, p % 2 ? 0 : 3));
    }
    int64_t expected[PARTITIONS];
    for (int32_t p = 0; p < PARTITIONS; p++)
        expected[p] = p % 2 ? 0 : 3;
    for (int left = PARTITIONS; left > 0; patience_check(&reading)) {
        struct weir_record record;
        OK(live, weir_consumer_poll(consumer, 100));
        while (weir_consumer_next(consumer, &record)) {
            cr_assert_eq(record.offset, expected[record.partition]++);
            left -= expected[record.partition] == ROUNDS;
        }
    }
    weir_consumer_free(consumer);
    weir_producer_free(producer);
    weir_config_free(config);
    OK(live, weir_delete_topic(live->client, live->topic, WAIT_MS));
    live_free(live);
}

// The broker comes back without its sessions.
Test(client, live_fetch_sessions_end_with_the_broker)
{
    struct live *live = live_new();
    if (!live->broker) {
        live_free(live);
        cr_skip_test("the broker is not ours to kill");
    }
    struct weir_producer *producer = weir_producer_new(live->client, NULL);
    struct weir_consumer *consumer = weir_consumer_new(live->client, NULL);
    topic_create(live, live->topic, 1);
    OK(live, weir_consumer_assign(consumer, live->topic, 0, 0));
    for (int i = 0; i < 6; i++) {
        struct weir_record record;
        struct patience reading = patience("the record");
        number_send(live, producer, i);
        OK(live, weir_flush(producer, WAIT_MS));
        for (; !weir_consumer_next(consumer, &record); patience_check(&reading))
            OK(live, weir_consumer_poll(consumer, 50));
        cr_assert_eq(number_check(&record), i);
        if (i % 2 == 0)
            continue;
        char listen[sizeof(live->brokers)];
        snprintf(listen, sizeof(listen), "%s", live->brokers);
        kill(live->broker, SIGKILL);
        cr_assert_eq(waitpid(live->broker, NULL, 0), live->broker);
        broker_start(live, listen);
    }
    weir_consumer_free(consumer);
    weir_producer_free(producer);
    live_free(live);
}

struct acknowledged {
    int count;
    int failed;
};

static void count_delivery(void *context, const struct weir_delivery *delivery)
{
    struct acknowledged *acknowledged = context;
    acknowledged->count += !delivery->error;
    acknowledged->failed += delivery->error != 0;
}

// Every number is there exactly once, in order, and nothing behind the last one.
static void sequence_check(struct live *live, struct weir_consumer *consumer, int count)
{
    int next = 0;
    OK(live, weir_consumer_assign(consumer, live->topic, 0, WEIR_BEGINNING));
    struct patience reading = patience("every record");
    for (; next < count; patience_check(&reading)) {
        struct weir_record record;
        OK(live, weir_consumer_poll(consumer, WAIT_MS));
        while (weir_consumer_next(consumer, &record))
            cr_assert_eq(number_check(&record), next++);
    }
    struct weir_offset_query end = {.topic = live->topic, .at = WEIR_END};
    OK(live, weir_list_offsets(live->client, &end, 1, WAIT_MS));
    cr_assert_eq(end.offset, count);
}

Test(client, live_broker_killed_under_load_stores_each_message_once)
{
    enum { COUNT = 20000, MOST = 10 * COUNT, REPEATS = 3 };
    struct live *live = live_new();
    if (!live->broker) {
        live_free(live);
        cr_skip_test("the broker is not ours to kill");
    }
    struct acknowledged acknowledged = {0, 0};
    struct weir_config *config = weir_config_new();
    weir_config_set(config, "batch.size", "4k");
    weir_config_set(config, "enable.idempotence", "true");
    weir_config_set(config, "max.in.flight.per.partition", "5");
    struct weir_producer *producer = weir_producer_new(live->client, config);
    weir_producer_on_delivery(producer, count_delivery, &acknowledged);
    topic_create(live, live->topic, 1);
    struct weir_producer_statistics statistics = {0};
    int count = 0;
    // Goes on until the kills have struck batches under way.
    for (; count < COUNT || (statistics.repeats < REPEATS && count < MOST); count++) {
        number_send(live, producer, count);
        weir_producer_stats(producer, &statistics);
        if (count % 50 == 0)
            weir_poll(live->client, 0);
        // Connected again, so that the kill finds something under way.
        if (count % 2000 == 1450)
            OK(live, weir_flush(producer, WAIT_MS));
        if (count % 2000 == 1500) {
            char listen[sizeof(live->brokers)];
            snprintf(listen, sizeof(listen), "%s", live->brokers);
            kill(live->broker, SIGKILL);
            cr_assert_eq(waitpid(live->broker, NULL, 0), live->broker);
            broker_start(live, listen);
        }
    }
    OK(live, weir_flush(producer, WAIT_MS));
    cr_assert_eq(acknowledged.count, count);
    cr_assert_eq(acknowledged.failed, 0);
    cr_assert_geq(statistics.repeats, REPEATS);
    cr_assert_eq(statistics.renumberings, 0);
    struct weir_consumer *consumer = weir_consumer_new(live->client, config);
    sequence_check(live, consumer, count);
    weir_consumer_free(consumer);
    weir_producer_free(producer);
    weir_config_free(config);
    live_free(live);
}

// Runs an example with its input from a file and returns whether it exited with 0.
static bool example_run(const char *name, const char *arguments, const char *input,
                        const char *output)
{
    char path[128], command[PATH_MAX * 2];
    snprintf(path, sizeof(path), "clients/c/example_%s", name);
    snprintf(command, sizeof(command), "'%s' %s < '%s' > '%s'", build_path(path), arguments, input,
             output);
    return system(command) == 0;
}

// What the example prints, of all partitions; -1 when it prints none.
static int lag_sum(const char *arguments, const char *out)
{
    char topic[128];
    int partition, lag, sum = 0, lines = 0;
    cr_assert(example_run("lag", arguments, "/dev/null", out));
    FILE *file = fopen(out, "r");
    for (; fscanf(file, "%127s %d %d\n", topic, &partition, &lag) == 3; lines++)
        sum += lag;
    fclose(file);
    return lines > 0 ? sum : -1;
}

Test(client, live_examples)
{
    struct live *live = live_new();
    char directory[] = "/tmp/weir-examples-XXXXXX";
    char in[64], out[64], arguments[1024], raw[80], upper[80];
    cr_assert_not_null(mkdtemp(directory));
    snprintf(in, sizeof(in), "%s/in", directory);
    snprintf(out, sizeof(out), "%s/out", directory);
    snprintf(raw, sizeof(raw), "%s-raw", live->topic);
    snprintf(upper, sizeof(upper), "%s-upper", live->topic);
    topic_create(live, raw, 2);
    topic_create(live, upper, 1);
    FILE *file = fopen(in, "w");
    for (int i = 0; i < 1000; i++)
        fprintf(file, "line %d\n", i);
    fclose(file);

    snprintf(arguments, sizeof(arguments), "%s %s", raw, live->brokers);
    cr_assert(example_run("produce", arguments, in, out));
    snprintf(arguments, sizeof(arguments), "%s %s group-%s %s", raw, upper, live->topic,
             live->brokers);
    for (int i = 0; i < 2; i++) // the second run resumes where the first left off: nothing to do
        cr_assert(example_run("pipeline", arguments, "/dev/null", out));
    snprintf(arguments, sizeof(arguments), "%s %s", upper, live->brokers);
    cr_assert(example_run("consume", arguments, "/dev/null", out));

    bool seen[1000] = {false};
    int lines = 0, number;
    file = fopen(out, "r");
    for (; fscanf(file, "LINE %d\n", &number) == 1; lines++) {
        cr_assert(number >= 0 && number < 1000 && !seen[number]);
        seen[number] = true;
    }
    fclose(file);
    cr_assert_eq(lines, 1000);
    // The pipeline has read everything; begun anew, it has everything before it again.
    snprintf(arguments, sizeof(arguments), "group-%s %s", live->topic, live->brokers);
    cr_assert_eq(lag_sum(arguments, out), 0);
    snprintf(arguments, sizeof(arguments), "group-%s %s --reset", live->topic, live->brokers);
    cr_assert(example_run("lag", arguments, "/dev/null", out));
    snprintf(arguments, sizeof(arguments), "group-%s %s", live->topic, live->brokers);
    cr_assert_eq(lag_sum(arguments, out), 1000);
    OK(live, weir_delete_topic(live->client, raw, WAIT_MS));
    OK(live, weir_delete_topic(live->client, upper, WAIT_MS));
    unlink(in);
    unlink(out);
    rmdir(directory);
    live_free(live);
}
