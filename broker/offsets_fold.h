// SPDX-License-Identifier: Apache-2.0
// What the records of the offsets partitions amount to: for each group, where it stands in each
// partition. Pure: no I/O, no clock.
#pragma once

#include "base/map.h"
#include "broker/offsets_record.h"

struct offsets_key {
    struct kp_uuid topic_id;
    int32_t partition;
};

struct offsets_position {
    struct offsets_key key; // also the key in the group's map
    int64_t offset;
    int64_t time_ms;
    int32_t leader_epoch;
    uint32_t metadata_size;
    char metadata[];
};

struct offsets_group {
    struct map positions; // struct offsets_position by its key; never empty
    size_t name_size;
    char name[]; // also the key in the fold's map
};

struct offsets_fold {
    struct map groups;
};

void offsets_fold_init(struct offsets_fold *fold);
void offsets_fold_free(struct offsets_fold *fold);

// Applies one record. 0, -EBADMSG when it cannot be understood, -ENOMEM; the fold is unchanged
// then.
int offsets_fold_apply(struct offsets_fold *fold, struct span key, struct span value);

// NULL when there is none. Valid until the next record is applied.
struct offsets_group *offsets_fold_group(const struct offsets_fold *fold, struct span name);
const struct offsets_position *offsets_fold_position(const struct offsets_group *group,
                                                     struct kp_uuid topic_id, int32_t partition);
