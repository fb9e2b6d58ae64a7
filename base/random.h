// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stddef.h>
#include <stdint.h>

// A seeded generator (SplitMix64): the same seed gives the same numbers, so simulations repeat.
struct random {
    uint64_t state;
};

uint64_t random_next(struct random *random);

// Uniform in [0, bound); `bound` must not be 0.
uint64_t random_below(struct random *random, uint64_t bound);

// Unpredictable bytes from the system, for identities and seeds. Aborts if there are none.
void random_system(void *to, size_t size);
