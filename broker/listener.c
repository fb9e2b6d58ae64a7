// SPDX-License-Identifier: Apache-2.0
// All connections of a shard: accepting them, the memory they may use together, those that do
// nothing, and the end.
//
// Bounds
//  - request_bytes (receive buffers above the idle size, requests in work, their arenas) is kept
//    near its limit by not receiving for connections that have nothing begun: they are `paused`
//    until requests have finished.
//  - reply_bytes (replies that clients have not taken) is kept near its limit twofold: Fetch asks
//    listener_reply_budget before it reads, and when the limit is passed all the same, clients that
//    have taken nothing for STUCK_MS are closed, the longest stuck first.
//  - Connections over max.connections are closed as soon as they are accepted. When descriptors run
//    out, accepting pauses for a moment instead of spinning.
//
// A connection that has been silent for connections.max.idle.ms is closed, and one that holds a
// large buffer for a request of which nothing has arrived for STALLED_MS.
#include "broker/listener.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log_line.h"
#include "broker/config.h"
#include "broker/connection_internal.h"
#include "broker/endpoint.h"
#include "broker/server.h"
#include "broker/shard.h"

enum {
    ACCEPT_PAUSE_MS = 100,
    RESUME_MS = 20,
    SWEEP_MS = 2000,
    STUCK_MS = 10 * 1000,
    STALLED_MS = 60 * 1000,
    STALLED_BYTES = CONNECTION_UNPROVEN_BYTES,
    GIVE_UP_MS = 5000,
    COMPLAINTS_PER_SECOND = 5,
};

static const uint64_t ns_per_ms = 1000000;

static void set_timer(struct listener *listener, struct timer *timer, uint64_t ms)
{
    struct shard *shard = listener->shard;
    // Without memory for a timer the next turn that sets it makes good for it.
    (void)timer_set(&shard->timers, timer, shard->io->now_ns + ms * ns_per_ms);
}

// --- accepting --------------------------------------------------------------------------------

static void accept_next(struct listener *listener);

static void tell_if_drained(struct listener *listener)
{
    if (!listener->drained || listener->accepting || listener->held_requests > 0 ||
        !list_empty(&listener->connections))
        return;
    void (*drained)(struct shard * shard) = listener->drained;
    listener->drained = NULL;
    timer_cancel(&listener->shard->timers, &listener->give_up);
    drained(listener->shard);
}

static bool has_room(struct listener *listener)
{
    atomic_uint *connections = &listener->shard->server->connections;
    int64_t most = config_number(listener->shard->config, SETTING_MAX_CONNECTIONS);
    if (atomic_fetch_add(connections, 1) < most) {
        listener->full = false;
        return true;
    }
    atomic_fetch_sub(connections, 1);
    if (!listener->full)
        log_line(LOG_WARN, "max.connections=%lld is reached, new connections are closed",
                 (long long)most);
    listener->full = true;
    return false;
}

static void accepted(struct listener *listener, int fd)
{
    listener->accept_failing = false;
    if (!has_room(listener)) {
        close(fd);
        return;
    }
    if (!connection_create(listener, fd)) {
        atomic_fetch_sub(&listener->shard->server->connections, 1);
        close(fd);
        return;
    }
    if (listener->sweep.slot == 0)
        set_timer(listener, &listener->sweep, SWEEP_MS);
}

static void accept_done(struct io_op *op)
{
    struct listener *listener = list_entry(op, struct listener, accept_op);
    listener->accepting = false;
    if (op->result >= 0 && listener->stopping)
        close((int)op->result);
    else if (op->result >= 0)
        accepted(listener, (int)op->result);
    if (listener->stopping) {
        tell_if_drained(listener);
        return;
    }
    // A peer that went away while it waited is no trouble; what is left is a lack of something.
    if (op->result >= 0 || op->result == -ECONNABORTED || op->result == -EINTR) {
        accept_next(listener);
        return;
    }
    if (!listener->accept_failing)
        log_line(LOG_WARN, "cannot accept connections for now: %s", strerror((int)-op->result));
    listener->accept_failing = true;
    set_timer(listener, &listener->accept_again, ACCEPT_PAUSE_MS);
}

static void accept_next(struct listener *listener)
{
    listener->accepting = true;
    listener->accept_op.done = accept_done;
    io_accept(listener->shard->io, &listener->accept_op, listener->shard->server->listen_fd);
}

static void accept_again_expired(struct timer *timer)
{
    accept_next(list_entry(timer, struct listener, accept_again));
}

// --- memory -----------------------------------------------------------------------------------

bool listener_is_full(const struct listener *listener)
{
    return listener->request_bytes > listener->request_bytes_limit;
}

void listener_pause(struct listener *listener, struct connection *connection)
{
    list_remove(&connection->paused);
    list_append(&listener->paused, &connection->paused);
    if (listener->resume.slot == 0)
        set_timer(listener, &listener->resume, RESUME_MS);
}

static void resume_paused(struct listener *listener)
{
    if (listener_is_full(listener))
        return;
    struct list *node;
    while ((node = list_pop(&listener->paused)) != NULL)
        connection_touch(list_entry(node, struct connection, paused));
}

static void resume_expired(struct timer *timer)
{
    struct listener *listener = list_entry(timer, struct listener, resume);
    resume_paused(listener);
    if (!list_empty(&listener->paused))
        set_timer(listener, timer, RESUME_MS);
}

size_t listener_reply_budget(const struct listener *listener)
{
    if (listener->reply_bytes >= listener->reply_bytes_limit)
        return 0;
    return listener->reply_bytes_limit - listener->reply_bytes;
}

void listener_advance(struct listener *listener)
{
    if (!list_empty(&listener->paused))
        resume_paused(listener);
    struct list *node;
    while ((node = list_pop(&listener->dirty)) != NULL)
        connection_advance(list_entry(node, struct connection, dirty));
}

// --- the silent ones --------------------------------------------------------------------------

// NULL when the connection may stay.
static const char *why_close(const struct listener *listener, const struct connection *connection,
                             uint64_t silent_ms)
{
    if (connection->sending && silent_ms > STUCK_MS &&
        listener->reply_bytes > listener->reply_bytes_limit)
        return "it does not take its replies and memory is short";
    if (connection->charge > STALLED_BYTES && connection->receiving && silent_ms > STALLED_MS)
        return "it has stopped in the middle of a large request";
    if (listener->idle_ms >= 0 && silent_ms > (uint64_t)listener->idle_ms)
        return "idle";
    return NULL;
}

static void sweep_expired(struct timer *timer)
{
    struct listener *listener = list_entry(timer, struct listener, sweep);
    uint64_t now = listener->shard->io->now_ns;
    uint64_t shortest = STUCK_MS;
    if (listener->idle_ms >= 0 && (uint64_t)listener->idle_ms < shortest)
        shortest = (uint64_t)listener->idle_ms;
    list_each(node, &listener->connections) {
        struct connection *connection = list_entry(node, struct connection, node);
        uint64_t silent_ms = (now - connection->active_ns) / ns_per_ms;
        if (silent_ms <= shortest)
            break;
        const char *why = why_close(listener, connection, silent_ms);
        if (!why)
            continue;
        if (silent_ms <= (uint64_t)listener->idle_ms)
            listener_complain(connection, "%s", why);
        connection_break(connection);
    }
    // A broker without connections sleeps.
    if (!list_empty(&listener->connections))
        set_timer(listener, timer, SWEEP_MS);
}

void listener_complain(const struct connection *connection, const char *why, ...)
{
    struct listener *listener = connection->listener;
    uint64_t second = listener->shard->io->now_ns / (1000 * ns_per_ms);
    if (second != listener->complaint_second) {
        if (listener->complaints > COMPLAINTS_PER_SECOND)
            log_line(LOG_WARN, "%u more lines like the last ones were left out",
                     listener->complaints - COMPLAINTS_PER_SECOND);
        listener->complaint_second = second;
        listener->complaints = 0;
    }
    if (listener->complaints++ >= COMPLAINTS_PER_SECOND)
        return;
    char text[256];
    va_list arguments;
    va_start(arguments, why);
    vsnprintf(text, sizeof(text), why, arguments);
    va_end(arguments);
    struct endpoint client = endpoint_of_client(connection);
    log_line(LOG_WARN, "closing the connection from %s port %u: %s", client.host, client.port,
             text);
}

// --- life -------------------------------------------------------------------------------------

static void give_up_expired(struct timer *timer)
{
    struct listener *listener = list_entry(timer, struct listener, give_up);
    list_each(node, &listener->connections)
        connection_break(list_entry(node, struct connection, node));
}

int listener_create(struct shard *shard, struct listener **out)
{
    struct listener *listener = calloc(1, sizeof(*listener));
    if (!listener)
        return -ENOMEM;
    const struct config *config = shard->config;
    size_t shards = shard_count(shard);
    listener->shard = shard;
    list_init(&listener->connections);
    list_init(&listener->dirty);
    list_init(&listener->paused);
    list_init(&listener->idle_requests);
    size_t buffers = (size_t)config_number(config, SETTING_BUFFER_BYTES) / shards;
    listener->request_bytes_limit =
        (size_t)config_number(config, SETTING_QUEUED_MAX_REQUEST_BYTES) / shards;
    // The log needs memory too for what the requests bring.
    if (listener->request_bytes_limit > buffers / 2)
        listener->request_bytes_limit = buffers / 2;
    listener->request_bytes_max = (size_t)config_number(config, SETTING_SOCKET_REQUEST_MAX_BYTES);
    listener->reply_bytes_limit = buffers / 4;
    listener->idle_ms = config_number(config, SETTING_CONNECTIONS_MAX_IDLE_MS);
    listener->accept_again.expired = accept_again_expired;
    listener->sweep.expired = sweep_expired;
    listener->resume.expired = resume_expired;
    listener->give_up.expired = give_up_expired;
    *out = listener;
    return 0;
}

void listener_destroy(struct listener *listener)
{
    struct timers *timers = &listener->shard->timers;
    timer_cancel(timers, &listener->accept_again);
    timer_cancel(timers, &listener->sweep);
    timer_cancel(timers, &listener->resume);
    timer_cancel(timers, &listener->give_up);
    struct list *node;
    while ((node = list_pop(&listener->idle_requests)) != NULL) {
        struct request *request = list_entry(node, struct request, node);
        arena_free(&request->arena);
        free(request);
    }
    free(listener);
}

void listener_start(struct listener *listener)
{
    accept_next(listener);
}

void listener_stop(struct listener *listener, void (*drained)(struct shard *shard))
{
    listener->drained = drained;
    listener->stopping = true;
    timer_cancel(&listener->shard->timers, &listener->accept_again);
    if (listener->accepting)
        io_cancel(listener->shard->io, &listener->accept_op);
    list_each(node, &listener->connections)
        connection_drain(list_entry(node, struct connection, node));
    set_timer(listener, &listener->give_up, GIVE_UP_MS);
    tell_if_drained(listener);
}

void listener_forget(struct listener *listener)
{
    atomic_fetch_sub(&listener->shard->server->connections, 1);
    tell_if_drained(listener);
}

void listener_hold(struct listener *listener)
{
    listener->held_requests++;
}

void listener_let_go(struct listener *listener)
{
    listener->held_requests--;
    tell_if_drained(listener);
}
