// SPDX-License-Identifier: Apache-2.0
// A sorted array; every question to the broker is one call for all partitions.
#include "tools/places.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static int out_of_memory(const struct app *app)
{
    return app_fail(app, EXIT_FAILED, "out of memory");
}

void places_free(struct places *places)
{
    for (size_t i = 0; i < places->count; i++)
        free(places->items[i].topic);
    free(places->items);
    *places = (struct places){0};
}

static int compare(const struct place *place, const char *topic, int32_t partition)
{
    int order = strcmp(place->topic, topic);

    if (order != 0)
        return order;
    return (place->partition > partition) - (place->partition < partition);
}

// The first item that is not before the given one.
static size_t position_of(const struct places *places, const char *topic, int32_t partition)
{
    size_t low = 0;
    size_t high = places->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (compare(&places->items[middle], topic, partition) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct place *places_get(const struct places *places, const char *topic, int32_t partition)
{
    size_t at = position_of(places, topic, partition);

    if (at < places->count && compare(&places->items[at], topic, partition) == 0)
        return &places->items[at];
    return NULL;
}

struct place *places_add(struct places *places, const char *topic, int32_t partition)
{
    size_t at = position_of(places, topic, partition);

    if (at < places->count && compare(&places->items[at], topic, partition) == 0)
        return &places->items[at];
    // Room doubles: a power of two is the count at which there is none left.
    size_t count = places->count;
    if ((count & (count - 1)) == 0) {
        struct place *items =
            reallocarray(places->items, count == 0 ? 1 : 2 * count, sizeof(*items));
        if (items == NULL)
            return NULL;
        places->items = items;
    }
    char *copy = strdup(topic);
    if (copy == NULL)
        return NULL;
    memmove(places->items + at + 1, places->items + at, (count - at) * sizeof(*places->items));
    places->items[at] = (struct place){
        .topic = copy,
        .partition = partition,
        .first = -1,
        .end = -1,
        .found = -1,
        .committed = -1,
    };
    places->count++;
    return &places->items[at];
}

// -------------------------------------------------------------------------------- choices

// Reads "0,2,5-7" at *at. 1 and a range, 0 at the end, -EINVAL.
static int next_range(const char **at, int32_t *first, int32_t *last)
{
    char *end;

    if (**at == '\0')
        return 0;
    for (int i = 0; i < 2; i++) {
        if (**at < '0' || **at > '9')
            return -EINVAL;
        errno = 0;
        long value = strtol(*at, &end, 10);
        if (errno != 0 || value > INT32_MAX)
            return -EINVAL;
        *(i == 0 ? first : last) = (int32_t)value;
        *last = (int32_t)value;
        *at = end;
        if (*end != '-')
            break;
        if (i == 0)
            ++*at;
    }
    if (*last < *first || (**at != ',' && **at != '\0'))
        return -EINVAL;
    if (**at == ',' && *++*at == '\0')
        return -EINVAL;
    return 1;
}

static int add_ranges(struct places *places, const struct app *app, const struct weir_topic *topic,
                      const char *ranges)
{
    int32_t first;
    int32_t last;

    // check_choice has read them before: they end without an error.
    while (next_range(&ranges, &first, &last) == 1) {
        if ((size_t)last >= topic->partition_count)
            return app_fail(app, EXIT_NOT_FOUND,
                            "%s has no partition %" PRId32 ", its partitions are 0 to %zu",
                            topic->name, last, topic->partition_count - 1);
        for (int32_t i = first; i <= last; i++) {
            if (places_add(places, topic->name, i) == NULL)
                return out_of_memory(app);
        }
    }
    return 0;
}

static int add_topic(struct places *places, const struct app *app, const struct weir_topic *topic,
                     const char *ranges)
{
    if (topic->error != WEIR_OK)
        return app_fail_topic(app, topic);
    if (ranges != NULL)
        return add_ranges(places, app, topic, ranges);
    for (size_t i = 0; i < topic->partition_count; i++) {
        if (places_add(places, topic->name, topic->partitions[i].partition) == NULL)
            return out_of_memory(app);
    }
    return 0;
}

static int check_choice(const struct app *app, const char *choice)
{
    const char *colon = strchr(choice, ':');
    const char *ranges = colon != NULL ? colon + 1 : "0";
    int32_t first;
    int32_t last;
    int rc = *ranges != '\0' && colon != choice && *choice != '\0' ? 1 : -EINVAL;

    while (rc == 1)
        rc = next_range(&ranges, &first, &last);
    if (rc == 0)
        return 0;
    return app_fail(app, EXIT_USAGE, "'%s' will not do, give TOPIC, TOPIC:0 or TOPIC:0,2,5-7",
                    choice);
}

static int choose(struct places *places, const struct app *app, struct weir_client *client,
                  const char *choice)
{
    const char *colon = strchr(choice, ':');
    char *name = strndup(choice, colon != NULL ? (size_t)(colon - choice) : strlen(choice));
    const char *names[] = {name};
    struct weir_topic_list *list = NULL;

    if (name == NULL)
        return out_of_memory(app);
    int error = weir_describe_topics(client, names, 1, &list, app_timeout_ms(app));
    int code = 0;
    if (error != WEIR_OK)
        code = app_fail_client(app, client, error);
    else if (list->count != 1)
        code = app_fail(app, EXIT_NOT_FOUND, "%s: no such topic", name);
    else
        code = add_topic(places, app, &list->topics[0], colon != NULL ? colon + 1 : NULL);
    weir_topic_list_free(list);
    free(name);
    return code;
}

int places_choose(struct places *places, const struct app *app, struct weir_client *client,
                  const char *const *choices, size_t count)
{
    int code = 0;

    for (size_t i = 0; code == 0 && i < count; i++)
        code = check_choice(app, choices[i]);
    for (size_t i = 0; code == 0 && i < count; i++)
        code = choose(places, app, client, choices[i]);
    return code;
}

// -------------------------------------------------------------------------------- offsets

static struct weir_offset_query *make_queries(const struct places *places)
{
    struct weir_offset_query *queries = calloc(2 * places->count + 1, sizeof(*queries));

    for (size_t i = 0; queries != NULL && i < 2 * places->count; i++) {
        queries[i].topic = places->items[i / 2].topic;
        queries[i].partition = places->items[i / 2].partition;
        queries[i].at = i % 2 == 0 ? WEIR_BEGINNING : WEIR_END;
    }
    return queries;
}

// A partition's own error is a positive code; then the call itself worked.
static bool about_partitions(int error)
{
    return error == WEIR_ERR_UNKNOWN_TOPIC_OR_PARTITION;
}

int places_measure(struct places *places, const struct app *app, struct weir_client *client,
                   bool forgiving)
{
    size_t count = 2 * places->count;
    struct weir_offset_query *queries = make_queries(places);

    if (queries == NULL)
        return out_of_memory(app);
    int error = count > 0 ? weir_list_offsets(client, queries, count, app_timeout_ms(app)) : 0;
    if (error != WEIR_OK && !(forgiving && about_partitions(error))) {
        free(queries);
        return app_fail_client(app, client, error);
    }
    for (size_t i = 0; i < places->count; i++) {
        const struct weir_offset_query *first = &queries[2 * i];
        const struct weir_offset_query *end = &queries[2 * i + 1];
        places->items[i].first = first->error == WEIR_OK ? first->offset : -1;
        places->items[i].end = end->error == WEIR_OK ? end->offset : -1;
    }
    free(queries);
    return 0;
}

// What only the broker knows: a time, or the newest record. Where there is no such record it is the
// end.
static int find_asked(struct places *places, const struct app *app, struct weir_client *client,
                      int64_t at)
{
    struct weir_offset_query *queries = make_queries(places);

    if (queries == NULL)
        return out_of_memory(app);
    for (size_t i = 0; i < places->count; i++) {
        queries[i] = queries[2 * i];
        queries[i].at = at;
    }
    int error = places->count > 0
                    ? weir_list_offsets(client, queries, places->count, app_timeout_ms(app))
                    : 0;
    for (size_t i = 0; i < places->count; i++)
        places->items[i].found = queries[i].offset < 0 ? places->items[i].end : queries[i].offset;
    free(queries);
    return error == WEIR_OK ? 0 : app_fail_client(app, client, error);
}

static int find_one(const struct app *app, struct place *place, struct position position)
{
    switch (position.kind) {
    case POSITION_BEGINNING:
        place->found = place->first;
        return 0;
    case POSITION_FROM_END:
        place->found = place->end - position.value;
        if (place->found < place->first)
            place->found = place->first;
        return 0;
    case POSITION_OFFSET:
        place->found = position.value;
        if (position.value >= place->first && position.value <= place->end)
            return 0;
        return app_fail(app, EXIT_NOT_FOUND,
                        "%s partition %" PRId32 " has offsets %" PRId64 " to %" PRId64
                        ", not %" PRId64,
                        place->topic, place->partition, place->first, place->end, position.value);
    case POSITION_END:
    case POSITION_TIME:
    case POSITION_NEWEST:
        break;
    }
    place->found = place->end;
    return 0;
}

int places_find(struct places *places, const struct app *app, struct weir_client *client,
                struct position position)
{
    int code = 0;

    if (position.kind == POSITION_TIME)
        return find_asked(places, app, client, position.value);
    if (position.kind == POSITION_NEWEST)
        return find_asked(places, app, client, WEIR_MAX_TIMESTAMP);
    for (size_t i = 0; code == 0 && i < places->count; i++)
        code = find_one(app, &places->items[i], position);
    return code;
}
