// SPDX-License-Identifier: Apache-2.0
#include "broker/state_log.h"

#include <criterion/criterion.h>
#include <errno.h>

#include "broker/pack.h"

// --- bounds of msgpack ----------------------------------------------------------------------

static int read_bytes(const void *bytes, size_t size)
{
    struct pack_reader reader;
    const msgpack_object *root;
    int error = pack_read(&reader, span_of(bytes, size), &root);
    pack_reader_free(&reader);
    return error;
}

Test(broker, pack_reads_what_it_should)
{
    struct pack_reader reader;
    const msgpack_object *root;
    struct span text;
    int64_t number;
    // {"n": -5, "t": "hi", "a": [1, nil]}
    static const char bytes[] = "\x83\xa1n\xfb\xa1t\xa2hi\xa1"
                                "a\x92\x01\xc0";
    cr_assert_eq(pack_read(&reader, span_of(bytes, sizeof(bytes) - 1), &root), 0);
    cr_assert(pack_integer(pack_find(root, "n"), -9, 0, &number) && number == -5);
    cr_assert_not(pack_integer(pack_find(root, "n"), 0, 9, &number), "out of bounds");
    cr_assert(pack_text(pack_find(root, "t"), &text) && span_equal(text, span_text("hi")));
    cr_assert_not(pack_text(pack_find(root, "n"), &text));
    cr_assert(pack_integer(pack_item(pack_find(root, "a"), 0), 1, 1, &number));
    cr_assert_null(pack_item(pack_find(root, "a"), 2));
    cr_assert_null(pack_find(root, "x"));
    cr_assert_null(pack_find(NULL, "x"));
    pack_reader_free(&reader);
}

Test(broker, pack_refuses_lengths_that_lie)
{
    cr_assert_eq(read_bytes("", 0), -EBADMSG);
    cr_assert_eq(read_bytes("\xdd\xff\xff\xff\xff", 5), -EBADMSG, "an array of 4 G");
    cr_assert_eq(read_bytes("\xdf\x80\x00\x00\x00", 5), -EBADMSG, "a map whose size overflows");
    cr_assert_eq(read_bytes("\xdc\x00\x03\x01\x01", 5), -EBADMSG, "one element short");
    cr_assert_eq(read_bytes("\xdb\xff\xff\xff\xff", 5), -EBADMSG, "a string of 4 G");
    cr_assert_eq(read_bytes("\xc6\x00\x00\x00\x05"
                            "ab",
                            7),
                 -EBADMSG);
    cr_assert_eq(read_bytes("\xc1", 1), -EBADMSG, "a type that does not exist");
    cr_assert_eq(read_bytes("\xd4\x01\x02", 3), -EBADMSG, "an extension");
    cr_assert_eq(read_bytes("\x01\x02", 2), -EBADMSG, "more bytes than one object");
    char deep[64];
    memset(deep, '\x91', sizeof(deep));
    deep[63] = '\x01';
    cr_assert_eq(read_bytes(deep, sizeof(deep)), -EBADMSG, "63 levels");
    cr_assert_eq(read_bytes(deep + 56, 8), 0, "7 levels");
}

Test(broker, pack_measure_agrees_with_the_library_on_any_bytes)
{
    uint32_t state = 1;
    for (int turn = 0; turn < 200000; turn++) {
        uint8_t bytes[12];
        for (size_t i = 0; i < sizeof(bytes); i++) {
            state = state * 1664525u + 1013904223u;
            bytes[i] = (uint8_t)(state >> 24);
        }
        size_t size;
        if (!pack_measure(span_of(bytes, sizeof(bytes)), &size))
            continue;
        msgpack_unpacked unpacked;
        size_t at = 0;
        msgpack_unpacked_init(&unpacked);
        msgpack_unpack_return result =
            msgpack_unpack_next(&unpacked, (const char *)bytes, sizeof(bytes), &at);
        cr_assert(result == MSGPACK_UNPACK_SUCCESS || result == MSGPACK_UNPACK_EXTRA_BYTES);
        cr_assert_eq(at, size);
        msgpack_unpacked_destroy(&unpacked);
    }
}

// --- batches of state -----------------------------------------------------------------------

struct seen {
    int count;
    int tombstones;
    int stop_at;
    char keys[64];
};

static int see(void *context, struct span key, struct span value)
{
    struct seen *seen = context;
    cr_assert_eq(key.size, 1);
    seen->keys[seen->count++] = (char)key.data[0];
    seen->tombstones += value.data == NULL;
    return seen->stop_at == seen->count ? -EBADMSG : 0;
}

Test(broker, state_batch_gives_back_its_records_in_order)
{
    struct state_batch batch;
    struct seen seen = {0};
    state_batch_init(&batch);
    cr_assert(state_batch_empty(&batch));
    state_batch_add(&batch, 1000, span_text("a"), span_text("one"));
    state_batch_add(&batch, 1000, span_text("b"), (struct span){0});
    state_batch_add(&batch, 1001, span_text("c"), span_text(""));
    cr_assert_not(state_batch_empty(&batch));
    cr_assert_eq(state_batch_each(&batch, see, &seen), 0);
    cr_assert_eq(seen.count, 3);
    cr_assert_str_eq(seen.keys, "abc");
    cr_assert_eq(seen.tombstones, 1, "an empty value is no tombstone");
    seen = (struct seen){.stop_at = 2};
    cr_assert_eq(state_batch_each(&batch, see, &seen), -EBADMSG, "an error ends the walk");
    cr_assert_eq(seen.count, 2);
    state_batch_reset(&batch);
    cr_assert(state_batch_empty(&batch));
    state_batch_free(&batch);
}

Test(broker, state_batch_that_is_too_large_says_so)
{
    static char value[1 << 20];
    struct state_batch batch;
    struct seen seen = {0};
    state_batch_init(&batch);
    for (int i = 0; i < 20; i++)
        state_batch_add(&batch, 1000, span_text("a"), span_of(value, sizeof(value)));
    cr_assert(batch.failed);
    cr_assert_eq(state_batch_each(&batch, see, &seen), -EMSGSIZE);
    cr_assert_eq(seen.count, 0, "all or nothing");
    state_batch_free(&batch);
}
