// SPDX-License-Identifier: Apache-2.0
// Ctrl-C and SIGTERM ask long work to finish what it has begun; the second one ends the program.
#pragma once

#include <stdbool.h>

// Call once, before work begins. Also has writes to a closed pipe fail with EPIPE instead of ending
// the program in the middle of something.
void interrupt_install(void);

// Whether a signal has asked to stop. Any thread.
bool interrupt_requested(void);
