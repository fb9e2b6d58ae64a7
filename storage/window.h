// SPDX-License-Identifier: Apache-2.0
// Inside window.c and window_take.c: one window in work.
#pragma once

#include "storage/cache.h"

enum look {
    LOOK_READY,
    LOOK_LATER, // a part has been verified: call again in another turn of the loop
    LOOK_MORE,  // read what window->position and window->to say
    LOOK_AGAIN, // something is wrong: read once more, without the index
    LOOK_NO_MEMORY,
};

// --- window_take.c

// All of [window->position, window->to) has been read: takes frames out from window->taken on. Does
// not wait, and while commits go on not long either.
enum look window_take(struct window *window);

// What the window was to have from window->expected on, up to `next_offset`, cannot be read. False
// without memory.
bool window_add_bad(struct window *window, int64_t next_offset);

// --- window.c

// Whether producers use the device at present.
bool window_is_beside(const struct log_store *store);

// How far to read from window->position on, of about `size` bytes.
void window_plan(struct window *window, uint64_t size);

// Others look at `to` and `next_offset` of a window in work, and take them for one place.
void window_end_at(struct window *window, uint64_t to, int64_t planned);
