// SPDX-License-Identifier: Apache-2.0
// FindCoordinator: for every group, and for every partition of a share group, it is this broker.
// Transactions are not served yet.
#include "broker/config.h"
#include "broker/groups/group.h"
#include "broker/handlers/answer.h"
#include "broker/handlers/handlers.h"
#include "broker/shard.h"
#include "gen/kp_find_coordinator.h"
#include "protocol/error.h"

enum { KEY_GROUP = 0, KEY_TRANSACTION = 1, KEY_SHARE = 2 };
enum { VERSION_MANY = 4, VERSION_SHARE = 6 };

struct coordinator_place {
    struct span host;
    int32_t port;
    int32_t node_id;
};

static bool is_base64url(uint8_t c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_';
}

// GROUP:TOPIC ID:PARTITION. The group's name may have colons in it.
static bool is_share_key(struct span key)
{
    enum { ID_SIZE = 22, DIGITS_MAX = 10 };
    size_t digits = 0;
    while (digits < key.size && key.data[key.size - 1 - digits] >= '0' &&
           key.data[key.size - 1 - digits] <= '9')
        digits++;
    size_t tail = 1 + ID_SIZE + 1 + digits;
    if (digits == 0 || digits > DIGITS_MAX || key.size <= tail)
        return false;
    const uint8_t *id = key.data + key.size - tail + 1;
    for (size_t i = 0; i < ID_SIZE; i++)
        if (!is_base64url(id[i]))
            return false;
    return id[-1] == ':' && id[ID_SIZE] == ':';
}

static int16_t check_key(int16_t version, int8_t type, struct span key, struct span *why)
{
    int16_t error = 0;
    if (type == KEY_TRANSACTION) {
        error = KP_ERROR_COORDINATOR_NOT_AVAILABLE;
        *why = span_text("transactions are not served");
    } else if (type == KEY_SHARE && version >= VERSION_SHARE) {
        if (!is_share_key(key)) {
            error = KP_ERROR_INVALID_REQUEST;
            *why = span_text("the key is not of the form GROUP:TOPIC ID:PARTITION");
        }
    } else if (type != KEY_GROUP) {
        error = KP_ERROR_INVALID_REQUEST;
        *why = span_text("there is no such kind of coordinator in this version");
    } else if (key.size == 0 || key.size > GROUP_NAME_MAX) {
        error = KP_ERROR_INVALID_GROUP_ID;
        *why = span_text("a group's name has 1 to 1024 bytes");
    }
    return error;
}

static void fill_one(int16_t version, const struct kp_find_coordinator_request *in,
                     const struct coordinator_place *here, struct kp_find_coordinator_response *out)
{
    out->error_code = check_key(version, in->key_type, in->key, &out->error_message);
    out->node_id = out->error_code ? -1 : here->node_id;
    out->host = out->error_code ? span_text("") : here->host;
    out->port = out->error_code ? -1 : here->port;
}

static bool fill_many(struct request *request, const struct kp_find_coordinator_request *in,
                      const struct coordinator_place *here,
                      struct kp_find_coordinator_response *out)
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
        one->error_code = check_key(request->version, in->key_type, one->key, &one->error_message);
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
    struct coordinator_place here = {.node_id = request->shard->config->node_id};
    if (request_is_malformed(request, kp_find_coordinator_request_decode(
                                          &request->body, request->version, &request->arena, &in)))
        return;
    kp_find_coordinator_response_init(&out);
    here.host = answer_host(request, &here.port);
    bool ok = here.host.data != NULL;
    if (ok && request->version >= VERSION_MANY)
        ok = fill_many(request, &in, &here, &out);
    else if (ok)
        fill_one(request->version, &in, &here, &out);
    if (!ok) {
        answer_no_memory(request);
        return;
    }
    request_begin_reply(request);
    kp_find_coordinator_response_encode(&request->reply, request->version, &out);
    request_reply(request);
}
