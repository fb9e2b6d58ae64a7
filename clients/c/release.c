// SPDX-License-Identifier: Apache-2.0
// Giving partitions up.
//
//     HELD --> REVOKE --told--> REVOKING --no hold, commits ended--> removed
//                 \___________________\____deadline, member lost____> LOST --told--> removed
//
// Invariants
//  1. From REVOKE on nothing is handed out, so the position stays what the application has seen.
//  2. Until it is removed the broker is not told that it was given up; so until then commits for
//     it count, and nobody else has it.
//  3. It takes max.poll.interval.ms at most, which is what the broker was told to wait for; past
//     that, the partitions count as lost. With the newer protocol that is before the broker gives
//     them to others: it counts from its answer, this member from its question.
#include "clients/c/consumer.h"

#include <stdlib.h>

bool release_untold(const struct member *member)
{
    const struct list *assignments = &member->consumer->assignments;
    for (struct list *at = assignments->next; at != assignments; at = at->next) {
        enum assignment_claim claim = list_entry(at, struct assignment, link)->claim;
        if (claim == CLAIM_FRESH || claim == CLAIM_REVOKE || claim == CLAIM_LOST)
            return true;
    }
    return false;
}

bool release_complete(const struct member *member)
{
    const struct list *assignments = &member->consumer->assignments;
    for (struct list *at = assignments->next; at != assignments; at = at->next) {
        if (list_entry(at, struct assignment, link)->claim != CLAIM_BY_HAND)
            return false;
    }
    return true;
}

static int target_compare(const void *key, const void *item)
{
    const struct assignment *assignment = key;
    const struct member_target *target = item;
    if (assignment->topic != target->topic)
        return assignment->topic < target->topic ? -1 : 1;
    return (assignment->partition > target->partition) -
           (assignment->partition < target->partition);
}

// Whether the group wants the member to have it: the topic of that name may be another one by now.
static bool aimed(const struct member *member, const struct assignment *assignment)
{
    const struct member_target *target =
        member->target_count > 0 ? bsearch(assignment, member->target, member->target_count,
                                           sizeof(*member->target), target_compare)
                                 : NULL;
    return target && kp_uuid_equal(target->topic_id, assignment->group_topic_id);
}

static bool affected(const struct member *member, const struct assignment *assignment,
                     enum release_what what)
{
    if (assignment->claim != CLAIM_HELD && assignment->claim != CLAIM_FRESH)
        return false;
    switch (what) {
    case RELEASE_UNSUBSCRIBED:
        return !subscription_has(&member->subscription, assignment->topic->name);
    case RELEASE_UNAIMED:
        return !aimed(member, assignment);
    default:
        return true;
    }
}

void release_start(struct member *member, enum release_what what)
{
    struct weir_consumer *consumer = member->consumer;
    bool taken = what == RELEASE_UNAIMED && !member->classic;
    uint64_t begun_ns = taken ? member->newer.given_ns : consumer->client->now_ns;
    list_each(at, &consumer->assignments) {
        struct assignment *assignment = list_entry(at, struct assignment, link);
        if (!affected(member, assignment, what))
            continue;
        if (assignment->claim == CLAIM_FRESH) { // the application never knew
            assignment_remove(consumer, assignment);
            member->newer.owned_version++;
            continue;
        }
        assignment_stop(consumer, assignment, CLAIM_REVOKE);
        consumer->worker.reports = true;
        if (member->releasing)
            continue;
        member->releasing = true;
        member->held = false;
        member->release_deadline_ns =
            begun_ns + (uint64_t)consumer->config.max_poll_interval_ms * MS;
    }
}

static void release_finish(struct member *member)
{
    struct weir_consumer *consumer = member->consumer;
    list_each(at, &consumer->assignments) {
        struct assignment *assignment = list_entry(at, struct assignment, link);
        if (assignment->claim == CLAIM_REVOKING)
            assignment_remove(consumer, assignment);
    }
    member->releasing = member->held = false;
    member->newer.owned_version++;
    member->rejoin = true; // classic: somebody waits for what was given up
    consumer->worker.due = true;
}

void release_drive(struct member *member)
{
    struct weir_consumer *consumer = member->consumer;
    if (!member->releasing || release_untold(member))
        return;
    if (consumer->client->now_ns >= member->release_deadline_ns)
        member_lose(member);
    else if (!member->held && !commits_pending(consumer, member->release_number))
        release_finish(member);
}

int weir_rebalance_hold(struct weir_consumer *consumer)
{
    struct member *member = &consumer->member;
    if (!member->telling || !member->releasing)
        return client_fail(consumer->client, WEIR_ERR_BAD_ARGUMENT,
                           "partitions can be held only in the callback that revokes them");
    member->held = true;
    return WEIR_OK;
}

int weir_rebalance_release(struct weir_consumer *consumer)
{
    struct member *member = &consumer->member;
    if (!member->held)
        return client_fail(consumer->client, WEIR_ERR_BAD_ARGUMENT, "no partitions are held");
    member->held = false;
    member->release_number = consumer->commits.last;
    consumer->worker.due = true;
    return WEIR_OK;
}
