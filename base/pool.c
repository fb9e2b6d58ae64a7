// SPDX-License-Identifier: Apache-2.0
// Owns the memory of one thread's buffers.
//
// Invariants
//  1. used + idle <= limit.
//  2. A buffer is either referenced (refs > 0, counted in `used`) or idle (refs == 0, on the free
//     list of its size class, counted in `idle`). Buffers above the largest class are never idle.
//  3. Memory on a free list stays mapped: the first touch of a page costs a fault and its zeroing,
//     about as much as copying it, so recycling is what makes a buffer cheap. Only pool_trim and
//     a budget that is needed for another size give pages back.
//
// Buffers are mapped one by one. The kernel merges neighbouring mappings, so small buffers do not
// use up the process's mapping count; when unmapping from the middle of a merged one would exceed
// that count it fails, and then the buffer stays idle and only its pages are dropped.
#include "base/pool.h"

#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/check.h"
#include "base/clock.h"

#if defined(__SANITIZE_ADDRESS__)
#define POOL_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define POOL_ASAN 1
#endif
#endif
#ifdef POOL_ASAN
// So that touching a buffer after its last reference is reported in sanitized builds.
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(data, size) ((void)(data), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(data, size) ((void)(data), (void)(size))
#endif

enum {
    SMALLEST_SHIFT = 12, // BUFFER_ALIGN
    LARGEST_SHIFT = 23,  // 8 MiB
    CLASS_COUNT = LARGEST_SHIFT - SMALLEST_SHIFT + 1,
    NO_CLASS = CLASS_COUNT,
    HUGE_PAGE_SIZE = 2 << 20,
    GROWS_FAST_MS = 20, // from one new large buffer to the next
};

struct pool {
    struct pool_stats stats;
    struct buffer *free[CLASS_COUNT];
    struct pool_cache *caches;
    uint64_t grown_ns; // when the newest large buffer was mapped
};

struct pool *pool_create(size_t limit_bytes)
{
    struct pool *pool = calloc(1, sizeof(*pool));
    if (pool)
        pool->stats.limit_bytes = limit_bytes;
    return pool;
}

void pool_destroy(struct pool *pool)
{
    CHECK(pool->stats.used_bytes == 0);
    pool_trim(pool, 0);
    free(pool);
}

static unsigned class_of(size_t size)
{
    if (size <= BUFFER_ALIGN)
        return 0;
    if (size > (size_t)1 << LARGEST_SHIFT)
        return NO_CLASS;
    unsigned shift = 64 - (unsigned)__builtin_clzll((unsigned long long)size - 1);
    return shift - SMALLEST_SHIFT;
}

// `buffer` is on no list. False when the mapping could not be removed; its pages are dropped then.
static bool unmap(struct buffer *buffer)
{
    ASAN_UNPOISON_MEMORY_REGION(buffer->data, buffer->capacity);
    if (munmap(buffer->data, buffer->capacity) == 0) {
        free(buffer);
        return true;
    }
    madvise(buffer->data, buffer->capacity, MADV_DONTNEED);
    return false;
}

void pool_trim(struct pool *pool, size_t keep_bytes)
{
    // The largest first: most memory for the fewest system calls.
    for (int class = CLASS_COUNT - 1; class >= 0; class --) {
        while (pool->free[class] && pool->stats.idle_bytes > keep_bytes) {
            struct buffer *buffer = pool->free[class];
            size_t capacity = buffer->capacity;
            struct buffer *next = buffer->next_free;
            if (!unmap(buffer))
                break;
            pool->free[class] = next;
            pool->stats.idle_bytes -= capacity;
        }
    }
}

// Makes room for `size` more bytes within the limit, at the cost of idle buffers.
static bool reserve(struct pool *pool, size_t size)
{
    struct pool_stats *stats = &pool->stats;
    if (size > stats->limit_bytes || stats->used_bytes > stats->limit_bytes - size)
        return false;
    size_t idle_limit = stats->limit_bytes - size - stats->used_bytes;
    if (stats->idle_bytes > idle_limit)
        pool_trim(pool, idle_limit);
    return stats->idle_bytes <= idle_limit;
}

// A huge page is one fault instead of 512, and one page to pin for O_DIRECT: bulk gains from that.
// But its first touch holds the thread up for 0.2 ms, or 5 where a hypervisor has to find it, and
// everybody who waits with it. Where memory grows slowly small pages are touched one by one.
static bool grows_fast(struct pool *pool)
{
    uint64_t now_ns = clock_monotonic_ns();
    bool fast = now_ns - pool->grown_ns < GROWS_FAST_MS * UINT64_C(1000000);
    pool->grown_ns = now_ns;
    return fast;
}

static struct buffer *map_buffer(struct pool *pool, size_t capacity)
{
    struct buffer *buffer = malloc(sizeof(*buffer));
    if (!buffer)
        return NULL;
    void *data = mmap(NULL, capacity, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED) {
        free(buffer);
        return NULL;
    }
    // A wish: the kernel may refuse.
    if (capacity >= HUGE_PAGE_SIZE && grows_fast(pool))
        madvise(data, capacity, MADV_HUGEPAGE);
    *buffer = (struct buffer){.data = data, .capacity = capacity, .pool = pool};
    return buffer;
}

void pool_add_cache(struct pool *pool, struct pool_cache *cache)
{
    cache->next = pool->caches;
    pool->caches = cache;
}

void pool_remove_cache(struct pool *pool, struct pool_cache *cache)
{
    struct pool_cache **at = &pool->caches;
    while (*at && *at != cache)
        at = &(*at)->next;
    if (*at)
        *at = cache->next;
}

static struct buffer *get(struct pool *pool, size_t size)
{
    unsigned class = class_of(size);
    struct buffer *buffer = NULL;
    if (class != NO_CLASS && pool->free[class]) {
        buffer = pool->free[class];
        pool->free[class] = buffer->next_free;
        pool->stats.idle_bytes -= buffer->capacity;
        ASAN_UNPOISON_MEMORY_REGION(buffer->data, buffer->capacity);
    } else {
        size_t capacity = class != NO_CLASS
                              ? (size_t)BUFFER_ALIGN << class
                              : (size + BUFFER_ALIGN - 1) & ~((size_t)BUFFER_ALIGN - 1);
        if (reserve(pool, capacity))
            buffer = map_buffer(pool, capacity);
        if (!buffer)
            return NULL;
    }
    buffer->refs = 1;
    buffer->next_free = NULL;
    pool->stats.used_bytes += buffer->capacity;
    return buffer;
}

struct buffer *pool_get(struct pool *pool, size_t size)
{
    if (size > pool->stats.limit_bytes)
        return NULL;
    struct buffer *buffer = get(pool, size);
    // What is given is still in use where somebody has another reference; then the next one helps.
    for (struct pool_cache *cache = pool->caches; !buffer && cache; cache = cache->next) {
        cache->give(cache, size);
        buffer = get(pool, size);
    }
    return buffer;
}

struct pool_stats pool_stats(const struct pool *pool)
{
    return pool->stats;
}

void buffer_unref(struct buffer *buffer)
{
    CHECK(buffer->refs > 0);
    if (--buffer->refs > 0)
        return;
    struct pool *pool = buffer->pool;
    pool->stats.used_bytes -= buffer->capacity;
    unsigned class = class_of(buffer->capacity);
    if (class == NO_CLASS) {
        // Should unmapping fail, the pages are gone all the same; only the addresses are lost.
        if (!unmap(buffer))
            free(buffer);
        return;
    }
    buffer->next_free = pool->free[class];
    pool->free[class] = buffer;
    pool->stats.idle_bytes += buffer->capacity;
    ASAN_POISON_MEMORY_REGION(buffer->data, buffer->capacity);
}
