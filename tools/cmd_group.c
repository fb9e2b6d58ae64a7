// SPDX-License-Identifier: Apache-2.0
// weir group list|describe|delete|delete-offsets|remove-member: what groups there are, who is in
// them, how far they are behind.
#include <stdlib.h>
#include <string.h>

#include "tools/app.h"
#include "tools/commands.h"
#include "tools/group_lag.h"
#include "tools/progress.h"
#include "tools/report.h"

struct group_settings {
    struct text_list states;
    struct text_list types;
    struct text_list topics;
    struct text_list ids;
    bool if_exists;
    bool all;
};

static int fail_group(const struct app *app, const char *name, int error)
{
    if (error == WEIR_ERR_GROUP_ID_NOT_FOUND)
        return app_fail(app, EXIT_NOT_FOUND,
                        "there is no group '%s'; 'weir group list' shows what there is", name);
    if (error == WEIR_ERR_NON_EMPTY_GROUP)
        return app_fail(app, EXIT_FAILED,
                        "group '%s' has members at work; stop them first, 'weir group describe "
                        "%s' shows them",
                        name, name);
    return app_fail(app, app_exit_code(error), "group '%s': %s", name, weir_error_text(error));
}

// -------------------------------------------------------------------------------- list

static const struct report_column list_columns[] = {
    {"group", "GROUP", false},
    {"state", "STATE", false},
    {"type", "TYPE", false},
    {"protocol", "PROTOCOL", false},
};

static int run_list(struct app *app, const void *settings, int count, char **arguments)
{
    const struct group_settings *options = settings;
    struct weir_group_filter filter = {
        .states = options->states.items,
        .state_count = options->states.count,
        .types = options->types.items,
        .type_count = options->types.count,
    };
    struct weir_group_list *list = NULL;
    int code = 0;
    struct weir_client *client = app_open(app, &code);

    (void)count;
    (void)arguments;
    if (client == NULL)
        return code;
    int error = weir_list_groups(client, &filter, &list, app_timeout_ms(app));
    if (error != WEIR_OK) {
        code = app_fail_client(app, client, error);
        weir_client_free(client);
        return code;
    }
    json_t *rows = json_array();
    for (size_t i = 0; i < list->count; i++) {
        const struct weir_group_entry *group = &list->groups[i];
        json_array_append_new(rows,
                              json_pack("{s:s, s:s, s:s, s:s, s:i}", "group", group->name, "state",
                                        group->state, "type", group->type, "protocol",
                                        group->protocol_type, "coordinator", group->coordinator));
    }
    report_print(rows, app->common.output == OUTPUT_JSON, list_columns, 4, app->out);
    json_decref(rows);
    weir_group_list_free(list);
    weir_client_free(client);
    return 0;
}

static const struct option_spec list_options[] = {
    {.name = "state",
     .letter = 's',
     .kind = OPTION_LIST,
     .placeholder = "STATE",
     .help = "only groups in this state (Empty, Stable, PreparingRebalance, CompletingRebalance, "
             "Assigning, Reconciling, Dead); may be given again",
     .offset = offsetof(struct group_settings, states)},
    {.name = "type",
     .letter = 't',
     .kind = OPTION_LIST,
     .placeholder = "TYPE",
     .help = "only groups of this protocol, classic or consumer; may be given again",
     .offset = offsetof(struct group_settings, types)},
    {.name = NULL},
};

const struct command cmd_group_list = {
    .name = "group list",
    .arguments = "",
    .summary = "List the consumer groups there are",
    .examples = "  weir group list\n"
                "  weir group list --state Stable -o json\n",
    .options = list_options,
    .settings_size = sizeof(struct group_settings),
    .run = run_list,
};

// -------------------------------------------------------------------------------- describe

static const struct report_column partition_columns[] = {
    {"topic", "TOPIC", false},
    {"partition", "PARTITION", true},
    {"committed", "COMMITTED", true},
    {"end", "END", true},
    {"lag", "LAG", true},
    {"client", "CLIENT", false},
    {"member", "MEMBER", false},
};

static const struct report_column member_columns[] = {
    {"member", "MEMBER", false},     {"client", "CLIENT", false},   {"host", "HOST", false},
    {"instance", "INSTANCE", false}, {"count", "PARTITIONS", true},
};

static json_t *member_row(const struct weir_member *member)
{
    json_t *topics = json_array();
    json_t *assigned = json_array();

    for (size_t i = 0; i < member->topic_count; i++)
        json_array_append_new(topics, json_string(member->topics[i]));
    for (size_t i = 0; i < member->assigned_count; i++)
        json_array_append_new(assigned, json_pack("{s:s, s:i}", "topic", member->assigned[i].topic,
                                                  "partition", member->assigned[i].partition));
    return json_pack("{s:s, s:s, s:s, s:s?, s:s?, s:i, s:o, s:s?, s:o, s:I}", "member", member->id,
                     "client", member->client_id, "host", member->host, "instance",
                     member->instance_id, "rack", member->rack, "epoch", member->epoch, "topics",
                     topics, "pattern", member->pattern, "assigned", assigned, "count",
                     (json_int_t)member->assigned_count);
}

static void print_group(struct app *app, const json_t *group)
{
    static const char *const words[] = {"state", "type", "protocol", "assignor"};

    fprintf(app->out, "group %s", json_string_value(json_object_get(group, "group")));
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        const char *value = json_string_value(json_object_get(group, words[i]));
        if (value != NULL && *value != '\0')
            fprintf(app->out, "  %s %s", words[i], value);
    }
    fprintf(app->out, "  lag %" JSON_INTEGER_FORMAT "\n",
            json_integer_value(json_object_get(group, "lag")));
    report_print_table(json_object_get(group, "partitions"), partition_columns, 7, app->out);
    if (json_array_size(json_object_get(group, "members")) > 0)
        report_print_table(json_object_get(group, "members"), member_columns, 5, app->out);
}

static int describe_group(struct app *app, struct weir_client *client,
                          const struct weir_group *group, json_t *groups)
{
    struct places places = {0};

    if (group->error != WEIR_OK)
        return fail_group(app, group->name, group->error);
    int code = group_lag_collect(&places, app, client, group->name, group);
    // Brokers that know no such error describe a group that does not exist as a dead one.
    if (code == 0 && places.count == 0 && group->member_count == 0 &&
        strcmp(group->state, "Dead") == 0)
        code = fail_group(app, group->name, WEIR_ERR_GROUP_ID_NOT_FOUND);
    if (code == 0) {
        json_t *members = json_array();
        for (size_t i = 0; i < group->member_count; i++)
            json_array_append_new(members, member_row(&group->members[i]));
        json_array_append_new(
            groups,
            json_pack("{s:s, s:s, s:s, s:s, s:s, s:i, s:i, s:I, s:o, s:o}", "group", group->name,
                      "state", group->state, "type", group->type, "protocol", group->protocol_type,
                      "assignor", group->assignor, "epoch", group->epoch, "coordinator",
                      group->coordinator, "lag", (json_int_t)group_lag_total(&places), "partitions",
                      group_lag_rows(&places, group), "members", members));
    }
    places_free(&places);
    return code;
}

static int run_describe(struct app *app, const void *settings, int count, char **arguments)
{
    struct weir_group_descriptions *list = NULL;
    int code = 0;
    struct weir_client *client = app_open(app, &code);

    (void)settings;
    if (client == NULL)
        return code;
    int error = weir_describe_groups(client, (const char *const *)arguments, (size_t)count, &list,
                                     app_timeout_ms(app));
    if (error != WEIR_OK) {
        code = app_fail_client(app, client, error);
        weir_client_free(client);
        return code;
    }
    json_t *groups = json_array();
    for (size_t i = 0; i < list->count; i++)
        code = app_first_code(code, describe_group(app, client, &list->groups[i], groups));
    if (app->common.output == OUTPUT_JSON && json_array_size(groups) > 0)
        report_print_json(groups, app->out);
    for (size_t i = 0; app->common.output == OUTPUT_TEXT && i < json_array_size(groups); i++) {
        if (i > 0)
            fputc('\n', app->out);
        print_group(app, json_array_get(groups, i));
    }
    json_decref(groups);
    weir_group_descriptions_free(list);
    weir_client_free(client);
    return code;
}

const struct command cmd_group_describe = {
    .name = "group describe",
    .arguments = "GROUP...",
    .min_arguments = 1,
    .max_arguments = -1,
    .summary = "Show the members of groups, and how far they are behind in each partition",
    .description = "COMMITTED is the offset the group will go on from, END the one the next record "
                   "will get, and\nLAG the records between them.\n",
    .examples = "  weir group describe billing\n"
                "  weir group describe billing -o json | jq '.[0].lag'\n",
    .run = run_describe,
};

// -------------------------------------------------------------------------------- delete

static int run_delete(struct app *app, const void *settings, int count, char **arguments)
{
    const struct group_settings *options = settings;
    int code = 0;
    struct weir_client *client = app_open(app, &code);

    if (client == NULL)
        return code;
    struct progress progress;
    progress_start_steps(&progress, app->err, "deleted", "groups", count);
    for (int i = 0; i < count; i++) {
        progress_update(&progress, i, 0);
        const char *name = arguments[i];
        int group_error = WEIR_OK;
        int error = weir_delete_groups(client, &name, 1, &group_error, app_timeout_ms(app));
        if (group_error == WEIR_ERR_GROUP_ID_NOT_FOUND && options->if_exists)
            continue;
        if (group_error != WEIR_OK || error != WEIR_OK)
            progress_end(&progress);
        if (group_error != WEIR_OK)
            code = app_first_code(code, fail_group(app, name, group_error));
        else if (error != WEIR_OK)
            code = app_first_code(code, app_fail_client(app, client, error));
    }
    progress_end(&progress);
    weir_client_free(client);
    return code;
}

static const struct option_spec delete_options[] = {
    {.name = "if-exists",
     .kind = OPTION_FLAG,
     .help = "a group that does not exist is no error",
     .offset = offsetof(struct group_settings, if_exists)},
    {.name = NULL},
};

const struct command cmd_group_delete = {
    .name = "group delete",
    .arguments = "GROUP...",
    .min_arguments = 1,
    .max_arguments = -1,
    .summary = "Delete groups without members, with the offsets they committed",
    .examples = "  weir group delete billing-test\n",
    .options = delete_options,
    .settings_size = sizeof(struct group_settings),
    .run = run_delete,
};

// -------------------------------------------------------------------------------- delete-offsets

static int delete_offsets(struct app *app, struct weir_client *client, const char *group,
                          const struct places *places)
{
    struct weir_offset *offsets = calloc(places->count + 1, sizeof(*offsets));

    if (offsets == NULL)
        return app_fail(app, EXIT_FAILED, "out of memory");
    size_t count = 0;
    for (size_t i = 0; i < places->count; i++) {
        offsets[count].topic = places->items[i].topic;
        offsets[count++].partition = places->items[i].partition;
    }
    int error = weir_delete_group_offsets(client, group, offsets, count, app_timeout_ms(app));
    free(offsets);
    if (error == WEIR_ERR_GROUP_SUBSCRIBED_TO_TOPIC)
        return app_fail(app, EXIT_FAILED,
                        "group '%s' has members that read this topic; stop them first", group);
    if (error == WEIR_ERR_GROUP_ID_NOT_FOUND || error == WEIR_ERR_NON_EMPTY_GROUP)
        return fail_group(app, group, error);
    return error == WEIR_OK ? 0 : app_fail_client(app, client, error);
}

static int run_delete_offsets(struct app *app, const void *settings, int count, char **arguments)
{
    struct places places = {0};
    int code = 0;
    struct weir_client *client = app_open(app, &code);

    (void)settings;
    if (client == NULL)
        return code;
    code =
        places_choose(&places, app, client, (const char *const *)arguments + 1, (size_t)count - 1);
    if (code == 0)
        code = delete_offsets(app, client, arguments[0], &places);
    places_free(&places);
    weir_client_free(client);
    return code;
}

const struct command cmd_group_delete_offsets = {
    .name = "group delete-offsets",
    .arguments = "GROUP TOPIC[:PARTITIONS]...",
    .min_arguments = 2,
    .max_arguments = -1,
    .summary = "Delete what a group has committed for topics or partitions",
    .description = "The group then starts there as one that never read the topic.\n",
    .examples = "  weir group delete-offsets billing orders\n"
                "  weir group delete-offsets billing orders:0,2-5\n",
    .run = run_delete_offsets,
};

// -------------------------------------------------------------------------------- remove-member

// Static members by their instance ids, then others by their member ids.
static int remove_named(struct weir_client *client, const char *group, int count, char **instances,
                        const struct text_list *ids, int timeout_ms)
{
    struct weir_removal *members = calloc((size_t)count + ids->count + 1, sizeof(*members));
    size_t removed = 0;

    if (members == NULL)
        return WEIR_ERR_NO_MEMORY;
    for (int i = 0; i < count; i++)
        members[removed++].instance_id = instances[i];
    for (size_t i = 0; i < ids->count; i++)
        members[removed++].member_id = ids->items[i];
    int error = weir_remove_members(client, group, members, removed, timeout_ms);
    free(members);
    return error;
}

static int run_remove(struct app *app, const void *settings, int count, char **arguments)
{
    const struct group_settings *options = settings;
    const char *group = arguments[0];
    bool named = count > 1 || options->ids.count > 0;
    int code = 0;

    if (named == options->all)
        return app_fail(app, EXIT_USAGE, "whom? Give INSTANCEs or --id, or else --all");
    struct weir_client *client = app_open(app, &code);
    if (client == NULL)
        return code;
    int error = options->all ? weir_remove_all_members(client, group, app_timeout_ms(app))
                             : remove_named(client, group, count - 1, arguments + 1, &options->ids,
                                            app_timeout_ms(app));
    if (error == WEIR_ERR_UNKNOWN_MEMBER_ID)
        code = app_fail(app, EXIT_NOT_FOUND,
                        "group '%s' has no such member; 'weir group describe %s' shows them as "
                        "MEMBER and INSTANCE",
                        group, group);
    else if (error == WEIR_ERR_GROUP_ID_NOT_FOUND)
        code = fail_group(app, group, error);
    else if (error != WEIR_OK)
        code = app_fail_client(app, client, error);
    weir_client_free(client);
    return code;
}

static const struct option_spec remove_options[] = {
    {.name = "id",
     .letter = 'i',
     .kind = OPTION_LIST,
     .placeholder = "MEMBER",
     .help = "a member by its id; may be given again",
     .offset = offsetof(struct group_settings, ids)},
    {.name = "all",
     .letter = 'a',
     .kind = OPTION_FLAG,
     .help = "all members there are",
     .offset = offsetof(struct group_settings, all)},
    {.name = NULL},
};

const struct command cmd_group_remove_member = {
    .name = "group remove-member",
    .arguments = "GROUP [INSTANCE...]",
    .min_arguments = 1,
    .max_arguments = -1,
    .summary = "Remove members that will not come back",
    .description =
        "INSTANCE is what a static member has set as group.instance.id; all members have an id.\n"
        "'weir group describe' shows both. Their partitions go to the others at once instead of\n"
        "after their session. A program that is still at work joins anew.\n",
    .examples = "  weir group remove-member billing host-7\n"
                "  weir group remove-member billing --all\n",
    .options = remove_options,
    .settings_size = sizeof(struct group_settings),
    .run = run_remove,
};
