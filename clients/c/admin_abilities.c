// SPDX-License-Identifier: Apache-2.0
// What a broker can do: the versions it serves, and the features of the cluster.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clients/c/admin.h"
#include "clients/c/error.h"
#include "gen/kp_api_versions.h"
#include "gen/kp_apis.h"

enum { RESULT_LIMIT = 16 << 20 };

struct abilities_result {
    struct weir_abilities abilities;
    struct arena arena;
};

struct describe_abilities {
    struct call call;
    struct abilities_result *result;
};

static void abilities_encode(struct call *call, struct kp_writer *writer)
{
    struct kp_api_versions_request message;
    kp_api_versions_request_init(&message);
    message.client_software_name = span_text("libweir");
    message.client_software_version = span_text(weir_version());
    kp_api_versions_request_encode(writer, call->request.version, &message);
}

static int api_compare(const void *a, const void *b)
{
    return ((const struct weir_api *)a)->key - ((const struct weir_api *)b)->key;
}

static int apis_store(struct abilities_result *result,
                      const struct kp_api_versions_response *message)
{
    size_t count = (size_t)message->api_keys_count;
    struct weir_api *apis = arena_array(&result->arena, count, sizeof(*apis));
    if (!apis)
        return WEIR_ERR_NO_MEMORY;
    for (size_t i = 0; i < count; i++) {
        const struct kp_api_versions_response_api_key *from = &message->api_keys[i];
        const struct kp_api *known = kp_api_find(from->api_key);
        apis[i] = (struct weir_api){
            .key = from->api_key,
            .name = known ? known->name : "",
            .min = from->min_version,
            .max = from->max_version,
        };
    }
    if (count > 1)
        qsort(apis, count, sizeof(*apis), api_compare);
    result->abilities.apis = apis;
    result->abilities.api_count = count;
    return WEIR_OK;
}

static int feature_compare(const void *a, const void *b)
{
    return strcmp(((const struct weir_feature *)a)->name, ((const struct weir_feature *)b)->name);
}

static int16_t level_of(const struct kp_api_versions_response *message, struct span name)
{
    for (int32_t i = 0; i < message->finalized_features_count; i++) {
        if (span_equal(message->finalized_features[i].name, name))
            return message->finalized_features[i].max_version_level;
    }
    return 0;
}

static int features_store(struct abilities_result *result,
                          const struct kp_api_versions_response *message)
{
    size_t count =
        message->supported_features_count > 0 ? (size_t)message->supported_features_count : 0;
    struct weir_feature *features = arena_array(&result->arena, count, sizeof(*features));
    if (!features)
        return WEIR_ERR_NO_MEMORY;
    for (size_t i = 0; i < count; i++) {
        const struct kp_api_versions_response_supported_feature *from =
            &message->supported_features[i];
        features[i].name = admin_text(&result->arena, from->name);
        if (!features[i].name)
            return WEIR_ERR_NO_MEMORY;
        features[i].min = from->min_version;
        features[i].max = from->max_version;
        features[i].level = level_of(message, from->name);
    }
    if (count > 1)
        qsort(features, count, sizeof(*features), feature_compare);
    result->abilities.features = features;
    result->abilities.feature_count = count;
    return WEIR_OK;
}

static int abilities_decode(struct call *call, struct reply *reply)
{
    enum { FEATURES_MAX = 1000 }; // the work to match them grows with the square
    struct abilities_result *result = list_entry(call, struct describe_abilities, call)->result;
    struct kp_api_versions_response message;
    if (kp_api_versions_response_decode(&reply->reader, reply->version, reply->arena, &message) !=
            0 ||
        message.supported_features_count > FEATURES_MAX ||
        message.finalized_features_count > FEATURES_MAX)
        return WEIR_ERR_CORRUPT;
    if (message.error_code)
        return admin_result(call, message.error_code, (struct span){0});
    arena_reset(&result->arena);
    int error = apis_store(result, &message);
    return error ? error : features_store(result, &message);
}

int weir_describe_abilities(struct weir_client *client, int32_t broker,
                            struct weir_abilities **abilities, int timeout_ms)
{
    int error = client_enter(client);
    if (error)
        return error;
    if (!abilities || broker < -1)
        return client_fail(client, WEIR_ERR_BAD_ARGUMENT, "abilities of which broker?");
    struct abilities_result *result = calloc(1, sizeof(*result));
    if (!result)
        return client_fail(client, WEIR_ERR_NO_MEMORY, "out of memory");
    arena_init(&result->arena, RESULT_LIMIT);
    struct describe_abilities describe = {
        .call = admin_call(client, KP_API_VERSIONS_KEY, broker < 0 ? CALL_ANY : CALL_NODE,
                           abilities_encode, abilities_decode),
        .result = result,
    };
    describe.call.node_id = broker;
    error = call_run(&describe.call, "cannot ask what the broker can do", timeout_ms);
    if (error)
        weir_abilities_free(&result->abilities);
    else
        *abilities = &result->abilities;
    return error;
}

void weir_abilities_free(struct weir_abilities *abilities)
{
    if (!abilities)
        return;
    struct abilities_result *result = list_entry(abilities, struct abilities_result, abilities);
    arena_free(&result->arena);
    free(result);
}
