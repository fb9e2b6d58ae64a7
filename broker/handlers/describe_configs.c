// SPDX-License-Identifier: Apache-2.0
// DescribeConfigs: every setting there is, with its value, where that comes from and what it means.
// Names that are asked for and unknown are left out.
#include <stdio.h>

#include "broker/config.h"
#include "broker/handlers/alter.h"
#include "broker/handlers/answer.h"
#include "broker/handlers/describe.h"
#include "broker/handlers/handlers.h"
#include "broker/shard.h"
#include "gen/kp_describe_configs.h"
#include "protocol/error.h"

struct describe_configs {
    struct kp_describe_configs_request in;
    struct kp_describe_configs_response out;
};

enum { SYNONYMS_MAX = 3 };

static bool add_synonyms(struct request *request, const struct describe_entry *entry,
                         struct kp_describe_configs_response_config *out)
{
    struct describe_entry synonyms[SYNONYMS_MAX];
    uint32_t count = describe_synonyms(request, entry, synonyms, SYNONYMS_MAX);
    out->synonyms = arena_array(&request->arena, count, sizeof(*out->synonyms));
    if (!out->synonyms)
        return false;
    for (uint32_t i = 0; i < count; i++)
        out->synonyms[i] = (struct kp_describe_configs_response_synonym){
            .name = span_text(synonyms[i].setting->name),
            .value = span_text(synonyms[i].value),
            .source = synonyms[i].source,
        };
    out->synonyms_count = (int32_t)count;
    return true;
}

static bool is_wanted(const struct kp_describe_configs_request_resource *in, const char *name)
{
    if (in->configuration_keys_count < 0)
        return true;
    for (int32_t i = 0; i < in->configuration_keys_count; i++)
        if (span_equal(in->configuration_keys[i], span_text(name)))
            return true;
    return false;
}

static bool add_configs(struct request *request,
                        const struct kp_describe_configs_request_resource *in,
                        const struct describe_list *list,
                        struct kp_describe_configs_response_resource *out)
{
    const struct describe_configs *describe = request->state;
    out->configs = arena_array(&request->arena, list->count, sizeof(*out->configs));
    if (!out->configs)
        return false;
    for (uint32_t i = 0; i < list->count; i++) {
        const struct describe_entry *entry = &list->entries[i];
        if (!is_wanted(in, entry->setting->name))
            continue;
        struct kp_describe_configs_response_config *config = &out->configs[out->configs_count++];
        kp_describe_configs_response_config_init(config);
        config->name = span_text(entry->setting->name);
        config->value = span_text(entry->value);
        config->read_only = entry->setting->scope == SETTING_BROKER;
        config->config_source = entry->source;
        config->config_type = (int8_t)entry->setting->type;
        if (describe->in.include_documentation)
            config->documentation = span_text(entry->setting->doc);
        if (describe->in.include_synonyms && !add_synonyms(request, entry, config))
            return false;
    }
    return true;
}

static bool describe_a_topic(struct request *request,
                             const struct kp_describe_configs_request_resource *in,
                             struct kp_describe_configs_response_resource *out)
{
    struct describe_list list;
    const struct catalog_topic *topic = catalog_find(request->shard->catalog, in->resource_name);
    const char *why;
    if (!topic) {
        out->error_code = catalog_check_name(in->resource_name, &why);
        if (!out->error_code)
            out->error_code = KP_ERROR_UNKNOWN_TOPIC_OR_PARTITION;
        out->error_message = span_text(why ? why : "there is no such topic");
        return true;
    }
    return describe_topic(request, topic, &list) && add_configs(request, in, &list, out);
}

// An empty name means what all brokers have in common that was set while they ran: nothing.
static bool describe_a_broker(struct request *request,
                              const struct kp_describe_configs_request_resource *in,
                              struct kp_describe_configs_response_resource *out)
{
    struct describe_list list;
    char number[16];
    snprintf(number, sizeof(number), "%d", request->shard->config->node_id);
    if (in->resource_name.size == 0)
        return true;
    if (!span_equal(in->resource_name, span_text(number))) {
        out->error_code = KP_ERROR_INVALID_REQUEST;
        out->error_message = span_text("there is no broker of this number");
        return true;
    }
    return describe_broker(request, &list) && add_configs(request, in, &list, out);
}

static bool describe_resource(struct request *request,
                              const struct kp_describe_configs_request_resource *in,
                              struct kp_describe_configs_response_resource *out)
{
    kp_describe_configs_response_resource_init(out);
    out->resource_type = in->resource_type;
    out->resource_name = in->resource_name;
    if (in->resource_type == RESOURCE_TOPIC)
        return describe_a_topic(request, in, out);
    if (in->resource_type == RESOURCE_BROKER)
        return describe_a_broker(request, in, out);
    out->error_code = KP_ERROR_INVALID_REQUEST;
    out->error_message = span_text("only topics and brokers have settings here");
    return true;
}

void handle_describe_configs(struct request *request)
{
    struct describe_configs *describe = arena_alloc(&request->arena, sizeof(*describe));
    request->state = describe;
    if (!describe) {
        answer_no_memory(request);
        return;
    }
    struct kp_describe_configs_request *in = &describe->in;
    struct kp_describe_configs_response *out = &describe->out;
    if (request_is_malformed(request, kp_describe_configs_request_decode(
                                          &request->body, request->version, &request->arena, in)))
        return;
    kp_describe_configs_response_init(out);
    out->results = arena_array(&request->arena, (size_t)in->resources_count, sizeof(*out->results));
    bool ok = out->results != NULL;
    for (int32_t i = 0; ok && i < in->resources_count; i++)
        ok = describe_resource(request, &in->resources[i], &out->results[i]);
    if (!ok) {
        answer_no_memory(request);
        return;
    }
    out->results_count = in->resources_count;
    request_begin_reply(request);
    kp_describe_configs_response_encode(&request->reply, request->version, out);
    request_reply(request);
}
