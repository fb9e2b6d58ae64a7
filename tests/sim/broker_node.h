// SPDX-License-Identifier: Apache-2.0
// A broker of one or two shards on the simulated machine. Its shards take turns on one thread, in
// an order drawn from the seed; what its main thread and its meetings do is done here.
#pragma once

#include "broker/server.h"
#include "broker/shard.h"
#include "tests/sim/world.h"

struct broker_node {
    struct world *world;
    struct server server;
    struct shard *shards[WORLD_SHARDS];
    struct config *config;
    bool running;
};

// False when the power failed on the way.
bool broker_start(struct broker_node *node, struct world *world);

// Lets every shard run its loop once, and time pass until something happens.
void broker_turn(struct broker_node *node);

// In order; or, when the power is off, as far as memory goes.
void broker_stop(struct broker_node *node);
