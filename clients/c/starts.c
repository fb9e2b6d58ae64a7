// SPDX-License-Identifier: Apache-2.0
// Finds out where newly assigned partitions start: the group's committed offset, or the beginning
// or end of the partition.
//
// Invariant: an assignment in state LOOKING is part of exactly one start_lookup; when that ends, it
// is fetching, looking for something else, or failed. A lookup whose assignment was started anew
// meanwhile (another generation) says nothing about it.
#include <stdlib.h>

#include "clients/c/consumer.h"
#include "clients/c/error.h"

static void start_free(struct start_lookup *start)
{
    list_remove(&start->link);
    if (start->committed) {
        call_cancel(&start->stored.call);
        offset_batch_free(&start->stored);
    } else {
        offset_lookup_free(&start->lookup);
    }
    free(start->assignments);
    free(start->generations);
    free(start->queries);
    free(start->offsets);
    free(start);
}

static bool still_meant(const struct start_lookup *start, size_t i)
{
    const struct assignment *assignment = start->assignments[i];
    return assignment->generation == start->generations[i] &&
           assignment->state == ASSIGNMENT_LOOKING;
}

static void looked_up(struct offset_lookup *lookup)
{
    struct start_lookup *start = list_entry(lookup, struct start_lookup, lookup);
    for (size_t i = 0; i < start->count; i++) {
        struct assignment *assignment = start->assignments[i];
        const struct weir_offset_query *query = &start->queries[i];
        if (!still_meant(start, i))
            continue;
        if (query->error && assignment_await(start->consumer, assignment, query->error))
            continue;
        if (query->error)
            assignment_fail(start->consumer, assignment, query->error,
                            "cannot find out where to start: %s",
                            lookup->detail[0] ? lookup->detail : weir_error_text(query->error));
        else
            assignment_start(start->consumer, assignment, query->offset < 0 ? 0 : query->offset);
    }
    start_free(start);
}

static void stored_fetched(struct call *call)
{
    struct offset_batch *batch = list_entry(call, struct offset_batch, call);
    struct start_lookup *start = list_entry(batch, struct start_lookup, stored);
    for (size_t i = 0; i < start->count; i++) {
        struct assignment *assignment = start->assignments[i];
        const struct weir_offset *offset = &start->offsets[i];
        int error = call->error ? call->error : offset->error;
        if (!still_meant(start, i))
            continue;
        if (error)
            assignment_fail(start->consumer, assignment, error,
                            "topic '%s' partition %d: cannot get the committed offset: %s",
                            assignment->topic->name, assignment->partition,
                            call->detail[0] ? call->detail : weir_error_text(error));
        else if (offset->offset < 0)
            assignment_reset(start->consumer, assignment, WEIR_ERR_NO_OFFSET);
        else
            assignment_start(start->consumer, assignment, offset->offset);
        if (!error)
            assignment->committed = offset->offset;
    }
    start_free(start);
}

static bool start_wanted(const struct weir_consumer *consumer, const struct assignment *assignment,
                         enum assignment_state state)
{
    return assignment->state == state && !assignment_blocked(assignment) &&
           assignment->retry_at_ns <= consumer->client->now_ns;
}

// When the first of those that were postponed is to be asked about.
static uint64_t starts_due_ns(const struct weir_consumer *consumer)
{
    uint64_t due_ns = UINT64_MAX;
    for (struct list *at = consumer->assignments.next; at != &consumer->assignments;
         at = at->next) {
        const struct assignment *assignment = list_entry(at, struct assignment, link);
        bool waits = assignment->state < ASSIGNMENT_LOOKING &&
                     assignment->retry_at_ns > consumer->client->now_ns;
        if (waits && assignment->retry_at_ns < due_ns)
            due_ns = assignment->retry_at_ns;
    }
    return due_ns;
}

// A lookup for all assignments in `state`, which are LOOKING from now on. NULL if there are none,
// or memory is short (then they are tried again with the next drive).
static struct start_lookup *start_new(struct weir_consumer *consumer, enum assignment_state state)
{
    size_t count = 0;
    for (struct list *at = consumer->assignments.next; at != &consumer->assignments; at = at->next)
        count += start_wanted(consumer, list_entry(at, struct assignment, link), state);
    struct start_lookup *start = count ? calloc(1, sizeof(*start)) : NULL;
    if (!start)
        return NULL;
    start->consumer = consumer;
    start->assignments = calloc(count, sizeof(struct assignment *));
    start->generations = calloc(count, sizeof(*start->generations));
    start->queries = calloc(count, sizeof(*start->queries));
    start->offsets = calloc(count, sizeof(*start->offsets));
    list_init(&start->link);
    list_init(&start->lookup.groups);
    if (!start->assignments || !start->generations || !start->queries || !start->offsets) {
        start_free(start);
        return NULL;
    }
    list_each(at, &consumer->assignments) {
        struct assignment *assignment = list_entry(at, struct assignment, link);
        if (!start_wanted(consumer, assignment, state))
            continue;
        size_t i = start->count++;
        start->assignments[i] = assignment;
        start->generations[i] = assignment->generation;
        start->queries[i].topic = start->offsets[i].topic = assignment->topic->name;
        start->queries[i].partition = start->offsets[i].partition = assignment->partition;
        start->queries[i].at = assignment->start;
        assignment->state = ASSIGNMENT_LOOKING;
    }
    list_append(&consumer->lookups, &start->link);
    return start;
}

// Gives up before anything was asked: the assignments wait for the next drive.
static void start_undo(struct start_lookup *start, enum assignment_state state)
{
    for (size_t i = 0; i < start->count; i++)
        start->assignments[i]->state = state;
    start->committed = false;
    start_free(start);
}

uint64_t starts_drive(struct weir_consumer *consumer)
{
    struct start_lookup *start = start_new(consumer, ASSIGNMENT_NEEDS_STORED);
    if (start && offset_batch_init(&start->stored, &consumer->coordinator, start->offsets,
                                   start->count, false)) {
        start->committed = true;
        start->stored.require_stable = consumer->config.isolation_level == READ_COMMITTED;
        start->stored.call.done = stored_fetched;
        call_start(&start->stored.call);
    } else if (start) {
        start_undo(start, ASSIGNMENT_NEEDS_STORED);
    }
    start = start_new(consumer, ASSIGNMENT_NEEDS_LOOKUP);
    if (!start)
        return starts_due_ns(consumer);
    start->lookup = (struct offset_lookup){
        .client = consumer->client,
        .queries = start->queries,
        .count = start->count,
        .deadline_ns = UINT64_MAX,
        .isolation = (int8_t)consumer->config.isolation_level,
        .done = looked_up,
    };
    if (!offset_lookup_start(&start->lookup))
        start_undo(start, ASSIGNMENT_NEEDS_LOOKUP);
    return starts_due_ns(consumer);
}

void starts_free(struct weir_consumer *consumer)
{
    list_each(at, &consumer->lookups)
        start_free(list_entry(at, struct start_lookup, link));
}
