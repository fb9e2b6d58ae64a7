// SPDX-License-Identifier: Apache-2.0
// The two clocks. Only main loops and tools read them; everything else is told the time.
#pragma once

#include <stdint.h>

// Never goes back; its zero is arbitrary. For timeouts and durations.
uint64_t clock_monotonic_ns(void);

// Milliseconds since 1970, as record timestamps count. May jump either way.
int64_t clock_wall_ms(void);

// The same as of the kernel's last tick, some milliseconds ago, at a third of the cost.
int64_t clock_wall_coarse_ms(void);
