// SPDX-License-Identifier: Apache-2.0
// What is in force for a topic: its own value where it has a valid one, else the broker's.
#include "broker/topic_settings.h"

#include <stdlib.h>
#include <string.h>

static const char *find(const struct catalog_setting *settings, uint32_t count, const char *name)
{
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(settings[i].name, name) == 0)
            return settings[i].value;
    return NULL;
}

struct resolver {
    const struct config *config;
    const struct catalog_setting *settings;
    uint32_t count;
};

static struct config_value value_of(const struct resolver *from, enum setting_id id)
{
    const struct setting *setting = setting_get(id);
    struct config_value value = {.text = find(from->settings, from->count, setting->name)};
    char why[1];
    if (value.text &&
        setting_check(id, span_text(value.text), &value.number, why, sizeof(why)) == 0)
        return value;
    return from->config->values[setting->synonym];
}

bool topic_settings_list_has(const char *list, const char *word)
{
    size_t size = strlen(word);
    while (*list) {
        list += strspn(list, ", ");
        size_t length = strcspn(list, ", ");
        if (length == size && memcmp(list, word, size) == 0)
            return true;
        list += length;
    }
    return false;
}

static void resolve_codec(const char *name, struct topic_settings *out)
{
    static const char *const names[] = {"uncompressed", "gzip", "snappy", "lz4", "zstd"};
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        if (strcmp(name, names[i]) == 0) {
            out->recoded = true;
            out->codec = (enum batch_codec)i;
        }
    }
}

void topic_settings_resolve(const struct config *config, const struct catalog_setting *settings,
                            uint32_t count, struct topic_settings *out)
{
    struct resolver from = {config, settings, count};
    const char *policy = value_of(&from, SETTING_T_CLEANUP_POLICY).text;
    bool deletes = topic_settings_list_has(policy, "delete");
    bool compacted = topic_settings_list_has(policy, "compact");
    *out = (struct topic_settings){
        .log =
            {
                .segment_bytes = value_of(&from, SETTING_T_SEGMENT_BYTES).number,
                .segment_ms = value_of(&from, SETTING_T_SEGMENT_MS).number,
                .retention_bytes = deletes ? value_of(&from, SETTING_T_RETENTION_BYTES).number : -1,
                .retention_ms = deletes ? value_of(&from, SETTING_T_RETENTION_MS).number : -1,
                .compact = compacted,
                .min_dirty_ratio =
                    strtod(value_of(&from, SETTING_T_MIN_CLEANABLE_DIRTY_RATIO).text, NULL),
                .min_compaction_lag_ms = value_of(&from, SETTING_T_MIN_COMPACTION_LAG_MS).number,
                .max_compaction_lag_ms = value_of(&from, SETTING_T_MAX_COMPACTION_LAG_MS).number,
                .delete_retention_ms = value_of(&from, SETTING_T_DELETE_RETENTION_MS).number,
            },
        .max_message_bytes = value_of(&from, SETTING_T_MAX_MESSAGE_BYTES).number,
        .timestamp_before_max_ms =
            value_of(&from, SETTING_T_MESSAGE_TIMESTAMP_BEFORE_MAX_MS).number,
        .timestamp_after_max_ms = value_of(&from, SETTING_T_MESSAGE_TIMESTAMP_AFTER_MAX_MS).number,
        .log_append_time =
            strcmp(value_of(&from, SETTING_T_MESSAGE_TIMESTAMP_TYPE).text, "LogAppendTime") == 0,
        .compacted = compacted,
    };
    resolve_codec(value_of(&from, SETTING_T_COMPRESSION_TYPE).text, out);
}

const char *topic_settings_own(const struct catalog_topic *topic, enum setting_id id)
{
    return find(topic->settings, topic->setting_count, setting_get(id)->name);
}
