// SPDX-License-Identifier: Apache-2.0
#include "broker/catalog.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/random.h"
#include "broker/catalog_record.h"
#include "broker/config.h"
#include "protocol/error.h"

struct fixture {
    struct config *config;
    struct catalog_fold *fold;
    msgpack_sbuffer key;
    msgpack_sbuffer value;
};

static struct fixture set_up(void)
{
    struct fixture f = {.config = config_create()};
    f.fold = catalog_fold_create(f.config);
    msgpack_sbuffer_init(&f.key);
    msgpack_sbuffer_init(&f.value);
    return f;
}

static void tear_down(struct fixture *f)
{
    msgpack_sbuffer_destroy(&f->key);
    msgpack_sbuffer_destroy(&f->value);
    catalog_fold_free(f->fold);
    config_free(f->config);
}

static struct kp_uuid id_of(uint8_t number)
{
    return (struct kp_uuid){{[0] = 9, [15] = number}};
}

static int apply(struct fixture *f)
{
    return catalog_fold_apply(f->fold, span_of(f->key.data, f->key.size),
                              f->value.size ? span_of(f->value.data, f->value.size)
                                            : (struct span){0});
}

static int put(struct fixture *f, const char *name, uint8_t id, int32_t partitions, bool deleting)
{
    struct catalog_setting setting = {"retention.ms", "123"};
    struct catalog_topic topic = {.name = name,
                                  .id = id_of(id),
                                  .partition_count = partitions,
                                  .settings = &setting,
                                  .setting_count = 1};
    msgpack_sbuffer_clear(&f->key);
    msgpack_sbuffer_clear(&f->value);
    catalog_record_write_topic(&topic, deleting, &f->key, &f->value);
    return apply(f);
}

static int forget(struct fixture *f, uint8_t id)
{
    msgpack_sbuffer_clear(&f->key);
    msgpack_sbuffer_clear(&f->value);
    catalog_record_write_topic_key(id_of(id), &f->key);
    return apply(f);
}

Test(broker, catalog_names)
{
    const char *why;
    char longest[251];
    memset(longest, 'a', sizeof(longest));
    cr_assert_eq(catalog_check_name(span_text("a.B-9_"), &why), 0);
    cr_assert_eq(catalog_check_name(span_of(longest, 249), &why), 0);
    const struct span bad[] = {span_text(""),    span_text("."),       span_text(".."),
                               span_text("a b"), span_text("a/b"),     span_of("a\0b", 3),
                               span_text("ä"),   span_of(longest, 250)};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        cr_assert_eq(catalog_check_name(bad[i], &why), KP_ERROR_INVALID_TOPIC_EXCEPTION, "%zu", i);
        cr_assert_not_null(why);
    }
}

Test(broker, catalog_folds_creation_growth_and_settings)
{
    struct fixture f = set_up();
    cr_assert_eq(put(&f, "orders", 1, 3, false), 0);
    cr_assert_eq(put(&f, "audit", 2, 1, false), 0);
    cr_assert_eq(put(&f, "orders", 1, 5, false), 0);
    struct catalog *catalog = catalog_fold_snapshot(f.fold);
    cr_assert_eq(catalog->topic_count, 2);
    cr_assert_str_eq(catalog->topics[0]->name, "audit");
    cr_assert_str_eq(catalog->topics[1]->name, "orders");
    const struct catalog_topic *orders = catalog_find(catalog, span_text("orders"));
    cr_assert_eq(orders->partition_count, 5);
    cr_assert_eq(orders->effective.log.retention_ms, 123);
    cr_assert_eq(orders, catalog_find_id(catalog, id_of(1)));
    cr_assert_null(catalog_find(catalog, span_text("order")));
    cr_assert_null(catalog_find(catalog, (struct span){0}));
    catalog_free(catalog);
    tear_down(&f);
}

Test(broker, catalog_snapshot_does_not_change_with_the_fold)
{
    struct fixture f = set_up();
    put(&f, "a", 1, 1, false);
    struct catalog *before = catalog_fold_snapshot(f.fold);
    catalog_fold_forget(f.fold);
    put(&f, "a", 1, 2, false);
    put(&f, "b", 2, 1, false);
    put(&f, "a", 1, 2, true);
    struct catalog *after = catalog_fold_snapshot(f.fold);
    cr_assert_eq(before->topic_count, 1);
    cr_assert_eq(catalog_find(before, span_text("a"))->partition_count, 1);
    cr_assert_eq(after->topic_count, 1);
    cr_assert_null(catalog_find(after, span_text("a")));
    cr_assert_gt(after->version, before->version);
    catalog_free(before);
    catalog_free(after);
    tear_down(&f);
}

Test(broker, catalog_changes_say_what_a_shard_has_to_do)
{
    struct fixture f = set_up();
    uint32_t count;
    put(&f, "a", 1, 1, false);
    catalog_fold_forget(f.fold);
    put(&f, "a", 1, 4, false);
    put(&f, "b", 2, 1, false);
    put(&f, "a", 1, 4, true);
    const struct catalog_change *changes = catalog_fold_changes(f.fold, &count);
    cr_assert_eq(count, 3);
    cr_assert(changes[0].before->partition_count == 1 && changes[0].after->partition_count == 4);
    cr_assert(!changes[1].before && strcmp(changes[1].after->name, "b") == 0);
    cr_assert(changes[2].before == changes[0].after && !changes[2].after);
    catalog_fold_forget(f.fold);
    catalog_fold_changes(f.fold, &count);
    cr_assert_eq(count, 0);
    tear_down(&f);
}

Test(broker, catalog_deleted_topics_are_doomed_until_their_tombstone)
{
    struct fixture f = set_up();
    size_t at = 0;
    put(&f, "a", 1, 2, false);
    put(&f, "a", 1, 2, true);
    cr_assert_null(catalog_fold_find(f.fold, span_text("a")));
    cr_assert_eq(put(&f, "a", 7, 9, false), 0, "the name is free at once");
    const struct catalog_topic *doomed = catalog_fold_next_doomed(f.fold, &at);
    cr_assert_eq(doomed->partition_count, 2);
    cr_assert(kp_uuid_equal(doomed->id, id_of(1)));
    cr_assert_null(catalog_fold_next_doomed(f.fold, &at));
    cr_assert_eq(forget(&f, 1), 0);
    at = 0;
    cr_assert_null(catalog_fold_next_doomed(f.fold, &at));
    cr_assert(kp_uuid_equal(catalog_fold_find(f.fold, span_text("a"))->id, id_of(7)));
    cr_assert_eq(forget(&f, 55), 0, "of an id that is not there");
    tear_down(&f);
}

Test(broker, catalog_refuses_contradictions_and_stays_as_it_was)
{
    struct fixture f = set_up();
    put(&f, "a", 1, 2, false);
    cr_assert_eq(put(&f, "a", 2, 2, false), -EBADMSG, "one name, two ids");
    cr_assert_eq(put(&f, "b", 1, 2, false), -EBADMSG, "a renamed topic");
    cr_assert_null(catalog_fold_find(f.fold, span_text("b")));
    cr_assert(kp_uuid_equal(catalog_fold_find(f.fold, span_text("a"))->id, id_of(1)));
    cr_assert_null(catalog_fold_find_id(f.fold, id_of(2)));
    tear_down(&f);
}

Test(broker, catalog_cluster_id)
{
    struct fixture f = set_up();
    catalog_record_write_cluster(id_of(3), &f.key, &f.value);
    cr_assert(kp_uuid_is_zero(catalog_fold_cluster_id(f.fold)));
    cr_assert_eq(apply(&f), 0);
    struct catalog *catalog = catalog_fold_snapshot(f.fold);
    cr_assert(kp_uuid_equal(catalog->cluster_id, id_of(3)));
    cr_assert_str_eq(catalog->cluster_id_text, "CQAAAAAAAAAAAAAAAAAAAw");
    catalog_free(catalog);
    tear_down(&f);
}

// The same records give the same catalog, whatever the order of creation was.
Test(broker, catalog_many_topics_stay_sorted_and_findable)
{
    enum { TURNS = 3000, NAMES = 60 };
    struct fixture f = set_up();
    struct random random = {.state = 7};
    int32_t partitions[NAMES] = {0}; // the model; 0: not there
    for (int turn = 0; turn < TURNS; turn++) {
        uint8_t i = (uint8_t)random_below(&random, NAMES);
        char name[16];
        snprintf(name, sizeof(name), "t%u", i);
        bool deletes = random_below(&random, 3) == 0;
        int32_t count = (int32_t)random_below(&random, 9) + 1;
        if (deletes && !partitions[i])
            continue;
        cr_assert_eq(put(&f, name, i, deletes ? partitions[i] : count, deletes), 0);
        partitions[i] = deletes ? 0 : count;
        if (turn % 10 == 0)
            catalog_fold_forget(f.fold);
    }
    struct catalog *catalog = catalog_fold_snapshot(f.fold);
    uint32_t live = 0;
    for (uint8_t i = 0; i < NAMES; i++) {
        char name[16];
        snprintf(name, sizeof(name), "t%u", i);
        const struct catalog_topic *topic = catalog_find(catalog, span_text(name));
        cr_assert_eq(topic ? topic->partition_count : 0, partitions[i], "%s", name);
        live += topic != NULL;
    }
    cr_assert_eq(catalog->topic_count, live);
    for (uint32_t i = 1; i < live; i++)
        cr_assert_lt(strcmp(catalog->topics[i - 1]->name, catalog->topics[i]->name), 0);
    catalog_free(catalog);
    tear_down(&f);
}

// Records with any byte changed either still make sense or are refused; never more than that.
Test(broker, catalog_survives_damaged_records)
{
    struct catalog_setting setting = {"retention.ms", "123"};
    struct catalog_topic topic = {.name = "a",
                                  .id = id_of(1),
                                  .partition_count = 3,
                                  .settings = &setting,
                                  .setting_count = 1};
    struct fixture f = set_up();
    catalog_record_write_topic(&topic, false, &f.key, &f.value);
    char *bytes = f.value.data;
    for (size_t i = 0; i < f.value.size; i++) {
        for (unsigned flip = 1; flip < 256; flip++) {
            bytes[i] = (char)(bytes[i] ^ (char)flip);
            struct catalog_fold *fold = catalog_fold_create(f.config);
            int error = catalog_fold_apply(fold, span_of(f.key.data, f.key.size),
                                           span_of(f.value.data, f.value.size));
            cr_assert(error == 0 || error == -EBADMSG);
            catalog_fold_free(fold);
            bytes[i] = (char)(bytes[i] ^ (char)flip);
        }
    }
    for (size_t size = 0; size < f.value.size; size++)
        cr_assert_eq(catalog_fold_apply(f.fold, span_of(f.key.data, f.key.size),
                                        span_of(f.value.data, size)),
                     -EBADMSG, "cut at %zu", size);
    tear_down(&f);
}
