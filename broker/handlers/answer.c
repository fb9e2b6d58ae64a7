// SPDX-License-Identifier: Apache-2.0
// Pieces of answers. Owns nothing.
#include "broker/handlers/answer.h"

#include <string.h>

#include "broker/config.h"
#include "protocol/error.h"

struct span answer_text(struct request *request, const char *text)
{
    size_t size = strlen(text);
    return size ? span_text(arena_text(&request->arena, text, size)) : (struct span){0};
}

struct span answer_host(struct request *request, int32_t *port)
{
    struct endpoint endpoint = endpoint_for(request);
    *port = endpoint.port;
    return answer_text(request, endpoint.host);
}

int32_t *answer_replicas(struct request *request)
{
    int32_t *replicas = arena_array(&request->arena, 1, sizeof(*replicas));
    if (replicas)
        *replicas = request->shard->config->node_id;
    return replicas;
}

struct span answer_why(struct request *request, const struct controller_change *change)
{
    if (!change->error)
        return (struct span){0};
    return answer_text(request, change->why[0] ? change->why : kp_error_text(change->error));
}

struct controller_change *answer_changes(struct request *request, int32_t count)
{
    struct controller_change *changes =
        arena_array(&request->arena, count < 0 ? 0 : (size_t)count, sizeof(*changes));
    for (int32_t i = 0; changes && i < count; i++) {
        changes[i].partition_count = -1;
        changes[i].assignment_count = -1;
    }
    return changes;
}

void answer_submit(struct request *request, struct controller_op *op,
                   void (*done)(struct controller_op *op))
{
    op->arena = &request->arena;
    op->context = request;
    op->done = done;
    controller_submit(request->shard, op);
}

void answer_no_memory(struct request *request)
{
    request_abort(request, "a request needs more memory than one may have");
}
