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

// One look under way.
struct look {
    struct app *app;
    struct weir_client *client;
    json_t *sample;
    const json_t *previous;
    json_t *earlier[2]; // rows of the previous sample by name: topics, groups
    struct places places;
};

enum list { TOPICS, GROUPS };

static const char *const names[] = {"topic", "group"};
static const char *const lists[] = {"topics", "groups"};

// Rows by their names, so that thousands of them are found fast; without memory, none.
static json_t *index_rows(const json_t *previous, enum list list)
{
    json_t *index = json_object();
    size_t at;
    json_t *row;

    json_array_foreach(json_object_get(previous, lists[list]), at, row)
    {
        json_object_set(index, json_string_value(json_object_get(row, names[list])), row);
    }
    return index;
}

// Records per second between two values of `count`; null when there was none before.
static json_t *rate_of(const struct look *look, enum list list, const char *name, const char *count,
                       int64_t now)
{
    const json_t *row = json_object_get(look->earlier[list], name);
    double change = (double)(now - json_integer_value(json_object_get(row, count)));
    double seconds = ((double)json_integer_value(json_object_get(look->sample, "time_ns")) -
                      (double)json_integer_value(json_object_get(look->previous, "time_ns"))) /
                     ns_per_second;

    return row != NULL && seconds > 0 && change >= 0 ? json_real(change / seconds) : json_null();
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

static void add_topic_rows(struct look *look)
{
    const struct places *places = &look->places;
    json_t *rows = json_object_get(look->sample, "topics");

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
        json_array_append_new(rows, json_pack("{s:s, s:I, s:I, s:I, s:o}", "topic", name,
                                              "partitions", (json_int_t)(i - first), "records",
                                              (json_int_t)records, "end", (json_int_t)end, "rate",
                                              rate_of(look, TOPICS, name, "end", end)));
    }
}

static int add_topics(struct look *look)
{
    struct weir_topic_list *list = NULL;
    int error = weir_describe_topics(look->client, NULL, 0, &list, app_timeout_ms(look->app));

    if (error != WEIR_OK)
        return app_fail_client(look->app, look->client, error);
    int code = add_places(&look->places, look->app, list);
    if (code == 0)
        code = places_measure(&look->places, look->app, look->client, true);
    if (code == 0)
        add_topic_rows(look);
    weir_topic_list_free(list);
    return code;
}

// The ends are those of the topics, which were asked for just now.
static int add_group(struct look *look, const struct weir_group *group)
{
    struct places places = {0};
    int code = group_lag_committed(&places, look->app, look->client, group->name);
    int64_t committed = 0;

    for (size_t i = 0; i < places.count; i++) {
        struct place *place = &places.items[i];
        const struct place *topic = places_get(&look->places, place->topic, place->partition);
        place->end = topic != NULL ? topic->end : -1;
        committed += place->committed > 0 ? place->committed : 0;
    }
    if (code == 0)
        json_array_append_new(
            json_object_get(look->sample, "groups"),
            json_pack("{s:s, s:s, s:I, s:I, s:I, s:o}", "group", group->name, "state", group->state,
                      "members", (json_int_t)group->member_count, "lag",
                      (json_int_t)group_lag_total(&places), "committed", (json_int_t)committed,
                      "rate", rate_of(look, GROUPS, group->name, "committed", committed)));
    places_free(&places);
    return code;
}

static int describe_groups(struct look *look, const struct weir_group_list *list)
{
    struct weir_group_descriptions *groups = NULL;
    const char **group_names = calloc(list->count + 1, sizeof(*group_names));

    if (group_names == NULL)
        return app_fail(look->app, EXIT_FAILED, "out of memory");
    for (size_t i = 0; i < list->count; i++)
        group_names[i] = list->groups[i].name;
    int error = weir_describe_groups(look->client, group_names, list->count, &groups,
                                     app_timeout_ms(look->app));
    free(group_names);
    if (error != WEIR_OK)
        return app_fail_client(look->app, look->client, error);
    int code = 0;
    for (size_t i = 0; code == 0 && i < groups->count; i++) {
        // It may have been deleted since it was listed.
        if (groups->groups[i].error == WEIR_OK)
            code = add_group(look, &groups->groups[i]);
    }
    weir_group_descriptions_free(groups);
    return code;
}

static int add_groups(struct look *look)
{
    struct weir_group_list *list = NULL;
    int error = weir_list_groups(look->client, NULL, &list, app_timeout_ms(look->app));

    if (error != WEIR_OK)
        return app_fail_client(look->app, look->client, error);
    int code = list->count > 0 ? describe_groups(look, list) : 0;
    weir_group_list_free(list);
    return code;
}

json_t *top_sample(struct app *app, struct weir_client *client, const json_t *previous, int *code)
{
    struct look look = {
        .app = app,
        .client = client,
        .previous = previous,
        .sample = json_pack("{s:I, s:[], s:[]}", "time_ns", (json_int_t)clock_monotonic_ns(),
                            "topics", "groups"),
        .earlier = {index_rows(previous, TOPICS), index_rows(previous, GROUPS)},
    };

    *code = add_topics(&look);
    if (*code == 0)
        *code = add_groups(&look);
    places_free(&look.places);
    json_decref(look.earlier[TOPICS]);
    json_decref(look.earlier[GROUPS]);
    if (*code == 0)
        return look.sample;
    json_decref(look.sample);
    return NULL;
}
