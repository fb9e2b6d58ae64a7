// SPDX-License-Identifier: Apache-2.0
// A client of the simulated broker: one connection, one request at a time, bytes as on the wire.
#pragma once

#include "base/arena.h"
#include "gen/kp_apis.h"

#include "gen/kp_create_topics.h"
#include "gen/kp_fetch.h"
#include "gen/kp_offset_commit.h"
#include "gen/kp_offset_fetch.h"
#include "gen/kp_produce.h"
#include "protocol/frame.h"
#include "tests/sim/broker_node.h"

struct client {
    struct broker_node *node; // NULL = not connected
    struct sim_socket *socket;
    struct arena arena; // of the request and its answer
    int32_t correlation;
    int16_t key;
    int16_t version;
};

// False when nobody listens.
bool client_connect(struct client *client, struct broker_node *node);
void client_close(struct client *client);

struct kp_writer client_begin(struct client *client, int16_t key, int16_t version);

// Sends the request and waits for the answer. False when the connection is gone before it came:
// whether the request was carried out is not known then.
bool client_call(struct client *client, struct kp_writer *writer, struct kp_reader *out);
