// SPDX-License-Identifier: Apache-2.0
// weir group reset: moves a group's committed offsets. Without --execute nothing is changed: the
// table says what would be.
//
// Invariants:
//  1. Everything is checked before anything is written, and all offsets go in one request.
//  2. No offset outside of its partition is ever written.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tools/app.h"
#include "tools/commands.h"
#include "tools/group_lag.h"
#include "tools/report.h"

struct reset_settings {
    struct text_list topics;
    const char *to;
    const char *shift;
    bool execute;
};

static const struct report_column columns[] = {
    {"topic", "TOPIC", false}, {"partition", "PARTITION", true}, {"committed", "FROM", true},
    {"to", "TO", true},        {"first", "FIRST", true},         {"end", "END", true},
};

struct reset {
    struct app *app;
    const struct reset_settings *options;
    const char *group;
    struct weir_client *client;
    struct position to;
    int64_t shift;
    struct places places;
};

static int read_target(struct reset *reset)
{
    const struct reset_settings *options = reset->options;

    if ((options->to == NULL) == (options->shift == NULL))
        return app_fail(reset->app, EXIT_USAGE, "give either --to or --shift");
    if (options->shift != NULL &&
        value_count(options->shift, -INT64_MAX, INT64_MAX, &reset->shift) != 0)
        return app_fail(reset->app, EXIT_USAGE,
                        "--shift: '%s' will not do, give a number such as -100 or 100",
                        options->shift);
    if (options->to != NULL)
        return app_read_position(reset->app, "--to", options->to, &reset->to);
    return 0;
}

// The partitions committed, or of them and of those chosen the chosen ones.
static int find_partitions(struct reset *reset)
{
    const struct text_list *topics = &reset->options->topics;
    struct places all = {0};
    int code = group_lag_collect(&all, reset->app, reset->client, reset->group, NULL);

    if (code == 0)
        code =
            places_choose(&reset->places, reset->app, reset->client, topics->items, topics->count);
    for (size_t i = 0; code == 0 && i < all.count; i++) {
        const struct place *from = &all.items[i];
        struct place *place = NULL;
        if (topics->count > 0)
            place = places_get(&reset->places, from->topic, from->partition);
        else if (from->end >= 0)
            place = places_add(&reset->places, from->topic, from->partition);
        if (place != NULL)
            place->committed = from->committed;
    }
    places_free(&all);
    if (code == 0 && reset->places.count == 0)
        code = app_fail(reset->app, EXIT_NOT_FOUND,
                        "group '%s' has committed nothing; name the topics with -t to set its "
                        "offsets nevertheless",
                        reset->group);
    return code;
}

static int64_t within(const struct place *place, int64_t offset)
{
    if (offset < place->first)
        return place->first;
    return offset > place->end ? place->end : offset;
}

static int shift_all(struct reset *reset)
{
    for (size_t i = 0; i < reset->places.count; i++) {
        struct place *place = &reset->places.items[i];
        int64_t target;
        if (place->committed < 0)
            return app_fail(reset->app, EXIT_NOT_FOUND,
                            "group '%s' has committed nothing for %s partition %" PRId32
                            ", so there is nothing to shift; use --to",
                            reset->group, place->topic, place->partition);
        if (__builtin_add_overflow(place->committed, reset->shift, &target))
            target = reset->shift < 0 ? place->first : place->end;
        place->found = within(place, target);
    }
    return 0;
}

// Brokers refuse offsets of a group at work; this says so before anything is tried.
static int check_idle(struct reset *reset)
{
    struct weir_group_descriptions *list = NULL;
    int error =
        weir_describe_groups(reset->client, &reset->group, 1, &list, app_timeout_ms(reset->app));

    if (error != WEIR_OK)
        return app_fail_client(reset->app, reset->client, error);
    size_t members = list->count > 0 ? list->groups[0].member_count : 0;
    weir_group_descriptions_free(list);
    if (members == 0)
        return 0;
    return app_fail(reset->app, EXIT_FAILED,
                    "group '%s' has %zu member%s at work; stop them first, 'weir group describe "
                    "%s' shows them",
                    reset->group, members, members == 1 ? "" : "s", reset->group);
}

static int write_offsets(struct reset *reset)
{
    size_t count = reset->places.count;
    struct weir_offset *offsets = calloc(count + 1, sizeof(*offsets));

    if (offsets == NULL)
        return app_fail(reset->app, EXIT_FAILED, "out of memory");
    for (size_t i = 0; i < count; i++) {
        offsets[i].topic = reset->places.items[i].topic;
        offsets[i].partition = reset->places.items[i].partition;
        offsets[i].offset = reset->places.items[i].found;
    }
    int error = weir_alter_group_offsets(reset->client, reset->group, offsets, count,
                                         app_timeout_ms(reset->app));
    free(offsets);
    return error == WEIR_OK ? 0 : app_fail_client(reset->app, reset->client, error);
}

static void print(struct reset *reset)
{
    struct app *app = reset->app;
    bool executed = reset->options->execute;
    json_t *rows = json_array();

    for (size_t i = 0; i < reset->places.count; i++) {
        const struct place *place = &reset->places.items[i];
        json_t *committed = place->committed >= 0 ? json_integer(place->committed) : json_null();
        json_array_append_new(rows,
                              json_pack("{s:s, s:i, s:o, s:I, s:I, s:I}", "topic", place->topic,
                                        "partition", place->partition, "committed", committed, "to",
                                        (json_int_t)place->found, "first", (json_int_t)place->first,
                                        "end", (json_int_t)place->end));
    }
    if (app->common.output == OUTPUT_JSON) {
        json_t *result = json_pack("{s:s, s:b, s:o}", "group", reset->group, "executed", executed,
                                   "partitions", rows);
        report_print_json(result, app->out);
        json_decref(result);
        return;
    }
    report_print_table(rows, columns, 6, app->out);
    fprintf(app->out, executed ? "done: the group goes on from TO\n"
                               : "nothing has been changed, --execute does it\n");
    json_decref(rows);
}

static int reset_group(struct reset *reset)
{
    int code = find_partitions(reset);

    if (code == 0)
        code = places_measure(&reset->places, reset->app, reset->client, false);
    if (code == 0)
        code = reset->options->shift != NULL
                   ? shift_all(reset)
                   : places_find(&reset->places, reset->app, reset->client, reset->to);
    if (code == 0 && reset->options->execute)
        code = check_idle(reset);
    if (code == 0 && reset->options->execute)
        code = write_offsets(reset);
    if (code == 0)
        print(reset);
    return code;
}

static int run_reset(struct app *app, const void *settings, int count, char **arguments)
{
    struct reset reset = {.app = app, .options = settings, .group = arguments[0]};

    (void)count;
    int code = read_target(&reset);
    if (code != 0)
        return code;
    reset.client = app_open(app, &code);
    if (reset.client != NULL)
        code = reset_group(&reset);
    places_free(&reset.places);
    weir_client_free(reset.client);
    return code;
}

static const struct option_spec reset_options[] = {
    {.name = "topic",
     .letter = 't',
     .kind = OPTION_LIST,
     .placeholder = "TOPIC[:PARTITIONS]",
     .help = "only this topic, or only these partitions of it (orders:0,2-5), also if nothing is "
             "committed there yet; may be given again (default: all that is committed)",
     .offset = offsetof(struct reset_settings, topics)},
    {.name = "to",
     .kind = OPTION_TEXT,
     .placeholder = "WHERE",
     .help = "beginning, end, an OFFSET, -N (N records before the end of each partition), @TIME "
             "(@2026-01-31T12:00 in UTC, @-10m, @milliseconds since 1970) or newest (the record "
             "with the largest timestamp)",
     .offset = offsetof(struct reset_settings, to)},
    {.name = "shift",
     .kind = OPTION_TEXT,
     .placeholder = "N",
     .help = "N records on from what is committed, or back for -N; not beyond the first or the "
             "last record there is",
     .offset = offsetof(struct reset_settings, shift)},
    {.name = "execute",
     .kind = OPTION_FLAG,
     .help = "do it; without this the command only shows what it would do",
     .offset = offsetof(struct reset_settings, execute)},
    {.name = NULL},
};

const struct command cmd_group_reset = {
    .name = "group reset",
    .arguments = "GROUP",
    .min_arguments = 1,
    .max_arguments = 1,
    .summary = "Move the offsets that a group has committed",
    .description =
        "This is a dry run unless --execute is given: it prints from where to where each offset\n"
        "would move. The group must have no members while it is done. A group that does not exist\n"
        "yet is made when -t names the topics.\n",
    .examples = "  weir group reset billing --to beginning\n"
                "  weir group reset billing --to @-1h -t orders --execute\n"
                "  weir group reset billing --shift -100 -t orders:0,2-5 --execute\n",
    .options = reset_options,
    .settings_size = sizeof(struct reset_settings),
    .run = run_reset,
};
