// SPDX-License-Identifier: Apache-2.0
// The administration of groups against a real broker (client_live.h).
#include "gen/kp_consumer_group_heartbeat.h"
#include "gen/kp_join_group.h"
#include "gen/kp_sync_group.h"
#include "clients/c/coordinator.h"
#include "protocol/error.h"
#include "tests/unit/client_live.h"

// A name for a group that only this test uses.
static const char *group_name(const struct live *live, const char *what)
{
    static char names[4][TOPIC_SIZE + 16];
    static int at;
    char *name = names[at++ % 4];
    snprintf(name, sizeof(names[0]), "%s-%s", what, live->topic);
    return name;
}

static void offsets_set(struct live *live, const char *group, int32_t partitions)
{
    struct weir_offset offsets[8];
    for (int32_t i = 0; i < partitions; i++)
        offsets[i] = (struct weir_offset){
            .topic = live->topic, .partition = i, .offset = 10 + i, .metadata = "by hand"};
    int error = WEIR_ERR_UNKNOWN_TOPIC_OR_PARTITION; // for a moment, the coordinator may say so
    struct patience knowing = patience("the coordinator to know the topic");
    for (; error == WEIR_ERR_UNKNOWN_TOPIC_OR_PARTITION; patience_check(&knowing))
        error = weir_alter_group_offsets(live->client, group, offsets, (size_t)partitions, WAIT_MS);
    OK(live, error);
    for (int32_t i = 0; i < partitions; i++)
        cr_assert_eq(offsets[i].error, WEIR_OK);
}

Test(client, live_group_offsets_are_set_read_and_deleted)
{
    struct live *live = live_new();
    const char *group = group_name(live, "offsets");
    topic_create(live, live->topic, 3);
    offsets_set(live, group, 3);
    struct weir_offset_list *list;
    OK(live, weir_group_offsets(live->client, group, &list, WAIT_MS));
    cr_assert_eq(list->count, 3);
    for (int32_t i = 0; i < 3; i++) {
        cr_assert_str_eq(list->offsets[i].topic, live->topic);
        cr_assert_eq(list->offsets[i].partition, i);
        cr_assert_eq(list->offsets[i].offset, 10 + i);
        cr_assert_str_eq(list->offsets[i].metadata, "by hand");
    }
    weir_offset_list_free(list);
    struct weir_offset gone[2] = {{.topic = live->topic, .partition = 2},
                                  {.topic = live->topic, .partition = 0}};
    OK(live, weir_delete_group_offsets(live->client, group, gone, 2, WAIT_MS));
    OK(live, weir_group_offsets(live->client, group, &list, WAIT_MS));
    cr_assert_eq(list->count, 1);
    cr_assert_eq(list->offsets[0].partition, 1);
    weir_offset_list_free(list);
    struct weir_offset twice[2] = {{.topic = live->topic}, {.topic = live->topic}};
    cr_assert_eq(weir_delete_group_offsets(live->client, group, twice, 2, WAIT_MS),
                 WEIR_ERR_BAD_ARGUMENT);
    OK(live, weir_group_offsets(live->client, group_name(live, "nobody"), &list, WAIT_MS));
    cr_assert_eq(list->count, 0);
    weir_offset_list_free(list);
    OK(live, weir_delete_topic(live->client, live->topic, WAIT_MS));
    live_free(live);
}

static const struct weir_group_entry *entry_find(const struct weir_group_list *list,
                                                 const char *name)
{
    for (size_t i = 0; i < list->count; i++) {
        if (strcmp(list->groups[i].name, name) == 0)
            return &list->groups[i];
    }
    return NULL;
}

Test(client, live_groups_are_listed_by_state_and_type_and_deleted)
{
    struct live *live = live_new();
    const char *groups[2] = {group_name(live, "first"), group_name(live, "second")};
    topic_create(live, live->topic, 1);
    offsets_set(live, groups[0], 1);
    offsets_set(live, groups[1], 1);
    struct weir_group_list *list;
    OK(live, weir_list_groups(live->client, NULL, &list, WAIT_MS));
    const struct weir_group_entry *entry = entry_find(list, groups[0]);
    cr_assert_not_null(entry);
    cr_assert_str_eq(entry->state, "Empty");
    cr_assert_str_eq(entry->type, "classic");
    cr_assert_geq(entry->coordinator, 0);
    cr_assert_not_null(entry_find(list, groups[1]));
    weir_group_list_free(list);
    static const char *const stable[] = {"Stable"}, *const empty[] = {"Empty"};
    static const char *const classic[] = {"classic"}, *const consumer[] = {"consumer"};
    struct weir_group_filter filter = {stable, 1, NULL, 0};
    OK(live, weir_list_groups(live->client, &filter, &list, WAIT_MS));
    cr_assert_null(entry_find(list, groups[0]));
    weir_group_list_free(list);
    filter = (struct weir_group_filter){empty, 1, classic, 1};
    OK(live, weir_list_groups(live->client, &filter, &list, WAIT_MS));
    cr_assert_not_null(entry_find(list, groups[0]));
    weir_group_list_free(list);
    filter = (struct weir_group_filter){NULL, 0, consumer, 1};
    OK(live, weir_list_groups(live->client, &filter, &list, WAIT_MS));
    cr_assert_null(entry_find(list, groups[0]));
    weir_group_list_free(list);

    int errors[3];
    const char *names[3] = {groups[0], group_name(live, "nobody"), groups[1]};
    cr_assert_eq(weir_delete_groups(live->client, names, 3, errors, WAIT_MS),
                 WEIR_ERR_GROUP_ID_NOT_FOUND);
    cr_assert_eq(errors[0], WEIR_OK);
    cr_assert_eq(errors[1], WEIR_ERR_GROUP_ID_NOT_FOUND);
    cr_assert_eq(errors[2], WEIR_OK);
    OK(live, weir_list_groups(live->client, NULL, &list, WAIT_MS));
    cr_assert_null(entry_find(list, groups[0]));
    weir_group_list_free(list);
    OK(live, weir_delete_topic(live->client, live->topic, WAIT_MS));
    live_free(live);
}

// ------------------------------------------------------------------------------------- members

// One request of a member, as a call to the coordinator.
struct ask {
    struct call call;
    struct coordinator coordinator;
    const char *group;
    const char *topic;
    const char *instance_id; // NULL: a dynamic member
    char member_id[256];
    int32_t generation;
    int16_t code;
    struct kp_uuid topic_id;
};

static void ask_run(struct live *live, struct ask *ask, int16_t api_key,
                    void (*encode)(struct call *, struct kp_writer *),
                    int (*decode)(struct call *, struct reply *))
{
    coordinator_init(&ask->coordinator, live->client, ask->group);
    ask->call = (struct call){.client = live->client,
                              .target = CALL_COORDINATOR,
                              .api_key = api_key,
                              .coordinator = &ask->coordinator,
                              .encode = encode,
                              .decode = decode};
    OK(live, call_run(&ask->call, "asking", WAIT_MS));
    coordinator_free(&ask->coordinator);
}

static void id_keep(struct ask *ask, struct span id)
{
    cr_assert_lt(id.size, sizeof(ask->member_id));
    memcpy(ask->member_id, id.data, id.size);
    ask->member_id[id.size] = '\0';
}

static void join_encode(struct call *call, struct kp_writer *writer)
{
    struct ask *ask = list_entry(call, struct ask, call);
    struct kp_join_group_request message;
    struct kp_join_group_request_protocol protocol;
    kp_join_group_request_init(&message);
    kp_join_group_request_protocol_init(&protocol);
    static uint8_t metadata[128];
    size_t size = strlen(ask->topic);
    memcpy(metadata, (uint8_t[]){0, 0, 0, 0, 0, 1, 0, (uint8_t)size}, 8);
    memcpy(metadata + 8, ask->topic, size);
    memset(metadata + 8 + size, 0xff, 4); // no user data
    protocol.name = span_text("range");
    protocol.metadata = span_of(metadata, size + 12);
    message.group_id = span_text(ask->group);
    message.session_timeout_ms = 30000;
    message.rebalance_timeout_ms = 30000;
    message.member_id = span_text(ask->member_id);
    message.group_instance_id = span_text(ask->instance_id);
    message.protocol_type = span_text("consumer");
    message.protocols = &protocol;
    message.protocols_count = 1;
    kp_join_group_request_encode(writer, call->request.version, &message);
}

static int join_decode(struct call *call, struct reply *reply)
{
    struct ask *ask = list_entry(call, struct ask, call);
    struct kp_join_group_response message;
    if (kp_join_group_response_decode(&reply->reader, reply->version, reply->arena, &message) != 0)
        return WEIR_ERR_CORRUPT;
    ask->code = message.error_code;
    ask->generation = message.generation_id;
    id_keep(ask, message.member_id);
    return WEIR_OK;
}

static void sync_encode(struct call *call, struct kp_writer *writer)
{
    struct ask *ask = list_entry(call, struct ask, call);
    struct kp_sync_group_request message;
    struct kp_sync_group_request_assignment assignment;
    kp_sync_group_request_init(&message);
    kp_sync_group_request_assignment_init(&assignment);
    static uint8_t given[128];
    size_t size = strlen(ask->topic);
    memcpy(given, (uint8_t[]){0, 0, 0, 0, 0, 1, 0, (uint8_t)size}, 8);
    memcpy(given + 8, ask->topic, size);
    memcpy(given + 8 + size, (uint8_t[]){0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1}, 12);
    memset(given + 20 + size, 0xff, 4);
    assignment.member_id = span_text(ask->member_id);
    assignment.assignment = span_of(given, size + 24);
    message.group_id = span_text(ask->group);
    message.generation_id = ask->generation;
    message.member_id = span_text(ask->member_id);
    message.group_instance_id = span_text(ask->instance_id);
    message.protocol_type = span_text("consumer");
    message.protocol_name = span_text("range");
    message.assignments = &assignment;
    message.assignments_count = 1;
    kp_sync_group_request_encode(writer, call->request.version, &message);
}

static int sync_decode(struct call *call, struct reply *reply)
{
    struct ask *ask = list_entry(call, struct ask, call);
    struct kp_sync_group_response message;
    if (kp_sync_group_response_decode(&reply->reader, reply->version, reply->arena, &message) != 0)
        return WEIR_ERR_CORRUPT;
    ask->code = message.error_code;
    return WEIR_OK;
}

// Joins a member and gives it partitions 0 and 1.
static void member_join(struct live *live, struct ask *ask)
{
    ask_run(live, ask, KP_JOIN_GROUP_KEY, join_encode, join_decode);
    if (ask->code == KP_ERROR_MEMBER_ID_REQUIRED)
        ask_run(live, ask, KP_JOIN_GROUP_KEY, join_encode, join_decode);
    cr_assert_eq(ask->code, 0);
    ask_run(live, ask, KP_SYNC_GROUP_KEY, sync_encode, sync_decode);
    cr_assert_eq(ask->code, 0);
}

static void classic_check(const struct live *live, const struct ask *ask,
                          const struct weir_group *group)
{
    cr_assert_str_eq(group->state, "Stable");
    cr_assert_str_eq(group->type, "classic");
    cr_assert_str_eq(group->protocol_type, "consumer");
    cr_assert_str_eq(group->assignor, "range");
    cr_assert_eq(group->epoch, -1);
    cr_assert_eq(group->member_count, 1);
    const struct weir_member *member = &group->members[0];
    cr_assert_str_eq(member->id, ask->member_id);
    cr_assert_str_eq(member->instance_id, "instance-1");
    cr_assert_str_eq(member->client_id, "weir");
    cr_assert_eq(member->topic_count, 1);
    cr_assert_str_eq(member->topics[0], live->topic);
    cr_assert_eq(member->assigned_count, 2);
    cr_assert_str_eq(member->assigned[1].topic, live->topic);
    cr_assert_eq(member->assigned[1].partition, 1);
}

Test(client, live_groups_with_a_classic_member)
{
    struct live *live = live_new();
    const char *name = group_name(live, "classic");
    topic_create(live, live->topic, 2);
    struct ask ask = {.group = name, .topic = live->topic, .instance_id = "instance-1"};
    member_join(live, &ask);
    const char *names[2] = {name, group_name(live, "nobody")};
    struct weir_group_descriptions *described;
    OK(live, weir_describe_groups(live->client, names, 2, &described, WAIT_MS));
    cr_assert_eq(described->count, 2);
    cr_assert_str_eq(described->groups[0].name, name);
    cr_assert_eq(described->groups[0].error, WEIR_OK);
    classic_check(live, &ask, &described->groups[0]);
    cr_assert_eq(described->groups[1].error, WEIR_ERR_GROUP_ID_NOT_FOUND);
    cr_assert_eq(described->groups[1].member_count, 0);
    weir_group_descriptions_free(described);

    struct weir_offset offset = {.topic = live->topic, .partition = 0, .offset = 1};
    cr_assert_eq(weir_alter_group_offsets(live->client, name, &offset, 1, WAIT_MS),
                 WEIR_ERR_UNKNOWN_MEMBER_ID);
    cr_assert_eq(offset.error, WEIR_ERR_UNKNOWN_MEMBER_ID);
    cr_assert_eq(weir_delete_group_offsets(live->client, name, &offset, 1, WAIT_MS),
                 WEIR_ERR_GROUP_SUBSCRIBED_TO_TOPIC);
    cr_assert_eq(weir_delete_groups(live->client, &name, 1, NULL, WAIT_MS),
                 WEIR_ERR_NON_EMPTY_GROUP);
    struct weir_removal removals[2] = {{.instance_id = "instance-2"},
                                       {.instance_id = "instance-1"}};
    cr_assert_eq(weir_remove_members(live->client, name, removals, 2, WAIT_MS),
                 WEIR_ERR_UNKNOWN_MEMBER_ID);
    cr_assert_eq(removals[0].error, WEIR_ERR_UNKNOWN_MEMBER_ID);
    cr_assert_eq(removals[1].error, WEIR_OK);
    OK(live, weir_delete_groups(live->client, &name, 1, NULL, WAIT_MS));
    OK(live, weir_delete_topic(live->client, live->topic, WAIT_MS));
    live_free(live);
}

// How many members a group has.
static size_t member_count(struct live *live, const char *group)
{
    struct weir_group_descriptions *described;
    OK(live, weir_describe_groups(live->client, &group, 1, &described, WAIT_MS));
    cr_assert_eq(described->groups[0].error, WEIR_OK);
    size_t count = described->groups[0].member_count;
    weir_group_descriptions_free(described);
    return count;
}

Test(client, live_group_members_are_removed_by_their_ids)
{
    struct live *live = live_new();
    const char *name = group_name(live, "removed");
    topic_create(live, live->topic, 2);
    struct ask ask = {.group = name, .topic = live->topic};
    member_join(live, &ask);
    struct weir_removal removals[2] = {{.member_id = "nobody"}, {.member_id = ask.member_id}};
    cr_assert_eq(weir_remove_members(live->client, name, removals, 2, WAIT_MS),
                 WEIR_ERR_UNKNOWN_MEMBER_ID);
    cr_assert_eq(removals[0].error, WEIR_ERR_UNKNOWN_MEMBER_ID);
    cr_assert_eq(removals[1].error, WEIR_OK);
    cr_assert_eq(member_count(live, name), 0);
    // A static member's two ids have to belong together.
    struct ask fixed = {.group = name, .topic = live->topic, .instance_id = "instance-1"};
    member_join(live, &fixed);
    struct weir_removal wrong = {.member_id = "nobody", .instance_id = "instance-1"};
    cr_assert_eq(weir_remove_members(live->client, name, &wrong, 1, WAIT_MS),
                 WEIR_ERR_FENCED_INSTANCE_ID);
    cr_assert_eq(wrong.error, WEIR_ERR_FENCED_INSTANCE_ID);
    struct weir_removal right = {.member_id = fixed.member_id, .instance_id = "instance-1"};
    OK(live, weir_remove_members(live->client, name, &right, 1, WAIT_MS));
    struct weir_removal unnamed = {0};
    cr_assert_eq(weir_remove_members(live->client, name, &unnamed, 1, WAIT_MS),
                 WEIR_ERR_BAD_ARGUMENT);
    cr_assert_eq(weir_remove_members(live->client, name, &right, 0, WAIT_MS),
                 WEIR_ERR_BAD_ARGUMENT);
    OK(live, weir_delete_groups(live->client, &name, 1, NULL, WAIT_MS));
    OK(live, weir_delete_topic(live->client, live->topic, WAIT_MS));
    live_free(live);
}

Test(client, live_all_members_of_a_group_are_removed)
{
    struct live *live = live_new();
    const char *names[2] = {group_name(live, "dynamic"), group_name(live, "static")};
    topic_create(live, live->topic, 2);
    struct ask asks[2] = {{.group = names[0], .topic = live->topic},
                          {.group = names[1], .topic = live->topic, .instance_id = "instance-1"}};
    for (int i = 0; i < 2; i++) {
        member_join(live, &asks[i]);
        cr_assert_eq(member_count(live, names[i]), 1);
        OK(live, weir_remove_all_members(live->client, names[i], WAIT_MS));
        cr_assert_eq(member_count(live, names[i]), 0);
        OK(live, weir_remove_all_members(live->client, names[i], WAIT_MS));
    }
    OK(live, weir_delete_groups(live->client, names, 2, NULL, WAIT_MS));
    cr_assert_eq(weir_remove_all_members(live->client, names[0], WAIT_MS),
                 WEIR_ERR_GROUP_ID_NOT_FOUND);
    OK(live, weir_delete_topic(live->client, live->topic, WAIT_MS));
    live_free(live);
}

// ------------------------------------------------------------------------- members of KIP-848

static void heartbeat_encode(struct call *call, struct kp_writer *writer)
{
    struct ask *ask = list_entry(call, struct ask, call);
    struct kp_consumer_group_heartbeat_request message;
    struct span topic = span_text(ask->topic);
    kp_consumer_group_heartbeat_request_init(&message);
    message.group_id = span_text(ask->group);
    message.member_id = span_text(ask->member_id);
    message.member_epoch = ask->generation;
    if (ask->generation == 0) {
        message.rebalance_timeout_ms = 30000;
        message.subscribed_topic_names = &topic;
        message.subscribed_topic_names_count = 1;
        message.topic_partitions_count = 0;
        message.server_assignor = span_text("uniform");
    }
    kp_consumer_group_heartbeat_request_encode(writer, call->request.version, &message);
}

static int heartbeat_decode(struct call *call, struct reply *reply)
{
    struct ask *ask = list_entry(call, struct ask, call);
    struct kp_consumer_group_heartbeat_response message;
    if (kp_consumer_group_heartbeat_response_decode(&reply->reader, reply->version, reply->arena,
                                                    &message) != 0)
        return WEIR_ERR_CORRUPT;
    ask->code = message.error_code;
    ask->generation = message.member_epoch;
    return WEIR_OK;
}

Test(client, live_groups_with_a_member_of_the_newer_protocol)
{
    struct live *live = live_new();
    const char *name = group_name(live, "newer");
    topic_create(live, live->topic, 2);
    struct ask ask = {.group = name, .topic = live->topic, .member_id = "AAAAAAAAAAAAAAAAAAAAAA"};
    ask_run(live, &ask, KP_CONSUMER_GROUP_HEARTBEAT_KEY, heartbeat_encode, heartbeat_decode);
    cr_assert_eq(ask.code, 0);
    cr_assert_gt(ask.generation, 0);
    const char *names[2] = {group_name(live, "nobody"), name};
    struct weir_group_descriptions *described;
    OK(live, weir_describe_groups(live->client, names, 2, &described, WAIT_MS));
    // A broker may take its time to assign.
    struct patience assigning = patience("the member to be assigned partitions");
    while (described->groups[1].error == WEIR_OK && described->groups[1].member_count == 1 &&
           described->groups[1].members[0].target_count == 0) {
        patience_check(&assigning);
        weir_group_descriptions_free(described);
        weir_poll(live->client, 100);
        ask_run(live, &ask, KP_CONSUMER_GROUP_HEARTBEAT_KEY, heartbeat_encode, heartbeat_decode);
        cr_assert_eq(ask.code, 0);
        OK(live, weir_describe_groups(live->client, names, 2, &described, WAIT_MS));
    }
    cr_assert_eq(described->groups[0].error, WEIR_ERR_GROUP_ID_NOT_FOUND);
    const struct weir_group *group = &described->groups[1];
    cr_assert_eq(group->error, WEIR_OK);
    cr_assert_str_eq(group->name, name);
    cr_assert_str_eq(group->type, "consumer");
    cr_assert_gt(strlen(group->state), 0);
    cr_assert_str_eq(group->assignor, "uniform");
    cr_assert_geq(group->epoch, ask.generation);
    cr_assert_eq(group->member_count, 1);
    const struct weir_member *member = &group->members[0];
    cr_assert_str_eq(member->id, ask.member_id);
    cr_assert_eq(member->epoch, ask.generation);
    cr_assert_eq(member->topic_count, 1);
    cr_assert_str_eq(member->topics[0], live->topic);
    cr_assert_eq(member->target_count, 2);
    cr_assert_str_eq(member->target[0].topic, live->topic);
    weir_group_descriptions_free(described);
    static const char *const consumer[] = {"consumer"};
    struct weir_group_filter filter = {NULL, 0, consumer, 1};
    struct weir_group_list *list;
    OK(live, weir_list_groups(live->client, &filter, &list, WAIT_MS));
    cr_assert_not_null(entry_find(list, name));
    cr_assert_str_eq(entry_find(list, name)->type, "consumer");
    weir_group_list_free(list);
    struct weir_removal removal = {.member_id = ask.member_id};
    OK(live, weir_remove_members(live->client, name, &removal, 1, WAIT_MS));
    cr_assert_eq(member_count(live, name), 0);
    ask_run(live, &ask, KP_CONSUMER_GROUP_HEARTBEAT_KEY, heartbeat_encode, heartbeat_decode);
    cr_assert_eq(ask.code, KP_ERROR_UNKNOWN_MEMBER_ID);
    ask.generation = 0; // joins anew
    ask_run(live, &ask, KP_CONSUMER_GROUP_HEARTBEAT_KEY, heartbeat_encode, heartbeat_decode);
    cr_assert_eq(ask.code, 0);
    OK(live, weir_remove_all_members(live->client, name, WAIT_MS));
    cr_assert_eq(member_count(live, name), 0);
    OK(live, weir_delete_groups(live->client, &name, 1, NULL, WAIT_MS));
    OK(live, weir_delete_topic(live->client, live->topic, WAIT_MS));
    live_free(live);
}

Test(client, live_abilities_of_the_broker)
{
    struct live *live = live_new();
    struct weir_abilities *abilities;
    OK(live, weir_describe_abilities(live->client, -1, &abilities, WAIT_MS));
    cr_assert_gt(abilities->api_count, 20);
    cr_assert_str_eq(abilities->apis[0].name, "Produce");
    cr_assert_eq(abilities->apis[0].key, 0);
    cr_assert_geq(abilities->apis[0].max, 9);
    for (size_t i = 1; i < abilities->api_count; i++)
        cr_assert_lt(abilities->apis[i - 1].key, abilities->apis[i].key);
    weir_abilities_free(abilities);
    struct weir_cluster *cluster;
    OK(live, weir_describe_cluster(live->client, &cluster, WAIT_MS));
    OK(live, weir_describe_abilities(live->client, cluster->brokers[0].id, &abilities, WAIT_MS));
    weir_abilities_free(abilities);
    weir_cluster_free(cluster);
    live_free(live);
}

Test(client, live_the_largest_timestamp_is_found)
{
    struct live *live = live_new();
    topic_create(live, live->topic, 1);
    struct weir_producer *producer = weir_producer_new(live->client, NULL);
    for (int i = 0; i < 10; i++) {
        struct weir_message message = {.value = weir_text("x"),
                                       .timestamp = 1700000000000 + (i == 4 ? 1000 : i)};
        OK(live, weir_produce(producer, live->topic, 0, &message));
    }
    OK(live, weir_flush(producer, WAIT_MS));
    struct weir_offset_query query = {.topic = live->topic, .at = WEIR_MAX_TIMESTAMP};
    OK(live, weir_list_offsets(live->client, &query, 1, WAIT_MS));
    cr_assert_eq(query.offset, 4);
    cr_assert_eq(query.timestamp, 1700000001000);
    weir_producer_free(producer);
    OK(live, weir_delete_topic(live->client, live->topic, WAIT_MS));
    live_free(live);
}
