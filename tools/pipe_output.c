// SPDX-License-Identifier: Apache-2.0
// From answers to stored records.
//
// Invariants:
//  1. Every message handed to the producer counts in its record's entry.pending until the broker
//     has acknowledged it: it is then, and only then, that the record may be committed.
//  2. A record of whose outputs the broker refuses one for good, or several, goes to the dead
//     letters, once, and is not committed before that is acknowledged. Any other failed delivery
//     ends the stage; so does one of a batch, of which nobody knows whose it is.
//  3. A record in memory lives until its lane has let go of it and nothing of it is pending.
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "tools/interrupt.h"
#include "tools/pipe_stage.h"

enum { FULL_WAIT_MS = 100, INVALID_RECORD = 87, DEAD_HEADERS_MAX = 8 };

void pipe_output_release(struct pipe_record *record)
{
    if (record->entry.pending > 0)
        record->orphan = true;
    else
        pipe_record_free(record);
}

static void ended(struct pipe_record *record)
{
    pipe_output_ended(&record->entry);
    if (record->orphan && record->entry.pending == 0)
        pipe_record_free(record);
}

// Keeps the output pending, so that the record stays until its dead letter is.
static void refuse(struct pipe_stage *stage, struct pipe_record *record, const char *reason)
{
    record->refusals++;
    if (record->refused == NULL)
        record->refused = strdup(reason);
    list_remove(&record->refused_node);
    list_append(&stage->refused, &record->refused_node);
}

static bool is_dead_letter(const struct pipe_stage *stage, const struct weir_delivery *delivery)
{
    const char *topic = stage->options->dead_letter;

    return topic != NULL && strcmp(delivery->topic, topic) == 0;
}

void pipe_output_delivered(void *context, const struct weir_delivery *delivery)
{
    struct pipe_stage *stage = context;
    struct pipe_record *record = delivery->opaque;
    bool for_good = delivery->error == WEIR_ERR_MESSAGE_TOO_LARGE ||
                    delivery->error == WEIR_ERR_TOO_LARGE || delivery->error == INVALID_RECORD;
    bool refused = for_good && !record->batched && !is_dead_letter(stage, delivery);

    if (delivery->error == WEIR_OK) {
        if (is_dead_letter(stage, delivery))
            stage->counts.rejected++;
        else
            stage->counts.written++;
        ended(record);
    } else if (refused && (record->rejected || record->orphan)) {
        ended(record);
    } else if (refused) {
        refuse(stage, record, delivery->reason);
    } else if (delivery->error == WEIR_ERR_ABANDONED) {
        if (record->orphan)
            ended(record);
    } else {
        pipe_stage_fail(stage, app_exit_code(delivery->error), "an output was not stored: %s",
                        delivery->reason);
    }
}

// The time spent here is nobody's fault: commands get it back.
static void wait_for_room(struct pipe_stage *stage)
{
    int64_t before_ms = pipe_stage_clock_ms();

    weir_poll(stage->client, FULL_WAIT_MS);
    int64_t waited_ms = pipe_stage_clock_ms() - before_ms;
    for (size_t i = 0; i < stage->seat_count; i++) {
        if (stage->seats[i].input != NULL)
            stage->seats[i].deadline_ms += waited_ms;
    }
    pipe_summary_update(stage);
}

// 0, an error of the library, or WEIR_ERR_ABANDONED after a second thought of the user's.
static int produce(struct pipe_stage *stage, struct pipe_record *record, const char *topic,
                   const struct weir_message *message)
{
    struct weir_message sent = *message;
    int64_t give_up_ms = INT64_MAX;
    int error;

    sent.opaque = record;
    pipe_output_begun(&record->entry);
    while ((error = weir_produce(stage->producer, topic, WEIR_ANY_PARTITION, &sent)) ==
           WEIR_ERR_QUEUE_FULL) {
        int64_t now_ms = pipe_stage_clock_ms();
        if (interrupt_requested() && give_up_ms == INT64_MAX)
            give_up_ms = now_ms + stage->options->grace_ms;
        if (stage->code != 0 || now_ms >= give_up_ms)
            return WEIR_ERR_ABANDONED;
        wait_for_room(stage);
    }
    if (error != WEIR_OK)
        pipe_output_ended(&record->entry);
    return error;
}

int pipe_output_send(struct pipe_stage *stage, struct pipe_record *record,
                     const struct weir_message *message)
{
    int error = produce(stage, record, stage->options->to, message);

    if (error == WEIR_OK)
        return 0;
    if (error == WEIR_ERR_TOO_LARGE) {
        pipe_output_begun(&record->entry);
        refuse(stage, record, weir_last_error(stage->client));
        return 0;
    }
    if (error == WEIR_ERR_ABANDONED)
        pipe_stage_fail(stage, EXIT_INTERRUPTED,
                        "stopped while the broker took no outputs; what was not stored is not "
                        "committed, and is done again by the next run");
    else
        pipe_stage_fail_client(stage, error);
    return -ECANCELED;
}

static struct weir_header header(const char *name, const char *text)
{
    struct weir_header header = {weir_text(name), weir_text(text)};
    return header;
}

// The record as it came, with headers that say where from and why.
static int send_dead_letter(struct pipe_stage *stage, struct pipe_record *record,
                            const struct pipe_refusal *why)
{
    char partition[16];
    char offset[24];
    char attempts[16];
    size_t count = record->header_count;
    struct weir_header *headers = malloc((count + DEAD_HEADERS_MAX) * sizeof(*headers));

    if (headers == NULL)
        return WEIR_ERR_NO_MEMORY;
    if (count > 0)
        memcpy(headers, record->headers, count * sizeof(*headers));
    snprintf(partition, sizeof(partition), "%" PRId32, record->partition);
    snprintf(offset, sizeof(offset), "%" PRId64, record->entry.offset);
    snprintf(attempts, sizeof(attempts), "%" PRIu32, record->entry.failures);
    headers[count++] = header("weir.reason", why->reason);
    if (why->field != NULL)
        headers[count++] = header("weir.field", why->field);
    headers[count++] = header("weir.topic", stage->options->from);
    headers[count++] = header("weir.partition", partition);
    headers[count++] = header("weir.offset", offset);
    headers[count++] = header("weir.attempts", attempts);
    headers[count++] = header("weir.group", stage->options->group);
    struct weir_message message = {
        .key = record->key,
        .value = record->value,
        .headers = headers,
        .header_count = count,
        .timestamp = record->timestamp > 0 ? record->timestamp : 0,
    };
    int error = produce(stage, record, stage->options->dead_letter, &message);
    free(headers);
    return error;
}

void pipe_output_reject(struct pipe_stage *stage, struct pipe_record *record,
                        const struct pipe_refusal *why)
{
    const char *sentence = "%s partition %" PRId32 " offset %" PRId64
                           ": %s; --dead-letter TOPIC sets such records aside";

    // Whatever happens below, the record is not done with.
    record->rejected = true;
    if (stage->options->dead_letter == NULL) {
        pipe_output_begun(&record->entry);
        pipe_stage_fail(stage, EXIT_FAILED, sentence, stage->options->from, record->partition,
                        record->entry.offset, why->reason);
        return;
    }
    int error = send_dead_letter(stage, record, why);
    if (error == WEIR_OK)
        return;
    if (error != WEIR_ERR_ABANDONED)
        pipe_output_begun(&record->entry);
    pipe_stage_fail(stage, app_exit_code(error),
                    "%s partition %" PRId32 " offset %" PRId64
                    " (%s) cannot be set aside in %s: %s",
                    stage->options->from, record->partition, record->entry.offset, why->reason,
                    stage->options->dead_letter,
                    error == WEIR_ERR_ABANDONED ? "the broker takes no records"
                                                : weir_last_error(stage->client));
}

void pipe_output_settle(struct pipe_stage *stage)
{
    struct list *node;

    while (stage->code == 0 && (node = list_pop(&stage->refused)) != NULL) {
        struct pipe_record *record = list_entry(node, struct pipe_record, refused_node);
        struct pipe_refusal why = {0};
        snprintf(why.reason, sizeof(why.reason), "an output was refused: %s",
                 record->refused != NULL ? record->refused : "");
        if (!record->rejected && !record->orphan)
            pipe_output_reject(stage, record, &why);
        // The last one may free the record.
        for (uint32_t left = record->refusals; left > 0; left--)
            ended(record);
    }
}
