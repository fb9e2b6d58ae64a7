// SPDX-License-Identifier: Apache-2.0
// DescribeCluster: one broker, which is its own controller.
#include "broker/catalog.h"
#include "broker/config.h"
#include "broker/handlers/answer.h"
#include "broker/handlers/handlers.h"
#include "broker/shard.h"
#include "gen/kp_describe_cluster.h"
#include "protocol/error.h"

enum { ENDPOINTS_OF_BROKERS = 1 };

void handle_describe_cluster(struct request *request)
{
    struct kp_describe_cluster_request in;
    struct kp_describe_cluster_response out;
    struct kp_describe_cluster_response_broker broker;
    if (request_is_malformed(request, kp_describe_cluster_request_decode(
                                          &request->body, request->version, &request->arena, &in)))
        return;
    kp_describe_cluster_response_init(&out);
    kp_describe_cluster_response_broker_init(&broker);
    out.cluster_id = span_text(request->shard->catalog->cluster_id_text);
    broker.broker_id = request->shard->config->node_id;
    broker.host = answer_host(request, &broker.port);
    if (!broker.host.data) {
        answer_no_memory(request);
        return;
    }
    if (in.endpoint_type == ENDPOINTS_OF_BROKERS) {
        out.controller_id = broker.broker_id;
        out.brokers = &broker;
        out.brokers_count = 1;
    } else {
        out.error_code = KP_ERROR_MISMATCHED_ENDPOINT_TYPE;
        out.error_message = span_text("this is a broker; there are no controllers apart from it");
    }
    if (in.include_cluster_authorized_operations)
        out.cluster_authorized_operations = ANSWER_CLUSTER_OPERATIONS;
    request_begin_reply(request);
    kp_describe_cluster_response_encode(&request->reply, request->version, &out);
    request_reply(request);
}
