// SPDX-License-Identifier: Apache-2.0
#include "base/arena.h"

#include <criterion/criterion.h>
#include <stdint.h>
#include <string.h>

#include "base/random.h"

enum { MIB = 1 << 20 };

static bool all(const uint8_t *data, size_t size, uint8_t value)
{
    for (size_t i = 0; i < size; i++)
        if (data[i] != value)
            return false;
    return true;
}

Test(base, arena_gives_zeroed_aligned_memory_of_its_own)
{
    enum { PIECES = 2000 };
    static uint8_t *pieces[PIECES];
    static size_t sizes[PIECES];
    struct random random = {.state = 1};
    struct arena arena;
    arena_init(&arena, 64 * MIB);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < PIECES; i++) {
            sizes[i] = (size_t)random_below(&random, i % 50 == 0 ? 100000 : 200);
            pieces[i] = arena_alloc(&arena, sizes[i]);
            cr_assert(pieces[i]);
            cr_assert_eq((uintptr_t)pieces[i] % 16, 0);
            cr_assert(all(pieces[i], sizes[i], 0));
            memset(pieces[i], i % 251 + 1, sizes[i]);
        }
        for (int i = 0; i < PIECES; i++)
            cr_assert(all(pieces[i], sizes[i], (uint8_t)(i % 251 + 1)), "piece %d", i);
        arena_reset(&arena);
        cr_assert_eq(arena.used, 0);
    }
    arena_free(&arena);
    cr_assert_null(arena.blocks);
    cr_assert_eq(arena.limit, 64 * MIB);
}

Test(base, arena_limit)
{
    struct arena arena;
    arena_init(&arena, 1000);
    cr_expect_null(arena_alloc(&arena, 1001));
    cr_expect_null(arena_alloc(&arena, SIZE_MAX));
    cr_expect_null(arena_array(&arena, SIZE_MAX / 2, 3));
    cr_expect_null(arena_text(&arena, "", SIZE_MAX));
    cr_expect_null(arena.blocks, "refusals take no memory");
    cr_expect(arena_alloc(&arena, 1000));
    cr_expect_null(arena_alloc(&arena, 1));
    cr_expect(arena_alloc(&arena, 0), "nothing is always there");
    arena_reset(&arena);
    cr_expect(arena_alloc(&arena, 999), "the last one is not charged for alignment");
    arena_free(&arena);
    arena_init(&arena, SIZE_MAX);
    cr_expect_null(arena_alloc(&arena, SIZE_MAX));
    cr_expect_null(arena_alloc(&arena, SIZE_MAX - 14));
    arena_free(&arena);
    arena_init(&arena, 0);
    cr_expect_null(arena_alloc(&arena, 1));
    arena_reset(&arena);
    arena_free(&arena);
}

Test(base, arena_text_and_array)
{
    struct arena arena;
    arena_init(&arena, MIB);
    char *text = arena_text(&arena, "river", 3);
    cr_assert_str_eq(text, "riv");
    cr_assert_str_eq(arena_text(&arena, NULL, 0), "");
    uint64_t *numbers = arena_array(&arena, 100, sizeof(*numbers));
    cr_assert(all((uint8_t *)numbers, 800, 0));
    cr_assert_str_eq(text, "riv");
    arena_free(&arena);
}

Test(base, arena_resize_keeps_bytes)
{
    struct random random = {.state = 9};
    for (int round = 0; round < 300; round++) {
        struct arena arena;
        arena_init(&arena, MIB);
        uint8_t *before = arena_alloc(&arena, (size_t)random_below(&random, 5000));
        size_t size = (size_t)random_below(&random, 3000);
        uint8_t *buffer = arena_resize(&arena, NULL, 0, size);
        memset(buffer, 7, size);
        for (int step = 0; step < 20; step++) {
            size_t next = (size_t)random_below(&random, step % 4 ? 10000 : 200000);
            buffer = arena_resize(&arena, buffer, size, next);
            cr_assert(buffer);
            cr_assert(all(buffer, size < next ? size : next, 7));
            memset(buffer, 7, next);
            size = next;
            if (step == 10)
                cr_assert(memset(arena_alloc(&arena, 100), 8, 100));
        }
        cr_assert(before);
        uint8_t *after = arena_alloc(&arena, 64);
        memset(after, 9, 64);
        cr_assert(all(buffer, size, 7));
        arena_free(&arena);
    }
}

Test(base, arena_resize_charges_the_present_size_only)
{
    struct arena arena;
    arena_init(&arena, 100000);
    cr_assert(arena_alloc(&arena, 100));
    size_t size = 16;
    uint8_t *buffer = arena_resize(&arena, NULL, 0, size);
    for (; size * 2 < 99000; size *= 2)
        cr_assert(buffer = arena_resize(&arena, buffer, size, size * 2), "to %zu", size * 2);
    cr_assert(buffer = arena_resize(&arena, buffer, size, 99000));
    memset(buffer, 3, 99000);
    cr_assert_null(arena_resize(&arena, buffer, 99000, 100000));
    cr_assert(all(buffer, 99000, 3), "a refusal leaves the old memory");
    cr_assert_null(arena_resize(&arena, buffer, 99000, SIZE_MAX));
    buffer = arena_resize(&arena, buffer, 99000, 1000);
    cr_assert(all(buffer, 1000, 3));
    cr_assert(arena_alloc(&arena, 90000), "what became free is available");
    arena_free(&arena);
}
