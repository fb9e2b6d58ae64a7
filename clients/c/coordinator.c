// SPDX-License-Identifier: Apache-2.0
// Owns the knowledge of one group's coordinator, and the call that gets it.
//
// Invariant: calls wait here only while `find` is under way, which always ends.
#include "clients/c/coordinator.h"

#include <string.h>

#include "clients/c/error.h"
#include "gen/kp_find_coordinator.h"

enum { KEY_TYPE_GROUP = 0 };

static void find_encode(struct call *call, struct kp_writer *writer)
{
    struct coordinator *coordinator = list_entry(call, struct coordinator, find);
    struct kp_find_coordinator_request message;
    kp_find_coordinator_request_init(&message);
    struct span group = span_text(coordinator->group);
    message.key = group;
    message.key_type = KEY_TYPE_GROUP;
    message.coordinator_keys = &group;
    message.coordinator_keys_count = 1;
    kp_find_coordinator_request_encode(writer, call->request.version, &message);
}

static int coordinator_store(struct call *call, int32_t id, struct span host, int32_t port)
{
    struct coordinator *coordinator = list_entry(call, struct coordinator, find);
    struct address address = {.port = port};
    if (id < 0 || port <= 0 || port > 65535 || host.size == 0 || host.size >= sizeof(address.host))
        return WEIR_ERR_CORRUPT;
    memcpy(address.host, host.data, host.size);
    if (!client_node_set(coordinator->client, id, &address))
        return WEIR_ERR_NO_MEMORY;
    coordinator->node_id = id;
    return WEIR_OK;
}

static int find_decode(struct call *call, struct reply *reply)
{
    struct kp_find_coordinator_response message;
    if (kp_find_coordinator_response_decode(&reply->reader, reply->version, reply->arena,
                                            &message) != 0)
        return WEIR_ERR_CORRUPT;
    if (reply->version < 4) {
        if (message.error_code) {
            call_detail(call, message.error_code, message.error_message);
            return error_from_wire(message.error_code);
        }
        return coordinator_store(call, message.node_id, message.host, message.port);
    }
    if (message.coordinators_count != 1)
        return WEIR_ERR_CORRUPT;
    const struct kp_find_coordinator_response_coordinator *found = &message.coordinators[0];
    if (found->error_code) {
        call_detail(call, found->error_code, found->error_message);
        return error_from_wire(found->error_code);
    }
    return coordinator_store(call, found->node_id, found->host, found->port);
}

static void find_done(struct call *call)
{
    struct coordinator *coordinator = list_entry(call, struct coordinator, find);
    coordinator->finding = false;
    struct list waiting;
    list_init(&waiting);
    list_splice(&waiting, &coordinator->waiting);
    for (struct list *node; (node = list_pop(&waiting));) {
        struct metadata_waiter *waiter = list_entry(node, struct metadata_waiter, node);
        struct call *waiter_call = list_entry(waiter, struct call, waiter);
        if (call->error && !weir_error_retriable(call->error)) {
            call_fail(waiter_call, call->error, call->detail);
            continue;
        }
        memcpy(waiter_call->detail, call->detail, sizeof(call->detail));
        waiter_call->error = call->error;
        call_resume(waiter_call);
    }
}

void coordinator_init(struct coordinator *coordinator, struct weir_client *client,
                      const char *group)
{
    *coordinator = (struct coordinator){.client = client, .group = group, .node_id = -1};
    list_init(&coordinator->waiting);
}

void coordinator_free(struct coordinator *coordinator)
{
    if (coordinator->finding)
        call_cancel(&coordinator->find);
}

void coordinator_wait(struct coordinator *coordinator, struct call *call)
{
    list_append(&coordinator->waiting, &call->waiter.node);
    if (coordinator->finding)
        return;
    coordinator->finding = true;
    coordinator->find = (struct call){
        .client = coordinator->client,
        .target = CALL_ANY,
        .api_key = KP_FIND_COORDINATOR_KEY,
        .deadline_ns = call->deadline_ns,
        .encode = find_encode,
        .decode = find_decode,
        .done = find_done,
    };
    call_start(&coordinator->find);
}

void coordinator_lost(struct coordinator *coordinator)
{
    coordinator->node_id = -1;
}
