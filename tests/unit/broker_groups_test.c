// SPDX-License-Identifier: Apache-2.0
// Groups with their coordinators, logs and two shards.
#include "broker/groups/coordinator_internal.h"
#include "tests/unit/broker_group_asks.h"

static struct shards *groups_open(void)
{
    struct shards *shards = shards_open(2);
    shards->config->values[SETTING_GROUP_INITIAL_REBALANCE_DELAY_MS].number = 0;
    state_begin(shards);
    return shards;
}

static struct coordinated *group_of(struct shards *shards, const char *name)
{
    for (uint32_t i = 0; i < 2; i++) {
        struct coordinated *group = coordinated_find(shards->shard[i].coordinator, span_text(name));
        if (group)
            return group;
    }
    return NULL;
}

static int16_t commit(struct shards *shards, const char *group, const struct member *member,
                      int64_t offset)
{
    struct coordinator_entry entry = {
        .topic_id = catalog_find(shards->shard[0].catalog, span_text("t"))->id,
        .offset = offset,
        .metadata = span_text("note")};
    struct asked *asked = asked_new(GROUP_HEARTBEAT, 0, group);
    asked->op.kind = COORDINATOR_COMMIT;
    asked->op.generation = member ? member->generation : -1;
    asked->op.member_id = span_text(member ? member->id : "");
    asked->op.version = 8;
    asked->op.retention_ms = -1;
    asked->op.entries = &entry;
    asked->op.entry_count = 1;
    asked_submit(shards, 1, asked);
    shards_until(shards, &asked->done);
    asked_end(asked);
    return entry.error;
}

static int64_t committed(struct shards *shards, const char *group)
{
    struct coordinator_entry entry = {
        .topic_id = catalog_find(shards->shard[0].catalog, span_text("t"))->id};
    struct asked *asked = asked_new(GROUP_HEARTBEAT, 0, group);
    asked->op.kind = COORDINATOR_FETCH;
    asked->op.generation = -1;
    asked->op.entries = &entry;
    asked->op.entry_count = 1;
    asked_submit(shards, 0, asked);
    shards_until(shards, &asked->done);
    cr_assert_eq(asked->op.error, 0);
    asked_end(asked);
    return entry.offset;
}

Test(broker, groups_are_there_again_after_a_restart)
{
    struct shards *shards = groups_open();
    cr_assert_eq(change_run(shards, 0, CONTROLLER_CREATE_TOPICS, "t", 1), 0);
    struct member member = asked_settle_one(shards, "g", "your part");
    cr_assert_eq(commit(shards, "g", &member, 7), 0);
    for (int restart = 0; restart < 2; restart++) {
        cr_assert_eq(asked_run_heartbeat(shards, "g", member.id, member.generation), 0);
        cr_assert_eq(asked_run_heartbeat(shards, "g", member.id, member.generation + 1),
                     KP_ERROR_ILLEGAL_GENERATION);
        cr_assert_eq(asked_run_heartbeat(shards, "g", "stranger", member.generation),
                     KP_ERROR_UNKNOWN_MEMBER_ID);
        cr_assert_eq(commit(shards, "g", &member, 8 + restart), 0);
        cr_assert_eq(commit(shards, "g", NULL, 1), KP_ERROR_UNKNOWN_MEMBER_ID);
        cr_assert_eq(committed(shards, "g"), 8 + restart);
        struct asked *described = asked_run_describe(shards, "g");
        const struct kp_describe_groups_response_group *group = &described->out.described;
        cr_assert(span_equal(group->group_state, span_text("Stable")));
        cr_assert(span_equal(group->protocol_type, span_text("test")));
        cr_assert_eq(group->members_count, 1);
        cr_assert(span_equal(group->members[0].member_assignment, span_text("your part")));
        cr_assert(span_equal(group->members[0].client_host, span_text("/host")));
        asked_end(described);
        state_reopen(shards);
    }
    cr_assert_eq(asked_run_leave(shards, "g", member.id), 0);
    cr_assert_eq(asked_run_heartbeat(shards, "g", member.id, member.generation),
                 KP_ERROR_UNKNOWN_MEMBER_ID);
    state_reopen(shards);
    struct asked *described = asked_run_describe(shards, "g");
    cr_assert(span_equal(described->out.described.group_state, span_text("Empty")));
    asked_end(described);
    state_close(shards);
}

Test(broker, groups_lose_members_whose_time_is_over)
{
    struct shards *shards = groups_open();
    struct member member = asked_settle_one(shards, "g", "a");
    shards_pass_time(shards, 9000);
    cr_assert_eq(asked_run_heartbeat(shards, "g", member.id, member.generation), 0);
    shards_pass_time(shards, 11000);
    cr_assert_eq(asked_run_heartbeat(shards, "g", member.id, member.generation),
                 KP_ERROR_UNKNOWN_MEMBER_ID);
    member = asked_settle_one(shards, "g", "b");
    state_reopen(shards);
    shards_pass_time(shards, 9000);
    cr_assert_eq(asked_run_heartbeat(shards, "g", member.id, member.generation), 0,
                 "a restart gives members their whole time again");
    state_reopen(shards);
    shards_pass_time(shards, 11000);
    cr_assert_eq(asked_run_heartbeat(shards, "g", member.id, member.generation),
                 KP_ERROR_UNKNOWN_MEMBER_ID);
    state_close(shards);
}

Test(broker, groups_let_go_of_those_whose_client_has_gone)
{
    struct shards *shards = groups_open();
    struct member first = asked_settle_one(shards, "g", "a");
    struct asked *second = asked_join("g", "");
    asked_submit(shards, 0, second);
    shards_settle(shards);
    cr_assert_not(second->done, "the first has not joined again");
    coordinator_cancel(&second->op);
    shards_until(shards, &second->done);
    cr_assert_eq(second->out.join.error_code, KP_ERROR_COORDINATOR_NOT_AVAILABLE);
    asked_end(second);
    struct asked *again = asked_join("g", first.id);
    asked_submit(shards, 0, again);
    shards_until(shards, &again->done);
    cr_assert_eq(again->out.join.error_code, 0);
    cr_assert_eq(again->out.join.members_count, 1, "the one who has gone is not waited for");
    cr_assert_gt(again->out.join.generation_id, first.generation);
    coordinator_cancel(&again->op); // too late, and harmless
    asked_end(again);
    // Cancelled on its way: both messages meet.
    struct asked *third = asked_join("g", "");
    asked_submit(shards, 1, third);
    coordinator_cancel(&third->op);
    shards_until(shards, &third->done);
    asked_end(third);
    shards_settle(shards);
    state_close(shards);
}

// As if the device failed: the partition is out of reach for a while.
static struct partition *hide_partition(struct shards *shards, const char *group)
{
    struct coordinated *coordinated = group_of(shards, group);
    struct coordinator *coordinator = coordinated->coordinator;
    struct partition *partition =
        partition_find(coordinator->shard, coordinator->topic_id,
                       coordinated_partition(coordinator, span_text(group)));
    cr_assert_not_null(partition);
    map_remove(&coordinator->shard->partitions, span_of(&partition->key, sizeof(partition->key)));
    return partition;
}

static void show_partition(struct shards *shards, struct partition *partition)
{
    struct shard *owner =
        shard_of_partition(&shards->shard[0], partition->key.topic_id, partition->key.partition);
    cr_assert_eq(
        map_put(&owner->partitions, span_of(&partition->key, sizeof(partition->key)), partition),
        0);
}

Test(broker, groups_are_what_is_durable_after_a_write_has_failed)
{
    struct shards *shards = groups_open();
    cr_assert_eq(change_run(shards, 0, CONTROLLER_CREATE_TOPICS, "t", 1), 0);
    struct member member = asked_settle_one(shards, "g", "a");
    struct asked *parked = asked_join("g", "");
    asked_submit(shards, 0, parked);
    shards_settle(shards);
    struct partition *partition = hide_partition(shards, "g");
    cr_assert_eq(commit(shards, "g", &member, 5), KP_ERROR_COORDINATOR_NOT_AVAILABLE);
    cr_assert_not(parked->done, "that was its own failure");
    struct asked *again = asked_join("g", member.id);
    asked_submit(shards, 0, again);
    shards_until(shards, &again->done);
    shards_until(shards, &parked->done);
    cr_assert_eq(again->out.join.error_code, KP_ERROR_COORDINATOR_NOT_AVAILABLE);
    cr_assert_eq(parked->out.join.error_code, KP_ERROR_COORDINATOR_NOT_AVAILABLE);
    asked_end(again);
    asked_end(parked);
    show_partition(shards, partition);
    cr_assert_eq(asked_run_heartbeat(shards, "g", member.id, member.generation),
                 KP_ERROR_REBALANCE_IN_PROGRESS, "that was durable before");
    cr_assert_eq(commit(shards, "g", &member, 6), 0, "the generation is as it was");
    cr_assert_eq(committed(shards, "g"), 6);
    again = asked_join("g", member.id);
    asked_submit(shards, 1, again);
    shards_until(shards, &again->done);
    cr_assert_eq(again->out.join.error_code, 0);
    cr_assert_eq(again->out.join.members_count, 1);
    cr_assert_eq(again->out.join.generation_id, member.generation + 1);
    asked_end(again);
    state_close(shards);
}

Test(broker, groups_are_deleted_with_everything)
{
    struct shards *shards = groups_open();
    cr_assert_eq(change_run(shards, 0, CONTROLLER_CREATE_TOPICS, "t", 1), 0);
    struct member member = asked_settle_one(shards, "g", "a");
    cr_assert_eq(commit(shards, "g", &member, 5), 0);
    cr_assert_eq(asked_run_delete(shards, "g"), KP_ERROR_NON_EMPTY_GROUP);
    cr_assert_eq(asked_run_delete(shards, "h"), KP_ERROR_GROUP_ID_NOT_FOUND);
    cr_assert_eq(asked_run_leave(shards, "g", member.id), 0);
    cr_assert_eq(committed(shards, "g"), 5);
    cr_assert_eq(asked_run_delete(shards, "g"), 0);
    cr_assert_null(group_of(shards, "g"));
    cr_assert_eq(asked_run_delete(shards, "g"), KP_ERROR_GROUP_ID_NOT_FOUND);
    // One that was never joined.
    cr_assert_eq(commit(shards, "h", NULL, 5), 0);
    cr_assert_eq(asked_run_delete(shards, "h"), 0);
    state_reopen(shards);
    cr_assert_null(group_of(shards, "g"));
    cr_assert_null(group_of(shards, "h"));
    cr_assert_eq(committed(shards, "g"), -1);
    cr_assert_eq(atomic_load(&shards->server.groups), 0);
    state_close(shards);
}

// Everybody is in the way of everybody else: a delete waits for what is on its way.
Test(broker, groups_are_deleted_after_what_is_in_flight)
{
    struct shards *shards = groups_open();
    struct member member = asked_settle_one(shards, "g", "a");
    struct asked *leave = asked_new(GROUP_LEAVE, 2, "g");
    kp_leave_group_request_init(&leave->in.leave);
    kp_leave_group_response_init(&leave->out.leave);
    leave->in.leave.group_id = span_text("g");
    leave->in.leave.member_id = span_text(member.id);
    struct asked *delete = asked_new(GROUP_DELETE, 2, "g");
    kp_delete_groups_response_group_init(&delete->out.deleted);
    asked_submit(shards, 0, leave);
    asked_submit(shards, 0, delete);
    shards_until(shards, &delete->done);
    cr_assert(leave->done);
    cr_assert_eq(leave->out.leave.error_code, 0);
    cr_assert_eq(delete->out.deleted.error_code, 0);
    asked_end(leave);
    asked_end(delete);
    state_reopen(shards);
    cr_assert_null(group_of(shards, "g"));
    state_close(shards);
}

Test(broker, groups_without_members_and_offsets_go_by_themselves)
{
    struct shards *shards = shards_open(2);
    shards->config->values[SETTING_GROUP_INITIAL_REBALANCE_DELAY_MS].number = 0;
    shards->config->values[SETTING_OFFSETS_RETENTION_CHECK_INTERVAL_MS].number = 1;
    state_begin(shards);
    cr_assert_eq(change_run(shards, 0, CONTROLLER_CREATE_TOPICS, "t", 1), 0);
    struct member member = asked_settle_one(shards, "g", "a");
    cr_assert_eq(commit(shards, "g", &member, 5), 0);
    // Everything up to a minute from now counts as too old.
    shards->config->values[SETTING_OFFSETS_RETENTION_MINUTES].number = -1;
    for (int i = 0; i < 20; i++)
        shards_settle(shards);
    cr_assert_eq(asked_run_leave(shards, "g", member.id), 0);
    for (int i = 0; i < SHARDS_SETTLES && group_of(shards, "g"); i++)
        shards_settle(shards);
    cr_assert_null(group_of(shards, "g"));
    shards->config->values[SETTING_OFFSETS_RETENTION_MINUTES].number = 10080;
    state_reopen(shards);
    cr_assert_null(group_of(shards, "g"));
    state_close(shards);
}

Test(broker, groups_are_bounded)
{
    struct shards *shards = shards_open(2);
    shards->config->values[SETTING_MAX_GROUPS].number = 2;
    state_begin(shards);
    cr_assert_eq(change_run(shards, 0, CONTROLLER_CREATE_TOPICS, "t", 1), 0);
    cr_assert_eq(commit(shards, "one", NULL, 1), 0);
    cr_assert_eq(commit(shards, "two", NULL, 1), 0);
    cr_assert_eq(commit(shards, "three", NULL, 1), KP_ERROR_POLICY_VIOLATION);
    cr_assert_eq(commit(shards, "one", NULL, 2), 0);
    char long_name[GROUP_NAME_MAX + 2];
    memset(long_name, 'x', sizeof(long_name));
    long_name[GROUP_NAME_MAX + 1] = '\0';
    cr_assert_eq(commit(shards, long_name, NULL, 1), KP_ERROR_INVALID_GROUP_ID);
    cr_assert_eq(asked_run_heartbeat(shards, "", "m", 1), KP_ERROR_INVALID_GROUP_ID);
    cr_assert_eq(asked_run_heartbeat(shards, "three", "m", 1), KP_ERROR_POLICY_VIOLATION);
    cr_assert_eq(asked_run_delete(shards, "two"), 0);
    cr_assert_eq(asked_run_heartbeat(shards, "three", "m", 1), KP_ERROR_UNKNOWN_MEMBER_ID);
    cr_assert_null(group_of(shards, "three"), "nothing comes of asking");
    state_close(shards);
}

Test(broker, groups_keep_to_their_part_of_a_turn)
{
    enum { MANY = 3 * COORDINATOR_BUDGET };
    static struct asked *asked[MANY];
    struct shards *shards = groups_open();
    struct member member = asked_settle_one(shards, "g", "a");
    struct shard *owner = group_of(shards, "g")->coordinator->shard;
    for (int i = 0; i < MANY; i++) {
        asked[i] = asked_heartbeat("g", member.id, member.generation);
        asked_submit(shards, owner->index, asked[i]);
    }
    // What lies in the mailbox is delivered; only a part of it is carried out.
    shards_turn_one(owner);
    shards_turn_one(owner);
    cr_assert_not(asked[MANY - 1]->done);
    shards_until(shards, &asked[MANY - 1]->done);
    for (int i = 0; i < MANY; i++) {
        cr_assert(asked[i]->done, "in order");
        cr_assert_eq(asked[i]->out.heartbeat.error_code, 0);
        asked_end(asked[i]);
    }
    state_close(shards);
}

Test(broker, groups_let_go_of_those_whose_client_has_gone_before_their_turn)
{
    enum { MANY = 3 * COORDINATOR_BUDGET };
    static struct asked *asked[MANY];
    struct shards *shards = groups_open();
    struct member first = asked_settle_one(shards, "g", "a");
    struct shard *owner = group_of(shards, "g")->coordinator->shard;
    for (int i = 0; i < MANY; i++) {
        asked[i] = asked_heartbeat("g", first.id, first.generation);
        asked_submit(shards, owner->index, asked[i]);
    }
    struct asked *second = asked_join("g", "");
    asked_submit(shards, owner->index, second);
    // Both have arrived, and the join waits for what this turn's budget does not reach.
    coordinator_cancel(&second->op);
    shards_turn_one(owner);
    shards_turn_one(owner);
    cr_assert_not(asked[MANY - 1]->done);
    shards_until(shards, &second->done);
    cr_assert_eq(second->out.join.error_code, KP_ERROR_COORDINATOR_NOT_AVAILABLE);
    asked_end(second);
    for (int i = 0; i < MANY; i++) {
        cr_assert(asked[i]->done, "in order");
        asked_end(asked[i]);
    }
    state_close(shards);
}

static uint32_t list(struct shards *shards, const char *state, const char *type)
{
    struct span states[] = {span_text(state)};
    struct span types[] = {span_text(type)};
    uint32_t count = 0;
    for (uint32_t i = 0; i < 2; i++) {
        struct asked *asked = asked_new(GROUP_HEARTBEAT, 0, NULL);
        asked->op.kind = COORDINATOR_LIST;
        asked->op.shard_index = i;
        asked->op.states = states;
        asked->op.state_count = state ? 1 : 0;
        asked->op.types = types;
        asked->op.type_count = type ? 1 : 0;
        asked_submit(shards, 0, asked);
        shards_until(shards, &asked->done);
        cr_assert_eq(asked->op.error, 0);
        count += asked->op.listed_count;
        asked_end(asked);
    }
    return count;
}

Test(broker, groups_are_listed_by_state_and_type)
{
    struct shards *shards = groups_open();
    cr_assert_eq(change_run(shards, 0, CONTROLLER_CREATE_TOPICS, "t", 1), 0);
    char name[16];
    for (int i = 0; i < 8; i++) {
        snprintf(name, sizeof(name), "group-%d", i);
        asked_settle_one(shards, name, "a");
    }
    cr_assert_eq(commit(shards, "only offsets", NULL, 1), 0);
    cr_assert_eq(list(shards, NULL, NULL), 9);
    cr_assert_eq(list(shards, "stable", NULL), 8);
    cr_assert_eq(list(shards, "Empty", "CLASSIC"), 1);
    cr_assert_eq(list(shards, NULL, "consumer"), 0);
    cr_assert_eq(list(shards, "nonsense", NULL), 0);
    state_close(shards);
}
