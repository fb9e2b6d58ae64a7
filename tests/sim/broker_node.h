// SPDX-License-Identifier: Apache-2.0
// A broker of one or two shards on the simulated machine. Its shards take turns on one thread, in
// an order drawn from the seed; what its main thread and its meetings do is done here.
#pragma once

#include "broker/server.h"
#include "broker/shard.h"
#include "tests/sim/world.h"

// How large everything is, and how often background work looks for something to do. Of a history
// both are tiny, so that everything rolls and wraps.
struct broker_scale {
    const char *segment_bytes;
    uint64_t journal_file_bytes; // a journal has four files
    size_t tail_cache_bytes;
    size_t read_cache_bytes;
    const char *retention_interval_ms;
    uint64_t compaction_backoff_ms;
};

extern const struct broker_scale broker_scale_tiny;

struct broker_node {
    struct world *world;
    struct broker_scale scale;
    struct server server;
    struct shard *shards[WORLD_SHARDS];
    struct broker_loop {
        bool asleep;
        bool drained;      // at the end
        uint64_t since_ns; // with messages in its mailbox; 0 without
        uint32_t late;     // turns for which that is too long
    } loop[WORLD_SHARDS];
    struct config *config;
    bool running;
};

// False when the power failed on the way.
bool broker_start(struct broker_node *node, struct world *world, struct broker_scale scale);

// Lets every shard run its loop once, and time pass until something happens.
void broker_turn(struct broker_node *node);

// In order; or, when the power is off, as far as memory goes.
void broker_stop(struct broker_node *node);
