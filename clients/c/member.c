// SPDX-License-Identifier: Apache-2.0
// A membership, whatever the protocol: its calls, its loss, its end; and the application's side.
//
//     OUT --> JOINING --> [LEADING --> SYNCING -->] IN --> LEAVING --> OUT
//      ^         |             |          |         |
//      +---------+-------------+----------+---------+    lost, refused for now: again after a pause
//                                                        FAILED: refused for good
//
// Invariants
//  1. `call` is the only request of the member under way, so answers never cross: whoever asks
//     something else hangs up first.
//  2. It joins only when the application knows everything that has happened before: nothing is
//     FRESH, REVOKE or LOST then. So what a callback tells is the state, not history.
//  3. A partition leaves a member in one of two ways: given up (release.c) while the member is
//     known to the broker, or lost.
//  4. With a broker that does not answer, it stays what it is: the coordinator decides who is a
//     member, and tells when it can be asked again.
#include "clients/c/member.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "clients/c/consumer.h"
#include "clients/c/error.h"
#include "protocol/error.h"

void member_init(struct member *member, struct weir_consumer *consumer)
{
    const struct config *config = &consumer->config;
    *member = (struct member){.consumer = consumer, .generation = -1};
    subscription_init(&member->subscription, consumer->client, &consumer->worker);
    arena_init(&member->classics.round, (size_t)256 << 20);
    member->classic =
        config->group_protocol == GROUP_PROTOCOL_CLASSIC ||
        (config->group_protocol == GROUP_PROTOCOL_AUTO && config->assignment_strategy[0]);
    member->classics.cooperative = strcmp(config->assignment_strategy, "cooperative-sticky") == 0;
}

void member_free(struct member *member)
{
    member_hang_up(member);
    newer_free(member);
    client_forget_refusal(member->consumer->client, member);
    subscription_free(&member->subscription);
    arena_free(&member->classics.round);
    free(member->classics.watches);
    free(member->target);
}

bool member_is_static(const struct member *member)
{
    return member->consumer->config.group_instance_id[0] != '\0';
}

// ------------------------------------------------------------------------------------- calls

void member_call(struct member *member, struct member_ask ask)
{
    struct weir_consumer *consumer = member->consumer;
    const struct config *config = &consumer->config;
    member_hang_up(member);
    member->calling = true;
    member->code = 0;
    member->words[0] = '\0';
    member->call = (struct call){
        .client = consumer->client,
        .target = CALL_COORDINATOR,
        .coordinator = &consumer->coordinator,
        .api_key = ask.api_key,
        .version_min = ask.version_min,
        .channel = ask.parks ? member : NULL,
        .request_timeout_ms =
            ask.parks ? config->max_poll_interval_ms + config->request_timeout_ms : 0,
        .deadline_ns = UINT64_MAX,
        .encode = ask.encode,
        .decode = ask.decode,
        .done = ask.done,
    };
    call_start(&member->call);
}

void member_hang_up(struct member *member)
{
    if (member->calling)
        call_cancel(&member->call);
    member->calling = false;
}

int member_answered(struct member *member, int16_t code, struct span words)
{
    int size = words.data && words.size < sizeof(member->words) ? (int)words.size : 0;
    member->code = code;
    snprintf(member->words, sizeof(member->words), "%.*s", size,
             size ? (const char *)words.data : "");
    bool elsewhere = code == KP_ERROR_COORDINATOR_LOAD_IN_PROGRESS ||
                     code == KP_ERROR_COORDINATOR_NOT_AVAILABLE || code == KP_ERROR_NOT_COORDINATOR;
    if (!elsewhere)
        return WEIR_OK;
    call_detail(&member->call, code, words);
    return error_from_wire(code);
}

// ------------------------------------------------------------------------------------- life

bool member_wanted(const struct member *member)
{
    const struct weir_consumer *consumer = member->consumer;
    uint64_t idle_ns = consumer->client->now_ns - member->polled_ns;
    bool idle = !member->polling && idle_ns > (uint64_t)consumer->config.max_poll_interval_ms * MS;
    return !subscription_is_empty(&member->subscription) && !member->closing && !idle;
}

bool member_gone(const struct member *member)
{
    if (member->state == MEMBER_FAILED || member->state == MEMBER_LEAVING)
        return true;
    return member->state == MEMBER_OUT && !member_wanted(member);
}

void member_retry(struct member *member)
{
    struct weir_client *client = member->consumer->client;
    member->state = MEMBER_OUT;
    member->due_ns =
        client->now_ns + client_backoff_ns(client, client->config.retry_backoff_ms,
                                           client->config.retry_backoff_max_ms, member->attempts++);
    member->consumer->worker.due = true;
}

void member_lose(struct member *member)
{
    struct weir_consumer *consumer = member->consumer;
    member_hang_up(member);
    list_each(at, &consumer->assignments) {
        struct assignment *assignment = list_entry(at, struct assignment, link);
        if (assignment->claim == CLAIM_FRESH)
            assignment_remove(consumer, assignment);
        else if (assignment->claim != CLAIM_BY_HAND && assignment->claim != CLAIM_LOST)
            assignment_stop(consumer, assignment, CLAIM_LOST);
    }
    commits_lose(consumer);
    member->releasing = member->held = member->announce = false;
    member->generation = -1;
    member->target_new = false;
    member->newer.given_count = 0;
    consumer->worker.reports |= release_untold(member);
    member_retry(member);
}

void member_doubted(struct member *member)
{
    if (member->state == MEMBER_IN) {
        member->due_ns = member->consumer->client->now_ns;
        member->consumer->worker.due = true;
    }
}

void member_fail(struct member *member, int error, const char *format, ...)
{
    va_list arguments;
    member_lose(member);
    va_start(arguments, format);
    vsnprintf(member->reason, sizeof(member->reason), format, arguments);
    va_end(arguments);
    member->error = error;
    member->state = MEMBER_FAILED;
    member->present = false;
}

void member_fail_code(struct member *member)
{
    const struct connection *connection = member->call.request.last;
    const char *words = member->words[0] ? member->words : kp_error_text(member->code);
    member_fail(
        member, error_from_wire(member->code),
        "cannot be a member of group '%s': %s answered %s: %s", member->consumer->config.group_id,
        connection ? connection->node->name : "the broker", kp_error_name(member->code), words);
}

void member_fail_call(struct member *member)
{
    char detail[sizeof(member->call.detail)];
    snprintf(detail, sizeof(detail), "%s", member->call.detail);
    member_fail(member, member->call.error, "cannot be a member of group '%s': %s",
                member->consumer->config.group_id,
                detail[0] ? detail : weir_error_text(member->call.error));
}

// Gives everything up, then leaves.
static void member_quit(struct member *member)
{
    if (member->state == MEMBER_LEAVING || member->releasing)
        return;
    if (!release_complete(member)) {
        release_start(member, RELEASE_ALL);
        return;
    }
    member_hang_up(member);
    member->generation = -1;
    member->rejoin = false;
    if (!member->present) {
        member->state = MEMBER_OUT;
        return;
    }
    member->state = MEMBER_LEAVING;
    if (member->classic)
        classic_leave(member);
    else
        newer_leave(member);
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

uint64_t member_drive(struct member *member)
{
    const struct weir_consumer *consumer = member->consumer;
    uint64_t due_ns = UINT64_MAX;
    if (!member_involved(member) || member->state == MEMBER_FAILED)
        return due_ns;
    if (member->classic)
        due_ns = subscription_drive(&member->subscription);
    due_ns = earlier(due_ns, subscription_watch(&member->subscription));
    release_drive(member);
    bool wanted = member_wanted(member);
    if (!wanted)
        member_quit(member);
    // Also on the way out it keeps its place until it holds nothing.
    if (wanted || member->state == MEMBER_IN) {
        if (member->classic)
            classic_drive(member);
        else
            newer_drive(member);
    }
    if (member->state == MEMBER_IN || (member->state == MEMBER_OUT && wanted))
        due_ns = earlier(due_ns, member->calling ? UINT64_MAX : member->due_ns);
    if (member->releasing)
        due_ns = earlier(due_ns, member->release_deadline_ns);
    if (wanted && !member->polling)
        due_ns = earlier(due_ns, member->polled_ns +
                                     (uint64_t)consumer->config.max_poll_interval_ms * MS + MS);
    return member->classic ? due_ns : earlier(due_ns, newer_due_ns(member));
}

// ------------------------------------------------------------------------------------- the target

static int target_order(const void *a, const void *b)
{
    const struct member_target *left = a, *right = b;
    if (left->topic != right->topic)
        return left->topic < right->topic ? -1 : 1;
    return (left->partition > right->partition) - (left->partition < right->partition);
}

bool member_aim(struct member *member, const struct member_target *target, size_t count)
{
    struct member_target *copy = calloc(count + 1, sizeof(*copy));
    if (!copy)
        return false;
    if (count > 0) {
        memcpy(copy, target, count * sizeof(*copy));
        qsort(copy, count, sizeof(*copy), target_order);
    }
    free(member->target);
    member->target = copy;
    member->target_count = count;
    member->target_new = true;
    return true;
}

// Takes what is not there yet. False when some of it has to wait.
static bool target_take(struct member *member)
{
    struct weir_consumer *consumer = member->consumer;
    bool complete = true;
    for (size_t i = 0; i < member->target_count; i++) {
        const struct member_target *target = &member->target[i];
        struct assignment *assignment =
            consumer_find(consumer, target->topic->name, target->partition);
        if (assignment && assignment->state != ASSIGNMENT_REMOVED) {
            complete &= assignment->claim == CLAIM_FRESH || assignment->claim == CLAIM_HELD;
            continue;
        }
        if (!assignment)
            assignment = assignment_add(consumer, target->topic->name, target->partition);
        if (!assignment)
            return false;
        assignment->claim = CLAIM_FRESH;
        assignment->group_topic_id = target->topic_id;
        assignment->paused = false;
        assignment->done = assignment->committed = assignment->committing = -1;
        assignment->fetch_limit = (int32_t)consumer->config.max_partition_fetch_bytes;
        assignment_start(consumer, assignment, WEIR_STORED);
        member->newer.owned_version++;
        consumer->worker.reports = true;
    }
    return complete;
}

void member_apply(struct member *member)
{
    if (!member->target_new || member->releasing || release_untold(member))
        return;
    // Who had nothing and gets nothing is told so.
    member->announce = member->target_count == 0 && release_complete(member);
    release_start(member, RELEASE_UNAIMED);
    member->target_new = !target_take(member) || member->releasing;
    member->consumer->worker.reports |= member->announce;
}

static int owned_order(const void *a, const void *b)
{
    const struct assignment *left = *(const struct assignment *const *)a;
    const struct assignment *right = *(const struct assignment *const *)b;
    int order = strcmp(left->topic->name, right->topic->name);
    if (order != 0)
        return order;
    return (left->partition > right->partition) - (left->partition < right->partition);
}

// Assignments with a claim in that range, in order. NULL: out of memory.
static const struct assignment **claimed(const struct member *member, struct arena *arena,
                                         enum assignment_claim from, enum assignment_claim to,
                                         size_t *count)
{
    const struct list *assignments = &member->consumer->assignments;
    *count = 0;
    for (struct list *at = assignments->next; at != assignments; at = at->next)
        (*count)++;
    const struct assignment **found = arena_array(arena, *count + 1, sizeof(struct assignment *));
    *count = 0;
    for (struct list *at = assignments->next; at != assignments && found; at = at->next) {
        const struct assignment *assignment = list_entry(at, struct assignment, link);
        if (assignment->claim >= from && assignment->claim <= to)
            found[(*count)++] = assignment;
    }
    if (found && *count > 0)
        qsort(found, *count, sizeof(struct assignment *), owned_order);
    return found;
}

bool member_owned(const struct member *member, struct arena *arena, bool releasing,
                  struct topic_shares *out)
{
    size_t count;
    const struct assignment **owned =
        claimed(member, arena, CLAIM_FRESH, releasing ? CLAIM_REVOKING : CLAIM_HELD, &count);
    out->topics = arena_array(arena, count + 1, sizeof(*out->topics));
    int32_t *partitions = arena_array(arena, count + 1, sizeof(*partitions));
    out->count = 0;
    if (!owned || !out->topics || !partitions)
        return false;
    for (size_t i = 0; i < count; i++) {
        partitions[i] = owned[i]->partition;
        if (i == 0 || owned[i]->topic != owned[i - 1]->topic)
            out->topics[out->count++] = (struct topic_share){
                .topic = span_text(owned[i]->topic->name), .partitions = &partitions[i]};
        out->topics[out->count - 1].partition_count++;
    }
    return true;
}

// ------------------------------------------------------------------------------------- telling

bool member_to_report(const struct member *member)
{
    return release_untold(member) || member->announce;
}

// Tells of all assignments with a claim, which is `then` afterwards. Returns how many; -1 when
// memory is short: nobody was told.
static long member_tell(struct member *member, enum weir_rebalance_kind kind,
                        enum assignment_claim claim, enum assignment_claim then)
{
    struct weir_consumer *consumer = member->consumer;
    struct arena arena;
    size_t count;
    arena_init(&arena, SIZE_MAX / 2);
    const struct assignment **found = claimed(member, &arena, claim, claim, &count);
    struct weir_topic_partition *partitions = arena_array(&arena, count + 1, sizeof(*partitions));
    if (!found || !partitions) {
        arena_free(&arena);
        return -1;
    }
    for (size_t i = 0; i < count; i++)
        partitions[i] = (struct weir_topic_partition){found[i]->topic->name, found[i]->partition};
    list_each(at, &consumer->assignments) {
        struct assignment *assignment = list_entry(at, struct assignment, link);
        if (assignment->claim == claim)
            assignment->claim = then;
    }
    consumer->stats.rebalances += count > 0;
    struct weir_rebalance rebalance = {.kind = kind, .partitions = partitions, .count = count};
    bool empty = kind == WEIR_PARTITIONS_ASSIGNED && member->announce;
    if (member->changed && (count > 0 || empty))
        member->changed(member->context, &rebalance);
    arena_free(&arena);
    return (long)count;
}

void member_report(struct member *member)
{
    struct weir_consumer *consumer = member->consumer;
    consumer->worker.due = true;
    if (member_tell(member, WEIR_PARTITIONS_LOST, CLAIM_LOST, CLAIM_BY_HAND) < 0)
        return;
    member->telling = true;
    long told = member_tell(member, WEIR_PARTITIONS_REVOKED, CLAIM_REVOKE, CLAIM_REVOKING);
    member->telling = false;
    if (told > 0) {
        commits_auto(consumer);
        member->release_number = consumer->commits.last;
    }
    if (member_tell(member, WEIR_PARTITIONS_ASSIGNED, CLAIM_FRESH, CLAIM_HELD) >= 0)
        member->announce = false;
}
