// SPDX-License-Identifier: Apache-2.0
// Timers of one thread: a binary heap of nodes that their owners embed. Time is passed in.
#pragma once

#include <stddef.h>
#include <stdint.h>

struct timer {
    uint64_t due_ns;                      // monotonic
    size_t slot;                          // 1-based place in the heap; 0 = not set
    void (*expired)(struct timer *timer); // called from timers_run; may set or cancel any timer
};

struct timers {
    struct timer **heap; // heap[1..count]
    size_t count;
    size_t capacity;
};

void timers_init(struct timers *timers);

// Frees the heap's own memory; timers still set are forgotten, not called.
void timers_free(struct timers *timers);

// Sets or moves a timer. Returns 0, or -1 when memory is short (the timer is then not set).
int timer_set(struct timers *timers, struct timer *timer, uint64_t due_ns);

// Harmless when the timer is not set.
void timer_cancel(struct timers *timers, struct timer *timer);

// When the earliest timer is due; UINT64_MAX when there is none.
uint64_t timers_next(const struct timers *timers);

// Calls every timer due at `now_ns`, earliest first. A timer is unset before it is called. One that
// a call sets for `now_ns` or earlier is called in the same run: a periodic timer adds to the time.
void timers_run(struct timers *timers, uint64_t now_ns);
