// SPDX-License-Identifier: Apache-2.0
// Settings as clients see them. Owns nothing.
#include "broker/handlers/describe.h"

#include "broker/config.h"
#include "broker/shard.h"
#include "broker/topic_settings.h"

static struct describe_entry broker_entry(const struct config *config, enum setting_id id)
{
    return (struct describe_entry){
        .setting = setting_get(id),
        .value = config->values[id].text,
        .source = config->values[id].given ? DESCRIBE_BROKER : DESCRIBE_DEFAULT,
    };
}

static struct describe_entry topic_entry(const struct config *config,
                                         const struct catalog_topic *topic, enum setting_id id)
{
    const char *own = topic_settings_own(topic, id);
    struct describe_entry entry = broker_entry(config, setting_get(id)->synonym);
    entry.setting = setting_get(id);
    if (own) {
        entry.value = own;
        entry.source = DESCRIBE_TOPIC;
    }
    return entry;
}

static bool make_list(struct request *request, struct describe_list *out)
{
    out->count = 0;
    out->entries = arena_array(&request->arena, SETTING_COUNT, sizeof(*out->entries));
    return out->entries != NULL;
}

bool describe_topic(struct request *request, const struct catalog_topic *topic,
                    struct describe_list *out)
{
    if (!make_list(request, out))
        return false;
    for (unsigned i = 0; i < SETTING_COUNT; i++)
        if (setting_get((enum setting_id)i)->scope == SETTING_TOPIC)
            out->entries[out->count++] =
                topic_entry(request->shard->config, topic, (enum setting_id)i);
    return true;
}

bool describe_broker(struct request *request, struct describe_list *out)
{
    if (!make_list(request, out))
        return false;
    for (unsigned i = 0; i < SETTING_COUNT; i++)
        if (setting_get((enum setting_id)i)->scope == SETTING_BROKER)
            out->entries[out->count++] = broker_entry(request->shard->config, (enum setting_id)i);
    return true;
}

uint32_t describe_synonyms(const struct request *request, const struct describe_entry *entry,
                           struct describe_entry *out, uint32_t max)
{
    const struct config *config = request->shard->config;
    const struct setting *setting = entry->setting;
    enum setting_id broker = setting->scope == SETTING_TOPIC
                                 ? setting->synonym
                                 : setting_find(SETTING_BROKER, span_text(setting->name));
    uint32_t count = 0;
    if (entry->source == DESCRIBE_TOPIC && count < max)
        out[count++] = *entry;
    if (config->values[broker].given && count < max)
        out[count++] = broker_entry(config, broker);
    if (count < max)
        out[count++] = (struct describe_entry){.setting = setting_get(broker),
                                               .value = setting_get(broker)->fallback,
                                               .source = DESCRIBE_DEFAULT};
    return count;
}
