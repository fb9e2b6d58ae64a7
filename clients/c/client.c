// SPDX-License-Identifier: Apache-2.0
// The client: its event loop and its stock of nodes and connections.
//
// Invariants
//  1. Everything happens in client_turn: sending, receiving, time-outs, retries. What the
//     application calls only queues work, or turns until its own work is done.
//  2. The application's callbacks are only called from client_report, never from inside a turn; so
//     no callback sees a structure in the middle of a change.
//  3. Nodes are never freed before the client is, so pointers to them may be kept.
#include "clients/c/client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "clients/c/connection.h"

enum {
    EVENTS_PER_WAIT = 64,
    WORK_ROUNDS = 16,
    DECODED_LIMIT = 512 << 20,
    POOL_KEEP = 48 << 20,
    FIRST_BOOTSTRAP_ID = -2, // and downwards; -1 means "none" everywhere
    NAME_SIZE = ADDRESS_HOST_SIZE + 16,
};

// --------------------------------------------------------------------------------- nodes

static struct node *node_add(struct weir_client *client, int32_t id, const struct address *address)
{
    struct node *node = calloc(1, sizeof(*node));
    if (!node)
        return NULL;
    node->id = id;
    node->address = *address;
    bool v6 = strchr(address->host, ':') != NULL;
    snprintf(node->name, sizeof(node->name), v6 ? "[%s]:%d" : "%s:%d", address->host,
             address->port);
    list_init(&node->connections);
    list_append(&client->nodes, &node->link);
    return node;
}

struct node *client_node(struct weir_client *client, int32_t id)
{
    for (struct list *at = client->nodes.next; at != &client->nodes; at = at->next) {
        struct node *node = list_entry(at, struct node, link);
        if (node->id == id)
            return node;
    }
    return NULL;
}

static bool address_equal(const struct address *a, const struct address *b)
{
    return a->port == b->port && strcmp(a->host, b->host) == 0;
}

// The connection that was made to a bootstrap address serves the broker found behind it, too.
static void connections_adopt(struct weir_client *client, struct node *node)
{
    list_each(at, &client->nodes) {
        struct node *from = list_entry(at, struct node, link);
        if (from == node || from->id >= 0 || !address_equal(&from->address, &node->address))
            continue;
        list_each(link, &from->connections) {
            struct connection *connection = list_entry(link, struct connection, link);
            list_remove(&connection->link);
            list_append(&node->connections, &connection->link);
            connection->node = node;
        }
        return;
    }
}

struct node *client_node_set(struct weir_client *client, int32_t id, const struct address *address)
{
    struct node *node = client_node(client, id);
    if (!node) {
        node = node_add(client, id, address);
        if (node)
            connections_adopt(client, node);
        return node;
    }
    if (address_equal(&node->address, address))
        return node;
    node->address = *address;
    snprintf(node->name, sizeof(node->name), "%s:%d", address->host, address->port);
    list_each(link, &node->connections) {
        struct connection *connection = list_entry(link, struct connection, link);
        if (connection->state >= CONNECTION_CONNECTING)
            connection_close(connection, WEIR_ERR_TRANSPORT, "broker %d has moved to %s", id,
                             node->name);
    }
    return node;
}

struct connection *client_connection(struct weir_client *client, struct node *node,
                                     const void *channel)
{
    for (struct list *at = node->connections.next; at != &node->connections; at = at->next) {
        struct connection *connection = list_entry(at, struct connection, link);
        if (connection->channel == channel)
            return connection;
    }
    return connection_new(client, node, channel);
}

// How good a node is for a request that anybody can answer; higher is better.
static int node_rank(struct weir_client *client, struct node *node)
{
    struct connection *connection = client_connection(client, node, NULL);
    if (!connection)
        return -1;
    switch (connection->state) {
    case CONNECTION_READY:
        return 4;
    case CONNECTION_NEGOTIATING:
    case CONNECTION_SECURING:
    case CONNECTION_CONNECTING:
        return 3;
    case CONNECTION_IDLE:
        return node->id >= 0 ? 2 : 1;
    default:
        return 0;
    }
}

struct connection *client_any_connection(struct weir_client *client)
{
    struct node *best = NULL;
    int best_rank = -1;
    list_each(at, &client->nodes) {
        struct node *node = list_entry(at, struct node, link);
        int rank = node_rank(client, node);
        if (rank > best_rank) {
            best = node;
            best_rank = rank;
        }
    }
    if (!best)
        return NULL;
    // To the end of the list, so that the next choice among equals falls on another one.
    list_remove(&best->link);
    list_append(&client->nodes, &best->link);
    return client_connection(client, best, NULL);
}

void client_channel_free(struct weir_client *client, const void *channel)
{
    list_each(at, &client->nodes) {
        struct node *node = list_entry(at, struct node, link);
        list_each(link, &node->connections) {
            struct connection *connection = list_entry(link, struct connection, link);
            if (connection->channel == channel)
                connection_free(connection);
        }
    }
}

// --------------------------------------------------------------------------------- life

static int bootstrap_add(struct weir_client *client, const char *brokers)
{
    struct address *list = calloc(ADDRESS_LIST_MAX, sizeof(*list));
    if (!list)
        return ENOMEM;
    int count = address_parse_list(brokers, list);
    int error = count < 0 ? EINVAL : 0;
    for (int i = 0; i < count && !error; i++) {
        if (!node_add(client, FIRST_BOOTSTRAP_ID - i, &list[i]))
            error = ENOMEM;
    }
    free(list);
    return error;
}

// Its events carry no pointer: all others have a connection's. 0, or a positive errno.
static int wake_init(struct weir_client *client)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    client->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    bool sound = client->wake_fd >= 0 &&
                 epoll_ctl(client->epoll_fd, EPOLL_CTL_ADD, client->wake_fd, &event) == 0;
    return sound ? 0 : errno;
}

struct weir_client *weir_client_new(const char *brokers, const struct weir_config *config)
{
    struct weir_client *client = brokers ? calloc(1, sizeof(*client)) : NULL;
    if (!client) {
        errno = brokers ? ENOMEM : EINVAL;
        return NULL;
    }
    client->config = config_values(config);
    list_init(&client->nodes);
    list_init(&client->sending);
    list_init(&client->workers);
    timers_init(&client->timers);
    arena_init(&client->decoded, DECODED_LIMIT);
    random_system(&client->random.state, sizeof(client->random.state));
    client->now_ns = clock_monotonic_ns();
    metadata_init(&client->metadata, client);
    client->wake_fd = -1;
    client->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    int error = client->epoll_fd < 0 ? errno : wake_init(client);
    client->pool = pool_create(SIZE_MAX / 2);
    if (!error)
        error = client->pool ? bootstrap_add(client, brokers) : ENOMEM;
    if (error) {
        weir_client_free(client);
        errno = error;
        return NULL;
    }
    return client;
}

void weir_client_free(struct weir_client *client)
{
    if (!client)
        return;
    CHECK(list_empty(&client->workers) && !client->in_callback);
    list_each(at, &client->nodes) {
        struct node *node = list_entry(at, struct node, link);
        list_each(link, &node->connections)
            connection_free(list_entry(link, struct connection, link));
        list_remove(&node->link);
        free(node);
    }
    metadata_free(&client->metadata);
    timers_free(&client->timers);
    arena_free(&client->decoded);
    if (client->pool)
        pool_destroy(client->pool);
    if (client->epoll_fd >= 0)
        close(client->epoll_fd);
    if (client->wake_fd >= 0)
        close(client->wake_fd);
    free(client);
}

// --------------------------------------------------------------------------------- the loop

void client_rouse(struct weir_client *client)
{
    for (struct list *at = client->workers.next; at != &client->workers; at = at->next)
        list_entry(at, struct worker, node)->due = true;
}

static bool workers_due(const struct weir_client *client, bool reports)
{
    for (struct list *at = client->workers.next; at != &client->workers; at = at->next) {
        const struct worker *worker = list_entry(at, struct worker, node);
        if (reports ? worker->reports : worker->due)
            return true;
    }
    return false;
}

// Drives and sends until there is nothing left to do. The rounds are bounded only so that a fault
// in a worker could not hang the application.
static void work(struct weir_client *client)
{
    for (int round = 0; round < WORK_ROUNDS; round++) {
        list_each(at, &client->workers) {
            struct worker *worker = list_entry(at, struct worker, node);
            if (worker->due)
                worker->drive(worker);
        }
        for (struct list *node; (node = list_pop(&client->sending));)
            connection_send(list_entry(node, struct connection, sending));
        if (!workers_due(client, false))
            return;
    }
}

static int wait_ms(const struct weir_client *client, uint64_t now_ns, uint64_t deadline_ns)
{
    uint64_t due_ns = timers_next(&client->timers);
    if (due_ns > deadline_ns)
        due_ns = deadline_ns;
    if (workers_due(client, false) || workers_due(client, true) || !list_empty(&client->sending) ||
        due_ns <= now_ns)
        return 0;
    if (due_ns == UINT64_MAX)
        return -1;
    uint64_t milliseconds = (due_ns - now_ns + MS - 1) / MS;
    return milliseconds > INT32_MAX ? INT32_MAX : (int)milliseconds;
}

static void wake_receive(struct weir_client *client)
{
    uint64_t count;
    client->woken |= read(client->wake_fd, &count, sizeof(count)) > 0;
}

int weir_wake(struct weir_client *client)
{
    uint64_t one = 1;
    int number = errno; // a signal handler must leave it as it is
    ssize_t written = write(client->wake_fd, &one, sizeof(one));
    bool sound = written > 0 || errno == EAGAIN; // EAGAIN: it is as awake as can be
    errno = number;
    return sound ? WEIR_OK : WEIR_ERR_SYSTEM;
}

bool client_woken(struct weir_client *client)
{
    bool woken = client->woken;
    client->woken = false;
    return woken;
}

void client_turn(struct weir_client *client, uint64_t deadline_ns)
{
    struct epoll_event events[EVENTS_PER_WAIT];
    client->now_ns = clock_monotonic_ns();
    work(client);
    int timeout_ms = wait_ms(client, client->now_ns, deadline_ns);
    int count = epoll_wait(client->epoll_fd, events, EVENTS_PER_WAIT, timeout_ms);
    client->now_ns = clock_monotonic_ns();
    for (int i = 0; i < count; i++) {
        if (events[i].data.ptr)
            connection_event(events[i].data.ptr, events[i].events);
        else
            wake_receive(client);
    }
    timers_run(&client->timers, client->now_ns);
    work(client);
    if (pool_stats(client->pool).idle_bytes > POOL_KEEP)
        pool_trim(client->pool, POOL_KEEP);
}

void client_report(struct weir_client *client)
{
    client->in_callback = true;
    list_each(at, &client->workers) {
        struct worker *worker = list_entry(at, struct worker, node);
        if (worker->reports)
            worker->report(worker);
    }
    client->in_callback = false;
}

int client_enter(struct weir_client *client)
{
    if (client->in_callback)
        return client_fail(client, WEIR_ERR_BUSY, "%s", weir_error_text(WEIR_ERR_BUSY));
    client->now_ns = clock_monotonic_ns();
    return WEIR_OK;
}

uint64_t client_deadline(const struct weir_client *client, int timeout_ms)
{
    return timeout_ms < 0 ? UINT64_MAX : client->now_ns + (uint64_t)timeout_ms * MS;
}

void client_wait(struct weir_client *client, bool (*done)(void *context), void *context,
                 uint64_t deadline_ns)
{
    while (!done(context)) {
        bool last = client->now_ns >= deadline_ns;
        client_turn(client, deadline_ns);
        client_report(client);
        if (last)
            return;
    }
}

int weir_poll(struct weir_client *client, int timeout_ms)
{
    int error = client_enter(client);
    if (error)
        return error;
    uint64_t deadline_ns = client_deadline(client, timeout_ms);
    client_turn(client, client->woken ? 0 : deadline_ns);
    client_report(client);
    if (client_woken(client))
        return client_fail(client, WEIR_ERR_INTERRUPTED, "%s",
                           weir_error_text(WEIR_ERR_INTERRUPTED));
    return WEIR_OK;
}

int weir_fd(const struct weir_client *client)
{
    return client->epoll_fd;
}

int weir_timeout_ms(const struct weir_client *client)
{
    return wait_ms(client, clock_monotonic_ns(), UINT64_MAX);
}

uint64_t client_backoff_ns(struct weir_client *client, int64_t first_ms, int64_t max_ms,
                           uint32_t attempt)
{
    int64_t pause_ms = first_ms;
    for (; attempt > 0 && pause_ms < max_ms; attempt--)
        pause_ms *= 2;
    if (pause_ms > max_ms && max_ms >= first_ms)
        pause_ms = max_ms;
    // Between 0.8 and 1.2 of it, so that many clients do not come back at the same moment.
    uint64_t pause_us = (uint64_t)pause_ms * 1000;
    return (pause_us * 8 / 10 + random_below(&client->random, pause_us * 4 / 10 + 1)) * 1000;
}

// --------------------------------------------------------------------------------- errors

int client_fail(struct weir_client *client, int error, const char *format, ...)
{
    char sentence[CLIENT_TEXT_SIZE];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(sentence, sizeof(sentence), format, arguments);
    va_end(arguments);
    snprintf(client->error_text, sizeof(client->error_text), "%s", sentence);
    return error;
}

void client_note_refusal(struct weir_client *client, const void *who, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(client->refusal_text, sizeof(client->refusal_text), format, arguments);
    va_end(arguments);
    client_log(client, WEIR_LOG_WARNING, "%s", client->refusal_text);
    client->refused = who;
}

void weir_client_on_log(struct weir_client *client, enum weir_log_level level,
                        void (*log)(void *context, enum weir_log_level level, const char *sentence),
                        void *context)
{
    client->log = log;
    client->log_level = level;
    client->log_context = context;
}

void client_log(struct weir_client *client, enum weir_log_level level, const char *format, ...)
{
    char sentence[CLIENT_TEXT_SIZE];
    if (!client->log || level > client->log_level)
        return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(sentence, sizeof(sentence), format, arguments);
    va_end(arguments);
    client->log(client->log_context, level, sentence);
}

void weir_client_stats(const struct weir_client *client, struct weir_client_statistics *stats)
{
    *stats = client->stats;
    for (struct list *at = client->nodes.next; at != &client->nodes; at = at->next) {
        const struct node *node = list_entry(at, struct node, link);
        for (struct list *link = node->connections.next; link != &node->connections;
             link = link->next) {
            const struct connection *connection = list_entry(link, struct connection, link);
            stats->connections += connection->state == CONNECTION_READY;
            stats->in_flight += connection->flight_count;
        }
    }
}

void client_forget_refusal(struct weir_client *client, const void *who)
{
    if (client->refused == who)
        client->refused = NULL;
}

const char *weir_last_error(const struct weir_client *client)
{
    return client->error_text;
}

const char *weir_trouble(const struct weir_client *client)
{
    for (struct list *at = client->nodes.next; at != &client->nodes; at = at->next) {
        const struct node *node = list_entry(at, struct node, link);
        for (struct list *link = node->connections.next; link != &node->connections;
             link = link->next) {
            const struct connection *connection = list_entry(link, struct connection, link);
            if (connection->state != CONNECTION_READY && connection->failures > 0 &&
                connection->error_text[0])
                return connection->error_text;
        }
    }
    return client->refused ? client->refusal_text : NULL;
}

const char *weir_version(void)
{
    return WEIR_VERSION;
}
