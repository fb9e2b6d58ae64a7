// SPDX-License-Identifier: Apache-2.0
// weir config get|set|unset: the settings of topics and of brokers.
#include <limits.h>
#include <string.h>

#include "tools/app.h"
#include "tools/commands.h"
#include "tools/report.h"
#include "tools/setting_changes.h"

struct config_settings {
    bool all;
    bool docs;
    bool validate;
    struct text_list append;
    struct text_list subtract;
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

static json_t *synonym_rows(const struct weir_setting_info *setting)
{
    json_t *rows = json_array();

    for (size_t i = 0; i < setting->synonym_count; i++) {
        const struct weir_setting_synonym *synonym = &setting->synonyms[i];
        json_array_append_new(rows, json_pack("{s:s, s:s?, s:s}", "name", synonym->name, "value",
                                              synonym->value, "source", synonym->source));
    }
    return rows;
}

static json_t *setting_row(const struct weir_setting_info *setting)
{
    return json_pack("{s:s, s:s?, s:s, s:b, s:b, s:b, s:s, s:s, s:o}", "name", setting->name,
                     "value", setting->value, "source", setting->source, "default",
                     setting->is_default, "read_only", setting->read_only, "sensitive",
                     setting->sensitive, "type", setting->type, "documentation",
                     setting->documentation, "synonyms", synonym_rows(setting));
}

// What comes from the broker does not steer the terminal.
static void print_clean(const char *text, const char *before, FILE *out)
{
    char shown[4096];

    report_printable(text != NULL ? text : "-", INT_MAX, shown, sizeof(shown));
    fprintf(out, "%s%s", before, shown);
}

// Its words in lines of at most 80 columns, as the broker breaks them elsewhere or not at all.
static void print_wrapped(const char *text, FILE *out)
{
    enum { INDENT = 4, WIDTH = 80 };
    static const char blanks[] = " \t\r\n";
    int column = 0;

    for (text += strspn(text, blanks); *text != '\0'; text += strspn(text, blanks)) {
        char word[256];
        size_t length = strcspn(text, blanks);
        snprintf(word, sizeof(word), "%.*s", (int)length, text);
        int width = report_width(word);
        bool fits = column > 0 && column + 1 + width <= WIDTH;
        print_clean(word, fits ? " " : column > 0 ? "\n    " : "    ", out);
        column = fits ? column + 1 + width : INDENT + width;
        text += length;
    }
    if (column > 0)
        fputc('\n', out);
}

// A paragraph for one setting: its value, the places where it is given, what it means.
static void print_explained(const struct weir_setting_info *setting, FILE *out)
{
    print_clean(setting->name, "", out);
    print_clean(setting->value, " = ", out);
    print_clean(setting->source, "  (", out);
    print_clean(setting->type, ", ", out);
    fprintf(out, "%s)\n", setting->read_only ? ", read only" : "");
    for (size_t i = 0; i < setting->synonym_count; i++) {
        const struct weir_setting_synonym *synonym = &setting->synonyms[i];
        print_clean(synonym->source, "    ", out);
        print_clean(synonym->name, ": ", out);
        print_clean(synonym->value, " = ", out);
        fputc('\n', out);
    }
    print_wrapped(setting->documentation, out);
}

static void print_settings(const struct app *app, const struct weir_setting_list *list,
                           const struct config_settings *options, int count, char **names)
{
    bool explain = options->docs && app->common.output == OUTPUT_TEXT;
    json_t *rows = json_array();

    for (size_t i = 0; i < list->count; i++) {
        const struct weir_setting_info *setting = &list->settings[i];
        if (!wanted(setting, options->all, count, names))
            continue;
        if (explain)
            print_explained(setting, app->out);
        else
            json_array_append_new(rows, setting_row(setting));
    }
    if (!explain)
        report_print(rows, app->common.output == OUTPUT_JSON, columns, 3, app->out);
    json_decref(rows);
}

static int run_get(struct app *app, const void *settings, int count, char **arguments)
{
    const struct config_settings *options = settings;
    struct weir_setting_list *list = NULL;
    struct subject subject = {0};
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
        print_settings(app, list, options, count - 2, arguments + 2);
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
    {.name = "docs",
     .letter = 'd',
     .kind = OPTION_FLAG,
     .help = "what each setting means, its type, and the places where it is given",
     .offset = offsetof(struct config_settings, docs)},
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
                "  weir config get topic orders retention.ms --docs\n"
                "  weir config get topic orders retention.ms -o json\n"
                "  weir config get broker 1 --all\n",
    .options = get_options,
    .settings_size = sizeof(struct config_settings),
    .run = run_get,
};

// -------------------------------------------------------------------------------- set, unset

static int alter(struct app *app, const struct config_settings *options, char **arguments,
                 const struct setting_changes *changes)
{
    struct subject subject = {0};
    int code = read_subject(app, arguments, &subject);

    if (code != 0)
        return code;
    struct weir_client *client = app_open(app, &code);
    if (client == NULL)
        return code;
    int error = weir_alter_settings(client, subject.resource, subject.name, changes->items,
                                    changes->count, options->validate, app_timeout_ms(app));
    if (error != WEIR_OK)
        code = fail(app, client, &subject, error);
    weir_client_free(client);
    return code;
}

static int run_set(struct app *app, const void *settings, int count, char **arguments)
{
    const struct config_settings *options = settings;
    struct setting_changes changes = {0};
    int code = setting_changes_add(&changes, app, "", (const char *const *)arguments + 2,
                                   (size_t)count - 2, WEIR_SETTING_SET);

    if (code == 0)
        code = setting_changes_add_words(&changes, app, &options->append, &options->subtract);
    if (code == 0 && changes.count == 0)
        code = app_fail(app, EXIT_USAGE,
                        "nothing to change: SETTING=VALUE, --append and --subtract are missing");
    if (code == 0)
        code = alter(app, options, arguments, &changes);
    setting_changes_free(&changes);
    return code;
}

static const struct option_spec set_options[] = {
    {.name = "append",
     .kind = OPTION_LIST,
     .placeholder = "SETTING=VALUE",
     .help = "add words to a setting that is a list (a,b); may be given again",
     .offset = offsetof(struct config_settings, append)},
    {.name = "subtract",
     .kind = OPTION_LIST,
     .placeholder = "SETTING=VALUE",
     .help = "take words away from a setting that is a list; may be given again",
     .offset = offsetof(struct config_settings, subtract)},
    {.name = "validate",
     .kind = OPTION_FLAG,
     .help = "only ask the broker whether it would do it",
     .offset = offsetof(struct config_settings, validate)},
    {.name = NULL},
};

const struct command cmd_config_set = {
    .name = "config set",
    .arguments = "topic|broker NAME [SETTING=VALUE...]",
    .argument_words = "topic broker",
    .min_arguments = 2,
    .max_arguments = -1,
    .summary = "Change settings of a topic or a broker",
    .description = "All of them are changed or, if one is refused, none.\n",
    .examples = "  weir config set topic orders retention.ms=3600000 max.message.bytes=2097152\n"
                "  weir config set topic orders --append cleanup.policy=compact\n",
    .options = set_options,
    .settings_size = sizeof(struct config_settings),
    .run = run_set,
};

static int run_unset(struct app *app, const void *settings, int count, char **arguments)
{
    struct setting_changes changes = {0};
    int code =
        setting_changes_unset(&changes, app, (const char *const *)arguments + 2, (size_t)count - 2);

    if (code == 0)
        code = alter(app, settings, arguments, &changes);
    setting_changes_free(&changes);
    return code;
}

static const struct option_spec unset_options[] = {
    {.name = "validate",
     .kind = OPTION_FLAG,
     .help = "only ask the broker whether it would do it",
     .offset = offsetof(struct config_settings, validate)},
    {.name = NULL},
};

const struct command cmd_config_unset = {
    .name = "config unset",
    .arguments = "topic|broker NAME SETTING...",
    .argument_words = "topic broker",
    .min_arguments = 3,
    .max_arguments = -1,
    .summary = "Put settings of a topic or a broker back to their defaults",
    .examples = "  weir config unset topic orders retention.ms\n",
    .options = unset_options,
    .settings_size = sizeof(struct config_settings),
    .run = run_unset,
};
