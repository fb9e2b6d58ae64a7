// SPDX-License-Identifier: Apache-2.0
// Owns a client and a consumer.
//
// Invariants:
//  1. `active` counts the partitions whose `active` is set; only those are assigned.
//  2. With until_end a partition is dropped as soon as its position reaches its stop, also when the
//     last offsets before it hold no records (compacted away, or control records).
//  3. A partition whose stop lies at or before its start is never assigned.
#include "tools/topic_reader.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/clock.h"
#include "tools/interrupt.h"

enum { NS_PER_MS = 1000 * 1000 };

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int find_partitions(struct topic_reader *reader, const struct weir_topic *topic,
                           int32_t partition)
{
    if (topic->error != WEIR_OK)
        return app_fail_topic(reader->app, topic);
    reader->partitions = calloc(topic->partition_count + 1, sizeof(*reader->partitions));
    if (reader->partitions == NULL)
        return app_fail(reader->app, EXIT_FAILED, "out of memory");
    for (size_t i = 0; i < topic->partition_count; i++) {
        if (partition == -1 || topic->partitions[i].partition == partition)
            reader->partitions[reader->count++].partition = topic->partitions[i].partition;
    }
    if (reader->count == 0)
        return app_fail(reader->app, EXIT_NOT_FOUND,
                        "%s has no partition %" PRId32 ", its partitions are 0 to %zu",
                        reader->topic, partition, topic->partition_count - 1);
    return 0;
}

static int describe(struct topic_reader *reader, int32_t partition)
{
    struct weir_topic_list *list = NULL;
    int error =
        weir_describe_topics(reader->client, &reader->topic, 1, &list, app_timeout_ms(reader->app));

    if (error != WEIR_OK)
        return app_fail_client(reader->app, reader->client, error);
    int code = list->count == 1
                   ? find_partitions(reader, &list->topics[0], partition)
                   : app_fail(reader->app, EXIT_NOT_FOUND, "%s: no such topic", reader->topic);
    weir_topic_list_free(list);
    return code;
}

// What the offset of each partition is at `at`, into values[].
static int ask(struct topic_reader *reader, int64_t at, int64_t *values)
{
    struct weir_offset_query *queries = calloc(reader->count + 1, sizeof(*queries));

    if (queries == NULL)
        return app_fail(reader->app, EXIT_FAILED, "out of memory");
    for (size_t i = 0; i < reader->count; i++) {
        queries[i].topic = reader->topic;
        queries[i].partition = reader->partitions[i].partition;
        queries[i].at = at;
    }
    int error =
        weir_list_offsets(reader->client, queries, reader->count, app_timeout_ms(reader->app));
    for (size_t i = 0; i < reader->count; i++)
        values[i] = queries[i].offset;
    free(queries);
    return error == WEIR_OK ? 0 : app_fail_client(reader->app, reader->client, error);
}

static int64_t start_of(struct position from, int64_t first, int64_t end, int64_t by_time)
{
    switch (from.kind) {
    case POSITION_BEGINNING:
        return first;
    case POSITION_OFFSET:
        return from.value;
    case POSITION_FROM_END:
        return larger(first, end - from.value);
    case POSITION_TIME:
    case POSITION_NEWEST:
        return by_time < 0 ? end : by_time;
    case POSITION_END:
        break;
    }
    return end;
}

static int find_offsets(struct topic_reader *reader, struct position from)
{
    size_t count = reader->count;
    int64_t *values = calloc(3 * count + 1, sizeof(*values));

    if (values == NULL)
        return app_fail(reader->app, EXIT_FAILED, "out of memory");
    int64_t *first = values;
    int64_t *end = values + count;
    int64_t *by_time = values + 2 * count;
    int code = ask(reader, WEIR_BEGINNING, first);
    if (code == 0)
        code = ask(reader, WEIR_END, end);
    if (code == 0 && from.kind == POSITION_TIME)
        code = ask(reader, from.value, by_time);
    if (code == 0 && from.kind == POSITION_NEWEST)
        code = ask(reader, WEIR_MAX_TIMESTAMP, by_time);
    for (size_t i = 0; code == 0 && i < count; i++) {
        reader->partitions[i].start = start_of(from, first[i], end[i], by_time[i]);
        reader->partitions[i].stop = end[i];
        if (from.kind == POSITION_OFFSET && (from.value < first[i] || from.value > end[i]))
            code = app_fail(
                reader->app, EXIT_NOT_FOUND,
                "%s partition %" PRId32 " has offsets %" PRId64 " to %" PRId64 ", not %" PRId64,
                reader->topic, reader->partitions[i].partition, first[i], end[i], from.value);
    }
    free(values);
    return code;
}

static int assign(struct topic_reader *reader, struct topic_reader_partition *partition,
                  int64_t offset)
{
    int error = weir_consumer_assign(reader->consumer, reader->topic, partition->partition, offset);

    if (error != WEIR_OK)
        return app_fail_client(reader->app, reader->client, error);
    partition->active = true;
    reader->active++;
    return 0;
}

static int open_consumer(struct topic_reader *reader)
{
    int code = 0;
    struct weir_config *config = app_config(reader->app, &code);

    if (config == NULL)
        return code;
    // Retention may overtake a slow reader: what is gone then is skipped.
    code = app_set_text(reader->app, config, "auto.offset.reset", "earliest");
    if (code == 0)
        reader->client = app_connect(reader->app, config, &code);
    if (reader->client != NULL)
        reader->consumer = weir_consumer_new(reader->client, config);
    weir_config_free(config);
    if (code == 0 && reader->consumer == NULL)
        code = app_fail(reader->app, EXIT_FAILED, "out of memory");
    return code;
}

int topic_reader_open(struct topic_reader *reader, struct app *app, const char *topic,
                      int32_t partition, struct position from, bool until_end)
{
    *reader = (struct topic_reader){.app = app, .topic = topic, .until_end = until_end};

    int code = open_consumer(reader);
    interrupt_catch();
    if (code == 0)
        code = describe(reader, partition);
    if (code == 0)
        code = find_offsets(reader, from);
    for (size_t i = 0; code == 0 && i < reader->count; i++) {
        struct topic_reader_partition *each = &reader->partitions[i];
        if (!until_end || each->start < each->stop)
            code = assign(reader, each, each->start);
    }
    reader->moved = true;
    return code;
}

void topic_reader_close(struct topic_reader *reader)
{
    weir_consumer_free(reader->consumer);
    weir_client_free(reader->client);
    free(reader->partitions);
    *reader = (struct topic_reader){0};
}

static int give_up(const struct topic_reader *reader)
{
    const char *trouble = weir_trouble(reader->client);
    return app_fail(reader->app, EXIT_UNREACHABLE,
                    "%s: nothing came for %d ms, though there is more to read: %s", reader->topic,
                    app_timeout_ms(reader->app),
                    trouble ? trouble : "is the broker still running?");
}

static void drop(struct topic_reader *reader, struct topic_reader_partition *partition)
{
    weir_consumer_unassign(reader->consumer, reader->topic, partition->partition);
    partition->active = false;
    reader->active--;
}

// Only time spent waiting for the broker counts, not the time the records' reader took.
static bool given_up(const struct topic_reader *reader)
{
    uint64_t patience_ns = (uint64_t)app_timeout_ms(reader->app) * NS_PER_MS;

    return reader->until_end && clock_monotonic_ns() - reader->waiting_ns > patience_ns;
}

int topic_reader_poll(struct topic_reader *reader, int timeout_ms)
{
    for (size_t i = 0; reader->until_end && i < reader->count; i++) {
        struct topic_reader_partition *partition = &reader->partitions[i];
        int64_t position = 0;
        if (partition->active &&
            weir_consumer_position(reader->consumer, reader->topic, partition->partition,
                                   &position) == WEIR_OK &&
            position >= partition->stop)
            drop(reader, partition);
    }
    if (topic_reader_done(reader))
        return 0;
    if (reader->moved)
        reader->waiting_ns = clock_monotonic_ns();
    reader->moved = false;
    if (given_up(reader))
        return give_up(reader);
    int error = weir_consumer_poll(reader->consumer, timeout_ms);
    return error == WEIR_OK ? 0 : app_fail_client(reader->app, reader->client, error);
}

static struct topic_reader_partition *find(struct topic_reader *reader, int32_t partition)
{
    for (size_t i = 0; i < reader->count; i++) {
        if (reader->partitions[i].partition == partition)
            return &reader->partitions[i];
    }
    return NULL;
}

bool topic_reader_next(struct topic_reader *reader, struct weir_record *record)
{
    while (weir_consumer_next(reader->consumer, record)) {
        if (!reader->until_end)
            return true;
        reader->moved = true;
        struct topic_reader_partition *partition = find(reader, record->partition);
        if (partition != NULL && partition->active && record->offset < partition->stop)
            return true;
    }
    return false;
}

bool topic_reader_done(const struct topic_reader *reader)
{
    return reader->until_end && reader->active == 0;
}

int topic_reader_follow(struct topic_reader *reader)
{
    int code = 0;

    reader->until_end = false;
    for (size_t i = 0; code == 0 && i < reader->count; i++) {
        if (!reader->partitions[i].active)
            code = assign(reader, &reader->partitions[i],
                          larger(reader->partitions[i].start, reader->partitions[i].stop));
    }
    return code;
}

int64_t topic_reader_expected(const struct topic_reader *reader)
{
    int64_t total = 0;

    for (size_t i = 0; i < reader->count; i++)
        total += larger(0, reader->partitions[i].stop - reader->partitions[i].start);
    return total;
}
