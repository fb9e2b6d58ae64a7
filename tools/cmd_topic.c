// SPDX-License-Identifier: Apache-2.0
// weir topic create|list|describe|alter|delete. Each command connects, makes its calls one after
// the other and prints; a failure of one topic does not keep the others from being done, and the
// exit code is that of the first failure. Many topics are created and deleted a batch at a time.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tools/app.h"
#include "tools/commands.h"
#include "tools/progress.h"
#include "tools/report.h"
#include "tools/setting_changes.h"

// Topics in one request: a broker takes many times as long for as many requests.
enum { BATCH_MAX = 50 };

struct topic_settings {
    int64_t partitions;
    int64_t replication;
    struct text_list set;
    struct text_list append;
    struct text_list subtract;
    struct text_list unset;
    bool if_not_exists;
    bool if_exists;
    bool validate;
    bool all;
};

// Reports what has failed of a batch, but for what is no error to the user.
static int report_outcomes(const struct app *app, struct progress *progress,
                           const struct weir_outcome *outcomes, int count, int ignored)
{
    int code = 0;

    for (int i = 0; i < count; i++) {
        if (outcomes[i].error == WEIR_OK || outcomes[i].error == ignored)
            continue;
        progress_end(progress);
        code = app_first_code(code, app_fail(app, app_exit_code(outcomes[i].error), "%s%s",
                                             outcomes[i].why, app_hint(outcomes[i].error)));
    }
    return code;
}

// -------------------------------------------------------------------------------- create

static int create_batch(struct app *app, struct weir_client *client, struct progress *progress,
                        const struct topic_settings *options,
                        const struct setting_changes *settings, int count, char **names)
{
    struct weir_new_topic topics[BATCH_MAX];
    struct weir_outcome outcomes[BATCH_MAX];

    for (int i = 0; i < count; i++)
        topics[i] = (struct weir_new_topic){
            .name = names[i],
            .partitions = (int32_t)options->partitions,
            .replication_factor = (int16_t)options->replication,
            .settings = settings->items,
            .setting_count = settings->count,
            .validate_only = options->validate,
        };
    int error = weir_create_topics(client, topics, (size_t)count, outcomes, app_timeout_ms(app));
    if (error == WEIR_ERR_BAD_ARGUMENT)
        return app_fail_client(app, client, error);
    return report_outcomes(app, progress, outcomes, count,
                           options->if_not_exists ? WEIR_ERR_TOPIC_ALREADY_EXISTS : WEIR_OK);
}

static int create_topics(struct app *app, struct weir_client *client,
                         const struct topic_settings *options,
                         const struct setting_changes *settings, int count, char **names)
{
    struct progress progress;
    int code = 0;

    progress_start_steps(&progress, app->err, "created", "topics", count);
    for (int i = 0; i < count; i += BATCH_MAX) {
        int some = count - i < BATCH_MAX ? count - i : BATCH_MAX;
        progress_update(&progress, i, 0);
        code = app_first_code(
            code, create_batch(app, client, &progress, options, settings, some, names + i));
    }
    progress_end(&progress);
    return code;
}

static int run_create(struct app *app, const void *settings, int count, char **arguments)
{
    const struct topic_settings *options = settings;
    struct setting_changes changes = {0};
    struct weir_client *client = NULL;
    int code = setting_changes_add(&changes, app, "--set: ", options->set.items, options->set.count,
                                   WEIR_SETTING_SET);

    if (code == 0)
        client = app_open(app, &code);
    if (client != NULL)
        code = create_topics(app, client, options, &changes, count, arguments);
    weir_client_free(client);
    setting_changes_free(&changes);
    return code;
}

static const struct option_spec create_options[] = {
    {.name = "partitions",
     .letter = 'p',
     .kind = OPTION_COUNT,
     .placeholder = "N",
     .help = "how many partitions (default: the broker's num.partitions)",
     .offset = offsetof(struct topic_settings, partitions),
     .min = 1,
     .max = 100000},
    {.name = "replication",
     .letter = 'r',
     .kind = OPTION_COUNT,
     .placeholder = "N",
     .help = "how many copies, on brokers that keep several (default: the broker's)",
     .offset = offsetof(struct topic_settings, replication),
     .min = 1,
     .max = 100},
    {.name = "set",
     .letter = 's',
     .kind = OPTION_LIST,
     .placeholder = "NAME=VALUE",
     .help = "a setting of the topic, by Kafka's name; may be given again",
     .offset = offsetof(struct topic_settings, set)},
    {.name = "if-not-exists",
     .kind = OPTION_FLAG,
     .help = "a topic that exists already is no error",
     .offset = offsetof(struct topic_settings, if_not_exists)},
    {.name = "validate",
     .kind = OPTION_FLAG,
     .help = "only ask the broker whether it would do it",
     .offset = offsetof(struct topic_settings, validate)},
    {.name = NULL},
};

const struct command cmd_topic_create = {
    .name = "topic create",
    .arguments = "TOPIC...",
    .min_arguments = 1,
    .max_arguments = -1,
    .summary = "Create topics",
    .examples = "  weir topic create orders\n"
                "  weir topic create orders -p 8 --set retention.ms=86400000\n",
    .options = create_options,
    .settings_size = sizeof(struct topic_settings),
    .run = run_create,
};

// -------------------------------------------------------------------------------- list

static const struct report_column list_columns[] = {
    {"topic", "TOPIC", false},
    {"partitions", "PARTITIONS", true},
    {"replicas", "REPLICAS", true},
};

static json_t *list_row(const struct weir_topic *topic)
{
    size_t replicas = topic->partition_count > 0 ? topic->partitions[0].replica_count : 0;

    return json_pack("{s:s, s:I, s:I, s:b, s:s}", "topic", topic->name, "partitions",
                     (json_int_t)topic->partition_count, "replicas", (json_int_t)replicas,
                     "internal", topic->internal, "id", topic->id);
}

static int run_list(struct app *app, const void *settings, int count, char **arguments)
{
    const struct topic_settings *options = settings;
    struct weir_topic_list *list = NULL;
    int code = 0;
    struct weir_client *client = app_open(app, &code);

    (void)count;
    (void)arguments;
    if (client == NULL)
        return code;
    int error = weir_describe_topics(client, NULL, 0, &list, app_timeout_ms(app));
    if (error != WEIR_OK) {
        code = app_fail_client(app, client, error);
        weir_client_free(client);
        return code;
    }
    json_t *rows = json_array();
    for (size_t i = 0; i < list->count; i++) {
        if (options->all || !list->topics[i].internal)
            json_array_append_new(rows, list_row(&list->topics[i]));
    }
    report_print(rows, app->common.output == OUTPUT_JSON, list_columns, 3, app->out);
    json_decref(rows);
    weir_topic_list_free(list);
    weir_client_free(client);
    return 0;
}

static const struct option_spec list_options[] = {
    {.name = "all",
     .letter = 'a',
     .kind = OPTION_FLAG,
     .help = "the broker's internal topics as well",
     .offset = offsetof(struct topic_settings, all)},
    {.name = NULL},
};

const struct command cmd_topic_list = {
    .name = "topic list",
    .arguments = "",
    .summary = "List the topics there are",
    .examples = "  weir topic list\n"
                "  weir topic list -o json\n",
    .options = list_options,
    .settings_size = sizeof(struct topic_settings),
    .run = run_list,
};

// -------------------------------------------------------------------------------- describe

static const struct report_column partition_columns[] = {
    {"partition", "PARTITION", true}, {"leader", "LEADER", true},   {"first", "FIRST", true},
    {"next", "NEXT", true},           {"records", "RECORDS", true},
};

static const struct report_column setting_columns[] = {
    {"name", "SETTING", false},
    {"value", "VALUE", false},
    {"source", "FROM", false},
};

static int describe_partitions(struct app *app, struct weir_client *client,
                               const struct weir_topic *topic, json_t *rows)
{
    size_t count = topic->partition_count;
    struct weir_offset_query *queries = calloc(2 * count + 1, sizeof(*queries));

    if (queries == NULL)
        return app_fail(app, EXIT_FAILED, "out of memory");
    for (size_t i = 0; i < 2 * count; i++) {
        queries[i].topic = topic->name;
        queries[i].partition = topic->partitions[i / 2].partition;
        queries[i].at = i % 2 == 0 ? WEIR_BEGINNING : WEIR_END;
    }
    int error = count > 0 ? weir_list_offsets(client, queries, 2 * count, app_timeout_ms(app)) : 0;
    int code = error != WEIR_OK ? app_fail_client(app, client, error) : 0;
    for (size_t i = 0; code == 0 && i < count; i++) {
        int64_t first = queries[2 * i].offset;
        int64_t next = queries[2 * i + 1].offset;
        json_array_append_new(rows, json_pack("{s:i, s:i, s:I, s:I, s:I}", "partition",
                                              topic->partitions[i].partition, "leader",
                                              topic->partitions[i].leader, "first",
                                              (json_int_t)first, "next", (json_int_t)next,
                                              "records", (json_int_t)(next - first)));
    }
    free(queries);
    return code;
}

static int describe_settings(struct app *app, struct weir_client *client, const char *name,
                             bool all, json_t *rows)
{
    struct weir_setting_list *list = NULL;
    int error =
        weir_describe_settings(client, WEIR_RESOURCE_TOPIC, name, &list, app_timeout_ms(app));

    if (error != WEIR_OK)
        return app_fail_client(app, client, error);
    for (size_t i = 0; i < list->count; i++) {
        const struct weir_setting_info *setting = &list->settings[i];
        if (!all && setting->is_default)
            continue;
        json_array_append_new(rows, json_pack("{s:s, s:s?, s:s?, s:b}", "name", setting->name,
                                              "value", setting->value, "source", setting->source,
                                              "default", setting->is_default));
    }
    weir_setting_list_free(list);
    return 0;
}

static void print_topic(struct app *app, const json_t *topic)
{
    const json_t *settings = json_object_get(topic, "settings");

    fprintf(app->out, "topic %s", json_string_value(json_object_get(topic, "topic")));
    if (*json_string_value(json_object_get(topic, "id")) != '\0')
        fprintf(app->out, "  id %s", json_string_value(json_object_get(topic, "id")));
    fputc('\n', app->out);
    report_print_table(json_object_get(topic, "partitions"), partition_columns, 5, app->out);
    if (json_array_size(settings) > 0)
        report_print_table(settings, setting_columns, 3, app->out);
}

static int describe_topic(struct app *app, struct weir_client *client,
                          const struct topic_settings *options, const struct weir_topic *topic,
                          json_t *topics)
{
    json_t *partitions = json_array();
    json_t *settings = json_array();
    int code = 0;

    if (topic->error != WEIR_OK)
        code = app_fail_topic(app, topic);
    if (code == 0)
        code = describe_partitions(app, client, topic, partitions);
    if (code == 0)
        code = describe_settings(app, client, topic->name, options->all, settings);
    if (code != 0) {
        json_decref(partitions);
        json_decref(settings);
        return code;
    }
    json_array_append_new(topics, json_pack("{s:s, s:s, s:b, s:o, s:o}", "topic", topic->name, "id",
                                            topic->id, "internal", topic->internal, "partitions",
                                            partitions, "settings", settings));
    return 0;
}

static int run_describe(struct app *app, const void *settings, int count, char **arguments)
{
    struct weir_topic_list *list = NULL;
    int code = 0;
    struct weir_client *client = app_open(app, &code);

    if (client == NULL)
        return code;
    int error = weir_describe_topics(client, (const char *const *)arguments, (size_t)count, &list,
                                     app_timeout_ms(app));
    if (error != WEIR_OK) {
        code = app_fail_client(app, client, error);
        weir_client_free(client);
        return code;
    }
    json_t *topics = json_array();
    for (size_t i = 0; i < list->count; i++)
        code =
            app_first_code(code, describe_topic(app, client, settings, &list->topics[i], topics));
    if (app->common.output == OUTPUT_JSON)
        report_print_json(topics, app->out);
    for (size_t i = 0; app->common.output == OUTPUT_TEXT && i < json_array_size(topics); i++) {
        if (i > 0)
            fputc('\n', app->out);
        print_topic(app, json_array_get(topics, i));
    }
    json_decref(topics);
    weir_topic_list_free(list);
    weir_client_free(client);
    return code;
}

static const struct option_spec describe_options[] = {
    {.name = "all",
     .letter = 'a',
     .kind = OPTION_FLAG,
     .help = "show the settings that are at their defaults as well",
     .offset = offsetof(struct topic_settings, all)},
    {.name = NULL},
};

const struct command cmd_topic_describe = {
    .name = "topic describe",
    .arguments = "TOPIC...",
    .min_arguments = 1,
    .max_arguments = -1,
    .summary = "Show the partitions, offsets and settings of topics",
    .description = "FIRST is the oldest offset there is, NEXT the one the next record will get.\n",
    .examples = "  weir topic describe orders\n"
                "  weir topic describe orders --all -o json\n",
    .options = describe_options,
    .settings_size = sizeof(struct topic_settings),
    .run = run_describe,
};

// -------------------------------------------------------------------------------- alter

// Settings are changed before partitions are added, so what is sure to be refused is found first.
static int check_growth(struct app *app, struct weir_client *client, const char *topic,
                        int64_t partitions)
{
    struct weir_topic_list *list = NULL;
    int code = 0;
    int error = weir_describe_topics(client, &topic, 1, &list, app_timeout_ms(app));

    if (error != WEIR_OK)
        return app_fail_client(app, client, error);
    for (size_t i = 0; code == 0 && i < list->count; i++) {
        const struct weir_topic *found = &list->topics[i];
        if (found->error != WEIR_OK)
            code = app_fail_topic(app, found);
        else if (found->partition_count >= (size_t)partitions)
            code = app_fail(app, EXIT_FAILED,
                            "%s has %zu partitions and can only get more; nothing was changed",
                            topic, found->partition_count);
    }
    weir_topic_list_free(list);
    return code;
}

static int read_changes(const struct app *app, const struct topic_settings *options,
                        struct setting_changes *changes)
{
    int code = setting_changes_add(changes, app, "--set: ", options->set.items, options->set.count,
                                   WEIR_SETTING_SET);

    if (code == 0)
        code = setting_changes_add_words(changes, app, &options->append, &options->subtract);
    if (code == 0)
        code = setting_changes_unset(changes, app, options->unset.items, options->unset.count);
    if (code == 0 && changes->count == 0 && options->partitions == 0)
        code = app_fail(app, EXIT_USAGE,
                        "nothing to change, give --partitions, --set, --append, --subtract or "
                        "--unset");
    return code;
}

static int alter_topic(struct app *app, struct weir_client *client, const char *topic,
                       const struct topic_settings *options, const struct setting_changes *changes)
{
    int error = WEIR_OK;

    if (changes->count > 0 && options->partitions > 0) {
        int code = check_growth(app, client, topic, options->partitions);
        if (code != 0)
            return code;
    }
    if (changes->count > 0)
        error = weir_alter_settings(client, WEIR_RESOURCE_TOPIC, topic, changes->items,
                                    changes->count, options->validate, app_timeout_ms(app));
    if (error == WEIR_OK && options->partitions > 0)
        error = weir_create_partitions(client, topic, (int32_t)options->partitions,
                                       options->validate, app_timeout_ms(app));
    return error != WEIR_OK ? app_fail_client(app, client, error) : 0;
}

static int run_alter(struct app *app, const void *settings, int count, char **arguments)
{
    const struct topic_settings *options = settings;
    struct setting_changes changes = {0};
    struct weir_client *client = NULL;
    int code = read_changes(app, options, &changes);

    (void)count;
    if (code == 0)
        client = app_open(app, &code);
    if (client != NULL)
        code = alter_topic(app, client, arguments[0], options, &changes);
    weir_client_free(client);
    setting_changes_free(&changes);
    return code;
}

static const struct option_spec alter_options[] = {
    {.name = "partitions",
     .letter = 'p',
     .kind = OPTION_COUNT,
     .placeholder = "N",
     .help = "grow to so many partitions (there is no way to have fewer)",
     .offset = offsetof(struct topic_settings, partitions),
     .min = 1,
     .max = 100000},
    {.name = "set",
     .letter = 's',
     .kind = OPTION_LIST,
     .placeholder = "NAME=VALUE",
     .help = "change a setting, by Kafka's name; may be given again",
     .offset = offsetof(struct topic_settings, set)},
    {.name = "append",
     .kind = OPTION_LIST,
     .placeholder = "NAME=VALUE",
     .help = "add words to a setting that is a list (a,b); may be given again",
     .offset = offsetof(struct topic_settings, append)},
    {.name = "subtract",
     .kind = OPTION_LIST,
     .placeholder = "NAME=VALUE",
     .help = "take words away from a setting that is a list; may be given again",
     .offset = offsetof(struct topic_settings, subtract)},
    {.name = "unset",
     .letter = 'u',
     .kind = OPTION_LIST,
     .placeholder = "NAME",
     .help = "put a setting back to its default; may be given again",
     .offset = offsetof(struct topic_settings, unset)},
    {.name = "validate",
     .kind = OPTION_FLAG,
     .help = "only ask the broker whether it would do it",
     .offset = offsetof(struct topic_settings, validate)},
    {.name = NULL},
};

const struct command cmd_topic_alter = {
    .name = "topic alter",
    .arguments = "TOPIC",
    .min_arguments = 1,
    .max_arguments = 1,
    .summary = "Change a topic's settings, or give it more partitions",
    .examples = "  weir topic alter orders --set retention.ms=3600000\n"
                "  weir topic alter orders --append cleanup.policy=compact --validate\n"
                "  weir topic alter orders --unset retention.ms -p 16\n",
    .options = alter_options,
    .settings_size = sizeof(struct topic_settings),
    .run = run_alter,
};

// -------------------------------------------------------------------------------- delete

static int delete_batch(struct app *app, struct weir_client *client, struct progress *progress,
                        const struct topic_settings *options, int count, char **names)
{
    struct weir_outcome outcomes[BATCH_MAX];
    int error = weir_delete_topics(client, (const char *const *)names, (size_t)count, outcomes,
                                   app_timeout_ms(app));

    if (error == WEIR_ERR_BAD_ARGUMENT)
        return app_fail_client(app, client, error);
    return report_outcomes(app, progress, outcomes, count,
                           options->if_exists ? WEIR_ERR_UNKNOWN_TOPIC_OR_PARTITION : WEIR_OK);
}

static int run_delete(struct app *app, const void *settings, int count, char **arguments)
{
    struct progress progress;
    int code = 0;
    struct weir_client *client = app_open(app, &code);

    if (client == NULL)
        return code;
    progress_start_steps(&progress, app->err, "deleted", "topics", count);
    for (int i = 0; i < count; i += BATCH_MAX) {
        int some = count - i < BATCH_MAX ? count - i : BATCH_MAX;
        progress_update(&progress, i, 0);
        code = app_first_code(code,
                              delete_batch(app, client, &progress, settings, some, arguments + i));
    }
    progress_end(&progress);
    weir_client_free(client);
    return code;
}

static const struct option_spec delete_options[] = {
    {.name = "if-exists",
     .kind = OPTION_FLAG,
     .help = "a topic that does not exist is no error",
     .offset = offsetof(struct topic_settings, if_exists)},
    {.name = NULL},
};

const struct command cmd_topic_delete = {
    .name = "topic delete",
    .arguments = "TOPIC...",
    .min_arguments = 1,
    .max_arguments = -1,
    .summary = "Delete topics with everything in them",
    .examples = "  weir topic delete orders\n",
    .options = delete_options,
    .settings_size = sizeof(struct topic_settings),
    .run = run_delete,
};
