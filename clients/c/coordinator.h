// SPDX-License-Identifier: Apache-2.0
// Which broker keeps a group's offsets.
#pragma once

#include "clients/c/call.h"

struct coordinator {
    struct weir_client *client;
    const char *group;   // outlives it
    int32_t node_id;     // -1: not known
    struct list waiting; // struct call, by waiter.node
    struct call find;
    bool finding;
};

void coordinator_init(struct coordinator *coordinator, struct weir_client *client,
                      const char *group);

// Calls that use it must have been cancelled.
void coordinator_free(struct coordinator *coordinator);

// Has the call resumed when the coordinator is known, or finding it has failed.
void coordinator_wait(struct coordinator *coordinator, struct call *call);

// The broker said that it is not, or did not answer: it is looked for anew.
void coordinator_lost(struct coordinator *coordinator);
