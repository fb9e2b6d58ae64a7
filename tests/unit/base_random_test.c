// SPDX-License-Identifier: Apache-2.0
#include "base/random.h"

#include <criterion/criterion.h>
#include <string.h>

Test(base, random_known_sequence)
{
    // The first numbers of SplitMix64 from seed 1234567, as published with the algorithm's
    // implementations in other languages.
    static const uint64_t known[] = {6457827717110365317u, 3203168211198807973u,
                                     9817491932198370423u, 4593380528125082431u,
                                     16408922859458223821u};
    struct random random = {.state = 1234567};
    for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++)
        cr_expect_eq(random_next(&random), known[i]);
}

Test(base, random_below_stays_below_and_reaches_all)
{
    struct random random = {.state = 0};
    unsigned seen[7] = {0};
    for (int i = 0; i < 70000; i++) {
        uint64_t number = random_below(&random, 7);
        cr_assert_lt(number, 7);
        seen[number]++;
    }
    for (int i = 0; i < 7; i++)
        cr_expect(seen[i] > 9500 && seen[i] < 10500, "%d came %u times of 10000", i, seen[i]);
    cr_expect_eq(random_below(&random, 1), 0);
    for (int i = 0; i < 100; i++)
        cr_expect_lt(random_below(&random, UINT64_MAX), UINT64_MAX);
}

Test(base, random_system_fills_everything)
{
    static uint8_t first[300], second[300];
    random_system(first, sizeof(first));
    random_system(second, sizeof(second));
    cr_expect_neq(memcmp(first, second, sizeof(first)), 0);
    // 44 zero bytes in a row do not happen by chance.
    static const uint8_t zeros[44];
    cr_expect_neq(memcmp(first + 256, zeros, sizeof(zeros)), 0);
    random_system(first, 0);
}
