// SPDX-License-Identifier: Apache-2.0
// Memory that runs out on demand. In an executable linked by weir_fault_test (CMakeLists.txt)
// every allocation of the code under test comes by here (malloc, calloc, realloc, aligned_alloc,
// posix_memalign, strdup, strndup, asprintf, vasprintf, mmap); the test's own code and the
// simulated disk are compiled so that theirs do not. Libraries shared with the system are not
// reached. One thread.
#pragma once

#include <stdbool.h>
#include <stdint.h>

// The `nth` allocation from now (1 = the next) fails, or, with `for_ever`, that one and all that
// follow until fault_alloc_disarm.
void fault_alloc_arm(uint64_t nth, bool for_ever);

// Every allocation succeeds again.
void fault_alloc_disarm(void);

// Whether one has failed since fault_alloc_arm.
bool fault_alloc_struck(void);

// In between allocations neither count nor fail: for what a test does by the code under test.
void fault_alloc_pause(void);
void fault_alloc_resume(void);

// Says on standard error who asked for the memory that was refused last.
void fault_alloc_where(void);
