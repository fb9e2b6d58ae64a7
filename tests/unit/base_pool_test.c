// SPDX-License-Identifier: Apache-2.0
#include "base/pool.h"

#include <criterion/criterion.h>
#include <stdint.h>
#include <string.h>

#include "base/random.h"

enum { KIB = 1024, MIB = 1024 * KIB };

Test(base, pool_rounds_sizes_up)
{
    struct {
        size_t wanted, given;
    } cases[] = {
        {0, 4 * KIB}, {1, 4 * KIB},       {4 * KIB, 4 * KIB}, {4 * KIB + 1, 8 * KIB},
        {MIB, MIB},   {MIB + 1, 2 * MIB}, {8 * MIB, 8 * MIB}, {8 * MIB + 1, 8 * MIB + 4 * KIB},
    };
    struct pool *pool = pool_create(64 * MIB);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buffer *buffer = pool_get(pool, cases[i].wanted);
        cr_assert_not_null(buffer);
        cr_expect_eq(buffer->capacity, cases[i].given, "%zu gave %zu", cases[i].wanted,
                     buffer->capacity);
        cr_expect_eq((uintptr_t)buffer->data % BUFFER_ALIGN, 0);
        cr_expect_eq(pool_stats(pool).used_bytes, cases[i].given);
        memset(buffer->data, 0xa5, buffer->capacity);
        buffer_unref(buffer);
    }
    pool_destroy(pool);
}

Test(base, pool_recycles_the_same_memory)
{
    struct pool *pool = pool_create(MIB);
    struct buffer *first = pool_get(pool, 64 * KIB);
    uint8_t *data = first->data;
    buffer_unref(first);
    cr_expect_eq(pool_stats(pool).idle_bytes, 64 * KIB);
    cr_expect_eq(pool_stats(pool).used_bytes, 0);
    struct buffer *second = pool_get(pool, 60 * KIB);
    cr_expect_eq(second->data, data);
    cr_expect_eq(pool_stats(pool).idle_bytes, 0);
    buffer_unref(second);
    pool_destroy(pool);
}

Test(base, pool_keeps_a_buffer_until_the_last_reference)
{
    struct pool *pool = pool_create(MIB);
    struct buffer *buffer = pool_get(pool, 4 * KIB);
    cr_expect_eq(buffer_ref(buffer), buffer);
    buffer_unref(buffer);
    cr_expect_eq(pool_stats(pool).used_bytes, 4 * KIB);
    buffer->data[0] = 1;
    buffer_unref(buffer);
    cr_expect_eq(pool_stats(pool).used_bytes, 0);
    pool_destroy(pool);
}

Test(base, pool_refuses_beyond_its_budget)
{
    struct pool *pool = pool_create(128 * KIB);
    cr_expect_null(pool_get(pool, 128 * KIB + 1));
    cr_expect_null(pool_get(pool, SIZE_MAX));
    struct buffer *a = pool_get(pool, 64 * KIB);
    struct buffer *b = pool_get(pool, 64 * KIB);
    cr_assert(a && b);
    cr_expect_null(pool_get(pool, 1));
    buffer_unref(a);
    struct buffer *c = pool_get(pool, 1);
    cr_assert_not_null(c);
    cr_expect_leq(pool_stats(pool).used_bytes + pool_stats(pool).idle_bytes, 128 * KIB);
    buffer_unref(b);
    buffer_unref(c);
    pool_destroy(pool);
}

Test(base, pool_gives_idle_memory_of_one_size_to_another)
{
    struct pool *pool = pool_create(MIB);
    struct buffer *small[256];
    for (size_t i = 0; i < 256; i++)
        cr_assert_not_null(small[i] = pool_get(pool, 4 * KIB));
    for (size_t i = 0; i < 256; i++)
        buffer_unref(small[i]);
    cr_expect_eq(pool_stats(pool).idle_bytes, MIB);
    struct buffer *large = pool_get(pool, MIB);
    cr_assert_not_null(large);
    cr_expect_eq(pool_stats(pool).idle_bytes, 0);
    buffer_unref(large);
    pool_destroy(pool);
}

Test(base, pool_does_not_keep_oversized_buffers)
{
    struct pool *pool = pool_create(32 * MIB);
    buffer_unref(pool_get(pool, 20 * MIB));
    cr_expect_eq(pool_stats(pool).used_bytes, 0);
    cr_expect_eq(pool_stats(pool).idle_bytes, 0);
    pool_destroy(pool);
}

Test(base, pool_trims_to_what_is_asked)
{
    struct pool *pool = pool_create(4 * MIB);
    struct buffer *held[8];
    for (size_t i = 0; i < 8; i++)
        held[i] = pool_get(pool, 256 * KIB);
    for (size_t i = 0; i < 8; i++)
        buffer_unref(held[i]);
    pool_trim(pool, MIB);
    cr_expect_eq(pool_stats(pool).idle_bytes, MIB);
    pool_trim(pool, 0);
    cr_expect_eq(pool_stats(pool).idle_bytes, 0);
    pool_destroy(pool);
}

// Whatever is done in whatever order, live buffers do not overlap and the counts are right.
Test(base, pool_random_use)
{
    enum { SLOTS = 64, STEPS = 20000 };
    struct pool *pool = pool_create(8 * MIB);
    struct random random = {.state = 7};
    struct buffer *slots[SLOTS] = {0};
    size_t used = 0;
    for (int step = 0; step < STEPS; step++) {
        size_t at = random_below(&random, SLOTS);
        if (slots[at]) {
            uint8_t mark = (uint8_t)(at + 1);
            cr_assert_eq(slots[at]->data[0], mark);
            cr_assert_eq(slots[at]->data[slots[at]->capacity - 1], mark);
            used -= slots[at]->capacity;
            buffer_unref(slots[at]);
            slots[at] = NULL;
        } else {
            slots[at] = pool_get(pool, 1 + random_below(&random, 1u << random_below(&random, 20)));
            if (slots[at]) {
                slots[at]->data[0] = slots[at]->data[slots[at]->capacity - 1] = (uint8_t)(at + 1);
                used += slots[at]->capacity;
            }
        }
        if (step % 1000 == 0)
            pool_trim(pool, MIB);
        cr_assert_eq(pool_stats(pool).used_bytes, used);
        cr_assert_leq(used + pool_stats(pool).idle_bytes, 8 * MIB);
    }
    for (size_t i = 0; i < SLOTS; i++) {
        if (slots[i])
            buffer_unref(slots[i]);
    }
    pool_destroy(pool);
}
