// SPDX-License-Identifier: Apache-2.0
// Pausing partitions, without fetching anew what had been fetched.
//
// Invariants
//  1. What was fetched of a paused partition waits in `aside`, in order, from the moment that its
//     turn to be read comes; nothing of it is in `current` before the place being read.
//  2. It is copied there, so that a paused partition holds only its own bytes: two answers' parts
//     at most, because no more is fetched.
//  3. Parts are read in order whatever is paused and resumed: what waits aside comes back before
//     all that waits to be read. If the answer being read has more of the partition, that would be
//     read first; then everything is dropped, and fetched anew.
#include <stdlib.h>
#include <string.h>

#include "clients/c/consumer.h"

void aside_drop(struct weir_consumer *consumer, const struct assignment *assignment)
{
    list_each(at, &consumer->aside) {
        struct fetched *fetched = list_entry(at, struct fetched, node);
        if (fetched->parts[0].assignment != assignment)
            continue;
        list_remove(&fetched->node);
        fetched_free(consumer, fetched);
    }
}

// A copy of what is left of a part. NULL when memory is short.
static struct fetched *aside_copy(struct weir_consumer *consumer, const struct part *part)
{
    size_t size = (size_t)(part->end - part->at);
    struct fetched *fetched = calloc(1, sizeof(*fetched) + sizeof(struct part));
    struct buffer *buffer = fetched ? pool_get(consumer->client->pool, size) : NULL;
    if (!buffer) {
        free(fetched);
        return NULL;
    }
    memcpy(buffer->data, part->at, size);
    fetched->buffer = buffer;
    fetched->size = size;
    fetched->part_count = 1;
    fetched->parts[0] = *part;
    fetched->parts[0].at = buffer->data;
    fetched->parts[0].end = buffer->data + size;
    list_init(&fetched->node);
    consumer->fetched_bytes += size;
    return fetched;
}

void aside_put(struct weir_consumer *consumer)
{
    struct fetched *current = consumer->current;
    struct part *part = &current->parts[current->part_at];
    if (consumer->reading)
        part->at = consumer->batch_at; // what was handed out of it is skipped by its offsets
    consumer->reading = false;
    struct fetched *fetched = aside_copy(consumer, part);
    if (!fetched) {
        assignment_start(consumer, part->assignment, part->assignment->position);
        return;
    }
    part->aborted = NULL; // it went along
    current->part_at++;
    list_append(&consumer->aside, &fetched->node);
}

static bool current_has(const struct weir_consumer *consumer, const struct assignment *assignment)
{
    const struct fetched *current = consumer->current;
    for (size_t i = current ? current->part_at : 0; current && i < current->part_count; i++) {
        if (current->parts[i].assignment == assignment &&
            current->parts[i].generation == assignment->generation)
            return true;
    }
    return false;
}

// Puts what waits aside in front of what waits to be read.
static void aside_return(struct weir_consumer *consumer, struct assignment *assignment)
{
    struct list *first = consumer->fetched.next;
    bool any = false;
    list_each(at, &consumer->aside) {
        struct fetched *fetched = list_entry(at, struct fetched, node);
        if (fetched->parts[0].assignment != assignment)
            continue;
        list_remove(&fetched->node);
        list_append(first, &fetched->node); // in front of `first`
        any = true;
    }
    if (any && current_has(consumer, assignment))
        assignment_start(consumer, assignment, assignment->position);
}

int weir_consumer_pause(struct weir_consumer *consumer, const char *topic, int32_t partition)
{
    int error;
    struct assignment *assignment = consumer_assigned(consumer, topic, partition, &error);
    if (assignment)
        assignment->paused = true;
    return error;
}

int weir_consumer_resume(struct weir_consumer *consumer, const char *topic, int32_t partition)
{
    int error;
    struct assignment *assignment = consumer_assigned(consumer, topic, partition, &error);
    if (!assignment || !assignment->paused)
        return error;
    assignment->paused = false;
    aside_return(consumer, assignment);
    consumer->worker.due = true;
    return WEIR_OK;
}
