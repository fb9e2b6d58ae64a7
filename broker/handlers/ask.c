// SPDX-License-Identifier: Apache-2.0
// Asks on their way to a group. Owns nothing.
#include "broker/handlers/ask.h"

#include <stdio.h>

#include "broker/handlers/answer.h"

static void interrupt(struct request *request)
{
    coordinator_cancel(request->state);
}

static void drop_body(struct coordinator_op *op)
{
    request_drop_body(op->context);
}

bool ask_keep(struct request *request, struct span *text)
{
    if (!text->data)
        return true;
    *text = span_of(arena_text(&request->arena, text->data, text->size), text->size);
    return text->data != NULL;
}

// The client's address, as Kafka shows it.
static struct span client_host(struct request *request)
{
    char text[ENDPOINT_HOST_SIZE + 1];
    snprintf(text, sizeof(text), "/%s", endpoint_of_client(request->connection).host);
    return answer_text(request, text);
}

void ask_submit(struct request *request, struct coordinator_op *op, enum group_ask_kind kind,
                struct span group, const void *in, void *out,
                void (*done)(struct coordinator_op *op))
{
    bool joins = kind == GROUP_JOIN || kind == GROUP_CONSUMER_HEARTBEAT;
    *op = (struct coordinator_op){
        .kind = COORDINATOR_ASK,
        .group = group,
        .ask = {.kind = kind,
                .version = request->version,
                .client_id = request->client_id,
                .client_host = joins ? client_host(request) : (struct span){0},
                .in = in,
                .out = out,
                .arena = &request->arena},
        .arena = &request->arena,
        .done = done,
        .context = request,
    };
    request->state = op;
    request->interrupt = interrupt;
    if (kind == GROUP_JOIN || kind == GROUP_SYNC)
        op->waits = drop_body;
    coordinator_submit(request->shard, op);
}

struct request *ask_begin_reply(struct coordinator_op *op)
{
    struct request *request = op->context;
    request->interrupt = NULL;
    request_begin_reply(request);
    return request;
}
