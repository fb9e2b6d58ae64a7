// SPDX-License-Identifier: Apache-2.0
// weir cluster: which brokers there are, who controls them, and what each can do.
#include "tools/app.h"
#include "tools/commands.h"
#include "tools/report.h"

struct cluster_settings {
    bool apis;
};

static const struct report_column broker_columns[] = {
    {"id", "BROKER", true},
    {"host", "HOST", false},
    {"port", "PORT", true},
    {"rack", "RACK", false},
    {"controller", "CONTROLLER", false},
};

static const struct report_column api_columns[] = {
    {"key", "API", true},
    {"name", "NAME", false},
    {"min", "FROM", true},
    {"max", "TO", true},
};

static const struct report_column feature_columns[] = {
    {"name", "FEATURE", false},
    {"min", "FROM", true},
    {"max", "TO", true},
    {"level", "LEVEL", true},
};

static json_t *api_rows(const struct weir_abilities *abilities)
{
    json_t *rows = json_array();

    for (size_t i = 0; i < abilities->api_count; i++) {
        const struct weir_api *api = &abilities->apis[i];
        json_array_append_new(rows, json_pack("{s:i, s:s, s:i, s:i}", "key", api->key, "name",
                                              api->name, "min", api->min, "max", api->max));
    }
    return rows;
}

static json_t *feature_rows(const struct weir_abilities *abilities)
{
    json_t *rows = json_array();

    for (size_t i = 0; i < abilities->feature_count; i++) {
        const struct weir_feature *feature = &abilities->features[i];
        json_array_append_new(rows, json_pack("{s:s, s:i, s:i, s:i}", "name", feature->name, "min",
                                              feature->min, "max", feature->max, "level",
                                              feature->level));
    }
    return rows;
}

static json_t *broker_row(const struct weir_broker *broker, int32_t controller)
{
    return json_pack("{s:i, s:s, s:i, s:s?, s:b}", "id", broker->id, "host", broker->host, "port",
                     broker->port, "rack", broker->rack, "controller", broker->id == controller);
}

static int add_abilities(struct app *app, struct weir_client *client, int32_t id, json_t *row)
{
    struct weir_abilities *abilities = NULL;
    int error = weir_describe_abilities(client, id, &abilities, app_timeout_ms(app));

    if (error != WEIR_OK)
        return app_fail_client(app, client, error);
    json_object_set_new(row, "apis", api_rows(abilities));
    json_object_set_new(row, "features", feature_rows(abilities));
    weir_abilities_free(abilities);
    return 0;
}

static void print_cluster(struct app *app, const struct weir_cluster *cluster, const json_t *rows)
{
    size_t index;
    const json_t *row;

    if (app->common.output == OUTPUT_JSON) {
        json_t *result = json_pack("{s:s?, s:i, s:O}", "id", cluster->id, "controller",
                                   cluster->controller, "brokers", rows);
        report_print_json(result, app->out);
        json_decref(result);
        return;
    }
    if (cluster->id != NULL)
        fprintf(app->out, "cluster %s\n", cluster->id);
    report_print_table(rows, broker_columns, 5, app->out);
    json_array_foreach(rows, index, row)
    {
        const json_t *apis = json_object_get(row, "apis");
        if (apis == NULL)
            continue;
        fprintf(app->out, "\nbroker %" JSON_INTEGER_FORMAT "\n",
                json_integer_value(json_object_get(row, "id")));
        report_print_table(apis, api_columns, 4, app->out);
        if (json_array_size(json_object_get(row, "features")) > 0)
            report_print_table(json_object_get(row, "features"), feature_columns, 4, app->out);
    }
}

static int run_cluster(struct app *app, const void *settings, int count, char **arguments)
{
    const struct cluster_settings *options = settings;
    struct weir_cluster *cluster = NULL;
    int code = 0;
    struct weir_client *client = app_open(app, &code);

    (void)count;
    (void)arguments;
    if (client == NULL)
        return code;
    int error = weir_describe_cluster(client, &cluster, app_timeout_ms(app));
    if (error != WEIR_OK) {
        code = app_fail_client(app, client, error);
        weir_client_free(client);
        return code;
    }
    json_t *rows = json_array();
    for (size_t i = 0; code == 0 && i < cluster->broker_count; i++) {
        json_t *row = broker_row(&cluster->brokers[i], cluster->controller);
        json_array_append_new(rows, row);
        if (options->apis)
            code = add_abilities(app, client, cluster->brokers[i].id, row);
    }
    if (code == 0)
        print_cluster(app, cluster, rows);
    json_decref(rows);
    weir_cluster_free(cluster);
    weir_client_free(client);
    return code;
}

static const struct option_spec cluster_options[] = {
    {.name = "apis",
     .letter = 'a',
     .kind = OPTION_FLAG,
     .help = "also the requests each broker serves, in which versions, and its features",
     .offset = offsetof(struct cluster_settings, apis)},
    {.name = NULL},
};

const struct command cmd_cluster = {
    .name = "cluster",
    .arguments = "",
    .summary = "Show the brokers, the controller, and the requests they serve",
    .examples = "  weir cluster\n"
                "  weir cluster --apis -o json | jq '.brokers[0].apis[] | select(.name == "
                "\"Fetch\")'\n",
    .options = cluster_options,
    .settings_size = sizeof(struct cluster_settings),
    .run = run_cluster,
};
