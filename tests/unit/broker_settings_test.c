// SPDX-License-Identifier: Apache-2.0
#include "broker/settings.h"

#include <criterion/criterion.h>
#include <string.h>

#include "broker/config.h"
#include "broker/topic_settings.h"

Test(broker, settings_table_is_sound)
{
    char why[200];
    for (unsigned i = 0; i < SETTING_COUNT; i++) {
        const struct setting *setting = setting_get((enum setting_id)i);
        int64_t number;
        cr_assert_eq(setting_find(setting->scope, span_text(setting->name)), i, "%s is there twice",
                     setting->name);
        size_t size = strlen(setting->doc);
        cr_assert(size > 10 && setting->doc[size - 1] == '.', "%s: %s", setting->name,
                  setting->doc);
        if (setting->scope == SETTING_BROKER) {
            cr_assert_eq(
                setting_check((enum setting_id)i, span_text(setting->fallback), &number, why, 200),
                0, "%s", why);
            continue;
        }
        const struct setting *synonym = setting_get(setting->synonym);
        cr_assert_eq(synonym->scope, SETTING_BROKER, "%s", setting->name);
        cr_assert_eq(synonym->type, setting->type, "%s", setting->name);
        cr_assert_eq(
            setting_check((enum setting_id)i, span_text(synonym->fallback), &number, why, 200), 0,
            "the default of %s: %s", setting->name, why);
    }
}

Test(broker, settings_scopes_are_apart)
{
    cr_assert_eq(setting_find(SETTING_TOPIC, span_text("log.retention.ms")), SETTING_NONE);
    cr_assert_eq(setting_find(SETTING_BROKER, span_text("retention.ms")), SETTING_NONE);
    cr_assert_eq(setting_find(SETTING_BROKER, span_text("log.dir")), SETTING_LOG_DIRS);
    cr_assert_eq(setting_find(SETTING_TOPIC, (struct span){0}), SETTING_NONE);
}

Test(broker, settings_suggest_only_what_is_near)
{
    cr_assert_str_eq(setting_suggest(SETTING_TOPIC, span_text("retention.mss")), "retention.ms");
    cr_assert_null(setting_suggest(SETTING_TOPIC, span_text("zzzzzzzzz")));
    cr_assert_null(setting_suggest(SETTING_TOPIC, span_text("")));
    char huge[5000];
    memset(huge, 'a', sizeof(huge));
    cr_assert_null(setting_suggest(SETTING_TOPIC, span_of(huge, sizeof(huge))));
}

static int check(enum setting_id id, struct span text)
{
    char why[200];
    int64_t number;
    return setting_check(id, text, &number, why, sizeof(why));
}

Test(broker, settings_values)
{
    cr_assert_eq(check(SETTING_T_RETENTION_MS, span_text("-1")), 0);
    cr_assert_neq(check(SETTING_T_RETENTION_MS, span_text("-2")), 0);
    cr_assert_neq(check(SETTING_T_RETENTION_MS, span_text("")), 0);
    cr_assert_neq(check(SETTING_T_RETENTION_MS, span_text(" 1")), 0);
    cr_assert_neq(check(SETTING_T_RETENTION_MS, span_text("1 ")), 0);
    cr_assert_neq(check(SETTING_T_RETENTION_MS, span_of("1\0002", 3)), 0, "a zero byte");
    cr_assert_eq(check(SETTING_T_MIN_CLEANABLE_DIRTY_RATIO, span_text("0.25")), 0);
    cr_assert_neq(check(SETTING_T_MIN_CLEANABLE_DIRTY_RATIO, span_text("1.5")), 0);
    cr_assert_neq(check(SETTING_T_MIN_CLEANABLE_DIRTY_RATIO, span_text("nan")), 0);
    cr_assert_eq(check(SETTING_T_CLEANUP_POLICY, span_text("compact, delete")), 0);
    cr_assert_neq(check(SETTING_T_CLEANUP_POLICY, span_text("compact,")), 0);
    cr_assert_neq(check(SETTING_T_CLEANUP_POLICY, span_text("")), 0);
    cr_assert_neq(check(SETTING_T_MESSAGE_TIMESTAMP_TYPE, span_text("createtime")), 0);
    static char huge[SETTING_VALUE_MAX + 2];
    memset(huge, '1', sizeof(huge));
    cr_assert_neq(check(SETTING_T_RETENTION_MS, span_of(huge, sizeof(huge))), 0);
}

Test(broker, settings_of_a_topic_fall_back_to_the_broker)
{
    char why[CONFIG_WHY_SIZE];
    struct config *config = config_create();
    struct topic_settings out;
    cr_assert_eq(config_set(config, "log.retention.ms", "5000", why), 0);
    cr_assert_eq(config_finish(config, why), 0);
    topic_settings_resolve(config, NULL, 0, &out);
    cr_assert_eq(out.log.retention_ms, 5000);
    cr_assert_eq(out.max_message_bytes, 1048588);
    cr_assert_not(out.log_append_time);
    cr_assert_not(out.compacted);
    struct catalog_setting own[] = {{"message.timestamp.type", "LogAppendTime"},
                                    {"retention.ms", "7"},
                                    {"segment.bytes", "nonsense"},
                                    {"from.a.newer.version", "x"}};
    topic_settings_resolve(config, own, 4, &out);
    cr_assert_eq(out.log.retention_ms, 7);
    cr_assert(out.log_append_time);
    cr_assert_eq(out.log.segment_bytes, 1073741824, "an invalid value counts as not given");
    config_free(config);
}

Test(broker, settings_compaction_keeps_everything_unless_delete_is_there_too)
{
    struct config *config = config_create();
    struct topic_settings out;
    struct catalog_setting own[] = {{"cleanup.policy", "compact"}, {"retention.ms", "7"}};
    topic_settings_resolve(config, own, 2, &out);
    cr_assert(out.compacted);
    cr_assert_eq(out.log.retention_ms, -1);
    cr_assert_eq(out.log.retention_bytes, -1);
    own[0].value = "compact,delete";
    topic_settings_resolve(config, own, 2, &out);
    cr_assert(out.compacted);
    cr_assert_eq(out.log.retention_ms, 7);
    config_free(config);
}
