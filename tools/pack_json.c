// SPDX-License-Identifier: Apache-2.0
// Walks msgpack bytes. Nothing is allocated by what a length in them claims: a count is believed
// only as far as there are bytes.
#include "tools/pack_json.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "tools/encoding.h"

enum { DEPTH_MAX = 16, ID_BYTES = 16 };

struct cursor {
    const uint8_t *at;
    const uint8_t *end;
    int depth;
};

static json_t *value_read(struct cursor *cursor);

static bool take(struct cursor *cursor, size_t size, const uint8_t **out)
{
    if ((size_t)(cursor->end - cursor->at) < size)
        return false;
    *out = cursor->at;
    cursor->at += size;
    return true;
}

// A big-endian number of 1, 2, 4 or 8 bytes.
static bool number(struct cursor *cursor, size_t size, uint64_t *out)
{
    const uint8_t *bytes;
    if (!take(cursor, size, &bytes))
        return false;
    *out = 0;
    for (size_t i = 0; i < size; i++)
        *out = *out << 8 | bytes[i];
    return true;
}

static json_t *text(struct cursor *cursor, uint64_t size)
{
    const uint8_t *bytes;
    return take(cursor, size, &bytes) ? json_stringn((const char *)bytes, size) : NULL;
}

static json_t *binary(struct cursor *cursor, uint64_t size)
{
    const uint8_t *bytes;
    if (!take(cursor, size, &bytes))
        return NULL;
    char *encoded = encoding_base64(bytes, size);
    if (encoded == NULL)
        return NULL;
    size_t length = strlen(encoded);
    for (size_t i = 0; size == ID_BYTES && i < length; i++) {
        encoded[i] = encoded[i] == '+' ? '-' : encoded[i] == '/' ? '_' : encoded[i];
        if (encoded[i] == '=')
            encoded[i] = '\0';
    }
    json_t *value = json_string(encoded);
    free(encoded);
    return value;
}

static json_t *array(struct cursor *cursor, uint64_t count)
{
    json_t *items = json_array();
    for (uint64_t i = 0; i < count; i++) {
        json_t *item = value_read(cursor);
        if (item == NULL) {
            json_decref(items);
            return NULL;
        }
        json_array_append_new(items, item);
    }
    return items;
}

static bool member_read(struct cursor *cursor, json_t *object)
{
    json_t *key = value_read(cursor);
    json_t *value = key != NULL ? value_read(cursor) : NULL;
    char digits[24];
    const char *name = key != NULL ? json_string_value(key) : NULL;
    if (json_is_integer(key)) {
        snprintf(digits, sizeof(digits), "%" JSON_INTEGER_FORMAT, json_integer_value(key));
        name = digits;
    }
    bool done = name != NULL && value != NULL && json_object_set(object, name, value) == 0;
    json_decref(key);
    json_decref(value);
    return done;
}

static json_t *map(struct cursor *cursor, uint64_t count)
{
    json_t *object = json_object();
    for (uint64_t i = 0; i < count; i++) {
        if (!member_read(cursor, object)) {
            json_decref(object);
            return NULL;
        }
    }
    return object;
}

static json_t *sized(struct cursor *cursor, uint8_t type)
{
    uint64_t size;
    switch (type) {
    case 0xc4:
    case 0xc5:
    case 0xc6:
        return number(cursor, (size_t)1 << (type - 0xc4), &size) ? binary(cursor, size) : NULL;
    case 0xd9:
    case 0xda:
    case 0xdb:
        return number(cursor, (size_t)1 << (type - 0xd9), &size) ? text(cursor, size) : NULL;
    case 0xdc:
    case 0xdd:
        return number(cursor, type == 0xdc ? 2 : 4, &size) ? array(cursor, size) : NULL;
    case 0xde:
    case 0xdf:
        return number(cursor, type == 0xde ? 2 : 4, &size) ? map(cursor, size) : NULL;
    default:
        return NULL; // extensions: the broker writes none
    }
}

static json_t *scalar(struct cursor *cursor, uint8_t type)
{
    uint64_t bits;
    if (type == 0xc0)
        return json_null();
    if (type == 0xc2 || type == 0xc3)
        return json_boolean(type == 0xc3);
    if (type == 0xcb && number(cursor, 8, &bits)) {
        double real;
        memcpy(&real, &bits, sizeof(real));
        return json_real(real);
    }
    if (type == 0xca && number(cursor, 4, &bits)) {
        uint32_t half = (uint32_t)bits;
        float real;
        memcpy(&real, &half, sizeof(real));
        return json_real((double)real);
    }
    if (type >= 0xcc && type <= 0xcf && number(cursor, (size_t)1 << (type - 0xcc), &bits))
        return bits <= INT64_MAX ? json_integer((json_int_t)bits) : json_real((double)bits);
    if (type < 0xd0 || type > 0xd3)
        return NULL;
    size_t size = (size_t)1 << (type - 0xd0);
    if (!number(cursor, size, &bits))
        return NULL;
    static const unsigned shifts[] = {56, 48, 32, 0}; // for 1, 2, 4 and 8 bytes
    unsigned shift = shifts[type - 0xd0];
    return json_integer((json_int_t)(bits << shift) >> shift);
}

static json_t *any(struct cursor *cursor)
{
    const uint8_t *byte;
    if (!take(cursor, 1, &byte))
        return NULL;
    uint8_t type = *byte;
    if (type < 0x80 || type >= 0xe0)
        return json_integer((int8_t)type);
    if (type < 0x90)
        return map(cursor, type & 0x0f);
    if (type < 0xa0)
        return array(cursor, type & 0x0f);
    if (type < 0xc0)
        return text(cursor, type & 0x1f);
    json_t *value = sized(cursor, type);
    return value != NULL ? value : scalar(cursor, type);
}

static json_t *value_read(struct cursor *cursor)
{
    if (cursor->depth == DEPTH_MAX)
        return NULL;
    cursor->depth++;
    json_t *value = any(cursor);
    cursor->depth--;
    return value;
}

json_t *pack_json(struct span bytes)
{
    struct cursor cursor = {bytes.data, bytes.data + bytes.size, 0};
    json_t *value = bytes.data != NULL ? value_read(&cursor) : NULL;
    if (value != NULL && cursor.at != cursor.end) {
        json_decref(value);
        return NULL;
    }
    return value;
}
