// SPDX-License-Identifier: Apache-2.0
// Committed offsets.
//
// 1. A commit is answered, and seen by fetches, after its records are durable; commits of one group
//    take effect in the order of arrival.
// 2. Positions in topics that are not in the catalog are not shown.
// 3. Who may commit is the group's to say: group_may_commit.
#include <errno.h>

#include "broker/groups/coordinator_internal.h"
#include "protocol/error.h"

// --- committing -------------------------------------------------------------------------------

// A group that has only ever had offsets committed knows no generation, and no member. Clients that
// name themselves (KIP-848) do so outside of a group, too: the generation alone tells.
static int16_t check_member(struct coordinator *coordinator, const struct coordinator_op *op)
{
    struct coordinated *group = coordinated_find(coordinator, op->group);
    struct group_step step;
    struct list answers;
    int16_t error;
    if (!coordinated_is_known(group)) {
        // Nobody's step: there is nothing to write or to answer.
        step = (struct group_step){.now_ms = 0};
        return group_may_commit(NULL, &step, op->member_id, op->instance_id, op->generation,
                                op->version);
    }
    if (!coordinated_is_well(group))
        return KP_ERROR_COORDINATOR_NOT_AVAILABLE;
    if (!group->live)
        return op->generation < 0 ? 0 : KP_ERROR_UNKNOWN_MEMBER_ID;
    coordinated_step_begin(group, &step, &answers);
    error = group_may_commit(group->live, &step, op->member_id, op->instance_id, op->generation,
                             op->version);
    coordinated_step_end(group, &step);
    return error;
}

static uint32_t add_positions(struct coordinator_write *write, const struct coordinator_op *op)
{
    int64_t now_ms = write->shard->io->wall_ms;
    uint32_t count = 0;
    for (uint32_t i = 0; i < op->entry_count; i++) {
        const struct coordinator_entry *entry = &op->entries[i];
        if (entry->error)
            continue;
        count++;
        coordinated_write_add_position(
            write, &(struct offset_record){
                       .group = op->group,
                       .topic_id = entry->topic_id,
                       .partition = entry->partition,
                       .offset = entry->offset,
                       .leader_epoch = entry->leader_epoch,
                       .metadata = entry->metadata,
                       .time_ms = now_ms,
                       .expires_ms = op->retention_ms < 0 ? -1 : now_ms + op->retention_ms});
    }
    return count;
}

static int16_t start_error(int error)
{
    if (error == 0)
        return 0;
    return error == -EMSGSIZE ? KP_ERROR_INVALID_REQUEST : KP_ERROR_COORDINATOR_NOT_AVAILABLE;
}

void coordinator_offsets_commit(struct coordinator *coordinator, struct coordinator_op *op)
{
    int16_t error = check_member(coordinator, op);
    struct coordinated *group = error ? NULL : coordinated_obtain(coordinator, op->group, &error);
    if (error) {
        coordinator_finish(op, error);
        return;
    }
    struct coordinator_write *write = coordinated_write_create(group, op);
    if (!write)
        error = KP_ERROR_UNKNOWN_SERVER_ERROR;
    else if (add_positions(write, op) == 0)
        coordinated_write_free(write);
    else if (!(error = start_error(coordinated_write_start(write)))) {
        coordinator->budget -= op->entry_count;
        return;
    }
    coordinator_finish(op, error);
    coordinated_drop_if_idle(group);
}

// --- fetching ---------------------------------------------------------------------------------

static bool fill_entry(struct coordinator_op *op, const struct image_position *position,
                       struct coordinator_entry *entry)
{
    entry->offset = position->offset;
    entry->leader_epoch = position->leader_epoch;
    char *metadata = arena_text(op->arena, position->metadata, position->metadata_size);
    entry->metadata = span_of(metadata, position->metadata_size);
    return metadata != NULL;
}

static int16_t fetch_some(const struct coordinated *group, struct coordinator_op *op)
{
    for (uint32_t i = 0; i < op->entry_count; i++) {
        struct coordinator_entry *entry = &op->entries[i];
        const struct image_position *position =
            entry->error || !group
                ? NULL
                : image_position(&group->image, entry->topic_id, entry->partition);
        entry->offset = -1;
        entry->leader_epoch = -1;
        entry->metadata = span_text("");
        if (position && !fill_entry(op, position, entry))
            return KP_ERROR_UNKNOWN_SERVER_ERROR;
    }
    return 0;
}

static int16_t fetch_all(const struct coordinator *coordinator, const struct coordinated *group,
                         struct coordinator_op *op)
{
    const struct image_position *position;
    op->entry_count = 0;
    if (!group)
        return 0;
    op->entries = arena_array(op->arena, group->image.positions.count, sizeof(*op->entries));
    if (!op->entries)
        return KP_ERROR_UNKNOWN_SERVER_ERROR;
    for (size_t at = 0; (position = map_next(&group->image.positions, &at));) {
        if (!catalog_find_id(coordinator->shard->catalog, position->key.topic_id))
            continue;
        struct coordinator_entry *entry = &op->entries[op->entry_count++];
        entry->topic_id = position->key.topic_id;
        entry->partition = position->key.partition;
        if (!fill_entry(op, position, entry))
            return KP_ERROR_UNKNOWN_SERVER_ERROR;
    }
    return 0;
}

// Only who names itself, in the versions that can, is checked.
static int16_t check_reader(struct coordinated *group, const struct coordinator_op *op)
{
    struct group_step step;
    struct list answers;
    if (!op->member_id.data && op->generation < 0)
        return 0;
    if (!group)
        return KP_ERROR_GROUP_ID_NOT_FOUND;
    if (!coordinated_is_well(group) || !coordinated_come_alive(group))
        return KP_ERROR_COORDINATOR_NOT_AVAILABLE;
    coordinated_step_begin(group, &step, &answers);
    int16_t error = group_may_fetch(group->live, &step, op->member_id, op->generation);
    coordinated_step_end(group, &step);
    return error;
}

void coordinator_offsets_fetch(struct coordinator *coordinator, struct coordinator_op *op)
{
    int16_t error = check_reader(coordinated_find(coordinator, op->group), op);
    // The check may have been the end of the group.
    const struct coordinated *group = coordinated_find(coordinator, op->group);
    if (!error && op->kind == COORDINATOR_FETCH)
        error = fetch_some(group, op);
    else if (!error)
        error = fetch_all(coordinator, group, op);
    coordinator->budget -= op->entry_count / 4;
    coordinator_finish(op, error);
}

// --- deleting ---------------------------------------------------------------------------------

// The entries that are there, unless a member is subscribed to them.
static uint32_t add_tombstones(struct coordinator_write *write, struct coordinated *group,
                               struct coordinator_op *op)
{
    const struct catalog *catalog = write->shard->catalog;
    const struct catalog_topic *topic = NULL;
    bool subscribed = false;
    uint32_t count = 0;
    for (uint32_t i = 0; i < op->entry_count; i++) {
        struct coordinator_entry *entry = &op->entries[i];
        if (entry->error)
            continue;
        // Entries of one topic stand together.
        if (!topic || !kp_uuid_equal(topic->id, entry->topic_id)) {
            topic = catalog_find_id(catalog, entry->topic_id);
            subscribed =
                topic && group->live && group_subscribes(group->live, span_text(topic->name));
        }
        if (subscribed)
            entry->error = KP_ERROR_GROUP_SUBSCRIBED_TO_TOPIC;
        if (subscribed || !image_position(&group->image, entry->topic_id, entry->partition))
            continue;
        count++;
        coordinated_write_add_position(write,
                                       &(struct offset_record){.tombstone = true,
                                                               .group = op->group,
                                                               .topic_id = entry->topic_id,
                                                               .partition = entry->partition});
    }
    return count;
}

void coordinator_offsets_delete(struct coordinator *coordinator, struct coordinator_op *op)
{
    struct coordinated *group = coordinated_find(coordinator, op->group);
    int16_t error = 0;
    if (group && !coordinated_is_well(group))
        error = KP_ERROR_COORDINATOR_NOT_AVAILABLE;
    else if (!coordinated_is_known(group))
        error = KP_ERROR_GROUP_ID_NOT_FOUND;
    else if (group->live)
        error = group_may_delete_offsets(group->live);
    struct coordinator_write *write = error ? NULL : coordinated_write_create(group, op);
    if (!error && !write)
        error = KP_ERROR_UNKNOWN_SERVER_ERROR;
    if (error) {
        coordinator_finish(op, error);
        return;
    }
    coordinator->budget -= op->entry_count;
    if (add_tombstones(write, group, op) == 0)
        coordinated_write_free(write);
    else if (!(error = start_error(coordinated_write_start(write))))
        return;
    coordinator_finish(op, error);
}
