// SPDX-License-Identifier: Apache-2.0
// weir config get|set|unset: the settings of topics and of brokers.
#include <stdlib.h>
#include <string.h>

#include "tools/app.h"
#include "tools/commands.h"
#include "tools/report.h"
#include "tools/value.h"

struct config_settings {
    bool all;
};

// What the first two arguments name.
struct subject {
    enum weir_resource resource;
    const char *name;
};

static int read_subject(const struct app *app, char **arguments, struct subject *out)
{
    out->name = arguments[1];
    if (strcmp(arguments[0], "topic") == 0)
        out->resource = WEIR_RESOURCE_TOPIC;
    else if (strcmp(arguments[0], "broker") == 0)
        out->resource = WEIR_RESOURCE_BROKER;
    else
        return app_fail(app, EXIT_USAGE, "'%s' has no settings, say topic NAME or broker ID",
                        arguments[0]);
    return 0;
}

static int fail(const struct app *app, const struct weir_client *client,
                const struct subject *subject, int error)
{
    if (subject->resource == WEIR_RESOURCE_BROKER && error == WEIR_ERR_BAD_ARGUMENT)
        return app_fail(app, EXIT_NOT_FOUND, "there is no broker '%s'; 'weir cluster' shows them",
                        subject->name);
    return app_fail_client(app, client, error);
}

// -------------------------------------------------------------------------------- get

static const struct report_column columns[] = {
    {"name", "SETTING", false},
    {"value", "VALUE", false},
    {"source", "FROM", false},
};

static bool wanted(const struct weir_setting_info *setting, bool all, int count, char **names)
{
    for (int i = 0; i < count; i++) {
        if (strcmp(names[i], setting->name) == 0)
            return true;
    }
    return count == 0 && (all || !setting->is_default);
}

static int check_names(const struct app *app, const struct weir_setting_list *list, int count,
                       char **names)
{
    for (int i = 0; i < count; i++) {
        bool found = false;
        for (size_t j = 0; !found && j < list->count; j++)
            found = strcmp(names[i], list->settings[j].name) == 0;
        if (!found)
            return app_fail(app, EXIT_NOT_FOUND,
                            "there is no setting '%s'; 'weir config get --all' lists them",
                            names[i]);
    }
    return 0;
}

static void print_settings(const struct app *app, const struct weir_setting_list *list, bool all,
                           int count, char **names)
{
    json_t *rows = json_array();

    for (size_t i = 0; i < list->count; i++) {
        const struct weir_setting_info *setting = &list->settings[i];
        if (wanted(setting, all, count, names))
            json_array_append_new(rows, json_pack("{s:s, s:s?, s:s?, s:b, s:b, s:b}", "name",
                                                  setting->name, "value", setting->value, "source",
                                                  setting->source, "default", setting->is_default,
                                                  "read_only", setting->read_only, "sensitive",
                                                  setting->sensitive));
    }
    report_print(rows, app->common.output == OUTPUT_JSON, columns, 3, app->out);
    json_decref(rows);
}

static int run_get(struct app *app, const void *settings, int count, char **arguments)
{
    const struct config_settings *options = settings;
    struct weir_setting_list *list = NULL;
    struct subject subject;
    int code = read_subject(app, arguments, &subject);

    if (code != 0)
        return code;
    struct weir_client *client = app_open(app, &code);
    if (client == NULL)
        return code;
    int error =
        weir_describe_settings(client, subject.resource, subject.name, &list, app_timeout_ms(app));
    if (error != WEIR_OK)
        code = fail(app, client, &subject, error);
    if (code == 0)
        code = check_names(app, list, count - 2, arguments + 2);
    if (code == 0)
        print_settings(app, list, options->all, count - 2, arguments + 2);
    weir_setting_list_free(list);
    weir_client_free(client);
    return code;
}

static const struct option_spec get_options[] = {
    {.name = "all",
     .letter = 'a',
     .kind = OPTION_FLAG,
     .help = "the settings that are at their defaults as well",
     .offset = offsetof(struct config_settings, all)},
    {.name = NULL},
};

const struct command cmd_config_get = {
    .name = "config get",
    .arguments = "topic|broker NAME [SETTING...]",
    .argument_words = "topic broker",
    .min_arguments = 2,
    .max_arguments = -1,
    .summary = "Show the settings of a topic or a broker",
    .description = "Those that are not at their defaults, or the ones named. A broker's NAME is "
                   "its id, which\n'weir cluster' shows.\n",
    .examples = "  weir config get topic orders\n"
                "  weir config get topic orders retention.ms -o json\n"
                "  weir config get broker 1 --all\n",
    .options = get_options,
    .settings_size = sizeof(struct config_settings),
    .run = run_get,
};

// -------------------------------------------------------------------------------- set, unset

static int alter(struct app *app, char **arguments, const struct weir_setting *changes,
                 size_t count)
{
    struct subject subject;
    int code = read_subject(app, arguments, &subject);

    if (code != 0)
        return code;
    struct weir_client *client = app_open(app, &code);
    if (client == NULL)
        return code;
    int error = weir_alter_settings(client, subject.resource, subject.name, changes, count,
                                    app_timeout_ms(app));
    if (error != WEIR_OK)
        code = fail(app, client, &subject, error);
    weir_client_free(client);
    return code;
}

// Cuts the arguments at their equals signs, in place.
static int read_assignments(const struct app *app, struct weir_setting *changes, int count,
                            char **assignments)
{
    for (int i = 0; i < count; i++) {
        int length;
        if (value_assignment(assignments[i], &length) == NULL)
            return app_fail(app, EXIT_USAGE, "'%s' will not do, give NAME=VALUE", assignments[i]);
        assignments[i][length] = '\0';
        changes[i].name = assignments[i];
        changes[i].value = assignments[i] + length + 1;
    }
    return 0;
}

static int run_set(struct app *app, const void *settings, int count, char **arguments)
{
    struct weir_setting *changes = calloc((size_t)count, sizeof(*changes));

    (void)settings;
    if (changes == NULL)
        return app_fail(app, EXIT_FAILED, "out of memory");
    int code = read_assignments(app, changes, count - 2, arguments + 2);
    if (code == 0)
        code = alter(app, arguments, changes, (size_t)count - 2);
    free(changes);
    return code;
}

const struct command cmd_config_set = {
    .name = "config set",
    .arguments = "topic|broker NAME SETTING=VALUE...",
    .argument_words = "topic broker",
    .min_arguments = 3,
    .max_arguments = -1,
    .summary = "Change settings of a topic or a broker",
    .description = "All of them are changed or, if one is refused, none.\n",
    .examples = "  weir config set topic orders retention.ms=3600000 max.message.bytes=2097152\n",
    .run = run_set,
};

static int run_unset(struct app *app, const void *settings, int count, char **arguments)
{
    struct weir_setting *changes = calloc((size_t)count, sizeof(*changes));

    (void)settings;
    if (changes == NULL)
        return app_fail(app, EXIT_FAILED, "out of memory");
    for (int i = 2; i < count; i++)
        changes[i - 2].name = arguments[i];
    int code = alter(app, arguments, changes, (size_t)count - 2);
    free(changes);
    return code;
}

const struct command cmd_config_unset = {
    .name = "config unset",
    .arguments = "topic|broker NAME SETTING...",
    .argument_words = "topic broker",
    .min_arguments = 3,
    .max_arguments = -1,
    .summary = "Put settings of a topic or a broker back to their defaults",
    .examples = "  weir config unset topic orders retention.ms\n",
    .run = run_unset,
};
