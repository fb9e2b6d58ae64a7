// SPDX-License-Identifier: Apache-2.0
#include "base/map.h"

#include <criterion/criterion.h>
#include <stdio.h>

#include "base/random.h"

enum { KEYS = 500 };

struct model {
    char keys[KEYS][24];
    void *values[KEYS]; // NULL = not in the map
    size_t count;
};

static struct span key_of(const struct model *model, size_t i)
{
    return span_text(model->keys[i]);
}

static void expect_equal(const struct map *map, const struct model *model)
{
    size_t seen = 0, at = 0;
    cr_assert_eq(map->count, model->count);
    for (size_t i = 0; i < KEYS; i++)
        cr_assert_eq(map_get(map, key_of(model, i)), model->values[i], "key %zu", i);
    for (char *value; (value = map_next(map, &at)) != NULL; seen++) {
        size_t i = (size_t)(uintptr_t)value % KEYS;
        cr_assert_eq(model->values[i], value);
    }
    cr_assert_eq(seen, model->count);
    cr_assert_null(map_next(map, &at), "the end stays");
}

// Values are made-up addresses that say which key they belong to.
static void *value_for(size_t key, uint64_t turn)
{
    return (void *)(uintptr_t)((turn + 1) * KEYS + key);
}

Test(base, map_against_a_model)
{
    static struct model model;
    struct random random = {.state = 4};
    struct map map;
    map_init(&map);
    for (size_t i = 0; i < KEYS; i++)
        snprintf(model.keys[i], sizeof(model.keys[i]), "key-%zu", i);
    for (uint64_t turn = 0; turn < 60000; turn++) {
        size_t i = (size_t)random_below(&random, KEYS);
        // Mostly growing, then mostly shrinking.
        bool put = random_below(&random, 10) < (turn / 10000 % 2 ? 3 : 7);
        if (put) {
            cr_assert_eq(map_put(&map, key_of(&model, i), value_for(i, turn)), 0);
            model.count += !model.values[i];
            model.values[i] = value_for(i, turn);
        } else {
            cr_assert_eq(map_remove(&map, key_of(&model, i)), model.values[i]);
            model.count -= !!model.values[i];
            model.values[i] = NULL;
        }
        if (turn % 500 == 0)
            expect_equal(&map, &model);
    }
    expect_equal(&map, &model);
    map_free(&map);
    cr_assert_null(map_get(&map, span_text("key-1")));
}

Test(base, map_edges)
{
    struct map map;
    size_t at = 0;
    int value;
    map_init(&map);
    cr_expect_null(map_get(&map, span_text("x")));
    cr_expect_null(map_remove(&map, span_text("x")));
    cr_expect_null(map_next(&map, &at));
    cr_expect_null(map.slots, "an empty map has no memory");
    cr_expect_eq(map_put(&map, span_of("", 0), &value), 0);
    cr_expect_eq(map_get(&map, span_text("")), &value, "an empty key is a key");
    cr_expect_eq(map_put(&map, span_of("a\0b", 3), &at), 0);
    cr_expect_eq(map_get(&map, span_of("a\0b", 3)), &at);
    cr_expect_null(map_get(&map, span_of("a\0c", 3)));
    cr_expect_null(map_get(&map, span_text("a")));
    map_free(&map);
}

// Replacing an entry takes over the new key's memory: the old one may be gone.
Test(base, map_replacing_uses_the_new_key)
{
    struct map map;
    int first, second;
    char old[] = "name", new[] = "name";
    map_init(&map);
    map_put(&map, span_text(old), &first);
    map_put(&map, span_text(new), &second);
    memset(old, 'x', sizeof(old));
    cr_expect_eq(map_get(&map, span_text("name")), &second);
    cr_expect_eq(map.count, 1);
    map_free(&map);
}
