// SPDX-License-Identifier: Apache-2.0
// Messages as data: the same schemas that generate the codecs, as tables. For tools, tests and
// logging; the data path uses the generated code. The tables are in the generated gen/kp_apis.h
// and gen/kp_<api>.h.
//
// Everything here works on one message whose C type the descriptor describes. Recursion is as deep
// as the schema nests, which is at most a handful of levels.
#pragma once

#include <stdio.h>

#include "base/arena.h"
#include "base/random.h"
#include "protocol/reader.h"
#include "protocol/writer.h"

enum kp_type {
    KP_BOOL,
    KP_INT8,
    KP_INT16,
    KP_UINT16,
    KP_INT32,
    KP_INT64,
    KP_FLOAT64,
    KP_UUID,
    KP_STRING,
    KP_BYTES,
    KP_RECORDS,
    KP_STRUCT,
};

struct kp_struct;

struct kp_field {
    const char *name;
    const struct kp_struct *element; // of KP_STRUCT
    int64_t preset;                  // default of a number or bool
    uint32_t offset;                 // of the value, or of the pointer to the elements
    uint32_t count_offset;           // of arrays
    int16_t first, last;             // versions that have the field
    int16_t null_first, null_last;   // versions that allow null; none when first > last
    int16_t tag;                     // -1: an ordinary field
    uint8_t type;                    // enum kp_type
    bool array;
    bool pointer;     // a nullable struct: NULL is null
    bool preset_null; // the default of a string, array or nullable struct is null
};

struct kp_struct {
    const char *name;
    const struct kp_field *fields;
    uint32_t field_count;
    uint32_t size;          // of the C type
    uint32_t wire_min;      // the fewest bytes it takes in any version
    void (*init)(void *to); // the generated function that sets the defaults
};

struct kp_message {
    const char *name; // "fetch_request"
    const struct kp_struct *body;
    int16_t flexible_from; // INT16_MAX: never
    // The generated codec. `message` is the C type that `body` describes.
    int (*decode)(struct kp_reader *r, int16_t version, struct arena *arena, void *message);
    void (*encode)(struct kp_writer *w, int16_t version, const void *message);
};

struct kp_api {
    int16_t key;
    const char *name;      // "ListOffsets"
    const char *snake;     // "list_offsets"
    int16_t min, max;      // versions the schema covers
    int16_t flexible_from; // INT16_MAX: never
    const struct kp_message *request;
    const struct kp_message *response;
};

// Writes the fields that `version` has as one line of JSON, without a newline at the end. Bytes and
// records, and strings that are not printable, appear as {"hex":"..."}; records beyond
// KP_DUMP_RECORDS bytes are cut and followed by their size.
enum { KP_DUMP_RECORDS = 256 };
void kp_describe_dump(const struct kp_message *desc, int16_t version, const void *message,
                      FILE *out);

// Fills the fields that `version` has with random values that the version can carry, and all others
// with their defaults. Memory comes from the arena. Returns 0, or -1 when the arena is exhausted.
int kp_describe_random(const struct kp_message *desc, int16_t version, struct random *random,
                       struct arena *arena, void *message);

// Whether the fields that `version` has hold equal values. With KP_EVERY_VERSION: all fields.
enum { KP_EVERY_VERSION = -1 };
bool kp_describe_equal(const struct kp_message *desc, int16_t version, const void *a,
                       const void *b);

// A second codec, driven by the tables. Same contracts as the generated functions.
int kp_describe_decode(const struct kp_message *desc, struct kp_reader *r, int16_t version,
                       struct arena *arena, void *message);
void kp_describe_encode(const struct kp_message *desc, struct kp_writer *w, int16_t version,
                        const void *message);
