// SPDX-License-Identifier: Apache-2.0
#include "broker/handlers/data_path.h"

#include <errno.h>

#include "broker/shard.h"
#include "protocol/error.h"

int16_t data_path_error(int error)
{
    switch (error) {
    case 0:
        return KP_ERROR_NONE;
    case -ENOENT:
        return KP_ERROR_UNKNOWN_TOPIC_OR_PARTITION;
    case -ERANGE:
        return KP_ERROR_OFFSET_OUT_OF_RANGE;
    case -ESHUTDOWN:
        // Clients ask for metadata and find out what became of it.
        return KP_ERROR_NOT_LEADER_OR_FOLLOWER;
    case -EINVAL:
        return KP_ERROR_INVALID_REQUEST;
    case -EILSEQ:
        return KP_ERROR_OUT_OF_ORDER_SEQUENCE_NUMBER;
    case -ESTALE:
        return KP_ERROR_INVALID_PRODUCER_EPOCH;
    default:
        // Full, failing or short of memory: clients may try again.
        return KP_ERROR_KAFKA_STORAGE_ERROR;
    }
}

const struct catalog_topic *data_path_topic(const struct request *request, struct span name,
                                            struct kp_uuid id, int16_t *error)
{
    const struct catalog *catalog = request->shard->catalog;
    bool by_id = !kp_uuid_is_zero(id);
    const struct catalog_topic *topic =
        by_id ? catalog_find_id(catalog, id) : catalog_find(catalog, name);
    *error = KP_ERROR_NONE;
    if (!topic)
        *error = by_id ? KP_ERROR_UNKNOWN_TOPIC_ID : KP_ERROR_UNKNOWN_TOPIC_OR_PARTITION;
    return topic;
}

int16_t data_path_partition(const struct catalog_topic *topic, int32_t partition,
                            struct partition_key *out)
{
    if (partition < 0 || partition >= topic->partition_count)
        return KP_ERROR_UNKNOWN_TOPIC_OR_PARTITION;
    *out = (struct partition_key){.topic_id = topic->id, .partition = partition};
    return KP_ERROR_NONE;
}

int16_t data_path_epoch(int32_t leader_epoch)
{
    if (leader_epoch > DATA_PATH_EPOCH)
        return KP_ERROR_UNKNOWN_LEADER_EPOCH;
    return leader_epoch < -1 ? KP_ERROR_FENCED_LEADER_EPOCH : KP_ERROR_NONE;
}
