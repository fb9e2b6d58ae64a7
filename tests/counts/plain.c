// SPDX-License-Identifier: Apache-2.0
// What libraries choose by the processor that they find, in one form that takes the same number of
// instructions everywhere: the C library's memory functions as plain loops, so many instructions
// per byte, and XXH3 in the form that every processor of the architecture has.
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#define XXH_STATIC_LINKING_ONLY // for the declarations
#include <xxhash.h>

XXH64_hash_t XXH3_64bits_withSeed_dispatch(const void *data, size_t size, XXH64_hash_t seed);
XXH_errorcode XXH3_64bits_update_dispatch(XXH3_state_t *state, const void *data, size_t size);

typedef uint64_t __attribute__((aligned(1), may_alias)) word;

// --- the C library

static void copy_up(uint8_t *to, const uint8_t *from, size_t size)
{
    for (; size >= sizeof(word); size -= sizeof(word), to += sizeof(word), from += sizeof(word))
        *(word *)(void *)to = *(const word *)(const void *)from;
    for (; size > 0; size--)
        *to++ = *from++;
}

void *memcpy(void *restrict to, const void *restrict from, size_t size)
{
    copy_up(to, from, size);
    return to;
}

void *memmove(void *to, const void *from, size_t size)
{
    uint8_t *target = to;
    const uint8_t *source = from;
    if (target <= source || target >= source + size) {
        copy_up(target, source, size);
        return to;
    }
    for (; size >= sizeof(word); size -= sizeof(word))
        *(word *)(void *)(target + size - sizeof(word)) =
            *(const word *)(const void *)(source + size - sizeof(word));
    while (size-- > 0)
        target[size] = source[size];
    return to;
}

void *memset(void *to, int value, size_t size)
{
    uint8_t *at = to;
    uint64_t eight = (uint8_t)value * UINT64_C(0x0101010101010101);
    for (; size >= sizeof(word); size -= sizeof(word), at += sizeof(word))
        *(word *)(void *)at = eight;
    for (; size > 0; size--)
        *at++ = (uint8_t)value;
    return to;
}

int memcmp(const void *a, const void *b, size_t size)
{
    const uint8_t *x = a, *y = b;
    for (; size >= sizeof(word); size -= sizeof(word), x += sizeof(word), y += sizeof(word)) {
        if (*(const word *)(const void *)x != *(const word *)(const void *)y)
            break;
    }
    for (; size > 0; size--, x++, y++) {
        if (*x != *y)
            return *x - *y;
    }
    return 0;
}

// --- xxHash

XXH64_hash_t XXH3_64bits_withSeed_dispatch(const void *data, size_t size, XXH64_hash_t seed)
{
    return XXH3_64bits_withSeed(data, size, seed);
}

XXH_errorcode XXH3_64bits_update_dispatch(XXH3_state_t *state, const void *data, size_t size)
{
    return XXH3_64bits_update(state, data, size);
}
