// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>

#include <stdlib.h>

#include "protocol/reader.h"

// A reader over a heap copy of exactly these bytes, so that a sanitizer sees any step beyond them.
static struct kp_reader reader_of(const char *bytes, size_t size, uint8_t **copy)
{
    *copy = malloc(size ? size : 1);
    memcpy(*copy, bytes, size);
    return kp_reader_init(*copy, size);
}

#define READER(name, bytes)                                                                        \
    uint8_t *name##_copy;                                                                          \
    struct kp_reader name = reader_of(bytes, sizeof(bytes) - 1, &name##_copy)

Test(protocol, reader_reads_numbers_in_network_order)
{
    READER(r, "\xff\x01\x02\xfe\xdc\x80\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01\x00\x01"
              "\x3f\xf8\x00\x00\x00\x00\x00\x00");
    cr_assert_eq(kp_read_i8(&r), -1);
    cr_assert_eq(kp_read_i16(&r), 0x0102);
    cr_assert_eq(kp_read_u16(&r), 0xfedc);
    cr_assert_eq(kp_read_i32(&r), INT32_MIN + 1);
    cr_assert_eq(kp_read_i64(&r), 256);
    cr_assert(kp_read_bool(&r));
    cr_assert_eq(kp_read_f64(&r), 1.5);
    cr_assert_eq(kp_reader_left(&r), 0);
    cr_assert_not(r.failed);
    free(r_copy);
}

Test(protocol, reader_fault_sticks)
{
    READER(r, "\x01\x02\x03");
    cr_assert_eq(kp_read_i32(&r), 0);
    cr_assert(r.failed);
    cr_assert_eq(kp_reader_left(&r), 0);
    cr_assert_eq(kp_read_i8(&r), 0, "bytes that were there before the fault are gone");
    cr_assert_null(kp_read_string(&r, true, true).data);
    cr_assert_eq(kp_read_count(&r, true, true, 1), 0, "a failed reader reports no null either");
    cr_assert_eq(kp_read_count(&r, false, true, 1), 0);
    free(r_copy);
}

Test(protocol, reader_varints_at_their_limits)
{
    READER(u, "\x00\x7f\x80\x01\xff\xff\xff\xff\x0f");
    cr_assert_eq(kp_read_uvarint(&u), 0);
    cr_assert_eq(kp_read_uvarint(&u), 127);
    cr_assert_eq(kp_read_uvarint(&u), 128);
    cr_assert_eq(kp_read_uvarint(&u), UINT32_MAX);
    cr_assert_not(u.failed);
    READER(s, "\x01\x02\xff\xff\xff\xff\x0f\xfe\xff\xff\xff\x0f");
    cr_assert_eq(kp_read_varint(&s), -1);
    cr_assert_eq(kp_read_varint(&s), 1);
    cr_assert_eq(kp_read_varint(&s), INT32_MIN);
    cr_assert_eq(kp_read_varint(&s), INT32_MAX);
    READER(l, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01");
    cr_assert_eq(kp_read_varlong(&l), INT64_MIN);
    cr_assert_eq(kp_read_varlong(&l), INT64_MAX);
    cr_assert_not(s.failed || l.failed);
    free(u_copy);
    free(s_copy);
    free(l_copy);
}

Test(protocol, reader_refuses_overlong_varints)
{
    READER(bits, "\xff\xff\xff\xff\x10"); // bit 32 set
    kp_read_uvarint(&bits);
    cr_assert(bits.failed);
    READER(bytes, "\x80\x80\x80\x80\x80\x00"); // a sixth byte
    kp_read_uvarint(&bytes);
    cr_assert(bytes.failed);
    READER(wide, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"); // bit 64 set
    kp_read_varlong(&wide);
    cr_assert(wide.failed);
    READER(cut, "\x80\x80");
    kp_read_varlong(&cut);
    cr_assert(cut.failed);
    free(bits_copy);
    free(bytes_copy);
    free(wide_copy);
    free(cut_copy);
}

Test(protocol, reader_strings_null_empty_and_full)
{
    READER(r, "\xff\xff\x00\x00\x00\x02hi\x00\x01\x03yo");
    cr_assert_null(kp_read_string(&r, false, true).data);
    struct span empty = kp_read_string(&r, false, false);
    cr_assert(empty.data && empty.size == 0);
    cr_assert(span_equal(kp_read_string(&r, false, false), span_text("hi")));
    cr_assert_null(kp_read_string(&r, true, true).data);
    empty = kp_read_string(&r, true, false);
    cr_assert(empty.data && empty.size == 0);
    cr_assert(span_equal(kp_read_string(&r, true, false), span_text("yo")));
    cr_assert(!r.failed && kp_reader_left(&r) == 0);
    free(r_copy);
}

Test(protocol, reader_refuses_bad_lengths)
{
    static const struct {
        const char *bytes;
        size_t size;
        bool compact;
    } cases[] = {
        {"\xff\xff", 2, false},             // null where none may be
        {"\x00", 1, true},                  // the same, compact
        {"\xff\xfe..", 4, false},           // -2
        {"\x00\x03..", 4, false},           // one byte short
        {"\x04..", 3, true},                // the same, compact
        {"\xff\xff\xff\xff\x0f..", 7, true} // 4 GiB
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint8_t *copy;
        struct kp_reader r = reader_of(cases[i].bytes, cases[i].size, &copy);
        cr_assert_null(kp_read_string(&r, cases[i].compact, false).data);
        cr_assert(r.failed, "case %zu", i);
        free(copy);
    }
    READER(negative, "\xff\xff\xff\xfe....");
    kp_read_bytes(&negative, false, true);
    cr_assert(negative.failed, "-2 is not null");
    free(negative_copy);
}

Test(protocol, reader_refuses_strings_above_32767_bytes)
{
    size_t size = 3 + 32768;
    uint8_t *bytes = calloc(size, 1);
    memcpy(bytes, "\x81\x80\x02", 3); // 32769 - 1
    struct kp_reader r = kp_reader_init(bytes, size);
    kp_read_string(&r, true, true);
    cr_assert(r.failed);
    r = kp_reader_init(bytes, size);
    cr_assert_eq(kp_read_bytes(&r, true, true).size, 32768, "bytes have no such limit");
    free(bytes);
}

Test(protocol, reader_counts_are_bounded_by_the_bytes)
{
    READER(fits, "\x00\x00\x00\x02........");
    cr_assert_eq(kp_read_count(&fits, false, false, 4), 2);
    READER(over, "\x00\x00\x00\x03........");
    cr_assert_eq(kp_read_count(&over, false, false, 4), 0);
    cr_assert(over.failed);
    READER(huge, "\x7f\xff\xff\xff........");
    kp_read_count(&huge, false, true, 1);
    cr_assert(huge.failed);
    READER(negative, "\xff\xff\xff\xfe........");
    kp_read_count(&negative, false, true, 1);
    cr_assert(negative.failed);
    READER(null, "\xff\xff\xff\xff\x00\xff\xff\xff\xff");
    cr_assert_eq(kp_read_count(&null, false, true, 1), -1);
    cr_assert_eq(kp_read_count(&null, true, true, 1), -1);
    cr_assert_not(null.failed);
    kp_read_count(&null, false, false, 1);
    cr_assert(null.failed);
    READER(wide, "\xff\xff\xff\xff\x0f....");
    kp_read_count(&wide, true, true, 1);
    cr_assert(wide.failed);
    free(fits_copy);
    free(over_copy);
    free(huge_copy);
    free(negative_copy);
    free(null_copy);
    free(wide_copy);
}

Test(protocol, reader_elements_are_bounded_by_the_arena)
{
    struct arena arena;
    arena_init(&arena, 64);
    READER(r, "....");
    cr_assert_null(kp_read_elements(&r, &arena, 0, 8));
    cr_assert_null(kp_read_elements(&r, &arena, -1, 8));
    cr_assert_not(r.failed);
    cr_assert_not_null(kp_read_elements(&r, &arena, 4, 8));
    cr_assert_null(kp_read_elements(&r, &arena, 5, 8));
    cr_assert(r.failed);
    arena_free(&arena);
    free(r_copy);
}

Test(protocol, reader_records_point_into_the_buffer)
{
    READER(r, "\x00\x00\x00\x03"
              "abc\xff\xff\xff\xff\x04"
              "def\x00\x01");
    struct kp_records records;
    kp_read_records(&r, false, &records);
    cr_assert_eq(records.size, 3);
    cr_assert_eq(records.slice_count, 1);
    cr_assert_eq(records.slices, &records.one);
    cr_assert_eq(records.one.iov_base, r_copy + 4);
    kp_read_records(&r, false, &records);
    cr_assert_eq(records.size, -1);
    kp_read_records(&r, true, &records);
    cr_assert_eq(records.one.iov_base, r_copy + 12);
    kp_read_records(&r, true, &records);
    cr_assert_eq(records.size, -1);
    kp_read_records(&r, true, &records);
    cr_assert_eq(records.size, 0);
    cr_assert(!r.failed && kp_reader_left(&r) == 0);
    free(r_copy);
}

Test(protocol, reader_marks_of_nullable_structs)
{
    READER(r, "\x01\xff\x00");
    cr_assert(kp_read_present(&r));
    cr_assert_not(kp_read_present(&r));
    cr_assert_not(r.failed);
    cr_assert_not(kp_read_present(&r));
    cr_assert(r.failed);
    free(r_copy);
}

Test(protocol, reader_tags)
{
    READER(skip, "\x02\x05\x03"
                 "abc\x07\x00!");
    kp_skip_tags(&skip);
    cr_assert_eq(kp_read_i8(&skip), '!');
    cr_assert_not(skip.failed);
    READER(over, "\x01\x05\x04"
                 "abc");
    kp_skip_tags(&over);
    cr_assert(over.failed);
    READER(many, "\xff\xff\xff\xff\x0f\x00\x00");
    kp_skip_tags(&many);
    cr_assert(many.failed);

    READER(r, "\x09\x02"
              "ab!");
    uint32_t tag;
    struct kp_reader field = kp_read_tag(&r, &tag);
    cr_assert_eq(tag, 9);
    cr_assert_eq(kp_read_i8(&field), 'a');
    kp_read_tag_done(&r, &field);
    cr_assert(r.failed, "a byte of the field was not used");
    READER(small, "\x09\x02"
                  "ab!!!!");
    field = kp_read_tag(&small, &tag);
    cr_assert_eq(kp_read_i32(&field), 0, "a field does not reach into what follows");
    kp_read_tag_done(&small, &field);
    cr_assert(small.failed);
    free(skip_copy);
    free(over_copy);
    free(many_copy);
    free(r_copy);
    free(small_copy);
}

Test(protocol, reader_skip)
{
    READER(r, "abc");
    kp_skip(&r, 2);
    cr_assert_eq(kp_reader_left(&r), 1);
    kp_skip(&r, SIZE_MAX);
    cr_assert(r.failed);
    free(r_copy);
}

Test(protocol, reader_of_nothing)
{
    struct kp_reader r = kp_reader_init(NULL, 0);
    cr_assert_eq(kp_reader_left(&r), 0);
    kp_read_i8(&r);
    cr_assert(r.failed);
}
