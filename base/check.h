// SPDX-License-Identifier: Apache-2.0
// CHECK guards our own invariants, in every build. It never guards bytes that a peer, a file or a
// user supplied: those are validated and answered with an error.
#pragma once

// Prints where and what, then aborts. Any thread. Does not return.
_Noreturn void check_failed(const char *file, int line, const char *what);

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (__builtin_expect(!(condition), 0))                                                     \
            check_failed(__FILE__, __LINE__, #condition);                                          \
    } while (0)
