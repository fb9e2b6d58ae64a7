// SPDX-License-Identifier: Apache-2.0
// The rules for changes of topics, and that their records do to the fold what was announced.
#include "broker/topic_changes.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/catalog_record.h"
#include "broker/config.h"
#include "protocol/error.h"

enum { CHANGES_MAX = 8 };

struct fixture {
    struct config *config;
    struct catalog_fold *fold;
    struct arena arena;
    struct state_batch batch;
    struct controller_op op;
    struct controller_change changes[CHANGES_MAX];
    struct controller_setting settings[CHANGES_MAX];
    uint8_t next_id;
};

static struct fixture *set_up(void)
{
    struct fixture *f = calloc(1, sizeof(*f));
    f->config = config_create();
    f->fold = catalog_fold_create(f->config);
    arena_init(&f->arena, 1 << 20);
    state_batch_init(&f->batch);
    return f;
}

static void tear_down(struct fixture *f)
{
    state_batch_free(&f->batch);
    arena_free(&f->arena);
    catalog_fold_free(f->fold);
    config_free(f->config);
    free(f);
}

static struct controller_change *begin(struct fixture *f, enum controller_kind kind, uint32_t count)
{
    memset(f->changes, 0, sizeof(f->changes));
    memset(f->settings, 0, sizeof(f->settings));
    f->op = (struct controller_op){
        .kind = kind, .changes = f->changes, .change_count = count, .arena = &f->arena};
    for (uint32_t i = 0; i < CHANGES_MAX; i++) {
        f->changes[i].partition_count = -1;
        f->changes[i].assignment_count = -1;
        if (kind == CONTROLLER_CREATE_TOPICS)
            f->changes[i].id.bytes[0] = ++f->next_id;
    }
    return f->changes;
}

static int apply_record(void *context, struct span key, struct span value)
{
    struct fixture *f = context;
    return catalog_fold_apply(f->fold, key, value);
}

// Does what the controller does with it, without the log in between.
static void run(struct fixture *f)
{
    state_batch_reset(&f->batch);
    topic_changes_prepare(f->fold, f->config, &f->op, 1, &f->batch);
    if (!state_batch_empty(&f->batch))
        cr_assert_eq(state_batch_each(&f->batch, apply_record, f), 0);
}

static int16_t create(struct fixture *f, const char *name, int32_t partitions)
{
    struct controller_change *change = begin(f, CONTROLLER_CREATE_TOPICS, 1);
    change->name = span_text(name);
    change->partition_count = partitions;
    run(f);
    return change->error;
}

static const struct catalog_topic *topic(struct fixture *f, const char *name)
{
    return catalog_fold_find(f->fold, span_text(name));
}

static int16_t alter(struct fixture *f, const char *name, const char *setting, int8_t action,
                     const char *value)
{
    struct controller_change *change = begin(f, CONTROLLER_ALTER_TOPICS, 1);
    change->name = span_text(name);
    change->settings = f->settings;
    change->setting_count = 1;
    f->settings[0] = (struct controller_setting){span_text(setting), span_text(value), action};
    run(f);
    return change->error;
}

static const char *value_of(struct fixture *f, const char *name, const char *setting)
{
    const struct catalog_topic *t = topic(f, name);
    for (uint32_t i = 0; i < t->setting_count; i++)
        if (strcmp(t->settings[i].name, setting) == 0)
            return t->settings[i].value;
    return NULL;
}

Test(broker, controller_creates)
{
    struct fixture *f = set_up();
    cr_assert_eq(create(f, "a", 3), 0);
    cr_assert_eq(topic(f, "a")->partition_count, 3);
    cr_assert_eq(create(f, "b", -1), 0);
    cr_assert_eq(topic(f, "b")->partition_count, 1, "num.partitions");
    cr_assert_eq(f->changes[0].partition_count, 1, "the caller is told");
    cr_assert(kp_uuid_equal(topic(f, "b")->id, f->changes[0].id));
    tear_down(f);
}

Test(broker, controller_refuses_to_create)
{
    struct fixture *f = set_up();
    cr_assert_eq(create(f, "a.b", 1), 0);
    cr_assert_eq(create(f, "a.b", 1), KP_ERROR_TOPIC_ALREADY_EXISTS);
    cr_assert_eq(create(f, "a_b", 1), KP_ERROR_INVALID_TOPIC_EXCEPTION, "differs only in . and _");
    cr_assert_eq(create(f, "bad name", 1), KP_ERROR_INVALID_TOPIC_EXCEPTION);
    cr_assert_eq(create(f, CATALOG_METADATA_TOPIC, 1), KP_ERROR_INVALID_TOPIC_EXCEPTION);
    cr_assert_eq(create(f, "c", 0), KP_ERROR_INVALID_PARTITIONS);
    cr_assert_eq(create(f, "c", -2), KP_ERROR_INVALID_PARTITIONS);
    cr_assert_eq(create(f, "c", 100001), KP_ERROR_INVALID_PARTITIONS);
    cr_assert_eq(f->changes[0].why[0] != '\0', true, "with a sentence");
    cr_assert_null(topic(f, "c"));
    tear_down(f);
}

Test(broker, controller_bounds_all_partitions_together)
{
    struct fixture *f = set_up();
    char why[CONFIG_WHY_SIZE];
    cr_assert_eq(config_set(f->config, "weir.max.partitions", "100", why), 0);
    cr_assert_eq(create(f, "a", 60), 0);
    cr_assert_eq(create(f, "b", 41), KP_ERROR_POLICY_VIOLATION);
    struct controller_change *changes = begin(f, CONTROLLER_CREATE_TOPICS, 2);
    changes[0].name = span_text("c");
    changes[1].name = span_text("d");
    changes[0].partition_count = changes[1].partition_count = 30;
    run(f);
    cr_assert_eq(changes[0].error, 0);
    cr_assert_eq(changes[1].error, KP_ERROR_POLICY_VIOLATION, "within one request too");
    tear_down(f);
}

Test(broker, controller_finds_duplicates_in_one_request)
{
    struct fixture *f = set_up();
    struct controller_change *changes = begin(f, CONTROLLER_CREATE_TOPICS, 3);
    changes[0].name = changes[2].name = span_text("a");
    changes[1].name = span_text("b");
    run(f);
    cr_assert_eq(changes[0].error, KP_ERROR_INVALID_REQUEST);
    cr_assert_eq(changes[1].error, 0);
    cr_assert_eq(changes[2].error, KP_ERROR_INVALID_REQUEST);
    cr_assert_null(topic(f, "a"));
    cr_assert_not_null(topic(f, "b"));
    tear_down(f);
}

Test(broker, controller_auto_creation_takes_what_is_there)
{
    struct fixture *f = set_up();
    create(f, "a", 3);
    struct kp_uuid id = topic(f, "a")->id;
    struct controller_change *change = begin(f, CONTROLLER_CREATE_TOPICS, 1);
    f->op.exists_is_fine = true;
    change->name = span_text("a");
    run(f);
    cr_assert_eq(change->error, 0);
    cr_assert(kp_uuid_equal(change->id, id));
    cr_assert_eq(change->partition_count, 3);
    cr_assert(state_batch_empty(&f->batch), "nothing is written");
    tear_down(f);
}

Test(broker, controller_deletes_by_name_and_id)
{
    struct fixture *f = set_up();
    create(f, "a", 1);
    create(f, "b", 1);
    struct kp_uuid id = topic(f, "b")->id;
    struct controller_change *changes = begin(f, CONTROLLER_DELETE_TOPICS, 4);
    changes[0].name = span_text("a");
    changes[1].id = id;
    changes[2].name = span_text("c");
    changes[3].id.bytes[3] = 77;
    run(f);
    cr_assert_eq(changes[0].error, 0);
    cr_assert_eq(changes[1].error, 0);
    cr_assert(span_equal(changes[1].name, span_text("b")), "the answer names it");
    cr_assert_eq(changes[2].error, KP_ERROR_UNKNOWN_TOPIC_OR_PARTITION);
    cr_assert_eq(changes[3].error, KP_ERROR_UNKNOWN_TOPIC_ID);
    cr_assert_null(topic(f, "a"));
    cr_assert_null(topic(f, "b"));
    cr_assert_eq(create(f, "a", 1), 0, "the name is free at once");
    tear_down(f);
}

Test(broker, controller_deletion_can_be_switched_off)
{
    struct fixture *f = set_up();
    char why[CONFIG_WHY_SIZE];
    create(f, "a", 1);
    cr_assert_eq(config_set(f->config, "delete.topic.enable", "false", why), 0);
    begin(f, CONTROLLER_DELETE_TOPICS, 1)->name = span_text("a");
    run(f);
    cr_assert_eq(f->changes[0].error, KP_ERROR_TOPIC_DELETION_DISABLED);
    cr_assert_not_null(topic(f, "a"));
    tear_down(f);
}

static int16_t grow(struct fixture *f, const char *name, int32_t total, int32_t assigned)
{
    struct controller_change *change = begin(f, CONTROLLER_CREATE_PARTITIONS, 1);
    change->name = span_text(name);
    change->partition_count = total;
    change->assignment_count = assigned;
    run(f);
    return change->error;
}

Test(broker, controller_partitions_only_grow)
{
    struct fixture *f = set_up();
    create(f, "a", 3);
    cr_assert_eq(grow(f, "a", 5, -1), 0);
    cr_assert_eq(topic(f, "a")->partition_count, 5);
    cr_assert_eq(grow(f, "a", 5, -1), KP_ERROR_INVALID_PARTITIONS);
    cr_assert_eq(grow(f, "a", 4, -1), KP_ERROR_INVALID_PARTITIONS);
    cr_assert_eq(grow(f, "a", -1, -1), KP_ERROR_INVALID_PARTITIONS);
    cr_assert_eq(grow(f, "a", INT32_MAX, -1), KP_ERROR_INVALID_PARTITIONS);
    cr_assert_eq(grow(f, "a", 7, 1), KP_ERROR_INVALID_REPLICA_ASSIGNMENT);
    cr_assert_eq(grow(f, "a", 7, 2), 0);
    cr_assert_eq(grow(f, "b", 7, -1), KP_ERROR_UNKNOWN_TOPIC_OR_PARTITION);
    tear_down(f);
}

Test(broker, controller_alters_settings)
{
    struct fixture *f = set_up();
    create(f, "a", 1);
    cr_assert_eq(alter(f, "a", "retention.ms", CONTROLLER_SET, "5"), 0);
    cr_assert_eq(alter(f, "a", "segment.ms", CONTROLLER_SET, "6"), 0);
    cr_assert_str_eq(value_of(f, "a", "retention.ms"), "5");
    cr_assert_eq(topic(f, "a")->effective.log.retention_ms, 5);
    cr_assert_eq(alter(f, "a", "retention.ms", CONTROLLER_DELETE, NULL), 0);
    cr_assert_null(value_of(f, "a", "retention.ms"));
    cr_assert_str_eq(value_of(f, "a", "segment.ms"), "6");
    cr_assert_eq(alter(f, "a", "retention.ms", CONTROLLER_SET, "x"), KP_ERROR_INVALID_CONFIG);
    cr_assert_eq(alter(f, "a", "retention.ms", CONTROLLER_SET, NULL), KP_ERROR_INVALID_CONFIG);
    cr_assert_eq(alter(f, "a", "retention.ms", CONTROLLER_APPEND, "5"), KP_ERROR_INVALID_CONFIG);
    cr_assert_eq(alter(f, "a", "retention.ms", 4, "5"), KP_ERROR_INVALID_REQUEST);
    cr_assert_eq(alter(f, "a", "retention.mz", CONTROLLER_SET, "5"), KP_ERROR_INVALID_CONFIG);
    cr_assert(strstr(f->changes[0].why, "retention.ms"), "%s", f->changes[0].why);
    cr_assert_eq(alter(f, "b", "retention.ms", CONTROLLER_SET, "5"),
                 KP_ERROR_UNKNOWN_TOPIC_OR_PARTITION);
    tear_down(f);
}

Test(broker, controller_edits_lists)
{
    struct fixture *f = set_up();
    create(f, "a", 1);
    cr_assert_eq(alter(f, "a", "cleanup.policy", CONTROLLER_APPEND, "compact"), 0);
    cr_assert_str_eq(value_of(f, "a", "cleanup.policy"), "delete,compact",
                     "to the default when there is no own value");
    cr_assert_eq(alter(f, "a", "cleanup.policy", CONTROLLER_APPEND, "compact"), 0);
    cr_assert_str_eq(value_of(f, "a", "cleanup.policy"), "delete,compact", "once");
    cr_assert_eq(alter(f, "a", "cleanup.policy", CONTROLLER_SUBTRACT, "delete"), 0);
    cr_assert_str_eq(value_of(f, "a", "cleanup.policy"), "compact");
    cr_assert(topic(f, "a")->effective.compacted);
    cr_assert_eq(alter(f, "a", "cleanup.policy", CONTROLLER_APPEND, "shred"),
                 KP_ERROR_INVALID_CONFIG);
    tear_down(f);
}

Test(broker, controller_replaces_all_settings)
{
    struct fixture *f = set_up();
    create(f, "a", 1);
    alter(f, "a", "retention.ms", CONTROLLER_SET, "5");
    struct controller_change *change = begin(f, CONTROLLER_ALTER_TOPICS, 1);
    change->name = span_text("a");
    change->replace_settings = true;
    change->settings = f->settings;
    change->setting_count = 2;
    f->settings[0] = (struct controller_setting){span_text("segment.ms"), span_text("9"), 0};
    f->settings[1] = f->settings[0];
    run(f);
    cr_assert_eq(change->error, KP_ERROR_INVALID_REQUEST, "one setting twice");
    change->error = 0;
    change->setting_count = 1;
    run(f);
    cr_assert_eq(change->error, 0);
    cr_assert_null(value_of(f, "a", "retention.ms"));
    cr_assert_str_eq(value_of(f, "a", "segment.ms"), "9");
    tear_down(f);
}

Test(broker, controller_leaves_internal_topics_alone)
{
    struct fixture *f = set_up();
    struct catalog_topic internal = {
        .name = CATALOG_OFFSETS_TOPIC, .id = {{[0] = 200}}, .partition_count = 2, .internal = true};
    msgpack_sbuffer key;
    msgpack_sbuffer value;
    msgpack_sbuffer_init(&key);
    msgpack_sbuffer_init(&value);
    catalog_record_write_topic(&internal, false, &key, &value);
    cr_assert_eq(
        catalog_fold_apply(f->fold, span_of(key.data, key.size), span_of(value.data, value.size)),
        0);
    cr_assert_eq(alter(f, CATALOG_OFFSETS_TOPIC, "retention.ms", CONTROLLER_SET, "5"),
                 KP_ERROR_INVALID_REQUEST);
    cr_assert_eq(grow(f, CATALOG_OFFSETS_TOPIC, 9, -1), KP_ERROR_INVALID_REQUEST);
    begin(f, CONTROLLER_DELETE_TOPICS, 1)->name = span_text(CATALOG_OFFSETS_TOPIC);
    run(f);
    cr_assert_eq(f->changes[0].error, KP_ERROR_INVALID_REQUEST);
    cr_assert_not_null(topic(f, CATALOG_OFFSETS_TOPIC));
    msgpack_sbuffer_destroy(&key);
    msgpack_sbuffer_destroy(&value);
    tear_down(f);
}

Test(broker, controller_says_when_memory_is_short)
{
    struct fixture *f = set_up();
    arena_free(&f->arena);
    arena_init(&f->arena, 0);
    cr_assert_neq(create(f, "a", 1), 0);
    cr_assert_null(topic(f, "a"));
    tear_down(f);
}
