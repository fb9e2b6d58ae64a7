// SPDX-License-Identifier: Apache-2.0
// The last offset of each key, in memory of a fixed size: what compaction knows while it decides
// which records are superseded. Keys are known by 128 bits of a hash with a secret seed; that two
// keys of one log share them is less likely than an error of the memory they lie in.
// Single-threaded.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/span.h"

struct compact_map_slot {
    uint64_t low; // of the key's hash
    uint64_t high;
    int64_t offset; // -1 = empty slot
};

struct compact_map {
    struct compact_map_slot *slots;
    size_t capacity;
    size_t count;
    size_t limit; // keys; beyond it searching would get slow
    uint64_t seed;
};

enum { COMPACT_MAP_KEYS_MIN = 64 };

// Room for `keys` keys, or for as many as fit into `bytes` (COMPACT_MAP_KEYS_MIN at least), empty.
// 0 or -ENOMEM.
int compact_map_init(struct compact_map *map, size_t bytes, uint64_t keys, uint64_t seed);
void compact_map_free(struct compact_map *map);
void compact_map_clear(struct compact_map *map);

// Notes that the key is at that offset; the highest one counts. False when the key is new and the
// map is full: nothing is noted then.
bool compact_map_put(struct compact_map *map, struct span key, int64_t offset);

// The last offset of the key, or -1.
int64_t compact_map_get(const struct compact_map *map, struct span key);
