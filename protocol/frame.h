// SPDX-License-Identifier: Apache-2.0
// Framing: what stands before the body of every request and response. By hand, because its form
// depends on API and version.
//
// A frame is an int32 length and as many bytes: a header, then a body.
//   request  header 1: api key, api version, correlation id, client id (nullable, 2-byte length)
//   request  header 2: the same, then tagged fields; the client id keeps its 2-byte length
//   response header 0: correlation id
//   response header 1: correlation id, then tagged fields
// The newer headers go with the flexible versions of an API, with one exception: the response to
// ApiVersions always has header 0, because a client that asks does not know the versions yet.
//
// The other exception (KIP-511): a request for ApiVersions in a version the broker does not know is
// answered with a body in version 0, error 35 (UNSUPPORTED_VERSION) and the one row
// {18, min, max}; the client asks again in a version both know. Nothing after the correlation id of
// such a request may be interpreted. Any other unknown key or version closes the connection.
#pragma once

#include "protocol/reader.h"
#include "protocol/writer.h"

enum {
    KP_FRAME_LENGTH_SIZE = 4,
    KP_REQUEST_HEADER_MIN = 10, // key, version, correlation id, and a client id's length
};

// What the header says, and whether we can read on.
enum kp_frame_status {
    KP_FRAME_OK = 0,
    KP_FRAME_MALFORMED = -1,           // the bytes are no request header: close
    KP_FRAME_UNKNOWN_API = -2,         // no schema for this key: close
    KP_FRAME_UNKNOWN_VERSION = -3,     // outside the schema's versions: close
    KP_FRAME_UNKNOWN_API_VERSIONS = -4 // ApiVersions in a version unknown to us: answer as above
};

struct kp_api;

struct kp_request_header {
    int16_t api_key;
    int16_t api_version;
    int32_t correlation_id;
    struct span client_id; // data NULL = null; inside the frame
};

// Reads a request header and leaves `r` at the body. On KP_FRAME_OK *api is the row of the key
// and the version is one the schema covers; a server that serves fewer checks that itself.
// Otherwise *api is NULL or the row, as far as known; the fields read so far are set, correlation
// id included unless the status is KP_FRAME_MALFORMED.
enum kp_frame_status kp_request_header_read(struct kp_reader *r, struct kp_request_header *out,
                                            const struct kp_api **api);

// Writes a request header in the form its key and version ask for. An unknown key or a client id
// of more than 32767 bytes is a fault.
void kp_request_header_write(struct kp_writer *w, const struct kp_request_header *header);

// Whether the response to `api` in `version` has header 1.
bool kp_response_header_flexible(const struct kp_api *api, int16_t version);

void kp_response_header_write(struct kp_writer *w, const struct kp_api *api, int16_t version,
                              int32_t correlation_id);

// Reads a response's header and leaves `r` at the body. Returns 0, or -1 when malformed. A client
// that matches replies by correlation id reads that first (it is the first int32) to learn which
// API and version they belong to.
int kp_response_header_read(struct kp_reader *r, const struct kp_api *api, int16_t version,
                            int32_t *correlation_id);

// Starts a frame: room for its length. kp_frame_end writes the length of everything since, slices
// included, and fails the writer when that exceeds an int32. One frame per writer.
size_t kp_frame_begin(struct kp_writer *w);
void kp_frame_end(struct kp_writer *w, size_t mark);
