// SPDX-License-Identifier: Apache-2.0
// Groups through a connection, in every version that is served.
#include "gen/kp_delete_groups.h"
#include "gen/kp_describe_groups.h"
#include "gen/kp_find_coordinator.h"
#include "gen/kp_heartbeat.h"
#include "gen/kp_join_group.h"
#include "gen/kp_leave_group.h"
#include "gen/kp_list_groups.h"
#include "gen/kp_offset_commit.h"
#include "gen/kp_offset_delete.h"
#include "gen/kp_offset_fetch.h"
#include "gen/kp_offset_for_leader_epoch.h"
#include "gen/kp_sync_group.h"
#include "protocol/error.h"
#include "tests/unit/broker_state_client.h"

// call_<api>(client, version, in): sends it and returns the answer, from the client's arena.
#define CALL(api, key)                                                                             \
    static struct kp_##api##_response *call_##api(struct client *client, int16_t version,          \
                                                  const struct kp_##api##_request *in)             \
    {                                                                                              \
        struct kp_writer writer = client_begin(client, key, version);                              \
        kp_##api##_request_encode(&writer, version, in);                                           \
        struct kp_reader reader = client_call(client, &writer, key, version);                      \
        struct kp_##api##_response *out = arena_alloc(&client->arena, sizeof(*out));               \
        int decoded = kp_##api##_response_decode(&reader, version, &client->arena, out);           \
        client_expect_end(&reader, decoded, version);                                              \
        return out;                                                                                \
    }

CALL(delete_groups, KP_DELETE_GROUPS_KEY)
CALL(describe_groups, KP_DESCRIBE_GROUPS_KEY)
CALL(find_coordinator, KP_FIND_COORDINATOR_KEY)
CALL(heartbeat, KP_HEARTBEAT_KEY)
CALL(join_group, KP_JOIN_GROUP_KEY)
CALL(leave_group, KP_LEAVE_GROUP_KEY)
CALL(list_groups, KP_LIST_GROUPS_KEY)
CALL(offset_commit, KP_OFFSET_COMMIT_KEY)
CALL(offset_delete, KP_OFFSET_DELETE_KEY)
CALL(offset_fetch, KP_OFFSET_FETCH_KEY)
CALL(offset_for_leader_epoch, KP_OFFSET_FOR_LEADER_EPOCH_KEY)
CALL(sync_group, KP_SYNC_GROUP_KEY)

static struct client groups_client(int64_t check_ms)
{
    struct shards *shards = shards_open(2);
    shards->config->values[SETTING_OFFSETS_RETENTION_CHECK_INTERVAL_MS].number = check_ms;
    shards->config->values[SETTING_GROUP_INITIAL_REBALANCE_DELAY_MS].number = 0;
    state_begin(shards);
    struct client client = {.shards = shards, .peer = peer_open(shards)};
    client.peer->connection->proven = true;
    arena_init(&client.arena, 64 << 20);
    cr_assert_eq(change_run(shards, 0, CONTROLLER_CREATE_TOPICS, "t", 2), 0);
    return client;
}

// The subscription of a consumer to topic "t", version 0.
static const char to_t[] = "\0\0\0\0\0\1\0\1t\xff\xff\xff\xff";

static struct kp_join_group_response *join(struct client *client, int16_t version,
                                           const char *group, struct span member)
{
    struct kp_join_group_request_protocol protocol = {span_text("range"),
                                                      span_of(to_t, sizeof(to_t) - 1)};
    struct kp_join_group_request in;
    kp_join_group_request_init(&in);
    in.group_id = span_text(group);
    in.session_timeout_ms = 600000;
    in.rebalance_timeout_ms = 600000;
    in.member_id = member;
    in.protocol_type = span_text("consumer");
    in.protocols = &protocol;
    in.protocols_count = 1;
    return call_join_group(client, version, &in);
}

struct settled {
    struct span id;
    int32_t generation;
};

static struct settled settle(struct client *client, int16_t join_version, int16_t sync_version,
                             const char *group)
{
    struct kp_join_group_response *joined = join(client, join_version, group, span_text(""));
    cr_assert_eq(joined->error_code, join_version >= 4 ? KP_ERROR_MEMBER_ID_REQUIRED : 0);
    if (joined->error_code)
        joined = join(client, join_version, group, joined->member_id);
    cr_assert_eq(joined->error_code, 0, "version %d", join_version);
    cr_assert(span_equal(joined->leader, joined->member_id));
    cr_assert_eq(joined->members_count, 1);
    struct kp_sync_group_request_assignment assignment = {joined->member_id, span_text("all")};
    struct kp_sync_group_request in;
    kp_sync_group_request_init(&in);
    in.group_id = span_text(group);
    in.generation_id = joined->generation_id;
    in.member_id = joined->member_id;
    in.protocol_type = span_text("consumer");
    in.protocol_name = span_text("range");
    in.assignments = &assignment;
    in.assignments_count = 1;
    struct kp_sync_group_response *synced = call_sync_group(client, sync_version, &in);
    cr_assert_eq(synced->error_code, 0, "version %d", sync_version);
    cr_assert(span_equal(synced->assignment, span_text("all")));
    return (struct settled){joined->member_id, joined->generation_id};
}

static int16_t heartbeat(struct client *client, int16_t version, const char *group,
                         struct settled member)
{
    struct kp_heartbeat_request in;
    kp_heartbeat_request_init(&in);
    in.group_id = span_text(group);
    in.generation_id = member.generation;
    in.member_id = member.id;
    return call_heartbeat(client, version, &in)->error_code;
}

static int16_t leave(struct client *client, int16_t version, const char *group,
                     struct settled member)
{
    struct kp_leave_group_request_member leaver;
    kp_leave_group_request_member_init(&leaver);
    struct kp_leave_group_request in;
    kp_leave_group_request_init(&in);
    in.group_id = span_text(group);
    leaver.member_id = in.member_id = member.id;
    in.members = &leaver;
    in.members_count = 1;
    struct kp_leave_group_response *out = call_leave_group(client, version, &in);
    if (version < 3 || out->error_code)
        return out->error_code;
    cr_assert_eq(out->members_count, 1);
    return out->members[0].error_code;
}

static int16_t commit(struct client *client, int16_t version, const char *group,
                      const struct settled *member, int64_t offset)
{
    struct kp_offset_commit_request_partition partition;
    kp_offset_commit_request_partition_init(&partition);
    partition.committed_offset = offset;
    struct kp_offset_commit_request_topic topic = {
        .name = span_text("t"),
        .topic_id = catalog_find(client->shards->shard[0].catalog, span_text("t"))->id,
        .partitions = &partition,
        .partitions_count = 1};
    struct kp_offset_commit_request in;
    kp_offset_commit_request_init(&in);
    in.group_id = span_text(group);
    in.topics = &topic;
    in.topics_count = 1;
    if (member) {
        in.generation_id_or_member_epoch = member->generation;
        in.member_id = member->id;
    }
    return call_offset_commit(client, version, &in)->topics[0].partitions[0].error_code;
}

Test(broker, groups_wire_members_in_every_version)
{
    struct client client = groups_client(600000);
    for (int16_t version = 0; version <= KP_JOIN_GROUP_MAX; version++) {
        char group[16];
        int16_t sync = version > KP_SYNC_GROUP_MAX ? KP_SYNC_GROUP_MAX : version;
        int16_t beat = version > KP_HEARTBEAT_MAX ? KP_HEARTBEAT_MAX : version;
        int16_t gone = version > KP_LEAVE_GROUP_MAX ? KP_LEAVE_GROUP_MAX : version;
        snprintf(group, sizeof(group), "g%d", version);
        struct settled member = settle(&client, version, sync, group);
        cr_assert_eq(heartbeat(&client, beat, group, member), 0);
        if (version >= KP_OFFSET_COMMIT_MIN)
            cr_assert_eq(commit(&client, version, group, &member, 10), 0);
        cr_assert_eq(leave(&client, gone, group, member), 0);
        cr_assert_eq(leave(&client, gone, group, member), KP_ERROR_UNKNOWN_MEMBER_ID);
        cr_assert_eq(heartbeat(&client, beat, group, member), KP_ERROR_UNKNOWN_MEMBER_ID);
    }
    client_close(&client);
}

Test(broker, groups_wire_describe_in_every_version)
{
    struct client client = groups_client(600000);
    struct span names[] = {span_text("g"), span_text("none"), span_text("only offsets")};
    settle(&client, 3, 2, "g");
    cr_assert_eq(commit(&client, 8, "only offsets", NULL, 1), 0);
    for (int16_t version = KP_DESCRIBE_GROUPS_MIN; version <= KP_DESCRIBE_GROUPS_MAX; version++) {
        struct kp_describe_groups_request in = {
            .groups = names, .groups_count = 3, .include_authorized_operations = true};
        struct kp_describe_groups_response *out = call_describe_groups(&client, version, &in);
        cr_assert_eq(out->groups_count, 3);
        cr_assert(span_equal(out->groups[0].group_id, names[0]));
        cr_assert(span_equal(out->groups[0].group_state, span_text("Stable")));
        cr_assert(span_equal(out->groups[0].protocol_data, span_text("range")));
        cr_assert_eq(out->groups[0].members_count, 1);
        cr_assert(span_equal(out->groups[0].members[0].member_assignment, span_text("all")));
        cr_assert_eq(out->groups[0].authorized_operations, version >= 3 ? 0x148 : INT32_MIN);
        cr_assert_eq(out->groups[1].error_code, version >= 6 ? KP_ERROR_GROUP_ID_NOT_FOUND : 0);
        cr_assert(span_equal(out->groups[1].group_state, span_text("Dead")));
        cr_assert_eq(out->groups[1].error_message.data != NULL, version >= 6);
        cr_assert_eq(out->groups[2].error_code, 0);
        cr_assert(span_equal(out->groups[2].group_state, span_text("Empty")));
    }
    client_close(&client);
}

Test(broker, groups_wire_list_and_delete_in_every_version)
{
    struct client client = groups_client(600000);
    settle(&client, 3, 2, "g");
    cr_assert_eq(commit(&client, 8, "only offsets", NULL, 1), 0);
    for (int16_t version = KP_LIST_GROUPS_MIN; version <= KP_LIST_GROUPS_MAX; version++) {
        struct span states[] = {span_text("Stable"), span_text("Dead")};
        struct kp_list_groups_request in;
        kp_list_groups_request_init(&in);
        cr_assert_eq(call_list_groups(&client, version, &in)->groups_count, 2);
        in.states_filter = states;
        in.states_filter_count = 2;
        struct kp_list_groups_response *out = call_list_groups(&client, version, &in);
        cr_assert_eq(out->groups_count, version >= 4 ? 1 : 2);
        if (version < 4)
            continue;
        cr_assert(span_equal(out->groups[0].group_id, span_text("g")));
        cr_assert(span_equal(out->groups[0].protocol_type, span_text("consumer")));
        cr_assert(span_equal(out->groups[0].group_state, span_text("Stable")));
        cr_assert(version < 5 || span_equal(out->groups[0].group_type, span_text("classic")));
    }
    for (int16_t version = 0; version <= KP_DELETE_GROUPS_MAX; version++) {
        struct span names[] = {span_text("g"), span_text("none"), span_text("only offsets")};
        struct kp_delete_groups_request in = {.groups_names = names, .groups_names_count = 3};
        struct kp_delete_groups_response *out = call_delete_groups(&client, version, &in);
        cr_assert_eq(out->results_count, 3);
        cr_assert_eq(out->results[0].error_code, KP_ERROR_NON_EMPTY_GROUP);
        cr_assert_eq(out->results[1].error_code, KP_ERROR_GROUP_ID_NOT_FOUND);
        cr_assert_eq(out->results[2].error_code, version ? KP_ERROR_GROUP_ID_NOT_FOUND : 0);
    }
    client_close(&client);
}

Test(broker, groups_wire_delete_offsets)
{
    struct client client = groups_client(600000);
    struct settled member = settle(&client, 3, 2, "g");
    struct kp_offset_delete_request_partition partitions[] = {{0}, {1}, {2}};
    struct kp_offset_delete_request_topic topics[] = {{span_text("t"), partitions, 3},
                                                      {span_text("none"), partitions, 1}};
    struct kp_offset_delete_request in = {
        .group_id = span_text("g"), .topics = topics, .topics_count = 2};
    cr_assert_eq(commit(&client, 8, "g", &member, 5), 0);
    struct kp_offset_delete_response *out = call_offset_delete(&client, 0, &in);
    cr_assert_eq(out->error_code, 0);
    cr_assert_eq(out->topics[0].partitions[0].error_code, KP_ERROR_GROUP_SUBSCRIBED_TO_TOPIC);
    cr_assert_eq(out->topics[0].partitions[2].error_code, KP_ERROR_UNKNOWN_TOPIC_OR_PARTITION);
    cr_assert_eq(out->topics[1].partitions[0].error_code, KP_ERROR_UNKNOWN_TOPIC_OR_PARTITION);
    cr_assert_eq(leave(&client, 2, "g", member), 0);
    out = call_offset_delete(&client, 0, &in);
    cr_assert_eq(out->topics[0].partitions[0].error_code, 0);
    cr_assert_eq(out->topics[0].partitions[1].error_code, 0, "there was none");
    in.group_id = span_text("none");
    cr_assert_eq(call_offset_delete(&client, 0, &in)->error_code, KP_ERROR_GROUP_ID_NOT_FOUND);
    struct kp_offset_fetch_request fetch;
    kp_offset_fetch_request_init(&fetch);
    fetch.group_id = span_text("g");
    fetch.topics_count = -1;
    cr_assert_eq(call_offset_fetch(&client, 7, &fetch)->topics_count, 0);
    client_close(&client);
}

// A time of its own, from versions that can name one.
Test(broker, groups_wire_offsets_keep_the_time_they_were_given)
{
    struct client client = groups_client(1);
    struct kp_offset_commit_request_partition partition;
    kp_offset_commit_request_partition_init(&partition);
    struct kp_offset_commit_request_topic topic = {
        .name = span_text("t"), .partitions = &partition, .partitions_count = 1};
    struct kp_offset_commit_request in;
    kp_offset_commit_request_init(&in);
    in.group_id = span_text("short");
    in.retention_time_ms = 0;
    in.topics = &topic;
    in.topics_count = 1;
    cr_assert_eq(call_offset_commit(&client, 4, &in)->topics[0].partitions[0].error_code, 0);
    cr_assert_eq(commit(&client, 4, "long", NULL, 1), 0);
    struct kp_list_groups_request list;
    struct kp_list_groups_response *out;
    kp_list_groups_request_init(&list);
    for (int i = 0; i < 500; i++)
        if ((out = call_list_groups(&client, 2, &list))->groups_count == 1)
            break;
    cr_assert_eq(out->groups_count, 1);
    cr_assert(span_equal(out->groups[0].group_id, span_text("long")));
    client_close(&client);
}

Test(broker, groups_wire_leader_epochs)
{
    struct client client = groups_client(600000);
    for (int16_t version = KP_OFFSET_FOR_LEADER_EPOCH_MIN;
         version <= KP_OFFSET_FOR_LEADER_EPOCH_MAX; version++) {
        struct kp_offset_for_leader_epoch_request_partition partitions[] = {
            {.partition = 0, .current_leader_epoch = -1, .leader_epoch = 0},
            {.partition = 1, .current_leader_epoch = 0, .leader_epoch = 3},
            {.partition = 0, .current_leader_epoch = 1, .leader_epoch = 0},
            {.partition = 2, .current_leader_epoch = -1, .leader_epoch = 0},
        };
        struct kp_offset_for_leader_epoch_request_topic topics[] = {
            {span_text("t"), partitions, 4}, {span_text("none"), partitions, 1}};
        struct kp_offset_for_leader_epoch_request in = {.topics = topics, .topics_count = 2};
        struct kp_offset_for_leader_epoch_response *out =
            call_offset_for_leader_epoch(&client, version, &in);
        const struct kp_offset_for_leader_epoch_response_partition *got = out->topics[0].partitions;
        cr_assert_eq(out->topics_count, 2);
        cr_assert_eq(out->topics[0].partitions_count, 4);
        cr_assert(got[0].error_code == 0 && got[0].leader_epoch == 0 && got[0].end_offset == 0);
        cr_assert(got[1].error_code == 0 && got[1].leader_epoch == -1 && got[1].end_offset == -1);
        cr_assert_eq(got[2].error_code, KP_ERROR_UNKNOWN_LEADER_EPOCH);
        cr_assert_eq(got[3].error_code, KP_ERROR_UNKNOWN_TOPIC_OR_PARTITION);
        cr_assert_eq(out->topics[1].partitions[0].error_code, KP_ERROR_UNKNOWN_TOPIC_OR_PARTITION);
    }
    client_close(&client);
}

Test(broker, groups_wire_kinds_of_coordinators)
{
    struct client client = groups_client(600000);
    static const struct {
        const char *key;
        int8_t type;
        int16_t version;
        int16_t error;
    } cases[] = {
        {"g", 0, 5, 0},
        {"", 0, 5, KP_ERROR_INVALID_GROUP_ID},
        {"g", 1, 5, KP_ERROR_COORDINATOR_NOT_AVAILABLE},
        {"g:AAAAAAAAAAAAAAAAAAAAAA:0", 2, 5, KP_ERROR_INVALID_REQUEST},
        {"g:AAAAAAAAAAAAAAAAAAAAAA:0", 2, 6, 0},
        {"with:colons:AAAAAAAAAAAAAAAAAAAA-_:17", 2, 6, 0},
        {":AAAAAAAAAAAAAAAAAAAAAA:0", 2, 6, KP_ERROR_INVALID_REQUEST},
        {"g:AAAAAAAAAAAAAAAAAAAAA:0", 2, 6, KP_ERROR_INVALID_REQUEST},
        {"g:AAAAAAAAAAAAAAAAAAAA+/:0", 2, 6, KP_ERROR_INVALID_REQUEST},
        {"g:AAAAAAAAAAAAAAAAAAAAAA:", 2, 6, KP_ERROR_INVALID_REQUEST},
        {"g:AAAAAAAAAAAAAAAAAAAAAA:x", 2, 6, KP_ERROR_INVALID_REQUEST},
        {"g", 2, 6, KP_ERROR_INVALID_REQUEST},
        {"g", 3, 6, KP_ERROR_INVALID_REQUEST},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct span keys[] = {span_text(cases[i].key), span_text(cases[i].key)};
        struct kp_find_coordinator_request in = {
            .key_type = cases[i].type, .coordinator_keys = keys, .coordinator_keys_count = 2};
        struct kp_find_coordinator_response *out =
            call_find_coordinator(&client, cases[i].version, &in);
        cr_assert_eq(out->coordinators_count, 2);
        cr_assert_eq(out->coordinators[1].error_code, cases[i].error, "case %zu", i);
        cr_assert(span_equal(out->coordinators[1].key, keys[1]));
        cr_assert_eq(out->coordinators[1].node_id, cases[i].error ? -1 : 1);
    }
    client_close(&client);
}
