// SPDX-License-Identifier: Apache-2.0
// weir topic offsets|delete-records: places in the logs of topics.
#include <inttypes.h>
#include <string.h>

#include "tools/app.h"
#include "tools/commands.h"
#include "tools/places.h"
#include "tools/progress.h"
#include "tools/report.h"

struct offsets_settings {
    struct text_list at;
    const char *before;
};

enum { PLACES_MAX = 8 };

// -------------------------------------------------------------------------------- offsets

static json_t *make_rows(const struct places *places)
{
    json_t *rows = json_array();

    for (size_t i = 0; i < places->count; i++) {
        const struct place *place = &places->items[i];
        json_array_append_new(rows,
                              json_pack("{s:s, s:i, s:I, s:I}", "topic", place->topic, "partition",
                                        place->partition, "first", (json_int_t)place->first, "next",
                                        (json_int_t)place->end));
    }
    return rows;
}

static int add_column(struct app *app, struct weir_client *client, struct places *places,
                      const char *text, json_t *rows)
{
    struct position position;
    int code = app_read_position(app, "--at", text, &position);

    if (code == 0)
        code = places_find(places, app, client, position);
    for (size_t i = 0; code == 0 && i < places->count; i++)
        json_object_set_new(json_array_get(rows, i), text, json_integer(places->items[i].found));
    return code;
}

static int show_offsets(struct app *app, struct weir_client *client, struct places *places,
                        const struct text_list *at)
{
    struct report_column columns[PLACES_MAX + 4] = {
        {"topic", "TOPIC", false},
        {"partition", "PARTITION", true},
        {"first", "FIRST", true},
        {"next", "NEXT", true},
    };
    json_t *rows = make_rows(places);
    int code = 0;

    for (size_t i = 0; code == 0 && i < at->count; i++) {
        columns[4 + i] = (struct report_column){at->items[i], at->items[i], true};
        code = add_column(app, client, places, at->items[i], rows);
    }
    if (code == 0)
        report_print(rows, app->common.output == OUTPUT_JSON, columns, 4 + at->count, app->out);
    json_decref(rows);
    return code;
}

static int run_offsets(struct app *app, const void *settings, int count, char **arguments)
{
    const struct offsets_settings *options = settings;
    struct places places = {0};
    struct position ignored;
    int code = 0;

    if (options->at.count > PLACES_MAX)
        return app_fail(app, EXIT_USAGE, "--at: at most %d places", PLACES_MAX);
    for (size_t i = 0; code == 0 && i < options->at.count; i++)
        code = app_read_position(app, "--at", options->at.items[i], &ignored);
    if (code != 0)
        return code;
    struct weir_client *client = app_open(app, &code);
    if (client == NULL)
        return code;
    code = places_choose(&places, app, client, (const char *const *)arguments, (size_t)count);
    if (code == 0)
        code = places_measure(&places, app, client, false);
    if (code == 0)
        code = show_offsets(app, client, &places, &options->at);
    places_free(&places);
    weir_client_free(client);
    return code;
}

static const struct option_spec offsets_options[] = {
    {.name = "at",
     .kind = OPTION_LIST,
     .placeholder = "WHERE",
     .help = "also the offset there: @TIME (@2026-01-31T12:00 in UTC, @-10m, @milliseconds since "
             "1970), newest, -N or an OFFSET; may be given again",
     .offset = offsetof(struct offsets_settings, at)},
    {.name = NULL},
};

const struct command cmd_topic_offsets = {
    .name = "topic offsets",
    .arguments = "TOPIC[:PARTITIONS]...",
    .min_arguments = 1,
    .max_arguments = -1,
    .summary = "Show the offsets of partitions, also those at a time",
    .description = "FIRST is the oldest offset there is, NEXT the one the next record will get. "
                   "The offset at a\ntime is that of the first record at or after it; newest is "
                   "the record with the largest\n"
                   "timestamp. Where there is none it is NEXT.\n",
    .examples = "  weir topic offsets orders\n"
                "  weir topic offsets orders:0,2-5 --at @-1h --at @2026-01-31 -o json\n",
    .options = offsets_options,
    .settings_size = sizeof(struct offsets_settings),
    .run = run_offsets,
};

// -------------------------------------------------------------------------------- delete-records

static int delete_records(struct app *app, struct weir_client *client, struct places *places)
{
    struct progress progress;
    int code = 0;

    progress_start_steps(&progress, app->err, "shortened", "partitions", (int64_t)places->count);
    for (size_t i = 0; code == 0 && i < places->count; i++) {
        struct place *place = &places->items[i];
        progress_update(&progress, (int64_t)i, 0);
        if (place->found <= place->first)
            continue;
        int error = weir_delete_records(client, place->topic, place->partition, place->found,
                                        &place->first, app_timeout_ms(app));
        if (error != WEIR_OK) {
            progress_end(&progress);
            code = app_fail_client(app, client, error);
        }
    }
    progress_end(&progress);
    return code;
}

static int run_delete_records(struct app *app, const void *settings, int count, char **arguments)
{
    const struct offsets_settings *options = settings;
    struct places places = {0};
    struct position before;

    if (options->before == NULL)
        return app_fail(app, EXIT_USAGE, "give --before: what stands before it is deleted");
    int code = app_read_position(app, "--before", options->before, &before);
    if (code != 0)
        return code;
    struct weir_client *client = app_open(app, &code);
    if (client == NULL)
        return code;
    code = places_choose(&places, app, client, (const char *const *)arguments, (size_t)count);
    if (code == 0)
        code = places_measure(&places, app, client, false);
    if (code == 0)
        code = places_find(&places, app, client, before);
    if (code == 0)
        code = delete_records(app, client, &places);
    if (code == 0)
        code = show_offsets(app, client, &places, &(struct text_list){0});
    places_free(&places);
    weir_client_free(client);
    return code;
}

static const struct option_spec delete_records_options[] = {
    {.name = "before",
     .kind = OPTION_TEXT,
     .placeholder = "WHERE",
     .help = "end (all there are), an OFFSET, -N (keep the last N of each partition), or @TIME "
             "(keep what came then or later)",
     .offset = offsetof(struct offsets_settings, before)},
    {.name = NULL},
};

const struct command cmd_topic_delete_records = {
    .name = "topic delete-records",
    .arguments = "TOPIC[:PARTITIONS]...",
    .min_arguments = 1,
    .max_arguments = -1,
    .summary = "Delete the oldest records of partitions",
    .description = "The records are gone for every reader at once. Prints the first offset that "
                   "remains.\n",
    .examples = "  weir topic delete-records orders --before end\n"
                "  weir topic delete-records orders:0,2-5 --before @-7d\n",
    .options = delete_records_options,
    .settings_size = sizeof(struct offsets_settings),
    .run = run_delete_records,
};
