// SPDX-License-Identifier: Apache-2.0
// The settings of one run: from the command line, the configuration file and the defaults of
// settings.def, checked before anything starts and immutable afterwards.
//
//   weir-broker [--config FILE] [--data-dir DIR] [--listen HOST:PORT] [--shards N]
//               [--set NAME=VALUE]... [--list-apis] [--list-settings] [--version] [--help]
//
// The command line outranks the file; of several equal options the last one counts.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker/settings.h"

enum config_action {
    CONFIG_RUN,
    CONFIG_HELP,
    CONFIG_VERSION,
    CONFIG_LIST_APIS,     // the table of docs/protocol.md
    CONFIG_LIST_SETTINGS, // the table of docs/operating.md
};

struct config_value {
    const char *text; // never NULL; what DescribeConfigs shows
    int64_t number;   // of integers and booleans
    bool given;       // by file or command line; else the default
};

struct config {
    enum config_action action;
    struct config_value values[SETTING_COUNT]; // of the broker-wide settings
    // Read out of the values above.
    const char *data_directory;
    const char *listen_host;
    uint16_t listen_port;        // 0: any free one
    const char *advertised_host; // NULL: what the client connected to, see endpoint.h
    uint16_t advertised_port;    // 0: the port that is listened on
    uint32_t shards;             // at least 1
    int32_t node_id;
    struct config_text *texts; // memory of the above
};

enum { CONFIG_WHY_SIZE = 512, CONFIG_PROBLEMS_SIZE = 8192 };

// 0 with *out, to be freed with config_free. On failure -EINVAL (wrong usage) or the negative errno
// of reading the file, and in `problems` everything that is wrong with the settings, one sentence
// per line, no newline behind the last.
int config_load(int argc, char *const *argv, struct config **out,
                char problems[CONFIG_PROBLEMS_SIZE]);
void config_free(struct config *config);

// Everything at its default, for tests; settings are then changed with config_set.
struct config *config_create(void);

// Checks and sets one broker setting by name. 0 or -EINVAL with `why`.
int config_set(struct config *config, const char *name, const char *value,
               char why[CONFIG_WHY_SIZE]);

// Fills what is derived from the values (addresses, shards, ...); after the last config_set.
int config_finish(struct config *config, char why[CONFIG_WHY_SIZE]);

// The text that --help prints.
const char *config_usage(void);

// The value of an integer or boolean broker setting.
static inline int64_t config_number(const struct config *config, enum setting_id id)
{
    return config->values[id].number;
}

static inline const char *config_text(const struct config *config, enum setting_id id)
{
    return config->values[id].text;
}
