// SPDX-License-Identifier: Apache-2.0
// Ctrl-C and SIGTERM ask long work to finish what it has begun; the second one ends the program.
// Before such work they end the program at once, as usual.
#pragma once

#include <stdbool.h>

// Has writes to a closed pipe fail with EPIPE instead of ending the program in the middle of
// something. Call once.
void interrupt_prepare(void);

// From here on interrupt_requested is asked. Call when everything is ready: nobody wants to wait
// for a broker that cannot be reached after Ctrl-C.
void interrupt_catch(void);

// Whether a signal has asked to stop. Any thread.
bool interrupt_requested(void);
