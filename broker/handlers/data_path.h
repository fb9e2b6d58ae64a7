// SPDX-License-Identifier: Apache-2.0
// What the handlers of records and offsets have in common.
#pragma once

#include "broker/catalog.h"
#include "broker/partition.h"
#include "broker/request.h"

// The wire's code for an error of storage/log.h or of a partition operation. 0 for 0.
int16_t data_path_error(int error);

// A topic that a request names by id (not zero) or else by name. NULL and *error when there is
// none. Good until the present callback returns.
const struct catalog_topic *data_path_topic(const struct request *request, struct span name,
                                            struct kp_uuid id, int16_t *error);

// The key of one of its partitions. 0, or KP_ERROR_UNKNOWN_TOPIC_OR_PARTITION.
int16_t data_path_partition(const struct catalog_topic *topic, int32_t partition,
                            struct partition_key *out);

// The leader epoch is 0 for ever: 0, or the error for a request that assumes another (-1 assumes
// nothing).
int16_t data_path_epoch(int32_t leader_epoch);
enum { DATA_PATH_EPOCH = 0 };
