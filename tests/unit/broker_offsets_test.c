// SPDX-License-Identifier: Apache-2.0
#include "broker/offsets_fold.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>

#include "base/random.h"

static int apply(struct offsets_fold *fold, const struct offsets_record *record)
{
    msgpack_sbuffer key;
    msgpack_sbuffer value;
    msgpack_sbuffer_init(&key);
    msgpack_sbuffer_init(&value);
    offsets_record_write_key(record, &key);
    offsets_record_write_value(record, &value);
    int error =
        offsets_fold_apply(fold, span_of(key.data, key.size),
                           record->tombstone ? (struct span){0} : span_of(value.data, value.size));
    msgpack_sbuffer_destroy(&key);
    msgpack_sbuffer_destroy(&value);
    return error;
}

static struct offsets_record commit(const char *group, uint8_t topic, int32_t partition,
                                    int64_t offset)
{
    return (struct offsets_record){
        .group = span_text(group),
        .topic_id = {{[0] = topic}},
        .partition = partition,
        .offset = offset,
        .leader_epoch = -1,
        .metadata = span_text("note"),
        .time_ms = 1000,
    };
}

static int64_t offset_of(const struct offsets_fold *fold, const char *group, uint8_t topic,
                         int32_t partition)
{
    const struct offsets_position *position = offsets_fold_position(
        offsets_fold_group(fold, span_text(group)), (struct kp_uuid){{[0] = topic}}, partition);
    return position ? position->offset : -1;
}

Test(broker, offsets_fold_keeps_the_last_commit)
{
    struct offsets_fold fold;
    offsets_fold_init(&fold);
    struct offsets_record record = commit("g", 1, 0, 5);
    cr_assert_eq(apply(&fold, &record), 0);
    record = commit("g", 1, 0, 3);
    cr_assert_eq(apply(&fold, &record), 0);
    record = commit("g", 1, 7, INT64_MAX);
    record.metadata = span_text("");
    cr_assert_eq(apply(&fold, &record), 0);
    cr_assert_eq(offset_of(&fold, "g", 1, 0), 3, "going back is allowed");
    cr_assert_eq(offset_of(&fold, "g", 1, 7), INT64_MAX);
    cr_assert_eq(offset_of(&fold, "g", 2, 0), -1);
    cr_assert_eq(offset_of(&fold, "h", 1, 0), -1);
    const struct offsets_position *position = offsets_fold_position(
        offsets_fold_group(&fold, span_text("g")), (struct kp_uuid){{[0] = 1}}, 0);
    cr_assert_eq(position->metadata_size, 4);
    cr_assert_eq(position->leader_epoch, -1);
    cr_assert_eq(position->time_ms, 1000);
    offsets_fold_free(&fold);
}

Test(broker, offsets_fold_forgets_with_tombstones)
{
    struct offsets_fold fold;
    offsets_fold_init(&fold);
    struct offsets_record record = commit("g", 1, 0, 5);
    apply(&fold, &record);
    record.partition = 1;
    apply(&fold, &record);
    record.tombstone = true;
    cr_assert_eq(apply(&fold, &record), 0);
    cr_assert_eq(offset_of(&fold, "g", 1, 1), -1);
    cr_assert_eq(offset_of(&fold, "g", 1, 0), 5);
    record.partition = 0;
    apply(&fold, &record);
    cr_assert_null(offsets_fold_group(&fold, span_text("g")), "a group without positions goes");
    cr_assert_eq(apply(&fold, &record), 0, "twice is harmless");
    offsets_fold_free(&fold);
}

Test(broker, offsets_fold_takes_any_group_name)
{
    struct offsets_fold fold;
    offsets_fold_init(&fold);
    struct offsets_record record = commit("", 1, 0, 5);
    cr_assert_eq(apply(&fold, &record), 0);
    record.group = span_of("\xff\0\xfe", 3);
    record.offset = 6;
    cr_assert_eq(apply(&fold, &record), 0);
    cr_assert_eq(offset_of(&fold, "", 1, 0), 5);
    const struct offsets_group *group = offsets_fold_group(&fold, span_of("\xff\0\xfe", 3));
    cr_assert_eq(offsets_fold_position(group, record.topic_id, 0)->offset, 6);
    offsets_fold_free(&fold);
}

Test(broker, offsets_fold_agrees_with_a_model)
{
    enum { TURNS = 20000, GROUPS = 5, TOPICS = 4, PARTITIONS = 6 };
    static int64_t model[GROUPS][TOPICS][PARTITIONS];
    struct offsets_fold fold;
    struct random random = {.state = 3};
    offsets_fold_init(&fold);
    memset(model, -1, sizeof(model));
    for (int turn = 0; turn < TURNS; turn++) {
        char name[8];
        uint64_t g = random_below(&random, GROUPS);
        uint8_t t = (uint8_t)random_below(&random, TOPICS);
        int32_t p = (int32_t)random_below(&random, PARTITIONS);
        snprintf(name, sizeof(name), "g%u", (unsigned)g);
        struct offsets_record record = commit(name, t, p, turn);
        record.tombstone = random_below(&random, 3) == 0;
        cr_assert_eq(apply(&fold, &record), 0);
        model[g][t][p] = record.tombstone ? -1 : turn;
    }
    for (unsigned g = 0; g < GROUPS; g++)
        for (uint8_t t = 0; t < TOPICS; t++)
            for (int32_t p = 0; p < PARTITIONS; p++) {
                char name[8];
                snprintf(name, sizeof(name), "g%u", g);
                cr_assert_eq(offset_of(&fold, name, t, p), model[g][t][p]);
            }
    offsets_fold_free(&fold);
}

Test(broker, offsets_fold_refuses_what_is_not_a_commit)
{
    struct offsets_fold fold;
    msgpack_sbuffer key;
    msgpack_sbuffer value;
    struct offsets_record record = commit("g", 1, 0, -5);
    offsets_fold_init(&fold);
    cr_assert_eq(apply(&fold, &record), -EBADMSG, "a negative offset");
    record = commit("g", 1, -1, 5);
    cr_assert_eq(apply(&fold, &record), -EBADMSG, "a negative partition");
    record = commit("g", 1, 0, 5);
    msgpack_sbuffer_init(&key);
    msgpack_sbuffer_init(&value);
    offsets_record_write_key(&record, &key);
    offsets_record_write_value(&record, &value);
    for (size_t size = 0; size < value.size; size++)
        cr_assert_eq(
            offsets_fold_apply(&fold, span_of(key.data, key.size), span_of(value.data, size)),
            -EBADMSG);
    for (size_t size = 0; size < key.size; size++)
        cr_assert_eq(
            offsets_fold_apply(&fold, span_of(key.data, size), span_of(value.data, value.size)),
            -EBADMSG);
    cr_assert_eq(fold.groups.count, 0);
    static const char other_kind[] = "\x91\xa5"
                                     "later";
    cr_assert_eq(offsets_fold_apply(&fold, span_of(other_kind, 7), span_text("?")), 0,
                 "kinds of a later version are passed over");
    msgpack_sbuffer_destroy(&key);
    msgpack_sbuffer_destroy(&value);
    offsets_fold_free(&fold);
}
