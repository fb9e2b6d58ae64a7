// SPDX-License-Identifier: Apache-2.0
// The one piece of global state of the tools: a signal handler can reach nothing else.
#include "tools/interrupt.h"

#include <signal.h>
#include <stddef.h>

static volatile sig_atomic_t requested;

static void signal_arrived(int number)
{
    (void)number;
    requested = 1;
}

void interrupt_prepare(void)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN};

    sigaction(SIGPIPE, &ignore, NULL);
}

void interrupt_catch(void)
{
    // Without SA_RESTART a waiting call returns, and with SA_RESETHAND a second signal kills.
    struct sigaction action = {.sa_handler = signal_arrived, .sa_flags = (int)SA_RESETHAND};

    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

bool interrupt_requested(void)
{
    return requested != 0;
}
