// SPDX-License-Identifier: Apache-2.0
// The rows of the command table, each defined beside its code.
#pragma once

#include "tools/command.h"

extern const struct command cmd_topic_create;
extern const struct command cmd_topic_list;
extern const struct command cmd_topic_describe;
extern const struct command cmd_topic_alter;
extern const struct command cmd_topic_delete;
extern const struct command cmd_topic_offsets;
extern const struct command cmd_topic_delete_records;
extern const struct command cmd_group_list;
extern const struct command cmd_group_describe;
extern const struct command cmd_group_reset;
extern const struct command cmd_group_delete;
extern const struct command cmd_group_delete_offsets;
extern const struct command cmd_group_remove_member;
extern const struct command cmd_config_get;
extern const struct command cmd_config_set;
extern const struct command cmd_config_unset;
extern const struct command cmd_cluster;
extern const struct command cmd_top;
extern const struct command cmd_produce;
extern const struct command cmd_consume;
extern const struct command cmd_tail;
extern const struct command cmd_pipe;
extern const struct command cmd_bench_produce;
extern const struct command cmd_bench_consume;
extern const struct command cmd_bench_roundtrip;
extern const struct command cmd_log_verify;
extern const struct command cmd_log_dump;
extern const struct command cmd_log_repair;
extern const struct command cmd_completion;
extern const struct command cmd_manual;
