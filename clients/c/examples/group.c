// SPDX-License-Identifier: Apache-2.0
// A member of a group: prints the records of topics, one value per line, shared with all members of
// the same group, until SIGINT or SIGTERM. Start several, stop some: every record is printed.
//
//     group GROUP TOPIC[,TOPIC...] [BROKERS]        (or the environment's WEIR_BROKERS)
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <weir.h>

enum { TOPICS_MAX = 16 };

static struct weir_client *client;
static volatile sig_atomic_t stopping;

static void stop(int number)
{
    (void)number;
    stopping = 1;
    weir_wake(client);
}

static void rebalanced(void *context, const struct weir_rebalance *rebalance)
{
    static const char *const kinds[] = {"assigned", "revoked", "lost"};
    struct weir_consumer *consumer = context;
    for (size_t i = 0; i < rebalance->count; i++)
        fprintf(stderr, "%s %s %d\n", kinds[rebalance->kind], rebalance->partitions[i].topic,
                rebalance->partitions[i].partition);
    // What was handed out is printed: commit it before somebody else goes on from there.
    if (rebalance->kind == WEIR_PARTITIONS_REVOKED)
        weir_commit_async(consumer, NULL, 0, NULL, NULL);
}

static int print_all(struct weir_consumer *consumer)
{
    int error = WEIR_OK;
    while (!error && !stopping) {
        struct weir_record record;
        size_t count = 0;
        error = weir_consumer_poll(consumer, 1000);
        for (; !error && weir_consumer_next(consumer, &record); count++) {
            fwrite(record.value.data, 1, record.value.size, stdout);
            putchar('\n');
        }
        fflush(stdout);
        if (!error && count > 0)
            error = weir_commit_async(consumer, NULL, 0, NULL, NULL);
    }
    return error == WEIR_ERR_INTERRUPTED ? WEIR_OK : error;
}

static int run(const char *group, char *names)
{
    const char *topics[TOPICS_MAX];
    size_t count = 0;
    for (char *name; (name = strsep(&names, ",")) && count < TOPICS_MAX;)
        topics[count++] = name;
    struct weir_config *config = weir_config_new();
    weir_config_set(config, "group.id", group);
    weir_config_set(config, "auto.offset.reset", "earliest");
    struct weir_consumer *consumer = weir_consumer_new(client, config);
    weir_config_free(config);
    weir_consumer_on_rebalance(consumer, rebalanced, consumer);
    int error = weir_subscribe(consumer, topics, count);
    if (!error)
        error = print_all(consumer);
    if (error)
        fprintf(stderr, "%s\n", weir_last_error(client));
    int closed = weir_consumer_close(consumer, 10000);
    if (closed)
        fprintf(stderr, "%s\n", weir_last_error(client));
    return error ? error : closed;
}

int main(int argc, char **argv)
{
    const char *brokers = argc > 3 ? argv[3] : getenv("WEIR_BROKERS");
    if (argc < 3 || !brokers) {
        fprintf(stderr, "usage: group GROUP TOPIC[,TOPIC...] BROKERS\n");
        return 2;
    }
    client = weir_client_new(brokers, NULL);
    if (!client) {
        fprintf(stderr, "%s: %s\n", brokers, strerror(errno));
        return 1;
    }
    struct sigaction action = {.sa_handler = stop};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    int error = run(argv[1], argv[2]);
    weir_client_free(client);
    return error ? 1 : 0;
}
