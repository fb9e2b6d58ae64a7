// SPDX-License-Identifier: Apache-2.0
#include "base/crc32c.h"

#include <criterion/criterion.h>
#include <string.h>

#include "base/random.h"

enum { SIZE = 70000 };

// The definition, bit by bit: shares nothing with the code under test.
static uint32_t reference(uint32_t crc, const uint8_t *data, size_t size)
{
    crc = ~crc;
    for (size_t i = 0; i < size; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1 ? crc >> 1 ^ 0x82f63b78u : crc >> 1;
    }
    return ~crc;
}

static void fill(uint8_t *data, size_t size)
{
    struct random random = {.state = 32};
    for (size_t i = 0; i < size; i++)
        data[i] = (uint8_t)random_next(&random);
}

Test(base, crc32c_known_vectors)
{
    uint8_t data[32];
    cr_expect_eq(crc32c(0, "", 0), 0);
    cr_expect_eq(crc32c(0, "123456789", 9), 0xe3069283u);
    // RFC 3720, appendix B.4; it prints the bytes in the order of the wire.
    memset(data, 0, sizeof(data));
    cr_expect_eq(crc32c(0, data, sizeof(data)), 0x8a9136aau);
    memset(data, 0xff, sizeof(data));
    cr_expect_eq(crc32c(0, data, sizeof(data)), 0x62a8ab43u);
    for (int i = 0; i < 32; i++)
        data[i] = (uint8_t)i;
    cr_expect_eq(crc32c(0, data, sizeof(data)), 0x46dd794eu);
    for (int i = 0; i < 32; i++)
        data[i] = (uint8_t)(31 - i);
    cr_expect_eq(crc32c(0, data, sizeof(data)), 0x113fdb5cu);
}

Test(base, crc32c_every_way_and_alignment)
{
    static uint8_t data[8 + 1024];
    fill(data, sizeof(data));
    for (size_t size = 0; size <= 1024; size += size < 300 ? 1 : 53) {
        for (size_t start = 0; start < 8; start++) {
            uint32_t want = reference((uint32_t)size, data + start, size);
            for (const struct crc32c_way *way = crc32c_ways(); way->name; way++)
                if (way->usable())
                    cr_assert_eq(way->run((uint32_t)size, data + start, size), want,
                                 "%s, %zu bytes at %zu", way->name, size, start);
            cr_assert_eq(crc32c((uint32_t)size, data + start, size), want);
        }
    }
}

Test(base, crc32c_every_way_on_long_data)
{
    static uint8_t data[SIZE];
    fill(data, sizeof(data));
    for (size_t size = SIZE; size > 2000; size = size * 9 / 10) {
        uint32_t want = reference(7, data, size);
        for (const struct crc32c_way *way = crc32c_ways(); way->name; way++)
            if (way->usable())
                cr_assert_eq(way->run(7, data, size), want, "%s, %zu bytes", way->name, size);
    }
}

Test(base, crc32c_in_pieces)
{
    static uint8_t data[SIZE];
    fill(data, sizeof(data));
    struct random random = {.state = 1};
    for (const struct crc32c_way *way = crc32c_ways(); way->name; way++) {
        if (!way->usable())
            continue;
        for (uint64_t longest = 10; longest <= SIZE; longest *= 7) {
            uint32_t crc = 0;
            for (size_t at = 0, piece; at < SIZE; at += piece) {
                piece = (size_t)random_below(&random, longest + 1);
                piece = piece < SIZE - at ? piece : SIZE - at;
                crc = way->run(crc, data + at, piece);
            }
            cr_assert_eq(crc, reference(0, data, SIZE), "%s, up to %lu", way->name, longest);
        }
    }
}
