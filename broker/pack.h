// SPDX-License-Identifier: Apache-2.0
// Reading the msgpack of our own records. The library's unpacker allocates what the lengths in the
// bytes claim, so the bytes are walked first: nothing is unpacked whose counts exceed what is there
// or that nests deeper than our records do.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <msgpack.h>

#include "base/span.h"
#include "protocol/types.h"

struct pack_reader {
    msgpack_unpacked unpacked;
};

// One object that fills `bytes` exactly. 0 with *out, valid until pack_reader_free and as long as
// the bytes live; -EBADMSG when it is not that, -ENOMEM. pack_reader_free is right in every case.
int pack_read(struct pack_reader *reader, struct span bytes, const msgpack_object **out);
void pack_reader_free(struct pack_reader *reader);

// Whether `bytes` begin with one whole msgpack object within our bounds; *size is its length.
bool pack_measure(struct span bytes, size_t *size);

// What an object is; the functions return false or NULL when it is something else or NULL itself.
const msgpack_object *pack_find(const msgpack_object *map, const char *key);
const msgpack_object *pack_item(const msgpack_object *array, uint32_t index);
bool pack_text(const msgpack_object *object, struct span *out);
bool pack_bytes(const msgpack_object *object, struct span *out);
bool pack_integer(const msgpack_object *object, int64_t min, int64_t max, int64_t *out);
bool pack_boolean(const msgpack_object *object, bool *out);
bool pack_uuid(const msgpack_object *object, struct kp_uuid *out);

// The writing side, on top of msgpack_packer over a msgpack_sbuffer.
void pack_write_text(msgpack_packer *packer, struct span text);
void pack_write_bytes(msgpack_packer *packer, struct span bytes);
void pack_write_uuid(msgpack_packer *packer, struct kp_uuid id);
static inline void pack_write_key(msgpack_packer *packer, const char *text)
{
    pack_write_text(packer, span_text(text));
}
