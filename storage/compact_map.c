// SPDX-License-Identifier: Apache-2.0
// Open addressing with linear probing in one allocation; nothing is ever removed.
//
// 1. count <= limit < capacity: a search always meets an empty slot.
// 2. The seed is secret and new for each map, so nobody can choose keys that collide.
#include "storage/compact_map.h"

#include <errno.h>
#include <stdlib.h>
#include <xxhash.h>

int compact_map_init(struct compact_map *map, size_t bytes, uint64_t keys, uint64_t seed)
{
    uint64_t most = bytes / sizeof(map->slots[0]) / 8 * 7;
    if (keys > most)
        keys = most;
    if (keys < COMPACT_MAP_KEYS_MIN)
        keys = COMPACT_MAP_KEYS_MIN;
    *map = (struct compact_map){.seed = seed, .limit = (size_t)keys};
    map->capacity = map->limit + map->limit / 7 + 1;
    map->slots = malloc(map->capacity * sizeof(map->slots[0]));
    if (!map->slots)
        return -ENOMEM;
    compact_map_clear(map);
    return 0;
}

void compact_map_clear(struct compact_map *map)
{
    for (size_t i = 0; i < map->capacity; i++)
        map->slots[i].offset = -1;
    map->count = 0;
}

void compact_map_free(struct compact_map *map)
{
    free(map->slots);
    *map = (struct compact_map){0};
}

// The slot that holds the key, or the empty one where it would go.
static struct compact_map_slot *slot_of(const struct compact_map *map, struct span key,
                                        XXH128_hash_t *hash)
{
    *hash = XXH3_128bits_withSeed(key.data, key.size, map->seed);
    // The upper half of a product: uniform in [0, capacity) without a division.
    size_t at = (size_t)((unsigned __int128)hash->low64 * map->capacity >> 64);
    for (;; at = at + 1 < map->capacity ? at + 1 : 0) {
        struct compact_map_slot *slot = &map->slots[at];
        if (slot->offset < 0 || (slot->low == hash->low64 && slot->high == hash->high64))
            return slot;
    }
}

bool compact_map_put(struct compact_map *map, struct span key, int64_t offset)
{
    XXH128_hash_t hash;
    struct compact_map_slot *slot = slot_of(map, key, &hash);
    if (slot->offset < 0) {
        if (map->count == map->limit)
            return false;
        map->count++;
        slot->low = hash.low64;
        slot->high = hash.high64;
    }
    if (slot->offset < offset)
        slot->offset = offset;
    return true;
}

int64_t compact_map_get(const struct compact_map *map, struct span key)
{
    XXH128_hash_t hash;
    return slot_of(map, key, &hash)->offset;
}
