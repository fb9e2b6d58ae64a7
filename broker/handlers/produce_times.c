// SPDX-License-Identifier: Apache-2.0
// The limits message.timestamp.before.max.ms and message.timestamp.after.max.ms. One record outside
// of them refuses its whole batch; the answer names the records, so that a client may send the
// others again (KIP-467).
//
// The largest timestamp stands in the batch's header, which is believed: a batch that claims less
// than its records have harms its own producer's lookups by time only. The smallest one stands
// nowhere, so a limit to the past costs a look at every record (decompressed if need be); there is
// none unless somebody sets it.
#include "broker/handlers/produce_times.h"

#include <inttypes.h>
#include <stdio.h>

#include "protocol/error.h"

enum {
    INFLATE_LIMIT = 32 << 20,
    NAMED_MAX = 500, // records that the answer names
    TEXT_MAX = 160,
};

struct limits {
    int64_t oldest;
    int64_t newest;
};

static struct limits limits_at(const struct topic_settings *settings, int64_t now_ms)
{
    struct limits limits = {.oldest = 0, .newest = INT64_MAX};
    if (now_ms > settings->timestamp_before_max_ms)
        limits.oldest = now_ms - settings->timestamp_before_max_ms;
    if (settings->timestamp_after_max_ms < INT64_MAX - now_ms)
        limits.newest = now_ms + settings->timestamp_after_max_ms;
    return limits;
}

// A record may go without a timestamp (-1).
static bool is_outside(const struct limits *limits, int64_t timestamp)
{
    return timestamp >= 0 && (timestamp < limits->oldest || timestamp > limits->newest);
}

static bool name_record(struct produce_times *times, const struct limits *limits, int32_t index,
                        int64_t timestamp, struct arena *arena)
{
    char text[TEXT_MAX];
    int size =
        snprintf(text, sizeof(text), "timestamp %" PRId64 " is outside of %" PRId64 " to %" PRId64,
                 timestamp, limits->oldest, limits->newest);
    char *kept = arena_text(arena, text, (size_t)size);
    if (!times->records)
        times->records = arena_array(arena, NAMED_MAX, sizeof(*times->records));
    if (!kept || !times->records)
        return false;
    times->records[times->record_count++] = (struct kp_produce_response_record_error){
        .batch_index = index, .batch_index_error_message = span_of(kept, (size_t)size)};
    return true;
}

// The number of records outside, or a negative enum batch_error.
static int look_at_records(struct produce_times *times, const struct limits *limits,
                           struct span batch, struct arena *arena)
{
    struct arena inflated;
    arena_init(&inflated, INFLATE_LIMIT * 2);
    struct batch_reader reader;
    struct record record;
    int outside = 0;
    int result = batch_reader_init(&reader, batch, &inflated, INFLATE_LIMIT);
    for (int32_t i = 0; result == BATCH_OK; i++) {
        result = batch_reader_next(&reader, &record);
        if (result <= 0)
            break;
        result = BATCH_OK;
        if (!is_outside(limits, record.timestamp))
            continue;
        outside++;
        if (times->record_count < NAMED_MAX &&
            !name_record(times, limits, i, record.timestamp, arena))
            result = BATCH_NO_MEMORY;
    }
    arena_free(&inflated);
    return result < 0 ? result : outside;
}

struct produce_times produce_times_check(struct span batch, const struct batch_header *header,
                                         const struct topic_settings *settings, int64_t now_ms,
                                         struct arena *arena)
{
    struct produce_times times = {0};
    struct limits limits = limits_at(settings, now_ms);
    bool late = header->max_timestamp > limits.newest;
    if (!late && limits.oldest == 0)
        return times;
    int outside = look_at_records(&times, &limits, batch, arena);
    if (outside == 0 && !late)
        return times;
    if (outside < 0) {
        times.error =
            outside == BATCH_NO_MEMORY ? KP_ERROR_KAFKA_STORAGE_ERROR : KP_ERROR_INVALID_RECORD;
        times.why = batch_error_text((enum batch_error)outside);
        times.record_count = 0;
        return times;
    }
    times.error = KP_ERROR_INVALID_TIMESTAMP;
    times.why = late ? "a timestamp is further in the future than "
                       "message.timestamp.after.max.ms allows"
                     : "a timestamp is further back than message.timestamp.before.max.ms allows";
    return times;
}
