// SPDX-License-Identifier: Apache-2.0
// Fetches ahead of the application.
//
// Each broker has at most one fetch request under way, for all partitions that it leads, on a
// connection of the consumer's own (a long poll would hold up everything behind it). What arrives
// queues up in `fetched` until the application has read what came before.
//
// Invariants
//  1. A request is sent to a broker only when none of its partitions has more than one unread part:
//     while the application reads one answer, the next is on its way, and no third. A partition
//     left out of a long poll for having unread parts would have to wait for the poll's end.
//  2. fetch_offset is the offset after the last whole batch that has arrived, position the one
//     after the last record handed out; position <= fetch_offset.
//  3. An answer counts for a partition only if the generation is still the one it was asked in.
//  4. A partition that an answer in a session does not name has no news, and is asked for again.
//  5. Headers of batches are checked on arrival as far as finding the next batch needs it; checksum
//     and records when the batch is read.
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "clients/c/consumer.h"
#include "clients/c/error.h"
#include "gen/kp_fetch.h"
#include "protocol/error.h"

enum {
    VERSION_WITHOUT_TOPIC_IDS = 12,
    UNREAD_MAX = 1,              // parts of a partition, when its broker is asked for more
    WAIT_WHILE_STARTING_MS = 20, // longest poll while other partitions look for their start
};

// ------------------------------------------------------------------------------------- asking

static struct fetcher *fetcher_for(struct weir_consumer *consumer, struct node *node)
{
    for (struct list *at = consumer->fetchers.next; at != &consumer->fetchers; at = at->next) {
        struct fetcher *fetcher = list_entry(at, struct fetcher, link);
        if (fetcher->node == node)
            return fetcher;
    }
    struct fetcher *fetcher = calloc(1, sizeof(*fetcher));
    if (!fetcher)
        return NULL;
    fetcher->consumer = consumer;
    fetcher->node = node;
    list_append(&consumer->fetchers, &fetcher->link);
    return fetcher;
}

static bool anybody_starting(const struct weir_consumer *consumer)
{
    for (struct list *at = consumer->assignments.next; at != &consumer->assignments;
         at = at->next) {
        if (list_entry(at, struct assignment, link)->state < ASSIGNMENT_FETCHING)
            return true;
    }
    return false;
}

static void fetch_encode(struct request *request, struct kp_writer *writer)
{
    struct fetcher *fetcher = list_entry(request, struct fetcher, request);
    const struct config *config = &fetcher->consumer->config;
    struct kp_fetch_request message;
    kp_fetch_request_init(&message);
    message.replica_id = -1;
    message.max_wait_ms = (int32_t)config->fetch_max_wait_ms;
    if (message.max_wait_ms > WAIT_WHILE_STARTING_MS && anybody_starting(fetcher->consumer))
        message.max_wait_ms = WAIT_WHILE_STARTING_MS;
    message.isolation_level = (int8_t)config->isolation_level;
    message.min_bytes = (int32_t)config->fetch_min_bytes;
    message.max_bytes = (int32_t)config->fetch_max_bytes;
    message.rack_id = span_text("");
    if (fetch_session_fill(fetcher, request->version, writer->arena, &message))
        kp_fetch_request_encode(writer, request->version, &message);
    else
        kp_writer_fail(writer);
}

// ------------------------------------------------------------------------------------- answers

// Whole batches at the start of `records`: *end is set behind them, *next to the offset that
// follows. Returns BATCH_OK, or why there is not even one.
static enum batch_error batches_measure(struct span records, const uint8_t **end, int64_t *next)
{
    const uint8_t *at = records.data;
    const uint8_t *limit = records.data + records.size;
    enum batch_error error = BATCH_OK;
    while (at < limit) {
        struct batch_header header;
        struct span left = span_of(at, (size_t)(limit - at));
        error = batch_header_read(left, &header);
        if (!error && batch_total_size(&header) > left.size)
            error = BATCH_TRUNCATED;
        // Offsets that do not rise would have us fetch the same batch for ever.
        if (!error && batch_last_offset(&header) < header.base_offset)
            error = BATCH_BAD_OFFSET;
        if (error)
            break;
        at += batch_total_size(&header);
        *next = batch_last_offset(&header) + 1;
    }
    *end = at;
    return at == records.data ? error : BATCH_OK;
}

static void partition_refused(struct fetcher *fetcher, struct assignment *assignment, int16_t code)
{
    struct weir_consumer *consumer = fetcher->consumer;
    assignment_postpone(consumer, assignment);
    if (code == KP_ERROR_OFFSET_OUT_OF_RANGE) {
        // What has arrived is still good; the new start is looked for when it has been read.
        if (assignment->unread == 0)
            assignment_reset(consumer, assignment, WEIR_ERR_OFFSET_OUT_OF_RANGE);
        return;
    }
    if (kp_error_retriable(code)) {
        metadata_refresh(&consumer->client->metadata);
        client_note_refusal(
            consumer->client, assignment, "topic '%s' partition %d offset %lld: %s answered %s: %s",
            assignment->topic->name, assignment->partition, (long long)assignment->fetch_offset,
            fetcher->node->name, kp_error_name(code), kp_error_text(code));
        return;
    }
    assignment_fail(consumer, assignment, error_from_wire(code),
                    "topic '%s' partition %d: %s answered %s: %s", assignment->topic->name,
                    assignment->partition, fetcher->node->name, kp_error_name(code),
                    kp_error_text(code));
}

// Nothing whole has come: either the limit was too small for the next batch, or it is damaged.
static void partition_stuck(struct fetcher *fetcher, const struct asked_partition *asked,
                            size_t size, enum batch_error error)
{
    struct assignment *assignment = asked->assignment;
    int64_t limit_max = fetcher->consumer->client->config.receive_message_max_bytes / 2;
    if (error == BATCH_TRUNCATED && size * 2 > (size_t)asked->limit &&
        assignment->fetch_limit < limit_max) {
        int64_t limit = (int64_t)assignment->fetch_limit * 2;
        assignment->fetch_limit = (int32_t)(limit < limit_max ? limit : limit_max);
        return;
    }
    assignment_fail(fetcher->consumer, assignment, WEIR_ERR_CORRUPT,
                    "topic '%s' partition %d: %s sent a damaged batch at offset %lld: %s",
                    assignment->topic->name, assignment->partition, fetcher->node->name,
                    (long long)assignment->fetch_offset, batch_error_text(error));
}

static void partition_apply(struct fetcher *fetcher, const struct asked_partition *asked,
                            const struct kp_fetch_response_partition *answer,
                            struct fetched *fetched)
{
    struct assignment *assignment = asked->assignment;
    if (answer->error_code) {
        partition_refused(fetcher, assignment, answer->error_code);
        return;
    }
    assignment->failures = 0;
    client_forget_refusal(fetcher->consumer->client, assignment);
    assignment->high = answer->high_watermark;
    assignment->low = answer->log_start_offset;
    bool committed = fetcher->consumer->config.isolation_level == READ_COMMITTED;
    assignment->stable = committed && answer->last_stable_offset >= 0 ? answer->last_stable_offset
                                                                      : answer->high_watermark;
    if (answer->records.size <= 0)
        return;
    struct span records =
        span_of(answer->records.slices[0].iov_base, answer->records.slices[0].iov_len);
    struct part part = {
        .assignment = assignment, .generation = assignment->generation, .at = records.data};
    int64_t next = assignment->fetch_offset;
    enum batch_error error = batches_measure(records, &part.end, &next);
    if (error) {
        partition_stuck(fetcher, asked, records.size, error);
        return;
    }
    if (next <= assignment->fetch_offset) {
        partition_stuck(fetcher, asked, 0, BATCH_BAD_OFFSET);
        return;
    }
    if (committed && answer->aborted_transactions_count > 0) {
        part.aborted = aborted_new(answer);
        if (!part.aborted) {
            assignment_postpone(fetcher->consumer, assignment); // asked for again
            return;
        }
    }
    assignment->fetch_offset = next;
    assignment->unread++;
    fetched->parts[fetched->part_count++] = part;
}

// The partition of the request that an answer belongs to, or NULL. Looks from `hint` on, because
// answers come in the order of the request.
static const struct asked_partition *asked_find(const struct fetcher *fetcher, int16_t version,
                                                const struct kp_fetch_response_topic *topic,
                                                int32_t partition, size_t *hint)
{
    for (size_t i = 0; i < fetcher->asked_count; i++) {
        size_t at = (*hint + i) % fetcher->asked_count;
        const struct asked_partition *asked = &fetcher->asked[at];
        const struct metadata_topic *own = asked->assignment->topic;
        if (asked->assignment->partition != partition)
            continue;
        if (version > VERSION_WITHOUT_TOPIC_IDS ? !kp_uuid_equal(topic->topic_id, own->id)
                                                : !span_equal(topic->topic, span_text(own->name)))
            continue;
        *hint = at + 1;
        return asked;
    }
    return NULL;
}

void fetched_free(struct weir_consumer *consumer, struct fetched *fetched)
{
    consumer->fetched_bytes -= fetched->size;
    for (size_t i = 0; i < fetched->part_count; i++) {
        const struct part *part = &fetched->parts[i];
        if (i >= fetched->part_at && part->generation == part->assignment->generation)
            part->assignment->unread--;
        aborted_free(part->aborted);
    }
    if (fetched->buffer)
        buffer_unref(fetched->buffer);
    free(fetched);
}

// Takes the reply's bytes over, by copying them if they are few. False when memory is short.
static bool bytes_take(struct weir_consumer *consumer, struct reply *reply, struct fetched *fetched)
{
    struct frame *frame = reply->frame;
    fetched->size = frame->size;
    fetched->buffer = frame->buffer;
    if (frame->buffer) {
        frame->buffer = NULL;
        return true;
    }
    fetched->buffer = pool_get(consumer->client->pool, frame->size);
    if (!fetched->buffer)
        return false;
    memcpy(fetched->buffer->data, frame->data, frame->size);
    frame->data = fetched->buffer->data;
    return true;
}

static void answers_apply(struct fetcher *fetcher, int16_t version,
                          const struct kp_fetch_response *message, struct fetched *fetched)
{
    size_t hint = 0;
    for (int32_t t = 0; t < message->responses_count; t++) {
        const struct kp_fetch_response_topic *topic = &message->responses[t];
        for (int32_t p = 0; p < topic->partitions_count; p++) {
            const struct kp_fetch_response_partition *answer = &topic->partitions[p];
            const struct asked_partition *asked =
                asked_find(fetcher, version, topic, answer->partition_index, &hint);
            if (!asked || !asked->assignment->asked ||
                asked->generation != asked->assignment->generation)
                continue;
            asked->assignment->asked = false; // an answer given twice counts once
            partition_apply(fetcher, asked, answer, fetched);
        }
    }
}

static void asked_release(struct fetcher *fetcher)
{
    for (size_t i = 0; i < fetcher->asked_count; i++) {
        if (fetcher->asked[i].generation == fetcher->asked[i].assignment->generation)
            fetcher->asked[i].assignment->asked = false;
    }
    fetcher->asked_count = 0;
}

// Returns WEIR_OK, or WEIR_ERR_CORRUPT for a reply that cannot be decoded. *again: the request is
// to be repeated, and nobody to blame.
static int reply_apply(struct fetcher *fetcher, struct reply *reply, bool *again)
{
    struct weir_consumer *consumer = fetcher->consumer;
    struct fetched *fetched =
        calloc(1, sizeof(*fetched) + fetcher->asked_count * sizeof(struct part));
    size_t offset = (size_t)(reply->reader.at - reply->frame->data);
    if (!fetched || !bytes_take(consumer, reply, fetched)) {
        free(fetched);
        return WEIR_ERR_NO_MEMORY;
    }
    consumer->fetched_bytes += fetched->size;
    consumer->stats.fetches++;
    consumer->stats.fetched_bytes += fetched->size;
    list_init(&fetched->node);
    struct kp_reader reader =
        kp_reader_init(fetched->buffer->data + offset, fetched->size - offset);
    struct kp_fetch_response message;
    if (kp_fetch_response_decode(&reader, reply->version, reply->arena, &message) != 0) {
        fetched_free(consumer, fetched);
        return WEIR_ERR_CORRUPT;
    }
    int error = error_from_wire(message.error_code);
    *again = fetch_session_answered(&fetcher->session, reply->version, &message);
    if (!error)
        answers_apply(fetcher, reply->version, &message, fetched);
    if (fetched->part_count > 0)
        list_append(&consumer->fetched, &fetched->node);
    else
        fetched_free(consumer, fetched);
    return error;
}

static bool fetch_done(struct request *request, int error, struct reply *reply)
{
    struct fetcher *fetcher = list_entry(request, struct fetcher, request);
    struct weir_consumer *consumer = fetcher->consumer;
    fetcher->under_way = false;
    consumer->worker.due = true;
    bool sound = true, again = false;
    if (error)
        fetch_session_lost(&fetcher->session);
    else
        error = reply_apply(fetcher, reply, &again);
    if (reply && (error == WEIR_ERR_CORRUPT || error == WEIR_ERR_NO_MEMORY)) {
        fetch_session_lost(&fetcher->session);
        sound = error != WEIR_ERR_CORRUPT;
    }
    for (size_t i = 0; i < fetcher->asked_count && error && !again; i++) {
        if (fetcher->asked[i].generation == fetcher->asked[i].assignment->generation)
            assignment_postpone(consumer, fetcher->asked[i].assignment);
    }
    asked_release(fetcher);
    return sound;
}

// ------------------------------------------------------------------------------------- driving

static bool asked_add(struct fetcher *fetcher, struct assignment *assignment)
{
    if (fetcher->asked_count == fetcher->asked_capacity) {
        size_t capacity = fetcher->asked_capacity ? fetcher->asked_capacity * 2 : 8;
        struct asked_partition *asked = realloc(fetcher->asked, capacity * sizeof(*fetcher->asked));
        if (!asked)
            return false;
        fetcher->asked = asked;
        fetcher->asked_capacity = capacity;
    }
    fetcher->asked[fetcher->asked_count++] = (struct asked_partition){
        .assignment = assignment,
        .generation = assignment->generation,
        .limit = assignment->fetch_limit,
    };
    fetcher->topic_ids &= !kp_uuid_is_zero(assignment->topic->id);
    return true;
}

static struct node *assignment_node(const struct weir_consumer *consumer,
                                    const struct assignment *assignment)
{
    struct weir_client *client = consumer->client;
    int32_t leader = metadata_leader(&client->metadata, assignment->topic, assignment->partition);
    return leader < 0 ? NULL : client_node(client, leader);
}

static bool assignment_wanted(const struct assignment *assignment)
{
    return assignment->state == ASSIGNMENT_FETCHING && !assignment->paused &&
           !assignment_blocked(assignment);
}

// Adds all partitions of the topic of `first` that can be asked for now, `first` included, so that
// a request names each topic once.
static void topic_ask(struct fetcher *fetcher, const struct assignment *first)
{
    struct weir_consumer *consumer = fetcher->consumer;
    list_each(at, &consumer->assignments) {
        struct assignment *assignment = list_entry(at, struct assignment, link);
        if (assignment->topic != first->topic || !assignment_wanted(assignment) ||
            assignment->asked || assignment->retry_at_ns > consumer->client->now_ns ||
            assignment_node(consumer, assignment) != fetcher->node)
            continue;
        if (!asked_add(fetcher, assignment))
            return;
        assignment->asked = true;
    }
}

static void fetcher_send(struct fetcher *fetcher)
{
    struct weir_consumer *consumer = fetcher->consumer;
    struct connection *connection = client_connection(consumer->client, fetcher->node, consumer);
    fetcher->topic_ids = true;
    for (struct list *at = consumer->assignments.next; at != &consumer->assignments;
         at = at->next) {
        const struct assignment *assignment = list_entry(at, struct assignment, link);
        if (assignment_wanted(assignment) && !assignment->asked &&
            assignment->retry_at_ns <= consumer->client->now_ns &&
            assignment_node(consumer, assignment) == fetcher->node)
            topic_ask(fetcher, assignment);
    }
    if (fetcher->asked_count == 0)
        return;
    // Who was asked for first is asked for last the next time.
    struct assignment *first = fetcher->asked[0].assignment;
    list_remove(&first->link);
    list_append(&consumer->assignments, &first->link);
    fetcher->under_way = true;
    fetcher->request = (struct request){
        .api_key = KP_FETCH_KEY,
        .version_max = fetcher->topic_ids ? KP_FETCH_MAX : VERSION_WITHOUT_TOPIC_IDS,
        .timeout_ns =
            (uint64_t)(consumer->config.request_timeout_ms + consumer->config.fetch_max_wait_ms) *
            MS,
        .encode = fetch_encode,
        .done = fetch_done,
    };
    list_init(&fetcher->request.node);
    connection_submit(connection, &fetcher->request);
}

// Whether a broker may be asked, and for something: see invariant 1.
static bool fetcher_may_send(const struct fetcher *fetcher)
{
    const struct weir_consumer *consumer = fetcher->consumer;
    bool something = false;
    if (fetcher->under_way)
        return false;
    for (struct list *at = consumer->assignments.next; at != &consumer->assignments;
         at = at->next) {
        const struct assignment *assignment = list_entry(at, struct assignment, link);
        if (!assignment_wanted(assignment) ||
            assignment_node(consumer, assignment) != fetcher->node)
            continue;
        if (assignment->unread > UNREAD_MAX)
            return false;
        something |= assignment->retry_at_ns <= consumer->client->now_ns;
    }
    struct connection *connection =
        something ? client_connection(consumer->client, fetcher->node, consumer) : NULL;
    return connection && connection_ready(connection);
}

// Fails assignments whose topic will not appear, and returns when the next one is to be tried
// again.
static uint64_t assignments_watch(struct weir_consumer *consumer)
{
    struct weir_client *client = consumer->client;
    uint64_t due_ns = UINT64_MAX;
    list_each(at, &consumer->assignments) {
        struct assignment *assignment = list_entry(at, struct assignment, link);
        if (!assignment_wanted(assignment))
            continue;
        int error = metadata_topic_error(&client->metadata, assignment->topic);
        bool exists = assignment->partition < assignment->topic->partition_count;
        if (!error && !exists && assignment->topic->partition_count > 0)
            error = WEIR_ERR_UNKNOWN_TOPIC_OR_PARTITION;
        if (error && assignment_await(consumer, assignment, error)) {
            due_ns = assignment->retry_at_ns < due_ns ? assignment->retry_at_ns : due_ns;
            continue;
        }
        if (error) {
            assignment_fail(consumer, assignment, error, "topic '%s' partition %d: %s",
                            assignment->topic->name, assignment->partition, weir_error_text(error));
            continue;
        }
        struct node *node = assignment_node(consumer, assignment);
        if (node)
            fetcher_for(consumer, node);
        if (assignment->retry_at_ns > client->now_ns && assignment->retry_at_ns < due_ns)
            due_ns = assignment->retry_at_ns;
    }
    return due_ns;
}

uint64_t fetchers_drive(struct weir_consumer *consumer)
{
    uint64_t due_ns = assignments_watch(consumer);
    list_each(at, &consumer->fetchers) {
        struct fetcher *fetcher = list_entry(at, struct fetcher, link);
        if (fetcher_may_send(fetcher))
            fetcher_send(fetcher);
    }
    return due_ns;
}

void fetchers_free(struct weir_consumer *consumer)
{
    list_each(at, &consumer->fetchers) {
        struct fetcher *fetcher = list_entry(at, struct fetcher, link);
        request_cancel(&fetcher->request);
        fetch_session_free(&fetcher->session);
        free(fetcher->asked);
        free(fetcher);
    }
    list_splice(&consumer->fetched, &consumer->aside);
    for (struct list *node; (node = list_pop(&consumer->fetched));)
        fetched_free(consumer, list_entry(node, struct fetched, node));
}
