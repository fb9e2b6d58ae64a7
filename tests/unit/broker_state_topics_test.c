// SPDX-License-Identifier: Apache-2.0
// Metadata and the changes of topics, through a connection, in every version that is served.
#include "gen/kp_create_partitions.h"
#include "gen/kp_create_topics.h"
#include "gen/kp_delete_topics.h"
#include "gen/kp_describe_cluster.h"
#include "gen/kp_describe_topic_partitions.h"
#include "gen/kp_metadata.h"
#include "protocol/error.h"
#include "tests/unit/broker_state_client.h"

static struct kp_create_topics_response *create(struct client *client, int16_t version,
                                                const struct kp_create_topics_request *in)
{
    struct kp_writer writer = client_begin(client, KP_CREATE_TOPICS_KEY, version);
    kp_create_topics_request_encode(&writer, version, in);
    struct kp_reader reader = client_call(client, &writer, KP_CREATE_TOPICS_KEY, version);
    struct kp_create_topics_response *out = arena_alloc(&client->arena, sizeof(*out));
    int decoded = kp_create_topics_response_decode(&reader, version, &client->arena, out);
    client_expect_end(&reader, decoded, version);
    return out;
}

static struct kp_create_topics_request_topic topic_of(const char *name, int32_t partitions,
                                                      int16_t replicas)
{
    struct kp_create_topics_request_topic topic;
    kp_create_topics_request_topic_init(&topic);
    topic.name = span_text(name);
    topic.num_partitions = partitions;
    topic.replication_factor = replicas;
    return topic;
}

static void create_one(struct client *client, const char *name, int32_t partitions)
{
    struct kp_create_topics_request_topic topic = topic_of(name, partitions, 1);
    struct kp_create_topics_request in = {.topics = &topic, .topics_count = 1};
    cr_assert_eq(create(client, KP_CREATE_TOPICS_MAX, &in)->topics[0].error_code, 0);
}

Test(broker, state_create_topics_in_every_version)
{
    struct client client = client_open();
    for (int16_t version = KP_CREATE_TOPICS_MIN; version <= KP_CREATE_TOPICS_MAX; version++) {
        char name[16];
        int32_t here[] = {1}, there[] = {2};
        struct kp_create_topics_request_config config = {span_text("retention.ms"), span_text("7")};
        struct kp_create_topics_request_assignment placed[] = {{1, here, 1}, {0, here, 1}};
        struct kp_create_topics_request_assignment elsewhere = {0, there, 1};
        struct kp_create_topics_request_assignment gap = {1, here, 1};
        snprintf(name, sizeof(name), "a%d", version);
        struct kp_create_topics_request_topic topics[] = {
            topic_of(name, 2, 1),        topic_of("placed", -1, -1), topic_of("elsewhere", -1, -1),
            topic_of("gap", -1, -1),     topic_of("three", 1, 3),    topic_of("bad name", 1, 1),
            topic_of("twice", 1, 1),     topic_of("twice", 1, 1),    topic_of("setting", 1, 1),
            topic_of("default", -1, -1),
        };
        struct kp_create_topics_request_config unknown = {span_text("retention.mz"),
                                                          span_text("7")};
        topics[0].configs = &config;
        topics[0].configs_count = 1;
        topics[1].assignments = placed;
        topics[1].assignments_count = 2;
        topics[2].assignments = &elsewhere;
        topics[3].assignments = &gap;
        topics[2].assignments_count = topics[3].assignments_count = 1;
        topics[8].configs = &unknown;
        topics[8].configs_count = 1;
        struct kp_create_topics_request in = {.topics = topics, .topics_count = 10};
        struct kp_create_topics_response *out = create(&client, version, &in);
        bool first = version == KP_CREATE_TOPICS_MIN;
        const int16_t errors[] = {
            0,
            first ? 0 : KP_ERROR_TOPIC_ALREADY_EXISTS,
            KP_ERROR_INVALID_REPLICA_ASSIGNMENT,
            KP_ERROR_INVALID_REPLICA_ASSIGNMENT,
            KP_ERROR_INVALID_REPLICATION_FACTOR,
            KP_ERROR_INVALID_TOPIC_EXCEPTION,
            KP_ERROR_INVALID_REQUEST,
            KP_ERROR_INVALID_REQUEST,
            KP_ERROR_INVALID_CONFIG,
            first ? 0 : KP_ERROR_TOPIC_ALREADY_EXISTS,
        };
        cr_assert_eq(out->topics_count, 10);
        for (int i = 0; i < 10; i++) {
            cr_assert_eq(out->topics[i].error_code, errors[i], "version %d, %d", version, i);
            cr_assert_eq(out->topics[i].error_message.data != NULL, errors[i] != 0);
        }
        if (version >= 5) {
            cr_assert_eq(out->topics[0].num_partitions, 2);
            cr_assert_gt(out->topics[0].configs_count, 20);
        }
        cr_assert_eq(kp_uuid_is_zero(out->topics[0].topic_id), version < 7);
    }
    client_close(&client);
}

// --- Metadata -------------------------------------------------------------------------------

static struct kp_metadata_response *metadata(struct client *client, int16_t version,
                                             const struct kp_metadata_request *in)
{
    struct kp_writer writer = client_begin(client, KP_METADATA_KEY, version);
    kp_metadata_request_encode(&writer, version, in);
    struct kp_reader reader = client_call(client, &writer, KP_METADATA_KEY, version);
    struct kp_metadata_response *out = arena_alloc(&client->arena, sizeof(*out));
    int decoded = kp_metadata_response_decode(&reader, version, &client->arena, out);
    client_expect_end(&reader, decoded, version);
    cr_assert_eq(out->brokers_count, 1);
    cr_assert_eq(out->brokers[0].node_id, 1);
    cr_assert(span_equal(out->brokers[0].host, span_text("127.0.0.1")));
    return out;
}

Test(broker, state_metadata_in_every_version)
{
    struct client client = client_open();
    create_one(&client, "there", 3);
    for (int16_t version = KP_METADATA_MIN; version <= KP_METADATA_MAX; version++) {
        char name[16];
        struct kp_metadata_request in;
        kp_metadata_request_init(&in);
        in.topics_count = version == 0 ? 0 : -1;
        struct kp_metadata_response *out = metadata(&client, version, &in);
        cr_assert_eq(out->topics_count, 2 + version, "all of them");
        in.topics_count = 0;
        if (version > 0)
            cr_assert_eq(metadata(&client, version, &in)->topics_count, 0, "none of them");
        snprintf(name, sizeof(name), "auto%d", version);
        struct kp_metadata_request_topic asked[] = {{.name = span_text(name)},
                                                    {.name = span_text("there")},
                                                    {.name = span_text("bad name")},
                                                    {.name = span_text("there")},
                                                    {.name = span_text("__reserved")}};
        in.topics = asked;
        in.topics_count = 5;
        out = metadata(&client, version, &in);
        cr_assert_eq(out->topics_count, 4, "each once");
        cr_assert_eq(out->topics[0].error_code, 0);
        cr_assert_eq(out->topics[0].partitions_count, 1);
        cr_assert_eq(kp_uuid_is_zero(out->topics[0].topic_id), version < 10);
        cr_assert_eq(out->topics[1].partitions_count, 3);
        cr_assert_eq(out->topics[1].partitions[2].leader_id, 1);
        cr_assert_eq(out->topics[1].partitions[2].isr_nodes[0], 1);
        cr_assert_eq(out->topics[2].error_code, KP_ERROR_INVALID_TOPIC_EXCEPTION);
        cr_assert_eq(out->topics[3].error_code, KP_ERROR_UNKNOWN_TOPIC_OR_PARTITION);
    }
    client_close(&client);
}

Test(broker, state_metadata_creates_only_when_both_sides_want_it)
{
    struct client client = client_open();
    struct kp_metadata_request_topic asked = {.name = span_text("t")};
    struct kp_metadata_request in;
    kp_metadata_request_init(&in);
    in.topics = &asked;
    in.topics_count = 1;
    in.allow_auto_topic_creation = false;
    cr_assert_eq(metadata(&client, 4, &in)->topics[0].error_code,
                 KP_ERROR_UNKNOWN_TOPIC_OR_PARTITION);
    in.allow_auto_topic_creation = true;
    client.shards->config->values[SETTING_AUTO_CREATE_TOPICS_ENABLE].number = 0;
    cr_assert_eq(metadata(&client, 4, &in)->topics[0].error_code,
                 KP_ERROR_UNKNOWN_TOPIC_OR_PARTITION);
    client.shards->config->values[SETTING_AUTO_CREATE_TOPICS_ENABLE].number = 1;
    cr_assert_eq(metadata(&client, 4, &in)->topics[0].error_code, 0);
    client_close(&client);
}

Test(broker, state_metadata_by_id)
{
    struct client client = client_open();
    create_one(&client, "t", 2);
    struct kp_metadata_request_topic asked[] = {
        {.topic_id = catalog_find(client.shards->shard[0].catalog, span_text("t"))->id},
        {.topic_id = {{5}}}};
    struct kp_metadata_request in;
    kp_metadata_request_init(&in);
    in.topics = asked;
    in.topics_count = 2;
    struct kp_metadata_response *out = metadata(&client, 12, &in);
    cr_assert(span_equal(out->topics[0].name, span_text("t")));
    cr_assert_eq(out->topics[0].partitions_count, 2);
    cr_assert_eq(out->topics[1].error_code, KP_ERROR_UNKNOWN_TOPIC_ID);
    cr_assert_null(out->topics[1].name.data);
    client_close(&client);
}

// --- changes --------------------------------------------------------------------------------

Test(broker, state_create_partitions_in_every_version)
{
    struct client client = client_open();
    create_one(&client, "t", 1);
    for (int16_t version = KP_CREATE_PARTITIONS_MIN; version <= KP_CREATE_PARTITIONS_MAX;
         version++) {
        struct kp_create_partitions_request_topic topics[] = {
            {.name = span_text("t"), .count = 2 + version, .assignments_count = -1},
            {.name = span_text("nope"), .count = 2, .assignments_count = -1}};
        struct kp_create_partitions_request in = {.topics = topics, .topics_count = 2};
        struct kp_writer writer = client_begin(&client, KP_CREATE_PARTITIONS_KEY, version);
        kp_create_partitions_request_encode(&writer, version, &in);
        struct kp_reader reader = client_call(&client, &writer, KP_CREATE_PARTITIONS_KEY, version);
        struct kp_create_partitions_response out;
        client_expect_end(
            &reader, kp_create_partitions_response_decode(&reader, version, &client.arena, &out),
            version);
        cr_assert_eq(out.results[0].error_code, 0);
        cr_assert_eq(out.results[1].error_code, KP_ERROR_UNKNOWN_TOPIC_OR_PARTITION);
        cr_assert_eq(catalog_find(client.shards->shard[1].catalog, span_text("t"))->partition_count,
                     2 + version);
    }
    client_close(&client);
}

Test(broker, state_delete_topics_in_every_version)
{
    struct client client = client_open();
    for (int16_t version = KP_DELETE_TOPICS_MIN; version <= KP_DELETE_TOPICS_MAX; version++) {
        create_one(&client, "t", 1);
        struct kp_uuid id = catalog_find(client.shards->shard[0].catalog, span_text("t"))->id;
        struct span names[] = {span_text("t"), span_text("nope")};
        struct kp_delete_topics_request_topic topics[] = {{.topic_id = id},
                                                          {.name = span_text("nope")}};
        struct kp_delete_topics_request in = {
            .topics = topics, .topics_count = 2, .topic_names = names, .topic_names_count = 2};
        struct kp_writer writer = client_begin(&client, KP_DELETE_TOPICS_KEY, version);
        kp_delete_topics_request_encode(&writer, version, &in);
        struct kp_reader reader = client_call(&client, &writer, KP_DELETE_TOPICS_KEY, version);
        struct kp_delete_topics_response out;
        client_expect_end(&reader,
                          kp_delete_topics_response_decode(&reader, version, &client.arena, &out),
                          version);
        cr_assert_eq(out.responses[0].error_code, 0);
        cr_assert(span_equal(out.responses[0].name, span_text("t")));
        cr_assert_eq(out.responses[1].error_code, KP_ERROR_UNKNOWN_TOPIC_OR_PARTITION);
        cr_assert_null(catalog_find(client.shards->shard[1].catalog, span_text("t")));
    }
    client_close(&client);
}

// --- descriptions ---------------------------------------------------------------------------

Test(broker, state_describe_cluster_in_every_version)
{
    struct client client = client_open();
    for (int16_t version = KP_DESCRIBE_CLUSTER_MIN; version <= KP_DESCRIBE_CLUSTER_MAX; version++) {
        for (int8_t type = 1; type <= (version >= 1 ? 2 : 1); type++) {
            struct kp_describe_cluster_request in = {.endpoint_type = type};
            struct kp_writer writer = client_begin(&client, KP_DESCRIBE_CLUSTER_KEY, version);
            kp_describe_cluster_request_encode(&writer, version, &in);
            struct kp_reader reader =
                client_call(&client, &writer, KP_DESCRIBE_CLUSTER_KEY, version);
            struct kp_describe_cluster_response out;
            client_expect_end(
                &reader, kp_describe_cluster_response_decode(&reader, version, &client.arena, &out),
                version);
            cr_assert_eq(out.error_code, type == 1 ? 0 : KP_ERROR_MISMATCHED_ENDPOINT_TYPE);
            cr_assert_eq(out.brokers_count, type == 1);
        }
    }
    client_close(&client);
}

// Page after page gives every partition once, in order.
Test(broker, state_describe_topic_partitions_page_by_page)
{
    struct client client = client_open();
    create_one(&client, "a", 5);
    create_one(&client, "b", 1);
    create_one(&client, "c", 4);
    for (int32_t limit = 1; limit <= 12; limit++) {
        struct kp_describe_topic_partitions_request_topic asked[] = {
            {span_text("c")}, {span_text("a")}, {span_text("b")}, {span_text("a")}};
        struct kp_describe_topic_partitions_request_cursor cursor;
        struct kp_describe_topic_partitions_request in = {
            .topics = asked, .topics_count = 4, .response_partition_limit = limit};
        char seen[64] = "";
        for (int page = 0; page < 20; page++) {
            struct kp_writer writer = client_begin(&client, KP_DESCRIBE_TOPIC_PARTITIONS_KEY, 0);
            kp_describe_topic_partitions_request_encode(&writer, 0, &in);
            struct kp_reader reader =
                client_call(&client, &writer, KP_DESCRIBE_TOPIC_PARTITIONS_KEY, 0);
            struct kp_describe_topic_partitions_response out;
            client_expect_end(
                &reader,
                kp_describe_topic_partitions_response_decode(&reader, 0, &client.arena, &out), 0);
            int32_t on_page = 0;
            for (int32_t t = 0; t < out.topics_count; t++)
                for (int32_t p = 0; p < out.topics[t].partitions_count; p++, on_page++)
                    snprintf(seen + strlen(seen), sizeof(seen) - strlen(seen), "%c%d",
                             out.topics[t].name.data[0],
                             out.topics[t].partitions[p].partition_index);
            cr_assert_leq(on_page, limit);
            if (!out.next_cursor)
                break;
            cursor = (struct kp_describe_topic_partitions_request_cursor){
                out.next_cursor->topic_name, out.next_cursor->partition_index};
            in.cursor = &cursor;
        }
        cr_assert_str_eq(seen, "a0a1a2a3a4b0c0c1c2c3", "limit %d", limit);
    }
    client_close(&client);
}
