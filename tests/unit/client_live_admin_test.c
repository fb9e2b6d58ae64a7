// SPDX-License-Identifier: Apache-2.0
// Changing topics and their settings against a real broker (client_live.h).
#include "tests/unit/client_live.h"

// What a broker tells about one setting of the topic; freed with `list`.
static const struct weir_setting_info *setting_find(struct live *live, const char *name,
                                                    struct weir_setting_list **list)
{
    OK(live, weir_describe_settings(live->client, WEIR_RESOURCE_TOPIC, live->topic, list, WAIT_MS));
    size_t at = 0;
    while (at < (*list)->count && strcmp((*list)->settings[at].name, name) != 0)
        at++;
    cr_assert_lt(at, (*list)->count, "%s is not described", name);
    return &(*list)->settings[at];
}

// Some brokers take their time to tell.
static void setting_await(struct live *live, const char *name, const char *value)
{
    bool told = false;
    for (struct patience telling = patience(value); !told; patience_check(&telling)) {
        struct weir_setting_list *list;
        const struct weir_setting_info *setting = setting_find(live, name, &list);
        told = setting->value && strcmp(setting->value, value) == 0;
        weir_setting_list_free(list);
        if (!told)
            weir_poll(live->client, 20);
    }
}

static int alter(struct live *live, const char *name, const char *value,
                 enum weir_setting_change change, bool validate_only)
{
    struct weir_setting setting = {.name = name, .value = value, .change = change};
    return weir_alter_settings(live->client, WEIR_RESOURCE_TOPIC, live->topic, &setting, 1,
                               validate_only, WAIT_MS);
}

Test(client, live_words_of_a_list_are_appended_and_subtracted)
{
    struct live *live = live_new();
    topic_create(live, live->topic, 1);
    OK(live, alter(live, "cleanup.policy", "compact", WEIR_SETTING_APPEND, false));
    setting_await(live, "cleanup.policy", "delete,compact");
    OK(live, alter(live, "cleanup.policy", "compact", WEIR_SETTING_APPEND, false));
    OK(live, alter(live, "cleanup.policy", "delete", WEIR_SETTING_SUBTRACT, false));
    setting_await(live, "cleanup.policy", "compact");
    OK(live, alter(live, "cleanup.policy", "delete", WEIR_SETTING_SET, false));
    setting_await(live, "cleanup.policy", "delete");
    // All of several changes are made, or none.
    struct weir_setting both[2] = {
        {.name = "cleanup.policy", .value = "compact", .change = WEIR_SETTING_APPEND},
        {.name = "retention.ms", .value = "1", .change = WEIR_SETTING_APPEND}};
    cr_assert_eq(weir_alter_settings(live->client, WEIR_RESOURCE_TOPIC, live->topic, both, 2, false,
                                     WAIT_MS),
                 WEIR_ERR_INVALID_CONFIG);
    setting_await(live, "cleanup.policy", "delete");
    cr_assert_eq(alter(live, "cleanup.policy", NULL, WEIR_SETTING_APPEND, false),
                 WEIR_ERR_BAD_ARGUMENT);
    cr_assert_eq(alter(live, "cleanup.policy", "compact", (enum weir_setting_change)1, false),
                 WEIR_ERR_BAD_ARGUMENT);
    OK(live, weir_delete_topic(live->client, live->topic, WAIT_MS));
    live_free(live);
}

Test(client, live_changes_are_validated_only)
{
    struct live *live = live_new();
    topic_create(live, live->topic, 2);
    OK(live, alter(live, "retention.ms", "1234567", WEIR_SETTING_SET, true));
    cr_assert_eq(alter(live, "retention.ms", "often", WEIR_SETTING_SET, true),
                 WEIR_ERR_INVALID_CONFIG);
    OK(live, weir_create_partitions(live->client, live->topic, 7, true, WAIT_MS));
    cr_assert_eq(weir_create_partitions(live->client, live->topic, 1, true, WAIT_MS),
                 WEIR_ERR_INVALID_PARTITIONS);
    // A change that is made is told after all that came before it.
    OK(live, alter(live, "segment.ms", "7654321", WEIR_SETTING_SET, false));
    setting_await(live, "segment.ms", "7654321");
    struct weir_setting_list *settings;
    cr_assert(setting_find(live, "retention.ms", &settings)->is_default);
    weir_setting_list_free(settings);
    const char *name = live->topic;
    struct weir_topic_list *topics;
    OK(live, weir_describe_topics(live->client, &name, 1, &topics, WAIT_MS));
    cr_assert_eq(topics->topics[0].partition_count, 2);
    weir_topic_list_free(topics);
    OK(live, weir_delete_topic(live->client, live->topic, WAIT_MS));
    live_free(live);
}

Test(client, live_settings_are_explained)
{
    struct live *live = live_new();
    topic_create(live, live->topic, 1);
    OK(live, alter(live, "max.message.bytes", "1234567", WEIR_SETTING_SET, false));
    setting_await(live, "max.message.bytes", "1234567");
    struct weir_setting_list *list;
    const struct weir_setting_info *setting = setting_find(live, "max.message.bytes", &list);
    cr_assert_str_eq(setting->source, "topic");
    cr_assert_str_eq(setting->type, "int");
    for (size_t i = 0; i < list->count; i++) {
        cr_assert_gt(strlen(list->settings[i].documentation), 10, "%s", list->settings[i].name);
        cr_assert_str_neq(list->settings[i].type, "unknown");
    }
    cr_assert_eq(setting->synonym_count, 2);
    cr_assert_str_eq(setting->synonyms[0].name, "max.message.bytes");
    cr_assert_str_eq(setting->synonyms[0].value, "1234567");
    cr_assert_str_eq(setting->synonyms[0].source, "topic");
    cr_assert_str_eq(setting->synonyms[1].name, "message.max.bytes");
    cr_assert_str_eq(setting->synonyms[1].value, "1048588");
    cr_assert_str_eq(setting->synonyms[1].source, "default");
    weir_setting_list_free(list);
    setting = setting_find(live, "cleanup.policy", &list);
    cr_assert_str_eq(setting->type, "list");
    cr_assert_eq(setting->synonym_count, 1);
    cr_assert_str_eq(setting->synonyms[0].name, "log.cleanup.policy");
    cr_assert_str_eq(setting->synonyms[0].value, "delete");
    weir_setting_list_free(list);
    OK(live, weir_delete_topic(live->client, live->topic, WAIT_MS));
    live_free(live);
}

enum { SEVERAL = 40 };

static void several_names(const struct live *live, char texts[SEVERAL][TOPIC_SIZE + 8],
                          const char **names)
{
    for (int i = 0; i < SEVERAL; i++) {
        snprintf(texts[i], sizeof(texts[i]), "%s-%d", live->topic, i);
        names[i] = texts[i];
    }
}

Test(client, live_several_topics_are_created_and_deleted_at_once)
{
    struct live *live = live_new();
    char texts[SEVERAL][TOPIC_SIZE + 8];
    const char *names[SEVERAL];
    struct weir_new_topic topics[SEVERAL];
    static struct weir_outcome outcomes[SEVERAL];
    several_names(live, texts, names);
    topic_create(live, names[5], 1);
    for (int i = 0; i < SEVERAL; i++)
        topics[i] = (struct weir_new_topic){.name = names[i], .partitions = 1 + i % 2};
    topics[7].name = "a/b";
    cr_assert_eq(weir_create_topics(live->client, topics, SEVERAL, outcomes, WAIT_MS),
                 WEIR_ERR_TOPIC_ALREADY_EXISTS);
    cr_assert_not_null(strstr(weir_last_error(live->client), names[5]));
    for (int i = 0; i < SEVERAL; i++) {
        int expected = i == 5   ? WEIR_ERR_TOPIC_ALREADY_EXISTS
                       : i == 7 ? WEIR_ERR_INVALID_TOPIC
                                : WEIR_OK;
        cr_assert_eq(outcomes[i].error, expected, "%s: %s", names[i], outcomes[i].why);
        cr_assert_eq(outcomes[i].why[0] == '\0', expected == WEIR_OK);
        cr_assert(!expected || strstr(outcomes[i].why, topics[i].name), "%s", outcomes[i].why);
    }
    cr_assert_eq(weir_delete_topics(live->client, names, SEVERAL, outcomes, WAIT_MS),
                 WEIR_ERR_UNKNOWN_TOPIC_OR_PARTITION);
    for (int i = 0; i < SEVERAL; i++)
        cr_assert_eq(outcomes[i].error, i == 7 ? WEIR_ERR_UNKNOWN_TOPIC_OR_PARTITION : WEIR_OK,
                     "%s: %s", names[i], outcomes[i].why);
    live_free(live);
}

Test(client, live_several_topics_have_to_make_sense)
{
    struct live *live = live_new();
    const char *names[3] = {live->topic, "other", live->topic};
    struct weir_new_topic topics[2] = {{.name = live->topic}, {.name = live->topic}};
    struct weir_client *client = live->client;
    cr_assert_eq(weir_create_topics(client, topics, 2, NULL, WAIT_MS), WEIR_ERR_BAD_ARGUMENT);
    cr_assert_eq(weir_delete_topics(client, names, 3, NULL, WAIT_MS), WEIR_ERR_BAD_ARGUMENT);
    topics[1] = (struct weir_new_topic){.name = "other", .validate_only = true};
    cr_assert_eq(weir_create_topics(client, topics, 2, NULL, WAIT_MS), WEIR_ERR_BAD_ARGUMENT);
    struct weir_setting setting = {
        .name = "cleanup.policy", .value = "compact", .change = WEIR_SETTING_APPEND};
    topics[0] =
        (struct weir_new_topic){.name = live->topic, .settings = &setting, .setting_count = 1};
    cr_assert_eq(weir_create_topics(client, topics, 1, NULL, WAIT_MS), WEIR_ERR_BAD_ARGUMENT);
    cr_assert_eq(weir_create_topics(client, NULL, 1, NULL, WAIT_MS), WEIR_ERR_BAD_ARGUMENT);
    OK(live, weir_create_topics(client, NULL, 0, NULL, WAIT_MS));
    OK(live, weir_delete_topics(client, NULL, 0, NULL, WAIT_MS));
    // Only to be validated: all of them, and nothing is there afterwards.
    static struct weir_outcome outcomes[2];
    topics[0] = (struct weir_new_topic){.name = live->topic, .validate_only = true};
    topics[1] = (struct weir_new_topic){.name = "a/b", .validate_only = true};
    cr_assert_eq(weir_create_topics(client, topics, 2, outcomes, WAIT_MS), WEIR_ERR_INVALID_TOPIC);
    cr_assert_eq(outcomes[0].error, WEIR_OK);
    cr_assert_eq(weir_delete_topic(client, live->topic, WAIT_MS),
                 WEIR_ERR_UNKNOWN_TOPIC_OR_PARTITION);
    live_free(live);
}
