// SPDX-License-Identifier: Apache-2.0
// Every command there is, in the order in which --help shows them.
#include "tools/commands.h"

const struct command *const command_table[] = {
    &cmd_topic_create,
    &cmd_topic_list,
    &cmd_topic_describe,
    &cmd_topic_alter,
    &cmd_topic_delete,
    &cmd_topic_offsets,
    &cmd_topic_delete_records,
    &cmd_produce,
    &cmd_consume,
    &cmd_tail,
    &cmd_config_get,
    &cmd_config_set,
    &cmd_config_unset,
    &cmd_bench_produce,
    &cmd_bench_consume,
    &cmd_bench_roundtrip,
    &cmd_log_verify,
    &cmd_log_dump,
    &cmd_log_repair,
    &cmd_completion,
    &cmd_manual,
    NULL,
};
