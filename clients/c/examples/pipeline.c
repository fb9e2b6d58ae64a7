// SPDX-License-Identifier: Apache-2.0
// A pipeline stage: reads one topic, turns every value into capitals, writes another topic, and
// resumes where it left off. Input offsets are committed only after the outputs they led to are
// stored: a crash may repeat outputs, but loses none.
//
//     pipeline FROM TO GROUP [BROKERS]     ends when there was nothing to do for two seconds
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <weir.h>

enum { IDLE_MS = 2000 };

static int produce_upper(struct weir_client *client, struct weir_producer *producer,
                         const char *topic, const struct weir_record *record)
{
    char *text = malloc(record->value.size + 1);
    for (size_t i = 0; i < record->value.size; i++)
        text[i] = (char)toupper(((const unsigned char *)record->value.data)[i]);
    struct weir_message message = {
        .key = record->key,
        .value = weir_bytes_of(text, record->value.size),
        .timestamp = record->timestamp > 0 ? record->timestamp : 0,
    };
    int error;
    while ((error = weir_produce(producer, topic, WEIR_ANY_PARTITION, &message)) ==
           WEIR_ERR_QUEUE_FULL)
        weir_poll(client, 100);
    free(text);
    return error;
}

// Reads, writes and commits until there is nothing more. Returns the number of records, or -1.
static long run(struct weir_client *client, struct weir_consumer *consumer,
                struct weir_producer *producer, const char *to)
{
    long done = 0;
    for (;;) {
        struct weir_record record;
        long before = done;
        if (weir_consumer_poll(consumer, IDLE_MS))
            return -1;
        for (; weir_consumer_next(consumer, &record); done++) {
            if (produce_upper(client, producer, to, &record))
                return -1;
        }
        if (done == before)
            return done;
        if (weir_flush(producer, 30000) || weir_commit(consumer, 30000))
            return -1;
    }
}

static int assign_all(struct weir_client *client, struct weir_consumer *consumer, const char *topic)
{
    struct weir_topic_list *list;
    int error = weir_describe_topics(client, &topic, 1, &list, 10000);
    if (error)
        return error;
    for (size_t i = 0; i < list->topics[0].partition_count && !error; i++)
        error = weir_consumer_assign(consumer, topic, (int32_t)i, WEIR_STORED);
    if (!error)
        error = list->topics[0].error;
    weir_topic_list_free(list);
    return error;
}

int main(int argc, char **argv)
{
    const char *brokers = argc > 4 ? argv[4] : getenv("WEIR_BROKERS");
    if (argc < 4 || !brokers) {
        fprintf(stderr, "usage: pipeline FROM TO GROUP BROKERS\n");
        return 2;
    }
    struct weir_config *config = weir_config_new();
    if (weir_config_set(config, "group.id", argv[3]) ||
        weir_config_set(config, "auto.offset.reset", "earliest")) {
        fprintf(stderr, "%s\n", weir_config_error(config));
        return 2;
    }
    struct weir_client *client = weir_client_new(brokers, config);
    if (!client) {
        fprintf(stderr, "%s: %s\n", brokers, strerror(errno));
        return 1;
    }
    struct weir_consumer *consumer = weir_consumer_new(client, config);
    struct weir_producer *producer = weir_producer_new(client, config);
    weir_config_free(config);

    long done = -1;
    if (assign_all(client, consumer, argv[1]) == WEIR_OK)
        done = run(client, consumer, producer, argv[2]);
    if (done < 0)
        fprintf(stderr, "stopped: %s\n", weir_last_error(client));
    else
        printf("%ld records\n", done);
    weir_producer_free(producer);
    weir_consumer_free(consumer);
    weir_client_free(client);
    return done < 0 ? 1 : 0;
}
