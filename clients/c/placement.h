// SPDX-License-Identifier: Apache-2.0
// Puts messages into the batches of their partitions. Used by producer.c only.
#pragma once

#include "clients/c/producer.h"

enum { PLACEMENT_OVERHEAD = sizeof(void *) }; // what a message costs beside its bytes

// What a message counts against buffer.memory.
size_t placement_charge(const struct weir_message *message);

// Keeps a copy of a message that has passed all checks; `charge` is its placement_charge. Returns
// WEIR_OK, WEIR_ERR_NO_MEMORY, or WEIR_ERR_UNKNOWN_TOPIC_OR_PARTITION.
int placement_add(struct weir_producer *producer, struct producer_topic *topic, int32_t partition,
                  const struct weir_message *message, size_t charge);

// Places the messages whose topics' partitions have become known, and fails those for which waiting
// makes no more sense. Returns when the first of the rest will be too old.
uint64_t placement_drive(struct weir_producer *producer);

// Fails the topic's unplaced messages, because they are not wanted any more.
void placement_abandon(struct weir_producer *producer, struct producer_topic *topic, int error);
