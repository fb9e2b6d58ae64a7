// SPDX-License-Identifier: Apache-2.0
#include "base/map.h"

#include <stdlib.h>
#include <xxhash.h>

#include "base/check.h"

void map_init(struct map *map)
{
    *map = (struct map){0};
}

void map_free(struct map *map)
{
    free(map->slots);
    map_init(map);
}

// The slot that holds `key`, or the empty slot where it would go. The table is never full.
static struct map_slot *map_find(const struct map *map, struct span key, uint64_t hash)
{
    size_t mask = map->capacity - 1;
    for (size_t i = (size_t)hash & mask;; i = (i + 1) & mask) {
        struct map_slot *slot = &map->slots[i];
        if (!slot->key.data || (slot->hash == hash && span_equal(slot->key, key)))
            return slot;
    }
}

void *map_get(const struct map *map, struct span key)
{
    if (map->count == 0)
        return NULL;
    return map_find(map, key, XXH3_64bits(key.data, key.size))->value;
}

static int map_grow(struct map *map)
{
    struct map bigger = {.capacity = map->capacity ? map->capacity * 2 : 16, .count = map->count};
    bigger.slots = calloc(bigger.capacity, sizeof(*bigger.slots));
    if (!bigger.slots)
        return -1;
    for (size_t i = 0; i < map->capacity; i++) {
        struct map_slot *slot = &map->slots[i];
        if (slot->key.data)
            *map_find(&bigger, slot->key, slot->hash) = *slot;
    }
    free(map->slots);
    *map = bigger;
    return 0;
}

int map_put(struct map *map, struct span key, void *value)
{
    CHECK(key.data && value);
    if (map->count * 4 >= map->capacity * 3 && map_grow(map) != 0)
        return -1;
    uint64_t hash = XXH3_64bits(key.data, key.size);
    struct map_slot *slot = map_find(map, key, hash);
    if (!slot->key.data)
        map->count++;
    *slot = (struct map_slot){.key = key, .hash = hash, .value = value};
    return 0;
}

// Entries behind the hole move forward unless that would put them before their home slot.
static void map_close_hole(struct map *map, size_t hole)
{
    size_t mask = map->capacity - 1;
    for (size_t i = (hole + 1) & mask; map->slots[i].key.data; i = (i + 1) & mask) {
        size_t home = (size_t)map->slots[i].hash & mask;
        if (((i - home) & mask) >= ((i - hole) & mask)) {
            map->slots[hole] = map->slots[i];
            hole = i;
        }
    }
    map->slots[hole] = (struct map_slot){0};
}

void *map_remove(struct map *map, struct span key)
{
    if (map->count == 0)
        return NULL;
    struct map_slot *slot = map_find(map, key, XXH3_64bits(key.data, key.size));
    void *value = slot->value;
    if (!slot->key.data)
        return NULL;
    map->count--;
    map_close_hole(map, (size_t)(slot - map->slots));
    return value;
}

int map_clone(const struct map *map, struct map *out)
{
    map_init(out);
    if (map->count == 0)
        return 0;
    out->slots = malloc(map->capacity * sizeof(*out->slots));
    if (!out->slots)
        return -1;
    memcpy(out->slots, map->slots, map->capacity * sizeof(*out->slots));
    out->capacity = map->capacity;
    out->count = map->count;
    return 0;
}

void *map_next(const struct map *map, size_t *at)
{
    while (*at < map->capacity) {
        struct map_slot *slot = &map->slots[(*at)++];
        if (slot->key.data)
            return slot->value;
    }
    return NULL;
}
