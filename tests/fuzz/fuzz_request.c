// SPDX-License-Identifier: Apache-2.0
// Requests as a client may send them and responses as a broker may. Three bytes choose: the API
// (its key, or else a position), the version (or else a position among those there are), and in
// bit 0 request or response, in bit 1 whether a request's header is all the input's own. What
// decodes must decode alike in both codecs, and encode to something that decodes to the same.
#include <stdlib.h>

#include "base/check.h"
#include "base/endian.h"
#include "gen/kp_apis.h"
#include "protocol/frame.h"

enum { DECODE_LIMIT = 1 << 20, ENCODE_LIMIT = 1 << 24, RESPONSE = 1, RAW = 2 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void *decoded(const struct kp_message *desc, int16_t version, struct kp_reader *r,
                     struct arena *arena, bool by_table)
{
    void *message = arena_alloc(arena, desc->body->size);
    CHECK(message);
    int status = by_table ? kp_describe_decode(desc, r, version, arena, message)
                          : desc->decode(r, version, arena, message);
    CHECK(status == (r->failed ? -1 : 0));
    return status == 0 ? message : NULL;
}

static struct span encoded(const struct kp_message *desc, int16_t version, struct arena *arena,
                           const void *message)
{
    struct kp_writer w;
    kp_writer_init(&w, arena);
    desc->encode(&w, version, message);
    struct span flat = kp_writer_flat(&w);
    CHECK(flat.data);
    return flat;
}

static void check_body(const struct kp_message *desc, int16_t version, struct kp_reader body)
{
    struct arena first, second, third;
    arena_init(&first, DECODE_LIMIT);
    arena_init(&second, DECODE_LIMIT);
    arena_init(&third, ENCODE_LIMIT);
    struct kp_reader r = body;
    void *message = decoded(desc, version, &r, &first, false);
    struct kp_reader r_table = body;
    void *by_table = decoded(desc, version, &r_table, &second, true);
    CHECK(!message == !by_table);
    if (message) {
        CHECK(r.at == r_table.at);
        CHECK(kp_describe_equal(desc, KP_EVERY_VERSION, message, by_table));
        struct span bytes = encoded(desc, version, &third, message);
        struct kp_reader again = kp_reader_init(bytes.data, bytes.size);
        void *back = decoded(desc, version, &again, &third, false);
        CHECK(back && kp_reader_left(&again) == 0);
        CHECK(kp_describe_equal(desc, KP_EVERY_VERSION, message, back));
        CHECK(span_equal(encoded(desc, version, &third, back), bytes));
    }
    arena_free(&first);
    arena_free(&second);
    arena_free(&third);
}

static void check_response(const struct kp_api *api, int16_t version, struct kp_reader r)
{
    int32_t correlation_id;
    if (kp_response_header_read(&r, api, version, &correlation_id) == 0)
        check_body(api->response, version, r);
}

static void check_request(struct kp_reader r)
{
    struct kp_request_header header;
    const struct kp_api *api;
    if (kp_request_header_read(&r, &header, &api) == KP_FRAME_OK) {
        CHECK(api->key == header.api_key);
        check_body(api->request, header.api_version, r);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3)
        return 0;
    const struct kp_api *api = kp_api_find(data[0]);
    if (!api)
        api = &kp_apis[data[0] % KP_APIS_COUNT];
    int16_t version = data[1];
    if (version < api->min || version > api->max)
        version = (int16_t)(api->min + data[1] % (api->max - api->min + 1));
    struct kp_reader rest = kp_reader_init(data + 3, size - 3);
    if (data[2] & RESPONSE) {
        check_response(api, version, rest);
    } else if (data[2] & RAW) {
        check_request(rest);
    } else {
        uint8_t *frame = malloc(4 + size - 3);
        CHECK(frame);
        store_be16(frame, (uint16_t)api->key);
        store_be16(frame + 2, (uint16_t)version);
        memcpy(frame + 4, data + 3, size - 3);
        check_request(kp_reader_init(frame, 4 + size - 3));
        free(frame);
    }
    return 0;
}
