// SPDX-License-Identifier: Apache-2.0
// The messages between shard 0 and the others about starting and stopping together.
#pragma once

#include "broker/shard.h"

// Before the shard's thread starts, and after it has ended. 0, or -1 when memory is short.
int shard_life_create(struct shard *shard);
void shard_life_destroy(struct shard *shard);

// On the shard's thread, before the first turn of its loop.
void shard_life_start(struct shard *shard);
