// SPDX-License-Identifier: Apache-2.0
// The limits message.timestamp.before.max.ms and message.timestamp.after.max.ms, and the keys that
// compaction needs. One record that is not allowed refuses its whole batch; the answer names the
// records to blame, so that a client may send the others again (KIP-467).
//
// The largest timestamp stands in the batch's header, which is believed: a batch that claims less
// than its records have harms its own producer's lookups by time only. The smallest one stands
// nowhere, so a limit to the past costs a look at every record (decompressed if need be); there is
// none unless somebody sets it.
#include "broker/handlers/produce_records.h"

#include <inttypes.h>
#include <stdio.h>

#include "protocol/error.h"

enum {
    NAMED_MAX = 500, // records that the answer names
    TEXT_MAX = 160,
};

struct look {
    int64_t oldest; // timestamps that are allowed
    int64_t newest;
    bool keys; // each record needs one
    struct arena *arena;
    struct produce_verdict verdict;
};

static struct look look_for_times(const struct topic_settings *settings, int64_t now_ms,
                                  struct arena *arena)
{
    struct look look = {.oldest = 0, .newest = INT64_MAX, .arena = arena};
    if (now_ms > settings->timestamp_before_max_ms)
        look.oldest = now_ms - settings->timestamp_before_max_ms;
    if (settings->timestamp_after_max_ms < INT64_MAX - now_ms)
        look.newest = now_ms + settings->timestamp_after_max_ms;
    return look;
}

// A record may go without a timestamp (-1).
static bool is_allowed(const struct look *look, const struct record *record)
{
    if (look->keys)
        return record->key.data != NULL;
    return record->timestamp < 0 ||
           (record->timestamp >= look->oldest && record->timestamp <= look->newest);
}

static bool name_record(struct look *look, int32_t index, const struct record *record)
{
    struct produce_verdict *verdict = &look->verdict;
    char text[TEXT_MAX] = "a record without a key, in a compacted topic";
    if (!look->keys)
        snprintf(text, sizeof(text), "timestamp %" PRId64 " is outside of %" PRId64 " to %" PRId64,
                 record->timestamp, look->oldest, look->newest);
    struct span why = span_text(text);
    why.data = (const uint8_t *)arena_text(look->arena, text, why.size);
    if (!verdict->records)
        verdict->records = arena_array(look->arena, NAMED_MAX, sizeof(*verdict->records));
    if (!why.data || !verdict->records)
        return false;
    verdict->records[verdict->record_count++] = (struct kp_produce_response_record_error){
        .batch_index = index, .batch_index_error_message = why};
    return true;
}

// The number of records that are not allowed, or a negative enum batch_error.
static int look_at_records(struct look *look, struct span batch)
{
    struct arena inflated;
    arena_init(&inflated, PRODUCE_INFLATE_MAX * 2);
    struct batch_reader reader;
    struct record record;
    int refused = 0;
    int result = batch_reader_init(&reader, batch, &inflated, PRODUCE_INFLATE_MAX);
    for (int32_t i = 0; result == BATCH_OK; i++) {
        result = batch_reader_next(&reader, &record);
        if (result <= 0)
            break;
        result = BATCH_OK;
        if (is_allowed(look, &record))
            continue;
        refused++;
        if (look->verdict.record_count < NAMED_MAX && !name_record(look, i, &record))
            result = BATCH_NO_MEMORY;
    }
    arena_free(&inflated);
    return result < 0 ? result : refused;
}

// What cannot be looked at is refused as a whole.
static struct produce_verdict refuse_all(enum batch_error error)
{
    return (struct produce_verdict){
        .error = error == BATCH_NO_MEMORY ? KP_ERROR_KAFKA_STORAGE_ERROR : KP_ERROR_INVALID_RECORD,
        .why = batch_error_text(error),
    };
}

struct produce_verdict produce_check_times(struct span batch, const struct batch_header *header,
                                           const struct topic_settings *settings, int64_t now_ms,
                                           struct arena *arena)
{
    struct look look = look_for_times(settings, now_ms, arena);
    bool late = header->max_timestamp > look.newest;
    if (!late && look.oldest == 0)
        return look.verdict;
    int refused = look_at_records(&look, batch);
    if (refused == 0 && !late)
        return look.verdict;
    if (refused < 0)
        return refuse_all((enum batch_error)refused);
    look.verdict.error = KP_ERROR_INVALID_TIMESTAMP;
    look.verdict.why = late ? "a timestamp is further in the future than "
                              "message.timestamp.after.max.ms allows"
                            : "a timestamp is further back than message.timestamp.before.max.ms "
                              "allows";
    return look.verdict;
}

struct produce_verdict produce_blame_keys(struct span batch, struct arena *arena)
{
    struct look look = {.keys = true, .arena = arena};
    int refused = look_at_records(&look, batch);
    if (refused < 0)
        return refuse_all((enum batch_error)refused);
    look.verdict.error = KP_ERROR_INVALID_RECORD;
    look.verdict.why = batch_error_text(BATCH_NO_KEY);
    return look.verdict;
}
