// SPDX-License-Identifier: Apache-2.0
// What the application calls to be a member of a group.
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "clients/c/consumer.h"
#include "clients/c/error.h"

static bool assigned_by_hand(const struct weir_consumer *consumer)
{
    for (struct list *at = consumer->assignments.next; at != &consumer->assignments;
         at = at->next) {
        const struct assignment *assignment = list_entry(at, struct assignment, link);
        if (assignment->claim == CLAIM_BY_HAND && assignment->state != ASSIGNMENT_REMOVED)
            return true;
    }
    return false;
}

static int subscribe_check(const struct weir_consumer *consumer)
{
    if (!consumer->config.group_id[0])
        return client_fail(consumer->client, WEIR_ERR_NO_GROUP,
                           "cannot subscribe: group.id is not set");
    if (assigned_by_hand(consumer))
        return client_fail(consumer->client, WEIR_ERR_BAD_ARGUMENT,
                           "cannot subscribe: partitions are assigned by hand");
    return WEIR_OK;
}

// The subscription has changed: has it acted upon.
static void subscribed(struct weir_consumer *consumer)
{
    struct member *member = &consumer->member;
    struct weir_client *client = consumer->client;
    client->now_ns = clock_monotonic_ns();
    member->polled_ns = client->now_ns;
    if (member->state == MEMBER_FAILED) {
        member->state = MEMBER_OUT;
        member->id[0] = '\0';
    }
    if (member->state == MEMBER_OUT)
        member->due_ns = client->now_ns;
    consumer->worker.due = true;
}

int weir_subscribe(struct weir_consumer *consumer, const char *const *topics, size_t count)
{
    if (count == 0)
        return weir_unsubscribe(consumer);
    int error = subscribe_check(consumer);
    if (!error)
        error = subscription_set_names(&consumer->member.subscription, topics, count);
    if (!error)
        subscribed(consumer);
    return error;
}

int weir_subscribe_pattern(struct weir_consumer *consumer, const char *pattern)
{
    int error = subscribe_check(consumer);
    if (!error)
        error = subscription_set_pattern(&consumer->member.subscription, pattern);
    if (!error)
        subscribed(consumer);
    return error;
}

int weir_unsubscribe(struct weir_consumer *consumer)
{
    subscription_clear(&consumer->member.subscription);
    subscribed(consumer);
    return WEIR_OK;
}

void weir_consumer_on_rebalance(struct weir_consumer *consumer,
                                void (*changed)(void *context,
                                                const struct weir_rebalance *rebalance),
                                void *context)
{
    consumer->member.changed = changed;
    consumer->member.context = context;
}

const char *weir_consumer_member_id(const struct weir_consumer *consumer)
{
    return consumer->member.generation >= 0 ? consumer->member.id : "";
}

int32_t weir_consumer_generation(const struct weir_consumer *consumer)
{
    return consumer->member.generation;
}

// ------------------------------------------------------------------------------------- closing

static bool closed(void *context)
{
    const struct weir_consumer *consumer = context;
    const struct member *member = &consumer->member;
    return list_empty(&consumer->commits.queue) && !commits_to_report(consumer) &&
           !member_to_report(member) && !member->present &&
           (member->state == MEMBER_OUT || member->state == MEMBER_FAILED);
}

// Everything that was handed out is done.
static void done_take(struct weir_consumer *consumer)
{
    list_each(at, &consumer->assignments) {
        struct assignment *assignment = list_entry(at, struct assignment, link);
        if (!assignment_blocked(assignment))
            assignment->done = assignment->position;
    }
}

int weir_consumer_close(struct weir_consumer *consumer, int timeout_ms)
{
    if (!consumer)
        return WEIR_OK;
    struct weir_client *client = consumer->client;
    struct member *member = &consumer->member;
    int error = client_enter(client);
    if (error)
        return error;
    consumer->commits.auto_error = WEIR_OK;
    done_take(consumer);
    // A member commits when it gives its partitions up.
    if (!member_involved(member))
        commits_auto(consumer);
    member->closing = true;
    consumer->worker.due = true;
    client_wait(client, closed, consumer, client_deadline(client, timeout_ms));
    error = closed(consumer) ? consumer->commits.auto_error : WEIR_ERR_TIMED_OUT;
    if (error)
        client_fail(client, error, "cannot close the consumer in good order: %s",
                    weir_error_text(error));
    weir_consumer_free(consumer);
    return error;
}
