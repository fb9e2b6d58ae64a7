// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdint.h>

#include "base/span.h"

// MurmurHash2 with the seed that Kafka's Java client uses.
uint32_t partitioner_murmur2(struct span key);

// The partition that Java's default partitioner gives a key. `count` > 0.
int32_t partitioner_keyed(struct span key, int32_t count);
