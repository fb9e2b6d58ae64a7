// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>

#include "gen/kp_api_versions.h"
#include "gen/kp_apis.h"
#include "gen/kp_fetch.h"
#include "gen/kp_produce.h"
#include "protocol/error.h"
#include "protocol/frame.h"

static enum kp_frame_status read_header(const char *bytes, size_t size,
                                        struct kp_request_header *header, const struct kp_api **api,
                                        size_t *left)
{
    struct kp_reader r = kp_reader_init(bytes, size);
    enum kp_frame_status status = kp_request_header_read(&r, header, api);
    *left = kp_reader_left(&r);
    return status;
}

#define READ(bytes) read_header(bytes, sizeof(bytes) - 1, &header, &api, &left)

Test(protocol, frame_request_header_1)
{
    struct kp_request_header header;
    const struct kp_api *api;
    size_t left;
    cr_assert_eq(READ("\x00\x01\x00\x0b\x00\x00\x00\x2a\x00\x02me\x63"), KP_FRAME_OK);
    cr_assert_eq(api, kp_api_find(KP_FETCH_KEY));
    cr_assert_eq(header.api_version, 11);
    cr_assert_eq(header.correlation_id, 42);
    cr_assert(span_equal(header.client_id, span_text("me")));
    cr_assert_eq(left, 1);
    cr_assert_eq(READ("\x00\x01\x00\x0b\x00\x00\x00\x2a\xff\xff\x63"), KP_FRAME_OK);
    cr_assert_null(header.client_id.data);
}

Test(protocol, frame_request_header_2_keeps_the_long_client_id)
{
    struct kp_request_header header;
    const struct kp_api *api;
    size_t left;
    cr_assert_eq(READ("\x00\x01\x00\x0c\x00\x00\x00\x2a\x00\x02me\x01\x09\x01x\x63"), KP_FRAME_OK);
    cr_assert(span_equal(header.client_id, span_text("me")));
    cr_assert_eq(left, 1, "the tagged field is skipped");
    cr_assert_eq(READ("\x00\x01\x00\x0c\x00\x00\x00\x2a\x00\x02me"), KP_FRAME_MALFORMED);
    cr_assert_eq(READ("\x00\x01\x00\x0c\x00\x00\x00\x2a\x00\x05me"), KP_FRAME_MALFORMED);
}

Test(protocol, frame_refuses_what_it_does_not_know)
{
    struct kp_request_header header;
    const struct kp_api *api;
    size_t left;
    cr_assert_eq(READ("\x00\x01\x00\x0c\x00\x00\x00"), KP_FRAME_MALFORMED);
    cr_assert_eq(READ("\x00\x04\x00\x00\x00\x00\x00\x01\xff\xff"), KP_FRAME_UNKNOWN_API);
    cr_assert_eq(header.correlation_id, 1);
    cr_assert_null(api);
    cr_assert_eq(READ("\xff\xff\x00\x00\x00\x00\x00\x01\xff\xff"), KP_FRAME_UNKNOWN_API);
    cr_assert_eq(READ("\x7f\xff\x00\x00\x00\x00\x00\x01\xff\xff"), KP_FRAME_UNKNOWN_API);
    cr_assert_eq(READ("\x00\x01\x00\x03\x00\x00\x00\x01\xff\xff"), KP_FRAME_UNKNOWN_VERSION);
    cr_assert_eq(READ("\x00\x01\x00\x13\x00\x00\x00\x01\xff\xff"), KP_FRAME_UNKNOWN_VERSION);
    cr_assert_eq(READ("\x00\x01\xff\xff\x00\x00\x00\x01\xff\xff"), KP_FRAME_UNKNOWN_VERSION);
    cr_assert_eq(api, kp_api_find(KP_FETCH_KEY));
}

Test(protocol, frame_api_versions_from_the_future)
{
    struct kp_request_header header;
    const struct kp_api *api;
    size_t left;
    cr_assert_eq(READ("\x00\x12\x7f\xff\x00\x00\x00\x07\xff"), KP_FRAME_UNKNOWN_API_VERSIONS);
    cr_assert_eq(header.correlation_id, 7);
    cr_assert_eq(api, kp_api_find(KP_API_VERSIONS_KEY));
}

Test(protocol, frame_headers_come_back)
{
    struct arena arena;
    arena_init(&arena, 1 << 16);
    for (int i = 0; i < KP_APIS_COUNT; i++) {
        for (int16_t version = kp_apis[i].min; version <= kp_apis[i].max; version++) {
            struct kp_writer w;
            kp_writer_init(&w, &arena);
            struct kp_request_header sent = {kp_apis[i].key, version, i + 1, span_text("client")};
            kp_request_header_write(&w, &sent);
            struct kp_reader r = kp_reader_init(w.data, w.size);
            struct kp_request_header got;
            const struct kp_api *api;
            cr_assert_eq(kp_request_header_read(&r, &got, &api), KP_FRAME_OK);
            cr_assert_eq(api, &kp_apis[i]);
            cr_assert_eq(got.api_version, version);
            cr_assert_eq(got.correlation_id, i + 1);
            cr_assert(span_equal(got.client_id, sent.client_id));
            cr_assert_eq(kp_reader_left(&r), 0);

            kp_writer_init(&w, &arena);
            kp_response_header_write(&w, api, version, 77);
            bool tags = version >= api->flexible_from && api->key != 18;
            cr_assert_eq(w.size, tags ? 5 : 4, "%s %d", api->name, version);
            r = kp_reader_init(w.data, w.size);
            int32_t correlation_id;
            cr_assert_eq(kp_response_header_read(&r, api, version, &correlation_id), 0);
            cr_assert_eq(correlation_id, 77);
            cr_assert_eq(kp_reader_left(&r), 0);
            arena_reset(&arena);
        }
    }
    arena_free(&arena);
}

Test(protocol, frame_response_header_faults)
{
    int32_t id;
    struct kp_reader r = kp_reader_init("\x00\x00\x00", 3);
    cr_assert_eq(kp_response_header_read(&r, kp_api_find(1), 4, &id), -1);
    r = kp_reader_init("\x00\x00\x00\x01", 4);
    cr_assert_eq(kp_response_header_read(&r, kp_api_find(1), 12, &id), -1, "no tags");
    r = kp_reader_init("\x00\x00\x00\x01", 4);
    cr_assert_eq(kp_response_header_read(&r, kp_api_find(18), 4, &id), 0);
}

Test(protocol, frame_length_counts_slices)
{
    struct arena arena;
    arena_init(&arena, 1 << 16);
    struct kp_writer w;
    kp_writer_init(&w, &arena);
    size_t mark = kp_frame_begin(&w);
    kp_write_i8(&w, 1);
    struct iovec slice = {(void *)(uintptr_t) "0123456789", 10};
    struct kp_records records = {.slices = &slice, .slice_count = 1, .size = 10};
    kp_write_records(&w, false, &records);
    kp_frame_end(&w, mark);
    struct span flat = kp_writer_flat(&w);
    cr_assert_eq(flat.size, 4 + 1 + 4 + 10);
    cr_assert(memcmp(flat.data,
                     "\x00\x00\x00\x0f\x01\x00\x00\x00\x0a"
                     "0123456789",
                     19) == 0);
    arena_free(&arena);
}

Test(protocol, frame_unknown_key_is_not_written)
{
    struct arena arena;
    arena_init(&arena, 1 << 16);
    struct kp_writer w;
    kp_writer_init(&w, &arena);
    kp_request_header_write(&w, &(struct kp_request_header){.api_key = 4});
    cr_assert(w.failed);
    arena_free(&arena);
}

Test(protocol, error_codes_have_their_names)
{
    static const struct {
        int code;
        const char *name;
        bool retriable;
    } rows[] = {
#define K(code, name, retriable, text) {(code), #name, (retriable)},
#include "protocol/error.def"
#undef K
    };
    int count = sizeof(rows) / sizeof(rows[0]);
    for (int i = 0; i < count; i++) {
        cr_assert_eq(rows[i].code, i - 1, "%s is out of order", rows[i].name);
        cr_assert_str_eq(kp_error_name((int16_t)rows[i].code), rows[i].name);
        cr_assert_eq(kp_error_retriable((int16_t)rows[i].code), rows[i].retriable);
        cr_assert_gt(strlen(kp_error_text((int16_t)rows[i].code)), 0);
    }
    cr_assert_str_eq(kp_error_name(KP_ERROR_UNSUPPORTED_VERSION), "UNSUPPORTED_VERSION");
    cr_assert_str_eq(kp_error_name(100), "UNKNOWN_TOPIC_ID");
    cr_assert(kp_error_retriable(KP_ERROR_NOT_LEADER_OR_FOLLOWER));
    cr_assert_not(kp_error_retriable(KP_ERROR_NONE));
    cr_assert_str_eq(kp_error_name(INT16_MAX), "UNKNOWN");
    cr_assert_str_eq(kp_error_name(INT16_MIN), "UNKNOWN");
    cr_assert_not(kp_error_retriable((int16_t)(count - 1)));
}
