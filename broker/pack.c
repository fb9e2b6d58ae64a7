// SPDX-License-Identifier: Apache-2.0
// Msgpack of our own records, read with bounds. Owns nothing between calls.
//
// 1. pack_read never lets the library see bytes that pack_measure has not walked: every count in
//    them is at most the number of bytes that follow it, and the nesting is at most DEPTH_MAX.
#include "broker/pack.h"

#include <errno.h>

#include "base/endian.h"

enum { DEPTH_MAX = 8 };

// How one object begins: its own bytes (head and body of strings) and how many objects follow as
// its members.
struct item {
    uint64_t size;
    uint64_t members;
};

static uint64_t load(const uint8_t *at, size_t width)
{
    return width == 1 ? at[0] : width == 2 ? load_be16(at) : load_be32(at);
}

// Types 0xc4 to 0xdf, whose sizes stand in the bytes or follow from the type.
static bool read_long_item(const uint8_t *at, size_t left, struct item *out)
{
    static const uint8_t fixed[] = {
        [0xca - 0xc4] = 5, [0xcb - 0xc4] = 9, [0xcc - 0xc4] = 2, [0xcd - 0xc4] = 3,
        [0xce - 0xc4] = 5, [0xcf - 0xc4] = 9, [0xd0 - 0xc4] = 2, [0xd1 - 0xc4] = 3,
        [0xd2 - 0xc4] = 5, [0xd3 - 0xc4] = 9, [0xdf - 0xc4] = 0,
    };
    // Width of the length field; extension types (c7-c9, d4-d8) are not ours.
    static const uint8_t width[] = {
        [0xc4 - 0xc4] = 1, [0xc5 - 0xc4] = 2, [0xc6 - 0xc4] = 4, [0xd9 - 0xc4] = 1,
        [0xda - 0xc4] = 2, [0xdb - 0xc4] = 4, [0xdc - 0xc4] = 2, [0xdd - 0xc4] = 4,
        [0xde - 0xc4] = 2, [0xdf - 0xc4] = 4,
    };
    size_t type = at[0] - 0xc4u;
    *out = (struct item){.size = fixed[type]};
    if (fixed[type])
        return true;
    if (width[type] == 0 || left < 1u + width[type])
        return false;
    uint64_t length = load(at + 1, width[type]);
    out->size = 1u + width[type];
    if (at[0] >= 0xde)
        out->members = 2 * length;
    else if (at[0] >= 0xdc)
        out->members = length;
    else
        out->size += length;
    return true;
}

static bool read_item(const uint8_t *at, size_t left, struct item *out)
{
    uint8_t type = at[0];
    *out = (struct item){.size = 1};
    if (type <= 0x7f || type >= 0xe0) // small integers
        return true;
    if (type <= 0x8f)
        out->members = 2u * (type & 0x0fu);
    else if (type <= 0x9f)
        out->members = type & 0x0fu;
    else if (type <= 0xbf)
        out->size += type & 0x1fu;
    else if (type == 0xc1)
        return false;
    else if (type >= 0xc4)
        return read_long_item(at, left, out);
    return true;
}

bool pack_measure(struct span bytes, size_t *size)
{
    uint64_t open[DEPTH_MAX]; // members still missing, at each level
    size_t depth = 0;
    size_t at = 0;
    do {
        struct item item;
        if (at >= bytes.size || !read_item(bytes.data + at, bytes.size - at, &item) ||
            item.size > bytes.size - at)
            return false;
        at += item.size;
        if (item.members) {
            if (item.members > bytes.size - at || depth == DEPTH_MAX)
                return false;
            open[depth++] = item.members;
        } else {
            while (depth && --open[depth - 1] == 0)
                depth--;
        }
    } while (depth);
    *size = at;
    return true;
}

int pack_read(struct pack_reader *reader, struct span bytes, const msgpack_object **out)
{
    size_t size;
    size_t at = 0;
    msgpack_unpacked_init(&reader->unpacked);
    if (!pack_measure(bytes, &size) || size != bytes.size)
        return -EBADMSG;
    switch (msgpack_unpack_next(&reader->unpacked, (const char *)bytes.data, bytes.size, &at)) {
    case MSGPACK_UNPACK_SUCCESS:
    case MSGPACK_UNPACK_EXTRA_BYTES:
        *out = &reader->unpacked.data;
        return 0;
    case MSGPACK_UNPACK_NOMEM_ERROR:
        return -ENOMEM;
    case MSGPACK_UNPACK_CONTINUE:
    case MSGPACK_UNPACK_PARSE_ERROR:
        break;
    }
    return -EBADMSG;
}

void pack_reader_free(struct pack_reader *reader)
{
    msgpack_unpacked_destroy(&reader->unpacked);
}

// --- looking at objects ---------------------------------------------------------------------

const msgpack_object *pack_find(const msgpack_object *map, const char *key)
{
    if (!map || map->type != MSGPACK_OBJECT_MAP)
        return NULL;
    for (uint32_t i = 0; i < map->via.map.size; i++) {
        struct span text;
        if (pack_text(&map->via.map.ptr[i].key, &text) && span_equal(text, span_text(key)))
            return &map->via.map.ptr[i].val;
    }
    return NULL;
}

const msgpack_object *pack_item(const msgpack_object *array, uint32_t index)
{
    if (!array || array->type != MSGPACK_OBJECT_ARRAY || index >= array->via.array.size)
        return NULL;
    return &array->via.array.ptr[index];
}

bool pack_text(const msgpack_object *object, struct span *out)
{
    if (!object || object->type != MSGPACK_OBJECT_STR)
        return false;
    *out = span_of(object->via.str.size ? object->via.str.ptr : "", object->via.str.size);
    return true;
}

bool pack_bytes(const msgpack_object *object, struct span *out)
{
    if (!object || object->type != MSGPACK_OBJECT_BIN)
        return false;
    *out = span_of(object->via.bin.size ? object->via.bin.ptr : "", object->via.bin.size);
    return true;
}

bool pack_integer(const msgpack_object *object, int64_t min, int64_t max, int64_t *out)
{
    if (!object)
        return false;
    if (object->type == MSGPACK_OBJECT_NEGATIVE_INTEGER)
        *out = object->via.i64;
    else if (object->type == MSGPACK_OBJECT_POSITIVE_INTEGER && object->via.u64 <= INT64_MAX)
        *out = (int64_t)object->via.u64;
    else
        return false;
    return *out >= min && *out <= max;
}

bool pack_boolean(const msgpack_object *object, bool *out)
{
    if (!object || object->type != MSGPACK_OBJECT_BOOLEAN)
        return false;
    *out = object->via.boolean;
    return true;
}

bool pack_uuid(const msgpack_object *object, struct kp_uuid *out)
{
    if (!object || object->type != MSGPACK_OBJECT_BIN || object->via.bin.size != sizeof(out->bytes))
        return false;
    memcpy(out->bytes, object->via.bin.ptr, sizeof(out->bytes));
    return true;
}

void pack_write_text(msgpack_packer *packer, struct span text)
{
    msgpack_pack_str(packer, text.size);
    if (text.size)
        msgpack_pack_str_body(packer, text.data, text.size);
}

void pack_write_bytes(msgpack_packer *packer, struct span bytes)
{
    msgpack_pack_bin(packer, bytes.size);
    if (bytes.size)
        msgpack_pack_bin_body(packer, bytes.data, bytes.size);
}

void pack_write_uuid(msgpack_packer *packer, struct kp_uuid id)
{
    msgpack_pack_bin(packer, sizeof(id.bytes));
    msgpack_pack_bin_body(packer, id.bytes, sizeof(id.bytes));
}
