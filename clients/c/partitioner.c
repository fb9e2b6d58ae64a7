// SPDX-License-Identifier: Apache-2.0
// Which partition a key belongs to. All clients must agree on this, or the records of one key
// would be spread over partitions depending on who wrote them.
#include "clients/c/partitioner.h"

#include "base/endian.h"

uint32_t partitioner_murmur2(struct span key)
{
    const uint32_t m = 0x5bd1e995;
    const uint8_t *at = key.data;
    size_t left = key.size;
    uint32_t hash = 0x9747b28c ^ (uint32_t)key.size;
    for (; left >= 4; at += 4, left -= 4) {
        uint32_t k = load_le32(at) * m;
        hash = hash * m ^ (k ^ k >> 24) * m;
    }
    if (left > 0) {
        uint32_t tail = 0;
        for (size_t i = 0; i < left; i++)
            tail |= (uint32_t)at[i] << (8 * i);
        hash = (hash ^ tail) * m;
    }
    hash = (hash ^ hash >> 13) * m;
    return hash ^ hash >> 15;
}

int32_t partitioner_keyed(struct span key, int32_t count)
{
    if (count == 1)
        return 0;
    return (int32_t)(partitioner_murmur2(key) & INT32_MAX) % count;
}
