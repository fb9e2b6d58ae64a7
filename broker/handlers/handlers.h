// SPDX-License-Identifier: Apache-2.0
// One handler per API, one file per handler; registry.c names them in its rows.
#pragma once

#include "broker/request.h"

// The data path.
void handle_api_versions(struct request *request);
void handle_unknown_api_versions(struct request *request); // in a version we do not know
void handle_produce(struct request *request);
void handle_fetch(struct request *request);
void handle_list_offsets(struct request *request);
void handle_offset_for_leader_epoch(struct request *request);
void handle_delete_records(struct request *request);
void handle_init_producer_id(struct request *request);

// Topics, settings, the cluster.
void handle_metadata(struct request *request);
void handle_create_topics(struct request *request);
void handle_delete_topics(struct request *request);
void handle_create_partitions(struct request *request);
void handle_describe_configs(struct request *request);
void handle_alter_configs(struct request *request);
void handle_incremental_alter_configs(struct request *request);
void handle_describe_cluster(struct request *request);
void handle_describe_topic_partitions(struct request *request);

// Groups.
void handle_find_coordinator(struct request *request);
void handle_join_group(struct request *request);
void handle_sync_group(struct request *request);
void handle_heartbeat(struct request *request);
void handle_leave_group(struct request *request);
void handle_describe_groups(struct request *request);
void handle_list_groups(struct request *request);
void handle_delete_groups(struct request *request);
void handle_consumer_group_heartbeat(struct request *request);
void handle_consumer_group_describe(struct request *request);

// Committed offsets.
void handle_offset_commit(struct request *request);
void handle_offset_fetch(struct request *request);
void handle_offset_delete(struct request *request);
