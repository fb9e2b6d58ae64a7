// SPDX-License-Identifier: Apache-2.0
// The weir command: streams in, exit code out. Everything else is in command.c.
#include <stdio.h>

#include "tools/command.h"
#include "tools/interrupt.h"

int main(int argc, char **argv)
{
    struct app app = {.out = stdout, .err = stderr};

    interrupt_prepare();
    return command_main(&app, argc, argv);
}
