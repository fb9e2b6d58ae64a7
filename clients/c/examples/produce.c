// SPDX-License-Identifier: Apache-2.0
// Sends each line of standard input as a message, and counts what was stored.
//
//     produce TOPIC [BROKERS]        (or the environment's WEIR_BROKERS)
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <weir.h>

struct count {
    long stored;
    long failed;
};

static void delivered(void *context, const struct weir_delivery *delivery)
{
    struct count *count = context;
    if (delivery->error) {
        fprintf(stderr, "not stored: %s\n", delivery->reason);
        count->failed++;
    } else {
        count->stored++;
    }
}

// Queues one line. When the queue is full, polling makes room.
static int send_line(struct weir_client *client, struct weir_producer *producer, const char *topic,
                     const char *line, size_t size)
{
    struct weir_message message = {.value = weir_bytes_of(line, size)};
    int error;
    while ((error = weir_produce(producer, topic, WEIR_ANY_PARTITION, &message)) ==
           WEIR_ERR_QUEUE_FULL)
        weir_poll(client, 100);
    return error;
}

int main(int argc, char **argv)
{
    const char *brokers = argc > 2 ? argv[2] : getenv("WEIR_BROKERS");
    if (argc < 2 || !brokers) {
        fprintf(stderr, "usage: produce TOPIC BROKERS\n");
        return 2;
    }
    struct weir_client *client = weir_client_new(brokers, NULL);
    if (!client) {
        fprintf(stderr, "%s: %s\n", brokers, strerror(errno));
        return 1;
    }
    struct weir_producer *producer = weir_producer_new(client, NULL);
    struct count count = {0, 0};
    weir_producer_on_delivery(producer, delivered, &count);

    char *line = NULL;
    size_t capacity = 0;
    ssize_t size;
    int error = WEIR_OK;
    while (!error && (size = getline(&line, &capacity, stdin)) > 0) {
        size_t length = (size_t)size;
        if (line[length - 1] == '\n')
            length--;
        error = send_line(client, producer, argv[1], line, length);
        weir_poll(client, 0);
    }
    if (!error)
        error = weir_flush(producer, 30000);
    if (error)
        fprintf(stderr, "%s\n", weir_last_error(client));
    printf("%ld stored, %ld failed\n", count.stored, count.failed);
    free(line);
    weir_producer_free(producer);
    weir_client_free(client);
    return error || count.failed ? 1 : 0;
}
