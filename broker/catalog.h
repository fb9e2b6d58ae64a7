// SPDX-License-Identifier: Apache-2.0
// The catalog: every topic with its id, partitions and settings, as one immutable snapshot. The
// controller (shard 0) folds the records of the metadata partition into it and publishes a new
// snapshot after each durable change; every shard reads its own pointer to it without locks.
//
// A shard's catalog may be replaced whenever its loop runs, and the old one freed: pointers into it
// are good until the present callback returns, and must not be kept across an operation.
#pragma once

#include "base/map.h"
#include "base/span.h"
#include "broker/settings.h"
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
    struct catalog_setting *settings; // only those given for this topic, sorted by name
    uint32_t setting_count;
    struct topic_settings effective; // with the broker's defaults filled in
};

struct catalog {
    uint64_t version;                    // +1 with each snapshot
    const struct catalog_topic **topics; // sorted by name
    uint32_t topic_count;
    struct map by_name;
    struct map by_id;
    // Topics whose deletion an earlier run did not finish; for topics_open, not valid any later.
    const struct catalog_topic **doomed;
    uint32_t doomed_count;
    struct kp_uuid cluster_id;
    char cluster_id_text[24]; // as clients see it: 22 characters of base64url
};

// The topic that holds committed offsets, and the metadata partition's own name. Clients may read
// the first and produce to neither.
#define CATALOG_OFFSETS_TOPIC "__weir_offsets"
#define CATALOG_METADATA_TOPIC "__weir_metadata"

// Space that internal partitions keep for themselves, so that committing offsets and deleting
// topics still work when the disk is full.
enum { CATALOG_RESERVE_BYTES = 256 * 1024 };

// The size of their segments.
#define CATALOG_SEGMENT_BYTES "1048576"

// What must hold for a log that is state, whatever its settings say: it is compacted and never
// shortened otherwise, and has space when others have none. A tombstone is not needed any more when
// what it deletes is gone.
void catalog_keep_state(struct log_config *config);

// NULL when there is none.
const struct catalog_topic *catalog_find(const struct catalog *catalog, struct span name);
const struct catalog_topic *catalog_find_id(const struct catalog *catalog, struct kp_uuid id);

// 0, or why a topic may not be called so: KP_ERROR_INVALID_TOPIC_EXCEPTION with *why.
int16_t catalog_check_name(struct span name, const char **why);

// The id as people and files write it: 22 characters of base64url and a terminator.
void catalog_id_text(struct kp_uuid id, char out[24]);

// --- the fold -------------------------------------------------------------------------------

// Mutable: what the records read so far amount to. Belongs to the controller.
struct catalog_fold;
struct config;

// What one record changed. The topics stay valid until catalog_fold_forget.
struct catalog_change {
    const struct catalog_topic *before; // NULL: new
    const struct catalog_topic *after;  // NULL: gone
};

struct catalog_fold *catalog_fold_create(const struct config *config);
void catalog_fold_free(struct catalog_fold *fold); // and every snapshot's topics

// Applies one record of the metadata partition. 0, -EBADMSG when it cannot be understood (the fold
// is unchanged), -ENOMEM. Pure: no I/O, no clock.
int catalog_fold_apply(struct catalog_fold *fold, struct span key, struct span value);

// A new snapshot of the fold, NULL when memory is short. Its topics belong to the fold.
struct catalog *catalog_fold_snapshot(struct catalog_fold *fold);
void catalog_free(struct catalog *catalog);

// The changes since the last catalog_fold_forget, in order.
const struct catalog_change *catalog_fold_changes(const struct catalog_fold *fold, uint32_t *count);
// No snapshot from before the last one taken is in use any more: drops its topics and the changes.
void catalog_fold_forget(struct catalog_fold *fold);

// The present state, for validating the next change.
const struct catalog_topic *catalog_fold_find(const struct catalog_fold *fold, struct span name);
const struct catalog_topic *catalog_fold_find_id(const struct catalog_fold *fold,
                                                 struct kp_uuid id);
// The live topics by name, from index 0; NULL beyond the last.
const struct catalog_topic *catalog_fold_topic(const struct catalog_fold *fold, uint32_t index);
struct kp_uuid catalog_fold_cluster_id(const struct catalog_fold *fold); // zero: none yet
// Producer ids from this one on were never given out.
int64_t catalog_fold_next_producer_id(const struct catalog_fold *fold);

// Topics that were deleted but whose files may still be there, from *at = 0; NULL at the end.
const struct catalog_topic *catalog_fold_next_doomed(const struct catalog_fold *fold, size_t *at);
