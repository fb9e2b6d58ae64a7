// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>

#include <stdlib.h>

#include "protocol/reader.h"
#include "protocol/writer.h"

static struct arena arena;
static struct kp_writer w;

static void set_up(void)
{
    arena_init(&arena, 1 << 20);
    kp_writer_init(&w, &arena);
}

static void tear_down(void)
{
    arena_free(&arena);
}

static void assert_bytes(const char *bytes, size_t size)
{
    struct span flat = kp_writer_flat(&w);
    cr_assert_not_null(flat.data);
    cr_assert_eq(flat.size, size, "%zu bytes", flat.size);
    cr_assert_arr_eq(flat.data, bytes, size);
}

#define ASSERT_BYTES(bytes) assert_bytes(bytes, sizeof(bytes) - 1)

Test(protocol, writer_numbers, .init = set_up, .fini = tear_down)
{
    kp_write_i8(&w, -1);
    kp_write_i16(&w, 0x0102);
    kp_write_u16(&w, 0xfedc);
    kp_write_i32(&w, -2);
    kp_write_i64(&w, 256);
    kp_write_bool(&w, true);
    kp_write_f64(&w, 1.5);
    kp_write_uvarint(&w, 128);
    kp_write_varint(&w, -1);
    kp_write_varlong(&w, INT64_MIN);
    ASSERT_BYTES("\xff\x01\x02\xfe\xdc\xff\xff\xff\xfe\x00\x00\x00\x00\x00\x00\x01\x00\x01"
                 "\x3f\xf8\x00\x00\x00\x00\x00\x00\x80\x01\x01"
                 "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01");
}

Test(protocol, writer_varints_come_back, .init = set_up, .fini = tear_down)
{
    static const int64_t edges[] = {0, 63, 64, 8191, 8192, INT32_MAX, INT64_MAX};
    size_t count = sizeof(edges) / sizeof(edges[0]);
    for (size_t i = 0; i < count; i++) {
        kp_write_uvarint(&w, (uint32_t)edges[i]);
        kp_write_varint(&w, (int32_t)edges[i]);
        kp_write_varint(&w, -(int32_t)edges[i]);
        kp_write_varlong(&w, edges[i]);
        kp_write_varlong(&w, -edges[i] - 1);
    }
    struct kp_reader r = kp_reader_init(w.data, w.size);
    for (size_t i = 0; i < count; i++) {
        cr_assert_eq(kp_read_uvarint(&r), (uint32_t)edges[i]);
        cr_assert_eq(kp_read_varint(&r), (int32_t)edges[i]);
        cr_assert_eq(kp_read_varint(&r), -(int32_t)edges[i]);
        cr_assert_eq(kp_read_varlong(&r), edges[i]);
        cr_assert_eq(kp_read_varlong(&r), -edges[i] - 1);
    }
    cr_assert(!r.failed && kp_reader_left(&r) == 0);
}

Test(protocol, writer_strings_and_bytes, .init = set_up, .fini = tear_down)
{
    kp_write_string(&w, false, true, (struct span){0});
    kp_write_string(&w, false, false, span_text(""));
    kp_write_string(&w, true, true, (struct span){0});
    kp_write_string(&w, true, false, span_text("ab"));
    kp_write_bytes(&w, false, true, (struct span){0});
    kp_write_bytes(&w, false, false, span_text("c"));
    kp_write_bytes(&w, true, false, span_text(""));
    ASSERT_BYTES("\xff\xff\x00\x00\x00\x03"
                 "ab\xff\xff\xff\xff\x00\x00\x00\x01"
                 "c\x01");
}

Test(protocol, writer_refuses_null_where_none_may_be, .init = set_up, .fini = tear_down)
{
    kp_write_i8(&w, 7);
    kp_write_string(&w, true, false, (struct span){0});
    cr_assert(w.failed);
    kp_write_i64(&w, 1);
    cr_assert_eq(w.size, 1, "nothing is written after a fault");
    cr_assert_null(kp_writer_flat(&w).data);
    struct iovec *vectors;
    cr_assert_eq(kp_writer_vectors(&w, &vectors), -1);
}

Test(protocol, writer_refuses_values_beyond_their_field, .init = set_up, .fini = tear_down)
{
    char *text = calloc(1, 40000);
    kp_write_string(&w, false, false, span_of(text, 32767));
    cr_assert_not(w.failed);
    kp_write_string(&w, false, false, span_of(text, 32768));
    cr_assert(w.failed);
    kp_writer_init(&w, &arena);
    kp_write_string(&w, true, false, span_of(text, 32768));
    cr_assert(w.failed);
    kp_writer_init(&w, &arena);
    kp_write_count(&w, false, false, -1);
    cr_assert(w.failed);
    kp_writer_init(&w, &arena);
    kp_write_count(&w, true, true, -2);
    cr_assert(w.failed);
    free(text);
}

Test(protocol, writer_counts, .init = set_up, .fini = tear_down)
{
    kp_write_count(&w, false, true, -1);
    kp_write_count(&w, true, true, -1);
    kp_write_count(&w, true, false, 127);
    kp_write_count(&w, false, false, 2);
    ASSERT_BYTES("\xff\xff\xff\xff\x00\x80\x01\x00\x00\x00\x02");
}

Test(protocol, writer_grows_and_stops_at_the_arena)
{
    struct arena small;
    arena_init(&small, 4096);
    struct kp_writer writer;
    kp_writer_init(&writer, &small);
    for (int i = 0; i < 200; i++)
        kp_write_i64(&writer, i);
    cr_assert_not(writer.failed);
    struct kp_reader r = kp_reader_init(writer.data, writer.size);
    for (int i = 0; i < 200; i++)
        cr_assert_eq(kp_read_i64(&r), i);
    for (int i = 0; i < 1000; i++)
        kp_write_i64(&writer, i);
    cr_assert(writer.failed);
    cr_assert_leq(small.used, 4096);
    arena_free(&small);
}

Test(protocol, writer_tag_sizes, .init = set_up, .fini = tear_down)
{
    size_t mark = kp_write_tag(&w, 3);
    kp_write_tag_done(&w, mark);
    mark = kp_write_tag(&w, 4);
    kp_write_raw(&w, "xyz", 3);
    kp_write_tag_done(&w, mark);
    ASSERT_BYTES("\x03\x00\x04\x03xyz");
    char big[300];
    memset(big, 'b', sizeof(big));
    mark = kp_write_tag(&w, 200);
    kp_write_raw(&w, big, sizeof(big));
    kp_write_tag_done(&w, mark);
    struct kp_reader r = kp_reader_init(w.data + 7, w.size - 7);
    uint32_t tag;
    struct kp_reader field = kp_read_tag(&r, &tag);
    cr_assert_eq(tag, 200);
    cr_assert_eq(kp_reader_left(&field), sizeof(big));
    cr_assert_arr_eq(field.at, big, sizeof(big));
    cr_assert_eq(kp_reader_left(&r), 0);
}

Test(protocol, writer_reserves_and_patches, .init = set_up, .fini = tear_down)
{
    kp_write_i8(&w, 1);
    size_t at = kp_reserve_i32(&w);
    kp_write_i8(&w, 2);
    kp_patch_i32(&w, at, 0x01020304);
    ASSERT_BYTES("\x01\x01\x02\x03\x04\x02");
}

static struct iovec slice(const char *text)
{
    return (struct iovec){(void *)(uintptr_t)text, strlen(text)};
}

Test(protocol, writer_splices_records, .init = set_up, .fini = tear_down)
{
    struct iovec slices[] = {slice("abc"), slice(""), slice("de")};
    struct kp_records first = {.slices = slices, .slice_count = 3, .size = 5};
    struct kp_records null = {.size = -1};
    struct kp_records empty = {.size = 0};
    kp_write_records(&w, false, &first);
    kp_write_records(&w, true, &null);
    kp_write_records(&w, true, &empty);
    kp_write_records(&w, true, &first);
    cr_assert_eq(w.spliced, 10);
    cr_assert_eq(kp_writer_total(&w), 4 + 5 + 1 + 1 + 1 + 5);
    struct iovec *vectors;
    cr_assert_eq(kp_writer_vectors(&w, &vectors), 6);
    cr_assert_eq(vectors[1].iov_base, slices[0].iov_base, "slices are passed on, not copied");
    cr_assert_eq(vectors[2].iov_base, slices[2].iov_base, "empty slices are left out");
    ASSERT_BYTES("\x00\x00\x00\x05"
                 "abcde\x00\x01\x06"
                 "abcde");
}

Test(protocol, writer_refuses_records_of_another_size, .init = set_up, .fini = tear_down)
{
    struct iovec one = slice("abc");
    struct kp_records wrong = {.slices = &one, .slice_count = 1, .size = 4};
    kp_write_records(&w, false, &wrong);
    cr_assert(w.failed);
}

Test(protocol, writer_many_splices, .init = set_up, .fini = tear_down)
{
    struct iovec one = slice("0123456789");
    struct kp_records records = {.slices = &one, .slice_count = 1, .size = 10};
    for (int i = 0; i < 100; i++)
        kp_write_records(&w, true, &records);
    struct span flat = kp_writer_flat(&w);
    cr_assert_eq(flat.size, 1100);
    for (size_t i = 0; i < 100; i++)
        cr_assert(memcmp(flat.data + i * 11,
                         "\x0b"
                         "0123456789",
                         11) == 0);
}

Test(protocol, writer_of_nothing, .init = set_up, .fini = tear_down)
{
    struct iovec *vectors;
    cr_assert_eq(kp_writer_vectors(&w, &vectors), 0);
    struct span flat = kp_writer_flat(&w);
    cr_assert(flat.data && flat.size == 0);
}
