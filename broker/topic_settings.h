// SPDX-License-Identifier: Apache-2.0
// A topic's own settings together with the broker's: what is in force, and where it comes from.
// Pure; any thread.
#pragma once

#include "broker/catalog.h"
#include "broker/config.h"

// What the settings amount to. Values that are unknown or invalid here (a newer version may have
// stored them) count as not given.
void topic_settings_resolve(const struct config *config, const struct catalog_setting *settings,
                            uint32_t count, struct topic_settings *out);

// The topic's own value of a topic setting, or NULL when it has none.
const char *topic_settings_own(const struct catalog_topic *topic, enum setting_id id);

// Whether "a, b,c" contains the word.
bool topic_settings_list_has(const char *list, const char *word);
