// SPDX-License-Identifier: Apache-2.0
// Debian's librdkafka, from C, against the broker whose address is the only argument. Exits 0 when
// every step held; otherwise says which did not. librdkafka_test.py starts the broker.
#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MESSAGES = 10000, TIMEOUT_MS = 20000, LARGE = 3000000 };

#define EXPECT(condition)                                                                          \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

static void set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
    char why[256];
    if (rd_kafka_conf_set(conf, name, value, why, sizeof(why)) != RD_KAFKA_CONF_OK) {
        fprintf(stderr, "%s=%s: %s\n", name, value, why);
        exit(1);
    }
}

static void delivered(rd_kafka_t *client, const rd_kafka_message_t *message, void *opaque)
{
    (void)client;
    int64_t *next = opaque;
    EXPECT(message->err == RD_KAFKA_RESP_ERR_NO_ERROR);
    EXPECT(message->offset == *next);
    ++*next;
}

static rd_kafka_t *producer_new(const char *brokers, const char *codec, int64_t *next)
{
    char why[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    set(conf, "bootstrap.servers", brokers);
    set(conf, "compression.type", codec);
    set(conf, "acks", "all");
    set(conf, "linger.ms", "5");
    set(conf, "message.max.bytes", "4000000");
    rd_kafka_conf_set_dr_msg_cb(conf, delivered);
    rd_kafka_conf_set_opaque(conf, next);
    rd_kafka_t *client = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof(why));
    EXPECT(client);
    return client;
}

static rd_kafka_t *consumer_new(const char *brokers)
{
    char why[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    set(conf, "bootstrap.servers", brokers);
    set(conf, "group.id", "librdkafka-from-c");
    set(conf, "enable.auto.commit", "false");
    set(conf, "auto.offset.reset", "error");
    set(conf, "check.crcs", "true");
    set(conf, "fetch.wait.max.ms", "20");
    rd_kafka_t *client = rd_kafka_new(RD_KAFKA_CONSUMER, conf, why, sizeof(why));
    EXPECT(client);
    return client;
}

static void assign(rd_kafka_t *consumer, const char *topic, int64_t offset)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, topic, 0)->offset = offset;
    EXPECT(rd_kafka_assign(consumer, list) == RD_KAFKA_RESP_ERR_NO_ERROR);
    rd_kafka_topic_partition_list_destroy(list);
}

static rd_kafka_message_t *next_message(rd_kafka_t *consumer)
{
    rd_kafka_message_t *message = rd_kafka_consumer_poll(consumer, TIMEOUT_MS);
    EXPECT(message);
    if (message->err) {
        fprintf(stderr, "consume: %s\n", rd_kafka_message_errstr(message));
        exit(1);
    }
    return message;
}

static void produce_many(const char *brokers, const char *topic, const char *codec)
{
    int64_t next = 0;
    rd_kafka_t *producer = producer_new(brokers, codec, &next);
    for (int i = 0; i < MESSAGES; i++) {
        char key[32], value[64];
        snprintf(key, sizeof(key), "key %d", i);
        snprintf(value, sizeof(value), "value %d, a little compressible", i);
        rd_kafka_resp_err_t error = rd_kafka_producev(
            producer, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(0),
            RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_KEY(key, strlen(key)),
            RD_KAFKA_V_VALUE(value, strlen(value)), RD_KAFKA_V_HEADER("codec", codec, -1),
            RD_KAFKA_V_TIMESTAMP(1700000000000 + i), RD_KAFKA_V_END);
        EXPECT(error == RD_KAFKA_RESP_ERR_NO_ERROR);
        rd_kafka_poll(producer, 0);
    }
    EXPECT(rd_kafka_flush(producer, TIMEOUT_MS) == RD_KAFKA_RESP_ERR_NO_ERROR);
    EXPECT(next == MESSAGES);
    rd_kafka_destroy(producer);
}

static void consume_many(rd_kafka_t *consumer, const char *topic, const char *codec)
{
    assign(consumer, topic, 0);
    for (int i = 0; i < MESSAGES; i++) {
        char key[32], value[64];
        snprintf(key, sizeof(key), "key %d", i);
        snprintf(value, sizeof(value), "value %d, a little compressible", i);
        rd_kafka_message_t *message = next_message(consumer);
        EXPECT(message->offset == i);
        EXPECT(message->key_len == strlen(key) && memcmp(message->key, key, strlen(key)) == 0);
        EXPECT(message->len == strlen(value) && memcmp(message->payload, value, message->len) == 0);
        rd_kafka_timestamp_type_t type;
        EXPECT(rd_kafka_message_timestamp(message, &type) == 1700000000000 + i);
        EXPECT(type == RD_KAFKA_TIMESTAMP_CREATE_TIME);
        rd_kafka_headers_t *headers;
        const void *header;
        size_t size;
        EXPECT(rd_kafka_message_headers(message, &headers) == RD_KAFKA_RESP_ERR_NO_ERROR);
        EXPECT(rd_kafka_header_get_last(headers, "codec", &header, &size) ==
               RD_KAFKA_RESP_ERR_NO_ERROR);
        EXPECT(size == strlen(codec) && memcmp(header, codec, size) == 0);
        rd_kafka_message_destroy(message);
    }
}

static void check_offsets(rd_kafka_t *consumer, const char *topic)
{
    int64_t low, high;
    EXPECT(rd_kafka_query_watermark_offsets(consumer, topic, 0, &low, &high, TIMEOUT_MS) ==
           RD_KAFKA_RESP_ERR_NO_ERROR);
    EXPECT(low == 0 && high == MESSAGES);
    rd_kafka_topic_partition_list_t *times = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(times, topic, 0)->offset = 1700000000000 + 4321;
    EXPECT(rd_kafka_offsets_for_times(consumer, times, TIMEOUT_MS) == RD_KAFKA_RESP_ERR_NO_ERROR);
    EXPECT(times->elems[0].offset == 4321);
    rd_kafka_topic_partition_list_destroy(times);
}

static void delete_records(const char *brokers, const char *topic, int64_t before)
{
    int64_t next = 0;
    rd_kafka_t *client = producer_new(brokers, "none", &next);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(client);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, topic, 0)->offset = before;
    rd_kafka_DeleteRecords_t *request = rd_kafka_DeleteRecords_new(list);
    rd_kafka_DeleteRecords(client, &request, 1, NULL, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, TIMEOUT_MS);
    EXPECT(event && rd_kafka_event_error(event) == RD_KAFKA_RESP_ERR_NO_ERROR);
    const rd_kafka_topic_partition_list_t *result =
        rd_kafka_DeleteRecords_result_offsets(rd_kafka_event_DeleteRecords_result(event));
    EXPECT(result->cnt == 1 && result->elems[0].err == RD_KAFKA_RESP_ERR_NO_ERROR);
    EXPECT(result->elems[0].offset == before);
    rd_kafka_event_destroy(event);
    rd_kafka_DeleteRecords_destroy(request);
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_queue_destroy(queue);
    rd_kafka_destroy(client);
}

static void check_deleted(rd_kafka_t *consumer, const char *topic, int64_t start)
{
    int64_t low, high;
    EXPECT(rd_kafka_query_watermark_offsets(consumer, topic, 0, &low, &high, TIMEOUT_MS) ==
           RD_KAFKA_RESP_ERR_NO_ERROR);
    EXPECT(low == start && high == MESSAGES);
    assign(consumer, topic, start);
    rd_kafka_message_t *message = next_message(consumer);
    EXPECT(message->offset == start);
    rd_kafka_message_destroy(message);
}

static void large_message(const char *brokers, rd_kafka_t *consumer)
{
    int64_t next = 0;
    char *payload = malloc(LARGE);
    EXPECT(payload);
    for (size_t i = 0; i < LARGE; i++)
        payload[i] = (char)(i * i % 251);
    rd_kafka_t *producer = producer_new(brokers, "none", &next);
    EXPECT(rd_kafka_producev(producer, RD_KAFKA_V_TOPIC("c-large"), RD_KAFKA_V_PARTITION(0),
                             RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                             RD_KAFKA_V_VALUE(payload, LARGE),
                             RD_KAFKA_V_END) == RD_KAFKA_RESP_ERR_NO_ERROR);
    EXPECT(rd_kafka_flush(producer, TIMEOUT_MS) == RD_KAFKA_RESP_ERR_NO_ERROR);
    EXPECT(next == 1);
    rd_kafka_destroy(producer);
    assign(consumer, "c-large", 0);
    rd_kafka_message_t *message = next_message(consumer);
    EXPECT(message->len == LARGE && memcmp(message->payload, payload, LARGE) == 0);
    rd_kafka_message_destroy(message);
    free(payload);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s HOST:PORT\n", argv[0]);
        return 2;
    }
    static const char *const codecs[] = {"none", "gzip", "snappy", "lz4", "zstd"};
    rd_kafka_t *consumer = consumer_new(argv[1]);
    for (size_t i = 0; i < sizeof(codecs) / sizeof(codecs[0]); i++) {
        char topic[32];
        snprintf(topic, sizeof(topic), "c-%s", codecs[i]);
        produce_many(argv[1], topic, codecs[i]);
        consume_many(consumer, topic, codecs[i]);
        check_offsets(consumer, topic);
        delete_records(argv[1], topic, 5000);
        check_deleted(consumer, topic, 5000);
    }
    large_message(argv[1], consumer);
    rd_kafka_consumer_close(consumer);
    rd_kafka_destroy(consumer);
    puts("librdkafka: all steps held");
    return 0;
}
