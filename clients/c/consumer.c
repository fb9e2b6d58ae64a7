// SPDX-License-Identifier: Apache-2.0
// The consumer as the application sees it: assignments, and the records of what was fetched.
//
//     NEEDS_STORED --> LOOKING --> FETCHING        (starts.c asks for the starting point)
//     NEEDS_LOOKUP ----^  |           |
//                         +--> FAILED <-- any error that waiting cannot cure
//
// Invariants
//  1. `current` is the one answer that records are handed out from; it and what was inflated from
//     it stay in place until the next weir_consumer_poll, so the records do.
//  2. A part counts only in the generation of its assignment; every seek, removal and reset raises
//     the generation, and thereby drops what was fetched ahead.
//  3. position moves only when a record is handed out, or a batch ends: never past a record that
//     the application did not get.
#include "clients/c/consumer.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"

enum {
    TOPIC_NAME_MAX = 249,
    INFLATED_PER_BATCH = 256 << 20,
    INFLATED_PER_POLL = 16 << 20, // no further batch is inflated beyond this
};

static void consumer_drive(struct worker *worker);
static void consumer_report(struct worker *worker);
static void timer_expired(struct timer *timer);

struct weir_consumer *weir_consumer_new(struct weir_client *client,
                                        const struct weir_config *config)
{
    struct weir_consumer *consumer = calloc(1, sizeof(*consumer));
    if (!consumer)
        return NULL;
    consumer->client = client;
    consumer->config = config_values(config);
    consumer->worker.drive = consumer_drive;
    consumer->worker.report = consumer_report;
    consumer->timer.expired = timer_expired;
    coordinator_init(&consumer->coordinator, client, consumer->config.group_id);
    list_init(&consumer->assignments);
    list_init(&consumer->fetchers);
    list_init(&consumer->lookups);
    list_init(&consumer->fetched);
    list_init(&consumer->aside);
    arena_init(&consumer->inflated, (size_t)INFLATED_PER_BATCH + INFLATED_PER_POLL);
    commits_init(&consumer->commits);
    member_init(&consumer->member, consumer);
    list_append(&client->workers, &consumer->worker.node);
    return consumer;
}

void weir_consumer_free(struct weir_consumer *consumer)
{
    if (!consumer)
        return;
    CHECK(!consumer->client->in_callback);
    commits_abandon(consumer);
    list_remove(&consumer->worker.node);
    commits_free(consumer);
    member_free(&consumer->member);
    timer_cancel(&consumer->client->timers, &consumer->timer);
    if (consumer->current)
        fetched_free(consumer, consumer->current);
    fetchers_free(consumer);
    starts_free(consumer);
    coordinator_free(&consumer->coordinator);
    client_channel_free(consumer->client, consumer);
    client_channel_free(consumer->client, &consumer->member);
    list_each(at, &consumer->assignments) {
        struct assignment *assignment = list_entry(at, struct assignment, link);
        client_forget_refusal(consumer->client, assignment);
        free(assignment->reason);
        free(assignment);
    }
    arena_free(&consumer->inflated);
    free(consumer->listing);
    free(consumer);
}

static void timer_expired(struct timer *timer)
{
    list_entry(timer, struct weir_consumer, timer)->worker.due = true;
}

static void consumer_drive(struct worker *worker)
{
    struct weir_consumer *consumer = list_entry(worker, struct weir_consumer, worker);
    worker->due = false;
    uint64_t due_ns[] = {member_drive(&consumer->member), commits_drive(consumer),
                         starts_drive(consumer)};
    uint64_t first_ns = fetchers_drive(consumer);
    for (size_t i = 0; i < sizeof(due_ns) / sizeof(due_ns[0]); i++)
        first_ns = due_ns[i] < first_ns ? due_ns[i] : first_ns;
    if (first_ns == UINT64_MAX)
        timer_cancel(&consumer->client->timers, &consumer->timer);
    else
        timer_set(&consumer->client->timers, &consumer->timer, first_ns);
}

static void consumer_report(struct worker *worker)
{
    struct weir_consumer *consumer = list_entry(worker, struct weir_consumer, worker);
    worker->reports = false;
    member_report(&consumer->member);
    commits_report(consumer);
    worker->reports |= commits_to_report(consumer) || member_to_report(&consumer->member);
}

// ------------------------------------------------------------------------------------- assignments

struct assignment *consumer_find(const struct weir_consumer *consumer, const char *topic,
                                 int32_t partition)
{
    for (struct list *at = consumer->assignments.next; at != &consumer->assignments;
         at = at->next) {
        struct assignment *assignment = list_entry(at, struct assignment, link);
        if (assignment->partition == partition && strcmp(assignment->topic->name, topic) == 0)
            return assignment;
    }
    return NULL;
}

// Drops what was fetched ahead.
static void assignment_renew(struct weir_consumer *consumer, struct assignment *assignment)
{
    assignment->generation++;
    assignment->asked = false;
    assignment->unread = 0;
    aside_drop(consumer, assignment);
    assignment->failures = 0;
    assignment->retry_at_ns = 0;
    assignment->error = WEIR_OK;
    assignment->error_reported = false;
    client_forget_refusal(consumer->client, assignment);
    consumer->worker.due = true;
}

void assignment_start(struct weir_consumer *consumer, struct assignment *assignment, int64_t offset)
{
    assignment_renew(consumer, assignment);
    assignment->position = assignment->fetch_offset = assignment->start = offset;
    if (offset >= 0)
        assignment->state = ASSIGNMENT_FETCHING;
    else if (offset == WEIR_STORED)
        assignment->state = ASSIGNMENT_NEEDS_STORED;
    else
        assignment->state = ASSIGNMENT_NEEDS_LOOKUP;
}

void assignment_fail(struct weir_consumer *consumer, struct assignment *assignment, int error,
                     const char *format, ...)
{
    char *reason = NULL;
    va_list arguments;
    va_start(arguments, format);
    int size = vasprintf(&reason, format, arguments);
    va_end(arguments);
    free(assignment->reason);
    assignment->reason = size < 0 ? NULL : reason;
    assignment_renew(consumer, assignment);
    assignment->state = ASSIGNMENT_FAILED;
    assignment->error = error;
}

void assignment_postpone(struct weir_consumer *consumer, struct assignment *assignment)
{
    struct weir_client *client = consumer->client;
    assignment->retry_at_ns =
        client->now_ns + client_backoff_ns(client, client->config.retry_backoff_ms,
                                           client->config.retry_backoff_max_ms,
                                           assignment->failures++);
}

bool assignment_await(struct weir_consumer *consumer, struct assignment *assignment, int error)
{
    uint64_t now_ns = consumer->client->now_ns;
    if (assignment->claim == CLAIM_BY_HAND || error != WEIR_ERR_UNKNOWN_TOPIC_OR_PARTITION)
        return false;
    if (assignment->retry_at_ns > now_ns)
        return true;
    uint32_t failures = assignment->failures;
    if (assignment->state == ASSIGNMENT_LOOKING)
        assignment_start(consumer, assignment, assignment->start);
    assignment->failures = failures;
    assignment_postpone(consumer, assignment);
    metadata_refresh(&consumer->client->metadata);
    client_note_refusal(consumer->client, assignment,
                        "topic '%s' partition %d was assigned, but is not there yet",
                        assignment->topic->name, assignment->partition);
    return true;
}

void assignment_reset(struct weir_consumer *consumer, struct assignment *assignment, int error)
{
    int64_t policy = consumer->config.auto_offset_reset;
    if (policy == RESET_NONE)
        assignment_fail(consumer, assignment, error,
                        "topic '%s' partition %d: %s, and auto.offset.reset is none",
                        assignment->topic->name, assignment->partition,
                        error == WEIR_ERR_NO_OFFSET ? "no offset is committed"
                                                    : "the offset is out of range");
    else
        assignment_start(consumer, assignment,
                         policy == RESET_EARLIEST ? WEIR_BEGINNING : WEIR_END);
}

static int start_check(const struct weir_consumer *consumer, int64_t offset)
{
    if (offset == WEIR_STORED && !consumer->config.group_id[0])
        return client_fail(consumer->client, WEIR_ERR_NO_GROUP,
                           "starting from the committed offset needs group.id");
    if (offset < WEIR_BEGINNING && offset != WEIR_STORED)
        return client_fail(consumer->client, WEIR_ERR_BAD_ARGUMENT, "%lld is no offset",
                           (long long)offset);
    return WEIR_OK;
}

struct assignment *assignment_add(struct weir_consumer *consumer, const char *topic,
                                  int32_t partition)
{
    struct metadata_topic *entry = metadata_topic(&consumer->client->metadata, topic, false);
    struct assignment *assignment = entry ? calloc(1, sizeof(*assignment)) : NULL;
    if (!assignment)
        return NULL;
    assignment->topic = entry;
    assignment->partition = partition;
    assignment->low = assignment->high = assignment->stable = -1;
    assignment->done = assignment->committed = assignment->committing = -1;
    list_append(&consumer->assignments, &assignment->link);
    return assignment;
}

void assignment_stop(struct weir_consumer *consumer, struct assignment *assignment,
                     enum assignment_claim claim)
{
    assignment_renew(consumer, assignment);
    assignment->claim = claim;
    if (claim == CLAIM_LOST)
        assignment->state = ASSIGNMENT_REMOVED;
}

void assignment_remove(struct weir_consumer *consumer, struct assignment *assignment)
{
    assignment_renew(consumer, assignment);
    assignment->claim = CLAIM_BY_HAND;
    assignment->state = ASSIGNMENT_REMOVED;
}

static int by_hand_check(const struct weir_consumer *consumer)
{
    if (!member_involved(&consumer->member))
        return WEIR_OK;
    return client_fail(consumer->client, WEIR_ERR_BAD_ARGUMENT,
                       "a consumer that subscribes is assigned its partitions by the group");
}

int weir_consumer_assign(struct weir_consumer *consumer, const char *topic, int32_t partition,
                         int64_t offset)
{
    struct weir_client *client = consumer->client;
    int error = by_hand_check(consumer);
    if (!error)
        error = start_check(consumer, offset);
    if (error)
        return error;
    if (!topic || !*topic || strlen(topic) > TOPIC_NAME_MAX || partition < 0)
        return client_fail(client, WEIR_ERR_BAD_ARGUMENT,
                           "an assignment needs a topic of 1 to %d characters and a partition from "
                           "0",
                           TOPIC_NAME_MAX);
    client->now_ns = clock_monotonic_ns();
    struct assignment *assignment = consumer_find(consumer, topic, partition);
    if (!assignment)
        assignment = assignment_add(consumer, topic, partition);
    if (!assignment)
        return client_fail(client, WEIR_ERR_NO_MEMORY, "out of memory");
    assignment->paused = false;
    assignment->done = assignment->committed = assignment->committing = -1;
    assignment->fetch_limit = (int32_t)consumer->config.max_partition_fetch_bytes;
    assignment_start(consumer, assignment, offset);
    return WEIR_OK;
}

struct assignment *consumer_assigned(const struct weir_consumer *consumer, const char *topic,
                                     int32_t partition, int *error)
{
    struct assignment *assignment = topic ? consumer_find(consumer, topic, partition) : NULL;
    if (assignment && assignment->state != ASSIGNMENT_REMOVED) {
        *error = WEIR_OK;
        return assignment;
    }
    *error = client_fail(consumer->client, WEIR_ERR_NOT_ASSIGNED,
                         "topic '%s' partition %d is not assigned", topic ? topic : "", partition);
    return NULL;
}

int weir_consumer_unassign(struct weir_consumer *consumer, const char *topic, int32_t partition)
{
    int error = by_hand_check(consumer);
    if (error)
        return error;
    struct assignment *assignment = consumer_assigned(consumer, topic, partition, &error);
    if (assignment)
        assignment_remove(consumer, assignment);
    return error;
}

int weir_consumer_seek(struct weir_consumer *consumer, const char *topic, int32_t partition,
                       int64_t offset)
{
    int error = start_check(consumer, offset);
    if (error)
        return error;
    struct assignment *assignment = consumer_assigned(consumer, topic, partition, &error);
    if (!assignment)
        return error;
    assignment->done = -1;
    assignment_start(consumer, assignment, offset);
    return WEIR_OK;
}

int weir_consumer_position(const struct weir_consumer *consumer, const char *topic,
                           int32_t partition, int64_t *position)
{
    int error;
    const struct assignment *assignment = consumer_assigned(consumer, topic, partition, &error);
    if (assignment)
        *position = assignment->position;
    return error;
}

int weir_consumer_watermarks(const struct weir_consumer *consumer, const char *topic,
                             int32_t partition, int64_t *low, int64_t *high)
{
    int error;
    const struct assignment *assignment = consumer_assigned(consumer, topic, partition, &error);
    if (assignment) {
        *low = assignment->low;
        *high = assignment->high;
    }
    return error;
}

int weir_consumer_lag(const struct weir_consumer *consumer, const char *topic, int32_t partition,
                      int64_t *lag)
{
    int error;
    const struct assignment *assignment = consumer_assigned(consumer, topic, partition, &error);
    if (!assignment)
        return error;
    *lag = -1;
    if (assignment->position >= 0 && assignment->stable >= 0)
        *lag = assignment->stable > assignment->position ? assignment->stable - assignment->position
                                                         : 0;
    return WEIR_OK;
}

void weir_consumer_stats(const struct weir_consumer *consumer,
                         struct weir_consumer_statistics *stats)
{
    *stats = consumer->stats;
    stats->buffered_bytes = consumer->fetched_bytes;
    for (struct list *at = consumer->assignments.next; at != &consumer->assignments;
         at = at->next) {
        const struct assignment *assignment = list_entry(at, struct assignment, link);
        if (assignment->state == ASSIGNMENT_REMOVED)
            continue;
        stats->assigned++;
        stats->paused += assignment->paused;
        if (assignment->position >= 0 && assignment->stable > assignment->position)
            stats->lag += (uint64_t)(assignment->stable - assignment->position);
    }
}

static int listing_order(const void *a, const void *b)
{
    const struct weir_topic_partition *left = a, *right = b;
    int order = strcmp(left->topic, right->topic);
    if (order != 0)
        return order;
    return (left->partition > right->partition) - (left->partition < right->partition);
}

int weir_consumer_assignment(struct weir_consumer *consumer,
                             const struct weir_topic_partition **partitions, size_t *count)
{
    size_t most = 0;
    for (struct list *at = consumer->assignments.next; at != &consumer->assignments; at = at->next)
        most++;
    free(consumer->listing);
    consumer->listing = calloc(most + 1, sizeof(*consumer->listing));
    *partitions = NULL;
    *count = 0;
    if (!consumer->listing)
        return client_fail(consumer->client, WEIR_ERR_NO_MEMORY, "out of memory");
    list_each(at, &consumer->assignments) {
        const struct assignment *assignment = list_entry(at, struct assignment, link);
        if (assignment->state != ASSIGNMENT_REMOVED)
            consumer->listing[(*count)++] = (struct weir_topic_partition){
                .topic = assignment->topic->name, .partition = assignment->partition};
    }
    if (*count > 0) {
        qsort(consumer->listing, *count, sizeof(*consumer->listing), listing_order);
        *partitions = consumer->listing;
    }
    return WEIR_OK;
}

// ------------------------------------------------------------------------------------- records

static bool part_valid(const struct part *part)
{
    return part->generation == part->assignment->generation;
}

static void position_raise(struct assignment *assignment, int64_t position)
{
    if (position > assignment->position)
        assignment->position = position;
}

// The part at hand is read, or does not count any more.
static void part_finish(struct weir_consumer *consumer)
{
    struct part *part = &consumer->current->parts[consumer->current->part_at++];
    consumer->reading = false;
    if (!part_valid(part))
        return;
    part->assignment->unread--;
    consumer->worker.due = true;
}

// The part at hand that still counts; NULL at the end of the answer.
static struct part *part_current(struct weir_consumer *consumer)
{
    struct fetched *fetched = consumer->current;
    while (fetched && fetched->part_at < fetched->part_count) {
        struct part *part = &fetched->parts[fetched->part_at];
        bool counts = part_valid(part) && (consumer->reading || part->at < part->end);
        if (counts && !part->assignment->paused)
            return part;
        if (counts)
            aside_put(consumer);
        else
            part_finish(consumer);
    }
    return NULL;
}

static void part_damaged(struct weir_consumer *consumer, struct part *part, enum batch_error error)
{
    struct assignment *assignment = part->assignment;
    assignment_fail(consumer, assignment,
                    error == BATCH_NO_MEMORY ? WEIR_ERR_NO_MEMORY : WEIR_ERR_CORRUPT,
                    "topic '%s' partition %d: the batch with offset %lld is damaged: %s",
                    assignment->topic->name, assignment->partition, (long long)assignment->position,
                    batch_error_text(error));
}

// Prepares the next batch of the part. Returns 1, 0 when it has to wait for the next poll because
// enough was inflated in this one, or a negative batch_error.
static int batch_open(struct weir_consumer *consumer, struct part *part)
{
    struct batch_header header;
    struct span bytes = span_of(part->at, (size_t)(part->end - part->at));
    enum batch_error error = consumer->config.check_crcs ? batch_check_stored(bytes, &header)
                                                         : batch_header_read(bytes, &header);
    if (error)
        return error;
    size_t size = batch_total_size(&header);
    if (size > bytes.size)
        return BATCH_TRUNCATED;
    bool compressed = header.attributes & BATCH_CODEC_MASK;
    if (compressed && consumer->inflated.used > INFLATED_PER_POLL)
        return 0;
    consumer->batch_at = part->at;
    part->at += size;
    consumer->batch_end = batch_last_offset(&header) + 1;
    int aborted =
        part->aborted ? aborted_covers(part->aborted, &header, span_of(bytes.data, size)) : 0;
    if (aborted < 0)
        return aborted;
    bool skip = aborted || (header.attributes & BATCH_CONTROL) || header.record_count == 0 ||
                consumer->batch_end <= part->assignment->position;
    if (skip) {
        position_raise(part->assignment, consumer->batch_end);
        return 1;
    }
    error = batch_reader_init(&consumer->reader, span_of(bytes.data, size), &consumer->inflated,
                              INFLATED_PER_BATCH);
    consumer->reading = !error;
    return error ? (int)error : 1;
}

static void record_fill(const struct assignment *assignment, const struct record *from,
                        struct weir_record *to)
{
    to->topic = assignment->topic->name;
    to->partition = assignment->partition;
    to->header_count = from->header_count;
    to->offset = from->offset;
    to->timestamp = from->timestamp;
    to->key = weir_bytes_of(from->key.data, from->key.size);
    to->value = weir_bytes_of(from->value.data, from->value.size);
    to->headers = weir_bytes_of(from->headers.data, from->headers.size);
}

bool weir_consumer_next(struct weir_consumer *consumer, struct weir_record *record)
{
    for (struct part *part; (part = part_current(consumer));) {
        struct assignment *assignment = part->assignment;
        int result;
        if (!consumer->reading) {
            result = batch_open(consumer, part);
            if (result == 0)
                return false;
            if (result < 0)
                part_damaged(consumer, part, (enum batch_error)result);
            continue;
        }
        struct record from;
        result = batch_reader_next(&consumer->reader, &from);
        if (result < 0) {
            part_damaged(consumer, part, (enum batch_error)result);
        } else if (result == 0) {
            consumer->reading = false;
            position_raise(assignment, consumer->batch_end);
        } else if (from.offset >= assignment->position) {
            assignment->position = from.offset + 1;
            record_fill(assignment, &from, record);
            consumer->stats.records++;
            return true;
        }
    }
    return false;
}

bool weir_record_header(const struct weir_record *record, size_t *at, struct weir_header *header)
{
    struct record from = {
        .headers = span_of(record->headers.data, record->headers.size),
        .header_count = record->header_count,
    };
    struct record_header found;
    if (record_header_next(&from, at, &found) != 1)
        return false;
    header->name = weir_bytes_of(found.key.data, found.key.size);
    header->value = weir_bytes_of(found.value.data, found.value.size);
    return true;
}

// ------------------------------------------------------------------------------------- poll

// Makes room for what comes: frees the answer that was read, and what was inflated.
static void current_advance(struct weir_consumer *consumer)
{
    if (!consumer->reading)
        arena_reset(&consumer->inflated);
    while (!part_current(consumer)) {
        if (consumer->current)
            fetched_free(consumer, consumer->current);
        struct list *next = list_pop(&consumer->fetched);
        consumer->current = next ? list_entry(next, struct fetched, node) : NULL;
        if (!next)
            return;
    }
}

static struct assignment *failed(const struct weir_consumer *consumer)
{
    for (struct list *at = consumer->assignments.next; at != &consumer->assignments;
         at = at->next) {
        struct assignment *assignment = list_entry(at, struct assignment, link);
        if (assignment->state == ASSIGNMENT_FAILED && !assignment->error_reported &&
            !assignment_blocked(assignment))
            return assignment;
    }
    return NULL;
}

static bool something_to_tell(void *context)
{
    struct weir_consumer *consumer = context;
    return part_current(consumer) || !list_empty(&consumer->fetched) || failed(consumer) ||
           consumer->member.state == MEMBER_FAILED || consumer->client->woken;
}

// What was handed out before is done, as far as enable.auto.commit is concerned.
static void handed_out_done(struct weir_consumer *consumer)
{
    if (!consumer->config.enable_auto_commit)
        return;
    list_each(at, &consumer->assignments) {
        struct assignment *assignment = list_entry(at, struct assignment, link);
        if (!assignment_blocked(assignment))
            assignment->done = assignment->position;
    }
}

static void poll_run(struct weir_consumer *consumer, int timeout_ms)
{
    struct weir_client *client = consumer->client;
    uint64_t deadline_ns = client_deadline(client, timeout_ms);
    current_advance(consumer);
    if (something_to_tell(consumer)) {
        // Fetches the next records while the application works on these.
        client_turn(client, 0);
        client_report(client);
        return;
    }
    client_wait(client, something_to_tell, consumer, deadline_ns);
    current_advance(consumer);
    if (consumer->worker.due)
        client_turn(client, 0);
}

int weir_consumer_poll(struct weir_consumer *consumer, int timeout_ms)
{
    struct weir_client *client = consumer->client;
    int error = client_enter(client);
    if (error)
        return error;
    handed_out_done(consumer);
    struct member *member = &consumer->member;
    member->polling = true;
    member->polled_ns = client->now_ns;
    consumer->worker.due |= member_involved(member) && member->state == MEMBER_OUT;
    poll_run(consumer, timeout_ms);
    member->polling = false;
    member->polled_ns = client->now_ns;
    if (client_woken(client))
        return client_fail(client, WEIR_ERR_INTERRUPTED, "%s",
                           weir_error_text(WEIR_ERR_INTERRUPTED));
    if (member->state == MEMBER_FAILED)
        return client_fail(client, member->error, "%s", member->reason);
    struct assignment *assignment = failed(consumer);
    if (!assignment)
        return WEIR_OK;
    assignment->error_reported = true;
    return client_fail(client, assignment->error, "%s",
                       assignment->reason ? assignment->reason
                                          : weir_error_text(assignment->error));
}
