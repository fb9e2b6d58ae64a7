// SPDX-License-Identifier: Apache-2.0
#include "protocol/compress.h"

#include <criterion/criterion.h>
#include <lz4frame.h>
#include <snappy-c.h>
#include <stdlib.h>
#include <zstd.h>

#include "base/endian.h"
#include "base/random.h"

enum { MIB = 1 << 20, ARENA_SLACK = 65536, CODECS = 4 };

static const enum batch_codec codecs[CODECS] = {CODEC_GZIP, CODEC_SNAPPY, CODEC_LZ4, CODEC_ZSTD};
static const char *const codec_names[] = {"none", "gzip", "snappy", "lz4", "zstd"};

// Bytes of the heap, so that the sanitizers see a step beyond them.
static uint8_t *take(size_t size)
{
    uint8_t *data = malloc(size ? size : 1);
    cr_assert(data);
    return data;
}

static struct span copy(const uint8_t *data, size_t size)
{
    uint8_t *to = take(size);
    memcpy(to, data, size);
    return span_of(to, size);
}

static void drop(struct span span)
{
    free((void *)(uintptr_t)span.data);
}

enum kind { ZEROS, WORDS, NOISE };

static struct span content(enum kind kind, size_t size)
{
    uint8_t *data = take(size);
    struct random random = {.state = size};
    for (size_t i = 0; i < size; i++)
        data[i] = kind == ZEROS ? 0
                                : (uint8_t)(kind == NOISE ? random_next(&random)
                                                          : 'a' + random_below(&random, 3));
    return span_of(data, size);
}

static struct span deflated(enum batch_codec codec, int level, struct span in)
{
    size_t bound = compress_bound(codec, in.size), size = 0;
    cr_assert_gt(bound, 0);
    uint8_t *to = take(bound);
    cr_assert_eq(compress_deflate(codec, level, in, NULL, to, &size), BATCH_OK, "%s",
                 codec_names[codec]);
    cr_assert_leq(size, bound);
    struct span out = copy(to, size);
    free(to);
    return out;
}

static enum batch_error inflate_only(enum batch_codec codec, struct span in, size_t limit)
{
    struct arena arena;
    struct span out;
    arena_init(&arena, limit + ARENA_SLACK);
    enum batch_error error = compress_inflate(codec, in, &arena, limit, NULL, &out);
    cr_assert_leq(arena.used, limit + 16, "%s took %zu of %zu", codec_names[codec], arena.used,
                  limit);
    arena_free(&arena);
    return error;
}

static void expect_inflates(enum batch_codec codec, struct span in, size_t limit, struct span want)
{
    struct arena arena;
    struct span out;
    arena_init(&arena, limit + ARENA_SLACK);
    enum batch_error error = compress_inflate(codec, in, &arena, limit, NULL, &out);
    cr_assert_eq(error, BATCH_OK, "%s, %zu bytes: %s", codec_names[codec], want.size,
                 batch_error_text(error));
    cr_assert(span_equal(out, want), "%s, %zu bytes", codec_names[codec], want.size);
    arena_free(&arena);
}

Test(protocol, compress_round_trip)
{
    static const size_t sizes[] = {0, 1, 100, 16384, 32767, 32768, 32769, 65537, 300000, 3 * MIB};
    for (size_t c = 0; c < CODECS; c++) {
        const enum batch_codec codec = codecs[c];
        for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
            for (enum kind kind = ZEROS; kind <= NOISE; kind++) {
                struct span in = content(kind, sizes[i]);
                struct span packed = deflated(codec, 0, in);
                expect_inflates(codec, packed, 8 * MIB, in);
                expect_inflates(codec, packed, in.size, in);
                if (in.size > 0)
                    cr_assert_eq(inflate_only(codec, packed, in.size - 1), BATCH_TOO_LARGE,
                                 "%s, %zu bytes", codec_names[codec], in.size);
                drop(in);
                drop(packed);
            }
        }
    }
}

Test(protocol, compress_levels)
{
    static const int levels[] = {-1000, -1, 1, 3, 9, 12, 19, 1000};
    struct span in = content(WORDS, 50000);
    for (size_t c = 0; c < CODECS; c++) {
        for (size_t i = 0; i < sizeof(levels) / sizeof(*levels); i++) {
            struct span packed = deflated(codecs[c], levels[i], in);
            expect_inflates(codecs[c], packed, MIB, in);
            drop(packed);
        }
    }
    drop(in);
}

Test(protocol, compress_cut_anywhere_is_bad)
{
    struct span in = content(WORDS, 70000);
    in.size = 600;
    for (size_t c = 0; c < CODECS; c++) {
        struct span packed = deflated(codecs[c], 0, in);
        for (size_t cut = 0; cut < packed.size; cut++) {
            if (codecs[c] == CODEC_SNAPPY && cut == 16)
                continue; // the framing's head alone is a stream of no blocks
            struct span part = copy(packed.data, cut);
            cr_assert_eq(inflate_only(codecs[c], part, MIB), BATCH_BAD_COMPRESSION, "%s cut at %zu",
                         codec_names[codecs[c]], cut);
            drop(part);
        }
        drop(packed);
    }
    drop(in);
}

Test(protocol, compress_rubbish_behind_is_bad)
{
    struct span in = content(WORDS, 600);
    for (size_t c = 0; c < CODECS; c++) {
        struct span packed = deflated(codecs[c], 0, in);
        uint8_t *longer = take(packed.size + 3);
        memcpy(longer, packed.data, packed.size);
        memcpy(longer + packed.size, "\1\2\3", 3);
        for (size_t more = 1; more <= 3; more++)
            cr_assert_eq(inflate_only(codecs[c], span_of(longer, packed.size + more), MIB),
                         BATCH_BAD_COMPRESSION, "%s and %zu bytes", codec_names[codecs[c]], more);
        free(longer);
        drop(packed);
    }
    drop(in);
}

Test(protocol, compress_damage_never_passes_the_limit)
{
    struct random random = {.state = 5};
    struct span in = content(WORDS, 3000);
    for (size_t c = 0; c < CODECS; c++) {
        struct span packed = deflated(codecs[c], 0, in);
        for (int i = 0; i < 20000; i++) {
            struct span bad = copy(packed.data, packed.size);
            uint8_t *at = (uint8_t *)(uintptr_t)bad.data + random_below(&random, bad.size);
            *at ^= (uint8_t)(1 + random_below(&random, 255));
            inflate_only(codecs[c], bad, 4000); // asserts what it took
            drop(bad);
        }
        drop(packed);
    }
    drop(in);
}

Test(protocol, compress_frames_may_follow_one_another)
{
    static const enum batch_codec framed[] = {CODEC_GZIP, CODEC_LZ4, CODEC_ZSTD};
    struct span in = content(WORDS, 40000);
    struct span halves[2] = {span_of(in.data, 100), span_of(in.data + 100, in.size - 100)};
    for (size_t i = 0; i < 3; i++) {
        struct span first = deflated(framed[i], 0, halves[0]);
        struct span second = deflated(framed[i], 0, halves[1]);
        uint8_t *both = take(first.size + second.size);
        memcpy(both, first.data, first.size);
        memcpy(both + first.size, second.data, second.size);
        expect_inflates(framed[i], span_of(both, first.size + second.size), MIB, in);
        cr_assert_eq(inflate_only(framed[i], span_of(both, first.size + second.size), 30000),
                     BATCH_TOO_LARGE);
        free(both);
        drop(first);
        drop(second);
    }
    drop(in);
}

Test(protocol, compress_reads_raw_snappy)
{
    for (size_t size = 0; size < 200000; size = size * 3 + 1) {
        struct span in = content(WORDS, size);
        size_t packed_size = snappy_max_compressed_length(size);
        uint8_t *packed = take(packed_size);
        cr_assert_eq(snappy_compress((const char *)in.data, size, (char *)packed, &packed_size),
                     SNAPPY_OK);
        expect_inflates(CODEC_SNAPPY, span_of(packed, packed_size), MIB, in);
        free(packed);
        drop(in);
    }
}

Test(protocol, compress_reads_sizes_that_snappy_claims_with_distrust)
{
    // A preamble of 4 GiB - 1, of 1 MiB, and of 2^40 before one literal byte.
    cr_expect_eq(inflate_only(CODEC_SNAPPY, span_of("\xff\xff\xff\xff\x0f\x00x", 7), MIB),
                 BATCH_TOO_LARGE);
    cr_expect_eq(inflate_only(CODEC_SNAPPY, span_of("\x80\x80\x40\x00x", 5), MIB),
                 BATCH_BAD_COMPRESSION);
    cr_expect_eq(inflate_only(CODEC_SNAPPY, span_of("\x80\x80\x80\x80\x80\x20\x00x", 8), MIB),
                 BATCH_BAD_COMPRESSION);
    struct arena arena;
    struct span out;
    arena_init(&arena, MIB);
    cr_expect_eq(
        compress_inflate(CODEC_SNAPPY, span_of("\x80\x80\x40\x00x", 5), &arena, MIB, NULL, &out),
        BATCH_BAD_COMPRESSION);
    cr_expect_eq(arena.used, 0, "five bytes cannot be a mebibyte: no memory is taken for them");
    arena_free(&arena);
    // Many blocks that fit one by one, but not together.
    enum { BLOCKS = 9, BLOCK = 200000 };
    struct span in = content(ZEROS, BLOCK);
    size_t size = snappy_max_compressed_length(BLOCK);
    char *block = (char *)take(size);
    cr_assert_eq(snappy_compress((const char *)in.data, BLOCK, block, &size), SNAPPY_OK);
    uint8_t *framed = take(16 + BLOCKS * (4 + size));
    memcpy(framed, "\x82SNAPPY\0\0\0\0\1\0\0\0\1", 16);
    uint8_t *at = framed + 16;
    for (int i = 0; i < BLOCKS; i++, at += 4 + size) {
        store_be32(at, (uint32_t)size);
        memcpy(at + 4, block, size);
    }
    struct span all = span_of(framed, (size_t)(at - framed));
    cr_expect_eq(inflate_only(CODEC_SNAPPY, all, BLOCKS * BLOCK), BATCH_OK);
    cr_expect_eq(inflate_only(CODEC_SNAPPY, all, BLOCKS * BLOCK - 1), BATCH_TOO_LARGE);
    // A block longer than what is left.
    store_be32(framed + 16, (uint32_t)all.size);
    cr_expect_eq(inflate_only(CODEC_SNAPPY, all, BLOCKS * BLOCK), BATCH_BAD_COMPRESSION);
    free(framed);
    free(block);
    drop(in);
}

Test(protocol, compress_writes_snappy_in_blocks_as_java_does)
{
    struct span in = content(WORDS, 100000);
    struct span packed = deflated(CODEC_SNAPPY, 0, in);
    cr_assert_eq(memcmp(packed.data, "\x82SNAPPY\0\0\0\0\1\0\0\0\1", 16), 0);
    size_t at = 16, total = 0;
    while (at < packed.size) {
        size_t size = load_be32(packed.data + at), plain = 0;
        cr_assert_eq(snappy_uncompressed_length((const char *)packed.data + at + 4, size, &plain),
                     SNAPPY_OK);
        cr_assert_leq(plain, 32768);
        total += plain;
        at += 4 + size;
    }
    cr_assert_eq(total, in.size);
    drop(packed);
    drop(in);
}

// Frames of a writer that did not know how much would come.
static struct span zstd_streamed(struct span in)
{
    ZSTD_CCtx *context = ZSTD_createCCtx();
    size_t bound = ZSTD_compressBound(in.size) + 1024;
    ZSTD_outBuffer out = {take(bound), bound, 0};
    ZSTD_inBuffer first = {in.data, in.size / 2, 0};
    ZSTD_inBuffer second = {in.data + in.size / 2, in.size - in.size / 2, 0};
    while (first.pos < first.size)
        cr_assert(!ZSTD_isError(ZSTD_compressStream2(context, &out, &first, ZSTD_e_continue)));
    cr_assert_eq(ZSTD_compressStream2(context, &out, &second, ZSTD_e_end), 0);
    ZSTD_freeCCtx(context);
    cr_assert_eq(ZSTD_getFrameContentSize(out.dst, out.pos), ZSTD_CONTENTSIZE_UNKNOWN);
    return span_of(out.dst, out.pos);
}

Test(protocol, compress_reads_frames_that_claim_no_size)
{
    for (size_t size = 2; size < 4 * MIB; size = size * 5 + 1) {
        struct span in = content(ZEROS, size);
        struct span packed = zstd_streamed(in);
        expect_inflates(CODEC_ZSTD, packed, 8 * MIB, in);
        expect_inflates(CODEC_ZSTD, packed, size, in);
        cr_assert_eq(inflate_only(CODEC_ZSTD, packed, size - 1), BATCH_TOO_LARGE);
        drop(packed);
        drop(in);
    }
}

Test(protocol, compress_reads_linked_lz4_blocks_with_size_and_sums)
{
    struct span in = content(WORDS, 500000);
    LZ4F_preferences_t preferences = {
        .frameInfo = {.blockSizeID = LZ4F_max256KB,
                      .blockMode = LZ4F_blockLinked,
                      .contentChecksumFlag = LZ4F_contentChecksumEnabled,
                      .contentSize = in.size,
                      .blockChecksumFlag = LZ4F_blockChecksumEnabled},
    };
    size_t bound = LZ4F_compressFrameBound(in.size, &preferences);
    uint8_t *packed = take(bound);
    size_t size = LZ4F_compressFrame(packed, bound, in.data, in.size, &preferences);
    cr_assert(!LZ4F_isError(size));
    expect_inflates(CODEC_LZ4, span_of(packed, size), MIB, in);
    expect_inflates(CODEC_LZ4, span_of(packed, size), in.size, in);
    cr_expect_eq(inflate_only(CODEC_LZ4, span_of(packed, size), in.size - 1), BATCH_TOO_LARGE);
    free(packed);
    drop(in);
}

Test(protocol, compress_gzip_that_lies_about_its_size)
{
    struct span in = content(WORDS, 5000);
    struct span packed = deflated(CODEC_GZIP, 0, in);
    static const uint32_t lies[] = {0, 1, 4999, 5001, 100000, UINT32_MAX};
    for (size_t i = 0; i < sizeof(lies) / sizeof(*lies); i++) {
        store_le32((uint8_t *)(uintptr_t)packed.data + packed.size - 4, lies[i]);
        cr_expect_eq(inflate_only(CODEC_GZIP, packed, 100000), BATCH_BAD_COMPRESSION);
    }
    drop(packed);
    drop(in);
}

Test(protocol, compress_bombs_stop_at_the_limit)
{
    struct span in = content(ZEROS, 64 * MIB);
    for (size_t c = 0; c < CODECS; c++) {
        struct span packed = deflated(codecs[c], 0, in);
        cr_expect_eq(inflate_only(codecs[c], packed, MIB), BATCH_TOO_LARGE, "%s",
                     codec_names[codecs[c]]);
        cr_expect_eq(inflate_only(codecs[c], packed, 0), BATCH_TOO_LARGE, "%s",
                     codec_names[codecs[c]]);
        drop(packed);
    }
    struct span packed = zstd_streamed(in);
    cr_assert_lt(packed.size * 10000, in.size);
    cr_expect_eq(inflate_only(CODEC_ZSTD, packed, MIB), BATCH_TOO_LARGE);
    drop(packed);
    drop(in);
}

Test(protocol, compress_unknown_codecs)
{
    struct arena arena;
    struct span out;
    size_t size;
    uint8_t room[64];
    arena_init(&arena, MIB);
    for (int codec = 0; codec < 9; codec = codec == 0 ? 5 : codec + 1) {
        cr_expect_eq(
            compress_inflate((enum batch_codec)codec, span_of("x", 1), &arena, 9, NULL, &out),
            BATCH_BAD_CODEC);
        cr_expect_eq(
            compress_deflate((enum batch_codec)codec, 0, span_of("x", 1), NULL, room, &size),
            BATCH_BAD_CODEC);
        cr_expect_eq(compress_bound((enum batch_codec)codec, 1), 0);
    }
    cr_expect_eq(compress_deflate(CODEC_ZSTD, 0, span_of("x", (size_t)1 << 31), NULL, room, &size),
                 BATCH_TOO_LARGE);
    arena_free(&arena);
}

Test(protocol, compress_says_when_memory_is_short)
{
    struct span in = content(WORDS, 100000);
    for (size_t c = 0; c < CODECS; c++) {
        struct span packed = deflated(codecs[c], 0, in), out;
        struct arena arena;
        arena_init(&arena, 50000);
        cr_expect_eq(compress_inflate(codecs[c], packed, &arena, MIB, NULL, &out), BATCH_NO_MEMORY,
                     "%s", codec_names[codecs[c]]);
        arena_free(&arena);
        drop(packed);
    }
    drop(in);
}

Test(protocol, compress_with_kept_contexts)
{
    struct batch_contexts contexts = {0};
    struct arena arena;
    arena_init(&arena, 8 * MIB);
    for (size_t size = 1; size < 4 * MIB; size = size * 7 + 1) {
        struct span in = content(WORDS, size), out;
        size_t packed_size;
        uint8_t *packed = take(compress_bound(CODEC_ZSTD, size));
        int level = (int)(size % 5);
        cr_assert_eq(compress_deflate(CODEC_ZSTD, level, in, &contexts, packed, &packed_size),
                     BATCH_OK);
        struct span whole = span_of(packed, packed_size), part = span_of(packed, packed_size - 1);
        // A failure must not spoil what follows.
        cr_assert_eq(compress_inflate(CODEC_ZSTD, part, &arena, size, &contexts, &out),
                     BATCH_BAD_COMPRESSION);
        arena_reset(&arena);
        cr_assert_eq(compress_inflate(CODEC_ZSTD, whole, &arena, size, &contexts, &out), BATCH_OK);
        cr_assert(span_equal(in, out));
        arena_reset(&arena);
        free(packed);
        drop(in);
    }
    cr_assert(contexts.zstd_deflate && contexts.zstd_inflate);
    batch_contexts_free(&contexts);
    cr_assert(!contexts.zstd_deflate && !contexts.zstd_inflate);
    arena_free(&arena);
}
