// SPDX-License-Identifier: Apache-2.0
// ApiVersions: the first request of almost every connection, and the one that must be answered in
// any version (see protocol/frame.h).
#include "broker/handlers/handlers.h"
#include "gen/kp_api_versions.h"
#include "gen/kp_apis.h"
#include "protocol/error.h"

// What clients may take for granted besides the versions of requests.
static void tell_features(struct kp_api_versions_response *out)
{
    // The consumer group protocol of KIP-848.
    static struct kp_api_versions_response_supported_feature supported[] = {
        {.name = {(const uint8_t *)"group.version", 13}, .min_version = 1, .max_version = 1},
    };
    static struct kp_api_versions_response_finalized_feature finalized[] = {
        {.name = {(const uint8_t *)"group.version", 13},
         .max_version_level = 1,
         .min_version_level = 1},
    };
    out->supported_features = supported;
    out->supported_features_count = sizeof(supported) / sizeof(*supported);
    out->finalized_features = finalized;
    out->finalized_features_count = sizeof(finalized) / sizeof(*finalized);
    out->finalized_features_epoch = 1;
}

static void reply(struct request *request, const struct kp_api_versions_response *out)
{
    request_begin_reply(request);
    kp_api_versions_response_encode(&request->reply, request->version, out);
    request_reply(request);
}

static bool is_alphanumeric(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

// Letters, digits, and between them also dashes and dots.
static bool names_software(struct span text)
{
    if (text.size == 0 || !is_alphanumeric(text.data[0]) ||
        !is_alphanumeric(text.data[text.size - 1]))
        return false;
    for (size_t i = 0; i < text.size; i++) {
        if (!is_alphanumeric(text.data[i]) && text.data[i] != '-' && text.data[i] != '.')
            return false;
    }
    return true;
}

void handle_api_versions(struct request *request)
{
    struct kp_api_versions_request in;
    int decoded =
        kp_api_versions_request_decode(&request->body, request->version, &request->arena, &in);
    if (request_is_malformed(request, decoded))
        return;
    struct kp_api_versions_response out;
    kp_api_versions_response_init(&out);
    if (request->version >= 3 &&
        (!names_software(in.client_software_name) || !names_software(in.client_software_version))) {
        out.error_code = KP_ERROR_INVALID_REQUEST;
        reply(request, &out);
        return;
    }
    size_t count;
    const struct api *apis = registry_all(&count);
    out.api_keys = arena_array(&request->arena, count, sizeof(*out.api_keys));
    if (!out.api_keys) {
        request_abort(request, "no memory for the answer");
        return;
    }
    for (size_t i = 0; i < count; i++) {
        out.api_keys[i] = (struct kp_api_versions_response_api_key){
            .api_key = apis[i].key,
            .min_version = apis[i].advertised_min,
            .max_version = apis[i].max_version,
        };
    }
    out.api_keys_count = (int32_t)count;
    tell_features(&out);
    reply(request, &out);
}

void handle_unknown_api_versions(struct request *request)
{
    const struct api *api = registry_find(KP_API_VERSIONS_KEY);
    struct kp_api_versions_response_api_key row = {
        .api_key = api->key,
        .min_version = api->min_version,
        .max_version = api->max_version,
    };
    struct kp_api_versions_response out;
    kp_api_versions_response_init(&out);
    out.error_code = KP_ERROR_UNSUPPORTED_VERSION;
    out.api_keys = &row;
    out.api_keys_count = 1;
    request->schema = kp_api_find(KP_API_VERSIONS_KEY);
    request->version = 0;
    reply(request, &out);
}
