// SPDX-License-Identifier: Apache-2.0
// Compressed records. The libraries' working memory is taken and returned inside each call, except
// that of zstd when the caller keeps it: there it costs as much as the work on a small batch.
//
// Invariants:
// 1. No buffer larger than the caller's limit is ever taken for output, whatever the input claims.
// 2. Every step of a loop consumes input or produces output, or the loop ends with an error.
// 3. Input is consumed to its last byte, otherwise it is bad: frames may follow one another,
//    rubbish may not.
#include "protocol/compress.h"

#define ZLIB_CONST // zlib promises not to write to its input
#include <limits.h>
#include <lz4frame.h>
#include <snappy-c.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "base/endian.h"

enum {
    GUESS_MIN = 16384,
    GUESS_RATIO = 4,       // records seldom shrink further
    GZIP_WINDOW = 15 + 16, // the largest window; gzip's framing, not zlib's
    GZIP_MEMORY = 8,
    SNAPPY_EXPAND_MAX = 22, // three bytes give at most 64
    XERIAL_HEADER = 16,
    XERIAL_BLOCK = 32768,
};

static const uint8_t xerial_magic[8] = {0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0};

// ---- Output of unknown size ----------------------------------------------------------------

// A buffer in an arena that grows up to the limit. At the limit one byte more is offered, which is
// not the buffer's: output that ends exactly at the limit leaves it alone, anything longer uses it.
struct sink {
    struct arena *arena;
    uint8_t *data;
    size_t size;
    size_t capacity;
    size_t limit;
    uint8_t beyond;
};

static enum batch_error sink_grow(struct sink *sink, size_t capacity)
{
    if (capacity > sink->limit)
        capacity = sink->limit;
    uint8_t *data = arena_resize(sink->arena, sink->data, sink->capacity, capacity);
    if (!data)
        return BATCH_NO_MEMORY;
    sink->data = data;
    sink->capacity = capacity;
    return BATCH_OK;
}

static enum batch_error sink_init(struct sink *sink, struct arena *arena, size_t limit,
                                  size_t capacity)
{
    *sink = (struct sink){.arena = arena, .limit = limit};
    return sink_grow(sink, capacity);
}

static size_t sink_guess(size_t compressed)
{
    size_t guess = compressed * GUESS_RATIO;
    return guess < GUESS_MIN ? GUESS_MIN : guess;
}

// Where the next output goes; *room is at least 1.
static enum batch_error sink_room(struct sink *sink, uint8_t **to, size_t *room)
{
    if (sink->size == sink->capacity && sink->capacity < sink->limit) {
        enum batch_error error = sink_grow(sink, sink->capacity * 2 + GUESS_MIN);
        if (error)
            return error;
    }
    bool full = sink->size == sink->limit;
    *to = full ? &sink->beyond : sink->data + sink->size;
    *room = full ? 1 : sink->capacity - sink->size;
    return BATCH_OK;
}

static enum batch_error sink_wrote(struct sink *sink, size_t size)
{
    if (size > sink->capacity - sink->size)
        return BATCH_TOO_LARGE;
    sink->size += size;
    return BATCH_OK;
}

static struct span sink_finish(struct sink *sink)
{
    // Making the newest allocation smaller cannot fail.
    uint8_t *data = arena_resize(sink->arena, sink->data, sink->capacity, sink->size);
    return span_of(data, sink->size);
}

// ---- gzip ----------------------------------------------------------------------------------

static uInt clamp_uint(size_t size)
{
    return size > UINT_MAX ? UINT_MAX : (uInt)size;
}

// One member, or the next piece of one. 1 at the end of a member, 0 for more, or an error.
static int gzip_step(z_stream *stream, struct sink *sink)
{
    size_t room;
    enum batch_error error = sink_room(sink, &stream->next_out, &room);
    if (error)
        return error;
    stream->avail_out = clamp_uint(room);
    uInt had = stream->avail_out;
    int status = inflate(stream, Z_NO_FLUSH);
    if (status == Z_MEM_ERROR)
        return BATCH_NO_MEMORY;
    // Z_BUF_ERROR, no progress, means that input is missing: there was room.
    if (status != Z_OK && status != Z_STREAM_END)
        return BATCH_BAD_COMPRESSION;
    error = sink_wrote(sink, had - stream->avail_out);
    if (error)
        return error;
    return status == Z_STREAM_END;
}

static enum batch_error gzip_inflate(struct span in, struct arena *arena, size_t limit,
                                     struct span *out)
{
    if (in.size < 18 || in.size > UINT_MAX) // head and tail of an empty member
        return BATCH_BAD_COMPRESSION;
    // The last four bytes claim the size (of the last member, modulo 2^32).
    size_t claimed = load_le32(in.data + in.size - 4);
    struct sink sink;
    enum batch_error error =
        sink_init(&sink, arena, limit, claimed / 1100 > in.size ? sink_guess(in.size) : claimed);
    if (error)
        return error;
    z_stream stream = {.next_in = in.data, .avail_in = (uInt)in.size};
    if (inflateInit2(&stream, GZIP_WINDOW) != Z_OK)
        return BATCH_NO_MEMORY;
    int step = 0;
    while (step == 0 || (step == 1 && stream.avail_in > 0)) {
        if (step == 1)
            inflateReset(&stream);
        step = gzip_step(&stream, &sink);
    }
    inflateEnd(&stream);
    if (step < 0)
        return (enum batch_error)step;
    *out = sink_finish(&sink);
    return BATCH_OK;
}

static enum batch_error gzip_deflate(int level, struct span in, uint8_t *to, size_t *size)
{
    if (level == 0)
        level = Z_DEFAULT_COMPRESSION;
    else if (level < Z_BEST_SPEED)
        level = Z_BEST_SPEED;
    else if (level > Z_BEST_COMPRESSION)
        level = Z_BEST_COMPRESSION;
    size_t room = compress_bound(CODEC_GZIP, in.size);
    z_stream stream = {.next_in = in.data,
                       .avail_in = (uInt)in.size,
                       .next_out = to,
                       .avail_out = clamp_uint(room)};
    if (deflateInit2(&stream, level, Z_DEFLATED, GZIP_WINDOW, GZIP_MEMORY, Z_DEFAULT_STRATEGY) !=
        Z_OK)
        return BATCH_NO_MEMORY;
    int status = deflate(&stream, Z_FINISH);
    *size = stream.total_out;
    deflateEnd(&stream);
    return status == Z_STREAM_END ? BATCH_OK : BATCH_TOO_LARGE;
}

// ---- snappy --------------------------------------------------------------------------------

// The size that a raw block claims, if a block of these bytes can be that large.
static enum batch_error snappy_claim(struct span in, size_t limit, size_t *claimed)
{
    if (snappy_uncompressed_length((const char *)in.data, in.size, claimed) != SNAPPY_OK)
        return BATCH_BAD_COMPRESSION;
    if (*claimed > limit)
        return BATCH_TOO_LARGE;
    return *claimed / SNAPPY_EXPAND_MAX > in.size ? BATCH_BAD_COMPRESSION : BATCH_OK;
}

static enum batch_error snappy_raw(struct span in, uint8_t *to, size_t size)
{
    size_t written = size;
    if (snappy_uncompress((const char *)in.data, in.size, (char *)to, &written) != SNAPPY_OK ||
        written != size)
        return BATCH_BAD_COMPRESSION;
    return BATCH_OK;
}

// Takes the next block of xerial framing off `rest`.
static enum batch_error xerial_next(struct span *rest, struct span *block)
{
    if (rest->size < 4)
        return BATCH_BAD_COMPRESSION;
    size_t size = load_be32(rest->data);
    if (size > rest->size - 4)
        return BATCH_BAD_COMPRESSION;
    *block = span_of(rest->data + 4, size);
    *rest = span_of(block->data + size, rest->size - 4 - size);
    return BATCH_OK;
}

static enum batch_error xerial_inflate(struct span in, struct arena *arena, size_t limit,
                                       struct span *out)
{
    const struct span body = span_of(in.data + XERIAL_HEADER, in.size - XERIAL_HEADER);
    struct span rest = body, block;
    enum batch_error error;
    size_t total = 0, claimed;
    while (rest.size > 0) {
        error = xerial_next(&rest, &block);
        if (!error)
            error = snappy_claim(block, limit - total, &claimed);
        if (error)
            return error;
        total += claimed;
    }
    uint8_t *to = arena_raw(arena, total);
    if (!to)
        return BATCH_NO_MEMORY;
    *out = span_of(to, total);
    for (rest = body; rest.size > 0; to += claimed) {
        error = xerial_next(&rest, &block);
        if (!error)
            error = snappy_claim(block, limit, &claimed);
        if (!error)
            error = snappy_raw(block, to, claimed);
        if (error)
            return error;
    }
    return BATCH_OK;
}

static enum batch_error snappy_inflate(struct span in, struct arena *arena, size_t limit,
                                       struct span *out)
{
    if (in.size >= XERIAL_HEADER && memcmp(in.data, xerial_magic, sizeof(xerial_magic)) == 0)
        return xerial_inflate(in, arena, limit, out);
    size_t claimed;
    enum batch_error error = snappy_claim(in, limit, &claimed);
    if (error)
        return error;
    uint8_t *to = arena_raw(arena, claimed);
    if (!to)
        return BATCH_NO_MEMORY;
    *out = span_of(to, claimed);
    return snappy_raw(in, to, claimed);
}

static size_t snappy_bound(size_t size)
{
    size_t blocks = size / XERIAL_BLOCK + 1;
    return XERIAL_HEADER + blocks * (4 + snappy_max_compressed_length(XERIAL_BLOCK));
}

static enum batch_error snappy_deflate(struct span in, uint8_t *to, size_t *size)
{
    uint8_t *at = to;
    memcpy(at, xerial_magic, sizeof(xerial_magic));
    store_be32(at + 8, 1);  // version
    store_be32(at + 12, 1); // oldest version that can read it
    at += XERIAL_HEADER;
    for (size_t done = 0; done < in.size;) {
        size_t block = in.size - done < XERIAL_BLOCK ? in.size - done : XERIAL_BLOCK;
        size_t written = snappy_max_compressed_length(block);
        if (snappy_compress((const char *)in.data + done, block, (char *)at + 4, &written) !=
            SNAPPY_OK)
            return BATCH_NO_MEMORY;
        store_be32(at, (uint32_t)written);
        at += 4 + written;
        done += block;
    }
    *size = (size_t)(at - to);
    return BATCH_OK;
}

// ---- LZ4 -----------------------------------------------------------------------------------

static enum batch_error lz4_frames(LZ4F_dctx *context, struct span in, struct sink *sink)
{
    size_t hint = 1;
    for (size_t at = 0; at < in.size || hint > 0;) {
        uint8_t *to;
        size_t room, taken = in.size - at;
        enum batch_error error = sink_room(sink, &to, &room);
        if (error)
            return error;
        // Also called without input left: it may hold back output for which there was no room.
        hint = LZ4F_decompress(context, to, &room, in.data + at, &taken, NULL);
        if (LZ4F_isError(hint) || (room == 0 && taken == 0))
            return BATCH_BAD_COMPRESSION;
        at += taken;
        error = sink_wrote(sink, room);
        if (error)
            return error;
    }
    return BATCH_OK;
}

static enum batch_error lz4_inflate(struct span in, struct arena *arena, size_t limit,
                                    struct span *out)
{
    struct sink sink;
    enum batch_error error = sink_init(&sink, arena, limit, sink_guess(in.size));
    if (error)
        return error;
    LZ4F_dctx *context;
    if (LZ4F_isError(LZ4F_createDecompressionContext(&context, LZ4F_VERSION)))
        return BATCH_NO_MEMORY;
    error = lz4_frames(context, in, &sink);
    LZ4F_freeDecompressionContext(context);
    if (!error)
        *out = sink_finish(&sink);
    return error;
}

// Independent blocks: Java's reader knows no others.
static LZ4F_preferences_t lz4_preferences(int level)
{
    return (LZ4F_preferences_t){
        .frameInfo = {.blockSizeID = LZ4F_max64KB, .blockMode = LZ4F_blockIndependent},
        .compressionLevel = level,
    };
}

static enum batch_error lz4_deflate(int level, struct span in, uint8_t *to, size_t *size)
{
    LZ4F_preferences_t preferences = lz4_preferences(level);
    *size = LZ4F_compressFrame(to, LZ4F_compressFrameBound(in.size, &preferences), in.data, in.size,
                               &preferences);
    return LZ4F_isError(*size) ? BATCH_NO_MEMORY : BATCH_OK;
}

// ---- zstd ----------------------------------------------------------------------------------

// Decompresses in one call, which needs no window besides the output. A stream would: up to 128
// MiB, as the input asks. The price is to begin again when the output did not fit; frames whose
// writer knew the size say it, and then it fits at once.
static enum batch_error zstd_frames(ZSTD_DCtx *context, struct span in, struct sink *sink)
{
    for (;;) {
        size_t size = ZSTD_decompressDCtx(context, sink->data, sink->capacity, in.data, in.size);
        if (!ZSTD_isError(size))
            return sink_wrote(sink, size);
        if (ZSTD_getErrorCode(size) != ZSTD_error_dstSize_tooSmall)
            return BATCH_BAD_COMPRESSION;
        if (sink->capacity >= sink->limit)
            return BATCH_TOO_LARGE;
        enum batch_error error = sink_grow(sink, sink->capacity * 4 + GUESS_MIN);
        if (error)
            return error;
    }
}

static enum batch_error zstd_inflate(struct span in, struct arena *arena, size_t limit,
                                     struct batch_contexts *contexts, struct span *out)
{
    unsigned long long claimed = ZSTD_getFrameContentSize(in.data, in.size);
    if (claimed == ZSTD_CONTENTSIZE_ERROR)
        return BATCH_BAD_COMPRESSION;
    bool known = claimed != ZSTD_CONTENTSIZE_UNKNOWN;
    if (known && claimed > limit)
        return BATCH_TOO_LARGE;
    struct sink sink;
    enum batch_error error =
        sink_init(&sink, arena, limit, known ? (size_t)claimed : sink_guess(in.size));
    if (error)
        return error;
    ZSTD_DCtx *context = contexts ? contexts->zstd_inflate : NULL;
    if (!context)
        context = ZSTD_createDCtx();
    if (!context)
        return BATCH_NO_MEMORY;
    error = zstd_frames(context, in, &sink);
    if (contexts)
        contexts->zstd_inflate = context;
    else
        ZSTD_freeDCtx(context);
    if (!error)
        *out = sink_finish(&sink);
    return error;
}

static enum batch_error zstd_deflate(int level, struct span in, struct batch_contexts *contexts,
                                     uint8_t *to, size_t *size)
{
    ZSTD_CCtx *context = contexts ? contexts->zstd_deflate : NULL;
    if (!context)
        context = ZSTD_createCCtx();
    if (!context)
        return BATCH_NO_MEMORY;
    *size = ZSTD_compressCCtx(context, to, ZSTD_compressBound(in.size), in.data, in.size, level);
    if (contexts)
        contexts->zstd_deflate = context;
    else
        ZSTD_freeCCtx(context);
    return ZSTD_isError(*size) ? BATCH_NO_MEMORY : BATCH_OK;
}

void batch_contexts_free(struct batch_contexts *contexts)
{
    ZSTD_freeCCtx(contexts->zstd_deflate);
    ZSTD_freeDCtx(contexts->zstd_inflate);
    *contexts = (struct batch_contexts){0};
}

// ---- All of them ---------------------------------------------------------------------------

enum batch_error compress_inflate(enum batch_codec codec, struct span in, struct arena *arena,
                                  size_t limit, struct batch_contexts *contexts, struct span *out)
{
    switch (codec) {
    case CODEC_GZIP:
        return gzip_inflate(in, arena, limit, out);
    case CODEC_SNAPPY:
        return snappy_inflate(in, arena, limit, out);
    case CODEC_LZ4:
        return lz4_inflate(in, arena, limit, out);
    case CODEC_ZSTD:
        return zstd_inflate(in, arena, limit, contexts, out);
    case CODEC_NONE:
        break;
    }
    return BATCH_BAD_CODEC;
}

size_t compress_bound(enum batch_codec codec, size_t size)
{
    if (size > INT32_MAX)
        return 0;
    LZ4F_preferences_t preferences = lz4_preferences(0);
    switch (codec) {
    case CODEC_GZIP:
        // Stored blocks cost 5 bytes each; zlib's own estimate for the default memory level is
        // below this, and gzip's head and tail take 18.
        return size + size / 8 + size / 64 + 64;
    case CODEC_SNAPPY:
        return snappy_bound(size);
    case CODEC_LZ4:
        return LZ4F_compressFrameBound(size, &preferences);
    case CODEC_ZSTD:
        return ZSTD_compressBound(size);
    case CODEC_NONE:
        break;
    }
    return 0;
}

enum batch_error compress_deflate(enum batch_codec codec, int level, struct span in,
                                  struct batch_contexts *contexts, uint8_t *to, size_t *size)
{
    if (compress_bound(codec, in.size) == 0)
        return in.size > INT32_MAX ? BATCH_TOO_LARGE : BATCH_BAD_CODEC;
    switch (codec) {
    case CODEC_GZIP:
        return gzip_deflate(level, in, to, size);
    case CODEC_SNAPPY:
        return snappy_deflate(in, to, size);
    case CODEC_LZ4:
        return lz4_deflate(level, in, to, size);
    case CODEC_ZSTD:
        return zstd_deflate(level, in, contexts, to, size);
    case CODEC_NONE:
        break;
    }
    return BATCH_BAD_CODEC;
}
