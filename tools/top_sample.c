// SPDX-License-Identifier: Apache-2.0
// A sample is the JSON that scripts get; the live view draws the same. What rates are made of (end,
// committed, time) stays in the sample, for the next one.
#include "tools/top_sample.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "tools/group_lag.h"
#include "tools/places.h"

static const double ns_per_second = 1e9;

// The row of `list` in the previous sample whose `key` is `name`.
static const json_t *row_of(const json_t *previous, const char *list, const char *key,
                            const char *name)
{
    size_t index;
    const json_t *row;

    json_array_foreach(json_object_get(previous, list), index, row)
    {
        if (strcmp(json_string_value(json_object_get(row, key)), name) == 0)
            return row;
    }
    return NULL;
}

// Records per second between two values of `count`; null when there was none before.
static json_t *rate_of(const json_t *sample, const json_t *previous, const json_t *row,
                       const char *count, int64_t now)
{
    if (row == NULL)
        return json_null();
    double seconds = ((double)json_integer_value(json_object_get(sample, "time_ns")) -
                      (double)json_integer_value(json_object_get(previous, "time_ns"))) /
                     ns_per_second;
    double change = (double)(now - json_integer_value(json_object_get(row, count)));
    return seconds > 0 && change >= 0 ? json_real(change / seconds) : json_null();
}

static int add_places(struct places *places, struct app *app, const struct weir_topic_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        const struct weir_topic *topic = &list->topics[i];
        for (size_t j = 0; !topic->internal && j < topic->partition_count; j++) {
            if (places_add(places, topic->name, topic->partitions[j].partition) == NULL)
                return app_fail(app, EXIT_FAILED, "out of memory");
        }
    }
    return 0;
}

static void add_topic_rows(json_t *sample, const json_t *previous, const struct places *places)
{
    json_t *rows = json_object_get(sample, "topics");

    for (size_t i = 0; i < places->count;) {
        const char *name = places->items[i].topic;
        int64_t end = 0;
        int64_t records = 0;
        size_t first = i;
        for (; i < places->count && strcmp(places->items[i].topic, name) == 0; i++) {
            if (places->items[i].end < 0)
                continue;
            end += places->items[i].end;
            records += places->items[i].end - places->items[i].first;
        }
        const json_t *before = row_of(previous, "topics", "topic", name);
        json_array_append_new(rows, json_pack("{s:s, s:I, s:I, s:I, s:o}", "topic", name,
                                              "partitions", (json_int_t)(i - first), "records",
                                              (json_int_t)records, "end", (json_int_t)end, "rate",
                                              rate_of(sample, previous, before, "end", end)));
    }
}

static int add_topics(struct app *app, struct weir_client *client, const json_t *previous,
                      json_t *sample)
{
    struct weir_topic_list *list = NULL;
    struct places places = {0};
    int error = weir_describe_topics(client, NULL, 0, &list, app_timeout_ms(app));

    if (error != WEIR_OK)
        return app_fail_client(app, client, error);
    int code = add_places(&places, app, list);
    if (code == 0)
        code = places_measure(&places, app, client, true);
    if (code == 0)
        add_topic_rows(sample, previous, &places);
    places_free(&places);
    weir_topic_list_free(list);
    return code;
}

static int add_group(struct app *app, struct weir_client *client, const json_t *previous,
                     json_t *sample, const struct weir_group *group)
{
    struct places places = {0};
    int code = group_lag_collect(&places, app, client, group->name, NULL);
    int64_t committed = 0;

    for (size_t i = 0; i < places.count; i++)
        committed += places.items[i].committed > 0 ? places.items[i].committed : 0;
    if (code == 0) {
        const json_t *before = row_of(previous, "groups", "group", group->name);
        json_array_append_new(
            json_object_get(sample, "groups"),
            json_pack("{s:s, s:s, s:I, s:I, s:I, s:o}", "group", group->name, "state", group->state,
                      "members", (json_int_t)group->member_count, "lag",
                      (json_int_t)group_lag_total(&places), "committed", (json_int_t)committed,
                      "rate", rate_of(sample, previous, before, "committed", committed)));
    }
    places_free(&places);
    return code;
}

static int describe_groups(struct app *app, struct weir_client *client, const json_t *previous,
                           json_t *sample, const struct weir_group_list *list)
{
    struct weir_group_descriptions *groups = NULL;
    const char **names = calloc(list->count + 1, sizeof(*names));

    if (names == NULL)
        return app_fail(app, EXIT_FAILED, "out of memory");
    for (size_t i = 0; i < list->count; i++)
        names[i] = list->groups[i].name;
    int error = weir_describe_groups(client, names, list->count, &groups, app_timeout_ms(app));
    free(names);
    if (error != WEIR_OK)
        return app_fail_client(app, client, error);
    int code = 0;
    for (size_t i = 0; code == 0 && i < groups->count; i++) {
        // It may have been deleted since it was listed.
        if (groups->groups[i].error == WEIR_OK)
            code = add_group(app, client, previous, sample, &groups->groups[i]);
    }
    weir_group_descriptions_free(groups);
    return code;
}

static int add_groups(struct app *app, struct weir_client *client, const json_t *previous,
                      json_t *sample)
{
    struct weir_group_list *list = NULL;
    int error = weir_list_groups(client, NULL, &list, app_timeout_ms(app));

    if (error != WEIR_OK)
        return app_fail_client(app, client, error);
    int code = list->count > 0 ? describe_groups(app, client, previous, sample, list) : 0;
    weir_group_list_free(list);
    return code;
}

json_t *top_sample(struct app *app, struct weir_client *client, const json_t *previous, int *code)
{
    json_t *sample = json_pack("{s:I, s:[], s:[]}", "time_ns", (json_int_t)clock_monotonic_ns(),
                               "topics", "groups");

    *code = add_topics(app, client, previous, sample);
    if (*code == 0)
        *code = add_groups(app, client, previous, sample);
    if (*code == 0)
        return sample;
    json_decref(sample);
    return NULL;
}
