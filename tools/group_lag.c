// SPDX-License-Identifier: Apache-2.0
// Keeps nothing; a partition that has been deleted shows without an end.
#include "tools/group_lag.h"

#include <string.h>

int group_lag_committed(struct places *places, const struct app *app, struct weir_client *client,
                        const char *name)
{
    struct weir_offset_list *list = NULL;
    int error = weir_group_offsets(client, name, &list, app_timeout_ms(app));

    if (error != WEIR_OK)
        return app_fail_client(app, client, error);
    int code = 0;
    for (size_t i = 0; code == 0 && i < list->count; i++) {
        struct place *place =
            places_add(places, list->offsets[i].topic, list->offsets[i].partition);
        if (place != NULL)
            place->committed = list->offsets[i].offset;
        else
            code = app_fail(app, EXIT_FAILED, "out of memory");
    }
    weir_offset_list_free(list);
    return code;
}

static int add_assigned(struct places *places, const struct app *app,
                        const struct weir_group *group)
{
    for (size_t i = 0; i < group->member_count; i++) {
        const struct weir_member *member = &group->members[i];
        for (size_t j = 0; j < member->assigned_count; j++) {
            if (places_add(places, member->assigned[j].topic, member->assigned[j].partition) ==
                NULL)
                return app_fail(app, EXIT_FAILED, "out of memory");
        }
    }
    return 0;
}

int group_lag_collect(struct places *places, const struct app *app, struct weir_client *client,
                      const char *name, const struct weir_group *group)
{
    int code = group_lag_committed(places, app, client, name);

    if (code == 0 && group != NULL)
        code = add_assigned(places, app, group);
    return code == 0 ? places_measure(places, app, client, true) : code;
}

int64_t group_lag_of(const struct place *place)
{
    if (place->committed < 0 || place->end < 0)
        return -1;
    // The end may have been asked for before the last commit.
    return place->committed < place->end ? place->end - place->committed : 0;
}

int64_t group_lag_total(const struct places *places)
{
    int64_t total = 0;

    for (size_t i = 0; i < places->count; i++) {
        int64_t lag = group_lag_of(&places->items[i]);
        total += lag > 0 ? lag : 0;
    }
    return total;
}

static const struct weir_member *owner_of(const struct weir_group *group, const struct place *place)
{
    for (size_t i = 0; group != NULL && i < group->member_count; i++) {
        const struct weir_member *member = &group->members[i];
        for (size_t j = 0; j < member->assigned_count; j++) {
            if (member->assigned[j].partition == place->partition &&
                strcmp(member->assigned[j].topic, place->topic) == 0)
                return member;
        }
    }
    return NULL;
}

static json_t *number_or_null(int64_t value)
{
    return value >= 0 ? json_integer(value) : json_null();
}

json_t *group_lag_rows(const struct places *places, const struct weir_group *group)
{
    json_t *rows = json_array();

    for (size_t i = 0; i < places->count; i++) {
        const struct place *place = &places->items[i];
        const struct weir_member *member = owner_of(group, place);
        json_array_append_new(rows, json_pack("{s:s, s:i, s:o, s:o, s:o, s:s?, s:s?}", "topic",
                                              place->topic, "partition", place->partition,
                                              "committed", number_or_null(place->committed), "end",
                                              number_or_null(place->end), "lag",
                                              number_or_null(group_lag_of(place)), "member",
                                              member != NULL ? member->id : NULL, "client",
                                              member != NULL ? member->client_id : NULL));
    }
    return rows;
}
