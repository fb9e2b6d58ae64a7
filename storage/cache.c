// SPDX-License-Identifier: Apache-2.0
// What is kept of the windows that were read.
//
// 1. `bytes` of kept windows do not exceed the limit, except while their readers are being served.
//    Slices that readers still hold are not counted: those bound themselves (see listener.c).
// 2. A window is in the lists below exactly when it is ready and kept. Whoever looks into one holds
//    no pointer to it over a call that may need memory: pool_get may take it away.
// 3. Windows of a segment lie in its array in the order of the file, also those being read, so that
//    nobody reads what another one is reading already.
//
// A reader that goes through a log once must not push out what others come back for: a window goes
// to `kept` only when it is used again after somebody has gone through it, and `fresh` gives way
// first as long as it holds more than a quarter. The tail's memory is another budget: no reader
// from disk takes from it.
#include "storage/cache.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "storage/store.h"

static bool is_member(const struct window *window)
{
    return window->state == WINDOW_READY && !list_empty(&window->node);
}

// Out of the lists, and out of the sums.
static void leave(struct read_cache *cache, struct window *window)
{
    if (!is_member(window))
        return;
    list_remove(&window->node);
    cache->bytes -= window->buffer->capacity;
    if (window->kept)
        cache->kept_bytes -= window->buffer->capacity;
}

static void enter(struct read_cache *cache, struct window *window)
{
    list_append(window->kept ? &cache->kept : &cache->fresh, &window->node);
    cache->bytes += window->buffer->capacity;
    if (window->kept)
        cache->kept_bytes += window->buffer->capacity;
}

void cache_unlist(struct window *window)
{
    struct segment *segment = window->segment;
    if (!window->listed)
        return;
    window->listed = false;
    uint32_t at = 0;
    while (segment->windows[at] != window)
        at++;
    segment->window_count--;
    memmove(&segment->windows[at], &segment->windows[at + 1],
            (segment->window_count - at) * sizeof(struct window *));
}

void cache_settle_ahead(struct read_cache *cache, struct window *window)
{
    cache->ahead_bytes -= window->ahead_bytes;
    window->ahead_bytes = 0;
}

void window_free(struct window *window)
{
    struct read_cache *cache = &window->segment->log->store->reads;
    leave(cache, window);
    cache_unlist(window);
    cache_settle_ahead(cache, window);
    if (window->buffer)
        buffer_unref(window->buffer);
    free(window->pieces);
    free(window);
}

static struct window *oldest(struct read_cache *cache)
{
    size_t fresh_bytes = cache->bytes - cache->kept_bytes;
    bool from_fresh = fresh_bytes > cache->limit_bytes / 4 || list_empty(&cache->kept);
    struct list *list = from_fresh && !list_empty(&cache->fresh) ? &cache->fresh : &cache->kept;
    return list_empty(list) ? NULL : list_entry(list->next, struct window, node);
}

void cache_trim(struct read_cache *cache)
{
    while (cache->bytes > cache->limit_bytes)
        window_free(oldest(cache));
}

// The pool is short.
static void give(struct pool_cache *pool_cache, size_t bytes)
{
    struct read_cache *cache = list_entry(pool_cache, struct read_cache, pool_cache);
    size_t given = 0;
    for (struct window *window; given < bytes && (window = oldest(cache));) {
        if (window->buffer->refs == 1)
            given += window->buffer->capacity;
        window_free(window);
    }
}

void cache_init(struct read_cache *cache, struct log_store *store, size_t limit_bytes)
{
    *cache = (struct read_cache){.store = store, .limit_bytes = limit_bytes};
    list_init(&cache->fresh);
    list_init(&cache->kept);
    list_init(&cache->paused);
    for (size_t i = 0; i < sizeof(cache->queued) / sizeof(cache->queued[0]); i++)
        list_init(&cache->queued[i]);
    cache->pool_cache.give = give;
    pool_add_cache(store->pool, &cache->pool_cache);
}

void cache_free(struct read_cache *cache)
{
    CHECK(cache->active == 0 && cache->bytes == 0 && !cache->pause.pending);
    pool_remove_cache(cache->store->pool, &cache->pool_cache);
}

// How many windows of the segment begin at or before the offset.
static uint32_t count_up_to(const struct segment *segment, int64_t offset)
{
    uint32_t low = 0;
    for (uint32_t high = segment->window_count; low < high;) {
        uint32_t middle = low + (high - low) / 2;
        if (segment->windows[middle]->base_offset <= offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct window *cache_find(const struct segment *segment, int64_t offset)
{
    uint32_t count = count_up_to(segment, offset);
    return count > 0 ? segment->windows[count - 1] : NULL;
}

int cache_list(struct window *window)
{
    struct segment *segment = window->segment;
    if (segment->window_count == segment->window_capacity) {
        uint32_t capacity = segment->window_capacity ? segment->window_capacity * 2 : 4;
        struct window **windows =
            realloc(segment->windows, capacity * sizeof(*windows)); // NOLINT: array of pointers
        if (!windows)
            return -ENOMEM;
        segment->windows = windows;
        segment->window_capacity = capacity;
    }
    uint32_t at = count_up_to(segment, window->base_offset);
    memmove(&segment->windows[at + 1], &segment->windows[at],
            (segment->window_count - at) * sizeof(struct window *));
    segment->windows[at] = window;
    segment->window_count++;
    window->listed = true;
    return 0;
}

void cache_add(struct read_cache *cache, struct window *window)
{
    bool useful = window->listed && !window->error && !window->transient &&
                  !window->segment->removed && window->next_offset > window->base_offset;
    if (!useful) {
        window_free(window);
        return;
    }
    enter(cache, window);
    cache_trim(cache);
}

void cache_touch(struct read_cache *cache, struct window *window, bool through)
{
    bool member = is_member(window);
    leave(cache, window);
    cache_settle_ahead(cache, window);
    window->kept = window->kept || window->passed;
    window->passed = window->passed || through;
    if (member)
        enter(cache, window);
}

void cache_forget(struct segment *segment)
{
    while (segment->window_count > 0)
        window_free(segment->windows[segment->window_count - 1]);
    free(segment->windows); // NOLINT: array of pointers
    segment->windows = NULL;
    segment->window_capacity = 0;
}
