// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// CRC-32C (Castagnoli), as Kafka's record batches carry it. Start with crc = 0; feeding the bytes
// in pieces, passing the last result on, gives the same value. Uses the CPU's instruction where
// there is one.
uint32_t crc32c(uint32_t crc, const void *data, size_t size);

// One way of computing it. crc32c() takes the fastest that this CPU has; tests and benchmarks
// compare them all. `run` takes and returns what crc32c() does, and is called only if `usable()`.
struct crc32c_way {
    const char *name;
    bool (*usable)(void);
    uint32_t (*run)(uint32_t crc, const void *data, size_t size);
};

// All ways compiled in, fastest first; ends with a NULL name. The last is always usable.
const struct crc32c_way *crc32c_ways(void);
