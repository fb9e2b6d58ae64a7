// SPDX-License-Identifier: Apache-2.0
// A value is its head, the bytes that the head announces, and the values that it contains: to skip
// it is to count how many values are still to come. Nesting costs nothing, and no length is
// believed further than there are bytes.
#include "tools/pipe_pack.h"

#include <errno.h>
#include <string.h>

struct head {
    size_t size;     // of the head itself and the bytes it announces
    uint64_t values; // that follow
};

static uint64_t number_at(const uint8_t *data, size_t size)
{
    uint64_t number = 0;

    for (size_t i = 0; i < size; i++)
        number = number << 8 | data[i];
    return number;
}

// Types 0xc0 to 0xdf: how many bytes of length follow, and how many bytes there are beside it.
struct kind {
    uint8_t length_size; // 0: no length
    uint8_t fixed;       // bytes beside type and length
    uint8_t contains;    // values per unit of length; 0: the length counts bytes
};

static const struct kind kinds[32] = {
    [0x04] = {1, 0, 0},  [0x05] = {2, 0, 0}, [0x06] = {4, 0, 0}, // binary
    [0x07] = {1, 1, 0},  [0x08] = {2, 1, 0}, [0x09] = {4, 1, 0}, // extensions
    [0x0a] = {0, 4, 0},  [0x0b] = {0, 8, 0},                     // floating point
    [0x0c] = {0, 1, 0},  [0x0d] = {0, 2, 0}, [0x0e] = {0, 4, 0}, [0x0f] = {0, 8, 0}, // unsigned
    [0x10] = {0, 1, 0},  [0x11] = {0, 2, 0}, [0x12] = {0, 4, 0}, [0x13] = {0, 8, 0}, // signed
    [0x14] = {0, 2, 0},  [0x15] = {0, 3, 0}, [0x16] = {0, 5, 0}, [0x17] = {0, 9, 0},
    [0x18] = {0, 17, 0},                                         // extensions of fixed size
    [0x19] = {1, 0, 0},  [0x1a] = {2, 0, 0}, [0x1b] = {4, 0, 0}, // texts
    [0x1c] = {2, 0, 1},  [0x1d] = {4, 0, 1},                     // arrays
    [0x1e] = {2, 0, 2},  [0x1f] = {4, 0, 2},                     // maps
};

// 1, 0 when the head itself is incomplete, -1 for the one type that does not exist.
static int head_read(const uint8_t *data, size_t size, struct head *head)
{
    *head = (struct head){.size = 1};
    if (size == 0)
        return 0;
    uint8_t type = data[0];
    if (type == 0xc1)
        return -1;
    if (type < 0x80 || type >= 0xe0)
        return 1;
    if (type < 0x90)
        head->values = 2 * (type & 0x0fU);
    else if (type < 0xa0)
        head->values = type & 0x0fU;
    else if (type < 0xc0)
        head->size += type & 0x1fU;
    if (type < 0xc0)
        return 1;
    const struct kind *kind = &kinds[type - 0xc0];
    if (size < 1U + kind->length_size)
        return 0;
    uint64_t length = number_at(data + 1, kind->length_size);
    head->size += kind->length_size + kind->fixed;
    if (kind->contains == 0)
        head->size += length;
    else
        head->values = length * kind->contains;
    return 1;
}

int pipe_pack_scan(struct pipe_pack_scan *scan, const void *data, size_t size)
{
    const uint8_t *bytes = data;

    if (!scan->begun) {
        scan->begun = true;
        scan->wanted = 1;
    }
    while (scan->wanted > 0) {
        struct head head;
        int rc = head_read(bytes + scan->at, size - scan->at, &head);
        if (rc <= 0)
            return rc;
        if (size - scan->at < head.size)
            return 0;
        scan->at += head.size;
        scan->wanted += head.values - 1;
    }
    return 1;
}

size_t pipe_pack_size(struct span bytes)
{
    struct pipe_pack_scan scan = {0};

    return pipe_pack_scan(&scan, bytes.data, bytes.size) == 1 ? scan.at : 0;
}

static void skip(struct span *bytes, size_t size)
{
    bytes->data += size;
    bytes->size -= size;
}

static bool take_counted(struct span *bytes, uint8_t fix, uint8_t first, uint32_t *count)
{
    struct head head;

    if (head_read(bytes->data, bytes->size, &head) != 1)
        return false;
    uint8_t type = bytes->data[0];
    if ((type & 0xf0) == fix)
        *count = type & 0x0fU;
    else if (type == first || type == first + 1)
        *count = (uint32_t)number_at(bytes->data + 1, head.size - 1);
    else
        return false;
    skip(bytes, head.size);
    return true;
}

bool pipe_pack_take_map(struct span *bytes, uint32_t *pairs)
{
    return take_counted(bytes, 0x80, 0xde, pairs);
}

bool pipe_pack_take_array(struct span *bytes, uint32_t *items)
{
    return take_counted(bytes, 0x90, 0xdc, items);
}

bool pipe_pack_take_bytes(struct span *bytes, struct span *out)
{
    struct head head;

    if (head_read(bytes->data, bytes->size, &head) != 1 || bytes->size < head.size)
        return false;
    uint8_t type = bytes->data[0];
    size_t before = 1;
    if (type >= 0xc4 && type <= 0xc6)
        before += kinds[type - 0xc0].length_size;
    else if (type >= 0xd9 && type <= 0xdb)
        before += kinds[type - 0xc0].length_size;
    else if ((type & 0xe0) != 0xa0)
        return false;
    *out = span_of(bytes->data + before, head.size - before);
    skip(bytes, head.size);
    return true;
}

bool pipe_pack_take_nil(struct span *bytes)
{
    if (bytes->size == 0 || bytes->data[0] != 0xc0)
        return false;
    skip(bytes, 1);
    return true;
}

bool pipe_pack_take_any(struct span *bytes, struct span *out)
{
    size_t size = pipe_pack_size(*bytes);

    if (size == 0)
        return false;
    *out = span_of(bytes->data, size);
    skip(bytes, size);
    return true;
}

// A type, then `value` in `size` bytes.
static int add_number(struct pipe_bytes *to, uint8_t type, uint64_t value, size_t size)
{
    uint8_t bytes[9] = {type};

    for (size_t i = 0; i < size; i++)
        bytes[size - i] = (uint8_t)(value >> (8 * i));
    return pipe_bytes_add(to, bytes, 1 + size);
}

int pipe_pack_add_map(struct pipe_bytes *to, uint32_t pairs)
{
    return pairs < 16 ? add_number(to, (uint8_t)(0x80 | pairs), 0, 0)
                      : add_number(to, 0xdf, pairs, 4);
}

int pipe_pack_add_array(struct pipe_bytes *to, uint32_t items)
{
    return items < 16 ? add_number(to, (uint8_t)(0x90 | items), 0, 0)
                      : add_number(to, 0xdd, items, 4);
}

int pipe_pack_add_text(struct pipe_bytes *to, const char *text)
{
    size_t size = strlen(text);
    int rc =
        size < 32 ? add_number(to, (uint8_t)(0xa0 | size), 0, 0) : add_number(to, 0xdb, size, 4);

    return rc != 0 ? rc : pipe_bytes_add(to, text, size);
}

int pipe_pack_add_binary(struct pipe_bytes *to, const void *data, size_t size)
{
    if (data == NULL)
        return add_number(to, 0xc0, 0, 0);
    int rc = size < 256 ? add_number(to, 0xc4, size, 1) : add_number(to, 0xc6, size, 4);
    return rc != 0 ? rc : pipe_bytes_add(to, data, size);
}

int pipe_pack_add_integer(struct pipe_bytes *to, int64_t value)
{
    return value >= 0 && value < 128 ? add_number(to, (uint8_t)value, 0, 0)
                                     : add_number(to, 0xd3, (uint64_t)value, 8);
}
