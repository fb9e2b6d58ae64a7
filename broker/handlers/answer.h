// SPDX-License-Identifier: Apache-2.0
// Small pieces that the answers of several APIs have in common. What they allocate comes from the
// request's arena.
#pragma once

#include "broker/controller.h"
#include "broker/endpoint.h"
#include "broker/request.h"

// What may be done with a topic or the cluster, as bits of the protocol's operations: everything,
// as there is no authorisation yet.
enum {
    ANSWER_TOPIC_OPERATIONS = 0x0df8,   // read, write, create, delete, alter, describe, configs
    ANSWER_CLUSTER_OPERATIONS = 0x1fa0, // create, alter, describe, action, configs, idempotence
    ANSWER_GROUP_OPERATIONS = 0x0148,   // read, delete, describe
    ANSWER_NO_OPERATIONS = INT32_MIN,   // not asked for
};

enum { ANSWER_LEADER_EPOCH = 0 }; // there has only ever been one leader

// The host this client is told to use, as text from the arena; absent when memory is short.
struct span answer_host(struct request *request, int32_t *port);

// One array with this broker's number in it, for replica lists; NULL when memory is short.
int32_t *answer_replicas(struct request *request);

// A copy of the text; an absent span for an empty one.
struct span answer_text(struct request *request, const char *text);

// The sentence of a change that failed: its own, or the error code's. Absent when it has not
// failed.
struct span answer_why(struct request *request, const struct controller_change *change);

// Changes for the controller, from the arena, with nothing asked for; NULL when memory is short.
struct controller_change *answer_changes(struct request *request, int32_t count);

// Starts an operation on the controller for this request; `done` gets it with `context` the
// request.
void answer_submit(struct request *request, struct controller_op *op,
                   void (*done)(struct controller_op *op));

// Sends the error of a request that needs more memory than it may have.
void answer_no_memory(struct request *request);
