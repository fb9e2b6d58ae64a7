// SPDX-License-Identifier: Apache-2.0
// Headers of requests and responses; frame.h describes their forms. Keeps no state.
//
// Nothing of an ApiVersions request in an unknown version is read beyond the correlation id: its
// header may have a form that does not exist yet.
#include "protocol/frame.h"

#include "gen/kp_api_versions.h"
#include "gen/kp_apis.h"

static bool covers(const struct kp_api *api, int16_t version)
{
    return version >= api->min && version <= api->max;
}

enum kp_frame_status kp_request_header_read(struct kp_reader *r, struct kp_request_header *out,
                                            const struct kp_api **api)
{
    *out = (struct kp_request_header){0};
    *api = NULL;
    out->api_key = kp_read_i16(r);
    out->api_version = kp_read_i16(r);
    out->correlation_id = kp_read_i32(r);
    if (r->failed)
        return KP_FRAME_MALFORMED;
    *api = kp_api_find(out->api_key);
    if (!*api)
        return KP_FRAME_UNKNOWN_API;
    if (!covers(*api, out->api_version))
        return out->api_key == KP_API_VERSIONS_KEY ? KP_FRAME_UNKNOWN_API_VERSIONS
                                                   : KP_FRAME_UNKNOWN_VERSION;
    out->client_id = kp_read_string(r, false, true);
    if (out->api_version >= (*api)->flexible_from)
        kp_skip_tags(r);
    return r->failed ? KP_FRAME_MALFORMED : KP_FRAME_OK;
}

void kp_request_header_write(struct kp_writer *w, const struct kp_request_header *header)
{
    const struct kp_api *api = kp_api_find(header->api_key);
    if (!api) {
        kp_writer_fail(w);
        return;
    }
    kp_write_i16(w, header->api_key);
    kp_write_i16(w, header->api_version);
    kp_write_i32(w, header->correlation_id);
    kp_write_string(w, false, true, header->client_id);
    if (header->api_version >= api->flexible_from)
        kp_write_uvarint(w, 0);
}

bool kp_response_header_flexible(const struct kp_api *api, int16_t version)
{
    return version >= api->flexible_from && api->key != KP_API_VERSIONS_KEY;
}

void kp_response_header_write(struct kp_writer *w, const struct kp_api *api, int16_t version,
                              int32_t correlation_id)
{
    kp_write_i32(w, correlation_id);
    if (kp_response_header_flexible(api, version))
        kp_write_uvarint(w, 0);
}

int kp_response_header_read(struct kp_reader *r, const struct kp_api *api, int16_t version,
                            int32_t *correlation_id)
{
    *correlation_id = kp_read_i32(r);
    if (kp_response_header_flexible(api, version))
        kp_skip_tags(r);
    return r->failed ? -1 : 0;
}

size_t kp_frame_begin(struct kp_writer *w)
{
    return kp_reserve_i32(w);
}

void kp_frame_end(struct kp_writer *w, size_t mark)
{
    if (w->failed)
        return;
    size_t size = kp_writer_total(w) - mark - KP_FRAME_LENGTH_SIZE;
    if (size > INT32_MAX)
        kp_writer_fail(w);
    else
        kp_patch_i32(w, mark, (int32_t)size);
}
