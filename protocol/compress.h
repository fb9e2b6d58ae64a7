// SPDX-License-Identifier: Apache-2.0
// The four compressed forms of record batches: gzip (RFC 1952), snappy (raw, and in the xerial
// framing of Java's clients), LZ4 frames, zstd frames. Any thread; keeps nothing between calls but
// what `contexts`, which may be NULL, is there for. CODEC_NONE is not accepted here.
#pragma once

#include "base/arena.h"
#include "base/span.h"
#include "protocol/record_batch.h"

// Inflates `in` into memory of `arena`, `limit` bytes at most: *out lives as long as the arena's
// memory. Sizes that the input claims are believed only below the limit. On failure, which may be
// BATCH_BAD_CODEC, BATCH_BAD_COMPRESSION, BATCH_TOO_LARGE or BATCH_NO_MEMORY, the arena may have
// used up to `limit` bytes.
enum batch_error compress_inflate(enum batch_codec codec, struct span in, struct arena *arena,
                                  size_t limit, struct batch_contexts *contexts, struct span *out);

// How much room compress_deflate needs for `size` bytes; 0 for an unknown codec or a size that the
// codec cannot take.
size_t compress_bound(enum batch_codec codec, size_t size);

// Compresses `in` into `to`, which has room for compress_bound(codec, in.size) bytes. Level 0 is
// the codec's default; levels beyond the codec's range mean its nearest; snappy has none. Sets
// *size. May return BATCH_BAD_CODEC, BATCH_TOO_LARGE (no bound) or BATCH_NO_MEMORY.
enum batch_error compress_deflate(enum batch_codec codec, int level, struct span in,
                                  struct batch_contexts *contexts, uint8_t *to, size_t *size);
