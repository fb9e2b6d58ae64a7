// SPDX-License-Identifier: Apache-2.0
// The fold of committed offsets. Owns groups and positions.
//
// 1. A group exists exactly while it has a position.
// 2. A position is replaced, never changed in place.
#include "broker/offsets_fold.h"

#include <errno.h>
#include <stdlib.h>

// Keys are compared as bytes.
_Static_assert(sizeof(struct offsets_key) == 20, "a key of the map has padding");

static struct span key_span(const struct offsets_key *key)
{
    return span_of(key, sizeof(*key));
}

static struct span name_span(const struct offsets_group *group)
{
    return span_of(group->name, group->name_size);
}

void offsets_fold_init(struct offsets_fold *fold)
{
    map_init(&fold->groups);
}

static void free_group(struct offsets_group *group)
{
    struct offsets_position *position;
    for (size_t at = 0; (position = map_next(&group->positions, &at));)
        free(position);
    map_free(&group->positions);
    free(group);
}

void offsets_fold_free(struct offsets_fold *fold)
{
    struct offsets_group *group;
    for (size_t at = 0; (group = map_next(&fold->groups, &at));)
        free_group(group);
    map_free(&fold->groups);
}

struct offsets_group *offsets_fold_group(const struct offsets_fold *fold, struct span name)
{
    return map_get(&fold->groups, span_of(name.data ? name.data : (const void *)"", name.size));
}

const struct offsets_position *offsets_fold_position(const struct offsets_group *group,
                                                     struct kp_uuid topic_id, int32_t partition)
{
    struct offsets_key key = {.topic_id = topic_id, .partition = partition};
    return group ? map_get(&group->positions, key_span(&key)) : NULL;
}

static struct offsets_group *make_group(struct offsets_fold *fold, struct span name)
{
    struct offsets_group *group = calloc(1, sizeof(*group) + name.size + 1);
    if (!group)
        return NULL;
    map_init(&group->positions);
    group->name_size = name.size;
    memcpy(group->name, name.data, name.size);
    if (map_put(&fold->groups, name_span(group), group)) {
        free(group);
        return NULL;
    }
    return group;
}

static struct offsets_position *make_position(const struct offsets_record *record)
{
    struct offsets_position *position = calloc(1, sizeof(*position) + record->metadata.size);
    if (!position)
        return NULL;
    position->key =
        (struct offsets_key){.topic_id = record->topic_id, .partition = record->partition};
    position->offset = record->offset;
    position->leader_epoch = record->leader_epoch;
    position->time_ms = record->time_ms;
    position->metadata_size = (uint32_t)record->metadata.size;
    memcpy(position->metadata, record->metadata.data, record->metadata.size);
    return position;
}

static void drop_if_empty(struct offsets_fold *fold, struct offsets_group *group)
{
    if (group->positions.count)
        return;
    map_remove(&fold->groups, name_span(group));
    free_group(group);
}

static int put(struct offsets_fold *fold, const struct offsets_record *record)
{
    struct offsets_group *group = offsets_fold_group(fold, record->group);
    if (!group)
        group = make_group(fold, record->group);
    if (!group)
        return -ENOMEM;
    struct offsets_position *position = make_position(record);
    struct offsets_key key = {.topic_id = record->topic_id, .partition = record->partition};
    struct offsets_position *old = map_get(&group->positions, key_span(&key));
    if (!position || map_put(&group->positions, key_span(&position->key), position)) {
        free(position);
        drop_if_empty(fold, group);
        return -ENOMEM;
    }
    free(old);
    return 0;
}

static void drop(struct offsets_fold *fold, const struct offsets_record *record)
{
    struct offsets_group *group = offsets_fold_group(fold, record->group);
    struct offsets_key key = {.topic_id = record->topic_id, .partition = record->partition};
    if (!group)
        return;
    free(map_remove(&group->positions, key_span(&key)));
    drop_if_empty(fold, group);
}

int offsets_fold_apply(struct offsets_fold *fold, struct span key, struct span value)
{
    struct offsets_record record;
    int error = offsets_record_read(key, value, &record);
    if (!error && record.known && record.tombstone)
        drop(fold, &record);
    else if (!error && record.known)
        error = put(fold, &record);
    offsets_record_free(&record);
    return error;
}
