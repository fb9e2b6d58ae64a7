// SPDX-License-Identifier: Apache-2.0
// The catalog: every topic with its id, partitions and settings, as one immutable snapshot. The
// controller (shard 0) folds the records of the metadata partition into it and publishes a new
// snapshot after each durable change; every shard reads its own pointer to it without locks.
#pragma once

#include "base/map.h"
#include "base/span.h"
#include "protocol/types.h"

struct catalog_setting {
    const char *name;
    const char *value;
};

struct catalog_topic {
    const char *name;
    struct kp_uuid id;
    int32_t partition_count;
    bool internal;
    struct catalog_setting *settings; // only those that differ from the broker's defaults
    uint32_t setting_count;
};

struct catalog {
    uint64_t version;  // +1 with each snapshot
    struct catalog_topic **topics; // sorted by name
    uint32_t topic_count;
    struct map by_name;
    struct map by_id;
    struct kp_uuid cluster_id;
};

const struct catalog_topic *catalog_find(const struct catalog *catalog, struct span name);
const struct catalog_topic *catalog_find_id(const struct catalog *catalog, struct kp_uuid id);

// 0, or why a topic may not be called so: KP_ERROR_INVALID_TOPIC_EXCEPTION with *why.
int16_t catalog_check_name(struct span name, const char **why);
