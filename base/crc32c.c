// SPDX-License-Identifier: Apache-2.0
// CRC-32C, four ways.
//
// Notation: a CRC is the remainder of the message, read as a polynomial over GF(2), modulo
// P = x^32 + x^28 + x^27 + x^26 + x^25 + x^23 + x^22 + x^20 + x^19 + x^18 + x^14 + x^13 + x^11 +
// x^10 + x^9 + x^8 + x^6 + 1. Bytes count from their lowest bit, so the lowest bit of a register is
// its highest power. Inside this file `state` is the remainder without the inversions that
// crc32c() puts around it.
//
// - `fold` (AVX-512, carry-less multiplication) carries four 64-byte sums across the data; each
//   step multiplies a sum by x^2048 (256 bytes on) and adds the next 64 bytes. Multiplying 64 bits
//   by a remainder of 32 bits grows them by 32 only, so sums never overflow and need no reduction
//   until the end, where the crc32 instruction does it.
// - `streams` runs three crc32 instructions at once over neighbouring blocks, since one alone waits
//   three cycles for its predecessor, and joins the states by multiplication with a power of x.
// - `single` runs one crc32 instruction at a time.
// - `table` is portable: one byte per step.
//
// Moving a remainder by n bits is multiplying it by x^n mod P. A carry-less product of reflected
// numbers comes out x too low in its register, and the crc32 instruction that reduces it (or, in
// `fold`, the place of a 32-bit constant within 64 bits) adds x^32, so the constant for n is
// x^(n-33) mod P, reflected.
#include "base/crc32c.h"

#include "base/endian.h"

#define CRC32C_POLYNOMIAL 0x82f63b78u

// The table is linear in the byte: an entry is the sum of the entries of its bits, and those are
// the polynomial shifted eight times less the bit's place.
#define BIT(i, bit, entry) ((i) >> (bit)&1 ? (entry) : 0u)
#define T1(i)                                                                                      \
    (BIT(i, 0, 0xf26b8303u) ^ BIT(i, 1, 0xe13b70f7u) ^ BIT(i, 2, 0xc79a971fu) ^                    \
     BIT(i, 3, 0x8ad958cfu) ^ BIT(i, 4, 0x105ec76fu) ^ BIT(i, 5, 0x20bd8edeu) ^                    \
     BIT(i, 6, 0x417b1dbcu) ^ BIT(i, 7, CRC32C_POLYNOMIAL))
#define T4(i) T1(i), T1((i) + 1), T1((i) + 2), T1((i) + 3)
#define T16(i) T4(i), T4((i) + 4), T4((i) + 8), T4((i) + 12)
#define T64(i) T16(i), T16((i) + 16), T16((i) + 32), T16((i) + 48)

static const uint32_t byte_table[256] = {T64(0), T64(64), T64(128), T64(192)};

static uint32_t run_table(uint32_t crc, const void *data, size_t size)
{
    const uint8_t *at = data;
    uint32_t state = ~crc;
    for (size_t i = 0; i < size; i++)
        state = state >> 8 ^ byte_table[(uint8_t)(state ^ at[i])];
    return ~state;
}

static bool always(void)
{
    return true;
}

#if defined(__x86_64__)

#include <immintrin.h>

#define WITH_CRC __attribute__((target("sse4.2")))
#define WITH_CLMUL __attribute__((target("sse4.2,pclmul")))
#define WITH_FOLD __attribute__((target("sse4.2,pclmul,avx512f,vpclmulqdq")))

enum { STREAM_LONG = 2048, STREAM_SHORT = 128, FOLD_STEP = 256, FOLD_MIN = 256 };

// x^(n-33) mod P, reflected, for the n in the name (bits).
#define SHIFT_128 0x493c7d27u
#define SHIFT_192 0xf20c0dfeu
#define SHIFT_512 0x9e4addf8u
#define SHIFT_576 0x740eef02u
#define SHIFT_1024 0x0d3b6092u
#define SHIFT_2048 0xb9e02b86u
#define SHIFT_2112 0xdcb17aa4u
#define SHIFT_16384 0xa51b6135u
#define SHIFT_32768 0x82f89c77u

WITH_CRC static inline uint32_t state_single(uint32_t state, const uint8_t *at, size_t size)
{
    for (; size >= 8; size -= 8, at += 8)
        state = (uint32_t)_mm_crc32_u64(state, load_le64(at));
    if (size & 4) {
        state = _mm_crc32_u32(state, load_le32(at));
        at += 4;
    }
    if (size & 2) {
        state = _mm_crc32_u16(state, load_le16(at));
        at += 2;
    }
    if (size & 1)
        state = _mm_crc32_u8(state, *at);
    return state;
}

WITH_CRC static uint32_t run_single(uint32_t crc, const void *data, size_t size)
{
    return ~state_single(~crc, data, size);
}

WITH_CLMUL static inline uint64_t multiply(uint32_t state, uint32_t shift)
{
    __m128i product =
        _mm_clmulepi64_si128(_mm_cvtsi32_si128((int)state), _mm_cvtsi32_si128((int)shift), 0);
    return (uint64_t)_mm_cvtsi128_si64(product);
}

// Three neighbouring blocks of `block` bytes; the shifts are for one block and for two.
WITH_CLMUL static inline uint32_t state_three(uint32_t state, const uint8_t *at, size_t block,
                                              uint32_t shift_one, uint32_t shift_two)
{
    uint64_t a = state, b = 0, c = 0;
    for (const uint8_t *end = at + block; at < end; at += 8) {
        a = _mm_crc32_u64(a, load_le64(at));
        b = _mm_crc32_u64(b, load_le64(at + block));
        c = _mm_crc32_u64(c, load_le64(at + 2 * block));
    }
    uint64_t moved = multiply((uint32_t)a, shift_two) ^ multiply((uint32_t)b, shift_one);
    return (uint32_t)(_mm_crc32_u64(0, moved) ^ c);
}

WITH_CLMUL static uint32_t run_streams(uint32_t crc, const void *data, size_t size)
{
    const uint8_t *at = data;
    uint32_t state = ~crc;
    for (; size >= 3 * STREAM_LONG; size -= 3 * STREAM_LONG, at += 3 * STREAM_LONG)
        state = state_three(state, at, STREAM_LONG, SHIFT_16384, SHIFT_32768);
    for (; size >= 3 * STREAM_SHORT; size -= 3 * STREAM_SHORT, at += 3 * STREAM_SHORT)
        state = state_three(state, at, STREAM_SHORT, SHIFT_1024, SHIFT_2048);
    return ~state_single(state, at, size);
}

// A sum of 16 bytes moved: its first half is 64 powers above its second, hence two constants.
WITH_FOLD static inline __m512i fold(__m512i sum, __m512i shift, __m512i next)
{
    __m512i first = _mm512_clmulepi64_epi128(sum, shift, 0x00);
    __m512i second = _mm512_clmulepi64_epi128(sum, shift, 0x11);
    return _mm512_ternarylogic_epi64(first, second, next, 0x96); // three-way exclusive or
}

WITH_FOLD static inline __m128i fold_lane(__m128i sum, __m128i next)
{
    __m128i shift = _mm_set_epi64x(SHIFT_128, SHIFT_192);
    __m128i first = _mm_clmulepi64_si128(sum, shift, 0x00);
    __m128i second = _mm_clmulepi64_si128(sum, shift, 0x11);
    return _mm_xor_si128(_mm_xor_si128(first, second), next);
}

WITH_FOLD static inline __m512i shift_pair(uint32_t first, uint32_t second)
{
    return _mm512_broadcast_i32x4(_mm_set_epi64x(second, first));
}

WITH_FOLD static uint32_t run_fold(uint32_t crc, const void *data, size_t size)
{
    const uint8_t *at = data;
    if (size < FOLD_MIN)
        return ~state_single(~crc, at, size);
    __m512i start = _mm512_zextsi128_si512(_mm_cvtsi32_si128((int)~crc));
    __m512i a = _mm512_xor_si512(_mm512_loadu_si512(at), start);
    __m512i b = _mm512_loadu_si512(at + 64);
    __m512i c = _mm512_loadu_si512(at + 128);
    __m512i d = _mm512_loadu_si512(at + 192);
    __m512i shift = shift_pair(SHIFT_2112, SHIFT_2048);
    for (at += FOLD_STEP, size -= FOLD_STEP; size >= FOLD_STEP; size -= FOLD_STEP) {
        a = fold(a, shift, _mm512_loadu_si512(at));
        b = fold(b, shift, _mm512_loadu_si512(at + 64));
        c = fold(c, shift, _mm512_loadu_si512(at + 128));
        d = fold(d, shift, _mm512_loadu_si512(at + 192));
        at += FOLD_STEP;
    }
    shift = shift_pair(SHIFT_576, SHIFT_512);
    d = fold(fold(fold(a, shift, b), shift, c), shift, d);
    for (; size >= 64; size -= 64, at += 64)
        d = fold(d, shift, _mm512_loadu_si512(at));
    __m128i sum = _mm512_castsi512_si128(d);
    sum = fold_lane(sum, _mm512_extracti32x4_epi32(d, 1));
    sum = fold_lane(sum, _mm512_extracti32x4_epi32(d, 2));
    sum = fold_lane(sum, _mm512_extracti32x4_epi32(d, 3));
    uint64_t state = _mm_crc32_u64(0, (uint64_t)_mm_cvtsi128_si64(sum));
    state = _mm_crc32_u64(state, (uint64_t)_mm_extract_epi64(sum, 1));
    return ~state_single((uint32_t)state, at, size);
}

static bool has_crc(void)
{
    return __builtin_cpu_supports("sse4.2");
}

static bool has_clmul(void)
{
    return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul");
}

static bool has_fold(void)
{
    return has_clmul() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("vpclmulqdq");
}

static const struct crc32c_way ways[] = {
    {"fold", has_fold, run_fold},
    {"streams", has_clmul, run_streams},
    {"single", has_crc, run_single},
    {"table", always, run_table},
    {0},
};

// The questions are reads of a variable that the C runtime fills before main.
uint32_t crc32c(uint32_t crc, const void *data, size_t size)
{
    if (__builtin_expect(has_fold(), 1))
        return run_fold(crc, data, size);
    if (has_clmul())
        return run_streams(crc, data, size);
    if (has_crc())
        return run_single(crc, data, size);
    return run_table(crc, data, size);
}

#elif defined(__aarch64__) && defined(__ARM_FEATURE_CRC32)

#include <arm_acle.h>

static uint32_t run_single(uint32_t crc, const void *data, size_t size)
{
    const uint8_t *at = data;
    uint32_t state = ~crc;
    for (; size >= 8; size -= 8, at += 8)
        state = __crc32cd(state, load_le64(at));
    for (; size > 0; size--, at++)
        state = __crc32cb(state, *at);
    return ~state;
}

static const struct crc32c_way ways[] = {
    {"single", always, run_single},
    {"table", always, run_table},
    {0},
};

uint32_t crc32c(uint32_t crc, const void *data, size_t size)
{
    return run_single(crc, data, size);
}

#else

static const struct crc32c_way ways[] = {{"table", always, run_table}, {0}};

uint32_t crc32c(uint32_t crc, const void *data, size_t size)
{
    return run_table(crc, data, size);
}

#endif

const struct crc32c_way *crc32c_ways(void)
{
    return ways;
}
