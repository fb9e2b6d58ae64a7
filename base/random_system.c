// SPDX-License-Identifier: Apache-2.0
// In a file of its own so that a simulation can put seeded bytes in its place.
#include <errno.h>
#include <sys/random.h>
#include <sys/types.h>

#include "base/check.h"
#include "base/random.h"

void random_system(void *to, size_t size)
{
    uint8_t *at = to;
    while (size > 0) {
        // A signal may cut a long request short, or prevent it.
        ssize_t got = getrandom(at, size, 0);
        if (got < 0 && errno == EINTR)
            continue;
        CHECK(got > 0);
        at += got;
        size -= (size_t)got;
    }
}
