// SPDX-License-Identifier: Apache-2.0
#include "base/timer.h"

#include <stdlib.h>

void timers_init(struct timers *timers)
{
    *timers = (struct timers){0};
}

void timers_free(struct timers *timers)
{
    free(timers->heap);
    timers_init(timers);
}

static void heap_put(struct timers *timers, struct timer *timer, size_t slot)
{
    timers->heap[slot] = timer;
    timer->slot = slot;
}

static void heap_up(struct timers *timers, struct timer *timer, size_t slot)
{
    while (slot > 1 && timers->heap[slot / 2]->due_ns > timer->due_ns) {
        heap_put(timers, timers->heap[slot / 2], slot);
        slot /= 2;
    }
    heap_put(timers, timer, slot);
}

static void heap_down(struct timers *timers, struct timer *timer, size_t slot)
{
    for (;;) {
        size_t child = slot * 2;
        if (child > timers->count)
            break;
        if (child < timers->count && timers->heap[child + 1]->due_ns < timers->heap[child]->due_ns)
            child++;
        if (timers->heap[child]->due_ns >= timer->due_ns)
            break;
        heap_put(timers, timers->heap[child], slot);
        slot = child;
    }
    heap_put(timers, timer, slot);
}

int timer_set(struct timers *timers, struct timer *timer, uint64_t due_ns)
{
    timer_cancel(timers, timer);
    if (timers->count + 1 >= timers->capacity) {
        size_t capacity = timers->capacity ? timers->capacity * 2 : 64;
        struct timer **heap = realloc(timers->heap, capacity * sizeof(*heap));
        if (!heap)
            return -1;
        timers->heap = heap;
        timers->capacity = capacity;
    }
    timer->due_ns = due_ns;
    heap_up(timers, timer, ++timers->count);
    return 0;
}

void timer_cancel(struct timers *timers, struct timer *timer)
{
    size_t slot = timer->slot;
    if (slot == 0)
        return;
    timer->slot = 0;
    struct timer *last = timers->heap[timers->count--];
    if (last == timer)
        return;
    if (slot > 1 && timers->heap[slot / 2]->due_ns > last->due_ns)
        heap_up(timers, last, slot);
    else
        heap_down(timers, last, slot);
}

uint64_t timers_next(const struct timers *timers)
{
    return timers->count ? timers->heap[1]->due_ns : UINT64_MAX;
}

void timers_run(struct timers *timers, uint64_t now_ns)
{
    while (timers->count && timers->heap[1]->due_ns <= now_ns) {
        struct timer *timer = timers->heap[1];
        timer_cancel(timers, timer);
        timer->expired(timer);
    }
}
