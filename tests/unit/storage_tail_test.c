// SPDX-License-Identifier: Apache-2.0
// How much memory tails take.
#include <criterion/criterion.h>

#include "storage/tail.h"

enum { KIB = 1024, MIB = 1024 * 1024, LIMIT = 64 * MIB, TAILS = 64, BATCH = 4 * KIB };

static void begin(struct tail *tail, struct tail_cache *cache)
{
    tail_init(tail, cache);
    tail->segment_bytes = 1 << 30;
    struct tail_place place = {.position = FORMAT_BLOCK};
    cr_assert_eq(tail_start_at(tail, place, NULL), 0);
}

static void append(struct tail *tail, int64_t offset)
{
    static const uint8_t batch[BATCH];
    cr_assert(tail_append(tail, span_of(batch, sizeof(batch)), offset, offset + 1, 0) != NULL);
}

static void flush(struct tail *tail)
{
    struct chunk *chunk;
    while (tail_first(tail, &chunk)) {
        tail_seal(tail);
        tail_flush(tail);
    }
}

Test(storage, many_busy_tails_share_the_memory_evenly)
{
    enum { EACH = 200 * KIB };
    struct pool *pool = pool_create(LIMIT);
    struct tail_cache cache;
    struct tail tails[TAILS];
    tail_cache_init(&cache, pool, 0);
    for (int i = 0; i < TAILS; i++)
        begin(&tails[i], &cache);
    for (int64_t offset = 0; offset < EACH / BATCH; offset++) {
        for (int i = 0; i < TAILS; i++)
            append(&tails[i], offset);
    }
    size_t data = (size_t)TAILS * EACH;
    cr_assert_leq(cache.needed_bytes, data * 3 / 2, "%zu bytes for %zu of data", cache.needed_bytes,
                  data);
    for (int i = 0; i < TAILS; i++)
        flush(&tails[i]);
    cr_assert_eq(cache.needed_bytes, 0);
    cr_assert_eq(cache.needed_chunks, 0);
    for (int i = 0; i < TAILS; i++)
        tail_free(&tails[i]);
    cr_assert_eq(cache.needed_chunks, 0);
    pool_destroy(pool);
}

Test(storage, a_tail_that_lost_its_memory_begins_with_what_it_had_filled)
{
    struct pool *pool = pool_create(LIMIT);
    struct tail_cache cache;
    struct tail tail;
    tail_cache_init(&cache, pool, 0);
    begin(&tail, &cache);
    int64_t offset = 0;
    while (offset < 10)
        append(&tail, offset++);
    flush(&tail);
    tail_cache_evict(&cache, 0);
    append(&tail, offset++);
    cr_assert_eq(cache.needed_bytes, 64 * KIB);
    flush(&tail);
    tail_cache_evict(&cache, 0);
    append(&tail, offset++); // it has become quiet
    cr_assert_eq(cache.needed_bytes, 8 * KIB);
    tail_free(&tail);
    pool_destroy(pool);
}
