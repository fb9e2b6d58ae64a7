// SPDX-License-Identifier: Apache-2.0
// Every setting of the broker and of topics, from the one table settings.def: names, types, limits,
// defaults, documentation. Pure functions over constant data; any thread.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/span.h"
#include "protocol/record_batch.h"
#include "storage/log.h"

// The numbers are those of the protocol's config_type.
enum setting_type {
    SETTING_BOOLEAN = 1,
    SETTING_STRING = 2,
    SETTING_INT = 3,
    SETTING_LONG = 5,
    SETTING_DOUBLE = 6,
    SETTING_LIST = 7,
};

enum setting_scope { SETTING_BROKER, SETTING_TOPIC };

enum setting_id {
#define BROKER_SETTING(id, ...) SETTING_##id,
#define TOPIC_SETTING(id, ...) SETTING_##id,
#include "broker/settings.def"
#undef BROKER_SETTING
#undef TOPIC_SETTING
    SETTING_COUNT,
    SETTING_NONE = SETTING_COUNT,
};

enum { SETTING_VALUE_MAX = 4000 }; // bytes of a value's text

struct setting {
    const char *name;
    enum setting_scope scope;
    enum setting_type type;
    const char *fallback;    // the default of a broker setting; NULL for topic settings
    enum setting_id synonym; // of a topic setting: the broker setting that is its default
    int64_t min;             // of integers
    int64_t max;
    const char *choices; // of strings and lists: the allowed words, "a,b,c"; NULL = any
    const char *doc;
};

// `id` < SETTING_COUNT.
const struct setting *setting_get(enum setting_id id);

// SETTING_NONE when there is no such setting in that scope. Other names that Kafka gives to the
// same setting ("broker.id", "log.dir") are found too.
enum setting_id setting_find(enum setting_scope scope, struct span name);

// The name that was probably meant, or NULL.
const char *setting_suggest(enum setting_scope scope, struct span name);

// Whether the text is a value this setting can take; *number is set for integers and booleans.
// 0 or -EINVAL with a sentence in `why`.
int setting_check(enum setting_id id, struct span text, int64_t *number, char *why,
                  size_t why_size);

// What a topic's settings amount to, after the broker's values have filled the gaps.
struct topic_settings {
    struct log_config log;
    int64_t max_message_bytes;
    int64_t timestamp_before_max_ms;
    int64_t timestamp_after_max_ms;
    bool log_append_time; // message.timestamp.type
    bool compacted;       // cleanup.policy contains "compact": records need keys
    bool recoded;         // compression.type is another one than "producer":
    enum batch_codec codec;
};
