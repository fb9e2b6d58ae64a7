// SPDX-License-Identifier: Apache-2.0
#include "storage/compact_map.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/random.h"

static struct span key_of(char text[32], uint64_t number)
{
    return span_of(text, (size_t)snprintf(text, 32, "key %llu", (unsigned long long)number));
}

Test(compact_map, holds_the_last_offset_of_each_key)
{
    enum { KEYS = 3000, PUTS = 20000 };
    struct random random = {.state = 7};
    struct compact_map map;
    int64_t last[KEYS];
    char text[32];
    for (int i = 0; i < KEYS; i++)
        last[i] = -1;
    cr_assert_eq(compact_map_init(&map, 1 << 20, KEYS, 99), 0);
    for (int i = 0; i < PUTS; i++) {
        uint64_t key = random_below(&random, KEYS);
        int64_t offset = (int64_t)random_below(&random, 1u << 30);
        cr_assert(compact_map_put(&map, key_of(text, key), offset));
        last[key] = last[key] > offset ? last[key] : offset;
    }
    for (uint64_t i = 0; i < KEYS; i++)
        cr_assert_eq(compact_map_get(&map, key_of(text, i)), last[i]);
    cr_assert_eq(compact_map_get(&map, span_text("another")), -1);
    compact_map_free(&map);
}

Test(compact_map, says_when_it_is_full_and_keeps_what_it_has)
{
    struct compact_map map;
    char text[32];
    cr_assert_eq(compact_map_init(&map, 100 * sizeof(struct compact_map_slot), 1000000, 5), 0);
    uint64_t count = 0;
    while (compact_map_put(&map, key_of(text, count), (int64_t)count))
        count++;
    cr_assert_eq(count, 84); // seven slots of eight
    cr_assert_leq(map.capacity, 100);
    cr_assert(compact_map_put(&map, key_of(text, 3), 1000), "a key that is there");
    for (uint64_t i = 0; i < count; i++)
        cr_assert_eq(compact_map_get(&map, key_of(text, i)), i == 3 ? 1000 : (int64_t)i);
    cr_assert_eq(compact_map_get(&map, key_of(text, count)), -1);
    compact_map_free(&map);
}

Test(compact_map, takes_no_more_memory_than_the_keys_need)
{
    struct compact_map map;
    cr_assert_eq(compact_map_init(&map, 1 << 30, 10, 5), 0);
    cr_assert_eq(map.limit, COMPACT_MAP_KEYS_MIN);
    cr_assert_leq(map.capacity, COMPACT_MAP_KEYS_MIN * 2);
    compact_map_free(&map);
}

Test(compact_map, an_empty_key_is_a_key)
{
    struct compact_map map;
    cr_assert_eq(compact_map_init(&map, 0, 0, 5), 0);
    cr_assert_eq(compact_map_get(&map, span_text("")), -1);
    cr_assert(compact_map_put(&map, span_text(""), 17));
    cr_assert_eq(compact_map_get(&map, span_text("")), 17);
    compact_map_free(&map);
}
