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
    OPERATION_DELETE = 1, // the others are enum weir_setting_change
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
    message.include_synonyms = true;
    message.include_documentation = true;
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

static const char *type_name(int8_t type)
{
    static const char *const names[] = {
        "unknown", "boolean", "string", "int",   "short",
        "long",    "double",  "list",   "class", "password",
    };
    return type >= 0 && (size_t)type < sizeof(names) / sizeof(names[0]) ? names[type] : names[0];
}

// A copy of a value, which may be absent. False when memory is short.
static bool value_store(struct arena *arena, struct span from, const char **to)
{
    *to = from.data ? arena_text(arena, from.data, from.size) : NULL;
    return *to || !from.data;
}

static bool synonyms_store(struct arena *arena,
                           const struct kp_describe_configs_response_config *from,
                           struct weir_setting_info *to)
{
    struct weir_setting_synonym *synonyms =
        arena_array(arena, (size_t)from->synonyms_count, sizeof(*synonyms));
    if (!synonyms)
        return false;
    for (int32_t i = 0; i < from->synonyms_count; i++) {
        synonyms[i].name = admin_text(arena, from->synonyms[i].name);
        synonyms[i].source = source_name(from->synonyms[i].source);
        if (!synonyms[i].name || !value_store(arena, from->synonyms[i].value, &synonyms[i].value))
            return false;
    }
    to->synonyms = synonyms;
    to->synonym_count = (size_t)from->synonyms_count;
    return true;
}

static bool setting_store(struct arena *arena,
                          const struct kp_describe_configs_response_config *from,
                          struct weir_setting_info *to)
{
    enum { SOURCE_DEFAULT = 5 };
    to->name = admin_text(arena, from->name);
    to->documentation = admin_text(arena, from->documentation);
    to->source = source_name(from->config_source);
    to->type = type_name(from->config_type);
    to->is_default = from->config_source == SOURCE_DEFAULT;
    to->read_only = from->read_only;
    to->sensitive = from->is_sensitive;
    return to->name && to->documentation && value_store(arena, from->value, &to->value) &&
           synonyms_store(arena, from, to);
}

static int settings_store(struct setting_result *result,
                          const struct kp_describe_configs_response_resource *from)
{
    struct weir_setting_info *settings =
        arena_array(&result->arena, (size_t)from->configs_count, sizeof(*settings));
    if (!settings)
        return WEIR_ERR_NO_MEMORY;
    for (int32_t i = 0; i < from->configs_count; i++) {
        if (!setting_store(&result->arena, &from->configs[i], &settings[i]))
            return WEIR_ERR_NO_MEMORY;
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
    bool validate_only;
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
            alter->settings[i].value ? (int8_t)alter->settings[i].change : OPERATION_DELETE;
    }
    message.resources = &resource;
    message.resources_count = 1;
    message.validate_only = alter->validate_only;
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

// What makes no sense about a change, or NULL.
static const char *setting_fault(const struct weir_setting *setting)
{
    if (!setting->name)
        return "has no name";
    switch (setting->change) {
    case WEIR_SETTING_SET:
        return NULL;
    case WEIR_SETTING_APPEND:
    case WEIR_SETTING_SUBTRACT:
        return setting->value ? NULL : "needs a value to append or to subtract";
    }
    return "is neither to be set nor appended nor subtracted";
}

int weir_alter_settings(struct weir_client *client, enum weir_resource resource, const char *name,
                        const struct weir_setting *settings, size_t count, bool validate_only,
                        int timeout_ms)
{
    int error = client_enter(client);
    if (error)
        return error;
    if (!name || (count > 0 && !settings))
        return client_fail(client, WEIR_ERR_BAD_ARGUMENT, "settings of what? A name is needed");
    for (size_t i = 0; i < count; i++) {
        const char *fault = setting_fault(&settings[i]);
        if (fault)
            return client_fail(client, WEIR_ERR_BAD_ARGUMENT, "setting %zu %s", i, fault);
    }
    struct alter_settings alter = {
        .call = admin_call(client, KP_INCREMENTAL_ALTER_CONFIGS_KEY, CALL_CONTROLLER, alter_encode,
                           alter_decode),
        .resource = resource,
        .name = name,
        .settings = settings,
        .count = count,
        .validate_only = validate_only,
    };
    target_choose(&alter.call, resource, name);
    char what[320];
    what_describe(what, sizeof(what), "change", resource, name);
    return call_run(&alter.call, what, timeout_ms);
}
