// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdint.h>

// A code of the wire as a code of the library: they are the same, except that the wire's -1 would
// collide with ours.
int error_from_wire(int16_t code);

// The library's code for a failed system call on a socket.
int error_from_errno(int number);
