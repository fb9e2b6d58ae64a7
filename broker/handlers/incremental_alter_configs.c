// SPDX-License-Identifier: Apache-2.0
// IncrementalAlterConfigs: changes single settings of topics.
#include "broker/handlers/alter.h"
#include "broker/handlers/answer.h"
#include "broker/handlers/handlers.h"
#include "gen/kp_incremental_alter_configs.h"

struct incremental_alter_configs {
    struct kp_incremental_alter_configs_request in;
    struct kp_incremental_alter_configs_response out;
    struct controller_op op;
};

static void altered(struct controller_op *op)
{
    struct request *request = op->context;
    struct incremental_alter_configs *alter = request->state;
    struct kp_incremental_alter_configs_response *out = &alter->out;
    kp_incremental_alter_configs_response_init(out);
    out->responses = arena_array(&request->arena, op->change_count, sizeof(*out->responses));
    if (!out->responses) {
        answer_no_memory(request);
        return;
    }
    out->responses_count = (int32_t)op->change_count;
    for (uint32_t i = 0; i < op->change_count; i++) {
        struct kp_incremental_alter_configs_response_resource *resource = &out->responses[i];
        kp_incremental_alter_configs_response_resource_init(resource);
        resource->error_code = op->changes[i].error;
        resource->error_message = answer_why(request, &op->changes[i]);
        resource->resource_type = alter->in.resources[i].resource_type;
        resource->resource_name = alter->in.resources[i].resource_name;
    }
    request_begin_reply(request);
    kp_incremental_alter_configs_response_encode(&request->reply, request->version, out);
    request_reply(request);
}

static bool take_resource(struct request *request,
                          const struct kp_incremental_alter_configs_request_resource *in,
                          struct controller_change *change)
{
    if (!alter_take_resource(request, in->resource_type, in->resource_name, in->configs_count,
                             change))
        return false;
    for (int32_t i = 0; i < in->configs_count; i++)
        change->settings[i] = (struct controller_setting){
            .name = in->configs[i].name,
            .value = in->configs[i].value,
            .action = in->configs[i].config_operation,
        };
    return true;
}

void handle_incremental_alter_configs(struct request *request)
{
    struct incremental_alter_configs *alter = arena_alloc(&request->arena, sizeof(*alter));
    request->state = alter;
    if (!alter) {
        answer_no_memory(request);
        return;
    }
    if (request_is_malformed(
            request, kp_incremental_alter_configs_request_decode(&request->body, request->version,
                                                                 &request->arena, &alter->in)))
        return;
    alter->op.kind = CONTROLLER_ALTER_TOPICS;
    alter->op.validate_only = alter->in.validate_only;
    alter->op.changes = answer_changes(request, alter->in.resources_count);
    bool ok = alter->op.changes != NULL;
    for (int32_t i = 0; ok && i < alter->in.resources_count; i++)
        ok = take_resource(request, &alter->in.resources[i], &alter->op.changes[i]);
    if (!ok) {
        answer_no_memory(request);
        return;
    }
    alter->op.change_count = (uint32_t)alter->in.resources_count;
    answer_submit(request, &alter->op, altered);
}
