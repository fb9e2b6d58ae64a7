// SPDX-License-Identifier: Apache-2.0
// Reading and changing the settings of topics and brokers.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clients/c/admin.h"
#include "clients/c/error.h"
#include "gen/kp_describe_configs.h"
#include "gen/kp_incremental_alter_configs.h"

enum {
    RESULT_LIMIT = 64 << 20,
    OPERATION_SET = 0,
    OPERATION_DELETE = 1,
};

// A broker's settings are known to that broker only; a topic's to all.
static void target_choose(struct call *call, enum weir_resource resource, const char *name)
{
    char *end = NULL;
    errno = 0;
    long id = strtol(name, &end, 10);
    if (resource != WEIR_RESOURCE_BROKER || errno || end == name || *end || id < 0 ||
        id > INT32_MAX)
        return;
    call->target = CALL_NODE;
    call->node_id = (int32_t)id;
}

static void what_describe(char *what, size_t size, const char *verb, enum weir_resource resource,
                          const char *name)
{
    snprintf(what, size, "cannot %s the settings of %s '%.249s'", verb,
             resource == WEIR_RESOURCE_BROKER ? "broker" : "topic", name);
}

// ------------------------------------------------------------------------------------- describe

// A list and the memory of everything in it.
struct setting_result {
    struct weir_setting_list list; // first: the user frees by this
    struct arena arena;
};

struct describe_settings {
    struct call call;
    enum weir_resource resource;
    const char *name;
    struct setting_result *result;
};

static void describe_encode(struct call *call, struct kp_writer *writer)
{
    struct describe_settings *describe = list_entry(call, struct describe_settings, call);
    struct kp_describe_configs_request message;
    struct kp_describe_configs_request_resource resource;
    kp_describe_configs_request_init(&message);
    kp_describe_configs_request_resource_init(&resource);
    resource.resource_type = (int8_t)describe->resource;
    resource.resource_name = span_text(describe->name);
    resource.configuration_keys_count = -1;
    message.resources = &resource;
    message.resources_count = 1;
    kp_describe_configs_request_encode(writer, call->request.version, &message);
}

static const char *source_name(int8_t source)
{
    static const char *const names[] = {
        "unknown",          "topic",          "broker", "all brokers", "broker file", "default",
        "broker log level", "client metrics", "group",
    };
    return source >= 0 && (size_t)source < sizeof(names) / sizeof(names[0]) ? names[source]
                                                                            : "unknown";
}

static int setting_compare(const void *a, const void *b)
{
    return strcmp(((const struct weir_setting_info *)a)->name,
                  ((const struct weir_setting_info *)b)->name);
}

static int settings_store(struct setting_result *result,
                          const struct kp_describe_configs_response_resource *from)
{
    enum { SOURCE_DEFAULT = 5 };
    struct weir_setting_info *settings =
        arena_array(&result->arena, (size_t)from->configs_count, sizeof(*settings));
    if (!settings)
        return WEIR_ERR_NO_MEMORY;
    for (int32_t i = 0; i < from->configs_count; i++) {
        const struct kp_describe_configs_response_config *config = &from->configs[i];
        struct weir_setting_info *to = &settings[i];
        to->name = arena_text(&result->arena, config->name.data, config->name.size);
        if (config->value.data)
            to->value = arena_text(&result->arena, config->value.data, config->value.size);
        if (!to->name || (config->value.data && !to->value))
            return WEIR_ERR_NO_MEMORY;
        to->source = source_name(config->config_source);
        to->is_default = config->config_source == SOURCE_DEFAULT;
        to->read_only = config->read_only;
        to->sensitive = config->is_sensitive;
    }
    if (from->configs_count > 1)
        qsort(settings, (size_t)from->configs_count, sizeof(*settings), setting_compare);
    result->list.settings = settings;
    result->list.count = (size_t)from->configs_count;
    return WEIR_OK;
}

static int describe_decode(struct call *call, struct reply *reply)
{
    struct describe_settings *describe = list_entry(call, struct describe_settings, call);
    struct kp_describe_configs_response message;
    if (kp_describe_configs_response_decode(&reply->reader, reply->version, reply->arena,
                                            &message) != 0 ||
        message.results_count != 1)
        return WEIR_ERR_CORRUPT;
    int error = admin_result(call, message.results[0].error_code, message.results[0].error_message);
    return error ? error : settings_store(describe->result, &message.results[0]);
}

int weir_describe_settings(struct weir_client *client, enum weir_resource resource,
                           const char *name, struct weir_setting_list **list, int timeout_ms)
{
    int error = client_enter(client);
    if (error)
        return error;
    if (!name || !list)
        return client_fail(client, WEIR_ERR_BAD_ARGUMENT, "settings of what? A name is needed");
    struct setting_result *result = calloc(1, sizeof(*result));
    if (!result)
        return client_fail(client, WEIR_ERR_NO_MEMORY, "out of memory");
    arena_init(&result->arena, RESULT_LIMIT);
    struct describe_settings describe = {
        .call =
            admin_call(client, KP_DESCRIBE_CONFIGS_KEY, CALL_ANY, describe_encode, describe_decode),
        .resource = resource,
        .name = name,
        .result = result,
    };
    target_choose(&describe.call, resource, name);
    char what[320];
    what_describe(what, sizeof(what), "read", resource, name);
    error = call_run(&describe.call, what, timeout_ms);
    if (error)
        weir_setting_list_free(&result->list);
    else
        *list = &result->list;
    return error;
}

void weir_setting_list_free(struct weir_setting_list *list)
{
    if (!list)
        return;
    struct setting_result *result = list_entry(list, struct setting_result, list);
    arena_free(&result->arena);
    free(result);
}

// ------------------------------------------------------------------------------------- alter

struct alter_settings {
    struct call call;
    enum weir_resource resource;
    const char *name;
    const struct weir_setting *settings;
    size_t count;
};

static void alter_encode(struct call *call, struct kp_writer *writer)
{
    struct alter_settings *alter = list_entry(call, struct alter_settings, call);
    struct kp_incremental_alter_configs_request message;
    struct kp_incremental_alter_configs_request_resource resource;
    kp_incremental_alter_configs_request_init(&message);
    kp_incremental_alter_configs_request_resource_init(&resource);
    resource.resource_type = (int8_t)alter->resource;
    resource.resource_name = span_text(alter->name);
    resource.configs = arena_array(writer->arena, alter->count, sizeof(*resource.configs));
    if (!resource.configs) {
        writer->failed = true;
        return;
    }
    resource.configs_count = (int32_t)alter->count;
    for (size_t i = 0; i < alter->count; i++) {
        kp_incremental_alter_configs_request_config_init(&resource.configs[i]);
        resource.configs[i].name = span_text(alter->settings[i].name);
        resource.configs[i].value = span_text(alter->settings[i].value);
        resource.configs[i].config_operation =
            alter->settings[i].value ? OPERATION_SET : OPERATION_DELETE;
    }
    message.resources = &resource;
    message.resources_count = 1;
    kp_incremental_alter_configs_request_encode(writer, call->request.version, &message);
}

static int alter_decode(struct call *call, struct reply *reply)
{
    struct kp_incremental_alter_configs_response message;
    if (kp_incremental_alter_configs_response_decode(&reply->reader, reply->version, reply->arena,
                                                     &message) != 0 ||
        message.responses_count != 1)
        return WEIR_ERR_CORRUPT;
    return admin_result(call, message.responses[0].error_code, message.responses[0].error_message);
}

int weir_alter_settings(struct weir_client *client, enum weir_resource resource, const char *name,
                        const struct weir_setting *settings, size_t count, int timeout_ms)
{
    int error = client_enter(client);
    if (error)
        return error;
    if (!name || (count > 0 && !settings))
        return client_fail(client, WEIR_ERR_BAD_ARGUMENT, "settings of what? A name is needed");
    for (size_t i = 0; i < count; i++) {
        if (!settings[i].name)
            return client_fail(client, WEIR_ERR_BAD_ARGUMENT, "setting %zu has no name", i);
    }
    struct alter_settings alter = {
        .call = admin_call(client, KP_INCREMENTAL_ALTER_CONFIGS_KEY, CALL_CONTROLLER, alter_encode,
                           alter_decode),
        .resource = resource,
        .name = name,
        .settings = settings,
        .count = count,
    };
    target_choose(&alter.call, resource, name);
    char what[320];
    what_describe(what, sizeof(what), "change", resource, name);
    return call_run(&alter.call, what, timeout_ms);
}
