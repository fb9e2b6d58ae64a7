// SPDX-License-Identifier: Apache-2.0
// FindCoordinator: for every group it is this broker. Transactions are not served yet.
#include "broker/config.h"
#include "broker/handlers/answer.h"
#include "broker/handlers/handlers.h"
#include "broker/shard.h"
#include "gen/kp_find_coordinator.h"
#include "protocol/error.h"

enum { KEY_GROUP = 0, KEY_TRANSACTION = 1 };

struct coordinator {
    struct span host;
    int32_t port;
    int32_t node_id;
};

static int16_t check_key(int8_t type, struct span key, struct span *why)
{
    int16_t error = 0;
    if (type == KEY_TRANSACTION) {
        error = KP_ERROR_COORDINATOR_NOT_AVAILABLE;
        *why = span_text("transactions are not served");
    } else if (type != KEY_GROUP) {
        error = KP_ERROR_INVALID_REQUEST;
        *why = span_text("only groups have coordinators here");
    } else if (key.size == 0) {
        error = KP_ERROR_INVALID_GROUP_ID;
        *why = span_text("a group's name cannot be empty");
    }
    return error;
}

static void fill_one(const struct kp_find_coordinator_request *in, const struct coordinator *here,
                     struct kp_find_coordinator_response *out)
{
    out->error_code = check_key(in->key_type, in->key, &out->error_message);
    out->node_id = out->error_code ? -1 : here->node_id;
    out->host = out->error_code ? span_text("") : here->host;
    out->port = out->error_code ? -1 : here->port;
}

static bool fill_many(struct request *request, const struct kp_find_coordinator_request *in,
                      const struct coordinator *here, struct kp_find_coordinator_response *out)
{
    out->coordinators = arena_array(&request->arena, (size_t)in->coordinator_keys_count,
                                    sizeof(*out->coordinators));
    if (!out->coordinators)
        return false;
    out->coordinators_count = in->coordinator_keys_count;
    for (int32_t i = 0; i < in->coordinator_keys_count; i++) {
        struct kp_find_coordinator_response_coordinator *one = &out->coordinators[i];
        kp_find_coordinator_response_coordinator_init(one);
        one->key = in->coordinator_keys[i];
        one->error_code = check_key(in->key_type, one->key, &one->error_message);
        one->node_id = one->error_code ? -1 : here->node_id;
        one->host = one->error_code ? span_text("") : here->host;
        one->port = one->error_code ? -1 : here->port;
    }
    return true;
}

void handle_find_coordinator(struct request *request)
{
    struct kp_find_coordinator_request in;
    struct kp_find_coordinator_response out;
    struct coordinator here = {.node_id = request->shard->config->node_id};
    if (request_is_malformed(request, kp_find_coordinator_request_decode(
                                          &request->body, request->version, &request->arena, &in)))
        return;
    kp_find_coordinator_response_init(&out);
    here.host = answer_host(request, &here.port);
    bool ok = here.host.data != NULL;
    if (ok && request->version >= 4)
        ok = fill_many(request, &in, &here, &out);
    else if (ok)
        fill_one(&in, &here, &out);
    if (!ok) {
        answer_no_memory(request);
        return;
    }
    request_begin_reply(request);
    kp_find_coordinator_response_encode(&request->reply, request->version, &out);
    request_reply(request);
}
