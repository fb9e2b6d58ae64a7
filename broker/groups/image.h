// SPDX-License-Identifier: Apache-2.0
// What is durable of one group, as the records of its offsets partition say: where it stands in
// each partition, and the records of the group itself, as bytes. Pure: no I/O, no clock.
#pragma once

#include "base/map.h"
#include "broker/groups/offset_record.h"

struct image_key {
    struct kp_uuid topic_id;
    int32_t partition;
};

struct image_position {
    struct image_key key; // also the key in the image's map
    int64_t offset;
    int64_t time_ms;    // of the commit
    int64_t expires_ms; // -1: as the broker's settings say
    int32_t leader_epoch;
    uint32_t metadata_size;
    char metadata[];
};

struct image_record {
    struct span key; // in `bytes`, also the key in the image's map
    struct span value;
    uint8_t bytes[];
};

struct image {
    struct map positions; // struct image_position
    struct map records;   // struct image_record
};

void image_init(struct image *image);
void image_free(struct image *image);
bool image_is_empty(const struct image *image);

// A record of an offsets partition, read as far as an image needs it. Points into key and value.
struct image_change {
    bool known;        // else nothing but `key` and `value` is set
    struct span group; // whose image it changes
    struct span key;
    struct span value;             // absent: a tombstone
    struct offset_record position; // `known` in it: it is one
    // Private.
    struct pack_reader reader;
};

// 0, -EBADMSG when it is not a record of ours, -ENOMEM; call image_change_free in every case.
int image_change_read(struct span key, struct span value, struct image_change *out);
void image_change_free(struct image_change *change);

// 0 or -ENOMEM: the image is unchanged then.
int image_apply(struct image *image, const struct image_change *change);

// NULL when there is none. Valid until the next change.
const struct image_position *image_position(const struct image *image, struct kp_uuid topic_id,
                                            int32_t partition);
