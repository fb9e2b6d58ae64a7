// SPDX-License-Identifier: Apache-2.0
#include "broker/groups/image.h"

#include <criterion/criterion.h>
#include <errno.h>

#include "base/random.h"

static int apply_bytes(struct image *image, struct span key, struct span value)
{
    struct image_change change;
    int error = image_change_read(key, value, &change);
    if (!error)
        error = image_apply(image, &change);
    image_change_free(&change);
    return error;
}

static int apply(struct image *image, const struct offset_record *record)
{
    msgpack_sbuffer key;
    msgpack_sbuffer value;
    msgpack_sbuffer_init(&key);
    msgpack_sbuffer_init(&value);
    offset_record_write_key(record, &key);
    offset_record_write_value(record, &value);
    int error = apply_bytes(image, span_of(key.data, key.size),
                            record->tombstone ? (struct span){0} : span_of(value.data, value.size));
    msgpack_sbuffer_destroy(&key);
    msgpack_sbuffer_destroy(&value);
    return error;
}

static struct offset_record commit(uint8_t topic, int32_t partition, int64_t offset)
{
    return (struct offset_record){
        .group = span_text("g"),
        .topic_id = {{[0] = topic}},
        .partition = partition,
        .offset = offset,
        .leader_epoch = -1,
        .metadata = span_text("note"),
        .time_ms = 1000,
        .expires_ms = -1,
    };
}

static int64_t offset_of(const struct image *image, uint8_t topic, int32_t partition)
{
    const struct image_position *position =
        image_position(image, (struct kp_uuid){{[0] = topic}}, partition);
    return position ? position->offset : -1;
}

Test(group, image_keeps_the_last_commit)
{
    struct image image;
    image_init(&image);
    struct offset_record record = commit(1, 0, 5);
    cr_assert_eq(apply(&image, &record), 0);
    record = commit(1, 0, 3);
    cr_assert_eq(apply(&image, &record), 0);
    record = commit(1, 7, INT64_MAX);
    record.metadata = span_text("");
    record.expires_ms = 77;
    cr_assert_eq(apply(&image, &record), 0);
    cr_assert_eq(offset_of(&image, 1, 0), 3, "going back is allowed");
    cr_assert_eq(offset_of(&image, 1, 7), INT64_MAX);
    cr_assert_eq(offset_of(&image, 2, 0), -1);
    const struct image_position *position = image_position(&image, (struct kp_uuid){{[0] = 1}}, 0);
    cr_assert_eq(position->metadata_size, 4);
    cr_assert_eq(position->leader_epoch, -1);
    cr_assert_eq(position->time_ms, 1000);
    cr_assert_eq(position->expires_ms, -1);
    cr_assert_eq(image_position(&image, (struct kp_uuid){{[0] = 1}}, 7)->expires_ms, 77);
    image_free(&image);
}

Test(group, image_forgets_with_tombstones)
{
    struct image image;
    image_init(&image);
    struct offset_record record = commit(1, 0, 5);
    apply(&image, &record);
    record.partition = 1;
    apply(&image, &record);
    record.tombstone = true;
    cr_assert_eq(apply(&image, &record), 0);
    cr_assert_eq(offset_of(&image, 1, 1), -1);
    cr_assert_eq(offset_of(&image, 1, 0), 5);
    cr_assert_not(image_is_empty(&image));
    record.partition = 0;
    apply(&image, &record);
    cr_assert(image_is_empty(&image));
    cr_assert_eq(apply(&image, &record), 0, "twice is harmless");
    image_free(&image);
}

Test(group, image_agrees_with_a_model)
{
    enum { TURNS = 20000, TOPICS = 4, PARTITIONS = 6 };
    static int64_t model[TOPICS][PARTITIONS];
    struct image image;
    struct random random = {.state = 3};
    image_init(&image);
    memset(model, -1, sizeof(model));
    for (int turn = 0; turn < TURNS; turn++) {
        uint8_t t = (uint8_t)random_below(&random, TOPICS);
        int32_t p = (int32_t)random_below(&random, PARTITIONS);
        struct offset_record record = commit(t, p, turn);
        record.tombstone = random_below(&random, 3) == 0;
        cr_assert_eq(apply(&image, &record), 0);
        model[t][p] = record.tombstone ? -1 : turn;
    }
    for (uint8_t t = 0; t < TOPICS; t++)
        for (int32_t p = 0; p < PARTITIONS; p++)
            cr_assert_eq(offset_of(&image, t, p), model[t][p]);
    image_free(&image);
}

Test(group, image_refuses_what_is_not_a_commit)
{
    struct image image;
    msgpack_sbuffer key;
    msgpack_sbuffer value;
    struct offset_record record = commit(1, 0, -5);
    image_init(&image);
    cr_assert_eq(apply(&image, &record), -EBADMSG, "a negative offset");
    record = commit(1, -1, 5);
    cr_assert_eq(apply(&image, &record), -EBADMSG, "a negative partition");
    record = commit(1, 0, 5);
    msgpack_sbuffer_init(&key);
    msgpack_sbuffer_init(&value);
    offset_record_write_key(&record, &key);
    offset_record_write_value(&record, &value);
    for (size_t size = 0; size < value.size; size++)
        cr_assert_eq(apply_bytes(&image, span_of(key.data, key.size), span_of(value.data, size)),
                     -EBADMSG);
    for (size_t size = 0; size < key.size; size++)
        cr_assert_eq(apply_bytes(&image, span_of(key.data, size), span_of(value.data, value.size)),
                     -EBADMSG);
    cr_assert(image_is_empty(&image));
    msgpack_sbuffer_destroy(&key);
    msgpack_sbuffer_destroy(&value);
    image_free(&image);
}

static const char group_key[] = "\x92\xa5group\xa1g";
static const char member_key[] = "\x93\xa6member\xa1g\xa2m1";

static struct span text_of(const char *bytes)
{
    return span_of(bytes, strlen(bytes));
}

Test(group, image_keeps_the_records_of_the_group_as_they_are)
{
    struct image image;
    struct image_change change;
    image_init(&image);
    cr_assert_eq(image_change_read(text_of(member_key), span_text("anything"), &change), 0);
    cr_assert(change.known && span_equal(change.group, span_text("g")));
    image_change_free(&change);
    cr_assert_eq(apply_bytes(&image, text_of(group_key), span_text("first")), 0);
    cr_assert_eq(apply_bytes(&image, text_of(member_key), span_text("")), 0);
    cr_assert_eq(apply_bytes(&image, text_of(group_key), span_text("second")), 0);
    cr_assert_eq(image.records.count, 2);
    const struct image_record *record = map_get(&image.records, text_of(group_key));
    cr_assert(span_equal(record->value, span_text("second")));
    cr_assert(span_equal(record->key, text_of(group_key)));
    cr_assert_eq(apply_bytes(&image, text_of(group_key), (struct span){0}), 0);
    cr_assert_null(map_get(&image.records, text_of(group_key)));
    cr_assert_eq(apply_bytes(&image, text_of(member_key), (struct span){0}), 0);
    cr_assert(image_is_empty(&image));
    image_free(&image);
}

Test(group, image_passes_over_kinds_of_a_later_version)
{
    struct image image;
    static const char other_kind[] = "\x91\xa5later";
    image_init(&image);
    cr_assert_eq(apply_bytes(&image, text_of(other_kind), span_text("?")), 0);
    cr_assert(image_is_empty(&image));
    static const char nameless[] = "\x91\xa5group";
    cr_assert_eq(apply_bytes(&image, text_of(nameless), span_text("?")), -EBADMSG);
    image_free(&image);
}
