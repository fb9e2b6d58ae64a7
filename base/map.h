// SPDX-License-Identifier: Apache-2.0
// A hash map from bytes to pointers (XXH3, open addressing, backward-shift deletion).
// Single-threaded. Keys are not copied: each key must live, unchanged, as long as its entry.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/span.h"

struct map_slot {
    struct span key; // data NULL = empty slot
    uint64_t hash;
    void *value;
};

struct map {
    struct map_slot *slots;
    size_t capacity; // 0 or a power of two
    size_t count;
};

void map_init(struct map *map);

// Frees the table; keys and values belong to the caller.
void map_free(struct map *map);

// Makes `*out` a copy of the table; keys and values are the same ones. 0, or -1 without memory.
int map_clone(const struct map *map, struct map *out);

// NULL when there is no such key.
void *map_get(const struct map *map, struct span key);

// Adds or replaces. Returns 0, or -1 when memory is short (the map is unchanged).
// `key.data` must not be NULL, `value` must not be NULL.
int map_put(struct map *map, struct span key, void *value);

// The removed value, or NULL.
void *map_remove(struct map *map, struct span key);

// Walks all entries in no order: start with *at = 0; returns NULL at the end.
// The map must not change during the walk.
void *map_next(const struct map *map, size_t *at);
