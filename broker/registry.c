// SPDX-License-Identifier: Apache-2.0
// Every API that is served, with the versions its schema covers. A new API is one row here, its
// schema and its handler.
//
// Two rows differ from the others:
//   - Produce is advertised from version 0 on, as Apache Kafka's own brokers do, although versions
//     below 3 (old record formats) are refused. librdkafka up to 2.11.0 takes a missing version 0
//     for a broker that cannot compress.
//   - Fetch answers can be large, so a connection's next request waits until such an answer has
//     left: what a client that does not read can make the broker hold is one answer.
#include <stddef.h>

#include "broker/handlers/handlers.h"
#include "broker/request.h"
#include "gen/kp_alter_configs.h"
#include "gen/kp_api_versions.h"
#include "gen/kp_consumer_group_describe.h"
#include "gen/kp_consumer_group_heartbeat.h"
#include "gen/kp_create_partitions.h"
#include "gen/kp_create_topics.h"
#include "gen/kp_delete_groups.h"
#include "gen/kp_delete_records.h"
#include "gen/kp_delete_topics.h"
#include "gen/kp_describe_cluster.h"
#include "gen/kp_describe_configs.h"
#include "gen/kp_describe_groups.h"
#include "gen/kp_describe_topic_partitions.h"
#include "gen/kp_fetch.h"
#include "gen/kp_find_coordinator.h"
#include "gen/kp_heartbeat.h"
#include "gen/kp_incremental_alter_configs.h"
#include "gen/kp_init_producer_id.h"
#include "gen/kp_join_group.h"
#include "gen/kp_leave_group.h"
#include "gen/kp_list_groups.h"
#include "gen/kp_list_offsets.h"
#include "gen/kp_metadata.h"
#include "gen/kp_offset_commit.h"
#include "gen/kp_offset_delete.h"
#include "gen/kp_offset_fetch.h"
#include "gen/kp_offset_for_leader_epoch.h"
#include "gen/kp_produce.h"
#include "gen/kp_sync_group.h"

#define VERSIONS(id)                                                                               \
    .key = KP_##id##_KEY, .min_version = KP_##id##_MIN, .max_version = KP_##id##_MAX,              \
    .flexible_version = KP_##id##_FLEXIBLE

#define ROW(id, text, file)                                                                        \
    {                                                                                              \
        VERSIONS(id), .advertised_min = KP_##id##_MIN, .name = #text, .handle = handle_##file      \
    }

static const struct api apis[] = {
    {VERSIONS(PRODUCE), .advertised_min = 0, .name = "Produce", .handle = handle_produce},
    {VERSIONS(FETCH), .advertised_min = KP_FETCH_MIN, .large_replies = true, .name = "Fetch",
     .handle = handle_fetch},
    ROW(LIST_OFFSETS, ListOffsets, list_offsets),
    ROW(METADATA, Metadata, metadata),
    ROW(OFFSET_COMMIT, OffsetCommit, offset_commit),
    ROW(OFFSET_FETCH, OffsetFetch, offset_fetch),
    ROW(FIND_COORDINATOR, FindCoordinator, find_coordinator),
    ROW(JOIN_GROUP, JoinGroup, join_group),
    ROW(HEARTBEAT, Heartbeat, heartbeat),
    ROW(LEAVE_GROUP, LeaveGroup, leave_group),
    ROW(SYNC_GROUP, SyncGroup, sync_group),
    ROW(DESCRIBE_GROUPS, DescribeGroups, describe_groups),
    ROW(LIST_GROUPS, ListGroups, list_groups),
    ROW(API_VERSIONS, ApiVersions, api_versions),
    ROW(CREATE_TOPICS, CreateTopics, create_topics),
    ROW(DELETE_TOPICS, DeleteTopics, delete_topics),
    ROW(DELETE_RECORDS, DeleteRecords, delete_records),
    ROW(INIT_PRODUCER_ID, InitProducerId, init_producer_id),
    ROW(OFFSET_FOR_LEADER_EPOCH, OffsetForLeaderEpoch, offset_for_leader_epoch),
    ROW(DESCRIBE_CONFIGS, DescribeConfigs, describe_configs),
    ROW(ALTER_CONFIGS, AlterConfigs, alter_configs),
    ROW(CREATE_PARTITIONS, CreatePartitions, create_partitions),
    ROW(DELETE_GROUPS, DeleteGroups, delete_groups),
    ROW(INCREMENTAL_ALTER_CONFIGS, IncrementalAlterConfigs, incremental_alter_configs),
    ROW(OFFSET_DELETE, OffsetDelete, offset_delete),
    ROW(DESCRIBE_CLUSTER, DescribeCluster, describe_cluster),
    ROW(CONSUMER_GROUP_HEARTBEAT, ConsumerGroupHeartbeat, consumer_group_heartbeat),
    ROW(CONSUMER_GROUP_DESCRIBE, ConsumerGroupDescribe, consumer_group_describe),
    ROW(DESCRIBE_TOPIC_PARTITIONS, DescribeTopicPartitions, describe_topic_partitions),
};

enum { API_COUNT = sizeof(apis) / sizeof(apis[0]) };

const struct api *registry_all(size_t *count)
{
    *count = API_COUNT;
    return apis;
}

const struct api *registry_find(int16_t key)
{
    size_t low = 0, high = API_COUNT;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (apis[middle].key < key)
            low = middle + 1;
        else
            high = middle;
    }
    return low < API_COUNT && apis[low].key == key ? &apis[low] : NULL;
}
