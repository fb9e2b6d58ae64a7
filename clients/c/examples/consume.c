// SPDX-License-Identifier: Apache-2.0
// Prints all records that a topic holds at the moment, one value per line, and stops at its end.
//
//     consume TOPIC [BROKERS]        (or the environment's WEIR_BROKERS)
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <weir.h>

// Assigns every partition from its beginning, and finds out where each ends now.
static int start(struct weir_client *client, struct weir_consumer *consumer, const char *topic,
                 struct weir_offset_query **ends, size_t *count)
{
    struct weir_topic_list *list;
    int error = weir_describe_topics(client, &topic, 1, &list, 10000);
    if (error)
        return error;
    error = list->topics[0].error;
    *count = list->topics[0].partition_count;
    weir_topic_list_free(list);
    if (error) {
        fprintf(stderr, "topic '%s': %s\n", topic, weir_error_text(error));
        return error;
    }
    *ends = calloc(*count, sizeof(**ends));
    for (size_t i = 0; i < *count && !error; i++) {
        (*ends)[i].topic = topic;
        (*ends)[i].partition = (int32_t)i;
        (*ends)[i].at = WEIR_END;
        error = weir_consumer_assign(consumer, topic, (int32_t)i, WEIR_BEGINNING);
    }
    return error ? error : weir_list_offsets(client, *ends, *count, 10000);
}

static int at_end(struct weir_consumer *consumer, const struct weir_offset_query *ends,
                  size_t count)
{
    for (size_t i = 0; i < count; i++) {
        int64_t position;
        weir_consumer_position(consumer, ends[i].topic, ends[i].partition, &position);
        if (ends[i].offset > 0 && position < ends[i].offset)
            return 0;
    }
    return 1;
}

int main(int argc, char **argv)
{
    const char *brokers = argc > 2 ? argv[2] : getenv("WEIR_BROKERS");
    if (argc < 2 || !brokers) {
        fprintf(stderr, "usage: consume TOPIC BROKERS\n");
        return 2;
    }
    struct weir_client *client = weir_client_new(brokers, NULL);
    if (!client) {
        fprintf(stderr, "%s: %s\n", brokers, strerror(errno));
        return 1;
    }
    struct weir_consumer *consumer = weir_consumer_new(client, NULL);
    struct weir_offset_query *ends = NULL;
    size_t count = 0;
    int error = start(client, consumer, argv[1], &ends, &count);
    while (!error && !at_end(consumer, ends, count)) {
        struct weir_record record;
        error = weir_consumer_poll(consumer, 1000);
        while (!error && weir_consumer_next(consumer, &record)) {
            fwrite(record.value.data, 1, record.value.size, stdout);
            putchar('\n');
        }
    }
    if (error)
        fprintf(stderr, "%s\n", weir_last_error(client));
    free(ends);
    weir_consumer_free(consumer);
    weir_client_free(client);
    return error ? 1 : 0;
}
