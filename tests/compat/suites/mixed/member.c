// SPDX-License-Identifier: Apache-2.0
// A member of a group with libweir: member BROKERS GROUP TOPIC [SETTING=VALUE...]. What members
// print is told in members.py. Ends in good order with SIGTERM.
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "clients/c/weir.h"

enum { WAIT_MS = 100, COMMIT_MS = 2000, COMMIT_EVERY_NS = 200000000, CLOSE_MS = 10000 };

static volatile sig_atomic_t stopping;

static void stop(int number)
{
    (void)number;
    stopping = 1;
}

// Whoever gets a partition starts behind what is committed here: it must be on paper before.
static void rebalanced(void *context, const struct weir_rebalance *rebalance)
{
    static const char kinds[] = {'A', 'R', 'L'};
    for (size_t i = 0; i < rebalance->count; i++)
        printf("%c %d\n", kinds[rebalance->kind], (int)rebalance->partitions[i].partition);
    fflush(stdout);
    if (rebalance->kind == WEIR_PARTITIONS_REVOKED)
        weir_commit_async(context, NULL, 0, NULL, NULL);
}

static size_t print_all(struct weir_consumer *consumer)
{
    struct weir_record record;
    size_t count = 0;
    for (; weir_consumer_next(consumer, &record); count++)
        printf("P %d %" PRId64 " %.*s\n", (int)record.partition, record.offset,
               (int)record.value.size, (const char *)record.value.data);
    fflush(stdout);
    return count;
}

static int follow(struct weir_consumer *consumer)
{
    uint64_t committed_ns = clock_monotonic_ns();
    size_t count = 0;
    while (!stopping) {
        int error = weir_consumer_poll(consumer, WAIT_MS);
        if (error)
            return error;
        count += print_all(consumer);
        if (count == 0 || clock_monotonic_ns() < committed_ns + COMMIT_EVERY_NS)
            continue;
        error = weir_commit(consumer, COMMIT_MS);
        if (error)
            fprintf(stderr, "commit: %s\n", weir_error_text(error));
        committed_ns = clock_monotonic_ns();
        count = 0;
    }
    return WEIR_OK;
}

static int set_all(struct weir_config *config, char **settings, int count)
{
    for (int i = 0; i < count; i++) {
        char *value = strchr(settings[i], '=');
        if (!value)
            return WEIR_ERR_BAD_ARGUMENT;
        *value++ = '\0';
        int error = weir_config_set(config, settings[i], value);
        if (error)
            return error;
    }
    return WEIR_OK;
}

int main(int argc, char **argv)
{
    struct sigaction action = {.sa_handler = stop};
    struct weir_config *config = weir_config_new();
    if (argc < 4 || !config || set_all(config, argv + 4, argc - 4)) {
        fprintf(stderr, "usage: member BROKERS GROUP TOPIC [SETTING=VALUE...]\n");
        return 2;
    }
    sigaction(SIGTERM, &action, NULL);
    weir_config_set(config, "group.id", argv[2]);
    struct weir_client *client = weir_client_new(argv[1], config);
    struct weir_consumer *consumer = client ? weir_consumer_new(client, config) : NULL;
    weir_config_free(config);
    if (!consumer)
        return 1;
    weir_consumer_on_rebalance(consumer, rebalanced, consumer);
    int error = weir_subscribe(consumer, (const char *const *)&argv[3], 1);
    if (!error)
        error = follow(consumer);
    if (error)
        fprintf(stderr, "%s\n", weir_last_error(client));
    int closed = weir_consumer_close(consumer, CLOSE_MS);
    if (closed)
        fprintf(stderr, "close: %s\n", weir_error_text(closed));
    weir_client_free(client);
    return error ? 1 : 0;
}
