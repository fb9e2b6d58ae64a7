// SPDX-License-Identifier: Apache-2.0
// Committed offsets with their logs and two shards.
#include "protocol/error.h"
#include "tests/unit/broker_state_shards.h"

enum { GROUPS = 8, ENTRIES = 3 };

struct operation {
    struct coordinator_op op;
    struct coordinator_entry entries[ENTRIES];
    struct arena arena;
    bool done;
};

static void operation_done(struct coordinator_op *op)
{
    list_entry(op, struct operation, op)->done = true;
}

static struct operation *start(struct shards *shards, uint32_t home, enum coordinator_kind kind,
                               const char *group, const struct coordinator_entry *entries,
                               uint32_t count)
{
    struct operation *operation = calloc(1, sizeof(*operation));
    arena_init(&operation->arena, 1 << 20);
    operation->op = (struct coordinator_op){.kind = kind,
                                            .group = span_text(group),
                                            .generation = -1,
                                            .version = 8,
                                            .retention_ms = -1,
                                            .entries = operation->entries,
                                            .entry_count = count,
                                            .arena = &operation->arena,
                                            .done = operation_done};
    for (uint32_t i = 0; i < count; i++)
        operation->entries[i] = entries[i];
    coordinator_submit(&shards->shard[home], &operation->op);
    cr_assert_not(operation->done, "never from inside");
    return operation;
}

static void end(struct operation *operation)
{
    arena_free(&operation->arena);
    free(operation);
}

static struct kp_uuid topic_id(const struct shards *shards, const char *name)
{
    return catalog_find(shards->shard[0].catalog, span_text(name))->id;
}

static int16_t commit(struct shards *shards, uint32_t home, const char *group, struct kp_uuid topic,
                      int32_t partition, int64_t offset)
{
    struct coordinator_entry entry = {.topic_id = topic,
                                      .partition = partition,
                                      .offset = offset,
                                      .leader_epoch = 0,
                                      .metadata = span_text("note")};
    struct operation *operation = start(shards, home, COORDINATOR_COMMIT, group, &entry, 1);
    shards_until(shards, &operation->done);
    int16_t error = operation->entries[0].error;
    cr_assert_eq(operation->op.error, error);
    end(operation);
    return error;
}

static int64_t fetch(struct shards *shards, uint32_t home, const char *group, struct kp_uuid topic,
                     int32_t partition)
{
    struct coordinator_entry entry = {.topic_id = topic, .partition = partition};
    struct operation *operation = start(shards, home, COORDINATOR_FETCH, group, &entry, 1);
    shards_until(shards, &operation->done);
    cr_assert_eq(operation->op.error, 0);
    int64_t offset = operation->entries[0].offset;
    cr_assert(
        span_equal(operation->entries[0].metadata, offset < 0 ? span_text("") : span_text("note")));
    end(operation);
    return offset;
}

static uint32_t fetch_all(struct shards *shards, uint32_t home, const char *group)
{
    struct operation *operation = start(shards, home, COORDINATOR_FETCH_ALL, group, NULL, 0);
    shards_until(shards, &operation->done);
    cr_assert_eq(operation->op.error, 0);
    uint32_t count = operation->op.entry_count;
    end(operation);
    return count;
}

Test(broker, offsets_are_the_same_from_every_shard_and_after_a_restart)
{
    struct shards *shards = state_open();
    char group[16];
    cr_assert_eq(change_run(shards, 0, CONTROLLER_CREATE_TOPICS, "t", 4), 0);
    struct kp_uuid topic = topic_id(shards, "t");
    for (uint32_t i = 0; i < GROUPS; i++) {
        snprintf(group, sizeof(group), "group-%u", i);
        cr_assert_eq(fetch(shards, 0, group, topic, 1), -1);
        cr_assert_eq(commit(shards, i % 2, group, topic, 1, 10 + i), 0);
        cr_assert_eq(commit(shards, i / 2 % 2, group, topic, 1, 20 + i), 0);
        cr_assert_eq(commit(shards, 0, group, topic, 3, 5), 0);
    }
    for (int restart = 0; restart < 2; restart++) {
        for (uint32_t i = 0; i < GROUPS; i++) {
            snprintf(group, sizeof(group), "group-%u", i);
            for (uint32_t home = 0; home < 2; home++) {
                cr_assert_eq(fetch(shards, home, group, topic, 1), 20 + i);
                cr_assert_eq(fetch(shards, home, group, topic, 3), 5);
                cr_assert_eq(fetch(shards, home, group, topic, 0), -1);
                cr_assert_eq(fetch_all(shards, home, group), 2);
            }
        }
        state_reopen(shards);
    }
    state_close(shards);
}

Test(broker, offsets_entries_with_errors_are_left_out)
{
    struct shards *shards = state_open();
    cr_assert_eq(change_run(shards, 0, CONTROLLER_CREATE_TOPICS, "t", 4), 0);
    struct kp_uuid topic = topic_id(shards, "t");
    struct coordinator_entry entries[2] = {
        {.topic_id = topic,
         .partition = 0,
         .offset = 7,
         .error = KP_ERROR_OFFSET_METADATA_TOO_LARGE},
        {.topic_id = topic, .partition = 1, .offset = 8, .metadata = span_text("note")},
    };
    struct operation *operation = start(shards, 1, COORDINATOR_COMMIT, "g", entries, 2);
    shards_until(shards, &operation->done);
    cr_assert_eq(operation->entries[0].error, KP_ERROR_OFFSET_METADATA_TOO_LARGE);
    cr_assert_eq(operation->entries[1].error, 0);
    end(operation);
    cr_assert_eq(fetch(shards, 0, "g", topic, 0), -1);
    cr_assert_eq(fetch(shards, 0, "g", topic, 1), 8);
    state_close(shards);
}

Test(broker, offsets_of_members_are_refused)
{
    struct shards *shards = state_open();
    cr_assert_eq(change_run(shards, 0, CONTROLLER_CREATE_TOPICS, "t", 1), 0);
    struct coordinator_entry entry = {.topic_id = topic_id(shards, "t"), .offset = 1};
    struct {
        int32_t generation;
        const char *member;
        int16_t version;
        const char *group;
        int16_t error;
    } cases[] = {
        {3, "m", 8, "unknown", KP_ERROR_ILLEGAL_GENERATION},
        {3, "m", 9, "unknown", KP_ERROR_GROUP_ID_NOT_FOUND},
        {3, "m", 9, "known", KP_ERROR_UNKNOWN_MEMBER_ID},
        // A consumer that names itself, but takes part in no group (KIP-848).
        {-1, "m", 9, "known", 0},
        {-1, "m", 9, "unknown too", 0},
    };
    cr_assert_eq(commit(shards, 0, "known", entry.topic_id, 0, 1), 0);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct operation *operation =
            start(shards, 0, COORDINATOR_COMMIT, cases[i].group, &entry, 1);
        operation->op.generation = cases[i].generation;
        operation->op.member_id = span_text(cases[i].member);
        operation->op.version = cases[i].version;
        shards_until(shards, &operation->done);
        cr_assert_eq(operation->op.error, cases[i].error, "case %zu", i);
        cr_assert_eq(operation->entries[0].error, cases[i].error);
        end(operation);
    }
    state_close(shards);
}

Test(broker, offsets_go_with_their_topic)
{
    struct shards *shards = state_open();
    cr_assert_eq(change_run(shards, 0, CONTROLLER_CREATE_TOPICS, "t", 1), 0);
    cr_assert_eq(change_run(shards, 0, CONTROLLER_CREATE_TOPICS, "u", 1), 0);
    struct kp_uuid old = topic_id(shards, "t");
    cr_assert_eq(commit(shards, 0, "g", old, 0, 5), 0);
    cr_assert_eq(commit(shards, 0, "g", topic_id(shards, "u"), 0, 6), 0);
    cr_assert_eq(fetch_all(shards, 1, "g"), 2);
    cr_assert_eq(change_run(shards, 1, CONTROLLER_DELETE_TOPICS, "t", -1), 0);
    cr_assert_eq(fetch_all(shards, 1, "g"), 1);
    cr_assert_eq(change_run(shards, 1, CONTROLLER_CREATE_TOPICS, "t", 1), 0);
    cr_assert_eq(fetch(shards, 0, "g", topic_id(shards, "t"), 0), -1, "another topic now");
    for (int i = 0; i < SHARDS_SETTLES && fetch(shards, 0, "g", old, 0) >= 0; i++)
        shards_settle(shards);
    cr_assert_eq(fetch(shards, 0, "g", old, 0), -1, "a tombstone was written");
    state_reopen(shards);
    cr_assert_eq(fetch_all(shards, 0, "g"), 1);
    state_close(shards);
}

Test(broker, offsets_expire)
{
    struct shards *shards = shards_open(2);
    shards->config->values[SETTING_OFFSETS_RETENTION_CHECK_INTERVAL_MS].number = 1;
    state_begin(shards);
    cr_assert_eq(change_run(shards, 0, CONTROLLER_CREATE_TOPICS, "t", 1), 0);
    struct kp_uuid topic = topic_id(shards, "t");
    cr_assert_eq(commit(shards, 0, "g", topic, 0, 5), 0);
    for (int i = 0; i < 10; i++)
        shards_settle(shards);
    cr_assert_eq(fetch(shards, 0, "g", topic, 0), 5, "too young");
    // Everything up to a minute from now counts as too old.
    shards->config->values[SETTING_OFFSETS_RETENTION_MINUTES].number = -1;
    for (int i = 0; i < SHARDS_SETTLES && fetch(shards, 0, "g", topic, 0) >= 0; i++)
        shards_settle(shards);
    cr_assert_eq(fetch(shards, 0, "g", topic, 0), -1);
    shards->config->values[SETTING_OFFSETS_RETENTION_MINUTES].number = 10080;
    state_reopen(shards);
    cr_assert_eq(fetch(shards, 0, "g", topic, 0), -1);
    state_close(shards);
}
