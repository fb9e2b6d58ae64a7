// SPDX-License-Identifier: Apache-2.0
// A call's life, between call_start and `finished`:
//
//     locating --target known--> sent --reply--> finished
//        ^                         |
//        +-- pause (retry.backoff) +-- retriable error, connection lost
//
// Invariants
//  1. A call that is not finished waits for exactly one thing: metadata or a coordinator (waiter),
//     a reply (request), or a pause (timer). The timer also guards the deadline in the first case;
//     the request's own time-out does in the second.
//  2. What an error teaches about the cluster is used before the next attempt: a lost leader or
//     coordinator is looked for anew.
#include "clients/c/call.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "clients/c/coordinator.h"
#include "clients/c/error.h"
#include "gen/kp_apis.h"
#include "protocol/error.h"

static void call_attempt(struct call *call);

static void call_finish(struct call *call, int error)
{
    call->error = error;
    call->finished = true;
    timer_cancel(&call->client->timers, &call->timer);
    list_remove(&call->waiter.node);
    if (call->done)
        call->done(call);
}

void call_cancel(struct call *call)
{
    if (call->finished)
        return;
    call->finished = true;
    request_cancel(&call->request);
    timer_cancel(&call->client->timers, &call->timer);
    list_remove(&call->waiter.node);
}

static void call_say(struct call *call, const char *words)
{
    snprintf(call->detail, sizeof(call->detail), "%s", words);
}

void call_detail(struct call *call, int16_t code, struct span words)
{
    const struct connection *connection = call->request.last;
    const char *host = connection ? connection->node->name : "the broker";
    if (words.data && words.size > 0)
        snprintf(call->detail, sizeof(call->detail), "%s answered %s: %.*s", host,
                 kp_error_name(code), words.size < 300 ? (int)words.size : 300,
                 (const char *)words.data);
    else
        snprintf(call->detail, sizeof(call->detail), "%s answered %s: %s", host,
                 kp_error_name(code), kp_error_text(code));
}

// What an error says about where to send the next attempt.
static void call_learn(struct call *call, int error)
{
    bool lost = error < 0;
    if (call->target == CALL_COORDINATOR &&
        (lost || error == KP_ERROR_NOT_COORDINATOR || error == KP_ERROR_COORDINATOR_NOT_AVAILABLE))
        coordinator_lost(call->coordinator);
    else if (call->target == CALL_LEADER || call->target == CALL_CONTROLLER)
        metadata_refresh(&call->client->metadata);
}

static void call_retry(struct call *call, int error)
{
    struct weir_client *client = call->client;
    uint64_t pause_ns = client_backoff_ns(client, client->config.retry_backoff_ms,
                                          client->config.retry_backoff_max_ms, call->attempts++);
    call->error = error;
    if (client->now_ns >= call->deadline_ns || call->deadline_ns - client->now_ns <= pause_ns) {
        // The last word is the broker's own if there was one, else that time is up.
        call_finish(call, error);
        return;
    }
    if (timer_set(&client->timers, &call->timer, client->now_ns + pause_ns) != 0)
        call_finish(call, WEIR_ERR_NO_MEMORY);
}

static void call_request_encode(struct request *request, struct kp_writer *writer)
{
    struct call *call = list_entry(request, struct call, request);
    call->encode(call, writer);
}

static bool call_request_done(struct request *request, int error, struct reply *reply)
{
    struct call *call = list_entry(request, struct call, request);
    if (error == WEIR_ERR_UNSUPPORTED) {
        snprintf(call->detail, sizeof(call->detail), "%s does not offer %s in a version we know",
                 request->last->node->name, kp_api_find(call->api_key)->name);
        call_finish(call, error);
        return true;
    }
    if (error == WEIR_ERR_ABANDONED) {
        call_finish(call, error);
        return true;
    }
    if (error) {
        if (request->last->error_text[0])
            call_say(call, request->last->error_text);
        else
            call_say(call, weir_error_text(error));
    } else {
        call->detail[0] = '\0';
        error = call->decode(call, reply);
        if (error == WEIR_ERR_CORRUPT) {
            snprintf(call->detail, sizeof(call->detail), "the answer of %s to %s cannot be decoded",
                     request->last->node->name, kp_api_find(call->api_key)->name);
            call_finish(call, error);
            return false;
        }
    }
    bool final = error == WEIR_ERR_UNKNOWN_TOPIC_OR_PARTITION && call->missing_is_final;
    if (weir_error_retriable(error) && !final) {
        call_learn(call, error);
        call_retry(call, error);
    } else if (error && call->again && call->again(call, error)) {
        call_retry(call, error);
    } else {
        call_finish(call, error);
    }
    return true;
}

// The deadline struck while waiting, or a pause is over.
static void call_timer_expired(struct timer *timer)
{
    struct call *call = list_entry(timer, struct call, timer);
    list_remove(&call->waiter.node);
    if (call->client->now_ns >= call->deadline_ns)
        call_finish(call, call->error ? call->error : WEIR_ERR_TIMED_OUT);
    else
        call_attempt(call);
}

void call_fail(struct call *call, int error, const char *detail)
{
    call_say(call, detail);
    call_finish(call, error);
}

void call_resume(struct call *call)
{
    list_remove(&call->waiter.node);
    timer_cancel(&call->client->timers, &call->timer);
    call_attempt(call);
}

static void metadata_updated(struct metadata_waiter *waiter)
{
    call_resume(list_entry(waiter, struct call, waiter));
}

// Nothing can be sent before more is known: waits, at most until the deadline.
static void call_wait_for(struct call *call, bool coordinator)
{
    struct weir_client *client = call->client;
    if (client->now_ns >= call->deadline_ns && call->attempts > 0) {
        call_finish(call, call->error ? call->error : WEIR_ERR_TIMED_OUT);
        return;
    }
    call->attempts++;
    if (call->deadline_ns != UINT64_MAX)
        timer_set(&client->timers, &call->timer, call->deadline_ns);
    if (coordinator) {
        coordinator_wait(call->coordinator, call);
        return;
    }
    metadata_wait(&client->metadata, &call->waiter);
}

// Why the leader of a partition will not be known soon; WEIR_OK when it may be.
static int leader_missing(struct call *call)
{
    const struct metadata_topic *topic = call->topic;
    int error = metadata_topic_error(&call->client->metadata, topic);
    if (error || topic->error || topic->partition_count == 0)
        return error;
    bool exists = call->partition >= 0 && call->partition < topic->partition_count;
    return exists ? WEIR_OK : WEIR_ERR_UNKNOWN_TOPIC_OR_PARTITION;
}

// The node to send to; NULL when it is not known yet (the call then waits, or has failed).
static struct node *call_locate_leader(struct call *call)
{
    struct weir_client *client = call->client;
    int32_t leader = metadata_leader(&client->metadata, call->topic, call->partition);
    struct node *node = leader < 0 ? NULL : client_node(client, leader);
    if (node)
        return node;
    int error = leader_missing(call);
    if (error) {
        snprintf(call->detail, sizeof(call->detail), "topic '%s' partition %d: %s",
                 call->topic->name, call->partition, weir_error_text(error));
        call_finish(call, error);
        return NULL;
    }
    snprintf(call->detail, sizeof(call->detail), "topic '%s' partition %d has no known leader",
             call->topic->name, call->partition);
    call_wait_for(call, false);
    return NULL;
}

static struct connection *call_locate(struct call *call)
{
    struct weir_client *client = call->client;
    struct node *node = NULL;
    switch (call->target) {
    case CALL_ANY:
        return client_any_connection(client);
    case CALL_LEADER:
        node = call_locate_leader(call);
        break;
    case CALL_CONTROLLER:
        node = client_node(client, client->metadata.controller);
        if (!node)
            call_wait_for(call, false);
        break;
    case CALL_NODE:
        node = client_node(client, call->node_id);
        if (!node && call->attempts == 0)
            call_wait_for(call, false);
        else if (!node)
            call_finish(call, WEIR_ERR_BAD_ARGUMENT);
        break;
    case CALL_COORDINATOR:
        node = client_node(client, call->coordinator->node_id);
        if (!node)
            call_wait_for(call, true);
        break;
    }
    return node ? client_connection(client, node, call->channel) : NULL;
}

static void call_attempt(struct call *call)
{
    struct weir_client *client = call->client;
    struct connection *connection = call_locate(call);
    if (!connection)
        return;
    uint64_t left_ns = call->deadline_ns == UINT64_MAX      ? UINT64_MAX
                       : call->deadline_ns > client->now_ns ? call->deadline_ns - client->now_ns
                                                            : 1;
    int64_t limit_ms =
        call->request_timeout_ms ? call->request_timeout_ms : client->config.request_timeout_ms;
    uint64_t limit_ns = (uint64_t)limit_ms * MS;
    call->request = (struct request){
        .api_key = call->api_key,
        .version_min = call->version_min,
        .version_max = call->version_max ? call->version_max : INT16_MAX,
        .timeout_ns = left_ns < limit_ns ? left_ns : limit_ns,
        .cut = left_ns < limit_ns,
        .encode = call_request_encode,
        .done = call_request_done,
    };
    list_init(&call->request.node);
    connection_submit(connection, &call->request);
}

void call_start(struct call *call)
{
    call->error = WEIR_OK;
    call->finished = false;
    call->attempts = 0;
    call->detail[0] = '\0';
    call->timer = (struct timer){.expired = call_timer_expired};
    call->request = (struct request){0};
    list_init(&call->request.node);
    list_init(&call->waiter.node);
    call->waiter.updated = metadata_updated;
    call_attempt(call);
}

static bool call_finished(void *context)
{
    return ((struct call *)context)->finished;
}

int call_run(struct call *call, const char *what, int timeout_ms)
{
    struct weir_client *client = call->client;
    call->deadline_ns = client_deadline(client, timeout_ms);
    call_start(call);
    client_wait(client, call_finished, call, call->deadline_ns);
    if (!call->finished) {
        call_cancel(call);
        call->error = call->error ? call->error : WEIR_ERR_TIMED_OUT;
        const struct connection *connection = call->request.last;
        if (!call->detail[0] && connection && connection->error_text[0] &&
            connection->state != CONNECTION_READY)
            call_say(call, connection->error_text);
    }
    if (call->error == WEIR_ERR_TIMED_OUT && !call->detail[0] && weir_trouble(client))
        call_say(call, weir_trouble(client));
    if (call->error)
        client_fail(client, call->error, "%s: %s", what,
                    call->detail[0] ? call->detail : weir_error_text(call->error));
    return call->error;
}
