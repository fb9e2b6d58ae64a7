// SPDX-License-Identifier: Apache-2.0
// Settings and committed offsets through a connection, in every version that is served.
#include "gen/kp_alter_configs.h"
#include "gen/kp_describe_configs.h"
#include "gen/kp_find_coordinator.h"
#include "gen/kp_incremental_alter_configs.h"
#include "gen/kp_offset_commit.h"
#include "gen/kp_offset_fetch.h"
#include "protocol/error.h"
#include "tests/unit/broker_state_client.h"

enum { TOPIC = 2, BROKER = 4, LOGGER = 8 };

static struct client open_with_topic(void)
{
    struct client client = client_open();
    cr_assert_eq(change_run(client.shards, 0, CONTROLLER_CREATE_TOPICS, "t", 3), 0);
    return client;
}

static struct kp_uuid id_of_topic(const struct client *client)
{
    return catalog_find(client->shards->shard[0].catalog, span_text("t"))->id;
}

// --- settings -------------------------------------------------------------------------------

static struct kp_describe_configs_response *
describe(struct client *client, int16_t version,
         struct kp_describe_configs_request_resource *resources, int32_t count)
{
    struct kp_describe_configs_request in = {.resources = resources,
                                             .resources_count = count,
                                             .include_synonyms = true,
                                             .include_documentation = true};
    if (version < 3)
        in.include_documentation = false;
    struct kp_writer writer = client_begin(client, KP_DESCRIBE_CONFIGS_KEY, version);
    kp_describe_configs_request_encode(&writer, version, &in);
    struct kp_reader reader = client_call(client, &writer, KP_DESCRIBE_CONFIGS_KEY, version);
    struct kp_describe_configs_response *out = arena_alloc(&client->arena, sizeof(*out));
    int decoded = kp_describe_configs_response_decode(&reader, version, &client->arena, out);
    client_expect_end(&reader, decoded, version);
    return out;
}

// One setting of topic "t", NUL-terminated.
static const char *setting_of(struct client *client, const char *name, int8_t *source)
{
    struct span key = span_text(name);
    struct kp_describe_configs_request_resource resource = {.resource_type = TOPIC,
                                                            .resource_name = span_text("t"),
                                                            .configuration_keys = &key,
                                                            .configuration_keys_count = 1};
    struct kp_describe_configs_response *out = describe(client, 4, &resource, 1);
    cr_assert_eq(out->results[0].configs_count, 1);
    *source = out->results[0].configs[0].config_source;
    return arena_text(&client->arena, out->results[0].configs[0].value.data,
                      out->results[0].configs[0].value.size);
}

Test(broker, state_describe_configs_in_every_version)
{
    struct client client = open_with_topic();
    for (int16_t version = KP_DESCRIBE_CONFIGS_MIN; version <= KP_DESCRIBE_CONFIGS_MAX; version++) {
        struct span keys[] = {span_text("retention.ms"), span_text("unknown")};
        struct kp_describe_configs_request_resource resources[] = {
            {TOPIC, span_text("t"), NULL, -1},  {TOPIC, span_text("t"), keys, 2},
            {TOPIC, span_text("no"), NULL, -1}, {BROKER, span_text("1"), NULL, -1},
            {BROKER, span_text("2"), NULL, -1}, {BROKER, span_text(""), NULL, -1},
            {LOGGER, span_text("1"), NULL, -1}};
        struct kp_describe_configs_response *out = describe(&client, version, resources, 7);
        int32_t topic_settings = 0;
        for (int i = 0; i < SETTING_COUNT; i++)
            topic_settings += setting_get((enum setting_id)i)->scope == SETTING_TOPIC;
        cr_assert_eq(out->results_count, 7);
        cr_assert_eq(out->results[0].configs_count, topic_settings);
        cr_assert_eq(out->results[1].configs_count, 1, "unknown names are left out");
        const struct kp_describe_configs_response_config *config = &out->results[1].configs[0];
        cr_assert(span_equal(config->value, span_text("604800000")));
        cr_assert_eq(config->config_source, 5);
        cr_assert_eq(config->synonyms_count, 1);
        cr_assert(span_equal(config->synonyms[0].name, span_text("log.retention.ms")));
        if (version >= 3)
            cr_assert(config->config_type == SETTING_LONG && config->documentation.size > 10);
        cr_assert_eq(out->results[2].error_code, KP_ERROR_UNKNOWN_TOPIC_OR_PARTITION);
        cr_assert_eq(out->results[3].configs_count, (int32_t)SETTING_COUNT - topic_settings);
        cr_assert_eq(out->results[4].error_code, KP_ERROR_INVALID_REQUEST);
        cr_assert_eq(out->results[5].configs_count, 0);
        cr_assert_eq(out->results[6].error_code, KP_ERROR_INVALID_REQUEST);
    }
    client_close(&client);
}

Test(broker, state_alter_configs_in_every_version)
{
    struct client client = open_with_topic();
    int8_t source;
    for (int16_t version = KP_ALTER_CONFIGS_MIN; version <= KP_ALTER_CONFIGS_MAX; version++) {
        const char *name = version % 2 ? "retention.ms" : "segment.ms";
        const char *other = version % 2 ? "segment.ms" : "retention.ms";
        struct kp_alter_configs_request_config config = {span_text(name), span_text("12345")};
        struct kp_alter_configs_request_config bad = {span_text(name), span_text("x")};
        struct kp_alter_configs_request_resource resources[] = {
            {TOPIC, span_text("t"), &config, 1},
            {TOPIC, span_text("no"), &bad, 1},
            {BROKER, span_text("1"), &config, 1}};
        struct kp_alter_configs_request in = {.resources = resources, .resources_count = 3};
        struct kp_writer writer = client_begin(&client, KP_ALTER_CONFIGS_KEY, version);
        kp_alter_configs_request_encode(&writer, version, &in);
        struct kp_reader reader = client_call(&client, &writer, KP_ALTER_CONFIGS_KEY, version);
        struct kp_alter_configs_response out;
        client_expect_end(&reader,
                          kp_alter_configs_response_decode(&reader, version, &client.arena, &out),
                          version);
        cr_assert_eq(out.responses[0].error_code, 0);
        cr_assert_eq(out.responses[1].error_code, KP_ERROR_UNKNOWN_TOPIC_OR_PARTITION);
        cr_assert_eq(out.responses[2].error_code, KP_ERROR_INVALID_REQUEST);
        cr_assert_str_eq(setting_of(&client, name, &source), "12345");
        cr_assert_eq(source, 1);
        setting_of(&client, other, &source);
        cr_assert_eq(source, 5, "what is not listed goes back to its default");
    }
    client_close(&client);
}

static int16_t alter(struct client *client, int16_t version, const char *name, int8_t operation,
                     const char *value, bool validate_only)
{
    struct kp_incremental_alter_configs_request_config config = {span_text(name), operation,
                                                                 span_text(value)};
    struct kp_incremental_alter_configs_request_resource resource = {TOPIC, span_text("t"), &config,
                                                                     1};
    struct kp_incremental_alter_configs_request in = {
        .resources = &resource, .resources_count = 1, .validate_only = validate_only};
    struct kp_writer writer = client_begin(client, KP_INCREMENTAL_ALTER_CONFIGS_KEY, version);
    kp_incremental_alter_configs_request_encode(&writer, version, &in);
    struct kp_reader reader =
        client_call(client, &writer, KP_INCREMENTAL_ALTER_CONFIGS_KEY, version);
    struct kp_incremental_alter_configs_response out;
    client_expect_end(
        &reader,
        kp_incremental_alter_configs_response_decode(&reader, version, &client->arena, &out),
        version);
    return out.responses[0].error_code;
}

Test(broker, state_incremental_alter_configs_in_every_version)
{
    struct client client = open_with_topic();
    int8_t source;
    for (int16_t version = KP_INCREMENTAL_ALTER_CONFIGS_MIN;
         version <= KP_INCREMENTAL_ALTER_CONFIGS_MAX; version++) {
        cr_assert_eq(alter(&client, version, "retention.ms", CONTROLLER_SET, "5", true), 0);
        cr_assert_str_eq(setting_of(&client, "retention.ms", &source), "604800000");
        cr_assert_eq(alter(&client, version, "retention.ms", CONTROLLER_SET, "5", false), 0);
        cr_assert_eq(alter(&client, version, "cleanup.policy", CONTROLLER_APPEND, "compact", false),
                     0);
        cr_assert_str_eq(setting_of(&client, "retention.ms", &source), "5");
        cr_assert_str_eq(setting_of(&client, "cleanup.policy", &source), "delete,compact");
        cr_assert_eq(alter(&client, version, "retention.ms", 9, "5", false),
                     KP_ERROR_INVALID_REQUEST);
        cr_assert_eq(alter(&client, version, "retention.ms", CONTROLLER_DELETE, NULL, false), 0);
        cr_assert_eq(alter(&client, version, "cleanup.policy", CONTROLLER_DELETE, NULL, false), 0);
        cr_assert_str_eq(setting_of(&client, "cleanup.policy", &source), "delete");
    }
    client_close(&client);
}

// --- committed offsets ----------------------------------------------------------------------

Test(broker, state_find_coordinator_in_every_version)
{
    struct client client = client_open();
    for (int16_t version = KP_FIND_COORDINATOR_MIN; version <= KP_FIND_COORDINATOR_MAX; version++) {
        struct span keys[] = {span_text("g"), span_text("")};
        for (int8_t type = 0; type <= (version >= 1 ? 1 : 0); type++) {
            struct kp_find_coordinator_request in = {.key = keys[0],
                                                     .key_type = type,
                                                     .coordinator_keys = keys,
                                                     .coordinator_keys_count = 2};
            struct kp_writer writer = client_begin(&client, KP_FIND_COORDINATOR_KEY, version);
            kp_find_coordinator_request_encode(&writer, version, &in);
            struct kp_reader reader =
                client_call(&client, &writer, KP_FIND_COORDINATOR_KEY, version);
            struct kp_find_coordinator_response out;
            client_expect_end(
                &reader, kp_find_coordinator_response_decode(&reader, version, &client.arena, &out),
                version);
            int16_t expected = type ? KP_ERROR_COORDINATOR_NOT_AVAILABLE : 0;
            cr_assert_eq(version < 4 ? out.error_code : out.coordinators[0].error_code, expected);
            cr_assert_eq(version < 4 ? out.node_id : out.coordinators[0].node_id, type ? -1 : 1);
            if (version >= 4 && type == 0)
                cr_assert_eq(out.coordinators[1].error_code, KP_ERROR_INVALID_GROUP_ID);
        }
    }
    client_close(&client);
}

// Commits 100 + version for partition 1, and what must be refused for others.
static void commit(struct client *client, int16_t version)
{
    char group[16];
    snprintf(group, sizeof(group), "g%d", version);
    char *note = arena_alloc(&client->arena, 4097);
    memset(note, 'n', 4097);
    struct kp_offset_commit_request_partition parts[] = {
        {1, 100 + version, 0, span_text("note")},
        {3, 1, -1, {0}},
        {0, 1, -1, span_of(note, 4097)},
        {2, -5, -1, {0}},
    };
    struct kp_offset_commit_request_topic topics[] = {
        {span_text("t"), id_of_topic(client), parts, 4},
        {span_text("no"), {{7}}, parts, 1},
    };
    struct kp_offset_commit_request in;
    kp_offset_commit_request_init(&in);
    in.group_id = span_text(group);
    in.member_id = span_text("");
    in.topics = topics;
    in.topics_count = 2;
    struct kp_writer writer = client_begin(client, KP_OFFSET_COMMIT_KEY, version);
    kp_offset_commit_request_encode(&writer, version, &in);
    struct kp_reader reader = client_call(client, &writer, KP_OFFSET_COMMIT_KEY, version);
    struct kp_offset_commit_response out;
    client_expect_end(
        &reader, kp_offset_commit_response_decode(&reader, version, &client->arena, &out), version);
    cr_assert_eq(out.topics[0].partitions[0].error_code, 0, "version %d", version);
    cr_assert_eq(out.topics[0].partitions[1].error_code, KP_ERROR_UNKNOWN_TOPIC_OR_PARTITION);
    cr_assert_eq(out.topics[0].partitions[2].error_code, KP_ERROR_OFFSET_METADATA_TOO_LARGE);
    cr_assert_eq(out.topics[0].partitions[3].error_code, KP_ERROR_INVALID_REQUEST);
    cr_assert_eq(out.topics[1].partitions[0].error_code,
                 version >= 10 ? KP_ERROR_UNKNOWN_TOPIC_ID : KP_ERROR_UNKNOWN_TOPIC_OR_PARTITION);
}

static struct kp_offset_fetch_response fetch(struct client *client, int16_t version,
                                             struct kp_offset_fetch_request *in)
{
    struct kp_writer writer = client_begin(client, KP_OFFSET_FETCH_KEY, version);
    kp_offset_fetch_request_encode(&writer, version, in);
    struct kp_reader reader = client_call(client, &writer, KP_OFFSET_FETCH_KEY, version);
    struct kp_offset_fetch_response out;
    client_expect_end(
        &reader, kp_offset_fetch_response_decode(&reader, version, &client->arena, &out), version);
    return out;
}

static void fetch_one_group(struct client *client, int16_t version, int64_t expected)
{
    int32_t partitions[] = {1, 0};
    struct kp_offset_fetch_request_topic topics[] = {{span_text("t"), partitions, 2},
                                                     {span_text("no"), partitions, 1}};
    struct kp_offset_fetch_request in;
    kp_offset_fetch_request_init(&in);
    in.group_id = span_text("g5");
    in.topics = topics;
    in.topics_count = 2;
    struct kp_offset_fetch_response out = fetch(client, version, &in);
    const struct kp_offset_fetch_response_partition *known = out.topics[0].partitions;
    cr_assert_eq(known[0].committed_offset, expected, "version %d", version);
    cr_assert(span_equal(known[0].metadata, span_text("note")));
    cr_assert_eq(known[1].committed_offset, -1);
    cr_assert(known[1].error_code == 0 && known[1].metadata.data && known[1].metadata.size == 0);
    cr_assert_eq(out.topics[1].partitions[0].committed_offset, -1);
    cr_assert_eq(out.topics[1].partitions[0].error_code, 0);
    if (version < 2)
        return;
    in.topics_count = -1;
    out = fetch(client, version, &in);
    cr_assert_eq(out.topics_count, 1);
    cr_assert_eq(out.topics[0].partitions_count, 1);
    cr_assert_eq(out.topics[0].partitions[0].committed_offset, expected);
}

static void fetch_groups(struct client *client, int16_t version)
{
    int32_t partitions[] = {1, 2};
    struct kp_offset_fetch_request_group_topic topics[] = {
        {span_text("t"), id_of_topic(client), partitions, 2},
        {span_text("no"), {{7}}, partitions, 1}};
    struct kp_offset_fetch_request_group groups[4];
    for (int i = 0; i < 4; i++)
        kp_offset_fetch_request_group_init(&groups[i]);
    groups[0].group_id = span_text("g5");
    groups[0].topics = topics;
    groups[0].topics_count = 2;
    groups[1].group_id = span_text("g6");
    groups[1].topics_count = -1;
    groups[2].group_id = span_text("nobody");
    groups[2].topics_count = -1;
    groups[3].group_id = span_text("g7");
    struct kp_offset_fetch_request in;
    kp_offset_fetch_request_init(&in);
    in.groups = groups;
    in.groups_count = 4;
    struct kp_offset_fetch_response out = fetch(client, version, &in);
    cr_assert_eq(out.groups_count, 4);
    cr_assert_eq(out.groups[0].topics[0].partitions[0].committed_offset, 105);
    cr_assert_eq(out.groups[0].topics[0].partitions[1].committed_offset, -1);
    cr_assert_eq(out.groups[0].topics[1].partitions[0].error_code,
                 version >= 10 ? KP_ERROR_UNKNOWN_TOPIC_ID : 0);
    cr_assert_eq(out.groups[1].topics_count, 1);
    cr_assert_eq(out.groups[1].topics[0].partitions[0].committed_offset, 106);
    cr_assert_eq(out.groups[2].topics_count, 0);
    cr_assert_eq(out.groups[3].topics_count, 0);
    in.groups_count = 0;
    cr_assert_eq(fetch(client, version, &in).groups_count, 0);
}

Test(broker, state_offsets_in_every_version)
{
    struct client client = open_with_topic();
    for (int16_t version = KP_OFFSET_COMMIT_MIN; version <= KP_OFFSET_COMMIT_MAX; version++)
        commit(&client, version);
    for (int16_t version = KP_OFFSET_FETCH_MIN; version < 8; version++)
        fetch_one_group(&client, version, 105);
    for (int16_t version = 8; version <= KP_OFFSET_FETCH_MAX; version++)
        fetch_groups(&client, version);
    client_close(&client);
}
