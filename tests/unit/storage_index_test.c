// SPDX-License-Identifier: Apache-2.0
#include "storage/index.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>

enum { FRAME = 4096, FRAMES = 300000 }; // 1.2 GB of small frames

// Frame i holds offsets 3i to 3i + 2; the largest timestamp grows every tenth frame.
static struct index_entry entry_of(int64_t i)
{
    return (struct index_entry){
        .offset = 3 * i,
        .position = (uint64_t)(i + 1) * FRAME,
        .max_before = i / 10 - 1,
    };
}

static void fill(struct index *index, int64_t frames)
{
    for (int64_t i = 0; i < frames; i++) {
        struct index_entry entry = entry_of(i);
        index_add(index, &entry, false);
    }
}

static void check(const struct index *index, int64_t frames, uint64_t step)
{
    for (int64_t i = 0; i < frames; i += 977) {
        const struct index_entry *entry = index_find_offset(index, 3 * i + 1);
        cr_assert(entry != NULL);
        cr_assert_leq(entry->offset, 3 * i);
        cr_assert_leq((uint64_t)(i + 1) * FRAME - entry->position, step);
        entry = index_find_time(index, i / 10);
        cr_assert(entry != NULL);
        cr_assert_lt(entry->max_before, i / 10);
    }
}

Test(storage, an_index_stays_small_and_finds_its_way)
{
    struct index index = {0};
    cr_assert(index_find_offset(&index, 0) == NULL);
    fill(&index, FRAMES);
    cr_assert_leq(index.count, 1024);
    cr_assert_geq(index.count, 500);
    check(&index, FRAMES, 4 << 20);
    struct index_entry near = entry_of(FRAMES);
    uint32_t count = index.count;
    index_add(&index, &near, true);
    cr_assert_eq(index.count, count + 1);
    index_free(&index);
}

Test(storage, an_index_image_comes_back_unless_damaged)
{
    struct index index = {0};
    fill(&index, 1000);
    struct index_header header = {.salt = 99, .covered = 1001 * FRAME, .next_offset = 3000};
    size_t size = 0;
    uint8_t *image = index_image(&index, &header, span_text("producers"), &size);
    cr_assert(image != NULL);
    struct index loaded = {0};
    struct index_header read;
    struct span producers;
    cr_assert_eq(index_load(&loaded, image, size, 99, &read, &producers), 0);
    cr_assert(span_equal(producers, span_text("producers")));
    cr_assert_eq(loaded.count, index.count);
    cr_assert_eq(read.next_offset, 3000);
    check(&loaded, 1000, 64 * 1024);
    cr_assert_eq(index_load(&loaded, image, size, 98, &read, &producers), -EBADMSG,
                 "of another segment");
    cr_assert_eq(index_load(&loaded, image, size - 1, 99, &read, &producers), -EBADMSG);
    for (size_t byte = 0; byte < size; byte++) {
        image[byte] ^= 4;
        cr_assert_eq(index_load(&loaded, image, size, 99, &read, &producers), -EBADMSG, "byte %zu",
                     byte);
        image[byte] ^= 4;
    }
    check(&loaded, 1000, 64 * 1024);
    free(image);
    index_free(&index);
    index_free(&loaded);
}
