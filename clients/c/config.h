// SPDX-License-Identifier: Apache-2.0
// Settings: their names, limits and defaults in one table, their values in one plain structure.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "clients/c/weir.h"

enum {
    CONFIG_TEXT_SIZE = 256,
    CONFIG_GROUP_SIZE = 1025, // a group's name has up to 1,024 bytes
};

enum idempotence_mode { IDEMPOTENCE_OFF, IDEMPOTENCE_ON, IDEMPOTENCE_AUTO };

enum offset_reset { RESET_NONE, RESET_EARLIEST, RESET_LATEST };
enum group_protocol { GROUP_PROTOCOL_AUTO, GROUP_PROTOCOL_CLASSIC, GROUP_PROTOCOL_CONSUMER };
enum isolation_level { READ_UNCOMMITTED, READ_COMMITTED }; // as on the wire

struct config {
    // client
    char client_id[CONFIG_TEXT_SIZE];
    int64_t request_timeout_ms;
    int64_t connection_setup_timeout_ms;
    int64_t send_buffer_bytes;
    int64_t receive_buffer_bytes;
    int64_t reconnect_backoff_ms;
    int64_t reconnect_backoff_max_ms;
    int64_t retry_backoff_ms;
    int64_t retry_backoff_max_ms;
    int64_t metadata_max_age_ms;
    int64_t topic_propagation_max_ms;
    int64_t max_in_flight;
    int64_t receive_message_max_bytes;
    // producer
    int64_t acks;             // -1, 0, 1
    int64_t compression_type; // enum batch_codec
    int64_t compression_level;
    int64_t batch_size;
    int64_t linger_ms;
    int64_t message_max_bytes;
    int64_t max_request_size;
    int64_t buffer_memory;
    int64_t retries;
    int64_t delivery_timeout_ms;
    int64_t max_in_flight_per_partition;
    int64_t idempotence; // enum idempotence_mode
    int64_t allow_auto_create_topics;
    // consumer
    char group_id[CONFIG_GROUP_SIZE];
    int64_t auto_offset_reset; // enum offset_reset
    int64_t fetch_min_bytes;
    int64_t fetch_max_wait_ms;
    int64_t fetch_max_bytes;
    int64_t max_partition_fetch_bytes;
    int64_t check_crcs;
    int64_t isolation_level; // enum isolation_level
    int64_t enable_auto_commit;
    int64_t auto_commit_interval_ms;
    // consumer that subscribes
    char group_instance_id[CONFIG_TEXT_SIZE];
    int64_t group_protocol; // enum group_protocol
    int64_t max_poll_interval_ms;
    int64_t session_timeout_ms;
    int64_t heartbeat_interval_ms;
    char assignment_strategy[CONFIG_TEXT_SIZE]; // known names, separated by commas
    char group_remote_assignor[CONFIG_TEXT_SIZE];
};

// The values of `config`, or all defaults for NULL.
struct config config_values(const struct weir_config *config);
