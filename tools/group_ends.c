// SPDX-License-Identifier: Apache-2.0
// A member sees only the partitions that it has. Those of a member that was killed are nobody's
// until its session expires, and others may be worked on still: what counts for these is what the
// group has committed.
#include "tools/group_ends.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/pattern.h"

static const uint64_t pause_ns = UINT64_C(250) * 1000 * 1000;

static int describe(struct group_ends *ends, const struct app *app, struct weir_client *client,
                    const struct group_topics *topics)
{
    int error = weir_describe_topics(client, topics->names, topics->pattern ? 0 : topics->count,
                                     &ends->topics, app_timeout_ms(app));

    if (error != WEIR_OK)
        return app_fail_client(app, client, error);
    for (size_t i = 0; topics->pattern == NULL && i < ends->topics->count; i++) {
        const struct weir_topic *topic = &ends->topics->topics[i];
        if (topic->error != WEIR_OK)
            return app_fail_topic(app, topic);
    }
    return 0;
}

// The same choice that the library and the broker make.
static bool chosen(struct pattern *pattern, const struct weir_topic *topic)
{
    uint32_t cost = 0;

    if (pattern == NULL)
        return true;
    return topic->error == WEIR_OK && !topic->internal &&
           pattern_match(pattern, span_text(topic->name), &cost) == 1;
}

static int look_up(struct group_ends *ends, const struct app *app, struct weir_client *client,
                   struct pattern *pattern)
{
    size_t most = 0;

    for (size_t i = 0; i < ends->topics->count; i++)
        most += ends->topics->topics[i].partition_count;
    ends->ends = calloc(most + 1, sizeof(*ends->ends));
    if (ends->ends == NULL)
        return app_fail(app, EXIT_FAILED, "out of memory");
    for (size_t i = 0; i < ends->topics->count; i++) {
        const struct weir_topic *topic = &ends->topics->topics[i];
        size_t partitions = chosen(pattern, topic) ? topic->partition_count : 0;
        for (size_t j = 0; j < partitions; j++)
            ends->ends[ends->count++] = (struct weir_offset_query){
                .topic = topic->name,
                .partition = topic->partitions[j].partition,
                .at = WEIR_END,
            };
    }
    int error = weir_list_offsets(client, ends->ends, ends->count, app_timeout_ms(app));
    return error != WEIR_OK ? app_fail_client(app, client, error) : 0;
}

int group_ends_open(struct group_ends *ends, const struct app *app, struct weir_client *client,
                    const struct group_topics *topics, bool until_end)
{
    struct pattern *pattern = NULL;
    int code = 0;

    *ends = (struct group_ends){0};
    if (topics->pattern != NULL && pattern_compile(span_text(topics->pattern), &pattern) != 0)
        return app_fail(app, EXIT_FAILED, "'%.200s' is no regular expression, or too large a one",
                        topics->pattern);
    if (until_end || topics->pattern == NULL)
        code = describe(ends, app, client, topics);
    if (code == 0 && until_end)
        code = look_up(ends, app, client, pattern);
    pattern_free(pattern);
    return code;
}

void group_ends_free(struct group_ends *ends)
{
    free(ends->ends);
    weir_topic_list_free(ends->topics);
    *ends = (struct group_ends){0};
}

static int compare_ends(const void *a, const void *b)
{
    const struct weir_offset_query *left = a;
    const struct weir_offset_query *right = b;
    int topics = strcmp(left->topic, right->topic);

    return topics != 0
               ? topics
               : (left->partition > right->partition) - (left->partition < right->partition);
}

// Asked for every partition there is, a few times a second; weir_describe_topics lists in order.
int64_t group_ends_of(const struct group_ends *ends, const char *topic, int32_t partition)
{
    struct weir_offset_query wanted = {.topic = topic, .partition = partition};
    const struct weir_offset_query *end =
        ends->count == 0 ? NULL
                         : bsearch(&wanted, ends->ends, ends->count, sizeof(wanted), compare_ends);

    return end != NULL ? end->offset : 0;
}

// Retention or a person may have taken away what nobody can commit any more.
static bool emptied(const struct group_ends *ends, struct weir_client *client,
                    const struct weir_offset *at, int timeout_ms)
{
    struct weir_offset_query first = {
        .topic = at->topic,
        .partition = at->partition,
        .at = WEIR_BEGINNING,
    };

    return weir_list_offsets(client, &first, 1, timeout_ms) == WEIR_OK &&
           first.offset >= group_ends_of(ends, at->topic, at->partition);
}

static bool all_committed(const struct group_ends *ends, struct weir_client *client,
                          struct weir_consumer *consumer, struct weir_offset *offsets, size_t count,
                          int timeout_ms)
{
    if (weir_committed(consumer, offsets, count, timeout_ms) != WEIR_OK)
        return false;
    for (size_t i = 0; i < count; i++) {
        const struct weir_offset *at = &offsets[i];
        if (at->offset < group_ends_of(ends, at->topic, at->partition) &&
            !(ends->from_end && at->offset < 0) && !emptied(ends, client, at, timeout_ms))
            return false;
    }
    return true;
}

bool group_ends_reached(struct group_ends *ends, struct weir_client *client,
                        struct weir_consumer *consumer,
                        bool (*mine)(void *context, const char *topic, int32_t partition),
                        void *context, int timeout_ms)
{
    struct weir_offset *offsets = calloc(ends->count + 1, sizeof(*offsets));
    bool reached = offsets != NULL;
    size_t count = 0;

    for (size_t i = 0; reached && i < ends->count; i++) {
        const struct weir_offset_query *end = &ends->ends[i];
        if (end->offset > 0 && !mine(context, end->topic, end->partition))
            offsets[count++] =
                (struct weir_offset){.topic = end->topic, .partition = end->partition};
    }
    if (reached && count > 0) {
        uint64_t now_ns = clock_monotonic_ns();
        reached = now_ns - ends->asked_ns >= pause_ns;
        if (reached) {
            ends->asked_ns = now_ns;
            reached = all_committed(ends, client, consumer, offsets, count, timeout_ms);
        }
    }
    free(offsets);
    return reached;
}
