// SPDX-License-Identifier: Apache-2.0
// The queue of commits, and enable.auto.commit.
//
// Invariants
//  1. One commit is on its way at a time, and it is repeated until it has succeeded or failed for
//     good. So an older commit never lands after a younger one.
//  2. A member commits only partitions that it holds when the commit is sent; and partitions are
//     not given up before the commits begun by then have ended (member.c). When they are lost, what
//     is under way ends at once, and the generation that it carries is the broker's reason to
//     refuse what is on the wire already. So no commit lands after one of the next owner. One that
//     was begun as a member and not sent when the member is out ends as well.
//  3. enable.auto.commit commits only what was handed out before the last weir_consumer_poll.
#include "clients/c/commit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "clients/c/consumer.h"
#include "clients/c/error.h"
#include "protocol/error.h"

void commits_init(struct commits *commits)
{
    list_init(&commits->queue);
    list_init(&commits->finished);
}

static void commit_free(struct commit *commit)
{
    list_remove(&commit->link);
    if (commit->started && !commit->finished)
        call_cancel(&commit->batch.call);
    offset_batch_free(&commit->batch);
    free(commit->sent);
    free(commit->places);
    if (!commit->waited)
        free(commit->offsets);
    free(commit);
}

void commits_free(struct weir_consumer *consumer)
{
    for (struct list *node; (node = list_pop(&consumer->commits.queue));)
        commit_free(list_entry(node, struct commit, link));
    for (struct list *node; (node = list_pop(&consumer->commits.finished));)
        commit_free(list_entry(node, struct commit, link));
}

bool commits_pending(const struct weir_consumer *consumer, uint64_t number)
{
    const struct list *queue = &consumer->commits.queue;
    return !list_empty(queue) && list_entry(queue->next, struct commit, link)->number <= number;
}

// ------------------------------------------------------------------------------------- the end

static void committed_note(struct weir_consumer *consumer, const struct weir_offset *offset)
{
    struct assignment *assignment = consumer_find(consumer, offset->topic, offset->partition);
    if (!assignment)
        return;
    if (!offset->error)
        assignment->committed = offset->offset;
    if (assignment->committing == offset->offset)
        assignment->committing = -1;
}

// Off the queue, and to where it is told.
static void commit_finish(struct commit *commit, int error, const char *detail)
{
    struct weir_consumer *consumer = commit->consumer;
    if (commit->started && !commit->finished)
        call_cancel(&commit->batch.call);
    commit->finished = true;
    commit->error = error;
    for (size_t i = 0; i < commit->count; i++) {
        if (error && !commit->offsets[i].error)
            commit->offsets[i].error = error;
        committed_note(consumer, &commit->offsets[i]);
        if (!commit->error)
            commit->error = commit->offsets[i].error;
    }
    snprintf(commit->detail, sizeof(commit->detail), "%s",
             detail[0] ? detail : weir_error_text(commit->error));
    if (commit->error)
        consumer->stats.commits_failed++;
    else
        consumer->stats.commits++;
    list_remove(&commit->link);
    consumer->worker.due = true;
    if (commit->silent) {
        consumer->commits.auto_error = commit->error;
        commit_free(commit);
    } else if (!commit->waited) {
        list_append(&consumer->commits.finished, &commit->link);
        consumer->worker.reports = true;
    }
}

static void batch_done(struct call *call)
{
    struct offset_batch *batch = list_entry(call, struct offset_batch, call);
    struct commit *commit = list_entry(batch, struct commit, batch);
    for (size_t i = 0; i < batch->count; i++) {
        size_t at = batch->order[i];
        commit->offsets[commit->places[at]].error =
            call->error ? call->error : commit->sent[at].error;
    }
    commit_finish(commit, call->error, call->detail);
}

// While the group rebalances, or knows this member under a newer generation: as long as the member
// is not put out (commits_lose), its partitions are its own, and so is the right to commit.
static bool batch_again(struct call *call, int error)
{
    struct offset_batch *batch = list_entry(call, struct offset_batch, call);
    struct commit *commit = list_entry(batch, struct commit, batch);
    bool group = error == KP_ERROR_REBALANCE_IN_PROGRESS || error == KP_ERROR_ILLEGAL_GENERATION ||
                 error == KP_ERROR_UNKNOWN_MEMBER_ID || error == KP_ERROR_STALE_MEMBER_EPOCH ||
                 error == KP_ERROR_FENCED_MEMBER_EPOCH;
    if (!batch->member || !group)
        return false;
    member_doubted(&commit->consumer->member);
    return true;
}

// ------------------------------------------------------------------------------------- sending

static bool may_commit(const struct commit *commit, const struct weir_offset *offset)
{
    const struct weir_consumer *consumer = commit->consumer;
    if (!commit->member)
        return true;
    const struct assignment *assignment = consumer_find(consumer, offset->topic, offset->partition);
    return assignment && assignment->state != ASSIGNMENT_REMOVED &&
           assignment->claim >= CLAIM_FRESH && assignment->claim <= CLAIM_REVOKING;
}

static void commit_start(struct commit *commit)
{
    struct weir_consumer *consumer = commit->consumer;
    size_t count = 0;
    commit->sent = calloc(commit->count + 1, sizeof(*commit->sent));
    commit->places = calloc(commit->count + 1, sizeof(*commit->places));
    for (size_t i = 0; i < commit->count && commit->sent && commit->places; i++) {
        if (!may_commit(commit, &commit->offsets[i])) {
            commit->offsets[i].error = WEIR_ERR_NOT_ASSIGNED;
            continue;
        }
        commit->places[count] = i;
        commit->sent[count++] = commit->offsets[i];
    }
    if (!commit->sent || !commit->places ||
        !offset_batch_init(&commit->batch, &consumer->coordinator, commit->sent, count, true)) {
        commit_finish(commit, WEIR_ERR_NO_MEMORY, "");
        return;
    }
    if (count == 0) {
        commit_finish(commit, WEIR_OK, "");
        return;
    }
    commit->started = true;
    commit->batch.member = commit->member ? &consumer->member : NULL;
    commit->batch.call.done = batch_done;
    commit->batch.call.again = batch_again;
    commit->batch.call.deadline_ns = commit->deadline_ns;
    call_start(&commit->batch.call);
}

// Sent while a member is between two generations, a commit would only be refused. One whose member
// is out, and does not want to be in, starts too: to find that nothing is held.
static bool may_start(const struct commit *commit)
{
    const struct member *member = &commit->consumer->member;
    return !commit->member || member->generation >= 0 || member_gone(member);
}

uint64_t commits_drive(struct weir_consumer *consumer)
{
    struct commits *commits = &consumer->commits;
    uint64_t now_ns = consumer->client->now_ns;
    uint64_t due_ns = UINT64_MAX;
    if (consumer->config.enable_auto_commit && consumer->config.group_id[0]) {
        if (commits->auto_due_ns <= now_ns) {
            if (commits->auto_due_ns)
                commits_auto(consumer);
            commits->auto_due_ns = now_ns + (uint64_t)consumer->config.auto_commit_interval_ms * MS;
        }
        due_ns = commits->auto_due_ns;
    }
    while (!list_empty(&commits->queue)) {
        struct commit *commit = list_entry(commits->queue.next, struct commit, link);
        if (commit->started)
            break;
        if (may_start(commit)) {
            commit_start(commit);
        } else if (commit->deadline_ns > now_ns) {
            return commit->deadline_ns < due_ns ? commit->deadline_ns : due_ns;
        } else {
            commit_finish(commit, WEIR_ERR_TIMED_OUT, "the group has not let this member in");
        }
    }
    return due_ns;
}

void commits_lose(struct weir_consumer *consumer)
{
    list_each(node, &consumer->commits.queue)
        commit_finish(list_entry(node, struct commit, link), WEIR_ERR_NOT_ASSIGNED,
                      "the group has given the partitions to others");
}

// ------------------------------------------------------------------------------------- queueing

static struct commit *commit_new(struct weir_consumer *consumer, struct weir_offset *offsets,
                                 size_t count, uint64_t deadline_ns)
{
    struct commit *commit = calloc(1, sizeof(*commit));
    if (!commit)
        return NULL;
    commit->consumer = consumer;
    commit->number = ++consumer->commits.last;
    commit->offsets = offsets;
    commit->count = count;
    commit->deadline_ns = deadline_ns;
    commit->member = member_involved(&consumer->member);
    list_append(&consumer->commits.queue, &commit->link);
    consumer->worker.due = true;
    return commit;
}

static bool has_position(const struct assignment *assignment)
{
    return assignment->state != ASSIGNMENT_REMOVED && assignment->claim != CLAIM_LOST &&
           assignment->position >= 0;
}

static bool has_news(const struct assignment *assignment)
{
    return has_position(assignment) && assignment->done >= 0 &&
           assignment->done != assignment->committed && assignment->done != assignment->committing;
}

// The positions of all assignments, or only those that enable.auto.commit has to commit. Names are
// the metadata's, which stay. NULL: out of memory.
static struct weir_offset *positions(const struct weir_consumer *consumer, bool automatic,
                                     size_t *count)
{
    size_t most = 0;
    for (struct list *at = consumer->assignments.next; at != &consumer->assignments; at = at->next)
        most++;
    struct weir_offset *offsets = calloc(most + 1, sizeof(*offsets));
    *count = 0;
    for (struct list *at = consumer->assignments.next; at != &consumer->assignments && offsets;
         at = at->next) {
        const struct assignment *assignment = list_entry(at, struct assignment, link);
        if (automatic ? !has_news(assignment) : !has_position(assignment))
            continue;
        offsets[(*count)++] = (struct weir_offset){
            .topic = assignment->topic->name,
            .partition = assignment->partition,
            .offset = automatic ? assignment->done : assignment->position,
        };
    }
    return offsets;
}

static uint64_t patience_ns(const struct weir_consumer *consumer)
{
    return consumer->client->now_ns + (uint64_t)consumer->config.max_poll_interval_ms * MS;
}

void commits_auto(struct weir_consumer *consumer)
{
    if (!consumer->config.enable_auto_commit || !consumer->config.group_id[0])
        return;
    size_t count;
    struct weir_offset *offsets = positions(consumer, true, &count);
    struct commit *commit =
        count ? commit_new(consumer, offsets, count, patience_ns(consumer)) : NULL;
    if (!commit) {
        free(offsets); // tried again in an interval
        return;
    }
    commit->silent = true;
    list_each(at, &consumer->assignments) {
        struct assignment *assignment = list_entry(at, struct assignment, link);
        if (has_news(assignment))
            assignment->committing = assignment->done;
    }
}

static int offsets_check(struct weir_consumer *consumer, const char *what,
                         const struct weir_offset *offsets, size_t count, bool commit)
{
    struct weir_client *client = consumer->client;
    if (!consumer->config.group_id[0])
        return client_fail(client, WEIR_ERR_NO_GROUP, "%s: group.id is not set", what);
    for (size_t i = 0; i < count; i++) {
        if (!offsets[i].topic || offsets[i].partition < 0 || (commit && offsets[i].offset < 0))
            return client_fail(client, WEIR_ERR_BAD_ARGUMENT,
                               "%s: no topic, or an impossible partition or offset", what);
    }
    return WEIR_OK;
}

// One piece of memory for the offsets and their texts.
static struct weir_offset *offsets_copy(const struct weir_offset *offsets, size_t count)
{
    size_t size = count * sizeof(*offsets) + 1;
    for (size_t i = 0; i < count; i++)
        size += strlen(offsets[i].topic) + 1 +
                (offsets[i].metadata ? strlen(offsets[i].metadata) + 1 : 0);
    struct weir_offset *copies = malloc(size);
    if (!copies)
        return NULL;
    char *text = (char *)(copies + count);
    for (size_t i = 0; i < count; i++) {
        copies[i] = offsets[i];
        copies[i].error = WEIR_OK;
        copies[i].topic = text;
        text = stpcpy(text, offsets[i].topic) + 1;
        if (!offsets[i].metadata)
            continue;
        copies[i].metadata = text;
        text = stpcpy(text, offsets[i].metadata) + 1;
    }
    return copies;
}

int weir_commit_async(struct weir_consumer *consumer, const struct weir_offset *offsets,
                      size_t count, commit_callback *done, void *context)
{
    int error = offsets_check(consumer, "cannot commit", offsets, count, true);
    if (error)
        return error;
    consumer->client->now_ns = clock_monotonic_ns();
    struct weir_offset *copies =
        count ? offsets_copy(offsets, count) : positions(consumer, false, &count);
    struct commit *commit =
        copies ? commit_new(consumer, copies, count, patience_ns(consumer)) : NULL;
    if (!commit) {
        free(copies);
        return client_fail(consumer->client, WEIR_ERR_NO_MEMORY, "cannot commit: out of memory");
    }
    commit->done = done;
    commit->context = context;
    return WEIR_OK;
}

// ------------------------------------------------------------------------------------- telling

bool commits_to_report(const struct weir_consumer *consumer)
{
    return !list_empty(&consumer->commits.finished);
}

void commits_report(struct weir_consumer *consumer)
{
    struct list finished;
    list_init(&finished);
    list_splice(&finished, &consumer->commits.finished);
    for (struct list *node; (node = list_pop(&finished));) {
        struct commit *commit = list_entry(node, struct commit, link);
        if (commit->error)
            client_fail(consumer->client, commit->error, "cannot commit: %s", commit->detail);
        if (commit->done)
            commit->done(commit->context, commit->error, commit->offsets, commit->count);
        commit_free(commit);
    }
}

void commits_abandon(struct weir_consumer *consumer)
{
    consumer->client->in_callback = true;
    list_each(node, &consumer->commits.queue)
        commit_finish(list_entry(node, struct commit, link), WEIR_ERR_ABANDONED, "");
    commits_report(consumer);
    consumer->client->in_callback = false;
}

// ------------------------------------------------------------------------------------- waiting

static bool commit_finished(void *context)
{
    return ((const struct commit *)context)->finished;
}

// Turns until the commit, whose offsets are the caller's, has ended; frees it.
static int commit_wait(struct commit *commit)
{
    struct weir_consumer *consumer = commit->consumer;
    struct weir_client *client = consumer->client;
    commit->waited = true;
    client_wait(client, commit_finished, commit, commit->deadline_ns);
    if (!commit->finished) {
        const char *trouble = weir_trouble(client);
        commit_finish(commit, WEIR_ERR_TIMED_OUT, trouble ? trouble : commit->batch.call.detail);
    }
    int error = commit->error;
    if (error)
        client_fail(client, error, "cannot commit: %s", commit->detail);
    commit_free(commit);
    return error;
}

static int commit_run(struct weir_consumer *consumer, struct weir_offset *offsets, size_t count,
                      int timeout_ms)
{
    if (count == 0)
        return WEIR_OK;
    for (size_t i = 0; i < count; i++)
        offsets[i].error = WEIR_OK;
    struct commit *commit =
        commit_new(consumer, offsets, count, client_deadline(consumer->client, timeout_ms));
    if (!commit)
        return client_fail(consumer->client, WEIR_ERR_NO_MEMORY, "cannot commit: out of memory");
    return commit_wait(commit);
}

int weir_commit_offsets(struct weir_consumer *consumer, struct weir_offset *offsets, size_t count,
                        int timeout_ms)
{
    int error = client_enter(consumer->client);
    if (!error)
        error = offsets_check(consumer, "cannot commit", offsets, count, true);
    return error ? error : commit_run(consumer, offsets, count, timeout_ms);
}

int weir_commit(struct weir_consumer *consumer, int timeout_ms)
{
    int error = client_enter(consumer->client);
    if (!error)
        error = offsets_check(consumer, "cannot commit", NULL, 0, true);
    if (error)
        return error;
    size_t count;
    struct weir_offset *offsets = positions(consumer, false, &count);
    if (!offsets)
        return client_fail(consumer->client, WEIR_ERR_NO_MEMORY, "cannot commit: out of memory");
    error = commit_run(consumer, offsets, count, timeout_ms);
    free(offsets);
    return error;
}

int weir_committed(struct weir_consumer *consumer, struct weir_offset *offsets, size_t count,
                   int timeout_ms)
{
    static const char what[] = "cannot get the committed offsets";
    struct weir_client *client = consumer->client;
    int error = client_enter(client);
    if (!error)
        error = offsets_check(consumer, what, offsets, count, false);
    if (error || count == 0)
        return error;
    struct offset_batch batch;
    if (!offset_batch_init(&batch, &consumer->coordinator, offsets, count, false))
        return client_fail(client, WEIR_ERR_NO_MEMORY, "%s: out of memory", what);
    batch.require_stable = consumer->config.isolation_level == READ_COMMITTED;
    error = call_run(&batch.call, what, timeout_ms);
    if (!error)
        error = offset_batch_error(&batch);
    if (error && !batch.call.error)
        client_fail(client, error, "%s: %s", what, batch.call.detail);
    offset_batch_free(&batch);
    return error;
}
